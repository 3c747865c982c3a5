//! Pixels of photos and of squares: moved, as bytes, and compared.

use super::StudentModel;
use crate::error::Result;
use crate::image::Photo;

const GRID: usize = StudentModel::GRID;
/// A place is damaged if its pixels, 0..1, change by more than this on average.
const DAMAGED: f32 = 0.05;

/// The photo, moved and mirrored. What comes in is the mirrored photo.
pub(super) fn moved(photo: &Photo, by: (isize, isize), is_mirrored: bool) -> Result<Photo> {
    let (width, height) = (photo.width(), photo.height());
    let from = |at: usize, by: isize, length: usize| {
        let (at, last) = (at as isize - by, length as isize - 1);
        let inside = if at < 0 { -at } else { at };
        (if inside > last { 2 * last - inside } else { inside }).clamp(0, last) as usize
    };
    let columns: Vec<usize> = (0..width)
        .map(|x| from(if is_mirrored { width - 1 - x } else { x }, by.0, width))
        .collect();
    let mut rgb = Vec::with_capacity(photo.rgb().len());
    for y in 0..height {
        let row = &photo.rgb()[3 * width * from(y, by.1, height)..][..3 * width];
        columns.iter().for_each(|x| rgb.extend_from_slice(&row[3 * x..][..3]));
    }
    Photo::from_rgb(width, height, rgb)
}

/// A function of each value and its channel. `planes`: `[3, side, side]`.
pub(super) fn with_channels(planes: &[f32], function: impl Fn(f32, usize) -> f32) -> Vec<f32> {
    let size = planes.len() / 3;
    planes.iter().enumerate().map(|(i, value)| function(*value, i / size)).collect()
}

/// Planes of 0..1, `[3, side, side]`, as bytes, `[side^2, 3]`.
pub(super) fn bytes_of(planes: &[f32]) -> Vec<u8> {
    let size = planes.len() / 3;
    let byte = |i: usize| (planes[i % 3 * size + i / 3] * 255.0).round().clamp(0.0, 255.0) as u8;
    (0..3 * size).map(byte).collect()
}

/// 1 for each place of the grid whose pixels change, else 0.
pub(super) fn changed_places(before: &[f32], after: &[f32]) -> Vec<f32> {
    let side = (before.len() / 3).isqrt();
    let cell = side / GRID;
    let mut sums = vec![0f32; GRID * GRID];
    for (i, (before, after)) in before.iter().zip(after).enumerate() {
        let (x, y) = (i % side, i / side % side);
        sums[y / cell * GRID + x / cell] += (after - before).abs();
    }
    let values = (3 * cell * cell) as f32;
    sums.into_iter().map(|sum| if sum / values > DAMAGED { 1.0 } else { 0.0 }).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const SIDE: usize = StudentModel::SIDE;

    #[test]
    fn photos_move_and_are_mirrored() {
        let rgb = (0..16 * 16).flat_map(|i| [(i % 16) as u8, (i / 16) as u8, 0]).collect();
        let photo = Photo::from_rgb(16, 16, rgb).unwrap();
        let pixel = |photo: &Photo, x: usize, y: usize| {
            let at = 3 * (16 * y + x);
            (photo.rgb()[at], photo.rgb()[at + 1])
        };
        let by = moved(&photo, (2, -3), false).unwrap();
        assert_eq!((pixel(&by, 5, 5), pixel(&by, 0, 15)), ((3, 8), (2, 12)));
        let mirrored = moved(&photo, (0, 0), true).unwrap();
        assert_eq!(pixel(&mirrored, 0, 4), (15, 4));
    }

    #[test]
    fn changes_are_found_at_their_places() {
        let before = vec![0.5f32; 3 * SIDE * SIDE];
        let mut after = before.clone();
        (0..8).for_each(|y| after[(16 + y) * SIDE + 40..][..8].fill(1.0));
        let changed = changed_places(&before, &after);
        let places: Vec<usize> = (0..GRID * GRID).filter(|i| changed[*i] > 0.0).collect();
        assert_eq!(places, [2 * GRID + 5]);
        let bytes = bytes_of(&after);
        assert_eq!(bytes[3 * (16 * SIDE + 40)..][..3], [255, 128, 128]);
    }
}
