//! What a photo looks like as a whole: numbers that move when a lamp, a lens or a camera setting changes.

use serde::{Deserialize, Serialize};

use super::Photo;

/// About so many pixels are looked at.
const SAMPLES: usize = 1 << 18;

/// Light, contrast and sharpness of a photo.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Appearance {
    /// The mean of the luma (ITU-R BT.601), 0..1.
    pub brightness: f32,
    /// The standard deviation of the luma, 0..0.5.
    pub contrast: f32,
    /// The root mean square of the luma's Laplacian, divided by the contrast. Defocus lowers it, and noise raises it. 0 for
    /// a photo of one colour.
    pub sharpness: f32,
}

impl Appearance {
    /// Measures a photo on an even grid of its pixels.
    pub fn of(photo: &Photo) -> Self {
        let (width, height, rgb) = (photo.width(), photo.height(), photo.rgb());
        let luma = |x: usize, y: usize| {
            let [r, g, b] = [0, 1, 2].map(|c| f64::from(rgb[(y * width + x) * 3 + c]));
            (0.299 * r + 0.587 * g + 0.114 * b) / 255.0
        };
        let step = (width * height).div_ceil(SAMPLES).isqrt().max(1);
        let (mut count, mut sum, mut squares, mut edges) = (0.0, 0.0, 0.0, 0.0);
        for y in (1..height - 1).step_by(step) {
            for x in (1..width - 1).step_by(step) {
                let here = luma(x, y);
                let around = luma(x - 1, y) + luma(x + 1, y) + luma(x, y - 1) + luma(x, y + 1);
                count += 1.0;
                sum += here;
                squares += here * here;
                edges += (around - 4.0 * here).powi(2);
            }
        }
        let mean: f64 = sum / count;
        let contrast = (squares / count - mean * mean).max(0.0).sqrt();
        let sharpness = if contrast < 1e-6 { 0.0 } else { (edges / count).sqrt() / contrast };
        Self { brightness: mean as f32, contrast: contrast as f32, sharpness: sharpness as f32 }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn photo(value: impl Fn(usize, usize) -> u8) -> Photo {
        let pixels = (0..64 * 64).flat_map(|i| [value(i % 64, i / 64); 3]).collect();
        Photo::from_rgb(64, 64, pixels).unwrap()
    }

    #[test]
    fn each_number_moves_with_its_cause() {
        let board = |side: usize, low: u8, high: u8| {
            Appearance::of(&photo(
                |x, y| if (x / side + y / side).is_multiple_of(2) { low } else { high },
            ))
        };
        let usual = board(4, 60, 120);
        assert!((usual.brightness - 90.0 / 255.0).abs() < 0.01, "{usual:?}");
        assert!((usual.contrast - 30.0 / 255.0).abs() < 0.005, "{usual:?}");
        let brighter = board(4, 100, 160);
        assert!(brighter.brightness > usual.brightness + 0.1);
        assert!((brighter.sharpness - usual.sharpness).abs() < 1e-3);
        let flat = board(4, 85, 95);
        assert!(flat.contrast < usual.contrast / 2.0);
        let coarse = board(16, 60, 120);
        assert!(coarse.sharpness < usual.sharpness * 0.7, "{coarse:?} {usual:?}");
        assert_eq!(board(4, 80, 80).sharpness, 0.0);
    }
}
