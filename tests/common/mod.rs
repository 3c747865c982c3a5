//! What the golden tests share.
#![allow(dead_code)] // each test file uses a part of it

use std::collections::HashMap;
use std::path::PathBuf;

use blemish::{Clip, ModelOptions};
use candle_core::{Device, Tensor};

pub fn fixture(path: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures").join(path)
}

pub fn tensors(path: &str) -> HashMap<String, Tensor> {
    candle_core::safetensors::load(fixture(path), &Device::Cpu).unwrap()
}

pub fn model(path: &str) -> Clip {
    Clip::load(fixture(path).to_str().unwrap()).unwrap()
}

pub fn model_with(path: &str, options: &ModelOptions) -> Clip {
    Clip::open(fixture(path).to_str().unwrap(), options).unwrap()
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
