//! Small pictures for a page: a photo, its map and its ground truth, each as a layer of its own.

use image::codecs::jpeg::JpegEncoder;
use image::{ExtendedColorType, ImageBuffer, ImageEncoder, Rgb};

use super::heat::{fitted, rgba, shrunk};
use super::{Scale, png};
use crate::detect::AnomalyMap;
use crate::image::{Mask, Photo};

const QUALITY: u8 = 82;
/// The outline of the ground truth: a green that Inferno does not have.
const TRUTH: [u8; 4] = [70, 230, 90, 255];

/// A photo as a JPEG file, at most `side` pixels wide and high.
///
/// # Panics
/// If the photo has no pixels.
pub fn photo_thumbnail(photo: &Photo, side: usize) -> Vec<u8> {
    let (width, height) = fitted(photo.width(), photo.height(), side);
    let whole: ImageBuffer<Rgb<u8>, &[u8]> =
        ImageBuffer::from_raw(photo.width() as u32, photo.height() as u32, photo.rgb())
            .expect("three bytes a pixel");
    let small = image::imageops::thumbnail(&whole, width as u32, height as u32);
    let mut file = Vec::new();
    JpegEncoder::new_with_quality(&mut file, QUALITY)
        .write_image(&small, width as u32, height as u32, ExtendedColorType::Rgb8)
        .expect("a small picture, written to memory");
    file
}

/// The colours of a map as a PNG file with opacity, at most `side` pixels wide and high.
pub fn thumbnail_heat(map: &AnomalyMap, scale: Scale, side: usize) -> Vec<u8> {
    let small = shrunk(map, side);
    png(&rgba(&small, scale), small.width, small.height, ExtendedColorType::Rgba8)
}

/// The outline of a mask as a PNG file with opacity, at most `side` pixels wide and high.
pub fn mask_outline(mask: &Mask, side: usize) -> Vec<u8> {
    let (width, height) = fitted(mask.width, mask.height, side);
    let mut small = vec![false; width * height];
    for (i, _) in mask.pixels.iter().enumerate().filter(|(_, is_defective)| **is_defective) {
        let (x, y) = (i % mask.width, i / mask.width);
        small[y * height / mask.height * width + x * width / mask.width] = true;
    }
    let is_edge = |i: usize| {
        let (x, y) = (i % width, i / width);
        let beside = [(x.wrapping_sub(1), y), (x + 1, y), (x, y.wrapping_sub(1)), (x, y + 1)];
        let is_outside =
            |&(x, y): &(usize, usize)| x >= width || y >= height || !small[y * width + x];
        small[i] && beside.iter().any(is_outside)
    };
    let pixel = |i: usize| if is_edge(i) { TRUTH } else { [0; 4] };
    let pixels: Vec<u8> = (0..width * height).flat_map(pixel).collect();
    png(&pixels, width, height, ExtendedColorType::Rgba8)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn layers_have_the_photos_aspect_ratio() {
        let photo = Photo::from_rgb(300, 150, vec![90; 300 * 150 * 3]).unwrap();
        let map = AnomalyMap { width: 300, height: 150, values: vec![0.7; 300 * 150] };
        let mut mask = Mask::empty(300, 150);
        (60..90).for_each(|y| mask.pixels[y * 300 + 120..y * 300 + 180].fill(true));
        for (file, side) in [
            (photo_thumbnail(&photo, 100), (100, 50)),
            (thumbnail_heat(&map, Scale::default(), 60), (60, 30)),
            (mask_outline(&mask, 100), (100, 50)),
        ] {
            let picture = image::load_from_memory(&file).unwrap();
            assert_eq!((picture.width(), picture.height()), side);
        }
        let outline = image::load_from_memory(&mask_outline(&mask, 100)).unwrap().into_rgba8();
        assert_eq!(outline.pixels().filter(|p| p.0 == TRUTH).count(), 2 * (20 + 10) - 4);
    }
}
