//! Matrix products as tiles that fit the vector registers. The left matrix is packed into strips of rows, the right one
//! into panels of columns, so that the inner loop reads both in order.
//!
//! Every element of a product is summed in the order of the inner dimension, whatever tile it is in.

use std::ops::Range;

use pulp::{Simd, WithSimd};
use rayon::prelude::*;

/// Packs rows `[outputs, inputs]` into panels `[outputs / width, inputs, width]`, padded with zeros.
pub(super) fn pack(rows: &[f32], inputs: usize, width: usize) -> Vec<f32> {
    let mut panels = vec![0f32; (rows.len() / inputs).div_ceil(width) * width * inputs];
    panels.par_chunks_mut(inputs * width).zip(rows.par_chunks(inputs * width)).for_each(
        |(panel, rows)| {
            for (column, row) in rows.chunks_exact(inputs).enumerate() {
                for (i, &w) in row.iter().enumerate() {
                    panel[i * width + column] = w;
                }
            }
        },
    );
    panels
}

/// Calls a function with the rows and the vectors of a tile that fits the registers. A tile uses 24 of 32 registers
/// with AVX-512, 12 of 16 with AVX2, and 12 of 32 with NEON.
macro_rules! with_tile {
    ($simd:ident, $call:ident($($argument:expr),*)) => {
        match S::F32_LANES {
            16 => $call::<S, 12, 2>($simd, $($argument),*),
            4 | 8 => $call::<S, 6, 2>($simd, $($argument),*),
            _ => $call::<S, 4, 4>($simd, $($argument),*),
        }
    };
}
pub(super) use with_tile;

/// Number of columns of a panel on this processor.
pub(super) fn panel_width() -> usize {
    super::vectorised(PanelWidth)
}

pub(super) struct PanelWidth;

impl WithSimd for PanelWidth {
    type Output = usize;

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) -> usize {
        fn width<S: Simd, const ROWS: usize, const VECTORS: usize>(_: S) -> usize {
            VECTORS * S::F32_LANES
        }
        with_tile!(simd, width())
    }
}

/// Interleaves ROWS rows at a time, so that a tile reads them in order: `[rows / ROWS, depth, ROWS]`, padded with zeros.
/// Only the columns of `depth` are taken.
#[inline(always)]
pub(super) fn fill_strips<const ROWS: usize>(
    strips: &mut Vec<f32>,
    rows: &[f32],
    width: usize,
    depth: Range<usize>,
) {
    let count = rows.len() / width;
    strips.clear();
    strips.resize(count.div_ceil(ROWS) * ROWS * depth.len(), 0f32);
    for (r, row) in rows.chunks_exact(width).enumerate() {
        let strip = strips[r / ROWS * ROWS * depth.len()..].as_chunks_mut::<ROWS>().0;
        for (column, &value) in strip.iter_mut().zip(&row[depth.clone()]) {
            column[r % ROWS] = value;
        }
    }
}

/// One tile of a product, kept in registers over the whole depth. `strip`: `[depth, ROWS]`; `panel`:
/// `[depth, VECTORS * lanes]`.
#[inline(always)]
pub(super) fn multiply_tile<S: Simd, const ROWS: usize, const VECTORS: usize>(
    simd: S,
    strip: &[f32],
    panel: &[f32],
) -> [[S::f32s; VECTORS]; ROWS] {
    let mut tile = [[simd.splat_f32s(0.0); VECTORS]; ROWS];
    let panel = S::as_simd_f32s(panel).0.as_chunks::<VECTORS>().0;
    for (x, w) in strip.as_chunks::<ROWS>().0.iter().zip(panel) {
        for r in 0..ROWS {
            let x = simd.splat_f32s(x[r]);
            for c in 0..VECTORS {
                // Fused where the processor can do that.
                tile[r][c] = simd.mul_add_e_f32s(x, w[c], tile[r][c]);
            }
        }
    }
    tile
}
