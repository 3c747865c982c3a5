//! The checkpoints that have short names.

use super::files::embedded;

/// A published checkpoint under a short name.
#[derive(Clone, Copy, Debug)]
pub struct Alias {
    /// The name that `--model` takes, or `--reference-model`.
    pub name: &'static str,
    /// What the model is for.
    pub use_for: Use,
    /// The Hugging Face repository. `None` for the embedded model.
    pub repository: Option<&'static str>,
    /// Parameters in millions.
    pub million_parameters: f32,
    /// Side of its square input, in pixels.
    pub image_size: usize,
    /// Licence of the weights, as their publisher states it.
    pub licence: &'static str,
    /// Who trained it, or on which data.
    pub origin: &'static str,
}

/// What a model is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Use {
    /// Prompts and photos: `--model`.
    Words,
    /// Photos alone: `--reference-model`.
    References,
}

impl Use {
    /// The flag that takes such a model.
    pub fn flag(self) -> &'static str {
        match self {
            Self::Words => "--model",
            Self::References => "--reference-model",
        }
    }
}

impl Alias {
    /// Approximate size of its weights in megabytes. Weights of a repository are float32.
    pub fn megabytes(&self) -> u32 {
        match self.repository {
            Some(_) => (self.million_parameters * 4.0).round() as u32,
            None => (embedded("model.safetensors").len() as f64 / 1e6).round() as u32,
        }
    }
}

const fn alias(
    name: &'static str,
    repository: &'static str,
    million_parameters: f32,
    image_size: usize,
    origin: &'static str,
) -> Alias {
    let (repository, licence) = match repository.is_empty() {
        true => (None, "MIT, Apache-2.0"),
        false => (Some(repository), "MIT"),
    };
    Alias { name, use_for: Use::Words, repository, million_parameters, image_size, licence, origin }
}

/// A DINOv2 model. `image_size`: the default input of blemish. Its weights are licensed by Meta under Apache-2.0.
const fn dinov2(
    name: &'static str,
    repository: &'static str,
    million_parameters: f32,
    origin: &'static str,
) -> Alias {
    Alias {
        name,
        use_for: Use::References,
        repository: Some(repository),
        million_parameters,
        image_size: 448,
        licence: "Apache-2.0",
        origin,
    }
}

/// Only timm's copy of OpenAI's 336 pixel checkpoint has safetensors.
const ALIASES: [Alias; 14] = [
    alias(
        "tiny",
        "",
        4.5,
        240,
        "blemish, drawn pictures and product photos, on Google's EfficientNet-Lite0; in the binary",
    ),
    alias("ViT-B-32", "openai/clip-vit-base-patch32", 151.3, 224, "OpenAI"),
    alias("ViT-B-16", "openai/clip-vit-base-patch16", 149.6, 224, "OpenAI"),
    alias("ViT-L-14", "openai/clip-vit-large-patch14", 427.6, 224, "OpenAI"),
    alias("ViT-L-14-336", "timm/vit_large_patch14_clip_336.openai", 427.9, 336, "OpenAI"),
    alias(
        "ViT-B-16-plus-240",
        "timm/vit_base_patch16_plus_clip_240.laion400m_e31",
        208.4,
        240,
        "LAION-400M; the model of WinCLIP's published numbers",
    ),
    alias("ViT-B-16-laion2b", "laion/CLIP-ViT-B-16-laion2B-s34B-b88K", 149.6, 224, "LAION-2B"),
    alias("ViT-L-14-datacomp", "laion/CLIP-ViT-L-14-DataComp.XL-s13B-b90K", 427.6, 224, "DataComp"),
    alias("ViT-H-14-laion2b", "laion/CLIP-ViT-H-14-laion2B-s32B-b79K", 986.1, 224, "LAION-2B"),
    dinov2(
        "dinov2-small",
        "facebook/dinov2-small",
        22.1,
        "Meta; the model of AnomalyDINO's published numbers",
    ),
    dinov2("dinov2-base", "facebook/dinov2-base", 86.6, "Meta"),
    dinov2("dinov2-large", "facebook/dinov2-large", 304.4, "Meta"),
    dinov2("dinov2-giant", "facebook/dinov2-giant", 1136.5, "Meta"),
    dinov2(
        "dinov2-giant-registers",
        "facebook/dinov2-with-registers-giant",
        1136.5,
        "Meta; the model of SubspaceAD's published numbers",
    ),
];

/// All short names that `--model` and `--reference-model` take.
pub fn aliases() -> &'static [Alias] {
    &ALIASES
}

pub(crate) fn by_name(name: &str) -> Option<&'static Alias> {
    ALIASES.iter().find(|a| a.name.eq_ignore_ascii_case(name))
}

/// The short names that are most similar to `name`, best first.
pub(crate) fn nearest(name: &str) -> Vec<&'static str> {
    let name = name.to_lowercase();
    let mut scored: Vec<(f64, &str)> = ALIASES
        .iter()
        .map(|a| (strsim::jaro_winkler(&name, &a.name.to_lowercase()), a.name))
        .filter(|(score, _)| *score > 0.7)
        .collect();
    scored.sort_by(|a, b| b.0.total_cmp(&a.0));
    scored.into_iter().map(|(_, name)| name).take(3).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_that_were_meant_are_suggested() {
        assert_eq!(nearest("ViT-L-14-366")[0], "ViT-L-14-336");
        assert_eq!(nearest("vitb16plus240")[0], "ViT-B-16-plus-240");
        assert!(nearest("resnet").is_empty());
        assert!(by_name("vit-b-32").is_some());
    }
}
