//! A contact sheet: small photos, with a few facts about each below it. A person looks through it.

use std::fs::File;
use std::io::Read;
use std::path::Path;

use image::RgbImage;
use image::imageops::{FilterType, resize};
use plotters::element::BitMapElement;
use plotters::prelude::*;

use crate::image::Photo;
use crate::text_canvas::{Area, LETTERS, png as drawn};

/// Number of photos in a row.
const COLUMNS: usize = 6;
/// Side of the square that holds a photo, in pixels.
const SIDE: u32 = 176;
const MARGIN: u32 = 12;
const LINE: u32 = 17;
const LETTER: u32 = 14;
/// Number of letters of this size that fit below a photo.
const FIT: usize = 26;

/// A photo on a sheet.
pub struct Thumbnail {
    picture: RgbImage,
    lines: Vec<String>,
}

impl Thumbnail {
    /// A photo with lines of text below it. A long line loses its beginning, because paths differ at their end.
    ///
    /// # Panics
    /// If the photo has no pixels.
    pub fn new(photo: &Photo, lines: Vec<String>) -> Self {
        let (width, height) = (photo.width() as u32, photo.height() as u32);
        let picture =
            RgbImage::from_raw(width, height, photo.rgb().to_vec()).expect("three bytes a pixel");
        let scale = f64::from(SIDE) / f64::from(width.max(height));
        let side = |pixels: u32| ((f64::from(pixels) * scale).round() as u32).clamp(1, SIDE);
        let picture = resize(&picture, side(width), side(height), FilterType::Triangle);
        let cut = |line: String| {
            let letters = line.chars().count();
            let tail = || line.chars().skip(letters + 1 - FIT).collect::<String>();
            if letters > FIT { format!("…{}", tail()) } else { line }
        };
        Self { picture, lines: lines.into_iter().map(cut).collect() }
    }
}

/// A PNG chunk (`Software`) with its length and checksum. It marks the picture as a contact sheet.
const MARK: &[u8] = b"\0\0\0\x1etEXtSoftware\0blemish contact sheet\x5a\x78\x3a\x44";
/// The position of the mark in the file: after the signature and the header.
const MARK_AT: usize = 33;

/// Whether a file is a contact sheet. A new contact sheet may replace it.
pub fn is_one(path: &Path) -> bool {
    let start = |file: File| {
        let mut start = Vec::new();
        file.take((MARK_AT + MARK.len()) as u64).read_to_end(&mut start).ok()?;
        Some(start.ends_with(MARK))
    };
    crate::files::open(path, u64::MAX).ok().and_then(start) == Some(true)
}

/// Photos under headings: the bytes of a PNG.
pub fn png(sections: &[(String, Vec<Thumbnail>)]) -> Vec<u8> {
    let mut png = picture(sections);
    png.splice(MARK_AT..MARK_AT, MARK.iter().copied());
    png
}

fn picture(sections: &[(String, Vec<Thumbnail>)]) -> Vec<u8> {
    let lines = sections.iter().flat_map(|(_, photos)| photos).map(|photo| photo.lines.len());
    let cell = (SIDE + MARGIN, SIDE + lines.max().unwrap_or(0) as u32 * LINE + MARGIN);
    let rows = |photos: usize| photos.div_ceil(COLUMNS) as u32;
    let heading = 2 * LINE;
    let height: u32 = sections.iter().map(|(_, p)| heading + rows(p.len()) * cell.1).sum();
    let size = (COLUMNS as u32 * cell.0 + MARGIN, height + MARGIN);
    drawn(size, |area: &Area| {
        let text = |text: &str, x: u32, y: u32, size: u32| {
            let style = (LETTERS, size).into_font().color(&BLACK);
            area.draw_text(text, &style, (x as i32, y as i32))
        };
        let mut top = MARGIN;
        for (title, photos) in sections {
            text(title, MARGIN, top, LETTER + 4)?;
            top += heading;
            for (i, photo) in photos.iter().enumerate() {
                let (column, row) = ((i % COLUMNS) as u32, (i / COLUMNS) as u32);
                let (x, y) = (MARGIN + column * cell.0, top + row * cell.1);
                let picture = &photo.picture;
                let pixels = BitMapElement::<_>::with_owned_buffer(
                    (x as i32, y as i32),
                    picture.dimensions(),
                    picture.as_raw().clone(),
                );
                area.draw(&pixels.ok_or("a picture of its own size")?)?;
                for (n, line) in photo.lines.iter().enumerate() {
                    text(line, x, y + SIDE + 5 + n as u32 * LINE, LETTER)?;
                }
            }
            top += rows(photos.len()) * cell.1;
        }
        Ok(())
    })
}

crate::error::opaque_debug!(Thumbnail);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_photo_is_on_the_sheet() {
        // Colours that letters do not have.
        let photo = |width: usize, height: usize, red: u8| {
            let photo =
                Photo::from_rgb(width, height, [red, 0, 200].repeat(width * height)).unwrap();
            Thumbnail::new(&photo, vec!["a very long name of a file, 0001.png".into()])
        };
        let photos: Vec<Thumbnail> =
            (0..8).map(|i| photo(300 - 30 * i, 20 + 40 * i, 100 + i as u8)).collect();
        assert_eq!(photos[0].lines[0].chars().count(), FIT);
        assert!(photos[0].lines[0].ends_with("0001.png"));
        let sheet = png(&[("taken".into(), photos), ("left out".into(), vec![photo(16, 500, 9)])]);
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), &sheet).unwrap();
        assert!(is_one(file.path()));
        let sheet = image::load_from_memory(&sheet).unwrap().into_rgb8();
        sheet.save_with_format(file.path(), image::ImageFormat::Png).unwrap();
        assert!(!is_one(file.path()), "any other picture");
        for red in (100..108).chain([9]) {
            assert!(sheet.pixels().any(|pixel| pixel.0 == [red, 0, 200]), "{red}");
        }
    }
}
