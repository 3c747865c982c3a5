//! Continues a run: results are appended to a file, and photos that it has are not scored again.

use std::fs::{File, OpenOptions};
use std::io::{BufRead, BufReader, Read, Seek};
use std::path::{Path, PathBuf};

use blemish::Error;
use blemish::report::SCHEMA;
use serde_json::Value;

/// A longer line is no result: a result has a few kilobytes.
const LONGEST_LINE: u64 = 16 << 20;

/// The file of results.
pub struct ResultFile {
    pub path: PathBuf,
    /// Only this process appends to it.
    pub file: File,
    /// The results that it has.
    pub results: Vec<Value>,
}

/// What all results of a file have in common.
pub struct Settings<'a> {
    pub product: &'a str,
    pub method: &'a str,
    pub model_sha256: &'a str,
    pub profile_sha256: Option<&'a str>,
    pub size: usize,
    pub fit: &'a str,
    pub draws: bool,
}

impl ResultFile {
    /// Opens or makes the file. A last line without an end was cut when a run was killed: it is removed.
    ///
    /// # Errors
    /// If the file cannot be used, if it holds something else, or if another process uses it.
    pub fn open(path: &Path) -> anyhow::Result<Self> {
        let failed = |source| Error::Write { path: path.to_path_buf(), source };
        let mut options = OpenOptions::new();
        let mut file = options.read(true).append(true).create(true).open(path).map_err(failed)?;
        let refuse = |why: &str| Error::setting(format!("resume {}", path.display()), why);
        if file.try_lock().is_err() {
            return Err(refuse("another run appends to it; wait for its end").into());
        }
        let mut reader = BufReader::new(&file);
        let (mut results, mut whole, mut line) = (Vec::new(), 0, String::new());
        loop {
            line.clear();
            let read = (&mut reader).take(LONGEST_LINE).read_line(&mut line);
            let read = read.map_err(|source| Error::Read { path: path.to_path_buf(), source })?;
            if !line.ends_with('\n') {
                break;
            }
            whole += read as u64;
            let row = serde_json::from_str::<Value>(&line).ok();
            let row = row.filter(|row| row["schema"] == SCHEMA && row["path"].is_string());
            let why =
                "holds something else than results of `score` in JSON Lines; give another file";
            results.push(row.ok_or_else(|| refuse(why))?);
        }
        file.set_len(whole).map_err(failed)?;
        file.seek(std::io::SeekFrom::End(0)).map_err(failed)?;
        Ok(Self { path: path.into(), file, results })
    }

    /// The paths of the photos that it has.
    pub fn paths(&self) -> impl Iterator<Item = &str> {
        self.results.iter().filter_map(|row| row["path"].as_str())
    }

    /// Refuses results that were made otherwise.
    ///
    /// # Errors
    /// [`Error::Setting`] that names what differs.
    pub fn check(&self, settings: &Settings) -> Result<(), Error> {
        let Some(row) = self.results.first() else { return Ok(()) };
        let differs = [
            ("product", row["product"] != settings.product),
            ("method", row["method"] != settings.method),
            ("model", row["model_sha256"] != settings.model_sha256),
            ("profile", row["profile_sha256"].as_str() != settings.profile_sha256),
            ("input size", row["size"] != settings.size),
            ("fit", row["fit"] != settings.fit),
            ("--out", row["overlay"].is_string() != settings.draws),
        ];
        match differs.iter().find(|(_, differs)| *differs) {
            None => Ok(()),
            Some((what, _)) => {
                let why = format!("holds results of another {what}; give another file");
                Err(Error::setting(format!("resume {}", self.path.display()), why))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cut_line_is_removed_and_other_files_are_refused() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("results.jsonl");
        let line = format!("{{\"schema\":{SCHEMA},\"path\":\"a.png\",\"product\":\"nut\"}}\n");
        std::fs::write(&path, format!("{line}{}", &line[..20])).unwrap();
        let open = ResultFile::open(&path).unwrap();
        assert_eq!(open.results.len(), 1);
        assert_eq!(std::fs::read_to_string(&path).unwrap(), line);
        assert!(ResultFile::open(&path).is_err(), "one process at a time");
        drop(open);
        std::fs::write(&path, "score,path\n0.1,a.png\n").unwrap();
        let error = ResultFile::open(&path).err().unwrap().to_string();
        assert!(error.contains("something else"), "{error}");
        assert_eq!(std::fs::read_to_string(&path).unwrap().lines().count(), 2, "it stays");
    }
}
