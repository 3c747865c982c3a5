//! April-GAN's training loss (arXiv 2305.17382, section 3.3), differentiable in the layers.

use candle_core::{DType, Device, Result, Tensor};

/// How far the focal loss keeps its targets, and its logarithm's argument, from 0 and 1.
const SMOOTH: f64 = 1e-5;

/// One layer's answer, `[batch, grid, grid]`: for each patch how much nearer the anomalous words are than the
/// normal ones, in logits. `patches`: `[batch, grid^2, width]`; `direction`: `[batch, embedding]`, the
/// difference of the two words' embeddings times the logit scale.
pub(super) fn logits(
    weight: &Tensor,
    bias: &Tensor,
    patches: &Tensor,
    direction: &Tensor,
) -> Result<Tensor> {
    let (batch, count, width) = patches.dims3()?;
    let embedding = weight.dim(0)?;
    let grid = count.isqrt();
    let z = patches.reshape((batch * count, width))?.matmul(&weight.t()?)?.broadcast_add(bias)?;
    let z = z.reshape((batch, count, embedding))?;
    let along = z.matmul(&direction.unsqueeze(2)?)?.squeeze(2)?;
    let length = z.sqr()?.sum(2)?.sqrt()?;
    (along / length)?.reshape((batch, grid, grid))
}

/// The matrix that enlarges one axis from `from` values to `to`, corners on corners: `[to, from]`.
pub(super) fn enlarging(from: usize, to: usize) -> Result<Tensor> {
    let mut rows = vec![0f32; to * from];
    for i in 0..to {
        let position = i as f64 * (from - 1) as f64 / (to - 1).max(1) as f64;
        let low = (position as usize).min(from - 1);
        let weight = (position - low as f64) as f32;
        rows[i * from + low] += 1.0 - weight;
        rows[i * from + (low + 1).min(from - 1)] += weight;
    }
    Tensor::from_vec(rows, (to, from), &Device::Cpu)
}

/// Enlarges `[batch, grid, grid]` to `[batch, size, size]`.
pub(super) fn enlarge(maps: &Tensor, enlarging: &Tensor) -> Result<Tensor> {
    let columns = maps.broadcast_matmul(&enlarging.t()?)?;
    enlarging.broadcast_left(maps.dim(0)?)?.contiguous()?.matmul(&columns)
}

/// Focal loss (gamma 2) on the softmax of normal and anomalous, and dice loss on its anomalous side. `logits`:
/// `[batch, size, size]`, anomalous less normal; `mask`: the same shape, 1 where there is a defect, 0 elsewhere.
pub(super) fn focal_and_dice(logits: &Tensor, mask: &Tensor) -> Result<Tensor> {
    // Of two classes the softmax is the logistic function of their difference; right is its value for the
    // pixel's own class.
    let sign = ((mask * 2.0)? - 1.0)?;
    let right = candle_nn::ops::sigmoid(&(logits * &sign)?)?;
    let smoothed = ((&right * (1.0 - 2.0 * SMOOTH))? + 2.0 * SMOOTH)?;
    let focal = ((1.0 - &smoothed)?.sqr()? * smoothed.log()?)?.mean_all()?.neg()?;

    let anomalous = ((&right * &sign)? + (1.0 - mask)?)?;
    let batch = mask.dim(0)?;
    let sum = |t: &Tensor| t.reshape((batch, ()))?.sum(1);
    let overlap = ((sum(&(&anomalous * mask)?)? * 2.0)? + 1.0)?;
    let dice = (overlap / ((sum(&anomalous)? + sum(mask)?)? + 1.0)?)?;
    focal + (1.0 - dice.mean_all()?)?
}

/// Values as a tensor of a shape.
pub(super) fn tensor(values: Vec<f32>, shape: &[usize]) -> Result<Tensor> {
    Tensor::from_vec(values, shape, &Device::Cpu)?.to_dtype(DType::F32)
}
