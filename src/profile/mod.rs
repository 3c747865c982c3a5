//! The product file: all that is needed to judge one product's photos, and the line between good and defective.

mod damage;
mod decision;
mod enroll;
mod file;
mod readiness;

use std::path::PathBuf;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::adapter::Adapter;
use crate::clip::Clip;
use crate::detect::{Detector, FewShotMethod};
use crate::detect::{FittedFewShot, Fusion};
use crate::error::{Error, Result};
use crate::image::{BitDepth, Fit};
use crate::ops::Activation;
use crate::prompt::Product;
use crate::prompt::{Prompt, Role};
use crate::reference::{Places, RegionAbout, places_of};

pub use decision::{Calibration, Decision};
pub use enroll::{EnrollOptions, EnrollPhotos, Enrolled, enroll};

/// A product that was enrolled: words, good parts, and where the line is.
pub struct Profile {
    about: ProfileAbout,
    /// Where it came from; empty when it was just made.
    file: PathBuf,
    sha256: String,
    product: Product,
    adapter: Option<Arc<Adapter>>,
    /// What the reference method was fitted to, by name.
    tensors: Vec<(String, candle_core::Tensor)>,
    /// `[size, size]` of the model's input: which pixels count.
    region: Option<Arc<[bool]>>,
}

/// What a profile says of itself.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ProfileAbout {
    /// The version of blemish that wrote it.
    pub version: String,
    /// The product's name, or names.
    pub product: String,
    /// The same in English.
    pub product_english: String,
    /// The model as it was named.
    pub model: String,
    /// SHA-256 of its weights.
    pub model_sha256: String,
    /// Side of its square input, in pixels.
    pub size: usize,
    /// Its nonlinearity.
    pub activation: String,
    /// How photos are made square.
    pub fit: Fit,
    /// Bits that the camera fills in 16-bit files.
    pub bit_depth: u8,
    /// The method that compares with words.
    pub method: String,
    /// The method that compares with good parts.
    pub reference_method: String,
    /// The blocks whose patches that compares.
    pub reference_blocks: Vec<usize>,
    /// What was drawn by lot was drawn with this seed.
    pub seed: u64,
    /// The adapter's file as it was named, and its SHA-256.
    pub adapter: Option<(String, String)>,
    /// The prompt file as it was named.
    pub prompts: String,
    /// SHA-256 of all sentences.
    pub prompts_sha256: String,
    /// The words, the normal ones first.
    pub kinds: Vec<KindAbout>,
    /// The good photos, in order of their SHA-256.
    pub references: Vec<ReferenceAbout>,
    /// Good photos that only serve to draw the line, in order of their SHA-256.
    pub calibration: Vec<ReferenceAbout>,
    /// The share of good parts that may be called defective, 0..1.
    pub false_alarm: f64,
    /// The mask that says what counts; white counts.
    pub region: Option<RegionAbout>,
    /// Map values at the two ends of the colour scale: a good part stays cold.
    pub scale: (f32, f32),
    /// Whether it can be relied on, by simulated damage.
    pub readiness: Readiness,
    /// How prompts and references come together.
    #[serde(rename = "rule")]
    fusion: Fusion,
}

/// Words for one thing.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct KindAbout {
    /// What they describe.
    pub role: Role,
    /// Their name in the prompt file.
    pub name: String,
    /// The same in English.
    pub english: String,
    /// Whether it counts.
    pub counts: bool,
    /// See [`crate::prompt::Kind::margin`].
    pub margin: f32,
    /// The sentences.
    pub prompts: Vec<Prompt>,
}

/// A photo of a good part.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ReferenceAbout {
    /// The file's name, without its folders.
    pub file: String,
    /// SHA-256 of the file.
    pub sha256: String,
    /// Its score, judged as if it were not among the references; none for a single one.
    pub score: Option<f32>,
    /// Whether it is far from the others: a defective part, or another product.
    pub is_odd: bool,
}

/// What came of simulated damage on the good photos, each judged as if it were not among the references.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Readiness {
    /// `ready`, `add references` or `not suitable`.
    pub verdict: String,
    /// Why, in a sentence.
    pub why: String,
    /// Photos with damage laid over them.
    pub damaged: usize,
    /// How often a damaged photo scores above a good one, 0..1 (AUROC).
    pub image_auroc: Option<f64>,
    /// How often the map's peak lies on the damage, 0..1.
    pub peak_on_damage: Option<f64>,
}

impl Profile {
    /// What it says of itself.
    pub fn about(&self) -> &ProfileAbout {
        &self.about
    }

    /// SHA-256 of all that it holds.
    pub fn sha256(&self) -> &str {
        &self.sha256
    }

    /// The words, encoded.
    pub fn product(&self) -> &Product {
        &self.product
    }

    /// The adapter that it brings, if its method has one.
    pub fn adapter(&self) -> Option<&Adapter> {
        self.adapter.as_deref()
    }

    /// How its cameras fill 16-bit files.
    ///
    /// # Errors
    /// [`Error::Setting`] when that is no number of bits.
    pub fn bit_depth(&self) -> Result<BitDepth> {
        BitDepth::new(self.about.bit_depth)
    }

    /// The nonlinearity that the model has to have.
    pub fn activation(&self) -> Option<Activation> {
        Activation::ALL.into_iter().find(|activation| activation.name() == self.about.activation)
    }

    /// Scores of good photos that draw the line.
    pub fn calibration(&self) -> Calibration {
        let photos = self.about.references.iter().chain(&self.about.calibration);
        Calibration::new(photos.filter_map(|photo| photo.score).collect())
    }

    /// A detector that judges as it was enrolled.
    ///
    /// # Errors
    /// [`Error::Profile`] for another model; [`Error::Setting`] where what is remembered does not fit together.
    pub fn detector(&self, clip: impl Into<Arc<Clip>>) -> Result<Detector> {
        let (clip, about) = (clip.into(), &self.about);
        let refuse = |why: String| Err(Error::profile(&self.file, why));
        if clip.sha256() != about.model_sha256 {
            return refuse(format!(
                "was made with model {} (weights {}); model {} has weights {}: use that model or enroll again",
                about.model,
                short(&about.model_sha256),
                clip.name(),
                short(clip.sha256())
            ));
        }
        if (clip.size(), clip.activation().name()) != (about.size, &about.activation) {
            return refuse(format!(
                "was made at {} pixels with {}; the model is open at {} with {}",
                about.size,
                about.activation,
                clip.size(),
                clip.activation().name()
            ));
        }
        let references = crate::reference::reference_method(&about.reference_method)?;
        let tensors = self.tensors.iter().cloned().collect();
        let model = (references.from_tensors)(&mut crate::reference::Tensors(tensors))?;
        let method = FittedFewShot {
            pair: self.pair()?,
            model,
            fusion: about.fusion.clone(),
            places: self.region.as_ref().map_or(Places::default(), |r| places_of(r, clip.grid())),
        };
        clip.check(&crate::detect::Method::taps(&method))?;
        Ok(Detector::with(clip, Box::new(method), about.fit).with_region(self.region.clone()))
    }

    fn pair(&self) -> Result<FewShotMethod> {
        let inputs = crate::detect::MethodInputs { adapter: self.adapter.clone() };
        let prompts = crate::detect::method(&self.about.method)?.make(&inputs)?;
        let references = crate::reference::reference_method(&self.about.reference_method)?;
        Ok(FewShotMethod::new(prompts, references, self.about.reference_blocks.clone()))
    }
}

/// The first letters of a hash.
fn short(sha256: &str) -> &str {
    sha256.get(..12).unwrap_or(sha256)
}
