//! Makes a profile from photos of good parts.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::augment::Augment;
use super::damage::{COPIES, Damage, MOVES, damaged_copies, moved_copies};
use super::readiness::{DamagedCopy, flag_odd, readiness, scale};
use super::{
    Calibration, KindAbout, Profile, ProfileAbout, Readiness, ReferenceAbout, ReferenceModelAbout,
    TilesAbout,
};
use crate::adapter::Adapter;
use crate::clip::{Clip, Features};
use crate::detect::{
    Detector, EncodedPhoto, FewShotMethod, FittedFewShot, Fusion, HeldOutScore, Known, Method,
    MethodEntry, MethodInputs, Variant, default_method,
};
use crate::error::{Error, Result};
use crate::files::files_sha256;
use crate::image::{BitDepth, Fit, Photo, Prepared};
use crate::prompt::Product;
use crate::reference::{
    FitOptions, Layers, Places, REFERENCE_METHODS, ReferenceEntry, Region, RegionShape,
};

/// Number of reference photos that get simulated damage: each gets every kind of it, clear and slight.
const DAMAGED_PHOTOS: usize = 8;

/// At least so many reference photos are held out, if there are more. Each is compared with all others, so holding out
/// all of them would take time that grows with their square.
const HELD_OUT: usize = 128;
/// The number of held-out photos above the line, at least. It sets how many photos a low false-alarm rate needs.
const ABOVE_LINE: f64 = 6.0;

/// Options for enrolling a product.
pub struct EnrollOptions<'a> {
    /// The method that compares with prompts.
    pub method: &'static MethodEntry,
    /// The inputs of this method.
    pub inputs: MethodInputs,
    /// The method that compares with reference photos.
    pub references: &'static ReferenceEntry,
    /// The layers whose patches the reference method compares. None: the default layers of the method.
    pub layers: Option<Layers>,
    /// Photos are also compared with these copies of the references.
    pub augment: &'a [Augment],
    /// How photos are made square.
    pub fit: Fit,
    /// The number of bits that the camera uses in 16-bit files.
    pub depth: BitDepth,
    /// The name of the prompt file. It is stored in the profile.
    pub prompts: String,
    /// The share of good parts that may be called `ng`, 0..1.
    pub false_alarm: f64,
    /// The region of interest.
    pub region: Option<RegionShape>,
    /// Seed of all random choices.
    pub seed: u64,
    /// Whether simulated damage tests what the profile finds. It takes about as long as a hundred photos.
    pub simulates_damage: bool,
    /// Called with the current step and its finished share, 0..1.
    pub progress: &'a (dyn Fn(&str, f64) + Sync),
}

/// The photos to enroll.
#[derive(Clone, Debug, Copy)]
pub struct EnrollPhotos<'a> {
    /// Reference photos. Other photos are compared with them.
    pub references: &'a [PathBuf],
    /// Other photos of good parts. They only decide the line.
    pub calibration: &'a [PathBuf],
}

/// A profile, and notes for the user.
#[derive(Debug)]
pub struct Enrolled {
    /// The profile.
    pub profile: Profile,
    /// Photos that could not be read.
    pub unreadable: Vec<Error>,
    /// Copies that were left out: the copy, and the photo with the same content.
    pub copies: Vec<(PathBuf, PathBuf)>,
    /// The first note about reading the mask or a photo.
    pub note: Option<String>,
}

impl Default for EnrollOptions<'_> {
    /// WinCLIP by prompts and by references, which needs no adapter. The false-alarm rate is 5 %.
    fn default() -> Self {
        Self {
            method: default_method(None),
            inputs: MethodInputs::default(),
            references: &REFERENCE_METHODS[0],
            layers: None,
            augment: &[],
            fit: Fit::default(),
            depth: BitDepth::default(),
            prompts: String::new(),
            false_alarm: 0.05,
            region: None,
            seed: 0,
            simulates_damage: true,
            progress: &|_, _| {},
        }
    }
}

impl EnrollOptions<'_> {
    /// Checks the options. Returns the layers to compare.
    ///
    /// # Errors
    /// [`Error::Setting`] names the option.
    pub fn check(&self, clip: &Clip) -> Result<Layers> {
        if !(self.false_alarm > 0.0 && self.false_alarm < 1.0) {
            let setting = format!("false-alarm {}", self.false_alarm);
            return Err(Error::setting(setting, "give a share between 0 and 1, such as 0.05"));
        }
        if self.region.is_some() && self.augment.contains(&Augment::Rotate) {
            let why = "rotated parts leave the region of interest; leave one of the two out";
            return Err(Error::setting("augment rotate", why));
        }
        if !self.references.fits(clip) {
            let why = "does not fit this model; take another";
            let setting = format!("reference-method {}", self.references.name);
            return Err(Error::setting(setting, self.references.refusal(clip).unwrap_or(why)));
        }
        if self.references.is_by_position() && self.augment.contains(&Augment::Rotate) {
            let why = "padim compares positions, which a rotation moves; take another method";
            return Err(Error::setting("augment rotate", why));
        }
        let Some(layers) = &self.layers else {
            return Ok(self.references.default_layers(clip.compared_shape()));
        };
        if !self.references.takes_blocks {
            let why = format!("reference method {} takes none", self.references.name);
            return Err(Error::setting("reference-blocks", why));
        }
        layers.check("reference-blocks", clip)?;
        Ok(layers.clone())
    }
}

/// Enrolls a product. The order of the photos does not matter: they are sorted by their hashes.
///
/// # Errors
/// - [`Error::Setting`] if no reference photo can be read, for a false-alarm rate outside 0..1, and for blocks or
///   windows that the model does not have.
/// - [`Error::Photo`] for a mask that cannot be used, and for a reference photo whose score is not a number.
pub fn enroll(
    clip: Arc<Clip>,
    product: Product,
    photos: EnrollPhotos,
    options: &EnrollOptions,
) -> Result<Enrolled> {
    let layers = options.check(&clip)?;
    let prompts = options.method.make(&options.inputs)?;
    let pair = FewShotMethod::new(prompts, options.references, layers.clone())
        .by_reference_model(clip.reference().is_some());
    clip.check(&pair.taps())?;
    let mut enrolment = Enrolment::begin(clip.clone(), &pair, photos.references, options)?;
    let (references, calibration) = enrolment.read(photos);
    let references = enrolment.encode_references(&references)?;

    let (variants, damages) = enrolment.variants(&references)?;
    let fit = FitOptions {
        seed: options.seed,
        places: &enrolment.places,
        progress: &|share| (options.progress)(options.references.name, share),
    };
    let features: Vec<&Features> = references.iter().map(|photo| &photo.encoded.features).collect();
    let held_out = HELD_OUT.max((ABOVE_LINE / options.false_alarm).ceil() as usize);
    let copies = copies_of(&references);
    let known = Known { photos: &features, copies: &copies, held_out };
    let (method, held_out) = FittedFewShot::fit(pair, known, &variants, &product, fit)?;
    let (fusion, tensors) = (method.fusion.clone(), method.tensors()?);
    let reference_factors = method.factors();
    let (held_out, damaged) = held_out.split_at(held_out.len() - damages.len());
    let damaged: Vec<DamagedCopy> = damages
        .into_iter()
        .zip(damaged)
        .map(|(damage, score)| DamagedCopy { damage, score: score.clone() })
        .collect();
    let mut about: Vec<ReferenceAbout> = references.into_iter().map(|photo| photo.about).collect();
    note_scores(&mut about, held_out)?;
    flag_odd(&mut about, &fusion);

    let method = Detector::with(clip.clone(), Box::new(method), options.fit);
    let (calibration, further) = enrolment.calibrate(&calibration, &method, &product)?;
    let all: Vec<&HeldOutScore> = held_out.iter().chain(&further).collect();
    let line = Calibration::new(all.iter().map(|held| held.score).collect());
    let line = line.threshold(options.false_alarm);
    let (size, grid) = clip.compared_sides();
    let sides = (size, size / grid);
    let about = ProfileAbout {
        reference_blocks: layers,
        reference_factors,
        scale: scale(&all),
        readiness: readiness(&about, held_out, &damaged, line, sides),
        references: about,
        calibration,
        fusion,
        ..options.about(&clip, &product, enrolment.region.as_ref())
    };
    let pixels = enrolment.region.map(|region| region.pixels);
    let profile = Profile::new(about, product, options.adapter(), tensors, pixels)?;
    let Notes { unreadable, copies, note } = enrolment.notes;
    Ok(Enrolled { profile, unreadable, copies, note })
}

impl EnrollOptions<'_> {
    fn adapter(&self) -> Option<Arc<Adapter>> {
        self.inputs.adapter.clone().filter(|_| self.method.takes_adapter)
    }

    /// The description of a profile, before any photo was read.
    fn about(&self, clip: &Clip, product: &Product, region: Option<&Region>) -> ProfileAbout {
        ProfileAbout {
            version: env!("CARGO_PKG_VERSION").into(),
            product: product.name().into(),
            product_english: product.english().into(),
            model: clip.name().into(),
            model_sha256: clip.sha256().into(),
            size: clip.input_size(),
            tiles: TilesAbout::of(clip.tiles()),
            activation: clip.activation().name().into(),
            precision: clip.precision().name().into(),
            reference_model: clip.reference().map(ReferenceModelAbout::of),
            augment: self.augment.iter().map(|augment| augment.name().into()).collect(),
            fit: self.fit,
            bit_depth: self.depth.bits(),
            method: self.method.name.into(),
            reference_method: self.references.name.into(),
            reference_blocks: Layers::default(),
            reference_factors: vec![],
            seed: self.seed,
            adapter: self.adapter().map(|a| (a.name().to_string(), a.sha256().to_string())),
            prompts: self.prompts.clone(),
            prompts_sha256: product.words_sha256(),
            kinds: product.all_kinds().map(KindAbout::of).collect(),
            references: vec![],
            calibration: vec![],
            false_alarm: self.false_alarm,
            region: region.map(|region| region.about.clone()),
            scale: (0.0, 1.0),
            readiness: Readiness::default(),
            fusion: Fusion::default(),
        }
    }
}

/// Stores the scores of the reference photos that were held out. The others have none.
fn note_scores(references: &mut [ReferenceAbout], held_out: &[HeldOutScore]) -> Result<()> {
    for (about, held_out) in references.iter_mut().zip(held_out) {
        if !held_out.score.is_finite() {
            let why = "its score is not a number; leave it out, or use another method";
            return Err(Error::photo(Path::new(&about.file), why));
        }
        about.score = Some(held_out.score);
    }
    Ok(())
}

/// The state of an enrolment.
struct Enrolment<'a> {
    options: &'a EnrollOptions<'a>,
    clip: Arc<Clip>,
    region: Option<Region>,
    places: Places,
    detector: Detector,
    notes: Notes,
    /// The number of photos encoded so far, and of all photos.
    done: usize,
    total: usize,
}

/// Notes for the user.
#[derive(Default)]
struct Notes {
    unreadable: Vec<Error>,
    copies: Vec<(PathBuf, PathBuf)>,
    note: Option<String>,
}

impl<'a> Enrolment<'a> {
    fn begin(
        clip: Arc<Clip>,
        pair: &FewShotMethod,
        photos: &[PathBuf],
        options: &'a EnrollOptions<'a>,
    ) -> Result<Self> {
        let region = match &options.region {
            Some(shape) => {
                Some(Region::open(shape, photos, (clip.size(), clip.grid()), options.fit)?)
            }
            None => None,
        };
        let places = region.as_ref().map_or(Places::default(), |r| r.places(clip.grid()));
        let detector = Detector::with(clip.clone(), Box::new(pair.clone()), options.fit);
        let detector = detector.with_region(region.as_ref().map(|region| region.pixels.clone()));
        let note = region.as_ref().and_then(|region| region.note.clone());
        let notes = Notes { note, ..Notes::default() };
        Ok(Self { options, clip, region, places, detector, notes, done: 0, total: 0 })
    }

    /// The files of the references, and the files that only decide the line. Equal contents count once.
    fn read(&mut self, photos: EnrollPhotos) -> (Vec<PhotoFile>, Vec<PhotoFile>) {
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
        let prepared = Some(prepared);
        Ok(Some(EncodedReference { about: file.about(), prepared, encoded, copies }))
    }

    /// Encodes all references that can be read. Some of them, evenly spread, will get simulated damage. Only these keep
    /// their pixels.
    fn encode_references(&mut self, files: &[PhotoFile]) -> Result<Vec<EncodedReference>> {
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
    fn variants(&self, references: &[EncodedReference]) -> Result<(Vec<Variant>, Vec<Damage>)> {
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
    fn calibrate(
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
struct PhotoFile {
    path: PathBuf,
    sha256: String,
}

struct EncodedReference {
    about: ReferenceAbout,
    /// Only for photos that get simulated damage.
    prepared: Option<Prepared>,
    encoded: EncodedPhoto,
    /// The features of its copies.
    copies: Vec<Features>,
}

/// The copies of all references.
fn copies_of(references: &[EncodedReference]) -> Vec<Variant> {
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
    fn all(paths: &[PathBuf], notes: &mut Notes, progress: &dyn Fn(f64)) -> Vec<Self> {
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
        }
    }
}

pub(super) fn file_name(path: &Path) -> String {
    path.file_name().unwrap_or_default().to_string_lossy().into_owned()
}

crate::error::opaque_debug!(EnrollOptions<'_>);
