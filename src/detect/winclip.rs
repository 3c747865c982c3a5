//! WinCLIP (Jeong et al., arXiv 2303.14814, section 4). Each window of 2x2 and 3x3 patches, and the whole photo, is
//! compared with the normal and the anomalous prompts.

use candle_core::Tensor;

use super::{KindScore, Method, PatchMap};
use crate::clip::{Features, Taps};
use crate::error::Result;
use crate::ops::unit_rows;
use crate::prompt::Product;
use crate::reference::{WINDOWS, harmonic_mean_of_windows};

/// WinCLIP, zero-shot.
#[derive(Clone, Debug)]
pub struct WinClip {
    /// The cosines are divided by it before the softmax.
    temperature: f64,
}

impl WinClip {
    pub(super) const NAME: &str = "winclip";

    /// The factor on the cosines.
    pub(super) fn logit_scale(&self) -> f32 {
        (1.0 / self.temperature) as f32
    }
}

impl Default for WinClip {
    fn default() -> Self {
        Self { temperature: 0.07 }
    }
}

impl Method for WinClip {
    fn name(&self) -> &'static str {
        Self::NAME
    }

    fn taps(&self) -> Taps {
        Taps { windows: WINDOWS.to_vec(), ..Taps::default() }
    }

    fn score(&self, photos: &[&Features], product: &Product) -> Result<Vec<Vec<KindScore>>> {
        // The embedding of a prompt ensemble is the mean of its prompts. Their embeddings are not normalised first.
        let sets = product.all_kinds();
        let means =
            sets.map(|set| set.embeddings.mean(0)).collect::<candle_core::Result<Vec<_>>>()?;
        let text = unit_rows(&Tensor::stack(&means, 0)?)?;
        photos.iter().map(|photo| self.score_one(photo, &text)).collect()
    }
}

impl WinClip {
    fn score_one(&self, photo: &Features, text: &Tensor) -> Result<Vec<KindScore>> {
        let grid = photo.grid;
        let image = self.class_scores(&photo.image.unsqueeze(0)?, text)?;
        let windows = photo.windows.iter().map(|windows| self.class_scores(windows, text));
        let windows = windows.collect::<Result<Vec<_>>>()?;
        let scales = 1.0 + windows.len() as f32;
        let scores = image.iter().enumerate().map(|(kind, score)| {
            let score = score[0];
            // The whole photo is the third scale. Its score is the same at every patch.
            let mut inverse = vec![1.0 / score; grid * grid];
            for (&side, scores) in WINDOWS.iter().zip(&windows) {
                let map = harmonic_mean_of_windows(&scores[kind], grid, side);
                inverse.iter_mut().zip(map).for_each(|(sum, value)| *sum += 1.0 / value);
            }
            let values = inverse.into_iter().map(|sum| scales / sum).collect();
            KindScore { score, map: PatchMap { side: grid, values }, adds_peak: false }
        });
        Ok(scores.collect())
    }

    /// `softmax([cos(e, normal), cos(e, kind)] / temperature)[kind]` for each kind and each row `e`: `[kinds][rows]`.
    fn class_scores(&self, embeddings: &Tensor, text: &Tensor) -> Result<Vec<Vec<f32>>> {
        let cosines = text.matmul(&unit_rows(embeddings)?.t()?)?;
        let kinds = cosines.narrow(0, 1, cosines.dim(0)? - 1)?;
        let difference = kinds.broadcast_sub(&cosines.narrow(0, 0, 1)?)?;
        Ok(candle_nn::ops::sigmoid(&(difference / self.temperature)?)?.to_vec2()?)
    }
}
