//! Time and memory of a folder whose photos judge each other, against how many there are: linear, as each is compared with
//! at most 24 others.
//!
//!     cargo bench --bench mutual                # 50, 200 and 1,000 photos; some 8 minutes on two cores
//!     cargo bench --bench mutual -- 50 200

use std::path::Path;
use std::process::Command;
use std::time::Instant;

use image::{Rgb, RgbImage};

/// Side of the made-up photos.
const SIDE: u32 = 512;

fn main() {
    let wanted: Vec<usize> =
        std::env::args().filter_map(|argument| argument.parse().ok()).collect();
    let counts = if wanted.is_empty() { vec![50, 200, 1000] } else { wanted };
    let home = tempfile::tempdir().expect("a folder for temporary files");
    println!("photos  words alone  mutual alone  both (auto)  a photo  at most");
    for count in counts {
        let folder = home.path().join(count.to_string());
        std::fs::create_dir(&folder).expect("a folder of photos");
        for i in 0..count {
            photo(i as u32).save(folder.join(format!("{i:04}.png"))).expect("a photo");
        }
        let (words, _) = run(&folder, "fused");
        let (mutual, _) = run(&folder, "mutual");
        let (both, memory) = run(&folder, "auto");
        let milliseconds = both / count as f64 * 1e3;
        println!(
            "{count:>6}  {words:>9.1} s  {mutual:>10.1} s  {both:>9.1} s  {milliseconds:>4.0} ms  {memory}"
        );
    }
}

/// A plate with grain; one in ten has a stain.
fn photo(seed: u32) -> RgbImage {
    let stain = (seed.is_multiple_of(10)).then_some((100 + seed * 37 % 300, 100 + seed * 91 % 300));
    RgbImage::from_fn(SIDE, SIDE, |x, y| {
        let grain = (x.wrapping_mul(7919) ^ y.wrapping_mul(104_729) ^ seed.wrapping_mul(31)) % 23;
        let dark = stain.is_some_and(|(a, b)| x.abs_diff(a).pow(2) + y.abs_diff(b).pow(2) < 900);
        Rgb([(if dark { 30 } else { 120 } + grain + (x / 64 + y / 64) % 2 * 40) as u8; 3])
    })
}

/// Seconds, and the most memory that the program had.
fn run(folder: &Path, method: &str) -> (f64, String) {
    let start = Instant::now();
    let mut child = Command::new(env!("CARGO_BIN_EXE_blemish"))
        .args(["score", "-q", "--product", "plate", "--method", method])
        .arg(folder)
        .stdout(std::process::Stdio::null())
        .spawn()
        .expect("the program");
    let status = format!("/proc/{}/status", child.id());
    let mut memory = "-".to_string();
    loop {
        if let Some(exit) = child.try_wait().expect("the program") {
            assert!(exit.success(), "blemish score failed");
            break;
        }
        if let Ok(text) = std::fs::read_to_string(&status) {
            let peak = text.lines().find(|line| line.starts_with("VmHWM"));
            memory = peak.map_or(memory, |line| line[6..].trim().to_string());
        }
        std::thread::sleep(std::time::Duration::from_millis(20));
    }
    (start.elapsed().as_secs_f64(), memory)
}
