//! The memory bank and its search. The search works block by block, so it needs a limited amount of memory.

use candle_core::{Device, Tensor};

use std::ops::Range;

use crate::error::Result;
use crate::ops::{Compared, Highest, HighestOfColumns, cpu_slice, lower_to_distance, unit_rows};

/// Rows of a bank that are compared at once. This limits memory and does not change the result.
const BLOCK: usize = 8192;

/// The embeddings of all places of some reference photos, at unit length.
#[derive(Clone, Debug)]
pub(super) struct MemoryBank {
    /// `[rows, width]`.
    pub rows: Tensor,
}

impl MemoryBank {
    /// `photos`: for each reference photo the embeddings of its places, `[places, width]`.
    pub fn new(photos: &[&Tensor]) -> Result<Self> {
        Ok(Self { rows: unit_rows(&Tensor::cat(photos, 0)?)? })
    }

    /// The same bank without some of its `photos`, and the number of those that are left. Each photo has the same number
    /// of rows. None if no photo is left.
    pub fn without(
        &self,
        photos: usize,
        left_out: &dyn Fn(usize) -> bool,
    ) -> Result<Option<(Self, usize)>> {
        let left = (0..photos).filter(|photo| !left_out(*photo)).count();
        if left == 0 {
            return Ok(None);
        }
        let each = self.rows.dim(0)? / photos;
        let stays = |row: &u32| !left_out(*row as usize / each);
        let rows: Vec<u32> = (0..(each * photos) as u32).filter(stays).collect();
        let rows = self.rows.index_select(&Tensor::new(rows, self.rows.device())?, 0)?;
        Ok(Some((Self { rows }, left)))
    }

    /// For each row of `places`, `[places, width]`, the cosine distance to the nearest row of the bank: 0..2.
    pub fn distances(&self, places: &Tensor) -> Result<Vec<f32>> {
        let places = unit_rows(&places.to_device(self.rows.device())?)?;
        let best = match places.device().is_cpu() {
            true => Compared::new(&places)?.highest_products(&self.rows)?.0,
            false => search(&places, &self.rows, |products, _| Ok(products), None, None)?,
        };
        // Because of rounding, equal rows can have a cosine slightly above 1.
        Ok(best.into_iter().map(|best| (1.0 - best.value).max(0.0)).collect())
    }
}

/// For each row of `places`, `[places, width]`, the nearest row of `bank`, `[rows, width]`: its index (the first of
/// several) and its Euclidean distance.
pub(super) fn nearest(places: &Tensor, bank: &Tensor) -> Result<(Vec<u32>, Vec<f32>)> {
    // `-|x - y|^2` without `|x|^2`. That term is the same for all `y`.
    let near = |products: Tensor, block: &Tensor| -> Result<Tensor> {
        let squares = block.sqr()?.sum(1)?.unsqueeze(0)?;
        Ok((products * 2.0)?.broadcast_sub(&squares)?)
    };
    let best = search(places, bank, near, None, None)?;
    let distances = distances(places, &best, bank)?;
    Ok((best.into_iter().map(|best| best.at).collect(), distances))
}

/// Patches that are compared with those of several other photos: `[rows, width]`, at unit length.
pub(super) struct Patches {
    rows: Tensor,
    /// None if only some rows may be compared, or on another device than the CPU.
    packed: Option<Compared>,
}

impl Patches {
    /// `all`: whether each row is compared with all rows of the other photos.
    pub fn new(rows: Tensor, all: bool) -> Result<Self> {
        let packed = (all && rows.device().is_cpu()).then(|| Compared::new(&rows)).transpose()?;
        Ok(Self { rows, packed })
    }

    /// For each row the Euclidean distance to the nearest row of `b` among its `candidates`. For each row of `b` the
    /// same in the other direction. Infinite if a row has no candidate. `b`: `[rows, width]`, at unit length.
    pub fn nearest_both_ways(
        &self,
        b: &Tensor,
        candidates: &[Vec<Range<usize>>],
    ) -> Result<(Vec<f32>, Vec<f32>)> {
        let a = &self.rows;
        let (of_a, of_b) = match &self.packed {
            Some(packed) => packed.highest_products(b)?,
            None => {
                let mut of_b = HighestOfColumns::new(b.dim(0)?);
                let all = |products, _: &Tensor| Ok(products);
                let of_a = search(a, b, all, Some(candidates), Some(&mut of_b))?;
                (of_a, of_b.all())
            }
        };
        Ok((distances(a, &of_a, b)?, distances(b, &of_b, a)?))
    }
}

/// For patches that [`Compared`] cannot compare: with candidates, with other similarities, and on other devices. For each
/// row of `a` the most similar row of `b` among its `candidates`. `similarity` turns the products of `a` and a
/// block of `b` into the values that are compared. `of_b` receives the same result for the rows of `b`.
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

/// Euclidean distance of each row to the row that was found for it. Infinite if none was found. The distance is
/// computed from differences, because products lose precision for rows that are nearly equal.
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
