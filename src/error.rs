//! The error type of the library. Every message is a single line. It names the file or the setting, and says what is
//! wrong and what to do. It includes the message of its source.

use std::cell::Cell;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};

/// The result type of the library's functions.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// All errors, by what has to be corrected.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// A photo that cannot be read or used.
    #[error("{}: {why}", path.display())]
    Photo {
        /// The photo's file.
        path: PathBuf,
        /// What is wrong with it.
        why: String,
    },
    /// A checkpoint whose files are missing, damaged or of an unknown kind.
    #[error("model {model}: {why}")]
    Model {
        /// The model as the user named it, or the file inside it.
        model: String,
        /// What is wrong with it.
        why: String,
    },
    /// A prompt file with a mistake in it.
    #[error("{file}: {why}")]
    Prompts {
        /// The file, with line and column where known.
        file: String,
        /// What is wrong with it.
        why: String,
    },
    /// An adapter file that cannot be used, or does not fit the model.
    #[error("adapter {adapter}: {why}")]
    Adapter {
        /// The adapter's file.
        adapter: String,
        /// What is wrong with it.
        why: String,
    },
    /// A data set with a wrong layout, or without something that is needed.
    #[error("{}: {why}", path.display())]
    Data {
        /// The file or folder.
        path: PathBuf,
        /// What is wrong with it.
        why: String,
    },
    /// A product file that cannot be used, or does not fit the model.
    #[error("{}: {why}", path.display())]
    Profile {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        why: String,
    },
    /// A setting that cannot be used: the caller's mistake.
    #[error("{setting}: {why}")]
    Setting {
        /// The setting, with its value.
        setting: String,
        /// Why it cannot be used, and what to use instead.
        why: String,
    },
    /// A file or folder that could not be read.
    #[error("{}: cannot read: {source}", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// The system's reason.
        source: std::io::Error,
    },
    /// A file or folder that could not be written.
    #[error("{}: cannot write: {source}", path.display())]
    Write {
        /// The file.
        path: PathBuf,
        /// The system's reason.
        source: std::io::Error,
    },
    /// Tensor arithmetic that failed: a bug in blemish, or a device that is out of memory.
    #[error("tensor arithmetic failed: {}", first_line(.0))]
    Tensor(#[from] candle_core::Error),
}

impl Error {
    /// Whether the caller asked for something impossible (exit code 2). Other errors happened during the work (exit
    /// code 1).
    pub fn is_usage(&self) -> bool {
        matches!(self, Error::Setting { .. } | Error::Prompts { .. })
    }

    pub(crate) fn photo(path: &Path, why: impl ToString) -> Self {
        Error::Photo { path: path.into(), why: one_line(why) }
    }

    pub(crate) fn model(model: impl ToString, why: impl ToString) -> Self {
        Error::Model { model: model.to_string(), why: one_line(why) }
    }

    pub(crate) fn adapter(adapter: impl ToString, why: impl ToString) -> Self {
        Error::Adapter { adapter: adapter.to_string(), why: one_line(why) }
    }

    pub(crate) fn data(path: &Path, why: impl ToString) -> Self {
        Error::Data { path: path.into(), why: one_line(why) }
    }

    pub(crate) fn profile(path: &Path, why: impl ToString) -> Self {
        Error::Profile { path: path.into(), why: one_line(why) }
    }

    /// A setting that cannot be used, and why, on one line.
    pub fn setting(setting: impl ToString, why: impl ToString) -> Self {
        Error::Setting { setting: one_line(setting), why: one_line(why) }
    }

    pub(crate) fn read(path: &Path) -> impl FnOnce(std::io::Error) -> Self {
        let path = path.to_path_buf();
        move |source| Error::Read { path, source }
    }

    pub(crate) fn write(path: &Path) -> impl FnOnce(std::io::Error) -> Self {
        let path = path.to_path_buf();
        move |source| Error::Write { path, source }
    }
}

thread_local!(static CATCHES: Cell<bool> = const { Cell::new(false) });

/// Runs code of other crates on untrusted bytes. `None` if it panics.
pub(crate) fn catch_panic<T>(work: impl FnOnce() -> T) -> Option<T> {
    let before = CATCHES.replace(true);
    // After a panic, everything that `work` made is dropped, so nothing half-changed is used.
    let result = catch_unwind(AssertUnwindSafe(work));
    CATCHES.set(before);
    result.ok()
}

/// Whether a panic of this thread will become an [`Error`]. Then a program's own panic hook need not print it.
pub fn catches_panics() -> bool {
    CATCHES.get()
}

/// Messages of other crates may have several lines (parsers draw arrows). Ours have one.
fn one_line(text: impl ToString) -> String {
    text.to_string().split_whitespace().collect::<Vec<_>>().join(" ")
}

/// candle appends a backtrace to its message if it captured one.
fn first_line(error: &candle_core::Error) -> String {
    error.to_string().lines().next().unwrap_or_default().to_string()
}

/// `Debug` for types that hold weights, threads or methods: their name alone.
macro_rules! opaque_debug {
    ($type:ty) => {
        impl std::fmt::Debug for $type {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.debug_struct(stringify!($type)).finish_non_exhaustive()
            }
        }
    };
}
pub(crate) use opaque_debug;
