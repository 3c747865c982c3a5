//! April-GAN (Chen et al., arXiv 2305.17382, sections 3.1 and 3.2): the patches of some blocks of the image tower,
//! brought into the shared embedding by an adapter, are compared with the normal and the anomalous prompts one by
//! one; with references, the patches as they are with all of theirs too.

use std::sync::Arc;

use candle_core::{Device, Tensor};
use rayon::prelude::*;

use super::{Method, PatchMap, Verdict};
use crate::image::enlarge_to_corners;
use crate::ops::{add_sigmoid, unit_rows};
use crate::reference::MemoryBank;
use crate::{Adapter, Features, Product, Result, Taps};

/// April-GAN, zero-shot unless it remembers good photos. These change the map; the score stays that of the words,
/// because the official one needs all photos of a test set (its maximum is scaled by theirs).
#[derive(Clone, Debug)]
pub struct AprilGan {
    adapter: Arc<Adapter>,
    /// Blocks whose patches are compared with those of good photos (section 3.2).
    reference_blocks: Vec<usize>,
    references: Vec<MemoryBank>,
}

/// For each kind its logit at each patch.
type Logits = Vec<Vec<f32>>;

impl AprilGan {
    pub(super) const NAME: &str = "april-gan";

    /// With the layers of an adapter.
    pub fn new(adapter: Arc<Adapter>) -> Self {
        let reference_blocks = adapter.about().blocks.clone();
        Self { adapter, reference_blocks, references: vec![] }
    }

    /// With the patches of other blocks than the adapter's to compare with those of good photos.
    pub fn with_reference_blocks(self, reference_blocks: Vec<usize>) -> Self {
        Self { reference_blocks, ..self }
    }

    /// For each kind how much nearer than the normal words it is to the photo, and to each patch in each layer,
    /// in logits.
    fn logits(&self, photo: &Features, text: &Tensor) -> Result<(Vec<f32>, Vec<Logits>)> {
        let scale = f64::from(self.adapter.about().logit_scale);
        // `[kinds, rows]`.
        let logits = |rows: &Tensor| -> Result<Vec<Vec<f32>>> {
            let cosines = text.matmul(&rows.to_device(text.device())?.t()?)?;
            let kinds = cosines.narrow(0, 1, cosines.dim(0)? - 1)?;
            Ok((kinds.broadcast_sub(&cosines.narrow(0, 0, 1)?)? * scale)?.to_vec2()?)
        };
        let image = logits(&unit_rows(&photo.image.unsqueeze(0)?)?)?.concat();
        let layers = self.adapter.about().blocks.len();
        Ok((image, photo.blocks[..layers].iter().map(logits).collect::<Result<_>>()?))
    }

    fn judge_one(&self, photo: &Features, text: &Tensor) -> Result<Vec<Verdict>> {
        let (image, layers) = self.logits(photo, text)?;
        let far = self.distances(photo)?;
        let verdict = |(kind, &logit): (usize, &f32)| {
            // Enlarged before the softmax: a map at the input's own size.
            let mut values = vec![0.0; photo.size * photo.size];
            for layer in &layers {
                let logits = enlarge_to_corners(&layer[kind], photo.grid, photo.size);
                add_sigmoid(&mut values, &logits);
            }
            for distances in &far {
                let distances = enlarge_to_corners(distances, photo.grid, photo.size);
                values.iter_mut().zip(distances).for_each(|(sum, value)| *sum += value);
            }
            mean_of(layers.len() + far.len(), &mut values);
            Verdict { score: sigmoid(logit), map: PatchMap { side: photo.size, values } }
        };
        Ok(image.par_iter().enumerate().map(verdict).collect())
    }

    /// For each block with references each patch's distance to the nearest of them.
    fn distances(&self, photo: &Features) -> Result<Vec<Vec<f32>>> {
        let own = &photo.blocks[self.adapter.about().blocks.len()..];
        self.references.iter().zip(own).map(|(bank, patches)| bank.distances(patches)).collect()
    }

    /// The same at the patches' own size: the softmax of each patch, not of what lies between them.
    pub(super) fn judge_patches(
        &self,
        photo: &Features,
        product: &Product,
    ) -> Result<Vec<Verdict>> {
        let (image, layers) = self.logits(photo, &words(product)?)?;
        let verdict = |(kind, &logit): (usize, &f32)| {
            let mut values = vec![0.0; photo.grid * photo.grid];
            layers.iter().for_each(|layer| add_sigmoid(&mut values, &layer[kind]));
            mean_of(layers.len(), &mut values);
            Verdict { score: sigmoid(logit), map: PatchMap { side: photo.grid, values } }
        };
        Ok(image.iter().enumerate().map(verdict).collect())
    }
}

impl Method for AprilGan {
    fn name(&self) -> &'static str {
        Self::NAME
    }

    fn taps(&self) -> Taps {
        if self.references.is_empty() { self.adapter.taps() } else { self.reference_taps() }
    }

    fn reference_taps(&self) -> Taps {
        let mut taps = self.adapter.taps();
        taps.blocks.extend(&self.reference_blocks);
        taps
    }

    /// The blocks' tokens become the adapter's embeddings of their patches; those of the blocks with references
    /// patches as they are.
    fn digest(&self, photo: Features) -> Result<Features> {
        let mut blocks = self.adapter.project(&photo)?;
        for tokens in &photo.blocks[blocks.len()..] {
            blocks.push(tokens.narrow(0, 1, tokens.dim(0)? - 1)?);
        }
        Ok(Features { blocks, ..photo })
    }

    fn remember(&self, good: &[&Features]) -> Result<Box<dyn Method>> {
        let layers = self.adapter.about().blocks.len();
        let bank = |i: usize| {
            MemoryBank::new(&good.iter().map(|photo| &photo.blocks[layers + i]).collect::<Vec<_>>())
        };
        let references = (0..self.reference_blocks.len()).map(bank).collect::<Result<_>>()?;
        Ok(Box::new(Self { references, ..self.clone() }))
    }

    fn judge(&self, photos: &[&Features], product: &Product) -> Result<Vec<Vec<Verdict>>> {
        let text = words(product)?;
        photos.iter().map(|photo| self.judge_one(photo, &text)).collect()
    }
}

fn words(product: &Product) -> Result<Tensor> {
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
