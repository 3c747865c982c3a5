//! Adapter files and their training as a user meets them.

mod common;

use std::collections::HashMap;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use blemish::Adapter;
use candle_core::{DType, Device, Tensor};
use common::{blemish, fixture, photo};
use serde_json::Value;
use tempfile::{TempDir, tempdir};

const OFFICIAL: &str = "april_gan/adapter_gelu.pth";

fn refusal(path: &Path, blocks: Option<&[usize]>) -> String {
    let message = Adapter::open(path, blocks).unwrap_err().to_string();
    assert_eq!(message.lines().count(), 1, "{message}");
    assert!(message.contains(path.to_str().unwrap()), "{message}");
    message
}

/// A PyTorch file with this pickle and no tensors.
fn pickled(folder: &TempDir, pickle: &[u8]) -> PathBuf {
    let path = folder.path().join("evil.pth");
    let mut zip = zip::ZipWriter::new(std::fs::File::create(&path).unwrap());
    let stored =
        zip::write::SimpleFileOptions::default().compression_method(zip::CompressionMethod::Stored);
    zip.start_file("evil/data.pkl", stored).unwrap();
    zip.write_all(pickle).unwrap();
    zip.finish().unwrap();
    path
}

fn saved(folder: &TempDir, tensors: &[(&str, Tensor)], metadata: &[(&str, &str)]) -> PathBuf {
    let path = folder.path().join("a.safetensors");
    let metadata: HashMap<String, String> =
        metadata.iter().map(|(k, v)| (k.to_string(), v.to_string())).collect();
    let tensors = tensors.iter().map(|(name, t)| (*name, t));
    std::fs::write(&path, safetensors::serialize(tensors, Some(metadata)).unwrap()).unwrap();
    path
}

#[test]
fn files_that_are_no_adapters_are_refused_with_the_reason() {
    let folder = tempdir().unwrap();
    let whole = std::fs::read(fixture(OFFICIAL)).unwrap();
    let path = folder.path().join("a.pth");
    for length in [3, 100, whole.len() / 2, whole.len() - 30] {
        std::fs::write(&path, &whole[..length]).unwrap();
        let message = refusal(&path, None);
        assert!(message.contains("cut short"), "{length}: {message}");
    }
    assert!(refusal(&folder.path().join("none.pth"), None).contains("cannot read"));
    assert!(refusal(folder.path(), None).contains("is a folder"));
    // Every byte of the pickle changed in turn: an error or an adapter, never a panic.
    let start = whole.windows(8).position(|w| w == b"trainabl").unwrap() - 30;
    for i in start..start + 500 {
        let mut bytes = whole.clone();
        bytes[i] ^= 0x55;
        std::fs::write(&path, &bytes).unwrap();
        let _ = Adapter::open(&path, None);
    }

    let fail = |pickle: &[u8]| refusal(&pickled(&folder, pickle), None);
    let flag = folder.path().join("ran");
    let code = format!("\x02cposix\nsystem\n(X\x00touch {}tR.", flag.display());
    let code = [b"\x80", code.as_bytes()].concat();
    let mut call = b"\x80\x02cposix\nsystem\nX".to_vec();
    let command = format!("touch {}", flag.display());
    call.extend((command.len() as u32).to_le_bytes());
    call.extend(command.as_bytes());
    call.extend(b"\x85R.");
    let message = fail(&call);
    assert!(
        message.contains("asks to call posix.system") && message.contains("was not run"),
        "{message}"
    );
    assert!(!flag.exists());
    fail(&code);
    assert!(fail(b"\x80\x02}.").contains("has no \"trainable_linearlayer\""));
    assert!(fail(b"\x80\x02N.").contains("holds no dictionary"));
    assert!(fail(b"").contains("pickle"));
    // Each pair of bytes doubles what was built before.
    let bomb = [b"\x80\x02K\x01".to_vec(), b"q\x00h\x00\x86".repeat(60), b".".to_vec()].concat();
    let start = Instant::now();
    assert!(fail(&bomb).contains("too large"));
    assert!(start.elapsed() < Duration::from_secs(5));

    let zeros = |shape: &[usize]| Tensor::zeros(shape, DType::F32, &Device::Cpu).unwrap();
    let good = || vec![("fc.0.weight", zeros(&[4, 3])), ("fc.0.bias", zeros(&[4]))];
    let blocks = [("blocks", "2")];
    assert!(Adapter::open(saved(&folder, &good(), &blocks), None).is_ok());
    let fail = |tensors: &[(&str, Tensor)], metadata: &[(&str, &str)]| {
        refusal(&saved(&folder, tensors, metadata), None)
    };
    assert!(fail(&[], &blocks).contains("holds no layers"));
    assert!(fail(&good()[..1], &blocks).contains("fc.0.bias is missing"));
    assert!(
        fail(&[&good()[..], &[("x", zeros(&[1]))]].concat(), &blocks)
            .contains("\"x\" is not one of")
    );
    let nan = (zeros(&[4, 3]) / 0.0).unwrap();
    assert!(fail(&[("fc.0.weight", nan), ("fc.0.bias", zeros(&[4]))], &blocks).contains("NaN"));
    assert!(
        fail(&[("fc.0.weight", zeros(&[4, 3])), ("fc.0.bias", zeros(&[3]))], &blocks)
            .contains("shapes")
    );
    assert!(fail(&good(), &[]).contains("1 layers for 0 blocks; give one block for each layer"));
    assert!(fail(&good(), &[("blocks", "0")]).contains("counted from 1"));
    assert!(fail(&good(), &[("blocks", "x")]).contains("blocks \"x\", no number"));
    assert!(
        fail(&good(), &[("blocks", "1"), ("activation", "relu")]).contains("unknown activation")
    );
    assert!(fail(&good(), &[("blocks", "1"), ("logit_scale", "-1")]).contains("not positive"));
}

fn run(home: &TempDir, arguments: &[&str]) -> assert_cmd::assert::Assert {
    blemish(home.path()).args(arguments).assert()
}

fn stderr(assert: &assert_cmd::assert::Assert) -> String {
    String::from_utf8_lossy(&assert.get_output().stderr).into_owned()
}

fn json(assert: assert_cmd::assert::Assert) -> Value {
    serde_json::from_slice(&assert.success().get_output().stdout).unwrap()
}

#[test]
fn official_files_are_described_converted_and_matched_with_the_model() {
    let home = tempdir().unwrap();
    let official = home.path().join("mvtec_pretrained.pth");
    std::fs::copy(fixture(OFFICIAL), &official).unwrap();
    let official = official.to_str().unwrap();
    let ours = home.path().join("ours.safetensors");
    let ours = ours.to_str().unwrap();
    // Three layers for four blocks.
    let assert = run(&home, &["adapter", "info", official]).code(1);
    assert!(stderr(&assert).contains("3 layers for 4 blocks"));
    run(&home, &["adapter", "convert", official, "-o", ours, "--blocks", "2,4,6", "--size", "112"])
        .success();
    let info = json(run(&home, &["adapter", "info", ours, "--format", "json"]));
    assert_eq!((&info["blocks"], &info["size"]), (&serde_json::json!([2, 4, 6]), &112.into()));
    assert!(info["licence"].as_str().unwrap().starts_with("CC BY-NC-SA"), "{info}");
    assert_eq!(info["products"].as_array().unwrap().len(), 15);

    let model = fixture("clip/gelu/hf");
    let picture = fixture("tiny/samples/hex_nut/test/chip/000.png");
    let picture = picture.to_str().unwrap();
    let score = ["score", picture, "--product", "metal nut", "--method", "april-gan", "--adapter"];
    let with = |more: &[&str]| run(&home, &[&score[..], more].concat());
    let on_model = ["--model", model.to_str().unwrap()];
    let of_ours = json(with(&[&[ours][..], &on_model].concat()));
    let of_official =
        json(with(&[&[official, "--blocks", "2,4,6", "--size", "112"][..], &on_model].concat()));
    assert_eq!(of_ours["peak"], of_official["peak"]);
    assert_eq!(of_ours["adapter"]["trained_on_product"], true);
    assert!(of_official["adapter"]["licence"].as_str().unwrap().starts_with("CC BY-NC-SA"));
    assert_eq!(of_ours["size"], 112);

    let assert = with(&[ours]).code(1);
    let message = stderr(&assert);
    for part in
        ["width 64 into embeddings of 40", "tiny has tokens of width 192 and embeddings of 128"]
    {
        assert!(message.contains(part) && message.lines().count() == 1, "{message}");
    }
    let beyond = with(&[&[official, "--blocks", "2,4,9", "--size", "112"][..], &on_model].concat());
    assert!(stderr(&beyond).contains("reads block 9; model"), "{}", stderr(&beyond));
    // Under another name nothing is known of it.
    let unnamed = home.path().join("unnamed.pth");
    std::fs::copy(official, &unnamed).unwrap();
    let unnamed = unnamed.to_str().unwrap();
    let row =
        json(with(&[&[unnamed, "--blocks", "2,4,6", "--size", "112"][..], &on_model].concat()));
    assert!(row["adapter"]["trained_on_product"].is_null() && row["adapter"]["licence"].is_null());
    let mended = home.path().join("mended.safetensors");
    let mended = mended.to_str().unwrap();
    let convert = ["adapter", "convert", official, "-o", mended, "--blocks", "2,4,6"];
    run(&home, &[&convert[..], &["--training-data", "my own", "--products", "nut,bolt"]].concat())
        .success();
    let info = json(run(&home, &["adapter", "info", mended, "--format", "json"]));
    assert!(info["licence"].is_null() && info["training_data"] == "my own", "{info}");
    assert_eq!(info["products"], serde_json::json!(["nut", "bolt"]));
    let without = ["score", picture, "--product", "nut", "--method", "fused"];
    let assert = run(&home, &[&without[..], &on_model].concat()).code(2);
    assert!(stderr(&assert).contains("--method fused: needs an adapter for this model"));
    let assert = run(
        &home,
        &["score", picture, "--product", "nut", "--method", "winclip", "--adapter", ours],
    )
    .code(2);
    assert!(stderr(&assert).contains("--adapter: --method winclip takes none"));
}

/// The sample pictures as a data set, learnt from at a small size.
fn training(home: &TempDir, output: &str, more: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_blemish"));
    command
        .env("HOME", home.path())
        .env("BLEMISH_CACHE", home.path().join("cache"))
        .args(["adapter", "train", "--data", fixture("tiny/samples").to_str().unwrap()])
        .args(["--blocks", "trunk,3,6", "--size", "96", "--epochs", "60", "-o"])
        .arg(home.path().join(output))
        .args(more)
        .stderr(Stdio::piped());
    command
}

#[test]
fn a_killed_training_goes_on_to_the_same_bytes() {
    let home = tempdir().unwrap();
    let output = training(&home, "whole.safetensors", &[]).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let file = |name: &str| std::fs::read(home.path().join(name)).unwrap();
    let csv = String::from_utf8(file("whole.safetensors.csv")).unwrap();
    let rows: Vec<Vec<&str>> = csv.lines().map(|line| line.split(',').collect()).collect();
    assert_eq!(rows[0], ["step", "epoch", "loss", "pixel_auroc", "au_pro"]);
    let loss = |row: &[&str]| row[2].parse::<f64>().unwrap();
    let (first, last) = (loss(&rows[1]), loss(rows.last().unwrap()));
    assert!(last < first * 0.9, "loss {first} to {last}");
    let judged = rows[1..].iter().filter(|row| !row[3].is_empty()).count();
    assert_eq!(judged, 60, "one judgement an epoch");
    image::load_from_memory(&file("whole.safetensors.png")).unwrap();
    let adapter = Adapter::open(home.path().join("whole.safetensors"), None).unwrap();
    let about = adapter.about();
    assert_eq!(
        (about.blocks.as_slice(), about.size, about.products.len()),
        (&[3, 6][..], Some(96), 12)
    );
    assert!(about.model_sha256.is_some() && about.spread.is_some());
    assert_eq!(adapter.trunk().map(|layer| layer.widths()), Some((152, 128)));

    let mut child = training(&home, "part.safetensors", &[]).spawn().unwrap();
    let checkpoint = home.path().join("part.safetensors.checkpoint");
    let start = Instant::now();
    while !checkpoint.exists() && start.elapsed() < Duration::from_secs(60) {
        std::thread::sleep(Duration::from_millis(5));
    }
    child.kill().unwrap();
    child.wait().unwrap();
    assert!(checkpoint.exists() && !home.path().join("part.safetensors").exists());
    let again = training(&home, "part.safetensors", &[]).output().unwrap();
    assert_eq!(again.status.code(), Some(2), "a checkpoint is not overwritten unasked");
    let other = training(&home, "part.safetensors", &["--resume", "--seed", "1"]).output().unwrap();
    assert!(String::from_utf8_lossy(&other.stderr).contains("is of a run with other photos"));
    let on = training(&home, "part.safetensors", &["--resume"]).output().unwrap();
    assert!(on.status.success(), "{}", String::from_utf8_lossy(&on.stderr));
    assert!(file("part.safetensors") == file("whole.safetensors"), "other layers");
    assert!(file("part.safetensors.csv") == file("whole.safetensors.csv"), "other curves");
    assert!(!checkpoint.exists());

    // Features that were altered are looked at again; an altered checkpoint is refused.
    let features = home.path().join("cache/features");
    let mut altered = 0;
    for entry in std::fs::read_dir(&features).unwrap() {
        let path = entry.unwrap().path();
        let mut bytes = std::fs::read(&path).unwrap();
        let middle = bytes.len() / 2;
        bytes[middle] ^= 0x10;
        std::fs::write(&path, bytes).unwrap();
        altered += 1;
    }
    assert!(altered > 10);
    let mut child = training(&home, "third.safetensors", &[]).spawn().unwrap();
    let checkpoint = home.path().join("third.safetensors.checkpoint");
    let start = Instant::now();
    while !checkpoint.exists() && start.elapsed() < Duration::from_secs(60) {
        std::thread::sleep(Duration::from_millis(5));
    }
    child.kill().unwrap();
    child.wait().unwrap();
    let whole = std::fs::read(&checkpoint).unwrap();
    let mut bytes = whole.clone();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 0x10;
    std::fs::write(&checkpoint, bytes).unwrap();
    let refused = training(&home, "third.safetensors", &["--resume"]).output().unwrap();
    assert!(String::from_utf8_lossy(&refused.stderr).contains("remove it to begin anew"));
    std::fs::write(&checkpoint, whole).unwrap();
    let on = training(&home, "third.safetensors", &["--resume"]).output().unwrap();
    assert!(on.status.success(), "{}", String::from_utf8_lossy(&on.stderr));
    assert!(file("third.safetensors") == file("whole.safetensors"), "other features");

    // The same adapter refuses another model and marks what it has seen.
    let adapter = home.path().join("part.safetensors");
    let adapter = adapter.to_str().unwrap();
    let samples = fixture("tiny/samples");
    let eval =
        ["eval", "mvtec", samples.to_str().unwrap(), "--method", "april-gan", "--adapter", adapter];
    let assert = run(&home, &eval).code(2);
    assert!(stderr(&assert).contains("was trained on bottle, can_lid"), "{}", stderr(&assert));
    let assert = run(&home, &[&eval[..], &["--product", "part"]].concat()).code(2);
    assert!(stderr(&assert).contains("--product: the photos are of 12 products"));
    // A photo is known again under any name.
    let renamed = home.path().join("x.png");
    std::fs::copy(fixture("tiny/samples/hex_nut/test/good/000.png"), &renamed).unwrap();
    let mut score = vec!["score", renamed.to_str().unwrap(), "--product", "x", "--format", "jsonl"];
    score.extend(["--method", "april-gan", "--size", "96", "--adapter", adapter]);
    let rows = run(&home, &score).success().get_output().stdout.clone();
    assert!(String::from_utf8(rows).unwrap().contains("\"trained_on_product\":true"));

    let report = json(run(&home, &[&eval[..], &["--allow-leak", "--format", "json"]].concat()));
    let products = report["products"].as_array().unwrap();
    assert!(products.len() == 12 && products.iter().all(|p| p["leak"] == true));
    let mean = products.iter().map(|p| p["pixel_auroc"].as_f64().unwrap()).sum::<f64>() / 12.0;
    assert!(mean > 0.75, "{report}");
}

#[test]
fn photos_that_cannot_teach_are_refused() {
    let home = tempdir().unwrap();
    let root = home.path().join("set");
    for kind in ["good", "bent"] {
        for i in 0..2 {
            photo(&root.join(format!("nut/test/{kind}/{i}.png")), 40, 32);
        }
    }
    let output = home.path().join("a.safetensors");
    let train = |more: &[&str]| {
        let fixed = ["adapter", "train", "-o", output.to_str().unwrap()];
        run(&home, &[&fixed[..], more].concat())
    };
    let data = ["--data", root.to_str().unwrap()];
    let fail = |code: i32, more: &[&str], expected: &str| {
        let assert = train(&[&data[..], more].concat()).code(code);
        let message = stderr(&assert);
        let last = message.lines().last().unwrap_or_default();
        assert!(last.contains(expected), "{expected}: {message}");
    };
    fail(1, &["--blocks", "3"], "bent/0.png: has no mask, nor have 1 others");
    for i in 0..2 {
        image::GrayImage::new(40, 32)
            .save({
                let path = root.join(format!("nut/ground_truth/bent/{i}_mask.png"));
                std::fs::create_dir_all(path.parent().unwrap()).unwrap();
                path
            })
            .unwrap();
    }
    fail(1, &["--blocks", "3"], "the mask marks no pixel");
    for i in 0..2 {
        photo(&root.join(format!("nut/ground_truth/bent/{i}_mask.png")), 40, 30);
    }
    fail(1, &["--blocks", "3"], "the mask has 40x30 pixels and its photo 40x32");
    fail(2, &["--blocks", "9"], "--blocks 9: give blocks of the model, from 1 to 6");
    fail(2, &["--blocks", "0"], "--blocks");
    fail(2, &["--blocks", "3,3"], "--blocks: give each block once");
    fail(2, &["--blocks", "3", "--logit-scale", "0"], "--logit-scale: must be positive");
    fail(1, &["--blocks", "3", "--resume"], "the mask has");
    fail(2, &["--blocks", "3", "--epochs", "0"], "--epochs 0: give at least 1");
    fail(2, &["--blocks", "3", "--mosaic", "2"], "--mosaic: must be between 0 and 1");
    std::fs::remove_dir_all(root.join("nut/test/bent")).unwrap();
    fail(1, &["--blocks", "3"], "no defective photo to learn from");
    let root = root.join("nut");
    let assert = run(&home, &["eval", "mvtec", root.to_str().unwrap()]).code(1);
    assert!(stderr(&assert).contains("has no defective photos"), "{}", stderr(&assert));
    std::fs::write(&output, "hours of work").unwrap();
    let assert = train(&data).code(2);
    assert!(stderr(&assert).contains("is there already"), "{}", stderr(&assert));
    std::fs::remove_file(&output).unwrap();
    let empty = home.path().join("empty");
    std::fs::create_dir(&empty).unwrap();
    let assert = train(&["--data", empty.to_str().unwrap()]).code(1);
    assert!(stderr(&assert).contains("no photos in folders"));
}
