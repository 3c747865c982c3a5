//! The checkpoint: a stopped training continues from this file.

use std::collections::BTreeMap;
use std::path::Path;

use candle_core::{Device, Tensor, Var};
use safetensors::SafeTensors;

use super::Point;
use super::adam::Adam;
use crate::error::{Error, Result};
use crate::files::{safetensors_bytes, sealed, unsealed, write_whole};

const MOST_BYTES: u64 = 4 << 30;
const SEAL: &[u8] = b"checkpoint";

/// The curves so far.
#[derive(Clone, Debug, Default, PartialEq, serde::Serialize, serde::Deserialize)]
pub(super) struct History {
    pub points: Vec<Point>,
    /// Sum and number of the losses since the last point.
    sum: f64,
    count: usize,
}

impl History {
    pub fn add(&mut self, loss: f64) {
        self.sum += loss;
        self.count += 1;
    }

    /// Adds a point with the mean loss since the last point.
    pub fn point(&mut self, point: Point) -> &Point {
        let loss = self.sum / self.count.max(1) as f64;
        (self.sum, self.count) = (0.0, 0);
        self.points.push(Point { loss, ..point });
        &self.points[self.points.len() - 1]
    }
}

pub(super) fn write(
    path: &Path,
    identity: &str,
    variables: &[Var],
    adam: &Adam,
    history: &History,
) -> Result<()> {
    let mut tensors: Vec<(String, Tensor)> = Vec::new();
    for (i, (variable, (first, second))) in variables.iter().zip(adam.moments()).enumerate() {
        tensors.push((format!("{i}.value"), variable.as_detached_tensor()));
        tensors.push((format!("{i}.first"), first.clone()));
        tensors.push((format!("{i}.second"), second.clone()));
    }
    let fail = |e: &dyn std::fmt::Display| Error::data(path, e.to_string());
    let history = serde_json::to_string(history).map_err(|e| fail(&e))?;
    let metadata = BTreeMap::from([
        ("identity".to_string(), identity.to_string()),
        ("steps".to_string(), adam.steps().to_string()),
        ("history".to_string(), history),
    ]);
    let tensors = tensors.iter().map(|(name, tensor)| (name.clone(), tensor));
    let bytes = safetensors_bytes(tensors, metadata).map_err(|e| fail(&e))?;
    write_whole(path, &sealed(SEAL, &bytes))
}

/// Restores the variables and Adam from a checkpoint. Returns the curves.
pub(super) fn read(
    path: &Path,
    identity: &str,
    variables: &[Var],
    adam: &mut Adam,
) -> Result<History> {
    let fail = |why: &str| Error::data(path, why);
    let bytes = crate::files::read(path, MOST_BYTES)
        .map_err(|e| fail(&format!("no checkpoint to resume ({e}); start without resuming")))?;
    let damaged = "damaged, or of another version of blemish: remove it to begin anew";
    let bytes = unsealed(SEAL, bytes).ok_or_else(|| fail(damaged))?;
    let (_, metadata) = SafeTensors::read_metadata(&bytes).map_err(|_| fail(damaged))?;
    let metadata = metadata.metadata().clone().unwrap_or_default();
    if metadata.get("identity").map(String::as_str) != Some(identity) {
        return Err(fail(
            "is of a run with other photos, prompts, model or settings: give the same ones, or remove it to \
             begin anew",
        ));
    }
    let parsed = |key: &str| metadata.get(key).map(String::as_str).unwrap_or_default();
    let steps = parsed("steps").parse().map_err(|_| fail(damaged))?;
    let history = serde_json::from_str(parsed("history")).map_err(|_| fail(damaged))?;
    let mut tensors =
        candle_core::safetensors::load_buffer(&bytes, &Device::Cpu).map_err(|_| fail(damaged))?;
    let mut moments = Vec::new();
    for (i, variable) in variables.iter().enumerate() {
        let mut get = |part: &str| tensors.remove(&format!("{i}.{part}")).ok_or(fail(damaged));
        variable.set(&get("value")?)?;
        moments.push((get("first")?, get("second")?));
    }
    adam.restore(steps, moments);
    Ok(history)
}
