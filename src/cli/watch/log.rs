//! What was done: the results, and which files they are of. A run that was killed goes on where it was.

use std::collections::HashMap;
use std::fs::{File, TryLockError};
use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};

use blemish::Error;
use serde::{Deserialize, Serialize};
use serde_json::Value;

/// The name of the results.
pub const RESULTS: &str = "results.jsonl";
const SEEN: &str = "seen.jsonl";

/// What tells a file from another one of the same name.
#[derive(Clone, Copy, Debug, Deserialize, PartialEq, Serialize)]
pub struct FileState {
    /// Nanoseconds since 1970. A camera's clock may be before it.
    modified: i64,
    bytes: u64,
}

impl FileState {
    /// None if the file is gone.
    pub fn of(file: &Path) -> Option<Self> {
        let about = std::fs::metadata(file).ok()?;
        let modified = match about.modified().ok()?.duration_since(std::time::UNIX_EPOCH) {
            Ok(since) => since.as_nanos() as i64,
            Err(before) => -(before.duration().as_nanos() as i64),
        };
        Some(Self { modified, bytes: about.len() })
    }
}

/// A line of `seen.jsonl`.
#[derive(Deserialize, Serialize)]
struct Seen {
    path: PathBuf,
    #[serde(flatten)]
    state: FileState,
    /// Why it could not be scored.
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<String>,
}

/// Appends results. Only one process at a time can.
pub struct Log {
    /// Opened for each result, so that it may be moved away meanwhile.
    results: PathBuf,
    /// Locked.
    seen: (PathBuf, File),
    known: HashMap<PathBuf, FileState>,
}

impl Log {
    /// Opens or makes the files in the folder of results. Lines that were cut when a run was killed are removed.
    pub fn open(out: &Path) -> anyhow::Result<Self> {
        let (results, mut seen) = (out.join(RESULTS), open(&out.join(SEEN))?);
        match seen.1.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => {
                let why = "another `blemish watch` writes there; give another folder";
                return Err(Error::setting(format!("out {}", out.display()), why).into());
            }
            Err(TryLockError::Error(source)) => {
                return Err(Error::Write { path: seen.0, source }.into());
            }
        }
        let mut known = HashMap::new();
        for line in whole_lines(&mut seen)? {
            let line: Seen = serde_json::from_str(&line).map_err(|_| foreign(&seen.0))?;
            known.insert(line.path, line.state);
        }
        let written = FileState::of(&results);
        let mut log = Self { known, results, seen };
        // If the run was killed between the two lines of a photo, the second one is missing.
        if let Some(last) = whole_lines(&mut open(&log.results)?)?.last() {
            let row: Value = serde_json::from_str(last).map_err(|_| foreign(&log.results))?;
            let path = PathBuf::from(row["path"].as_str().ok_or_else(|| foreign(&log.results))?);
            // A file that is newer than its result is another photo.
            let is_same = |state: &FileState| written.is_some_and(|w| state.modified <= w.modified);
            if let (Some(state), false) =
                (FileState::of(&path).filter(is_same), log.known.contains_key(&path))
            {
                log.note(path, state, None)?;
            }
        }
        Ok(log)
    }

    /// Whether a file of this name was scored, or could not be.
    pub fn knows(&self, path: &Path) -> bool {
        self.known.contains_key(path)
    }

    /// Whether this file was scored, or could not be.
    pub fn has(&self, path: &Path, state: FileState) -> bool {
        self.known.get(path) == Some(&state)
    }

    /// Keeps a result: a line of JSON.
    pub fn keep(&mut self, path: PathBuf, state: FileState, row: &str) -> Result<(), Error> {
        append(&mut open(&self.results)?, row)?;
        self.note(path, state, None)
    }

    /// Keeps that a file could not be scored.
    pub fn fail(&mut self, path: PathBuf, state: FileState, error: String) -> Result<(), Error> {
        self.note(path, state, Some(error))
    }

    fn note(
        &mut self,
        path: PathBuf,
        state: FileState,
        error: Option<String>,
    ) -> Result<(), Error> {
        let seen = Seen { path, state, error };
        append(&mut self.seen, &serde_json::to_string(&seen).expect("text and numbers"))?;
        self.known.insert(seen.path, state);
        Ok(())
    }
}

fn foreign(file: &Path) -> Error {
    let why = "holds something else than what `blemish watch` writes; give another folder";
    Error::setting(format!("out {}", file.display()), why)
}

fn open(path: &Path) -> Result<(PathBuf, File), Error> {
    Ok((path.to_path_buf(), blemish::files::append(path)?))
}

/// All lines with an end. What follows the last one is cut off.
fn whole_lines((path, file): &mut (PathBuf, File)) -> Result<Vec<String>, Error> {
    let failed = |source| Error::Read { path: path.clone(), source };
    let (mut lines, mut whole, mut line) = (Vec::new(), 0, Vec::new());
    let mut reader = BufReader::new(&*file);
    while reader.read_until(b'\n', &mut line).map_err(failed)? > 0 && line.ends_with(b"\n") {
        whole += line.len() as u64;
        lines.push(String::from_utf8_lossy(&line).trim_end().to_string());
        line.clear();
    }
    if !line.is_empty() {
        file.set_len(whole).map_err(|source| Error::Write { path: path.clone(), source })?;
    }
    Ok(lines)
}

/// Appends a line, and waits until the disk has it.
fn append((path, file): &mut (PathBuf, File), line: &str) -> Result<(), Error> {
    let written = file.write_all(format!("{line}\n").as_bytes()).and_then(|()| file.sync_data());
    written.map_err(|source| Error::Write { path: path.clone(), source })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_killed_run_loses_and_repeats_nothing() {
        let out = tempfile::tempdir().unwrap();
        let photo = out.path().join("a.png");
        std::fs::write(&photo, "1").unwrap();
        let (state, row) = (FileState::of(&photo).unwrap(), format!("{{\"path\":{photo:?}}}"));
        let mut log = Log::open(out.path()).unwrap();
        assert!(
            Log::open(out.path()).err().unwrap().to_string().contains("another `blemish watch`")
        );
        assert!(!log.has(&photo, state));
        log.keep(photo.clone(), state, &row).unwrap();
        log.fail(out.path().join("b.png"), state, "no photo".into()).unwrap();
        drop(log);
        let text = |name: &str| std::fs::read_to_string(out.path().join(name)).unwrap();
        // Killed within a result.
        std::fs::write(out.path().join(RESULTS), text(RESULTS) + "{\"pa").unwrap();
        let log = Log::open(out.path()).unwrap();
        assert!(log.has(&photo, state) && log.has(&out.path().join("b.png"), state));
        assert_eq!(text(RESULTS), format!("{row}\n"));
        drop(log);
        // Killed between the result and the note that it is there.
        std::fs::write(out.path().join(SEEN), "").unwrap();
        assert!(Log::open(out.path()).unwrap().has(&photo, state));
        // The same, and another photo of this name has come meanwhile.
        std::fs::write(out.path().join(SEEN), "").unwrap();
        let later = std::time::SystemTime::now() + std::time::Duration::from_secs(5);
        File::options().write(true).open(&photo).unwrap().set_modified(later).unwrap();
        assert!(!Log::open(out.path()).unwrap().has(&photo, FileState::of(&photo).unwrap()));
        // The camera writes another photo of this name.
        std::fs::write(&photo, "12").unwrap();
        assert!(!Log::open(out.path()).unwrap().has(&photo, FileState::of(&photo).unwrap()));
        #[cfg(unix)]
        {
            let other = tempfile::tempdir().unwrap();
            std::os::unix::fs::symlink(&photo, other.path().join(RESULTS)).unwrap();
            assert!(Log::open(other.path()).err().unwrap().to_string().contains("is a link"));
        }
        std::fs::write(out.path().join(SEEN), "other\n").unwrap();
        assert!(Log::open(out.path()).err().unwrap().to_string().contains("holds something else"));
    }
}
