//! The colours of a map.

use std::sync::LazyLock;

use super::Scale;
use crate::detect::AnomalyMap;

/// The first part of Inferno is left out. It is black, and does not show on a dark photo.
const FIRST_COLOUR: f64 = 0.4;
/// Opacity at the hot end.
const OPACITY: f32 = 0.75;

/// Inferno grows brighter along the scale, so people with any colour vision can read it.
static COLOURS: LazyLock<[[u8; 3]; 256]> = LazyLock::new(|| {
    std::array::from_fn(|i| {
        let along = FIRST_COLOUR + (1.0 - FIRST_COLOUR) * i as f64 / 255.0;
        let colour = colorous::INFERNO.eval_continuous(along);
        [colour.r, colour.g, colour.b]
    })
});

/// The colour of a position on the scale (0..1), and its opacity (0..1).
pub(super) fn colour(position: f32) -> ([u8; 3], f32) {
    (COLOURS[(position * 255.0).round() as usize], OPACITY * position.sqrt())
}

/// The colours from the cold to the hot end, as CSS writes them.
pub fn palette() -> Vec<String> {
    let css = |step: u8| {
        let ([r, g, b], cover) = colour(f32::from(step) / 8.0);
        format!("rgb({r} {g} {b} / {cover:.2})")
    };
    (0..=8).map(css).collect()
}

/// Width and height of a picture whose longer side is at most `side`. It keeps its aspect ratio.
pub(super) fn fitted(width: usize, height: usize, side: usize) -> (usize, usize) {
    let longer = width.max(height).max(side);
    let scaled = |pixels: usize| (pixels * side).div_ceil(longer).clamp(1, pixels.max(1));
    (scaled(width), scaled(height))
}

/// A map whose longer side is at most `side`. Each pixel has the highest value of its part, so a small defect stays.
pub(super) fn shrunk(map: &AnomalyMap, side: usize) -> AnomalyMap {
    let (width, height) = fitted(map.width, map.height, side);
    let mut values = vec![f32::NAN; width * height];
    for (y, row) in map.values.chunks_exact(map.width.max(1)).enumerate() {
        let to = y * height / map.height * width;
        for (x, value) in row.iter().enumerate() {
            let to = &mut values[to + x * width / map.width];
            *to = to.max(*value);
        }
    }
    AnomalyMap { width, height, values }
}

/// The map as colour and opacity, four bytes per pixel. What the model did not see is half grey.
pub(super) fn rgba(map: &AnomalyMap, scale: Scale) -> Vec<u8> {
    let pixel = |value: &f32| match value.is_nan() {
        true => [128, 128, 128, 128],
        false => {
            let ([r, g, b], cover) = colour(scale.position(*value));
            [r, g, b, (cover * 255.0).round() as u8]
        }
    };
    map.values.iter().flat_map(pixel).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_small_defect_stays_in_a_small_map() {
        let mut values = vec![0.1; 300 * 200];
        values[150 * 300 + 299] = 0.9;
        values[..100].fill(f32::NAN);
        let small = shrunk(&AnomalyMap { width: 300, height: 200, values }, 30);
        assert_eq!((small.width, small.height), (30, 20));
        assert_eq!(small.values[15 * 30 + 29], 0.9);
        assert!(small.values.iter().all(|v| *v == 0.1 || *v == 0.9), "seen in part is seen");
        assert_eq!(fitted(20, 10, 30), (20, 10));
        assert_eq!(fitted(3000, 1, 30), (30, 1));
    }
}
