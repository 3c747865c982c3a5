//! Simulated damage on reference photos. It tests whether references and prompts can tell damage from good parts.

use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;

use crate::image::Prepared;

/// A rectangle on the model's square input, in pixels.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Rectangle {
    pub left: usize,
    pub top: usize,
    pub width: usize,
    pub height: usize,
}

impl Rectangle {
    /// The smallest rectangle that contains a region of a `[size, size]` square.
    pub fn around(region: Option<&[bool]>, size: usize) -> Self {
        let all = Self { left: 0, top: 0, width: size, height: size };
        let Some(region) = region else { return all };
        let inside = || (0..size * size).filter(|i| region[*i]);
        let (x, y) = (|i: usize| i % size, |i: usize| i / size);
        let span = |of: &dyn Fn(usize) -> usize| {
            let (least, most) = (inside().map(of).min(), inside().map(of).max());
            least.zip(most).map_or((0, size), |(least, most)| (least, most + 1 - least))
        };
        let ((left, width), (top, height)) = (span(&x), span(&y));
        Self { left, top, width, height }
    }

    /// Whether a point lies in the rectangle, or at most `margin` outside it.
    pub fn is_near(&self, (x, y): (f32, f32), margin: f32) -> bool {
        let near = |at: f32, start: usize, length: usize| {
            at >= start as f32 - margin && at <= (start + length) as f32 + margin
        };
        near(x, self.left, self.width) && near(y, self.top, self.height)
    }
}

/// CutPaste (Li et al., arXiv 2104.04015): copies a piece of the photo, a patch or a thin scar, to another place inside
/// `area` and makes it a little brighter or darker. If the photo hardly changes (background on background), another
/// piece is drawn.
pub(super) fn cut_paste(
    prepared: &Prepared,
    size: usize,
    area: Rectangle,
    is_scar: bool,
    seed: u64,
) -> (Prepared, Rectangle) {
    /// The mean change of the pixels that counts as damage, in standard deviations of all photos.
    const ENOUGH: f32 = 0.5;
    const DRAWS: usize = 32;
    let mut random = ChaCha8Rng::seed_from_u64(seed);
    let mut best: Option<(f32, Paste)> = None;
    for _ in 0..DRAWS {
        let paste = Paste::draw(area, is_scar, &mut random);
        let change = paste.change(&prepared.pixels, size);
        if best.as_ref().is_none_or(|(most, _)| change > *most) {
            best = Some((change, paste));
        }
        if change >= ENOUGH {
            break;
        }
    }
    let (_, paste) = best.expect("there is at least one draw");
    let mut pixels = prepared.pixels.clone();
    for (to, from) in paste.pixels(size) {
        pixels[to] = prepared.pixels[from] + paste.shift;
    }
    (Prepared { pixels, placement: prepared.placement }, paste.to)
}

/// A piece of a photo that is pasted at another place.
struct Paste {
    from: (usize, usize),
    to: Rectangle,
    /// The value that is added to it, in standard deviations.
    shift: f32,
}

impl Paste {
    fn draw(area: Rectangle, is_scar: bool, random: &mut ChaCha8Rng) -> Self {
        let mut side = |share: std::ops::Range<f32>, whole: usize| {
            ((random.random_range(share) * whole as f32) as usize).clamp(1, whole)
        };
        // The paper's sizes: a patch of 2 to 15 % of the photo, and a scar of 2 to 16 by 10 to 25 of 256 pixels.
        let (width, height) = if is_scar {
            (side(0.02..0.06, area.width), side(0.1..0.3, area.height))
        } else {
            (side(0.12..0.35, area.width), side(0.12..0.35, area.height))
        };
        let mut corner = || {
            let x = area.left + random.random_range(0..=area.width - width);
            (x, area.top + random.random_range(0..=area.height - height))
        };
        let (from, (left, top)) = (corner(), corner());
        let shift = random.random_range(-0.5..0.5);
        Self { from, to: Rectangle { left, top, width, height }, shift }
    }

    /// For each value that changes: its index, and the index of the value that replaces it.
    fn pixels(&self, size: usize) -> impl Iterator<Item = (usize, usize)> {
        let Rectangle { left, top, width, height } = self.to;
        let from = self.from;
        (0..3 * height * width).map(move |i| {
            let (plane, y, x) = (i / (height * width), i / width % height, i % width);
            let at = |left: usize, top: usize| (plane * size + top + y) * size + left + x;
            (at(left, top), at(from.0, from.1))
        })
    }

    /// The mean absolute change of the pixels, in standard deviations.
    fn change(&self, pixels: &[f32], size: usize) -> f32 {
        let changes = self.pixels(size).map(|(to, from)| pixels[from] + self.shift - pixels[to]);
        changes.map(f32::abs).sum::<f32>() / (3 * self.to.width * self.to.height) as f32
    }
}

/// The photo, moved by some pixels. The empty border repeats the edge.
pub(super) fn moved(prepared: &Prepared, size: usize, by: (isize, isize)) -> Prepared {
    let from = |to: usize, by: isize| (to as isize - by).clamp(0, size as isize - 1) as usize;
    let mut pixels = Vec::with_capacity(prepared.pixels.len());
    for plane in prepared.pixels.chunks_exact(size * size) {
        for y in 0..size {
            let row = &plane[from(y, by.1) * size..][..size];
            pixels.extend((0..size).map(|x| row[from(x, by.0)]));
        }
    }
    Prepared { pixels, placement: prepared.placement }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::image::{Fit, Normalisation, Photo};

    #[test]
    fn damage_stays_in_its_box_and_a_move_moves() {
        let size = 40;
        let rgb = (0..40 * 40 * 3).map(|i| (i * 31 % 251) as u8).collect();
        let photo = Photo::from_rgb(40, 40, rgb).unwrap();
        let prepared = photo.prepare(size, Fit::Squash, &Normalisation::default());
        let mut region = vec![false; size * size];
        (10..30).for_each(|y| region[y * size + 5..y * size + 35].fill(true));
        let area = Rectangle::around(Some(&region), size);
        assert_eq!(area, Rectangle { left: 5, top: 10, width: 30, height: 20 });
        for seed in 0..20 {
            let (damaged, at) = cut_paste(&prepared, size, area, seed % 2 == 0, seed);
            let changed = |i: &usize| damaged.pixels[*i] != prepared.pixels[*i];
            for i in (0..size * size).filter(changed) {
                assert!(at.is_near(((i % size) as f32, (i / size) as f32), 0.0));
                assert!(region[i]);
            }
        }
        let moved = moved(&prepared, size, (3, -2));
        assert_eq!(moved.pixels[5 * size + 10], prepared.pixels[7 * size + 7]);
    }
}
