//! Reads the files of April-GAN's authors: a PyTorch pickle of `{"trainable_linearlayer": {"fc.0.weight": ...}}`.

use std::io::{Cursor, Read};

use candle_core::pickle::{Object, TensorInfo};
use candle_core::{Device, Tensor};
use zip::ZipArchive;

use crate::error::catch_panic;
use crate::pickle::{Limits, archive, object};

/// The largest published adapters have 13 MB.
pub(super) const MOST_BYTES: u64 = 1 << 28;

/// The published pickles have less than a kilobyte and a few hundred objects.
const LIMITS: Limits = Limits { bytes: 8 << 10, visits: 50_000 };
const KEY: &str = "trainable_linearlayer";

/// All tensors of the file, by name.
pub(super) fn read(bytes: &[u8]) -> Result<Vec<(String, Tensor)>, String> {
    catch_panic(|| tensors(bytes))
        .unwrap_or_else(|| Err("its pickle is damaged; fetch it again".into()))
}

fn tensors(bytes: &[u8]) -> Result<Vec<(String, Tensor)>, String> {
    let mut zip = archive(Cursor::new(bytes), bytes.len() as u64)?;
    let (folder, found) = object(&mut zip, LIMITS, is_harmless)?;
    let Object::Dict(entries) = found else {
        return Err(format!("holds no dictionary with {KEY:?}"));
    };
    let layers = entries.into_iter().find(|(key, _)| *key == Object::Unicode(KEY.into()));
    let state = match layers {
        Some((_, Object::Reduce { args, .. })) => *args,
        Some((_, state)) => state,
        None => return Err(format!("has no {KEY:?}: not an adapter of April-GAN")),
    };
    let Object::Dict(state) = state else { return Err(format!("{KEY:?} is not a dictionary")) };
    let mut tensors = Vec::new();
    for (name, value) in state {
        let info = value
            .into_tensor_info(name.clone(), std::path::Path::new(&folder))
            .ok()
            .flatten()
            .ok_or_else(|| format!("{name:?} is not a tensor"))?;
        tensors.push((info.name.clone(), tensor(&mut zip, &info)?));
    }
    Ok(tensors)
}

/// Refuses names of code that a file of tensors does not need.
fn is_harmless(object: &Object) -> Result<(), String> {
    let Object::Class { module_name, class_name } = object else { return Ok(()) };
    let harmless = match (&**module_name, &**class_name) {
        ("collections", "OrderedDict") => true,
        ("torch._utils", name) => name.starts_with("_rebuild_"),
        ("torch", name) => name.ends_with("Storage"),
        _ => false,
    };
    match harmless {
        true => Ok(()),
        false => Err(format!(
            "its pickle asks to call {module_name}.{class_name}: that is code, not an adapter, and was not run"
        )),
    }
}

fn tensor(zip: &mut ZipArchive<Cursor<&[u8]>>, info: &TensorInfo) -> Result<Tensor, String> {
    let fail = |why: String| format!("tensor {}: {why}", info.name);
    if !info.layout.is_contiguous() {
        return Err(fail("is not stored row by row".into()));
    }
    let count = info.layout.shape().elem_count() as u64;
    let start = info.layout.start_offset() as u64;
    let mut file = zip.by_name(&info.path).map_err(|e| fail(format!("is missing ({e})")))?;
    let bytes = count.checked_mul(info.dtype.size_in_bytes() as u64);
    // The size in the pickle may be wrong. Tensors are stored uncompressed, so the size of their part of the archive is
    // the limit.
    let most = file.size().min(MOST_BYTES);
    if bytes.and_then(|b| b.checked_add(start)).is_none_or(|end| end > most) {
        return Err(fail("is cut short".into()));
    }
    std::io::copy(&mut (&mut file).take(start), &mut std::io::sink())
        .map_err(|e| fail(e.to_string()))?;
    let mut data = vec![0; bytes.unwrap_or_default() as usize];
    file.read_exact(&mut data).map_err(|e| fail(e.to_string()))?;
    Tensor::from_raw_buffer(&data, info.dtype, info.layout.dims(), &Device::Cpu)
        .and_then(|t| t.to_dtype(candle_core::DType::F32))
        .map_err(|e| fail(e.to_string()))
}
