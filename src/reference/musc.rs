//! Mutual scoring (MuSc: Li et al. 2024, arXiv 2401.16753). The photos of one product are compared with each other. A
//! patch is normal if enough other photos have a similar patch.

use std::ops::Range;

use candle_core::{DType, Tensor};
use rayon::prelude::*;

use super::bank::Patches;
use super::ranks::{Ranks, scored};
use super::repeated::{AllDistances, FromOthers};
use super::{Distances, FINER, Places, neighbourhood_means, patches};
use crate::clip::Features;
use crate::error::{Error, Result};
use crate::ops::{cpu_slice, unit_rows};

/// If the patches to compare with need more bytes than this, they are kept in half precision.
const BUDGET: usize = 1 << 30;

/// How photos are compared with each other.
#[derive(Clone, Debug, PartialEq)]
pub struct MuscOptions {
    /// Sides of the neighbourhoods that a patch is averaged over, in patches. They must be odd.
    pub degrees: Vec<usize>,
    /// Each photo is compared with at most this many others: half of them before it in the ring, half after it. At
    /// least 2.
    pub max_neighbors: usize,
    /// Compare a patch only with patches at most this many cells of the grid away. Use it for aligned parts.
    pub align: Option<usize>,
    /// Which of the other photos judge a patch.
    pub ranks: Ranks,
    /// Whether to find groups of photos that share something odd. Then the distances of each patch to each other photo
    /// are kept, 4 bytes each.
    pub groups: bool,
}

impl Default for MuscOptions {
    fn default() -> Self {
        Self {
            degrees: vec![1, 3, 5],
            max_neighbors: 24,
            align: None,
            ranks: Ranks::MUSC,
            groups: false,
        }
    }
}

impl MuscOptions {
    /// The same comparison on the trunk's grid. Its features are means over 3x3 places already.
    pub(crate) fn of_trunk(&self) -> Self {
        let align = self.align.map(|cells| cells * FINER);
        Self { degrees: vec![1], align, ..self.clone() }
    }

    /// Checks the options.
    ///
    /// # Errors
    /// [`Error::Setting`] for even degrees and for fewer than 2 others.
    pub fn check(&self) -> Result<()> {
        let even = |degree: &&usize| degree.is_multiple_of(2);
        if let Some(degree) = self.degrees.iter().find(even) {
            let why = "a neighbourhood has a patch in its middle: give odd numbers, such as 1,3,5";
            return Err(Error::setting(format!("degrees {degree}"), why));
        }
        if self.degrees.is_empty() {
            return Err(Error::setting("degrees", "give at least one, such as 1"));
        }
        if self.max_neighbors < 2 {
            let why = "compare with at least 2 others";
            return Err(Error::setting(format!("against {}", self.max_neighbors), why));
        }
        Ok(())
    }
}

/// Photos are added one by one, and each is compared with the few photos before it. Patches are kept only as long as
/// later photos will be compared with them.
pub struct Musc {
    options: MuscOptions,
    places: Places,
    members: Vec<Member>,
    /// For each patch, the patches of another photo that it may be compared with.
    candidates: Vec<Vec<Range<usize>>>,
    /// Grid and input size of the first photo. All other photos must have the same.
    shape: Option<(usize, usize)>,
    /// [`BUDGET`].
    budget: usize,
}

/// The patches of a photo that was not added yet.
pub(crate) struct MuscPatches {
    /// For each block and degree the patches, `[grid^2, width]`.
    sets: Vec<Tensor>,
    /// Grid and input size.
    shape: (usize, usize),
}

impl MuscPatches {
    /// How much memory it takes, in bytes.
    pub fn bytes(&self) -> usize {
        self.sets.iter().map(|set| set.elem_count() * set.dtype().size_in_bytes()).sum()
    }
}

/// A photo that was added.
#[derive(Default)]
struct Member {
    /// For each block and degree the patches, `[grid^2, width]`. Empty after the photo's last comparison.
    sets: Vec<Tensor>,
    /// For each block and degree, and each patch, its lowest distances in ascending order. Empty after the last
    /// comparison.
    lowest: Vec<Vec<Vec<f32>>>,
    /// The mean of the lowest distances, `[grid^2]`. Empty before the last comparison.
    map: Vec<f32>,
    /// The distances to each other photo. Empty unless [`MuscOptions::groups`] is set.
    others: FromOthers,
}

impl Member {
    /// Computes the mean of a part of the distances to so many others, and drops the patches.
    fn close(&mut self, ranks: Ranks, others: usize) {
        let sets = std::mem::take(&mut self.lowest);
        let patch = |i: usize| sets.iter().map(|set| ranks.mean(&set[i], others)).sum::<f64>();
        let mean = |i: usize| patch(i) / sets.len() as f64;
        self.map = (0..sets[0].len()).map(|i| mean(i) as f32).collect();
        self.sets.clear();
    }
}

impl Musc {
    /// Makes a scorer without photos.
    ///
    /// # Errors
    /// [`Error::Setting`] for even degrees and for fewer than 2 others.
    pub fn new(options: MuscOptions) -> Result<Self> {
        options.check()?;
        let (members, candidates) = (vec![], vec![]);
        Ok(Self {
            options,
            places: Places::default(),
            members,
            candidates,
            shape: None,
            budget: BUDGET,
        })
    }

    /// The same scorer, but only some patches count.
    pub(crate) fn within(self, places: Places) -> Self {
        Self { places, ..self }
    }

    /// Adds a photo. Encode it with a [`Taps`](crate::clip::Taps) of the blocks to compare. The results depend on the
    /// order.
    ///
    /// # Errors
    /// [`Error::Tensor`] for features of another shape.
    ///
    /// # Panics
    /// If the photo has no blocks, or another size than the photos before it.
    pub fn add(&mut self, photo: &Features) -> Result<()> {
        self.add_patches(self.patches_of(photo)?)
    }

    /// The patches of a photo, ready to be compared.
    pub(crate) fn patches_of(&self, photo: &Features) -> Result<MuscPatches> {
        let mut sets = Vec::new();
        for block in &photo.blocks {
            let normal = layer_norm(&patches(block)?)?;
            for &degree in &self.options.degrees {
                sets.push(unit_rows(&neighbourhood_means(&normal, photo.grid, degree)?)?);
            }
        }
        let bytes: usize = sets.iter().map(|set| set.elem_count() * size_of::<f32>()).sum();
        if bytes.saturating_mul(2 * self.half() + 1) > self.budget {
            sets = sets.iter().map(|set| set.to_dtype(DType::F16)).collect::<Result<_, _>>()?;
        }
        Ok(MuscPatches { sets, shape: (photo.grid, photo.size) })
    }

    /// Adds the patches of a photo, as [`Musc::add`].
    pub(crate) fn add_patches(&mut self, photo: MuscPatches) -> Result<()> {
        let MuscPatches { sets, shape } = photo;
        assert!(*self.shape.get_or_insert(shape) == shape, "photos of one shape");
        let grid = shape.0;
        if self.candidates.is_empty() {
            self.candidates = candidates(grid, self.options.align, &self.places);
        }
        let (half, new) = (self.half(), self.members.len());
        let others = new.saturating_sub(half)..new;
        let found = self.compare(&sets, others.clone())?;
        let lowest = vec![vec![vec![]; grid * grid]; sets.len()];
        self.members.push(Member { sets, lowest, ..Member::default() });
        self.note(new, others, found);
        // The first `half` photos stay open: `finish` compares them with the last photos.
        if let Some(old) = new.checked_sub(half).filter(|old| *old >= half) {
            self.members[old].close(self.options.ranks, 2 * half);
        }
        Ok(())
    }

    /// The distances of all photos, in the order in which they were added.
    ///
    /// # Errors
    /// [`Error::Setting`] for fewer than two photos.
    pub fn finish(self) -> Result<Vec<Distances>> {
        Ok(self.finish_all()?.0)
    }

    /// As [`Musc::finish`]. Also the distances to each other photo, which are empty unless [`MuscOptions::groups`] is
    /// set.
    pub(crate) fn finish_all(mut self) -> Result<(Vec<Distances>, AllDistances)> {
        let (count, half) = (self.members.len(), self.half());
        let Some((_, size)) = self.shape.filter(|_| count > 1) else {
            return Err(Self::too_few());
        };
        for first in 0..half.min(count) {
            // These pairs are neighbours in the ring, but were not compared when they were added.
            let last = (first + half + 1).max((first + count).saturating_sub(half));
            let others = last.min(count)..count;
            let found = self.compare(&self.members[first].sets, others.clone())?;
            self.note(first, others, found);
        }
        let (ranks, others) = (self.options.ranks, (2 * half).min(count - 1));
        let (mut distances, mut photos) = (vec![], vec![]);
        for mut member in self.members {
            if member.map.is_empty() {
                member.close(ranks, others);
            }
            distances.push(scored(member.map, &self.places, size));
            photos.push(member.others);
        }
        Ok((distances, AllDistances { photos, places: self.places, size, ranks }))
    }

    /// The error for fewer than two photos.
    pub fn too_few() -> Error {
        let why = "compares photos with each other and needs two that differ; for one photo take method winclip, april-gan \
                   or fused, or enroll good parts and give the profile";
        Error::setting("method mutual", why)
    }

    /// Number of photos on either side in the ring.
    fn half(&self) -> usize {
        self.options.max_neighbors / 2
    }

    /// Compares the patches of one photo with the patches of others. For each other photo, block and degree it returns
    /// the distances in both directions.
    fn compare(&self, own: &[Tensor], others: Range<usize>) -> Result<Vec<Vec<BothWays>>> {
        let all = self.options.align.is_none() && self.places.0.is_none();
        let own = own.iter().map(|set| Patches::new(full(set)?, all));
        let own = own.collect::<Result<Vec<_>>>()?;
        let pair = |other: &Member| -> Result<Vec<BothWays>> {
            let sets = own.iter().zip(&other.sets);
            sets.map(|(a, b)| a.nearest_both_ways(&full(b)?, &self.candidates)).collect()
        };
        self.members[others].par_iter().map(pair).collect()
    }

    /// Stores the distances on both sides.
    fn note(&mut self, one: usize, others: Range<usize>, found: Vec<Vec<BothWays>>) {
        let keep = self.options.ranks.of(2 * self.half()).end;
        for (other, found) in others.zip(found) {
            if self.options.groups {
                let mean = |side: fn(&BothWays) -> &Vec<f32>| mean_of(found.iter().map(side));
                self.members[one].others.push((other, mean(|(from_one, _)| from_one)));
                self.members[other].others.push((one, mean(|(_, from_other)| from_other)));
            }
            for (set, (from_one, from_other)) in found.into_iter().enumerate() {
                insert(&mut self.members[one].lowest[set], &from_one, keep);
                insert(&mut self.members[other].lowest[set], &from_other, keep);
            }
        }
    }
}

/// Distances of one photo's patches to another photo, and in the other direction.
type BothWays = (Vec<f32>, Vec<f32>);

/// The mean of maps of one size.
fn mean_of<'a>(maps: impl ExactSizeIterator<Item = &'a Vec<f32>>) -> Vec<f32> {
    let count = maps.len() as f32;
    let mut mean = Vec::new();
    for map in maps {
        mean.resize(map.len(), 0.0);
        mean.iter_mut().zip(map).for_each(|(sum, value)| *sum += value / count);
    }
    mean
}

/// Inserts each patch's new distance among its `keep` lowest.
fn insert(lowest: &mut [Vec<f32>], distances: &[f32], keep: usize) {
    for (lowest, &distance) in lowest.iter_mut().zip(distances) {
        let at = lowest.partition_point(|other| *other <= distance);
        if at < keep {
            lowest.truncate(keep - 1);
            lowest.insert(at, distance);
        }
    }
}

fn full(set: &Tensor) -> Result<Tensor> {
    Ok(set.to_dtype(DType::F32)?)
}

/// For each patch, the patches that it may be compared with, as ranges.
fn candidates(grid: usize, align: Option<usize>, places: &Places) -> Vec<Vec<Range<usize>>> {
    let of = |patch: usize| {
        if !places.holds(patch) {
            return vec![];
        }
        let around = |at: usize| match align {
            Some(cells) => {
                at.saturating_sub(cells)..at.saturating_add(cells).saturating_add(1).min(grid)
            }
            None => 0..grid,
        };
        let (columns, mut ranges) = (around(patch % grid), Vec::<Range<usize>>::new());
        for y in around(patch / grid) {
            for other in
                (y * grid + columns.start..y * grid + columns.end).filter(|p| places.holds(*p))
            {
                match ranges.last_mut() {
                    Some(last) if last.end == other => last.end += 1,
                    _ => ranges.push(other..other + 1),
                }
            }
        }
        ranges
    };
    (0..grid * grid).map(of).collect()
}

/// Layer normalisation over all patches and channels of one photo, without parameters (LNAMD, section 3.1, as in its
/// code).
fn layer_norm(patches: &Tensor) -> Result<Tensor> {
    const EPSILON: f64 = 1e-5;
    let values = cpu_slice(patches)?;
    let count = values.len() as f64;
    let mean = values.iter().map(|v| f64::from(*v)).sum::<f64>() / count;
    let variance = values.iter().map(|v| (f64::from(*v) - mean).powi(2)).sum::<f64>() / count;
    let scale = 1.0 / (variance + EPSILON).sqrt();
    Ok(patches.affine(scale, -mean * scale)?)
}

/// RsCIN (MuSc, section 3.3) brings the scores of similar photos nearer to each other. Scores are first stretched to
/// 0..1. For each number in `neighbours`, a photo's score is averaged over that many most similar photos (itself
/// included), weighted by the cosines of the image embeddings, `[photos, embedding]`. The result is the mean over
/// `neighbours`, one score for each photo.
///
/// # Errors
/// [`Error::Tensor`] if the number of embeddings differs from the number of photos.
pub fn rescored(scores: &[f32], embeddings: &Tensor, neighbours: &[usize]) -> Result<Vec<f32>> {
    let (lowest, highest) = scores
        .iter()
        .fold((f32::INFINITY, f32::NEG_INFINITY), |(low, high), s| (low.min(*s), high.max(*s)));
    let range = (highest - lowest).max(f32::MIN_POSITIVE);
    let stretched: Vec<f32> = scores.iter().map(|score| (score - lowest) / range).collect();
    let unit = unit_rows(embeddings)?;
    let photo = |i: usize| -> Result<f32> {
        let cosines = unit.matmul(&unit.narrow(0, i, 1)?.t()?)?.flatten_all()?.to_vec1::<f32>()?;
        let mut order: Vec<usize> = (0..scores.len()).collect();
        order.sort_by(|a, b| cosines[*b].total_cmp(&cosines[*a]));
        let average = |count: &usize| {
            let near = &order[..(*count).clamp(1, order.len())];
            let weights: f32 = near.iter().map(|j| cosines[*j]).sum();
            near.iter().map(|j| cosines[*j] * stretched[*j]).sum::<f32>() / weights
        };
        Ok(neighbours.iter().map(average).sum::<f32>() / neighbours.len() as f32)
    };
    (0..scores.len()).into_par_iter().map(photo).collect()
}

crate::error::opaque_debug!(Musc);

#[cfg(test)]
mod tests {
    use super::super::tests::photo;
    use super::*;

    /// Seven of twenty photos have the same odd patch, at the same place.
    #[test]
    fn a_repeated_defect_is_seen_by_other_ranks() {
        let judged = |ranks: Ranks| -> Vec<f32> {
            let options = MuscOptions { degrees: vec![1], ranks, ..MuscOptions::default() };
            let mut mutual = Musc::new(options).unwrap();
            for number in 0..20u32 {
                let value = |i: u32| ((i * 7919 + number * 31) % 97) as f32 / 970.0;
                let row = |patch: u32| -> Vec<f32> {
                    let is_odd = number % 3 == 0 && patch == 4;
                    let main = if is_odd { 7 } else { patch % 5 };
                    (0..8).map(|i| value(patch * 8 + i) + f32::from(i == main)).collect()
                };
                mutual.add(&photo(3, &(0..9).map(row).collect::<Vec<_>>())).unwrap();
            }
            mutual.finish().unwrap().iter().map(|found| found.map[4]).collect()
        };
        let worst = |scores: &[f32], odd: bool| {
            let own = scores.iter().enumerate().filter(|(i, _)| (i % 3 == 0) == odd);
            own.map(|(_, score)| *score).fold(if odd { f32::INFINITY } else { 0.0 }, |a, b| {
                if odd { a.min(b) } else { a.max(b) }
            })
        };
        let (before, after) = (judged(Ranks::MUSC), judged(Ranks::REPEATS));
        assert!(worst(&before, true) < 2.0 * worst(&before, false));
        assert!(worst(&after, true) > 3.0 * worst(&after, false));
    }

    #[test]
    fn half_precision_is_near_enough() {
        let judged = |budget: usize| {
            let mut mutual = Musc::new(MuscOptions::default()).unwrap();
            mutual.budget = budget;
            for seed in 0..4u32 {
                let value = |i: u32| ((i * 7919 + seed * 104_729) % 1009) as f32 / 1009.0;
                let rows: Vec<Vec<f32>> =
                    (0..25).map(|row| (0..8).map(|i| value(row * 8 + i)).collect()).collect();
                mutual.add(&photo(5, &rows)).unwrap();
            }
            mutual.finish().unwrap()
        };
        let (full, half) = (judged(BUDGET), judged(0));
        for (full, half) in full.iter().zip(&half) {
            assert_ne!(full.map, half.map);
            assert!(full.map.iter().zip(&half.map).all(|(a, b)| (a - b).abs() < 2e-3));
        }
    }
}
