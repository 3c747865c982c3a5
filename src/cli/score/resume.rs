//! Continues a run: results are appended to a file, and photos that it has are not scored again.

use std::collections::HashSet;
use std::fs::{File, OpenOptions, TryLockError};
use std::io::{BufRead, BufReader, Read};
use std::path::{Path, PathBuf};

use blemish::profile::TilesAbout;
use blemish::report::SCHEMA;
use blemish::scorer::Context;
use blemish::{Adapter, Error};
use serde_json::Value;

use crate::cli::inputs::{place, real};

/// A longer line is no result: a result has a few kilobytes.
const LONGEST_LINE: u64 = 16 << 20;
/// The start of every result.
const START: &[u8] = b"{\"schema\":";

/// The file of results.
pub struct ResultFile {
    pub path: PathBuf,
    /// Only this process appends to it.
    pub file: File,
    /// The results that it has of the photos of this run.
    pub results: Vec<Value>,
    /// The length without the last line, if that line was cut.
    whole: Option<u64>,
}

/// What all results of a file have in common.
pub struct Settings<'a> {
    pub product: &'a str,
    pub method: &'a str,
    pub model_sha256: &'a str,
    pub profile_sha256: Option<&'a str>,
    pub size: usize,
    pub tiles: Option<TilesAbout>,
    pub precision: &'a str,
    pub fit: &'a str,
    pub prompts_sha256: &'a str,
    pub adapter_sha256: Option<&'a str>,
    pub false_alarm: Option<f64>,
    pub region: Option<&'a str>,
    /// How the photos of a part are joined.
    pub fuse: Option<&'a str>,
    /// The folder of `--out`.
    pub out: Option<&'a Path>,
}

impl<'a> Settings<'a> {
    /// `method`: the name of the method. `fuse`: how the photos of a part are joined. `out`: the folder of `--out`.
    pub fn of(
        context: &'a Context,
        (method, fuse): (&'a str, Option<&'a str>),
        out: Option<&'a Path>,
    ) -> Self {
        let model = context.model();
        Self {
            product: context.product().name(),
            method,
            model_sha256: &model.sha256,
            profile_sha256: context.profile_sha256(),
            size: model.size,
            tiles: model.tiles,
            precision: model.precision,
            fit: context.fit().name(),
            prompts_sha256: context.prompts_sha256(),
            adapter_sha256: context.adapter().map(Adapter::sha256),
            false_alarm: context.false_alarm(),
            region: context.region_about().map(|region| &*region.file),
            fuse,
            out,
        }
    }

    /// Whether a result has its pictures in the same folder.
    fn is_drawn_like(&self, row: &Value) -> bool {
        match (row["overlay"].as_str(), self.out) {
            (Some(overlay), Some(out)) => place(Path::new(overlay)).starts_with(real(out)),
            (overlay, out) => overlay.is_none() && out.is_none(),
        }
    }
}

fn tiles_of(row: &Value) -> Option<TilesAbout> {
    let number = |name: &str| row[name].as_u64().map(|number| number as usize);
    Some(TilesAbout { count: number("tiles")?, overlap: number("tile_overlap")? })
}

/// The place of a result's photo.
fn place_of(row: &Value) -> PathBuf {
    place(Path::new(row["path"].as_str().unwrap_or_default()))
}

impl ResultFile {
    /// Opens or makes the file. A last line without an end was cut when a run was killed:
    /// [`Self::check`] removes it.
    ///
    /// # Errors
    /// If the file cannot be used, if it holds something else, or if another process uses it.
    pub fn open(path: &Path) -> anyhow::Result<Self> {
        let failed = |source| Error::Write { path: path.to_path_buf(), source };
        let refuse = |why: &str| Error::setting(format!("resume {}", path.display()), why);
        if path.exists() && !path.is_file() {
            return Err(refuse("is no file; give a file").into());
        }
        let mut options = OpenOptions::new();
        let file = options.read(true).append(true).create(true).open(path).map_err(failed)?;
        match file.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => {
                return Err(refuse("another run appends to it; wait for its end").into());
            }
            Err(TryLockError::Error(source)) => return Err(failed(source).into()),
        }
        let mut reader = BufReader::new(&file);
        let (mut results, mut whole, mut line) = (Vec::new(), 0, Vec::new());
        let other = "holds something else than results of `score` in JSON Lines; give another file";
        loop {
            line.clear();
            let read = (&mut reader).take(LONGEST_LINE).read_until(b'\n', &mut line);
            let read = read.map_err(|source| Error::Read { path: path.to_path_buf(), source })?;
            if !line.ends_with(b"\n") {
                // Only the start of a result may be cut off.
                if !line.starts_with(&START[..line.len().min(START.len())]) {
                    return Err(refuse(other).into());
                }
                break;
            }
            whole += read as u64;
            let row = serde_json::from_slice::<Value>(&line).ok();
            let row = row.filter(|row| row["schema"] == SCHEMA && row["path"].is_string());
            results.push(row.ok_or_else(|| refuse(other))?);
        }
        let is_cut = !line.is_empty();
        Ok(Self { path: path.into(), file, whole: is_cut.then_some(whole), results })
    }

    /// The places of the photos that it has.
    pub fn places(&self) -> impl Iterator<Item = PathBuf> {
        self.results.iter().map(place_of)
    }

    /// Drops the results of other photos. They stay in the file.
    pub fn keep_only(&mut self, places: &HashSet<&PathBuf>) {
        self.results.retain(|row| places.contains(&place_of(row)));
    }

    /// Refuses results that were made otherwise. Then removes a line that was cut.
    ///
    /// # Errors
    /// [`Error::Setting`] that names what differs, or [`Error::Write`].
    pub fn check(&self, settings: &Settings) -> Result<(), Error> {
        self.compare(settings)?;
        let failed = |source| Error::Write { path: self.path.clone(), source };
        self.whole.map_or(Ok(()), |whole| self.file.set_len(whole).map_err(failed))
    }

    fn compare(&self, settings: &Settings) -> Result<(), Error> {
        let Some(row) = self.results.first() else { return Ok(()) };
        let differs = [
            ("product", row["product"] != settings.product),
            ("method", row["method"] != settings.method),
            ("model", row["model_sha256"] != settings.model_sha256),
            ("profile", row["profile_sha256"].as_str() != settings.profile_sha256),
            ("input size", row["size"] != settings.size),
            // Older results do not have these.
            ("kind of tiles", tiles_of(row) != settings.tiles),
            ("precision", row["precision"].as_str().unwrap_or("f32") != settings.precision),
            ("fit", row["fit"] != settings.fit),
            ("prompt file", row["prompts_sha256"] != settings.prompts_sha256),
            ("adapter", row["adapter"]["sha256"].as_str() != settings.adapter_sha256),
            ("false-alarm rate", row["false_alarm"].as_f64() != settings.false_alarm),
            ("region of interest", row["region"].as_str() != settings.region),
            ("rule of --fuse", row["fuse"].as_str() != settings.fuse),
            ("folder of --out", !settings.is_drawn_like(row)),
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
        assert_eq!((open.results.len(), open.whole), (1, Some(line.len() as u64)));
        assert!(ResultFile::open(&path).is_err(), "one process at a time");
        drop(open);
        // A letter of several bytes can be cut, too.
        std::fs::write(&path, [line.as_bytes(), b"{\"schema\":1,\"path\":\"\xea\xb0"].concat())
            .unwrap();
        assert_eq!(ResultFile::open(&path).unwrap().results.len(), 1);
        for other in ["score,path\n0.1,a.png\n", "notes", "{\"a\":1}"] {
            std::fs::write(&path, other).unwrap();
            let error = ResultFile::open(&path).err().unwrap().to_string();
            assert!(error.contains("something else"), "{error}");
            assert_eq!(std::fs::read_to_string(&path).unwrap(), other, "it stays");
        }
    }
}
