//! The memory banks of two papers: WinCLIP's patches and windows (three scales), and April-GAN's patches of some
//! blocks.

use candle_core::Tensor;

use super::bank::MemoryBank;
use super::{
    Distances, FitOptions, Places, ReferenceModel, Tensors, WINDOWS, harmonic_mean_of_windows,
    numbered, patches, unfit,
};
use crate::clip::Features;
use crate::error::Result;

/// All patches, and all windows of each scale (WinCLIP, section 4.3).
pub(super) struct Association {
    patches: MemoryBank,
    windows: Vec<MemoryBank>,
}

impl Association {
    pub const NAME: &str = "winclip";

    pub fn fit(references: &[&Features]) -> Result<Self> {
        let patches: Vec<&Tensor> = references.iter().filter_map(|p| p.patches.as_ref()).collect();
        let scale = |i: usize| {
            MemoryBank::new(&references.iter().map(|photo| &photo.windows[i]).collect::<Vec<_>>())
        };
        let windows = (0..WINDOWS.len()).map(scale).collect::<Result<_>>()?;
        Ok(Self { patches: MemoryBank::new(&patches)?, windows })
    }

    pub fn from_tensors(tensors: &mut Tensors) -> Result<Self> {
        let bank = |rows| MemoryBank { rows };
        let patches = bank(tensors.take("patches", 2)?);
        let windows: Vec<_> = tensors.take_all("windows", 2)?.into_iter().map(bank).collect();
        if windows.len() != WINDOWS.len() {
            return Err(unfit("windows"));
        }
        Ok(Self { patches, windows })
    }
}

impl ReferenceModel for Association {
    /// Half the cosine distance, 0..1: the mean over the patches and the windows of each scale.
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

/// The patches of some blocks, unchanged (April-GAN, section 3.2).
#[derive(Clone)]
pub(super) struct BlockBanks {
    banks: Vec<MemoryBank>,
    /// The number of reference photos. Each has the same number of rows. 0 if the banks come from a file.
    photos: usize,
}

impl BlockBanks {
    pub fn fit(references: &[&Features], options: FitOptions) -> Result<Self> {
        let bank = |i: usize| {
            let photos =
                references.iter().map(|photo| options.places.rows(&patches(&photo.blocks[i])?));
            MemoryBank::new(&photos.collect::<Result<Vec<_>>>()?.iter().collect::<Vec<_>>())
        };
        let banks = (0..references[0].blocks.len()).map(bank).collect::<Result<_>>()?;
        Ok(Self { banks, photos: references.len() })
    }

    pub fn from_tensors(tensors: &mut Tensors) -> Result<Self> {
        let banks = tensors.take_all("block", 2)?.into_iter();
        Ok(Self { banks: banks.map(|rows| MemoryBank { rows }).collect(), photos: 0 })
    }

    /// The same banks without some reference photos. None if no photo is left.
    pub fn leaving_out(&self, left_out: &dyn Fn(usize) -> bool) -> Result<Option<Self>> {
        let banks = self.banks.iter().map(|bank| bank.without(self.photos, left_out));
        let Some(banks) = banks.collect::<Result<Option<Vec<_>>>>()? else { return Ok(None) };
        let photos = banks.first().map_or(0, |(_, photos)| *photos);
        Ok(Some(Self { banks: banks.into_iter().map(|(bank, _)| bank).collect(), photos }))
    }
}

impl ReferenceModel for BlockBanks {
    /// The cosine distance, 0..2: the mean over the blocks.
    fn compare(&self, photo: &Features, places: &Places) -> Result<Distances> {
        let mut map = vec![0.0; photo.grid * photo.grid];
        if self.banks.len() != photo.blocks.len() {
            return Err(unfit("block"));
        }
        for (bank, block) in self.banks.iter().zip(&photo.blocks) {
            let distances = bank.distances(&patches(block)?)?;
            map.iter_mut().zip(distances).for_each(|(sum, distance)| *sum += distance);
        }
        map.iter_mut().for_each(|sum| *sum /= self.banks.len() as f32);
        Ok(places.distances(map))
    }

    fn without(&self, left_out: &dyn Fn(usize) -> bool) -> Result<Option<Box<dyn ReferenceModel>>> {
        Ok(self.leaving_out(left_out)?.map(|rest| Box::new(rest) as Box<dyn ReferenceModel>))
    }

    fn tensors(&self) -> Result<Vec<(String, Tensor)>> {
        Ok(numbered("block", self.banks.iter().map(|bank| bank.rows.clone())).collect())
    }
}
