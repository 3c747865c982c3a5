//! `blemish watch`: a folder that photos come into.

mod args;
mod deliver;
mod log;
mod receivers;

use std::collections::{HashMap, HashSet};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::{Duration, Instant};

use blemish::files::write_whole;
use blemish::image::BitDepth;
use blemish::scorer::{ScaleOf, Scorer};
use blemish::{Error, Photo, Profile};
use rayon::prelude::*;

pub use self::args::Args;
use self::deliver::Receiver;
use self::log::{FileState, Log};
use self::receivers::{Mqtt, Webhook};
use crate::cli::args::rate::{check_rate, say_what_is_promised};
use crate::cli::inputs::{Inputs, check_writable, mark_results, named, real, with_suffix};
use crate::cli::terminal::{NO_THREAD, is_stopped, note_stop};

/// A file that cannot be read is tried again for so long.
const PATIENCE: Duration = Duration::from_secs(10);
/// How often a stop is looked for.
const STOP_EVERY: Duration = Duration::from_millis(50);

pub fn run(args: &Args) -> anyhow::Result<ExitCode> {
    let receivers = receivers(args)?;
    let mut watcher = Watcher::new(args)?;
    let start = |(name, receiver)| {
        deliver::start(&args.out, name, receiver).map_err(|_| anyhow::anyhow!(NO_THREAD))
    };
    let senders = receivers.into_iter().map(start).collect::<anyhow::Result<Vec<_>>>()?;
    note_stop();
    if !args.model.quiet {
        say!("watches {} (stop with Ctrl-C)", args.folder.display());
    }
    let every = Duration::from_secs_f64(args.every);
    while !is_stopped() {
        watcher.look()?;
        let start = Instant::now();
        while start.elapsed() < every && !is_stopped() {
            std::thread::sleep(STOP_EVERY);
        }
    }
    for sender in senders {
        let _ = sender.join();
    }
    if !args.model.quiet {
        let Watcher { scored, failed, .. } = watcher;
        say!("stopped: {scored} photos were scored, {failed} could not be");
    }
    Ok(ExitCode::SUCCESS)
}

/// Where results are sent, each with its name.
fn receivers(args: &Args) -> blemish::Result<Vec<(&'static str, Box<dyn Receiver>)>> {
    let mut receivers = Vec::<(_, Box<dyn Receiver>)>::new();
    if let Some(url) = &args.webhook {
        receivers.push(("webhook", Box::new(Webhook::new(url)?)));
    }
    if let Some(url) = &args.mqtt {
        receivers.push(("mqtt", Box::new(Mqtt::new(url)?)));
    }
    Ok(receivers)
}

struct Watcher {
    folder: PathBuf,
    /// Below it heat maps are written.
    out: PathBuf,
    has_overlays: bool,
    scorer: Scorer,
    depth: BitDepth,
    log: Log,
    /// Files that were seen but not yet scored: how they were at the last look, and since when they are like that.
    open: HashMap<PathBuf, (FileState, Instant)>,
    /// What is wrong with the folder, said once.
    trouble: Option<String>,
    /// Photos whose names cannot be written into results.
    unnamed: HashSet<PathBuf>,
    scored: usize,
    failed: usize,
}

impl Watcher {
    fn new(args: &Args) -> anyhow::Result<Self> {
        let folder = &args.folder;
        if !folder.is_dir() {
            return Err(
                Error::setting(folder.display().to_string(), "is no folder; give one").into()
            );
        }
        let (inside, out) = (real(folder), real(&args.out));
        if inside.starts_with(&out) {
            let why = "heat maps there would be scored again; give a folder that does not hold the photos";
            return Err(Error::setting(format!("out {}", args.out.display()), why).into());
        }
        if !(0.05..=3600.0).contains(&args.every) {
            let why = "give seconds from 0.05 to 3600";
            return Err(Error::setting(format!("every {}", args.every), why).into());
        }
        args.false_alarm.map_or(Ok(()), check_rate)?;
        let model = args.model.resolve()?;
        let profile = Profile::open(&args.profile)?;
        check_writable("out", &args.out)?;
        mark_results(std::slice::from_ref(&args.out), &[])?;
        let log = Log::open(&args.out)?;
        let depth = profile.bit_depth()?;
        let scorer = model.scorer(&args.profile, profile, args.false_alarm)?;
        if let (Some((calibration, rate)), false) = (scorer.context.calibration(), model.quiet) {
            say_what_is_promised(calibration.photos(), rate);
        }
        Ok(Self {
            folder: folder.clone(),
            out: args.out.clone(),
            has_overlays: !args.no_overlay,
            scorer,
            depth,
            log,
            open: HashMap::new(),
            trouble: None,
            unnamed: HashSet::new(),
            scored: 0,
            failed: 0,
        })
    }

    /// Looks into the folder once, and scores what is whole.
    fn look(&mut self) -> anyhow::Result<()> {
        let photos = Inputs::find(std::slice::from_ref(&self.folder), &[&self.out]).photos;
        let failed = |error| format!("{}: cannot read: {error}", self.folder.display());
        let trouble = std::fs::read_dir(&self.folder).err().map(failed);
        if let Some(why) = trouble.as_ref().filter(|_| self.trouble != trouble) {
            say!("warning: {why}; it is looked at again");
        }
        self.trouble = trouble;
        let mut open = HashMap::new();
        let mut whole = Vec::new();
        for path in photos {
            if path.to_str().is_none() {
                if self.unnamed.insert(path.clone()) {
                    say!(
                        "{}: the name is not UTF-8, so the photo is not scored; rename it",
                        path.display()
                    );
                }
                continue;
            }
            let Some(state) = FileState::of(&path).filter(|state| !self.log.has(&path, *state))
            else {
                continue;
            };
            let before = self.open.get(&path).filter(|(before, _)| *before == state);
            let since = before.map_or_else(Instant::now, |(_, since)| *since);
            if before.is_some() {
                whole.push((path.clone(), state));
            }
            open.insert(path, (state, since));
        }
        for path in self.open.keys().filter(|path| !open.contains_key(*path)) {
            if !path.exists() && !self.log.knows(path) {
                say!("warning: {} was gone before it was scored", path.display());
            }
        }
        self.open = open;
        for batch in whole.chunks(self.scorer.detector.photos_at_once()) {
            if is_stopped() {
                break;
            }
            let results: Vec<_> = batch.par_iter().map(|(path, _)| self.score(path)).collect();
            for ((path, state), result) in batch.iter().zip(results) {
                self.keep(path, *state, result)?;
            }
        }
        Ok(())
    }

    fn keep(
        &mut self,
        path: &Path,
        state: FileState,
        result: blemish::Result<String>,
    ) -> Result<(), Error> {
        match result {
            Ok(row) => {
                self.scored += 1;
                self.log.keep(path.to_path_buf(), state, &row)
            }
            // That is no fault of the photo.
            Err(error @ Error::Write { .. }) => Err(error),
            // The camera may still be writing it.
            Err(_) if self.open.get(path).is_some_and(|(_, since)| since.elapsed() < PATIENCE) => {
                Ok(())
            }
            Err(error) => {
                self.failed += 1;
                let why = named(path, &error);
                say!("{why}");
                self.log.fail(path.to_path_buf(), state, why)
            }
        }
    }

    /// The result of a photo as a line of JSON.
    fn score(&self, path: &Path) -> blemish::Result<String> {
        let photo = Photo::open(path, self.depth)?;
        let prepared = self.scorer.detector.prepare(&photo);
        let (mut record, finding) = self.scorer.score(path.into(), &prepared)?;
        if self.has_overlays {
            let below = path.strip_prefix(&self.folder).unwrap_or(path);
            // The whole name, because a.png and a.jpg may both come.
            let file = with_suffix(&self.out.join("overlays").join(below), "png");
            let (context, made) = (&self.scorer.context, (&record, &finding));
            write_whole(&file, &context.overlay(&photo, made, ScaleOf::Run, true))?;
            record.overlay = Some(file.to_string_lossy().into_owned());
        }
        let row = serde_json::to_string(&record).expect("numbers and text");
        Ok(blemish::text::json(&row).into_owned())
    }
}
