//! Metrics against MVTec AD's own evaluation script (`fixtures/mvtec_ad`: generated pictures and maps).

mod common;

use blemish::data::{Layout, samples};
use blemish::image::Mask;
use blemish::metrics::{Pixels, measure};
use common::{blemish, fixture};
use predicates::str::contains;
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

/// MVTec LOCO's own evaluation script, and an independent one that takes every score for a threshold
/// (`fixtures/loco`), by the command that measures maps.
#[test]
fn au_spro_and_image_auroc_are_those_of_the_official_script() {
    let root = fixture("loco");
    let home = tempfile::tempdir().unwrap();
    for (curve, golden) in
        [("official", "official_metrics/{}/metrics.json"), ("exact", "exact_metrics/{}.json")]
    {
        let assert = blemish(home.path())
            .args(["eval", "maps", "loco", "--format", "json", "--curve", curve, "--maps"])
            .args([root.join("anomaly_maps"), root.join("dataset")])
            .assert()
            .success();
        let found: Value = serde_json::from_slice(&assert.get_output().stdout).unwrap();
        let products = found["products"].as_array().unwrap();
        assert_eq!(products.len(), 2);
        for product in products {
            let name = product["product"].as_str().unwrap();
            let file = std::fs::read(root.join(golden.replace("{}", name))).unwrap();
            let golden: Value = serde_json::from_slice(&file).unwrap();
            for kind in ["logical_anomalies", "structural_anomalies", "mean"] {
                let ours = if kind == "mean" { product } else { &product["kinds"][kind] };
                let expected = &golden["classification"]["auc_roc"][kind];
                let close = |what: &str, ours: &Value, theirs: &Value| {
                    let (ours, theirs) = (ours.as_f64().unwrap(), theirs.as_f64().unwrap());
                    assert!(
                        (ours - theirs).abs() < 1e-9,
                        "{curve} {name} {kind} {what}: {ours} {theirs}"
                    );
                };
                close("AUROC", &ours["image_auroc"], expected);
                for limit in ["0.01", "0.05", "0.1", "0.3", "1.0"] {
                    let expected = &golden["localization"]["auc_spro"][kind][limit];
                    close(limit, &ours["au_pro"][limit], expected);
                }
            }
        }
    }
}

/// Maps that cannot be measured, each named.
#[test]
fn damaged_maps_and_masks_are_named() {
    let home = tempfile::tempdir().unwrap();
    let copy = |name: &str| {
        let to = home.path().join(name);
        common::copy_tree(&format!("loco/{name}"), &to);
        to
    };
    let (maps, set) = (copy("anomaly_maps"), copy("dataset"));
    let refused = |why: &str| {
        let mut command = blemish(home.path());
        command.args(["eval", "maps", "loco", "--category", "pushpins", "--maps"]);
        command.arg(&maps).arg(&set).assert().code(1).stdout("").stderr(contains(why));
    };
    let map = maps.join("pushpins/test/logical_anomalies/001.tiff");
    let whole = std::fs::read(&map).unwrap();
    std::fs::remove_file(&map).unwrap();
    refused("001.tiff: there is no map for this photo");
    std::fs::write(&map, &whole[..whole.len() / 2]).unwrap();
    refused("001.tiff: not a TIFF");
    let write = |width: usize, height: usize, value: f32| {
        let values = vec![value; width * height];
        let map_of = blemish::AnomalyMap { width, height, values };
        std::fs::write(&map, blemish::render::tiff(&map_of)).unwrap();
    };
    write(72, 48, f32::NAN);
    refused("its map is no number at 0, 0");
    write(70, 48, 0.5);
    refused("70x48 pixels and its photo 72x48");
    std::fs::write(&map, &whole).unwrap();
    std::fs::copy(&map, map.with_extension("tif")).unwrap();
    refused("is a map for the same photo");
    std::fs::remove_file(map.with_extension("tif")).unwrap();

    // Files that are no map, and maps at which MVTec's script would stop, are measured and named.
    std::fs::write(maps.join("pushpins/test/good/notes.txt"), "").unwrap();
    write(72, 48, 0.5);
    let mut command = blemish(home.path());
    command.args(["eval", "maps", "loco", "--category", "pushpins", "--maps"]).arg(&maps);
    command
        .arg(&set)
        .assert()
        .success()
        .stderr(contains("notes.txt is no part of the set: not used"))
        .stderr(contains("pushpins: so many pixels score 0.5 that MVTec's script stops"));
    let mask = set.join("pushpins/ground_truth/logical_anomalies/001/000.png");
    image::GrayImage::from_pixel(72, 48, image::Luma([7])).save(&mask).unwrap();
    refused("marks with 7, which defects_config.json does not have");
    image::GrayImage::from_fn(72, 48, |x, _| image::Luma([250 + (x % 2) as u8]))
        .save(&mask)
        .unwrap();
    refused("a file holds one region");
    std::fs::write(set.join("pushpins/defects_config.json"), "{}").unwrap();
    refused("defects_config.json: not MVTec LOCO's list of defects");
}
