//! April-GAN's adapters (Chen et al., arXiv 2305.17382). An adapter has one linear layer for each of some blocks of the
//! image tower. The layers map patch tokens into the embedding that photos and texts share. On a hybrid model there may
//! also be a layer on the trunk.

mod file;
mod pickle;
mod trunk;

use std::collections::BTreeSet;

use candle_core::Tensor;

use crate::clip::{Clip, Features, Shape, Taps};
use crate::error::{Error, Result};
use crate::ops::Activation;
use crate::ops::{Linear, unit_rows};

pub use file::{TrainingSet, training_sets};
use trunk::PackedTrunkLayer;
pub use trunk::TrunkLayer;
pub(crate) use trunk::trunk_input;

/// The layers of an adapter, and their description.
#[derive(Clone, Debug)]
pub struct Adapter {
    name: String,
    sha256: String,
    about: AdapterAbout,
    layers: Vec<Layer>,
    trunk: Option<PackedTrunkLayer>,
}

/// The description of an adapter: what it needs of a model, and where it comes from.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct AdapterAbout {
    /// The block whose output each layer reads, counted from 1.
    pub blocks: Vec<usize>,
    /// Side of the model's input during training, in pixels.
    pub size: Option<usize>,
    /// The nonlinearity of the model's towers during training.
    pub activation: Option<Activation>,
    /// The factor on the cosines before the softmax.
    pub logit_scale: f32,
    /// The model that it was trained on, as it was named.
    pub model: Option<String>,
    /// SHA-256 of that model's weights.
    pub model_sha256: Option<String>,
    /// The training data, as text.
    pub training_data: Option<String>,
    /// The products in the training data.
    pub products: Vec<String>,
    /// The start of the SHA-256 of each photo that it learned from, 16 digits. Empty if they are not known.
    pub photos: Vec<String>,
    /// The licence of the training data, and its conditions.
    pub licence: Option<String>,
    /// The spread of the log-odds over good photos: of WinCLIP's maps, and of this adapter's maps. It puts both on one
    /// scale when they are fused.
    pub spread: Option<(f32, f32)>,
}

/// `z = weight h + bias`.
#[derive(Clone, Debug)]
struct Layer {
    /// `[embedding, width]`.
    weight: Tensor,
    /// `[embedding]`.
    bias: Tensor,
    linear: Linear,
}

impl Adapter {
    /// An adapter from its layers: for each of [`AdapterAbout::blocks`], in order, a weight `[embedding, width]` and a
    /// bias `[embedding]`.
    ///
    /// # Errors
    /// [`Error::Adapter`] if there are no layers, their shapes differ, a value is NaN or infinite, the logit scale is
    /// not positive, or there is not exactly one block for each layer.
    pub fn new(name: &str, about: AdapterAbout, layers: Vec<(Tensor, Tensor)>) -> Result<Self> {
        let fail = |why: String| Err(Error::adapter(name, why));
        let Some((first, _)) = layers.first() else {
            return fail("holds no layers (fc.0.weight, fc.0.bias, ...)".into());
        };
        let (embedding, width) = first.dims2().map_err(|e| Error::adapter(name, e))?;
        if about.blocks.len() != layers.len() {
            return fail(format!(
                "has {} layers for {} blocks; give one block for each layer",
                layers.len(),
                about.blocks.len()
            ));
        }
        if about.blocks.contains(&0)
            || about.blocks.iter().collect::<BTreeSet<_>>().len() != layers.len()
        {
            return fail("blocks are counted from 1, each once".into());
        }
        if !(about.logit_scale.is_finite() && about.logit_scale > 0.0) {
            return fail(format!("a logit scale of {} is not positive", about.logit_scale));
        }
        let mut made = Vec::new();
        for (i, (weight, bias)) in layers.into_iter().enumerate() {
            if weight.dims() != [embedding, width] || bias.dims() != [embedding] {
                return fail(format!(
                    "fc.{i} has shapes {:?} and {:?}; the first layer asks for {:?} and {:?}",
                    weight.dims(),
                    bias.dims(),
                    [embedding, width],
                    [embedding]
                ));
            }
            // A sum is NaN or infinite if any value is.
            let sum = (weight.abs()?.sum_all()? + bias.abs()?.sum_all()?)?;
            if !sum.to_scalar::<f32>()?.is_finite() {
                return fail(format!("fc.{i} holds NaN or infinity; fetch the file again"));
            }
            let linear = Linear::new(&weight, Some(&bias))?;
            made.push(Layer { weight, bias, linear });
        }
        Ok(Self { name: name.to_string(), sha256: String::new(), about, layers: made, trunk: None })
    }

    /// The same adapter with a layer on the trunk of a hybrid model.
    ///
    /// # Errors
    /// [`Error::Adapter`] if its shapes do not fit, or a value is NaN or infinite.
    pub fn with_trunk(self, layer: TrunkLayer) -> Result<Self> {
        let fail = |why: String| Err(Error::adapter(&self.name, why));
        let (_, embedding) = self.widths();
        if !layer.is_consistent() || layer.widths().1 != embedding {
            return fail(format!("has a layer on the trunk that does not give {embedding} values"));
        }
        for tensor in layer.tensors() {
            if !tensor.abs()?.sum_all()?.to_scalar::<f32>()?.is_finite() {
                return fail("has NaN or infinity in its layer on the trunk".into());
            }
        }
        Ok(Self { trunk: Some(PackedTrunkLayer::new(layer)?), ..self })
    }

    /// Its layer on the trunk, if it has one.
    pub fn trunk(&self) -> Option<&TrunkLayer> {
        self.trunk.as_ref().map(|layer| &layer.parameters)
    }

    /// The name that it was opened with.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// SHA-256 of its file. Empty if it has no file.
    pub fn sha256(&self) -> &str {
        &self.sha256
    }

    /// Its description: what it needs, and where it comes from.
    pub fn about(&self) -> &AdapterAbout {
        &self.about
    }

    /// Width of the tokens that it takes, and width of the embeddings that it returns.
    pub fn widths(&self) -> (usize, usize) {
        let dims = self.layers[0].weight.dims();
        (dims[1], dims[0])
    }

    /// The features that it needs from the image tower.
    pub fn taps(&self) -> Taps {
        Taps { blocks: self.about.blocks.clone(), trunk: self.trunk.is_some(), ..Taps::default() }
    }

    /// Checks that it fits a model of this shape.
    ///
    /// # Errors
    /// [`Error::Adapter`] says what it needs and what the model has.
    pub fn check_shape(&self, model: &str, shape: Shape) -> Result<()> {
        let (width, embedding) = self.widths();
        let fail = |why: String| Err(Error::adapter(&self.name, why));
        if (width, embedding) != (shape.width, shape.embedding) {
            return fail(format!(
                "takes tokens of width {width} into embeddings of {embedding}; model {model} has tokens of \
                 width {} and embeddings of {}: use the model it was trained on",
                shape.width, shape.embedding
            ));
        }
        if let Some(layer) = self.trunk() {
            let channels = shape.trunk.map(|outputs| outputs.iter().sum());
            if channels != Some(layer.widths().0) {
                return fail(format!(
                    "reads a trunk of {} channels; model {model} has {}",
                    layer.widths().0,
                    channels.map_or("none".into(), |channels: usize| channels.to_string())
                ));
            }
        }
        match self.about.blocks.iter().find(|block| **block > shape.blocks) {
            Some(block) => fail(format!("reads block {block}; model {model} has {}", shape.blocks)),
            None => Ok(()),
        }
    }

    /// Checks that it was trained on this model. For a `.pth` of April-GAN's authors the model is not known, and only
    /// its shape is checked.
    ///
    /// # Errors
    /// As [`Adapter::check_shape`]. Also [`Error::Adapter`] for a model with other weights.
    pub fn check(&self, clip: &Clip) -> Result<()> {
        self.check_shape(clip.name(), clip.shape())?;
        match &self.about.model_sha256 {
            Some(sha256) if sha256 != clip.sha256() => Err(Error::adapter(
                &self.name,
                format!(
                    "was trained on model {} (weights {}); model {} has weights {}",
                    self.about.model.as_deref().unwrap_or("?"),
                    start(sha256),
                    clip.name(),
                    start(clip.sha256())
                ),
            )),
            _ => Ok(()),
        }
    }

    /// Whether the products in the training data are known.
    pub fn knows_products(&self) -> bool {
        !self.about.products.is_empty()
    }

    /// Which of these products are in the training data, as far as known. Results on their photos are not zero-shot.
    /// Folders and people name a product differently (`mpdd_metal_plate`, "metal plate"): it is enough that two words or
    /// more of one name are the whole other name.
    pub fn trained_on<'a>(&self, products: impl IntoIterator<Item = &'a str>) -> Vec<&'a str> {
        let seen: Vec<Vec<String>> = self.about.products.iter().map(|name| words(name)).collect();
        let is_seen = |product: &&str| {
            let own = words(product);
            seen.iter().any(|other| is_in(&own, other) || is_in(other, &own))
        };
        products.into_iter().filter(is_seen).collect()
    }

    /// Whether the photos that it learned from are known.
    pub fn knows_photos(&self) -> bool {
        !self.about.photos.is_empty()
    }

    /// Whether it learned from a photo with this SHA-256, under whatever name.
    pub fn learned_from(&self, sha256: &str) -> bool {
        self.about.photos.iter().any(|photo| photo == photo_mark(sha256))
    }

    /// The patches of each layer in the shared embedding, at unit length: `[grid^2, embedding]`. The layer on the trunk
    /// comes last, and its grid is twice as fine. `photo` must have the features of [`Adapter::taps`].
    ///
    /// # Errors
    /// [`Error::Tensor`] if the blocks are not those.
    pub(crate) fn project(&self, photo: &Features) -> Result<Vec<Tensor>> {
        let projected = self.layers.iter().zip(&photo.blocks).map(|(layer, tokens)| {
            let patches = tokens.narrow(0, 1, tokens.dim(0)? - 1)?;
            let patches = patches.to_device(layer.weight.device())?.contiguous()?;
            unit_rows(&layer.linear.forward(&patches, None)?)
        });
        let mut projected = projected.collect::<candle_core::Result<Vec<_>>>()?;
        if let Some(layer) = &self.trunk {
            let none = || candle_core::Error::Msg("the photo has no features of the trunk".into());
            projected.push(layer.project(photo.trunk.as_ref().ok_or_else(none)?)?);
        }
        Ok(projected)
    }
}

/// The words of a product's name in lower case, without punctuation.
fn words(name: &str) -> Vec<String> {
    let words = name.split(|c: char| !c.is_alphanumeric()).filter(|word| !word.is_empty());
    words.map(str::to_lowercase).collect()
}

/// Whether some words follow each other in a name, or make one word of it (`metalnut`). A single word is in too many
/// names.
fn is_in(words: &[String], name: &[String]) -> bool {
    let is_part = words.len() > 1 && name.windows(words.len()).any(|part| part == words);
    is_part || !words.is_empty() && words.concat() == name.concat()
}

/// What an adapter keeps of the SHA-256 of a photo.
pub(crate) fn photo_mark(sha256: &str) -> &str {
    sha256.get(..16).unwrap_or(sha256)
}

fn start(sha256: &str) -> &str {
    sha256.get(..12).unwrap_or(sha256)
}

#[cfg(test)]
mod tests {
    use super::*;
    use candle_core::Device;

    #[test]
    fn products_are_the_same_however_they_are_written() {
        let products = ["metal_nut", "Zipper", "mpdd_metal_plate"].map(String::from).to_vec();
        let about =
            AdapterAbout { blocks: vec![1], logit_scale: 1.0, products, ..AdapterAbout::default() };
        let zeros =
            |shape: &[usize]| Tensor::zeros(shape, candle_core::DType::F32, &Device::Cpu).unwrap();
        let adapter = Adapter::new("a", about, vec![(zeros(&[2, 3]), zeros(&[2]))]).unwrap();
        let seen = ["Metal nut", "metalnut", "zipper", "metal plate"];
        let unseen =
            ["bottle", "metal", "plate", "jacket zipper", "zip", "platemetal", "nut plate", ""];
        assert_eq!(adapter.trained_on(seen.into_iter().chain(unseen)), seen);
    }
}
