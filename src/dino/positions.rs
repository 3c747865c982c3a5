//! Where a patch is: position embeddings at other input sizes (DINOv2), and rotary positions (DINOv3).

use candle_core::{Device, Result, Tensor};

use crate::image::resample_rows;
use crate::ops::cpu_slice;

/// How stored position embeddings are resized to another grid.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Positions {
    /// As transformers does: with the filter of the model's family.
    #[default]
    Transformers,
    /// As facebookresearch/dinov2 (torch.hub) does: for models without registers, the grid is shifted a little.
    /// AnomalyDINO's published numbers come from it.
    Hub,
}

/// Resizes `[side^2, width]` to `[rows * columns, width]`. `antialiased`: the model has registers.
pub(super) fn resize(
    stored: &[f32],
    side: usize,
    (rows, columns): (usize, usize),
    width: usize,
    (rule, antialiased): (Positions, bool),
) -> Vec<f32> {
    let is_same = match rule {
        Positions::Hub if !antialiased => rows == columns && rows == side,
        _ => (rows, columns) == (side, side),
    };
    if is_same {
        return stored.to_vec();
    }
    if antialiased {
        return resample_rows(stored, (side, side), (rows, columns), width);
    }
    // The hub's code asks for a scale factor of (out + 0.1) / in, against an error of rounding.
    let offset = if rule == Positions::Hub { 0.1 } else { 0.0 };
    let step = |out: usize| side as f64 / (out as f64 + offset);
    let along_rows = pass(stored, side * width, (side, rows), step(rows));
    along_rows
        .chunks_exact(side * width)
        .flat_map(|row| pass(row, width, (side, columns), step(columns)))
        .collect()
}

/// Bicubic with a = -0.75 and four taps, without antialiasing, along the first axis of `[from, stride]`: PyTorch's
/// `interpolate(mode="bicubic", align_corners=False)`.
fn pass(input: &[f32], stride: usize, (from, to): (usize, usize), step: f64) -> Vec<f32> {
    const A: f32 = -0.75;
    let near = |x: f32| ((A + 2.0) * x - (A + 3.0)) * x * x + 1.0;
    let far = |x: f32| ((A * x - 5.0 * A) * x + 8.0 * A) * x - 4.0 * A;
    let mut out = vec![0.0; to * stride];
    for (o, out) in out.chunks_exact_mut(stride).enumerate() {
        let at = (o as f64 + 0.5) * step - 0.5;
        let t = (at - at.floor()) as f32;
        let weights = [far(1.0 + t), near(t), near(1.0 - t), far(2.0 - t)];
        for (tap, weight) in weights.into_iter().enumerate() {
            let row = (at.floor() as isize + tap as isize - 1).clamp(0, from as isize - 1) as usize;
            let row = &input[row * stride..][..stride];
            out.iter_mut().zip(row).for_each(|(sum, value)| *sum += weight * value);
        }
    }
    out
}

/// Cosines and sines of the angles of each patch, `[patches, head_width]` (DINOv3). They scale with the picture.
pub(super) struct Rotary {
    pub cos: Vec<f32>,
    pub sin: Vec<f32>,
    pub head_width: usize,
}

impl Rotary {
    pub fn new((rows, columns): (usize, usize), head_width: usize, theta: f64) -> Self {
        let quarter = head_width / 4;
        let (mut cos, mut sin) = (Vec::new(), Vec::new());
        for patch in 0..rows * columns {
            let at = |index: usize, count: usize| 2.0 * (index as f64 + 0.5) / count as f64 - 1.0;
            let (y, x) = (at(patch / columns, rows), at(patch % columns, columns));
            let frequency = |j: usize| theta.powf(-4.0 * j as f64 / head_width as f64);
            let angles = [y, x].into_iter().flat_map(|coordinate| {
                (0..quarter).map(move |j| 2.0 * std::f64::consts::PI * coordinate * frequency(j))
            });
            let angles: Vec<f64> = angles.collect();
            for angle in angles.iter().chain(&angles) {
                cos.push(angle.cos() as f32);
                sin.push(angle.sin() as f32);
            }
        }
        Self { cos, sin, head_width }
    }

    /// Rotates the patches of `[tokens, width]`, in each head. The first `others` tokens are no patches.
    pub fn rotate(&self, x: &Tensor, others: usize) -> Result<Tensor> {
        let shape = x.dims2()?;
        let x = x.contiguous()?;
        let values = cpu_slice(&x)?;
        let mut out = values.to_vec();
        let (width, half) = (self.head_width, self.head_width / 2);
        let angles = self.cos.chunks_exact(width).zip(self.sin.chunks_exact(width));
        for (row, (cos, sin)) in out.chunks_exact_mut(shape.1).skip(others).zip(angles) {
            for head in row.chunks_exact_mut(width) {
                let (low, high) = head.split_at_mut(half);
                for j in 0..half {
                    let (a, b) = (low[j], high[j]);
                    low[j] = a * cos[j] - b * sin[j];
                    high[j] = b * cos[j + half] + a * sin[j + half];
                }
            }
        }
        Tensor::from_vec(out, shape, &Device::Cpu)
    }
}
