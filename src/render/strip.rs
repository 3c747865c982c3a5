//! The strip below a picture: the score of the photo, and what the colours mean.

use plotters::prelude::*;

use super::Scale;
use super::heat::colour;
use crate::text_canvas::{Area, LETTERS, draw};

/// Height of the strip: the longer side of the picture divided by this, within limits.
const SHARE: usize = 24;

/// Appends the strip to the rows of a picture. Returns the height of the strip.
pub(super) fn append(
    rgb: &mut Vec<u8>,
    (width, above): (usize, usize),
    caption: &str,
    scale: Scale,
) -> usize {
    let height = (width.max(above) / SHARE).clamp(16, 48);
    let letter = (height * 5 / 8) as u32;
    // Letters of this font are about half as wide as they are high.
    let fits = |text: &str, pixels: usize| text.chars().count() * letter as usize * 5 / 9 <= pixels;
    let ends = [scale.low, scale.high].map(|end| format!("{end:.2}"));
    let bar = (width / 4).min(8 * height);
    let end = height * 3 / 2;
    let has_bar = fits(caption, width.saturating_sub(bar + 2 * end + height));
    let picture = draw((width as u32, height as u32), |area: &Area| {
        let text = |text: &str, x: usize| {
            let style = (LETTERS, letter).into_font().color(&BLACK);
            area.draw_text(text, &style, (x as i32, ((height as u32 - letter) / 2) as i32))
        };
        text(caption, height / 4)?;
        if has_bar {
            let left = width - bar - end - height / 4;
            text(&ends[0], left - end)?;
            text(&ends[1], left + bar + height / 4)?;
            for x in 0..bar {
                let ([r, g, b], _) = colour(x as f32 / (bar.max(2) - 1) as f32);
                let at = |y: usize| ((left + x) as i32, y as i32);
                let line = [at(height / 4), at(height * 3 / 4)];
                area.draw(&PathElement::new(line, RGBColor(r, g, b)))?;
            }
        }
        Ok(())
    });
    rgb.extend(picture);
    height
}
