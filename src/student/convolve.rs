//! Convolution as a product of matrices: the values under the kernel at each place make a row (im2col). A feature map is
//! `[side^2, channels]`, and several maps lie one after another.

use candle_core::{Device, Result, Tensor};
use rayon::prelude::*;

use crate::ops::{Linear, cpu_slice};

/// A convolution without its weights. Places beyond the edge of the map are zeros.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Kernel {
    /// Channels of the map.
    pub inputs: usize,
    /// Channels of the result.
    pub outputs: usize,
    /// Odd. So many values along each side are multiplied.
    pub side: usize,
    pub stride: usize,
    /// Each value of the map is first repeated so often along both axes.
    pub enlarges: usize,
    /// Whether ReLU follows.
    pub activates: bool,
}

impl Kernel {
    /// A convolution that keeps the sides of the map, or halves them if the stride is 2. ReLU follows.
    pub const fn new(inputs: usize, outputs: usize, side: usize, stride: usize) -> Self {
        Self { inputs, outputs, side, stride, enlarges: 1, activates: true }
    }

    /// The same without ReLU.
    pub const fn linear(self) -> Self {
        Self { activates: false, ..self }
    }

    /// The same on a map of twice the side.
    pub const fn on_double(self) -> Self {
        Self { enlarges: 2, ..self }
    }

    /// Values under the kernel.
    pub fn width(self) -> usize {
        self.side * self.side * self.inputs
    }

    fn padding(self) -> usize {
        self.side / 2
    }

    /// The side of the result for a map of this side.
    pub fn result_side(self, side: usize) -> usize {
        (side * self.enlarges + 2 * self.padding() - self.side) / self.stride + 1
    }

    /// The values under the kernel at each place, `[maps * result_side^2, width]`. `maps`: `[maps * side^2, inputs]`.
    /// `activates`: whether the values first go through ReLU.
    pub fn windows(self, maps: &[f32], side: usize, activates: bool) -> Vec<f32> {
        let (out, width, size) = (self.result_side(side), self.width(), side * side * self.inputs);
        let mut windows = vec![0f32; maps.len() / size * out * out * width];
        windows.par_chunks_mut(out * width).enumerate().for_each(|(line, windows)| {
            let map = &maps[line / out * size..][..size];
            for (column, window) in windows.chunks_exact_mut(width).enumerate() {
                self.each_run(side, (line % out, column), |from, to, length| {
                    let (from, to) = (&map[from..][..length], &mut window[to..][..length]);
                    match activates {
                        true => to.iter_mut().zip(from).for_each(|(to, from)| *to = from.max(0.0)),
                        false => to.copy_from_slice(from),
                    }
                });
            }
        });
        windows
    }

    /// The transpose of [`Kernel::windows`]: adds each value of the windows to the place that it came from. The result is
    /// `[maps * side^2, inputs]`.
    pub fn scattered(self, windows: &[f32], side: usize) -> Vec<f32> {
        let (out, width, size) = (self.result_side(side), self.width(), side * side * self.inputs);
        let each = out * out * width;
        let mut maps = vec![0f32; windows.len() / each * size];
        maps.par_chunks_mut(size).zip(windows.par_chunks(each)).for_each(|(map, windows)| {
            for (place, window) in windows.chunks_exact(width).enumerate() {
                self.each_run(side, (place / out, place % out), |to, from, length| {
                    let sums = map[to..][..length].iter_mut();
                    sums.zip(&window[from..][..length]).for_each(|(sum, value)| *sum += value);
                });
            }
        });
        maps
    }

    /// Calls `run` for each run of values that a window reads: where it begins in the map, where in the window, and its
    /// length.
    #[inline(always)]
    fn each_run(
        self,
        side: usize,
        (row, column): (usize, usize),
        mut run: impl FnMut(usize, usize, usize),
    ) {
        let (padding, enlarged) = (self.padding(), side * self.enlarges);
        // The part of the kernel that lies on the map.
        let part = |place: usize| {
            let start = place * self.stride;
            padding.saturating_sub(start)..self.side.min(enlarged + padding - start)
        };
        let columns = part(column);
        for ky in part(row) {
            let y = (row * self.stride + ky - padding) / self.enlarges;
            let in_map = |kx: usize| {
                let x = (column * self.stride + kx - padding) / self.enlarges;
                (y * side + x) * self.inputs
            };
            let in_window = |kx: usize| (ky * self.side + kx) * self.inputs;
            if self.enlarges == 1 {
                let length = columns.len() * self.inputs;
                run(in_map(columns.start), in_window(columns.start), length);
            } else {
                columns.clone().for_each(|kx| run(in_map(kx), in_window(kx), self.inputs));
            }
        }
    }
}

/// A convolution with constant weights.
#[derive(Clone, Debug)]
struct Layer {
    kernel: Kernel,
    linear: Linear,
    /// `[width, outputs]`.
    weight: Tensor,
    /// `[outputs]`.
    bias: Tensor,
}

/// A stack of convolutions with constant weights, for one photo at a time. The last one has no ReLU.
#[derive(Clone, Debug)]
pub(super) struct Network {
    layers: Vec<Layer>,
}

impl Network {
    /// `parameters`: for each kernel its weight, `[width, outputs]`, and its bias, `[outputs]`.
    pub fn new(kernels: &[Kernel], parameters: Vec<(Tensor, Tensor)>) -> Result<Self> {
        let layer = |(kernel, (weight, bias)): (&Kernel, (Tensor, Tensor))| {
            let linear = Linear::new(&weight.t()?.contiguous()?, Some(&bias))?;
            Ok(Layer { kernel: *kernel, linear, weight, bias })
        };
        let layers = kernels.iter().zip(parameters).map(layer).collect::<Result<_>>()?;
        Ok(Self { layers })
    }

    /// The weights and biases, as [`Network::new`] takes them.
    pub fn parameters(&self) -> impl Iterator<Item = (&Tensor, &Tensor)> {
        self.layers.iter().map(|layer| (&layer.weight, &layer.bias))
    }

    /// `[side^2, channels]` to `[places, outputs]`.
    pub fn forward(&self, map: &[f32]) -> Result<Tensor> {
        self.forward_windows(&self.windows(map)?)
    }

    /// What the first layer reads. Networks whose first kernels see the same places share it.
    pub fn windows(&self, map: &[f32]) -> Result<Tensor> {
        self.layers[0].windows(map, false)
    }

    /// [`Network::forward`] from the windows of the first layer.
    pub fn forward_windows(&self, windows: &Tensor) -> Result<Tensor> {
        let mut x = self.layers[0].linear.forward(windows, None)?;
        for pair in self.layers.windows(2) {
            // ReLU is applied while the values are read: one pass less over memory.
            let windows = pair[1].windows(&cpu_slice(&x)?, pair[0].kernel.activates)?;
            x = pair[1].linear.forward(&windows, None)?;
        }
        Ok(x)
    }
}

impl Layer {
    fn windows(&self, map: &[f32], activates: bool) -> Result<Tensor> {
        let (kernel, side) = (self.kernel, (map.len() / self.kernel.inputs).isqrt());
        let rows = kernel.result_side(side).pow(2);
        let windows = kernel.windows(map, side, activates);
        Tensor::from_vec(windows, (rows, kernel.width()), &Device::Cpu)
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use rand::{Rng, SeedableRng};
    use rand_chacha::ChaCha8Rng;

    pub(in crate::student) fn random(shape: &[usize], seed: u64) -> Tensor {
        let mut chance = ChaCha8Rng::seed_from_u64(seed);
        let count = shape.iter().product::<usize>();
        let values: Vec<f32> = (0..count).map(|_| chance.random_range(-0.5..0.5)).collect();
        Tensor::from_vec(values, shape, &Device::Cpu).unwrap()
    }

    /// candle's convolution: `[maps * side^2, inputs]` and `[width, outputs]` to `[maps * places, outputs]`.
    fn by_candle(
        kernel: Kernel,
        x: &Tensor,
        side: usize,
        weight: &Tensor,
        bias: &Tensor,
    ) -> Tensor {
        let maps = x.dim(0).unwrap() / (side * side);
        let x = x.reshape((maps, side, side, kernel.inputs)).unwrap().permute((0, 3, 1, 2));
        let wide = side * kernel.enlarges;
        // The gradient of candle's own enlargement is another one.
        let (times, x) = (kernel.enlarges, x.unwrap().contiguous().unwrap());
        let x = x.reshape((maps * kernel.inputs, side, 1, side, 1)).unwrap();
        let x = x.broadcast_as((maps * kernel.inputs, side, times, side, times)).unwrap();
        let x = x.contiguous().unwrap().reshape((maps, kernel.inputs, wide, wide)).unwrap();
        let shape = (kernel.side, kernel.side, kernel.inputs, kernel.outputs);
        let weight = weight.reshape(shape).unwrap().permute((3, 2, 0, 1)).unwrap();
        let weight = weight.contiguous().unwrap();
        let out = x.conv2d(&weight, kernel.side / 2, kernel.stride, 1, 1).unwrap();
        let rows = out.permute((0, 2, 3, 1)).unwrap().contiguous().unwrap();
        let rows = rows.reshape(((), kernel.outputs)).unwrap().broadcast_add(bias).unwrap();
        if kernel.activates { rows.relu().unwrap() } else { rows }
    }

    pub(in crate::student) fn largest_difference(a: &Tensor, b: &Tensor) -> f32 {
        assert_eq!(a.dims(), b.dims());
        (a - b).unwrap().abs().unwrap().max_all().unwrap().to_scalar().unwrap()
    }

    #[test]
    fn a_stack_agrees_with_candle() {
        for side in [16, 9] {
            let kernels = [
                Kernel::new(3, 5, 5, 2),
                Kernel::new(5, 4, 3, 2),
                Kernel::new(4, 6, 1, 1).linear(),
                Kernel::new(6, 7, 3, 1).on_double(),
                Kernel::new(7, 2, 3, 1).linear(),
            ];
            let parameters = kernels.iter().enumerate().map(|(i, kernel)| {
                let seed = 2 * i as u64;
                let weight = random(&[kernel.width(), kernel.outputs], seed);
                (weight, random(&[kernel.outputs], seed + 1))
            });
            let parameters: Vec<(Tensor, Tensor)> = parameters.collect();
            let input = random(&[side * side, 3], 99);
            let (mut expected, mut at) = (input.clone(), side);
            for (kernel, (weight, bias)) in kernels.iter().zip(&parameters) {
                expected = by_candle(*kernel, &expected, at, weight, bias);
                at = kernel.result_side(at);
            }
            let values = input.flatten_all().unwrap().to_vec1::<f32>().unwrap();
            let found = Network::new(&kernels, parameters).unwrap().forward(&values).unwrap();
            let difference = largest_difference(&found, &expected);
            assert!(difference < 1e-4, "{side}: {difference}");
        }
    }
}
