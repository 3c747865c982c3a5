//! WinCLIP (Jeong et al., arXiv 2303.14814, section 4): each window of 2x2 and 3x3 patches, and the whole photo, is
//! compared with the normal and the anomalous prompts; with references, each window and patch with all of theirs too.

use candle_core::Tensor;

use super::{Method, PatchMap, Verdict};
use crate::ops::unit_rows;
use crate::reference::MemoryBank;
use crate::{Features, Product, Result, Taps};

/// WinCLIP, zero-shot unless it remembers good photos.
#[derive(Clone, Debug)]
pub struct WinClip {
    /// Sides of the windows in patches (section 4.2).
    scales: Vec<usize>,
    /// Divides the cosines before the softmax.
    temperature: f64,
    references: Option<References>,
}

/// What it remembers of good photos (section 4.3): all patches, and all windows of each scale.
#[derive(Clone, Debug)]
struct References {
    patches: MemoryBank,
    windows: Vec<MemoryBank>,
}

impl WinClip {
    pub(super) const NAME: &str = "winclip";

    /// What cosines are multiplied by.
    pub(super) fn logit_scale(&self) -> f32 {
        (1.0 / self.temperature) as f32
    }
}

impl Default for WinClip {
    fn default() -> Self {
        Self { scales: vec![2, 3], temperature: 0.07, references: None }
    }
}

impl Method for WinClip {
    fn name(&self) -> &'static str {
        Self::NAME
    }

    fn taps(&self) -> Taps {
        Taps { patches: self.references.is_some(), ..self.reference_taps() }
    }

    fn reference_taps(&self) -> Taps {
        Taps { windows: self.scales.clone(), blocks: vec![], patches: true }
    }

    fn remember(&self, good: &[&Features]) -> Result<Box<dyn Method>> {
        Ok(Box::new(self.remembering(good)?))
    }

    fn judge(&self, photos: &[&Features], product: &Product) -> Result<Vec<Vec<Verdict>>> {
        // A set's embedding is the mean of its prompts', not normalised one by one.
        let sets = std::iter::once(product.normal()).chain(product.kinds());
        let means =
            sets.map(|set| set.embeddings.mean(0)).collect::<candle_core::Result<Vec<_>>>()?;
        let text = unit_rows(&Tensor::stack(&means, 0)?)?;
        let judge = |photo: &&Features| self.with_references(self.judge_one(photo, &text)?, photo);
        photos.iter().map(judge).collect()
    }
}

impl WinClip {
    fn judge_one(&self, photo: &Features, text: &Tensor) -> Result<Vec<Verdict>> {
        let grid = photo.grid;
        let image = self.class_scores(&photo.image.unsqueeze(0)?, text)?;
        let windows = photo.windows.iter().map(|windows| self.class_scores(windows, text));
        let windows = windows.collect::<Result<Vec<_>>>()?;
        let scales = 1.0 + windows.len() as f32;
        let verdicts = image.iter().enumerate().map(|(kind, score)| {
            let score = score[0];
            // The whole photo is the third scale, the same at every patch.
            let mut inverse = vec![1.0 / score; grid * grid];
            for (&side, scores) in self.scales.iter().zip(&windows) {
                let map = harmonic_mean_of_windows(&scores[kind], grid, side);
                inverse.iter_mut().zip(map).for_each(|(sum, value)| *sum += 1.0 / value);
            }
            let values = inverse.into_iter().map(|sum| scales / sum).collect();
            Verdict { score, map: PatchMap { side: grid, values } }
        });
        Ok(verdicts.collect())
    }

    pub(super) fn remembering(&self, good: &[&Features]) -> Result<Self> {
        let patches: Vec<&Tensor> =
            good.iter().filter_map(|photo| photo.patches.as_ref()).collect();
        let scale = |i: usize| {
            MemoryBank::new(&good.iter().map(|photo| &photo.windows[i]).collect::<Vec<_>>())
        };
        let references = References {
            patches: MemoryBank::new(&patches)?,
            windows: (0..self.scales.len()).map(scale).collect::<Result<_>>()?,
        };
        Ok(Self { references: Some(references), ..self.clone() })
    }

    /// Verdicts with what the references say of the photo, if there are any, at equal shares.
    pub(super) fn with_references(
        &self,
        mut verdicts: Vec<Verdict>,
        photo: &Features,
    ) -> Result<Vec<Verdict>> {
        let Some(association) = self.association(photo)? else { return Ok(verdicts) };
        let most = association.iter().fold(0.0, |most: f32, value| most.max(*value));
        for verdict in &mut verdicts {
            verdict.score = (verdict.score + most) / 2.0;
            let values = verdict.map.values.iter_mut().zip(&association);
            values.for_each(|(value, association)| *value = (*value + association) / 2.0);
        }
        Ok(verdicts)
    }

    /// For each patch how far it is from the nearest of the references, 0..1: the mean over the patches alone and
    /// the windows of each scale (section 4.3).
    fn association(&self, photo: &Features) -> Result<Option<Vec<f32>>> {
        let (Some(references), Some(patches)) = (&self.references, &photo.patches) else {
            return Ok(None);
        };
        let half = |bank: &MemoryBank, places: &Tensor| -> Result<Vec<f32>> {
            Ok(bank.distances(places)?.into_iter().map(|distance| distance / 2.0).collect())
        };
        let mut sum = half(&references.patches, patches)?;
        for ((bank, windows), &side) in
            references.windows.iter().zip(&photo.windows).zip(&self.scales)
        {
            let map = harmonic_mean_of_windows(&half(bank, windows)?, photo.grid, side);
            sum.iter_mut().zip(map).for_each(|(sum, value)| *sum += value);
        }
        let scales = 1.0 + self.scales.len() as f32;
        sum.iter_mut().for_each(|sum| *sum /= scales);
        Ok(Some(sum))
    }

    /// For each kind, `softmax([cos(e, normal), cos(e, kind)] / temperature)[kind]` of each row `e`.
    fn class_scores(&self, embeddings: &Tensor, text: &Tensor) -> Result<Vec<Vec<f32>>> {
        let cosines = text.matmul(&unit_rows(embeddings)?.t()?)?;
        let kinds = cosines.narrow(0, 1, cosines.dim(0)? - 1)?;
        let difference = kinds.broadcast_sub(&cosines.narrow(0, 0, 1)?)?;
        Ok(candle_nn::ops::sigmoid(&(difference / self.temperature)?)?.to_vec2()?)
    }
}

/// For each patch the harmonic mean of the scores of all windows that hold it; 0 where one of them is 0.
fn harmonic_mean_of_windows(scores: &[f32], grid: usize, side: usize) -> Vec<f32> {
    let per_row = grid - side + 1;
    let mut sums = vec![(0f32, 0f32); grid * grid];
    for (window, score) in scores.iter().enumerate() {
        let (top, left) = (window / per_row, window % per_row);
        for y in top..top + side {
            for (count, sum) in &mut sums[y * grid + left..][..side] {
                *count += 1.0;
                *sum += 1.0 / score;
            }
        }
    }
    sums.into_iter().map(|(count, sum)| count / sum).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn harmonic_mean_counts_the_windows_of_each_patch() {
        // Windows of 2x2 on a 3x3 grid: the middle patch lies in all four, a corner in one.
        let map = harmonic_mean_of_windows(&[1.0, 0.5, 0.25, 0.5], 3, 2);
        assert_eq!(map[0], 1.0);
        assert_eq!(map[6], 0.25);
        assert!((map[4] - 4.0 / (1.0 + 2.0 + 4.0 + 2.0)).abs() < 1e-7);
        assert_eq!(harmonic_mean_of_windows(&[0.0, 0.5, 0.5, 0.5], 3, 2)[4], 0.0);
    }
}
