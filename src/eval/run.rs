//! The folder of a run. The result of each photo is written as soon as it is known. So a run that was stopped can
//! continue, and the parts of a run from several machines can be merged.
//!
//! `run.json` says what was measured. `photos.jsonl` has the score of each photo. `maps/` has its map as a float32
//! TIFF. A result is valid as long as its photo, its line and its map are unchanged.

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

/// Largest `run.json` or `photos.jsonl` that is read, in bytes.
const MOST_BYTES: u64 = 1 << 30;

/// What is measured. Results of two runs belong together if all values except `root` and `shard` are equal.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct RunAbout {
    /// Folder of the photos.
    pub root: PathBuf,
    /// Layout of this folder.
    pub layout: String,
    /// The products that are measured. The value holds more facts about the product, as JSON.
    pub products: BTreeMap<String, Value>,
    /// Model, method and everything else that the numbers depend on.
    pub settings: Value,
    /// The part of the photos, counted from 0, and the number of parts.
    pub shard: Option<(usize, usize)>,
}

/// The content of `run.json`.
#[derive(Serialize, Deserialize)]
struct Checked {
    #[serde(flatten)]
    about: RunAbout,
    /// The first 16 digits of a SHA-256 of everything above.
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
    /// SHA-256 of the photo's file.
    sha256: String,
    /// SHA-256 of the file of its map.
    map_sha256: String,
    /// The first 16 digits of a SHA-256 of everything above.
    check: String,
}

/// A run in its folder.
pub struct Run {
    folder: PathBuf,
    /// Folder of the photos, as written in the paths of the photos.
    root: PathBuf,
    maps: Maps,
    lines: HashMap<String, Line>,
    stale: usize,
    /// The open `photos.jsonl`, and the lock. `None` if the run is only read.
    log: Option<(File, File)>,
}

impl Run {
    /// Begins a run over photos below `root`, or continues it.
    ///
    /// # Errors
    /// [`Error::Setting`] if the folder holds a run and `resume` is false, holds a run of other photos or settings, or
    /// is used by another process. [`Error::Data`] if two photos would share a map.
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
        // The folder of photos may have moved, so it is not compared. Each photo is recognised by its hash.
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
            // Keep the lines of photos that are not here. They may be missing only for a while.
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

    /// The results of a run, for reading only.
    fn open(folder: &Path, root: &Path, samples: &[Sample]) -> Result<Self> {
        let path = folder.join("photos.jsonl");
        let log = files::open(&path, MOST_BYTES).map_err(Error::read(&path))?;
        let (lines, _) = read_lines(&log).map_err(Error::read(&path))?;
        Ok(Self::of(folder, root, samples, &lines)?.0)
    }

    /// A run with its valid results, and whether one of these photos is unchanged since its result was written.
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

    /// What the run in a folder measures.
    ///
    /// # Errors
    /// [`Error::Read`] if there is no `run.json`. [`Error::Data`] if it is not of a run, or was changed.
    pub fn about(folder: &Path) -> Result<RunAbout> {
        let file = folder.join("run.json");
        let bytes = files::read(&file, MOST_BYTES).map_err(Error::read(&file))?;
        let checked: Checked = serde_json::from_slice(&bytes)
            .map_err(|e| Error::data(&file, format!("is of no run ({e}); run again elsewhere")))?;
        if checked.check != checked.about.check() {
            return Err(Error::data(
                &file,
                "was altered after it was written; run again elsewhere",
            ));
        }
        Ok(checked.about)
    }

    /// The folder of the run.
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// The number of results that were no longer valid when the run continued. Their photo or map changed, or their
    /// line was cut or changed.
    pub fn stale(&self) -> usize {
        self.stale
    }

    /// Whether a photo has a valid result.
    pub fn has(&self, sample: &Sample) -> bool {
        self.lines.contains_key(&self.key(sample))
    }

    /// The valid result of a photo, if there is one.
    ///
    /// # Errors
    /// [`Error::Photo`] if the map cannot be read.
    pub fn known(&self, sample: &Sample) -> Result<Option<EvalPrediction>> {
        let Some(line) = self.lines.get(&self.key(sample)) else { return Ok(None) };
        let EvalPrediction { map, .. } = self.maps.read(sample)?;
        Ok(Some(EvalPrediction { score: line.score, map }))
    }

    /// Writes the result of a photo. The map is written first, so every written score has a complete map. `sha256`:
    /// SHA-256 of the photo's file, taken before the photo was scored. `encode`: makes the file of a map.
    ///
    /// # Errors
    /// [`Error::Write`] if a file cannot be written. [`Error::Data`] if the run is open for reading only.
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
        // Write each line at once. If the program is stopped, only the last line can be cut.
        let log = self.log.as_mut().ok_or_else(|| Error::data(&path, "is open read-only"))?;
        log.0.write_all(line.text().as_bytes()).map_err(Error::write(&path))?;
        self.lines.insert(line.photo.clone(), line);
        Ok(())
    }

    /// Whether the photo and the map are unchanged.
    fn holds(&self, sample: &Sample, line: &Line) -> Result<(bool, bool)> {
        let same = |paths: &[PathBuf], sha256: &str| match files_sha256(paths) {
            Ok(hash) => Ok(hash == sha256),
            Err(Error::Read { source, .. }) if source.kind() == ErrorKind::NotFound => Ok(false),
            Err(error) => Err(error),
        };
        let map = self.maps.file(sample).ok();
        let same_map = map.map(|map| same(&[map], &line.map_sha256)).transpose()?.unwrap_or(false);
        Ok((same(&sample.files(), &line.sha256)?, same_map))
    }

    /// A photo's path below the folder of the photos. It does not depend on how that folder is written, and is
    /// different for every photo.
    fn key(&self, sample: &Sample) -> String {
        let path = sample.photo.strip_prefix(&self.root).unwrap_or(&sample.photo);
        match path.to_str() {
            Some(text) => text.replace(std::path::MAIN_SEPARATOR, "/"),
            // No other key begins with `//`.
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

/// A lock that is held while a run is written, so that two runs never write into one folder.
fn lock(folder: &Path) -> Result<File> {
    let path = folder.join(".lock");
    let file = append(&path)?;
    match file.try_lock() {
        Err(TryLockError::WouldBlock) => Err(Error::setting(
            format!("out {}", folder.display()),
            "is being written by another run; wait for its end, or give another folder",
        )),
        // Some file systems do not support locks.
        Ok(()) | Err(TryLockError::Error(_)) => Ok(file),
    }
}

/// The last complete and unchanged line of each photo, and the number of all other lines.
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

/// Merges the parts of a run into a folder. Returns the merged run and its description. `shard` of the description is
/// `None`. `samples`
/// lists the photos of a run. `encode`: as in [`Run::keep`]. The parts are only read. A merge that was stopped can be
/// called again and continues.
///
/// # Errors
/// [`Error::Data`] if parts are of different runs, are missing, are there twice, or lack a result.
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
            return Err(Error::data(part, "is a whole run, not a part (shard) of one"));
        };
        // The folder of photos may have another path on each machine.
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
                "has no valid result of {}: resume that part first",
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

crate::error::opaque_debug!(Run);
