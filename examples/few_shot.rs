//! Measures reference methods on a labelled set in MVTec's layout: 1, 2, 4 and 8 good photos, three seeds, beside the
//! words alone. The tables of `docs/measured.md`:
//!
//! ```sh
//! cargo run --release --example few_shot -- ../shared/data/magnetic_tile "magnetic tile"
//! cargo run --release --example few_shot -- ../shared/data/magnetic_tile "magnetic tile" --moved
//! ```
//!
//! `--moved` cuts another part out of each test photo, nine tenths of its sides at a place drawn by lot: parts that
//! do not lie where they lay. `--methods A,B` and `--photos 4,8` measure less, `--kinds` tells the image AUROC of each
//! kind of defect apart.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use blemish::clip::Taps;
use blemish::data::samples;
use blemish::detect::{EncodedPhoto, FewShotMethod, Method, MethodInputs, method};
use blemish::image::{Fit, Mask};
use blemish::metrics::{Pixels, auroc, measure as measure_pixels};
use blemish::profile::{EnrollOptions, EnrollPhotos, enroll};
use blemish::reference::{REFERENCE_METHODS, ReferenceEntry};
use blemish::{Adapter, BitDepth, Clip, Detector, Photo, Product, Prompts};
use rand::seq::SliceRandom;
use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;

const SEEDS: u64 = 3;

struct Test {
    photos: Vec<Photo>,
    masks: Vec<Mask>,
    labels: Vec<bool>,
    kinds: Vec<String>,
}

/// Image AUROC, pixel AUROC and AU-PRO; and the image AUROC of each kind, when asked for.
type Metrics = Vec<f64>;

fn main() -> anyhow::Result<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [root, name, flags @ ..] = &arguments[..] else {
        anyhow::bail!("give a folder and a product's name");
    };
    let value = |flag: &str| {
        let at = flags.iter().position(|f| f == flag)?;
        Some(flags.get(at + 1)?.split(',').map(String::from).collect::<Vec<_>>())
    };
    let counts = value("--photos").map_or(Ok(vec![1, 2, 4, 8]), |counts| {
        counts.iter().map(|count| count.parse()).collect::<Result<Vec<usize>, _>>()
    })?;
    let words = value("--words").map_or("april-gan".to_string(), |words| words[0].clone());
    let root = Path::new(root);
    let test = read(root, flags.iter().any(|f| f == "--moved"))?;
    let clip = Arc::new(Clip::load("tiny")?);
    let parts = MethodInputs { adapter: Adapter::of_model("tiny", None)?.map(Arc::new) };
    let product = Product::new(&clip, name, &Prompts::default())?;
    let mut kinds: Vec<&str> = vec![];
    if flags.iter().any(|f| f == "--kinds") {
        kinds = test.kinds.iter().map(|kind| &**kind).filter(|kind| *kind != "good").collect();
        kinds.dedup();
    }
    let columns = ["reference method", "photos", "image AUROC", "pixel AUROC", "AU-PRO"];
    let columns = columns.into_iter().chain(kinds.iter().copied()).chain(["simulated damage"]);
    let columns: Vec<&str> = columns.collect();
    println!("| {} |\n|{}", columns.join(" | "), "---|".repeat(columns.len()));
    let alone = Detector::with(clip.clone(), method(&words)?.make(&parts)?, Fit::Squash);
    let seen = encode(&alone, &test)?;
    row("none: words alone", 0, &[measure(&alone, &product, &test, &seen, &kinds)?], &[]);
    let mut looked: Option<(Taps, Vec<EncodedPhoto>)> = None;
    for entry in REFERENCE_METHODS {
        if value("--methods").is_some_and(|methods| !methods.iter().any(|m| m == entry.name)) {
            continue;
        }
        let layers = entry.default_layers(clip.shape());
        let pair = FewShotMethod::new(method(&words)?.make(&parts)?, entry, layers);
        let taps = pair.taps();
        let seen = match looked.take() {
            Some((before, seen)) if before == taps => seen,
            _ => encode(&Detector::with(clip.clone(), Box::new(pair), Fit::Squash), &test)?,
        };
        for &count in &counts {
            let (mut results, mut readiness) = (Vec::new(), Vec::new());
            for seed in 0..SEEDS {
                let references = draw(root, count, seed)?;
                let (profile, ready) =
                    enrolled(&clip, &parts, &product, entry, &words, &references)?;
                results.push(measure(&profile, &product, &test, &seen, &kinds)?);
                readiness.extend(ready);
            }
            row(entry.name, count, &results, &readiness);
        }
        looked = Some((taps, seen));
    }
    Ok(())
}

fn enrolled(
    clip: &Arc<Clip>,
    inputs: &MethodInputs,
    product: &Product,
    references: &'static ReferenceEntry,
    words: &str,
    photos: &[PathBuf],
) -> anyhow::Result<(Detector, Option<f64>)> {
    let options = EnrollOptions {
        method: method(words)?,
        inputs: inputs.clone(),
        references,
        prompts: "winclip".into(),
        ..EnrollOptions::default()
    };
    let photos = EnrollPhotos { references: photos, calibration: &[] };
    let profile = enroll(clip.clone(), product.clone(), photos, &options)?.profile;
    Ok((profile.detector(clip.clone())?, profile.about().readiness.image_auroc))
}

fn draw(root: &Path, count: usize, seed: u64) -> anyhow::Result<Vec<PathBuf>> {
    let folder = std::fs::read_dir(root.join("train/good"))?;
    let mut files: Vec<PathBuf> =
        folder.map(|entry| Ok(entry?.path())).collect::<std::io::Result<_>>()?;
    files.sort();
    files.shuffle(&mut ChaCha8Rng::seed_from_u64(seed));
    files.truncate(count);
    Ok(files)
}

fn read(root: &Path, moved: bool) -> anyhow::Result<Test> {
    let mut random = ChaCha8Rng::seed_from_u64(7);
    let mut test = Test { photos: vec![], masks: vec![], labels: vec![], kinds: vec![] };
    for sample in samples(root, None)? {
        let mut photo = Photo::open(&sample.photo, BitDepth::default())?;
        let mut mask = Mask::open(&sample.masks, photo.width(), photo.height())?;
        if moved {
            let (width, height) = (photo.width() * 9 / 10, photo.height() * 9 / 10);
            let left = random.random_range(0..=photo.width() - width);
            let top = random.random_range(0..=photo.height() - height);
            let rows = |y: usize| (top + y) * photo.width() + left;
            let rgb = (0..height).flat_map(|y| &photo.rgb()[rows(y) * 3..][..width * 3]);
            let cut = (0..height).flat_map(|y| &mask.pixels[rows(y)..][..width]);
            mask = Mask { width, height, pixels: cut.copied().collect(), note: None };
            photo = Photo::from_rgb(width, height, rgb.copied().collect())?;
        }
        test.photos.push(photo);
        test.masks.push(mask);
        test.labels.push(sample.is_anomalous);
        test.kinds.push(sample.kind);
    }
    Ok(test)
}

fn encode(detector: &Detector, test: &Test) -> blemish::Result<Vec<EncodedPhoto>> {
    test.photos.iter().map(|photo| detector.encode(&detector.prepare(photo))).collect()
}

fn measure(
    detector: &Detector,
    product: &Product,
    test: &Test,
    seen: &[EncodedPhoto],
    kinds: &[&str],
) -> blemish::Result<Metrics> {
    let findings = seen
        .iter()
        .map(|seen| detector.score(seen, product))
        .collect::<blemish::Result<Vec<_>>>()?;
    let scores: Vec<f32> = findings.iter().map(|finding| finding.score).collect();
    let mut pixels = Pixels::default();
    for (finding, mask) in findings.iter().zip(&test.masks) {
        pixels.add_masked(&finding.map.values, &mask.pixels, mask.width);
    }
    let found = measure_pixels(&[&pixels.sorted()], &[0.3]);
    let image = auroc(&scores, &test.labels);
    let (pixel, pro) = (found.auroc, found.au_pro.map(|pro| pro[0]));
    let of_kind = |kind: &&str| {
        let photos = (0..scores.len()).filter(|&i| !test.labels[i] || test.kinds[i] == *kind);
        let (scores, labels): (Vec<f32>, Vec<bool>) =
            photos.map(|i| (scores[i], test.labels[i])).unzip();
        auroc(&scores, &labels)
    };
    let metrics = [image, pixel, pro].into_iter().chain(kinds.iter().map(of_kind));
    Ok(metrics.map(|metric| metric.unwrap_or(f64::NAN)).collect())
}

/// The means over the seeds, and how far they lie apart.
fn row(name: &str, photos: usize, results: &[Metrics], readiness: &[f64]) {
    let cell = |values: Vec<f64>| {
        let mean = values.iter().sum::<f64>() / values.len() as f64;
        let (least, most) = values.iter().fold((1f64, 0f64), |(l, m), &v| (l.min(v), m.max(v)));
        match values.len() {
            0 => "-".to_string(),
            1 => format!("{mean:.3}"),
            _ => format!("{mean:.3} ({least:.2}..{most:.2})"),
        }
    };
    let metric = |i: usize| cell(results.iter().map(|r| r[i]).collect());
    let metrics: Vec<String> = (0..results[0].len()).map(metric).collect();
    println!("| {name} | {photos} | {} | {} |", metrics.join(" | "), cell(readiness.to_vec()));
}
