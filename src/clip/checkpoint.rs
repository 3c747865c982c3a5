//! The layers of a CLIP checkpoint, in the layout of Hugging Face or open_clip.

use candle_core::{Device, Tensor};

use crate::checkpoint::{CheckedTensors, Files, Manifest};
use crate::error::Result;
use crate::ops::{Hidden, LayerNorm, Linear, Mlp, Precision};

/// The tensor names of one layout. The names of a block's tensors are `{blocks}.{number of the block}.{part}`.
struct NameLayout {
    patch: &'static str,
    class: &'static str,
    vision_position: &'static str,
    norm_before: &'static str,
    norm_after: &'static str,
    vision_blocks: &'static str,
    vision_projection: &'static str,
    token: &'static str,
    text_position: &'static str,
    text_blocks: &'static str,
    text_norm: &'static str,
    text_projection: &'static str,
    norm_1: &'static str,
    norm_2: &'static str,
    attention_out: &'static str,
    mlp_in: &'static str,
    mlp_out: &'static str,
    /// Whether q, k and v are one `[3W, W]` matrix, and projections are stored as `[W, D]`.
    is_open_clip: bool,
}

const HUGGING_FACE: NameLayout = NameLayout {
    patch: "vision_model.embeddings.patch_embedding.weight",
    class: "vision_model.embeddings.class_embedding",
    vision_position: "vision_model.embeddings.position_embedding.weight",
    norm_before: "vision_model.pre_layrnorm",
    norm_after: "vision_model.post_layernorm",
    vision_blocks: "vision_model.encoder.layers",
    vision_projection: "visual_projection.weight",
    token: "text_model.embeddings.token_embedding.weight",
    text_position: "text_model.embeddings.position_embedding.weight",
    text_blocks: "text_model.encoder.layers",
    text_norm: "text_model.final_layer_norm",
    text_projection: "text_projection.weight",
    norm_1: "layer_norm1",
    norm_2: "layer_norm2",
    attention_out: "self_attn.out_proj",
    mlp_in: "mlp.fc1",
    mlp_out: "mlp.fc2",
    is_open_clip: false,
};

const OPEN_CLIP: NameLayout = NameLayout {
    patch: "visual.conv1.weight",
    class: "visual.class_embedding",
    vision_position: "visual.positional_embedding",
    norm_before: "visual.ln_pre",
    norm_after: "visual.ln_post",
    vision_blocks: "visual.transformer.resblocks",
    vision_projection: "visual.proj",
    token: "token_embedding.weight",
    text_position: "positional_embedding",
    text_blocks: "transformer.resblocks",
    text_norm: "ln_final",
    text_projection: "text_projection",
    norm_1: "ln_1",
    norm_2: "ln_2",
    attention_out: "attn.out_proj",
    mlp_in: "mlp.c_fc",
    mlp_out: "mlp.c_proj",
    is_open_clip: true,
};

/// What the names of the trunk's tensors begin with. Only Hugging Face's layout has them.
const EMBEDDINGS: &str = "vision_model.embeddings";

/// One of the two towers.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Tower {
    Vision,
    Text,
}

/// An open checkpoint of a CLIP model.
pub(super) struct Checkpoint {
    tensors: CheckedTensors,
    layout: &'static NameLayout,
    precision: Precision,
}

impl Checkpoint {
    /// `precision`: of the image tower's blocks.
    pub fn open(
        files: &Files,
        manifest: &Manifest,
        device: &Device,
        precision: Precision,
    ) -> Result<Self> {
        let tensors = CheckedTensors::open(files, &manifest.weights, device)?;
        let layout = if manifest.is_open_clip() { &OPEN_CLIP } else { &HUGGING_FACE };
        Ok(Self { tensors, layout, precision })
    }

    fn projection(&self, name: &str, width: usize, embedding: usize) -> Result<Linear> {
        let weight = if self.layout.is_open_clip {
            self.tensors.tensor(name, &[width, embedding])?.t()?
        } else {
            self.tensors.tensor(name, &[embedding, width])?
        };
        Ok(Linear::new(&weight, None)?)
    }

    /// The patch embedding as a linear layer with weights `[width, 3 * patch * patch]`.
    pub fn patch_embedding(&self, width: usize, patch: usize) -> Result<Linear> {
        let weight = self.tensors.tensor(self.layout.patch, &[width, 3, patch, patch])?;
        Ok(Linear::new(&weight.reshape((width, 3 * patch * patch))?, None)?)
    }

    /// Refuses a checkpoint with a trunk that its configuration does not describe.
    pub fn check_no_trunk(&self) -> Result<()> {
        if self.tensors.contains(&format!("{EMBEDDINGS}.trunk_projection.weight")) {
            return Err(self.tensors.fail("has a trunk, and its configuration has none".into()));
        }
        Ok(())
    }

    /// Weight and bias of a layer of the trunk.
    pub fn trunk(&self, layer: &str, shape: &[usize]) -> Result<(Tensor, Tensor)> {
        let name = |part: &str| format!("{EMBEDDINGS}.trunk.{layer}.{part}");
        Ok((
            self.tensors.tensor(&name("weight"), shape)?,
            self.tensors.tensor(&name("bias"), &shape[..1])?,
        ))
    }

    /// The norm of the trunk's channels, and their projection to a token.
    pub fn trunk_projection(
        &self,
        channels: usize,
        width: usize,
        eps: f64,
    ) -> Result<(LayerNorm, Linear)> {
        let norm = self.tensors.norm(&format!("{EMBEDDINGS}.trunk_norm"), channels, eps)?;
        Ok((
            norm,
            self.tensors.linear(
                Precision::F32,
                &format!("{EMBEDDINGS}.trunk_projection"),
                channels,
                width,
            )?,
        ))
    }

    /// `[width]`.
    pub fn class_embedding(&self, width: usize) -> Result<Tensor> {
        self.tensors.tensor(self.layout.class, &[width])
    }

    /// `[rows, width]`.
    pub fn position_embedding(&self, tower: Tower, rows: usize, width: usize) -> Result<Tensor> {
        let name = match tower {
            Tower::Vision => self.layout.vision_position,
            Tower::Text => self.layout.text_position,
        };
        self.tensors.tensor(name, &[rows, width])
    }

    /// The factor that the model multiplies cosines by, from training. If the checkpoint does not have it: 100, as in
    /// OpenAI's checkpoints.
    pub fn logit_scale(&self) -> Result<f32> {
        const NAME: &str = "logit_scale";
        if !self.tensors.contains(NAME) {
            return Ok(100.0);
        }
        let values = self.tensors.unchecked(NAME)?.flatten_all()?.to_vec1::<f32>()?;
        let scale = values.first().map_or(f32::NAN, |s| s.exp());
        if !scale.is_finite() {
            return Err(self.tensors.fail(format!("{NAME} is no number; fetch the file again")));
        }
        Ok(scale)
    }

    /// `[vocabulary, width]`.
    pub fn token_embedding(&self, vocabulary: usize, width: usize) -> Result<Tensor> {
        self.tensors.tensor(self.layout.token, &[vocabulary, width])
    }

    /// The image tower's norm before the first block. The text tower has none.
    pub fn norm_before(&self, width: usize, eps: f64) -> Result<LayerNorm> {
        self.tensors.norm(self.layout.norm_before, width, eps)
    }

    /// The norm after the last block and the projection to the shared embedding.
    pub fn head(
        &self,
        tower: Tower,
        width: usize,
        embedding: usize,
        eps: f64,
    ) -> Result<(LayerNorm, Linear)> {
        let (norm, projection) = match tower {
            Tower::Vision => (self.layout.norm_after, self.layout.vision_projection),
            Tower::Text => (self.layout.text_norm, self.layout.text_projection),
        };
        Ok((self.tensors.norm(norm, width, eps)?, self.projection(projection, width, embedding)?))
    }

    /// Refuses a checkpoint that has more blocks than its configuration says.
    pub fn check_blocks(&self, tower: Tower, count: usize) -> Result<()> {
        let blocks = match tower {
            Tower::Vision => self.layout.vision_blocks,
            Tower::Text => self.layout.text_blocks,
        };
        let next = format!("{blocks}.{count}.{}.weight", self.layout.norm_1);
        match self.tensors.contains(&next) {
            true => Err(self
                .tensors
                .fail(format!("has tensor {next}, and its configuration says {count} blocks"))),
            false => Ok(()),
        }
    }

    /// The parts of one block.
    pub fn block(
        &self,
        tower: Tower,
        index: usize,
        shape: &super::config::Transformer,
    ) -> Result<BlockParts> {
        let layout = self.layout;
        let (width, eps) = (shape.width, shape.norm_eps);
        let (blocks, precision) = match tower {
            Tower::Vision => (layout.vision_blocks, self.precision),
            // A text is encoded once per product. So its rounding would save little time.
            Tower::Text => (layout.text_blocks, Precision::F32),
        };
        let name = |part: &str| format!("{blocks}.{index}.{part}");
        let (q, kv) = if layout.is_open_clip {
            let weight = self.tensors.tensor(&name("attn.in_proj_weight"), &[3 * width, width])?;
            let bias = self.tensors.tensor(&name("attn.in_proj_bias"), &[3 * width])?;
            let rows = |start, length| {
                let bias = bias.narrow(0, start, length)?;
                Linear::at(precision, &weight.narrow(0, start, length)?, Some(&bias))
            };
            (rows(0, width)?, rows(width, 2 * width)?)
        } else {
            let part = |part: &str, kind: &str, shape: &[usize]| {
                self.tensors.tensor(&name(&format!("self_attn.{part}_proj.{kind}")), shape)
            };
            let weight = |p| part(p, "weight", &[width, width]);
            let bias = |p| part(p, "bias", &[width]);
            let kv_weight = Tensor::cat(&[weight("k")?, weight("v")?], 0)?;
            let kv_bias = Tensor::cat(&[bias("k")?, bias("v")?], 0)?;
            (
                Linear::at(precision, &weight("q")?, Some(&bias("q")?))?,
                Linear::at(precision, &kv_weight, Some(&kv_bias))?,
            )
        };
        Ok(BlockParts {
            norm_1: self.tensors.norm(&name(layout.norm_1), width, eps)?,
            q,
            kv,
            out: self.tensors.linear(precision, &name(layout.attention_out), width, width)?,
            mlp: Mlp {
                norm: self.tensors.norm(&name(layout.norm_2), width, eps)?,
                inner: self.tensors.linear(
                    precision,
                    &name(layout.mlp_in),
                    width,
                    shape.mlp_width,
                )?,
                hidden: Hidden::Activation(shape.activation),
                outer: self.tensors.linear(
                    precision,
                    &name(layout.mlp_out),
                    shape.mlp_width,
                    width,
                )?,
            },
        })
    }
}

/// The layers of a transformer block. `kv` gives keys and values side by side, `[rows, 2 * width]`.
#[derive(Clone, Debug)]
pub(super) struct BlockParts {
    pub norm_1: LayerNorm,
    pub q: Linear,
    pub kv: Linear,
    pub out: Linear,
    pub mlp: Mlp,
}
