//! April-GAN (Chen et al., arXiv 2305.17382, sections 3.1 and 3.2). An adapter maps the patches of some blocks of the
//! image tower into the shared embedding. Then each patch is compared with the normal and the anomalous prompts.

use std::sync::Arc;

use candle_core::{Device, Tensor};
use rayon::prelude::*;

use super::{KindScore, Method, PatchMap};
use crate::adapter::Adapter;
use crate::clip::{Features, Taps};
use crate::error::Result;
use crate::image::enlarge_to_corners;
use crate::ops::{add_sigmoid, unit_rows};
use crate::prompt::Product;

/// April-GAN, zero-shot.
#[derive(Clone, Debug)]
pub struct AprilGan {
    adapter: Arc<Adapter>,
}

/// The logit at each patch, for each kind: `[kinds][patches]`.
type Logits = Vec<Vec<f32>>;

impl AprilGan {
    pub(super) const NAME: &str = "april-gan";

    /// April-GAN with the layers of an adapter.
    pub fn new(adapter: Arc<Adapter>) -> Self {
        Self { adapter }
    }

    /// The logit of each kind against the normal prompts: `logit_scale` times the difference of the cosines. First the
    /// logits of the whole photo, then the logits of the patches in each layer.
    fn logits(&self, photo: &Features, text: &Tensor) -> Result<(Vec<f32>, Vec<Logits>)> {
        let scale = f64::from(self.adapter.about().logit_scale);
        // `[kinds, rows]`.
        let logits = |rows: &Tensor| -> Result<Vec<Vec<f32>>> {
            let cosines = text.matmul(&rows.to_device(text.device())?.t()?)?;
            let kinds = cosines.narrow(0, 1, cosines.dim(0)? - 1)?;
            Ok((kinds.broadcast_sub(&cosines.narrow(0, 0, 1)?)? * scale)?.to_vec2()?)
        };
        let image = logits(&unit_rows(&photo.image.unsqueeze(0)?)?)?.concat();
        Ok((image, photo.blocks.iter().map(logits).collect::<Result<_>>()?))
    }

    fn score_one(&self, photo: &Features, text: &Tensor) -> Result<Vec<KindScore>> {
        let (image, layers) = self.logits(photo, text)?;
        let score_kind = |(kind, &logit): (usize, &f32)| {
            // Logits are enlarged before the softmax. The map has the size of the input.
            let mut values = vec![0.0; photo.size * photo.size];
            for layer in &layers {
                let logits = enlarge_to_corners(&layer[kind], photo.grid, photo.size);
                add_sigmoid(&mut values, &logits);
            }
            mean_of(layers.len(), &mut values);
            KindScore { score: sigmoid(logit), map: PatchMap { side: photo.size, values } }
        };
        Ok(image.par_iter().enumerate().map(score_kind).collect())
    }

    /// Scores with one map value for each patch. The softmax is computed at the patches, and nothing is enlarged.
    pub(super) fn score_patches(
        &self,
        photo: &Features,
        product: &Product,
    ) -> Result<Vec<KindScore>> {
        let (image, layers) = self.logits(photo, &text_means(product)?)?;
        let score_kind = |(kind, &logit): (usize, &f32)| {
            let mut values = vec![0.0; photo.grid * photo.grid];
            layers.iter().for_each(|layer| add_sigmoid(&mut values, &layer[kind]));
            mean_of(layers.len(), &mut values);
            KindScore { score: sigmoid(logit), map: PatchMap { side: photo.grid, values } }
        };
        Ok(image.iter().enumerate().map(score_kind).collect())
    }
}

impl Method for AprilGan {
    fn name(&self) -> &'static str {
        Self::NAME
    }

    fn taps(&self) -> Taps {
        self.adapter.taps()
    }

    /// Replaces the tokens of the blocks with the adapter's embeddings of their patches.
    fn project(&self, photo: Features) -> Result<Features> {
        Ok(Features { blocks: self.adapter.project(&photo)?, ..photo })
    }

    fn prompt_weight(&self) -> f32 {
        self.adapter.about().blocks.len() as f32
    }

    fn score(&self, photos: &[&Features], product: &Product) -> Result<Vec<Vec<KindScore>>> {
        let text = text_means(product)?;
        photos.iter().map(|photo| self.score_one(photo, &text)).collect()
    }
}

fn text_means(product: &Product) -> Result<Tensor> {
    Ok(product.unit_means()?.to_device(&Device::Cpu)?)
}

fn mean_of(count: usize, sums: &mut [f32]) {
    sums.iter_mut().for_each(|sum| *sum /= count as f32);
}

fn sigmoid(logit: f32) -> f32 {
    let mut value = [0.0];
    add_sigmoid(&mut value, &[logit]);
    value[0]
}
