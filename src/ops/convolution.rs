//! Convolutions of mobile networks. A feature map is `[side^2, channels]`: the channels of one place lie side by side,
//! so that a 1x1 convolution is a [`Linear`] layer and a depthwise one runs along the channels. candle's grouped
//! convolution is one call per channel.

use candle_core::{Device, Result, Tensor};
use pulp::{Simd, WithSimd};
use rayon::prelude::*;

use super::{Linear, cpu_slice, vectorised};

/// The output side, and the number of zeros above and to the left: TensorFlow's "SAME" padding.
fn same_padding(side: usize, kernel: usize, stride: usize) -> (usize, usize) {
    let out = side.div_ceil(stride);
    (out, ((out - 1) * stride + kernel).saturating_sub(side) / 2)
}

/// A convolution of each channel with its own kernel, then ReLU6.
#[derive(Clone, Debug)]
pub(crate) struct Depthwise {
    /// `[kernel^2, channels]`.
    weight: Tensor,
    /// `[channels]`.
    bias: Tensor,
    kernel: usize,
    stride: usize,
}

impl Depthwise {
    /// `weight`: `[channels, kernel, kernel]`; `bias`: `[channels]`.
    pub fn new(weight: &Tensor, bias: &Tensor, stride: usize) -> Result<Self> {
        let (channels, kernel, _) = weight.dims3()?;
        let weight = weight.reshape((channels, kernel * kernel))?.t()?.contiguous()?;
        Ok(Self { weight, bias: bias.contiguous()?, kernel, stride })
    }

    /// `[side^2, channels]` to `[out^2, channels]`. The output's side is `side / stride`, rounded up.
    pub fn forward(&self, x: &Tensor, side: usize) -> Result<Tensor> {
        let (rows, channels) = x.dims2()?;
        if rows != side * side || channels != self.bias.dim(0)? {
            candle_core::bail!("a depthwise layer got {rows} places of {channels} channels");
        }
        if !x.device().is_cpu() {
            return self.on_device(x, side);
        }
        let (out_side, before) = same_padding(side, self.kernel, self.stride);
        let x = x.contiguous()?;
        let (input, weight, bias) =
            (cpu_slice(&x)?, cpu_slice(&self.weight)?, cpu_slice(&self.bias)?);
        let mut out = vec![0f32; out_side * out_side * channels];
        super::count(2 * self.kernel * self.kernel * out.len());
        out.par_chunks_mut(out_side * channels).enumerate().for_each(|(row, out)| {
            vectorised(DepthwiseRow {
                input: &input,
                weight: &weight,
                bias: &bias,
                out,
                side,
                kernel: self.kernel,
                stride: self.stride,
                before,
                row,
            });
        });
        Tensor::from_vec(out, (out_side * out_side, channels), x.device())
    }

    /// A sum of shifted maps, one for each element of the kernel.
    fn on_device(&self, x: &Tensor, side: usize) -> Result<Tensor> {
        let (channels, kernel, stride) = (x.dim(1)?, self.kernel, self.stride);
        let (out, before) = same_padding(side, kernel, stride);
        let after = (out - 1) * stride + kernel - side - before;
        let x = x.reshape((side, side, channels))?;
        let x = x.pad_with_zeros(0, before, after)?.pad_with_zeros(1, before, after)?;
        let mut sum = self.bias.broadcast_as((out, out, channels))?.contiguous()?;
        for i in 0..kernel * kernel {
            let at = |start: usize| {
                let places: Vec<u32> = (0..out).map(|o| (start + o * stride) as u32).collect();
                Tensor::new(places, x.device())
            };
            let part = x.index_select(&at(i / kernel)?, 0)?.index_select(&at(i % kernel)?, 1)?;
            sum = (sum + part.broadcast_mul(&self.weight.get(i)?)?)?;
        }
        sum.reshape((out * out, channels))?.clamp(0f32, 6f32)
    }
}

/// One row of the output of [`Depthwise`].
struct DepthwiseRow<'a> {
    input: &'a [f32],
    weight: &'a [f32],
    bias: &'a [f32],
    out: &'a mut [f32],
    side: usize,
    kernel: usize,
    stride: usize,
    before: usize,
    row: usize,
}

impl WithSimd for DepthwiseRow<'_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, _: S) {
        let channels = self.bias.len();
        // The part of the kernel that lies on the map.
        let part = |out: usize| {
            let start = out * self.stride;
            let first = self.before.saturating_sub(start);
            first..self.kernel.min(self.side + self.before - start)
        };
        for (column, out) in self.out.chunks_exact_mut(channels).enumerate() {
            out.copy_from_slice(self.bias);
            for ky in part(self.row) {
                let y = self.row * self.stride + ky - self.before;
                for kx in part(column) {
                    let x = column * self.stride + kx - self.before;
                    let input = &self.input[(y * self.side + x) * channels..][..channels];
                    let weight = &self.weight[(ky * self.kernel + kx) * channels..][..channels];
                    for ((sum, x), w) in out.iter_mut().zip(input).zip(weight) {
                        *sum += x * w;
                    }
                }
            }
            out.iter_mut().for_each(|value| *value = value.clamp(0.0, 6.0));
        }
    }
}

/// A full convolution, as a product with the patches under the kernel, then ReLU6.
#[derive(Clone, Debug)]
pub(crate) struct Convolution {
    linear: Linear,
    channels: usize,
    kernel: usize,
    stride: usize,
}

impl Convolution {
    /// `weight`: `[outputs, channels, kernel, kernel]`; `bias`: `[outputs]`.
    pub fn new(weight: &Tensor, bias: &Tensor, stride: usize) -> Result<Self> {
        let (outputs, channels, kernel, _) = weight.dims4()?;
        let linear = Linear::new(&weight.reshape((outputs, ()))?, Some(bias))?;
        Ok(Self { linear, channels, kernel, stride })
    }

    /// `planes`: `[channels, side, side]`. The result is `[out^2, outputs]`.
    pub fn forward(&self, planes: &[f32], side: usize, device: &Device) -> Result<Tensor> {
        let (out, before) = same_padding(side, self.kernel, self.stride);
        let (kernel, stride) = (self.kernel, self.stride);
        let width = self.channels * kernel * kernel;
        let inside = before..side + before;
        let mut patches = vec![0f32; out * out * width];
        patches.par_chunks_mut(out * width).enumerate().for_each(|(row, patches)| {
            for (column, patch) in patches.chunks_exact_mut(width).enumerate() {
                for (line, values) in patch.chunks_exact_mut(kernel).enumerate() {
                    let (plane, y) = (line / kernel, row * stride + line % kernel);
                    for (kx, value) in values.iter_mut().enumerate() {
                        let x = column * stride + kx;
                        if inside.contains(&y) && inside.contains(&x) {
                            *value = planes[(plane * side + y - before) * side + x - before];
                        }
                    }
                }
            }
        });
        let patches = Tensor::from_vec(patches, (out * out, width), device)?;
        self.linear.forward_relu6(&patches)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn random(shape: &[usize], seed: u32) -> Tensor {
        let mut state = seed;
        let values: Vec<f32> = (0..shape.iter().product())
            .map(|_| {
                state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
                (state >> 8) as f32 / (1 << 24) as f32 - 0.5
            })
            .collect();
        Tensor::from_vec(values, shape, &Device::Cpu).unwrap()
    }

    /// candle's convolution of `[channels, side, side]`, with "SAME" padding.
    fn by_candle(planes: &Tensor, weight: &Tensor, stride: usize, groups: usize) -> Tensor {
        let (side, kernel) = (planes.dim(1).unwrap(), weight.dim(3).unwrap());
        let (out, before) = same_padding(side, kernel, stride);
        let after = ((out - 1) * stride + kernel).saturating_sub(side) - before;
        let pad = |t: Tensor, axis| t.pad_with_zeros(axis, before, after).unwrap();
        let padded = pad(pad(planes.unsqueeze(0).unwrap(), 2), 3);
        let out = padded.conv2d(weight, 0, stride, 1, groups).unwrap().squeeze(0).unwrap();
        out.flatten(1, 2).unwrap().t().unwrap().contiguous().unwrap()
    }

    fn largest_difference(a: &Tensor, b: &Tensor) -> f32 {
        (a - b).unwrap().abs().unwrap().max_all().unwrap().to_scalar().unwrap()
    }

    #[test]
    fn depthwise_agrees_with_candle_at_awkward_sizes() {
        for (side, channels, kernel, stride) in
            [(1, 3, 3, 1), (7, 5, 5, 2), (8, 16, 3, 2), (9, 33, 5, 1), (2, 4, 5, 2)]
        {
            let planes = (random(&[channels, side, side], 1) * 4.0).unwrap();
            let weight = random(&[channels, kernel, kernel], 2);
            let bias = random(&[channels], 3);
            let layer = Depthwise::new(&weight, &bias, stride).unwrap();
            let rows = planes.flatten(1, 2).unwrap().t().unwrap().contiguous().unwrap();
            let expected = by_candle(&planes, &weight.unsqueeze(1).unwrap(), stride, channels);
            let expected = expected.broadcast_add(&bias).unwrap().clamp(0f32, 6f32).unwrap();
            for found in [layer.forward(&rows, side), layer.on_device(&rows, side)] {
                let difference = largest_difference(&found.unwrap(), &expected);
                assert!(difference < 1e-5, "{side} {channels} {kernel} {stride}: {difference}");
            }
        }
    }

    #[test]
    fn a_full_convolution_agrees_with_candle() {
        for (side, stride) in [(9, 2), (10, 2), (5, 1)] {
            let (planes, weight) = (random(&[3, side, side], 4), random(&[8, 3, 3, 3], 5));
            let bias = random(&[8], 6);
            let layer = Convolution::new(&weight, &bias, stride).unwrap();
            let values = planes.flatten_all().unwrap().to_vec1::<f32>().unwrap();
            let found = layer.forward(&values, side, &Device::Cpu).unwrap();
            let expected = by_candle(&planes, &weight, stride, 1).broadcast_add(&bias).unwrap();
            let expected = expected.clamp(0f32, 6f32).unwrap();
            assert!(largest_difference(&found, &expected) < 1e-5);
        }
    }
}
