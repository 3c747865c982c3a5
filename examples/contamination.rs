//! How much of a folder may be defective before its photos mislead each other: AUROC of photos and of pixels as the share of
//! defective photos grows, as the table in docs/measured.md.
//!
//!     cargo run --release --example contamination -- mvtec_ad/bottle/ 40
//!
//! The folder of a product in MVTec AD's layout, and how many of its test photos to draw each time; three draws.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use blemish::data::{Layout, Sample, samples};
use blemish::detect::{MethodInputs, default_method};
use blemish::eval::{Curve, EvalPrediction, evaluate};
use blemish::mutual::{MutualOptions, MutualScorer, UniquePhotos, Watch};
use blemish::{Adapter, Clip, Error, Product, Prompts};
use rand::SeedableRng;
use rand::seq::SliceRandom;
use rand_chacha::ChaCha8Rng;

const SHARES: [f64; 4] = [0.1, 0.3, 0.5, 0.7];
const DRAWS: u64 = 3;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let arguments: Vec<String> = std::env::args().collect();
    let [_, root, count] = &arguments[..] else {
        return Err("give a product's folder and a number".into());
    };
    let (root, count) = (Path::new(root), count.parse::<usize>()?);
    let clip = Arc::new(Clip::load("tiny")?);
    let inputs = MethodInputs { adapter: Adapter::of_model("tiny", None)?.map(Arc::new) };
    let all = samples(root, Some(Layout::Mvtec))?;
    let name = all[0].product.replace('_', " ");
    let product = Product::new(&clip, &name, &Prompts::default())?;
    println!("| {name}, {count} photos: defective | words | mutual | auto |\n|---|---|---|---|");
    for share in SHARES {
        let mut sums = [(0.0, 0.0); 3];
        for seed in 0..DRAWS {
            let drawn = draw(&all, count, share, seed)?;
            let paths: Vec<PathBuf> = drawn.iter().map(|sample| sample.photo.clone()).collect();
            for (way, sum) in sums.iter_mut().enumerate() {
                let options = MutualOptions { with_prompts: way != 1, ..MutualOptions::default() };
                let method = default_method(inputs.adapter.as_deref()).make(&inputs)?;
                let mut scorer = MutualScorer::new(clip.clone(), method, product.clone(), options)?;
                let photos = UniquePhotos::read(&paths, 0, &|_| {});
                let encoded = scorer.add_photos(&photos, Watch::default());
                let results =
                    if way == 0 { scorer.finish_by_prompts() } else { scorer.finish()? };
                let metrics = evaluate(&drawn, Layout::Mvtec, Curve::Exact, |sample| {
                    let photo = drawn.iter().position(|other| std::ptr::eq(*other, sample));
                    let at = encoded.index(&photos, photo.expect("one of those drawn"));
                    let Some(Ok(at)) = at else {
                        let why = "cannot be read".to_string();
                        return Err(Error::Photo { path: sample.photo.clone(), why });
                    };
                    let finding = results.finding(at);
                    Ok(EvalPrediction { score: finding.score, map: finding.map })
                })?
                .all;
                let numbers = metrics.image_auroc.zip(metrics.pixel_auroc);
                let (image, pixel) = numbers.ok_or("there are no masks")?;
                *sum = (sum.0 + image / DRAWS as f64, sum.1 + pixel / DRAWS as f64);
            }
        }
        let cells: Vec<String> = sums.iter().map(|(i, p)| format!("{i:.3} / {p:.3}")).collect();
        println!("| {:.0} % | {} |", share * 100.0, cells.join(" | "));
    }
    Ok(())
}

/// So many photos, of which a share is defective.
fn draw(all: &[Sample], count: usize, share: f64, seed: u64) -> Result<Vec<&Sample>, String> {
    let mut random = ChaCha8Rng::seed_from_u64(seed);
    let bad = (count as f64 * share).round() as usize;
    let mut drawn = Vec::new();
    for (is_anomalous, wanted) in [(false, count - bad), (true, bad)] {
        let mut some: Vec<&Sample> =
            all.iter().filter(|s| s.is_anomalous == is_anomalous).collect();
        if some.len() < wanted {
            return Err(format!("there are {} such photos, not {wanted}", some.len()));
        }
        some.shuffle(&mut random);
        drawn.extend(&some[..wanted]);
    }
    Ok(drawn)
}
