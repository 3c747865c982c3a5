//! What words cost, on the embedded model: `cargo bench --bench prompts`.
//!
//! 1. A photo with 1 and with 20 kinds of defect, in turns: milliseconds each (median) and their ratio.
//! 2. `blemish prompts watch` on 20 photos: milliseconds from a save to the last result, each save with a
//!    sentence that was never seen before.

use std::io::{BufRead, BufReader};
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::time::Instant;

use blemish::detect::MethodInputs;
use blemish::image::Fit;
use blemish::{Adapter, BitDepth, Clip, Detector, Photo, Product, Prompts};

const ROUNDS: usize = 25;
const PHOTO: &str = "examples/pictures/leather/stain.png";

fn median(mut times: Vec<f64>) -> f64 {
    times.sort_by(f64::total_cmp);
    times[times.len() / 2]
}

fn milliseconds(work: impl FnOnce()) -> f64 {
    let start = Instant::now();
    work();
    start.elapsed().as_secs_f64() * 1e3
}

fn main() {
    defects();
    watch();
}

fn defects() {
    let clip = Arc::new(Clip::load("tiny").unwrap());
    // The program's default for this model.
    let adapter = Adapter::of_model("tiny", None).unwrap().map(Arc::new);
    let method = blemish::detect::default_method(adapter.as_deref())
        .make(&MethodInputs { adapter })
        .unwrap();
    let detector = Detector::with(clip.clone(), method, Fit::default());
    let prepared = detector.prepare(&Photo::open(PHOTO, BitDepth::default()).unwrap());
    let products = [1, 20].map(|count| {
        let names: Vec<String> = (0..count).map(|i| format!("defect {i}")).collect();
        let prompts = Prompts::open("inspection").unwrap().select(&names, &[]).unwrap();
        Product::new(&clip, "leather", &prompts).unwrap()
    });
    let mut times = [vec![], vec![]];
    for _ in 0..ROUNDS {
        for (product, times) in products.iter().zip(&mut times) {
            times.push(milliseconds(|| {
                detector.score(&detector.encode(&prepared).unwrap(), product).unwrap();
            }));
        }
    }
    let [one, twenty] = times.map(median);
    println!("1 defect {one:.1} ms, 20 defects {twenty:.1} ms a photo: ratio {:.3}", twenty / one);
}

fn watch() {
    let folder = tempfile::tempdir().unwrap();
    let photos = folder.path().join("photos");
    std::fs::create_dir(&photos).unwrap();
    for i in 0..20 {
        std::fs::copy(PHOTO, photos.join(format!("{i}.png"))).unwrap();
    }
    let file = folder.path().join("my.toml");
    let text = include_str!("../prompts/inspection.toml");
    std::fs::write(&file, text).unwrap();
    let mut child = Command::new(env!("CARGO_BIN_EXE_blemish"))
        .args(["prompts", "watch", "--quiet", "--product", "leather"])
        .args([&file, &photos])
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    let mut results = || (0..20).for_each(|_| drop(lines.next().unwrap().unwrap()));
    results();
    let times = (0..ROUNDS).map(|i| {
        let changed = text.replacen("\"broken {}\"", &format!("\"broken {{}} {i}\""), 1);
        milliseconds(|| {
            std::fs::write(&file, changed).unwrap();
            results();
        })
    });
    let times: Vec<f64> = times.collect();
    let worst = times.iter().copied().fold(0.0, f64::max);
    println!(
        "watch, 20 photos: {:.0} ms from save to last result, at most {worst:.0}",
        median(times)
    );
    child.kill().unwrap();
    child.wait().unwrap();
}
