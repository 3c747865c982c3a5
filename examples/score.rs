//! The command line's main job in five lines: `cargo run --release --example score`.

use blemish::{BitDepth, Clip, Detector, Photo, Product, Prompts};

fn main() -> blemish::Result<()> {
    let file = std::env::args().nth(1).unwrap_or("examples/pictures/leather/stain.png".into());
    let model = Clip::load("tiny")?;
    let product = Product::new(&model, "leather", &Prompts::default())?;
    let photo = Photo::open(&file, BitDepth::default())?;
    let finding = Detector::new(model).inspect(&photo, &product)?;
    let (x, y, value) = finding.map.peak();
    println!("{file}: score {:.3}, most anomalous at ({x}, {y}): {value:.3}", finding.score);
    Ok(())
}
