//! What good parts cost, on the embedded model: `cargo bench --bench enroll`.
//!
//! 1. `blemish enroll` with 16 photos of 512x512: seconds, from start to end.
//! 2. A photo by words alone and with 16 references by each method, in turns: milliseconds (median) and their ratio.
//! 3. PatchCore of 450 photos, about 100,000 patches: seconds and, on Linux, the most memory it held.

use std::path::Path;
use std::process::Command;
use std::sync::Arc;
use std::time::Instant;

use blemish::detect::MethodInputs;
use blemish::image::Fit;
use blemish::reference::REFERENCE_METHODS;
use blemish::{Adapter, BitDepth, Clip, Detector, Photo, Product, Profile, Prompts};

const ROUNDS: usize = 25;

fn median(mut times: Vec<f64>) -> f64 {
    times.sort_by(f64::total_cmp);
    times[times.len() / 2]
}

fn main() {
    let folder = tempfile::tempdir().unwrap();
    for i in 0..450 {
        let side = if i < 16 { 512 } else { 240 };
        draw(
            &folder.path().join(if i < 16 { "few" } else { "many" }).join(format!("{i}.png")),
            side,
            i,
        );
    }
    let of_each = REFERENCE_METHODS.iter().map(|entry| {
        let profile = folder.path().join(entry.name);
        let (seconds, _) = enroll(folder.path(), &["few"], entry.name, &profile);
        println!("enroll 16 photos of 512x512, {}: {seconds:.1} s", entry.name);
        (entry.name, Profile::open(profile).unwrap())
    });
    compare(&of_each.collect::<Vec<_>>(), &folder.path().join("few/0.png"));
    let profile = folder.path().join("large");
    let (seconds, memory) = enroll(folder.path(), &["few", "many"], "patchcore", &profile);
    println!("enroll 450 photos, 101,250 patches, patchcore: {seconds:.0} s{memory}");
}

/// A plate with a grain and a light of its own.
fn draw(file: &Path, side: u32, seed: u32) {
    std::fs::create_dir_all(file.parent().unwrap()).unwrap();
    let picture = image::RgbImage::from_fn(side, side, |x, y| {
        let mut h = x.wrapping_mul(0x9E37_79B1) ^ y.wrapping_mul(0x85EB_CA77) ^ seed;
        h = (h ^ (h >> 15)).wrapping_mul(0x2C1B_3C6D);
        let wave = ((x + 7 * seed) as f32 / 29.0).sin() * (y as f32 / 41.0 + seed as f32).cos();
        image::Rgb([(110.0 + 40.0 * wave + ((h >> 16) % 40) as f32) as u8; 3])
    });
    picture.save(file).unwrap();
}

/// Seconds, and the most memory of the process.
fn enroll(folder: &Path, photos: &[&str], method: &str, out: &Path) -> (f64, String) {
    let mut command = Command::new(env!("CARGO_BIN_EXE_blemish"));
    command.current_dir(folder).args(["enroll", "--product", "plate", "--quiet", "--reference"]);
    command.args(photos).args(["--reference-method", method, "-o"]).arg(out);
    let start = Instant::now();
    let mut child = command.stdout(std::process::Stdio::null()).spawn().unwrap();
    let mut peak = None;
    let status = loop {
        // The kernel's own high-water mark, until the process is gone.
        let status = std::fs::read_to_string(format!("/proc/{}/status", child.id()));
        let line =
            status.ok().and_then(|s| Some(s.lines().find(|l| l.starts_with("VmHWM"))?.to_string()));
        peak = line.or(peak);
        if let Some(status) = child.try_wait().unwrap() {
            break status;
        }
        std::thread::sleep(std::time::Duration::from_millis(20));
    };
    assert!(status.success());
    let megabytes =
        peak.and_then(|line| Some(line.split_whitespace().nth(1)?.parse::<f64>().ok()? / 1e3));
    let memory = megabytes.map_or(String::new(), |mb| format!(", at most {mb:.0} MB"));
    (start.elapsed().as_secs_f64(), memory)
}

fn compare(profiles: &[(&str, Profile)], photo: &Path) {
    let clip = Arc::new(Clip::load("tiny").unwrap());
    let adapter = Adapter::of_model("tiny", None).unwrap().map(Arc::new);
    let method = blemish::detect::default_method(adapter.as_deref())
        .make(&MethodInputs { adapter })
        .unwrap();
    let mut detectors = vec![("words alone", Detector::with(clip.clone(), method, Fit::default()))];
    for (name, profile) in profiles {
        detectors.push((name, profile.detector(clip.clone()).unwrap()));
    }
    let product = Product::new(&clip, "plate", &Prompts::default()).unwrap();
    let photo = Photo::open(photo, BitDepth::default()).unwrap();
    let mut times = vec![vec![]; detectors.len()];
    for _ in 0..ROUNDS {
        for ((_, detector), times) in detectors.iter().zip(&mut times) {
            let start = Instant::now();
            detector.inspect(&photo, &product).unwrap();
            times.push(start.elapsed().as_secs_f64() * 1e3);
        }
    }
    let alone = median(times[0].clone());
    for ((name, _), times) in detectors.iter().zip(times) {
        let time = median(times);
        println!("a photo, {name}: {time:.1} ms, {:.2} of words alone", time / alone);
    }
}
