//! Prompt embeddings on disk, so that a product's words are encoded once and not once per run.

use std::path::PathBuf;

use candle_core::Tensor;

use crate::Clip;

/// A folder of encoded prompt sets. A cache that cannot be read or written costs time, never results:
/// its failures are not errors.
#[derive(Clone, Debug)]
pub struct TextCache {
    folder: PathBuf,
}

impl TextCache {
    /// A cache in this folder, which is made when first written to.
    pub fn new(folder: impl Into<PathBuf>) -> Self {
        Self { folder: folder.into() }
    }

    /// `$BLEMISH_CACHE/text`, or `blemish/text` in the user's cache folder; none without a home.
    pub fn from_env() -> Option<Self> {
        let path = |name| std::env::var_os(name).filter(|v| !v.is_empty()).map(PathBuf::from);
        let folder = path("BLEMISH_CACHE").or_else(|| {
            let caches = path("XDG_CACHE_HOME")
                .or_else(|| std::env::home_dir().map(|home| home.join(".cache")))?;
            Some(caches.join("blemish"))
        })?;
        Some(Self::new(folder.join("text")))
    }

    /// All that the embeddings depend on goes into the file's name.
    fn file(&self, clip: &Clip, texts: &[String]) -> PathBuf {
        let mut key = format!("blemish {} {}", env!("CARGO_PKG_VERSION"), clip.text_identity());
        for text in texts {
            // The length keeps ["ab", "c"] and ["a", "bc"] apart.
            key.push_str(&format!("\n{} {text}", text.len()));
        }
        self.folder.join(format!("{}.safetensors", crate::clip::sha256(key.as_bytes())))
    }

    /// `[texts, width]` as it was stored.
    pub(super) fn get(&self, clip: &Clip, texts: &[String]) -> Option<Tensor> {
        let bytes = std::fs::read(self.file(clip, texts)).ok()?;
        let mut tensors = candle_core::safetensors::load_buffer(&bytes, clip.device()).ok()?;
        let embeddings = tensors.remove("embeddings")?;
        (embeddings.dim(0).ok()? == texts.len()).then_some(embeddings)
    }

    pub(super) fn put(&self, clip: &Clip, texts: &[String], embeddings: &Tensor) {
        let bytes = || -> candle_core::Result<Vec<u8>> {
            Ok(safetensors::serialize([("embeddings", embeddings)], None)?)
        };
        if let Ok(bytes) = bytes() {
            let _ = crate::files::write_whole(&self.file(clip, texts), &bytes);
        }
    }
}
