//! Maps as pictures and as files: a heat-map overlay for people, and a float TIFF for programs.

use image::codecs::png::{CompressionType, FilterType, PngEncoder};
use image::{ExtendedColorType, ImageEncoder};

use crate::detect::AnomalyMap;
use crate::image::{Mask, Photo};

/// The map values at both ends of the colour scale.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Scale {
    /// This value and lower ones show the photo in grey.
    pub low: f32,
    /// This value and higher ones get the hottest colour.
    pub high: f32,
}

impl Default for Scale {
    /// The scale is the same for every photo of every run, so pictures can be compared. It begins a little below 0.5.
    /// At 0.5, a patch fits the normal and the anomalous prompts equally well.
    fn default() -> Self {
        Self { low: 0.4, high: 1.0 }
    }
}

impl Scale {
    /// From a map's own smallest value to its own largest value. It shows where the photo is anomalous, not how much.
    pub fn of(map: &AnomalyMap) -> Self {
        let seen = map.values.iter().copied().filter(|v| !v.is_nan());
        let (low, high) = seen
            .fold((f32::INFINITY, f32::NEG_INFINITY), |(low, high), v| (low.min(v), high.max(v)));
        Self { low, high }
    }

    /// The position of a value on the colour scale, 0..1.
    fn position(&self, value: f32) -> f32 {
        let width = self.high - self.low;
        if width > 0.0 { ((value - self.low) / width).clamp(0.0, 1.0) } else { 0.0 }
    }
}

/// Opacity of the heat colour at the hot end.
const OPACITY: f32 = 0.75;
/// The first part of the colour scale is left out. It is black, and does not show on a dark photo.
const FIRST_COLOUR: f32 = 0.25;
/// Width of the stripes where the model saw nothing: the photo's longer side divided by this.
const STRIPE: usize = 64;
/// Distance of the hatching lines: the photo's longer side divided by this.
const HATCH: usize = 48;
/// A colour that Inferno does not have.
const HATCH_COLOUR: [u8; 3] = [90, 200, 250];

/// Paints a map over its photo and returns a PNG file of the photo's size.
///
/// - The photo is grey.
/// - Heat has the Inferno colours. They grow brighter along the scale, so people with any colour vision can read them.
/// - Grey stripes show where the model saw nothing.
/// - Light blue hatching shows where an anomaly is ignored (`ignored`: masks of the photo's size, or empty).
///
/// # Panics
/// If the map has another size than the photo.
pub fn overlay(photo: &Photo, map: &AnomalyMap, ignored: &[&[bool]], scale: Scale) -> Vec<u8> {
    assert_eq!((map.width, map.height), (photo.width(), photo.height()), "a map of this photo");
    let hatch = (photo.width().max(photo.height()) / HATCH).max(4);
    let is_ignored = |i: usize| ignored.iter().any(|mask| mask.get(i) == Some(&true));
    let stripe = (photo.width().max(photo.height()) / STRIPE).max(2);
    let mut rgb = Vec::with_capacity(photo.rgb().len());
    for (i, (pixel, &value)) in photo.rgb().chunks_exact(3).zip(&map.values).enumerate() {
        // Rec. 601 luma, the same as Pillow's `convert("L")`.
        let grey =
            0.299 * f32::from(pixel[0]) + 0.587 * f32::from(pixel[1]) + 0.114 * f32::from(pixel[2]);
        if value.is_nan() {
            let on_stripe = ((i % map.width + i / map.width) / stripe).is_multiple_of(2);
            rgb.extend([if on_stripe { 128 } else { (grey / 2.0) as u8 }; 3]);
            continue;
        }
        // Hatching runs along the other diagonal than the stripes.
        let (x, y) = (i % map.width, i / map.width);
        if (x + hatch * map.height - y) % hatch < hatch.div_ceil(6) && is_ignored(i) {
            rgb.extend(HATCH_COLOUR);
            continue;
        }
        let heat = scale.position(value);
        let colour = FIRST_COLOUR + (1.0 - FIRST_COLOUR) * heat;
        let colour = colorous::INFERNO.eval_continuous(f64::from(colour));
        let cover = OPACITY * heat.sqrt();
        for channel in [colour.r, colour.g, colour.b] {
            rgb.push((grey * (1.0 - cover) + f32::from(channel) * cover).round() as u8);
        }
    }
    let mut file = Vec::new();
    PngEncoder::new_with_quality(&mut file, CompressionType::Fast, FilterType::Adaptive)
        .write_image(&rgb, photo.width() as u32, photo.height() as u32, ExtendedColorType::Rgb8)
        .expect("a picture of the photo's own size, written to memory");
    file
}

/// A smaller [`overlay`], at most `side` pixels wide and high. Its colours go from the map's own lowest value to its
/// own highest value. The outline of the ground truth is green.
///
/// # Panics
/// As [`overlay`], and if the mask has another size than the photo.
pub fn outlined(photo: &Photo, map: &AnomalyMap, truth: &Mask, side: u32) -> Vec<u8> {
    assert_eq!(
        (truth.width, truth.height),
        (photo.width(), photo.height()),
        "a mask of this photo"
    );
    let painted = overlay(photo, map, &[], Scale::of(map));
    let painted = image::load_from_memory(&painted).expect("a picture that was just painted");
    let mut small = painted.thumbnail(side, side).into_rgb8();
    let (width, height) = small.dimensions();
    let is_defective = |x: u32, y: u32| {
        let at = |place: u32, small: u32, large: usize| place as usize * large / small as usize;
        truth.pixels[at(y, height, truth.height) * truth.width + at(x, width, truth.width)]
    };
    for (x, y) in (0..height).flat_map(|y| (0..width).map(move |x| (x, y))) {
        let neighbours =
            [(x + 1, y), (x, y + 1)].map(|(x, y)| (x.min(width - 1), y.min(height - 1)));
        if neighbours.iter().any(|&(nx, ny)| is_defective(nx, ny) != is_defective(x, y)) {
            small.put_pixel(x, y, image::Rgb([70, 230, 90]));
        }
    }
    let mut file = std::io::Cursor::new(Vec::new());
    small.write_to(&mut file, image::ImageFormat::Png).expect("a small picture, written to memory");
    file.into_inner()
}

/// A map as a TIFF file: one channel, float32, little-endian, lossless compression.
///
/// # Panics
/// If the map's length is not its width times its height.
pub fn tiff(map: &AnomalyMap) -> Vec<u8> {
    let mut file = std::io::Cursor::new(Vec::new());
    tiff::encoder::TiffEncoder::new(&mut file)
        .map(|e| e.with_compression(tiff::encoder::Compression::Deflate(Default::default())))
        .and_then(|mut e| {
            e.write_image::<tiff::encoder::colortype::Gray32Float>(
                map.width as u32,
                map.height as u32,
                &map.values,
            )
        })
        .expect("a map of its own size, written to memory");
    file.into_inner()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn map(values: &[f32]) -> AnomalyMap {
        AnomalyMap { width: values.len() / 16, height: 16, values: values.to_vec() }
    }

    #[test]
    fn the_run_scale_is_the_same_for_every_photo_and_the_image_scale_is_not() {
        let photo = Photo::from_rgb(16, 16, vec![100; 768]).unwrap();
        let mild = map(&[0.4; 256]);
        let painted = overlay(&photo, &mild, &[], Scale::default());
        let rgb = image::load_from_memory(&painted).unwrap().into_rgb8();
        assert!(rgb.as_raw().iter().all(|v| *v == 100), "below the scale the photo shows as it is");
        let mut values = [0.4; 256];
        values[7] = 0.6;
        let own = Scale::of(&map(&values));
        assert_eq!((own.low, own.high), (0.4, 0.6));
        let rgb =
            image::load_from_memory(&overlay(&photo, &map(&values), &[], own)).unwrap().into_rgb8();
        assert_ne!(rgb.get_pixel(7, 0), rgb.get_pixel(8, 0));
    }

    #[test]
    fn unseen_parts_are_marked() {
        let photo = Photo::from_rgb(16, 16, vec![200; 768]).unwrap();
        let painted = overlay(&photo, &map(&[f32::NAN; 256]), &[], Scale::default());
        let rgb = image::load_from_memory(&painted).unwrap().into_rgb8();
        assert!(rgb.pixels().all(|p| p.0 == [128; 3] || p.0 == [100; 3]));
    }

    #[test]
    fn what_is_ignored_is_hatched_and_nothing_else() {
        let photo = Photo::from_rgb(16, 16, vec![200; 768]).unwrap();
        let mask: Vec<bool> = (0..256).map(|i| i % 16 < 8).collect();
        let painted = overlay(&photo, &map(&[0.3; 256]), &[&[], &mask], Scale::default());
        let rgb = image::load_from_memory(&painted).unwrap().into_rgb8();
        let hatched = |x: u32, y: u32| rgb.get_pixel(x, y).0 == HATCH_COLOUR;
        let count = (0..256).filter(|i| hatched(i % 16, i / 16)).count();
        assert_eq!(count, 32, "one line in four over half of the picture");
        assert!((0..256).all(|i| i % 16 < 8 || !hatched(i % 16, i / 16)));
    }

    #[test]
    fn a_tiff_reads_back_to_the_same_bits() {
        let map = map(&(0..320).map(|i| i as f32 / 7.0).collect::<Vec<_>>());
        let mut decoder = tiff::decoder::Decoder::new(std::io::Cursor::new(tiff(&map))).unwrap();
        assert_eq!(decoder.dimensions().unwrap(), (20, 16));
        let tiff::decoder::DecodingResult::F32(values) = decoder.read_image().unwrap() else {
            panic!("float32");
        };
        assert_eq!(values, map.values);
    }
}
