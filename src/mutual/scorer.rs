//! Photos of one product, added one by one and compared with each other.

use std::path::Path;
use std::sync::Arc;

use rayon::prelude::*;

use super::clustering::two_means;
use super::results::MutualResults;
use super::scale::MutualScale;
use super::{ENOUGH, MutualOptions, Pending, image_embeddings};
use crate::clip::{Clip, Features, Taps};
use crate::detect::{Combined, Detector, KindScore, Method, PatchMap, add_peaks, check_numbers};
use crate::error::{Error, Result};
use crate::image::{BitDepth, Photo, Prepared};
use crate::prompt::Product;
use crate::reference::{
    AllDistances, Distances, FINER, Layers, Musc, MuscOptions, MuscPatches, Places, RepeatGroup,
    Repeated, UnusualPatches, groups, rescored,
};

/// The weight of the prompts. The weight of the other photos is 1. Measured in `docs/measured.md`.
const PROMPT_WEIGHT: f32 = 0.5;
/// Scores are averaged over these numbers of similar photos (MuSc, section 3.3; the paper's values for MVTec AD).
const NEIGHBORS: [usize; 3] = [1, 2, 3];

/// Photos of one product that are compared with each other. They are added one by one.
pub struct MutualScorer {
    detector: Detector,
    combined: Combined,
    product: Product,
    /// One comparison of each source of [`Combined::split`], and the places that count in it.
    comparisons: Vec<(Musc, Places)>,
    layers: Layers,
    /// Patches along one side.
    grid: usize,
    options: MutualOptions,
    photos: Vec<Pending>,
}

/// Scores without prompts: all kinds fit as well as the normal prompts.
struct NoPrompts;

impl Method for NoPrompts {
    fn name(&self) -> &'static str {
        "none"
    }

    fn taps(&self) -> Taps {
        Taps::default()
    }

    fn score(&self, photos: &[&Features], product: &Product) -> Result<Vec<Vec<KindScore>>> {
        let even = |photo: &&Features| {
            let map = PatchMap { side: photo.grid, values: vec![0.5; photo.grid * photo.grid] };
            vec![KindScore { score: 0.5, map, adds_peak: false }; product.kinds().len()]
        };
        Ok(photos.iter().map(even).collect())
    }
}

/// A photo that is encoded but not yet compared with others.
pub struct MutualPhoto {
    pending: Pending,
    /// For each comparison of the scorer.
    patches: Vec<MuscPatches>,
}

impl MutualPhoto {
    /// About how much memory it takes, in bytes.
    pub fn bytes(&self) -> usize {
        let maps = self.pending.by_prompts.iter().map(|score| score.map.values.len());
        let patches = self.patches.iter().map(MuscPatches::bytes);
        patches.sum::<usize>() + size_of::<f32>() * maps.sum::<usize>()
    }
}

impl MutualScorer {
    /// Makes a scorer without photos. `method` scores by prompts.
    ///
    /// # Errors
    /// [`Error::Setting`] for invalid options, and for blocks or windows that the model does not have.
    pub fn new(
        clip: Arc<Clip>,
        method: impl Into<Arc<dyn Method>>,
        product: Product,
        options: MutualOptions,
    ) -> Result<Self> {
        let default = || Layers::quarters(clip.compared_shape());
        let layers = options.layers.clone().unwrap_or_else(default);
        layers.check("blocks", &clip)?;
        let prompts: Arc<dyn Method> =
            if options.has_prompts(&product) { method.into() } else { Arc::new(NoPrompts) };
        let by_reference_model = clip.reference().is_some();
        let combined = Combined { prompts, other: layers.taps(), by_reference_model };
        clip.check(&combined.taps())?;
        let (grid, compared) = (clip.grid(), clip.compared_sides().1);
        let comparison = |musc: MuscOptions, finer: usize| -> Result<_> {
            let places = places_in(&options, grid).at(grid, compared * finer);
            Ok((Musc::new(musc)?.within(places.clone()), places))
        };
        let mut comparisons = Vec::new();
        if !layers.blocks.is_empty() {
            comparisons.push(comparison(options.musc.clone(), 1)?);
        }
        if layers.trunk {
            comparisons.push(comparison(options.musc.of_trunk(), FINER)?);
        }
        let mut detector = Detector::with(clip, Box::new(combined.clone()), options.fit);
        if let Some(region) = &options.region {
            detector = detector.within(region);
        }
        Ok(Self { detector, combined, product, comparisons, layers, grid, options, photos: vec![] })
    }

    /// The photo as the model's input.
    ///
    /// # Errors
    /// [`Error::Photo`] if the aspect ratio differs from the region's.
    pub fn prepare(&self, path: &Path, photo: &Photo) -> Result<Prepared> {
        let sides = (photo.width(), photo.height());
        let region = self.options.region.as_ref();
        region.map_or(Ok(()), |region| region.about.check(path, sides))?;
        Ok(self.detector.prepare(photo))
    }

    /// How many photos to encode at the same time.
    pub(super) fn photos_at_once(&self) -> usize {
        self.detector.photos_at_once()
    }

    /// Encodes a photo for [`MutualScorer::add`]. Nearly all of the time is spent here.
    ///
    /// # Errors
    /// As [`Detector::encode`] and [`Detector::score`].
    pub fn encode(&self, prepared: &Prepared) -> Result<MutualPhoto> {
        let encoded = self.detector.encode(prepared)?;
        let (prompts, sources) = self.combined.split(&encoded.features);
        let by_prompts = self.combined.prompts.score(&[&prompts], &self.product)?;
        let mut by_prompts = by_prompts.into_iter().next().unwrap_or_default();
        add_peaks(&mut by_prompts, &places_in(&self.options, self.grid), self.grid);
        check_numbers(&by_prompts, self.combined.name())?;
        let parts = sources.iter().flat_map(|source| &source.blocks);
        for part in parts.chain([&encoded.features.image]) {
            // A sum is NaN or infinite if any value is.
            if !part.sum_all()?.to_scalar::<f32>()?.is_finite() {
                let why = "gave patches that are not numbers: the model's weights are not usable";
                return Err(Error::model("mutual", why));
            }
        }
        let size = encoded.features.size;
        let image = encoded.features.image.to_vec1()?;
        let pending = Pending { by_prompts, image, placement: encoded.placement, size };
        let patches = self.comparisons.iter().zip(&sources);
        let patches = patches.map(|((musc, _), source)| musc.patches_of(source));
        Ok(MutualPhoto { pending, patches: patches.collect::<Result<_>>()? })
    }

    /// Adds an encoded photo and compares it with the photos added shortly before. The results depend on the order of
    /// adding. [`UniquePhotos`](super::UniquePhotos) draws an order from the photos' contents.
    ///
    /// # Errors
    /// [`Error::Tensor`] if a tensor operation fails.
    pub fn add(&mut self, photo: MutualPhoto) -> Result<()> {
        for ((musc, _), patches) in self.comparisons.iter_mut().zip(photo.patches) {
            musc.add_patches(patches)?;
        }
        self.photos.push(photo.pending);
        Ok(())
    }

    pub(super) fn depth(&self) -> BitDepth {
        self.options.depth
    }

    /// How many photos were added.
    pub fn photos(&self) -> usize {
        self.photos.len()
    }

    /// The results by prompts alone.
    pub fn finish_by_prompts(self) -> MutualResults {
        let Self { product, options, photos, layers, grid, .. } = self;
        let repeats = vec![];
        MutualResults { photos, product, options, layers, grid, mutual: None, repeats }
    }

    /// The results by the other photos, and by prompts if [`MutualOptions::with_prompts`] is set.
    ///
    /// # Errors
    /// [`Error::Setting`] for fewer than two photos.
    pub fn finish(self) -> Result<MutualResults> {
        self.finish_knowing(&[])
    }

    /// As [`MutualScorer::finish`], if a person said what groups of photos share. A group is given by one of its photos.
    /// It needs [`MuscOptions::groups`]. A photo without a group changes nothing. If somebody says both of one group, it
    /// is a defect.
    ///
    /// # Errors
    /// As [`MutualScorer::finish`].
    pub fn finish_knowing(self, known: &[(usize, Repeated)]) -> Result<MutualResults> {
        let Self { product, comparisons, grid, options, photos, layers, .. } = self;
        let places = places_in(&options, grid);
        let (mut parts, mut repeats) = (Vec::new(), vec![]);
        for (musc, places) in comparisons {
            let (distances, all) = musc.finish_all()?;
            parts.push((distances, all, places));
        }
        if options.musc.groups {
            repeats = judge_again(&mut parts, known);
        }
        let mut distances = joined(parts, &places, grid);
        if options.rescore {
            let scores: Vec<f32> = distances.iter().map(|d| d.score).collect();
            let scores = rescored(&scores, &image_embeddings(&photos)?, &NEIGHBORS)?;
            distances.iter_mut().zip(scores).for_each(|(d, score)| d.score = score);
        }
        let weight = if options.with_prompts { PROMPT_WEIGHT } else { 0.0 };
        let scale = MutualScale::of(&photos, &distances, &product, weight, &places, grid);
        let mutual = Some((distances, scale));
        Ok(MutualResults { photos, product, options, layers, grid, mutual, repeats })
    }

    /// Whether the photos look like two products. Then for each photo its group, otherwise none.
    ///
    /// The image embeddings are split into two clusters (2-means). They count as two products under three conditions.
    /// The clusters explain more of the variance than clusters of one product did (`docs/measured.md`). Their centres
    /// lie farther apart. The smaller cluster has at least a fifth of the photos. A smaller one holds odd photos of the
    /// same product.
    ///
    /// # Errors
    /// [`Error::Tensor`] if a tensor operation fails.
    pub fn two_products(&self) -> Result<Option<Vec<bool>>> {
        const APART: f32 = 0.12;
        let count = self.photos.len();
        if count < ENOUGH {
            return Ok(None);
        }
        let found = two_means(&image_embeddings(&self.photos)?.to_vec2::<f32>()?);
        let own = found.is_second.iter().filter(|group| **group).count();
        let is_split = found.explained > 0.35 + 2.0 / count as f32
            && found.apart > APART
            && 5 * own.min(count - own) >= count;
        Ok(is_split.then_some(found.is_second))
    }
}

/// The patches that count.
fn places_in(options: &MutualOptions, grid: usize) -> Places {
    options.region.as_ref().map_or(Places::default(), |region| region.places(grid))
}

/// One comparison: the distances of all photos, those to each other photo, and the places that count.
type Compared = (Vec<Distances>, AllDistances, Places);

/// Finds the groups of photos that share something odd. If somebody said what a group shares, the photos that this
/// concerns are judged again.
fn judge_again(parts: &mut [Compared], known: &[(usize, Repeated)]) -> Vec<RepeatGroup> {
    let unusual: Vec<UnusualPatches> = parts.iter().map(|(_, all, _)| all.unusual()).collect();
    let mut found = groups(&unusual);
    for group in &mut found {
        let said = known.iter().filter(|(photo, _)| group.photos.contains(photo));
        let said: Vec<Repeated> = said.map(|(_, is)| *is).collect();
        group.is = said.iter().find(|is| **is == Repeated::Defect).or(said.first()).copied();
    }
    if found.iter().all(|group| group.is.is_none()) {
        return found;
    }
    let mut own = vec![None; parts[0].0.len()];
    for (number, group) in found.iter().enumerate() {
        group.photos.iter().for_each(|photo| own[*photo] = group.is.map(|is| (number, is)));
    }
    for ((distances, all, _), unusual) in parts.iter_mut().zip(&unusual) {
        let photo = |photo: usize| {
            all.judged(photo, &|patch, other| match (own[photo], own[other]) {
                (Some((a, Repeated::Defect)), Some((b, _))) if a == b => !unusual.has(photo, patch),
                (a @ Some((_, Repeated::Variant)), b) | (a, b @ Some((_, Repeated::Variant))) => {
                    a == b
                }
                _ => true,
            })
        };
        *distances = (0..own.len()).into_par_iter().map(photo).collect();
    }
    found
}

/// The distances of all photos, as the mean over the comparisons. `places`: what counts of `grid`^2 patches.
fn joined(compared: Vec<Compared>, places: &Places, grid: usize) -> Vec<Distances> {
    let means: Vec<f32> =
        compared.iter().map(|(distances, _, places)| Distances::mean(distances, places)).collect();
    let factors = Distances::factors(&means);
    let photo = |i: usize| {
        let parts = compared.iter().zip(&factors);
        let of_photo = parts.map(|((part, ..), factor)| (part[i].clone(), *factor));
        Distances::sum(&of_photo.collect::<Vec<_>>(), true, places, grid)
    };
    (0..compared[0].0.len()).map(photo).collect()
}

crate::error::opaque_debug!(MutualScorer);
crate::error::opaque_debug!(MutualPhoto);
