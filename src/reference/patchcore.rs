//! PatchCore (Roth et al., arXiv 2106.08265): a coreset of locally aware patches (3x3 means). The score is lower if the
//! nearest patch has near neighbours itself.

use candle_core::Tensor;

use super::bank::nearest;
use super::coreset::coreset;
use super::{Distances, FitOptions, Places, ReferenceModel, Tensors, neighbourhood_means, patches};
use crate::clip::Features;
use crate::error::Result;

/// The coreset keeps one patch in this many (the paper's PatchCore-10%) ...
const SHARE: usize = 10;
/// ... but at least this many patches, or all if there are fewer. A bank of this size costs nothing.
const SMALL: usize = 2048;
/// The paper's b, with anomalib's value: the number of neighbours that re-weight the score (section 3.3).
const NEIGHBOURS: usize = 9;

pub(super) struct PatchCore {
    /// `[rows, width]`.
    bank: Tensor,
    /// For each row, the index of its reference photo. Empty if the model comes from a file.
    owners: Vec<usize>,
}

impl PatchCore {
    pub fn fit(references: &[&Features], options: FitOptions) -> Result<Self> {
        let photos = references.iter().map(|photo| options.places.rows(&locally_aware(photo)?));
        let photos = photos.collect::<Result<Vec<_>>>()?;
        let bank = Tensor::cat(&photos, 0)?;
        let rows = bank.dim(0)?;
        let keep = (rows / SHARE).max(SMALL);
        let owner = |row: usize| row * photos.len() / rows;
        if rows <= keep {
            return Ok(Self { bank, owners: (0..rows).map(owner).collect() });
        }
        let kept = coreset(&bank, keep, options)?;
        let owners = kept.iter().map(|row| owner(*row as usize)).collect();
        Ok(Self { bank: bank.index_select(&Tensor::new(kept, bank.device())?, 0)?, owners })
    }

    pub fn from_tensors(tensors: &mut Tensors) -> Result<Self> {
        Ok(Self { bank: tensors.take("bank", 2)?, owners: vec![] })
    }

    /// The distances of locally aware patches. The score comes from the farthest patch that counts.
    fn distances(&self, rows: &Tensor, places: &Places) -> Result<Distances> {
        let (indices, map) = nearest(rows, &self.bank)?;
        let (farthest, distance) = places.farthest(&map);
        let neighbour = self.bank.get(indices[farthest] as usize)?;
        // The neighbours of the nearest patch (the first is itself), and their distances from the photo's patch.
        let from_neighbour = distances_from(&self.bank, &neighbour)?;
        let from_patch = distances_from(&self.bank, &rows.get(farthest)?)?;
        let mut order: Vec<usize> = (0..from_neighbour.len()).collect();
        let near = |a: &usize, b: &usize| from_neighbour[*a].total_cmp(&from_neighbour[*b]);
        if order.len() > NEIGHBOURS {
            order.select_nth_unstable_by(NEIGHBOURS - 1, |a, b| near(a, b).then(a.cmp(b)));
            order.truncate(NEIGHBOURS);
        }
        let sum: f32 = order.iter().map(|&i| (from_patch[i] - distance).exp()).sum();
        Ok(Distances { map, score: (1.0 - 1.0 / sum) * distance })
    }
}

impl ReferenceModel for PatchCore {
    fn compare(&self, photo: &Features, places: &Places) -> Result<Distances> {
        self.distances(&locally_aware(photo)?, places)
    }

    /// Takes the rows of these photos out of the coreset. A new coreset for each held-out photo would take as long as
    /// the first one.
    fn without(&self, left_out: &dyn Fn(usize) -> bool) -> Result<Option<Box<dyn ReferenceModel>>> {
        let stays = |row: &u32| !left_out(self.owners[*row as usize]);
        let rows: Vec<u32> = (0..self.owners.len() as u32).filter(stays).collect();
        if rows.is_empty() {
            return Ok(None);
        }
        let owners = rows.iter().map(|row| self.owners[*row as usize]).collect();
        let bank = self.bank.index_select(&Tensor::new(rows, self.bank.device())?, 0)?;
        Ok(Some(Box::new(Self { bank, owners })))
    }

    fn tensors(&self) -> Result<Vec<(String, Tensor)>> {
        Ok(vec![("bank".into(), self.bank.clone())])
    }
}

/// Euclidean distance of each row from one row, `[width]`.
fn distances_from(rows: &Tensor, one: &Tensor) -> Result<Vec<f32>> {
    Ok(rows.broadcast_sub(one)?.sqr()?.sum(1)?.sqrt()?.to_vec1()?)
}

/// For each patch the mean of the 3x3 patches around it, all blocks side by side (section 3.1): `[grid^2, width]`.
fn locally_aware(photo: &Features) -> Result<Tensor> {
    let blocks = photo.blocks.iter();
    let blocks = blocks.map(|block| neighbourhood_means(&patches(block)?, photo.grid, 3));
    Ok(Tensor::cat(&blocks.collect::<Result<Vec<_>>>()?, 1)?)
}
