//! The hybrid model, a small CLIP on a pretrained trunk, against PyTorch's outputs.

mod common;

use std::path::Path;

use blemish::clip::Taps;
use blemish::{Adapter, Clip};
use candle_core::{Device, Tensor};
use common::values;

/// 1e-4 of the largest value.
fn assert_near(name: &str, actual: &Tensor, expected: &Tensor) {
    let (actual, expected) = (values(actual), values(expected));
    assert_eq!(actual.len(), expected.len(), "{name}");
    let largest = expected.iter().fold(0f32, |most, v| most.max(v.abs()));
    let far = actual.iter().zip(&expected).map(|(a, e)| (a - e).abs()).fold(0f32, f32::max);
    assert!(far <= 1e-4 * largest, "{name}: off by {far} of {largest}");
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
    let adapter = Adapter::of_model(model.to_str().unwrap(), None).unwrap().unwrap();
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
        let length = features.image.sqr().unwrap().sum_all().unwrap().sqrt().unwrap();
        let image = features.image.broadcast_div(&length).unwrap();
        assert_near("image", &image, &expected("image_embeddings"));
        let blocks = adapter.about().blocks.clone();
        assert_eq!(blocks, [3, 4, 5, 6]);
    }
}
