//! The same test photos in other light and from other cameras, to see what each method loses:
//!
//!     cargo run --release --example lighting -- mvtec_ad/bottle/ light/
//!     blemish eval mvtec light/ --profile-from train:4
//!     blemish eval mvtec light/ --profile-from train:4 --augment light
//!
//! From the folder of a product in MVTec AD's layout it makes one product for each change. Only the test photos change.

use std::error::Error;
use std::path::Path;

use blemish::data::{Layout, good_training_photos, samples};
use image::codecs::jpeg::JpegEncoder;
use image::imageops::{FilterType, blur, resize};
use image::{GrayImage, Luma, RgbImage};

/// A change, and the end of its product's name.
type Change = (&'static str, fn(RgbImage) -> RgbImage);

const CHANGES: [Change; 9] = [
    ("same", |photo| photo),
    ("darker", |photo| each(photo, |value, _| value * 0.7)),
    ("brighter", |photo| each(photo, |value, _| value * 1.35)),
    ("gamma_0.7", |photo| each(photo, |value, _| 255.0 * (value / 255.0).powf(0.7))),
    ("gamma_1.4", |photo| each(photo, |value, _| 255.0 * (value / 255.0).powf(1.4))),
    ("warm", |photo| each(photo, |value, channel| value * [1.1, 1.0, 0.8][channel])),
    ("blur", |photo| {
        let sigma = photo.width().max(photo.height()) as f32 / 400.0;
        blur(&photo, sigma)
    }),
    ("jpeg", |photo| {
        let mut bytes = Vec::new();
        let written = JpegEncoder::new_with_quality(&mut bytes, 20).encode_image(&photo);
        written.and_then(|()| image::load_from_memory(&bytes)).map_or(photo, |p| p.into_rgb8())
    }),
    ("background", other_background),
];

/// Halves the light of the background: of a small copy of the photo, what reaches the border without a step between
/// neighbours.
fn other_background(mut photo: RgbImage) -> RgbImage {
    const SIDE: u32 = 128;
    const STEP: u8 = 9;
    let small = resize(&photo, SIDE, SIDE, FilterType::Triangle);
    let all = (0..SIDE).flat_map(|y| (0..SIDE).map(move |x| (x, y)));
    let is_border = |x, y| x == 0 || y == 0 || x + 1 == SIDE || y + 1 == SIDE;
    let mut open: Vec<(u32, u32)> = all.filter(|(x, y)| is_border(*x, *y)).collect();
    let mut background = GrayImage::new(SIDE, SIDE);
    open.iter().for_each(|(x, y)| background.put_pixel(*x, *y, Luma([255])));
    while let Some((x, y)) = open.pop() {
        let around = [(x.wrapping_sub(1), y), (x + 1, y), (x, y.wrapping_sub(1)), (x, y + 1)];
        for (nx, ny) in around.into_iter().filter(|(x, y)| *x < SIDE && *y < SIDE) {
            let pixels = small.get_pixel(x, y).0.into_iter().zip(small.get_pixel(nx, ny).0);
            let is_smooth = pixels.into_iter().all(|(a, b)| a.abs_diff(b) <= STEP);
            if is_smooth && background.get_pixel(nx, ny).0[0] == 0 {
                background.put_pixel(nx, ny, Luma([255]));
                open.push((nx, ny));
            }
        }
    }
    let background = resize(&background, photo.width(), photo.height(), FilterType::Triangle);
    for (pixel, share) in photo.pixels_mut().zip(background.pixels()) {
        let factor = 1.0 - f32::from(share.0[0]) / 510.0;
        pixel.0 = pixel.0.map(|value| (f32::from(value) * factor).round() as u8);
    }
    photo
}

fn each(mut photo: RgbImage, change: impl Fn(f32, usize) -> f32) -> RgbImage {
    for pixel in photo.pixels_mut() {
        for (channel, value) in pixel.0.iter_mut().enumerate() {
            *value = change(f32::from(*value), channel).round().clamp(0.0, 255.0) as u8;
        }
    }
    photo
}

fn main() -> Result<(), Box<dyn Error>> {
    let arguments: Vec<String> = std::env::args().collect();
    let [_, root, out] = &arguments[..] else {
        return Err("give a product's folder and a folder to make".into());
    };
    let all = samples(Path::new(root), Some(Layout::Mvtec))?;
    let parent = Path::new(root).parent().unwrap_or(Path::new("."));
    let learnt = good_training_photos(parent, Layout::Mvtec, &all[0].product)?;
    for (name, change) in CHANGES {
        let root = Path::new(out).join(format!("{}_{name}", all[0].product));
        let folder = |part: &str, kind: &str| {
            let folder = root.join(part).join(kind);
            std::fs::create_dir_all(&folder).map(|()| folder)
        };
        for (i, photo) in learnt.iter().take(16).enumerate() {
            let file = folder("train", "good")?.join(format!("{i:03}.png"));
            image::open(photo)?.into_rgb8().save(file)?;
        }
        for (i, sample) in all.iter().enumerate() {
            let file = folder("test", &sample.kind)?.join(format!("{i:03}.png"));
            change(image::open(&sample.photo)?.into_rgb8()).save(file)?;
            if let Some(mask) = sample.masks.first() {
                let file = folder("ground_truth", &sample.kind)?.join(format!("{i:03}_mask.png"));
                image::open(mask)?.into_luma8().save(file)?;
            }
        }
    }
    Ok(())
}
