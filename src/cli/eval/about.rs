//! What a measurement depends on.

use serde::{Deserialize, Serialize};

#[derive(Default, Serialize, Deserialize)]
pub struct EvalAbout {
    /// A folder of maps, where another program made them.
    pub maps: Option<String>,
    pub method: Option<String>,
    /// None for maps that another program made.
    pub protocol: Option<Protocol>,
    /// How the photos of a product were compared with each other.
    pub neighbours: Option<String>,
    pub reference_method: Option<String>,
    /// Good photos of each product that photos were compared with: none is zero-shot.
    pub references: usize,
    /// What lines and spreads were measured on: nothing, or good photos of the training part; never the test part.
    pub calibration: Option<String>,
    pub model: Option<String>,
    pub model_sha256: Option<String>,
    pub size: Option<usize>,
    pub fit: Option<String>,
    pub activation: Option<String>,
    pub bit_depth: Option<u8>,
    pub prompts: Option<String>,
    pub adapter: Option<String>,
    pub adapter_sha256: Option<String>,
    pub adapter_training_data: Option<String>,
    pub adapter_licence: Option<String>,
}

/// What a score depends on besides the photo, the words and the model.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Protocol {
    /// Nothing.
    ZeroShot,
    /// Good photos of the training part.
    FewShot,
    /// The other photos of the test part.
    Transductive,
}

/// What is known of a product before it is measured.
#[derive(Clone, Default, Serialize, Deserialize)]
pub struct Named {
    /// What the model was told that it is.
    pub name: String,
    /// SHA-256 of all its sentences.
    pub words_sha256: String,
    /// Whether the adapter was trained on it: no zero-shot result. None where that is not known.
    pub leak: Option<bool>,
    /// What it was compared with: SHA-256 of the good training photos one after another, or of the test photos' hashes in
    /// ascending order (as `folder.sha256` of `score`).
    pub compared_sha256: Option<String>,
}

impl Protocol {
    pub fn name(self) -> &'static str {
        match self {
            Self::ZeroShot => "zero-shot",
            Self::FewShot => "few-shot",
            Self::Transductive => "transductive",
        }
    }
}
