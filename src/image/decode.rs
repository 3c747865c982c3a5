//! Decodes any picture file to upright pixels, for photos and masks.

use std::borrow::Cow;
use std::io::Cursor;
use std::path::Path;

use image::metadata::Orientation;
use image::{DynamicImage, ImageDecoder, ImageError, ImageFormat, ImageReader, Limits};

use super::jpeg;
use super::tiff::{self, Tiff};
use crate::error::{Error, Result, catch_panic};

/// 128 megapixels: more than the largest line-scan frames, less than what exhausts the memory of a normal PC.
const MAX_PIXELS: u64 = 128 << 20;
const MAX_BYTES: u64 = 2 << 30;

/// A decoded picture, upright.
pub(super) struct Picture {
    pub image: DynamicImage,
    /// What the user should know about how the file was read.
    pub note: Option<String>,
}

/// Reads a PNG, JPEG, BMP, TIFF or WebP file. The ending of its name does not matter. `min_side`: the shortest accepted
/// side, in pixels.
pub(super) fn open(path: &Path, min_side: u32) -> Result<Picture> {
    with_bytes(path, |bytes, format| decode(bytes, format, min_side))
}

/// As [`open`], from the content of a file. `name` is for messages.
pub(super) fn from_bytes(name: &Path, content: &[u8], min_side: u32) -> Result<Picture> {
    on_bytes(content, |bytes, format| decode(bytes, format, min_side))
        .map_err(|why| Error::photo(name, why))
}

/// Width and height of a picture file in pixels, upright. Its pixels are not decoded.
pub(super) fn size(path: &Path) -> Result<(usize, usize)> {
    with_bytes(path, upright_size)
}

/// As [`size`], from the content of a file. `name` is for messages.
pub(super) fn size_in(name: &Path, content: &[u8]) -> Result<(usize, usize)> {
    on_bytes(content, upright_size).map_err(|why| Error::photo(name, why))
}

fn upright_size(bytes: &[u8], format: ImageFormat) -> Result<(usize, usize), String> {
    let ((width, height), orientation) = match format {
        ImageFormat::Tiff => {
            let tiff = Tiff::open(bytes, MAX_PIXELS * 8)?;
            (tiff.size, tiff.orientation)
        }
        format => {
            let mut decoder = decoder(bytes, format)?;
            let orientation = decoder.orientation().map_err(|e| explain(&e))?;
            (decoder.dimensions(), orientation)
        }
    };
    use Orientation::{Rotate90, Rotate90FlipH, Rotate270, Rotate270FlipH};
    let (width, height) = (width as usize, height as usize);
    Ok(match orientation {
        Rotate90 | Rotate90FlipH | Rotate270 | Rotate270FlipH => (height, width),
        _ => (width, height),
    })
}

fn with_bytes<T>(
    path: &Path,
    work: impl FnOnce(&[u8], ImageFormat) -> Result<T, String>,
) -> Result<T> {
    let bytes = crate::files::read(path, MAX_BYTES).map_err(Error::read(path))?;
    on_bytes(&bytes, work).map_err(|why| Error::photo(path, why))
}

fn on_bytes<T>(
    bytes: &[u8],
    work: impl FnOnce(&[u8], ImageFormat) -> Result<T, String>,
) -> Result<T, String> {
    if bytes.is_empty() {
        return Err("the file is empty; copy it from the camera again".into());
    }
    if let Some(why) = foreign(bytes) {
        return Err(why.into());
    }
    let format = match tiff::is_one(bytes) {
        true => ImageFormat::Tiff,
        false => image::guess_format(bytes).map_err(|e| explain(&e))?,
    };
    if format == ImageFormat::Jpeg && !jpeg::is_whole(bytes) {
        return Err("the picture is cut short; copy it from the camera again".into());
    }
    let bytes = match format {
        ImageFormat::Jpeg => jpeg::readable(bytes),
        _ => Cow::Borrowed(bytes),
    };
    // A panic of the decoder must not stop the other photos of the run.
    catch_panic(|| work(&bytes, format))
        .unwrap_or_else(|| Err("the decoder failed on it; save it as PNG".into()))
}

/// Why a file of phones and cameras is not read, if it is one: those in the ISO base media format (ISO/IEC 14496-12).
fn foreign(bytes: &[u8]) -> Option<&'static str> {
    if bytes.get(4..8)? != b"ftyp" {
        return None;
    }
    Some(match bytes.get(8..12)? {
        b"avif" | b"avis" => "an AVIF picture is not read; save it as JPEG or PNG",
        b"heic" | b"heix" | b"heim" | b"heis" | b"hevc" | b"hevx" | b"mif1" | b"msf1" => {
            "a HEIC or AVIF picture is not read; save it as JPEG (`heif-convert photo.heic photo.jpg`, or set the phone to its \
             most compatible format)"
        }
        b"crx " => "a camera's raw file is not read; save it as JPEG or PNG",
        _ => "a video is not read; save its pictures as PNG or JPEG",
    })
}

fn decoder(bytes: &[u8], format: ImageFormat) -> Result<impl ImageDecoder + use<'_>, String> {
    let mut reader = ImageReader::with_format(Cursor::new(bytes), format);
    let mut limits = Limits::default();
    limits.max_alloc = Some(MAX_PIXELS * 8);
    reader.limits(limits);
    reader.into_decoder().map_err(|e| explain(&e))
}

fn decode(bytes: &[u8], format: ImageFormat, min_side: u32) -> Result<Picture, String> {
    let (mut is_premultiplied, mut note) = (false, None);
    if format == ImageFormat::Tiff {
        let tiff = Tiff::open(bytes, MAX_PIXELS * 8)?;
        check_size(tiff.size, min_side)?;
        is_premultiplied = tiff.is_premultiplied;
        note =
            tiff.has_more.then(|| "a TIFF of several pictures: only the first is read".to_string());
        if !tiff.is_plain() {
            let orientation = tiff.orientation;
            let (mut image, of_values) = tiff.decode()?;
            image.apply_orientation(orientation);
            return Ok(Picture { image, note: of_values.or(note) });
        }
    }
    let mut decoder = decoder(bytes, format)?;
    check_size(decoder.dimensions(), min_side)?;
    let orientation = decoder.orientation().map_err(|e| explain(&e))?;
    let mut image = DynamicImage::from_decoder(decoder).map_err(|e| explain(&e))?;
    if is_premultiplied {
        tiff::divide_by_alpha(&mut image);
    }
    image.apply_orientation(orientation);
    Ok(Picture { image, note })
}

/// Checks that a picture is neither too small nor too large.
pub(super) fn check_size((width, height): (u32, u32), min_side: u32) -> Result<(), String> {
    if width.min(height) < min_side {
        return Err(format!(
            "{width}x{height} pixels are too few to inspect; give at least {min_side}x{min_side}"
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

fn explain(error: &ImageError) -> String {
    const KINDS: &str = "PNG, JPEG, BMP, TIFF or WebP";
    match error {
        ImageError::Unsupported(_) => {
            format!("not an image that can be read ({KINDS}): {error}; save it as PNG")
        }
        ImageError::Limits(_) => format!("too large to decode: {error}"),
        _ => format!("the image is damaged or cut short; copy it again ({error})"),
    }
}
