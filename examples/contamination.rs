//! How much of a folder may be defective before its photos mislead each other: AUROC of photos and of pixels as the share of
//! defective photos grows, as the table in docs/measured.md.
//!
//!     cargo run --release --example contamination -- mvtec_ad/bottle/ 40
//!
//! The folder of a product in MVTec AD's layout, and how many of its test photos to draw each time; three draws.

use std::path::Path;
use std::sync::Arc;

use blemish::data::{Layout, Sample, samples};
use blemish::{
    Adapter, BitDepth, Clip, Curve, Folder, FolderOptions, Judged, Looked, Parts, Photo, Product,
    Prompts, default_method, evaluate, files::files_sha256,
};
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
    let parts = Parts { adapter: Adapter::of_model("tiny", None)?.map(Arc::new) };
    let all = samples(root, Some(Layout::Mvtec))?;
    let name = all[0].product.replace('_', " ");
    let product = Product::new(&clip, &name, &Prompts::default())?;
    println!("| {name}, {count} photos: defective | words | mutual | auto |\n|---|---|---|---|");
    for share in SHARES {
        let mut sums = [(0.0, 0.0); 3];
        for seed in 0..DRAWS {
            let drawn = draw(&all, count, share, seed)?;
            for (way, sum) in sums.iter_mut().enumerate() {
                let options = FolderOptions { with_words: way != 1, ..FolderOptions::default() };
                let words = default_method(parts.adapter.is_some()).make(&parts)?;
                let mut folder = Folder::new(clip.clone(), words, product.clone(), options)?;
                let hashes: Vec<String> = drawn
                    .iter()
                    .map(|sample| files_sha256(std::slice::from_ref(&sample.photo)))
                    .collect::<Result<_, _>>()?;
                let order = Folder::order(&hashes.iter().map(|h| &**h).collect::<Vec<_>>(), 0);
                for i in &order {
                    let path = &drawn[*i].photo;
                    let prepared =
                        folder.prepare(path, &Photo::open(path, BitDepth::default())?)?;
                    folder.add(&prepared)?;
                }
                let judged: Judged = if way == 0 { folder.by_words() } else { folder.finish()? };
                let metrics = evaluate(&drawn, Layout::Mvtec, Curve::Exact, |sample| {
                    let i = order.iter().position(|i| std::ptr::eq(drawn[*i], sample));
                    let finding = judged.finding(i.expect("every photo was added"));
                    Ok(Looked { score: finding.score, map: finding.map })
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
