//! The text embeddings of a product's prompts.

use candle_core::Tensor;

use super::{Prompt, Prompts, Role, TextCache};
use crate::clip::Clip;
use crate::error::Result;
use crate::ops::unit_rows;

/// The prompts of one kind, encoded.
#[derive(Clone, Debug)]
pub struct Kind {
    /// What they describe.
    pub role: Role,
    /// The entry's name in the prompt file. It is `normal` or `anomalous` for these lists.
    pub name: String,
    /// The name in English.
    pub english: String,
    /// Whether it counts: a defect raises the score, and an ignored thing lowers it.
    pub counts: bool,
    /// For [`Role::Ignore`]: its share of the softmax must be above 0.5 plus this margin, against the normal prompts
    /// and against the anomaly that fits best. 0..0.5.
    pub margin: f32,
    /// The prompts. Empty if the embeddings were made elsewhere.
    pub prompts: Vec<Prompt>,
    /// `[prompts, embedding]`, not normalised.
    pub embeddings: Tensor,
}

/// A product: the prompts of each kind and their embeddings.
#[derive(Clone, Debug)]
pub struct Product {
    name: String,
    english: String,
    normal: Kind,
    kinds: Vec<Kind>,
    cut_prompts: usize,
}

impl Product {
    /// Encodes the prompts of a product. `name` is its name, for example "metal nut".
    ///
    /// # Errors
    /// [`crate::error::Error::Setting`] for a name that is empty, contains `{}` or control characters, or is in a
    /// language that the lexicon does not know.
    pub fn new(clip: &Clip, name: &str, prompts: &Prompts) -> Result<Self> {
        Self::with_synonyms(clip, &[name.to_string()], prompts, &TextCache::in_memory())
    }

    /// Like [`Product::new`], for a product with several names. The prompts of all names count alike. If `names` is
    /// empty, the names in the prompt file are used. Embeddings are taken from the cache if it has them.
    ///
    /// # Errors
    /// As [`Product::new`]. Also if neither the caller nor the file gives a name.
    pub fn with_synonyms(
        clip: &Clip,
        names: &[String],
        prompts: &Prompts,
        cache: &TextCache,
    ) -> Result<Self> {
        let (mut kinds, mut cut_prompts) = (Vec::new(), 0);
        for (group, (role, name, expanded)) in prompts.groups.iter().zip(prompts.expand(names)?) {
            let texts: Vec<String> = expanded.iter().map(|prompt| prompt.text.clone()).collect();
            cut_prompts += clip.tokenize(&texts)?.iter().filter(|tokens| tokens.cut).count();
            kinds.push(Kind {
                role,
                name: name.to_string(),
                english: group.english.clone(),
                counts: group.counts,
                margin: group.margin,
                prompts: expanded,
                embeddings: cache.encode(clip, &texts)?,
            });
        }
        let (given, english): (Vec<String>, Vec<String>) =
            prompts.names(names)?.into_iter().unzip();
        let (name, english) = (given.join(", "), english.join(", "));
        Ok(Self { name, english, cut_prompts, ..Self::from_kinds(kinds) })
    }

    /// A product from prompt embeddings that were made elsewhere, each `[prompts, embedding]`.
    pub fn from_embeddings(name: &str, normal: Tensor, anomalous: Tensor) -> Self {
        let kind = |role, kind: &str, embeddings| Kind {
            role,
            name: kind.to_string(),
            english: kind.to_string(),
            counts: true,
            margin: 0.0,
            prompts: vec![],
            embeddings,
        };
        let kinds = vec![
            kind(Role::Normal, "normal", normal),
            kind(Role::Anomalous, "anomalous", anomalous),
        ];
        Self { name: name.to_string(), english: name.to_string(), ..Self::from_kinds(kinds) }
    }

    /// The same product with another name.
    pub(crate) fn named(self, name: &str, english: &str) -> Self {
        Self { name: name.to_string(), english: english.to_string(), ..self }
    }

    /// A product without a name. The first kind must be the normal one.
    pub(crate) fn from_kinds(mut kinds: Vec<Kind>) -> Self {
        let normal = kinds.remove(0);
        Self { name: String::new(), english: String::new(), normal, kinds, cut_prompts: 0 }
    }

    /// The product's name as it was given. Several names are joined with commas.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The names in English, as the model reads them.
    pub fn english(&self) -> &str {
        &self.english
    }

    /// Number of prompts that are too long. The model does not read them to the end.
    pub fn cut_prompts(&self) -> usize {
        self.cut_prompts
    }

    /// The prompts of good products.
    pub fn normal(&self) -> &Kind {
        &self.normal
    }

    /// All other kinds, in the order of the prompt file: `anomalous` if there is such a list, then defects, then
    /// ignored things.
    pub fn kinds(&self) -> &[Kind] {
        &self.kinds
    }

    /// The normal kind, then all other kinds.
    pub fn all_kinds(&self) -> impl Iterator<Item = &Kind> + Clone {
        std::iter::once(&self.normal).chain(&self.kinds)
    }

    /// SHA-256 of all prompts and of the kinds that they belong to.
    pub fn words_sha256(&self) -> String {
        let lines = self.all_kinds().flat_map(|kind| {
            kind.prompts.iter().map(|p| format!("{}\t{}\t{}", kind.name, kind.counts, p.text))
        });
        crate::files::sha256(lines.collect::<Vec<_>>().join("\n").as_bytes())
    }

    /// One embedding for the normal prompts and for each kind, `[1 + kinds, embedding]`. Each prompt is brought to unit
    /// length, then averaged, then the mean is brought to unit length (April-GAN, section 3.1).
    pub(crate) fn unit_means(&self) -> Result<Tensor> {
        let mean = |kind: &Kind| unit_rows(&kind.embeddings)?.mean(0);
        let means = self.all_kinds().map(mean).collect::<candle_core::Result<Vec<_>>>()?;
        Ok(unit_rows(&Tensor::stack(&means, 0)?)?)
    }

    /// The product without some of its prompts. None if a group would be empty.
    ///
    /// # Errors
    /// [`crate::error::Error::Tensor`] if the embeddings do not match the prompts.
    pub(crate) fn without(
        &self,
        leave_out: impl Fn(&Kind, &Prompt) -> bool,
    ) -> Result<Option<Self>> {
        let mut rest = self.clone();
        for kind in std::iter::once(&mut rest.normal).chain(&mut rest.kinds) {
            let stays = |i: &usize| !leave_out(kind, &kind.prompts[*i]);
            let kept: Vec<usize> = (0..kind.prompts.len()).filter(stays).collect();
            if kept.is_empty() {
                return Ok(None);
            }
            if kept.len() < kind.prompts.len() {
                let rows: Vec<u32> = kept.iter().map(|i| *i as u32).collect();
                let rows = Tensor::new(rows, kind.embeddings.device())?;
                kind.embeddings = kind.embeddings.index_select(&rows, 0)?;
                kind.prompts = kept.iter().map(|i| kind.prompts[*i].clone()).collect();
            }
        }
        Ok(Some(rest))
    }
}
