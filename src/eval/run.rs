//! A run's folder: every photo's result is kept as soon as it is there, so that a run that was stopped goes on, and
//! parts that ran elsewhere are put together.
//!
//! `run.json` says what was run, `photos.jsonl` each photo's score, `maps/` its map as a float32 TIFF.

use std::collections::{BTreeMap, HashMap};
use std::fs::File;
use std::io::Write;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::{Looked, Maps};
use crate::data::Sample;
use crate::files::write_whole;
use crate::{AnomalyMap, Error, Result};

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
#[derive(Serialize, Deserialize)]
struct Line {
    photo: String,
    score: f32,
}

/// A run's folder.
pub struct Run {
    folder: PathBuf,
    root: PathBuf,
    maps: Maps,
    scores: HashMap<String, f32>,
    log: File,
}

impl Run {
    /// Begins a run, or goes on with it; `encode` makes a map's file.
    ///
    /// # Errors
    /// [`Error::Setting`] where the folder holds a run and `resume` is not given, or one of other settings.
    pub fn begin(folder: &Path, about: &RunAbout, resume: bool) -> Result<Self> {
        let file = folder.join("run.json");
        let setting = || format!("--out {}", folder.display());
        if file.exists() {
            if !resume {
                let why = "holds a run; go on with it with --resume, or give another folder";
                return Err(Error::setting(setting(), why));
            }
            let before = Self::about(folder)?;
            if before != *about {
                let why = "holds a run of other photos or settings (run.json); give another folder";
                return Err(Error::setting(setting(), why));
            }
        } else {
            let text = serde_json::to_string_pretty(about).map_err(|e| Error::data(&file, e))?;
            write_whole(&file, text.as_bytes())?;
        }
        let log = folder.join("photos.jsonl");
        let scores = read_scores(&log)?;
        let file = File::options().append(true).create(true).open(&log);
        let log = file.map_err(Error::write(&log))?;
        let (root, maps) = (about.root.clone(), Maps::new(folder.join("maps")));
        Ok(Self { folder: folder.into(), root, maps, scores, log })
    }

    /// What was run in a folder.
    ///
    /// # Errors
    /// [`Error::Data`] where there is none.
    pub fn about(folder: &Path) -> Result<RunAbout> {
        let file = folder.join("run.json");
        let bytes = std::fs::read(&file).map_err(Error::read(&file))?;
        serde_json::from_slice(&bytes).map_err(|e| Error::data(&file, format!("is no run's ({e})")))
    }

    /// Its folder.
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// Whether a photo's result is there.
    pub fn has(&self, sample: &Sample) -> bool {
        self.scores.contains_key(&self.key(sample))
    }

    /// What is known of a photo already.
    ///
    /// # Errors
    /// [`Error::Photo`] for a map that cannot be read.
    pub fn known(&self, sample: &Sample) -> Result<Option<Looked>> {
        let Some(&score) = self.scores.get(&self.key(sample)) else { return Ok(None) };
        let Looked { map, .. } = self.maps.read(sample)?;
        Ok(Some(Looked { score, map }))
    }

    /// Keeps a photo's result: its map first, so that a score stands for a whole map.
    ///
    /// # Errors
    /// [`Error::Write`].
    pub fn keep(
        &mut self,
        sample: &Sample,
        found: &Looked,
        encode: impl Fn(&AnomalyMap) -> Vec<u8>,
    ) -> Result<()> {
        let mut file = self.maps.stem(sample).into_os_string();
        file.push(".tiff");
        write_whole(Path::new(&file), &encode(&found.map))?;
        let line = Line { photo: self.key(sample), score: found.score };
        let log = self.folder.join("photos.jsonl");
        let mut text = serde_json::to_string(&line).map_err(|e| Error::data(&log, e))?;
        text.push('\n');
        // One write, so that a stop leaves whole lines or a last one that is cut.
        self.log.write_all(text.as_bytes()).map_err(Error::write(&log))?;
        self.scores.insert(line.photo, line.score);
        Ok(())
    }

    fn key(&self, sample: &Sample) -> String {
        let path = sample.photo.strip_prefix(&self.root).unwrap_or(&sample.photo);
        path.to_string_lossy().replace('\\', "/")
    }
}

/// The lines that are whole; the rest of one that was cut is taken away.
fn read_scores(file: &Path) -> Result<HashMap<String, f32>> {
    let bytes = match std::fs::read(file) {
        Ok(bytes) => bytes,
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Ok(HashMap::new()),
        Err(e) => return Err(Error::read(file)(e)),
    };
    let whole = bytes.iter().rposition(|b| *b == b'\n').map_or(0, |end| end + 1);
    if whole < bytes.len() {
        write_whole(file, &bytes[..whole])?;
    }
    let text = String::from_utf8_lossy(&bytes[..whole]);
    let line = |line: &str| {
        let line: Line = serde_json::from_str(line)
            .map_err(|e| Error::data(file, format!("has a line that is no result ({e})")))?;
        Ok((line.photo, line.score))
    };
    text.lines().map(line).collect()
}

/// Puts the parts of a run together in a new folder: what they are of, with their shards gone.
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
        let unsharded = RunAbout { shard: None, ..about.clone() };
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
    let opened: Result<Vec<Run>> =
        by_shard.values().map(|(folder, about)| Run::begin(folder, about, true)).collect();
    let opened = opened?;
    let samples = samples(&about)?;
    for (i, sample) in samples.iter().enumerate() {
        let part = &opened[i % count];
        if !part.scores.contains_key(&part.key(sample)) {
            let why = format!(
                "has no result of {}: go on with it first (--resume)",
                sample.photo.display()
            );
            return Err(Error::data(&part.folder, why));
        }
    }
    let mut run = Run::begin(out, &about, false)?;
    for (i, sample) in samples.iter().enumerate() {
        if let Some(found) = opened[i % count].known(sample)? {
            run.keep(sample, &found, &encode)?;
        }
    }
    Ok((run, about))
}
