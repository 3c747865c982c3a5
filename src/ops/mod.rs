//! Kernels that candle lacks, or that are too slow in candle for a vision transformer on a normal CPU. On other devices
//! each kernel uses candle's own operations.
//!
//! On the CPU every output element is one fixed sequence of operations. So results are the same bits for any number of
//! threads and any batch.

mod attention;
mod convolution;
mod linear;
mod nearest;
mod quantised;
mod simd;
mod tile;
mod tiles;

use std::ops::Deref;
use std::sync::atomic::{AtomicU64, Ordering};

use candle_core::{CpuStorage, D, Result, Storage, Tensor};
use pulp::{Simd, WithSimd};
use rayon::prelude::*;

pub(crate) use attention::{AttentionMask, attention};
pub(crate) use convolution::{Convolution, Depthwise};
pub(crate) use linear::{Hidden, Linear, Mlp};
pub(crate) use nearest::{Compared, Highest, HighestOfColumns};
use simd::vectorised;
pub(crate) use simd::{arithmetic, instructions};
pub(crate) use tiles::{Layout, Tiling, shrunk};
pub use tiles::{TileCount, Tiles};

/// Multiplications and additions so far, on the processor: of products, attention and convolutions.
static OPERATIONS: AtomicU64 = AtomicU64::new(0);

/// How many multiplications and additions were done so far.
pub(crate) fn operations() -> u64 {
    OPERATIONS.load(Ordering::Relaxed)
}

fn count(operations: usize) {
    OPERATIONS.fetch_add(operations as u64, Ordering::Relaxed);
}

/// How the products of the image tower's blocks are computed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Precision {
    /// In float32.
    #[default]
    F32,
    /// Weights and inputs are rounded to 8 bits. Everything else stays float32.
    Fast,
}

impl Precision {
    /// All precisions.
    pub const ALL: [Self; 2] = [Self::F32, Self::Fast];

    /// The name on the command line and in results.
    pub fn name(self) -> &'static str {
        match self {
            Self::F32 => "f32",
            Self::Fast => "fast",
        }
    }
}

/// The MLP's nonlinearity.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Activation {
    /// The exact Gaussian error linear unit (with erf), in LAION's and DataComp's checkpoints.
    Gelu,
    /// `x * sigmoid(1.702 x)`, in all of OpenAI's checkpoints.
    QuickGelu,
}

impl Activation {
    /// All nonlinearities.
    pub const ALL: [Self; 2] = [Self::Gelu, Self::QuickGelu];

    /// The name that configurations and the command line use.
    pub fn name(self) -> &'static str {
        match self {
            Activation::Gelu => "gelu",
            Activation::QuickGelu => "quick_gelu",
        }
    }

    fn on_slice(self, values: &mut [f32]) {
        match self {
            Activation::Gelu => vectorised(Map { values, function: gelu }),
            Activation::QuickGelu => vectorised(Map { values, function: quick_gelu }),
        }
    }

    /// The function of each value.
    pub(crate) fn forward(self, x: &Tensor) -> Result<Tensor> {
        match x.device().is_cpu() {
            true => mapped(x, |part| self.on_slice(part)),
            false => self.on_tensor(x),
        }
    }

    fn on_tensor(self, x: &Tensor) -> Result<Tensor> {
        match self {
            Activation::Gelu => x.gelu_erf(),
            Activation::QuickGelu => x * candle_nn::ops::sigmoid(&(x * 1.702)?)?,
        }
    }
}

/// Layer normalisation over the last axis, in two passes. candle's own computes the variance as E[x^2] - E[x]^2, which
/// loses precision if the mean is large.
#[derive(Clone, Debug)]
pub(crate) struct LayerNorm {
    weight: Tensor,
    bias: Tensor,
    eps: f64,
}

impl LayerNorm {
    /// `weight` and `bias`: `[width]`.
    pub fn new(weight: Tensor, bias: Tensor, eps: f64) -> Self {
        Self { weight, bias, eps }
    }

    /// `[rows, width]` to `[rows, width]`.
    pub fn forward(&self, x: &Tensor) -> Result<Tensor> {
        if !x.device().is_cpu() {
            return candle_nn::ops::layer_norm_slow(x, &self.weight, &self.bias, self.eps as f32);
        }
        let x = x.contiguous()?;
        let width = x.dim(D::Minus1)?;
        let (norm, input) = (self.on_cpu()?, cpu_slice(&x)?);
        let mut out = vec![0f32; input.len()];
        let rows = 16 * width;
        out.par_chunks_mut(rows)
            .zip(input.par_chunks(rows))
            .for_each(|(out, input)| norm.rows(input, out));
        Tensor::from_vec(out, x.shape(), x.device())
    }

    fn on_cpu(&self) -> Result<CpuNorm> {
        Ok(CpuNorm {
            weight: self.weight.to_vec1()?,
            bias: self.bias.to_vec1()?,
            eps: self.eps as f32,
        })
    }
}

/// The parameters of a norm in memory that the kernels can read.
struct CpuNorm {
    weight: Vec<f32>,
    bias: Vec<f32>,
    eps: f32,
}

impl CpuNorm {
    fn rows(&self, input: &[f32], out: &mut [f32]) {
        vectorised(Normalise { norm: self, input, out });
    }
}

/// A tensor on the CPU with a function applied to it, part by part.
fn mapped(x: &Tensor, function: impl Fn(&mut [f32]) + Send + Sync) -> Result<Tensor> {
    let x = x.contiguous()?;
    let mut values = cpu_slice(&x)?.to_vec();
    values.par_chunks_mut(1 << 14).for_each(function);
    Tensor::from_vec(values, x.shape(), x.device())
}

/// Applies a function to each value, in place.
struct Map<'a, F> {
    values: &'a mut [f32],
    function: F,
}

impl<F: Fn(f32) -> f32> WithSimd for Map<'_, F> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, _: S) {
        for value in self.values {
            *value = (self.function)(*value);
        }
    }
}

struct Normalise<'a> {
    norm: &'a CpuNorm,
    input: &'a [f32],
    out: &'a mut [f32],
}

impl WithSimd for Normalise<'_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, _: S) {
        let CpuNorm { weight, bias, eps } = self.norm;
        let width = weight.len();
        for (row, out) in self.input.chunks_exact(width).zip(self.out.chunks_exact_mut(width)) {
            normalise(row, weight, bias, *eps, out);
        }
    }
}

#[inline(always)]
fn normalise(row: &[f32], weight: &[f32], bias: &[f32], eps: f32, out: &mut [f32]) {
    let n = row.len() as f32;
    let mean = sum(row, |x| x) / n;
    let variance = sum(row, |x| (x - mean) * (x - mean)) / n;
    let scale = 1.0 / (variance + eps).sqrt();
    for (((o, x), w), b) in out.iter_mut().zip(row).zip(weight).zip(bias) {
        *o = (x - mean) * scale * w + b;
    }
}

/// A sum in 16 independent lanes, so that it vectorises and its order is fixed.
#[inline(always)]
fn sum(values: &[f32], f: impl Fn(f32) -> f32) -> f32 {
    const LANES: usize = 16;
    let mut lanes = [0f32; LANES];
    let chunks = values.chunks_exact(LANES);
    let rest = chunks.remainder();
    for chunk in chunks {
        for (lane, &x) in lanes.iter_mut().zip(chunk) {
            *lane += f(x);
        }
    }
    lanes.iter().sum::<f32>() + rest.iter().map(|&x| f(x)).sum::<f32>()
}

/// e^x within 2 units in the last place: 2^n times a polynomial (Cephes' expf). It has no branches, so that it
/// vectorises.
#[inline(always)]
fn exp(x: f32) -> f32 {
    const LN2_HIGH: f32 = 0.693_359_4;
    const LN2_LOW: f32 = -2.121_944_4e-4;
    let x = x.clamp(-87.0, 88.0);
    let n = (x * std::f32::consts::LOG2_E).round_ties_even();
    let r = x - n * LN2_HIGH - n * LN2_LOW;
    let p = 1.987_569_1e-4;
    let p = p * r + 1.398_2e-3;
    let p = p * r + 8.333_452e-3;
    let p = p * r + 4.166_579_6e-2;
    let p = p * r + 0.166_666_65;
    let p = p * r + 0.5;
    let power = f32::from_bits((((n as i32) + 127) << 23) as u32);
    (p * r * r + r + 1.0) * power
}

/// Scales each row to unit length.
pub(crate) fn unit_rows(rows: &Tensor) -> Result<Tensor> {
    if !rows.device().is_cpu() {
        return rows.broadcast_div(&rows.sqr()?.sum_keepdim(D::Minus1)?.sqrt()?);
    }
    let (width, rows) = (rows.dim(D::Minus1)?, rows.contiguous()?);
    let mut values = cpu_slice(&rows)?.to_vec();
    vectorised(UnitRows { values: &mut values, width });
    Tensor::from_vec(values, rows.shape(), rows.device())
}

struct UnitRows<'a> {
    values: &'a mut [f32],
    width: usize,
}

impl WithSimd for UnitRows<'_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, _: S) {
        for row in self.values.chunks_exact_mut(self.width) {
            let length = sum(row, |x| x * x).sqrt();
            row.iter_mut().for_each(|value| *value /= length);
        }
    }
}

/// Adds `weight` times the logistic function of each value to its sum.
pub(crate) fn add_weighted_sigmoid(sums: &mut [f32], values: &[f32], weight: f32) {
    vectorised(AddSigmoid { sums, values, weight });
}

struct AddSigmoid<'a> {
    sums: &'a mut [f32],
    values: &'a [f32],
    weight: f32,
}

impl WithSimd for AddSigmoid<'_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, _: S) {
        for (sum, &x) in self.sums.iter_mut().zip(self.values) {
            *sum += self.weight / (1.0 + exp(-x));
        }
    }
}

/// Lowers each value of `far` to the squared distance of its row from `centre`, if the distance is smaller. A row is as
/// wide as `centre`.
pub(crate) fn lower_to_distance(far: &mut [f32], rows: &[f32], centre: &[f32]) {
    vectorised(LowerToDistance { far, rows, centre });
}

struct LowerToDistance<'a> {
    far: &'a mut [f32],
    rows: &'a [f32],
    centre: &'a [f32],
}

impl WithSimd for LowerToDistance<'_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, _: S) {
        const LANES: usize = 16;
        for (far, row) in self.far.iter_mut().zip(self.rows.chunks_exact(self.centre.len())) {
            let (rows, rest) = row.as_chunks::<LANES>();
            let (centres, rest_of_centre) = self.centre.as_chunks::<LANES>();
            let mut lanes = [0f32; LANES];
            for (row, centre) in rows.iter().zip(centres) {
                for ((lane, x), c) in lanes.iter_mut().zip(row).zip(centre) {
                    *lane += (x - c) * (x - c);
                }
            }
            let rest = rest.iter().zip(rest_of_centre).map(|(x, c)| (x - c) * (x - c));
            *far = far.min(lanes.iter().sum::<f32>() + rest.sum::<f32>());
        }
    }
}

#[inline(always)]
fn quick_gelu(x: f32) -> f32 {
    x / (1.0 + exp(-1.702 * x))
}

#[inline(always)]
fn gelu(x: f32) -> f32 {
    0.5 * x * (1.0 + erf(x * std::f32::consts::FRAC_1_SQRT_2))
}

/// The error function within 5e-7, as a ratio of polynomials (the minimax fit that Eigen uses).
#[inline(always)]
fn erf(x: f32) -> f32 {
    let x = x.clamp(-4.0, 4.0);
    let s = x * x;
    let p = -2.726_142_3e-10;
    let p = p * s + 2.770_681_4e-8;
    let p = p * s - 2.101_024e-6;
    let p = p * s - 5.692_506_4e-5;
    let p = p * s - 7.349_906_3e-4;
    let p = p * s - 2.954_6e-3;
    let p = p * s - 1.609_603_3e-2;
    let q = -1.456_607_2e-5;
    let q = q * s - 2.133_740_6e-4;
    let q = q * s - 1.682_827e-3;
    let q = q * s - 7.373_329e-3;
    let q = q * s - 1.426_473_9e-2;
    x * p / q
}

/// All elements of a contiguous float32 CPU tensor, borrowed.
pub(crate) fn cpu_slice(tensor: &Tensor) -> Result<impl Deref<Target = [f32]>> {
    let (storage, layout) = tensor.storage_and_layout();
    if !layout.is_contiguous() {
        candle_core::bail!("a contiguous tensor is needed here");
    }
    CpuSlice::new(storage, layout.start_offset(), layout.shape().elem_count())
}

/// All elements of a `[rows, width]` float32 CPU view whose rows are contiguous, borrowed. Also returns the distance
/// between rows.
fn cpu_rows(tensor: &Tensor) -> Result<(impl Deref<Target = [f32]>, usize)> {
    let (storage, layout) = tensor.storage_and_layout();
    let &[stride, 1] = layout.stride() else {
        candle_core::bail!("rows have to be contiguous");
    };
    let (rows, width) = layout.shape().dims2()?;
    let length = if rows == 0 { 0 } else { (rows - 1) * stride + width };
    Ok((CpuSlice::new(storage, layout.start_offset(), length)?, stride))
}

/// A part of a tensor's storage, and the lock that keeps it unchanged.
struct CpuSlice<G> {
    storage: G,
    start: usize,
    length: usize,
}

impl<G: Deref<Target = Storage>> CpuSlice<G> {
    fn new(storage: G, start: usize, length: usize) -> Result<Self> {
        match &*storage {
            Storage::Cpu(CpuStorage::F32(values)) if start + length <= values.len() => {}
            _ => candle_core::bail!("a float32 tensor on the CPU is needed here"),
        }
        Ok(Self { storage, start, length })
    }
}

impl<G: Deref<Target = Storage>> Deref for CpuSlice<G> {
    type Target = [f32];

    fn deref(&self) -> &[f32] {
        match &*self.storage {
            Storage::Cpu(CpuStorage::F32(values)) => &values[self.start..][..self.length],
            _ => unreachable!("checked when it was made"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use candle_core::Device;

    #[test]
    fn exp_and_erf_agree_with_double_precision() {
        for i in -8000..=8000 {
            let x = i as f32 / 100.0;
            let expected = f64::from(x).exp();
            assert!((f64::from(exp(x)) - expected).abs() <= expected * 3e-7, "exp({x})");
            let x = x / 10.0;
            let expected = candle_core::cpu::erf::erf_f64(f64::from(x));
            assert!((f64::from(erf(x)) - expected).abs() <= 5e-7, "erf({x}) = {}", erf(x));
        }
    }

    #[test]
    fn layer_norm_survives_a_large_mean() {
        let row: Vec<f32> = (0..40).map(|i| 1000.0 + (i % 2) as f32).collect();
        let x = Tensor::new(&row[..], &Device::Cpu).unwrap().reshape((1, 40)).unwrap();
        let ones = Tensor::ones(40, candle_core::DType::F32, &Device::Cpu).unwrap();
        let norm = LayerNorm::new(ones.clone(), ones.zeros_like().unwrap(), 1e-5);
        let out = norm.forward(&x).unwrap().flatten_all().unwrap().to_vec1::<f32>().unwrap();
        for (i, value) in out.iter().enumerate() {
            assert!((value.abs() - 1.0).abs() < 1e-3 && (*value > 0.0) == (i % 2 == 1), "{out:?}");
        }
    }
}
