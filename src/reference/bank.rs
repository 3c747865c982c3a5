//! The memory bank and its search: blocked matrix products, so that memory is bounded.

use candle_core::{D, Tensor};

use std::ops::Range;

use crate::Result;
use crate::ops::{Highest, HighestOfColumns, cpu_slice, lower_to_distance, unit_rows};

/// Rows of a bank that are compared at once: bounds memory, not the result.
const BLOCK: usize = 8192;

/// Embeddings of all places of some good photos, at unit length.
#[derive(Clone, Debug)]
pub(super) struct MemoryBank {
    /// `[rows, width]`.
    pub rows: Tensor,
}

impl MemoryBank {
    /// `photos`: of each good photo the embeddings of its places, `[places, width]`.
    pub fn new(photos: &[&Tensor]) -> Result<Self> {
        Ok(Self { rows: unit_rows(&Tensor::cat(photos, 0)?)? })
    }

    /// For each row of `places`, `[places, width]`, its cosine distance to the nearest of the bank: 0..2.
    pub fn distances(&self, places: &Tensor) -> Result<Vec<f32>> {
        let places = unit_rows(&places.to_device(self.rows.device())?)?;
        let mut best: Option<Tensor> = None;
        for block in blocks(&self.rows)? {
            let cosines = places.matmul(&block.t()?)?.max(D::Minus1)?;
            best = Some(match best {
                None => cosines,
                Some(best) => cosines.maximum(&best)?,
            });
        }
        let best = best.map_or(Ok(vec![]), |best| best.to_vec1::<f32>())?;
        // Rounding takes equal rows a little beyond a cosine of 1.
        Ok(best.into_iter().map(|cosine| (1.0 - cosine).max(0.0)).collect())
    }
}

/// For each row of `places`, `[places, width]`, the nearest row of `bank`, `[rows, width]`: its index (the first of
/// several) and its Euclidean distance.
pub(super) fn nearest(places: &Tensor, bank: &Tensor) -> Result<(Vec<u32>, Vec<f32>)> {
    let mut best: Vec<(f32, u32)> = vec![(f32::INFINITY, 0); places.dim(0)?];
    let mut start = 0;
    for block in blocks(bank)? {
        // |x - y|^2 without |x|^2, which is the same for all y.
        let squares = block.sqr()?.sum(1)?.unsqueeze(0)?;
        let far = squares.broadcast_sub(&(places.matmul(&block.t()?)? * 2.0)?)?;
        let (values, indices) = (far.min(1)?.to_vec1::<f32>()?, far.argmin(1)?.to_vec1::<u32>()?);
        for ((best, value), index) in best.iter_mut().zip(values).zip(indices) {
            if value < best.0 {
                *best = (value, start + index);
            }
        }
        start += block.dim(0)? as u32;
    }
    let indices: Vec<u32> = best.into_iter().map(|(_, index)| index).collect();
    // Once more as a difference: the short way loses what little separates neighbours.
    let found = bank.index_select(&Tensor::new(&indices[..], bank.device())?, 0)?;
    let distances = (places - found)?.sqr()?.sum(1)?.sqrt()?.to_vec1()?;
    Ok((indices, distances))
}

/// For each row of `a` its Euclidean distance to the nearest of those rows of `b` that `reach` allows it, and for each row
/// of `b` the same the other way round; infinite where none is allowed. All `[rows, width]` at unit length.
pub(super) fn nearest_both_ways(
    a: &Tensor,
    b: &Tensor,
    reach: &[Vec<Range<usize>>],
) -> Result<(Vec<f32>, Vec<f32>)> {
    let (rows, columns) = (a.dim(0)?, b.dim(0)?);
    let products = a.matmul(&b.t()?)?;
    let products = cpu_slice(&products)?;
    let mut of_b = HighestOfColumns::new(columns);
    let mut of_a = vec![Highest::NONE; rows];
    for (row, own) in of_a.iter_mut().enumerate() {
        for part in &reach[row] {
            let values = &products[row * columns..][part.clone()];
            of_b.meet(row as u32, part.start, values, own);
        }
    }
    // Once more as differences: the cosines of near twins differ from 1 by less than they are exact.
    let (a, b, width) = (cpu_slice(a)?, cpu_slice(b)?, a.dim(1)?);
    let distance = |from: &[f32], row: usize, to: &[f32], found: Highest| {
        if found == Highest::NONE {
            return f32::INFINITY;
        }
        let mut far = [f32::INFINITY];
        let (row, other) =
            (&from[row * width..][..width], &to[found.at as usize * width..][..width]);
        lower_to_distance(&mut far, row, other);
        far[0].sqrt()
    };
    let from_a = of_a.iter().enumerate().map(|(i, found)| distance(&a, i, &b, *found)).collect();
    let from_b = (0..columns).map(|i| distance(&b, i, &a, of_b.of(i))).collect();
    Ok((from_a, from_b))
}

fn blocks(rows: &Tensor) -> Result<impl Iterator<Item = Tensor>> {
    let count = rows.dim(0)?;
    let block = |start| rows.narrow(0, start, BLOCK.min(count - start));
    let blocks: candle_core::Result<Vec<_>> = (0..count).step_by(BLOCK).map(block).collect();
    Ok(blocks?.into_iter())
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
        let bank = Tensor::cat(&[&far, &near], 0).unwrap();
        let (indices, distances) = nearest(&places, &bank).unwrap();
        assert_eq!((indices, distances), (vec![BLOCK as u32, 0, 0], vec![3.0, 2.0, 2f32.sqrt()]));
    }
}
