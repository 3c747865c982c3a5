//! Reads and encodes the photos of an enrolment: references with their copies and simulated damage, and photos that only
//! decide the line.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::augment::Augment;
use super::damage::{COPIES, Damage, MOVES, damaged_copies, moved_copies};
use super::{EnrollOptions, EnrollPhotos, ReferenceAbout};
use crate::clip::{Clip, Features};
use crate::detect::{Detector, EncodedPhoto, FewShotMethod, HeldOutScore, Variant};
use crate::error::{Error, Result};
use crate::files::files_sha256;
use crate::image::{Photo, Prepared};
use crate::prompt::Product;
use crate::reference::{Places, Region};

/// Number of reference photos that get simulated damage: each gets every kind of it, clear and slight.
const DAMAGED_PHOTOS: usize = 8;

/// The state of an enrolment.
pub(super) struct Enrolment<'a> {
    options: &'a EnrollOptions<'a>,
    clip: Arc<Clip>,
    pub region: Option<Region>,
    pub places: Places,
    detector: Detector,
    pub notes: Notes,
    /// The number of photos encoded so far, and of all photos.
    done: usize,
    total: usize,
}

/// Notes for the user.
#[derive(Default)]
pub(super) struct Notes {
    pub unreadable: Vec<Error>,
    pub copies: Vec<(PathBuf, PathBuf)>,
    pub note: Option<String>,
}

impl<'a> Enrolment<'a> {
    pub fn begin(
        clip: Arc<Clip>,
        pair: &FewShotMethod,
        options: &'a EnrollOptions<'a>,
        region: Option<Region>,
    ) -> Self {
        let places = region.as_ref().map_or(Places::default(), |r| r.places(clip.grid()));
        let detector = Detector::with(clip.clone(), Box::new(pair.clone()), options.fit);
        let detector = detector.with_region(region.as_ref().map(|region| region.pixels.clone()));
        let note = region.as_ref().and_then(|region| region.note.clone());
        let notes = Notes { note, ..Notes::default() };
        Self { options, clip, region, places, detector, notes, done: 0, total: 0 }
    }

    /// The files of the references, and the files that only decide the line. Equal contents count once.
    pub fn read(&mut self, photos: EnrollPhotos) -> (Vec<PhotoFile>, Vec<PhotoFile>) {
        let read = |share: f64| (self.options.progress)("reading photos", share);
        let references = PhotoFile::all(photos.references, &mut self.notes, &read);
        let mut calibration = PhotoFile::all(photos.calibration, &mut self.notes, &read);
        calibration.retain(|file| {
            let of = references.iter().find(|other| other.sha256 == file.sha256);
            self.notes.copies.extend(of.map(|of| (file.path.clone(), of.path.clone())));
            of.is_none()
        });
        self.total = references.len() + calibration.len();
        (references, calibration)
    }

    /// Encodes a photo, and its copies if it is a reference. None if it cannot be read.
    fn encode(
        &mut self,
        file: &PhotoFile,
        augment: &[Augment],
    ) -> Result<Option<EncodedReference>> {
        self.done += 1;
        (self.options.progress)("photos of good parts", self.done as f64 / self.total as f64);
        let fits = |photo: Photo| {
            let sides = (photo.width(), photo.height());
            let region = self.region.as_ref();
            region.map_or(Ok(()), |region| region.about.check(&file.path, sides))?;
            Ok(photo)
        };
        let photo = match Photo::open(&file.path, self.options.depth).and_then(fits) {
            Ok(photo) => photo,
            Err(error) => {
                self.notes.unreadable.push(error);
                return Ok(None);
            }
        };
        if let (Some(said), None) = (photo.note(), &self.notes.note) {
            self.notes.note = Some(format!("{}: {said}", file.path.display()));
        }
        let prepared = self.detector.prepare(&photo);
        let encoded = self.detector.encode(&prepared)?;
        let copies = augment.iter().flat_map(|augment| augment.copies(&photo));
        let copies = copies
            .map(|copy| Ok(self.detector.encode(&self.detector.prepare(&copy))?.features))
            .collect::<Result<_>>()?;
        let about = ReferenceAbout { appearance: Some(prepared.appearance), ..file.about() };
        Ok(Some(EncodedReference { about, prepared: Some(prepared), encoded, copies }))
    }

    /// Encodes all references that can be read. Some of them, evenly spread, will get simulated damage. Only these keep
    /// their pixels.
    pub fn encode_references(&mut self, files: &[PhotoFile]) -> Result<Vec<EncodedReference>> {
        let many = files.len().max(DAMAGED_PHOTOS);
        let is_damaged =
            |i: usize| i == 0 || i * DAMAGED_PHOTOS / many != (i - 1) * DAMAGED_PHOTOS / many;
        let mut references = Vec::new();
        for file in files {
            let Some(mut photo) = self.encode(file, self.options.augment)? else { continue };
            if !is_damaged(references.len()) {
                photo.prepared = None;
            }
            references.push(photo);
        }
        if references.is_empty() {
            let why = "give at least one photo of a good part";
            let unreadable = self.notes.unreadable.pop();
            return Err(unreadable.unwrap_or_else(|| Error::setting("reference", why)));
        }
        Ok(references)
    }

    /// References with simulated damage, and what the damage is. For a single reference, moved copies of it.
    pub fn variants(&self, references: &[EncodedReference]) -> Result<(Vec<Variant>, Vec<Damage>)> {
        let (own, compared) = ((self.clip.size(), self.clip.grid()), self.clip.compared_sides());
        let patches = [own, compared].map(|(size, grid)| size / grid);
        let contrast = self.clip.reference_contrast();
        let pixels = self.region.as_ref().map(|region| &*region.pixels);
        let kept = references.iter().enumerate();
        let kept = kept.filter_map(|(of, photo)| Some((of, photo, photo.prepared.as_ref()?)));
        let (mut variants, mut damages) = (Vec::new(), Vec::new());
        let mut encode = |of: usize, mut prepared: Prepared, total: usize| -> Result<()> {
            (self.options.progress)("simulated damage", variants.len() as f64 / total as f64);
            pixels.iter().for_each(|region| prepared.blank_outside(region));
            variants.push(Variant { of, features: self.detector.encode(&prepared)?.features });
            Ok(())
        };
        for (of, photo, prepared) in kept.clone() {
            if references.len() == 1 {
                moved_copies(prepared, patches).try_for_each(|copy| encode(of, copy, MOVES))?;
            } else if self.options.simulates_damage {
                // The seed comes from the photo itself, so other photos do not change its damage.
                let own = u64::from_str_radix(&photo.about.sha256[..15], 16).unwrap_or(0);
                let total = kept.clone().count() * COPIES;
                let seed = self.options.seed ^ own;
                for (copy, damage) in damaged_copies(prepared, pixels, contrast, seed) {
                    encode(of, copy, total)?;
                    damages.push(damage);
                }
            }
        }
        Ok((variants, damages))
    }

    /// The scores of photos that the method does not know.
    pub fn calibrate(
        &mut self,
        files: &[PhotoFile],
        method: &Detector,
        product: &Product,
    ) -> Result<(Vec<ReferenceAbout>, Vec<HeldOutScore>)> {
        let mut scored = Vec::new();
        for file in files {
            let Some(mut photo) = self.encode(file, &[])? else { continue };
            let outcome = method.outcome(&photo.encoded, product)?;
            let score = HeldOutScore::new(&outcome, &self.places, self.clip.grid());
            photo.about.score = Some(score.score);
            scored.push((photo.about, score));
        }
        Ok(scored.into_iter().unzip())
    }
}

/// A photo's file and its hash.
pub(super) struct PhotoFile {
    pub path: PathBuf,
    pub sha256: String,
}

pub(super) struct EncodedReference {
    pub about: ReferenceAbout,
    /// Only for photos that get simulated damage.
    prepared: Option<Prepared>,
    pub encoded: EncodedPhoto,
    /// The features of its copies.
    copies: Vec<Features>,
}

/// The copies of all references.
pub(super) fn copies_of(references: &[EncodedReference]) -> Vec<Variant> {
    let of = |(of, photo): (usize, &EncodedReference)| {
        photo
            .copies
            .iter()
            .map(move |features| Variant { of, features: features.clone() })
            .collect()
    };
    references.iter().enumerate().flat_map(|pair| -> Vec<Variant> { of(pair) }).collect()
}

impl PhotoFile {
    /// Sorts the files by their hashes. Equal contents are kept once.
    pub fn all(paths: &[PathBuf], notes: &mut Notes, progress: &dyn Fn(f64)) -> Vec<Self> {
        let mut files: Vec<Self> = Vec::new();
        for (i, path) in paths.iter().enumerate() {
            progress(i as f64 / paths.len() as f64);
            match files_sha256(std::slice::from_ref(path)) {
                Ok(sha256) => files.push(Self { path: path.clone(), sha256 }),
                Err(error) => notes.unreadable.push(error),
            }
        }
        files.sort_by(|a, b| (&a.sha256, &a.path).cmp(&(&b.sha256, &b.path)));
        let mut once: Vec<Self> = Vec::new();
        for file in files {
            match once.last() {
                Some(last) if last.sha256 == file.sha256 => {
                    notes.copies.push((file.path, last.path.clone()));
                }
                _ => once.push(file),
            }
        }
        once
    }

    fn about(&self) -> ReferenceAbout {
        ReferenceAbout {
            file: file_name(&self.path),
            sha256: self.sha256.clone(),
            score: None,
            is_odd: false,
            appearance: None,
        }
    }
}

fn file_name(path: &Path) -> String {
    path.file_name().unwrap_or_default().to_string_lossy().into_owned()
}
