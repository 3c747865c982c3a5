//! The checkpoint: a stopped training continues from this file.

use std::collections::BTreeMap;
use std::path::Path;

use candle_core::{Device, Tensor};
use safetensors::SafeTensors;

use super::net::Nets;
use crate::error::{Error, Result};
use crate::files::{safetensors_bytes, sealed, unsealed, write_whole};
use crate::train::Adam;

const MOST_BYTES: u64 = 1 << 30;
const SEAL: &[u8] = b"student checkpoint";

/// Where a training was stopped.
pub(super) struct Saved {
    /// The index of the stage.
    pub stage: usize,
    /// Steps of this stage that are done.
    pub step: usize,
    /// The first and second moment of each variable of this stage.
    pub moments: Vec<(Tensor, Tensor)>,
}

/// Writes the numbers of all networks, and the moments of the stage in work.
pub(super) fn write(
    path: &Path,
    identity: &str,
    stage: usize,
    nets: &Nets,
    adam: &Adam,
) -> Result<()> {
    let mut tensors: Vec<(String, Tensor)> = Vec::new();
    for (i, variable) in nets.vars().enumerate() {
        tensors.push((format!("{i}.value"), variable.as_detached_tensor()));
    }
    for (i, (first, second)) in adam.moments().enumerate() {
        tensors.push((format!("{i}.first"), first.clone()));
        tensors.push((format!("{i}.second"), second.clone()));
    }
    let metadata = BTreeMap::from([
        ("identity".to_string(), identity.to_string()),
        ("stage".to_string(), stage.to_string()),
        ("step".to_string(), adam.steps().to_string()),
    ]);
    let tensors = tensors.iter().map(|(name, tensor)| (name.clone(), tensor));
    let bytes = safetensors_bytes(tensors, metadata).map_err(|e| Error::data(path, e))?;
    write_whole(path, &sealed(SEAL, &bytes))
}

/// Restores the numbers of all networks. None if there is no file.
pub(super) fn read(path: &Path, identity: &str, nets: &Nets) -> Result<Option<Saved>> {
    if !path.exists() {
        return Ok(None);
    }
    let fail = |why: &str| Error::data(path, why);
    let damaged = "damaged, or of another version of blemish: remove it to begin anew";
    let bytes = crate::files::read(path, MOST_BYTES).map_err(Error::read(path))?;
    let bytes = unsealed(SEAL, bytes).ok_or_else(|| fail(damaged))?;
    let (_, metadata) = SafeTensors::read_metadata(&bytes).map_err(|_| fail(damaged))?;
    let metadata = metadata.metadata().clone().unwrap_or_default();
    if metadata.get("identity").map(String::as_str) != Some(identity) {
        let why = "is of a training with other photos, another profile or other settings: give the same ones, or \
                   remove it to begin anew";
        return Err(fail(why));
    }
    let number = |key: &str| -> Result<usize> {
        let found = metadata.get(key).and_then(|text| text.parse().ok());
        found.ok_or_else(|| fail(damaged))
    };
    let (stage, step) = (number("stage")?, number("step")?);
    let mut tensors =
        candle_core::safetensors::load_buffer(&bytes, &Device::Cpu).map_err(|_| fail(damaged))?;
    for (i, variable) in nets.vars().enumerate() {
        let value = tensors.remove(&format!("{i}.value")).ok_or_else(|| fail(damaged))?;
        variable.set(&value)?;
    }
    let mut moments = Vec::new();
    while let Some(first) = tensors.remove(&format!("{}.first", moments.len())) {
        let second = tensors.remove(&format!("{}.second", moments.len()));
        moments.push((first, second.ok_or_else(|| fail(damaged))?));
    }
    Ok(Some(Saved { stage, step, moments }))
}
