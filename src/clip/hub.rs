//! Downloads from the Hugging Face hub into the cache that Python uses too.
//!
//! Environment, as `huggingface_hub` reads it: `HF_HUB_CACHE`, `HF_HOME`, `XDG_CACHE_HOME` (where the
//! cache is), `HF_ENDPOINT` (a mirror), `HF_TOKEN` and `HF_TOKEN_PATH` (private repositories),
//! `HF_HUB_OFFLINE` (never use the network). The hf-hub crate reads only some of them by itself.

use std::path::{Path, PathBuf};

use hf_hub::api::sync::{Api, ApiBuilder, ApiError, ApiRepo};
use hf_hub::{Cache, CacheRepo, Repo, RepoType};

use super::files::{Files, Manifest, Weights, shards};
use super::source::{Repository, Source, parse};
use crate::{Error, Result};

/// Tries after the first, each from where the last one broke off.
const RETRIES: usize = 3;

/// How far a download has come.
#[derive(Clone, Debug)]
pub struct Download<'a> {
    /// The file that is coming.
    pub file: &'a str,
    /// Bytes that are there.
    pub done: u64,
    /// Bytes in all.
    pub total: u64,
}

/// Fetches a model by name and reports progress; checks for a newer revision of what is cached. Does
/// nothing for `tiny` and for folders.
///
/// # Errors
/// [`Error::Setting`] for an unknown name, [`Error::Model`] when the hub cannot be reached, the
/// repository is not there or a file arrives damaged.
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

/// The cached snapshot of a repository, if everything the model needs is there.
pub(super) fn cached(repository: &Repository) -> Option<PathBuf> {
    let repo = cache_repo(repository)?;
    let refs = cache_dir()?.join(repo_of(repository).folder_name()).join("refs");
    let snapshot = match std::fs::read_to_string(refs.join(&repository.revision)) {
        Ok(commit) => repo.pointer_path(commit.trim()),
        // A commit needs no reference.
        Err(_) => repo.pointer_path(&repository.revision),
    };
    let files = Files::Folder(snapshot.clone());
    let manifest = Manifest::choose(&files.names().ok()?).ok()?;
    let mut needed: Vec<String> = manifest.files().iter().map(|f| f.to_string()).collect();
    if let Weights::Sharded(index) = &manifest.weights {
        needed.extend(shards(&files.read(index).ok()?).ok()?);
    }
    // Python may have fetched only a part; without this file the wrong colours would be assumed.
    let complete = manifest.is_open_clip() || manifest.preprocessor.is_some();
    (complete && needed.iter().all(|file| is_there(&snapshot.join(file)))).then_some(snapshot)
}

/// Fetches what is missing of a repository; returns its snapshot folder.
pub(super) fn download(
    repository: &Repository,
    progress: &mut dyn FnMut(Download),
) -> Result<PathBuf> {
    let fail = |why: String| Error::model(repository, why);
    let cache =
        cache_dir().ok_or_else(|| fail("no home folder for the cache: set HF_HOME".into()))?;
    if is_offline() {
        return Err(fail(format!(
            "not in the cache {} and downloads are off; run `blemish models pull` with a network, or \
             give a folder with --model",
            cache.display()
        )));
    }
    let api = api(&cache).map_err(|e| fail(explain(&e)))?;
    let remote = api.repo(repo_of(repository));
    let info = remote.info().map_err(|e| fail(explain(&e)))?;
    let names: Vec<String> = info.siblings.into_iter().map(|s| s.rfilename).collect();
    let manifest = Manifest::choose(&names).map_err(&fail)?;
    let local = Cache::new(cache).repo(repo_of(repository));
    let snapshot = local.pointer_path(&info.sha);
    let mut get = |file: &str| {
        if is_there(&snapshot.join(file)) {
            return Ok(());
        }
        fetch(&api, &remote, &local, file, progress)
            .map_err(|why| Error::model(format!("{repository}, {file}"), why))
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
    // hf-hub writes it only when it fetches something.
    local.create_ref(&info.sha).map_err(|e| Error::model(repository, e))?;
    Ok(snapshot)
}

/// Whether a file of a snapshot was fetched and checked.
fn is_there(pointer: &Path) -> bool {
    pointer.canonicalize().is_ok_and(|blob| blob.is_file() && !unchecked(&blob).exists())
}

/// A file beside a blob that says that nobody has compared it with its hash yet.
fn unchecked(blob: &Path) -> PathBuf {
    blob.with_extension("unchecked")
}

/// Fetches one file and checks that it is the one that was promised.
fn fetch(
    api: &Api,
    remote: &ApiRepo,
    local: &CacheRepo,
    file: &str,
    progress: &mut dyn FnMut(Download),
) -> Result<(), String> {
    let promised = api.metadata(&remote.url(file)).map_err(|e| explain(&e))?;
    let total = promised.size() as u64;
    let blob = local.blob_path(promised.etag());
    let words = |e: std::io::Error| e.to_string();
    #[cfg(unix)]
    if blob.metadata().is_ok_and(|m| m.len() == total) && !unchecked(&blob).exists() {
        // The same file in an older revision.
        let snapshot = local.pointer_path(promised.commit_hash());
        std::fs::create_dir_all(&snapshot).map_err(words)?;
        let target = Path::new("../../blobs").join(promised.etag());
        return std::os::unix::fs::symlink(target, snapshot.join(file)).map_err(words);
    }
    let part = blob.with_extension("part");
    // hf-hub asks for the bytes after those it has; a part as long as the whole leaves none to ask for.
    if part.metadata().is_ok_and(|m| m.len() >= total) {
        remove(&part)?;
    }
    // hf-hub puts the file in its place before anybody can check it.
    let unchecked = unchecked(&blob);
    crate::files::write_whole(&unchecked, b"").map_err(|e| e.to_string())?;
    let watch = Watch { file, done: 0, total, progress };
    let pointer = remote.download_with_progress(file, watch).map_err(|e| explain(&e))?;
    let length = blob.metadata().map_err(words)?.len();
    let reject = |what: String| {
        remove(&pointer)?;
        remove(&blob)?;
        remove(&unchecked)?;
        Err(format!("{what}; it was thrown away: try again"))
    };
    if length != total {
        return reject(format!("arrived with {length} bytes where {total} were promised"));
    }
    // Large files are named by their SHA-256, small ones by a git hash.
    let promised_hash = promised.etag();
    if promised_hash.len() == 64 && promised_hash.chars().all(|c| c.is_ascii_hexdigit()) {
        let hash =
            crate::files::files_sha256(std::slice::from_ref(&blob)).map_err(|e| e.to_string())?;
        if hash != promised_hash {
            return reject(format!("arrived damaged (SHA-256 {hash}, promised {promised_hash})"));
        }
    }
    remove(&unchecked)
}

fn remove(path: &Path) -> Result<(), String> {
    std::fs::remove_file(path).map_err(|e| format!("cannot remove {}: {e}", path.display()))
}

/// Passes hf-hub's progress on.
struct Watch<'a> {
    file: &'a str,
    done: u64,
    total: u64,
    progress: &'a mut dyn FnMut(Download),
}

impl hf_hub::api::Progress for Watch<'_> {
    fn init(&mut self, size: usize, _: &str) {
        self.done = 0;
        self.total = size as u64;
    }
    fn update(&mut self, size: usize) {
        self.done += size as u64;
        (self.progress)(Download { file: self.file, done: self.done, total: self.total });
    }
    fn finish(&mut self) {}
}

fn repo_of(repository: &Repository) -> Repo {
    Repo::with_revision(repository.id.clone(), RepoType::Model, repository.revision.clone())
}

fn cache_repo(repository: &Repository) -> Option<CacheRepo> {
    Some(Cache::new(cache_dir()?).repo(repo_of(repository)))
}

fn api(cache: &Path) -> Result<Api, ApiError> {
    let mut builder = ApiBuilder::from_cache(Cache::new(cache.to_path_buf()))
        .with_progress(false)
        .with_retries(RETRIES)
        .with_user_agent("blemish", env!("CARGO_PKG_VERSION"))
        .with_token(token());
    if let Some(endpoint) = variable("HF_ENDPOINT") {
        builder = builder.with_endpoint(endpoint.trim_end_matches('/').to_string());
    }
    builder.build()
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
            std::fs::read_to_string(path).ok()
        })
        .map(|t| t.trim().to_string())
        .filter(|t| !t.is_empty())
}

/// What a failed request means to the user.
fn explain(error: &ApiError) -> String {
    match error {
        ApiError::TooManyRetries(last) => {
            format!("{} ({RETRIES} more tries failed too; what has arrived is kept)", explain(last))
        }
        ApiError::RequestError(request) => match **request {
            ureq::Error::StatusCode(404) => {
                "not found on the hub (404): check the name and the revision".into()
            }
            ureq::Error::StatusCode(code @ (401 | 403)) => format!(
                "the hub refuses access ({code}): wrong name, or a private or gated repository; set HF_TOKEN"
            ),
            ureq::Error::StatusCode(code) => format!("the hub answered {code}: try again later"),
            ref other => format!(
                "the hub cannot be reached ({other}): without a network use --model tiny, a folder, or \
                 a model that is cached"
            ),
        },
        ApiError::LockAcquisition(_) => {
            "another process is downloading it: wait for that one".into()
        }
        other => format!("download failed: {other}"),
    }
}
