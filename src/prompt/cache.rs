//! Prompt embeddings in memory and on disk. Each prompt is encoded once.

use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::Mutex;

use candle_core::{DType, Tensor};

use crate::clip::Clip;
use crate::error::Result;
use crate::files::{keep, kept, sha256};

/// Ten thousand prompts need less.
const MOST_BYTES: u64 = 256 << 20;

/// Encoded prompts. Groups of prompts are kept on disk, and single prompts in memory. So after a change of the prompt
/// file, only new prompts are encoded. An unreadable disk or a changed entry is not an error. It costs time and never
/// changes a result.
#[derive(Debug, Default)]
pub struct TextCache {
    folder: Option<PathBuf>,
    /// The key is what the embedding depends on, and the text.
    memory: Mutex<HashMap<(String, String), Tensor>>,
}

impl TextCache {
    /// A cache that lasts as long as this value.
    pub fn in_memory() -> Self {
        Self::default()
    }

    /// A cache that is also in this folder. The folder is created at the first write.
    pub fn in_folder(folder: impl Into<PathBuf>) -> Self {
        Self { folder: Some(folder.into()), ..Self::default() }
    }

    /// A cache that is also on disk, in `$BLEMISH_CACHE/text`, or in `blemish/text` of the user's cache folder. Without
    /// a home folder it is in memory only.
    pub fn from_env() -> Self {
        crate::files::cache_folder()
            .map_or_else(Self::in_memory, |folder| Self::in_folder(folder.join("text")))
    }

    /// The embeddings of the texts, `[texts, embedding]`, not normalised. They have the same bits, encoded now or
    /// found.
    ///
    /// # Errors
    /// As [`Clip::encode_texts`].
    pub(super) fn encode(&self, clip: &Clip, texts: &[String]) -> Result<Tensor> {
        let file = self.file(clip, texts);
        if let Some(found) = file.as_ref().and_then(|file| read(file, clip, texts.len())) {
            return Ok(found);
        }
        let identity = clip.text_identity();
        let mut memory = self.memory.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
        let key = |text: &String| (identity.clone(), text.clone());
        let mut new: Vec<String> = Vec::new();
        for text in texts {
            if !memory.contains_key(&key(text)) && !new.contains(text) {
                new.push(text.clone());
            }
        }
        if !new.is_empty() {
            let encoded = clip.encode_texts(&new)?;
            for (row, text) in new.iter().enumerate() {
                memory.insert(key(text), encoded.get(row)?);
            }
        }
        let rows: Vec<&Tensor> = texts.iter().map(|text| &memory[&key(text)]).collect();
        let embeddings = Tensor::stack(&rows, 0)?;
        if let (Some(file), Ok(bytes)) =
            (file, safetensors::serialize([("embeddings", &embeddings)], None))
        {
            let _ = keep(&file, &bytes);
        }
        Ok(embeddings)
    }

    /// The file's name contains everything that the embeddings depend on.
    fn file(&self, clip: &Clip, texts: &[String]) -> Option<PathBuf> {
        let mut key = format!("blemish {} {}", env!("CARGO_PKG_VERSION"), clip.text_identity());
        for text in texts {
            // The length distinguishes ["ab", "c"] from ["a", "bc"].
            key.push_str(&format!("\n{} {text}", text.len()));
        }
        let name = format!("{}.texts", sha256(key.as_bytes()));
        Some(self.folder.as_ref()?.join(name))
    }
}

fn read(file: &std::path::Path, clip: &Clip, texts: usize) -> Option<Tensor> {
    let bytes = kept(file, MOST_BYTES)?;
    let mut tensors = candle_core::safetensors::load_buffer(&bytes, clip.device()).ok()?;
    let embeddings = tensors.remove("embeddings")?;
    let shape = [texts, clip.shape().embedding];
    (embeddings.dims() == shape && embeddings.dtype() == DType::F32).then_some(embeddings)
}
