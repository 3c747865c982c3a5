//! The results of photos that were scored by each other.

use candle_core::{Device, Tensor};

use super::clustering::two_groups;
use super::scale::MutualScale;
use super::{ENOUGH, MutualOptions, Pending, image_embeddings};
use crate::detect::{Finding, Outcome, PatchMap, Square};
use crate::error::Result;
use crate::prompt::Product;
use crate::reference::{Distances, Layers, Places, RepeatGroup, spread_out};

/// The results of a folder. A photo is given by its index, in the order in which it was added.
pub struct MutualResults {
    pub(super) photos: Vec<Pending>,
    pub(super) product: Product,
    pub(super) options: MutualOptions,
    /// The layers that were compared.
    pub(super) layers: Layers,
    /// Patches along one side.
    pub(super) grid: usize,
    /// None if the photos were scored by prompts alone.
    pub(super) mutual: Option<(Vec<Distances>, MutualScale)>,
    pub(super) repeats: Vec<RepeatGroup>,
}

impl MutualResults {
    /// How many photos there are.
    pub fn photos(&self) -> usize {
        self.photos.len()
    }

    /// Whether the photos were compared with each other.
    pub fn is_mutual(&self) -> bool {
        self.mutual.is_some()
    }

    /// Whether prompts change the scores or choose the kind of defect.
    pub fn has_prompts(&self) -> bool {
        self.options.has_prompts(&self.product)
    }

    /// The layers whose patches were compared.
    pub fn layers(&self) -> &Layers {
        &self.layers
    }

    /// The number of other photos that each photo was compared with.
    pub fn neighbors(&self) -> usize {
        (self.options.musc.max_neighbors / 2 * 2).min(self.photos().saturating_sub(1))
    }

    /// The result for one photo.
    ///
    /// # Panics
    /// If there is no such photo.
    pub fn finding(&self, photo: usize) -> Finding {
        let pending = &self.photos[photo];
        let mut scores = pending.by_prompts.clone();
        if let Some((distances, scale)) = &self.mutual {
            scale.join(&mut scores, &distances[photo], &self.product);
        }
        let region = self.options.region.as_ref();
        let places = region.map_or(Places::default(), |region| region.places(self.grid));
        let outcome = Outcome::new(scores, &self.product, &places, self.grid);
        Finding::new(outcome, &self.product, self.square(photo))
    }

    fn square(&self, photo: usize) -> Square {
        let Pending { placement, size, .. } = &self.photos[photo];
        let region = self.options.region.as_ref().map(|region| region.pixels.clone());
        Square { placement: *placement, size: *size, region }
    }

    /// Groups of photos that share something odd, the largest first. Empty unless
    /// [`MuscOptions::groups`](crate::reference::MuscOptions::groups) is set.
    pub fn repeats(&self) -> &[RepeatGroup] {
        &self.repeats
    }

    /// The group of [`MutualResults::repeats`] that holds a photo, and the column and row of what it shares.
    pub fn repeat_of(&self, photo: usize) -> Option<(usize, [usize; 2])> {
        self.repeats.iter().enumerate().find_map(|(number, group)| {
            let odd = group.patches[group.photos.binary_search(&photo).ok()?];
            let mut values = vec![0.0; odd.side * odd.side];
            values[odd.patch] = 1.0;
            let map = self.square(photo).place(&PatchMap { side: odd.side, values });
            let (x, y, _) = map.peak();
            Some((number, [x, y]))
        })
    }

    /// MuSc's score: the score of the most anomalous patch: its mean distance to the nearest patches in other photos,
    /// 0..2. With
    /// [`MutualOptions::rescore`] it is 0..1. None if the photos were scored by prompts alone.
    pub fn mutual_score(&self, photo: usize) -> Option<f32> {
        self.mutual.as_ref().map(|(distances, _)| distances[photo].score)
    }

    /// All photos in ascending order of their mutual scores. Empty if they were scored by prompts alone.
    pub fn by_score(&self) -> Vec<usize> {
        let Some((distances, _)) = &self.mutual else { return vec![] };
        let mut order: Vec<usize> = (0..distances.len()).collect();
        order.sort_by(|a, b| distances[*a].score.total_cmp(&distances[*b].score));
        order
    }

    /// Up to `count` typical photos of the folder, best first, without the photos in `left_out`. They come from the
    /// half with the lowest mutual scores. The first has the lowest score. Each next one is the photo whose image
    /// embedding is farthest from the photos taken so far (a coreset). Empty if the photos were scored by prompts
    /// alone.
    ///
    /// # Errors
    /// [`crate::Error::Tensor`] if a tensor operation fails.
    pub fn typical(&self, count: usize, left_out: &dyn Fn(usize) -> bool) -> Result<Vec<usize>> {
        let mut half = self.by_score();
        half.retain(|photo| !left_out(*photo));
        half.truncate(half.len().div_ceil(2));
        let half: Vec<u32> = half.into_iter().map(|photo| photo as u32).collect();
        if half.is_empty() || count == 0 {
            return Ok(vec![]);
        }
        let rows = image_embeddings(&self.photos)?;
        let rows = rows.index_select(&Tensor::new(&half[..], &Device::Cpu)?, 0)?;
        let taken = spread_out(&rows, 0, count)?;
        Ok(taken.into_iter().map(|i| half[i as usize] as usize).collect())
    }

    /// The number of photos in the upper group, if the scores split into two groups and this group has a quarter of
    /// the photos or more. Then it is unclear which group is normal.
    pub fn without_bulk(&self) -> Option<usize> {
        let (distances, _) = self.mutual.as_ref()?;
        let count = distances.len();
        if count < ENOUGH {
            return None;
        }
        let (upper, explained) = two_groups(distances.iter().map(|d| d.score).collect());
        (explained > 0.7 + 1.5 / count as f64 && 4 * upper >= count).then_some(upper)
    }
}

crate::error::opaque_debug!(MutualResults);
