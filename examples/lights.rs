//! Renders glossy parts under six lights, in Eyecandies' layout: `cargo run --release --example lights FOLDER [PARTS]`.
//!
//! The same parts are also written in MVTec AD's layout, as single photos (`light_0` to `light_5`), as the mean of the
//! six (`mean`) and as a mosaic of them (`stacked`). Every defect is faint, and shows under some of the lights only.

use std::error::Error;
use std::f32::consts::{FRAC_PI_2, PI, TAU};
use std::io;
use std::path::{Path, PathBuf};

use image::{GrayImage, ImageResult, Luma, Rgb, RgbImage, imageops};
use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;
use rayon::prelude::*;

const SIDE: u32 = 256;
/// The slope of a pixel needs its neighbours, also those outside the photo.
const WIDE: u32 = SIDE + 2;
const HALF: u32 = SIDE / 2;
const MIDDLE: f32 = SIDE as f32 / 2.0;
/// From the middle of the photo to each light, in pixels.
const DISTANCE: f32 = 1000.0;

const OBJECTS: [&str; 2] = ["stamped_disc", "brushed_plate"];
const KINDS: [&str; 4] = ["dents", "bumps", "scratch", "colors"];

/// Of each light, in degrees. Flat metal is of a medium grey under each of them.
const AZIMUTH: [f32; 6] = [0.0, 90.0, 180.0, 270.0, 45.0, 45.0];
const ELEVATION: [f32; 6] = [22.0, 24.0, 21.0, 23.0, 60.0, 85.0];
const POWER: [f32; 6] = [6.0, 5.6, 6.2, 5.8, 1.5, 1.1];
/// Wide lights smear their reflection as a rougher surface would.
const SPREAD: [f32; 6] = [0.08, 0.08, 0.08, 0.08, 0.40, 0.40];

/// Which part to draw.
struct Job {
    object: usize,
    split: usize,
    index: u64,
    kind: &'static str,
}

/// What differs between parts, good or not.
struct Part {
    /// Height and share of metal at a place of a perfect part.
    form: fn(f32, f32) -> (f32, f32),
    seed: u32,
    shift: [f32; 2],
    turn: f32,
    /// Parts never lie quite flat.
    tilt: [f32; 2],
    brush_angle: f32,
    brush_depth: f32,
    roughness: f32,
    albedo: [f32; 3],
    power: [f32; 6],
}

/// Good parts have one too, of no weight, so that all parts are drawn alike.
struct Defect {
    kind: &'static str,
    x: f32,
    y: f32,
    angle: f32,
    /// Half the length of a scratch.
    radius: f32,
    /// Upwards, in pixels.
    height: f32,
    stain: f32,
}

/// The surface at a pixel.
struct Point {
    normal: [f32; 3],
    /// 1 on the part, 0 on the bench below it.
    metal: f32,
    roughness: f32,
    /// What multiplies the albedo of the part.
    tone: [f32; 3],
    is_marked: bool,
}

fn main() -> Result<(), Box<dyn Error>> {
    let mut arguments = std::env::args().skip(1);
    let folder = arguments.next().ok_or("give a folder")?;
    let count = arguments.next().map(|n| n.parse::<u64>()).transpose()?;
    let mut jobs = Vec::new();
    for object in 0..OBJECTS.len() {
        for (split, parts) in [(0, count.unwrap_or(40)), (1, 2 * count.unwrap_or(60))] {
            for index in 0..parts {
                // Good and defective parts alternate, so that no order of the files tells them apart.
                let is_good = split == 0 || index.is_multiple_of(2);
                let kind = if is_good { "good" } else { KINDS[(index / 2 % 4) as usize] };
                jobs.push(Job { object, split, index, kind });
            }
        }
    }
    jobs.par_iter().try_for_each(|job| draw(Path::new(&folder), job))?;
    Ok(())
}

fn draw(root: &Path, job: &Job) -> ImageResult<()> {
    let seed = job.object as u64 * 1_000_000 + job.split as u64 * 10_000 + job.index;
    let mut random = ChaCha8Rng::seed_from_u64(seed);
    let is_plate = job.object == 1;
    let part = Part::new(is_plate, &mut random);
    let defect = Defect::new(job.kind, is_plate, &mut random);
    let points = surface(&part, &defect);
    let photos: Vec<_> = (0..6).map(|k| photo(&part, &points, k, &mut random)).collect();
    let mask = GrayImage::from_fn(SIDE, SIDE, |px, py| {
        Luma([u8::from(points[(py * SIDE + px) as usize].is_marked) * 255])
    });
    save_six(root, job, &photos, &mask)?;
    for (k, photo) in photos.iter().enumerate() {
        save_one(&root.join(format!("light_{k}")), job, photo, &mask)?;
    }
    save_one(&root.join("mean"), job, &mean(&photos), &mask)?;
    save_one(&root.join("stacked"), job, &stacked(&photos), &stacked_mask(&mask))
}

fn save_six(root: &Path, job: &Job, photos: &[RgbImage], mask: &GrayImage) -> ImageResult<()> {
    let split = ["train", "test_public"][job.split];
    let folder = root.join("eyecandies").join(OBJECTS[job.object]).join(split).join("data");
    let id = format!("{:03}", job.index);
    for (k, photo) in photos.iter().enumerate() {
        photo.save(made(folder.join(format!("{id}_image_{k}.png")))?)?;
    }
    mask.save(made(folder.join(format!("{id}_mask.png")))?)?;
    let mut text = format!("anomalous: {}\n", u8::from(job.kind != "good"));
    for own in ["bumps", "colors", "dents", "scratch"] {
        // A scratch turns the normals and hardly changes the height.
        let name = if own == "scratch" { "normals" } else { own };
        text += &format!("{name}: {}\n", u8::from(job.kind == own));
    }
    std::fs::write(made(folder.join(format!("{id}_metadata.yaml")))?, text)?;
    Ok(())
}

fn save_one(set: &Path, job: &Job, photo: &RgbImage, mask: &GrayImage) -> ImageResult<()> {
    let object = set.join(OBJECTS[job.object]);
    let (split, kind, id) = (["train", "test"][job.split], job.kind, job.index);
    photo.save(made(object.join(split).join(kind).join(format!("{id:03}.png")))?)?;
    if kind != "good" {
        mask.save(made(object.join("ground_truth").join(kind).join(format!("{id:03}_mask.png")))?)?;
    }
    Ok(())
}

/// The same path, once its folder exists.
fn made(file: PathBuf) -> io::Result<PathBuf> {
    std::fs::create_dir_all(file.parent().unwrap_or(&file))?;
    Ok(file)
}

fn mean(photos: &[RgbImage]) -> RgbImage {
    RgbImage::from_fn(SIDE, SIDE, |px, py| {
        Rgb(std::array::from_fn(|c| {
            let sum: u32 = photos.iter().map(|one| u32::from(one.get_pixel(px, py)[c])).sum();
            ((sum + 3) / 6) as u8
        }))
    })
}

/// The photos at half their size, three in a row.
fn stacked(photos: &[RgbImage]) -> RgbImage {
    let mut mosaic = RgbImage::new(3 * HALF, 2 * HALF);
    for (photo, k) in photos.iter().zip(0u32..) {
        let small = imageops::thumbnail(photo, HALF, HALF);
        imageops::replace(&mut mosaic, &small, i64::from(k % 3 * HALF), i64::from(k / 3 * HALF));
    }
    mosaic
}

/// Marks a pixel if any of the four that it stands for is marked.
fn stacked_mask(mask: &GrayImage) -> GrayImage {
    GrayImage::from_fn(3 * HALF, 2 * HALF, |px, py| {
        let (x, y) = (px % HALF * 2, py % HALF * 2);
        let four = [(x, y), (x + 1, y), (x, y + 1), (x + 1, y + 1)];
        Luma([four.map(|(x, y)| mask.get_pixel(x, y)[0]).into_iter().max().unwrap_or(0)])
    })
}

impl Part {
    fn new(is_plate: bool, random: &mut ChaCha8Rng) -> Self {
        let mut about = |width: f32| -> f32 { random.random_range(-width..width) };
        let turn = about(3.0).to_radians();
        let (shade, exposure) = (0.80 * (1.0 + about(0.04)), 1.0 + about(0.03));
        Self {
            form: if is_plate { plate } else { disc },
            shift: [about(3.0), about(3.0)],
            turn,
            tilt: [about(0.01), about(0.01)],
            brush_angle: turn + about(0.10),
            brush_depth: if is_plate { 0.22 + about(0.05) } else { 0.03 + about(0.01) },
            roughness: 0.28 + about(0.02),
            albedo: [shade * (1.0 + about(0.01)), shade, shade * (1.02 + about(0.01))],
            power: std::array::from_fn(|_| exposure * (1.0 + about(0.03))),
            seed: random.random(),
        }
    }

    /// Where on the part a place of the photo is; (0, 0) is its middle.
    fn local(&self, x: f32, y: f32) -> (f32, f32) {
        let (dx, dy) = (x - MIDDLE - self.shift[0], y - MIDDLE - self.shift[1]);
        let (sin, cos) = self.turn.sin_cos();
        (dx * cos + dy * sin, dy * cos - dx * sin)
    }

    fn height(&self, defect: &Defect, x: f32, y: f32) -> f32 {
        let (x, y) = self.local(x, y);
        let (height, metal) = (self.form)(x, y);
        // No two blanks are equally flat.
        let wave = |size: f32| size / 200.0 * noise(x / size, y / size, self.seed);
        height + metal * (wave(50.0) + wave(12.0) + defect.height * defect.weight(x, y, self.seed))
    }

    /// How far the brush tilted the surface, across its stripes. They are finer than pixels: heights would miss them.
    fn stripes(&self, x: f32, y: f32) -> f32 {
        let (sin, cos) = self.brush_angle.sin_cos();
        let (along, across) = (x * cos + y * sin, y * cos - x * sin);
        let fine = noise(along / 70.0, across / 1.3, self.seed ^ 2) - 0.5;
        let broad = noise(along / 110.0, across / 4.0, self.seed ^ 3) - 0.5;
        self.brush_depth * (0.8 * fine + 0.6 * broad)
    }
}

impl Defect {
    fn new(kind: &'static str, is_plate: bool, random: &mut ChaCha8Rng) -> Self {
        // Near an axis of the lights, so that a scratch glints under one pair of them.
        let angle = FRAC_PI_2 * f32::from(random.random_range(0..2u8));
        let angle = angle + random.random_range(-0.25..0.25f32);
        let mut within = |from: f32, to: f32| -> f32 { random.random_range(from..to) };
        // The steepest slope of a dent is what the lights show, whatever its size.
        let (dent, slope) = (within(5.0, 10.0), within(0.041, 0.074));
        let (radius, height, stain) = match kind {
            "scratch" => (within(12.5, 30.0), -within(0.22, 0.35), 0.0),
            "colors" => (within(10.0, 17.0), 0.0, within(0.7, 1.0)),
            "dents" => (dent, -slope * dent, 0.0),
            _ => (dent, slope * dent, 0.0),
        };
        let reach = if kind == "scratch" { radius } else { 0.0 };
        let (dx, dy) = (reach * angle.cos(), reach * angle.sin());
        loop {
            let (x, y) = (within(-90.0, 90.0), within(-90.0, 90.0));
            let along = [-1.0f32, -0.7, -0.4, 0.0, 0.4, 0.7, 1.0];
            if along.iter().all(|part| is_free(is_plate, x + part * dx, y + part * dy)) {
                return Self { kind, x, y, angle, radius, height, stain };
            }
        }
    }

    /// 0..1: how much of the defect is at a place of the part.
    fn weight(&self, x: f32, y: f32, seed: u32) -> f32 {
        let (dx, dy) = (x - self.x, y - self.y);
        let (radius, (sin, cos)) = (self.radius, self.angle.sin_cos());
        let (along, across) = (dx * cos + dy * sin, dy * cos - dx * sin);
        let ragged = 8.0 * (noise(x / 7.0, y / 7.0, seed ^ 4) - 0.5);
        match self.kind {
            "scratch" => rise(radius, radius - 3.0, along.abs()) * (-across * across / 1.62).exp(),
            "colors" => rise(radius, radius - 6.0, along.hypot(1.3 * across) + ragged),
            "good" => 0.0,
            _ => (-2.0 * (dx * dx + dy * dy) / (radius * radius)).exp(),
        }
    }
}

/// Whether a defect may be here: away from the edges, whose highlights would hide it.
fn is_free(is_plate: bool, x: f32, y: f32) -> bool {
    if is_plate {
        return x.abs() < 92.0 && y.abs() < 68.0 && (x.abs() - 86.0).hypot(y.abs() - 62.0) > 24.0;
    }
    (38.0..78.0).contains(&x.hypot(y))
}

fn disc(x: f32, y: f32) -> (f32, f32) {
    let away = x.hypot(y);
    let rim = 2.5 * rise(82.0, 88.0, away);
    let hub = 3.0 * rise(30.0, 24.0, away) - 4.0 * rise(11.0, 8.0, away);
    let rings = [38.0, 76.0].map(|r: f32| 0.8 * (-(away - r).powi(2) / 4.5).exp());
    let body = (6.0 + rim) * rise(104.0, 97.0, away);
    let height = body + hub - rings[0] - rings[1] + 0.9 * letters(x, y);
    (height, rise(105.0, 103.0, away) * rise(8.0, 10.0, away))
}

/// Twelve signs around the hub, of three shapes.
fn letters(x: f32, y: f32) -> f32 {
    let sign = (y.atan2(x) / TAU * 12.0).round();
    let across = (y.atan2(x) - sign / 12.0 * TAU) * x.hypot(y);
    let out = x.hypot(y) - 57.0;
    let bar = |u: f32, v: f32| rise(3.5, 1.5, u.abs()) * rise(9.0, 7.0, v.abs());
    match (sign as i32).rem_euclid(3) {
        0 => bar(across, out),
        1 => rise(2.5, 0.5, (across.hypot(out) - 5.5).abs()),
        _ => bar(across + 4.0, out).max(bar(out + 5.5, across)),
    }
}

fn plate(x: f32, y: f32) -> (f32, f32) {
    // How far outside of the outline, whose corners are round.
    let (right, low) = (x.abs() - 96.0, y.abs() - 72.0);
    let edge = right.max(0.0).hypot(low.max(0.0)) + right.max(low).min(0.0) - 12.0;
    let hole = (x.abs() - 86.0).hypot(y.abs() - 62.0);
    let ribs: f32 = [-30.0f32, 0.0, 30.0].iter().map(|at| rise(6.0, 2.0, (y - at).abs())).sum();
    let body = 5.0 * rise(0.0, -7.0, edge) + 1.8 * ribs * rise(76.0, 68.0, x.abs());
    (body - 3.0 * rise(14.0, 9.0, hole), rise(1.0, -1.0, edge) * rise(8.0, 10.0, hole))
}

fn surface(part: &Part, defect: &Defect) -> Vec<Point> {
    let height = |i: u32| part.height(defect, (i % WIDE) as f32 - 0.5, (i / WIDE) as f32 - 0.5);
    let heights: Vec<f32> = (0..WIDE * WIDE).map(height).collect();
    let at = |px: u32, py: u32| heights[(py * WIDE + px) as usize];
    let (sin, cos) = part.brush_angle.sin_cos();
    let point = |i: u32| {
        let (px, py) = (i % SIDE, i / SIDE);
        let (x, y) = (px as f32 + 0.5, py as f32 + 0.5);
        let (u, v) = part.local(x, y);
        let (_, metal) = (part.form)(u, v);
        let stripes = part.stripes(x, y);
        let [tilt_x, tilt_y] = [part.tilt[0] - stripes * sin, part.tilt[1] + stripes * cos];
        let slope_x = (at(px + 2, py + 1) - at(px, py + 1)) / 2.0 + metal * tilt_x;
        let slope_y = (at(px + 1, py + 2) - at(px + 1, py)) / 2.0 + metal * tilt_y;
        let weight = defect.weight(u, v, part.seed);
        let stain = defect.stain * weight;
        let cloud = 1.0 + 0.03 * (noise(u / 30.0, v / 30.0, part.seed ^ 5) - 0.5);
        Point {
            normal: unit([-slope_x, -slope_y, 1.0]),
            metal,
            // A film scatters: from the side that makes up for the light it takes, from above it does not.
            roughness: part.roughness + 0.02 * stain,
            tone: [0.10f32, 0.09, 0.16].map(|loss| cloud * (1.0 - loss * stain)),
            is_marked: weight > 0.135,
        }
    };
    (0..SIDE * SIDE).map(point).collect()
}

fn photo(part: &Part, points: &[Point], k: usize, random: &mut ChaCha8Rng) -> RgbImage {
    let (sin, cos) = AZIMUTH[k].to_radians().sin_cos();
    let (up, flat) = ELEVATION[k].to_radians().sin_cos();
    let source = [MIDDLE + DISTANCE * flat * cos, MIDDLE + DISTANCE * flat * sin, DISTANCE * up];
    RgbImage::from_fn(SIDE, SIDE, |px, py| {
        let point = &points[(py * SIDE + px) as usize];
        let beam = [source[0] - px as f32 - 0.5, source[1] - py as f32 - 0.5, source[2]];
        let power = POWER[k] * part.power[k] * DISTANCE * DISTANCE / dot(beam, beam);
        let (diffuse, specular) = reflected(point, unit(beam), SPREAD[k]);
        Rgb(std::array::from_fn(|c| {
            let albedo = part.albedo[c] * point.tone[c];
            // The bench is dark and dull.
            let dull = 0.05 + point.metal * (0.06 * albedo - 0.05);
            let glossy = 0.02 + point.metal * (albedo - 0.02);
            let lit = (power * (dull * diffuse + glossy * specular)).clamp(0.0, 4.0);
            let grain = random.random::<f32>() + random.random::<f32>() - 1.0;
            let seen = lit + grain * (0.003 + 0.02 * lit.sqrt());
            (seen.clamp(0.0, 1.0).powf(1.0 / 2.2) * 255.0).round() as u8
        }))
    })
}

/// Diffuse and specular light towards the camera above, the latter after Cook and Torrance with GGX.
fn reflected(point: &Point, to_light: [f32; 3], spread: f32) -> (f32, f32) {
    let (facing, up) = (dot(point.normal, to_light).max(0.0), point.normal[2]);
    let between = unit([to_light[0], to_light[1], to_light[2] + 1.0]);
    let aligned = dot(point.normal, between).max(0.0);
    let alpha = point.roughness * point.roughness + spread * spread;
    let lobe = alpha / (PI * (aligned * aligned * (alpha - 1.0) + 1.0).powi(2));
    let k = alpha.sqrt() / 2.0;
    let shadow = |cosine: f32| cosine / (cosine * (1.0 - k) + k);
    (facing, lobe * shadow(facing) * shadow(up) / (4.0 * up))
}

fn dot(a: [f32; 3], b: [f32; 3]) -> f32 {
    a[0] * b[0] + a[1] * b[1] + a[2] * b[2]
}

fn unit(a: [f32; 3]) -> [f32; 3] {
    a.map(|part| part / dot(a, a).sqrt())
}

/// From 0 to 1 between two places, smoothly; `from` may be the larger one.
fn rise(from: f32, to: f32, x: f32) -> f32 {
    let t = ((x - from) / (to - from)).clamp(0.0, 1.0);
    t * t * (3.0 - 2.0 * t)
}

/// 0..1, smooth, about one hill in each square.
fn noise(x: f32, y: f32, seed: u32) -> f32 {
    let (left, top) = (x.floor(), y.floor());
    let (across, down) = (rise(0.0, 1.0, x - left), rise(0.0, 1.0, y - top));
    let at = |i: i32, j: i32| hash((left as i32 + i) as u32, (top as i32 + j) as u32, seed);
    let row = |j: i32| at(0, j) + across * (at(1, j) - at(0, j));
    row(0) + down * (row(1) - row(0))
}

/// 0..1, anything at each place.
fn hash(x: u32, y: u32, seed: u32) -> f32 {
    let mut h = x.wrapping_mul(0x9E37_79B1) ^ y.wrapping_mul(0x85EB_CA77) ^ seed;
    h = (h ^ (h >> 15)).wrapping_mul(0x2C1B_3C6D);
    h = (h ^ (h >> 12)).wrapping_mul(0x297A_2D39);
    (h ^ (h >> 15)) as f32 / u32::MAX as f32
}
