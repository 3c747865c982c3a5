//! A map painted over its photo.

use image::{ExtendedColorType, ImageBuffer, Rgb};

use super::heat::{colour, shrunk};
use super::strip;
use super::{Scale, png};
use crate::detect::AnomalyMap;
use crate::image::Photo;

/// The longer side of an overlay, in pixels. Pictures of larger photos are smaller than the photo.
const LONGEST: usize = 2048;
/// Width of the stripes where the model saw nothing: the longer side divided by this.
const STRIPE: usize = 64;
/// Distance of the hatching lines: the longer side divided by this.
const HATCH: usize = 48;
/// Width of outlines: the longer side divided by this.
const LINE: usize = 500;
/// Radius of the ring: the longer side divided by this.
const RING: usize = 24;
/// A colour that Inferno does not have.
const HATCH_COLOUR: [u8; 3] = [90, 200, 250];
const WHITE: [u8; 3] = [255; 3];
const BLACK: [u8; 3] = [0; 3];

/// How a map is painted.
#[derive(Clone, Debug)]
pub struct Overlay<'a> {
    /// The colours.
    pub scale: Scale,
    /// A white outline surrounds places with this value or a higher one.
    pub level: Option<f32>,
    /// What is hatched: masks of the photo's size, or empty.
    pub ignored: &'a [&'a [bool]],
    /// Whether a ring marks the highest place if no place reaches the level.
    pub marks_peak: bool,
    /// A text for the strip below the picture, which also explains the colours. None: no strip.
    pub caption: Option<&'a str>,
}

/// Paints a map over its photo and returns a PNG file of the photo's size (at most 2,048 pixels wide and high).
///
/// - The photo keeps its colours. Heat has the Inferno colours.
/// - Grey stripes show where the model saw nothing.
/// - Light blue hatching shows where an anomaly is ignored.
///
/// # Panics
/// If the map has another size than the photo.
pub fn overlay(photo: &Photo, map: &AnomalyMap, how: &Overlay) -> Vec<u8> {
    assert_eq!((map.width, map.height), (photo.width(), photo.height()), "a map of this photo");
    let small = (map.width.max(map.height) > LONGEST).then(|| shrunk(map, LONGEST));
    let seen = small.as_ref().unwrap_or(map);
    let mut picture = Picture { width: seen.width, height: seen.height, rgb: pixels(photo, seen) };
    picture.paint(seen, how.scale);
    picture.hatch(how.ignored, (map.width, map.height));
    let outlined = how.level.is_some_and(|level| picture.outline(seen, level));
    if how.marks_peak && !outlined {
        let (x, y, _) = seen.peak();
        picture.ring(x, y);
    }
    let mut height = picture.height;
    if let Some(caption) = how.caption {
        height += strip::append(&mut picture.rgb, (picture.width, height), caption, how.scale);
    }
    png(&picture.rgb, picture.width, height, ExtendedColorType::Rgb8)
}

/// The photo at the size of the map.
fn pixels(photo: &Photo, map: &AnomalyMap) -> Vec<u8> {
    if (map.width, map.height) == (photo.width(), photo.height()) {
        return photo.rgb().to_vec();
    }
    let whole: ImageBuffer<Rgb<u8>, &[u8]> =
        ImageBuffer::from_raw(photo.width() as u32, photo.height() as u32, photo.rgb())
            .expect("three bytes a pixel");
    image::imageops::thumbnail(&whole, map.width as u32, map.height as u32).into_raw()
}

struct Picture {
    width: usize,
    height: usize,
    rgb: Vec<u8>,
}

impl Picture {
    fn longer(&self) -> usize {
        self.width.max(self.height)
    }

    fn paint(&mut self, map: &AnomalyMap, scale: Scale) {
        let stripe = (self.longer() / STRIPE).max(2);
        for (i, (pixel, &value)) in self.rgb.chunks_exact_mut(3).zip(&map.values).enumerate() {
            if value.is_nan() {
                let on_stripe = ((i % map.width + i / map.width) / stripe).is_multiple_of(2);
                pixel.iter_mut().for_each(|c| *c = if on_stripe { 128 } else { *c / 2 });
                continue;
            }
            let (heat, cover) = colour(scale.position(value));
            for (channel, heat) in pixel.iter_mut().zip(heat) {
                let mixed = f32::from(*channel) * (1.0 - cover) + f32::from(heat) * cover;
                *channel = mixed.round() as u8;
            }
        }
    }

    /// Hatching runs along the other diagonal than the stripes.
    fn hatch(&mut self, ignored: &[&[bool]], (width, height): (usize, usize)) {
        let distance = (self.longer() / HATCH).max(4);
        let (own_width, own_height) = (self.width, self.height);
        for mask in ignored.iter().filter(|mask| !mask.is_empty()) {
            for (i, pixel) in self.rgb.chunks_exact_mut(3).enumerate() {
                let (x, y) = (i % own_width, i / own_width);
                let on_line = (x + distance * own_height - y) % distance < distance.div_ceil(6);
                if on_line && mask[y * height / own_height * width + x * width / own_width] {
                    pixel.copy_from_slice(&HATCH_COLOUR);
                }
            }
        }
    }

    /// Draws a white line with a dark rim around the places that reach the level. False if there are none.
    fn outline(&mut self, map: &AnomalyMap, level: f32) -> bool {
        let inside = |x: usize, y: usize| map.values[y * map.width + x] >= level;
        let mut edge = Vec::new();
        let mut found = false;
        for y in 0..map.height {
            for x in (0..map.width).filter(|x| inside(*x, y)) {
                found = true;
                let beside =
                    [(x.wrapping_sub(1), y), (x + 1, y), (x, y.wrapping_sub(1)), (x, y + 1)];
                // The border of the photo is no edge of a defect.
                let is_edge =
                    |&(x, y): &(usize, usize)| x < map.width && y < map.height && !inside(x, y);
                if beside.iter().any(is_edge) {
                    edge.push((x, y));
                }
            }
        }
        self.draw(&edge);
        found
    }

    fn ring(&mut self, x: usize, y: usize) {
        let radius = (self.longer() / RING).max(3) as f64;
        let steps = (radius * 8.0) as usize;
        let point = |step: usize| {
            let angle = step as f64 / steps as f64 * std::f64::consts::TAU;
            let at = |centre: usize, way: f64| (centre as f64 + radius * way).round();
            let (x, y) = (at(x, angle.cos()), at(y, angle.sin()));
            let is_in = x >= 0.0 && y >= 0.0 && x < self.width as f64 && y < self.height as f64;
            is_in.then_some((x as usize, y as usize))
        };
        let points: Vec<(usize, usize)> = (0..steps).filter_map(point).collect();
        self.draw(&points);
    }

    /// White points with a dark rim, which show on dark and on light parts.
    fn draw(&mut self, points: &[(usize, usize)]) {
        let thick = self.longer() / LINE;
        for (radius, colour) in [(thick + 1, BLACK), (thick, WHITE)] {
            for &(x, y) in points {
                for y in y.saturating_sub(radius)..=(y + radius).min(self.height - 1) {
                    let row = y * self.width;
                    for x in x.saturating_sub(radius)..=(x + radius).min(self.width - 1) {
                        self.rgb[(row + x) * 3..][..3].copy_from_slice(&colour);
                    }
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn map(values: &[f32]) -> AnomalyMap {
        AnomalyMap { width: values.len() / 16, height: 16, values: values.to_vec() }
    }

    fn painted(photo: &Photo, map: &AnomalyMap, how: &Overlay) -> image::RgbImage {
        image::load_from_memory(&overlay(photo, map, how)).unwrap().into_rgb8()
    }

    const PLAIN: Overlay = Overlay {
        scale: Scale { low: 0.4, high: 1.0 },
        level: None,
        ignored: &[],
        marks_peak: false,
        caption: None,
    };

    #[test]
    fn the_run_scale_is_the_same_for_every_photo_and_the_image_scale_is_not() {
        let photo = Photo::from_rgb(16, 16, [100, 20, 60].repeat(256)).unwrap();
        let rgb = painted(&photo, &map(&[0.4; 256]), &PLAIN);
        assert_eq!(rgb.as_raw(), photo.rgb(), "below the scale the photo shows as it is");
        let mut values = [0.4; 256];
        values[7] = 0.6;
        let own = Scale::of(&map(&values));
        assert_eq!((own.low, own.high), (0.4, 0.6));
        let rgb = painted(&photo, &map(&values), &Overlay { scale: own, ..PLAIN });
        assert_ne!(rgb.get_pixel(7, 0), rgb.get_pixel(8, 0));
    }

    #[test]
    fn unseen_parts_are_marked() {
        let photo = Photo::from_rgb(16, 16, vec![200; 768]).unwrap();
        let rgb = painted(&photo, &map(&[f32::NAN; 256]), &PLAIN);
        assert!(rgb.pixels().all(|p| p.0 == [128; 3] || p.0 == [100; 3]));
    }

    #[test]
    fn what_is_ignored_is_hatched_and_nothing_else() {
        let photo = Photo::from_rgb(16, 16, vec![200; 768]).unwrap();
        let mask: Vec<bool> = (0..256).map(|i| i % 16 < 8).collect();
        let masks: [&[bool]; 2] = [&[], &mask];
        let rgb = painted(&photo, &map(&[0.3; 256]), &Overlay { ignored: &masks, ..PLAIN });
        let hatched = |x: u32, y: u32| rgb.get_pixel(x, y).0 == HATCH_COLOUR;
        let count = (0..256).filter(|i| hatched(i % 16, i / 16)).count();
        assert_eq!(count, 32, "one line in four over half of the picture");
        assert!((0..256).all(|i| i % 16 < 8 || !hatched(i % 16, i / 16)));
    }

    #[test]
    fn an_ng_is_never_a_blank_picture() {
        for grey in [0, 128, 255] {
            let photo = Photo::from_rgb(64, 16, vec![grey; 64 * 16 * 3]).unwrap();
            let mut values = vec![0.1; 64 * 16];
            values[8 * 64 + 20] = 0.2;
            let low = map(&values);
            let how = Overlay { level: Some(0.5), marks_peak: true, ..PLAIN };
            let ring = painted(&photo, &low, &how);
            let drawn = |rgb: &image::RgbImage| rgb.pixels().any(|p| p.0 != [grey; 3]);
            assert!(drawn(&ring));
            assert!(!drawn(&painted(&photo, &low, &Overlay { marks_peak: false, ..how.clone() })));
            // Where a place reaches the level, its outline is enough.
            values[8 * 64 + 40] = 0.9;
            let outlined = painted(&photo, &map(&values), &how);
            assert_eq!(outlined.get_pixel(40, 8).0, WHITE);
            assert_eq!(outlined.get_pixel(20, 8).0, [grey; 3]);
        }
    }

    #[test]
    fn a_huge_photo_has_a_smaller_picture_and_a_strip_lies_below() {
        let (width, height) = (4096, 32);
        let photo = Photo::from_rgb(width, height, vec![90; width * height * 3]).unwrap();
        let mut values = vec![0.1; width * height];
        values[16 * width + 4000] = 1.0;
        let map = AnomalyMap { width, height, values };
        let mask = vec![true; width * height];
        let masks: [&[bool]; 1] = [&mask];
        let rgb = painted(&photo, &map, &Overlay { ignored: &masks, ..PLAIN });
        assert_eq!(rgb.dimensions(), (2048, 16));
        let with_strip = painted(&photo, &map, &Overlay { caption: Some("0.913 ng"), ..PLAIN });
        assert!(with_strip.height() > 16 && with_strip.width() == 2048);
        assert_ne!(with_strip.get_pixel(2000, 8).0, [90; 3], "the hot pixel stays");
    }
}
