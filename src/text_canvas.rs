//! Pictures with text. Training curves and contact sheets are drawn on them.

use std::io::Cursor;
use std::sync::Once;

use image::{ExtendedColorType, ImageEncoder, codecs::png::PngEncoder};
use plotters::coord::Shift;
use plotters::prelude::*;
use plotters::style::{FontStyle, register_font};

/// The name of the only font.
pub(crate) const LETTERS: &str = "blemish";

/// Draws on a white canvas of `size` (width, height) in pixels. Returns three bytes per pixel.
pub(crate) fn draw(
    size: (u32, u32),
    draw: impl FnOnce(&Area<'_>) -> Result<(), Box<dyn std::error::Error>>,
) -> Vec<u8> {
    static FONT: Once = Once::new();
    FONT.call_once(|| {
        let font = epaint_default_fonts::UBUNTU_LIGHT;
        // If the font cannot be read, the picture only lacks its text.
        let _ = register_font(LETTERS, FontStyle::Normal, font);
    });
    let mut rgb = vec![255; (size.0 * size.1 * 3) as usize];
    {
        let area = BitMapBackend::with_buffer(&mut rgb, size).into_drawing_area();
        draw(&area).expect("a picture of a fixed size, drawn in memory");
        area.present().expect("a picture in memory");
    }
    rgb
}

/// The same as the bytes of a PNG.
pub(crate) fn png(
    size: (u32, u32),
    content: impl FnOnce(&Area<'_>) -> Result<(), Box<dyn std::error::Error>>,
) -> Vec<u8> {
    let rgb = draw(size, content);
    let mut file = Cursor::new(Vec::new());
    PngEncoder::new(&mut file)
        .write_image(&rgb, size.0, size.1, ExtendedColorType::Rgb8)
        .expect("a picture of its own size, written to memory");
    file.into_inner()
}

/// The area to draw on.
pub(crate) type Area<'a> = DrawingArea<BitMapBackend<'a>, Shift>;
