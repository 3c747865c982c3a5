//! Words and good parts together. The papers' own pairs are averaged as the papers say. All others are put on the scale
//! of what good parts show: places by how far they lie from the good ones and how far their words lie from the
//! good ones' words, the whole photo by its distance; which kind of defect it is, and whether it is harmless, is
//! what words say.

use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::finding::Outcome;
use super::fused::log_odds;
use super::sides::Sides;
use super::{AprilGan, Method, Verdict, WinClip};
use crate::image::enlarge_to_corners;
use crate::metrics::mean_and_spread;
use crate::prompt::{Kind, Role};
use crate::reference::{Distances, FitOptions, Memory, Places, ReferenceEntry};
use crate::{Error, Features, Product, Result, Taps};

/// Good photos are left out one by one up to this many, and in as many groups when there are more.
const GROUPS: usize = 16;

/// A method of words and one of references, which judges by words alone until it remembers good photos.
#[derive(Clone)]
pub struct Pair {
    sides: Sides,
    references: &'static ReferenceEntry,
}

impl Method for Pair {
    fn name(&self) -> &'static str {
        self.sides.name()
    }

    fn taps(&self) -> Taps {
        self.sides.taps()
    }

    fn digest(&self, photo: Features) -> Result<Features> {
        self.sides.digest(photo)
    }

    fn judge(&self, photos: &[&Features], product: &Product) -> Result<Vec<Vec<Verdict>>> {
        self.sides.judge(photos, product)
    }
}

impl Pair {
    /// `blocks`: those whose patches the reference method compares ([`ReferenceEntry::default_blocks`]).
    pub fn new(
        words: impl Into<Arc<dyn Method>>,
        references: &'static ReferenceEntry,
        blocks: Vec<usize>,
    ) -> Self {
        Self { sides: Sides { words: words.into(), other: references.taps(&blocks) }, references }
    }

    /// The same with what it remembers of good photos: at least two, seen through its [`Method::taps`] and
    /// digested. Enrolment also takes one, and knows where the line to defective ones lies.
    ///
    /// # Errors
    /// [`Error::Setting`] for fewer photos, and as [`Method::judge`].
    pub fn remember(&self, good: &[&Features], product: &Product) -> Result<Box<dyn Method>> {
        if good.len() < 2 {
            return Err(Error::setting("references", "give at least two photos of good parts"));
        }
        let places = Places::default();
        let quiet = FitOptions { seed: 0, places: &places, progress: &|_| {} };
        let (method, _) = Referenced::fit(self.clone(), good, &[], product, quiet)?;
        Ok(Box::new(method))
    }

    fn is_of_a_paper(&self) -> bool {
        let pair = (self.sides.name(), self.references.name);
        pair == (WinClip::NAME, "winclip") || pair == (AprilGan::NAME, "april-gan")
    }
}

/// How words and references come together. All lines and spreads are measured on good photos, each compared with
/// the others.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Rule {
    /// The weighed mean of the maps, the plain mean of the scores (WinCLIP, section 4.3; April-GAN, section 3.2).
    Mean {
        words: f32,
        references: f32,
        /// April-GAN scales the highest distance by those of a whole test set. Instead of that, a photo at this
        /// line counts as one half.
        line: Option<f32>,
    },
    Balanced(Balance),
}

/// Where good photos lie, and how far they spread.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct Balance {
    /// Mean and spread of the words' log-odds over all places.
    words: (f32, f32),
    /// Mean and spread of the distances over all places.
    distances: (f32, f32),
    /// The mean of the photos' highest places, in spreads of both together.
    peak: f32,
    /// Mean and spread of the photos' distances.
    score: (f32, f32),
}

/// A good photo, judged as if it were not among the references.
#[derive(Clone, Debug)]
pub(crate) struct Held {
    pub score: f32,
    /// The map's highest value.
    pub peak: f32,
    /// Where it is, in parts of the model's square.
    pub peak_at: (f32, f32),
    /// The map's median.
    pub middle: f32,
}

/// A method that knows good parts.
pub(crate) struct Referenced {
    pub pair: Pair,
    pub memory: Box<dyn Memory>,
    pub rule: Rule,
    pub places: Places,
}

impl Method for Referenced {
    fn name(&self) -> &'static str {
        self.pair.name()
    }

    fn taps(&self) -> Taps {
        self.pair.taps()
    }

    fn digest(&self, photo: Features) -> Result<Features> {
        self.pair.digest(photo)
    }

    fn judge(&self, photos: &[&Features], product: &Product) -> Result<Vec<Vec<Verdict>>> {
        let words = self.pair.judge(photos, product)?;
        let join = |(words, photo): (Vec<Verdict>, &&Features)| {
            let distances = self.memory.compare(&self.pair.sides.split(photo).1, &self.places)?;
            Ok(self.rule.join(words, &distances, photo, product, &self.places))
        };
        words.into_iter().zip(photos).map(join).collect()
    }
}

/// Further versions of one of the good photos, judged as it is.
pub(crate) struct Twin {
    /// Index of the good photo.
    pub of: usize,
    pub features: Features,
}

impl Referenced {
    /// Remembers good photos, and judges each as if it were not among them, and their twins likewise. A single photo
    /// cannot be left out: then its twins, which have to be slightly other views of it, stand for it, and nothing
    /// is held out.
    pub fn fit(
        pair: Pair,
        good: &[&Features],
        twins: &[Twin],
        product: &Product,
        options: FitOptions,
    ) -> Result<(Self, Vec<Held>)> {
        let places = options.places;
        let own: Vec<(usize, &Features)> = good.iter().copied().enumerate().collect();
        let others = twins.iter().map(|twin| (twin.of, &twin.features));
        let seen: Vec<(usize, &Features)> = own.into_iter().chain(others).collect();
        let parts: Vec<Features> =
            seen.iter().map(|(_, photo)| pair.sides.split(photo).1).collect();
        let all: Vec<&Features> = parts[..good.len()].iter().collect();
        let memory = (pair.references.fit)(&all, options)?;
        let groups = good.len().min(GROUPS);
        let mut distances = vec![None; seen.len()];
        for group in 0..groups {
            let rest = all.iter().enumerate().filter(|(i, _)| i % groups != group);
            let rest: Vec<&Features> = rest.map(|(_, photo)| *photo).collect();
            let quiet = FitOptions { progress: &|_| {}, ..options };
            let without = match memory.without(&|i| i % groups == group)? {
                None if rest.is_empty() => None,
                None => Some((pair.references.fit)(&rest, quiet)?),
                found => found,
            };
            let memory = without.as_ref().unwrap_or(&memory);
            for (i, slot) in distances.iter_mut().enumerate() {
                if seen[i].0 % groups == group {
                    *slot = Some(memory.compare(&parts[i], places)?);
                }
            }
            (options.progress)((group + 1) as f64 / groups as f64);
        }
        let distances: Vec<Distances> = distances.into_iter().flatten().collect();
        let photos: Vec<&Features> = seen.iter().map(|(_, photo)| *photo).collect();
        let words = pair.judge(&photos, product)?;
        // Of a single photo its views alone say how far good photos lie.
        let measured = if good.len() > 1 { 0..good.len() } else { 1.min(twins.len())..seen.len() };
        let (grid, m) = (good[0].grid, measured);
        let rule = Rule::measure(&pair, &words[m.clone()], &distances[m], product, places, grid);
        let held =
            words.into_iter().zip(&distances).zip(photos).map(|((words, distances), photo)| {
                let verdicts = rule.join(words, distances, photo, product, places);
                Held::new(&Outcome::new(verdicts, product), places, grid)
            });
        let held = if good.len() > 1 { held.collect() } else { vec![] };
        Ok((Self { pair, memory, rule, places: places.clone() }, held))
    }
}

impl Held {
    /// Of what was found in a photo, in the places that count.
    pub fn new(outcome: &Outcome, places: &Places, grid: usize) -> Self {
        let (map, places) = (&outcome.map, places.at(grid, outcome.map.side));
        let inside = map.values.iter().enumerate().filter(|(i, _)| places.holds(*i));
        let mut values: Vec<f32> = inside.map(|(_, value)| *value).collect();
        values.sort_by(f32::total_cmp);
        let middle = values.get(values.len() / 2).copied().unwrap_or_default();
        let (hottest, peak) = map.peak();
        let at = ((hottest % map.side) as f32 + 0.5, (hottest / map.side) as f32 + 0.5);
        let side = map.side as f32;
        Self { score: outcome.score, peak, peak_at: (at.0 / side, at.1 / side), middle }
    }
}

impl Rule {
    fn measure(
        pair: &Pair,
        words: &[Vec<Verdict>],
        distances: &[Distances],
        product: &Product,
        places: &Places,
        grid: usize,
    ) -> Self {
        let scores: Vec<f32> = distances.iter().map(|d| d.score).collect();
        let (line, spread) = mean_and_spread(scores.iter().copied());
        let line = line.max(1e-6);
        if pair.is_of_a_paper() {
            let is_winclip = pair.references.name == "winclip";
            return Self::Mean {
                words: pair.sides.words.words_share(),
                references: if is_winclip { 1.0 } else { pair.sides.other.blocks.len() as f32 },
                line: (!is_winclip).then_some(line),
            };
        }
        let odds: Vec<Vec<f32>> = words.iter().map(|v| best_log_odds(v, product)).collect();
        let side = words.first().and_then(|w| w.first()).map_or(grid, |v| v.map.side);
        let maps: Vec<Vec<f32>> = distances.iter().map(|d| at_side(&d.map, grid, side)).collect();
        let places = places.at(grid, side);
        let inside = |map: &[f32]| -> Vec<f32> {
            let places = map.iter().enumerate().filter(|(i, _)| places.holds(*i));
            places.map(|(_, value)| *value).collect()
        };
        let all = |maps: &mut dyn Iterator<Item = &[f32]>| {
            let (mean, spread) = mean_and_spread(maps.flat_map(inside));
            (mean, spread.max(1e-6))
        };
        let mut balance = Balance {
            words: all(&mut odds.iter().map(|map| &map[..])),
            distances: all(&mut maps.iter().map(|map| &map[..])),
            peak: 1.0,
            // A few photos may agree by chance.
            score: (line, spread.max(0.05 * line)),
        };
        let highest = |(odds, map): (&Vec<f32>, &Vec<f32>)| {
            let both = odds.iter().zip(map).map(|(odds, far)| balance.place(*odds, *far));
            places.farthest(&both.collect::<Vec<_>>()).1
        };
        balance.peak = mean_and_spread(odds.iter().zip(&maps).map(highest)).0.max(1.0);
        Self::Balanced(balance)
    }

    /// A score on the scale of distances, whose large values [`gentle`] compresses where it is applied.
    pub fn spread_out(&self, score: f32) -> f32 {
        match self {
            Self::Mean { .. } => score,
            Self::Balanced(_) => {
                let odds = (score / (1.0 - score).max(1e-6)).max(1e-6).ln();
                odds.signum() * odds.abs().exp_m1()
            }
        }
    }

    /// The words' verdicts on one photo, with the references' say.
    fn join(
        &self,
        mut verdicts: Vec<Verdict>,
        distances: &Distances,
        photo: &Features,
        product: &Product,
        places: &Places,
    ) -> Vec<Verdict> {
        let side = verdicts.first().map_or(photo.grid, |v| v.map.side);
        let map = at_side(&distances.map, photo.grid, side);
        match self {
            Self::Mean { words, references, line } => {
                let far =
                    line.map_or(distances.score, |line| distances.score / (distances.score + line));
                for verdict in &mut verdicts {
                    verdict.score = (verdict.score + far) / 2.0;
                    for (value, distance) in verdict.map.values.iter_mut().zip(&map) {
                        *value = (words * *value + references * distance) / (words + references);
                    }
                }
            }
            Self::Balanced(balance) => {
                let best = best_log_odds(&verdicts, product);
                let best_score = best_of(&verdicts, product, |v| v.score);
                let values: Vec<f32> =
                    best.iter().zip(&map).map(|(o, d)| balance.map_log_odds(*o, *d)).collect();
                let score = balance.score_log_odds(distances.score);
                for (verdict, kind) in verdicts.iter_mut().zip(product.kinds()) {
                    // Kinds stay as far from each other as the words say.
                    verdict.score = moved(kind, verdict.score, score - best_score);
                    let known = values.iter().zip(&best);
                    for (value, (joined, best)) in verdict.map.values.iter_mut().zip(known) {
                        *value = moved(kind, *value, joined - best);
                    }
                }
            }
        }
        if places.0.is_some() {
            let places = places.at(photo.grid, side);
            for verdict in &mut verdicts {
                let values = verdict.map.values.iter_mut().enumerate();
                values.filter(|(i, _)| !places.holds(*i)).for_each(|(_, value)| *value = 0.0);
            }
        }
        verdicts
    }
}

impl Balance {
    /// How odd a place is, in spreads of the good ones, by its words and its distance.
    fn place(&self, odds: f32, distance: f32) -> f32 {
        (odds - self.words.0) / self.words.1 + (distance - self.distances.0) / self.distances.1
    }

    /// 0 at the line up to which good photos reach.
    fn map_log_odds(&self, odds: f32, distance: f32) -> f32 {
        gentle(3.0 * (self.place(odds, distance) / self.peak - 1.0))
    }

    /// 0 for the mean good photo.
    fn score_log_odds(&self, distance: f32) -> f32 {
        gentle((distance - self.score.0) / self.score.1)
    }
}

/// A map of patches at the side of the words' maps: April-GAN draws at the size of the input.
pub(super) fn at_side(map: &[f32], grid: usize, side: usize) -> Vec<f32> {
    if side == grid { map.to_vec() } else { enlarge_to_corners(map, grid, side) }
}

/// Of the kinds of anomaly that count the highest log-odds.
pub(super) fn best_of(
    verdicts: &[Verdict],
    product: &Product,
    value: impl Fn(&Verdict) -> f32,
) -> f32 {
    let kinds = product.kinds().iter().zip(verdicts);
    let counting = kinds.filter(|(kind, _)| kind.counts && kind.role != Role::Ignore);
    counting.map(|(_, v)| log_odds(value(v))).reduce(f32::max).unwrap_or(0.0)
}

/// The same at each place.
pub(super) fn best_log_odds(verdicts: &[Verdict], product: &Product) -> Vec<f32> {
    let places = verdicts.first().map_or(0, |v| v.map.values.len());
    (0..places).map(|place| best_of(verdicts, product, |v| v.map.values[place])).collect()
}

/// What words say of a kind, moved by so many log-odds. An ignored thing that does not win against the normal words does
/// not win because the whole scale is moved.
pub(super) fn moved(kind: &Kind, words: f32, by: f32) -> f32 {
    let moved = logistic(log_odds(words) + by);
    let is_harmless = kind.role == Role::Ignore && words < 0.5 + kind.margin;
    if is_harmless { moved.min(0.5) } else { moved }
}

/// As it is near 0, and slower and slower on both sides: log-odds that would round to certainty keep their order.
pub(super) fn gentle(x: f32) -> f32 {
    x.signum() * x.abs().ln_1p()
}

fn logistic(odds: f32) -> f32 {
    1.0 / (1.0 + (-odds).exp())
}
