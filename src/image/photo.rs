//! Decoding: any image file to 8-bit RGB, upright.

use std::io::Cursor;
use std::path::Path;

use image::{DynamicImage, ImageDecoder, ImageError, ImageFormat, ImageReader, Limits};

use crate::error::quietly;
use crate::{Error, Result};

/// The shortest side that is worth looking at, in pixels.
const MIN_SIDE: u32 = 16;
/// 128 megapixels: above the largest line-scan frames, below what would exhaust a plain PC.
const MAX_PIXELS: u64 = 128 << 20;
const MAX_BYTES: u64 = 2 << 30;

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
            return Err(Error::setting(format!("--bit-depth {bits}"), "must be between 8 and 16"));
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
    /// [`Error::Photo`] for a file that is missing, damaged, no image, smaller than 16 pixels on a
    /// side or larger than 128 megapixels.
    pub fn open(path: impl AsRef<Path>, depth: BitDepth) -> Result<Self> {
        let path = path.as_ref();
        let fail = |why: String| Error::photo(path, why);
        let metadata = std::fs::metadata(path).map_err(|e| fail(format!("cannot read: {e}")))?;
        if !metadata.is_file() || metadata.len() > MAX_BYTES {
            return Err(fail("not a photo: no plain file, or larger than 2 GiB".into()));
        }
        let bytes = std::fs::read(path).map_err(|e| fail(format!("cannot read: {e}")))?;
        if bytes.is_empty() {
            return Err(fail("the file is empty; copy it from the camera again".into()));
        }
        let format = image::guess_format(&bytes).map_err(|e| fail(explain(&e)))?;
        if format == ImageFormat::Jpeg && !jpeg_is_whole(&bytes) {
            return Err(fail("the photo is cut short; copy it from the camera again".into()));
        }
        // A decoder that panics must not take the other photos of the run with it.
        quietly(|| decode(&bytes, format, depth))
            .unwrap_or_else(|| Err("the decoder failed on it; convert it to PNG".into()))
            .map_err(fail)
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
        check_size(side(width), side(height)).map_err(|why| Error::setting(setting(), why))?;
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

fn decode(bytes: &[u8], format: ImageFormat, depth: BitDepth) -> Result<Photo, String> {
    let mut reader = ImageReader::with_format(Cursor::new(bytes), format);
    let mut limits = Limits::default();
    limits.max_alloc = Some(MAX_PIXELS * 8);
    reader.limits(limits);
    let mut decoder = reader.into_decoder().map_err(|e| explain(&e))?;
    let (width, height) = decoder.dimensions();
    check_size(width, height)?;
    let orientation = decoder.orientation().map_err(|e| explain(&e))?;
    let mut image = DynamicImage::from_decoder(decoder).map_err(|e| explain(&e))?;
    image.apply_orientation(orientation);
    let note = rescale_16_bit(&mut image, depth);
    let rgb = image.into_rgb8();
    let (width, height) = (rgb.width() as usize, rgb.height() as usize);
    Ok(Photo { width, height, rgb: rgb.into_raw(), note })
}

fn check_size(width: u32, height: u32) -> Result<(), String> {
    if width.min(height) < MIN_SIDE {
        return Err(format!(
            "{width}x{height} pixels are too few to inspect; give at least {MIN_SIDE}x{MIN_SIDE}"
        ));
    }
    if u64::from(width) * u64::from(height) > MAX_PIXELS {
        return Err(format!(
            "{width}x{height} pixels are more than the limit of {} megapixels; cut the photo into tiles",
            MAX_PIXELS >> 20
        ));
    }
    Ok(())
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
    (depth == BitDepth::default() && brightest < 1 << 12).then(|| {
        format!(
            "a 16-bit file whose brightest value is {brightest}: if the camera has 12 bits, \
             pass --bit-depth 12"
        )
    })
}

/// Whether a JPEG's end-of-image marker is there. The decoder fills in what is missing, and a grey half must
/// not pass for a photo. What follows the marker (a phone's video, a maker's data) does not matter.
fn jpeg_is_whole(bytes: &[u8]) -> bool {
    const END: u8 = 0xd9;
    let mut position = 2;
    while let Some(&[first, marker]) = bytes.get(position..position + 2) {
        position += 1;
        match (first, marker) {
            (0xff, END) => return true,
            // Compressed data, stuffed bytes, restarts: no segment begins here.
            (0xff, 0x00 | 0x01 | 0xd0..=0xd8 | 0xff) | (..0xff, _) => {}
            // A segment with its length, which may hold a preview with an end of its own.
            (0xff, _) => match bytes.get(position + 1..position + 3) {
                Some(&[high, low]) => position += 1 + usize::from(high) * 256 + usize::from(low),
                _ => return false,
            },
        }
    }
    false
}

fn explain(error: &ImageError) -> String {
    const KINDS: &str = "PNG, JPEG, BMP, TIFF or WebP";
    match error {
        ImageError::Unsupported(_) => format!("not an image that can be read ({KINDS}): {error}"),
        ImageError::Limits(_) => format!("too large to decode: {error}"),
        _ => format!("the image is damaged or cut short; copy it again ({error})"),
    }
}
