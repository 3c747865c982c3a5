//! Metrics against MVTec AD's own evaluation script (`fixtures/mvtec_ad`: generated pictures and maps).

mod common;

use blemish::Mask;
use blemish::data::{Layout, samples};
use blemish::metrics::{Labelled, au_pro};
use common::fixture;
use serde_json::Value;

#[test]
fn au_pro_is_that_of_the_official_script() {
    let root = fixture("mvtec_ad");
    let mut maps = Vec::new();
    for sample in samples(&root.join("dataset"), Some(Layout::Mvtec)).unwrap() {
        let path = sample.photo.strip_prefix(root.join("dataset")).unwrap();
        let file = std::fs::File::open(root.join("anomaly_maps").join(path).with_extension("tiff"));
        let mut decoder = tiff::decoder::Decoder::new(file.unwrap()).unwrap();
        let (width, height) = decoder.dimensions().unwrap();
        let tiff::decoder::DecodingResult::F32(map) = decoder.read_image().unwrap() else {
            panic!("float32");
        };
        let mask = Mask::open(&sample.masks, width as usize, height as usize).unwrap();
        maps.push((map, mask));
    }
    assert_eq!(maps.len(), 8);
    let labelled: Vec<Labelled> = maps
        .iter()
        .map(|(map, mask)| Labelled { map, mask: &mask.pixels, width: mask.width })
        .collect();
    for limit in ["0.05", "0.3", "1.0"] {
        let file = root.join(format!("official_metrics_{limit}/metrics.json"));
        let golden: Value = serde_json::from_slice(&std::fs::read(file).unwrap()).unwrap();
        let expected = golden["bottle"]["au_pro"].as_f64().unwrap();
        let found = au_pro(&labelled, limit.parse().unwrap()).unwrap();
        assert!((found - expected).abs() < 1e-8, "{limit}: {found} is not {expected}");
    }
}
