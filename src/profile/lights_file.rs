//! Profiles of several lights on disk: safetensors with the file of each light's profile as bytes.

use std::collections::BTreeMap;
use std::path::Path;

use candle_core::{Device, Tensor};
use safetensors::SafeTensors;

use super::Profile;
use super::file::{LIGHTS_FORMAT as FORMAT, MOST_BYTES, format_of};
use super::lights::{LightsAbout, LightsProfile};
use crate::data::Views;
use crate::error::{Error, Result};
use crate::files::{safetensors_bytes, write_whole};

impl LightsProfile {
    /// Whether a file claims to be a profile of lights.
    pub fn is_one(path: impl AsRef<Path>) -> bool {
        format_of(path.as_ref()).is_some_and(|format| format == FORMAT)
    }

    /// Writes the profile. The file is written completely or not at all.
    ///
    /// # Errors
    /// [`Error::Write`] if the file cannot be written.
    pub fn save(&self, path: impl AsRef<Path>) -> Result<()> {
        let fail = |why: String| Error::profile(path.as_ref(), why);
        let mut tensors = Vec::new();
        for (i, profile) in self.profiles.iter().enumerate() {
            let bytes = profile.bytes(Some(&profile.sha256))?;
            let length = bytes.len();
            tensors.push((format!("light.{i}"), Tensor::from_vec(bytes, length, &Device::Cpu)?));
        }
        let about = serde_json::to_string(&self.about).map_err(|e| fail(e.to_string()))?;
        let metadata = [("format", FORMAT), ("lights", &about), ("sha256", &self.sha256)];
        let metadata = metadata.map(|(key, value)| (key.to_string(), value.to_string()));
        let tensors = tensors.iter().map(|(name, tensor)| (name.clone(), tensor));
        let bytes = safetensors_bytes(tensors, BTreeMap::from(metadata)).map_err(fail)?;
        write_whole(path.as_ref(), &bytes)
    }

    /// Reads what [`LightsProfile::save`] wrote.
    ///
    /// # Errors
    /// [`Error::Profile`] says whether the file is something else, or was changed.
    pub fn open(path: impl AsRef<Path>) -> Result<Self> {
        let path = path.as_ref();
        let fail = |why: String| Error::profile(path, why);
        let bytes = crate::files::read(path, MOST_BYTES);
        let bytes = bytes.map_err(|e| fail(format!("cannot read: {e}")))?;
        let (written, profile) = Self::parse(&bytes).map_err(fail)?;
        if profile.sha256 != written {
            let why = "was altered or cut after it was written; copy it again, or enroll again";
            return Err(fail(why.into()));
        }
        let profiles = profile.profiles.into_iter();
        let profiles = profiles.map(|own| Profile { file: path.to_path_buf(), ..own }).collect();
        Ok(Self { profiles, ..profile })
    }

    fn parse(bytes: &[u8]) -> Result<(String, Self), String> {
        let other = |e: &dyn std::fmt::Display| {
            format!(
                "not a profile of lights, or cut short; `blemish enroll --views` writes one ({e})"
            )
        };
        let (_, metadata) = SafeTensors::read_metadata(bytes).map_err(|e| other(&e))?;
        let metadata = metadata.metadata().clone().unwrap_or_default();
        let get = |key: &str| metadata.get(key).ok_or_else(|| other(&format!("no {key}")));
        if get("format")? != FORMAT {
            return Err(other(&"another format"));
        }
        let about: LightsAbout = serde_json::from_str(get("lights")?).map_err(|e| other(&e))?;
        let is_rate = about.false_alarm > 0.0 && about.false_alarm < 1.0;
        let is_named = about.lights.iter().all(|light| light.len() < 256)
            && about.lights.windows(2).all(|pair| pair[0] < pair[1]);
        if about.lights.is_empty() || !is_named || !is_rate || Views::parse(&about.views).is_err() {
            return Err(other(&"wrong lights, pattern or false-alarm rate"));
        }
        let file = SafeTensors::deserialize(bytes).map_err(|e| other(&e))?;
        if file.len() != about.lights.len() {
            return Err(other(&"another number of lights"));
        }
        let mut profiles = Vec::new();
        for i in 0..about.lights.len() {
            let own = file.tensor(&format!("light.{i}")).map_err(|e| other(&e))?;
            let (written, profile) = Profile::parse(own.data())?;
            if profile.sha256 != written {
                return Err(
                    "was altered or cut after it was written; copy it again, or enroll again"
                        .into(),
                );
            }
            profiles.push(profile);
        }
        let model = |profile: &Profile| {
            let about = profile.about();
            (about.model_sha256.clone(), about.size, about.precision.clone(), about.bit_depth)
        };
        if profiles.iter().any(|profile| model(profile) != model(&profiles[0])) {
            return Err(other(&"lights with different models"));
        }
        Ok((get("sha256")?.clone(), Self::new(about, profiles)))
    }
}
