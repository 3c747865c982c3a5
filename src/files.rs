//! Opens files within limits. Writes files completely or not at all, even if the program is stopped.

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::fs::File;
use std::io::{Error as IoError, ErrorKind, Read, Result as IoResult, Write};
use std::path::{Component, Path, PathBuf};
use std::sync::{Mutex, MutexGuard};

use candle_core::Tensor;
use sha2::{Digest, Sha256};

use crate::error::{Error, Result};

static WRITING: Mutex<()> = Mutex::new(());

/// Opens a regular file of at most `most` bytes. Pipes and devices are refused, because they could hang or never end.
///
/// # Errors
/// The system's error, or a message that says what the file is instead.
pub fn open(path: &Path, most: u64) -> IoResult<File> {
    let mut options = File::options();
    options.read(true);
    // Without `O_NONBLOCK`, a pipe that nobody writes to would hang here.
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::custom_flags(&mut options, libc::O_NONBLOCK);
    let file = options.open(path)?;
    let metadata = file.metadata()?;
    let refuse = |why: String| Err(IoError::new(ErrorKind::InvalidInput, why));
    if metadata.is_dir() {
        return refuse("is a folder; give a file".into());
    }
    if !metadata.is_file() {
        return refuse("is a pipe or a device; give a file".into());
    }
    if metadata.len() > most {
        return refuse(too_large(most));
    }
    Ok(file)
}

/// Opens a file for reading and appending. Creates it if it is missing. A link is refused, because it could lead to any
/// file.
///
/// # Errors
/// [`Error::Write`], and [`Error::Setting`] for a link.
pub fn append(path: &Path) -> Result<File> {
    let mut options = File::options();
    options.read(true).append(true).create(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::custom_flags(
        &mut options,
        libc::O_NOFOLLOW | libc::O_NONBLOCK,
    );
    if path.is_symlink() {
        return Err(Error::setting(
            format!("the file {}", path.display()),
            "is a link; remove it, or give another folder",
        ));
    }
    options.open(path).map_err(Error::write(path))
}

/// The content of a regular file of at most `most` bytes.
///
/// # Errors
/// As [`open`].
pub fn read(path: &Path, most: u64) -> IoResult<Vec<u8>> {
    read_bounded(open(path, most)?, most)
}

/// The content of a text that people write: from a file, a pipe, or standard input (`-`).
///
/// # Errors
/// The system's error, or a message if there are more than `most` bytes.
pub fn read_text(path: &Path, most: u64) -> IoResult<Vec<u8>> {
    if path == Path::new("-") {
        return read_bounded(std::io::stdin().lock(), most);
    }
    read_bounded(File::open(path)?, most)
}

fn read_bounded(from: impl Read, most: u64) -> IoResult<Vec<u8>> {
    let mut bytes = Vec::new();
    // The file may grow while it is read.
    from.take(most.saturating_add(1)).read_to_end(&mut bytes)?;
    if bytes.len() as u64 > most {
        return Err(IoError::new(ErrorKind::InvalidInput, too_large(most)));
    }
    Ok(bytes)
}

fn too_large(most: u64) -> String {
    const UNITS: [(u64, &str); 3] = [(1 << 30, "GiB"), (1 << 20, "MiB"), (1 << 10, "KiB")];
    let unit = UNITS.into_iter().find(|(bytes, _)| most >= *bytes);
    let (bytes, name) = unit.unwrap_or((1, "bytes"));
    format!("is larger than {} {name}, the most that is read here", most / bytes)
}

/// A path below `root` from untrusted names, for example from the list of a data set or from a hub. It cannot lead out
/// of `root`.
///
/// # Errors
/// [`Error::Data`] for a name that is empty, is a path, or is `.` or `..`.
pub fn below(root: &Path, names: &[&OsStr]) -> Result<PathBuf> {
    let mut path = root.to_path_buf();
    for name in names {
        let mut parts = Path::new(name).components();
        let is_plain = matches!((parts.next(), parts.next()), (Some(Component::Normal(part)), None) if part == *name);
        if !is_plain || name.as_encoded_bytes().contains(&0) {
            let why = format!("cannot hold {name:?}: give a plain name, without folders");
            return Err(Error::data(root, why));
        }
        path.push(name);
    }
    Ok(path)
}

/// Writes a file of the cache, with a hash that detects damage and edits.
///
/// # Errors
/// [`Error::Write`].
pub(crate) fn keep(path: &Path, bytes: &[u8]) -> Result<()> {
    write_whole(path, &sealed(&name_of(path), bytes))
}

/// The content that [`keep`] wrote. `None` if the file is missing, was changed, or holds the content of another file.
pub(crate) fn kept(path: &Path, most: u64) -> Option<Vec<u8>> {
    unsealed(&name_of(path), read(path, most).ok()?)
}

fn name_of(path: &Path) -> Vec<u8> {
    path.file_name().unwrap_or_default().as_encoded_bytes().to_vec()
}

/// Puts a SHA-256 in hexadecimal before the content. The hash covers the content and `of`, which says what the content
/// is for.
pub(crate) fn sealed(of: &[u8], bytes: &[u8]) -> Vec<u8> {
    [sha256(&[of, bytes].concat()).as_bytes(), bytes].concat()
}

/// The content that was [`sealed`]. `None` if it was changed, or is for something else.
pub(crate) fn unsealed(of: &[u8], mut bytes: Vec<u8>) -> Option<Vec<u8>> {
    let rest = bytes.split_off(bytes.len().min(64));
    (sha256(&[of, &rest].concat()).as_bytes() == bytes).then_some(rest)
}

/// Writes a file through a temporary file beside it. Creates folders as needed.
///
/// # Errors
/// [`Error::Write`]. The file is then unchanged.
pub fn write_whole(path: &Path, bytes: &[u8]) -> Result<()> {
    let _writing = lock();
    let folder = path.parent().filter(|p| !p.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let mut builder = tempfile::Builder::new();
    #[cfg(unix)]
    {
        // A temporary file is private by default. A result should be as readable as any other file.
        use std::os::unix::fs::PermissionsExt;
        builder.permissions(std::fs::Permissions::from_mode(0o666));
    }
    let mut write = || {
        // The new file would replace the pipe or device.
        let is_other = |m: std::fs::Metadata| !m.is_file() && !m.is_symlink() && !m.is_dir();
        if path.symlink_metadata().is_ok_and(is_other) {
            return Err(IoError::other("is a pipe or a device; give another name"));
        }
        std::fs::create_dir_all(folder)?;
        let mut file = builder.prefix(".blemish-").tempfile_in(folder)?;
        file.write_all(bytes)?;
        file.persist(path)?;
        Ok(())
    };
    write().map_err(Error::write(path))
}

/// Creates a folder and checks, before the work begins, that files can be written into it. The file for this check has
/// no name, so no other process and no link can interfere.
///
/// # Errors
/// [`Error::Write`].
pub fn check_folder(folder: &Path) -> Result<()> {
    let check = || -> IoResult<()> {
        std::fs::create_dir_all(folder)?;
        tempfile::tempfile_in(folder)?.write_all(b" ")
    };
    check().map_err(Error::write(folder))
}

/// The folder of blemish's cache: `$BLEMISH_CACHE`, or `blemish` in the user's cache folder. `None` without a home
/// folder.
pub fn cache_folder() -> Option<PathBuf> {
    let path = |name| std::env::var_os(name).filter(|v| !v.is_empty()).map(PathBuf::from);
    path("BLEMISH_CACHE").or_else(|| {
        let caches = path("XDG_CACHE_HOME")
            .or_else(|| std::env::home_dir().map(|home| home.join(".cache")))?;
        Some(caches.join("blemish"))
    })
}

/// SHA-256 of files one after another, in hexadecimal.
///
/// # Errors
/// [`Error::Read`].
pub fn files_sha256(paths: &[PathBuf]) -> Result<String> {
    let mut hasher = Sha256::new();
    for path in paths {
        read_parts(path, |part| hasher.update(part)).map_err(Error::read(path))?;
    }
    Ok(hex(&hasher.finalize()))
}

/// Reads a file of any size in parts.
pub(crate) fn read_parts(path: &Path, mut take: impl FnMut(&[u8])) -> IoResult<()> {
    let mut file = open(path, u64::MAX)?;
    let mut buffer = vec![0; 1 << 20];
    loop {
        match file.read(&mut buffer)? {
            0 => return Ok(()),
            n => take(&buffer[..n]),
        }
    }
}

/// SHA-256 of some bytes, in hexadecimal.
pub fn sha256(bytes: &[u8]) -> String {
    hex(&Sha256::digest(bytes))
}

pub(crate) fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|b| format!("{b:02x}")).collect()
}

/// The content of a safetensors file. The same tensors and metadata always give the same bytes. (The crate writes
/// metadata in the order of a hash map, which changes every time.)
pub(crate) fn safetensors_bytes<'a>(
    tensors: impl IntoIterator<Item = (String, &'a Tensor)>,
    metadata: BTreeMap<String, String>,
) -> Result<Vec<u8>, String> {
    let bytes = safetensors::serialize(tensors, None).map_err(|e| e.to_string())?;
    let length = bytes.first_chunk().map_or(0, |n| u64::from_le_bytes(*n)) as usize;
    let (header, data) = bytes[8..].split_at(length);
    let mut header: serde_json::Map<String, serde_json::Value> =
        serde_json::from_slice(header).map_err(|e| e.to_string())?;
    header.insert("__metadata__".into(), serde_json::json!(metadata));
    let mut header = serde_json::to_vec(&header).map_err(|e| e.to_string())?;
    // Tensors begin at a multiple of 8 bytes.
    header.resize(header.len().next_multiple_of(8), b' ');
    Ok([&(header.len() as u64).to_le_bytes()[..], &header, data].concat())
}

/// Waits until the current file is written. No other write begins while the guard lives. Hold it when the process ends
/// early.
pub fn stop_writing() -> impl Drop {
    lock()
}

fn lock() -> MutexGuard<'static, ()> {
    WRITING.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_from_elsewhere_stay_below_their_root() {
        let path = |name: &str| below(Path::new("/root"), &["a".as_ref(), name.as_ref()]);
        for name in ["", ".", "..", "/", "/etc", "b/c", "b/", "../..", "x\0y"] {
            assert!(path(name).is_err(), "{name:?}");
        }
        for name in ["b", "b c", "..b", "b.tiff", "뚜껑"] {
            assert_eq!(path(name).unwrap(), Path::new("/root/a").join(name));
        }
    }

    #[test]
    fn what_is_kept_is_what_is_found_or_nothing() {
        let folder = tempfile::tempdir().unwrap();
        let (path, other) = (folder.path().join("a"), folder.path().join("b"));
        keep(&path, b"content").unwrap();
        assert_eq!(kept(&path, 100).unwrap(), b"content");
        assert_eq!(kept(&path, 70), None, "larger than what may be read");
        std::fs::copy(&path, &other).unwrap();
        assert_eq!(kept(&other, 100), None, "another entry's content");
        let whole = std::fs::read(&path).unwrap();
        for at in 0..whole.len() {
            let mut altered = whole.clone();
            altered[at] ^= 1;
            std::fs::write(&path, &altered).unwrap();
            assert_eq!(kept(&path, 100), None, "{at}");
            std::fs::write(&path, &whole[..at]).unwrap();
            assert_eq!(kept(&path, 100), None, "cut at {at}");
        }
    }

    #[cfg(unix)]
    #[test]
    fn only_regular_files_are_opened() {
        let folder = tempfile::tempdir().unwrap();
        let pipe = folder.path().join("pipe");
        assert!(std::process::Command::new("mkfifo").arg(&pipe).status().unwrap().success());
        for (path, why) in [
            (pipe.as_path(), "is a pipe or a device"),
            (Path::new("/dev/zero"), "is a pipe or a device"),
            (folder.path(), "is a folder"),
        ] {
            assert!(read(path, 100).unwrap_err().to_string().contains(why), "{path:?}");
        }
        assert!(
            read_text(Path::new("/dev/zero"), 1 << 20).unwrap_err().to_string().contains("1 MiB")
        );
    }

    #[test]
    fn a_file_is_replaced_whole_and_nothing_else_is_left() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a/b.txt");
        write_whole(&path, b"first").unwrap();
        write_whole(&path, b"second").unwrap();
        assert_eq!(std::fs::read(&path).unwrap(), b"second");
        assert_eq!(std::fs::read_dir(path.parent().unwrap()).unwrap().count(), 1);
        // A folder in the file's place.
        let error = write_whole(folder.path().join("a").as_path(), b"x").unwrap_err();
        assert!(error.to_string().contains("cannot write"), "{error}");
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 1);
    }
}
