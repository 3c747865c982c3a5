//! Model folders that are not what they should be, and the list of models.

mod common;

use std::collections::HashMap;

use blemish::Clip;
use candle_core::{Device, Tensor};
use common::{blemish, copy_of};

/// What opening a spoiled copy of a good model says.
fn refusal(model: &str, spoil: impl Fn(&std::path::Path)) -> String {
    let folder = copy_of(model);
    spoil(folder.path());
    let error = Clip::load(folder.path().to_str().unwrap()).err().expect("a refusal").to_string();
    assert_eq!(error.lines().count(), 1, "{error}");
    error
}

fn change_weights(folder: &std::path::Path, change: impl Fn(&mut HashMap<String, Tensor>)) {
    let file = folder.join("model.safetensors");
    let mut tensors = candle_core::safetensors::load(&file, &Device::Cpu).unwrap();
    change(&mut tensors);
    std::fs::remove_file(&file).unwrap();
    candle_core::safetensors::save(&tensors, &file).unwrap();
}

fn change_text(folder: &std::path::Path, file: &str, from: &str, to: &str) {
    let text = std::fs::read_to_string(folder.join(file)).unwrap();
    assert!(text.contains(from), "{file} holds {from}");
    std::fs::write(folder.join(file), text.replace(from, to)).unwrap();
}

#[test]
fn weights_that_do_not_fit_are_named() {
    const NAME: &str = "vision_model.encoder.layers.3.mlp.fc1.weight";
    let hf = "clip/gelu/hf";
    let missing = refusal(hf, |folder| change_weights(folder, |t| drop(t.remove(NAME))));
    assert!(missing.contains(NAME) && missing.contains("is missing"), "{missing}");

    let shape = refusal(hf, |folder| {
        change_weights(folder, |t| {
            let turned = t[NAME].t().unwrap().contiguous().unwrap();
            t.insert(NAME.into(), turned);
        });
    });
    assert!(
        shape.contains("has shape [64, 256] where the configuration asks for [256, 64]"),
        "{shape}"
    );

    let nan = refusal(hf, |folder| {
        change_weights(folder, |t| {
            let mut values = t[NAME].flatten_all().unwrap().to_vec1::<f32>().unwrap();
            values[77] = f32::NAN;
            t.insert(NAME.into(), Tensor::from_vec(values, (256, 64), &Device::Cpu).unwrap());
        });
    });
    assert!(nan.contains(NAME) && nan.contains("NaN"), "{nan}");

    let cut = refusal(hf, |folder| {
        let file = folder.join("model.safetensors");
        let bytes = std::fs::read(&file).unwrap();
        std::fs::write(&file, &bytes[..bytes.len() / 2]).unwrap();
    });
    assert!(cut.contains("model.safetensors") && cut.contains("damaged"), "{cut}");

    let pickle = refusal("clip/gelu/open_clip", |folder| {
        std::fs::remove_file(folder.join("open_clip_model.safetensors")).unwrap();
        let file = folder.join("open_clip_pytorch_model.bin");
        let bytes = std::fs::read(&file).unwrap();
        std::fs::write(&file, &bytes[..bytes.len() / 2]).unwrap();
    });
    assert!(
        pickle.contains("open_clip_pytorch_model.bin") && pickle.contains("damaged"),
        "{pickle}"
    );
}

#[test]
fn configurations_that_cannot_be_followed_are_refused() {
    let hf = |file: &'static str, from: &'static str, to: &'static str| {
        refusal("clip/gelu/hf", move |folder| change_text(folder, file, from, to))
    };
    let open_clip = |from: &'static str, to: &'static str| {
        refusal("clip/gelu/open_clip", move |f| change_text(f, "open_clip_config.json", from, to))
    };
    let cases = [
        (hf("config.json", "\"gelu\"", "\"relu\""), "activation \"relu\" is not supported"),
        (hf("config.json", "\"patch_size\": 16", "\"patch_size\": 0"), "is 0"),
        (hf("config.json", "\"num_attention_heads\": 4", "\"num_attention_heads\": 5"), "heads"),
        (hf("config.json", "{", ""), "not a CLIP configuration"),
        (
            hf("preprocessor_config.json", "\"resample\": 3", "\"resample\": 2"),
            "resampling filter 2",
        ),
        (hf("tokenizer.json", "<|endoftext|>", "<|end|>"), "not a CLIP tokenizer"),
        (
            hf("config.json", "\"vocab_size\": 512", "\"vocab_size\": 100"),
            "tokens where the model has 100",
        ),
        (
            open_clip("\"width\": 64", "\"ls_init_value\": 0.1, \"width\": 64"),
            "vision_cfg.ls_init_value",
        ),
        (
            open_clip("\"width\": 48", "\"pool_type\": \"last\", \"width\": 48"),
            "pool_type = \"last\"",
        ),
        (open_clip("bicubic", "bilinear"), "interpolation \"bilinear\""),
    ];
    for (message, expected) in cases {
        assert!(message.contains(expected), "{expected}: {message}");
    }
    let empty = tempfile::tempdir().unwrap();
    let message = Clip::load(empty.path().to_str().unwrap()).err().unwrap().to_string();
    assert!(message.contains("no CLIP checkpoint here"), "{message}");
}

#[test]
fn a_tokenizer_that_adds_no_marks_is_refused() {
    let message = refusal("clip/gelu/hf", |folder| {
        let path = folder.join("tokenizer.json");
        let mut json: serde_json::Value =
            serde_json::from_slice(&std::fs::read(&path).unwrap()).unwrap();
        json["post_processor"] = serde_json::Value::Null;
        std::fs::write(&path, json.to_string()).unwrap();
    });
    assert!(message.contains("does not put texts between"), "{message}");
}

#[test]
fn weights_that_overflow_give_an_error_and_no_score() {
    let folder = copy_of("clip/gelu/hf");
    change_weights(folder.path(), |tensors| {
        for (name, tensor) in tensors {
            if name.starts_with("vision_model.encoder")
                && name.contains("mlp.fc")
                && name.ends_with("weight")
            {
                *tensor = (&*tensor * 1e25).unwrap();
            }
        }
    });
    let home = tempfile::tempdir().unwrap();
    let image = home.path().join("p.png");
    common::photo(&image, 40, 40);
    let assert = blemish(home.path())
        .args(["score", "--product", "nut", "--quiet", "--model"])
        .args([folder.path(), &image])
        .assert()
        .code(1)
        .stdout("");
    let stderr = String::from_utf8_lossy(&assert.get_output().stderr).into_owned();
    assert!(stderr.contains("no number") && stderr.lines().count() == 1, "{stderr}");
}

#[test]
fn a_bad_model_is_a_failure_of_one_line() {
    let home = tempfile::tempdir().unwrap();
    let image = home.path().join("p.png");
    common::photo(&image, 40, 40);
    let folder = copy_of("clip/gelu/hf");
    std::fs::remove_file(folder.path().join("tokenizer.json")).unwrap();
    let assert = blemish(home.path())
        .args(["score", "--product", "nut", "--model"])
        .args([folder.path(), &image])
        .assert()
        .code(1)
        .stdout("");
    let stderr = String::from_utf8_lossy(&assert.get_output().stderr).into_owned();
    assert!(stderr.contains("no tokenizer here") && stderr.lines().count() == 1, "{stderr}");
}

#[test]
fn models_lists_every_short_name() {
    let home = tempfile::tempdir().unwrap();
    let assert = blemish(home.path()).arg("models").assert().success();
    let text = String::from_utf8(assert.get_output().stdout.clone()).unwrap();
    let rows: Vec<serde_json::Value> =
        text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(rows.len(), blemish::aliases().len());
    assert_eq!((&rows[0]["name"], &rows[0]["cached"]), (&"tiny".into(), &true.into()));
    assert_eq!(rows[1]["cached"], false);
    let table = blemish(home.path()).args(["models", "--format", "table"]).assert().success();
    let table = String::from_utf8(table.get_output().stdout.clone()).unwrap();
    assert!(table.contains("ViT-B-16-plus-240") && table.contains("licence"));
}

#[test]
fn a_short_name_stands_for_its_repository() {
    // Every short name but `tiny` stands for a repository, so that offline it is refused and not tried.
    let home = tempfile::tempdir().unwrap();
    blemish(home.path())
        .env("HF_HUB_OFFLINE", "1")
        .args(["models", "pull", "ViT-B-32"])
        .assert()
        .code(1)
        .stderr(predicates::str::contains("openai/clip-vit-base-patch32"));
}
