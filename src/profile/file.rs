//! Profiles on disk: safetensors with three strings of metadata, one of them a JSON object (`docs/enroll.md`). A file
//! that was changed after it was written is refused.

use std::collections::BTreeMap;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use candle_core::{DType, Device, Tensor};
use safetensors::SafeTensors;

use super::{KindAbout, Profile, ProfileAbout};
use crate::adapter::Adapter;
use crate::error::{Error, Result};
use crate::files::{safetensors_bytes, write_whole};
use crate::prompt::Product;
use crate::prompt::{Kind, Role};

/// The value of `format` in the metadata.
const FORMAT: &str = "blemish profile 1";
/// The same of a profile of several lights.
pub(super) const LIGHTS_FORMAT: &str = "blemish profile of lights 1";
pub(super) const MOST_BYTES: u64 = 16 << 30;
const MOST_METADATA: u64 = 100 << 20;

impl Profile {
    pub(super) fn new(
        about: ProfileAbout,
        product: Product,
        adapter: Option<Arc<Adapter>>,
        tensors: Vec<(String, Tensor)>,
        region: Option<Arc<[bool]>>,
    ) -> Result<Self> {
        let (file, sha256) = (PathBuf::new(), String::new());
        let mut profile = Self { about, file, sha256, product, adapter, tensors, region };
        profile.sha256 = crate::files::sha256(&profile.content()?);
        Ok(profile)
    }

    /// Writes the profile. The file is written completely or not at all.
    ///
    /// # Errors
    /// [`Error::Write`] if the file cannot be written.
    pub fn save(&self, path: impl AsRef<Path>) -> Result<()> {
        let bytes = self.bytes(Some(&self.sha256))?;
        write_whole(path.as_ref(), &bytes)
    }

    /// Whether a file claims to be a profile, of any kind and version and in any state.
    pub fn is_one(path: impl AsRef<Path>) -> bool {
        format_of(path.as_ref()).is_some_and(|format| format.starts_with("blemish profile"))
    }

    /// Reads a profile that [`Profile::save`] wrote.
    ///
    /// # Errors
    /// [`Error::Profile`] says whether the file is something else, has another version, or was changed.
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
        Ok(Self { file: path.to_path_buf(), ..profile })
    }

    /// The SHA-256 in the metadata, and the content.
    pub(super) fn parse(bytes: &[u8]) -> Result<(String, Self), String> {
        let other = |e: &dyn std::fmt::Display| {
            format!("not a profile, or cut short; `blemish enroll` writes one ({e})")
        };
        let (_, metadata) = SafeTensors::read_metadata(bytes).map_err(|e| other(&e))?;
        let metadata = metadata.metadata().clone().unwrap_or_default();
        let get = |key: &str| metadata.get(key).ok_or_else(|| other(&format!("no {key}")));
        let format = get("format")?;
        if format == LIGHTS_FORMAT {
            let why = "is a profile of several lights; only `score` takes it";
            return Err(why.into());
        }
        if format != FORMAT {
            return Err(format!(
                "is {format:?}, and this version reads {FORMAT:?}; enroll again with this version"
            ));
        }
        let about: ProfileAbout = serde_json::from_str(get("profile")?).map_err(|e| other(&e))?;
        let mut tensors: Tensors = candle_core::safetensors::load_buffer(bytes, &Device::Cpu)
            .map_err(|e| other(&e))?
            .into_iter()
            .collect();
        let kinds = kinds_of(&about, &mut tensors).map_err(|why| other(&why))?;
        if !(about.false_alarm > 0.0 && about.false_alarm < 1.0) {
            return Err(other(&"a false-alarm rate that is not between 0 and 1"));
        }
        let references = crate::reference::reference_method(&about.reference_method);
        let references = references.map_err(|e| e.to_string())?;
        if references.takes_blocks == about.reference_blocks.is_empty() {
            return Err(other(&"layers that do not fit its reference method"));
        }
        let (sources, factors) = (about.reference_blocks.sources(), &about.reference_factors);
        let is_factor = |factor: &f32| factor.is_finite() && *factor > 0.0;
        if factors.len() != if sources == 1 { 0 } else { sources } || !factors.iter().all(is_factor)
        {
            return Err(other(&"factors that do not fit its layers"));
        }
        let product = Product::from_kinds(kinds).named(&about.product, &about.product_english);
        // A student has no adapter and no references of its own.
        let adapter = match &about.adapter {
            _ if about.student.is_some() => None,
            None => None,
            Some((name, sha256)) => {
                let bytes = take_bytes(&mut tensors, "adapter").map_err(|why| other(&why))?;
                let adapter = Adapter::recall(name, sha256, &bytes).map_err(|e| e.to_string())?;
                Some(Arc::new(adapter))
            }
        };
        let region = region_of(&about, &mut tensors).map_err(|why| other(&why))?;
        let fitted = tensors.into_iter().filter_map(|(name, tensor)| {
            name.strip_prefix("memory.").map(|name| (name.to_string(), tensor))
        });
        let profile = Self::new(about, product, adapter, fitted.collect(), region);
        Ok((get("sha256")?.clone(), profile.map_err(|e| e.to_string())?))
    }

    /// The bytes that the hash is computed from.
    fn content(&self) -> Result<Vec<u8>> {
        self.bytes(None)
    }

    pub(super) fn bytes(&self, sha256: Option<&str>) -> Result<Vec<u8>> {
        let fail = |why: String| Error::model(&self.about.model, why);
        let bytes_tensor = |bytes: Vec<u8>| {
            let length = bytes.len();
            Tensor::from_vec(bytes, length, &Device::Cpu)
        };
        let mut tensors = Vec::new();
        let kinds = self.product.all_kinds();
        for (i, kind) in kinds.enumerate() {
            tensors.push((format!("text.{i}"), kind.embeddings.to_device(&Device::Cpu)?));
        }
        for (name, tensor) in &self.tensors {
            tensors.push((format!("memory.{name}"), tensor.to_device(&Device::Cpu)?));
        }
        if let Some(adapter) = &self.adapter {
            tensors.push(("adapter".into(), bytes_tensor(adapter.to_bytes()?)?));
        }
        if let Some(region) = &self.region {
            let region = region.iter().map(|inside| u8::from(*inside)).collect();
            tensors.push(("region".into(), bytes_tensor(region)?));
        }
        let about = serde_json::to_string(&self.about).map_err(|e| fail(e.to_string()))?;
        let mut metadata = BTreeMap::from([
            ("format".to_string(), FORMAT.to_string()),
            ("profile".to_string(), about),
        ]);
        if let Some(sha256) = sha256 {
            metadata.insert("sha256".into(), sha256.into());
        }
        let tensors = tensors.iter().map(|(name, tensor)| (name.clone(), tensor));
        safetensors_bytes(tensors, metadata).map_err(fail)
    }
}

/// What a safetensors file says that it is. None for other files.
pub(super) fn format_of(path: &Path) -> Option<String> {
    let mut file = crate::files::open(path, MOST_BYTES).ok()?;
    let mut length = [0; 8];
    file.read_exact(&mut length).ok()?;
    let length = u64::from_le_bytes(length);
    let mut header = vec![0];
    file.read_exact(&mut header).ok()?;
    // Other files may begin with any number, but no JSON follows it.
    if !(1..=MOST_METADATA).contains(&length) || header != b"{" {
        return None;
    }
    file.take(length - 1).read_to_end(&mut header).ok()?;
    let header: serde_json::Value = serde_json::from_slice(&header).ok()?;
    Some(header["__metadata__"]["format"].as_str()?.to_string())
}

type Tensors = BTreeMap<String, Tensor>;

fn take(tensors: &mut Tensors, name: &str) -> Result<Tensor, String> {
    tensors.remove(name).ok_or_else(|| format!("no tensor {name}"))
}

fn take_bytes(tensors: &mut Tensors, name: &str) -> Result<Vec<u8>, String> {
    let tensor = take(tensors, name)?;
    tensor.flatten_all().and_then(|t| t.to_vec1::<u8>()).map_err(|e| e.to_string())
}

/// The prompts with their embeddings.
fn kinds_of(about: &ProfileAbout, tensors: &mut Tensors) -> Result<Vec<Kind>, String> {
    let mut kinds = Vec::new();
    for (i, kind) in about.kinds.iter().enumerate() {
        let embeddings = take(tensors, &format!("text.{i}"))?;
        if embeddings.rank() != 2 || embeddings.dtype() != DType::F32 {
            return Err("texts of a wrong shape".into());
        }
        kinds.push(kind.with(embeddings));
    }
    let counts = |kind: &Kind| kind.counts && matches!(kind.role, Role::Anomalous | Role::Defect);
    let has_normal = kinds.first().is_some_and(|kind| kind.role == Role::Normal);
    match has_normal && kinds.iter().skip(1).any(counts) {
        true => Ok(kinds),
        false => Err("no normal prompts, or no prompts of defects".into()),
    }
}

/// Which pixels of the model's input count. None if all do.
fn region_of(about: &ProfileAbout, tensors: &mut Tensors) -> Result<Option<Arc<[bool]>>, String> {
    if about.region.is_none() {
        return Ok(None);
    }
    let region = take_bytes(tensors, "region")?;
    if Some(region.len()) != about.size.checked_mul(about.size) {
        return Err("a region of another size".into());
    }
    Ok(Some(region.into_iter().map(|inside| inside != 0).collect()))
}

impl KindAbout {
    pub(super) fn of(kind: &Kind) -> Self {
        Self {
            role: kind.role,
            name: kind.name.clone(),
            english: kind.english.clone(),
            counts: kind.counts,
            margin: kind.margin,
            prompts: kind.prompts.clone(),
        }
    }

    fn with(&self, embeddings: Tensor) -> Kind {
        Kind {
            role: self.role,
            name: self.name.clone(),
            english: self.english.clone(),
            counts: self.counts,
            margin: self.margin,
            prompts: self.prompts.clone(),
            embeddings,
        }
    }
}
