//! Downloads from the Hugging Face hub into the cache that Python's `huggingface_hub` also uses.
//!
//! It reads the same environment variables as `huggingface_hub`: `HF_HUB_CACHE`, `HF_HOME` and `XDG_CACHE_HOME` (where
//! the cache is), `HF_ENDPOINT` (a mirror), `HF_TOKEN` and `HF_TOKEN_PATH` (private repositories), `HF_HUB_OFFLINE`
//! (never use the network), `HF_HUB_DOWNLOAD_TIMEOUT` (seconds without an answer).
//!
//! A file gets its final name only if it is complete and has the hash that the hub stated.

use std::fs::{File, TryLockError};
use std::io::{Read, Write};
use std::path::{Path, PathBuf};
use std::time::Duration;

use hf_hub::{Cache, CacheRepo, Repo, RepoType};
use sha1::{Digest, Sha1};

use super::files::{Files, Manifest, Weights, shards};
use super::http::{Client, Failure};
use super::preprocessing::normalisation_from_hugging_face;
use super::source::{Repository, Source, parse};
use crate::error::{Error, Result};
use crate::files::{below, files_sha256, hex};

/// Retries after the first try. Each one continues where the last one stopped.
const RETRIES: u32 = 3;
/// Default timeout of a request: seconds without an answer.
const PATIENCE: f64 = 30.0;
/// Largest file that is downloaded. No supported checkpoint is larger.
const MOST_BYTES: u64 = 64 << 30;

/// Progress of a download.
#[derive(Clone, Debug)]
pub struct Download<'a> {
    /// The file that is being downloaded.
    pub file: &'a str,
    /// Bytes that have arrived.
    pub done: u64,
    /// Bytes in total.
    pub total: u64,
}

/// Downloads a model by name and reports progress. If the model is cached, checks for a newer revision. Does nothing
/// for `tiny` and for folders.
///
/// # Errors
/// [`Error::Setting`] for an unknown name. [`Error::Model`] if the hub cannot be reached, the repository does not
/// exist, or a file arrives damaged.
pub fn pull(name: &str, progress: &mut dyn FnMut(Download)) -> Result<()> {
    match parse(name)? {
        Source::Repository(repository) => {
            if is_offline() && cached(&repository).is_some() {
                return Ok(());
            }
            download(&repository, progress).map(|_| ())
        }
        Source::Embedded | Source::Folder(_) => Ok(()),
    }
}

/// The folder of a repository's cached snapshot, if it has all files that the model needs.
pub(crate) fn cached(repository: &Repository) -> Option<PathBuf> {
    let repo = cache_repo(repository)?;
    let refs = cache_dir()?.join(repo_of(repository).folder_name()).join("refs");
    let snapshot = match crate::files::read(&refs.join(&repository.revision), 1024) {
        Ok(commit) => repo.pointer_path(String::from_utf8_lossy(&commit).trim()),
        // A revision that is a commit has no file in `refs`.
        Err(_) => repo.pointer_path(&repository.revision),
    };
    let files = Files::Folder(snapshot.clone());
    let manifest = Manifest::choose(&files.names().ok()?).ok()?;
    let mut needed: Vec<String> = manifest.files().iter().map(|f| f.to_string()).collect();
    if let Weights::Sharded(index) = &manifest.weights {
        needed.extend(shards(&files.read(index).ok()?).ok()?);
    }
    // Python may have downloaded only some files. Without this file, the default mean and standard deviation would be
    // used, and they may be wrong.
    let says_colours = |file: &String| {
        let json = files.read(file).ok();
        json.is_some_and(|json| {
            !matches!(normalisation_from_hugging_face(file, &json, true), Ok(None))
        })
    };
    let complete = manifest.is_open_clip() || manifest.preprocessors.iter().any(says_colours);
    (complete && needed.iter().all(|file| snapshot.join(file).is_file())).then_some(snapshot)
}

/// Downloads the missing files of a repository. Returns its snapshot folder.
pub(crate) fn download(
    repository: &Repository,
    progress: &mut dyn FnMut(Download),
) -> Result<PathBuf> {
    let fail = |why: String| Error::model(repository, why);
    let cache =
        cache_dir().ok_or_else(|| fail("no home folder for the cache: set HF_HOME".into()))?;
    if is_offline() {
        return Err(fail(format!(
            "not in the cache {} and downloads are off; run `blemish models pull` with a network, or \
             give a folder as the model",
            cache.display()
        )));
    }
    #[derive(serde::Deserialize)]
    struct Sibling {
        rfilename: String,
    }
    #[derive(serde::Deserialize)]
    struct Info {
        sha: String,
        siblings: Vec<Sibling>,
    }
    let client = client().map_err(&fail)?;
    let Repository { id, revision } = repository;
    let revision = revision.replace('/', "%2F");
    let info = tries(|| client.json::<Info>(&format!("api/models/{id}/revision/{revision}")));
    let info = info.map_err(&fail)?;
    if !is_name(&info.sha) {
        return Err(fail(format!("the hub gives its commit as {:?}, which is no hash", info.sha)));
    }
    let names: Vec<String> = info.siblings.into_iter().map(|s| s.rfilename).collect();
    let manifest = Manifest::choose(&names).map_err(&fail)?;
    let local = Cache::new(cache.clone()).repo(repo_of(repository));
    let snapshot = local.pointer_path(&info.sha);
    let blobs = cache.join(repo_of(repository).folder_name()).join("blobs");
    let mut get = |file: &str| {
        let source = format!("{id}/resolve/{}/{file}", info.sha);
        let target = below(&snapshot, &[file.as_ref()])?;
        // A file that is already here may be damaged, or come from another program.
        if is_as_named(&target) {
            return Ok(());
        }
        let fetch = Fetch { client: &client, source, file, blobs: &blobs };
        let blob = fetch.run(progress).and_then(|blob| link(&blob, &target));
        blob.map_err(|why| Error::model(format!("{repository}, {file}"), why))
    };
    for file in manifest.files() {
        get(file)?;
    }
    if let Weights::Sharded(index) = &manifest.weights {
        let json = Files::Folder(snapshot.clone()).read(index)?;
        for file in shards(&json).map_err(|why| Error::model(index, why))? {
            get(&file)?;
        }
    }
    local.create_ref(&info.sha).map_err(|e| Error::model(repository, e))?;
    Ok(snapshot)
}

/// The download of one file.
struct Fetch<'a> {
    client: &'a Client,
    /// The file's path on the hub.
    source: String,
    file: &'a str,
    /// The cache's folder `blobs`. It holds the content of files.
    blobs: &'a Path,
}

impl Fetch<'_> {
    /// Downloads the file if its content is not in the cache, and checks it. If the check fails, downloads it once
    /// more. Returns the path of the content.
    fn run(&self, progress: &mut dyn FnMut(Download)) -> Result<PathBuf, String> {
        let (etag, total) = tries(|| self.promise())?;
        let blob = below(self.blobs, &[etag.as_ref()]).map_err(|e| e.to_string())?;
        let as_text = |e: std::io::Error| e.to_string();
        std::fs::create_dir_all(self.blobs).map_err(as_text)?;
        let _lock = Lock::take(blob.with_extension("lock"))?;
        if check(&blob, &etag, total).is_ok() {
            // An older revision has the same content.
            return Ok(blob);
        }
        let part = blob.with_extension("part");
        let mut last = String::new();
        // The partial file may have been damaged before this run. So if the check fails, download once more.
        for _ in 0..2 {
            tries(|| self.go_on(&part, total, progress))
                .map_err(|why| format!("{why} (what has arrived is kept)"))?;
            match check(&part, &etag, total) {
                Ok(()) => {
                    std::fs::rename(&part, &blob).map_err(as_text)?;
                    return Ok(blob);
                }
                Err(why) => last = why,
            }
            std::fs::remove_file(&part).map_err(as_text)?;
        }
        Err(format!("{last}; it was deleted: try again"))
    }

    /// The etag of the file, which names its content, and its length in bytes.
    fn promise(&self) -> Result<(String, u64), Failure> {
        let answer = self.client.get(&self.source, Some((0, Some(0))), 0)?;
        answer.refuse_page(b"")?;
        let etag = answer.first("x-linked-etag").or(answer.last("etag")).unwrap_or_default();
        let etag = etag.trim_start_matches("W/").trim_matches('"').to_string();
        if !is_name(&etag) {
            return Err(Failure::lasting(format!(
                "the hub gives it the hash {etag:?}, which is none"
            )));
        }
        let range = answer.last("content-range").and_then(|range| range.rsplit_once('/'));
        let length = range.map(|(_, total)| total).or(answer.first("x-linked-size"));
        match length.or(answer.last("content-length")).and_then(|length| length.parse().ok()) {
            Some(total) if total <= MOST_BYTES => Ok((etag, total)),
            Some(total) => Err(Failure::lasting(format!("has {total} bytes, more than any model"))),
            None => Err(Failure::lasting("the hub does not say how long it is")),
        }
    }

    /// Downloads the missing bytes and appends them to the partial file.
    fn go_on(
        &self,
        part: &Path,
        total: u64,
        progress: &mut dyn FnMut(Download),
    ) -> Result<(), Failure> {
        let fail = |e: std::io::Error| Failure::lasting(format!("{}: {e}", part.display()));
        let mut file = crate::files::append(part).map_err(|e| Failure::lasting(e.to_string()))?;
        let mut done = file.metadata().map_err(fail)?.len();
        if done > total {
            file.set_len(0).map_err(fail)?;
            done = 0;
        }
        if done == total {
            return Ok(());
        }
        let answer = self.client.get(&self.source, Some((done, None)), total - done)?;
        if done > 0 && answer.last("content-range").is_none() {
            // The server ignored the range and sends the whole file.
            file.set_len(0).map_err(fail)?;
            done = 0;
        }
        let has_length = answer.has_length();
        // One byte more than expected is enough to detect that the answer is too long.
        let mut body = answer.into_reader().take(total - done + 1);
        let mut buffer = vec![0; 1 << 16];
        loop {
            let read = body.read(&mut buffer).map_err(|e| Failure {
                why: format!("the download broke off ({e})"),
                may_pass: true,
            })?;
            if read == 0 && done < total && !has_length {
                let why = "the download broke off".to_string();
                return Err(Failure { why, may_pass: true });
            }
            if read == 0 {
                return Ok(());
            }
            file.write_all(&buffer[..read]).map_err(fail)?;
            done += read as u64;
            progress(Download { file: self.file, done: done.min(total), total });
        }
    }
}

/// Checks that a file has the expected length and hash. The etag of a large file is its SHA-256. The etag of a small
/// file is git's hash of the blob. Other etags say nothing about the content and are not checked.
fn check(file: &Path, etag: &str, total: u64) -> Result<(), String> {
    let as_text = |e: std::io::Error| e.to_string();
    let length = file.metadata().map_err(as_text)?.len();
    if length != total {
        return Err(format!("arrived with {length} bytes where {total} were promised"));
    }
    let (name, hash) = match etag.len() {
        64 => ("SHA-256", files_sha256(&[file.into()]).map_err(|e| e.to_string())?),
        40 => {
            let mut hasher = Sha1::new();
            hasher.update(format!("blob {length}\0"));
            crate::files::read_parts(file, |part| hasher.update(part)).map_err(as_text)?;
            ("git hash", hex(&hasher.finalize()))
        }
        _ => return Ok(()),
    };
    match hash == etag {
        true => Ok(()),
        false => Err(format!("arrived damaged ({name} {hash}, promised {etag})")),
    }
}

/// Whether a file of a snapshot exists and its content has the hash that is its name.
fn is_as_named(pointer: &Path) -> bool {
    let Ok(blob) = pointer.canonicalize() else { return false };
    let name = blob.file_name().unwrap_or_default().to_string_lossy();
    // A file that is not a link into `blobs` comes from another program. Its hash is not known.
    let is_content = blob.parent().and_then(Path::file_name).is_some_and(|name| name == "blobs");
    blob.is_file()
        && (!is_content || blob.metadata().is_ok_and(|m| check(&blob, &name, m.len()).is_ok()))
}

/// A lock that is held during a download, so that two processes never write the same partial file.
struct Lock {
    path: PathBuf,
    _file: File,
}

impl Lock {
    fn take(path: PathBuf) -> Result<Self, String> {
        let file = crate::files::append(&path).map_err(|e| e.to_string())?;
        match file.try_lock() {
            Err(TryLockError::WouldBlock) => {
                Err("another process is downloading it: wait for that one".into())
            }
            // Some file systems do not support locks.
            Ok(()) | Err(TryLockError::Error(_)) => Ok(Self { path, _file: file }),
        }
    }
}

impl Drop for Lock {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.path);
    }
}

/// Adds a file to a snapshot, as a link to its content.
fn link(blob: &Path, target: &Path) -> Result<(), String> {
    let folder = target.parent().unwrap_or(Path::new("."));
    let link = || -> std::io::Result<()> {
        std::fs::create_dir_all(folder)?;
        // An old broken link would make the new one fail.
        if target.is_symlink() {
            std::fs::remove_file(target)?;
        }
        #[cfg(unix)]
        return std::os::unix::fs::symlink(
            Path::new("../../blobs").join(blob.file_name().unwrap_or_default()),
            target,
        );
        #[cfg(not(unix))]
        std::fs::hard_link(blob, target).or_else(|_| {
            let copy = target.with_extension("copy");
            std::fs::copy(blob, &copy)?;
            std::fs::rename(copy, target)
        })
    };
    link().map_err(|e| format!("cannot write {}: {e}", target.display()))
}

/// Repeats failed work if a retry may help.
fn tries<T>(mut work: impl FnMut() -> Result<T, Failure>) -> Result<T, String> {
    let mut tried = 0;
    loop {
        match work() {
            Ok(found) => return Ok(found),
            Err(failure) if failure.may_pass && tried < RETRIES => {
                tried += 1;
                std::thread::sleep(Duration::from_millis(200) * tried);
            }
            Err(failure) if tried > 0 => {
                return Err(format!("{}; {tried} more tries failed too", failure.why));
            }
            Err(failure) => return Err(failure.why),
        }
    }
}

/// Whether the hub's name of a commit or a content has only safe characters.
fn is_name(text: &str) -> bool {
    let is_plain = |c: char| c.is_ascii_alphanumeric() || c == '-' || c == '_';
    (1..=128).contains(&text.len()) && text.chars().all(is_plain)
}

fn repo_of(repository: &Repository) -> Repo {
    Repo::with_revision(repository.id.clone(), RepoType::Model, repository.revision.clone())
}

fn cache_repo(repository: &Repository) -> Option<CacheRepo> {
    Some(Cache::new(cache_dir()?).repo(repo_of(repository)))
}

fn client() -> Result<Client, String> {
    const NAME: &str = "HF_HUB_DOWNLOAD_TIMEOUT";
    let endpoint = variable("HF_ENDPOINT").unwrap_or("https://huggingface.co".into());
    let seconds = match variable(NAME) {
        None => PATIENCE,
        Some(text) => match text.parse::<f64>() {
            Ok(seconds) if seconds > 0.0 => seconds.clamp(1.0, 86_400.0),
            _ => return Err(format!("{NAME}={text} is no number of seconds")),
        },
    };
    Client::new(&endpoint, token(), Duration::from_secs_f64(seconds))
}

fn variable(name: &str) -> Option<String> {
    std::env::var(name).ok().filter(|value| !value.is_empty())
}

fn is_offline() -> bool {
    variable("HF_HUB_OFFLINE")
        .is_some_and(|v| ["1", "on", "yes", "true"].contains(&v.to_lowercase().as_str()))
}

/// `HF_HOME`, or its default.
fn home() -> Option<PathBuf> {
    let path = |name| variable(name).map(PathBuf::from);
    path("HF_HOME").or_else(|| {
        let cache =
            path("XDG_CACHE_HOME").or_else(|| Some(std::env::home_dir()?.join(".cache")))?;
        Some(cache.join("huggingface"))
    })
}

fn cache_dir() -> Option<PathBuf> {
    variable("HF_HUB_CACHE").map(PathBuf::from).or_else(|| Some(home()?.join("hub")))
}

fn token() -> Option<String> {
    variable("HF_TOKEN")
        .or_else(|| {
            let path =
                variable("HF_TOKEN_PATH").map(PathBuf::from).or(Some(home()?.join("token")))?;
            String::from_utf8(crate::files::read(&path, 1 << 16).ok()?).ok()
        })
        .map(|t| t.trim().to_string())
        .filter(|t| !t.is_empty())
}
