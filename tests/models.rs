//! Model folders that are not what they should be, and the list of models.

mod common;

use std::collections::HashMap;
use std::path::Path;

use blemish::Clip;
use candle_core::{Device, Tensor};
use common::{blemish, copy_of};

/// What opening a spoiled copy of a good model says.
fn refusal(model: &str, spoil: impl Fn(&Path)) -> String {
    let folder = copy_of(model);
    spoil(folder.path());
    let error = Clip::load(folder.path().to_str().unwrap()).expect_err("a refusal").to_string();
    assert_eq!(error.lines().count(), 1, "{error}");
    error
}

fn change_weights(folder: &Path, change: impl Fn(&mut HashMap<String, Tensor>)) {
    let file = folder.join("model.safetensors");
    let mut tensors = candle_core::safetensors::load(&file, &Device::Cpu).unwrap();
    change(&mut tensors);
    std::fs::remove_file(&file).unwrap();
    candle_core::safetensors::save(&tensors, &file).unwrap();
}

fn change_text(folder: &Path, file: &str, from: &str, to: &str) {
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
    assert!(cut.contains("not as long as its header says"), "{cut}");

    // Of several parts, the damaged one is named.
    let part = refusal(hf, |folder| {
        let parts = ["model-00001-of-00002.safetensors", "model-00002-of-00002.safetensors"];
        std::fs::rename(folder.join("model.safetensors"), folder.join(parts[0])).unwrap();
        std::fs::write(folder.join(parts[1]), [9, 0, 0]).unwrap();
        let index = serde_json::json!({"weight_map": {"a": parts[0], "b": parts[1]}});
        std::fs::write(folder.join("model.safetensors.index.json"), index.to_string()).unwrap();
    });
    assert!(part.contains("model-00002-of-00002.safetensors"), "{part}");
    assert!(part.contains("ends inside its header"), "{part}");

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
    assert!(message.contains("no checkpoint here"), "{message}");
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
    assert!(stderr.contains("not a number") && stderr.lines().count() == 1, "{stderr}");
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
    assert_eq!(rows.len(), blemish::clip::aliases().len());
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

fn score_of(folder: &Path) -> f64 {
    let home = tempfile::tempdir().unwrap();
    let mut command = blemish(home.path());
    command.args(["score", "--product", "plate", "--format", "jsonl", "--method", "winclip"]);
    command.arg(common::fixture("cases/rgb_ref.png")).arg("--model").arg(folder);
    let output = command.assert().success();
    let row: serde_json::Value = serde_json::from_slice(&output.get_output().stdout).unwrap();
    row["score"].as_f64().unwrap()
}

/// transformers 5 writes `processor_config.json` alone, and any version may change how pixels become numbers.
#[test]
fn every_setting_of_the_preprocessing_counts() {
    const FILE: &str = "preprocessor_config.json";
    let with = |change: &dyn Fn(&mut serde_json::Value), file: &str| {
        let folder = copy_of("clip/gelu/hf");
        let path = folder.path().join(FILE);
        let mut json: serde_json::Value =
            serde_json::from_slice(&std::fs::read(&path).unwrap()).unwrap();
        change(&mut json);
        std::fs::remove_file(&path).unwrap();
        let json = match file {
            FILE => json,
            _ => serde_json::json!({ "image_processor": json, "processor_class": "CLIPProcessor" }),
        };
        std::fs::write(folder.path().join(file), json.to_string()).unwrap();
        folder
    };
    let set = |json: &mut serde_json::Value, key: &str, value: serde_json::Value| {
        json[key] = value;
    };
    let score =
        |change: &dyn Fn(&mut serde_json::Value), file: &str| score_of(with(change, file).path());
    let plain = score(&|_| {}, FILE);
    assert_eq!(score(&|_| {}, "processor_config.json"), plain);
    let other = score(&|json| set(json, "image_mean", [0.2, 0.3, 0.4].into()), FILE);
    let new =
        score(&|json| set(json, "image_mean", [0.2, 0.3, 0.4].into()), "processor_config.json");
    assert!(other != plain && new == other, "{plain} {other} {new}");

    // x / 127.5 less a mean is twice x / 255 less half of it.
    let halved = |json: &mut serde_json::Value| {
        set(json, "image_mean", [0.25, 0.2, 0.15].into());
        set(json, "image_std", [0.2, 0.25, 0.3].into());
    };
    let rescaled = |json: &mut serde_json::Value| {
        set(json, "image_mean", [0.5, 0.4, 0.3].into());
        set(json, "image_std", [0.4, 0.5, 0.6].into());
        set(json, "rescale_factor", (1.0 / 127.5).into());
    };
    let (a, b) = (score(&halved, FILE), score(&rescaled, FILE));
    assert!((a - b).abs() < 1e-5 && a != plain, "{a} {b}");
    let unscaled = |json: &mut serde_json::Value| {
        set(json, "image_mean", [63.75, 51.0, 38.25].into());
        set(json, "image_std", [51.0, 63.75, 76.5].into());
        set(json, "do_rescale", false.into());
    };
    let c = score(&unscaled, FILE);
    assert!((a - c).abs() < 1e-5, "{a} {c}");
    let bare = score(&|json| set(json, "do_normalize", false.into()), FILE);
    let as_bare = score(
        &|json| {
            set(json, "image_mean", [0.0, 0.0, 0.0].into());
            set(json, "image_std", [1.0, 1.0, 1.0].into());
        },
        FILE,
    );
    assert!(bare == as_bare && bare != plain, "{bare} {as_bare}");
    for (key, value, why) in [
        ("resample", serde_json::json!(2), "resampling filter 2"),
        ("resample", serde_json::json!("bilinear"), "resampling filter \"bilinear\""),
        ("rescale_factor", serde_json::json!(0), "is no positive number"),
        ("image_std", serde_json::json!([0, 1, 1]), "is not positive"),
    ] {
        for file in [FILE, "processor_config.json"] {
            let folder = with(&|json| set(json, key, value.clone()), file);
            let error = Clip::load(folder.path().to_str().unwrap()).err().unwrap().to_string();
            assert!(error.contains(why) && error.contains(file), "{error}");
        }
    }
}

/// A PyTorch file of a pickle and another part.
fn write_pth(path: &Path, pickle: &[u8], other: (&str, &[u8])) {
    use std::io::Write;
    let mut zip = zip::ZipWriter::new(std::fs::File::create(path).unwrap());
    let options =
        zip::write::SimpleFileOptions::default().compression_method(zip::CompressionMethod::Stored);
    for (name, bytes) in [("archive/data.pkl", pickle), other] {
        zip.start_file(name, options).unwrap();
        zip.write_all(bytes).unwrap();
    }
    zip.finish().unwrap();
}

/// A pickled dictionary of one float32 tensor, with `count` numbers by its shape.
fn tensor(key: &str, count: u32) -> Vec<u8> {
    let text =
        |text: &str| [&b"X"[..], &(text.len() as u32).to_le_bytes(), text.as_bytes()].concat();
    let number = |n: u32| [&b"J"[..], &n.to_le_bytes()].concat();
    [
        &b"\x80\x02}"[..],
        &text(key),
        b"ctorch._utils\n_rebuild_tensor_v2\n((",
        &text("storage"),
        b"ctorch\nFloatStorage\n",
        &text("0"),
        &text("cpu"),
        b"K\x01tQK\x00",
        &number(count),
        b"\x85K\x01\x85\x89ccollections\nOrderedDict\n)RtRs.",
    ]
    .concat()
}

/// A pickled dictionary with one key.
fn dictionary(key: &str) -> Vec<u8> {
    let mut pickle = b"\x80\x02}X".to_vec();
    pickle.extend((key.len() as u32).to_le_bytes());
    pickle.extend(key.as_bytes());
    pickle.extend(b"K\x01s.");
    pickle
}

#[test]
fn checkpoints_of_other_kinds_are_called_what_they_are() {
    let bin = |pickle: &[u8], other: (&str, &[u8])| {
        refusal("clip/gelu/hf", |folder| {
            std::fs::remove_file(folder.join("model.safetensors")).unwrap();
            write_pth(&folder.join("pytorch_model.bin"), pickle, other);
        })
    };
    let none = ("archive/data/0", &b"\0\0\0\0"[..]);
    let prefixed = |prefix: &'static str| {
        refusal("clip/gelu/hf", move |folder| {
            change_weights(folder, |tensors| {
                *tensors = tensors.drain().map(|(k, t)| (format!("{prefix}{k}"), t)).collect();
            });
        })
    };
    // Each step doubles what the one before built.
    let mut bomb = b"\x80\x02K\x01q\x00".to_vec();
    for i in 0..60u8 {
        bomb.extend([b'h', i, b'h', i, 0x86, b'q', i + 1]);
    }
    bomb.push(b'.');
    let nested = [b"\x80\x02)".to_vec(), vec![0x85; 200_000], b".".to_vec()].concat();
    // A long list, and many copies of it.
    let long = [b"\x80\x02](".to_vec(), b"K\x01".repeat(100_000), b"eq\x00".to_vec()].concat();
    let copies = [long, b"h\x00".repeat(300), b".".to_vec()].concat();
    for (message, expected) in [
        (bin(&dictionary("state_dict"), none), "checkpoint of a training"),
        (bin(&dictionary("module.visual.proj"), none), "\"module.\""),
        (bin(&dictionary("_orig_mod.visual.proj"), none), "\"_orig_mod.\""),
        (bin(&dictionary("x"), ("archive/constants.pkl", b".")), "TorchScript"),
        (bin(&tensor("x", 1 << 30), none), "tensor x is larger than the file"),
        (bin(&bomb, none), "too large"),
        (bin(&nested, none), "nested too deep"),
        (bin(&copies, none), "too large"),
        (bin(&dictionary("x"), ("zzdata.pkl", &tensor("x", 1 << 30))), "holds two pickles"),
        (prefixed("module."), "while it was trained"),
        (prefixed("_orig_mod."), "while it was trained"),
    ] {
        assert!(message.contains(expected), "{expected}: {message}");
    }
    let expanding = refusal("clip/gelu/hf", |folder| {
        std::fs::remove_file(folder.join("model.safetensors")).unwrap();
        let file = folder.join("pytorch_model.bin");
        write_pth(&file, &tensor("x", 1), none);
        // The directory's word on the last part's size.
        let mut bytes = std::fs::read(&file).unwrap();
        let at = bytes.windows(4).rposition(|w| w == b"PK\x01\x02").unwrap() + 24;
        bytes[at..at + 4].copy_from_slice(&3_400_000_000u32.to_le_bytes());
        std::fs::write(&file, bytes).unwrap();
    });
    assert!(expanding.contains("expand to"), "{expanding}");
    let old = refusal("clip/gelu/hf", |folder| {
        std::fs::remove_file(folder.join("model.safetensors")).unwrap();
        std::fs::write(folder.join("pytorch_model.bin"), b"\x80\x02.").unwrap();
    });
    assert!(old.contains("before 1.6"), "{old}");
    let sharded = refusal("clip/gelu/hf", |folder| {
        std::fs::remove_file(folder.join("model.safetensors")).unwrap();
        std::fs::write(folder.join("pytorch_model.bin.index.json"), "{}").unwrap();
    });
    assert!(sharded.contains("several .bin files"), "{sharded}");
    let resnet = refusal("clip/gelu/open_clip", |folder| {
        let path = folder.join("open_clip_config.json");
        let mut json: serde_json::Value =
            serde_json::from_slice(&std::fs::read(&path).unwrap()).unwrap();
        json["model_cfg"]["vision_cfg"]["layers"] = serde_json::json!([3, 4, 6, 3]);
        std::fs::write(&path, json.to_string()).unwrap();
    });
    assert!(resnet.contains("ResNet"), "{resnet}");
    let fewer = refusal("clip/gelu/hf", |folder| {
        let path = folder.join("config.json");
        let mut json: serde_json::Value =
            serde_json::from_slice(&std::fs::read(&path).unwrap()).unwrap();
        json["vision_config"]["num_hidden_layers"] = 3.into();
        std::fs::write(&path, json.to_string()).unwrap();
    });
    assert!(fewer.contains("its configuration says 3 blocks"), "{fewer}");
    let half = refusal("clip/gelu/hf", |folder| {
        let path = folder.join("tokenizer.json");
        let text = std::fs::read_to_string(&path).unwrap();
        std::fs::write(&path, text.replacen("\"a\"", "\"\\ud800\"", 1)).unwrap();
    });
    assert!(half.contains("tokenizer"), "{half}");
}

/// The embedded model's files in a folder of their own.
fn hybrid() -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    let weights = Path::new(env!("CARGO_MANIFEST_DIR")).join("weights/tiny");
    for file in ["config.json", "model.safetensors", "preprocessor_config.json", "tokenizer.json"] {
        std::fs::copy(weights.join(file), folder.path().join(file)).unwrap();
    }
    folder
}

#[test]
fn trunks_that_cannot_be_followed_are_refused() {
    let folder = hybrid();
    let file = folder.path().join("config.json");
    let good: serde_json::Value = serde_json::from_slice(&std::fs::read(&file).unwrap()).unwrap();
    let load = || Clip::load(folder.path().to_str().unwrap());
    assert_eq!(load().unwrap().shape().trunk, Some([40, 112]));
    for (place, value, expected) in [
        ("taps", serde_json::json!([5, 12]), "taps that are not two of its blocks"),
        ("taps", serde_json::json!([0, 11]), "taps that are not two of its blocks"),
        ("taps", serde_json::json!([3, 11]), "not on the grid of the patches"),
        ("activation", serde_json::json!("swish"), "activation \"swish\""),
        ("stem_stride", serde_json::json!(0), "not on the grid of the patches"),
        ("std", serde_json::json!(0), "a mean or a std"),
        ("layer_norm_eps", serde_json::json!(1), "layer_norm_eps"),
        ("blocks/4/kernel", serde_json::json!(4), "a block that is not supported"),
        ("blocks/4/expand", serde_json::json!(0), "a block that is not supported"),
        ("blocks/4/output", serde_json::json!(41), "do not follow each other"),
        ("blocks/10/output", serde_json::json!(80), "where the configuration asks for"),
        ("blocks", serde_json::json!([]), "a block that is not supported"),
        ("blocks", serde_json::json!(3), "not a CLIP configuration"),
    ] {
        let mut config = good.clone();
        let pointer = format!("/vision_config/trunk/{place}");
        *config.pointer_mut(&pointer).unwrap() = value.clone();
        std::fs::write(&file, config.to_string()).unwrap();
        let message = load().err().map(|e| e.to_string()).unwrap_or_default();
        assert!(message.contains(expected), "{place} {value}: {message}");
        assert!(message.lines().count() <= 1, "{message}");
    }
    // Other blocks of the same sizes are another trunk, but one that can be followed.
    let mut config = good.clone();
    config["vision_config"]["trunk"]["taps"] = serde_json::json!([4, 10]);
    std::fs::write(&file, config.to_string()).unwrap();
    assert!(load().is_ok());
    // A configuration without the trunk would compute something else from these weights.
    let mut config = good.clone();
    config["vision_config"].as_object_mut().unwrap().remove("trunk");
    std::fs::write(&file, config.to_string()).unwrap();
    let message = load().err().unwrap().to_string();
    assert!(message.contains("has a trunk, and its configuration has none"), "{message}");
}
