//! Reads the tensors of a checkpoint, in the layout of Hugging Face or open_clip.

use std::fmt::Display;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};

use candle_core::pickle::Object;
use candle_core::{DType, Device, Tensor};
use candle_nn::VarBuilder;

use super::files::{Files, Manifest, Weights, embedded, shards};
use super::weights::TensorFiles;
use crate::error::catch_panic;
use crate::error::{Error, Result};
use crate::files::{files_sha256, sha256};
use crate::ops::{LayerNorm, Linear, Mlp, Precision};
use crate::pickle::{Limits, archive, object};

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

/// An open checkpoint. Its tensors are float32 on the device. Each tensor is checked to have the requested shape, and
/// no NaN or infinity.
pub(super) struct Checkpoint {
    tensors: VarBuilder<'static>,
    layout: &'static NameLayout,
    file: PathBuf,
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
        let (paths, file) = weight_paths(files, manifest)?;
        let opened = match (files, &manifest.weights) {
            (Files::Embedded, _) => {
                let bytes = embedded("model.safetensors");
                VarBuilder::from_slice_safetensors(bytes, DType::F32, device)
            }
            (_, Weights::Pickle(_)) => {
                check_pickle(&paths[0]).map_err(|why| Error::model(file.display(), why))?;
                let opened = catch_panic(|| VarBuilder::from_pth(&paths[0], DType::F32, device));
                opened.ok_or_else(|| Error::model(file.display(), "damaged; fetch it again"))?
            }
            _ => {
                let tensors = TensorFiles::open(&paths);
                let tensors = tensors.map_err(|(file, why)| damaged(&file, why))?;
                Ok(VarBuilder::from_backend(Box::new(tensors), DType::F32, device.clone()))
            }
        };
        let tensors = opened.map_err(|e| damaged(&file, without_backtrace(e)))?;
        let layout = if manifest.is_open_clip() { &OPEN_CLIP } else { &HUGGING_FACE };
        Ok(Self { tensors, layout, file, precision })
    }

    fn fail(&self, why: String) -> Error {
        Error::model(self.file.display(), why)
    }

    fn tensor(&self, name: &str, shape: &[usize]) -> Result<Tensor> {
        if !self.tensors.contains_tensor(name) {
            let has = |prefix: &&&str| self.tensors.contains_tensor(&format!("{prefix}{name}"));
            if let Some(prefix) = TRAINING_PREFIXES.iter().find(has) {
                return Err(self.fail(saved_by_training(prefix)));
            }
            return Err(self.fail(format!(
                "tensor {name} is missing: the file is not the checkpoint its configuration describes"
            )));
        }
        let tensor = catch_panic(|| self.tensors.get_unchecked(name));
        let tensor = tensor.ok_or_else(|| self.fail(format!("tensor {name} is damaged")))?;
        let tensor = tensor.map_err(|e| damaged(&self.file, without_backtrace(e)))?;
        if tensor.dims() != shape {
            return Err(self.fail(format!(
                "tensor {name} has shape {:?} where the configuration asks for {shape:?}",
                tensor.dims()
            )));
        }
        // A NaN or an infinity makes the sum NaN or infinite. The finite weights of a real model do not add up to
        // infinity.
        let sum = tensor.sum_all()?.to_scalar::<f32>()?;
        if !sum.is_finite() {
            return Err(
                self.fail(format!("tensor {name} holds NaN or infinity; fetch the file again"))
            );
        }
        Ok(tensor)
    }

    fn linear(
        &self,
        precision: Precision,
        name: &str,
        inputs: usize,
        outputs: usize,
    ) -> Result<Linear> {
        let weight = self.tensor(&format!("{name}.weight"), &[outputs, inputs])?;
        let bias = self.tensor(&format!("{name}.bias"), &[outputs])?;
        Ok(Linear::at(precision, &weight, Some(&bias))?)
    }

    fn norm(&self, name: &str, width: usize, eps: f64) -> Result<LayerNorm> {
        let weight = self.tensor(&format!("{name}.weight"), &[width])?;
        let bias = self.tensor(&format!("{name}.bias"), &[width])?;
        Ok(LayerNorm::new(weight, bias, eps))
    }

    fn projection(&self, name: &str, width: usize, embedding: usize) -> Result<Linear> {
        let weight = if self.layout.is_open_clip {
            self.tensor(name, &[width, embedding])?.t()?
        } else {
            self.tensor(name, &[embedding, width])?
        };
        Ok(Linear::new(&weight, None)?)
    }

    /// The patch embedding as a linear layer with weights `[width, 3 * patch * patch]`.
    pub fn patch_embedding(&self, width: usize, patch: usize) -> Result<Linear> {
        let weight = self.tensor(self.layout.patch, &[width, 3, patch, patch])?;
        Ok(Linear::new(&weight.reshape((width, 3 * patch * patch))?, None)?)
    }

    /// Refuses a checkpoint with a trunk that its configuration does not describe.
    pub fn check_no_trunk(&self) -> Result<()> {
        if self.tensors.contains_tensor(&format!("{EMBEDDINGS}.trunk_projection.weight")) {
            return Err(self.fail("has a trunk, and its configuration has none".into()));
        }
        Ok(())
    }

    /// Weight and bias of a layer of the trunk.
    pub fn trunk(&self, layer: &str, shape: &[usize]) -> Result<(Tensor, Tensor)> {
        let name = |part: &str| format!("{EMBEDDINGS}.trunk.{layer}.{part}");
        Ok((self.tensor(&name("weight"), shape)?, self.tensor(&name("bias"), &shape[..1])?))
    }

    /// The norm of the trunk's channels, and their projection to a token.
    pub fn trunk_projection(
        &self,
        channels: usize,
        width: usize,
        eps: f64,
    ) -> Result<(LayerNorm, Linear)> {
        let norm = self.norm(&format!("{EMBEDDINGS}.trunk_norm"), channels, eps)?;
        Ok((
            norm,
            self.linear(
                Precision::F32,
                &format!("{EMBEDDINGS}.trunk_projection"),
                channels,
                width,
            )?,
        ))
    }

    /// `[width]`.
    pub fn class_embedding(&self, width: usize) -> Result<Tensor> {
        self.tensor(self.layout.class, &[width])
    }

    /// `[rows, width]`.
    pub fn position_embedding(&self, tower: Tower, rows: usize, width: usize) -> Result<Tensor> {
        let name = match tower {
            Tower::Vision => self.layout.vision_position,
            Tower::Text => self.layout.text_position,
        };
        self.tensor(name, &[rows, width])
    }

    /// The factor that the model multiplies cosines by, from training. If the checkpoint does not have it: 100, as in
    /// OpenAI's checkpoints.
    pub fn logit_scale(&self) -> Result<f32> {
        const NAME: &str = "logit_scale";
        if !self.tensors.contains_tensor(NAME) {
            return Ok(100.0);
        }
        let tensor = self.tensors.get_unchecked(NAME);
        let tensor = tensor.map_err(|e| damaged(&self.file, without_backtrace(e)))?;
        let scale = tensor.flatten_all()?.to_vec1::<f32>()?.first().map_or(f32::NAN, |s| s.exp());
        if !scale.is_finite() {
            return Err(self.fail(format!("{NAME} is no number; fetch the file again")));
        }
        Ok(scale)
    }

    /// `[vocabulary, width]`.
    pub fn token_embedding(&self, vocabulary: usize, width: usize) -> Result<Tensor> {
        self.tensor(self.layout.token, &[vocabulary, width])
    }

    /// The image tower's norm before the first block. The text tower has none.
    pub fn norm_before(&self, width: usize, eps: f64) -> Result<LayerNorm> {
        self.norm(self.layout.norm_before, width, eps)
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
        Ok((self.norm(norm, width, eps)?, self.projection(projection, width, embedding)?))
    }

    /// Refuses a checkpoint that has more blocks than its configuration says.
    pub fn check_blocks(&self, tower: Tower, count: usize) -> Result<()> {
        let blocks = match tower {
            Tower::Vision => self.layout.vision_blocks,
            Tower::Text => self.layout.text_blocks,
        };
        let next = format!("{blocks}.{count}.{}.weight", self.layout.norm_1);
        match self.tensors.contains_tensor(&next) {
            true => {
                Err(self
                    .fail(format!("has tensor {next}, and its configuration says {count} blocks")))
            }
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
            let weight = self.tensor(&name("attn.in_proj_weight"), &[3 * width, width])?;
            let bias = self.tensor(&name("attn.in_proj_bias"), &[3 * width])?;
            let rows = |start, length| {
                let bias = bias.narrow(0, start, length)?;
                Linear::at(precision, &weight.narrow(0, start, length)?, Some(&bias))
            };
            (rows(0, width)?, rows(width, 2 * width)?)
        } else {
            let part = |part: &str, kind: &str, shape: &[usize]| {
                self.tensor(&name(&format!("self_attn.{part}_proj.{kind}")), shape)
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
            norm_1: self.norm(&name(layout.norm_1), width, eps)?,
            q,
            kv,
            out: self.linear(precision, &name(layout.attention_out), width, width)?,
            mlp: Mlp {
                norm: self.norm(&name(layout.norm_2), width, eps)?,
                inner: self.linear(precision, &name(layout.mlp_in), width, shape.mlp_width)?,
                activation: shape.activation,
                outer: self.linear(precision, &name(layout.mlp_out), shape.mlp_width, width)?,
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

/// Prefixes that PyTorch's wrappers add to tensor names: for several devices, and for a compiled model.
const TRAINING_PREFIXES: [&str; 2] = ["module.", "_orig_mod."];

fn saved_by_training(prefix: &str) -> String {
    format!(
        "was saved while it was trained: its names begin with {prefix:?}; save it again without that"
    )
}

/// Refuses a PyTorch file that is not a plain list of tensors, before any tensor is read.
fn check_pickle(path: &Path) -> Result<(), String> {
    // Enough for a few thousand tensors, as in the largest models.
    const LIMITS: Limits = Limits { bytes: 16 << 20, visits: 4_000_000 };
    let as_text = |e: std::io::Error| format!("cannot read: {e}");
    let file = crate::files::open(path, u64::MAX).map_err(as_text)?;
    let length = file.metadata().map_err(as_text)?.len();
    let mut file = BufReader::new(file);
    if !file.fill_buf().map_err(as_text)?.starts_with(b"PK") {
        return Err(
            "is not a zip file: damaged, or written by PyTorch before 1.6; save it again as safetensors".into()
        );
    }
    let mut zip = archive(file, length)?;
    let (folder, found) = object(&mut zip, LIMITS, |_| Ok(()))?;
    let Object::Dict(entries) = found else {
        return Err("holds no list of tensors; save the model's state_dict() as safetensors".into());
    };
    let names = || {
        entries.iter().filter_map(|(key, _)| match key {
            Object::Unicode(name) => Some(name.as_str()),
            _ => None,
        })
    };
    if let Some(key) =
        names().find(|name| ["state_dict", "model", "model_state_dict"].contains(name))
    {
        return Err(format!(
            "is a checkpoint of a training: its weights are under {key:?}; save only these, as safetensors"
        ));
    }
    let prefix = TRAINING_PREFIXES.iter().find(|p| names().any(|name| name.starts_with(**p)));
    if let Some(prefix) = prefix {
        return Err(saved_by_training(prefix));
    }
    // A shape may ask for more bytes than the file has. Tied weights are stored once and counted twice here, so the
    // total may reach twice the file's length.
    let mut total = 0u64;
    for (key, value) in entries {
        let Some(Ok(info)) = catch_panic(|| value.into_tensor_info(key, Path::new(&folder))) else {
            return Err("holds a tensor of an unknown kind; save it again as safetensors".into());
        };
        let Some(info) = info else { continue };
        let stored = zip.by_name(&info.path).map_or(0, |part| part.size());
        let bytes = info.layout.shape().elem_count() as u64 * info.dtype.size_in_bytes() as u64;
        total = total.saturating_add(bytes);
        if bytes > stored || total > 2 * length {
            return Err(format!("tensor {} is larger than the file; fetch it again", info.name));
        }
    }
    Ok(())
}

fn damaged(file: &Path, why: impl Display) -> Error {
    Error::model(file.display(), format!("damaged or not a checkpoint; fetch it again ({why})"))
}

/// With `RUST_BACKTRACE=1`, candle's errors hold many lines.
fn without_backtrace(error: candle_core::Error) -> candle_core::Error {
    match error {
        candle_core::Error::WithBacktrace { inner, .. } => without_backtrace(*inner),
        error => error,
    }
}

/// The weight files in order, and the file that error messages name.
fn weight_paths(files: &Files, manifest: &Manifest) -> Result<(Vec<PathBuf>, PathBuf)> {
    let names = match &manifest.weights {
        Weights::Safetensors(name) | Weights::Pickle(name) => vec![name.clone()],
        Weights::Sharded(index) => {
            super::config::in_file(files.path(index).display(), shards(&files.read(index)?))?
        }
    };
    let paths: Vec<PathBuf> = names.iter().map(|name| files.path(name)).collect();
    if let (Files::Folder(_), Some(missing)) = (files, paths.iter().find(|p| !p.is_file())) {
        return Err(Error::model(missing.display(), "this part of the checkpoint is missing"));
    }
    let first = paths.first().cloned().ok_or_else(|| Error::model("index", "names no weights"))?;
    Ok((paths, first))
}

/// SHA-256 of the weights file, in hexadecimal. If there are several shards: of all shards, one after another in order
/// of name (`cat model-*.safetensors | sha256sum`).
pub(super) fn weights_sha256(files: &Files, manifest: &Manifest) -> Result<String> {
    match files {
        Files::Embedded => Ok(sha256(embedded("model.safetensors"))),
        Files::Folder(_) => files_sha256(&weight_paths(files, manifest)?.0),
    }
}
