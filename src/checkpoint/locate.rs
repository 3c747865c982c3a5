//! Finds the files of a model from its name.

use super::files::Files;
#[cfg(feature = "hub")]
use super::hub;
use super::source::{Source, parse};
use crate::error::Result;

/// The files of a model. Downloads them if they are not cached.
pub(crate) fn find(name: &str) -> Result<Files> {
    match parse(name)? {
        Source::Embedded => Ok(Files::Embedded),
        Source::Folder(folder) => Ok(Files::Folder(folder)),
        Source::Repository(repository) => {
            let folder = match hub::cached(&repository) {
                Some(folder) => folder,
                None => hub::download(&repository, &mut |_| {})?,
            };
            Ok(Files::Folder(folder))
        }
    }
}

/// Whether a model can be opened without the network.
pub fn is_cached(name: &str) -> bool {
    match parse(name) {
        Ok(Source::Repository(repository)) => hub::cached(&repository).is_some(),
        Ok(Source::Embedded | Source::Folder(_)) => true,
        Err(_) => false,
    }
}

/// Replaces downloads in a build without the feature `hub`.
#[cfg(not(feature = "hub"))]
mod hub {
    use std::path::PathBuf;

    use crate::checkpoint::source::Repository;
    use crate::error::{Error, Result};

    pub fn cached(_: &Repository) -> Option<PathBuf> {
        None
    }

    pub fn download(repository: &Repository, _: &mut dyn FnMut(())) -> Result<PathBuf> {
        Err(Error::setting(
            format!("model {repository}"),
            "this build has no downloads (cargo feature `hub`); give a folder",
        ))
    }
}
