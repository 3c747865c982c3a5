//! Mutual scoring: the photos of one folder are compared with each other. The scores by prompts and by other photos are
//! put on one scale: the median and the median absolute deviation of the folder. A minority of defective photos does
//! not change these.
//!
//! [`score_photos`] scores a folder. Photos with equal contents count once. The contents decide the order of
//! comparison. [`MutualScorer`] scores photos that are added one by one.

mod clustering;
mod folder;
mod hashing;
mod photos;
mod results;
mod scale;
mod scorer;

use std::sync::Arc;

use candle_core::{Device, Tensor};

use crate::detect::KindScore;
use crate::error::Result;
use crate::image::{BitDepth, Fit, Placement};
use crate::ops::unit_rows;
use crate::prompt::Product;
use crate::reference::{Layers, MuscOptions, Region};

pub use folder::{
    EncodedFolder, FolderEncoding, MutualOutcome, MutualPart, MutualScores, MutualSetup,
    score_photos,
};
pub use hashing::PhotoHashes;
pub use photos::{EncodedPhotos, UniquePhotos};
pub use results::MutualResults;
pub use scorer::{MutualPhoto, MutualScorer};

/// Fewer photos than this say too little about each other.
pub const ENOUGH: usize = 8;

/// Options for scoring photos by each other. The default compares photos only. `blemish score` also sets
/// `with_prompts`.
#[derive(Clone, Debug, Default)]
pub struct MutualOptions {
    /// How the photos are compared.
    pub musc: MuscOptions,
    /// Compare the patches of these layers of the image tower. None: one block at each quarter of the tower, and the
    /// trunk if there is one.
    pub layers: Option<Layers>,
    /// Whether prompts change scores and maps. Prompts always choose the kind of defect and decide what is ignored.
    pub with_prompts: bool,
    /// Whether to average scores over similar photos (MuSc's RsCIN).
    pub rescore: bool,
    /// How photos are made square.
    pub fit: Fit,
    /// The number of bits that the camera uses in 16-bit files.
    pub depth: BitDepth,
    /// The region of interest. Only this part of each photo counts.
    pub region: Option<Arc<Region>>,
    /// The seed of the order of comparison.
    pub seed: u64,
}

impl MutualOptions {
    /// Whether the model must score by prompts. With a single kind of anomaly there is no kind to choose.
    fn has_prompts(&self, product: &Product) -> bool {
        self.with_prompts || product.kinds().len() > 1
    }
}

/// The data of a photo that are kept until all photos are known.
struct Pending {
    by_prompts: Vec<KindScore>,
    /// The image embedding.
    image: Vec<f32>,
    placement: Placement,
    /// Side of the model's input in pixels.
    size: usize,
}

/// Image embeddings, `[photos, embedding]`, at unit length.
fn image_embeddings(photos: &[Pending]) -> Result<Tensor> {
    let width = photos.first().map_or(0, |photo| photo.image.len());
    let all: Vec<f32> = photos.iter().flat_map(|photo| photo.image.iter().copied()).collect();
    Ok(unit_rows(&Tensor::from_vec(all, (photos.len(), width), &Device::Cpu)?)?)
}

/// Progress of the work.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Progress {
    /// This many files were read for their hashes.
    Read(usize),
    /// All files were read.
    AllRead,
    /// One more photo was encoded.
    Encoded,
    /// This many photos, all of one product, will be encoded again.
    Again(usize),
}

/// Callbacks for progress and for stopping.
#[derive(Clone, Copy)]
pub struct Watch<'a> {
    /// Called repeatedly, always from the same thread.
    pub progress: &'a dyn Fn(Progress),
    /// If it returns true, no other photo is encoded.
    pub is_stopped: &'a dyn Fn() -> bool,
}

impl Default for Watch<'_> {
    /// Reports nothing and never stops.
    fn default() -> Self {
        Self { progress: &|_| {}, is_stopped: &|| false }
    }
}

crate::error::opaque_debug!(Watch<'_>);
