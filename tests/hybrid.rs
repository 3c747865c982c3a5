//! The hybrid model, a small CLIP on a pretrained trunk, against PyTorch's outputs.

mod common;

use std::path::Path;

use blemish::clip::Taps;
use blemish::detect::{MethodInputs, method};
use blemish::image::Fit;
use blemish::{Adapter, BitDepth, Clip, Photo, Product};
use candle_core::{D, Device, Tensor};
use common::{assert_close, assert_slices_close, fixture, tensors, values};

/// 1e-4 of the largest value.
fn assert_near(name: &str, actual: &Tensor, expected: &Tensor) {
    let (actual, expected) = (values(actual), values(expected));
    assert_eq!(actual.len(), expected.len(), "{name}");
    let largest = expected.iter().fold(0f32, |most, v| most.max(v.abs()));
    let far = actual.iter().zip(&expected).map(|(a, e)| (a - e).abs()).fold(0f32, f32::max);
    assert!(far <= 1e-4 * largest, "{name}: off by {far} of {largest}");
}

fn unit(t: &Tensor) -> Tensor {
    t.broadcast_div(&t.sqr().unwrap().sum_keepdim(D::Minus1).unwrap().sqrt().unwrap()).unwrap()
}

#[derive(serde::Deserialize)]
struct Expected {
    images: Vec<String>,
    texts: Vec<String>,
}

#[test]
fn the_embedded_model_agrees_with_its_training_code() {
    let list = std::fs::read(fixture("tiny/expected.json")).unwrap();
    let list: Expected = serde_json::from_slice(&list).unwrap();
    let golden = tensors("tiny/expected.safetensors");
    let clip = Clip::load("tiny").unwrap();
    let texts = clip.encode_texts(&list.texts).unwrap();
    assert_close("texts", &unit(&texts), &golden["text_embeds"]);
    let adapter = Adapter::of_model("tiny", None).unwrap().map(std::sync::Arc::new);
    let april_gan = method("april-gan").unwrap().make(&MethodInputs { adapter }).unwrap();
    let text = |row: usize| golden["text_embeds"].narrow(0, row, 1).unwrap();
    let product = Product::from_embeddings("part", text(0), text(3));
    for (i, image) in list.images.iter().enumerate() {
        let photo = Photo::open(fixture("tiny").join(image), BitDepth::default()).unwrap();
        let pixels = clip.prepare(&photo, Fit::Squash).pixels;
        let taps = Taps { blocks: vec![0, 6], trunk: true, ..Taps::default() };
        let features = clip.encode_image(&pixels, &taps).unwrap();
        assert_close(image, &unit(&features.image), &golden["image_embeds"].get(i).unwrap());
        if i == 0 {
            let trunk = features.trunk.as_ref().unwrap();
            assert_near("trunk_fine", &trunk.fine, &golden["trunk_fine"]);
            assert_near("trunk_coarse", &trunk.coarse, &golden["trunk_coarse"]);
            assert_near("tokens", &features.blocks[0], &golden["tokens"]);
            assert_near("block_6", &features.blocks[1], &golden["block_6"]);
            let features = clip.encode_image(&pixels, &april_gan.taps()).unwrap();
            let features = april_gan.project(features).unwrap();
            let found = april_gan.score(&[&features], &product).unwrap().remove(0).remove(0);
            assert_eq!(found.map.side, 30);
            assert_slices_close("map", &found.map.values, &values(&golden["map"]));
            assert!(found.adds_peak);
            let logit = |p: f32| (p / (1.0 - p)).ln();
            let sum = logit(found.score) + logit(found.map.peak().1);
            assert_slices_close("score", &[1.0 / (1.0 + (-sum).exp())], &values(&golden["score"]));
        }
    }
}

#[test]
fn all_stages_agree_with_pytorch() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../shared/hybrid");
    if !folder.is_dir() {
        println!("skipped: {} is not here", folder.display());
        return;
    }
    let golden =
        candle_core::safetensors::load(folder.join("expected.safetensors"), &Device::Cpu).unwrap();
    let model = folder.join("tiny");
    let clip = Clip::load(model.to_str().unwrap()).unwrap();
    assert_eq!(clip.shape().trunk, Some([40, 112]));
    for picture in 0..2 {
        let expected = |name: &str| golden[name].get(picture).unwrap();
        let pixels = values(&expected("pixels"));
        let taps = Taps { blocks: vec![0, 3, 6], trunk: true, ..Taps::default() };
        let features = clip.encode_image(&pixels, &taps).unwrap();
        let trunk = features.trunk.as_ref().unwrap();
        let rows = |name: &str| {
            let map = expected(name);
            map.flatten(1, 2).unwrap().t().unwrap().contiguous().unwrap()
        };
        assert_near("trunk_5", &trunk.fine, &rows("trunk_5"));
        assert_near("trunk_11", &trunk.coarse, &rows("trunk_11"));
        for (i, name) in ["tokens", "block_3", "block_6"].iter().enumerate() {
            assert_near(name, &features.blocks[i], &expected(name));
        }
        assert_near("image", &unit(&features.image), &expected("image_embeddings"));
    }
    let asked = std::fs::read(folder.join("expected.json")).unwrap();
    let asked: Expected = serde_json::from_slice(&asked).unwrap();
    let texts = clip.encode_texts(&asked.texts).unwrap();
    assert_near("texts", &unit(&texts), &golden["text_embeddings"]);
}

#[test]
fn both_methods_with_layers_read_the_trunk() {
    let adapter = Adapter::of_model("tiny", None).unwrap().map(std::sync::Arc::new);
    for name in ["april-gan", "fused"] {
        let found = method(name).unwrap().make(&MethodInputs { adapter: adapter.clone() }).unwrap();
        assert!(found.taps().trunk, "{name}");
    }
}

/// The highest value of the map raises a photo's score, and only the region of interest counts.
#[test]
fn damage_outside_the_region_does_not_raise_the_score() {
    let home = tempfile::tempdir().unwrap();
    let mask = image::GrayImage::from_fn(240, 240, |x, _| image::Luma([255 * u8::from(x >= 120)]));
    mask.save(home.path().join("roi.png")).unwrap();
    let photo = fixture("tiny/samples/leather/test/glue/000.png");
    let score = |more: &[&str]| {
        let mut command = common::blemish(home.path());
        command.current_dir(home.path()).args(["score", "--product", "leather", "-q"]);
        let output = command.arg(&photo).args(more).assert().success().get_output().stdout.clone();
        let row: serde_json::Value = serde_json::from_slice(&output).unwrap();
        (row["score"].as_f64().unwrap(), row["peak_x"].as_u64().unwrap())
    };
    let (whole, x) = score(&["--format", "jsonl"]);
    assert!(whole > 0.9 && x < 120, "the glue, at {x}: {whole}");
    let (inside, x) = score(&["--format", "jsonl", "--roi", "roi.png"]);
    assert!(inside < 0.5 && x >= 118, "at {x}: {inside}");
}
