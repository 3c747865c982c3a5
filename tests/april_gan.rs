//! April-GAN zero-shot against the official pipeline.

mod common;

use std::path::{Path, PathBuf};
use std::sync::Arc;

use blemish::clip::{Features, ModelOptions};
use blemish::data::{Layout, samples};
use blemish::detect::{AprilGan, FewShotMethod, Method};
use blemish::image::{Fit, Mask};
use blemish::metrics::{Pixels, auroc, average_precision, f1_max, measure};
use blemish::reference::reference_method;
use blemish::{Adapter, BitDepth, Clip, Photo, Product, Prompts};
use candle_core::Device;
use common::{fixture, model_with, tensors, values};

/// The input of the golden outputs: the 7x7 positions of the models are stretched to 11x11.
const SIZE: usize = 176;

fn golden_folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../shared/golden/april_gan")
}

fn clip(activation: &str, layout: &str) -> Clip {
    let options = ModelOptions { size: Some(SIZE), ..ModelOptions::default() };
    model_with(&format!("clip/{activation}/{layout}"), &options)
}

/// A method with the words of a product.
struct Pipeline {
    clip: Clip,
    method: AprilGan,
}

impl Pipeline {
    fn new(activation: &str, layout: &str) -> Self {
        let file = fixture(&format!("april_gan/adapter_{activation}.pth"));
        let adapter = Adapter::open(file, Some(&[2, 4, 6])).unwrap();
        Self { clip: clip(activation, layout), method: AprilGan::new(Arc::new(adapter)) }
    }

    fn product(&self, name: &str) -> Product {
        Product::new(&self.clip, name, &Prompts::open("april-gan").unwrap()).unwrap()
    }

    /// The probability of the anomalous words, and the map summed over the three blocks.
    fn run(&self, photo: &Path, product: &Product) -> (f32, Vec<f32>) {
        let photo = Photo::open(photo, BitDepth::default()).unwrap();
        let pixels = self.clip.prepare(&photo, Fit::Squash).pixels;
        let features = self.clip.encode_image(&pixels, &self.method.taps()).unwrap();
        let features = self.method.project(features).unwrap();
        let verdict = self.method.score(&[&features], product).unwrap().remove(0).remove(0);
        (verdict.score, verdict.map.enlarge(SIZE).iter().map(|v| v * 3.0).collect())
    }
}

fn assert_within(name: &str, actual: &[f32], expected: &[f32], most: f32) -> f32 {
    assert_eq!(actual.len(), expected.len(), "{name}");
    assert!(actual.iter().all(|v| v.is_finite()), "{name}");
    let worst = actual.iter().zip(expected).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max);
    assert!(worst <= most, "{name}: differs by {worst}");
    worst
}

#[test]
fn maps_and_probabilities_are_those_of_the_official_pipeline() {
    let folder = golden_folder();
    if !folder.is_dir() {
        return eprintln!("skipped: {} is not here", folder.display());
    }
    for activation in ["gelu", "quick_gelu"] {
        let file = folder.join(format!("{activation}_zero_shot.safetensors"));
        let golden = candle_core::safetensors::load(file, &Device::Cpu).unwrap();
        let pipeline = Pipeline::new(activation, "open_clip");
        let products = ["magnetic_tile", "aws_cookies"].map(|name| (name, pipeline.product(name)));
        let (mut maps, mut scores, mut worst) = (0, 0, 0f32);
        for (name, expected) in &golden {
            let (path, part) = name.rsplit_once('.').unwrap();
            let product = &products.iter().find(|(p, _)| path.starts_with(p)).unwrap().1;
            if part == "text_probs" {
                let (score, _) = pipeline.run(&folder.join("dataset").join(path), product);
                assert_within(name, &[1.0 - score, score], &values(expected), 1e-3);
                scores += 1;
            } else {
                let (_, map) = pipeline.run(&folder.join("dataset").join(path), product);
                worst = worst.max(assert_within(name, &map, &values(expected), 1e-3));
                maps += 1;
            }
        }
        assert!(maps >= 6 && scores >= 36, "{maps} maps, {scores} scores");
        eprintln!("{activation}: {maps} maps within {worst:.1e}");
    }
}

#[test]
fn few_shot_maps_are_those_of_the_official_pipeline() {
    let folder = golden_folder();
    if !folder.is_dir() {
        return eprintln!("skipped: {} is not here", folder.display());
    }
    for activation in ["gelu", "quick_gelu"] {
        let file = folder.join(format!("{activation}_few_shot.safetensors"));
        let golden = candle_core::safetensors::load(file, &Device::Cpu).unwrap();
        let references =
            std::fs::read_to_string(folder.join(format!("{activation}_few_shot_references.txt")))
                .unwrap();
        let pipeline = Pipeline::new(activation, "open_clip");
        let words: Arc<dyn Method> = Arc::new(pipeline.method.clone());
        let pair = FewShotMethod::new(words, reference_method("april-gan").unwrap(), vec![3, 5]);
        let look = |path: &str| {
            let photo =
                Photo::open(folder.join("dataset").join(path), BitDepth::default()).unwrap();
            let pixels = pipeline.clip.prepare(&photo, Fit::Squash).pixels;
            pair.project(pipeline.clip.encode_image(&pixels, &pair.taps()).unwrap()).unwrap()
        };
        let mut maps = 0;
        for name in ["magnetic_tile", "aws_cookies"] {
            let product = pipeline.product(name);
            let good: Vec<Features> = references
                .split_whitespace()
                .filter(|line| line.contains(name))
                .map(|line| look(&line[line.find(name).unwrap()..]))
                .collect();
            assert_eq!(good.len(), 2, "{references}");
            let method = pair.fit(&good.iter().collect::<Vec<_>>(), &product).unwrap();
            for (key, expected) in &golden {
                let Some(path) = key.strip_suffix(".anomaly_map") else { continue };
                if path.starts_with(name) {
                    let photo = look(path);
                    let verdict = method.score(&[&photo], &product).unwrap().remove(0).remove(0);
                    // The mean of three layers and two banks; the official map is their sum.
                    let map: Vec<f32> = verdict.map.values.iter().map(|v| v * 5.0).collect();
                    assert_within(key, &map, &values(expected), 1e-3);
                    maps += 1;
                }
            }
        }
        assert!(maps >= 6, "{maps}");
    }
}

/// The same arithmetic by PyTorch on generated pictures (`april_gan/reference.py`).
#[test]
fn maps_and_probabilities_agree_with_pytorch_on_generated_pictures() {
    let golden = tensors("april_gan/expected.safetensors");
    for activation in ["gelu", "quick_gelu"] {
        for layout in ["hf", "open_clip"] {
            let pipeline = Pipeline::new(activation, layout);
            let product = pipeline.product("hex_nut");
            for picture in ["good/000", "chip/000"] {
                let expected =
                    |part: &str| values(&golden[&format!("{activation}.{picture}.{part}")]);
                let path = fixture(&format!("tiny/samples/hex_nut/test/{picture}.png"));
                let (score, map) = pipeline.run(&path, &product);
                assert_within("probability", &[score], &expected("text_prob"), 1e-4);
                let expected = expected("anomaly_map");
                let every_fourth =
                    |i: &usize| (i % SIZE).is_multiple_of(4) && (i / SIZE).is_multiple_of(4);
                let map: Vec<f32> = (0..map.len()).filter(every_fourth).map(|i| map[i]).collect();
                assert_within("map", &map, &expected, 1e-3);
            }
        }
    }
}

/// The official log's table: AUROC, highest F1 and average precision of pixels and of photos, to the printed digit.
/// (Its AU-PRO is an approximation by 200 thresholds; ours is exact and stands beside it.)
#[test]
fn the_tables_of_the_official_log_are_reproduced() {
    let folder = golden_folder();
    if !folder.is_dir() {
        return eprintln!("skipped: {} is not here", folder.display());
    }
    let samples = samples(&folder.join("dataset"), Some(Layout::Mvtec)).unwrap();
    for activation in ["gelu", "quick_gelu"] {
        let log = folder.join(format!("{activation}_zero_shot_metrics.txt"));
        let log = std::fs::read_to_string(log).unwrap();
        let pipeline = Pipeline::new(activation, "open_clip");
        for name in ["magnetic_tile", "aws_cookies"] {
            let row = log.lines().find(|line| line.contains(name)).unwrap();
            let row: Vec<f64> = row.split('|').filter_map(|c| c.trim().parse().ok()).collect();
            let product = pipeline.product(name);
            let (mut pixels, mut scores, mut labels) = (Pixels::default(), vec![], vec![]);
            for sample in samples.iter().filter(|sample| sample.product == name) {
                let photo = Photo::open(&sample.photo, BitDepth::default()).unwrap();
                let mask = Mask::open(&sample.masks, photo.width(), photo.height()).unwrap();
                let (score, map) = pipeline.run(&sample.photo, &product);
                pixels.add_masked(&map, &mask.squash(SIZE).pixels, SIZE);
                scores.push(score);
                labels.push(sample.is_anomalous);
            }
            let found = measure(&[&pixels.sorted()], &[0.3]);
            let ours = [
                found.auroc,
                found.f1_max,
                found.average_precision,
                auroc(&scores, &labels),
                f1_max(&scores, &labels),
                average_precision(&scores, &labels),
            ];
            let theirs = [row[0], row[1], row[2], row[4], row[5], row[6]];
            let ours = ours.map(|metric| (metric.unwrap() * 1000.0).round() / 10.0);
            assert_eq!(ours, theirs, "{activation} {name}");
            eprintln!(
                "{name}: AU-PRO {:.1}, the log's {}",
                found.au_pro.unwrap()[0] * 100.0,
                row[3]
            );
        }
    }
}
