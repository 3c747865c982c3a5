//! A folder of photos: encoded, then scored.

use std::path::PathBuf;
use std::sync::Arc;

use super::hashing::{Early, PhotoHashes};
use super::photos::{EncodedPhotos, UniquePhotos};
use super::results::MutualResults;
use super::scorer::MutualScorer;
use super::{ENOUGH, MutualOptions, Progress, Watch};
use crate::clip::Clip;
use crate::detect::Method;
use crate::error::Result;
use crate::prompt::Product;
use crate::reference::{Musc, Repeated};

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
    /// What a person said of groups of photos that share something odd ([`MutualScorer::finish_knowing`]).
    pub repeated: Vec<(PathBuf, Repeated)>,
}

impl MutualSetup {
    /// A scorer for at most this many photos, still empty.
    ///
    /// # Errors
    /// As [`MutualScorer::new`].
    pub fn scorer(&self, photos: usize) -> Result<MutualScorer> {
        let mut options = self.options.clone();
        // No need to keep more neighbours than there are photos.
        options.musc.max_neighbors = options.musc.max_neighbors.min(photos.max(1) + 1);
        MutualScorer::new(self.clip.clone(), self.method.clone(), self.product.clone(), options)
    }

    /// What a person said, by the index of each photo in the scorer.
    fn known(&self, photos: &UniquePhotos, encoded: &EncodedPhotos) -> Vec<(usize, Repeated)> {
        let index = |path: &PathBuf| {
            let photo = photos.paths().iter().position(|photo| photo == path)?;
            encoded.index(photos, photo)?.ok()
        };
        self.repeated.iter().filter_map(|(path, is)| Some((index(path)?, *is))).collect()
    }

    /// Encodes the photos of a folder. This takes nearly all of the time.
    ///
    /// # Errors
    /// - [`Error::Setting`](crate::Error::Setting) for invalid options. Also for fewer than two different photos, if
    ///   prompts do not change scores.
    /// - [`Error::Tensor`](crate::Error::Tensor) if a tensor operation fails.
    pub fn encode(&self, hashes: PhotoHashes, watch: Watch) -> Result<FolderEncoding> {
        let with_prompts = self.options.with_prompts;
        let paths: Vec<PathBuf> = hashes.paths().to_vec();
        let early = Early::encode(&self.scorer(paths.len())?, self.options.depth, &hashes, watch);
        let photos = match hashes.is_done() {
            true => UniquePhotos::new(hashes, self.options.seed),
            false if with_prompts => UniquePhotos::unread(paths),
            false => return Ok(FolderEncoding::Stopped),
        };
        if with_prompts && photos.count() < ENOUGH && !(watch.is_stopped)() {
            return Ok(FolderEncoding::TooFew);
        }
        if !with_prompts && photos.count() < 2 && photos.are_readable() {
            return Err(Musc::too_few());
        }
        let mut scorer = self.scorer(photos.count())?;
        let encoded = scorer.add_early(&photos, &|_| true, early, watch);
        let (groups, stopped) = (scorer.two_products()?, (watch.is_stopped)());
        Ok(FolderEncoding::Encoded(Box::new(EncodedFolder {
            photos,
            encoded,
            stopped,
            groups,
            scorer,
        })))
    }
}

/// The outcome of encoding a folder.
#[derive(Debug)]
pub enum FolderEncoding {
    /// The photos.
    Encoded(Box<EncodedFolder>),
    /// There are fewer different photos than [`ENOUGH`], and prompts change scores. Score each photo alone.
    TooFew,
    /// Stopped before any photo was compared, and prompts do not change scores.
    Stopped,
}

/// The photos of a folder, encoded.
pub struct EncodedFolder {
    /// The photos. Equal contents count once.
    pub photos: UniquePhotos,
    /// For each photo, its index, or why it could not be encoded.
    pub encoded: EncodedPhotos,
    /// Whether the run was stopped before all photos were encoded.
    pub stopped: bool,
    /// By their index in the scorer.
    groups: Option<Vec<bool>>,
    scorer: MutualScorer,
}

impl EncodedFolder {
    /// How many photos were encoded.
    pub fn count(&self) -> usize {
        self.scorer.photos()
    }

    /// If the folder seems to hold two products, the group of each photo. None for a photo that could not be encoded.
    pub fn groups(&self) -> Option<Vec<Option<bool>>> {
        let groups = self.groups.as_ref()?;
        let group = |photo| Some(groups[self.encoded.index(&self.photos, photo)?.ok()?]);
        Some((0..self.photos.paths().len()).map(group).collect())
    }

    /// Scores the photos by each other. If prompts change scores, it scores by prompts alone in two cases: the run was
    /// stopped, or too few photos could be read. A folder that seems to hold two products is compared as a whole unless
    /// [`MutualSetup::apart`] is set: the nearest patches of a photo are of its own product anyway.
    ///
    /// # Errors
    /// [`Error::Tensor`](crate::Error::Tensor) if a tensor operation fails.
    pub fn score(self, setup: &MutualSetup, watch: Watch) -> Result<MutualScores> {
        let (with_prompts, group_of) = (setup.options.with_prompts, self.groups());
        let (mut parts, mut stopped_apart) = (vec![], false);
        let is_empty = self.count() < 2 && !with_prompts;
        if let (Some(groups), true, false) = (&self.groups, setup.apart, is_empty) {
            parts = self.score_apart(groups, setup, watch)?;
            stopped_apart = parts.is_empty();
        }
        let Self { photos, encoded, scorer, .. } = self;
        if parts.is_empty() && !is_empty {
            let known = setup.known(&photos, &encoded);
            let few = scorer.photos() < ENOUGH || (watch.is_stopped)();
            let results = if with_prompts && few {
                scorer.finish_by_prompts()
            } else {
                scorer.finish_knowing(&known)?
            };
            parts.push(MutualPart { results, encoded });
        }
        Ok(MutualScores { photos, groups: group_of, parts, stopped_apart })
    }

    /// Scores each product by itself. Empty if stopped.
    fn score_apart(
        &self,
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
                |content: usize| self.encoded.of(content).is_some_and(|i| groups[i] == group);
            let mut scorer = setup.scorer(self.photos.count())?;
            (watch.progress)(Progress::Again(groups.iter().filter(|g| **g == group).count()));
            let encoded = scorer.add_early(&self.photos, &wanted, Early::default(), watch);
            let known = setup.known(&self.photos, &encoded);
            let results = match scorer.photos() {
                0 | 1 => scorer.finish_by_prompts(),
                _ => scorer.finish_knowing(&known)?,
            };
            parts.push(MutualPart { results, encoded });
        }
        Ok(if (watch.is_stopped)() { vec![] } else { parts })
    }
}

/// The results of a folder.
#[derive(Debug)]
pub struct MutualScores {
    /// The photos. Equal contents count once.
    pub photos: UniquePhotos,
    /// If the folder seems to hold two products, the group of each photo.
    pub groups: Option<Vec<Option<bool>>>,
    /// The results of all photos, or of each product. Empty if fewer than two photos could be read and prompts do not
    /// change scores.
    pub parts: Vec<MutualPart>,
    /// Whether the run was stopped before each product was scored by itself.
    pub stopped_apart: bool,
}

/// Photos that were compared with each other.
#[derive(Debug)]
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

/// The outcome of scoring a folder.
#[derive(Debug)]
pub enum MutualOutcome {
    /// Results.
    Scored(MutualScores),
    /// As [`FolderEncoding::TooFew`].
    TooFew,
    /// As [`FolderEncoding::Stopped`].
    Stopped,
}

/// Scores the photos of one folder by each other, as `blemish score` does. Photos that cannot be read are left out. A copy
/// of a photo has the same result.
///
/// # Errors
/// As [`MutualSetup::encode`] and [`EncodedFolder::score`].
pub fn score_photos(
    photos: &[PathBuf],
    setup: &MutualSetup,
    watch: Watch,
) -> Result<MutualOutcome> {
    Ok(match setup.encode(PhotoHashes::begin(photos), watch)? {
        FolderEncoding::Encoded(folder) => MutualOutcome::Scored(folder.score(setup, watch)?),
        FolderEncoding::TooFew => MutualOutcome::TooFew,
        FolderEncoding::Stopped => MutualOutcome::Stopped,
    })
}

crate::error::opaque_debug!(MutualSetup);
crate::error::opaque_debug!(EncodedFolder);
