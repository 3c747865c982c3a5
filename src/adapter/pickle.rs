//! April-GAN's published files: a PyTorch pickle of `{"trainable_linearlayer": {"fc.0.weight": ...}}`. The
//! pickle is read as data; nothing in it is ever called.

use std::io::{Cursor, Read};

use candle_core::pickle::{Object, Stack, TensorInfo};
use candle_core::{Device, Tensor};
use zip::ZipArchive;

use super::file::MOST_BYTES;
use crate::error::quietly;

/// The published pickles have under a kilobyte.
const MOST_PICKLE: u64 = 8 << 10;
/// And a few hundred objects.
const MOST_OBJECTS: usize = 2000;
const KEY: &str = "trainable_linearlayer";

/// All tensors of the file, by name.
pub(super) fn read(bytes: &[u8]) -> Result<Vec<(String, Tensor)>, String> {
    // candle indexes into a hostile pickle's tuples without looking.
    quietly(|| tensors(bytes))
        .unwrap_or_else(|| Err("its pickle is damaged; fetch it again".into()))
}

fn tensors(bytes: &[u8]) -> Result<Vec<(String, Tensor)>, String> {
    let mut zip = ZipArchive::new(Cursor::new(bytes))
        .map_err(|e| format!("cut short or damaged; fetch it again ({e})"))?;
    let names: Vec<String> =
        zip.file_names().filter_map(Result::ok).map(|n| n.into_owned()).collect();
    let pickle = names.iter().find(|name| name.ends_with("/data.pkl") || *name == "data.pkl");
    let pickle = pickle.ok_or("no PyTorch file: it has no data.pkl")?;
    let folder = pickle.trim_end_matches(".pkl").to_string();
    let mut text = Vec::new();
    let file = zip.by_name(pickle).map_err(|e| format!("damaged: {e}"))?;
    file.take(MOST_PICKLE + 1).read_to_end(&mut text).map_err(|e| format!("damaged: {e}"))?;
    if text.len() as u64 > MOST_PICKLE {
        return Err("its pickle is too large for an adapter's".into());
    }
    let Object::Dict(entries) = parse(&text)? else {
        return Err(format!("holds no dictionary with {KEY:?}"));
    };
    let layers = entries.into_iter().find(|(key, _)| *key == Object::Unicode(KEY.into()));
    let state = match layers {
        Some((_, Object::Reduce { args, .. })) => *args,
        Some((_, state)) => state,
        None => return Err(format!("has no {KEY:?}: not an adapter of April-GAN")),
    };
    let Object::Dict(state) = state else { return Err(format!("{KEY:?} is no dictionary")) };
    let mut tensors = Vec::new();
    for (name, value) in state {
        let info = value
            .into_tensor_info(name.clone(), std::path::Path::new(&folder))
            .ok()
            .flatten()
            .ok_or_else(|| format!("{name:?} is no tensor"))?;
        tensors.push((info.name.clone(), tensor(&mut zip, &info)?));
    }
    Ok(tensors)
}

/// The object that a pickle describes, without calling anything.
fn parse(text: &[u8]) -> Result<Object, String> {
    let mut stack = Stack::empty();
    let mut rest = Cursor::new(text);
    loop {
        let done = stack.read(&mut rest).map_err(|e| {
            let why = e.to_string();
            format!("its pickle cannot be read ({})", why.lines().next().unwrap_or_default())
        })?;
        // Checked step by step: a few bytes can double what was built so far.
        if let Some(top) = stack.stack().last() {
            count(top, &mut 0)?;
        }
        if done {
            return stack.finalize().map_err(|_| "its pickle is empty".into());
        }
    }
}

/// Counts objects, and refuses those that a file of tensors does not need.
fn count(object: &Object, seen: &mut usize) -> Result<(), String> {
    *seen += 1;
    if *seen > MOST_OBJECTS {
        return Err("its pickle is too large for an adapter's".into());
    }
    match object {
        Object::Class { module_name, class_name } => {
            let harmless = match (&**module_name, &**class_name) {
                ("collections", "OrderedDict") => true,
                ("torch._utils", name) => name.starts_with("_rebuild_"),
                ("torch", name) => name.ends_with("Storage"),
                _ => false,
            };
            if !harmless {
                return Err(format!(
                    "its pickle asks to call {module_name}.{class_name}: that is code, not an adapter, and was \
                     not run"
                ));
            }
            Ok(())
        }
        Object::Tuple(list) | Object::List(list) => list.iter().try_for_each(|o| count(o, seen)),
        Object::Dict(list) => list.iter().try_for_each(|(key, value)| {
            count(key, seen)?;
            count(value, seen)
        }),
        Object::Reduce { callable, args } | Object::Build { callable, args } => {
            count(callable, seen)?;
            count(args, seen)
        }
        Object::PersistentLoad(inner) => count(inner, seen),
        _ => Ok(()),
    }
}

fn tensor(zip: &mut ZipArchive<Cursor<&[u8]>>, info: &TensorInfo) -> Result<Tensor, String> {
    let fail = |why: String| format!("tensor {}: {why}", info.name);
    if !info.layout.is_contiguous() {
        return Err(fail("is stored in another order than its rows'".into()));
    }
    let count = info.layout.shape().elem_count() as u64;
    let start = info.layout.start_offset() as u64;
    let mut file = zip.by_name(&info.path).map_err(|e| fail(format!("is missing ({e})")))?;
    let bytes = count.checked_mul(info.dtype.size_in_bytes() as u64);
    // What a header says of its size may be a lie; tensors are stored as they are, so the file's own size bounds
    // them.
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
