//! What a measurement depends on.

use blemish::clip::Precision;
use blemish::profile::{Fuse, ReferenceModelAbout, TilesAbout};
use blemish::reference::Layers;
use serde::{Deserialize, Serialize};

#[derive(Default, Serialize, Deserialize)]
pub struct EvalAbout {
    /// The folder of the maps, if another program made them.
    pub maps: Option<String>,
    pub method: Option<String>,
    /// None for maps that another program made.
    pub protocol: Option<Protocol>,
    /// How the photos of a product were compared with each other.
    pub neighbours: Option<String>,
    pub reference_method: Option<String>,
    /// The layers whose patches were compared with those photos.
    pub reference_blocks: Option<Layers>,
    /// The number of good photos of each product that photos were compared with.
    pub references: usize,
    /// The copies of these photos that were also compared with.
    #[serde(default)]
    pub augment: Vec<String>,
    /// The pattern of the photos of a part, and how the lights were joined.
    #[serde(default)]
    pub views: Option<(String, Fuse)>,
    /// The photos that set the scale of scores: none, or good training photos, but never test photos.
    pub calibration: Option<String>,
    pub model: Option<String>,
    pub model_sha256: Option<String>,
    /// The model that compared photos, if it was another one, and its input size.
    #[serde(default)]
    pub reference_model: Option<ReferenceModelAbout>,
    pub size: Option<usize>,
    /// The steps of the training of a baseline.
    #[serde(default)]
    pub training_steps: Option<usize>,
    #[serde(default)]
    pub tiles: Option<TilesAbout>,
    pub fit: Option<String>,
    pub activation: Option<String>,
    #[serde(default = "f32_name")]
    pub precision: Option<String>,
    pub bit_depth: Option<u8>,
    pub prompts: Option<String>,
    pub adapter: Option<String>,
    pub adapter_sha256: Option<String>,
    pub adapter_training_data: Option<String>,
    pub adapter_licence: Option<String>,
}

/// Older runs do not say their precision.
fn f32_name() -> Option<String> {
    Some(Precision::F32.name().into())
}

/// What a score depends on besides the photo, the prompts and the model.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Protocol {
    /// Nothing else.
    ZeroShot,
    /// Good photos of the training part.
    FewShot,
    /// All good photos of the training part: a network was trained on them.
    Trained,
    /// The other photos of the test part.
    Transductive,
}

/// What is known about a product before it is measured.
#[derive(Clone, Default, Serialize, Deserialize)]
pub struct Named {
    /// The product's name in the prompts.
    pub name: String,
    /// SHA-256 of all its prompts.
    pub words_sha256: String,
    /// Whether the adapter was trained on this product. Then the result is not zero-shot. None if this is not known.
    pub leak: Option<bool>,
    /// SHA-256 of the photos that it was compared with: of the good training photos one after another, or of the test
    /// photos' hashes in ascending order (as `folder.sha256` of `score`).
    pub compared_sha256: Option<String>,
}

impl Protocol {
    pub fn name(self) -> &'static str {
        match self {
            Self::ZeroShot => "zero-shot",
            Self::FewShot => "few-shot",
            Self::Trained => "trained",
            Self::Transductive => "transductive",
        }
    }
}
