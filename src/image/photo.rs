//! Photos: any image file, decoded to upright 8-bit RGB.

use std::path::Path;

use image::DynamicImage;

use super::decode::{self, Picture, check_size};
use crate::error::{Error, Result};

/// The shortest accepted side of a photo, in pixels.
const MIN_SIDE: u32 = 16;

/// A decoded photo: 8-bit RGB, rows from the top, EXIF rotation applied.
#[derive(Clone, Debug)]
pub struct Photo {
    width: usize,
    height: usize,
    rgb: Vec<u8>,
    note: Option<String>,
}

/// How many bits of a 16-bit file the camera uses. A 12-bit camera writes values up to 4,095. With a range of 0..65,535
/// such a photo would be almost black.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BitDepth(u8);

impl BitDepth {
    /// A depth of 8 to 16 bits.
    ///
    /// # Errors
    /// [`Error::Setting`] for any other number.
    pub fn new(bits: u8) -> Result<Self> {
        if !(8..=16).contains(&bits) {
            return Err(Error::setting(format!("bit-depth {bits}"), "must be between 8 and 16"));
        }
        Ok(Self(bits))
    }

    /// The number of bits.
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
    /// Reads a PNG, JPEG, BMP, TIFF or WebP file. The ending of its name does not matter.
    ///
    /// Alpha is dropped, as in Pillow's `convert("RGB")`. 16-bit values are scaled by `depth`. For 8-bit files `depth`
    /// does not matter.
    ///
    /// # Errors
    /// [`Error::Read`] if the file is missing. [`Error::Photo`] if it is damaged, is not an image, is smaller than 16
    /// pixels on a side, or is larger than 128 megapixels.
    pub fn open(path: impl AsRef<Path>, depth: BitDepth) -> Result<Self> {
        Ok(Self::of(decode::open(path.as_ref(), MIN_SIDE)?, depth))
    }

    /// As [`Photo::open`], from the content of a file. `name` is for messages.
    ///
    /// # Errors
    /// [`Error::Photo`] as [`Photo::open`].
    pub fn decode(name: impl AsRef<Path>, content: &[u8], depth: BitDepth) -> Result<Self> {
        Ok(Self::of(decode::from_bytes(name.as_ref(), content, MIN_SIDE)?, depth))
    }

    fn of(Picture { mut image, note }: Picture, depth: BitDepth) -> Self {
        let note = rescale_16_bit(&mut image, depth).or(note);
        let rgb = image.into_rgb8();
        let (width, height) = (rgb.width() as usize, rgb.height() as usize);
        Self { width, height, rgb: rgb.into_raw(), note }
    }

    /// Width and height of a photo's file in pixels, upright. The photo is not decoded.
    ///
    /// # Errors
    /// As [`Photo::open`].
    pub fn size(path: impl AsRef<Path>) -> Result<(usize, usize)> {
        let path = path.as_ref();
        decode::size(path)
    }

    /// As [`Photo::size`], from the content of a file. `name` is for messages.
    ///
    /// # Errors
    /// [`Error::Photo`] as [`Photo::open`].
    pub fn size_in(name: impl AsRef<Path>, content: &[u8]) -> Result<(usize, usize)> {
        decode::size_in(name.as_ref(), content)
    }

    /// A photo from memory: `rgb` holds `width * height` pixels of 3 bytes, rows from the top.
    ///
    /// # Errors
    /// [`Error::Setting`] if the length does not fit, a side is under 16 pixels, or the photo is larger than 128
    /// megapixels.
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

    /// As [`Photo::from_rgb`], without any check.
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

/// Scales values of `depth` bits to 16 bits. Returns a note if `depth` is the default and the values suggest a smaller
/// one.
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
    // A camera with fewer bits uses the lower ones.
    let bits = [8, 10, 12, 14].into_iter().find(|bits| brightest < 1 << bits);
    bits.filter(|_| depth == BitDepth::default()).map(|bits| {
        format!(
            "the brightest value of this 16-bit file is {brightest}, as from a camera with {bits} bits: give the \
             camera's bits, for example --bit-depth {bits}"
        )
    })
}
