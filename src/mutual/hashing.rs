//! Reads all photos for their hashes. The hashes decide the order of comparison. A large folder on a network share
//! takes long to read, so the first photos are encoded meanwhile.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread::{JoinHandle, sleep};
use std::time::{Duration, Instant};

use rayon::ThreadPoolBuilder;
use rayon::prelude::*;

use super::scorer::{MutualPhoto, MutualScorer};
use super::{Progress, Watch};
use crate::error::{Error, Result};
use crate::files::files_sha256;
use crate::image::{BitDepth, Photo};

/// Number of files that are read at once. A network share answers each with a delay.
const READERS: usize = 4;
/// Limit of the memory for photos that are encoded early, in bytes.
const MOST_BYTES: usize = 256 << 20;
/// Time between two checks whether the hashes are ready.
const PAUSE: Duration = Duration::from_millis(10);

/// The hashes of photos, while they are computed.
pub struct PhotoHashes {
    paths: Arc<[PathBuf]>,
    done: Arc<AtomicUsize>,
    thread: JoinHandle<Vec<Result<String>>>,
}

impl PhotoHashes {
    /// Starts to read photos, in separate threads.
    pub fn begin(paths: &[PathBuf]) -> Self {
        let paths: Arc<[PathBuf]> = paths.into();
        let done = Arc::new(AtomicUsize::new(0));
        let (photos, count) = (paths.clone(), done.clone());
        let thread = std::thread::spawn(move || {
            let hash = |path: &PathBuf| {
                let sha256 = files_sha256(std::slice::from_ref(path));
                count.fetch_add(1, Ordering::Relaxed);
                sha256
            };
            // A separate pool, so that the model's threads do not wait for slow files.
            match ThreadPoolBuilder::new().num_threads(READERS).build() {
                Ok(pool) => pool.install(|| photos.par_iter().map(hash).collect()),
                Err(_) => photos.iter().map(hash).collect(),
            }
        });
        Self { paths, done, thread }
    }

    /// The photos' files.
    pub fn paths(&self) -> &[PathBuf] {
        &self.paths
    }

    /// Whether all photos were read.
    pub fn is_done(&self) -> bool {
        self.thread.is_finished()
    }

    /// How many photos were read so far.
    pub fn done(&self) -> usize {
        self.done.load(Ordering::Relaxed)
    }

    /// Waits until all photos were read. `progress` receives how many were read so far.
    pub fn wait(&self, progress: &dyn Fn(usize)) {
        while !self.is_done() {
            progress(self.done());
            sleep(PAUSE);
        }
    }

    /// Waits for the hashes. Returns each photo's hash, or why it has none.
    pub(super) fn into_hashes(self) -> (Arc<[PathBuf]>, Vec<Result<String>>) {
        (self.paths, self.thread.join().expect("reading files does not panic"))
    }
}

/// The result of encoding a photo, and the time in milliseconds.
pub(super) type Timed = (Result<MutualPhoto, Error>, f64);

/// Photos that were encoded while the hashes were computed, by their index.
#[derive(Default)]
pub(super) struct Early {
    encoded: HashMap<usize, Timed>,
    pub note: Option<String>,
}

impl Early {
    /// Encodes photos in the given order while the hashes are computed. Then waits for the rest of the hashes.
    pub fn encode(
        scorer: &MutualScorer,
        depth: BitDepth,
        hashes: &PhotoHashes,
        watch: Watch,
    ) -> Self {
        let (mut early, mut bytes) = (Self::default(), 0);
        let goes_on = || {
            (watch.progress)(Progress::Read(hashes.done()));
            !hashes.is_done() && !(watch.is_stopped)()
        };
        for (i, path) in hashes.paths().iter().enumerate() {
            if !goes_on() || bytes > MOST_BYTES {
                break;
            }
            let (timed, note) = scorer.encode_timed(path, Photo::open(path, depth));
            early.note = early.note.take().or(note);
            bytes += timed.0.as_ref().map_or(0, MutualPhoto::bytes);
            early.encoded.insert(i, timed);
            (watch.progress)(Progress::Encoded);
        }
        while goes_on() {
            sleep(PAUSE);
        }
        (watch.progress)(Progress::AllRead);
        early
    }

    pub fn has(&self, photo: usize) -> bool {
        self.encoded.contains_key(&photo)
    }

    pub fn take(&mut self, photo: usize) -> Option<Timed> {
        self.encoded.remove(&photo)
    }
}

impl MutualScorer {
    /// Encodes a photo. Also returns a note about it.
    pub(super) fn encode_timed(
        &self,
        path: &Path,
        photo: Result<Photo>,
    ) -> (Timed, Option<String>) {
        let note = photo.as_ref().ok().and_then(Photo::note);
        let note = note.map(|note| format!("{}: {note}", path.display()));
        let prepared = photo.and_then(|photo| self.prepare(path, &photo));
        let start = Instant::now();
        let encoded = prepared.and_then(|prepared| self.encode(&prepared));
        ((encoded, start.elapsed().as_secs_f64() * 1e3), note)
    }
}

crate::error::opaque_debug!(PhotoHashes);
