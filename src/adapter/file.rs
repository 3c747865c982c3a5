//! Adapter files: our own safetensors with metadata, and the pickles that April-GAN's authors published.

use std::collections::{BTreeMap, HashMap};
use std::path::Path;
use std::sync::LazyLock;

use candle_core::{Device, Tensor};
use safetensors::SafeTensors;
use serde::Deserialize;

use super::pickle::{self, MOST_BYTES};
use super::{Adapter, AdapterAbout, TrunkLayer};
use crate::error::{Error, Result};
use crate::files::safetensors_bytes;
use crate::ops::Activation;

/// The name of the adapter file in a model's folder.
const COMPANION: &str = "adapter.safetensors";

/// A published data set that adapters were trained on.
#[derive(Clone, Debug, Deserialize)]
pub struct TrainingSet {
    /// A short name.
    pub name: String,
    /// Its title, and the part of it that was used.
    pub title: String,
    /// The name that the authors gave the adapter trained on it.
    pub file: String,
    /// Its licence.
    pub licence: String,
    /// The conditions of the licence.
    pub note: String,
    /// The products in it.
    pub products: Vec<String>,
}

/// The published training sets that blemish knows (`weights/training_sets.toml`).
pub fn training_sets() -> &'static [TrainingSet] {
    #[derive(Deserialize)]
    struct File {
        set: Vec<TrainingSet>,
    }
    static SETS: LazyLock<Vec<TrainingSet>> = LazyLock::new(|| {
        let text = include_str!("../../weights/training_sets.toml");
        toml::from_str::<File>(text).expect("the embedded list is tested").set
    });
    &SETS
}

impl AdapterAbout {
    /// The settings that the authors' files need but do not contain: four blocks of ViT-L-14-336 at 518 pixels, and the
    /// exact GELU although the weights are OpenAI's.
    fn official() -> Self {
        Self {
            blocks: vec![6, 12, 18, 24],
            size: Some(518),
            activation: Some(Activation::Gelu),
            logit_scale: 100.0,
            ..Self::default()
        }
    }

    /// Sets the training data: the name of a published set, or any text.
    pub fn set_training_data(&mut self, words: &str) {
        match training_sets().iter().find(|set| set.name.eq_ignore_ascii_case(words)) {
            Some(set) => {
                self.training_data = Some(set.title.clone());
                self.licence = Some(format!("{}: {}", set.licence, set.note));
                self.products.clone_from(&set.products);
            }
            None => {
                self.training_data = Some(words.to_string());
                (self.licence, self.products) = (None, vec![]);
            }
        }
    }

    fn to_metadata(&self) -> BTreeMap<String, String> {
        let blocks: Vec<String> = self.blocks.iter().map(usize::to_string).collect();
        let known = [
            ("format", Some("blemish adapter 1".into())),
            ("blocks", Some(blocks.join(","))),
            ("input_size", self.size.map(|size| size.to_string())),
            ("activation", self.activation.map(|a| a.name().to_string())),
            ("logit_scale", Some(self.logit_scale.to_string())),
            ("model", self.model.clone()),
            ("model_sha256", self.model_sha256.clone()),
            ("training_data", self.training_data.clone()),
            (
                "products",
                (!self.products.is_empty()).then(|| serde_json::json!(self.products).to_string()),
            ),
            ("photos", (!self.photos.is_empty()).then(|| self.photos.join(" "))),
            ("licence", self.licence.clone()),
            ("spread", self.spread.map(|(windows, layers)| format!("{windows},{layers}"))),
        ];
        known.into_iter().filter_map(|(key, value)| Some((key.to_string(), value?))).collect()
    }

    fn from_metadata(metadata: &HashMap<String, String>) -> Result<Self, String> {
        let get = |key: &str| metadata.get(key).map(|value| value.trim());
        let number = |key: &str, text: &str| format!("its metadata has {key} {text:?}, no number");
        let mut about = Self { logit_scale: 100.0, ..Self::default() };
        if let Some(text) = get("blocks") {
            let blocks = text.split(',').map(|block| block.trim().parse::<usize>());
            about.blocks = blocks.collect::<Result<_, _>>().map_err(|_| number("blocks", text))?;
        }
        if let Some(text) = get("input_size") {
            about.size = Some(text.parse().map_err(|_| number("input_size", text))?);
        }
        if let Some(text) = get("logit_scale") {
            about.logit_scale = text.parse().map_err(|_| number("logit_scale", text))?;
        }
        about.activation = match get("activation") {
            None => None,
            Some("gelu") => Some(Activation::Gelu),
            Some("quick_gelu") => Some(Activation::QuickGelu),
            Some(other) => return Err(format!("its metadata has an unknown activation {other:?}")),
        };
        about.spread = match get("spread") {
            None => None,
            Some(text) => {
                let parts = text
                    .split_once(',')
                    .and_then(|(a, b)| Some((a.parse().ok()?, b.parse().ok()?)));
                let is_spread = |s: &f32| s.is_finite() && *s > 0.0;
                let spread = parts.filter(|(a, b)| is_spread(a) && is_spread(b));
                Some(spread.ok_or_else(|| number("spread", text))?)
            }
        };
        let text = |key: &str| get(key).map(str::to_string);
        about.model = text("model");
        about.model_sha256 = text("model_sha256");
        about.training_data = text("training_data");
        about.licence = text("licence");
        about.photos =
            get("photos").unwrap_or_default().split_whitespace().map(String::from).collect();
        if let Some(list) = get("products") {
            about.products = serde_json::from_str(list)
                .map_err(|_| format!("its metadata has products {list:?}, no list"))?;
        }
        Ok(about)
    }
}

impl Adapter {
    /// Reads an adapter. The file is safetensors with metadata, or a `.pth` of April-GAN's authors. A `.pth` has no
    /// metadata, so these settings are used: blocks 6, 12, 18 and 24 at 518 pixels with exact GELU. `blocks` replaces
    /// the file's blocks.
    ///
    /// # Errors
    /// [`Error::Adapter`] for a file that cannot be read or is not an adapter.
    pub fn open(path: impl AsRef<Path>, blocks: Option<&[usize]>) -> Result<Self> {
        let path = path.as_ref();
        let name = path.display().to_string();
        let fail = |why: String| Error::adapter(&name, why);
        let bytes = crate::files::read(path, MOST_BYTES);
        let bytes = bytes.map_err(|e| fail(format!("cannot read: {e}")))?;
        let stem = path.file_stem().unwrap_or_default().to_string_lossy().to_lowercase();
        Self::from_bytes(&name, &stem, &bytes, blocks)
    }

    /// The adapter in a model's folder (`adapter.safetensors`), if there is one. The embedded model has one.
    ///
    /// # Errors
    /// As [`Adapter::open`].
    pub fn of_model(model: &str, blocks: Option<&[usize]>) -> Result<Option<Self>> {
        let Some(bytes) = crate::clip::companion(model, COMPANION)? else { return Ok(None) };
        Self::from_bytes(&format!("{model}/{COMPANION}"), "adapter", &bytes, blocks).map(Some)
    }

    fn from_bytes(name: &str, stem: &str, bytes: &[u8], blocks: Option<&[usize]>) -> Result<Self> {
        let fail = |why: String| Error::adapter(name, why);
        let (mut about, tensors) = if bytes.starts_with(b"PK") {
            let mut about = AdapterAbout::official();
            if let Some(set) = training_sets().iter().find(|set| stem.contains(&set.file)) {
                about.set_training_data(&set.name);
            }
            (about, pickle::read(bytes).map_err(fail)?)
        } else {
            let (about, tensors) = read_safetensors(bytes).map_err(fail)?;
            (about, tensors)
        };
        if let Some(blocks) = blocks {
            about.blocks = blocks.to_vec();
        }
        let mut tensors: HashMap<String, Tensor> = tensors.into_iter().collect();
        let trunk = trunk_layer(&mut tensors).map_err(fail)?;
        let layers = layers(tensors).map_err(fail)?;
        let mut adapter = Self::new(name, about, layers)?;
        if let Some(layer) = trunk {
            adapter = adapter.with_trunk(layer)?;
        }
        adapter.sha256 = crate::files::sha256(bytes);
        Ok(adapter)
    }

    /// The adapter as a safetensors file with its metadata.
    ///
    /// # Errors
    /// [`Error::Adapter`] if the tensors cannot be written.
    pub fn to_bytes(&self) -> Result<Vec<u8>> {
        let tensors = self.layers.iter().enumerate().flat_map(|(i, layer)| {
            [(format!("fc.{i}.weight"), &layer.weight), (format!("fc.{i}.bias"), &layer.bias)]
        });
        let trunk = self
            .trunk()
            .into_iter()
            .flat_map(|layer| TrunkLayer::NAMES.map(String::from).into_iter().zip(layer.tensors()));
        let tensors = tensors.chain(trunk);
        safetensors_bytes(tensors, self.about.to_metadata())
            .map_err(|e| Error::adapter(&self.name, e))
    }

    /// Reads what [`Adapter::to_bytes`] wrote. `name` and `sha256` are those of the original file.
    pub(crate) fn recall(name: &str, sha256: &str, bytes: &[u8]) -> Result<Self> {
        Ok(Self { sha256: sha256.to_string(), ..Self::from_bytes(name, "", bytes, None)? })
    }

    /// The same layers with another description.
    ///
    /// # Errors
    /// As [`Adapter::new`].
    pub fn with_about(self, about: AdapterAbout) -> Result<Self> {
        let layers = self.layers.into_iter().map(|layer| (layer.weight, layer.bias)).collect();
        Ok(Self { trunk: self.trunk, ..Self::new(&self.name, about, layers)? })
    }
}

fn read_safetensors(bytes: &[u8]) -> Result<(AdapterAbout, Vec<(String, Tensor)>), String> {
    let damaged = |e: &dyn std::fmt::Display| {
        format!("neither safetensors nor a PyTorch file, or cut short; fetch it again ({e})")
    };
    let (_, metadata) = SafeTensors::read_metadata(bytes).map_err(|e| damaged(&e))?;
    let about = AdapterAbout::from_metadata(&metadata.metadata().clone().unwrap_or_default())?;
    let tensors =
        candle_core::safetensors::load_buffer(bytes, &Device::Cpu).map_err(|e| damaged(&e))?;
    let float = |t: Tensor| t.to_dtype(candle_core::DType::F32).map_err(|e| e.to_string());
    let tensors = tensors.into_iter().map(|(name, t)| Ok((name, float(t)?)));
    Ok((about, tensors.collect::<Result<_, String>>()?))
}

/// Takes out the layer on the trunk, if there is one.
fn trunk_layer(tensors: &mut HashMap<String, Tensor>) -> Result<Option<TrunkLayer>, String> {
    if !tensors.keys().any(|name| name.starts_with("trunk.")) {
        return Ok(None);
    }
    let found = TrunkLayer::NAMES.map(|name| {
        let found = tensors.remove(name);
        found.ok_or_else(|| format!("tensor {name} is missing"))
    });
    let [inner, inner_bias, outer, outer_bias] = found;
    let (inner, inner_bias, outer, outer_bias) = (inner?, inner_bias?, outer?, outer_bias?);
    Ok(Some(TrunkLayer { inner, inner_bias, outer, outer_bias }))
}

/// `fc.0.weight`, `fc.0.bias`, `fc.1.weight` and so on, in order. Other tensors are an error.
fn layers(mut tensors: HashMap<String, Tensor>) -> Result<Vec<(Tensor, Tensor)>, String> {
    let mut layers = Vec::new();
    while let Some(weight) = tensors.remove(&format!("fc.{}.weight", layers.len())) {
        let name = format!("fc.{}.bias", layers.len());
        let bias = tensors.remove(&name).ok_or(format!("tensor {name} is missing"))?;
        layers.push((weight, bias));
    }
    match tensors.keys().min() {
        Some(other) => Err(format!(
            "tensor {other:?} is not one of an adapter's (fc.0.weight, fc.0.bias, fc.1.weight, ...)"
        )),
        None => Ok(layers),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn known_training_sets_are_recognised_by_name() {
        let mut about = AdapterAbout::official();
        about.set_training_data("visa");
        assert_eq!(about.products.len(), 12);
        assert!(about.licence.as_deref().is_some_and(|l| l.starts_with("CC BY 4.0")));
        about = AdapterAbout { blocks: vec![1, 2], ..about };
        let metadata = about.to_metadata().into_iter().collect();
        assert_eq!(AdapterAbout::from_metadata(&metadata), Ok(about));
    }
}
