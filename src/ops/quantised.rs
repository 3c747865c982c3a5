//! Linear layers with weights of 8 bits, for [`Precision::Fast`](super::Precision). Products of integers are exact, so a
//! row's result depends on the row alone.
//!
//! Weights are rounded per output, and inputs per row when they arrive. Long rows are cut into groups of inputs that are
//! rounded on their own (as in LLM.int8, Dettmers et al. 2022, arXiv 2208.07339, section 2.1, but in groups).

use std::ops::Range;
use std::sync::OnceLock;

use candle_core::{Error, Result};
use pulp::{Simd, WithSimd};
use rten_gemm::{GemmExecutor, GemmInputA, GemmInputB, GemmOptions, PackedBMatrix};
use rten_tensor::prelude::*;
use rten_tensor::{NdTensor, NdTensorView};

use super::vectorised;

/// At most so many inputs are rounded together, and so many outputs are computed at once.
const GROUP: usize = 1024;

/// The layer's weights, `[outputs, inputs]`, in parts of at most [`GROUP`] inputs and outputs.
pub(super) struct Quantised {
    groups: Vec<Group>,
}

struct Group {
    inputs: Range<usize>,
    parts: Vec<Part>,
}

struct Part {
    outputs: Range<usize>,
    /// `[inputs, outputs]`.
    weights: PackedBMatrix<i8>,
    /// The weight of one step, for each output.
    steps: Vec<f32>,
    /// The sum of the weights in steps, for each output.
    totals: Vec<i32>,
}

/// Scratch memory, reused for each block of rows.
#[derive(Default)]
pub(super) struct Scratch {
    levels: Vec<u8>,
    rounded: Vec<Rounded>,
    sums: Vec<i32>,
}

fn executor() -> &'static GemmExecutor<u8, i8, i32> {
    static EXECUTOR: OnceLock<&GemmExecutor<u8, i8, i32>> = OnceLock::new();
    EXECUTOR.get_or_init(|| Box::leak(Box::default()))
}

impl Quantised {
    /// `weights`: `[outputs, inputs]`.
    pub fn new(weights: &[f32], inputs: usize) -> Self {
        let outputs = weights.len() / inputs;
        let part = |inputs_of: &Range<usize>, outputs: Range<usize>| {
            let rows = outputs.clone().map(|row| &weights[row * inputs..][inputs_of.clone()]);
            let (levels, steps): (Vec<_>, Vec<_>) = rows.map(rounded_weights).unzip();
            let totals = levels.iter().map(|row| row.iter().map(|level| i32::from(*level)).sum());
            let (totals, shape) = (totals.collect(), [outputs.len(), inputs_of.len()]);
            let levels = NdTensor::from_data(shape, levels.concat());
            Part { weights: executor().prepack_b(levels.transposed()), outputs, steps, totals }
        };
        let group = |inputs: Range<usize>| {
            let parts = ranges(outputs).map(|outputs| part(&inputs, outputs)).collect();
            Group { inputs, parts }
        };
        Self { groups: ranges(inputs).map(group).collect() }
    }

    /// Adds `input W^T` to a block of rows. `input`: `[rows, inputs]`; `out`: `[rows, outputs]`.
    pub fn add(
        &self,
        input: &[f32],
        inputs: usize,
        out: &mut [f32],
        scratch: &mut Scratch,
    ) -> Result<()> {
        let rows = input.len() / inputs;
        let outputs = out.len() / rows;
        let Scratch { levels, rounded, sums } = scratch;
        for group in &self.groups {
            let depth = group.inputs.len();
            levels.resize(rows * depth, 0);
            rounded.clear();
            for (row, levels) in input.chunks_exact(inputs).zip(levels.chunks_exact_mut(depth)) {
                rounded.push(vectorised(Round { row: &row[group.inputs.clone()], levels }));
            }
            let a = NdTensorView::from_data([rows, depth], &levels[..]);
            for part in &group.parts {
                sums.resize(rows * part.outputs.len(), 0);
                let (a, b) = (GemmInputA::Unpacked(a), GemmInputB::Packed(&part.weights));
                let product = executor().gemm(sums, a, b, GemmOptions::default());
                product.map_err(|error| Error::Msg(format!("a product of 8 bits: {error}")))?;
                vectorised(AddScaled { sums, rounded, part, out, outputs });
            }
        }
        Ok(())
    }
}

/// 0..count in equal ranges of at most [`GROUP`].
fn ranges(count: usize) -> impl Iterator<Item = Range<usize>> {
    let size = count.div_ceil(count.div_ceil(GROUP).max(1)).max(1);
    (0..count).step_by(size).map(move |start| start..count.min(start + size))
}

/// The weights of an output in steps, and the size of a step.
fn rounded_weights(weights: &[f32]) -> (Vec<i8>, f32) {
    // Without instructions for this product, the sum of two products may not exceed 16 bits.
    let levels = if executor().may_saturate() { 63.0 } else { 127.0 };
    let largest = weights.iter().fold(0f32, |largest, w| largest.max(w.abs()));
    let step = if largest > 0.0 { largest / levels } else { 1.0 };
    (weights.iter().map(|w| (w / step).round_ties_even() as i8).collect(), step)
}

/// How a row was rounded.
#[derive(Clone, Copy)]
struct Rounded {
    /// The level of the value 0.
    zero: i32,
    /// The size of a step.
    step: f32,
}

/// Rounds a row to 256 levels between its lowest and its highest value. One level is exactly zero.
struct Round<'a> {
    row: &'a [f32],
    levels: &'a mut [u8],
}

impl WithSimd for Round<'_> {
    type Output = Rounded;

    #[inline(always)]
    fn with_simd<S: Simd>(self, _: S) -> Rounded {
        const LANES: usize = 16;
        let (mut low, mut high) = ([0f32; LANES], [0f32; LANES]);
        let (chunks, rest) = self.row.as_chunks::<LANES>();
        for chunk in chunks {
            for ((low, high), &x) in low.iter_mut().zip(&mut high).zip(chunk) {
                *low = if x < *low { x } else { *low };
                *high = if x > *high { x } else { *high };
            }
        }
        let low = low.iter().chain(rest).fold(0f32, |a, &x| if x < a { x } else { a });
        let high = high.iter().chain(rest).fold(0f32, |a, &x| if x > a { x } else { a });
        // 0, or NaN if a value is NaN or infinite. Then the whole row must become NaN, as in float32.
        let poison = super::sum(self.row, |x| x * 0.0);
        let step = if high > low { (high - low) / 255.0 } else { 1.0 } + poison;
        let (factor, zero) = (1.0 / step, (-low / step).round_ties_even());
        // Adding 1.5 * 2^23 puts the rounded value into the lowest bits.
        const TO_INTEGER: f32 = 12_582_912.0;
        for (level, x) in self.levels.iter_mut().zip(self.row) {
            let value = (x * factor + zero).clamp(0.0, 255.0);
            *level = (value + TO_INTEGER).to_bits() as u8;
        }
        Rounded { zero: zero as i32, step }
    }
}

/// Adds sums of products of levels to the output. The crate can subtract a zero for each row, but version 0.24 takes
/// that of another row.
struct AddScaled<'a> {
    /// `[rows, columns of the part]`.
    sums: &'a [i32],
    rounded: &'a [Rounded],
    part: &'a Part,
    /// `[rows, outputs]`.
    out: &'a mut [f32],
    outputs: usize,
}

impl WithSimd for AddScaled<'_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, _: S) {
        let Part { outputs, steps, totals, .. } = self.part;
        let rows = self.out.chunks_exact_mut(self.outputs).zip(self.rounded);
        for ((out, row), sums) in rows.zip(self.sums.chunks_exact(outputs.len())) {
            let out = &mut out[outputs.clone()];
            for (((out, sum), step), total) in out.iter_mut().zip(sums).zip(steps).zip(totals) {
                *out += (sum - row.zero * total) as f32 * (step * row.step);
            }
        }
    }
}

impl std::fmt::Debug for Quantised {
    fn fmt(&self, f: &mut std::fmt::Formatter) -> std::fmt::Result {
        f.debug_struct("Quantised").field("groups", &self.groups.len()).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn values(count: usize, seed: u32) -> Vec<f32> {
        let mut state = seed;
        let next = || {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            (state >> 8) as f32 / (1 << 24) as f32 - 0.5
        };
        std::iter::repeat_with(next).take(count).collect()
    }

    fn product(layer: &Quantised, x: &[f32], inputs: usize, outputs: usize) -> Vec<f32> {
        let mut out = vec![0f32; x.len() / inputs * outputs];
        layer.add(x, inputs, &mut out, &mut Scratch::default()).unwrap();
        out
    }

    #[test]
    fn agrees_with_exact_products_within_the_rounding() {
        for (rows, inputs, outputs) in [(1, 1, 1), (7, 33, 31), (3, 2100, 1500), (97, 64, 192)] {
            let (x, w) = (values(rows * inputs, 1), values(outputs * inputs, 2));
            let layer = Quantised::new(&w, inputs);
            let found = product(&layer, &x, inputs, outputs);
            // A row's roundings are off by up to half a step: for evenly spread values, by 1/255 and 1/63 of the rest.
            for (r, row) in x.chunks_exact(inputs).enumerate() {
                let exact = |weights: &[f32]| row.iter().zip(weights).map(|(x, w)| x * w).sum();
                let exact: Vec<f32> = w.chunks_exact(inputs).map(exact).collect();
                let off = exact.iter().zip(&found[r * outputs..]).map(|(e, f)| (e - f).powi(2));
                let off = (off.sum::<f32>() / exact.iter().map(|e| e * e).sum::<f32>()).sqrt();
                assert!(off < 0.017, "row {r} of {rows}x{inputs}x{outputs}: {off}");
            }
        }
    }

    #[test]
    fn a_row_is_the_same_bits_in_any_block() {
        let (inputs, outputs) = (1100, 40);
        let (x, layer) =
            (values(50 * inputs, 3), Quantised::new(&values(outputs * inputs, 4), inputs));
        let all = product(&layer, &x, inputs, outputs);
        let one = product(&layer, &x[31 * inputs..][..inputs], inputs, outputs);
        assert_eq!(all[31 * outputs..][..outputs], one);
    }

    #[test]
    fn what_is_no_number_stays_none() {
        let layer = Quantised::new(&[1.0; 6], 3);
        for bad in [f32::NAN, f32::INFINITY, f32::NEG_INFINITY] {
            let found = product(&layer, &[1.0, bad, 2.0, 1.0, 1.0, 1.0], 3, 2);
            assert!(found[..2].iter().all(|value| value.is_nan()), "{found:?}");
            assert!(found[2..].iter().all(|value| (value - 3.0).abs() < 0.1), "{found:?}");
        }
    }

    #[test]
    fn rows_and_weights_of_zeros_give_zero() {
        let layer = Quantised::new(&[0.0; 6], 3);
        assert_eq!(product(&layer, &[0.0; 3], 3, 2), [0.0; 2]);
        assert_eq!(product(&Quantised::new(&[1.0; 6], 3), &[0.0; 3], 3, 2), [0.0; 2]);
    }
}
