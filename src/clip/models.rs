//! The checkpoints that have short names.

use super::files::embedded;

/// A published checkpoint under a short name.
#[derive(Clone, Copy, Debug)]
pub struct Alias {
    /// The name that `--model` takes.
    pub name: &'static str,
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
    Alias { name, repository, million_parameters, image_size, licence, origin }
}

/// Only timm's copy of OpenAI's 336 pixel checkpoint has safetensors.
const ALIASES: [Alias; 9] = [
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
];

/// All short names that `--model` takes.
pub fn aliases() -> &'static [Alias] {
    &ALIASES
}

pub(super) fn by_name(name: &str) -> Option<&'static Alias> {
    ALIASES.iter().find(|a| a.name.eq_ignore_ascii_case(name))
}

/// The short names that are most similar to `name`, best first.
pub(super) fn nearest(name: &str) -> Vec<&'static str> {
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
