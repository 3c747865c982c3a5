//! Decoding: any image file to 8-bit RGB, upright.

use std::path::Path;

use image::DynamicImage;

use super::decode::{self, Picture, check_size};
use crate::error::{Error, Result};

/// The shortest side that is worth looking at, in pixels.
const MIN_SIDE: u32 = 16;

/// A decoded photo: 8-bit RGB, rows from the top, EXIF rotation applied.
#[derive(Clone, Debug)]
pub struct Photo {
    width: usize,
    height: usize,
    rgb: Vec<u8>,
    note: Option<String>,
}

/// How many bits of a 16-bit file the camera filled. A 12-bit camera leaves values up to 4,095,
/// which would look almost black if they were read as parts of 65,535.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BitDepth(u8);

impl BitDepth {
    /// Between 8 and 16 bits.
    ///
    /// # Errors
    /// [`Error::Setting`] for any other number.
    pub fn new(bits: u8) -> Result<Self> {
        if !(8..=16).contains(&bits) {
            return Err(Error::setting(format!("bit-depth {bits}"), "must be between 8 and 16"));
        }
        Ok(Self(bits))
    }

    /// The number.
    pub fn bits(self) -> u8 {
        self.0
    }

    fn maximum(self) -> u16 {
        ((1u32 << self.0) - 1) as u16
    }
}

impl Default for BitDepth {
    fn default() -> Self {
        Self(16)
    }
}

impl Photo {
    /// Reads a PNG, JPEG, BMP, TIFF or WebP file, whatever its name ends in.
    ///
    /// Alpha is dropped, as Pillow's `convert("RGB")` does; 16-bit values are scaled by `depth`
    /// (8-bit files do not look at it).
    ///
    /// # Errors
    /// [`Error::Read`] for a file that is missing; [`Error::Photo`] for one that is damaged, no image, smaller than 16 pixels on a
    /// side or larger than 128 megapixels.
    pub fn open(path: impl AsRef<Path>, depth: BitDepth) -> Result<Self> {
        let path = path.as_ref();
        let Picture { mut image, note } = decode::open(path, MIN_SIDE)?;
        let note = rescale_16_bit(&mut image, depth).or(note);
        let rgb = image.into_rgb8();
        let (width, height) = (rgb.width() as usize, rgb.height() as usize);
        Ok(Self { width, height, rgb: rgb.into_raw(), note })
    }

    /// Width and height of a photo's file in pixels, upright, without decoding it.
    ///
    /// # Errors
    /// As [`Photo::open`].
    pub fn size(path: impl AsRef<Path>) -> Result<(usize, usize)> {
        let path = path.as_ref();
        decode::size(path)
    }

    /// A photo from memory: `rgb` holds `width * height` pixels of 3 bytes, rows from the top.
    ///
    /// # Errors
    /// [`Error::Setting`] when the length does not fit or a side is under 16 pixels.
    pub fn from_rgb(width: usize, height: usize, rgb: Vec<u8>) -> Result<Self> {
        let setting = || format!("a photo of {width}x{height}");
        if width.checked_mul(height).and_then(|n| n.checked_mul(3)) != Some(rgb.len()) {
            return Err(Error::setting(setting(), format!("has {} bytes of RGB", rgb.len())));
        }
        let side = |n: usize| u32::try_from(n).unwrap_or(u32::MAX);
        check_size((side(width), side(height)), MIN_SIDE)
            .map_err(|why| Error::setting(setting(), why))?;
        Ok(Self { width, height, rgb, note: None })
    }

    /// As [`Photo::from_rgb`], of any size that fits.
    pub(super) fn unchecked(width: usize, height: usize, rgb: Vec<u8>) -> Self {
        Self { width, height, rgb, note: None }
    }

    /// Width in pixels.
    pub fn width(&self) -> usize {
        self.width
    }

    /// Height in pixels.
    pub fn height(&self) -> usize {
        self.height
    }

    /// `[height, width, 3]`, row by row.
    pub fn rgb(&self) -> &[u8] {
        &self.rgb
    }

    /// What the user should know about how the file was read, if anything.
    pub fn note(&self) -> Option<&str> {
        self.note.as_deref()
    }
}

/// Stretches `depth` bits to 16, and says so when the values suggest a smaller depth than was given.
fn rescale_16_bit(image: &mut DynamicImage, depth: BitDepth) -> Option<String> {
    let samples: &mut [u16] = match image {
        DynamicImage::ImageLuma16(b) => b,
        DynamicImage::ImageLumaA16(b) => b,
        DynamicImage::ImageRgb16(b) => b,
        DynamicImage::ImageRgba16(b) => b,
        _ => return None,
    };
    let brightest = samples.iter().copied().max().unwrap_or(0);
    let maximum = depth.maximum();
    if maximum < u16::MAX {
        for sample in samples {
            let value = u32::from((*sample).min(maximum));
            *sample = (value * u32::from(u16::MAX) / u32::from(maximum)) as u16;
        }
    }
    // Cameras fill their bits from below.
    let bits = [8, 10, 12, 14].into_iter().find(|bits| brightest < 1 << bits);
    bits.filter(|_| depth == BitDepth::default()).map(|bits| {
        format!(
            "a 16-bit file whose brightest value is {brightest}, as of a camera with {bits} bits: pass the camera's \
             bits, as with --bit-depth {bits}"
        )
    })
}
