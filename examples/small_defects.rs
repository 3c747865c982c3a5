//! Draws large photos of plates with small defects, in MVTec AD's layout: `cargo run --release --example small_defects
//! FOLDER`. A photo has 2000x1500 pixels, a defect 12 to 40. Each plate has four drilled holes and a grain of its own.

use std::error::Error;
use std::path::Path;

use image::{GrayImage, Luma, Rgb, RgbImage};
use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;

const WIDTH: u32 = 2000;
const HEIGHT: u32 = 1500;
const LEARNT: u64 = 8;
const GOOD: u64 = 24;
const EACH: u64 = 12;

fn main() -> Result<(), Box<dyn Error>> {
    let folder = std::env::args().nth(1).ok_or("give a folder")?;
    let root = Path::new(&folder).join("plate");
    let sets = [
        ("train", "good", LEARNT),
        ("test", "good", GOOD),
        ("test", "scratch", EACH),
        ("test", "pit", EACH),
        ("test", "stain", EACH),
    ];
    for (set, (split, kind, count)) in sets.into_iter().enumerate() {
        for i in 0..count {
            let mut random = ChaCha8Rng::seed_from_u64(1000 * set as u64 + i);
            let mut picture = plate(&mut random);
            let file = root.join(split).join(kind).join(format!("{i:03}.jpg"));
            std::fs::create_dir_all(file.parent().unwrap_or(&root))?;
            if kind != "good" {
                let mask = damage(&mut picture, kind, &mut random);
                let file = root.join("ground_truth").join(kind).join(format!("{i:03}_mask.png"));
                std::fs::create_dir_all(file.parent().unwrap_or(&root))?;
                mask.save(file)?;
            }
            let mut out = std::io::BufWriter::new(std::fs::File::create(file)?);
            image::codecs::jpeg::JpegEncoder::new_with_quality(&mut out, 92)
                .encode_image(&picture)?;
        }
    }
    Ok(())
}

/// A number of 0..1 for a place, always the same.
fn noise(x: u32, y: u32, seed: u32) -> f32 {
    let mut h = x.wrapping_mul(0x9E37_79B1) ^ y.wrapping_mul(0x85EB_CA77) ^ seed;
    h = (h ^ (h >> 15)).wrapping_mul(0x2C1B_3C6D);
    h = (h ^ (h >> 12)).wrapping_mul(0x297A_2D39);
    (h >> 8) as f32 / (1 << 24) as f32
}

/// Brushed metal on a dark table, with four holes.
fn plate(random: &mut ChaCha8Rng) -> RgbImage {
    let seed = random.random();
    let (left, top) = (random.random_range(90..150), random.random_range(70..120));
    let light = random.random_range(0.95..1.05f32);
    let holes = [(300, 250), (1500, 250), (300, 1000), (1500, 1000)];
    RgbImage::from_fn(WIDTH, HEIGHT, |x, y| {
        let inside = (left..left + 1750).contains(&x) && (top..top + 1280).contains(&y);
        let fine = noise(x, y, seed) - 0.5;
        if !inside {
            return grey(38.0 + 12.0 * fine);
        }
        // Streaks along the plate, and coarse patches of the rolling.
        let streak = noise(x / 48, y, seed ^ 1) - 0.5;
        let patch = noise(x / 160, y / 160, seed ^ 2) - 0.5;
        let from_hole = |&(hx, hy): &(u32, u32)| {
            (x as f32 - (left + hx) as f32).hypot(y as f32 - (top + hy) as f32)
        };
        let hole = holes.iter().map(from_hole).fold(f32::INFINITY, f32::min);
        let value = light * (148.0 + 9.0 * streak + 3.0 * patch + 10.0 * fine);
        grey(if hole < 46.0 { 26.0 + 8.0 * fine } else { value })
    })
}

fn grey(value: f32) -> Rgb<u8> {
    Rgb([value, value * 0.99, value * 0.96].map(|v| v.clamp(0.0, 255.0) as u8))
}

/// Draws a defect of 12 to 40 pixels on the plate, away from its edge and its holes. Returns its mask.
fn damage(picture: &mut RgbImage, kind: &str, random: &mut ChaCha8Rng) -> GrayImage {
    let size = random.random_range(12.0..40.0f32);
    let (x, y) = (random.random_range(600.0..1400.0f32), random.random_range(200.0..1250.0f32));
    let angle = random.random_range(0.0..std::f32::consts::PI);
    let (dx, dy) = (angle.cos(), angle.sin());
    let mut mask = GrayImage::new(WIDTH, HEIGHT);
    let reach = size as i32;
    for py in -reach..=reach {
        for px in -reach..=reach {
            let (along, across) =
                (px as f32 * dx + py as f32 * dy, py as f32 * dx - px as f32 * dy);
            let far = (px as f32).hypot(py as f32);
            let (is_on, by) = match kind {
                "scratch" => (along.abs() < size / 2.0 && across.abs() < 1.5, 26.0),
                "pit" => (far < size / 4.0, -30.0),
                _ => (far < size / 2.0, -9.0),
            };
            if is_on {
                let (at_x, at_y) = ((x as i32 + px) as u32, (y as i32 + py) as u32);
                let old = picture.get_pixel(at_x, at_y).0.map(f32::from);
                picture.put_pixel(at_x, at_y, Rgb(old.map(|v| (v + by).clamp(0.0, 255.0) as u8)));
                mask.put_pixel(at_x, at_y, Luma([255]));
            }
        }
    }
    mask
}
