//! The small random CLIP models of `fixtures/clip`: stored once, in open_clip's own file, and written here in both
//! layouts with both nonlinearities.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;

use candle_core::pickle::read_all;
use candle_core::{Tensor, safetensors};
use sha2::{Digest, Sha256};

const PICKLE: &str = "open_clip_pytorch_model.bin";
const FILES: [&str; 5] = [
    PICKLE,
    "open_clip/open_clip_config.json",
    "hf/config.json",
    "hf/preprocessor_config.json",
    "hf/tokenizer.json",
];

/// The folder that holds `gelu` and `quick_gelu`, each with `hf` and `open_clip`. Made once for all test programs.
pub fn folder() -> &'static Path {
    static FOLDER: OnceLock<PathBuf> = OnceLock::new();
    FOLDER.get_or_init(|| {
        let from = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/clip");
        let mut hasher = Sha256::new();
        FILES.iter().for_each(|file| hasher.update(std::fs::read(from.join(file)).unwrap()));
        hasher.update(include_bytes!("models.rs"));
        let hash: String = hasher.finalize()[..8].iter().map(|b| format!("{b:02x}")).collect();
        let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("clip-{hash}"));
        if !folder.is_dir() {
            let made = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
            write_models(&from, made.path());
            // Another test program may have been faster; its files are the same.
            let _ = std::fs::rename(made.path(), &folder);
        }
        folder
    })
}

fn write_models(from: &Path, to: &Path) {
    let open_clip: HashMap<String, Tensor> =
        read_all(from.join(PICKLE)).unwrap().into_iter().collect();
    let hf: HashMap<String, Tensor> = open_clip.iter().flat_map(|(name, t)| hf(name, t)).collect();
    for activation in ["gelu", "quick_gelu"] {
        for (layout, tensors, weights) in [
            ("hf", &hf, "model.safetensors"),
            ("open_clip", &open_clip, "open_clip_model.safetensors"),
        ] {
            let folder = to.join(activation).join(layout);
            std::fs::create_dir_all(&folder).unwrap();
            safetensors::save(tensors, folder.join(weights)).unwrap();
            for file in FILES.iter().filter(|file| file.starts_with(layout) && **file != PICKLE) {
                let text = std::fs::read_to_string(from.join(file)).unwrap();
                let text = match activation {
                    "gelu" => text,
                    _ => text
                        .replace(r#""hidden_act": "gelu""#, r#""hidden_act": "quick_gelu""#)
                        .replace(r#""quick_gelu": false"#, r#""quick_gelu": true"#),
                };
                std::fs::write(folder.join(file.split_once('/').unwrap().1), text).unwrap();
            }
            std::fs::copy(from.join("hf/tokenizer.json"), folder.join("tokenizer.json")).unwrap();
        }
    }
    std::fs::copy(from.join(PICKLE), to.join("gelu/open_clip").join(PICKLE)).unwrap();
}

/// A tensor of open_clip's layout as transformers names and shapes it: attention's three matrices are apart, and
/// projections are the other way round.
fn hf(name: &str, tensor: &Tensor) -> Vec<(String, Tensor)> {
    let (tower, rest) = match name.strip_prefix("visual.") {
        Some(rest) => ("vision_model", rest),
        None => ("text_model", name),
    };
    let turned = || tensor.t().unwrap().contiguous().unwrap();
    let one = |name: String| vec![(name, tensor.clone())];
    if let Some(rest) = rest.strip_prefix("transformer.resblocks.") {
        let (block, rest) = rest.split_once('.').unwrap();
        let layer = format!("{tower}.encoder.layers.{block}");
        if let Some(kind) = rest.strip_prefix("attn.in_proj_") {
            let parts = tensor.chunk(3, 0).unwrap().into_iter().zip(["q", "k", "v"]);
            return parts
                .map(|(t, part)| {
                    (format!("{layer}.self_attn.{part}_proj.{kind}"), t.contiguous().unwrap())
                })
                .collect();
        }
        let rest = rest
            .replace("attn.", "self_attn.")
            .replace("ln_", "layer_norm")
            .replace("c_fc", "fc1")
            .replace("c_proj", "fc2");
        return one(format!("{layer}.{rest}"));
    }
    match rest {
        "logit_scale" => one(rest.into()),
        "proj" => vec![("visual_projection.weight".into(), turned())],
        "text_projection" => vec![("text_projection.weight".into(), turned())],
        "positional_embedding" => one(format!("{tower}.embeddings.position_embedding.weight")),
        "token_embedding.weight" => one(format!("{tower}.embeddings.{rest}")),
        "class_embedding" => one(format!("{tower}.embeddings.{rest}")),
        "conv1.weight" => one(format!("{tower}.embeddings.patch_embedding.weight")),
        _ => {
            let rest = rest
                .replace("ln_pre", "pre_layrnorm")
                .replace("ln_post", "post_layernorm")
                .replace("ln_final", "final_layer_norm");
            one(format!("{tower}.{rest}"))
        }
    }
}
