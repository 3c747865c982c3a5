//! April-GAN, zero-shot (Chen et al., arXiv 2305.17382, section 3.1): the patches of some blocks of the image
//! tower, brought into the shared embedding by an adapter, are compared with the normal and the anomalous
//! prompts one by one.

use std::sync::Arc;

use candle_core::{Device, Tensor};

use super::{Method, PatchMap, Verdict};
use crate::image::enlarge_to_corners;
use crate::ops::{add_sigmoid, unit_rows};
use crate::{Adapter, Features, Product, Result, Taps};

/// Zero-shot April-GAN.
#[derive(Clone, Debug)]
pub struct AprilGan {
    adapter: Arc<Adapter>,
}

impl AprilGan {
    pub(super) const NAME: &str = "april-gan";

    /// With the layers of an adapter.
    pub fn new(adapter: Arc<Adapter>) -> Self {
        Self { adapter }
    }

    fn judge_one(&self, photo: &Features, text: &Tensor) -> Result<Vec<Verdict>> {
        let scale = f64::from(self.adapter.about().logit_scale);
        let text = text.to_device(&Device::Cpu)?;
        // For each kind, how much nearer it is than the normal words: `[kinds, rows]`.
        let logits = |rows: &Tensor| -> Result<Vec<Vec<f32>>> {
            let cosines = text.matmul(&rows.to_device(text.device())?.t()?)?;
            let kinds = cosines.narrow(0, 1, cosines.dim(0)? - 1)?;
            Ok((kinds.broadcast_sub(&cosines.narrow(0, 0, 1)?)? * scale)?.to_vec2()?)
        };
        let image = logits(&unit_rows(&photo.image.unsqueeze(0)?)?)?;
        let layers = photo.blocks.iter().map(logits).collect::<Result<Vec<_>>>()?;
        let verdicts = image.iter().enumerate().map(|(kind, logit)| {
            let mut score = [0.0];
            add_sigmoid(&mut score, logit);
            // Enlarged before the softmax: a map at the input's own size.
            let mut values = vec![0.0; photo.size * photo.size];
            for layer in &layers {
                let logits = enlarge_to_corners(&layer[kind], photo.grid, photo.size);
                add_sigmoid(&mut values, &logits);
            }
            values.iter_mut().for_each(|value| *value /= layers.len() as f32);
            Verdict { score: score[0], map: PatchMap { side: photo.size, values } }
        });
        Ok(verdicts.collect())
    }
}

impl Method for AprilGan {
    fn name(&self) -> &'static str {
        Self::NAME
    }

    fn taps(&self) -> Taps {
        self.adapter.taps()
    }

    /// The blocks' tokens become the adapter's embeddings of their patches.
    fn digest(&self, photo: Features) -> Result<Features> {
        Ok(Features { blocks: self.adapter.project(&photo)?, ..photo })
    }

    fn judge(&self, photos: &[&Features], product: &Product) -> Result<Vec<Vec<Verdict>>> {
        let text = product.unit_means()?;
        photos.iter().map(|photo| self.judge_one(photo, &text)).collect()
    }
}
