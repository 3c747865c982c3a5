//! Measures WinCLIP on a labelled set and prints two numbers: `cargo run --release --example evaluate -- FOLDER`, in
//! MVTec AD's layout, such as tests/fixtures/tiny/samples.

use std::path::Path;

use blemish::data::{Layout, Sample, samples};
use blemish::eval::{Curve, EvalPrediction, evaluate};
use blemish::{BitDepth, Clip, Detector, Photo, Product, Prompts};

fn main() -> anyhow::Result<()> {
    let root = std::env::args().nth(1).unwrap_or("tests/fixtures/tiny/samples".into());
    let all = samples(Path::new(&root), Some(Layout::Mvtec))?;
    let clip = std::sync::Arc::new(Clip::load("tiny")?);
    let detector = Detector::new(clip.clone());
    for product in all.chunk_by(|a, b| a.product == b.product) {
        let words =
            Product::new(&clip, &product[0].product.replace('_', " "), &Prompts::default())?;
        let photos: Vec<&Sample> = product.iter().collect();
        let scores = evaluate(&photos, Layout::Mvtec, Curve::Exact, |sample| {
            let finding =
                detector.inspect(&Photo::open(&sample.photo, BitDepth::default())?, &words)?;
            Ok(EvalPrediction { score: finding.score, map: finding.map })
        })?;
        let number = |metric: Option<f64>| metric.map_or("-".into(), |m| format!("{m:.3}"));
        let (image, pro) = (number(scores.all.image_auroc), number(scores.all.au_pro(0.3)));
        println!("{}: image AUROC {image}, AU-PRO {pro}", scores.product);
    }
    Ok(())
}
