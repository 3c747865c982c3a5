//! The photos of a folder. Equal contents count once. The order does not depend on the files' names.

use std::collections::{BTreeMap, HashMap};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::mpsc::sync_channel;
use std::time::Instant;

use rayon::prelude::*;

use super::hashing::{Early, PhotoHashes};
use super::scorer::MutualScorer;
use super::{Progress, Watch};
use crate::detect::PIXELS_AT_ONCE;
use crate::error::{Error, Result};
use crate::files::sha256;
use crate::image::Photo;

/// The different photos of a folder. Files with the same content count once.
pub struct UniquePhotos {
    paths: Arc<[PathBuf]>,
    /// SHA-256 of each content, in the order of comparison (a ring), and the index of the first photo with this
    /// content.
    ring: Vec<(String, usize)>,
    /// For each photo its place in the ring.
    places: Vec<Result<usize>>,
}

impl UniquePhotos {
    /// Reads all photos; `progress` is told how many were read.
    pub fn read(photos: &[PathBuf], seed: u64, progress: &dyn Fn(usize)) -> Self {
        let hashes = PhotoHashes::begin(photos);
        hashes.wait(progress);
        Self::new(hashes, seed)
    }

    /// Waits for the hashes. The seed and the contents decide the order. File names and the order of the files do not
    /// matter.
    pub fn new(hashes: PhotoHashes, seed: u64) -> Self {
        let (paths, hashes) = hashes.into_hashes();
        let mut first = BTreeMap::<&str, usize>::new();
        for (i, sha256) in hashes.iter().enumerate() {
            if let Ok(sha256) = sha256 {
                first.entry(sha256).or_insert(i);
            }
        }
        let mut ring: Vec<(String, usize)> =
            first.into_iter().map(|(sha256, i)| (sha256.to_string(), i)).collect();
        ring.sort_by_cached_key(|(content, _)| sha256(format!("{seed} {content}").as_bytes()));
        let place: HashMap<&str, usize> =
            ring.iter().enumerate().map(|(place, (sha256, _))| (&**sha256, place)).collect();
        let places = hashes.into_iter().map(|sha256| sha256.map(|sha256| place[&*sha256]));
        let places = places.collect();
        Self { paths, ring, places }
    }

    /// For photos without hashes: each counts as a content of its own.
    pub(super) fn unread(paths: Vec<PathBuf>) -> Self {
        let ring = (0..paths.len()).map(|photo| (String::new(), photo)).collect();
        Self { places: (0..paths.len()).map(Ok).collect(), paths: paths.into(), ring }
    }

    /// The photos' files, as they were given.
    pub fn paths(&self) -> &[PathBuf] {
        &self.paths
    }

    /// How many different contents there are.
    pub fn count(&self) -> usize {
        self.ring.len()
    }

    /// Each photo with the same content as an earlier one, and that earlier one.
    pub fn copies(&self) -> Vec<(&Path, &Path)> {
        let copy = |i: usize| {
            let of = self.ring[*self.places[i].as_ref().ok()?].1;
            (of != i).then(|| (&*self.paths[i], &*self.paths[of]))
        };
        (0..self.paths.len()).filter_map(copy).collect()
    }

    /// The hash of a photo. Empty if it could not be read.
    pub fn sha256_of(&self, photo: usize) -> &str {
        self.places[photo].as_ref().map_or("", |place| &self.ring[*place].0)
    }

    /// SHA-256 of all hashes in ascending order, written one after another. It identifies the set of photos.
    pub fn sha256(&self) -> String {
        set_sha256(self.ring.iter().map(|(hash, _)| &**hash).collect())
    }

    /// Whether all photos could be read.
    pub(super) fn are_readable(&self) -> bool {
        self.places.iter().all(Result::is_ok)
    }
}

impl MutualScorer {
    /// Encodes and adds photos in the order of comparison. Equal contents are added once.
    pub fn add_photos(&mut self, photos: &UniquePhotos, watch: Watch) -> EncodedPhotos {
        self.add_early(photos, &|_| true, Early::default(), watch)
    }

    /// Like [`MutualScorer::add_photos`], but only for the places in the ring that `wanted` accepts. Photos in `early`
    /// are not encoded again. After a stop, only those are added.
    pub(super) fn add_early(
        &mut self,
        photos: &UniquePhotos,
        wanted: &dyn Fn(usize) -> bool,
        mut early: Early,
        watch: Watch,
    ) -> EncodedPhotos {
        let depth = self.depth();
        let chosen: Vec<usize> = (0..photos.count()).filter(|place| wanted(*place)).collect();
        let photo = |place: usize| photos.ring[place].1;
        let unseen = chosen.iter().map(|place| photo(*place)).filter(|photo| !early.has(*photo));
        let unseen: Vec<&PathBuf> = unseen.map(|photo| &photos.paths[photo]).collect();
        let mut done = EncodedPhotos { note: early.note.take(), ..EncodedPhotos::default() };
        let mut hashes = Vec::new();
        std::thread::scope(|scope| {
            // The next photos are read while these are encoded.
            let (sender, receiver) = sync_channel(1);
            scope.spawn(move || {
                unseen.into_iter().all(|path| sender.send(Photo::open(path, depth)).is_ok())
            });
            let mut places = chosen.into_iter();
            loop {
                let (mut batch, mut pixels) = (Vec::new(), 0);
                while batch.len() < self.photos_at_once() && pixels < PIXELS_AT_ONCE {
                    let Some(place) = places.next() else { break };
                    match early.take(photo(place)) {
                        Some(timed) => batch.push((place, Ok(timed))),
                        None if (watch.is_stopped)() => continue,
                        None => {
                            let Ok(opened) = receiver.recv() else { return };
                            pixels += opened.as_ref().map_or(0, |p| p.width() * p.height());
                            batch.push((place, Err(opened)));
                            (watch.progress)(Progress::Encoded);
                        }
                    }
                }
                if batch.is_empty() {
                    return;
                }
                let scorer = &*self;
                let encode = |(place, ready): (usize, Result<_, _>)| match ready {
                    Ok(timed) => (place, timed, None),
                    Err(opened) => {
                        let path = &photos.paths[photo(place)];
                        let (timed, note) = scorer.encode_timed(path, opened);
                        (place, timed, note)
                    }
                };
                let encoded: Vec<_> = batch.into_par_iter().map(encode).collect();
                for (place, (encoded, milliseconds), note) in encoded {
                    done.note = done.note.take().or(note);
                    let start = Instant::now();
                    let added = encoded.and_then(|encoded| self.add(encoded)).map_err(Arc::new);
                    if added.is_ok() {
                        let adding = start.elapsed().as_secs_f64() * 1e3;
                        done.milliseconds.push(milliseconds + adding);
                        hashes.push(&*photos.ring[place].0);
                    }
                    done.found.insert(place, added.map(|()| hashes.len() - 1));
                }
            }
        });
        done.sha256 = set_sha256(hashes);
        done
    }
}

fn set_sha256(mut hashes: Vec<&str>) -> String {
    hashes.sort_unstable();
    sha256(hashes.concat().as_bytes())
}

/// The photos that were encoded and added.
#[derive(Clone, Default)]
pub struct EncodedPhotos {
    /// For a place in the ring, the index of the content in the scorer.
    found: HashMap<usize, Result<usize, Arc<Error>>>,
    /// Time for encoding and comparing each photo in the scorer.
    pub milliseconds: Vec<f64>,
    /// The first note about a photo.
    pub note: Option<String>,
    /// SHA-256 of the hashes of the contents in ascending order. It identifies the set of photos, whatever their names
    /// are.
    pub sha256: String,
}

impl EncodedPhotos {
    /// The index of a photo in the scorer and its results, or why it has none. None if the run was stopped before
    /// this photo, or if the photo belongs to the other product.
    pub fn index<'a>(
        &'a self,
        photos: &'a UniquePhotos,
        photo: usize,
    ) -> Option<Result<usize, &'a Error>> {
        match &photos.places[photo] {
            Ok(place) => Some(self.found.get(place)?.as_ref().copied().map_err(|error| &**error)),
            Err(error) => Some(Err(error)),
        }
    }

    /// The index of the content at a place in the ring.
    pub(super) fn of(&self, place: usize) -> Option<usize> {
        self.found.get(&place)?.as_ref().ok().copied()
    }
}

crate::error::opaque_debug!(UniquePhotos);
crate::error::opaque_debug!(EncodedPhotos);
