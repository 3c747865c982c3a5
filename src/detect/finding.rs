//! Turns the scores of all kinds into one score and one map. It decides which kinds count and what is discounted.

use std::sync::Arc;

use super::{KindScore, PatchMap, add_peaks};
use crate::image::Placement;
use crate::prompt::{Kind, Product, Role};
use crate::reference::Places;
use crate::stats::{highest, log_odds, logistic, odds};

/// How anomalous each pixel of a photo is.
#[derive(Clone, Debug)]
pub struct AnomalyMap {
    /// Width of the photo in pixels.
    pub width: usize,
    /// Height of the photo in pixels.
    pub height: usize,
    /// `[height, width]`, 0..1. NaN where the model saw nothing.
    pub values: Vec<f32>,
}

impl AnomalyMap {
    /// Column, row and value of the most anomalous pixel. If several are equal, the first of them.
    pub fn peak(&self) -> (usize, usize, f32) {
        let (pixel, value) = highest(self.values.iter().copied().enumerate());
        (pixel % self.width, pixel / self.width, value)
    }
}

/// The result for one photo.
#[derive(Clone, Debug)]
pub struct Finding {
    /// 0..1, higher is more anomalous. This is the highest score of the kinds that count. It is lower if the whole
    /// photo fits an ignored thing better, and its most anomalous place does too.
    pub score: f32,
    /// The score if nothing were ignored, 0..1.
    pub score_before_ignoring: f32,
    /// The ignored thing that discounts the score, if any: an index into `ignored`.
    pub discounted_by: Option<usize>,
    /// The anomaly map at the photo's own size.
    pub map: AnomalyMap,
    /// The share of the photo that the model saw, 0..1. It is below 1 only with [`crate::image::Fit::Crop`] or a region
    /// of interest.
    pub coverage: f64,
    /// The kind with the highest score, of the kinds that count: an index into `kinds`.
    pub kind: usize,
    /// Every kind of anomaly that the product has prompts for, in the order of [`Product::kinds`].
    pub kinds: Vec<KindResult>,
    /// Every ignored thing, in the order of [`Product::kinds`].
    pub ignored: Vec<Ignored>,
    pub(crate) square: Square,
}

/// The square input of the model, and where it lies on the photo.
#[derive(Clone, Debug)]
pub(crate) struct Square {
    pub placement: Placement,
    /// Its side in pixels.
    pub size: usize,
    /// Which pixels count, `[size, size]`.
    pub region: Option<Arc<[bool]>>,
}

impl Square {
    /// Enlarges a map of the square and places it on the photo.
    pub fn place(&self, map: &PatchMap) -> AnomalyMap {
        let (width, height) = self.placement.photo_size();
        let mut values = map.enlarge(self.size);
        if let Some(region) = &self.region {
            let outside = values.iter_mut().zip(region.iter()).filter(|(_, inside)| !**inside);
            outside.for_each(|(value, _)| *value = f32::NAN);
        }
        AnomalyMap { width, height, values: self.placement.place(&values) }
    }
}

/// How much a photo resembles one kind of anomaly.
#[derive(Clone, Debug)]
pub struct KindResult {
    /// The entry's name in the prompt file.
    pub name: String,
    /// The name in English.
    pub english: String,
    /// True for an entry with a name. False for the list `anomalous`.
    pub is_defect: bool,
    /// Whether it counts towards the photo's score.
    pub counts: bool,
    /// The score of the whole photo, 0..1.
    pub score: f32,
    /// The map, before anything is ignored.
    pub map: PatchMap,
}

/// How much of a photo is discounted because it fits a harmless thing.
#[derive(Clone, Debug)]
pub struct Ignored {
    /// The entry's name in the prompt file.
    pub name: String,
    /// The name in English.
    pub english: String,
    /// Whether it discounts scores. An entry can be in the file and not be selected.
    pub counts: bool,
    /// The score of the whole photo, 0..1.
    pub score: f32,
    /// The discounted share of what the model saw, 0..1.
    pub area: f64,
    /// The discounted pixels of the photo, `[height, width]`. Empty if there are none.
    pub mask: Vec<bool>,
}

impl Finding {
    pub(crate) fn new(outcome: Outcome, product: &Product, square: Square) -> Self {
        let (width, height) = square.placement.photo_size();
        let map = square.place(&outcome.map);
        let seen = map.values.iter().filter(|v| !v.is_nan()).count().max(1);
        let (mut kinds, mut ignored) = (Vec::new(), Vec::new());
        let (mut best, mut discounted_by) = (0, None);
        for (i, (kind, kind_score)) in product.kinds().iter().zip(outcome.scores).enumerate() {
            let (name, english) = (kind.name.clone(), kind.english.clone());
            let (counts, score) = (kind.counts, kind_score.score);
            if kind.role == Role::Ignore {
                let patches: Vec<f32> =
                    outcome.ignored.iter().map(|by| f32::from(*by == Some(i))).collect();
                let mut mask = Vec::new();
                if patches.contains(&1.0) {
                    let patches = PatchMap { side: outcome.map.side, values: patches };
                    let cover = square.place(&patches).values;
                    mask = cover.into_iter().map(|v| v >= 0.5).collect();
                }
                if outcome.discounted_by == Some(i) {
                    discounted_by = Some(ignored.len());
                }
                let area = mask.iter().filter(|m| **m).count() as f64 / seen as f64;
                ignored.push(Ignored { name, english, counts, score, area, mask });
            } else {
                if i == outcome.kind {
                    best = kinds.len();
                }
                let is_defect = kind.role == Role::Defect;
                kinds.push(KindResult {
                    name,
                    english,
                    is_defect,
                    counts,
                    score,
                    map: kind_score.map,
                });
            }
        }
        Self {
            score: outcome.score,
            score_before_ignoring: outcome.score_before_ignoring,
            discounted_by,
            map: AnomalyMap { width, height, values: map.values },
            coverage: seen as f64 / (width * height) as f64,
            kind: best,
            kinds,
            ignored,
            square,
        }
    }

    /// The map of one kind at the photo's own size.
    pub fn map_of(&self, kind: &KindResult) -> AnomalyMap {
        self.square.place(&kind.map)
    }
}

/// The scores of one photo by kind, combined at the model's own resolution.
pub(crate) struct Outcome {
    pub scores: Vec<KindScore>,
    pub score: f32,
    pub score_before_ignoring: f32,
    /// The kind that discounts the score.
    pub discounted_by: Option<usize>,
    /// The highest value of all kinds that count. It is discounted where an ignored thing fits better.
    pub map: PatchMap,
    /// For each place, the kind that discounts it.
    pub ignored: Vec<Option<usize>>,
    /// The kind with the highest score.
    pub kind: usize,
}

impl Outcome {
    /// `places`: what counts of `grid`^2 patches.
    pub fn new(
        mut scores: Vec<KindScore>,
        product: &Product,
        places: &Places,
        grid: usize,
    ) -> Self {
        let judge = Weighing::new(product);
        let mut photo = judge.weigh(|kind| scores[kind].score);
        let side = scores.first().map_or(0, |score| score.map.side);
        let weighed: Vec<Weighed> =
            (0..side * side).map(|place| judge.weigh(|i| scores[i].map.values[place])).collect();
        let inside = places.at(grid, side);
        // A harmless thing must not hide a more anomalous place elsewhere. So it lowers the photo's score only if one
        // also wins at the most anomalous place.
        let anomalies: Vec<f32> = weighed.iter().map(|place| place.anomaly).collect();
        let hottest = weighed.get(inside.farthest(&anomalies).0);
        if hottest.is_some_and(|hottest| hottest.by.is_none()) {
            (photo.left, photo.by) = (photo.anomaly, None);
        }
        let map =
            PatchMap { side, values: weighed.iter().map(|place| place.left).collect::<Vec<_>>() };
        if scores.iter().any(|score| score.adds_peak) {
            let (_, peak) = inside.farthest(&map.values);
            let left = logistic(log_odds(photo.left) + log_odds(peak));
            add_peaks(&mut scores, places, grid);
            let of_anomalies = judge.anomalies.iter().map(|kind| (*kind, scores[*kind].score));
            let (kind, anomaly) = highest(of_anomalies);
            // Without a kind that counts there is no anomaly.
            (photo.kind, photo.anomaly) = (kind, anomaly.max(0.0));
            photo.left = photo.anomaly.min(left);
        }
        Self {
            score: photo.left,
            score_before_ignoring: photo.anomaly,
            discounted_by: photo.by,
            map,
            ignored: weighed.iter().map(|place| place.by).collect(),
            kind: photo.kind,
            scores,
        }
    }
}

/// The indices of the kinds that count.
struct Weighing<'a> {
    kinds: &'a [Kind],
    anomalies: Vec<usize>,
    harmless: Vec<usize>,
}

/// The result for one place, or for the whole photo.
struct Weighed {
    /// The kind of anomaly with the highest score, and this score.
    kind: usize,
    anomaly: f32,
    /// The score after ignoring, and the kind that discounts it.
    left: f32,
    by: Option<usize>,
}

impl<'a> Weighing<'a> {
    fn new(product: &'a Product) -> Self {
        let kinds = product.kinds();
        let counting = (0..kinds.len()).filter(|i| kinds[*i].counts);
        let (harmless, anomalies) = counting.partition(|i| kinds[*i].role == Role::Ignore);
        Self { kinds, anomalies, harmless }
    }

    fn weigh(&self, value: impl Fn(usize) -> f32) -> Weighed {
        let best = |of: &mut dyn Iterator<Item = usize>| {
            of.map(|i| (i, value(i))).reduce(|best, next| if next.1 > best.1 { next } else { best })
        };
        let (kind, anomaly) = best(&mut self.anomalies.iter().copied()).unwrap_or((0, 0.0));
        // The value is the softmax against the normal prompts. `share` is the softmax against the anomaly.
        let fits = |i: &usize| {
            let enough = 0.5 + self.kinds[*i].margin;
            value(*i) >= enough && share(value(*i), anomaly) >= enough
        };
        let by = best(&mut self.harmless.iter().copied().filter(fits)).map(|(i, _)| i);
        let left = by.map_or(anomaly, |i| discounted(anomaly, value(i)));
        Weighed { kind, anomaly, left, by }
    }
}

/// The share of the anomaly in the softmax over three classes: normal, anomaly and harmless. The inputs are the
/// two-class scores of anomaly and harmless, each against normal. So the harmless thing competes with the anomaly and
/// is not subtracted from it. The result is at most 0.5 if the harmless thing fits better.
fn discounted(anomaly: f32, harmless: f32) -> f32 {
    let (a, h) = (odds(anomaly), odds(harmless));
    a / (1.0 + a + h)
}

/// The share of `of` in the softmax over `of` and `against`. Both inputs are scores against the normal prompts.
fn share(of: f32, against: f32) -> f32 {
    odds(of) / (odds(of) + odds(against)).max(f32::MIN_POSITIVE)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::prompt::Kind;
    use candle_core::{Device, Tensor};

    fn product(kinds: &[(Role, &str, bool)]) -> Product {
        let row = Tensor::zeros((1, 2), candle_core::DType::F32, &Device::Cpu).unwrap();
        let kind = |&(role, name, counts): &(Role, &str, bool)| Kind {
            role,
            name: name.into(),
            english: name.into(),
            counts,
            margin: 0.05,
            prompts: vec![],
            embeddings: row.clone(),
        };
        Product::from_kinds(kinds.iter().map(kind).collect())
    }

    fn outcome(kinds: &[(Role, &str, bool)], values: &[f32]) -> Outcome {
        let score_kind = |&score: &f32| {
            let map = PatchMap { side: 1, values: vec![score] };
            KindScore { score, map, adds_peak: false }
        };
        Outcome::new(values.iter().map(score_kind).collect(), &product(kinds), &ALL, 1)
    }

    const ALL: Places = Places(None);

    const KINDS: [(Role, &str, bool); 4] = [
        (Role::Normal, "normal", true),
        (Role::Anomalous, "anomalous", true),
        (Role::Defect, "scratch", true),
        (Role::Ignore, "oil", true),
    ];

    #[test]
    fn the_kind_that_fits_best_decides() {
        let found = outcome(&KINDS, &[0.6, 0.7, 0.3]);
        assert_eq!((found.score, found.map.values[0], found.kind), (0.7, 0.7, 1));
        let mut only = KINDS;
        only[1].2 = false;
        only[2].2 = true;
        assert_eq!(
            outcome(&only, &[0.9, 0.7, 0.3]).score,
            0.7,
            "what does not count does not count"
        );
    }

    /// Oil beside a scratch: the photo as a whole looks like oil, the scratch does not.
    #[test]
    fn an_ignored_thing_does_not_hide_a_defect_elsewhere() {
        let kind = |score: f32, places: [f32; 4]| KindScore {
            score,
            map: PatchMap { side: 2, values: places.to_vec() },
            adds_peak: false,
        };
        let scores = |scratch: f32| {
            vec![
                kind(0.6, [0.1; 4]),
                kind(0.7, [0.6, scratch, 0.1, 0.1]),
                kind(0.8, [0.9, 0.1, 0.1, 0.1]),
            ]
        };
        let kinds = product(&KINDS);
        let beside = Outcome::new(scores(0.65), &kinds, &ALL, 2);
        assert_eq!((beside.score, beside.discounted_by), (0.7, None));
        assert_eq!(beside.ignored, [Some(2), None, None, None]);
        let alone = Outcome::new(scores(0.1), &kinds, &ALL, 2);
        assert!(alone.score < 0.5 && alone.discounted_by == Some(2));
        // What lies outside the region says nothing.
        let region = Places(Some(vec![true, false, true, true]));
        assert_eq!(Outcome::new(scores(0.65), &kinds, &region, 2).discounted_by, Some(2));
    }

    #[test]
    fn an_ignored_thing_discounts_what_it_fits_better_by_the_margin() {
        let found = outcome(&KINDS, &[0.6, 0.7, 0.8]);
        assert_eq!((found.score_before_ignoring, found.ignored[0]), (0.7, Some(2)));
        // The odds are 7/3 and 4.
        let expected = (7.0 / 3.0) / (1.0 + 7.0 / 3.0 + 4.0);
        assert!(
            (found.score - expected).abs() < 1e-6 && (found.map.values[0] - expected).abs() < 1e-6
        );
        assert_eq!(outcome(&KINDS, &[0.6, 0.7, 0.74]).score, 0.7, "better, but not by the margin");
        assert_eq!(outcome(&KINDS, &[0.1, 0.2, 0.5]).score, 0.2, "the normal words fit as well");
        let mut not_asked_for = KINDS;
        not_asked_for[3].2 = false;
        assert_eq!(outcome(&not_asked_for, &[0.6, 0.7, 0.8]).score, 0.7);
        assert_eq!(discounted(1.0, 1.0), 0.5);
    }
}
