//! The tensors of a checkpoint, from safetensors or a PyTorch file. Each is checked before use.

use std::fmt::Display;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};

use candle_core::pickle::Object;
use candle_core::{DType, Device, Tensor};
use candle_nn::VarBuilder;

use super::files::{Files, Weights, embedded, shards};
use super::preprocessing::in_file;
use super::weights::TensorFiles;
use crate::error::catch_panic;
use crate::error::{Error, Result};
use crate::files::{files_sha256, sha256};
use crate::ops::{LayerNorm, Linear, Precision};
use crate::pickle::{Limits, archive, object};

/// The tensors of an open checkpoint: float32, on the device. Each tensor is checked to have the requested shape, and
/// no NaN or infinity.
pub(crate) struct CheckedTensors {
    tensors: VarBuilder<'static>,
    file: PathBuf,
}

impl CheckedTensors {
    pub fn open(files: &Files, weights: &Weights, device: &Device) -> Result<Self> {
        let (paths, file) = weight_paths(files, weights)?;
        let opened = match (files, weights) {
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
        Ok(Self { tensors, file })
    }

    /// Whether there is a tensor of this name.
    pub fn contains(&self, name: &str) -> bool {
        self.tensors.contains_tensor(name)
    }

    /// An error that names the file.
    pub fn fail(&self, why: String) -> Error {
        Error::model(self.file.display(), why)
    }

    /// A tensor of this shape, without NaN and infinity.
    pub fn tensor(&self, name: &str, shape: &[usize]) -> Result<Tensor> {
        if !self.tensors.contains_tensor(name) {
            let has = |prefix: &&&str| self.tensors.contains_tensor(&format!("{prefix}{name}"));
            if let Some(prefix) = TRAINING_PREFIXES.iter().find(has) {
                return Err(self.fail(saved_by_training(prefix)));
            }
            return Err(self.fail(format!(
                "tensor {name} is missing: the file is not the checkpoint its configuration describes"
            )));
        }
        let tensor = self.unchecked(name)?;
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

    /// A tensor of any shape and content.
    pub fn unchecked(&self, name: &str) -> Result<Tensor> {
        let tensor = catch_panic(|| self.tensors.get_unchecked(name));
        let tensor = tensor.ok_or_else(|| self.fail(format!("tensor {name} is damaged")))?;
        tensor.map_err(|e| damaged(&self.file, without_backtrace(e)))
    }

    /// Weight `[outputs, inputs]` and bias of a linear layer.
    pub fn linear(
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

    pub fn norm(&self, name: &str, width: usize, eps: f64) -> Result<LayerNorm> {
        let weight = self.tensor(&format!("{name}.weight"), &[width])?;
        let bias = self.tensor(&format!("{name}.bias"), &[width])?;
        Ok(LayerNorm::new(weight, bias, eps))
    }
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
fn weight_paths(files: &Files, weights: &Weights) -> Result<(Vec<PathBuf>, PathBuf)> {
    let names = match weights {
        Weights::Safetensors(name) | Weights::Pickle(name) => vec![name.clone()],
        Weights::Sharded(index) => {
            in_file(files.path(index).display(), shards(&files.read(index)?))?
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
pub(crate) fn weights_sha256(files: &Files, weights: &Weights) -> Result<String> {
    match files {
        Files::Embedded => Ok(sha256(embedded("model.safetensors"))),
        Files::Folder(_) => files_sha256(&weight_paths(files, weights)?.0),
    }
}
