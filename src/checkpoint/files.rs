//! Where the files of a checkpoint are, and which of them the model needs.

use std::borrow::Cow;
use std::path::{Path, PathBuf};

use crate::error::{Error, Result};

/// The embedded model. The same code reads it as any other model.
const EMBEDDED: [(&str, &[u8]); 5] = [
    ("adapter.safetensors", include_bytes!("../../weights/tiny/adapter.safetensors")),
    ("config.json", include_bytes!("../../weights/tiny/config.json")),
    ("model.safetensors", include_bytes!("../../weights/tiny/model.safetensors")),
    ("preprocessor_config.json", include_bytes!("../../weights/tiny/preprocessor_config.json")),
    ("tokenizer.json", include_bytes!("../../weights/tiny/tokenizer.json")),
];

/// Largest configuration or vocabulary that is read. Real ones have a few megabytes.
const MOST_BYTES: u64 = 256 << 20;

/// The files of a checkpoint: in a folder, or embedded in the program.
#[derive(Clone, Debug)]
pub(crate) enum Files {
    Embedded,
    Folder(PathBuf),
}

impl Files {
    /// The names of all files.
    pub fn names(&self) -> Result<Vec<String>> {
        match self {
            Files::Embedded => Ok(EMBEDDED.iter().map(|(name, _)| name.to_string()).collect()),
            Files::Folder(folder) => {
                let entries = std::fs::read_dir(folder).map_err(Error::read(folder))?;
                let mut names = Vec::new();
                for entry in entries {
                    let entry = entry.map_err(Error::read(folder))?;
                    names.push(entry.file_name().to_string_lossy().into_owned());
                }
                Ok(names)
            }
        }
    }

    /// A file's bytes.
    pub fn read(&self, name: &str) -> Result<Cow<'static, [u8]>> {
        match self {
            Files::Embedded => Ok(Cow::Borrowed(embedded(name))),
            Files::Folder(folder) => {
                let path = folder.join(name);
                Ok(Cow::Owned(crate::files::read(&path, MOST_BYTES).map_err(Error::read(&path))?))
            }
        }
    }

    /// A file's path, for messages and for mapping into memory.
    pub fn path(&self, name: &str) -> PathBuf {
        match self {
            Files::Embedded => Path::new("tiny").join(name),
            Files::Folder(folder) => folder.join(name),
        }
    }
}

/// The bytes of a file of the embedded model. The caller takes `name` from the list, so the file always exists.
pub(crate) fn embedded(name: &str) -> &'static [u8] {
    EMBEDDED.iter().find(|(n, _)| *n == name).map_or(&[], |(_, bytes)| bytes)
}

/// The files of a folder or repository that make up the model.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Manifest {
    pub config: String,
    pub weights: Weights,
    /// None for a model without words.
    pub tokenizer: Option<Vocabulary>,
    /// Hugging Face's preprocessing files: `processor_config.json` of transformers 5, then `preprocessor_config.json`
    /// of earlier versions. Empty for open_clip, which has the preprocessing in its configuration.
    pub preprocessors: Vec<String>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Weights {
    Safetensors(String),
    /// The index of a checkpoint in several files.
    Sharded(String),
    Pickle(String),
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Vocabulary {
    TokenizerJson,
    VocabAndMerges,
}

impl Manifest {
    /// Chooses files from `names`. Safetensors come before pickles. The open_clip files of a repository come before
    /// others, because `model.safetensors` beside them may hold only timm's image tower.
    ///
    /// # Errors
    /// A message that says what is missing.
    pub fn choose(names: &[String]) -> Result<Self, String> {
        let has = |name: &str| names.iter().any(|n| n == name);
        const OPEN_CLIP: &str = "open_clip_config.json";
        const HUGGING_FACE: &str = "config.json";
        type Wrap = fn(String) -> Weights;
        let candidates: [(&str, &str, Wrap); 5] = [
            (OPEN_CLIP, "open_clip_model.safetensors", Weights::Safetensors),
            (HUGGING_FACE, "model.safetensors", Weights::Safetensors),
            (HUGGING_FACE, "model.safetensors.index.json", Weights::Sharded),
            (OPEN_CLIP, "open_clip_pytorch_model.bin", Weights::Pickle),
            (HUGGING_FACE, "pytorch_model.bin", Weights::Pickle),
        ];
        let (config, weights) = candidates
            .into_iter()
            .find(|(config, weights, _)| has(config) && has(weights))
            .map(|(config, weights, wrap)| (config.to_string(), wrap(weights.to_string())))
            .ok_or_else(|| {
                if has("pytorch_model.bin.index.json") {
                    return "a checkpoint in several .bin files is not read; save it as safetensors";
                }
                "no checkpoint here: config.json with model.safetensors (or .index.json, or \
                 pytorch_model.bin), or open_clip_config.json with open_clip_model.safetensors (or \
                 open_clip_pytorch_model.bin), is needed"
            })?;
        let tokenizer = if has("tokenizer.json") {
            Some(Vocabulary::TokenizerJson)
        } else if has("vocab.json") && has("merges.txt") {
            Some(Vocabulary::VocabAndMerges)
        } else {
            None
        };
        let preprocessors = ["processor_config.json", "preprocessor_config.json"];
        let is_read = |name: &&str| config == HUGGING_FACE && has(name);
        let preprocessors = preprocessors.into_iter().filter(is_read).map(String::from).collect();
        Ok(Self { config, weights, tokenizer, preprocessors })
    }

    /// The tokenizer of a model with words.
    ///
    /// # Errors
    /// A message that says what is missing.
    pub fn words(&self) -> Result<&Vocabulary, String> {
        self.tokenizer.as_ref().ok_or_else(|| {
            "no tokenizer here; copy tokenizer.json of its repository into this folder (or vocab.json and \
             merges.txt). Models of OpenAI and open_clip share that of openai/clip-vit-large-patch14"
                .into()
        })
    }

    pub fn is_open_clip(&self) -> bool {
        self.config.starts_with("open_clip")
    }

    /// All files that the model needs, without the shards that an index names ([`shards`]).
    #[cfg(feature = "hub")]
    pub fn files(&self) -> Vec<&str> {
        let weights = match &self.weights {
            Weights::Safetensors(name) | Weights::Sharded(name) | Weights::Pickle(name) => name,
        };
        let tokenizer: &[&str] = match self.tokenizer {
            Some(Vocabulary::TokenizerJson) => &["tokenizer.json"],
            Some(Vocabulary::VocabAndMerges) => &["vocab.json", "merges.txt"],
            None => &[],
        };
        let mut files = vec![self.config.as_str()];
        files.extend(self.preprocessors.iter().map(String::as_str));
        files.extend(tokenizer);
        files.push(weights);
        files
    }
}

/// The weight files that an index names, each once, in order of name.
pub(crate) fn shards(index: &[u8]) -> Result<Vec<String>, String> {
    #[derive(serde::Deserialize)]
    struct Index {
        weight_map: std::collections::BTreeMap<String, String>,
    }
    let index: Index = serde_json::from_slice(index).map_err(|e| format!("not an index: {e}"))?;
    let mut files: Vec<String> = index.weight_map.into_values().collect();
    files.sort();
    files.dedup();
    // The names are untrusted. They must not lead out of the folder.
    if let Some(bad) = files.iter().find(|f| f.contains(['/', '\\']) || f.starts_with('.')) {
        return Err(format!("names a file outside its folder: {bad:?}"));
    }
    Ok(files)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn choose(names: &[&str]) -> Result<Manifest, String> {
        Manifest::choose(&names.iter().map(|n| n.to_string()).collect::<Vec<_>>())
    }

    #[test]
    fn open_clip_files_come_before_timm_weights() {
        let m = choose(&[
            "config.json",
            "model.safetensors",
            "open_clip_config.json",
            "open_clip_model.safetensors",
            "tokenizer.json",
        ]);
        assert!(m.unwrap().is_open_clip());
    }

    #[test]
    fn what_is_missing_is_named() {
        assert!(
            choose(&["config.json", "tokenizer.json"]).unwrap_err().contains("model.safetensors")
        );
        let no_words = choose(&["config.json", "model.safetensors", "vocab.json"]).unwrap();
        assert!(no_words.words().unwrap_err().contains("merges.txt"));
    }

    #[test]
    fn an_index_cannot_point_outside() {
        assert!(shards(br#"{"weight_map":{"a":"../x.safetensors"}}"#).is_err());
        let two = br#"{"weight_map":{"a":"m-2.safetensors","b":"m-1.safetensors","c":"m-2.safetensors"}}"#;
        assert_eq!(shards(two).unwrap(), ["m-1.safetensors", "m-2.safetensors"]);
    }
}
