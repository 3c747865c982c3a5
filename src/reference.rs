//! Good parts as features: what a photo's patches are compared with besides words.

use candle_core::{D, Tensor};

use crate::Result;
use crate::ops::unit_rows;

/// Rows of a bank that are compared at once: bounds memory, not the result.
const BLOCK: usize = 8192;

/// Embeddings of all places of some good photos, at unit length.
#[derive(Clone, Debug)]
pub(crate) struct MemoryBank {
    /// `[rows, width]`.
    rows: Tensor,
}

impl MemoryBank {
    /// `photos`: of each good photo the embeddings of its places, `[places, width]`.
    pub fn new(photos: &[&Tensor]) -> Result<Self> {
        Ok(Self { rows: unit_rows(&Tensor::cat(photos, 0)?)? })
    }

    /// For each row of `places`, `[places, width]`, its cosine distance to the nearest of the bank: 0..2.
    pub fn distances(&self, places: &Tensor) -> Result<Vec<f32>> {
        let places = unit_rows(places)?;
        let (count, mut best) = (self.rows.dim(0)?, None);
        for start in (0..count).step_by(BLOCK) {
            let block = self.rows.narrow(0, start, BLOCK.min(count - start))?;
            let cosines = places.matmul(&block.t()?)?.max(D::Minus1)?;
            best = Some(match best {
                None => cosines,
                Some(best) => cosines.maximum(&best)?,
            });
        }
        let best = best.map_or(Ok(vec![]), |best: Tensor| best.to_vec1::<f32>())?;
        // Rounding takes equal rows a little beyond a cosine of 1.
        Ok(best.into_iter().map(|cosine| (1.0 - cosine).max(0.0)).collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use candle_core::Device;

    #[test]
    fn the_nearest_of_a_bank_larger_than_a_block_is_found() {
        let width = 3;
        let far: Vec<f32> = (0..BLOCK * width).map(|i| f32::from(i % width == 0)).collect();
        let far = Tensor::from_vec(far, (BLOCK, width), &Device::Cpu).unwrap();
        let near = Tensor::new(&[[0f32, 2.0, 0.0]], &Device::Cpu).unwrap();
        let places =
            Tensor::new(&[[0f32, 5.0, 0.0], [3.0, 0.0, 0.0], [0.0, 0.0, 1.0]], &Device::Cpu)
                .unwrap();
        let bank = MemoryBank::new(&[&far, &near]).unwrap();
        assert_eq!(bank.distances(&places).unwrap(), [0.0, 0.0, 1.0]);
    }
}
