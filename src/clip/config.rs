//! The configuration of a checkpoint, in the format of Hugging Face or open_clip.

use serde::Deserialize;

use super::trunk_config::TrunkConfig;
use crate::checkpoint::checked_normalisation;
use crate::image::Normalisation;
use crate::ops::Activation;

fn activation_from_name(name: &str) -> Result<Activation, String> {
    match name {
        "gelu" => Ok(Activation::Gelu),
        "quick_gelu" => Ok(Activation::QuickGelu),
        other => Err(format!("activation {other:?} is not supported (gelu, quick_gelu are)")),
    }
}

/// A pre-norm transformer: `layers` blocks of width `width`.
#[derive(Clone, Debug)]
pub(super) struct Transformer {
    pub width: usize,
    pub layers: usize,
    pub heads: usize,
    pub mlp_width: usize,
    pub norm_eps: f64,
    pub activation: Activation,
}

/// A CLIP model with a vision transformer and a causal text transformer.
#[derive(Clone, Debug)]
pub(super) struct Config {
    /// Width of the shared image-text embedding.
    pub embedding: usize,
    pub image_size: usize,
    pub patch_size: usize,
    pub vision: Transformer,
    pub trunk: Option<TrunkConfig>,
    pub context: usize,
    pub vocabulary: usize,
    pub text: Transformer,
}

impl Config {
    /// Reads Hugging Face's `config.json` of a `CLIPModel`.
    pub fn from_hugging_face(json: &[u8]) -> Result<Self, String> {
        let any: serde_json::Value = parse(json)?;
        if any["model_type"].as_str().is_some_and(|kind| kind.starts_with("dino")) {
            return Err("is a model without words; give it as the reference model".into());
        }
        let raw: HfConfig = parse(json)?;
        let (vision, text) = (raw.vision_config, raw.text_config);
        let config = Self {
            embedding: raw.projection_dim,
            image_size: vision.image_size,
            patch_size: vision.patch_size,
            vision: Transformer {
                width: vision.hidden_size,
                layers: vision.num_hidden_layers,
                heads: vision.num_attention_heads,
                mlp_width: vision.intermediate_size,
                norm_eps: vision.layer_norm_eps,
                activation: activation_from_name(&vision.hidden_act)?,
            },
            trunk: vision.trunk,
            context: text.max_position_embeddings,
            vocabulary: text.vocab_size,
            text: Transformer {
                width: text.hidden_size,
                layers: text.num_hidden_layers,
                heads: text.num_attention_heads,
                mlp_width: text.intermediate_size,
                norm_eps: text.layer_norm_eps,
                activation: activation_from_name(&text.hidden_act)?,
            },
        };
        config.checked()
    }

    /// Reads open_clip's `open_clip_config.json`, and the preprocessing in it.
    pub fn from_open_clip(json: &[u8]) -> Result<(Self, Normalisation), String> {
        let any: serde_json::Value = parse(json)?;
        if any["model_cfg"]["vision_cfg"]["layers"].is_array() {
            return Err(
                "a ResNet as image tower (such as RN50) is not supported; take a ViT".into()
            );
        }
        let file: OpenClipFile = parse(json)?;
        let raw = file.model_cfg;
        for (section, settings) in
            [("vision_cfg", &raw.vision_cfg.other), ("text_cfg", &raw.text_cfg.other)]
        {
            refuse_other_architectures(section, settings)?;
        }
        let activation = if raw.quick_gelu { Activation::QuickGelu } else { Activation::Gelu };
        let (vision, text) = (raw.vision_cfg, raw.text_cfg);
        let config = Self {
            embedding: raw.embed_dim,
            image_size: vision.image_size,
            patch_size: vision.patch_size,
            vision: Transformer {
                width: vision.width,
                layers: vision.layers,
                heads: vision.width / vision.head_width.max(1),
                mlp_width: (vision.width as f64 * vision.mlp_ratio) as usize,
                norm_eps: 1e-5,
                activation,
            },
            trunk: None,
            context: text.context_length,
            vocabulary: text.vocab_size,
            text: Transformer {
                width: text.width,
                layers: text.layers,
                heads: text.heads,
                mlp_width: (text.width as f64 * text.mlp_ratio) as usize,
                norm_eps: 1e-5,
                activation,
            },
        };
        let normalisation = match file.preprocess_cfg {
            Some(p) => p.normalisation()?,
            None => Normalisation::default(),
        };
        Ok((config.checked()?, normalisation))
    }

    pub fn shape(&self) -> super::Shape {
        super::Shape {
            width: self.vision.width,
            embedding: self.embedding,
            blocks: self.vision.layers,
            size: self.image_size,
            patch: self.patch_size,
            trunk: self.trunk.as_ref().map(TrunkConfig::channels),
        }
    }

    /// Refuses values that would divide by zero or make no sense later.
    fn checked(self) -> Result<Self, String> {
        let numbers =
            [self.embedding, self.image_size, self.patch_size, self.context, self.vocabulary];
        let towers = [&self.vision, &self.text];
        if numbers.contains(&0)
            || towers.iter().any(|t| t.width == 0 || t.layers == 0 || t.mlp_width == 0)
        {
            return Err("a size in the configuration is 0".into());
        }
        if towers.iter().any(|t| t.heads == 0 || t.width % t.heads != 0) {
            return Err("the width is not a multiple of the number of attention heads".into());
        }
        if towers.iter().any(|t| !(t.norm_eps > 0.0 && t.norm_eps < 0.1)) {
            return Err("a layer_norm_eps in the configuration is not between 0 and 0.1".into());
        }
        if self.context < 3 {
            return Err(format!("a context of {} tokens holds no text", self.context));
        }
        if !self.image_size.is_multiple_of(self.patch_size) {
            return Err(format!(
                "image size {} is not a multiple of patch size {}",
                self.image_size, self.patch_size
            ));
        }
        self.trunk.as_ref().map_or(Ok(()), |trunk| trunk.check(self.patch_size))?;
        Ok(self)
    }
}

fn parse<'a, T: Deserialize<'a>>(json: &'a [u8]) -> Result<T, String> {
    serde_json::from_slice(json).map_err(|e| format!("not a CLIP configuration: {e}"))
}

/// Refuses settings of architectures that are not implemented here. Ignoring them would give wrong results.
fn refuse_other_architectures(
    section: &str,
    settings: &serde_json::Map<String, serde_json::Value>,
) -> Result<(), String> {
    const REFUSED: [&str; 15] = [
        "timm_model_name",
        "hf_model_name",
        "attentional_pool",
        "attn_pooler_queries",
        "ls_init_value",
        "no_ln_pre",
        "no_causal_mask",
        "embed_cls",
        "norm_kwargs",
        "act_kwargs",
        "proj_bias",
        "block_type",
        "qk_norm",
        "input_patchnorm",
        "pos_embed_type",
    ];
    let is_set = |v: &serde_json::Value| {
        !matches!(v, serde_json::Value::Null | serde_json::Value::Bool(false))
    };
    for key in REFUSED {
        if settings.get(key).is_some_and(is_set) {
            return Err(format!("{section}.{key} asks for an architecture that is not supported"));
        }
    }
    for (key, expected) in [("pool_type", ["tok", "argmax"]), ("proj_type", ["linear", "linear"])] {
        if let Some(value) = settings.get(key).and_then(|v| v.as_str())
            && !expected.contains(&value)
        {
            return Err(format!("{section}.{key} = {value:?} is not supported"));
        }
    }
    Ok(())
}

/// The defaults are those of transformers' `CLIPConfig`. transformers does not write default values into its files.
#[derive(Deserialize)]
struct HfConfig {
    #[serde(default = "hf_projection_dim")]
    projection_dim: usize,
    text_config: HfText,
    vision_config: HfVision,
}

fn hf_projection_dim() -> usize {
    512
}

#[derive(Deserialize)]
#[serde(default)]
struct HfText {
    vocab_size: usize,
    hidden_size: usize,
    intermediate_size: usize,
    num_hidden_layers: usize,
    num_attention_heads: usize,
    max_position_embeddings: usize,
    hidden_act: String,
    layer_norm_eps: f64,
}

impl Default for HfText {
    fn default() -> Self {
        Self {
            vocab_size: 49408,
            hidden_size: 512,
            intermediate_size: 2048,
            num_hidden_layers: 12,
            num_attention_heads: 8,
            max_position_embeddings: 77,
            hidden_act: "quick_gelu".into(),
            layer_norm_eps: 1e-5,
        }
    }
}

#[derive(Deserialize)]
#[serde(default)]
struct HfVision {
    hidden_size: usize,
    intermediate_size: usize,
    num_hidden_layers: usize,
    num_attention_heads: usize,
    image_size: usize,
    patch_size: usize,
    hidden_act: String,
    layer_norm_eps: f64,
    trunk: Option<TrunkConfig>,
}

impl Default for HfVision {
    fn default() -> Self {
        Self {
            hidden_size: 768,
            intermediate_size: 3072,
            num_hidden_layers: 12,
            num_attention_heads: 12,
            image_size: 224,
            patch_size: 32,
            hidden_act: "quick_gelu".into(),
            layer_norm_eps: 1e-5,
            trunk: None,
        }
    }
}

#[derive(Deserialize)]
struct OpenClipFile {
    model_cfg: OpenClipModel,
    preprocess_cfg: Option<OpenClipPreprocess>,
}

#[derive(Deserialize)]
struct OpenClipModel {
    embed_dim: usize,
    #[serde(default)]
    quick_gelu: bool,
    vision_cfg: OpenClipVision,
    text_cfg: OpenClipText,
}

/// The defaults are those of open_clip's `CLIPVisionCfg`.
#[derive(Deserialize)]
#[serde(default)]
struct OpenClipVision {
    image_size: usize,
    layers: usize,
    width: usize,
    head_width: usize,
    patch_size: usize,
    mlp_ratio: f64,
    #[serde(flatten)]
    other: serde_json::Map<String, serde_json::Value>,
}

impl Default for OpenClipVision {
    fn default() -> Self {
        Self {
            image_size: 224,
            layers: 12,
            width: 768,
            head_width: 64,
            patch_size: 16,
            mlp_ratio: 4.0,
            other: Default::default(),
        }
    }
}

/// The defaults are those of open_clip's `CLIPTextCfg`.
#[derive(Deserialize)]
#[serde(default)]
struct OpenClipText {
    context_length: usize,
    vocab_size: usize,
    width: usize,
    heads: usize,
    layers: usize,
    mlp_ratio: f64,
    #[serde(flatten)]
    other: serde_json::Map<String, serde_json::Value>,
}

impl Default for OpenClipText {
    fn default() -> Self {
        Self {
            context_length: 77,
            vocab_size: 49408,
            width: 512,
            heads: 8,
            layers: 12,
            mlp_ratio: 4.0,
            other: Default::default(),
        }
    }
}

#[derive(Deserialize)]
struct OpenClipPreprocess {
    mean: Option<[f32; 3]>,
    std: Option<[f32; 3]>,
    interpolation: Option<String>,
}

impl OpenClipPreprocess {
    fn normalisation(self) -> Result<Normalisation, String> {
        if let Some(name) = self.interpolation.filter(|name| name != "bicubic") {
            return Err(format!("interpolation {name:?} is not supported (bicubic is)"));
        }
        let default = Normalisation::default();
        checked_normalisation(self.mean.unwrap_or(default.mean), self.std.unwrap_or(default.std))
    }
}
