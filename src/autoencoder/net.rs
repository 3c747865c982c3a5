//! The network: convolutions to a short code, and back (Bergmann et al. 2019, arXiv 1807.02011, table 1).

use candle_core::{Device, Result, Tensor, Var};
use candle_nn::ops::leaky_relu;
use rand::Rng;
use rand_chacha::ChaCha8Rng;

/// Side of the input in pixels.
pub const SIDE: usize = 128;
/// Numbers in the code.
const CODE: usize = 100;
/// Side of the last picture before the code.
const SMALL: usize = 8;
const SLOPE: f64 = 0.2;
/// Channels out, side of the kernel, stride. The decoder has them in reverse order.
const LAYERS: [(usize, usize, usize); 8] = [
    (32, 4, 2),
    (32, 4, 2),
    (32, 3, 1),
    (64, 4, 2),
    (64, 3, 1),
    (128, 4, 2),
    (64, 3, 1),
    (32, 3, 1),
];

struct Layer {
    weight: Var,
    bias: Var,
    stride: usize,
}

impl Layer {
    /// Uniform weights (He et al. 2015), and no bias.
    fn new(
        shape: (usize, usize, usize, usize),
        inputs: usize,
        outputs: usize,
        stride: usize,
        chance: &mut ChaCha8Rng,
    ) -> Result<Self> {
        let bound = (6.0 / inputs as f32).sqrt();
        let count = shape.0 * shape.1 * shape.2 * shape.3;
        let weights = (0..count).map(|_| chance.random_range(-bound..bound)).collect();
        let weight = Var::from_tensor(&Tensor::from_vec(weights, shape, &Device::Cpu)?)?;
        let bias = Var::zeros((1, outputs, 1, 1), candle_core::DType::F32, &Device::Cpu)?;
        Ok(Self { weight, bias, stride })
    }

    /// Kernels of 4 halve the sides, kernels of 3 keep them.
    fn shrink(&self, x: &Tensor) -> Result<Tensor> {
        x.conv2d(&self.weight, 1, self.stride, 1, 1)?.broadcast_add(&self.bias)
    }

    fn grow(&self, x: &Tensor) -> Result<Tensor> {
        x.conv_transpose2d(&self.weight, 1, 0, self.stride, 1)?.broadcast_add(&self.bias)
    }

    /// As a product of matrices: `[photos, inputs]` to `[photos, outputs]`.
    fn multiply(&self, x: &Tensor) -> Result<Tensor> {
        x.matmul(&self.weight.squeeze(3)?.squeeze(2)?)?
            .broadcast_add(&self.bias.flatten_all()?.unsqueeze(0)?)
    }
}

/// An autoencoder. A variational one has two numbers for each number of the code: mean and logarithm of the variance.
pub struct Net {
    down: Vec<Layer>,
    code: Layer,
    back: Layer,
    up: Vec<Layer>,
}

impl Net {
    pub fn new(is_variational: bool, chance: &mut ChaCha8Rng) -> Result<Self> {
        let (mut down, mut up, mut channels) = (Vec::new(), Vec::new(), 3);
        for (outputs, side, stride) in LAYERS {
            let inputs = channels * side * side;
            let kernel = (outputs, channels, side, side);
            down.push(Layer::new(kernel, inputs, outputs, stride, chance)?);
            // Each output of a transposed convolution meets a part of its kernel.
            let met = outputs * (side / stride).pow(2);
            up.push(Layer::new(kernel, met, channels, stride, chance)?);
            channels = outputs;
        }
        up.reverse();
        let (wide, codes) =
            (channels * SMALL * SMALL, if is_variational { 2 * CODE } else { CODE });
        let code = Layer::new((wide, codes, 1, 1), wide, codes, 1, chance)?;
        let back = Layer::new((CODE, wide, 1, 1), CODE, wide, 1, chance)?;
        Ok(Self { down, code, back, up })
    }

    /// All numbers that training changes.
    pub fn vars(&self) -> Vec<Var> {
        let layers = self.down.iter().chain([&self.code, &self.back]).chain(&self.up);
        layers.flat_map(|layer| [layer.weight.clone(), layer.bias.clone()]).collect()
    }

    /// `[photos, 3, side, side]` to `[photos, code]`.
    pub fn encode(&self, photos: &Tensor) -> Result<Tensor> {
        let mut x = photos.clone();
        for layer in &self.down {
            x = leaky_relu(&layer.shrink(&x)?, SLOPE)?;
        }
        self.code.multiply(&x.flatten_from(1)?)
    }

    /// `[photos, code]` to `[photos, 3, side, side]`.
    pub fn decode(&self, code: &Tensor) -> Result<Tensor> {
        let x = leaky_relu(&self.back.multiply(code)?, SLOPE)?;
        let mut x = x.reshape(((), LAYERS[LAYERS.len() - 1].0, SMALL, SMALL))?;
        for (i, layer) in self.up.iter().enumerate() {
            x = layer.grow(&x)?;
            if i + 1 < self.up.len() {
                x = leaky_relu(&x, SLOPE)?;
            }
        }
        Ok(x)
    }
}
