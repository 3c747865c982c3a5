//! The layer on the trunk of a hybrid model: two linear layers, from the trunk's channels at each place and their
//! difference from the photo's mean, into the shared embedding.

use candle_core::{D, DType, Device, Result, Tensor};

use crate::clip::TrunkOutputs;
use crate::ops::{Activation, LayerNorm, Linear, unit_rows};

/// As PyTorch's default.
const NORM_EPS: f64 = 1e-5;

/// The parameters of the layer.
#[derive(Clone, Debug)]
pub struct TrunkLayer {
    /// `[hidden, 2 * channels]`.
    pub inner: Tensor,
    /// `[hidden]`.
    pub inner_bias: Tensor,
    /// `[embedding, hidden]`.
    pub outer: Tensor,
    /// `[embedding]`.
    pub outer_bias: Tensor,
}

impl TrunkLayer {
    /// The names of its tensors in a file.
    pub(super) const NAMES: [&str; 4] =
        ["trunk.inner.weight", "trunk.inner.bias", "trunk.outer.weight", "trunk.outer.bias"];

    /// Its tensors, in the order of [`TrunkLayer::NAMES`].
    pub(super) fn tensors(&self) -> [&Tensor; 4] {
        [&self.inner, &self.inner_bias, &self.outer, &self.outer_bias]
    }

    /// Channels that it takes at each place, and width of the embeddings that it returns.
    ///
    /// # Panics
    /// If `inner` or `outer` is no matrix. An [`Adapter`](super::Adapter) holds only layers that are checked.
    pub fn widths(&self) -> (usize, usize) {
        (self.inner.dims()[1] / 2, self.outer.dims()[0])
    }

    /// Whether the shapes fit each other.
    pub(super) fn is_consistent(&self) -> bool {
        match (self.inner.dims(), self.outer.dims()) {
            (&[hidden, inputs], &[embedding, width]) => {
                width == hidden
                    && inputs % 2 == 0
                    && hidden * inputs * embedding > 0
                    && self.inner_bias.dims() == [hidden]
                    && self.outer_bias.dims() == [embedding]
            }
            _ => false,
        }
    }
}

/// A [`TrunkLayer`] that is ready to compute.
#[derive(Clone, Debug)]
pub(super) struct PackedTrunkLayer {
    pub parameters: TrunkLayer,
    inner: Linear,
    outer: Linear,
}

impl PackedTrunkLayer {
    pub fn new(parameters: TrunkLayer) -> Result<Self> {
        let TrunkLayer { inner, inner_bias, outer, outer_bias } = &parameters;
        let inner = Linear::new(inner, Some(inner_bias))?;
        let outer = Linear::new(outer, Some(outer_bias))?;
        Ok(Self { parameters, inner, outer })
    }

    /// The places of the fine grid in the shared embedding, at unit length: `[(2 grid)^2, embedding]`.
    pub fn project(&self, outputs: &TrunkOutputs) -> crate::error::Result<Tensor> {
        let hidden = self.inner.forward(&trunk_input(outputs)?, None)?;
        let hidden = Activation::Gelu.forward(&hidden)?;
        Ok(unit_rows(&self.outer.forward(&hidden, None)?)?)
    }
}

/// What the layer reads at each place of the fine grid, `[(2 grid)^2, 2 * channels]`.
pub(crate) fn trunk_input(outputs: &TrunkOutputs) -> crate::error::Result<Tensor> {
    let rows = outputs.on_fine_grid()?.to_device(&Device::Cpu)?;
    let channels = rows.dim(1)?;
    let ones = Tensor::ones(channels, DType::F32, &Device::Cpu)?;
    let rows = LayerNorm::new(ones.clone(), ones.zeros_like()?, NORM_EPS).forward(&rows)?;
    let from_mean = rows.broadcast_sub(&rows.mean_keepdim(0)?)?;
    Ok(Tensor::cat(&[rows, from_mean], D::Minus1)?)
}
