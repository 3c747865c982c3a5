//! The trunk of a hybrid model: the first blocks of a mobile network (EfficientNet-Lite, Liu 2020; blocks of Sandler et
//! al. 2018, arXiv 1801.04381), trained on photos and frozen. Its batch norms are folded into the convolutions.

use candle_core::{Device, Result, Tensor};
use rayon::prelude::*;

use super::checkpoint::Checkpoint;
use super::trunk_config::{TrunkBlock, TrunkConfig};
use crate::image::{Normalisation, enlarge};
use crate::ops::{Convolution, Depthwise, Linear, cpu_slice};

pub(super) struct Trunk {
    stem: Convolution,
    blocks: Vec<Block>,
    /// The numbers of the blocks whose outputs are used, counted from 1.
    taps: [usize; 2],
    /// Factor and offset that turn the model's input into the trunk's, per channel.
    input: [(f32, f32); 3],
    stem_stride: usize,
    device: Device,
}

/// An inverted residual block.
struct Block {
    expand: Option<Linear>,
    depthwise: Depthwise,
    project: Linear,
    stride: usize,
    is_residual: bool,
}

/// The trunk's grid is this many times as fine as the patches.
pub(crate) const FINER: usize = 2;

/// The trunk's two outputs for one photo.
#[derive(Clone, Debug)]
pub struct TrunkOutputs {
    /// `[(2 grid)^2, channels]`.
    pub fine: Tensor,
    /// `[grid^2, channels]`.
    pub coarse: Tensor,
}

impl Trunk {
    pub fn open(
        checkpoint: &Checkpoint,
        config: &TrunkConfig,
        normalisation: &Normalisation,
        device: &Device,
    ) -> crate::error::Result<Self> {
        let (stem, bias) = checkpoint.trunk("stem", &[config.blocks[0].input, 3, 3, 3])?;
        let blocks = config.blocks.iter().enumerate();
        let blocks = blocks.map(|(i, shape)| Block::open(checkpoint, i, shape));
        let Normalisation { mean, std } = normalisation;
        let input = std::array::from_fn(|c| {
            let scale = 255.0 / config.std;
            (std[c] * scale, (mean[c] * 255.0 - config.mean) / config.std)
        });
        Ok(Self {
            stem: Convolution::new(&stem, &bias, config.stem_stride)?,
            blocks: blocks.collect::<crate::error::Result<_>>()?,
            taps: config.taps,
            input,
            stem_stride: config.stem_stride,
            device: device.clone(),
        })
    }

    /// `pixels`: `[3, size, size]`, normalised as for CLIP.
    pub fn forward(&self, pixels: &[f32], size: usize) -> Result<TrunkOutputs> {
        let mut planes = pixels.to_vec();
        for (plane, (scale, offset)) in planes.chunks_exact_mut(size * size).zip(self.input) {
            plane.iter_mut().for_each(|value| *value = *value * scale + offset);
        }
        let mut x = self.stem.forward(&planes, size, &self.device)?;
        let mut side = size.div_ceil(self.stem_stride);
        let mut kept = Vec::with_capacity(2);
        for (i, block) in self.blocks.iter().enumerate() {
            (x, side) = block.forward(&x, side)?;
            if self.taps.contains(&(i + 1)) {
                kept.push(x.clone());
            }
        }
        let [fine, coarse] = <[Tensor; 2]>::try_from(kept)
            .map_err(|_| candle_core::Error::Msg("a trunk has two outputs".into()))?;
        Ok(TrunkOutputs { fine, coarse })
    }
}

impl Block {
    fn open(
        checkpoint: &Checkpoint,
        number: usize,
        shape: &TrunkBlock,
    ) -> crate::error::Result<Self> {
        let &TrunkBlock { stride, kernel, input, output, expand } = shape;
        let inner = input * expand;
        let part = |part: &str, shape: &[usize]| {
            checkpoint.trunk(&format!("blocks.{number}.{part}"), shape)
        };
        let linear = |(weight, bias): (Tensor, Tensor)| Linear::new(&weight, Some(&bias));
        let expand = match expand {
            1 => None,
            _ => Some(linear(part("expand", &[inner, input])?)?),
        };
        let (weight, bias) = part("depthwise", &[inner, kernel, kernel])?;
        Ok(Self {
            expand,
            depthwise: Depthwise::new(&weight, &bias, stride)?,
            project: linear(part("project", &[output, inner])?)?,
            stride,
            is_residual: stride == 1 && input == output,
        })
    }

    /// The output of `[side^2, channels]`, and its side.
    fn forward(&self, x: &Tensor, side: usize) -> Result<(Tensor, usize)> {
        let inner = match &self.expand {
            Some(expand) => expand.forward_relu6(x)?,
            None => x.clone(),
        };
        let inner = self.depthwise.forward(&inner, side)?;
        let out = self.project.forward(&inner, self.is_residual.then_some(x))?;
        Ok((out, side.div_ceil(self.stride)))
    }
}

impl TrunkOutputs {
    /// Both outputs on the grid of the patches, `[grid^2, 4 * fine + coarse]`: four places of the fine output become
    /// the channels of one, as PyTorch's `pixel_unshuffle` does it.
    pub fn on_patches(&self, grid: usize) -> Result<Tensor> {
        let channels = self.fine.dim(1)?;
        let fine = self.fine.reshape((grid, 2, grid, 2, channels))?.permute((0, 2, 4, 1, 3))?;
        Tensor::cat(&[&fine.reshape((grid * grid, 4 * channels))?, &self.coarse], 1)
    }

    /// Both outputs on the finer grid, `[(2 grid)^2, fine + coarse]`. The coarse one is enlarged bilinearly between the
    /// centres of its places.
    pub(crate) fn on_fine_grid(&self) -> Result<Tensor> {
        let (side, coarse_side) = (self.fine.dim(0)?.isqrt(), self.coarse.dim(0)?.isqrt());
        let coarse = enlarged_rows(&self.coarse.to_device(&Device::Cpu)?, coarse_side, side)?;
        Tensor::cat(&[&self.fine.to_device(&Device::Cpu)?, &coarse], 1)
    }
}

/// `[from^2, channels]` to `[to^2, channels]`: bilinear between the centres of the places.
pub(crate) fn enlarged_rows(rows: &Tensor, from: usize, to: usize) -> Result<Tensor> {
    let planes = rows.t()?.contiguous()?;
    let values = cpu_slice(&planes)?;
    let large: Vec<f32> =
        values.par_chunks(from * from).flat_map_iter(|plane| enlarge(plane, from, to)).collect();
    Tensor::from_vec(large, (rows.dim(1)?, to * to), rows.device())?.t()?.contiguous()
}
