//! From a photo to the square input of a model, and from a map of that square back to the photo.

use rayon::prelude::*;
use serde::{Deserialize, Serialize};

use super::appearance::Appearance;
use super::photo::Photo;
use super::resample::{Axis, Filter, resize_rgb};
use crate::error::Result;

/// How a photo that is not square is fitted to the square input of a model.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Fit {
    /// The whole photo is stretched to the square, as in the reference implementations of WinCLIP and April-GAN.
    #[default]
    Squash,
    /// The shorter side is resized to the side of the square, and the middle is used, as in CLIP's own preprocessing.
    /// The rest is not inspected. Maps have NaN there.
    Crop,
    /// The whole photo is resized at its own aspect ratio. The rest of the square has the mean colour.
    Letterbox,
}

impl Fit {
    /// The name that the command line and results use.
    pub fn name(self) -> &'static str {
        match self {
            Self::Squash => "squash",
            Self::Crop => "crop",
            Self::Letterbox => "letterbox",
        }
    }
}

/// Mean and standard deviation of each channel that a checkpoint was trained with, on values of 0..1.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Normalisation {
    /// Mean of red, green and blue.
    pub mean: [f32; 3],
    /// Standard deviation of red, green and blue.
    pub std: [f32; 3],
}

impl Normalisation {
    /// Values stay 0..1.
    pub(crate) const NONE: Self = Self { mean: [0.0; 3], std: [1.0; 3] };
}

impl Default for Normalisation {
    /// OpenAI CLIP's values.
    fn default() -> Self {
        Self {
            mean: [0.481_454_66, 0.457_827_5, 0.408_210_73],
            std: [0.268_629_54, 0.261_302_6, 0.275_777_1],
        }
    }
}

/// A photo as input of a model.
#[derive(Clone, Debug)]
pub struct Prepared {
    /// `[3, size, size]`: red, green, blue planes, normalised.
    pub pixels: Vec<f32>,
    /// The same square as input of the reference model, if there is one: at its own size, with its own normalisation.
    pub reference: Option<Vec<f32>>,
    /// Where the square lies on the photo.
    pub placement: Placement,
    /// What the whole photo looks like.
    pub appearance: Appearance,
}

impl Prepared {
    /// Fills the pixels outside a region, `[size, size]`, with the mean colour.
    pub(crate) fn blank_outside(&mut self, region: &[bool]) {
        blank(&mut self.pixels, region);
        if let Some(pixels) = &mut self.reference {
            let size = (pixels.len() / 3).isqrt();
            blank(pixels, &region_at(region, size));
        }
    }
}

/// A square region at another size.
pub(crate) fn region_at(region: &[bool], size: usize) -> Vec<bool> {
    let own = region.len().isqrt();
    let from = |i: usize| (i / size * own / size) * own + i % size * own / size;
    (0..size * size).map(|i| region[from(i)]).collect()
}

fn blank(pixels: &mut [f32], region: &[bool]) {
    for plane in pixels.chunks_exact_mut(region.len()) {
        let outside = plane.iter_mut().zip(region).filter(|(_, inside)| !**inside);
        outside.for_each(|(value, _)| *value = 0.0);
    }
}

/// Where a model's square lies on a photo.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Placement {
    size: usize,
    photo: (usize, usize),
    /// Width and height of the whole photo after resizing, in pixels of the square.
    resized: (usize, usize),
    /// The upper left corner of the resized photo on the square. Negative if the photo is cut, positive if it is
    /// padded.
    corner: (isize, isize),
}

impl Placement {
    /// `photo`: width and height in pixels. `size`: side of the square in pixels.
    pub(crate) fn new(photo: (usize, usize), size: usize, fit: Fit) -> Self {
        let (w, h) = photo;
        let (short, long) = (w.min(h), w.max(h));
        let (resized, corner) = match fit {
            Fit::Squash => ((size, size), (0, 0)),
            Fit::Crop => {
                // torchvision's Resize truncates the longer side. Its CenterCrop rounds half to even.
                let longer = (size as u64 * long as u64 / short as u64) as usize;
                let resized = if w <= h { (size, longer) } else { (longer, size) };
                let cut = |n: usize| -(((n - size) as f64 / 2.0).round_ties_even() as isize);
                (resized, (cut(resized.0), cut(resized.1)))
            }
            Fit::Letterbox => {
                let side = |n: usize| {
                    ((size as f64 * n as f64 / long as f64).round() as usize).clamp(1, size)
                };
                let resized = (side(w), side(h));
                let pad = |n: usize| ((size - n) / 2) as isize;
                (resized, (pad(resized.0), pad(resized.1)))
            }
        };
        Self { size, photo, resized, corner }
    }

    /// Width and height of the photo, in pixels.
    pub fn photo_size(&self) -> (usize, usize) {
        self.photo
    }

    /// The photo's pixel at a point of the square, or the nearest pixel.
    pub fn on_photo(&self, x: f64, y: f64) -> (usize, usize) {
        let pixel = |at: f64, corner: isize, resized: usize, photo: usize| {
            let position = (at - corner as f64) * photo as f64 / resized as f64;
            (position.max(0.0) as usize).min(photo - 1)
        };
        (
            pixel(x, self.corner.0, self.resized.0, self.photo.0),
            pixel(y, self.corner.1, self.resized.1, self.photo.1),
        )
    }

    /// Whether a point of the square lies on the photo, and not on the padding.
    pub(crate) fn is_on_photo(&self, x: f64, y: f64) -> bool {
        let on = |at: f64, corner: isize, resized: usize| {
            (0.0..=resized as f64).contains(&(at - corner as f64))
        };
        on(x, self.corner.0, self.resized.0) && on(y, self.corner.1, self.resized.1)
    }

    /// Places a map of the square, `[size, size]`, on the photo. Returns `[height, width]` at the photo's own size.
    /// Values are bilinear between the map's pixel centres. NaN where the model did not see the photo.
    pub fn place(&self, map: &[f32]) -> Vec<f32> {
        let columns = samples(self.photo.0, self.resized.0, self.corner.0, self.size);
        let rows = samples(self.photo.1, self.resized.1, self.corner.1, self.size);
        bilinear(map, self.size, &columns, &rows)
    }

    /// The share of the photo that the model saw, 0..1. It is below 1 only if [`Fit::Crop`] cut something away.
    pub fn coverage(&self) -> f64 {
        let seen = |photo, resized, corner| {
            let samples = samples(photo, resized, corner, self.size);
            samples.iter().flatten().count() as f64 / photo as f64
        };
        seen(self.photo.0, self.resized.0, self.corner.0)
            * seen(self.photo.1, self.resized.1, self.corner.1)
    }
}

/// Enlarges a square map, `[from, from]` to `[to, to]`, as PyTorch's `interpolate(mode="bilinear",
/// align_corners=False)` does.
pub(crate) fn enlarge(map: &[f32], from: usize, to: usize) -> Vec<f32> {
    let axis = samples(to, from, 0, from);
    bilinear(map, from, &axis, &axis)
}

/// Enlarges a square map, `[from, from]` to `[to, to]`, as PyTorch's `interpolate(mode="bilinear", align_corners=True)`
/// does. The outermost values are at the outermost pixels.
pub(crate) fn enlarge_to_corners(map: &[f32], from: usize, to: usize) -> Vec<f32> {
    let scale = (from - 1) as f64 / (to - 1).max(1) as f64;
    let axis: Vec<_> = (0..to).map(|i| Some(Sample::at(i as f64 * scale, from))).collect();
    bilinear(map, from, &axis, &axis)
}

/// For each of `photo` pixels along one axis: the two map pixels that it lies between, or `None` outside the map's
/// `side`. The photo covers `resized` map pixels from `corner` on.
fn samples(photo: usize, resized: usize, corner: isize, side: usize) -> Vec<Option<Sample>> {
    let scale = resized as f64 / photo as f64;
    (0..photo)
        .map(|i| {
            let position = (i as f64 + 0.5) * scale + corner as f64;
            if !(0.0..=side as f64).contains(&position) {
                return None;
            }
            Some(Sample::at(position - 0.5, side))
        })
        .collect()
}

/// Samples a `[side, side]` map at every row and column. NaN if the row or the column is `None`.
fn bilinear(
    map: &[f32],
    side: usize,
    columns: &[Option<Sample>],
    rows: &[Option<Sample>],
) -> Vec<f32> {
    assert_eq!(map.len(), side * side, "a square map");
    let mut out = vec![f32::NAN; columns.len() * rows.len()];
    out.par_chunks_mut(columns.len()).zip(rows).for_each(|(out_row, row)| {
        let Some(row) = row else { return };
        let (above, below) = (&map[row.low * side..][..side], &map[row.high * side..][..side]);
        for (value, column) in out_row.iter_mut().zip(columns) {
            let Some(column) = column else { continue };
            let upper = column.between(above[column.low], above[column.high]);
            let lower = column.between(below[column.low], below[column.high]);
            *value = row.between(upper, lower);
        }
    });
    out
}

/// A position between two neighbouring map pixels.
struct Sample {
    low: usize,
    high: usize,
    weight: f32,
}

impl Sample {
    /// `position`: distance in pixels from the centre of the first of `side` pixels.
    fn at(position: f64, side: usize) -> Self {
        let last = side - 1;
        let position = position.clamp(0.0, last as f64);
        let low = position as usize;
        Self { low, high: (low + 1).min(last), weight: (position - low as f64) as f32 }
    }

    fn between(&self, low: f32, high: f32) -> f32 {
        low + (high - low) * self.weight
    }
}

impl Photo {
    /// Resizes to `size` x `size` as `fit` says, and normalises. The resize is bicubic and equals Pillow's bit for bit.
    pub fn prepare(&self, size: usize, fit: Fit, normalisation: &Normalisation) -> Prepared {
        let placement = Placement::new((self.width(), self.height()), size, fit);
        let axis = |from, to: usize, corner: isize| Axis {
            filter: Filter::Bicubic,
            from,
            to,
            wanted: (-corner).max(0) as usize..to.min((size as isize - corner) as usize),
        };
        let columns = axis(self.width(), placement.resized.0, placement.corner.0);
        let rows = axis(self.height(), placement.resized.1, placement.corner.1);
        let rgb = resize_rgb(self.rgb(), &columns, &rows);
        let (width, height) = (columns.wanted.len(), rows.wanted.len());
        let left = placement.corner.0.max(0) as usize;
        let top = placement.corner.1.max(0) as usize;
        // Padding stays 0, which is the mean colour after normalisation.
        let mut pixels = vec![0f32; 3 * size * size];
        for (channel, plane) in pixels.chunks_exact_mut(size * size).enumerate() {
            let table = byte_table(normalisation.mean[channel], normalisation.std[channel]);
            let plane = plane.chunks_exact_mut(size).skip(top).take(height);
            for (row, source) in plane.zip(rgb.chunks_exact(width * 3)) {
                for (value, pixel) in row[left..].iter_mut().zip(source.chunks_exact(3)) {
                    *value = table[usize::from(pixel[channel])];
                }
            }
        }
        Prepared { pixels, reference: None, placement, appearance: Appearance::of(self) }
    }

    /// Joins four photos into a 2x2 mosaic, each at the size of the first.
    ///
    /// # Errors
    /// As [`Photo::from_rgb`].
    pub fn mosaic(photos: [&Photo; 4]) -> Result<Photo> {
        let (width, height) = (photos[0].width(), photos[0].height());
        let parts: Vec<Vec<u8>> =
            photos.iter().map(|p| resize(Filter::Bicubic, p, width, height)).collect();
        Photo::from_rgb(2 * width, 2 * height, lay_out(&parts, 3 * width))
    }
}

/// Joins four pictures into a 2x2 mosaic. Each has `stride` values per row.
pub(super) fn lay_out<T: Copy>(parts: &[Vec<T>], stride: usize) -> Vec<T> {
    let pairs = parts.chunks_exact(2);
    pairs
        .flat_map(|pair| pair[0].chunks_exact(stride).zip(pair[1].chunks_exact(stride)))
        .flat_map(|(left, right)| left.iter().chain(right))
        .copied()
        .collect()
}

pub(super) fn resize(filter: Filter, photo: &Photo, width: usize, height: usize) -> Vec<u8> {
    let axis = |from, to| Axis { filter, from, to, wanted: 0..to };
    resize_rgb(photo.rgb(), &axis(photo.width(), width), &axis(photo.height(), height))
}

/// `(byte / 255 - mean) / std` in float32, as torchvision's ToTensor and Normalize compute it.
fn byte_table(mean: f32, std: f32) -> [f32; 256] {
    std::array::from_fn(|byte| (byte as f32 / 255.0 - mean) / std)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_crop_cut_away_is_not_a_number() {
        let placement = Placement::new((300, 100), 50, Fit::Crop);
        let placed = placement.place(&vec![0.5; 50 * 50]);
        assert_eq!(placed.len(), 300 * 100);
        for (i, value) in placed.iter().enumerate() {
            let x = i % 300;
            assert_eq!(value.is_nan(), !(100..200).contains(&x), "column {x}");
        }
        assert!((placement.coverage() - 1.0 / 3.0).abs() < 1e-9);
    }

    #[test]
    fn a_hot_pixel_returns_to_where_it_was() {
        // The pixel (200, 50) of a 400x200 photo lies in this row of a square of 100.
        for (fit, row) in [(Fit::Squash, 25), (Fit::Crop, 25), (Fit::Letterbox, 37)] {
            let placement = Placement::new((400, 200), 100, fit);
            let mut map = vec![0.0; 100 * 100];
            map[row * 100 + 50] = 1.0;
            let placed = placement.place(&map);
            let seen = (0..placed.len()).filter(|&i| !placed[i].is_nan());
            let peak = seen.max_by(|&a, &b| placed[a].total_cmp(&placed[b])).unwrap();
            let (x, y) = (peak % 400, peak / 400);
            assert!(x.abs_diff(200) <= 4 && y.abs_diff(50) <= 4, "{fit:?}: {x},{y}");
        }
    }

    #[test]
    fn extreme_shapes_need_little_memory_and_keep_their_place() {
        for (width, height) in [(16, 400_000), (400_000, 16)] {
            let photo = Photo::from_rgb(width, height, vec![9; width * height * 3]).unwrap();
            for fit in [Fit::Squash, Fit::Crop, Fit::Letterbox] {
                let prepared = photo.prepare(1024, fit, &Normalisation::default());
                assert_eq!(prepared.pixels.len(), 3 * 1024 * 1024);
                let placed = prepared.placement.place(&vec![0.5; 1024 * 1024]);
                let seen = placed.iter().filter(|v| !v.is_nan()).count();
                let coverage = seen as f64 / placed.len() as f64;
                assert!((coverage - prepared.placement.coverage()).abs() < 1e-9, "{fit:?}");
                assert_eq!(coverage < 1.0, fit == Fit::Crop);
            }
        }
    }

    #[test]
    fn letterbox_sees_everything_and_pads_with_the_mean() {
        let photo = Photo::from_rgb(64, 32, vec![255; 64 * 32 * 3]).unwrap();
        let prepared = photo.prepare(32, Fit::Letterbox, &Normalisation::default());
        assert_eq!(prepared.placement.coverage(), 1.0);
        assert_eq!(prepared.pixels[0], 0.0);
        assert_ne!(prepared.pixels[16 * 32], 0.0);
    }
}
