//! Ground truth: where a photo is defective.

use std::path::{Path, PathBuf};

use image::DynamicImage;

use super::decode;
use super::photo::Photo;
use super::prepare::{lay_out, resize};
use super::resample::Filter;
use crate::error::{Error, Result};

/// Half of white in 16 bits, as 128 is in 8 bits.
const HALF: u16 = 128 * 257;

/// Which pixels of a photo are defective.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mask {
    /// Width in pixels.
    pub width: usize,
    /// Height in pixels.
    pub height: usize,
    /// `[height, width]`.
    pub pixels: Vec<bool>,
    /// What is doubtful about the mask files, if anything.
    pub note: Option<String>,
}

impl Mask {
    /// A mask that marks no pixel.
    pub fn empty(width: usize, height: usize) -> Self {
        Self::new(width, height, vec![false; width * height])
    }

    /// A mask with these pixels, `[height, width]`.
    pub(crate) fn new(width: usize, height: usize, pixels: Vec<bool>) -> Self {
        Self { width, height, pixels, note: None }
    }

    /// Reads the mask files of one photo, all of the photo's size. A pixel is marked if any file marks it. If the
    /// largest value of a file is 128 or more (of 255), the pixels of 128 or more are marked. This cuts soft edges and
    /// JPEG noise at half. If the largest value is below 128, all pixels except 0 are marked, because VisA numbers the
    /// kinds of defect from 1. Transparent pixels are not marked. If a picture is black on a transparent background,
    /// the painted pixels are marked.
    ///
    /// # Errors
    /// [`Error::Photo`] if a file cannot be read or has another size, or if the files mark no pixel.
    pub fn open(files: &[PathBuf], width: usize, height: usize) -> Result<Self> {
        let mut mask = Self::empty(width, height);
        for file in files {
            let part = marked(decoded(file)?);
            if (part.width, part.height) != (width, height) {
                return Err(size_mismatch(file, (part.width, part.height), (width, height)));
            }
            mask.pixels.iter_mut().zip(&part.pixels).for_each(|(all, part)| *all |= part);
            let note = part.note.map(|note| format!("{}: {note}", file.display()));
            mask.note = mask.note.or(note);
        }
        match files.first() {
            Some(file) if !mask.pixels.contains(&true) => Err(Error::photo(
                file,
                "the mask marks no pixel; mark the defect, or move the photo to good",
            )),
            _ => Ok(mask),
        }
    }

    /// Reads a mask file that holds one region. Returns its only value except 0, and the indices of its pixels. (MVTec
    /// LOCO has one file for each region. The region may be the whole picture.)
    ///
    /// # Errors
    /// [`Error::Photo`] if the file cannot be read, has another size, is not grey with 8 bits, or does not have exactly
    /// one value except 0.
    pub fn one_value(file: &Path, width: usize, height: usize) -> Result<(u8, Vec<usize>)> {
        let fail = |why: String| Error::photo(file, why);
        let DynamicImage::ImageLuma8(picture) = decoded(file)? else {
            return Err(fail("the mask has to be grey, with 8 bits".into()));
        };
        let size = (picture.width() as usize, picture.height() as usize);
        if size != (width, height) {
            return Err(size_mismatch(file, size, (width, height)));
        }
        let values = picture.into_raw();
        let marked: Vec<usize> = (0..values.len()).filter(|i| values[*i] != 0).collect();
        let Some(&first) = marked.first() else {
            return Err(fail("the mask marks no pixel".into()));
        };
        match marked.iter().find(|pixel| values[**pixel] != values[first]) {
            Some(&other) => {
                let (a, b) = (values[first], values[other]);
                Err(fail(format!("the mask has the values {a} and {b}: a file holds one region")))
            }
            None => Ok((values[first], marked)),
        }
    }

    /// Marks the pixels of a picture that are white, and not black or transparent. If there are none, marks the pixels
    /// that are not black (a mask of 0 and 1).
    ///
    /// # Errors
    /// [`Error::Photo`] if the file cannot be read.
    pub fn white(file: &Path) -> Result<Self> {
        let picture = decoded(file)?;
        let grey = picture.to_luma_alpha8();
        // Transparent pixels are not marked.
        let pixels: Vec<bool> = grey.pixels().map(|p| p.0[0] >= 128 && p.0[1] >= 128).collect();
        if !pixels.contains(&true) && grey.pixels().any(|p| p.0[0] > 0 && p.0[1] >= 128) {
            return Ok(marked(picture));
        }
        // Soft edges and JPEG leave a few values between black and white.
        let between =
            grey.pixels().filter(|p| p.0[1] >= 128 && (48..208).contains(&p.0[0])).count();
        if between > pixels.len() / 5 {
            let why = "looks like a photo; a mask is black, and white where it counts";
            return Err(Error::photo(file, why));
        }
        let is_soft = grey.pixels().any(|p| p.0[1] >= 128 && !matches!(p.0[0], 0 | 255));
        let note = is_soft.then(|| "has more than two values; it was cut at half".to_string());
        let mask = Self::new(grey.width() as usize, grey.height() as usize, pixels);
        Ok(Self { note, ..mask })
    }

    /// Resizes the mask to a square, as April-GAN does. The resize is bilinear and equals Pillow's bit for bit. Then
    /// every pixel above one half is marked.
    pub fn squash(&self, size: usize) -> Self {
        Self::new(size, size, self.resized(size, size))
    }

    /// Joins four masks into one, as [`Photo::mosaic`] joins their photos.
    pub fn mosaic(masks: [&Mask; 4]) -> Self {
        let (width, height) = (masks[0].width, masks[0].height);
        let parts: Vec<Vec<bool>> = masks.iter().map(|m| m.resized(width, height)).collect();
        Self::new(2 * width, 2 * height, lay_out(&parts, width))
    }

    fn resized(&self, width: usize, height: usize) -> Vec<bool> {
        let rgb = self.pixels.iter().flat_map(|&p| [if p { 255 } else { 0 }; 3]).collect();
        let picture = Photo::unchecked(self.width, self.height, rgb);
        let rgb = resize(Filter::Bilinear, &picture, width, height);
        rgb.as_chunks::<3>().0.iter().map(|p| p[0] >= 128).collect()
    }
}

fn decoded(file: &Path) -> Result<DynamicImage> {
    match decode::open(file, 1) {
        Ok(picture) => Ok(picture.image),
        Err(Error::Photo { why, .. }) => {
            Err(Error::photo(file, format!("the mask cannot be read: {why}")))
        }
        Err(other) => Err(other),
    }
}

fn marked(picture: DynamicImage) -> Mask {
    // In 16 bits, so that small values are not rounded to 0.
    let picture = picture.into_rgba16();
    let is_painted = |alpha: u16| alpha >= HALF;
    let value =
        |p: &image::Rgba<u16>| if is_painted(p.0[3]) { p.0[0].max(p.0[1]).max(p.0[2]) } else { 0 };
    let largest = picture.pixels().map(value).max().unwrap_or(0);
    let is_see_through = picture.pixels().any(|p| !is_painted(p.0[3]));
    let is_marked = |p: &image::Rgba<u16>| match largest {
        0 => is_see_through && is_painted(p.0[3]),
        HALF.. => value(p) >= HALF,
        _ => value(p) > 0,
    };
    let pixels: Vec<bool> = picture.pixels().map(is_marked).collect();
    let count = pixels.iter().filter(|marked| **marked).count();
    let is_soft =
        largest >= HALF && picture.pixels().any(|p| !matches!(value(p), 0) && value(p) != largest);
    let note = if 2 * count > pixels.len() {
        Some("the mask marks most of its photo; is it inverted?")
    } else if is_soft {
        Some("the mask has more than two values; it was cut at half")
    } else {
        None
    };
    let mask = Mask::new(picture.width() as usize, picture.height() as usize, pixels);
    Mask { note: note.map(String::from), ..mask }
}

fn size_mismatch(file: &Path, mask: (usize, usize), photo: (usize, usize)) -> Error {
    let why = format!(
        "the mask has {}x{} pixels and its photo {}x{}; their sizes must be equal",
        mask.0, mask.1, photo.0, photo.1
    );
    Error::photo(file, why)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mask_is_squashed_as_pillow_does() {
        // Image.fromarray(m).resize((5, 5), BILINEAR) >= 128, of rows x columns 3 x 10.
        let rows = ["..###.....", "..###....#", ".......###"];
        let pixels = rows.iter().flat_map(|row| row.bytes().map(|b| b == b'#')).collect();
        let mask = Mask::new(10, 3, pixels);
        let squashed = mask.squash(5);
        let text: Vec<String> = squashed
            .pixels
            .chunks(5)
            .map(|row| row.iter().map(|p| if *p { '#' } else { '.' }).collect())
            .collect();
        assert_eq!(text, EXPECTED);
        let four = Mask::mosaic([&mask, &squashed, &mask, &mask]);
        assert_eq!((four.width, four.height, four.pixels.len()), (20, 6, 120));
        assert_eq!(four.pixels[3 * 20..][..10], mask.pixels[..10]);
    }

    const EXPECTED: [&str; 5] = [".##..", ".##..", ".##..", "....#", "...##"];
}
