//! How far photos are from reference photos, and which places count.

use candle_core::Tensor;

use crate::error::Result;
use crate::image::{enlarge, enlarge_to_corners};
use crate::stats::{highest, mean_and_spread, mean_of_highest};

/// How far a photo is from reference photos: 0 or more, without an upper limit, on the method's own scale.
#[derive(Clone, Debug)]
pub struct Distances {
    /// The distance of each patch, `[grid^2]`.
    pub map: Vec<f32>,
    /// The distance of the whole photo.
    pub score: f32,
}

impl Distances {
    /// The mean over the places that count, of some photos.
    pub(crate) fn mean(photos: &[Self], places: &Places) -> f32 {
        let inside = |photo: &'_ Self| {
            let values = photo.map.iter().enumerate().filter(|(i, _)| places.holds(*i));
            values.map(|(_, value)| *value).collect::<Vec<_>>()
        };
        let (mean, _) = mean_and_spread(photos.iter().flat_map(inside));
        // A NaN stays one.
        if mean < 1e-6 { 1e-6 } else { mean }
    }

    /// The factors that make a mean of distances with these means: each is first brought to the scale of the first.
    pub(crate) fn factors(means: &[f32]) -> Vec<f32> {
        let count = means.len() as f32;
        means.iter().map(|mean| means[0] / mean / count).collect()
    }

    /// The sum of distances, each times its factor. A coarser map is first enlarged. `by_peak`: whether the score is
    /// the highest value of the map; otherwise the scores are summed. `places`: what counts of `grid`^2 patches.
    pub(crate) fn sum(parts: &[(Self, f32)], by_peak: bool, places: &Places, grid: usize) -> Self {
        if let [(only, 1.0)] = parts {
            return only.clone();
        }
        let side_of = |map: &[f32]| map.len().isqrt();
        let side = parts.iter().map(|(part, _)| side_of(&part.map)).max().unwrap_or_default();
        let mut map = vec![0.0; side * side];
        for (part, factor) in parts {
            let enlarged = enlarge(&part.map, side_of(&part.map), side);
            map.iter_mut().zip(enlarged).for_each(|(sum, value)| *sum += factor * value);
        }
        match by_peak {
            true => places.at(grid, side).distances(map),
            false => Self { map, score: parts.iter().map(|(p, factor)| factor * p.score).sum() },
        }
    }

    /// The map at the model's input size, `[size, size]`. It is bilinear, with the outermost patches at the outermost
    /// pixels, as in MuSc and April-GAN.
    pub fn map_at(&self, size: usize) -> Vec<f32> {
        enlarge_to_corners(&self.map, self.map.len().isqrt(), size)
    }
}

/// Which patches of a photo count: the patches in the region of interest, or all of them if there is none.
#[derive(Clone, Debug, Default)]
pub(crate) struct Places(pub Option<Vec<bool>>);

impl Places {
    pub fn holds(&self, patch: usize) -> bool {
        self.0.as_ref().is_none_or(|places| places[patch])
    }

    /// The patches that count, of `[grid^2, width]`.
    pub(super) fn rows(&self, patches: &Tensor) -> Result<Tensor> {
        let Some(places) = &self.0 else { return Ok(patches.clone()) };
        let rows: Vec<u32> = (0..places.len() as u32).filter(|i| places[*i as usize]).collect();
        Ok(patches.index_select(&Tensor::new(rows, patches.device())?, 0)?)
    }

    /// The same places for a map with `side` values along one side.
    pub fn at(&self, grid: usize, side: usize) -> Self {
        let patch = |i: usize| (i / side * grid / side) * grid + i % side * grid / side;
        let places = |places: &Vec<bool>| (0..side * side).map(|i| places[patch(i)]).collect();
        Self(self.0.as_ref().map(places))
    }

    /// Index and value of the largest value of a map, of the places that count. If several are equal, the first of
    /// them.
    pub fn farthest(&self, map: &[f32]) -> (usize, f32) {
        highest(map.iter().copied().enumerate().filter(|(i, _)| self.holds(*i)))
    }

    /// The mean of the highest thousandth of the places that count: of fewer than 2,000, the highest. It does not grow
    /// with the size of a photo that is cut into tiles (SuperADD, arXiv 2605.14808).
    pub fn peak(&self, map: &[f32]) -> f32 {
        let inside: Vec<f32> =
            map.iter().enumerate().filter(|(i, _)| self.holds(*i)).map(|(_, v)| *v).collect();
        let count = inside.len() / 1000;
        mean_of_highest(inside, count)
    }

    /// A map, with its peak as the photo's score.
    pub(super) fn distances(&self, map: Vec<f32>) -> Distances {
        let score = self.peak(&map);
        Distances { map, score }
    }
}
