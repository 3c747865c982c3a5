//! The scale of a folder: robust z-scores of photos and places, by prompts and by the other photos.

use super::Pending;
use crate::detect::{KindScore, LogOdds, at_side, bring_to, joint_side, shift, values_inside};
use crate::prompt::Product;
use crate::reference::{Distances, Places};
use crate::stats::{MedianMad, median, signed_log1p};

/// A photo this many spreads above the median has the score 0.5.
const FAR: f32 = 3.0;

/// The scale of scores by prompts and distances together, either of photos or of places.
#[derive(Clone, Copy)]
struct CombinedScale {
    prompts: MedianMad,
    distances: MedianMad,
    /// The weight of the prompts.
    weight: f32,
    combined: MedianMad,
}

impl CombinedScale {
    fn of(prompts: Vec<f32>, distances: Vec<f32>, weight: f32) -> Self {
        let pairs: Vec<(f32, f32)> =
            prompts.iter().copied().zip(distances.iter().copied()).collect();
        let mut scale = Self {
            prompts: MedianMad::of(prompts),
            distances: MedianMad::of(distances),
            weight,
            combined: MedianMad { median: 0.0, spread: 1.0 },
        };
        let sums = pairs.into_iter().map(|(prompts, distance)| scale.robust_z(prompts, distance));
        scale.combined = MedianMad::of(sums.collect());
        scale
    }

    fn robust_z(&self, prompts: f32, distance: f32) -> f32 {
        let prompts = self.weight * self.prompts.robust_z(prompts);
        self.combined.robust_z(self.distances.robust_z(distance) + prompts)
    }
}

/// The scales of a folder.
pub(super) struct MutualScale {
    photos: CombinedScale,
    places: CombinedScale,
    /// The median over the photos of the highest z-score in the map.
    peak: f32,
    /// The places that count, at the size of the joined maps.
    inside: Places,
    /// Values along one side of the joined maps.
    side: usize,
}

impl MutualScale {
    /// `weight`: the weight of the prompts. `places`: what counts of `grid`^2 patches.
    pub fn of(
        photos: &[Pending],
        distances: &[Distances],
        product: &Product,
        weight: f32,
        places: &Places,
        grid: usize,
    ) -> Self {
        let first = photos.first().and_then(|photo| photo.by_prompts.first());
        let side = distances.first().map_or(0, |d| joint_side(first, d));
        let inside = places.at(grid, side);
        let odds = |photo: &Pending| {
            let mut scores = photo.by_prompts.clone();
            bring_to(&mut scores, side);
            LogOdds::of(&scores, product)
        };
        let odds: Vec<LogOdds> = photos.iter().map(odds).collect();
        let maps: Vec<Vec<f32>> = distances.iter().map(|d| at_side(&d.map, side)).collect();
        let scale = CombinedScale::of(
            odds.iter().flat_map(|odds| values_inside(&odds.map, &inside)).collect(),
            maps.iter().flat_map(|map| values_inside(map, &inside)).collect(),
            weight,
        );
        let highest = odds.iter().zip(&maps).map(|(odds, map)| {
            let pairs = odds.map.iter().zip(map);
            let z: Vec<f32> = pairs.map(|(odds, far)| scale.robust_z(*odds, *far)).collect();
            inside.farthest(&z).1
        });
        let mut peaks: Vec<f32> = highest.collect();
        Self {
            photos: CombinedScale::of(
                odds.iter().map(|odds| odds.score).collect(),
                distances.iter().map(|d| d.score).collect(),
                weight,
            ),
            places: scale,
            peak: median(&mut peaks).max(1.0),
            inside,
            side,
        }
    }

    /// Replaces the scores of a photo by prompts with the combined scores.
    pub fn join(&self, scores: &mut [KindScore], distances: &Distances, product: &Product) {
        bring_to(scores, self.side);
        let by_prompts = LogOdds::of(scores, product);
        let map = at_side(&distances.map, self.side);
        let place = |(odds, far): (&f32, &f32)| {
            signed_log1p(3.0 * (self.places.robust_z(*odds, *far) / self.peak - 1.0))
        };
        let joined = LogOdds {
            score: signed_log1p(self.photos.robust_z(by_prompts.score, distances.score) - FAR),
            map: by_prompts.map.iter().zip(&map).map(place).collect(),
        };
        shift(scores, product, &by_prompts, &joined, &self.inside);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn prompts_count_half_or_nothing() {
        let (prompts, distances) = (vec![0.0, 1.0, 2.0, 9.0], vec![3.0, 1.0, 2.0, 0.0]);
        let alone = CombinedScale::of(prompts.clone(), distances.clone(), 0.0);
        assert_eq!(alone.robust_z(0.0, 3.0), alone.robust_z(99.0, 3.0));
        let both = CombinedScale::of(prompts, distances, 0.5);
        let step = |prompts: f32, distance: f32| {
            both.robust_z(prompts, distance) - both.robust_z(0.0, 0.0)
        };
        let ratio = step(both.prompts.spread, 0.0) / step(0.0, both.distances.spread);
        assert!((ratio - 0.5).abs() < 1e-5, "{ratio}");
    }
}
