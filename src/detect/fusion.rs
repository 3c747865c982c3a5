//! Joins the scores by prompts and by reference photos into one score and one map. The pairs of the papers are averaged
//! as the papers say. All other pairs are put on the scale of the reference photos. A place is scored by how far its
//! distance and its log-odds lie above the reference photos. The whole photo is scored by its distance. The prompts
//! then choose the kind of defect and decide what is harmless.

use serde::{Deserialize, Serialize};

use super::{KindScore, PatchMap};
use crate::image::{enlarge, enlarge_to_corners};
use crate::prompt::{Kind, Product, Role};
use crate::reference::{Distances, FINER, Places};
use crate::stats::{log_odds, logistic, mean_and_spread, signed_expm1, signed_log1p};

/// How prompts and references are joined. All means and spreads are measured on reference photos, each compared with
/// the others.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Fusion {
    /// The weighted mean of the maps and the plain mean of the scores (WinCLIP, section 4.3; April-GAN, section 3.2).
    Mean {
        #[serde(rename = "words")]
        prompts: f32,
        references: f32,
        /// April-GAN scales the highest distance by its range over a whole test set. blemish uses `d / (d + line)`
        /// instead, so a distance of `line` gives 0.5. None for WinCLIP.
        line: Option<f32>,
    },
    Balanced(FusionStats),
}

impl Default for Fusion {
    fn default() -> Self {
        Self::Balanced(FusionStats::default())
    }
}

/// Mean and standard deviation over the reference photos.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct FusionStats {
    /// The log-odds by prompts, over all places.
    #[serde(rename = "words")]
    prompts: (f32, f32),
    /// The distances over all places.
    distances: (f32, f32),
    /// The mean over the photos of the highest [`FusionStats::place`].
    peak: f32,
    /// The distances of whole photos.
    score: (f32, f32),
}

/// The scores and distances of the reference photos.
pub(super) struct Measured<'a> {
    /// By prompts: for each photo the score of every kind.
    pub prompts: &'a [Vec<KindScore>],
    /// By references: each photo compared with the others.
    pub distances: &'a [Distances],
    pub product: &'a Product,
    pub places: &'a Places,
    /// Patches along one side.
    pub grid: usize,
}

impl Measured<'_> {
    /// Mean and standard deviation of the photos' distances.
    pub fn score(&self) -> (f32, f32) {
        let (mean, spread) = mean_and_spread(self.distances.iter().map(|d| d.score));
        (mean.max(1e-6), spread)
    }
}

impl Fusion {
    /// The rule for methods that no paper pairs.
    pub(super) fn balanced(on: &Measured) -> Self {
        let (mean, spread) = on.score();
        // A few photos may have nearly the same distance by chance. So the spread has a lower limit.
        Self::Balanced(FusionStats::measure(on, (mean, spread.max(0.05 * mean))))
    }

    /// The score as a z-score of the distance: undoes the logistic function and [`signed_log1p`]. A score of
    /// [`Fusion::Mean`] stays as it is.
    pub fn spread_out(&self, score: f32) -> f32 {
        match self {
            Self::Mean { .. } => score,
            Self::Balanced(_) => signed_expm1((score / (1.0 - score).max(1e-6)).max(1e-6).ln()),
        }
    }

    /// Joins the scores of one photo by prompts with its distances from the references.
    pub(super) fn join(
        &self,
        mut scores: Vec<KindScore>,
        distances: &Distances,
        grid: usize,
        product: &Product,
        places: &Places,
    ) -> Vec<KindScore> {
        let side = joint_side(scores.first(), distances);
        bring_to(&mut scores, side);
        let map = at_side(&distances.map, side);
        let inside = places.at(grid, side);
        match self {
            Self::Mean { prompts, references, line } => {
                let far =
                    line.map_or(distances.score, |line| distances.score / (distances.score + line));
                for score in &mut scores {
                    score.score = (score.score + far) / 2.0;
                    for (value, distance) in score.map.values.iter_mut().zip(&map) {
                        *value =
                            (prompts * *value + references * distance) / (prompts + references);
                    }
                }
                blank_outside(&mut scores, &inside);
            }
            Self::Balanced(stats) => {
                let by_prompts = LogOdds::of(&scores, product);
                let pairs = by_prompts.map.iter().zip(&map);
                let joined = LogOdds {
                    score: stats.score_log_odds(distances.score),
                    map: pairs.map(|(odds, far)| stats.map_log_odds(*odds, *far)).collect(),
                };
                shift(&mut scores, product, &by_prompts, &joined, &inside);
            }
        }
        scores
    }
}

impl FusionStats {
    fn measure(on: &Measured, score: (f32, f32)) -> Self {
        let first = on.prompts.first().and_then(|scores| scores.first());
        let side = on.distances.first().map_or(on.grid, |d| joint_side(first, d));
        let odds = on.prompts.iter().map(|scores| {
            let mut scores = scores.clone();
            bring_to(&mut scores, side);
            LogOdds::of(&scores, on.product).map
        });
        let odds: Vec<Vec<f32>> = odds.collect();
        let maps: Vec<Vec<f32>> = on.distances.iter().map(|d| at_side(&d.map, side)).collect();
        let places = on.places.at(on.grid, side);
        let inside = |maps: &[Vec<f32>]| {
            let (mean, spread) =
                mean_and_spread(maps.iter().flat_map(|map| values_inside(map, &places)));
            (mean, spread.max(1e-6))
        };
        let mut stats = Self { prompts: inside(&odds), distances: inside(&maps), peak: 1.0, score };
        let highest = odds.iter().zip(&maps).map(|(odds, map)| {
            let both: Vec<f32> =
                odds.iter().zip(map).map(|(odds, far)| stats.place(*odds, *far)).collect();
            places.farthest(&both).1
        });
        stats.peak = mean_and_spread(highest).0.max(1.0);
        stats
    }

    /// How odd a place is: the z-score of its log-odds plus the z-score of its distance.
    fn place(&self, odds: f32, distance: f32) -> f32 {
        (odds - self.prompts.0) / self.prompts.1 + (distance - self.distances.0) / self.distances.1
    }

    /// The log-odds of a map value: 0 if [`FusionStats::place`] is equal to `peak`.
    fn map_log_odds(&self, odds: f32, distance: f32) -> f32 {
        signed_log1p(3.0 * (self.place(odds, distance) / self.peak - 1.0))
    }

    /// The log-odds of a photo's score: 0 for the mean reference photo.
    fn score_log_odds(&self, distance: f32) -> f32 {
        signed_log1p((distance - self.score.0) / self.score.1)
    }
}

/// The values of a map at the places that count.
pub(crate) fn values_inside<'a>(
    map: &'a [f32],
    places: &'a Places,
) -> impl Iterator<Item = f32> + 'a {
    map.iter().enumerate().filter(|(i, _)| places.holds(*i)).map(|(_, value)| *value)
}

/// The side of the joined map: the finer one of the prompts' maps and the map of distances.
pub(crate) fn joint_side(prompts: Option<&KindScore>, distances: &Distances) -> usize {
    let side = distances.map.len().isqrt();
    prompts.map_or(side, |score| score.map.side.max(side))
}

/// Enlarges the maps of all kinds.
pub(crate) fn bring_to(scores: &mut [KindScore], side: usize) {
    for score in scores.iter_mut().filter(|score| score.map.side != side) {
        score.map = PatchMap { side, values: score.map.enlarge(side) };
    }
}

/// Enlarges a map of distances. April-GAN's maps have the size of the input, and its patches reach the corners.
pub(crate) fn at_side(map: &[f32], side: usize) -> Vec<f32> {
    let own = map.len().isqrt();
    match side <= FINER * own {
        true => enlarge(map, own, side),
        false => enlarge_to_corners(map, own, side),
    }
}

/// The highest log-odds of the kinds of anomaly that count: for the whole photo, and at each place.
pub(crate) struct LogOdds {
    pub score: f32,
    pub map: Vec<f32>,
}

impl LogOdds {
    pub fn of(scores: &[KindScore], product: &Product) -> Self {
        let places = scores.first().map_or(0, |score| score.map.values.len());
        let counts = |kind: &Kind| kind.counts && kind.role != Role::Ignore;
        let mut counting =
            product.kinds().iter().zip(scores).filter(|(kind, _)| counts(kind)).map(|(_, s)| s);
        let Some(first) = counting.next() else {
            return Self { score: 0.0, map: vec![0.0; places] };
        };
        let mut best = Self {
            score: log_odds(first.score),
            map: first.map.values.iter().map(|value| log_odds(*value)).collect(),
        };
        for other in counting {
            best.score = best.score.max(log_odds(other.score));
            for (best, value) in best.map.iter_mut().zip(&other.map.values) {
                *best = best.max(log_odds(*value));
            }
        }
        best
    }
}

/// Shifts the scores by prompts from `from` to `to`. All kinds are shifted by the same log-odds, so the differences
/// between kinds stay as the prompts say. Map values outside the places that count become 0.
pub(crate) fn shift(
    scores: &mut [KindScore],
    product: &Product,
    from: &LogOdds,
    to: &LogOdds,
    inside: &Places,
) {
    for (score, kind) in scores.iter_mut().zip(product.kinds()) {
        score.score = shift_logit(kind, score.score, to.score - from.score);
        for (value, (to, from)) in score.map.values.iter_mut().zip(to.map.iter().zip(&from.map)) {
            *value = shift_logit(kind, *value, to - from);
        }
    }
    blank_outside(scores, inside);
}

/// Shifts the score of a kind by `by` log-odds. An ignored thing must win against the normal prompts by prompts alone.
/// If it does not, the shift cannot raise it.
fn shift_logit(kind: &Kind, score: f32, by: f32) -> f32 {
    let shifted = logistic(log_odds(score) + by);
    let is_harmless = kind.role == Role::Ignore && score < 0.5 + kind.margin;
    if is_harmless { shifted.min(score) } else { shifted }
}

fn blank_outside(scores: &mut [KindScore], inside: &Places) {
    for score in scores.iter_mut().filter(|_| inside.0.is_some()) {
        let values = score.map.values.iter_mut().enumerate();
        values.filter(|(i, _)| !inside.holds(*i)).for_each(|(_, value)| *value = 0.0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_harmless_thing_wins_by_prompts_or_not_at_all() {
        let row =
            candle_core::Tensor::zeros((1, 2), candle_core::DType::F32, &candle_core::Device::Cpu);
        let kind = |margin: f32| Kind {
            role: Role::Ignore,
            name: "oil".into(),
            english: "oil".into(),
            counts: true,
            margin,
            prompts: vec![],
            embeddings: row.as_ref().unwrap().clone(),
        };
        // Without a margin, too.
        for margin in [0.0, 0.05] {
            assert!(shift_logit(&kind(margin), 0.49, 5.0) < 0.5);
        }
        assert!(shift_logit(&kind(0.0), 0.51, 5.0) > 0.9);
        assert!(shift_logit(&kind(0.0), 0.51, -5.0) < 0.1);
    }
}
