//! From features and prompts to an anomaly map and a score.

mod april_gan;
mod by_map;
mod clip_ad;
mod combined;
mod explain;
mod few_shot;
mod finding;
mod fused;
mod fusion;
mod winclip;

use std::sync::Arc;

use crate::adapter::Adapter;
use crate::clip::{Clip, Features, Taps};
use crate::error::{Error, Result};
use crate::image::{Fit, Photo, Placement, Prepared, enlarge};
use crate::prompt::Product;
use crate::reference::{Places, Region, places_of};
use crate::stats::{highest, log_odds, logistic};
pub(crate) use by_map::MapOf;
pub(crate) use finding::{Outcome, Square};

pub use april_gan::AprilGan;
pub(crate) use april_gan::layer_weights;
pub use clip_ad::ClipAd;
pub(crate) use combined::Combined;
pub use explain::{Effect, Explanation, PromptPart};
pub use few_shot::FewShotMethod;
pub(crate) use few_shot::{FittedFewShot, HeldOutScore, Known, Variant};
pub use finding::{AnomalyMap, Finding, Ignored, KindResult};
pub use fused::Fused;
pub(crate) use fused::spread;
pub(crate) use fusion::{Fusion, LogOdds, at_side, bring_to, joint_side, shift, values_inside};
pub use winclip::WinClip;

/// A method that scores each photo by itself. It first says which features it needs. Then it scores one photo or many.
/// [`crate::mutual`] scores the photos of a folder by each other.
pub trait Method: Send + Sync {
    /// The name that `--method` takes.
    fn name(&self) -> &'static str;

    /// The features that it needs from the image tower.
    fn taps(&self) -> Taps;

    /// Computes everything about a photo that does not depend on the prompts. It runs once for each photo.
    ///
    /// # Errors
    /// As [`Method::score`].
    fn project(&self, photo: Features) -> Result<Features> {
        Ok(photo)
    }

    /// The weight of the prompt map in the mean with the reference map. It is 1. For April-GAN it is the number of
    /// blocks.
    fn prompt_weight(&self) -> f32 {
        1.0
    }

    /// Scores photos. The result has one list per photo, in the same order. Each list has one [`KindScore`] per kind,
    /// in the order of [`Product::kinds`]. A score says how much better the kind fits than the normal prompts.
    ///
    /// # Errors
    /// [`Error::Tensor`] if the features do not come from [`Method::taps`] and [`Method::project`].
    fn score(&self, photos: &[&Features], product: &Product) -> Result<Vec<Vec<KindScore>>>;

    /// The median distance of a photo's patches from the reference photos, before it is put on the product's own scale: the same
    /// distance of two products means the same. With a trunk, its features are compared: it knows products, and the blocks are
    /// trained to know defects. None without references.
    ///
    /// # Errors
    /// As [`Method::score`].
    fn reference_distance(&self, _photo: &Features) -> Result<Option<f32>> {
        Ok(None)
    }
}

/// The score of one kind for one photo, on the model's square input.
#[derive(Clone, Debug)]
pub struct KindScore {
    /// 0..1, higher is more like the kind.
    pub score: f32,
    /// The score of each place.
    pub map: PatchMap,
    /// Whether the log-odds of the map's highest value are still to be added to the score. Only the places that count
    /// may raise it, and the method does not know them.
    pub adds_peak: bool,
}

/// Adds the peaks of the maps ([`Places::peak`]) where scores ask for it. `places`: what counts of `grid`^2 patches.
pub(crate) fn add_peaks(scores: &mut [KindScore], places: &Places, grid: usize) {
    for kind in scores.iter_mut().filter(|kind| kind.adds_peak) {
        let peak = places.at(grid, kind.map.side).peak(&kind.map.values);
        kind.score = logistic(log_odds(kind.score) + log_odds(peak));
        kind.adds_peak = false;
    }
}

/// A square map of the model's input: one value per patch, or any other square number of values.
#[derive(Clone, Debug, PartialEq)]
pub struct PatchMap {
    /// Values along one side.
    pub side: usize,
    /// `[side, side]`, 0..1.
    pub values: Vec<f32>,
}

impl PatchMap {
    /// Index and value of the largest value. If several are equal, the first of them.
    pub fn peak(&self) -> (usize, f32) {
        highest(self.values.iter().copied().enumerate())
    }

    /// The map at the model's input size, `[size, size]`: bilinear between the centres of the values.
    pub fn enlarge(&self, size: usize) -> Vec<f32> {
        enlarge(&self.values, self.side, size)
    }
}

/// What a method needs besides a model.
#[derive(Clone, Debug, Default)]
pub struct MethodInputs {
    /// The layers of [`AprilGan`] and [`Fused`].
    pub adapter: Option<Arc<Adapter>>,
}

impl MethodInputs {
    fn adapter(&self, method: &str) -> Result<Arc<Adapter>> {
        self.adapter.clone().ok_or_else(|| {
            let why = "needs an adapter, and this model has none of its own: give an adapter file";
            Error::setting(format!("method {method}"), why)
        })
    }
}

/// An entry of [`METHODS`].
pub struct MethodEntry {
    /// The name that `--method` takes.
    pub name: &'static str,
    /// What it does, in a few words.
    pub about: &'static str,
    /// The prompt file of its paper.
    pub prompts: &'static str,
    /// Whether it needs an adapter.
    pub takes_adapter: bool,
    make: fn(&MethodInputs) -> Result<Box<dyn Method>>,
}

/// All methods.
pub const METHODS: &[MethodEntry] = &[
    MethodEntry {
        name: WinClip::NAME,
        about: "WinCLIP: compares prompts with windows of 2x2 and 3x3 patches and the whole photo",
        prompts: "winclip",
        takes_adapter: false,
        make: |_| Ok(Box::new(WinClip::default())),
    },
    MethodEntry {
        name: AprilGan::NAME,
        about: "April-GAN: compares prompts with single patches, through the trained layers of an adapter",
        prompts: "april-gan",
        takes_adapter: true,
        make: |parts| Ok(Box::new(AprilGan::new(parts.adapter(AprilGan::NAME)?))),
    },
    MethodEntry {
        name: ClipAd::NAME,
        about: "CLIP-AD: compares prompts with single patches, without trained layers, in one pass of the model",
        prompts: "clip-ad",
        takes_adapter: false,
        make: |_| Ok(Box::new(ClipAd::default())),
    },
    MethodEntry {
        name: Fused::NAME,
        about: "Both, with equal weight",
        prompts: "winclip",
        takes_adapter: true,
        make: |parts| Ok(Box::new(Fused::new(parts.adapter(Fused::NAME)?))),
    },
];

/// Finds a method by its name.
///
/// # Errors
/// [`Error::Setting`] for an unknown name. It lists the known names.
pub fn method(name: &str) -> Result<&'static MethodEntry> {
    METHODS.iter().find(|entry| entry.name == name).ok_or_else(|| {
        let names: Vec<&str> = METHODS.iter().map(|entry| entry.name).collect();
        Error::setting(format!("method {name}"), format!("unknown; one of: {}", names.join(", ")))
    })
}

/// The default method: `april-gan` if the adapter has a layer on a trunk, `fused` with another adapter, otherwise
/// `winclip`. `docs/measured.md` has the reasons.
pub fn default_method(adapter: Option<&Adapter>) -> &'static MethodEntry {
    let best = match adapter {
        Some(adapter) if adapter.trunk().is_some() => AprilGan::NAME,
        Some(_) => Fused::NAME,
        None => WinClip::NAME,
    };
    METHODS.iter().find(|entry| entry.name == best).unwrap_or(&METHODS[0])
}

impl MethodEntry {
    /// Makes the method.
    ///
    /// # Errors
    /// [`Error::Setting`] if an input is missing.
    pub fn make(&self, parts: &MethodInputs) -> Result<Box<dyn Method>> {
        (self.make)(parts)
    }
}

/// The image side of a model. It is a trait so that tests can replace the model.
trait Encoder: Send + Sync {
    fn prepare(&self, photo: &Photo, fit: Fit) -> Prepared;
    fn encode(&self, prepared: &Prepared, taps: &Taps) -> Result<Features>;
    /// Whether one photo is too little work for all threads.
    fn is_small(&self) -> bool;
}

impl Encoder for Clip {
    fn prepare(&self, photo: &Photo, fit: Fit) -> Prepared {
        Clip::prepare(self, photo, fit)
    }
    fn encode(&self, prepared: &Prepared, taps: &Taps) -> Result<Features> {
        Clip::encode(self, prepared, taps)
    }
    fn is_small(&self) -> bool {
        Clip::is_small(self)
    }
}

/// The features of a photo. They can be scored again and again, with other prompts.
#[derive(Clone, Debug)]
pub struct EncodedPhoto {
    pub(crate) features: Features,
    pub(crate) placement: Placement,
}

/// So many pixels are opened at the same time ([`Detector::photos_at_once`]), but at least one photo.
pub const PIXELS_AT_ONCE: usize = 16 << 20;

/// A model with a method. It finds defects in photos.
pub struct Detector {
    encoder: Arc<dyn Encoder>,
    method: Box<dyn Method>,
    fit: Fit,
    region: Option<Arc<[bool]>>,
}

impl Detector {
    /// Zero-shot WinCLIP on whole photos.
    pub fn new(clip: impl Into<Arc<Clip>>) -> Self {
        Self::with(clip, Box::new(WinClip::default()), Fit::default())
    }

    /// A model with a method ([`method`]). Share the model through an `Arc` if you also need its text tower.
    pub fn with(clip: impl Into<Arc<Clip>>, method: Box<dyn Method>, fit: Fit) -> Self {
        Self { encoder: clip.into(), method, fit, region: None }
    }

    /// The same detector, but only a region counts: `[size, size]` of the model's input.
    pub(crate) fn with_region(self, region: Option<Arc<[bool]>>) -> Self {
        Self { region, ..self }
    }

    /// The same detector, but only a region counts. Photos must have its aspect ratio
    /// ([`RegionAbout::check`](crate::reference::RegionAbout::check)).
    pub fn within(self, region: &Region) -> Self {
        self.with_region(Some(region.pixels.clone()))
    }

    /// The method in use.
    pub fn method(&self) -> &dyn Method {
        &*self.method
    }

    /// The photo as the model's input. This costs far less than [`Detector::encode`]. So one thread can prepare photos
    /// ahead of another thread that encodes them.
    pub fn prepare(&self, photo: &Photo) -> Prepared {
        let mut prepared = self.encoder.prepare(photo, self.fit);
        if let Some(region) = &self.region {
            // The model must not see what does not count.
            prepared.blank_outside(region);
        }
        prepared
    }

    /// Whether both encode photos to the same features, if their adapters are the same.
    pub(crate) fn encodes_like(&self, other: &Self) -> bool {
        let method = |detector: &Self| (detector.method.name(), detector.method.taps());
        Arc::ptr_eq(&self.encoder, &other.encoder)
            && (self.fit, method(self)) == (other.fit, method(other))
            && (&self.region, &other.region) == (&None, &None)
    }

    /// How many photos to encode at the same time. The layers of a small model are too small to keep all threads busy
    /// with one photo. A large model would only need more memory.
    pub fn photos_at_once(&self) -> usize {
        const MOST: usize = 4;
        match self.encoder.is_small() {
            true => rayon::current_num_threads().min(MOST),
            false => 1,
        }
    }

    /// Passes a photo through the image tower. Nearly all of the time for a photo is spent here.
    ///
    /// # Errors
    /// [`Error::Setting`] if the model's input is too small for the method's windows.
    pub fn encode(&self, prepared: &Prepared) -> Result<EncodedPhoto> {
        let features = self.encoder.encode(prepared, &self.method.taps())?;
        Ok(EncodedPhoto { features: self.method.project(features)?, placement: prepared.placement })
    }

    /// Compares an encoded photo with the prompts of a product.
    ///
    /// # Errors
    /// [`Error::Model`] if a score is not a number.
    ///
    /// # Panics
    /// If the method does not return one score per kind.
    pub fn score(&self, photo: &EncodedPhoto, product: &Product) -> Result<Finding> {
        let outcome = self.outcome(photo, product)?;
        let square = Square {
            placement: photo.placement,
            size: photo.features.size,
            region: self.region.clone(),
        };
        Ok(Finding::new(outcome, product, square))
    }

    /// The photo's score alone. No map is placed on the photo, which saves time.
    ///
    /// # Errors
    /// As [`Detector::score`].
    pub fn image_score(&self, photo: &EncodedPhoto, product: &Product) -> Result<f32> {
        Ok(self.outcome(photo, product)?.score)
    }

    /// Looks for defects in one photo: prepares, encodes and scores it.
    ///
    /// # Errors
    /// As [`Detector::encode`] and [`Detector::score`].
    pub fn inspect(&self, photo: &Photo, product: &Product) -> Result<Finding> {
        self.score(&self.encode(&self.prepare(photo))?, product)
    }

    /// How far a photo is from the references ([`Method::reference_distance`]).
    pub(crate) fn reference_distance(&self, photo: &EncodedPhoto) -> Result<f32> {
        Ok(self.method.reference_distance(&photo.features)?.unwrap_or_default())
    }

    pub(crate) fn outcome(&self, photo: &EncodedPhoto, product: &Product) -> Result<Outcome> {
        let features = &photo.features;
        let scores = self.method.score(&[features], product)?.pop().unwrap_or_default();
        let places = self
            .region
            .as_deref()
            .map_or(Places::default(), |region| places_of(region, features.grid));
        assert_eq!(scores.len(), product.kinds().len(), "one score per kind");
        check_numbers(&scores, self.method.name())?;
        Ok(Outcome::new(scores, product, &places, features.grid))
    }
}

pub(crate) fn check_numbers(scores: &[KindScore], method: &str) -> Result<()> {
    let finite = |s: &KindScore| s.score.is_finite() && s.map.values.iter().all(|v| v.is_finite());
    if scores.iter().all(finite) {
        return Ok(());
    }
    let why = "gave a score that is not a number: the model's weights are not usable";
    Err(Error::model(method, why))
}

crate::error::opaque_debug!(MethodEntry);
crate::error::opaque_debug!(Detector);

#[cfg(test)]
mod tests {
    use super::*;
    use crate::image::Normalisation;
    use candle_core::{Device, Tensor};

    /// Every window is normal, except those that contain one patch.
    struct OneBadPatch {
        column: usize,
        row: usize,
    }

    impl Encoder for OneBadPatch {
        fn is_small(&self) -> bool {
            false
        }
        fn prepare(&self, photo: &Photo, fit: Fit) -> Prepared {
            photo.prepare(60, fit, &Normalisation::default())
        }

        fn encode(&self, _: &Prepared, taps: &Taps) -> Result<Features> {
            let grid = 6;
            let windows = taps.windows.iter().map(|&side| {
                let n = grid - side + 1;
                let holds = |start: usize, place: usize| (start..start + side).contains(&place);
                let rows: Vec<[f32; 2]> = (0..n * n)
                    .map(|i| match holds(i % n, self.column) && holds(i / n, self.row) {
                        true => [0.0, 1.0],
                        false => [1.0, 0.0],
                    })
                    .collect();
                Ok(Tensor::from_vec(rows.concat(), (n * n, 2), &Device::Cpu)?)
            });
            Ok(Features {
                image: Tensor::new(&[1f32, 1.0], &Device::Cpu)?,
                windows: windows.collect::<Result<_>>()?,
                blocks: vec![],
                patches: None,
                trunk: None,
                v_v: vec![],
                reference: None,
                grid,
                size: 60,
            })
        }
    }

    #[test]
    fn the_map_peaks_where_the_bad_patch_lies_on_the_photo() {
        let text = |v: [f32; 2]| Tensor::new(&[v], &Device::Cpu).unwrap();
        let product = Product::from_embeddings("part", text([1.0, 0.0]), text([0.0, 1.0]));
        for (fit, expected) in [(Fit::Squash, (350, 83)), (Fit::Crop, (317, 83))] {
            let detector = Detector {
                encoder: Arc::new(OneBadPatch { column: 3, row: 2 }),
                method: Box::new(WinClip::default()),
                fit,
                region: None,
            };
            // The centre of the patch is (3.5, 2.5) of 6 patches. A crop of 600x200 is the middle third.
            let photo = Photo::from_rgb(600, 200, vec![0; 600 * 200 * 3]).unwrap();
            let finding = detector.inspect(&photo, &product).unwrap();
            assert_eq!(finding.score, 0.5, "the whole photo is as near to good as to bad");
            let (x, y, value) = finding.map.peak();
            assert!(
                x.abs_diff(expected.0) < 60 && y.abs_diff(expected.1) < 20,
                "{fit:?}: {x}, {y}"
            );
            assert!(value > 0.6, "{value}");
            let unseen = finding.map.values.iter().filter(|v| v.is_nan()).count();
            assert_eq!(unseen, if fit == Fit::Crop { 400 * 200 } else { 0 });
        }
    }
}
