//! Draws trays with parts on them, in MVTec AD's layout: `cargo run --release --example assemblies FOLDER`.
//!
//! Each good tray has two discs on its left, three bars in its middle and a ring on its right, anywhere in their zones.
//! On the others a part is missing, extra or moved to another zone, every part by itself being good; and beside
//! those, trays with all parts of which one is scratched or stained. `validation` holds further good ones.

use std::error::Error;
use std::path::Path;

use image::{GrayImage, Luma, Rgb, RgbImage};
use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;

const SIDE: u32 = 256;
const LEARNT: u64 = 16;
const EACH: u64 = 24;

#[derive(Clone, Copy, PartialEq)]
enum Shape {
    Disc,
    Bar,
    Ring,
}

#[derive(Clone, Copy)]
struct Part {
    shape: Shape,
    zone: u32,
    x: f32,
    y: f32,
}

fn main() -> Result<(), Box<dyn Error>> {
    let folder = std::env::args().nth(1).ok_or("give a folder")?;
    let root = Path::new(&folder).join("tray");
    let mut random = ChaCha8Rng::seed_from_u64(1);
    for (split, kind, count) in [
        ("train", "good", LEARNT),
        ("test", "good", 2 * EACH),
        ("test", "missing", EACH),
        ("test", "extra", EACH),
        ("test", "moved", EACH),
        ("test", "damaged", EACH),
        ("validation", "good", EACH),
    ] {
        for i in 0..count {
            let (picture, mask) = tray(kind, &mut random);
            let file = root.join(split).join(kind).join(format!("{i:03}.png"));
            std::fs::create_dir_all(file.parent().unwrap_or(&root))?;
            picture.save(file)?;
            if kind != "good" {
                let file = root.join("ground_truth").join(kind).join(format!("{i:03}_mask.png"));
                std::fs::create_dir_all(file.parent().unwrap_or(&root))?;
                mask.save(file)?;
            }
        }
    }
    Ok(())
}

/// Puts a part of this shape in a zone, away from the others.
fn put(parts: &mut Vec<Part>, shape: Shape, zone: u32, random: &mut ChaCha8Rng) -> Part {
    loop {
        let x = zone as f32 * 80.0 + 8.0 + random.random_range(22.0..58.0);
        let part = Part { shape, zone, x, y: random.random_range(28.0..228.0) };
        let is_free = |other: &Part| (other.x - x).hypot(other.y - part.y) > 46.0;
        if parts.iter().all(is_free) {
            parts.push(part);
            return part;
        }
    }
}

fn tray(kind: &str, random: &mut ChaCha8Rng) -> (RgbImage, GrayImage) {
    let mut parts = Vec::new();
    for (shape, zone, count) in [(Shape::Disc, 0, 2), (Shape::Bar, 1, 3), (Shape::Ring, 2, 1)] {
        (0..count).for_each(|_| _ = put(&mut parts, shape, zone, random));
    }
    let chosen = random.random_range(0..parts.len());
    // What the mask marks: where a part is or should be.
    let odd = match kind {
        "missing" => Some(parts.remove(chosen)),
        "extra" => {
            let Part { shape, zone, .. } = parts[chosen];
            Some(put(&mut parts, shape, zone, random))
        }
        "moved" => {
            let part = parts.remove(chosen);
            let zone = (part.zone + random.random_range(1..3)) % 3;
            Some(put(&mut parts, part.shape, zone, random))
        }
        "damaged" => Some(parts[chosen]),
        _ => None,
    };
    let (light, grain) = (random.random_range(0.92..1.08), random.random::<u32>());
    let (angle, is_stain) = (random.random_range(0.0..3.0f32), random.random::<bool>());
    let mut mask = GrayImage::new(SIDE, SIDE);
    let picture = RgbImage::from_fn(SIDE, SIDE, |px, py| {
        let (x, y) = (px as f32 + 0.5, py as f32 + 0.5);
        let noise = hash(px, py, grain) * 0.05 - 0.025;
        let mut colour = [0.80, 0.80, 0.78];
        if (x - 84.0).abs() < 2.0 || (x - 172.0).abs() < 2.0 {
            colour = [0.55, 0.55, 0.53];
        }
        for part in &parts {
            if let Some(shade) = inside(part, x, y) {
                colour = match part.shape {
                    Shape::Disc => [0.20, 0.33, 0.62],
                    Shape::Bar => [0.66, 0.30, 0.18],
                    Shape::Ring => [0.24, 0.24, 0.26],
                }
                .map(|c| c * shade);
            }
        }
        if let Some(odd) = &odd {
            let is_marked = match kind {
                "damaged" => {
                    let (dx, dy) = (x - odd.x, y - odd.y);
                    let across = dx * angle.sin() - dy * angle.cos();
                    let on = if is_stain { dx.hypot(dy) < 9.0 } else { across.abs() < 2.0 };
                    on && dx.hypot(dy) < 22.0
                }
                _ => inside(odd, x, y).is_some(),
            };
            if is_marked {
                mask.put_pixel(px, py, Luma([255]));
                if kind == "damaged" {
                    colour = if is_stain { [0.35, 0.32, 0.10] } else { [0.95, 0.95, 0.92] };
                }
            }
        }
        Rgb(colour.map(|c| ((c * light + noise).clamp(0.0, 1.0) * 255.0).round() as u8))
    });
    (picture, mask)
}

/// The light on a part at a place, if it is there.
fn inside(part: &Part, x: f32, y: f32) -> Option<f32> {
    let (dx, dy) = (x - part.x, y - part.y);
    let away = dx.hypot(dy);
    let is_inside = match part.shape {
        Shape::Disc => away < 19.0,
        Shape::Bar => dx.abs() < 9.0 && dy.abs() < 21.0,
        Shape::Ring => (11.0..21.0).contains(&away),
    };
    is_inside.then_some(1.15 - away / 70.0)
}

/// 0..1, anything at each place.
fn hash(x: u32, y: u32, seed: u32) -> f32 {
    let mut h = x.wrapping_mul(0x9E37_79B1) ^ y.wrapping_mul(0x85EB_CA77) ^ seed;
    h = (h ^ (h >> 15)).wrapping_mul(0x2C1B_3C6D);
    h = (h ^ (h >> 12)).wrapping_mul(0x297A_2D39);
    (h ^ (h >> 15)) as f32 / u32::MAX as f32
}
