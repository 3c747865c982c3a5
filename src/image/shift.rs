//! How far one photo is shifted against another: phase correlation (Kuglin and Hines 1975, The phase correlation image alignment
//! method) of their edges. Edges stay where they are when the light moves. Brightness does not.

use rustfft::num_complex::Complex;
use rustfft::{FftDirection, FftPlanner};

use super::{Fit, Normalisation, Photo};

/// Photos are compared at this size.
const SIDE: usize = 256;
/// A peak this many standard deviations above the correlation of unrelated photos is a shift. The highest of 65,536 values of
/// noise reaches about 4.5.
const CLEAR: f32 = 6.0;
/// Peaks that are nearer than this belong together.
const NEAR: usize = 8;
/// Another peak with this share of the highest one fits as well.
const ALIKE: f32 = 0.6;
/// Frequencies are weighted by a Gaussian with this standard deviation, in cycles per pixel. Higher ones hold mostly noise.
const SMOOTH: f32 = 0.12;

/// The edges of a photo as frequencies.
pub(crate) struct Edges {
    photo: (usize, usize),
    /// `[SIDE, SIDE]`.
    frequencies: Vec<Complex<f32>>,
}

impl Edges {
    pub fn of(photo: &Photo) -> Self {
        let pixels = photo.prepare(SIDE, Fit::Squash, &Normalisation::NONE).pixels;
        let (red, rest) = pixels.split_at(SIDE * SIDE);
        let (green, blue) = rest.split_at(SIDE * SIDE);
        let grey: Vec<f32> =
            red.iter().zip(green).zip(blue).map(|((r, g), b)| (r + g + b) / 3.0).collect();
        let window = |i: usize| {
            let turn = std::f32::consts::TAU * (i as f32 + 0.5) / SIDE as f32;
            0.5 - 0.5 * turn.cos()
        };
        let edge = |i: usize| {
            let (x, y) = (i % SIDE, i / SIDE);
            if x == 0 || y == 0 || x + 1 == SIDE || y + 1 == SIDE {
                return Complex::default();
            }
            let (across, down) = (grey[i + 1] - grey[i - 1], grey[i + SIDE] - grey[i - SIDE]);
            // The root keeps a highlight from being the only edge.
            Complex::from(across.hypot(down).sqrt() * window(x) * window(y))
        };
        let mut frequencies = (0..SIDE * SIDE).map(edge).collect();
        transform(&mut frequencies, FftDirection::Forward);
        Self { photo: (photo.width(), photo.height()), frequencies }
    }

    /// How far `other` lies right of and below this photo, in its pixels. None if no shift fits clearly, for example when both
    /// show different edges.
    pub fn shift_to(&self, other: &Self) -> Option<(isize, isize)> {
        let mut squares = 0f32;
        let pairs = self.frequencies.iter().zip(&other.frequencies).enumerate();
        let mut correlation: Vec<Complex<f32>> = pairs
            .map(|(i, (own, other))| {
                let weight = gaussian(i % SIDE) * gaussian(i / SIDE);
                squares += weight * weight;
                let product = own.conj() * other;
                product * (weight / product.norm().max(1e-12))
            })
            .collect();
        transform(&mut correlation, FftDirection::Inverse);
        let at = |x: usize, y: usize| correlation[y % SIDE * SIDE + x % SIDE].re;
        let is_near = |i: usize, to: (usize, usize)| {
            let apart = |a: usize, b: usize| a.abs_diff(b).min(SIDE - a.abs_diff(b));
            apart(i % SIDE, to.0) <= NEAR && apart(i / SIDE, to.1) <= NEAR
        };
        let highest = |wanted: &dyn Fn(usize) -> bool| {
            let places = (0..SIDE * SIDE).filter(|i| wanted(*i));
            places.max_by(|a, b| correlation[*a].re.total_cmp(&correlation[*b].re))
        };
        let best = highest(&|_| true)?;
        // Unrelated phases add up like a random walk.
        let clear = correlation[best].re;
        if clear < CLEAR * squares.sqrt() {
            return None;
        }
        // A pattern that repeats fits itself at many shifts. Of those, none is the likeliest.
        let fits = |i: &usize| correlation[*i].re > ALIKE * clear;
        let best = highest(&|i| is_near(i, (0, 0))).filter(fits).unwrap_or(best);
        let (x, y) = (best % SIDE, best / SIDE);
        let second = highest(&|i| !is_near(i, (x, y)));
        if !is_near(best, (0, 0)) && second.as_ref().is_some_and(fits) {
            return None;
        }
        let before = |i: usize| i + SIDE - 1;
        let finer_x = vertex([at(before(x), y), at(x, y), at(x + 1, y)]);
        let finer_y = vertex([at(x, before(y)), at(x, y), at(x, y + 1)]);
        let pixels = |at: usize, finer: f32, side: usize| {
            let signed = if at > SIDE / 2 { at as f32 - SIDE as f32 } else { at as f32 };
            ((signed + finer) * side as f32 / SIDE as f32).round() as isize
        };
        Some((pixels(x, finer_x, self.photo.0), pixels(y, finer_y, self.photo.1)))
    }
}

/// The weight of a frequency, counted from 0 to SIDE - 1.
fn gaussian(frequency: usize) -> f32 {
    let cycles = frequency.min(SIDE - frequency) as f32 / SIDE as f32;
    (-0.5 * (cycles / SMOOTH).powi(2)).exp()
}

/// Where the parabola through three values is highest, from the middle one: -0.5..0.5.
fn vertex([left, middle, right]: [f32; 3]) -> f32 {
    let bend = left - 2.0 * middle + right;
    if bend >= 0.0 { 0.0 } else { (0.5 * (left - right) / bend).clamp(-0.5, 0.5) }
}

/// The two-dimensional transform: along the rows, then along the columns.
fn transform(values: &mut Vec<Complex<f32>>, direction: FftDirection) {
    let fft = FftPlanner::new().plan_fft(SIDE, direction);
    for _ in 0..2 {
        fft.process(values);
        let turned = (0..SIDE * SIDE).map(|i| values[i % SIDE * SIDE + i / SIDE]).collect();
        *values = turned;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A part with holes, lit from one side or the other, `by` pixels to the right and below. Its ground does not move.
    fn lit(by: (isize, isize), light: f32) -> Photo {
        let (width, height) = (400, 300);
        let pixel = |i: usize| {
            let (x, y) = ((i % width) as isize - by.0, (i / width) as isize - by.1);
            let inside =
                |at: (isize, isize), r: isize| (x - at.0).pow(2) + (y - at.1).pow(2) < r * r;
            let is_part =
                inside((200, 150), 110) && !inside((150, 120), 25) && !inside((250, 190), 15);
            let shade = 0.5 + light * (x - 200) as f32 / 300.0;
            let grain = ((x * 7919 + y * 104_729).rem_euclid(97)) as f32 / 97.0 - 0.5;
            let value = if is_part { 200.0 * shade + 12.0 * grain } else { 20.0 };
            [value.clamp(0.0, 255.0) as u8; 3]
        };
        Photo::from_rgb(width, height, (0..width * height).flat_map(pixel).collect()).unwrap()
    }

    #[test]
    fn a_shift_is_found_under_another_light() {
        let first = Edges::of(&lit((0, 0), 1.0));
        for (by, light) in [((0, 0), -1.0), ((5, -3), -1.0), ((-8, 6), 0.3), ((12, 0), 1.0)] {
            let found = first.shift_to(&Edges::of(&lit(by, light))).expect("a shift");
            let near = (found.0 - by.0).abs() <= 1 && (found.1 - by.1).abs() <= 1;
            assert!(near, "{found:?} is not {by:?}");
        }
    }

    /// Ribs fit themselves at many shifts, under another light with a gap between their edges.
    #[test]
    fn a_pattern_that_repeats_is_not_shifted() {
        let ribs = |edge: usize| {
            let value = |i: usize| if (i % 256 + edge) % 32 < 6 { 200 } else { 60 };
            let grain = |i: usize| ((i as u64).wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 60) as u8;
            let pixel = |i: usize| [value(i) + grain(i * (edge + 1)); 3];
            Photo::from_rgb(256, 256, (0..256 * 256).flat_map(pixel).collect()).unwrap()
        };
        let found = Edges::of(&ribs(0)).shift_to(&Edges::of(&ribs(3)));
        assert!(found.is_none_or(|(x, y)| x.abs().max(y.abs()) <= 8), "{found:?}");
    }

    #[test]
    fn unrelated_photos_have_no_shift() {
        let noise = |seed: usize| {
            let value = |i: usize| {
                let mixed = (i as u64 + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15);
                ((mixed ^ (mixed >> 29)).wrapping_mul(0xbf58_476d_1ce4_e5b9) >> 40) as u8
            };
            Photo::from_rgb(256, 256, (0..256 * 256 * 3).map(|i| value(i * (seed + 3))).collect())
        };
        let (one, other) = (Edges::of(&noise(1).unwrap()), Edges::of(&noise(5).unwrap()));
        assert_eq!(one.shift_to(&other), None);
    }
}
