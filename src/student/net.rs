//! The networks: patch description networks for teacher and student (EfficientAD, arXiv 2303.14535, section 3.1), and an
//! autoencoder (section 3.3). Here are the ones that are trained; [`Network`] has constant weights.

use candle_core::backend::BackendStorage;
use candle_core::{CpuStorage, CustomOp3, DType, Device, Layout, Result, Shape, Tensor, Var};
use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;
use rayon::prelude::*;

use super::convolve::{Kernel, Network};
use crate::ops::cpu_slice;

/// Channels of the teacher's output.
pub(super) const CHANNELS: usize = 64;
/// Numbers in the autoencoder's code.
const CODE: usize = 64;
/// The autoencoder sees the square this many times smaller.
const SHRINKS: usize = 4;
/// Means and deviations of ImageNet's colours.
const MEAN: [f32; 3] = [0.485, 0.456, 0.406];
const STD: [f32; 3] = [0.229, 0.224, 0.225];

/// A patch description network: each output sees 33x33 pixels, and there is one for every 8 pixels along each side.
pub(super) fn description(outputs: usize) -> Vec<Kernel> {
    vec![
        Kernel::new(3, 24, 5, 2),
        Kernel::new(24, 48, 3, 2),
        Kernel::new(48, 64, 3, 2),
        Kernel::new(64, outputs, 3, 1).linear(),
    ]
}

/// An autoencoder for squares of `side` pixels, a multiple of 64. The code is a 1x1 convolution: a map of `least^2` places
/// is the same numbers as one place with all channels.
pub(super) fn autoencoder(side: usize) -> Vec<Kernel> {
    let least = side / (SHRINKS * 16);
    let flat = least * least * 64;
    vec![
        Kernel::new(3, 32, 3, 2),
        Kernel::new(32, 32, 3, 2),
        Kernel::new(32, 64, 3, 2),
        Kernel::new(64, 64, 3, 2),
        Kernel::new(flat, CODE, 1, 1).linear(),
        Kernel::new(CODE, flat, 1, 1),
        Kernel::new(64, 64, 3, 1).on_double(),
        Kernel::new(64, 32, 3, 1).on_double(),
        Kernel::new(32, 32, 3, 1).on_double(),
        Kernel::new(32, CHANNELS, 3, 1).linear(),
    ]
}

/// The input of the networks, `[side^2, 3]`, from planes of 0..1, `[3, side, side]`.
pub(super) fn input_of_planes(planes: &[f32]) -> Vec<f32> {
    let size = planes.len() / 3;
    let value =
        |i: usize, channel: usize| (planes[channel * size + i] - MEAN[channel]) / STD[channel];
    (0..size).flat_map(|i| [value(i, 0), value(i, 1), value(i, 2)]).collect()
}

/// The input of the networks from bytes, `[side^2, 3]`.
pub(super) fn input_of_bytes(bytes: &[u8]) -> impl Iterator<Item = f32> {
    let values = bytes.iter().enumerate();
    values.map(|(i, byte)| (f32::from(*byte) / 255.0 - MEAN[i % 3]) / STD[i % 3])
}

/// The input of the autoencoder from the input of the other networks: means of 4x4 pixels.
pub(super) fn shrunk(input: &[f32]) -> Vec<f32> {
    let side = (input.len() / 3).isqrt();
    let small = side / SHRINKS;
    let mut out = vec![0f32; small * small * 3];
    for (y, row) in input.chunks_exact(side * 3).take(small * SHRINKS).enumerate() {
        for (x, pixel) in row.chunks_exact(3).take(small * SHRINKS).enumerate() {
            let place = y / SHRINKS * small + x / SHRINKS;
            out[3 * place..][..3].iter_mut().zip(pixel).for_each(|(sum, value)| *sum += value);
        }
    }
    out.iter_mut().for_each(|sum| *sum /= (SHRINKS * SHRINKS) as f32);
    out
}

/// A stack of convolutions that is trained.
#[derive(Debug)]
pub(super) struct Net {
    kernels: Vec<Kernel>,
    /// Weight, `[width, outputs]`, and bias, `[outputs]`, of each kernel.
    vars: Vec<Var>,
}

impl Net {
    /// Uniform weights (He et al. 2015), and no bias.
    pub fn new(kernels: Vec<Kernel>, chance: &mut ChaCha8Rng) -> Result<Self> {
        let mut vars = Vec::new();
        for kernel in &kernels {
            let bound = (6.0 / kernel.width() as f32).sqrt();
            let count = kernel.width() * kernel.outputs;
            let weights: Vec<f32> =
                (0..count).map(|_| chance.random_range(-bound..bound)).collect();
            let shape = (kernel.width(), kernel.outputs);
            vars.push(Var::from_tensor(&Tensor::from_vec(weights, shape, &Device::Cpu)?)?);
            vars.push(Var::zeros(kernel.outputs, DType::F32, &Device::Cpu)?);
        }
        Ok(Self { kernels, vars })
    }

    /// All numbers that training changes.
    pub fn vars(&self) -> &[Var] {
        &self.vars
    }

    /// `[photos * side^2, 3]` to `[photos * places, outputs]`.
    pub fn forward(&self, input: &Tensor, photos: usize) -> Result<Tensor> {
        let mut x = input.clone();
        for (i, (kernel, pair)) in self.kernels.iter().zip(self.vars.chunks_exact(2)).enumerate() {
            let layer = Convolution { kernel: *kernel, photos, is_first: i == 0 };
            x = x.apply_op3(&pair[0], &pair[1], layer)?;
        }
        Ok(x)
    }

    /// The same network with constant weights. Training it further does not change it.
    pub fn frozen(&self) -> Result<Network> {
        let copy = |var: &Var| var.as_detached_tensor().copy();
        let pairs = self.vars.chunks_exact(2).map(|pair| Ok((copy(&pair[0])?, copy(&pair[1])?)));
        Network::new(&self.kernels, pairs.collect::<Result<_>>()?)
    }
}

/// All networks while they are trained.
#[derive(Debug)]
pub(super) struct Nets {
    pub teacher: Net,
    /// Its first half of channels is compared with the teacher, the second half with the autoencoder.
    pub student: Net,
    pub autoencoder: Net,
}

impl Nets {
    pub fn new(side: usize, seed: u64) -> Result<Self> {
        let mut chance = ChaCha8Rng::seed_from_u64(seed);
        Ok(Self {
            teacher: Net::new(description(CHANNELS), &mut chance)?,
            student: Net::new(description(2 * CHANNELS), &mut chance)?,
            autoencoder: Net::new(autoencoder(side), &mut chance)?,
        })
    }

    /// All numbers that training changes.
    pub fn vars(&self) -> impl Iterator<Item = &Var> {
        [&self.teacher, &self.student, &self.autoencoder].into_iter().flat_map(|net| net.vars())
    }
}

/// A convolution with gradients. candle's own goes back through a transposed convolution, which is slow on the CPU.
struct Convolution {
    kernel: Kernel,
    photos: usize,
    /// The input of the first layer needs no gradient.
    is_first: bool,
}

impl Convolution {
    fn side(&self, values: usize) -> usize {
        (values / self.photos / self.kernel.inputs).isqrt()
    }
}

impl CustomOp3 for Convolution {
    fn name(&self) -> &'static str {
        "student convolution"
    }

    fn cpu_fwd(
        &self,
        map: &CpuStorage,
        map_layout: &Layout,
        weight: &CpuStorage,
        weight_layout: &Layout,
        bias: &CpuStorage,
        bias_layout: &Layout,
    ) -> Result<(CpuStorage, Shape)> {
        let (kernel, map) = (self.kernel, values_of(map, map_layout)?);
        let bias = values_of(bias, bias_layout)?;
        let side = self.side(map.len());
        let (rows, outputs) = (self.photos * kernel.result_side(side).pow(2), kernel.outputs);
        let windows = CpuStorage::F32(kernel.windows(map, side, false));
        let layout = Layout::contiguous((rows, kernel.width()));
        let sizes = (1, rows, outputs, kernel.width());
        let CpuStorage::F32(mut out) = windows.matmul(weight, sizes, &layout, weight_layout)?
        else {
            candle_core::bail!("a product of float32 has to be float32");
        };
        // Some rows at a time, so that a task is not too small.
        out.par_chunks_mut(64 * outputs).for_each(|rows| {
            for row in rows.chunks_exact_mut(outputs) {
                row.iter_mut().zip(bias).for_each(|(value, bias)| *value += bias);
            }
            if kernel.activates {
                rows.iter_mut().for_each(|value| *value = value.max(0.0));
            }
        });
        Ok((CpuStorage::F32(out), Shape::from((rows, outputs))))
    }

    fn bwd(
        &self,
        map: &Tensor,
        weight: &Tensor,
        _: &Tensor,
        result: &Tensor,
        gradient: &Tensor,
    ) -> Result<(Option<Tensor>, Option<Tensor>, Option<Tensor>)> {
        let kernel = self.kernel;
        let mut gradient = gradient.contiguous()?;
        if kernel.activates {
            gradient = where_positive(&gradient, result)?;
        }
        let map = map.detach();
        let side = self.side(map.elem_count());
        // Computed again, because all of them together would need much memory until they are used.
        let windows = kernel.windows(&cpu_slice(&map)?, side, false);
        let windows = Tensor::from_vec(windows, (gradient.dim(0)?, kernel.width()), &Device::Cpu)?;
        let of_weight = windows.t()?.matmul(&gradient)?;
        let of_bias = gradient.sum(0)?;
        let of_map = match self.is_first {
            true => None,
            false => {
                let of_windows = gradient.matmul(&weight.detach().t()?)?;
                let of_map = kernel.scattered(&cpu_slice(&of_windows)?, side);
                Some(Tensor::from_vec(of_map, map.shape(), &Device::Cpu)?)
            }
        };
        Ok((of_map, Some(of_weight), Some(of_bias)))
    }
}

/// The gradient before ReLU.
fn where_positive(gradient: &Tensor, result: &Tensor) -> Result<Tensor> {
    let result = result.detach();
    let (values, results) = (cpu_slice(gradient)?, cpu_slice(&result)?);
    let pairs = values[..].par_iter().zip(results[..].par_iter());
    let kept: Vec<f32> =
        pairs.map(|(value, result)| if *result > 0.0 { *value } else { 0.0 }).collect();
    Tensor::from_vec(kept, gradient.shape(), &Device::Cpu)
}

fn values_of<'a>(storage: &'a CpuStorage, layout: &Layout) -> Result<&'a [f32]> {
    match (storage, layout.contiguous_offsets()) {
        (CpuStorage::F32(values), Some((start, end))) => Ok(&values[start..end]),
        _ => candle_core::bail!("a contiguous float32 tensor is needed here"),
    }
}

#[cfg(test)]
mod tests {
    use super::super::convolve::tests::{largest_difference, random};
    use super::*;

    /// Positive weights, so that nothing cancels out.
    #[test]
    fn an_output_sees_33_pixels() {
        let kernels = description(4);
        let parameters = kernels.iter().enumerate().map(|(i, kernel)| {
            let weight = random(&[kernel.width(), kernel.outputs], i as u64).abs().unwrap();
            (weight, Tensor::zeros(kernel.outputs, DType::F32, &Device::Cpu).unwrap())
        });
        let network = Network::new(&kernels, parameters.collect()).unwrap();
        // The output in row 4 and column 4 has its centre at pixel 32.
        let (side, place) = (64, 4 * 8 + 4);
        let seen = |x: usize, y: usize| {
            let mut input = vec![0f32; side * side * 3];
            input[3 * (y * side + x)..][..3].fill(1.0);
            let out = network.forward(&input).unwrap();
            assert_eq!(out.dims(), [64, 4]);
            out.get(place).unwrap().to_vec1::<f32>().unwrap().iter().any(|value| *value != 0.0)
        };
        for (x, y) in [(32, 32), (16, 32), (48, 32), (32, 16), (32, 48)] {
            assert!(seen(x, y), "{x} {y}");
        }
        for (x, y) in [(15, 32), (49, 32), (32, 15), (32, 49)] {
            assert!(!seen(x, y), "{x} {y}");
        }
    }

    /// Against the change of the loss when a weight changes a little.
    #[test]
    fn gradients_agree_with_differences() {
        let kernels = [
            Kernel::new(3, 4, 5, 2),
            Kernel::new(4, 5, 3, 1).on_double(),
            Kernel::new(5, 2, 3, 2).linear(),
        ];
        let (photos, side) = (2, 8);
        let net = Net::new(kernels.to_vec(), &mut ChaCha8Rng::seed_from_u64(1)).unwrap();
        let input = random(&[photos * side * side, 3], 7);
        let loss = || net.forward(&input, photos).unwrap().sqr().unwrap().sum_all().unwrap();
        let value = || loss().to_scalar::<f32>().unwrap();
        let gradients = loss().backward().unwrap();
        for var in net.vars() {
            let gradient = gradients.get(var).unwrap().flatten_all().unwrap();
            let gradient = gradient.to_vec1::<f32>().unwrap();
            let scale = gradient.iter().fold(0f32, |most, value| most.max(value.abs()));
            let before = var.flatten_all().unwrap().to_vec1::<f32>().unwrap();
            for i in (0..before.len()).step_by(before.len().div_ceil(7)) {
                let at = |by: f32| {
                    let mut moved = before.clone();
                    moved[i] += by;
                    var.set(&Tensor::from_vec(moved, var.shape(), &Device::Cpu).unwrap()).unwrap();
                    f64::from(value())
                };
                let slope = ((at(2e-3) - at(-2e-3)) / 4e-3) as f32;
                at(0.0);
                let (own, all) = (gradient[i], 0.03 * scale);
                assert!((slope - own).abs() < all, "{slope} {own} {:?} {i}", var.shape());
            }
        }
    }

    #[test]
    fn networks_fit_together_at_every_side() {
        for side in [64, 128] {
            let nets = Nets::new(side, 3).unwrap();
            let input =
                random(&[side * side, 3], 1).flatten_all().unwrap().to_vec1::<f32>().unwrap();
            let small = shrunk(&input);
            let places = (side / 8) * (side / 8);
            let frozen = nets.autoencoder.frozen().unwrap().forward(&small).unwrap();
            assert_eq!(frozen.dims(), [places, CHANNELS]);
            let rows = small.len() / 3;
            let small = Tensor::from_vec(small, (rows, 3), &Device::Cpu).unwrap();
            let trained = nets.autoencoder.forward(&small, 1).unwrap();
            assert!(largest_difference(&frozen, &trained.detach()) < 1e-4);
        }
    }

    #[test]
    fn inputs_are_rows_of_pixels() {
        let planes: Vec<f32> = (0..3 * 16).map(|i| (i * 5) as f32 / 255.0).collect();
        let bytes: Vec<u8> = (0..16).flat_map(|i| [i * 5, (i + 16) * 5, (i + 32) * 5]).collect();
        let (a, b) = (input_of_planes(&planes), input_of_bytes(&bytes).collect::<Vec<f32>>());
        assert_eq!(a, b);
        let mean = a.iter().step_by(3).sum::<f32>() / 16.0;
        assert!((shrunk(&a)[0] - mean).abs() < 1e-5);
    }
}
