//! Copies one defect to many photos, to see what mutual scoring makes of a defect that looks alike everywhere:
//!
//!     cargo run --release --example repeats -- mvtec_ad/bottle/ repeats/
//!     blemish eval mvtec repeats/ --method mutual
//!     blemish eval mvtec repeats/ --method mutual --repeats
//!
//! From the folder of a product in MVTec AD's layout it makes four products in that layout. In three, the same defect is
//! at the same place of 10, 28 and 40 % of the photos. In the fourth, 40 % have a blue label and are good. Each also has
//! four photos with other defects.

use std::error::Error;
use std::path::{Path, PathBuf};

use blemish::data::{Layout, Sample, samples};
use image::imageops::{crop_imm, overlay};
use image::{DynamicImage, GenericImageView, GrayImage, Luma, Rgb, RgbImage};

const SHARES: [usize; 3] = [10, 28, 40];
const OTHERS: usize = 4;

fn main() -> Result<(), Box<dyn Error>> {
    let arguments: Vec<String> = std::env::args().collect();
    let [_, root, out] = &arguments[..] else {
        return Err("give a product's folder and a folder to make".into());
    };
    let all = samples(Path::new(root), Some(Layout::Mvtec))?;
    let (good, bad): (Vec<&Sample>, Vec<&Sample>) =
        all.iter().partition(|sample| sample.kind == "good");
    // The smallest defects first: they fit on every photo.
    let mut defects = Vec::new();
    for sample in bad {
        let mask = sample.masks.first().ok_or("a defect has no mask")?;
        let mask = image::open(mask)?.into_luma8();
        let count = mask.pixels().filter(|pixel| pixel.0[0] > 0).count();
        defects.push((count, sample, mask));
    }
    defects.sort_by_key(|(count, sample, _)| (*count, sample.photo.clone()));
    let (_, repeated, mask) = &defects[defects.len() / 2];
    let others = defects.iter().rev().take(OTHERS).map(|(_, sample, mask)| (*sample, mask));
    let others: Vec<(&Sample, &GrayImage)> = others.collect();
    let name = good[0].product.clone();
    for share in SHARES {
        let set = Set { root: Path::new(out).join(format!("{name}_{share}")) };
        let count = good.len() * share / 100;
        let source = image::open(&repeated.photo)?.into_rgb8();
        for (i, sample) in good.iter().enumerate() {
            let mut photo = image::open(&sample.photo)?.into_rgb8();
            match i < count {
                true => {
                    let mask = copy(&source, mask, &mut photo);
                    set.write("repeated", i, photo, Some(mask))?;
                }
                false => set.write("good", i, photo, None)?,
            }
        }
        set.write_others(&others)?;
    }
    let set = Set { root: Path::new(out).join(format!("{name}_label")) };
    for (i, sample) in good.iter().enumerate() {
        let mut photo = image::open(&sample.photo)?.into_rgb8();
        if i < good.len() * 40 / 100 {
            let side = photo.width().min(photo.height()) / 8;
            let label = RgbImage::from_pixel(side, side, Rgb([40, 70, 190]));
            let at = (i64::from(photo.width() / 3), i64::from(photo.height() / 3));
            overlay(&mut photo, &label, at.0, at.1);
        }
        set.write("good", i, photo, None)?;
    }
    set.write_others(&others)
}

/// Copies what the mask marks to the same place of another photo. Returns the mask there.
fn copy(source: &RgbImage, mask: &GrayImage, photo: &mut RgbImage) -> GrayImage {
    let mut there = GrayImage::new(photo.width(), photo.height());
    for (x, y, pixel) in mask.enumerate_pixels() {
        if pixel.0[0] > 0 && x < photo.width() && y < photo.height() {
            photo.put_pixel(x, y, *source.get_pixel(x, y));
            there.put_pixel(x, y, Luma([255]));
        }
    }
    there
}

/// A product that is made.
struct Set {
    root: PathBuf,
}

impl Set {
    fn write(
        &self,
        kind: &str,
        number: usize,
        photo: RgbImage,
        mask: Option<GrayImage>,
    ) -> Result<(), Box<dyn Error>> {
        let file = |part: &str, end: &str| -> Result<PathBuf, std::io::Error> {
            let folder = self.root.join(part).join(kind);
            std::fs::create_dir_all(&folder)?;
            Ok(folder.join(format!("{number:03}{end}.png")))
        };
        photo.save(file("test", "")?)?;
        match mask {
            Some(mask) => Ok(mask.save(file("ground_truth", "_mask")?)?),
            None => Ok(()),
        }
    }

    /// Photos with other defects, cut to the size of their masks.
    fn write_others(&self, others: &[(&Sample, &GrayImage)]) -> Result<(), Box<dyn Error>> {
        for (i, (sample, mask)) in others.iter().enumerate() {
            let photo: DynamicImage = image::open(&sample.photo)?;
            let (width, height) = mask.dimensions();
            let (own_width, own_height) = photo.dimensions();
            let (width, height) = (width.min(own_width), height.min(own_height));
            let photo = crop_imm(&photo.into_rgb8(), 0, 0, width, height).to_image();
            let mask = crop_imm(*mask, 0, 0, width, height).to_image();
            self.write("other", i, photo, Some(mask))?;
        }
        Ok(())
    }
}
