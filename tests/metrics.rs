//! Metrics against MVTec AD's own evaluation script (`fixtures/mvtec_ad`: generated pictures and maps).

mod common;

use blemish::Mask;
use blemish::data::{Layout, samples};
use blemish::metrics::{Pixels, measure};
use common::fixture;
use serde_json::Value;

#[test]
fn au_pro_is_that_of_the_official_script() {
    let root = fixture("mvtec_ad");
    let (mut pixels, mut photos) = (Pixels::default(), 0);
    for sample in samples(&root.join("dataset"), Some(Layout::Mvtec)).unwrap() {
        let path = sample.photo.strip_prefix(root.join("dataset")).unwrap();
        let file = std::fs::File::open(root.join("anomaly_maps").join(path).with_extension("tiff"));
        let mut decoder = tiff::decoder::Decoder::new(file.unwrap()).unwrap();
        let (width, height) = decoder.dimensions().unwrap();
        let tiff::decoder::DecodingResult::F32(map) = decoder.read_image().unwrap() else {
            panic!("float32");
        };
        let mask = Mask::open(&sample.masks, width as usize, height as usize).unwrap();
        pixels.add_masked(&map, &mask.pixels, mask.width);
        photos += 1;
    }
    assert_eq!(photos, 8);
    let pixels = pixels.sorted();
    for limit in ["0.05", "0.3", "1.0"] {
        let file = root.join(format!("official_metrics_{limit}/metrics.json"));
        let golden: Value = serde_json::from_slice(&std::fs::read(file).unwrap()).unwrap();
        let expected = golden["bottle"]["au_pro"].as_f64().unwrap();
        let found = measure(&[&pixels], &[limit.parse().unwrap()]).au_pro.unwrap()[0];
        assert!((found - expected).abs() < 1e-8, "{limit}: {found} is not {expected}");
    }
}
