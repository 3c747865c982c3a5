//! Maps as pictures and as files: heat-map overlays and small layers for people, and a float TIFF for programs.

mod heat;
mod overlay;
mod strip;
mod thumbnail;

pub use self::heat::palette;
pub use self::overlay::{Overlay, overlay};
pub use self::thumbnail::{mask_outline, photo_thumbnail, thumbnail_heat};

use image::codecs::png::{CompressionType, FilterType, PngEncoder};
use image::{ExtendedColorType, ImageEncoder};

use crate::detect::AnomalyMap;

/// The map values at both ends of the colour scale.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Scale {
    /// This value and lower ones are not painted.
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

/// A PNG file of these bytes.
fn png(bytes: &[u8], width: usize, height: usize, colours: ExtendedColorType) -> Vec<u8> {
    let mut file = Vec::new();
    PngEncoder::new_with_quality(&mut file, CompressionType::Fast, FilterType::Adaptive)
        .write_image(bytes, width as u32, height as u32, colours)
        .expect("a picture of its own size, written to memory");
    file
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

    #[test]
    fn a_tiff_reads_back_to_the_same_bits() {
        let values = (0..320).map(|i| i as f32 / 7.0).collect();
        let map = AnomalyMap { width: 20, height: 16, values };
        let mut decoder = tiff::decoder::Decoder::new(std::io::Cursor::new(tiff(&map))).unwrap();
        assert_eq!(decoder.dimensions().unwrap(), (20, 16));
        let tiff::decoder::DecodingResult::F32(values) = decoder.read_image().unwrap() else {
            panic!("float32");
        };
        assert_eq!(values, map.values);
    }
}
