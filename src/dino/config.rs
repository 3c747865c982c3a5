//! The configuration of a DINOv2 or DINOv3 model, in the format of Hugging Face.

use serde::Deserialize;

use crate::ops::{Activation, Hidden};

/// Which of the three published architectures a model has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Family {
    Dinov2,
    Dinov2WithRegisters,
    Dinov3,
}

impl Family {
    fn named(model_type: &str) -> Result<Self, String> {
        match model_type {
            "dinov2" => Ok(Self::Dinov2),
            "dinov2_with_registers" => Ok(Self::Dinov2WithRegisters),
            "dinov3_vit" => Ok(Self::Dinov3),
            other => Err(format!(
                "model_type {other:?} is none of dinov2, dinov2_with_registers and dinov3_vit"
            )),
        }
    }
}

/// A vision transformer with layer scale.
#[derive(Clone, Debug)]
pub(super) struct Config {
    pub family: Family,
    pub width: usize,
    pub layers: usize,
    pub heads: usize,
    /// Width of the hidden layer, after its gate.
    pub mlp_width: usize,
    pub hidden: Hidden,
    pub patch: usize,
    /// Side of the stored position embeddings in patches. 0 for DINOv3, which stores none.
    pub stored_grid: usize,
    pub registers: usize,
    pub norm_eps: f64,
    /// Whether queries, keys and values have a bias.
    pub qkv_bias: [bool; 3],
    pub out_bias: bool,
    pub mlp_bias: bool,
    pub rope_theta: f64,
}

#[derive(Deserialize)]
struct Raw {
    #[serde(default = "width")]
    hidden_size: usize,
    #[serde(default = "twelve")]
    num_hidden_layers: usize,
    #[serde(default = "twelve")]
    num_attention_heads: usize,
    #[serde(default = "mlp_ratio")]
    mlp_ratio: f64,
    intermediate_size: Option<usize>,
    #[serde(default)]
    use_swiglu_ffn: bool,
    #[serde(default)]
    use_gated_mlp: bool,
    #[serde(default = "gelu")]
    hidden_act: String,
    layer_norm_eps: Option<f64>,
    #[serde(default = "image_size")]
    image_size: usize,
    patch_size: Option<usize>,
    num_register_tokens: Option<usize>,
    #[serde(default = "yes")]
    qkv_bias: bool,
    #[serde(default = "yes")]
    query_bias: bool,
    #[serde(default)]
    key_bias: bool,
    #[serde(default = "yes")]
    value_bias: bool,
    #[serde(default = "yes")]
    proj_bias: bool,
    #[serde(default = "yes")]
    mlp_bias: bool,
    #[serde(default = "rope_theta")]
    rope_theta: f64,
}

// The defaults of transformers 5. It does not write default values into its files.
fn width() -> usize {
    768
}
fn twelve() -> usize {
    12
}
fn mlp_ratio() -> f64 {
    4.0
}
fn gelu() -> String {
    "gelu".into()
}
fn image_size() -> usize {
    224
}
fn yes() -> bool {
    true
}
fn rope_theta() -> f64 {
    100.0
}

impl Config {
    /// Reads `config.json`.
    pub fn parse(json: &[u8]) -> Result<Self, String> {
        let not_json = |e: serde_json::Error| format!("not a configuration: {e}");
        let any: serde_json::Value = serde_json::from_slice(json).map_err(not_json)?;
        let family = Family::named(any["model_type"].as_str().unwrap_or_default())?;
        let raw: Raw = serde_json::from_value(any).map_err(not_json)?;
        let is_v3 = family == Family::Dinov3;
        let patch = raw.patch_size.unwrap_or(if family == Family::Dinov2 { 14 } else { 16 });
        let hidden_size = (raw.hidden_size as f64 * raw.mlp_ratio) as usize;
        let is_gated = if is_v3 { raw.use_gated_mlp } else { raw.use_swiglu_ffn };
        let hidden = match (is_gated, &*raw.hidden_act) {
            (true, _) if !is_v3 => Hidden::SwiGlu,
            (true, "silu") => Hidden::SwiGlu,
            (false, "gelu") => Hidden::Activation(Activation::Gelu),
            (_, other) => return Err(format!("activation {other:?} is not supported here")),
        };
        let mlp_width = match raw.intermediate_size {
            Some(width) if is_v3 => width,
            _ if is_v3 => 4 * raw.hidden_size,
            // Of the SwiGLU of facebookresearch/dinov2.
            _ if is_gated => (hidden_size * 2 / 3).div_ceil(8) * 8,
            _ => hidden_size,
        };
        let [query, key, value] = match is_v3 {
            true => [raw.query_bias, raw.key_bias, raw.value_bias],
            false => [raw.qkv_bias; 3],
        };
        let registers = match family {
            Family::Dinov2 => 0,
            Family::Dinov2WithRegisters => raw.num_register_tokens.unwrap_or(4),
            Family::Dinov3 => raw.num_register_tokens.unwrap_or(0),
        };
        let config = Self {
            family,
            width: raw.hidden_size,
            layers: raw.num_hidden_layers,
            heads: raw.num_attention_heads,
            mlp_width,
            hidden,
            patch,
            stored_grid: if is_v3 { 0 } else { raw.image_size / patch.max(1) },
            registers,
            norm_eps: raw.layer_norm_eps.unwrap_or(if is_v3 { 1e-5 } else { 1e-6 }),
            qkv_bias: [query, key, value],
            out_bias: if is_v3 { raw.proj_bias } else { true },
            mlp_bias: if is_v3 { raw.mlp_bias } else { true },
            rope_theta: raw.rope_theta,
        };
        config.checked()
    }

    /// Refuses values that would divide by zero or make no sense later.
    fn checked(self) -> Result<Self, String> {
        let Self { width, heads, .. } = self;
        if [width, self.layers, heads, self.mlp_width, self.patch].contains(&0) {
            return Err("a size in the configuration is 0".into());
        }
        if self.patch > 256 || self.registers > 1024 || self.layers > 1000 {
            return Err("a size in the configuration is too large".into());
        }
        if width % heads != 0 || (self.family == Family::Dinov3 && width / heads % 4 != 0) {
            return Err("the width does not fit the number of attention heads".into());
        }
        if self.family != Family::Dinov3 && self.stored_grid == 0 {
            return Err("the image is smaller than a patch".into());
        }
        if !(self.norm_eps > 0.0 && self.norm_eps < 0.1) {
            return Err("layer_norm_eps is not between 0 and 0.1".into());
        }
        if !(self.rope_theta > 0.0 && self.rope_theta.is_finite()) {
            return Err("rope_theta is no positive number".into());
        }
        Ok(self)
    }
}
