//! Mutual scoring: the photos of one folder are compared with each other. The scores by prompts and by other photos are
//! put on one scale: the median and the median absolute deviation of the folder. A minority of defective photos does
//! not change these.
//!
//! [`score_photos`] scores a folder. Photos with equal contents count once. The contents decide the order of
//! comparison. If the folder holds two products, they are not mixed. [`MutualScorer`] scores photos that are added one
//! by one.

mod clustering;
mod hashing;
mod photos;
mod results;
mod scale;
mod scorer;

use std::path::PathBuf;
use std::sync::Arc;

use candle_core::{Device, Tensor};

use crate::clip::Clip;
use crate::detect::{KindScore, Method};
use crate::error::Result;
use crate::image::{BitDepth, Fit, Placement};
use crate::ops::unit_rows;
use crate::prompt::Product;
use crate::reference::{Musc, MuscOptions, Region};
use hashing::Early;

pub use hashing::PhotoHashes;
pub use photos::{EncodedPhotos, UniquePhotos};
pub use results::MutualResults;
pub use scorer::{MutualPhoto, MutualScorer};

/// Options for scoring photos by each other.
#[derive(Clone, Debug, Default)]
pub struct MutualOptions {
    /// How the photos are compared.
    pub musc: MuscOptions,
    /// Compare the patches of these blocks of the image tower, counted from 1. None: one block at each quarter of the
    /// tower.
    pub blocks: Option<Vec<usize>>,
    /// Whether prompts change scores and maps. Prompts always choose the kind of defect and decide what is ignored.
    pub with_prompts: bool,
    /// Whether to average scores over similar photos (MuSc's RsCIN).
    pub rescore: bool,
    /// How photos are made square.
    pub fit: Fit,
    /// The number of bits that the camera uses in 16-bit files.
    pub depth: BitDepth,
    /// Only this part of the photos counts.
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
    /// Called now and then, from one thread.
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

/// The model, the method and the options for scoring a folder.
pub struct MutualSetup {
    /// The model.
    pub clip: Arc<Clip>,
    /// The method that scores by prompts.
    pub method: Arc<dyn Method>,
    /// The product and its prompts.
    pub product: Product,
    /// How the photos are compared.
    pub options: MutualOptions,
    /// If the folder seems to hold two products, compare the photos of each product only with each other.
    pub apart: bool,
}

/// The outcome of scoring a folder.
pub enum MutualOutcome {
    /// Results.
    Scored(Box<MutualScores>),
    /// There are fewer different photos than [`MutualScorer::ENOUGH`], and prompts change scores. Score each photo
    /// alone.
    TooFew,
    /// Stopped before any photo was compared, and prompts do not change scores.
    Stopped,
}

/// The results of a folder.
pub struct MutualScores {
    /// The photos. Equal contents count once.
    pub photos: UniquePhotos,
    /// For each photo, its index, or why it could not be encoded.
    pub encoded: EncodedPhotos,
    /// How many photos were compared, or scored by prompts.
    pub scored: usize,
    /// If the folder seems to hold two products, the group of each photo.
    pub groups: Option<Vec<Option<bool>>>,
    /// The results of all photos, or of each product. Empty if fewer than two photos could be read and prompts do not
    /// change scores.
    pub parts: Vec<MutualPart>,
    /// Whether the run was stopped before each product was scored by itself.
    pub stopped_apart: bool,
}

/// Photos that were compared with each other.
pub struct MutualPart {
    /// Their results.
    pub results: MutualResults,
    /// Which result belongs to which photo.
    pub encoded: EncodedPhotos,
}

impl MutualScores {
    /// The part that holds a photo, and the photo's index in the results of that part.
    pub fn find(&self, photo: usize) -> Option<(&MutualPart, usize)> {
        self.parts
            .iter()
            .find_map(|part| Some((part, part.encoded.index(&self.photos, photo)?.ok()?)))
    }
}

impl MutualSetup {
    /// A scorer for at most this many photos, still empty.
    ///
    /// # Errors
    /// As [`MutualScorer::new`].
    pub fn scorer(&self, photos: usize) -> Result<MutualScorer> {
        let mut options = self.options.clone();
        // No need to keep more neighbours than there are photos.
        options.musc.max_neighbors = options.musc.max_neighbors.min(photos + 1);
        MutualScorer::new(self.clip.clone(), self.method.clone(), self.product.clone(), options)
    }
}

/// Scores the photos of one folder by each other. Photos that cannot be read are left out. A copy of a photo has the
/// same result.
///
/// # Errors
/// - [`Error::Setting`](crate::Error::Setting) for invalid options. Also for fewer than two different photos, if
///   prompts do not change scores.
/// - [`Error::Tensor`](crate::Error::Tensor) if a tensor operation fails.
pub fn score_photos(
    hashes: PhotoHashes,
    setup: &MutualSetup,
    watch: Watch,
) -> Result<MutualOutcome> {
    let with_prompts = setup.options.with_prompts;
    let paths: Vec<PathBuf> = hashes.paths().to_vec();
    let early = Early::encode(&setup.scorer(paths.len())?, setup.options.depth, &hashes, watch);
    let photos = match hashes.is_done() {
        true => UniquePhotos::new(hashes, setup.options.seed),
        false if with_prompts => UniquePhotos::unread(paths),
        false => return Ok(MutualOutcome::Stopped),
    };
    if with_prompts && photos.count() < MutualScorer::ENOUGH && !(watch.is_stopped)() {
        return Ok(MutualOutcome::TooFew);
    }
    if !with_prompts && photos.count() < 2 && photos.are_readable() {
        return Err(Musc::too_few());
    }
    let mut scorer = setup.scorer(photos.count())?;
    let encoded = scorer.add_early(&photos, &|_| true, early, watch);
    let scored = scorer.photos();
    let groups = scorer.two_products()?;
    let group_of = groups.as_ref().map(|groups| {
        let group = |photo| Some(groups[encoded.index(&photos, photo)?.ok()?]);
        (0..photos.paths().len()).map(group).collect()
    });
    let mut scores = MutualScores {
        photos,
        encoded,
        scored,
        groups: group_of,
        parts: vec![],
        stopped_apart: false,
    };
    if scored < 2 && !with_prompts {
        return Ok(MutualOutcome::Scored(Box::new(scores)));
    }
    if let (Some(groups), true) = (&groups, setup.apart) {
        scores.parts = score_apart(&scores, groups, setup, watch)?;
        scores.stopped_apart = scores.parts.is_empty();
    }
    if scores.parts.is_empty() {
        let few = groups.is_some() || scored < MutualScorer::ENOUGH || (watch.is_stopped)();
        let results =
            if with_prompts && few { scorer.finish_by_prompts() } else { scorer.finish()? };
        scores.parts.push(MutualPart { results, encoded: scores.encoded.clone() });
    }
    Ok(MutualOutcome::Scored(Box::new(scores)))
}

/// Scores each product by itself. Empty if stopped.
fn score_apart(
    scores: &MutualScores,
    groups: &[bool],
    setup: &MutualSetup,
    watch: Watch,
) -> Result<Vec<MutualPart>> {
    let mut parts = Vec::new();
    for group in [false, true] {
        if (watch.is_stopped)() {
            return Ok(vec![]);
        }
        let wanted =
            |content: usize| scores.encoded.of(content).is_some_and(|i| groups[i] == group);
        let mut scorer = setup.scorer(scores.photos.count())?;
        (watch.progress)(Progress::Again(groups.iter().filter(|g| **g == group).count()));
        let encoded = scorer.add_early(&scores.photos, &wanted, Early::default(), watch);
        let results =
            if scorer.photos() < 2 { scorer.finish_by_prompts() } else { scorer.finish()? };
        parts.push(MutualPart { results, encoded });
    }
    Ok(if (watch.is_stopped)() { vec![] } else { parts })
}
