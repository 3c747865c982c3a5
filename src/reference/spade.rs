//! SPADE (Cohen and Hoshen, arXiv 2005.02357): takes the reference photos that are most similar to the photo, then
//! compares each patch with the nearest patch in them.

use candle_core::{Device, Tensor};

use super::bank::nearest;
use super::{
    Distances, FitOptions, Places, ReferenceModel, Tensors, joined_patches, numbered, unfit,
};
use crate::clip::Features;
use crate::error::Result;

/// The paper's K. If there are fewer than twice as many photos, half of them.
const NEIGHBOURS: usize = 50;

pub(super) struct Spade {
    /// Image embeddings, `[photos, embedding]`.
    images: Tensor,
    /// For each photo its patches, `[grid^2, width]`.
    patches: Vec<Tensor>,
}

impl Spade {
    pub fn fit(references: &[&Features], options: FitOptions) -> Result<Self> {
        let images: Vec<Tensor> = references
            .iter()
            .map(|p| p.image.to_device(&Device::Cpu))
            .collect::<candle_core::Result<_>>()?;
        let patches = references.iter().map(|p| options.places.rows(&joined_patches(p)?));
        let patches = patches.collect::<Result<_>>()?;
        Ok(Self { images: Tensor::stack(&images, 0)?, patches })
    }

    pub fn from_tensors(tensors: &mut Tensors) -> Result<Self> {
        let (images, patches) = (tensors.take("images", 2)?, tensors.take_all("patches", 2)?);
        if images.dim(0)? != patches.len() {
            return Err(unfit("patches"));
        }
        Ok(Self { images, patches })
    }
}

impl ReferenceModel for Spade {
    /// The map: distance to the nearest patch of the K most similar photos (section 3.3, with one neighbour). The
    /// score: mean distance of the image embeddings to those photos (section 3.2).
    fn compare(&self, photo: &Features, _: &Places) -> Result<Distances> {
        let offsets = self.images.broadcast_sub(&photo.image.to_device(&Device::Cpu)?)?;
        let distances = offsets.sqr()?.sum(1)?.sqrt()?.to_vec1::<f32>()?;
        let mut order: Vec<usize> = (0..distances.len()).collect();
        order.sort_by(|&a, &b| distances[a].total_cmp(&distances[b]).then(a.cmp(&b)));
        order.truncate(NEIGHBOURS.min(order.len().div_ceil(2)));
        let score = order.iter().map(|&i| distances[i]).sum::<f32>() / order.len() as f32;
        let gallery: Vec<&Tensor> = order.iter().map(|&i| &self.patches[i]).collect();
        let (_, map) = nearest(&joined_patches(photo)?, &Tensor::cat(&gallery, 0)?)?;
        Ok(Distances { map, score })
    }

    fn tensors(&self) -> Result<Vec<(String, Tensor)>> {
        let patches = numbered("patches", self.patches.iter().cloned());
        Ok(std::iter::once(("images".to_string(), self.images.clone())).chain(patches).collect())
    }
}
