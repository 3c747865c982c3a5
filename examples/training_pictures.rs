//! Draws the pictures that the embedded model's adapter was trained on, from nothing but arithmetic:
//! `cargo run --release --example training_pictures FOLDER` (about 2,400 pictures, in MVTec AD's layout: `FOLDER/train` to learn
//! from, `FOLDER/validation` with other products).
//!
//! A product is a surface, all over the picture or in a shape on a ground; it comes in several makes with colours,
//! scales and grounds of their own; grain, light and place are the picture's. Eleven kinds of
//! defect are painted on it, and what they change is the mask.

use std::error::Error;
use std::path::Path;

use image::{GrayImage, Luma, Rgb, RgbImage};
use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;
use rayon::prelude::*;

const SIDE: u32 = 240;
const GOOD: u64 = 24;
const EACH: u64 = 4;
const MAKES: u64 = 8;
/// About a turn, and just what the adapter in the program was trained with.
const TURN: f32 = 157.0 / 25.0;
type Colour = [f32; 3];

/// Name, surface, shape.
// None that is learnt from is called as in a published set: measuring on those is no leak.
const LEARNT: [(&str, Surface, Shape); 24] = [
    ("hide", Surface::Grain, Shape::Everywhere),
    ("brushed metal", Surface::Brushed, Shape::Everywhere),
    ("wooden board", Surface::Rings, Shape::Everywhere),
    ("fabric", Surface::Weave, Shape::Everywhere),
    ("granite", Surface::Speckles, Shape::Everywhere),
    ("plastic panel", Surface::Smooth, Shape::Everywhere),
    ("perforated sheet", Surface::Holes, Shape::Everywhere),
    ("ribbed panel", Surface::Ribs, Shape::Everywhere),
    ("concrete", Surface::Clouds, Shape::Everywhere),
    ("cast iron", Surface::Grain, Shape::Everywhere),
    ("steel sheet", Surface::Brushed, Shape::Everywhere),
    ("ceramic tile", Surface::Clouds, Shape::Square),
    ("hex nut", Surface::Brushed, Shape::Hexagon),
    ("washer", Surface::Brushed, Shape::Ring),
    ("tablet", Surface::Smooth, Shape::Disc),
    ("biscuit", Surface::Clouds, Shape::Disc),
    ("rubber ring", Surface::Grain, Shape::Ring),
    ("wooden block", Surface::Rings, Shape::Square),
    ("coaster", Surface::Weave, Shape::Disc),
    ("stone tile", Surface::Speckles, Shape::Square),
    ("metal part", Surface::Smooth, Shape::Square),
    ("lid", Surface::Ribs, Shape::Disc),
    ("sponge", Surface::Holes, Shape::Square),
    ("plastic nut", Surface::Smooth, Shape::Hexagon),
];
const JUDGED: [(&str, Surface, Shape); 6] = [
    ("paper", Surface::Clouds, Shape::Everywhere),
    ("corduroy", Surface::Ribs, Shape::Everywhere),
    ("carpet", Surface::Speckles, Shape::Everywhere),
    ("coin", Surface::Brushed, Shape::Disc),
    ("magnet", Surface::Grain, Shape::Square),
    ("gasket", Surface::Smooth, Shape::Ring),
];

#[derive(Clone, Copy)]
enum Surface {
    Grain,
    Brushed,
    Rings,
    Weave,
    Speckles,
    Smooth,
    Holes,
    Ribs,
    Clouds,
}

#[derive(Clone, Copy)]
enum Shape {
    Everywhere,
    Disc,
    Square,
    Hexagon,
    Ring,
}

const DEFECTS: [&str; 14] = [
    "scratch",
    "crack",
    "hole",
    "stain",
    "contamination",
    "discoloration",
    "dent",
    "chip",
    "fibre",
    "smear",
    "scratch",
    "crack",
    "stain",
    "spots",
];

fn main() -> Result<(), Box<dyn Error>> {
    let folder = std::env::args().nth(1).ok_or("usage: training_pictures FOLDER")?;
    let (learnt, judged) =
        (LEARNT.iter().map(|p| ("train", p)), JUDGED.iter().map(|p| ("validation", p)));
    let products: Vec<_> = learnt.chain(judged).enumerate().collect();
    products.into_par_iter().try_for_each(|(number, (part, (name, surface, shape)))| {
        let make = |make| Product::new(number as u64 * MAKES + make, *surface, *shape);
        let makes: Vec<Product> = (0..MAKES).map(make).collect();
        draw(&makes, &Path::new(&folder).join(part).join(name)).map_err(|e| e.to_string())
    })?;
    Ok(())
}

fn draw(makes: &[Product], folder: &Path) -> Result<(), Box<dyn Error>> {
    for i in 0..GOOD {
        let product = &makes[i as usize % makes.len()];
        save(&product.picture(i, None).0, &folder.join(format!("test/good/{i:03}.png")))?;
    }
    for (k, kind) in DEFECTS.iter().enumerate() {
        for i in 0..EACH {
            let number = k as u64 * EACH + i;
            let product = &makes[number as usize % makes.len()];
            let (picture, mask) = product.picture(1000 + number, Some(kind));
            if !mask.pixels().any(|p| p.0[0] > 0) {
                continue;
            }
            save(&picture, &folder.join(format!("test/{kind}/{number:03}.png")))?;
            let mask_file = folder.join(format!("ground_truth/{kind}/{number:03}_mask.png"));
            std::fs::create_dir_all(mask_file.parent().unwrap_or(folder))?;
            mask.save(mask_file)?;
        }
    }
    Ok(())
}

fn save(picture: &RgbImage, path: &Path) -> Result<(), Box<dyn Error>> {
    std::fs::create_dir_all(path.parent().unwrap_or(Path::new(".")))?;
    Ok(picture.save(path)?)
}

struct Product {
    seed: u64,
    surface: Surface,
    shape: Shape,
    colour: Colour,
    second: Colour,
    ground: Colour,
    /// What the ground is made of; plain without.
    ground_surface: Option<Surface>,
    scale: f32,
    contrast: f32,
}

/// A picture's own circumstances.
struct View {
    seed: u32,
    angle: f32,
    centre: (f32, f32),
    radius: f32,
    light: (f32, f32),
    exposure: f32,
}

impl Product {
    fn new(seed: u64, surface: Surface, shape: Shape) -> Self {
        let mut lots = ChaCha8Rng::seed_from_u64(seed);
        let grey = lots.random_bool(0.45);
        let mut colour = || {
            let level: f32 = lots.random_range(0.18..0.9);
            let tint: f32 = if grey { 0.04 } else { 0.3 };
            std::array::from_fn(|_| (level + lots.random_range(-tint..tint)).clamp(0.05, 0.97))
        };
        let (colour, second, mut ground) = (colour(), colour(), colour());
        if (mean(ground) - mean(colour)).abs() < 0.2 {
            ground =
                ground.map(|c| if mean(colour) > 0.5 { c * 0.3 } else { 1.0 - (1.0 - c) * 0.3 });
        }
        let (scale, contrast) = (lots.random_range(0.6..1.7), lots.random_range(0.4..1.5));
        const GROUNDS: [Surface; 6] = [
            Surface::Grain,
            Surface::Brushed,
            Surface::Rings,
            Surface::Weave,
            Surface::Speckles,
            Surface::Clouds,
        ];
        let kind = lots.random_range(0..10);
        let ground_surface = GROUNDS.get(kind).copied();
        Self { seed, surface, shape, colour, second, ground, ground_surface, scale, contrast }
    }

    fn picture(&self, number: u64, defect: Option<&str>) -> (RgbImage, GrayImage) {
        let mut lots = ChaCha8Rng::seed_from_u64(self.seed * 100_000 + number);
        let view = View {
            seed: lots.random(),
            angle: lots.random_range(-0.3..0.3) + if lots.random_bool(0.4) { 1.57 } else { 0.0 },
            centre: (lots.random_range(0.42..0.58), lots.random_range(0.42..0.58)),
            radius: lots.random_range(0.26..0.46),
            light: (lots.random_range(-0.25..0.25), lots.random_range(-0.25..0.25)),
            exposure: lots.random_range(0.8..1.2),
        };
        let paint = defect.map(|kind| Paint::new(kind, self, &view, &mut lots));
        let noise_of_sensor = lots.random_range(0.0..0.02);
        let mut mask = GrayImage::new(SIDE, SIDE);
        let picture = RgbImage::from_fn(SIDE, SIDE, |px, py| {
            let (x, y) = ((px as f32 + 0.5) / SIDE as f32, (py as f32 + 0.5) / SIDE as f32);
            let clean = self.pixel(x, y, &view);
            let shown = match &paint {
                None => clean,
                Some(paint) => {
                    let (painted, cover) = paint.over(clean, x, y, self, &view);
                    let change = (0..3).map(|c| (painted[c] - clean[c]).abs()).fold(0.0, f32::max);
                    if cover > 0.3 && change > 0.03 {
                        mask.put_pixel(px, py, Luma([255]));
                    }
                    painted
                }
            };
            let grain = noise_of_sensor * hash(px as i32, py as i32, view.seed ^ 77);
            Rgb(shown.map(|c| ((c * view.exposure + grain).clamp(0.0, 1.0) * 255.0).round() as u8))
        });
        (picture, mask)
    }

    fn pixel(&self, x: f32, y: f32, view: &View) -> Colour {
        let inside = smooth(-0.004, 0.004, self.inside(x, y, view));
        let shade = 1.0 + view.light.0 * (x - 0.5) + view.light.1 * (y - 0.5);
        let plain = self.ground.map(|c| c * (1.0 + 0.05 * noise(x * 5.0, y * 5.0, view.seed ^ 5)));
        let ground = match self.ground_surface {
            Some(surface) if inside < 1.0 => {
                let ground = Product { surface, colour: plain, second: self.ground, ..*self };
                ground.surface_at(x, y, view)
            }
            _ => plain,
        };
        let edge = self.inside(x, y, view);
        // A bevel towards the light.
        let bevel = 1.0 - 0.25 * smooth(0.03, 0.0, edge) * smooth(-0.01, 0.0, edge);
        let surface = self.surface_at(x, y, view).map(|c| c * bevel);
        mix(ground, surface, inside).map(|c| c * shade)
    }

    /// How far inside the shape a point lies, in parts of the picture.
    fn inside(&self, x: f32, y: f32, view: &View) -> f32 {
        let (u, v) = rotate(x - view.centre.0, y - view.centre.1, view.angle);
        let distance = u.hypot(v);
        match self.shape {
            Shape::Everywhere => 1.0,
            Shape::Disc => view.radius - distance,
            Shape::Ring => (view.radius - distance).min(distance - view.radius * 0.5),
            Shape::Square => view.radius - u.abs().max(v.abs()),
            Shape::Hexagon => {
                let side = u.abs() * 0.866 + v.abs() * 0.5;
                (view.radius * 0.95 - side.max(v.abs())).min(distance - view.radius * 0.42)
            }
        }
    }

    fn surface_at(&self, x: f32, y: f32, view: &View) -> Colour {
        let (u, v) = rotate(x, y, view.angle);
        let (u, v) = (u / self.scale, v / self.scale);
        let n = |fx: f32, fy: f32, salt: u32| noise(u * fx, v * fy, view.seed ^ salt);
        let k = self.contrast;
        let plain = |light: f32| self.colour.map(|c| c * (1.0 + k * light));
        match self.surface {
            Surface::Grain => {
                plain(0.14 * n(55.0, 55.0, 1) + 0.09 * n(110.0, 110.0, 2) + 0.05 * n(2.0, 2.0, 3))
            }
            Surface::Brushed => {
                plain(0.10 * n(4.0, 190.0, 1) + 0.06 * n(9.0, 320.0, 2) + 0.05 * n(1.5, 1.5, 3))
            }
            Surface::Rings => {
                let bend = 0.12 * n(1.5, 3.0, 1);
                let ring = ((u + bend) * 55.0 + 2.0 * n(3.0, 1.0, 2)).sin();
                plain(0.12 * ring + 0.08 * n(220.0, 8.0, 3))
            }
            Surface::Weave => {
                let (a, b) = ((u * 150.0).sin(), (v * 150.0).sin());
                let over = ((u * 23.9).floor() + (v * 23.9).floor()) as i64 % 2 == 0;
                mix(
                    plain(0.2 * if over { a } else { b }),
                    self.second,
                    0.08 + 0.06 * n(70.0, 70.0, 1),
                )
            }
            Surface::Speckles => {
                let dark = smooth(0.1, 0.5, n(45.0, 45.0, 1));
                mix(plain(0.06 * n(90.0, 90.0, 2)), self.second, 0.7 * dark)
            }
            Surface::Smooth => plain(0.03 * n(3.0, 3.0, 1) + 0.015 * n(60.0, 60.0, 2)),
            Surface::Holes => {
                let (a, b) = ((u * 11.0).fract() - 0.5, (v * 11.0).fract() - 0.5);
                let hole = smooth(0.32, 0.26, a.hypot(b));
                mix(plain(0.05 * n(40.0, 40.0, 1)), self.second.map(|c| c * 0.3), hole)
            }
            Surface::Ribs => plain(0.22 * (u * 95.0).sin() + 0.06 * n(60.0, 60.0, 1)),
            Surface::Clouds => {
                plain(0.12 * n(7.0, 7.0, 1) + 0.08 * n(18.0, 18.0, 2) + 0.06 * n(60.0, 60.0, 3))
            }
        }
    }
}

/// A defect at its place.
struct Paint<'a> {
    kind: &'a str,
    path: Vec<(f32, f32)>,
    size: f32,
    colour: Colour,
    strength: f32,
    seed: u32,
}

impl<'a> Paint<'a> {
    fn new(kind: &'a str, product: &Product, view: &View, lots: &mut ChaCha8Rng) -> Self {
        let mut start = (0.5, 0.5);
        for _ in 0..200 {
            start = (lots.random_range(0.06..0.94), lots.random_range(0.06..0.94));
            let depth = product.inside(start.0, start.1, view);
            let wanted = if kind == "chip" && !matches!(product.shape, Shape::Everywhere) {
                -0.01..0.03
            } else {
                0.01..2.0
            };
            if wanted.contains(&depth) {
                break;
            }
        }
        let mut path = vec![start];
        let mut heading: f32 = lots.random_range(0.0..TURN);
        let (steps, bend, stride) = match kind {
            "crack" => (lots.random_range(8..28), 0.7, 0.018),
            "fibre" => (lots.random_range(14..34), 0.35, 0.012),
            "scratch" => (lots.random_range(4..16), 0.06, 0.03),
            "spots" => (lots.random_range(3..9), 3.0, 0.05),
            _ => (0, 0.0, 0.0),
        };
        for _ in 0..steps {
            heading += lots.random_range(-bend..=bend);
            let (x, y) = path[path.len() - 1];
            path.push((x + stride * heading.cos(), y + stride * heading.sin()));
        }
        let size = match kind {
            "crack" | "fibre" => lots.random_range(0.004..0.009),
            "scratch" => lots.random_range(0.003..0.010),
            "spots" => lots.random_range(0.008..0.02),
            "hole" => lots.random_range(0.015..0.07),
            "discoloration" | "smear" => lots.random_range(0.06..0.18),
            _ => lots.random_range(0.025..0.11),
        };
        let dark = lots.random_bool(0.65);
        let level: f32 =
            if dark { lots.random_range(0.02..0.25) } else { lots.random_range(0.75..0.98) };
        let tint: f32 = if lots.random_bool(0.5) { 0.02 } else { 0.3 };
        let colour =
            std::array::from_fn(|_| (level + lots.random_range(-tint..tint)).clamp(0.0, 1.0));
        Self {
            kind,
            path,
            size,
            colour,
            strength: lots.random_range(0.5..1.0),
            seed: lots.random(),
        }
    }

    /// The pixel with the defect, and how much of it is the defect's, 0..1.
    fn over(&self, clean: Colour, x: f32, y: f32, product: &Product, view: &View) -> (Colour, f32) {
        let wobble = |f: f32| noise(x * f, y * f, self.seed);
        let (sx, sy) = self.path[0];
        let from_start = (x - sx).hypot(y - sy);
        let blob = smooth(1.0, 0.85, from_start / self.size + 0.35 * wobble(16.0));
        let inside = smooth(-0.004, 0.004, product.inside(x, y, view));
        let line = || {
            let ends = self.path.windows(2).map(|pair| to_segment((x, y), pair[0], pair[1]));
            ends.fold(f32::INFINITY, f32::min) / self.size
        };
        match self.kind {
            "scratch" => {
                let cover = smooth(1.2, 0.5, line()) * inside * self.strength;
                let beside = smooth(1.2, 0.4, (line() - 1.2).abs()) * inside * 0.3 * self.strength;
                (mix(mix(clean, self.colour, cover), self.colour.map(|c| 1.0 - c), beside), cover)
            }
            "crack" => {
                let cover = smooth(1.3, 0.6, line() + 0.3 * wobble(60.0)) * inside;
                (mix(clean, [0.04; 3], 0.9 * cover), cover)
            }
            "fibre" => {
                let cover = smooth(1.2, 0.7, line());
                (mix(clean, self.colour, cover * self.strength), cover)
            }
            "spots" => {
                let near = self.path.iter().map(|p| (x - p.0).hypot(y - p.1) / self.size);
                let cover = smooth(1.0, 0.7, near.fold(f32::INFINITY, f32::min)) * inside;
                (mix(clean, self.colour, cover * self.strength), cover)
            }
            "hole" => {
                let rim = smooth(1.25, 1.0, from_start / self.size) * inside;
                let deep = smooth(1.0, 0.85, from_start / self.size) * inside;
                (mix(clean.map(|c| c * (1.0 - 0.3 * rim)), [0.03; 3], deep), rim)
            }
            "chip" => {
                let cover =
                    blob * if matches!(product.shape, Shape::Everywhere) { 1.0 } else { inside };
                let raw = product.ground.map(|c| c * (0.9 + 0.2 * wobble(50.0)));
                (mix(clean, raw, cover), cover)
            }
            "stain" => {
                let cover = blob * inside;
                (
                    std::array::from_fn(|c| {
                        clean[c] * (1.0 - cover * self.strength * (1.0 - self.colour[c]))
                    }),
                    cover,
                )
            }
            "discoloration" => {
                let cover = smooth(1.0, 0.3, from_start / self.size + 0.2 * wobble(6.0)) * inside;
                let tint: Colour = std::array::from_fn(|c| clean[c] * 0.55 + self.colour[c] * 0.45);
                (mix(clean, tint, cover), cover)
            }
            "dent" => {
                let cover = smooth(1.0, 0.6, from_start / self.size) * inside;
                let slope = ((x - sx) * 0.7 + (y - sy) * 0.7) / self.size;
                (
                    clean.map(|c| c * (1.0 + 0.6 * self.strength * slope * cover) - 0.05 * cover),
                    cover,
                )
            }
            "smear" => {
                // The surface from elsewhere, turned.
                let cover = blob * inside;
                let moved = product.surface_at(y + 0.37, x + 0.21, view);
                (mix(clean, moved.map(|c| c * 0.9), cover), cover)
            }
            _ => {
                // Contamination: crumbs.
                let crumbs =
                    smooth(0.05, 0.3, wobble(45.0)) * smooth(1.3, 0.6, from_start / self.size);
                (mix(clean, self.colour, crumbs * self.strength), crumbs)
            }
        }
    }
}

fn to_segment(p: (f32, f32), a: (f32, f32), b: (f32, f32)) -> f32 {
    let (dx, dy) = (b.0 - a.0, b.1 - a.1);
    let t =
        (((p.0 - a.0) * dx + (p.1 - a.1) * dy) / (dx * dx + dy * dy).max(1e-12)).clamp(0.0, 1.0);
    (p.0 - a.0 - t * dx).hypot(p.1 - a.1 - t * dy)
}

fn rotate(x: f32, y: f32, angle: f32) -> (f32, f32) {
    (x * angle.cos() + y * angle.sin(), y * angle.cos() - x * angle.sin())
}

fn mean(colour: Colour) -> f32 {
    colour.iter().sum::<f32>() / 3.0
}

/// 0 at `from`, 1 at `to`, smooth between.
fn smooth(from: f32, to: f32, value: f32) -> f32 {
    let t = ((value - from) / (to - from)).clamp(0.0, 1.0);
    t * t * (3.0 - 2.0 * t)
}

fn mix(a: Colour, b: Colour, share: f32) -> Colour {
    std::array::from_fn(|i| a[i] + (b[i] - a[i]) * share)
}

/// -1..1.
fn hash(x: i32, y: i32, seed: u32) -> f32 {
    let mut h = seed.wrapping_mul(0x9e37_79b9);
    for n in [x, y] {
        h = (h ^ n as u32).wrapping_mul(0x85eb_ca6b);
        h ^= h >> 15;
        h = h.wrapping_mul(0xc2b2_ae35);
        h ^= h >> 13;
    }
    h as f32 / u32::MAX as f32 * 2.0 - 1.0
}

/// Smooth noise in -1..1 with one bump per unit.
fn noise(x: f32, y: f32, seed: u32) -> f32 {
    let (left, top) = (x.floor(), y.floor());
    let (u, v) = (smooth(0.0, 1.0, x - left), smooth(0.0, 1.0, y - top));
    let corner = |dx, dy| hash(left as i32 + dx, top as i32 + dy, seed);
    let upper = corner(0, 0) + (corner(1, 0) - corner(0, 0)) * u;
    let lower = corner(0, 1) + (corner(1, 1) - corner(0, 1)) * u;
    upper + (lower - upper) * v
}
