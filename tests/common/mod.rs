//! What the tests share.
#![allow(dead_code)] // each test file uses a part of it

pub mod browser;
mod models;
pub mod plates;

use std::collections::HashMap;
use std::io::Read;
use std::path::{Path, PathBuf};

use blemish::Clip;
use blemish::clip::ModelOptions;
use candle_core::{Device, Tensor};

/// A file or folder of `tests/fixtures`; a model (`clip/gelu/hf` and the like) where it was written from there.
pub fn fixture(path: &str) -> PathBuf {
    match path.strip_prefix("clip/") {
        Some(model) if ["hf", "open_clip"].iter().any(|layout| model.contains(layout)) => {
            models::folder().join(model)
        }
        _ => PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures").join(path),
    }
}

/// The tensors of a safetensors file, or of one that is compressed.
pub fn tensors(path: &str) -> HashMap<String, Tensor> {
    let mut bytes = std::fs::read(fixture(path)).unwrap();
    if path.ends_with(".gz") {
        let compressed = std::mem::take(&mut bytes);
        flate2::read::GzDecoder::new(&*compressed).read_to_end(&mut bytes).unwrap();
    }
    candle_core::safetensors::load_buffer(&bytes, &Device::Cpu).unwrap()
}

/// What the reference implementations make of the models in `fixtures/clip`, with the inputs that both have in common.
pub fn golden(path: &str) -> HashMap<String, Tensor> {
    let mut golden = tensors(path);
    golden.extend(tensors("clip/inputs.safetensors"));
    golden
}

pub fn model(path: &str) -> Clip {
    Clip::load(fixture(path).to_str().unwrap()).unwrap()
}

pub fn model_with(path: &str, options: &ModelOptions) -> Clip {
    Clip::open(fixture(path).to_str().unwrap(), options).unwrap()
}

/// A model's files in a folder of their own, to be spoiled.
pub fn copy_of(model: &str) -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    for entry in std::fs::read_dir(fixture(model)).unwrap() {
        let path = entry.unwrap().path();
        std::fs::copy(&path, folder.path().join(path.file_name().unwrap())).unwrap();
    }
    folder
}

/// A fixture's folder with all that is in it, to be spoiled.
pub fn copy_tree(name: &str, to: &Path) {
    for entry in walkdir::WalkDir::new(fixture(name)) {
        let entry = entry.unwrap();
        let target = to.join(entry.path().strip_prefix(fixture(name)).unwrap());
        match entry.file_type().is_dir() {
            true => std::fs::create_dir_all(target).unwrap(),
            false => _ = std::fs::copy(entry.path(), target).unwrap(),
        }
    }
}

pub fn values(tensor: &Tensor) -> Vec<f32> {
    tensor.flatten_all().unwrap().to_vec1().unwrap()
}

/// The tolerance of the issue: 1e-4.
pub fn assert_close(name: &str, actual: &Tensor, expected: &Tensor) {
    assert_eq!(actual.dims(), expected.dims(), "{name}");
    assert_slices_close(name, &values(actual), &values(expected));
}

pub fn assert_slices_close(name: &str, actual: &[f32], expected: &[f32]) {
    assert_eq!(actual.len(), expected.len(), "{name}");
    let worst = actual.iter().zip(expected).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max);
    // A NaN would not be the largest of anything.
    assert!(actual.iter().all(|v| v.is_finite()), "{name}: not finite");
    assert!(worst <= 1e-4, "{name}: differs by {worst}");
    eprintln!("{name}: largest difference {worst:.1e}");
}

/// The program, with a home of its own so that nothing of the machine's is read or written.
pub fn blemish(home: &Path) -> assert_cmd::Command {
    let mut command = assert_cmd::Command::new(env!("CARGO_BIN_EXE_blemish"));
    for name in ["HF_HUB_CACHE", "HF_ENDPOINT", "HF_TOKEN", "HF_HUB_OFFLINE", "XDG_CACHE_HOME"] {
        command.env_remove(name);
    }
    command
        .env("HOME", home)
        .env("HF_HOME", home.join("hf"))
        .env("BLEMISH_CACHE", home.join("cache"));
    command
}

/// The program as a process that can be talked to while it runs.
pub fn process(home: &Path) -> std::process::Command {
    let like = blemish(home);
    let mut command = std::process::Command::new(like.get_program());
    for (name, value) in like.get_envs() {
        match value {
            Some(value) => command.env(name, value),
            None => command.env_remove(name),
        };
    }
    command.current_dir(home);
    command
}

/// Asks a process to end (SIGTERM). Its exit code.
#[cfg(unix)]
pub fn terminate(process: &mut std::process::Child) -> Option<i32> {
    let id = process.id().to_string();
    assert!(std::process::Command::new("kill").args(["-TERM", &id]).status().unwrap().success());
    process.wait().unwrap().code()
}

/// A photo of noise around a grey, as a file of the kind its name says.
pub fn photo(path: &Path, width: u32, height: u32) {
    let mut state = width * 31 + height;
    let image = image::RgbImage::from_fn(width, height, |_, _| {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        image::Rgb([(state >> 24) as u8 / 4 + 96; 3])
    });
    std::fs::create_dir_all(path.parent().unwrap()).unwrap();
    image.save(path).unwrap();
}
