//! The photos of a folder, judged by each other and by words. Both are put on one scale by what most of the folder shows:
//! how many spreads a photo, or a place, lies above the middle, middle and spread being the median and the median
//! deviation, which a minority of defective photos does not move.

use std::path::Path;
use std::sync::Arc;

use candle_core::{Device, Tensor};

use super::finding::{Outcome, Square};
use super::groups::{two_groups, two_means};
use super::referenced::{at_side, best_log_odds, best_of, gentle, moved};
use super::sides::Sides;
use super::spreads::{Both, median};
use super::{Detector, Finding, Method, PatchMap, Verdict};
use crate::ops::unit_rows;
use crate::reference::{Distances, Mutual, MutualOptions, Places, rescored, spread_out};
use crate::{
    Clip, Error, Features, Fit, Photo, Placement, Prepared, Product, Region, Result, Taps,
};

/// What words count for beside the neighbours: measured in `docs/measured.md`.
const WORDS: f32 = 0.5;
/// A photo so many spreads above the middle counts as one half.
const FAR: f32 = 3.0;
/// The paper's numbers of neighbours whose scores are averaged (section 3.3; on MVTec AD).
const NEIGHBOURS: [usize; 3] = [1, 2, 3];

/// How a folder is judged.
#[derive(Clone, Debug, Default)]
pub struct FolderOptions {
    /// How the photos judge one another.
    pub mutual: MutualOptions,
    /// Blocks of the image tower whose patches are compared, from 1; quarters of the tower when none.
    pub blocks: Option<Vec<usize>>,
    /// Whether words have a say in scores and maps, too. In any case they say which kind of defect it is, and what is
    /// ignored.
    pub with_words: bool,
    /// Whether scores of photos that resemble each other are brought nearer (RsCIN).
    pub rescore: bool,
    /// How photos are made square.
    pub fit: Fit,
    /// The only part of the photos that counts.
    pub region: Option<Arc<Region>>,
}

impl FolderOptions {
    /// Whether words are looked at: with a single kind of anomaly they have nothing to name.
    fn has_words(&self, product: &Product) -> bool {
        self.with_words || product.kinds().len() > 1
    }
}

/// Photos of one product, added one by one.
pub struct Folder {
    detector: Detector,
    sides: Sides,
    product: Product,
    mutual: Mutual,
    options: FolderOptions,
    seen: Vec<Waiting>,
}

/// No words: every kind is as near as the normal ones.
struct Mute;

impl Method for Mute {
    fn name(&self) -> &'static str {
        "none"
    }

    fn taps(&self) -> Taps {
        Taps::default()
    }

    fn judge(&self, photos: &[&Features], product: &Product) -> Result<Vec<Vec<Verdict>>> {
        let verdict = |photo: &&Features| {
            let map = PatchMap { side: photo.grid, values: vec![0.5; photo.grid * photo.grid] };
            vec![Verdict { score: 0.5, map }; product.kinds().len()]
        };
        Ok(photos.iter().map(verdict).collect())
    }
}

/// A photo that was looked at, and is not yet compared with others.
pub struct EncodedPhoto {
    waiting: Waiting,
    blocks: Features,
}

impl EncodedPhoto {
    /// About how much memory it takes.
    pub fn bytes(&self) -> usize {
        let blocks = self.blocks.blocks.iter().map(|block| block.elem_count());
        let maps = self.waiting.words.iter().map(|verdict| verdict.map.values.len());
        4 * (blocks.sum::<usize>() + maps.sum::<usize>())
    }
}

/// What is kept of a photo until the others are known.
struct Waiting {
    words: Vec<Verdict>,
    /// The image embedding.
    image: Vec<f32>,
    placement: Placement,
    size: usize,
}

impl Folder {
    /// Fewer photos than this say too little about each other.
    pub const ENOUGH: usize = 8;

    /// No photos yet; `words`: the method that judges by words.
    ///
    /// # Errors
    /// [`Error::Setting`] for options that make no sense, and for what the model does not have.
    pub fn new(
        clip: Arc<Clip>,
        words: Box<dyn Method>,
        product: Product,
        options: FolderOptions,
    ) -> Result<Self> {
        let quarter = |i: usize| (clip.shape().blocks * i).div_ceil(4);
        let blocks = options.blocks.clone().unwrap_or_else(|| (1..=4).map(quarter).collect());
        let last = clip.shape().blocks;
        if blocks.is_empty() || blocks.iter().any(|block| !(1..=last).contains(block)) {
            let why = format!("give blocks of the model, from 1 to {last}");
            return Err(Error::setting("--blocks", why));
        }
        let words = if options.has_words(&product) { words } else { Box::new(Mute) };
        let sides = Sides { words: words.into(), other: Taps { blocks, ..Taps::default() } };
        clip.check(&sides.taps())?;
        let mut mutual = Mutual::new(options.mutual.clone())?;
        if let Some(region) = &options.region {
            mutual = mutual.within(region.places(clip.grid()));
        }
        let mut detector = Detector::with(clip, Box::new(sides.clone()), options.fit);
        if let Some(region) = &options.region {
            detector = detector.within(region);
        }
        Ok(Self { detector, sides, product, mutual, options, seen: vec![] })
    }

    /// The order that photos are best added in: drawn by the seed from their contents' hashes, whatever they are called
    /// and however they were found. Indices.
    pub fn order(sha256: &[&str], seed: u64) -> Vec<usize> {
        let drawn = |i: &usize| crate::files::sha256(format!("{seed} {}", sha256[*i]).as_bytes());
        let mut order: Vec<usize> = (0..sha256.len()).collect();
        order.sort_by_cached_key(drawn);
        order
    }

    /// A photo as the model takes it.
    ///
    /// # Errors
    /// [`Error::Photo`] for one of another shape than the region's.
    pub fn prepare(&self, path: &Path, photo: &Photo) -> Result<Prepared> {
        let sides = (photo.width(), photo.height());
        let region = self.options.region.as_ref();
        region.map_or(Ok(()), |region| region.about.check(path, sides))?;
        Ok(self.detector.prepare(photo))
    }

    /// Adds a photo: looks at it, and compares it with those added shortly before.
    ///
    /// # Errors
    /// As [`Folder::encode`].
    pub fn add(&mut self, prepared: &Prepared) -> Result<()> {
        self.add_encoded(self.encode(prepared)?)
    }

    /// Looks at a photo, to be added later; that takes nearly all of the time.
    ///
    /// # Errors
    /// As [`Detector::look`] and [`Detector::judge`].
    pub fn encode(&self, prepared: &Prepared) -> Result<EncodedPhoto> {
        let seen = self.detector.look(prepared)?;
        let (words, blocks) = self.sides.split(&seen.features);
        let words = self.sides.words.judge(&[&words], &self.product)?.pop().unwrap_or_default();
        super::check_numbers(&words, self.sides.name())?;
        for part in blocks.blocks.iter().chain([&seen.features.image]) {
            // NaN and infinity survive a sum.
            if !part.sum_all()?.to_scalar::<f32>()?.is_finite() {
                let why = "gave patches that are no numbers: the model's weights are not usable";
                return Err(Error::model("mutual", why));
            }
        }
        let size = seen.features.size;
        let image = seen.features.image.to_vec1()?;
        let waiting = Waiting { words, image, placement: seen.placement, size };
        Ok(EncodedPhoto { waiting, blocks })
    }

    /// Adds what was looked at.
    ///
    /// # Errors
    /// [`Error::Tensor`].
    pub fn add_encoded(&mut self, photo: EncodedPhoto) -> Result<()> {
        self.mutual.add(&photo.blocks)?;
        self.seen.push(photo.waiting);
        Ok(())
    }

    /// How many photos were added.
    pub fn photos(&self) -> usize {
        self.seen.len()
    }

    /// Each photo by words alone: of no use where these have no say in scores and nothing to name.
    pub fn by_words(self) -> Judged {
        let (seen, blocks) = (self.seen, self.sides.other.blocks);
        Judged { folder: seen, product: self.product, options: self.options, blocks, mutual: None }
    }

    /// Each photo by all others.
    ///
    /// # Errors
    /// [`Error::Setting`] for a single photo.
    pub fn finish(self) -> Result<Judged> {
        let Self { product, mutual, options, seen, sides, .. } = self;
        let blocks = sides.other.blocks;
        let mut distances = mutual.finish()?;
        if options.rescore {
            let scores: Vec<f32> = distances.iter().map(|d| d.score).collect();
            let scores = rescored(&scores, &images(&seen)?, &NEIGHBOURS)?;
            distances.iter_mut().zip(scores).for_each(|(d, score)| d.score = score);
        }
        let scale = Scale::of(&seen, &distances, &product, &options);
        Ok(Judged { folder: seen, product, options, blocks, mutual: Some((distances, scale)) })
    }

    /// Whether the photos look like two products: for each photo its group, and none where they look like one. Two clusters of
    /// the image embeddings (2-means) are two products where they explain more of the embeddings' spread, and lie farther
    /// apart, than those of one product did in the folders that this was tried on (`docs/measured.md`), and the smaller one
    /// has a fifth of the photos: fewer are odd photos of one product.
    ///
    /// # Errors
    /// [`Error::Tensor`].
    pub fn two_products(&self) -> Result<Option<Vec<bool>>> {
        const APART: f32 = 0.12;
        let count = self.seen.len();
        if count < Self::ENOUGH {
            return Ok(None);
        }
        let (groups, explained, apart) = two_means(&images(&self.seen)?.to_vec2::<f32>()?);
        let own = groups.iter().filter(|group| **group).count();
        let is_split = explained > 0.25 + 2.0 / count as f32
            && apart > APART
            && 5 * own.min(count - own) >= count;
        Ok(is_split.then_some(groups))
    }
}

/// Image embeddings, `[photos, embedding]`, at unit length.
fn images(photos: &[Waiting]) -> Result<Tensor> {
    let width = photos.first().map_or(0, |photo| photo.image.len());
    let all: Vec<f32> = photos.iter().flat_map(|photo| photo.image.iter().copied()).collect();
    Ok(unit_rows(&Tensor::from_vec(all, (photos.len(), width), &Device::Cpu)?)?)
}

/// A folder that was judged.
pub struct Judged {
    folder: Vec<Waiting>,
    product: Product,
    options: FolderOptions,
    blocks: Vec<usize>,
    mutual: Option<(Vec<Distances>, Scale)>,
}

impl Judged {
    /// How many photos there are.
    pub fn photos(&self) -> usize {
        self.folder.len()
    }

    /// Whether the photos judged each other.
    pub fn is_mutual(&self) -> bool {
        self.mutual.is_some()
    }

    /// Whether words have a say in scores, or name what was found.
    pub fn has_words(&self) -> bool {
        self.options.has_words(&self.product)
    }

    /// The blocks whose patches are compared.
    pub fn blocks(&self) -> &[usize] {
        &self.blocks
    }

    /// What was found in a photo, by its index in the order of adding.
    ///
    /// # Panics
    /// If there is no such photo.
    pub fn finding(&self, photo: usize) -> Finding {
        let waiting = &self.folder[photo];
        let mut verdicts = waiting.words.clone();
        if let Some((distances, scale)) = &self.mutual {
            scale.join(&mut verdicts, &distances[photo], &self.product);
        }
        let square = Square {
            placement: waiting.placement,
            size: waiting.size,
            region: self.options.region.as_ref().map(|region| region.pixels.clone()),
        };
        Finding::new(Outcome::new(verdicts, &self.product), &self.product, square)
    }

    /// The mean distance of each photo's oddest patch to its twins, 0..2, or what rescoring made of it, 0..1; none by
    /// words alone.
    pub fn mutual_score(&self, photo: usize) -> Option<f32> {
        self.mutual.as_ref().map(|(distances, _)| distances[photo].score)
    }

    /// Up to `count` photos that stand for the folder, best first: of the half with the lowest mutual scores (of all but those
    /// of `left_out`) the lowest, and then each time the one whose image embedding is farthest from those taken (a
    /// coreset), so that the folder's variety is there. Fewer where the half has fewer; none by words alone.
    ///
    /// # Errors
    /// [`Error::Tensor`].
    pub fn typical(&self, count: usize, left_out: &dyn Fn(usize) -> bool) -> Result<Vec<usize>> {
        let mut half = self.by_score();
        half.retain(|photo| !left_out(*photo));
        half.truncate(half.len().div_ceil(2));
        let half: Vec<u32> = half.into_iter().map(|photo| photo as u32).collect();
        if half.is_empty() || count == 0 {
            return Ok(vec![]);
        }
        let rows = images(&self.folder)?.index_select(&Tensor::new(&half[..], &Device::Cpu)?, 0)?;
        let taken = spread_out(&rows, 0, count)?;
        Ok(taken.into_iter().map(|i| half[i as usize] as usize).collect())
    }

    /// All photos in ascending order of their mutual scores; none by words alone.
    pub fn by_score(&self) -> Vec<usize> {
        let Some((distances, _)) = &self.mutual else { return vec![] };
        let mut order: Vec<usize> = (0..distances.len()).collect();
        order.sort_by(|a, b| distances[*a].score.total_cmp(&distances[*b].score));
        order
    }

    /// Whether the photos' scores fall into two groups of which neither is a minority: then it is open which of them is
    /// normal. How many are in the upper one.
    pub fn without_bulk(&self) -> Option<usize> {
        let (distances, _) = self.mutual.as_ref()?;
        let count = distances.len();
        if count < Folder::ENOUGH {
            return None;
        }
        let (upper, explained) = two_groups(distances.iter().map(|d| d.score).collect());
        (explained > 0.7 + 1.5 / count as f64 && 4 * upper >= count).then_some(upper)
    }
}

/// What the folder shows.
struct Scale {
    photos: Both,
    places: Both,
    /// The median of the photos' highest places, in spreads.
    peak: f32,
    /// The places that count.
    inside: Places,
    grid: usize,
    /// Of the words' maps.
    side: usize,
}

impl Scale {
    fn of(
        seen: &[Waiting],
        distances: &[Distances],
        product: &Product,
        options: &FolderOptions,
    ) -> Self {
        let share = if options.with_words { WORDS } else { 0.0 };
        let grid = distances.first().map_or(0, |d| d.map.len().isqrt());
        let side = seen.first().and_then(|photo| photo.words.first()).map_or(grid, |v| v.map.side);
        let inside = match &options.region {
            Some(region) => region.places(grid).at(grid, side),
            None => Places::default(),
        };
        let far: Vec<Vec<f32>> = distances.iter().map(|d| at_side(&d.map, grid, side)).collect();
        let holds = |i: &usize| inside.holds(*i);
        let odds: Vec<Vec<f32>> =
            seen.iter().map(|photo| best_log_odds(&photo.words, product)).collect();
        let all = |maps: &mut dyn Iterator<Item = &[f32]>| -> Vec<f32> {
            maps.flat_map(|map| (0..map.len()).filter(holds).map(|i| map[i])).collect()
        };
        let places = Both::of(
            all(&mut odds.iter().map(|map| &map[..])),
            all(&mut far.iter().map(|map| &map[..])),
            share,
        );
        let photos = Both::of(
            seen.iter().map(|photo| best_of(&photo.words, product, |v| v.score)).collect(),
            distances.iter().map(|d| d.score).collect(),
            share,
        );
        let highest = |(odds, far): (&Vec<f32>, &Vec<f32>)| {
            let values = (0..odds.len()).filter(holds);
            let values = values.map(|i| places.spreads_above(odds[i], far[i]));
            values.fold(f32::NEG_INFINITY, f32::max)
        };
        let mut peaks: Vec<f32> = odds.iter().zip(&far).map(highest).collect();
        let peak = median(&mut peaks).max(1.0);
        Self { photos, places, peak, inside, grid, side }
    }

    /// Moves a photo's verdicts by words to where words and neighbours together put it; kinds stay as far from each other
    /// as the words say.
    fn join(&self, verdicts: &mut [Verdict], distances: &Distances, product: &Product) {
        let best = best_log_odds(verdicts, product);
        let best_score = best_of(verdicts, product, |v| v.score);
        let score = gentle(self.photos.spreads_above(best_score, distances.score) - FAR);
        let place = |(best, far): (&f32, &f32)| {
            gentle(3.0 * (self.places.spreads_above(*best, *far) / self.peak - 1.0))
        };
        let far = at_side(&distances.map, self.grid, self.side);
        let values: Vec<f32> = best.iter().zip(&far).map(place).collect();
        for (verdict, kind) in verdicts.iter_mut().zip(product.kinds()) {
            verdict.score = moved(kind, verdict.score, score - best_score);
            for (i, value) in verdict.map.values.iter_mut().enumerate() {
                *value = match self.inside.holds(i) {
                    true => moved(kind, *value, values[i] - best[i]),
                    false => 0.0,
                };
            }
        }
    }
}
