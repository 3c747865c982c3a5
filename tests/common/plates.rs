//! Drawn plates, for tests of folders.

use std::path::Path;

use image::{Rgb, RgbImage};

/// A plate with grain of its own; stained in one corner.
pub fn plate(seed: u32, stained: bool) -> RgbImage {
    RgbImage::from_fn(96, 96, |x, y| {
        let grain = (x.wrapping_mul(7919) ^ y.wrapping_mul(104_729) ^ seed.wrapping_mul(31)) % 23;
        let stain = stained && x.abs_diff(70) < 9 && y.abs_diff(24) < 9;
        let tile = (x / 24 + y / 24) % 2 * 40;
        Rgb([(if stain { 10 } else { 120 } + grain + tile) as u8; 3])
    })
}

/// A folder of plates, the first ones stained.
pub fn plates(folder: &Path, count: u32, stained: u32) {
    std::fs::create_dir_all(folder).unwrap();
    for i in 0..count {
        plate(i, i < stained).save(folder.join(format!("{i:02}.png"))).unwrap();
    }
}
