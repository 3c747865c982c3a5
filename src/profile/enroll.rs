//! Makes a profile from photos of good parts.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::augment::Augment;
use super::enrolment::{Enrolment, Notes, copies_of};
use super::readiness::{DamagedCopy, flag_odd, readiness, scale};
use super::{
    Calibration, KindAbout, Profile, ProfileAbout, Readiness, ReferenceAbout, ReferenceModelAbout,
    TilesAbout,
};
use crate::adapter::Adapter;
use crate::clip::{Clip, Features};
use crate::detect::{
    Detector, FewShotMethod, FittedFewShot, Fusion, HeldOutScore, Known, Method, MethodEntry,
    MethodInputs, default_method,
};
use crate::error::{Error, Result};
use crate::image::{BitDepth, Fit};
use crate::prompt::Product;
use crate::reference::{
    FitOptions, Layers, REFERENCE_METHODS, ReferenceEntry, Region, RegionShape,
};

/// The number of held-out photos above the line, at least. It sets how many photos a low false-alarm rate needs.
const ABOVE_LINE: f64 = 6.0;

/// Options for enrolling a product.
#[derive(Clone)]
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
    /// At least so many references are held out, if there are more. Each is compared with all others, so the time for this grows with
    /// their square.
    pub held_out: usize,
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
            held_out: 128,
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
        if let Some(why) = self.references.refusal(clip) {
            let setting = format!("reference-method {}", self.references.name);
            return Err(Error::setting(setting, why));
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
    options.check(&clip)?;
    let shape = (clip.size(), clip.grid());
    let open = |region| Region::open(region, photos.references, shape, options.fit);
    let region = options.region.as_ref().map(open).transpose()?;
    fit(clip, product, photos, (options, region))
}

/// As [`enroll`], with an open region.
pub(super) fn fit(
    clip: Arc<Clip>,
    product: Product,
    photos: EnrollPhotos,
    (options, region): (&EnrollOptions, Option<Region>),
) -> Result<Enrolled> {
    let layers = options.check(&clip)?;
    let prompts = options.method.make(&options.inputs)?;
    let pair = FewShotMethod::new(prompts, options.references, layers.clone())
        .by_reference_model(clip.reference().is_some());
    clip.check(&pair.taps())?;
    let mut enrolment = Enrolment::begin(clip.clone(), &pair, options, region);
    let (references, calibration) = enrolment.read(photos);
    let references = enrolment.encode_references(&references)?;

    let (variants, damages) = enrolment.variants(&references)?;
    let fit = FitOptions {
        seed: options.seed,
        places: &enrolment.places,
        progress: &|share| (options.progress)(options.references.name, share),
    };
    let features: Vec<&Features> = references.iter().map(|photo| &photo.encoded.features).collect();
    let held_out = options.held_out.max((ABOVE_LINE / options.false_alarm).ceil() as usize);
    let copies = copies_of(&references);
    let known = Known { photos: &features, copies: &copies, held_out };
    let (method, held_out) = FittedFewShot::fit(pair, known, &variants, &product, fit)?;
    let (fusion, tensors) = (method.fusion.clone(), method.tensors()?);
    let reference_factors = method.factors();
    let reference_distance = method.farthest;
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
        reference_distance,
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
            reference_distance: None,
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
            history: vec![],
            student: None,
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

crate::error::opaque_debug!(EnrollOptions<'_>);
