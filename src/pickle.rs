//! Reads PyTorch's files as data. Such a file is a zip. It holds a pickle that names tensors, and the bytes of the
//! tensors. Nothing in a pickle is ever called.

use std::io::{Cursor, Read, Seek};

use candle_core::pickle::{Object, Stack};
use zip::{CompressionMethod, ZipArchive};

use crate::error::catch_panic;

/// Limits of a file.
#[derive(Clone, Copy)]
pub(crate) struct Limits {
    /// Largest pickle, in bytes.
    pub bytes: u64,
    /// Most objects that are visited while the pickle is read. Each step visits the object that it built.
    pub visits: usize,
}

/// Deepest nesting that is accepted. PyTorch uses only a few levels.
const DEEPEST: usize = 64;

/// Opens the zip of a PyTorch file. Tensors are stored without compression. Compressed parts are refused, because they
/// could expand to any size.
pub(crate) fn archive<R: Read + Seek>(file: R, length: u64) -> Result<ZipArchive<R>, String> {
    let cut = |e: &dyn std::fmt::Display| format!("cut short or damaged; fetch it again ({e})");
    // The zip's directory is untrusted too.
    let zip = catch_panic(|| ZipArchive::new(file)).ok_or_else(|| cut(&"reading failed"))?;
    let mut zip = zip.map_err(|e| cut(&e))?;
    let mut total = 0u64;
    for i in 0..zip.len() {
        let part = zip.by_index_raw(i).map_err(|e| cut(&e))?;
        if part.compression() != CompressionMethod::Stored {
            return Err("its parts are compressed: PyTorch stores them as they are".into());
        }
        total = total.saturating_add(part.size());
    }
    if total > length {
        return Err(format!(
            "its parts expand to {total} bytes, more than the file has: PyTorch stores them as they are"
        ));
    }
    Ok(zip)
}

/// Reads the pickle. Returns the folder of the tensors in the zip, and the object that the pickle describes. `check` is
/// called for each object and may refuse it.
pub(crate) fn object<R: Read + Seek>(
    zip: &mut ZipArchive<R>,
    limits: Limits,
    check: impl Fn(&Object) -> Result<(), String>,
) -> Result<(String, Object), String> {
    let names: Vec<String> =
        zip.file_names().filter_map(Result::ok).map(|n| n.into_owned()).collect();
    if names.iter().any(|name| name.ends_with("constants.pkl") || name.contains("/code/")) {
        return Err("is a TorchScript archive: save the model's state_dict() as safetensors".into());
    }
    // candle reads every file of this name, so there must be only one.
    let mut pickles = names.iter().filter(|name| name.ends_with("data.pkl"));
    let pickle = pickles.next().ok_or("no PyTorch file: it has no data.pkl")?;
    if let Some(other) = pickles.next() {
        return Err(format!("holds two pickles, {pickle:?} and {other:?}: no PyTorch file"));
    }
    let mut text = Vec::new();
    let file = zip.by_name(pickle).map_err(|e| format!("damaged: {e}"))?;
    file.take(limits.bytes + 1).read_to_end(&mut text).map_err(|e| format!("damaged: {e}"))?;
    if text.len() as u64 > limits.bytes {
        return Err("its pickle is too large".into());
    }
    // candle does not check the length of a tuple, so a hostile pickle can make it panic.
    let object = catch_panic(|| parse(&text, limits, &check));
    let object = object.unwrap_or_else(|| Err("its pickle is damaged; fetch it again".into()))?;
    Ok((pickle.trim_end_matches(".pkl").to_string(), object))
}

fn parse(
    text: &[u8],
    limits: Limits,
    check: &impl Fn(&Object) -> Result<(), String>,
) -> Result<Object, String> {
    let mut stack = Stack::empty();
    let mut rest = Cursor::new(text);
    let mut left = limits.visits;
    loop {
        let done = stack.read(&mut rest).map_err(|e| {
            let why = e.to_string();
            format!("its pickle cannot be read ({})", why.lines().next().unwrap_or_default())
        })?;
        // Check after each step. A few bytes can double the object that was built so far.
        if let Some(top) = stack.stack().last() {
            walk(top, DEEPEST, &mut left, check)?;
        }
        if done {
            return stack.finalize().map_err(|_| "its pickle is empty".into());
        }
    }
}

/// Visits an object and everything in it, within a depth and a number of visits.
fn walk(
    object: &Object,
    depth: usize,
    left: &mut usize,
    check: &impl Fn(&Object) -> Result<(), String>,
) -> Result<(), String> {
    *left = left.checked_sub(1).ok_or("its pickle is too large")?;
    let depth = depth.checked_sub(1).ok_or("its pickle is nested too deep")?;
    check(object)?;
    match object {
        Object::Tuple(list) | Object::List(list) => {
            list.iter().try_for_each(|o| walk(o, depth, left, check))
        }
        Object::Dict(list) => list.iter().try_for_each(|(key, value)| {
            walk(key, depth, left, check)?;
            walk(value, depth, left, check)
        }),
        Object::Reduce { callable, args } | Object::Build { callable, args } => {
            walk(callable, depth, left, check)?;
            walk(args, depth, left, check)
        }
        Object::PersistentLoad(inner) => walk(inner, depth, left, check),
        _ => Ok(()),
    }
}
