//! The tensors of safetensors files, read one by one. A mapped file would stay in memory beside the weights that are
//! made of it, and could change while it is used.

use std::collections::HashMap;
use std::fs::File;
use std::io::{Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};
use std::sync::Mutex;

use candle_core::safetensors::Load;
use candle_core::{DType, Device, Error, Result, Shape, Tensor};
use candle_nn::var_builder::SimpleBackend;
use safetensors::tensor::{Metadata, TensorInfo, TensorView};

/// The format's own limit of a header.
const LONGEST_HEADER: u64 = 100_000_000;

/// The tensors of some files, by name.
pub(crate) struct TensorFiles {
    files: Vec<Mutex<File>>,
    places: HashMap<String, Place>,
}

struct Place {
    /// Index of the file.
    file: usize,
    /// Where the tensor begins in the file, in bytes.
    start: u64,
    info: TensorInfo,
}

impl TensorFiles {
    /// Reads the headers. A file must hold exactly what its header says. The error has the file and the reason.
    pub fn open(paths: &[PathBuf]) -> std::result::Result<Self, (PathBuf, String)> {
        let (mut files, mut places) = (Vec::new(), HashMap::new());
        for (index, path) in paths.iter().enumerate() {
            let (file, header, data) = open(path).map_err(|why| (path.clone(), why))?;
            for (name, info) in header.tensors() {
                let start = data + info.data_offsets.0 as u64;
                places.insert(name, Place { file: index, start, info: info.clone() });
            }
            files.push(Mutex::new(file));
        }
        Ok(Self { files, places })
    }
}

/// The file, its header, and where its data begins.
fn open(path: &Path) -> std::result::Result<(File, Metadata, u64), String> {
    let as_text = |error: std::io::Error| error.to_string();
    let mut file = crate::files::open(path, u64::MAX).map_err(as_text)?;
    let length = file.metadata().map_err(as_text)?.len();
    let mut size = [0; 8];
    if length >= 8 {
        file.read_exact(&mut size).map_err(as_text)?;
    }
    let size = u64::from_le_bytes(size);
    if length < 8 || size > length - 8 {
        return Err("the file ends inside its header".into());
    }
    if size > LONGEST_HEADER {
        return Err("the header is too long".into());
    }
    let mut header = vec![0; size as usize];
    file.read_exact(&mut header).map_err(as_text)?;
    let header: Metadata = serde_json::from_slice(&header).map_err(|error| error.to_string())?;
    let start = 8 + size;
    if start.checked_add(header.data_len() as u64) != Some(length) {
        return Err("the file is not as long as its header says".into());
    }
    Ok((file, header, start))
}

impl SimpleBackend for TensorFiles {
    fn get(
        &self,
        shape: Shape,
        name: &str,
        _: candle_nn::Init,
        dtype: DType,
        device: &Device,
    ) -> Result<Tensor> {
        let tensor = self.get_unchecked(name, dtype, device)?;
        if tensor.shape() != &shape {
            candle_core::bail!("tensor {name} has shape {:?}, not {shape:?}", tensor.shape());
        }
        Ok(tensor)
    }

    fn get_unchecked(&self, name: &str, dtype: DType, device: &Device) -> Result<Tensor> {
        let Some(Place { file, start, info }) = self.places.get(name) else {
            candle_core::bail!("there is no tensor {name}");
        };
        let mut bytes = vec![0; info.data_offsets.1 - info.data_offsets.0];
        {
            let Ok(mut file) = self.files[*file].lock() else {
                candle_core::bail!("an earlier read failed");
            };
            file.seek(SeekFrom::Start(*start))?;
            file.read_exact(&mut bytes)?;
        }
        let view = TensorView::new(info.dtype, info.shape.clone(), &bytes);
        view.map_err(Error::wrap)?.load(device)?.to_dtype(dtype)
    }

    fn contains_tensor(&self, name: &str) -> bool {
        self.places.contains_key(name)
    }
}
