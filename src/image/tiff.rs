//! TIFF files of scientific cameras: the kinds that the `image` crate does not read, or reads without checking the
//! values.

use std::io::Cursor;

use image::metadata::Orientation;
use image::{DynamicImage, GrayAlphaImage, ImageBuffer, Rgb32FImage};
use tiff::decoder::{Decoder, DecodingResult, Limits};
use tiff::tags::Tag;
use tiff::{ColorType, TiffError};

const SAVE: &str = "save it as PNG with 8 or 16 bits";

/// A TIFF's size, orientation, and kind.
pub(super) struct Tiff<'a> {
    decoder: Decoder<Cursor<&'a [u8]>>,
    pub size: (u32, u32),
    pub orientation: Orientation,
    colour: ColorType,
    is_float: bool,
    /// Whether colours are multiplied by their alpha.
    pub is_premultiplied: bool,
    /// Whether more pictures follow the first one.
    pub has_more: bool,
}

/// Divides colours by their alpha, as Pillow does.
pub(super) fn divide_by_alpha(image: &mut DynamicImage) {
    fn divide(pixel: &mut [u32; 4], most: u32) {
        if pixel[3] > 0 && pixel[3] < most {
            (0..3).for_each(|c| pixel[c] = (pixel[c] * most / pixel[3]).min(most));
        }
    }
    match image {
        DynamicImage::ImageRgba8(picture) => picture.pixels_mut().for_each(|p| {
            let mut wide = p.0.map(u32::from);
            divide(&mut wide, 255);
            p.0 = wide.map(|v| v as u8);
        }),
        DynamicImage::ImageRgba16(picture) => picture.pixels_mut().for_each(|p| {
            let mut wide = p.0.map(u32::from);
            divide(&mut wide, 65_535);
            p.0 = wide.map(|v| v as u16);
        }),
        _ => {}
    }
}

/// Whether a file is a TIFF, classic or with 64-bit offsets.
pub(super) fn is_one(bytes: &[u8]) -> bool {
    [b"II*\0", b"MM\0*", b"II+\0", b"MM\0+"].iter().any(|magic| bytes.starts_with(*magic))
}

impl<'a> Tiff<'a> {
    pub fn open(bytes: &'a [u8], most: u64) -> Result<Self, String> {
        let mut limits = Limits::default();
        let most = usize::try_from(most).unwrap_or(usize::MAX);
        (limits.decoding_buffer_size, limits.intermediate_buffer_size) = (most, most);
        let mut decoder =
            Decoder::new(Cursor::new(bytes)).map_err(|e| explain(&e))?.with_limits(limits);
        let size = decoder.dimensions().map_err(|e| explain(&e))?;
        let colour = decoder.colortype().map_err(|e| explain(&e))?;
        let formats = decoder.find_tag_unsigned_vec::<u16>(Tag::SampleFormat);
        let formats = formats.map_err(|e| explain(&e))?.unwrap_or_default();
        if formats.iter().any(|format| !matches!(format, 1 | 3)) {
            return Err(format!("a TIFF of signed or complex numbers is not read; {SAVE}"));
        }
        let mut tag = |tag| decoder.find_tag_unsigned::<u16>(tag).ok().flatten();
        let (compression, predictor) = (tag(Tag::Compression), tag(Tag::Predictor));
        // The decoder would undo a predictor even if the compression has none.
        let has_predictor = matches!(compression, Some(5 | 8 | 32946));
        if predictor.is_some_and(|predictor| predictor != 1) && !has_predictor {
            return Err(format!("a TIFF whose predictor does not fit its compression; {SAVE}"));
        }
        if tag(Tag::FillOrder) == Some(2) {
            return Err(format!("a TIFF with its bits the other way round is not read; {SAVE}"));
        }
        let is_premultiplied = tag(Tag::ExtraSamples) == Some(1);
        let turned = decoder.find_tag_unsigned::<u8>(Tag::Orientation).ok().flatten();
        let orientation = turned.and_then(Orientation::from_exif);
        Ok(Self {
            size,
            orientation: orientation.unwrap_or(Orientation::NoTransforms),
            colour,
            is_float: formats.contains(&3),
            is_premultiplied,
            has_more: decoder.more_images(),
            decoder,
        })
    }

    /// Whether the `image` crate reads it correctly.
    pub fn is_plain(&self) -> bool {
        use ColorType::{CMYK, Gray, RGB, RGBA};
        !self.is_float
            && matches!(self.colour, Gray(1 | 8 | 16) | RGB(8 | 16) | RGBA(8 | 16) | CMYK(8 | 16))
    }

    /// Decodes a TIFF that is not plain. Returns its pixels, and what the user should know about them.
    pub fn decode(mut self) -> Result<(DynamicImage, Option<String>), String> {
        let (width, height) = self.size;
        let refuse = || format!("a TIFF of this kind ({:?}) is not read; {SAVE}", self.colour);
        let channels = match self.colour {
            ColorType::Gray(_) => 1,
            ColorType::Multiband { num_samples: 2, .. } => 2,
            ColorType::RGB(_) => 3,
            ColorType::RGBA(_) => 4,
            _ => return Err(refuse()),
        };
        let layout = self.decoder.image_buffer_layout().map_err(|e| explain(&e))?;
        if layout.planes > 1 {
            return Err(refuse());
        }
        let values = self.decoder.read_image().map_err(|e| explain(&e))?;
        let own = |picture: Option<DynamicImage>| picture.ok_or_else(refuse);
        match (self.colour, values) {
            (ColorType::Multiband { .. }, DecodingResult::U8(values)) => {
                let picture = GrayAlphaImage::from_raw(width, height, values);
                Ok((own(picture.map(DynamicImage::ImageLumaA8))?, None))
            }
            (ColorType::Multiband { .. }, DecodingResult::U16(values)) => {
                let picture = ImageBuffer::from_raw(width, height, values);
                Ok((own(picture.map(DynamicImage::ImageLumaA16))?, None))
            }
            (_, DecodingResult::F32(values)) => floats(values, channels, self.size),
            (_, DecodingResult::F64(values)) => {
                floats(values.into_iter().map(|v| v as f32).collect(), channels, self.size)
            }
            _ => Err(refuse()),
        }
    }
}

/// Reads floats of 0..1 or of 0..255. They may be slightly outside, as filters leave them. Other values are refused,
/// because their range is unknown.
fn floats(
    values: Vec<f32>,
    channels: usize,
    (width, height): (u32, u32),
) -> Result<(DynamicImage, Option<String>), String> {
    if values.iter().any(|v| !v.is_finite()) {
        return Err(format!("a float TIFF that holds NaN or infinity; {SAVE}"));
    }
    // Alpha may have another range.
    let colours = values.chunks_exact(channels).flat_map(|pixel| &pixel[..channels.min(3)]);
    let (low, high) = colours.fold((0f32, 0f32), |(low, high), v| (low.min(*v), high.max(*v)));
    let scale = match (low, high) {
        (-0.1.., ..=1.1) => 1.0,
        (-1.0.., 16.0..=256.0) => 255.0,
        _ => {
            return Err(format!(
                "a float TIFF with values from {low} to {high}, but only 0..1 and 0..255 are read; {SAVE}"
            ));
        }
    };
    let rgb = values.chunks_exact(channels).flat_map(|pixel| match channels {
        1 => [(pixel[0] / scale).clamp(0.0, 1.0); 3],
        _ => [0, 1, 2].map(|c| (pixel[c] / scale).clamp(0.0, 1.0)),
    });
    let picture = Rgb32FImage::from_raw(width, height, rgb.collect());
    let picture =
        picture.ok_or_else(|| format!("a float TIFF of this kind is not read; {SAVE}"))?;
    let note =
        (scale > 1.0).then(|| format!("a float TIFF with values up to {high}, read as 0..255"));
    Ok((DynamicImage::ImageRgb32F(picture), note))
}

fn explain(error: &TiffError) -> String {
    match error {
        TiffError::UnsupportedError(_) => {
            format!("a TIFF of this kind is not read ({error}); {SAVE}")
        }
        TiffError::LimitsExceeded => "too large to decode".to_string(),
        _ => format!("the image is damaged or cut short; copy it again ({error})"),
    }
}
