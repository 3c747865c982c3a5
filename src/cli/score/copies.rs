//! Copies photos into the folders of their verdicts, for `--copy-to`.

use std::collections::HashSet;
use std::path::{Path, PathBuf};

use blemish::Error;
use blemish::files::{read, write_whole};
use blemish::profile::Decision;

use crate::cli::inputs::place;

/// All verdicts.
pub const VERDICTS: [Decision; 3] = [Decision::Ok, Decision::Ng, Decision::Uncertain];

/// Where the copies go.
pub struct Copies {
    /// The folder of `--copy-to`.
    pub to: PathBuf,
    /// For each photo of the plan, its path in the folder of its verdict.
    pub below: Vec<PathBuf>,
    /// The places of all photos of the run. A photo is no copy.
    pub photos: HashSet<PathBuf>,
}

impl Copies {
    /// Copies a photo, whole or not at all. Another photo is never replaced. A copy of it in the folder of another
    /// verdict, from an earlier run, is removed.
    pub fn keep(&self, photo: usize, path: &Path, verdict: &str) -> blemish::Result<()> {
        let of = |verdict: &str| self.to.join(verdict).join(&self.below[photo]);
        let is_there = |path: &Path| path.symlink_metadata().is_ok();
        let content = |path: &Path| {
            let bytes = read(path, u64::MAX);
            bytes.map_err(|source| Error::Read { path: path.to_path_buf(), source })
        };
        let bytes = content(path)?;
        for other in VERDICTS.map(Decision::name).into_iter().filter(|other| *other != verdict) {
            let copy = of(other);
            let is_copy = is_there(&copy) && !self.photos.contains(&place(&copy));
            if is_copy && content(&copy)? == bytes {
                std::fs::remove_file(&copy)
                    .map_err(|source| Error::Write { path: copy.clone(), source })?;
            }
        }
        let copy = of(verdict);
        if !is_there(&copy) {
            return write_whole(&copy, &bytes);
        }
        if content(&copy)? == bytes {
            return Ok(());
        }
        let why = "is there and is another photo; give another folder with --copy-to";
        Err(Error::Data { path: copy, why: why.into() })
    }
}
