//! Mutual scoring: the photos of one folder compared with each other. Prompts and the other photos are put on one scale by
//! what most of the folder shows (median and median absolute deviation), which a minority of defective photos does not move.
//!
//! [`score_photos`] does all of it: each content counts once, the order of comparison comes from the photos' contents, and a
//! folder that holds two products is not mixed up. [`MutualScorer`] is the same for photos that come one by one.

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

/// How photos are scored by each other.
#[derive(Clone, Debug, Default)]
pub struct MutualOptions {
    /// How the photos are compared.
    pub musc: MuscOptions,
    /// Blocks of the image tower whose patches are compared, from 1; quarters of the tower when none.
    pub blocks: Option<Vec<usize>>,
    /// Whether prompts have a say in scores and maps, too. In any case they say which kind of defect it is, and what is
    /// ignored.
    pub with_prompts: bool,
    /// Whether scores of photos that resemble each other are brought nearer (MuSc's RsCIN).
    pub rescore: bool,
    /// How photos are made square.
    pub fit: Fit,
    /// Bits that the camera fills in 16-bit files.
    pub depth: BitDepth,
    /// The only part of the photos that counts.
    pub region: Option<Arc<Region>>,
    /// Draws the order of comparison.
    pub seed: u64,
}

impl MutualOptions {
    /// Whether prompts are needed: with a single kind of anomaly they have nothing to name.
    fn has_prompts(&self, product: &Product) -> bool {
        self.with_prompts || product.kinds().len() > 1
    }
}

/// What is kept of a photo until the others are known.
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

/// How far the work is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Progress {
    /// So many files were read for their hashes.
    Read(usize),
    /// All files were read.
    AllRead,
    /// One more photo was encoded.
    Encoded,
    /// So many photos are encoded again, those of one product.
    Again(usize),
}

/// Who is told how far the work is, and who can stop it.
#[derive(Clone, Copy)]
pub struct Watch<'a> {
    /// Called now and then, from one thread.
    pub progress: &'a dyn Fn(Progress),
    /// Once true, no further photo is encoded.
    pub is_stopped: &'a dyn Fn() -> bool,
}

impl Default for Watch<'_> {
    /// Nobody is told, and nothing is stopped.
    fn default() -> Self {
        Self { progress: &|_| {}, is_stopped: &|| false }
    }
}

/// What photos are scored with.
pub struct MutualSetup {
    /// The model.
    pub clip: Arc<Clip>,
    /// The method that scores by prompts.
    pub method: Arc<dyn Method>,
    /// The prompts.
    pub product: Product,
    /// How the photos are compared.
    pub options: MutualOptions,
    /// Whether, in a folder that seems to hold two products, the photos of each are compared with each other alone.
    pub apart: bool,
}

/// What came of scoring a folder.
pub enum MutualOutcome {
    /// Results.
    Scored(Box<MutualScores>),
    /// Too few contents to be compared ([`MutualScorer::ENOUGH`]), and prompts have a say: score each photo alone.
    TooFew,
    /// Stopped before any photo could be compared, and prompts have no say.
    Stopped,
}

/// The results of a folder.
pub struct MutualScores {
    /// The photos, each content once.
    pub photos: UniquePhotos,
    /// Each photo as it was encoded, or why it could not be.
    pub encoded: EncodedPhotos,
    /// How many photos were compared, or scored by prompts.
    pub scored: usize,
    /// For each photo its group, where the folder seems to hold two products.
    pub groups: Option<Vec<Option<bool>>>,
    /// The results: of all photos, or of each product apart. Empty where fewer than two photos could be read and prompts have
    /// no say.
    pub parts: Vec<MutualPart>,
    /// Whether the products were to be scored apart, and that was stopped.
    pub stopped_apart: bool,
}

/// Photos that were compared with each other.
pub struct MutualPart {
    /// Their results.
    pub results: MutualResults,
    /// Where each photo's result is.
    pub encoded: EncodedPhotos,
}

impl MutualScores {
    /// The part that holds a photo, and the photo's index in its results.
    pub fn find(&self, photo: usize) -> Option<(&MutualPart, usize)> {
        self.parts
            .iter()
            .find_map(|part| Some((part, part.encoded.index(&self.photos, photo)?.ok()?)))
    }
}

impl MutualSetup {
    /// A scorer without photos, for so many.
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

/// Scores the photos of one folder by each other. Photos that cannot be read are left out, and a copy of a photo has its
/// result.
///
/// # Errors
/// [`Error::Setting`](crate::Error::Setting) for options that make no sense and, where prompts have no say, for fewer than two different
/// photos; [`Error::Tensor`](crate::Error::Tensor).
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

/// Each product by itself; nothing once stopped.
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
