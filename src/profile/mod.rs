//! The product file, or profile: everything that is needed to score photos of one product, and the line between ok and
//! ng.

mod augment;
mod canvas;
mod change;
mod damage;
mod decision;
mod enroll;
mod enrolment;
mod file;
mod lights;
mod lights_file;
mod part;
mod readiness;
mod rectangle;

use std::path::{Path, PathBuf};
use std::sync::Arc;

use candle_core::Device;
use serde::{Deserialize, Serialize};

use crate::adapter::Adapter;
use crate::clip::{Clip, ModelOptions};
use crate::detect::{AnomalyMap, Detector, FewShotMethod};
use crate::detect::{FittedFewShot, Fusion};
use crate::dino::{Dino, DinoOptions, Positions};
use crate::error::{Error, Result};
use crate::image::{Appearance, BitDepth, Fit};
use crate::ops::{Activation, Precision, TileCount, Tiles};
use crate::prompt::Product;
use crate::prompt::{Prompt, Role};
use crate::reference::{Layers, Places, RegionAbout, places_of};

pub use augment::Augment;
pub use change::{Change, Changed, PhotoName, ProfileChange};
pub(crate) use damage::{COPIES, damaged_copy};
pub use decision::{Calibration, Decision};
pub use enroll::{EnrollOptions, EnrollPhotos, Enrolled, enroll};
pub(crate) use lights::OwnScale;
pub use lights::{
    EnrollParts, EnrolledLights, Fuse, LightsAbout, LightsProfile, PartAbout, enroll_lights,
};
pub use part::OpenPart;

/// An enrolled product: prompts, references, and the threshold between ok and ng.
#[derive(Clone)]
pub struct Profile {
    about: ProfileAbout,
    /// The file that it was read from. Empty for a new profile.
    file: PathBuf,
    sha256: String,
    product: Product,
    adapter: Option<Arc<Adapter>>,
    /// The tensors of the reference model, by name.
    tensors: Vec<(String, candle_core::Tensor)>,
    /// Which pixels of the model's input count, `[size, size]`.
    region: Option<Arc<[bool]>>,
}

/// The description in a profile.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ProfileAbout {
    /// The version of blemish that wrote it.
    pub version: String,
    /// The product's name, or names.
    pub product: String,
    /// The same in English.
    pub product_english: String,
    /// The model's name as it was given.
    pub model: String,
    /// SHA-256 of the model's weights.
    pub model_sha256: String,
    /// Side of the model's square input, in pixels.
    pub size: usize,
    /// The model's nonlinearity.
    pub activation: String,
    /// How the model multiplied. Without it in the file: `f32`.
    #[serde(default = "f32_name")]
    pub precision: String,
    /// The model that compares photos with the references. None: the model itself.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reference_model: Option<ReferenceModelAbout>,
    /// The tiles of larger photos.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tiles: Option<TilesAbout>,
    /// The copies of the references that photos are also compared with.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub augment: Vec<String>,
    /// How photos are made square.
    pub fit: Fit,
    /// The number of bits that the camera uses in 16-bit files.
    pub bit_depth: u8,
    /// The method that compares with prompts.
    pub method: String,
    /// The method that compares with reference photos.
    pub reference_method: String,
    /// The reference method compares the patches of these layers.
    pub reference_blocks: Layers,
    /// The factors on the distances of blocks and trunk, if both are compared.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(crate) reference_factors: Vec<f32>,
    /// The highest median distance of a reference's patches from the other references. Photos of other products are farther
    /// away. None in profiles of older versions.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reference_distance: Option<f32>,
    /// The seed of all random choices.
    pub seed: u64,
    /// The adapter's file as it was given, and its SHA-256.
    pub adapter: Option<(String, String)>,
    /// The prompt file as it was given.
    pub prompts: String,
    /// SHA-256 of all prompts.
    pub prompts_sha256: String,
    /// The prompts by kind, the normal prompts first.
    pub kinds: Vec<KindAbout>,
    /// The reference photos, in the order of their SHA-256.
    pub references: Vec<ReferenceAbout>,
    /// Good photos that only decide the line, in the order of their SHA-256.
    pub calibration: Vec<ReferenceAbout>,
    /// The share of good parts that may be called `ng`, 0..1.
    pub false_alarm: f64,
    /// The mask of the region of interest: white parts count.
    pub region: Option<RegionAbout>,
    /// The map values at both ends of the colour scale. Good parts mostly stay below the lower end.
    pub scale: (f32, f32),
    /// Whether the profile is ready for use, measured with simulated damage.
    pub readiness: Readiness,
    /// What was changed after the enrolment, the oldest change first.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub history: Vec<Change>,
    /// Networks that score in place of the model and the references ([`crate::student`]).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub student: Option<StudentAbout>,
    /// How scores by prompts and by references are joined.
    #[serde(rename = "rule")]
    pub(crate) fusion: Fusion,
}

/// The tiles of a profile.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct TilesAbout {
    /// Tiles along each side.
    pub count: usize,
    /// How much of a tile is around the part that is taken from it, in patches.
    pub overlap: usize,
}

impl TilesAbout {
    /// Describes the tiles of an open model.
    pub fn of(tiles: Option<Tiles>) -> Option<Self> {
        match tiles {
            Some(Tiles { count: TileCount::Number(count), overlap: Some(overlap) }) => {
                Some(Self { count, overlap })
            }
            _ => None,
        }
    }

    /// The tiles, to open a model with.
    pub fn tiles(self) -> Tiles {
        Tiles { count: TileCount::Number(self.count), overlap: Some(self.overlap) }
    }
}

/// The reference model of a profile.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ReferenceModelAbout {
    /// Its name as it was given.
    pub name: String,
    /// SHA-256 of its weights.
    pub sha256: String,
    /// Side of its square input, in pixels.
    pub size: usize,
    /// How its position embeddings are resized.
    #[serde(default)]
    pub positions: Positions,
    /// Its tiles of larger photos.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tiles: Option<TilesAbout>,
}

impl ReferenceModelAbout {
    /// Describes an open model.
    pub fn of(dino: &Dino) -> Self {
        Self {
            name: dino.name().into(),
            sha256: dino.sha256().into(),
            size: dino.input_size(),
            positions: dino.positions(),
            tiles: TilesAbout::of(dino.tiles()),
        }
    }
}

/// How the networks of a student were trained.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct StudentAbout {
    /// SHA-256 of the profile that it learned from.
    pub teacher_profile_sha256: String,
    /// The seed of all random choices.
    pub seed: u64,
    /// Steps of each stage.
    pub steps: usize,
    /// The 0.9 and the 0.995 quantile of the local map of held-out photos.
    pub local_quantiles: (f32, f32),
    /// The same of the global map.
    pub global_quantiles: (f32, f32),
    /// The joint value that becomes 0.5 in the map, and the unit in which others differ from it.
    pub output_scale: (f32, f32),
}

/// The prompts of one kind.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct KindAbout {
    /// What the prompts describe.
    pub role: Role,
    /// The kind's name in the prompt file.
    pub name: String,
    /// The same in English.
    pub english: String,
    /// Whether the kind counts.
    pub counts: bool,
    /// See [`crate::prompt::Kind::margin`].
    pub margin: f32,
    /// The prompts.
    pub prompts: Vec<Prompt>,
}

/// A photo of a good part.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ReferenceAbout {
    /// The file's name, without its folders.
    pub file: String,
    /// SHA-256 of the file.
    pub sha256: String,
    /// Its score, computed as if it were not among the references. None for a single reference.
    pub score: Option<f32>,
    /// Whether the photo is an outlier among the references. It may show a defect or another product.
    pub is_odd: bool,
    /// What the photo looks like. None in profiles of older versions.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub appearance: Option<Appearance>,
}

/// The result of the test with simulated damage. Each photo is held out.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Readiness {
    /// `ready`, `partly`, `add references` or `not suitable`.
    pub verdict: String,
    /// The reason, in one sentence.
    pub why: String,
    /// What is found of each kind of damage.
    #[serde(default)]
    pub kinds: Vec<KindReadiness>,
    /// Number of photos with simulated damage.
    pub damaged: usize,
    /// The share of pairs in which the damaged photo scores above the good one, 0..1 (AUROC).
    pub image_auroc: Option<f64>,
    /// The share of damaged photos with the map's highest value on the damage, 0..1.
    pub peak_on_damage: Option<f64>,
}

/// The share of simulated damage of one kind that is found, 0..1: above the line between ok and ng, or above all good
/// photos if there is no line. None if no photo could be damaged in this way.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct KindReadiness {
    /// The kind of damage.
    pub kind: String,
    /// Of damage that is easy to see.
    pub clear: Option<f64>,
    /// Of faint or small damage.
    pub slight: Option<f64>,
}

/// If a larger share of a photo is unlike the references, it shows another product, or another view or light. On 12
/// generated and 2 real products, at most 0.51 of a defective photo was unlike (docs/measured.md).
pub const OTHER_PRODUCT: f64 = 0.6;

impl Profile {
    /// The share of a map that is warmer than good parts mostly are, 0..1. NaN does not count.
    pub fn unlike(&self, map: &AnomalyMap) -> f64 {
        let seen = map.values.iter().filter(|value| !value.is_nan());
        let warm = seen.clone().filter(|value| **value > self.about.scale.0).count();
        warm as f64 / seen.count().max(1) as f64
    }

    /// The profile's description.
    pub fn about(&self) -> &ProfileAbout {
        &self.about
    }

    /// SHA-256 of the profile's content.
    pub fn sha256(&self) -> &str {
        &self.sha256
    }

    /// The prompts, encoded.
    pub fn product(&self) -> &Product {
        &self.product
    }

    /// The adapter in the profile, if its method has one.
    pub fn adapter(&self) -> Option<&Adapter> {
        self.adapter.as_deref()
    }

    /// Which pixels of the model's input count, `[size, size]`. None if all do.
    pub(crate) fn region(&self) -> Option<&Arc<[bool]>> {
        self.region.as_ref()
    }

    /// The same product with other networks in place of the references.
    pub(crate) fn with_networks(
        &self,
        about: ProfileAbout,
        tensors: Vec<(String, candle_core::Tensor)>,
    ) -> Result<Self> {
        Self::new(about, self.product.clone(), None, tensors, self.region.clone())
    }

    /// The stored tensors, by name.
    pub(crate) fn tensors(&self) -> &[(String, candle_core::Tensor)] {
        &self.tensors
    }

    /// The file that it was read from. Empty for a new profile.
    pub(crate) fn file(&self) -> &Path {
        &self.file
    }

    /// The number of bits that the camera uses in 16-bit files.
    ///
    /// # Errors
    /// [`Error::Setting`] if the stored number of bits is not valid.
    pub fn bit_depth(&self) -> Result<BitDepth> {
        BitDepth::new(self.about.bit_depth)
    }

    /// The nonlinearity that the model must have.
    pub fn activation(&self) -> Option<Activation> {
        Activation::ALL.into_iter().find(|activation| activation.name() == self.about.activation)
    }

    /// How the model must multiply: scores of another precision do not fit the line.
    ///
    /// # Errors
    /// [`Error::Profile`] for a precision that this version does not know.
    pub fn precision(&self) -> Result<Precision> {
        let name = &self.about.precision;
        Precision::ALL.into_iter().find(|known| known.name() == name).ok_or_else(|| {
            let why = format!("was made with precision {name:?}; it needs a newer blemish");
            Error::profile(&self.file, why)
        })
    }

    /// Opens the model that the profile was enrolled with, and its reference model. `name`, `reference`: where they are, if
    /// not where they were.
    ///
    /// # Errors
    /// As [`Clip::open`] and [`Dino::open`]. [`Error::Setting`] for a reference model that the profile has none of.
    pub fn open_model(
        &self,
        name: Option<&str>,
        reference: Option<&str>,
        device: Device,
    ) -> Result<Clip> {
        let about = &self.about;
        let options = ModelOptions {
            size: Some(about.size),
            activation: self.activation(),
            precision: self.precision()?,
            tiles: about.tiles.map(TilesAbout::tiles),
            device,
        };
        let dino = match (&about.reference_model, reference) {
            (None, None) => None,
            (None, Some(_)) => {
                let why = "the profile was enrolled without one; enroll again to change it";
                return Err(Error::setting("reference-model", why));
            }
            (Some(own), given) => {
                let options = DinoOptions {
                    size: Some(own.size),
                    precision: options.precision,
                    tiles: own.tiles.map(TilesAbout::tiles).or(options.tiles),
                    positions: Positions::default(),
                };
                let opened = Dino::open(given.unwrap_or(&own.name), &options);
                Some(opened.map_err(|error| match error {
                    // The size is the profile's.
                    Error::Setting { setting, .. } if setting.starts_with("reference-size") => {
                        let why =
                            "is another model than the profile's; use that one or enroll again";
                        Error::setting("reference-model", why)
                    }
                    other => other,
                })?)
            }
        };
        let clip = Clip::open(name.unwrap_or(&about.model), &options)?;
        Ok(match dino {
            Some(dino) => clip.with_reference(dino),
            None => clip,
        })
    }

    /// The scores of the good photos that decide the line.
    pub fn calibration(&self) -> Calibration {
        let photos = self.about.references.iter().chain(&self.about.calibration);
        Calibration::new(photos.filter_map(|photo| photo.score).collect())
    }

    /// A detector with the settings of the enrolment.
    ///
    /// # Errors
    /// [`Error::Profile`] for another model. [`Error::Setting`] if the stored tensors do not fit together.
    pub fn detector(&self, clip: impl Into<Arc<Clip>>) -> Result<Detector> {
        let (clip, about) = (clip.into(), &self.about);
        let refuse = |why: String| Err(Error::profile(&self.file, why));
        if about.student.is_some() {
            let why = "is a student, which this command does not take; give the profile that it learned from";
            return refuse(why.into());
        }
        if clip.sha256() != about.model_sha256 {
            return refuse(format!(
                "was made with model {} (weights {}); model {} has weights {}: use that model or enroll again",
                about.model,
                short(&about.model_sha256),
                clip.name(),
                short(clip.sha256())
            ));
        }
        if (clip.input_size(), clip.activation().name()) != (about.size, &about.activation) {
            return refuse(format!(
                "was made at {} pixels with {}; the model is open at {} with {}",
                about.size,
                about.activation,
                clip.input_size(),
                clip.activation().name()
            ));
        }
        if TilesAbout::of(clip.tiles()) != about.tiles {
            return refuse("was made with other tiles than the model is open with".into());
        }
        if clip.precision().name() != about.precision {
            return refuse(format!(
                "was made with precision {}; the model is open with {}",
                about.precision,
                clip.precision().name()
            ));
        }
        self.check_reference_model(&clip)?;
        let places = self.region.as_ref().map_or(Places::default(), |r| places_of(r, clip.grid()));
        let fusion = about.fusion.clone();
        let factors = &about.reference_factors;
        let method = FittedFewShot::recall(self.pair()?, &self.tensors, factors, fusion, places)?;
        clip.check(&crate::detect::Method::taps(&method))?;
        Ok(Detector::with(clip, Box::new(method), about.fit).with_region(self.region.clone()))
    }

    fn check_reference_model(&self, clip: &Clip) -> Result<()> {
        let (made, open) = (&self.about.reference_model, clip.reference());
        let key = |about: &ReferenceModelAbout| {
            (about.sha256.clone(), about.size, about.positions, about.tiles)
        };
        let found = open.map(ReferenceModelAbout::of);
        if made.as_ref().map(key) == found.as_ref().map(key) {
            return Ok(());
        }
        let named = |about: &Option<ReferenceModelAbout>| match about {
            Some(ReferenceModelAbout { name, sha256, size, .. }) => {
                format!("reference model {name} (weights {}) at {size} pixels", short(sha256))
            }
            None => "no reference model".into(),
        };
        let (made, found) = (named(made), named(&found));
        let why = format!("was made with {made}; {found} is open: use that model or enroll again");
        Err(Error::profile(&self.file, why))
    }

    /// The methods of the profile, not fitted.
    pub(crate) fn pair(&self) -> Result<FewShotMethod> {
        let inputs = crate::detect::MethodInputs { adapter: self.adapter.clone() };
        let prompts = crate::detect::method(&self.about.method)?.make(&inputs)?;
        let references = crate::reference::reference_method(&self.about.reference_method)?;
        let pair = FewShotMethod::new(prompts, references, self.about.reference_blocks.clone());
        Ok(pair.by_reference_model(self.about.reference_model.is_some()))
    }
}

fn f32_name() -> String {
    Precision::F32.name().into()
}

/// The first letters of a hash.
fn short(sha256: &str) -> &str {
    sha256.get(..12).unwrap_or(sha256)
}

crate::error::opaque_debug!(Profile);
