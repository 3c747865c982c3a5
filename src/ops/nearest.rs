//! The highest value of every row and every column of a matrix of similarities, in one pass.

use candle_core::{Result, Tensor};
use pulp::{Simd, WithSimd};
use rayon::prelude::*;

use super::tile::{fill_strips, multiply_tile, pack, panel_width, with_tile};
use super::{cpu_slice, vectorised};

/// The highest value so far, and its position. Of equal values, the first.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Highest {
    pub value: f32,
    pub at: u32,
}

impl Highest {
    pub const NONE: Self = Self { value: f32::NEG_INFINITY, at: 0 };

    /// Adds further values. `first`: position of the first of them.
    pub fn meet(&mut self, first: usize, values: &[f32]) {
        let highest = vectorised(HighestOf(values));
        if highest > self.value {
            // A second search for the position is cheaper than tracking it in the first one.
            let found = values.iter().position(|value| *value == highest).unwrap_or_default();
            *self = Self { value: highest, at: (first + found) as u32 };
        }
    }
}

/// The highest value of each of many columns.
pub(crate) struct HighestOfColumns {
    values: Vec<f32>,
    at: Vec<u32>,
}

impl HighestOfColumns {
    pub fn new(columns: usize) -> Self {
        Self { values: vec![f32::NEG_INFINITY; columns], at: vec![0; columns] }
    }

    /// Adds a part of row number `row`, which begins at column `first`.
    pub fn meet(&mut self, row: u32, first: usize, part: &[f32]) {
        let columns = first..first + part.len();
        let (values, at) = (&mut self.values[columns.clone()], &mut self.at[columns]);
        vectorised(Raise { part, row, values, at });
    }

    /// The highest value of each column.
    pub fn all(&self) -> Vec<Highest> {
        let columns = self.values.iter().zip(&self.at);
        columns.map(|(&value, &at)| Highest { value, at }).collect()
    }
}

/// Rows of one matrix, packed to be compared with the rows of others.
pub(crate) struct Compared {
    panels: Vec<f32>,
    rows: usize,
    width: usize,
}

/// Number of rows of the other matrix that one task compares.
const BLOCK_ROWS: usize = 96;
/// Number of blocks between two collections of their results.
const BLOCKS_AT_ONCE: usize = 256;

impl Compared {
    /// `rows`: `[rows, width]`, on the CPU.
    pub fn new(rows: &Tensor) -> Result<Self> {
        let (count, width) = rows.dims2()?;
        let rows = rows.contiguous()?;
        let panels = pack(&cpu_slice(&rows)?, width, panel_width());
        Ok(Self { panels, rows: count, width })
    }

    /// The products with all rows of `others`, `[rows, width]`. Returns the highest of each own row, and the highest of
    /// each row of `others`. The products themselves are never stored.
    pub fn highest_products(&self, others: &Tensor) -> Result<(Vec<Highest>, Vec<Highest>)> {
        if others.dim(1)? != self.width {
            candle_core::bail!("rows of {} and of {} values", self.width, others.dim(1)?);
        }
        let others = others.contiguous()?;
        let others = cpu_slice(&others)?;
        let mut own = vec![Highest::NONE; self.rows];
        let mut found = Vec::with_capacity(others.len() / self.width);
        // Only so many blocks at once, because each has a result for all own rows.
        for others in others.chunks(BLOCKS_AT_ONCE * BLOCK_ROWS * self.width) {
            for (block, rows) in self.highest_of_blocks(others, found.len()) {
                for (own, new) in own.iter_mut().zip(block) {
                    if new.value > own.value {
                        *own = new;
                    }
                }
                found.extend(rows);
            }
        }
        Ok((own, found))
    }

    /// For each block of `others`: the highest product of each own row, and of each row of the block. `first`: number of
    /// the first row.
    fn highest_of_blocks(&self, others: &[f32], first: usize) -> Vec<(Vec<Highest>, Vec<Highest>)> {
        let blocks = others.par_chunks(BLOCK_ROWS * self.width).enumerate();
        blocks
            .map_init(Vec::new, |strips, (block, others)| {
                let rows = others.len() / self.width;
                let columns = self.rows.next_multiple_of(panel_width());
                let mut own = (vec![f32::NEG_INFINITY; columns], vec![0; columns]);
                let mut found = vec![Highest::NONE; rows];
                let first = (first + block * BLOCK_ROWS) as u32;
                let (own_values, own_at) = (&mut own.0[..], &mut own.1[..]);
                let found_rows = &mut found[..];
                let task = Compare {
                    compared: self,
                    others,
                    first,
                    strips,
                    own_values,
                    own_at,
                    found_rows,
                };
                vectorised(task);
                let own = own.0.into_iter().zip(own.1).take(self.rows);
                (own.map(|(value, at)| Highest { value, at }).collect(), found)
            })
            .collect()
    }
}

/// Compares a block of rows with all packed rows.
struct Compare<'a> {
    compared: &'a Compared,
    others: &'a [f32],
    /// Number of the block's first row.
    first: u32,
    /// Scratch memory.
    strips: &'a mut Vec<f32>,
    own_values: &'a mut [f32],
    own_at: &'a mut [u32],
    found_rows: &'a mut [Highest],
}

impl WithSimd for Compare<'_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) {
        with_tile!(simd, compare(self))
    }
}

#[inline(always)]
fn compare<S: Simd, const ROWS: usize, const VECTORS: usize>(simd: S, task: Compare) {
    let Compare { compared, others, first, strips, own_values, own_at, found_rows } = task;
    let (width, columns, rows) = (compared.width, VECTORS * S::F32_LANES, found_rows.len());
    fill_strips::<ROWS>(strips, others, width, 0..width);
    let lowest = simd.splat_f32s(f32::NEG_INFINITY);
    // The highest value of each row and lane, and the panel that it is in.
    let mut values = vec![[lowest; VECTORS]; rows];
    let mut panels = vec![[simd.splat_u32s(0); VECTORS]; rows];
    let unused = &mut vec![0f32; columns][..];
    for (p, panel) in compared.panels.chunks_exact(width * columns).enumerate() {
        let own_values = S::as_mut_simd_f32s(&mut own_values[p * columns..][..columns]).0;
        let own_at = S::as_mut_simd_u32s(&mut own_at[p * columns..][..columns]).0;
        // The last panel has columns without a row.
        let used = (compared.rows - p * columns).min(columns);
        unused[used..].fill(f32::NEG_INFINITY);
        let unused = S::as_simd_f32s(&*unused).0;
        for (s, strip) in strips.chunks_exact(ROWS * width).enumerate() {
            let tile = multiply_tile::<S, ROWS, VECTORS>(simd, strip, panel);
            for (r, products) in tile.iter().enumerate().take(rows - s * ROWS) {
                let row = s * ROWS + r;
                for v in 0..VECTORS {
                    let product = simd.add_f32s(products[v], unused[v]);
                    let is_higher = simd.less_than_f32s(values[row][v], product);
                    values[row][v] = simd.select_f32s(is_higher, product, values[row][v]);
                    let here = simd.splat_u32s(p as u32);
                    panels[row][v] = simd.select_u32s(is_higher, here, panels[row][v]);
                    let is_higher = simd.less_than_f32s(own_values[v], product);
                    own_values[v] = simd.select_f32s(is_higher, product, own_values[v]);
                    let here = simd.splat_u32s(first + row as u32);
                    own_at[v] = simd.select_u32s(is_higher, here, own_at[v]);
                }
            }
        }
    }
    for ((found, values), panels) in found_rows.iter_mut().zip(&values).zip(&panels) {
        let values: &[f32] = bytemuck::cast_slice(values);
        let panels: &[u32] = bytemuck::cast_slice(panels);
        for (lane, (&value, panel)) in values.iter().zip(panels).enumerate() {
            let at = panel * columns as u32 + lane as u32;
            if value > found.value || (value == found.value && at < found.at) {
                *found = Highest { value, at };
            }
        }
    }
}

struct HighestOf<'a>(&'a [f32]);

impl WithSimd for HighestOf<'_> {
    type Output = f32;

    #[inline(always)]
    fn with_simd<S: Simd>(self, _: S) -> f32 {
        const LANES: usize = 16;
        let (chunks, rest) = self.0.as_chunks::<LANES>();
        let mut lanes = [f32::NEG_INFINITY; LANES];
        for chunk in chunks {
            for (lane, &value) in lanes.iter_mut().zip(chunk) {
                *lane = if value > *lane { value } else { *lane };
            }
        }
        lanes.iter().chain(rest).fold(f32::NEG_INFINITY, |a, &b| if b > a { b } else { a })
    }
}

struct Raise<'a> {
    part: &'a [f32],
    row: u32,
    values: &'a mut [f32],
    at: &'a mut [u32],
}

impl WithSimd for Raise<'_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, _: S) {
        let Self { part, row, values, at } = self;
        for ((&new, best), at) in part.iter().zip(values).zip(at) {
            let is_higher = new > *best;
            *best = if is_higher { new } else { *best };
            *at = if is_higher { row } else { *at };
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use candle_core::Device;

    #[test]
    fn the_highest_products_are_those_of_the_whole_matrix() {
        for (rows, others, width) in [(1, 1, 3), (40, 250, 7), (225, 97, 19)] {
            // Small whole numbers: products are exact, and many are equal.
            let values = |count: usize, factor: usize| -> Vec<f32> {
                (0..count * width).map(|i| (i * factor % 11 % 4) as f32 - 1.0).collect()
            };
            let a = Tensor::from_vec(values(rows, 7), (rows, width), &Device::Cpu).unwrap();
            let b = Tensor::from_vec(values(others, 5), (others, width), &Device::Cpu).unwrap();
            let matrix = a.matmul(&b.t().unwrap()).unwrap().to_vec2::<f32>().unwrap();
            let (mut of_a, mut of_b) = (vec![Highest::NONE; rows], HighestOfColumns::new(others));
            for (i, (row, own)) in matrix.iter().zip(&mut of_a).enumerate() {
                own.meet(0, row);
                of_b.meet(i as u32, 0, row);
            }
            let found = Compared::new(&a).unwrap().highest_products(&b).unwrap();
            assert_eq!(found, (of_a, of_b.all()), "{rows} {others} {width}");
        }
    }

    #[test]
    fn rows_and_columns_find_their_highest() {
        let matrix = [[0.1f32, 0.9, 0.3], [0.8, 0.9, 0.2], [0.8, 0.4, 0.7]];
        let mut columns = HighestOfColumns::new(3);
        let mut rows = [Highest::NONE; 3];
        for (i, (row, own)) in matrix.iter().zip(&mut rows).enumerate() {
            for part in [0..1, 1..3] {
                columns.meet(i as u32, part.start, &row[part.clone()]);
                own.meet(part.start, &row[part]);
            }
        }
        let at = |h: Highest| (h.value, h.at);
        assert_eq!(rows.map(at), [(0.9, 1), (0.9, 1), (0.8, 0)]);
        assert_eq!(
            columns.all().into_iter().map(at).collect::<Vec<_>>(),
            [(0.8, 1), (0.9, 0), (0.7, 2)]
        );
    }
}
