//! DINOv2 and DINOv3 against transformers, and DINOv2 against facebookresearch's own code.

mod common;

use blemish::dino::{Dino, DinoOptions, Positions, Tokens};
use candle_core::Tensor;
use common::{copy_tree, fixture, tensors, values};

fn open(model: &str, positions: Positions) -> Dino {
    let options = DinoOptions { positions, ..DinoOptions::default() };
    Dino::open(fixture(&format!("dino/{model}")).to_str().unwrap(), &options).unwrap()
}

fn encode(model: &Dino, pixels: &Tensor) -> Tokens {
    let (_, _, height, width) = pixels.dims4().unwrap();
    let blocks: Vec<usize> = (0..=model.blocks()).collect();
    model.encode(&values(pixels), (height, width), &blocks).unwrap()
}

/// The tolerance of the issue.
fn assert_near(name: &str, ours: &Tensor, theirs: &Tensor) {
    let theirs = theirs.squeeze(0).unwrap();
    assert_eq!(ours.dims(), theirs.dims(), "{name}");
    let pairs = values(ours).into_iter().zip(values(&theirs));
    let worst = pairs.map(|(a, b)| (a - b).abs()).fold(0.0, f32::max);
    assert!(worst <= 1e-4, "{name}: {worst}");
}

#[test]
fn all_tokens_agree_with_transformers() {
    let pixels = tensors("dino/pixel_values.safetensors");
    for name in ["plain", "registers", "v3", "v3_gated"] {
        let expected = tensors(&format!("dino/{name}/expected.safetensors"));
        let model = open(name, Positions::Transformers);
        let picture = match name {
            "v3" | "v3_gated" => &tensors("dino/v3/expected.safetensors")["pixel_values"],
            _ => &pixels["a"],
        };
        // 8x10 patches for 7x7 stored positions.
        let tokens = encode(&model, picture);
        for (i, block) in tokens.blocks.iter().enumerate() {
            assert_near(&format!("{name} {i}"), block, &expected[&format!("a.hidden_states.{i}")]);
        }
        assert_near(name, &tokens.last, &expected["a.last_hidden_state"]);
        if let Some(native) = expected.get("native.last_hidden_state") {
            assert_near(name, &encode(&model, &pixels["native"]).last, native);
        }
    }
}

#[test]
fn patches_agree_with_the_hub_s_code() {
    let pixels = tensors("dino/pixel_values.safetensors");
    for name in ["plain", "registers"] {
        let expected = tensors(&format!("dino/{name}/expected.safetensors"));
        let tokens = encode(&open(name, Positions::Hub), &pixels["a"]);
        assert_eq!(tokens.grid, (8, 10));
        let patches = tokens.patches(&tokens.last).unwrap();
        assert_near(name, &patches, &expected["hub.a.patch_tokens"]);
    }
    // Models without registers have another rule there.
    let [hub, own] = [Positions::Hub, Positions::Transformers]
        .map(|rule| values(&encode(&open("plain", rule), &pixels["a"]).last));
    assert!(hub.iter().zip(&own).any(|(a, b)| (a - b).abs() > 0.01));
}

#[test]
fn what_is_left_of_a_patch_is_ignored() {
    let pixels = tensors("dino/pixel_values.safetensors");
    let model = open("plain", Positions::Transformers);
    let whole = encode(&model, &pixels["a"]);
    let wider = pixels["a"].pad_with_zeros(3, 0, 13).unwrap().pad_with_zeros(2, 0, 5).unwrap();
    assert_eq!(values(&encode(&model, &wider).last), values(&whole.last));
}

#[test]
fn other_models_and_damaged_files_are_refused() {
    let refusal = |change: &dyn Fn(&std::path::Path)| {
        let folder = tempfile::tempdir().unwrap();
        copy_tree("dino/plain", folder.path());
        change(folder.path());
        let opened = Dino::open(folder.path().to_str().unwrap(), &DinoOptions::default());
        opened.unwrap_err().to_string()
    };
    let config = |from: &'static str, to: &'static str| {
        refusal(&move |folder| {
            let file = folder.join("config.json");
            let text = std::fs::read_to_string(&file).unwrap();
            assert!(text.contains(from));
            std::fs::write(file, text.replace(from, to)).unwrap();
        })
    };
    for (from, to, why) in [
        (r#""dinov2""#, r#""clip""#, "is none of dinov2"),
        (r#""num_hidden_layers": 4"#, r#""num_hidden_layers": 5"#, "encoder.layer.4"),
        (r#""num_hidden_layers": 4"#, r#""num_hidden_layers": 3"#, "says 3 blocks"),
        (r#""hidden_size": 48"#, r#""hidden_size": 64"#, "asks for"),
        (r#""num_attention_heads": 4"#, r#""num_attention_heads": 0"#, "is 0"),
        (r#""num_attention_heads": 4"#, r#""num_attention_heads": 5"#, "attention heads"),
        (r#""patch_size": 14"#, r#""patch_size": 0"#, "is 0"),
        (r#""hidden_act": "gelu""#, r#""hidden_act": "relu""#, "relu"),
    ] {
        let error = config(from, to);
        assert!(error.contains(why), "{error}");
        assert!(!error.contains('\n'), "{error}");
    }
    let cut = refusal(&|folder| {
        let file = folder.join("model.safetensors");
        let bytes = std::fs::read(&file).unwrap();
        std::fs::write(file, &bytes[..bytes.len() / 2]).unwrap();
    });
    assert!(cut.contains("model.safetensors"), "{cut}");
    let none = refusal(&|folder| std::fs::remove_file(folder.join("model.safetensors")).unwrap());
    assert!(none.contains("no checkpoint here"), "{none}");
    // A model with words is not for comparing alone.
    let words = Dino::open("tiny", &DinoOptions::default()).err().unwrap().to_string();
    assert!(words.contains("is none of dinov2"), "{words}");
}
