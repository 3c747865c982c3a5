//! Draws the example pictures: `cargo run --release --example pictures [FOLDER]`.
//!
//! Three surfaces, each once flawless and once with a defect, from nothing but arithmetic; the same
//! pictures on every machine.

use std::path::Path;

use image::{Rgb, RgbImage};

const SIDE: u32 = 320;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let folder = std::env::args().nth(1).unwrap_or("examples/pictures".into());
    let folder = Path::new(&folder);
    let save = |name: &str, shade: &dyn Fn(f32, f32) -> [f32; 3]| {
        let path = folder.join(name);
        std::fs::create_dir_all(path.parent().unwrap_or(folder))?;
        let picture = RgbImage::from_fn(SIDE, SIDE, |x, y| {
            let colour = shade(x as f32 / SIDE as f32, y as f32 / SIDE as f32);
            Rgb(colour.map(|c| (c.clamp(0.0, 1.0) * 255.0).round() as u8))
        });
        picture.save(path).map_err(Box::<dyn std::error::Error>::from)
    };
    save("leather/good.png", &leather)?;
    save("leather/stain.png", &|x, y| {
        let edge = 0.11 + 0.05 * noise(x * 9.0, y * 9.0, 40);
        let cover = smooth(edge, edge - 0.02, distance(x, y, 0.62, 0.40));
        mix(leather(x, y), [0.10, 0.12, 0.16], 0.8 * cover)
    })?;
    save("metal plate/good.png", &metal)?;
    save("metal plate/scratch.png", &|x, y| {
        // A line from (0.2, 0.7) to (0.75, 0.35) that trembles a little, bright beside dark.
        let along = (x - 0.2) / 0.55;
        let line = 0.7 - 0.35 * along + 0.01 * noise(x * 25.0, 0.0, 50);
        let inside = if (0.0..1.0).contains(&along) { 1.0 } else { 0.0 };
        let groove = inside * smooth(0.012, 0.004, (y - line).abs());
        let burr = inside * smooth(0.012, 0.004, (y - line - 0.012).abs());
        mix(mix(metal(x, y), [0.12; 3], 0.85 * groove), [0.95; 3], 0.7 * burr)
    })?;
    save("wood/good.png", &wood)?;
    save("wood/hole.png", &|x, y| {
        let hole =
            smooth(0.055, 0.045, distance(x, y, 0.35, 0.58) + 0.01 * noise(x * 30.0, y * 30.0, 60));
        mix(wood(x, y), [0.05, 0.03, 0.02], hole)
    })?;
    Ok(())
}

fn leather(x: f32, y: f32) -> [f32; 3] {
    let grain = 0.5 * noise(x * 60.0, y * 60.0, 1) + 0.3 * noise(x * 120.0, y * 120.0, 2);
    let light = 0.9 + 0.15 * noise(x * 2.0, y * 2.0, 3) + 0.22 * grain;
    [0.52, 0.31, 0.18].map(|c| c * light)
}

fn metal(x: f32, y: f32) -> [f32; 3] {
    let brushed = 0.6 * noise(x * 4.0, y * 220.0, 11) + 0.4 * noise(x * 9.0, y * 400.0, 12);
    let light = 0.62 + 0.10 * brushed + 0.06 * noise(x * 1.5, y * 1.5, 13);
    [light, light * 1.01, light * 1.03]
}

fn wood(x: f32, y: f32) -> [f32; 3] {
    let bend = 0.12 * noise(x * 1.5, y * 3.0, 21);
    let ring = ((x + bend) * 60.0 + 2.0 * noise(x * 3.0, y * 1.0, 22)).sin();
    let fibre = noise(x * 250.0, y * 8.0, 23);
    let light = 0.88 + 0.07 * ring + 0.07 * fibre;
    [0.72, 0.52, 0.33].map(|c| c * light)
}

fn distance(x: f32, y: f32, cx: f32, cy: f32) -> f32 {
    ((x - cx).powi(2) + (y - cy).powi(2)).sqrt()
}

/// 0 at `from`, 1 at `to`, smooth between.
fn smooth(from: f32, to: f32, value: f32) -> f32 {
    let t = ((value - from) / (to - from)).clamp(0.0, 1.0);
    t * t * (3.0 - 2.0 * t)
}

fn mix(a: [f32; 3], b: [f32; 3], share: f32) -> [f32; 3] {
    std::array::from_fn(|i| a[i] + (b[i] - a[i]) * share)
}

/// Smooth noise in -1..1 with one bump per unit.
fn noise(x: f32, y: f32, seed: u32) -> f32 {
    let (left, top) = (x.floor(), y.floor());
    let (u, v) = (smooth(0.0, 1.0, x - left), smooth(0.0, 1.0, y - top));
    let corner = |dx: i32, dy: i32| {
        let mut h = seed.wrapping_mul(0x9e37_79b9);
        for n in [left as i32 + dx, top as i32 + dy] {
            h = (h ^ n as u32).wrapping_mul(0x85eb_ca6b);
            h ^= h >> 15;
            h = h.wrapping_mul(0xc2b2_ae35);
            h ^= h >> 13;
        }
        h as f32 / u32::MAX as f32 * 2.0 - 1.0
    };
    let (upper, lower) = (
        corner(0, 0) + (corner(1, 0) - corner(0, 0)) * u,
        corner(0, 1) + (corner(1, 1) - corner(0, 1)) * u,
    );
    upper + (lower - upper) * v
}
