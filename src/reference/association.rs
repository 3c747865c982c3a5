//! The papers' own memory banks: WinCLIP's association at three scales, April-GAN's patches of some blocks.

use candle_core::Tensor;

use super::bank::MemoryBank;
use super::{
    Distances, Memory, Places, Tensors, WINDOWS, harmonic_mean_of_windows, numbered, patches,
};
use crate::{Features, Result};

/// All patches, and all windows of each scale (WinCLIP, section 4.3).
pub(super) struct Association {
    patches: MemoryBank,
    windows: Vec<MemoryBank>,
}

impl Association {
    pub fn fit(good: &[&Features]) -> Result<Self> {
        let patches: Vec<&Tensor> = good.iter().filter_map(|p| p.patches.as_ref()).collect();
        let scale = |i: usize| {
            MemoryBank::new(&good.iter().map(|photo| &photo.windows[i]).collect::<Vec<_>>())
        };
        let windows = (0..WINDOWS.len()).map(scale).collect::<Result<_>>()?;
        Ok(Self { patches: MemoryBank::new(&patches)?, windows })
    }

    pub fn recall(tensors: &mut Tensors) -> Result<Self> {
        let bank = |rows| MemoryBank { rows };
        let patches = bank(tensors.take("patches", 2)?);
        let windows = tensors.take_all("windows", 2)?.into_iter().map(bank).collect();
        Ok(Self { patches, windows })
    }
}

impl Memory for Association {
    /// Half the cosine distance, 0..1: the mean over the patches alone and the windows of each scale.
    fn compare(&self, photo: &Features, places: &Places) -> Result<Distances> {
        let half = |bank: &MemoryBank, places: &Tensor| -> Result<Vec<f32>> {
            Ok(bank.distances(places)?.into_iter().map(|distance| distance / 2.0).collect())
        };
        let mut sum = match &photo.patches {
            Some(patches) => half(&self.patches, patches)?,
            None => vec![0.0; photo.grid * photo.grid],
        };
        for ((bank, windows), side) in self.windows.iter().zip(&photo.windows).zip(WINDOWS) {
            let map = harmonic_mean_of_windows(&half(bank, windows)?, photo.grid, side);
            sum.iter_mut().zip(map).for_each(|(sum, value)| *sum += value);
        }
        let scales = 1.0 + WINDOWS.len() as f32;
        sum.iter_mut().for_each(|sum| *sum /= scales);
        Ok(places.distances(sum))
    }

    fn tensors(&self) -> Result<Vec<(String, Tensor)>> {
        let windows = self.windows.iter().map(|bank| bank.rows.clone());
        let patches = ("patches".to_string(), self.patches.rows.clone());
        Ok(std::iter::once(patches).chain(numbered("windows", windows)).collect())
    }
}

/// The patches of some blocks as they are (April-GAN, section 3.2).
pub(super) struct BlockBanks(Vec<MemoryBank>);

impl BlockBanks {
    pub fn fit(good: &[&Features]) -> Result<Self> {
        let bank = |i: usize| {
            let photos = good.iter().map(|photo| patches(&photo.blocks[i]));
            MemoryBank::new(&photos.collect::<Result<Vec<_>>>()?.iter().collect::<Vec<_>>())
        };
        Ok(Self((0..good[0].blocks.len()).map(bank).collect::<Result<_>>()?))
    }

    pub fn recall(tensors: &mut Tensors) -> Result<Self> {
        let banks = tensors.take_all("block", 2)?.into_iter();
        Ok(Self(banks.map(|rows| MemoryBank { rows }).collect()))
    }
}

impl Memory for BlockBanks {
    /// The mean over the blocks of the cosine distance, 0..2.
    fn compare(&self, photo: &Features, places: &Places) -> Result<Distances> {
        let mut map = vec![0.0; photo.grid * photo.grid];
        for (bank, block) in self.0.iter().zip(&photo.blocks) {
            let distances = bank.distances(&patches(block)?)?;
            map.iter_mut().zip(distances).for_each(|(sum, distance)| *sum += distance);
        }
        map.iter_mut().for_each(|sum| *sum /= self.0.len() as f32);
        Ok(places.distances(map))
    }

    fn tensors(&self) -> Result<Vec<(String, Tensor)>> {
        Ok(numbered("block", self.0.iter().map(|bank| bank.rows.clone())).collect())
    }
}
