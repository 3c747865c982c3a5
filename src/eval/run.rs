//! A run's folder: every photo's result is kept as soon as it is there, so that a run that was stopped goes on, and
//! parts that ran elsewhere are put together.
//!
//! `run.json` says what was run, `photos.jsonl` each photo's score, `maps/` its map as a float32 TIFF. A result holds as
//! long as photo, line and map are as they were when it was written.

use std::collections::{BTreeMap, HashMap};
use std::fs::{File, TryLockError};
use std::io::{Read, Write};
use std::path::{Path, PathBuf};
use std::time::UNIX_EPOCH;

use rayon::prelude::*;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::{Looked, Maps};
use crate::data::Sample;
use crate::files::{files_sha256, sha256, write_whole};
use crate::{AnomalyMap, Error, Result};

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

/// A line of `photos.jsonl`.
#[derive(Clone, Serialize, Deserialize)]
struct Line {
    photo: String,
    score: f32,
    /// The photo's file: length, nanoseconds since 1970, hash.
    bytes: u64,
    modified: u64,
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
    /// None where nothing is written.
    log: Option<File>,
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
        let refuse = |why: &str| Err(Error::setting(format!("--out {}", folder.display()), why));
        if file.exists() {
            if !resume {
                return refuse("holds a run; go on with it with --resume, or give another folder");
            }
            // A set may have moved: each photo is known by its hash.
            let before = RunAbout { root: about.root.clone(), ..Self::about(folder)? };
            if before != *about {
                return refuse(
                    "holds a run of other photos or settings (run.json); give another folder",
                );
            }
        }
        Maps::new(folder.join("maps")).stems(samples)?;
        std::fs::create_dir_all(folder).map_err(Error::write(folder))?;
        let path = folder.join("photos.jsonl");
        let mut log = open_log(&path)?;
        let text = serde_json::to_string_pretty(about).map_err(|e| Error::data(&file, e))?;
        write_whole(&file, text.as_bytes())?;
        let mut run = Self::read(folder, root, samples, &log)?;
        if run.stale > 0 {
            let lines = samples.iter().filter_map(|sample| run.lines.get(&run.key(sample)));
            let text: String = lines.map(Line::text).collect();
            write_whole(&path, text.as_bytes())?;
            log = open_log(&path)?;
        }
        run.log = Some(log);
        Ok(run)
    }

    /// The results of a run that are in its folder, to be read only.
    fn open(folder: &Path, root: &Path, samples: &[Sample]) -> Result<Self> {
        let path = folder.join("photos.jsonl");
        let log = crate::files::open(&path, MOST_BYTES).map_err(Error::read(&path))?;
        Self::read(folder, root, samples, &log)
    }

    /// The results of a folder that still hold.
    fn read(folder: &Path, root: &Path, samples: &[Sample], log: &File) -> Result<Self> {
        let maps = Maps::new(folder.join("maps"));
        let mut run = Self {
            folder: folder.into(),
            root: root.into(),
            maps,
            lines: HashMap::new(),
            stale: 0,
            log: None,
        };
        let lines = read_lines(log).map_err(Error::read(&folder.join("photos.jsonl")))?;
        let (lines, mut stale) = lines;
        let holds = |sample: &Sample| {
            let key = run.key(sample);
            let line = lines.get(&key)?;
            run.holds(sample, line).then(|| (key, line.clone()))
        };
        let held: HashMap<String, Line> = samples.par_iter().filter_map(holds).collect();
        stale += lines.len() - held.len();
        (run.lines, run.stale) = (held, stale);
        Ok(run)
    }

    /// What was run in a folder.
    ///
    /// # Errors
    /// [`Error::Data`] where there is none.
    pub fn about(folder: &Path) -> Result<RunAbout> {
        let file = folder.join("run.json");
        let bytes = crate::files::read(&file, MOST_BYTES).map_err(Error::read(&file))?;
        serde_json::from_slice(&bytes).map_err(|e| Error::data(&file, format!("is no run's ({e})")))
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
    pub fn known(&self, sample: &Sample) -> Result<Option<Looked>> {
        let Some(line) = self.lines.get(&self.key(sample)) else { return Ok(None) };
        let Looked { map, .. } = self.maps.read(sample)?;
        Ok(Some(Looked { score: line.score, map }))
    }

    /// Keeps a photo's result: its map first, so that a score stands for a whole map. `encode` makes a map's file.
    ///
    /// # Errors
    /// [`Error::Write`].
    pub fn keep(
        &mut self,
        sample: &Sample,
        found: &Looked,
        encode: impl Fn(&AnomalyMap) -> Vec<u8>,
    ) -> Result<()> {
        let mut file = self.maps.stem(sample)?.into_os_string();
        file.push(".tiff");
        let map = encode(&found.map);
        write_whole(Path::new(&file), &map)?;
        let (bytes, modified) = state(&sample.photo).map_err(Error::read(&sample.photo))?;
        let line = Line {
            photo: self.key(sample),
            score: found.score,
            bytes,
            modified,
            sha256: files_sha256(std::slice::from_ref(&sample.photo))?,
            map_sha256: sha256(&map),
            check: String::new(),
        };
        let line = Line { check: line.checked(), ..line };
        let path = self.folder.join("photos.jsonl");
        // One write, so that a stop leaves whole lines or a last one that is cut.
        let mut log =
            self.log.as_ref().ok_or_else(|| Error::data(&path, "is open to be read only"))?;
        log.write_all(line.text().as_bytes()).map_err(Error::write(&path))?;
        self.lines.insert(line.photo.clone(), line);
        Ok(())
    }

    /// Whether photo and map are as they were.
    fn holds(&self, sample: &Sample, line: &Line) -> bool {
        let hash = |path: PathBuf| files_sha256(&[path]).ok();
        let same_photo = match state(&sample.photo) {
            Ok(state) if state == (line.bytes, line.modified) => true,
            Ok((bytes, _)) if bytes == line.bytes => {
                hash(sample.photo.clone()).as_ref() == Some(&line.sha256)
            }
            _ => false,
        };
        let map = || self.maps.file(sample).ok().and_then(hash);
        same_photo && map().as_ref() == Some(&line.map_sha256)
    }

    /// A photo's path below the photos' folder: the same however that is spelled, and another for every photo.
    fn key(&self, sample: &Sample) -> String {
        let path = sample.photo.strip_prefix(&self.root).unwrap_or(&sample.photo);
        match path.to_str() {
            Some(text) => text.replace(std::path::MAIN_SEPARATOR, "/"),
            // No path begins like this.
            None => path
                .as_os_str()
                .as_encoded_bytes()
                .iter()
                .fold("//".into(), |text, byte| format!("{text}{byte:02x}")),
        }
    }
}

impl Line {
    fn checked(&self) -> String {
        let Self { photo, score, bytes, modified, sha256: own, map_sha256, check: _ } = self;
        let all = format!("{photo}\n{:08x} {bytes} {modified} {own} {map_sha256}", score.to_bits());
        sha256(all.as_bytes())[..16].to_string()
    }

    /// Scores run from 0 to 1, but for rounding.
    fn is_as_written(&self) -> bool {
        self.check == self.checked() && (-1e-3..=1.001).contains(&self.score)
    }

    fn text(&self) -> String {
        let mut text = serde_json::to_string(self).expect("text and numbers");
        text.push('\n');
        text
    }
}

/// A file's length, and when it was changed.
fn state(file: &Path) -> std::io::Result<(u64, u64)> {
    let metadata = file.metadata()?;
    let modified = metadata.modified()?.duration_since(UNIX_EPOCH).unwrap_or_default();
    Ok((metadata.len(), modified.as_nanos() as u64))
}

/// The log, to be appended to by this process alone. A link could lead to any file.
fn open_log(path: &Path) -> Result<File> {
    let refuse = |why: &str| Err(Error::setting(format!("--out {}", path.display()), why));
    let mut options = File::options();
    options.read(true).append(true).create(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::custom_flags(
        &mut options,
        libc::O_NOFOLLOW | libc::O_NONBLOCK,
    );
    if path.is_symlink() {
        return refuse("is a link; remove it, or give another folder");
    }
    let log = options.open(path).map_err(Error::write(path))?;
    match log.try_lock() {
        Err(TryLockError::WouldBlock) => {
            refuse("is being written by another run; wait for its end, or give another folder")
        }
        // Not every file system can.
        Ok(()) | Err(TryLockError::Error(_)) => Ok(log),
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
        let line = line.filter(|line: &Line| text.ends_with(b"\n") && line.is_as_written());
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
            return Err(Error::data(part, "is a whole run, not a part of one (--shard)"));
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
                "has no result of {}, or of another state of it: go on with it first (--resume)",
                sample.photo.display()
            );
            return Err(Error::data(&part.folder, why));
        }
    }
    let mut run = Run::begin(out, &about, (&about.root, &samples), true)?;
    for (i, sample) in samples.iter().enumerate() {
        if run.has(sample) {
            continue;
        }
        if let Some(found) = opened[i % count].known(sample)? {
            run.keep(sample, &found, &encode)?;
        }
    }
    Ok((run, about))
}
