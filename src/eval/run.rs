//! A run's folder: every photo's result is kept as soon as it is there, so that a run that was stopped goes on, and
//! parts that ran elsewhere are put together.
//!
//! `run.json` says what was run, `photos.jsonl` each photo's score, `maps/` its map as a float32 TIFF. A result holds as
//! long as photo, line and map are as they were when it was written.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::fs::{File, TryLockError};
use std::io::{ErrorKind, Read, Write};
use std::path::{Path, PathBuf};

use rayon::prelude::*;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::{EvalPrediction, Maps};
use crate::data::Sample;
use crate::detect::AnomalyMap;
use crate::error::{Error, Result};
use crate::files::{self, append, files_sha256, write_whole};

/// What is read of `run.json` and `photos.jsonl` at most.
const MOST_BYTES: u64 = 1 << 30;

/// What is run: results of two runs belong together where these are equal.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct RunAbout {
    /// The photos' folder.
    pub root: PathBuf,
    /// How they are laid out.
    pub layout: String,
    /// The products that are measured, each with what else is known of it.
    pub products: BTreeMap<String, Value>,
    /// Model, method and whatever else the numbers depend on.
    pub settings: Value,
    /// Which part of the photos, from 0, of how many.
    pub shard: Option<(usize, usize)>,
}

/// What `run.json` holds.
#[derive(Serialize, Deserialize)]
struct Checked {
    #[serde(flatten)]
    about: RunAbout,
    /// The beginning of the hash of all that.
    check: String,
}

impl RunAbout {
    fn check(&self) -> String {
        let text = serde_json::to_string(self).unwrap_or_default();
        files::sha256(text.as_bytes())[..16].to_string()
    }

    fn write(&self, file: &Path) -> Result<()> {
        let checked = Checked { about: self.clone(), check: self.check() };
        let text = serde_json::to_string_pretty(&checked).map_err(|e| Error::data(file, e))?;
        write_whole(file, text.as_bytes())
    }
}

/// A line of `photos.jsonl`.
#[derive(Clone, PartialEq, Serialize, Deserialize)]
struct Line {
    photo: String,
    score: f32,
    /// The hash of the photo's file.
    sha256: String,
    /// The hash of its map's file.
    map_sha256: String,
    /// The beginning of the hash of all that.
    check: String,
}

/// A run's folder.
pub struct Run {
    folder: PathBuf,
    /// The photos' folder, as the photos' paths have it.
    root: PathBuf,
    maps: Maps,
    lines: HashMap<String, Line>,
    stale: usize,
    /// With the lock that is held; none where nothing is written.
    log: Option<(File, File)>,
}

impl Run {
    /// Begins a run of photos below `root`, or goes on with it.
    ///
    /// # Errors
    /// [`Error::Setting`] where the folder holds a run and `resume` is not given, one of other settings, or one that
    /// another process works on; [`Error::Data`] for two photos that would share a map.
    pub fn begin(
        folder: &Path,
        about: &RunAbout,
        (root, samples): (&Path, &[Sample]),
        resume: bool,
    ) -> Result<Self> {
        let file = folder.join("run.json");
        let refuse = |why: &str| Err(Error::setting(format!("out {}", folder.display()), why));
        std::fs::create_dir_all(folder).map_err(Error::write(folder))?;
        let lock = lock(folder)?;
        let is_there = file.exists();
        if is_there && !resume {
            return refuse("holds a run; resume it, or give another folder");
        }
        // A set may have moved: each photo is known by its hash.
        if is_there && (RunAbout { root: about.root.clone(), ..Self::about(folder)? } != *about) {
            return refuse(
                "holds a run of other photos or settings (run.json); give another folder",
            );
        }
        Maps::new(folder.join("maps")).stems(samples)?;
        let path = folder.join("photos.jsonl");
        let mut log = append(&path)?;
        let (lines, cut) = read_lines(&log).map_err(Error::read(&path))?;
        let (mut run, knows_photos) = Self::of(folder, root, samples, &lines)?;
        run.stale += cut;
        if !lines.is_empty() && !knows_photos {
            return refuse("holds results of other photos; give another folder");
        }
        about.write(&file)?;
        if run.stale > 0 {
            // What is of no photo here may be of one that is missing for a while.
            let keys: HashSet<String> = samples.iter().map(|sample| run.key(sample)).collect();
            let mut elsewhere: Vec<&Line> =
                lines.values().filter(|line| !keys.contains(&line.photo)).collect();
            elsewhere.sort_by_key(|line| &line.photo);
            let held = samples.iter().filter_map(|sample| run.lines.get(&run.key(sample)));
            let text: String = held.chain(elsewhere).map(Line::text).collect();
            write_whole(&path, text.as_bytes())?;
            log = append(&path)?;
        }
        run.log = Some((log, lock));
        Ok(run)
    }

    /// The results of a run that are in its folder, to be read only.
    fn open(folder: &Path, root: &Path, samples: &[Sample]) -> Result<Self> {
        let path = folder.join("photos.jsonl");
        let log = files::open(&path, MOST_BYTES).map_err(Error::read(&path))?;
        let (lines, _) = read_lines(&log).map_err(Error::read(&path))?;
        Ok(Self::of(folder, root, samples, &lines)?.0)
    }

    /// A run with those of its results that still hold, and whether one is of these photos as they are.
    fn of(
        folder: &Path,
        root: &Path,
        samples: &[Sample],
        lines: &HashMap<String, Line>,
    ) -> Result<(Self, bool)> {
        let mut run = Self {
            folder: folder.into(),
            root: root.into(),
            maps: Maps::new(folder.join("maps")),
            lines: HashMap::new(),
            stale: 0,
            log: None,
        };
        let check = |sample: &Sample| {
            let Some(line) = lines.get(&run.key(sample)) else { return Ok(None) };
            Ok(Some((line, run.holds(sample, line)?)))
        };
        let checked = samples.par_iter().map(check).collect::<Result<Vec<_>>>()?;
        let mut knows_photos = false;
        for (line, (same_photo, same_map)) in checked.into_iter().flatten() {
            knows_photos |= same_photo;
            match same_photo && same_map {
                true => _ = run.lines.insert(line.photo.clone(), line.clone()),
                false => run.stale += 1,
            }
        }
        Ok((run, knows_photos))
    }

    /// What was run in a folder.
    ///
    /// # Errors
    /// [`Error::Data`] where there is none.
    pub fn about(folder: &Path) -> Result<RunAbout> {
        let file = folder.join("run.json");
        let bytes = files::read(&file, MOST_BYTES).map_err(Error::read(&file))?;
        let checked: Checked = serde_json::from_slice(&bytes)
            .map_err(|e| Error::data(&file, format!("is no run's ({e}); run again elsewhere")))?;
        if checked.check != checked.about.check() {
            return Err(Error::data(
                &file,
                "was altered after it was written; run again elsewhere",
            ));
        }
        Ok(checked.about)
    }

    /// Its folder.
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// Results that no longer held when the run was gone on with: of photos or maps that changed, or in lines that were
    /// cut or altered.
    pub fn stale(&self) -> usize {
        self.stale
    }

    /// Whether a photo's result is there.
    pub fn has(&self, sample: &Sample) -> bool {
        self.lines.contains_key(&self.key(sample))
    }

    /// What is known of a photo already.
    ///
    /// # Errors
    /// [`Error::Photo`] for a map that cannot be read.
    pub fn known(&self, sample: &Sample) -> Result<Option<EvalPrediction>> {
        let Some(line) = self.lines.get(&self.key(sample)) else { return Ok(None) };
        let EvalPrediction { map, .. } = self.maps.read(sample)?;
        Ok(Some(EvalPrediction { score: line.score, map }))
    }

    /// Keeps a photo's result: its map first, so that a score stands for a whole map. `sha256`: the hash of the photo's
    /// file, taken before it was looked at. `encode` makes a map's file.
    ///
    /// # Errors
    /// [`Error::Write`].
    pub fn keep(
        &mut self,
        sample: &Sample,
        found: &EvalPrediction,
        sha256: String,
        encode: impl Fn(&AnomalyMap) -> Vec<u8>,
    ) -> Result<()> {
        let mut file = self.maps.stem(sample)?.into_os_string();
        file.push(".tiff");
        let map = encode(&found.map);
        write_whole(Path::new(&file), &map)?;
        let line = Line {
            photo: self.key(sample),
            score: found.score,
            sha256,
            map_sha256: files::sha256(&map),
            check: String::new(),
        };
        let line = Line { check: line.checked(), ..line };
        let path = self.folder.join("photos.jsonl");
        // One write, so that a stop leaves whole lines or a last one that is cut.
        let log = self.log.as_mut().ok_or_else(|| Error::data(&path, "is open to be read only"))?;
        log.0.write_all(line.text().as_bytes()).map_err(Error::write(&path))?;
        self.lines.insert(line.photo.clone(), line);
        Ok(())
    }

    /// Whether photo and map are as they were.
    fn holds(&self, sample: &Sample, line: &Line) -> Result<(bool, bool)> {
        let same = |path: PathBuf, sha256: &str| match files_sha256(&[path]) {
            Ok(hash) => Ok(hash == sha256),
            Err(Error::Read { source, .. }) if source.kind() == ErrorKind::NotFound => Ok(false),
            Err(error) => Err(error),
        };
        let map = self.maps.file(sample).ok();
        let same_map = map.map(|map| same(map, &line.map_sha256)).transpose()?.unwrap_or(false);
        Ok((same(sample.photo.clone(), &line.sha256)?, same_map))
    }

    /// A photo's path below the photos' folder: the same however that is spelled, and another for every photo.
    fn key(&self, sample: &Sample) -> String {
        let path = sample.photo.strip_prefix(&self.root).unwrap_or(&sample.photo);
        match path.to_str() {
            Some(text) => text.replace(std::path::MAIN_SEPARATOR, "/"),
            // No path begins like this.
            None => format!("//{}", files::hex(path.as_os_str().as_encoded_bytes())),
        }
    }
}

impl Line {
    fn checked(&self) -> String {
        let Self { photo, score, sha256, map_sha256, check: _ } = self;
        let all = format!("{photo}\n{:08x} {sha256} {map_sha256}", score.to_bits());
        files::sha256(all.as_bytes())[..16].to_string()
    }

    fn text(&self) -> String {
        let mut text = serde_json::to_string(self).expect("text and numbers");
        text.push('\n');
        text
    }
}

/// Held as long as a run is written: two never write into one folder.
fn lock(folder: &Path) -> Result<File> {
    let path = folder.join(".lock");
    let file = append(&path)?;
    match file.try_lock() {
        Err(TryLockError::WouldBlock) => Err(Error::setting(
            format!("out {}", folder.display()),
            "is being written by another run; wait for its end, or give another folder",
        )),
        // Not every file system can.
        Ok(()) | Err(TryLockError::Error(_)) => Ok(file),
    }
}

/// By photo its last line that is whole and unaltered, and how many others there are.
fn read_lines(log: &File) -> std::io::Result<(HashMap<String, Line>, usize)> {
    let mut bytes = Vec::new();
    log.take(MOST_BYTES).read_to_end(&mut bytes)?;
    if bytes.len() as u64 == MOST_BYTES {
        return Err(std::io::Error::other("is larger than 1 GiB, which no run is"));
    }
    let (mut lines, mut count) = (HashMap::new(), 0);
    for text in bytes.split_inclusive(|byte| *byte == b'\n') {
        count += 1;
        let line = serde_json::from_slice(text).ok();
        let line = line.filter(|line: &Line| text.ends_with(b"\n") && line.check == line.checked());
        lines.extend(line.map(|line| (line.photo.clone(), line)));
    }
    let others = count - lines.len();
    Ok((lines, others))
}

/// Puts the parts of a run together in a folder: what they are of, with their shards gone. The parts stay as they are; a
/// merge that was stopped goes on.
///
/// # Errors
/// [`Error::Data`] for parts of different runs, and for those that are missing or there twice.
pub fn merge(
    parts: &[PathBuf],
    out: &Path,
    samples: impl Fn(&RunAbout) -> Result<Vec<Sample>>,
    encode: impl Fn(&AnomalyMap) -> Vec<u8>,
) -> Result<(Run, RunAbout)> {
    let mut by_shard: BTreeMap<usize, (&PathBuf, RunAbout)> = BTreeMap::new();
    let mut whole: Option<RunAbout> = None;
    let mut count = 0;
    for part in parts {
        let about = Run::about(part)?;
        let Some((shard, of)) = about.shard else {
            return Err(Error::data(part, "is a whole run, not a part of one"));
        };
        // The parts may lie on other machines' paths.
        let root = whole.as_ref().map_or(&about.root, |first| &first.root).clone();
        let unsharded = RunAbout { shard: None, root, ..about.clone() };
        match &whole {
            None => (whole, count) = (Some(unsharded), of),
            Some(first) if *first != unsharded || of != count => {
                let why = format!(
                    "is of another run than {}: photos, model or settings differ",
                    parts[0].display()
                );
                return Err(Error::data(part, why));
            }
            Some(_) => {}
        }
        if let Some((other, _)) = by_shard.insert(shard, (part, about)) {
            let why = format!("is part {shard} of {of}, and so is {}", other.display());
            return Err(Error::data(part, why));
        }
    }
    let about = whole.ok_or_else(|| Error::setting("merge", "give the parts' folders"))?;
    if let Some(missing) = (0..count).find(|shard| !by_shard.contains_key(shard)) {
        let why = format!("part {missing} of {count} is missing");
        return Err(Error::data(out, why));
    }
    let samples = samples(&about)?;
    let open = |(folder, _): &(&PathBuf, RunAbout)| Run::open(folder, &about.root, &samples);
    let opened = by_shard.values().map(open).collect::<Result<Vec<Run>>>()?;
    for (i, sample) in samples.iter().enumerate() {
        let part = &opened[i % count];
        if !part.has(sample) {
            let why = format!(
                "has no result of {}, or of another state of it: resume that part first",
                sample.photo.display()
            );
            return Err(Error::data(&part.folder, why));
        }
    }
    let mut run = Run::begin(out, &about, (&about.root, &samples), true)?;
    for (i, sample) in samples.iter().enumerate() {
        let (part, key) = (&opened[i % count], run.key(sample));
        let Some(line) = part.lines.get(&key).filter(|line| run.lines.get(&key) != Some(line))
        else {
            continue;
        };
        if let Some(found) = part.known(sample)? {
            run.keep(sample, &found, line.sha256.clone(), &encode)?;
        }
    }
    Ok((run, about))
}
