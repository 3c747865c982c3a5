//! All photos are read for their hashes, which draw the order that they are compared in. Meanwhile the first ones are
//! looked at: a large folder on a share takes long to read.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread::{JoinHandle, sleep};
use std::time::{Duration, Instant};

use blemish::files::files_sha256;
use blemish::{BitDepth, EncodedPhoto, Error, Folder, Photo};
use indicatif::ProgressBar;
use rayon::ThreadPoolBuilder;
use rayon::prelude::*;

/// Files that are read at once: a share answers each with a delay.
const READERS: usize = 4;
/// What is kept of photos until their turn comes.
const MOST_BYTES: usize = 256 << 20;
/// How often it is looked whether something is done.
const PAUSE: Duration = Duration::from_millis(10);

/// The photos' hashes, on their way.
pub struct Hashing {
    done: Arc<AtomicUsize>,
    thread: JoinHandle<Vec<Result<String, Error>>>,
}

impl Hashing {
    pub fn begin(photos: &[PathBuf]) -> Self {
        let photos = photos.to_vec();
        let done = Arc::new(AtomicUsize::new(0));
        let count = done.clone();
        let thread = std::thread::spawn(move || {
            let hash = |path: &PathBuf| {
                let sha256 = files_sha256(std::slice::from_ref(path));
                count.fetch_add(1, Ordering::Relaxed);
                sha256
            };
            // Threads of their own: the model's would wait behind slow files.
            match ThreadPoolBuilder::new().num_threads(READERS).build() {
                Ok(pool) => pool.install(|| photos.par_iter().map(hash).collect()),
                Err(_) => photos.iter().map(hash).collect(),
            }
        });
        Self { done, thread }
    }

    pub fn is_done(&self) -> bool {
        self.thread.is_finished()
    }

    /// Of each photo its hash, or why it has none; the bar shows how many are there.
    pub fn wait(self, bar: &ProgressBar) -> Vec<Result<String, Error>> {
        while !self.is_done() {
            bar.set_position(self.done.load(Ordering::Relaxed) as u64);
            sleep(PAUSE);
        }
        self.thread.join().expect("reading files does not panic")
    }
}

/// Photos that were looked at before their turn, by their index.
#[derive(Default)]
pub struct Early {
    seen: HashMap<usize, Timed>,
    pub note: Option<String>,
}

/// What came of looking at a photo, and how many milliseconds it took.
pub type Timed = (Result<EncodedPhoto, Error>, f64);

impl Early {
    /// Looks at photos in their order as long as others are read, and waits for the rest of the hashes.
    pub fn look(
        folder: &Folder,
        photos: &[PathBuf],
        depth: BitDepth,
        hashing: &Hashing,
        bar: &ProgressBar,
    ) -> Self {
        let (mut early, mut bytes) = (Self::default(), 0);
        let goes_on = || {
            let read = hashing.done.load(Ordering::Relaxed);
            bar.set_message(format!(" ({read} of {} read)", photos.len()));
            !hashing.is_done() && !super::is_stopped()
        };
        for (i, path) in photos.iter().enumerate() {
            if !goes_on() || bytes > MOST_BYTES {
                break;
            }
            let looked = look(folder, path, Photo::open(path, depth), &mut early.note);
            bytes += looked.0.as_ref().map_or(0, EncodedPhoto::bytes);
            early.seen.insert(i, looked);
            bar.inc(1);
        }
        while goes_on() {
            sleep(PAUSE);
        }
        bar.set_message("");
        early
    }

    pub fn has(&self, photo: usize) -> bool {
        self.seen.contains_key(&photo)
    }

    pub fn take(&mut self, photo: usize) -> Option<Timed> {
        self.seen.remove(&photo)
    }
}

/// Looks at a photo; `note` is the first thing that is notable about any.
pub fn look(
    folder: &Folder,
    path: &Path,
    photo: Result<Photo, Error>,
    note: &mut Option<String>,
) -> Timed {
    let prepared = photo.and_then(|photo| {
        if let (Some(said), None) = (photo.note(), &note) {
            *note = Some(format!("{}: {said}", path.display()));
        }
        folder.prepare(path, &photo)
    });
    let start = Instant::now();
    let encoded = prepared.and_then(|prepared| folder.encode(&prepared));
    (encoded, start.elapsed().as_secs_f64() * 1e3)
}
