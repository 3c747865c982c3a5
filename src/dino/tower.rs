//! The layers of a tower and their order.

use candle_core::{Device, Tensor};

use super::config::{Config, Family};
use super::positions::{Positions, Rotary, resize};
use crate::checkpoint::CheckedTensors;
use crate::error::Result;
use crate::ops::{AttentionMask, Hidden, LayerNorm, Linear, Mlp, Precision, attention};

/// The names of tensors, as transformers writes them.
struct Names {
    patch: &'static str,
    /// The names of a block's tensors are `{block}.{number}.{part}`.
    block: &'static str,
    /// Queries, keys, values, output.
    attention: [&'static str; 4],
    /// The first layer of the MLP: gate and input are one matrix, or two.
    inner: &'static [&'static str],
    outer: &'static str,
    norm: &'static str,
}

const V2_ATTENTION: [&str; 4] = [
    "attention.attention.query",
    "attention.attention.key",
    "attention.attention.value",
    "attention.output.dense",
];
const V3_ATTENTION: [&str; 4] =
    ["attention.q_proj", "attention.k_proj", "attention.v_proj", "attention.o_proj"];

impl Names {
    fn of(config: &Config) -> Self {
        let is_gated = config.hidden == Hidden::SwiGlu;
        match config.family {
            Family::Dinov3 => Self {
                patch: "embeddings.patch_embeddings",
                block: "layer",
                attention: V3_ATTENTION,
                inner: if is_gated { &["mlp.gate_proj", "mlp.up_proj"] } else { &["mlp.up_proj"] },
                outer: "mlp.down_proj",
                norm: "norm",
            },
            Family::Dinov2 | Family::Dinov2WithRegisters => Self {
                patch: "embeddings.patch_embeddings.projection",
                block: "encoder.layer",
                attention: V2_ATTENTION,
                inner: if is_gated { &["mlp.weights_in"] } else { &["mlp.fc1"] },
                outer: if is_gated { "mlp.weights_out" } else { "mlp.fc2" },
                norm: "layernorm",
            },
        }
    }
}

/// What a classifier's file has before each name.
const PREFIXES: [&str; 3] = ["", "dinov2.", "dinov2_with_registers."];

struct Block {
    norm: LayerNorm,
    q: Linear,
    /// Keys and values side by side.
    kv: Linear,
    out: Linear,
    mlp: Mlp,
}

/// All layers.
pub(super) struct Tower {
    config: Config,
    patches: Linear,
    /// `[1, width]`, with its position.
    class: Tensor,
    /// `[registers, width]`.
    registers: Option<Tensor>,
    /// `[stored_grid^2, width]`. Empty for DINOv3.
    positions: Vec<f32>,
    rule: Positions,
    blocks: Vec<Block>,
    norm: LayerNorm,
}

impl Tower {
    pub fn open(
        tensors: &CheckedTensors,
        config: Config,
        (precision, rule): (Precision, Positions),
    ) -> Result<Self> {
        let class = "embeddings.cls_token";
        let has = |prefix: &&&str| tensors.contains(&format!("{prefix}{class}"));
        let prefix = PREFIXES.iter().find(has).copied().unwrap_or_default();
        let parts =
            Parts { tensors, config: &config, names: Names::of(&config), prefix, precision };
        let (width, patch) = (config.width, config.patch);
        let flat = |name: &str, rows: usize| {
            parts.tensor(name, &[1, rows, width])?.squeeze(0).map_err(crate::error::Error::from)
        };
        let weight =
            parts.tensor(&format!("{}.weight", parts.names.patch), &[width, 3, patch, patch])?;
        let weight = weight.reshape((width, 3 * patch * patch))?;
        let bias = parts.tensor(&format!("{}.bias", parts.names.patch), &[width])?;
        let mut class = flat(class, 1)?;
        let mut positions = vec![];
        if config.family != Family::Dinov3 {
            let stored = config.stored_grid * config.stored_grid;
            let table = flat("embeddings.position_embeddings", 1 + stored)?;
            class = (class + table.narrow(0, 0, 1)?)?;
            positions = table.narrow(0, 1, stored)?.flatten_all()?.to_vec1()?;
        }
        let registers = match config.registers {
            0 => None,
            count => Some(flat("embeddings.register_tokens", count)?),
        };
        let next = format!("{}.{}.norm1.weight", parts.names.block, config.layers);
        if tensors.contains(&format!("{prefix}{next}")) {
            let layers = config.layers;
            let why = format!("has tensor {next}, and its configuration says {layers} blocks");
            return Err(tensors.fail(why));
        }
        Ok(Self {
            patches: Linear::new(&weight, Some(&bias))?,
            class,
            registers,
            positions,
            rule,
            blocks: (0..config.layers).map(|i| parts.block(i)).collect::<Result<_>>()?,
            norm: parts.norm(parts.names.norm)?,
            config,
        })
    }

    pub fn config(&self) -> &Config {
        &self.config
    }

    /// Tokens before the patches: the class token and the registers.
    pub fn others(&self) -> usize {
        1 + self.config.registers
    }

    /// `pixels`: `[3, height, width]`, normalised. Calls `keep` with the number of each block, counted from 1, and its
    /// output, `[tokens, width]`: class token, registers, patches. 0 is the input of the first block. Returns the output
    /// of the last block after the last norm.
    pub fn forward(
        &self,
        pixels: &[f32],
        (height, width): (usize, usize),
        mut keep: impl FnMut(usize, &Tensor),
    ) -> candle_core::Result<Tensor> {
        let Config { patch, heads, .. } = self.config;
        let grid = (height / patch, width / patch);
        let mut x = self.embed(pixels, (height, width), grid)?;
        let rotary = (self.config.family == Family::Dinov3)
            .then(|| Rotary::new(grid, self.config.width / heads, self.config.rope_theta));
        let rotate = |tokens: Tensor| match &rotary {
            Some(rotary) => rotary.rotate(&tokens, self.others()),
            None => Ok(tokens),
        };
        keep(0, &x);
        let tokens = [x.dim(0)?];
        for (i, block) in self.blocks.iter().enumerate() {
            let normed = block.norm.forward(&x)?;
            let width = self.config.width;
            let kv = block.kv.forward(&normed, None)?;
            let q = rotate(block.q.forward(&normed, None)?)?;
            let (k, v) = (rotate(kv.narrow(1, 0, width)?)?, kv.narrow(1, width, width)?);
            let mixed = attention(&q, &k, &v, &tokens, heads, AttentionMask::All)?;
            x = block.mlp.forward(&block.out.forward(&mixed, Some(&x))?)?;
            keep(i + 1, &x);
        }
        self.norm.forward(&x)
    }

    /// The input of the first block. What is left of the picture at the right and below, less than a patch, is ignored.
    fn embed(
        &self,
        pixels: &[f32],
        (height, width): (usize, usize),
        grid: (usize, usize),
    ) -> candle_core::Result<Tensor> {
        let patch = self.config.patch;
        let mut rows = Vec::with_capacity(grid.0 * grid.1 * 3 * patch * patch);
        for at in 0..grid.0 * grid.1 {
            let (top, left) = (at / grid.1 * patch, at % grid.1 * patch);
            for plane in pixels.chunks_exact(height * width) {
                for y in top..top + patch {
                    rows.extend_from_slice(&plane[y * width + left..][..patch]);
                }
            }
        }
        let count = grid.0 * grid.1;
        let rows = Tensor::from_vec(rows, (count, 3 * patch * patch), &Device::Cpu)?;
        let positions = match self.positions.is_empty() {
            true => None,
            false => Some(self.positions_at(grid)?),
        };
        let patches = self.patches.forward(&rows, positions.as_ref())?;
        let tokens = [Some(&self.class), self.registers.as_ref(), Some(&patches)];
        Tensor::cat(&tokens.into_iter().flatten().collect::<Vec<_>>(), 0)
    }

    fn positions_at(&self, grid: (usize, usize)) -> candle_core::Result<Tensor> {
        let Config { width, stored_grid, family, .. } = self.config;
        let rule = (self.rule, family == Family::Dinov2WithRegisters);
        let values = resize(&self.positions, stored_grid, grid, width, rule);
        Tensor::from_vec(values, (grid.0 * grid.1, width), &Device::Cpu)
    }
}

/// Reads the parts of a tower.
struct Parts<'a> {
    tensors: &'a CheckedTensors,
    config: &'a Config,
    names: Names,
    prefix: &'static str,
    precision: Precision,
}

impl Parts<'_> {
    fn tensor(&self, name: &str, shape: &[usize]) -> Result<Tensor> {
        self.tensors.tensor(&format!("{}{name}", self.prefix), shape)
    }

    fn norm(&self, name: &str) -> Result<LayerNorm> {
        self.tensors.norm(
            &format!("{}{name}", self.prefix),
            self.config.width,
            self.config.norm_eps,
        )
    }

    /// Several layers side by side: weight `[sum of outputs, inputs]` and bias. `biases`: which of them have one.
    fn linear(
        &self,
        names: &[String],
        (inputs, outputs): (usize, usize),
        biases: &[bool],
        scale: Option<&Tensor>,
    ) -> Result<Linear> {
        let (mut weights, mut all_biases) = (Vec::new(), Vec::new());
        for (name, has_bias) in names.iter().zip(biases) {
            weights.push(self.tensor(&format!("{name}.weight"), &[outputs, inputs])?);
            all_biases.push(match has_bias {
                true => self.tensor(&format!("{name}.bias"), &[outputs])?,
                false => Tensor::zeros(outputs, candle_core::DType::F32, &Device::Cpu)?,
            });
        }
        let (mut weight, mut bias) = (Tensor::cat(&weights, 0)?, Tensor::cat(&all_biases, 0)?);
        if let Some(scale) = scale {
            // Layer scale is part of the layer before it.
            weight = weight.broadcast_mul(&scale.unsqueeze(1)?)?;
            bias = (bias * scale)?;
        }
        Ok(Linear::at(self.precision, &weight, Some(&bias))?)
    }

    fn block(&self, index: usize) -> Result<Block> {
        let (config, width) = (self.config, self.config.width);
        let name = |part: &str| format!("{}.{index}.{part}", self.names.block);
        let [q, k, v, out] = self.names.attention.map(name);
        let scale =
            |number: usize| self.tensor(&name(&format!("layer_scale{number}.lambda1")), &[width]);
        let [q_bias, k_bias, v_bias] = config.qkv_bias;
        let inner: Vec<String> = self.names.inner.iter().map(|part| name(part)).collect();
        let gate = if config.hidden == Hidden::SwiGlu { 2 } else { 1 };
        let inner_outputs = gate * config.mlp_width / inner.len();
        let square = (width, width);
        Ok(Block {
            norm: self.norm(&name("norm1"))?,
            q: self.linear(&[q], square, &[q_bias], None)?,
            kv: self.linear(&[k, v], square, &[k_bias, v_bias], None)?,
            out: self.linear(&[out], square, &[config.out_bias], Some(&scale(1)?))?,
            mlp: Mlp {
                norm: self.norm(&name("norm2"))?,
                inner: self.linear(&inner, (width, inner_outputs), &[config.mlp_bias; 2], None)?,
                hidden: config.hidden,
                outer: self.linear(
                    &[name(self.names.outer)],
                    (config.mlp_width, width),
                    &[config.mlp_bias],
                    Some(&scale(2)?),
                )?,
            },
        })
    }
}
