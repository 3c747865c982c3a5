//! A product's words as text embeddings.

use candle_core::Tensor;

use super::{Prompts, SLOT, TextCache};
use crate::{Clip, Error, Result};

/// A product that was given words: the embeddings of its normal and anomalous prompts.
#[derive(Clone, Debug)]
pub struct Product {
    name: String,
    normal: Tensor,
    anomalous: Tensor,
    cut_prompts: usize,
}

impl Product {
    /// Encodes the prompts of a product called `name` (English; "metal nut").
    ///
    /// # Errors
    /// [`Error::Setting`] for a name that is empty or holds `{}` or control characters.
    pub fn new(clip: &Clip, name: &str, prompts: &Prompts) -> Result<Self> {
        Self::with_synonyms(clip, &[name.to_string()], prompts, None)
    }

    /// The same for a product with several names, whose prompts count alike, looking in a cache first.
    ///
    /// # Errors
    /// As [`Product::new`]; and without any name.
    pub fn with_synonyms(
        clip: &Clip,
        names: &[String],
        prompts: &Prompts,
        cache: Option<&TextCache>,
    ) -> Result<Self> {
        let names = names.iter().map(|n| checked_name(n)).collect::<Result<Vec<_>>>()?;
        if names.is_empty() {
            return Err(Error::setting("--product", "give the product a name"));
        }
        let normal: Vec<String> = names.iter().flat_map(|n| prompts.normal(n)).collect();
        let anomalous: Vec<String> = names.iter().flat_map(|n| prompts.anomalous(n)).collect();
        let tokens = clip.tokenize(&[&normal[..], &anomalous[..]].concat())?;
        Ok(Self {
            name: names.join(", "),
            normal: encode(clip, &normal, cache)?,
            anomalous: encode(clip, &anomalous, cache)?,
            cut_prompts: tokens.iter().filter(|t| t.cut).count(),
        })
    }

    /// A product from prompt embeddings made elsewhere, each `[prompts, embedding]`.
    pub fn from_embeddings(name: &str, normal: Tensor, anomalous: Tensor) -> Self {
        Self { name: name.to_string(), normal, anomalous, cut_prompts: 0 }
    }

    /// The product's name, or names with commas between them.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// How many prompts were longer than the model reads and lost their end.
    pub fn cut_prompts(&self) -> usize {
        self.cut_prompts
    }

    /// Embeddings of the normal prompts, `[prompts, embedding]`, not normalised.
    pub fn normal(&self) -> &Tensor {
        &self.normal
    }

    /// Embeddings of the anomalous prompts, `[prompts, embedding]`, not normalised.
    pub fn anomalous(&self) -> &Tensor {
        &self.anomalous
    }
}

fn encode(clip: &Clip, texts: &[String], cache: Option<&TextCache>) -> Result<Tensor> {
    let Some(cache) = cache else { return clip.encode_texts(texts) };
    if let Some(embeddings) = cache.get(clip, texts) {
        return Ok(embeddings);
    }
    let embeddings = clip.encode_texts(texts)?;
    cache.put(clip, texts, &embeddings);
    Ok(embeddings)
}

fn checked_name(name: &str) -> Result<String> {
    let name = name.trim();
    let fail = |why| Err(Error::setting(format!("--product {name:?}"), why));
    if name.is_empty() {
        return fail("give the product a name, such as \"metal nut\"");
    }
    if name.contains(SLOT) || name.chars().any(char::is_control) {
        return fail("must be plain words, without {} and control characters");
    }
    Ok(name.to_string())
}
