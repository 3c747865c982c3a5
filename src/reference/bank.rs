//! The memory bank and its search: blocked matrix products, so that memory is bounded.

use candle_core::{Device, Tensor};

use std::ops::Range;

use crate::error::Result;
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
        let best = search(&places, &self.rows, |products, _| Ok(products), None, None)?;
        // Rounding takes equal rows a little beyond a cosine of 1.
        Ok(best.into_iter().map(|best| (1.0 - best.value).max(0.0)).collect())
    }
}

/// For each row of `places`, `[places, width]`, the nearest row of `bank`, `[rows, width]`: its index (the first of
/// several) and its Euclidean distance.
pub(super) fn nearest(places: &Tensor, bank: &Tensor) -> Result<(Vec<u32>, Vec<f32>)> {
    // -|x - y|^2 without |x|^2, which is the same for all y.
    let near = |products: Tensor, block: &Tensor| -> Result<Tensor> {
        let squares = block.sqr()?.sum(1)?.unsqueeze(0)?;
        Ok((products * 2.0)?.broadcast_sub(&squares)?)
    };
    let best = search(places, bank, near, None, None)?;
    let distances = distances(places, &best, bank)?;
    Ok((best.into_iter().map(|best| best.at).collect(), distances))
}

/// For each row of `a` its Euclidean distance to the nearest of those rows of `b` that `candidates` allows it, and for each row
/// of `b` the same the other way round; infinite where none is allowed. All `[rows, width]` at unit length.
pub(super) fn nearest_both_ways(
    a: &Tensor,
    b: &Tensor,
    candidates: &[Vec<Range<usize>>],
) -> Result<(Vec<f32>, Vec<f32>)> {
    let mut of_b = HighestOfColumns::new(b.dim(0)?);
    let of_a = search(a, b, |products, _| Ok(products), Some(candidates), Some(&mut of_b))?;
    Ok((distances(a, &of_a, b)?, distances(b, &of_b.all(), a)?))
}

/// For each row of `a` the row of `b` that it is most similar to, of those that `candidates` allows: blocked matrix products,
/// of which `similarity` makes what is compared. `of_b` is told the same of the rows of `b`.
fn search(
    a: &Tensor,
    b: &Tensor,
    similarity: impl Fn(Tensor, &Tensor) -> Result<Tensor>,
    candidates: Option<&[Vec<Range<usize>>]>,
    mut of_b: Option<&mut HighestOfColumns>,
) -> Result<Vec<Highest>> {
    let mut of_a = vec![Highest::NONE; a.dim(0)?];
    let mut start = 0;
    for block in blocks(b)? {
        let columns = block.dim(0)?;
        let similar = similarity(a.matmul(&block.t()?)?, &block)?.to_device(&Device::Cpu)?;
        let similar = cpu_slice(&similar)?;
        for (row, own) in of_a.iter_mut().enumerate() {
            let values = &similar[row * columns..][..columns];
            let mut meet = |part: Range<usize>| {
                let (first, values) = (start + part.start, &values[part]);
                own.meet(first, values);
                if let Some(of_b) = &mut of_b {
                    of_b.meet(row as u32, first, values);
                }
            };
            match candidates {
                None => meet(0..columns),
                Some(candidates) => {
                    for part in &candidates[row] {
                        let (from, to) = (part.start.max(start), part.end.min(start + columns));
                        if from < to {
                            meet(from - start..to - start);
                        }
                    }
                }
            }
        }
        start += columns;
    }
    Ok(of_a)
}

/// Euclidean distances of rows to what was found for them, infinite where nothing was: as differences, because products
/// of near twins are less exact than what separates them.
fn distances(from: &Tensor, found: &[Highest], to: &Tensor) -> Result<Vec<f32>> {
    let (from, to) = (from.to_device(&Device::Cpu)?, to.to_device(&Device::Cpu)?);
    let width = from.dim(1)?;
    let (from, to) = (cpu_slice(&from)?, cpu_slice(&to)?);
    let rows = from.chunks_exact(width).zip(found).map(|(row, found)| {
        let mut far = [f32::INFINITY];
        if *found != Highest::NONE {
            lower_to_distance(&mut far, row, &to[found.at as usize * width..][..width]);
        }
        far[0].sqrt()
    });
    Ok(rows.collect())
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
