//! April-GAN (Chen et al., arXiv 2305.17382, sections 3.1 and 3.2). An adapter maps the patches of some blocks of the
//! image tower into the shared embedding. Then each patch is compared with the normal and the anomalous prompts.

use std::sync::Arc;

use candle_core::{Device, Tensor};
use rayon::prelude::*;

use super::{KindScore, Method, PatchMap};
use crate::adapter::Adapter;
use crate::clip::{Features, Taps};
use crate::error::Result;
use crate::image::{enlarge, enlarge_to_corners};
use crate::ops::{add_weighted_sigmoid, unit_rows};
use crate::prompt::{Product, Role};

/// The weight of the layer on the trunk in the map. The layers on blocks share the rest (`docs/measured.md`).
const TRUNK_SHARE: f32 = 0.5;

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
            for (layer, weight) in layers.iter().zip(self.weights()) {
                let logits = enlarge_to_corners(&layer[kind], photo.grid, photo.size);
                add_weighted_sigmoid(&mut values, &logits, weight);
            }
            let map = PatchMap { side: photo.size, values };
            KindScore { score: sigmoid(logit), map, adds_peak: false }
        };
        Ok(image.par_iter().enumerate().map(score_kind).collect())
    }

    /// Scores with one map value for each place of the finest layer. The softmax is computed at the places.
    pub(super) fn score_patches(
        &self,
        photo: &Features,
        product: &Product,
    ) -> Result<Vec<KindScore>> {
        let (image, layers) = self.logits(photo, &text_means(product)?)?;
        let side = layers.iter().map(|layer| layer[0].len().isqrt()).max().unwrap_or(photo.grid);
        let score_kind = |(kind, &logit): (usize, &f32)| {
            let mut values = vec![0.0; side * side];
            for (layer, weight) in layers.iter().zip(self.weights()) {
                let own = layer[kind].len().isqrt();
                add_weighted_sigmoid(&mut values, &enlarge(&layer[kind], own, side), weight);
            }
            // With a layer on the trunk the map is good enough to count for the photo too. Not where something is
            // ignored: a harmless spot must not hide what else is there.
            let adds_peak =
                self.adapter.trunk().is_some() && product.kinds()[kind].role != Role::Ignore;
            KindScore { score: sigmoid(logit), map: PatchMap { side, values }, adds_peak }
        };
        Ok(image.iter().enumerate().map(score_kind).collect())
    }

    fn weights(&self) -> Vec<f32> {
        layer_weights(self.adapter.about().blocks.len(), self.adapter.trunk().is_some())
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
        if self.adapter.trunk().is_some() {
            return photos.iter().map(|photo| self.score_patches(photo, product)).collect();
        }
        let text = text_means(product)?;
        photos.iter().map(|photo| self.score_one(photo, &text)).collect()
    }
}

fn text_means(product: &Product) -> Result<Tensor> {
    Ok(product.unit_means()?.to_device(&Device::Cpu)?)
}

/// The weight of each layer in the map. Without a trunk all weigh the same (section 3.1).
pub(crate) fn layer_weights(blocks: usize, has_trunk: bool) -> Vec<f32> {
    let share = if has_trunk { TRUNK_SHARE } else { 0.0 };
    let mut weights = vec![(1.0 - share) / blocks as f32; blocks];
    weights.extend(has_trunk.then_some(share));
    weights
}

fn sigmoid(logit: f32) -> f32 {
    let mut value = [0.0];
    add_weighted_sigmoid(&mut value, &[logit], 1.0);
    value[0]
}
