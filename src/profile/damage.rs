//! Simulated damage on reference photos. It tests what references and prompts can tell from good parts.

use std::f32::consts::TAU;

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

    /// The smallest rectangle that contains both.
    fn and(&self, other: &Self) -> Self {
        let (left, top) = (self.left.min(other.left), self.top.min(other.top));
        let right = (self.left + self.width).max(other.left + other.width);
        let bottom = (self.top + self.height).max(other.top + other.height);
        Self { left, top, width: right - left, height: bottom - top }
    }

    fn middle(&self) -> (f32, f32) {
        let middle = |start: usize, length: usize| start as f32 + length as f32 / 2.0;
        (middle(self.left, self.width), middle(self.top, self.height))
    }

    /// A rectangle inside this one, with these shares of its sides.
    fn draw(&self, share: (f32, f32), random: &mut ChaCha8Rng) -> Self {
        let mut side = |whole: usize| {
            ((random.random_range(share.0..share.1) * whole as f32) as usize).clamp(1, whole)
        };
        let (width, height) = (side(self.width), side(self.height));
        let left = self.left + random.random_range(0..=self.width - width);
        let top = self.top + random.random_range(0..=self.height - height);
        Self { left, top, width, height }
    }

    /// A rectangle near this one, inside `area`, with these shares of its sides.
    fn jittered(&self, area: &Self, share: (f32, f32), random: &mut ChaCha8Rng) -> Self {
        let step = (area.width.max(area.height) / 30).max(1);
        let mut near = |value: usize, least: usize, most: usize| {
            let moved = value + random.random_range(0..=2 * step);
            moved.saturating_sub(step).clamp(least, most.max(least))
        };
        let side = |share: f32, whole: usize| ((share * whole as f32) as usize).clamp(1, whole);
        let width = near(self.width, side(share.0, area.width), side(share.1, area.width));
        let height = near(self.height, side(share.0, area.height), side(share.1, area.height));
        let left = near(self.left, area.left, area.left + area.width - width);
        let top = near(self.top, area.top, area.top + area.height - height);
        Self { left, top, width, height }
    }

    /// The same rectangle, moved, but still inside `area`.
    fn moved(&self, by: (f32, f32), area: &Self) -> Self {
        let at = |start: usize, by: f32, length: usize, (least, whole): (usize, usize)| {
            let most = (least + whole - length) as f32;
            (start as f32 + by).clamp(least as f32, most) as usize
        };
        let left = at(self.left, by.0, self.width, (area.left, area.width));
        let top = at(self.top, by.1, self.height, (area.top, area.height));
        Self { left, top, ..*self }
    }
}

/// The kinds of simulated damage.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum DamageKind {
    Scratch,
    Stain,
    Discoloration,
    Texture,
    Missing,
    Extra,
    Moved,
}

impl DamageKind {
    pub const ALL: [Self; 7] = [
        Self::Scratch,
        Self::Stain,
        Self::Discoloration,
        Self::Texture,
        Self::Missing,
        Self::Extra,
        Self::Moved,
    ];

    /// The name in the results.
    pub fn name(self) -> &'static str {
        match self {
            Self::Scratch => "scratch",
            Self::Stain => "stain",
            Self::Discoloration => "discoloration",
            Self::Texture => "wrong texture",
            Self::Missing => "missing part",
            Self::Extra => "extra part",
            Self::Moved => "moved part",
        }
    }
}

/// The mean change of the pixels that counts as damage, in standard deviations of all photos.
const ENOUGH: f32 = 0.25;
/// How often a piece is drawn, to find one that changes something.
const DRAWS: usize = 32;

/// Damages a photo, clearly or slightly, and says where. At least half of the damage lies in `region`. None if the photo
/// has no piece that would change something, such as a part on an empty ground.
pub(super) fn damaged(
    prepared: &Prepared,
    size: usize,
    region: Option<&[bool]>,
    damage: (DamageKind, bool),
    seed: u64,
) -> Option<(Prepared, Rectangle)> {
    let mut random = ChaCha8Rng::seed_from_u64(seed);
    let area = Rectangle::around(region, size);
    let mut draw = || {
        let mut canvas = Canvas { before: &prepared.pixels, after: prepared.pixels.clone(), size };
        let at = canvas.damage(area, damage, &mut random)?;
        (canvas.share_inside(region) >= 0.5).then_some((canvas.after, at))
    };
    let tries = if region.is_some() { 8 } else { 1 };
    let (pixels, at) = (0..tries).find_map(|_| draw())?;
    Some((Prepared { pixels, placement: prepared.placement }, at))
}

/// A photo, `[3, size, size]` in standard deviations of all photos, before and after the damage.
struct Canvas<'a> {
    before: &'a [f32],
    after: Vec<f32>,
    size: usize,
}

impl Canvas<'_> {
    fn damage(
        &mut self,
        area: Rectangle,
        (kind, is_slight): (DamageKind, bool),
        random: &mut ChaCha8Rng,
    ) -> Option<Rectangle> {
        match kind {
            DamageKind::Scratch => Some(self.scratch(area, is_slight, random)),
            DamageKind::Stain => Some(self.spot(area, true, is_slight, random)),
            DamageKind::Discoloration => Some(self.spot(area, false, is_slight, random)),
            DamageKind::Texture => self.cut_paste(area, is_slight, random),
            DamageKind::Missing | DamageKind::Extra | DamageKind::Moved => {
                self.part(area, kind, is_slight, random)
            }
        }
    }

    /// The share of the change that lies in a region.
    fn share_inside(&self, region: Option<&[bool]>) -> f32 {
        let Some(region) = region else { return 1.0 };
        let changes =
            self.before.iter().zip(&self.after).map(|(before, after)| (after - before).abs());
        let (mut inside, mut all) = (0.0, 0.0);
        for (i, change) in changes.enumerate() {
            all += change;
            inside += if region[i % region.len()] { change } else { 0.0 };
        }
        inside / all.max(f32::MIN_POSITIVE)
    }

    fn index(&self, plane: usize, x: usize, y: usize) -> usize {
        (plane * self.size + y) * self.size + x
    }

    /// Adds a value to a pixel in all planes.
    fn add(&mut self, x: usize, y: usize, value: [f32; 3]) {
        for (plane, value) in value.into_iter().enumerate() {
            let index = self.index(plane, x, y);
            self.after[index] += value;
        }
    }

    /// A bent line, brighter or darker than what it crosses.
    fn scratch(&mut self, area: Rectangle, is_slight: bool, random: &mut ChaCha8Rng) -> Rectangle {
        let at = area.draw((0.15, 0.35), random);
        let (contrast, width) = if is_slight { (0.35, 0.6) } else { (1.2, 1.2) };
        let width = width * (self.size as f32 / 240.0).max(1.0);
        let contrast = if random.random() { contrast } else { -contrast };
        let goes_down: bool = random.random();
        let bend = random.random_range(-0.25..0.25f32);
        let steps = 2 * (at.width + at.height);
        let line: Vec<(f32, f32)> = (0..=steps)
            .map(|i| {
                let t = i as f32 / steps as f32;
                let y = (t + bend * (TAU / 2.0 * t).sin()).clamp(0.0, 1.0);
                let y = if goes_down { y } else { 1.0 - y };
                (at.left as f32 + t * at.width as f32, at.top as f32 + y * at.height as f32)
            })
            .collect();
        for y in at.top..at.top + at.height {
            for x in at.left..at.left + at.width {
                let far = |&(a, b): &(f32, f32)| (a - x as f32 - 0.5).hypot(b - y as f32 - 0.5);
                let far = line.iter().map(far).fold(f32::INFINITY, f32::min);
                let cover = (width + 0.5 - far).clamp(0.0, 1.0);
                self.add(x, y, [contrast * cover; 3]);
            }
        }
        at
    }

    /// A spot with a soft edge: a dark stain, or a change of colour that keeps the brightness.
    fn spot(
        &mut self,
        area: Rectangle,
        is_stain: bool,
        is_slight: bool,
        random: &mut ChaCha8Rng,
    ) -> Rectangle {
        let at = area.draw(if is_stain { (0.08, 0.2) } else { (0.15, 0.35) }, random);
        let contrast = if is_slight { 0.3 } else { 1.0 };
        let turn = random.random_range(0.0..TAU);
        let hue = [0.0, 1.0, 2.0].map(|third| (turn + third * TAU / 3.0).cos());
        let value = if is_stain { [-1.0, -1.0, -0.9] } else { hue }.map(|v: f32| v * contrast);
        let (middle_x, middle_y) = at.middle();
        for y in at.top..at.top + at.height {
            for x in at.left..at.left + at.width {
                let across = (x as f32 + 0.5 - middle_x) / (at.width as f32 / 2.0);
                let down = (y as f32 + 0.5 - middle_y) / (at.height as f32 / 2.0);
                let cover = ((1.0 - across.hypot(down)) * 3.0).clamp(0.0, 1.0);
                self.add(x, y, value.map(|v| v * cover));
            }
        }
        at
    }

    /// CutPaste (Li et al., arXiv 2104.04015): a piece of the photo at another place, a little brighter or darker.
    fn cut_paste(
        &mut self,
        area: Rectangle,
        is_slight: bool,
        random: &mut ChaCha8Rng,
    ) -> Option<Rectangle> {
        let strength = if is_slight { 0.4 } else { 1.0 };
        let draw = || {
            // The paper's sizes: 2 to 15 % of the photo.
            let to = area.draw((0.12, 0.35), random);
            let shift = random.random_range(-0.5..0.5);
            let away = (random.random_range(-1.0..1.0f32), random.random_range(-1.0..1.0f32));
            let by = (away.0 * area.width as f32, away.1 * area.height as f32);
            (to.moved(by, &area), to, shift)
        };
        let change =
            |(from, to, shift): &(Rectangle, Rectangle, f32)| self.change(from, to, *shift);
        let (from, to, shift) = best_of(draw, change)?;
        self.paste(&from, &to, shift, strength);
        Some(to)
    }

    /// A part is gone, is there twice, or lies elsewhere. A part is the piece that differs most from its surroundings.
    fn part(
        &mut self,
        area: Rectangle,
        kind: DamageKind,
        is_slight: bool,
        random: &mut ChaCha8Rng,
    ) -> Option<Rectangle> {
        let share = if is_slight { (0.06, 0.12) } else { (0.12, 0.25) };
        let part = self.find_part(area, share, random)?;
        if kind == DamageKind::Missing {
            self.fill(&part);
            return Some(part);
        }
        let to = match kind {
            DamageKind::Extra => {
                let draw = || {
                    let anywhere = area.draw((0.01, 0.02), random);
                    let by = |to: usize, from: usize| to as f32 - from as f32;
                    let by = (by(anywhere.left, part.left), by(anywhere.top, part.top));
                    part.moved(by, &area)
                };
                best_of(draw, |to| self.change(&part, to, 0.0))?
            }
            _ => {
                let draw = || {
                    let far = random.random_range(0.5..0.9f32);
                    let (sin, cos) = random.random_range(0.0..TAU).sin_cos();
                    part.moved(
                        (far * part.width as f32 * cos, far * part.height as f32 * sin),
                        &area,
                    )
                };
                best_of(draw, |to| self.change(&part, to, 0.0))?
            }
        };
        if kind == DamageKind::Extra {
            self.paste(&part, &to, 0.0, 1.0);
            return Some(to);
        }
        self.fill(&part);
        self.paste(&part, &to, 0.0, 1.0);
        Some(part.and(&to))
    }

    /// A piece that differs from its surroundings, while its edge is of one colour: drawn, then improved step by step.
    fn find_part(
        &self,
        area: Rectangle,
        share: (f32, f32),
        random: &mut ChaCha8Rng,
    ) -> Option<Rectangle> {
        const CLIMBS: usize = 8;
        const STEPS: usize = 100;
        let stands_out = |part: &Rectangle| {
            let values: Vec<(usize, f32)> = self.filled(part).collect();
            let changes = values.iter().map(|(i, value)| (value - self.before[*i]).abs());
            let mean = |sum: f32| sum / values.len() as f32;
            let plane = values.len() / 3;
            let spread = values.chunks_exact(plane).map(|filled| {
                let middle = filled.iter().map(|(_, value)| value).sum::<f32>() / plane as f32;
                filled.iter().map(|(_, value)| (value - middle).abs()).sum::<f32>()
            });
            mean(changes.sum::<f32>()) - 2.0 * mean(spread.sum::<f32>())
        };
        let mut climb = || {
            let drawn = (0..DRAWS).map(|_| area.draw(share, random));
            let drawn = drawn.map(|part| (stands_out(&part), part));
            let mut best = drawn.reduce(|best, next| if next.0 > best.0 { next } else { best })?;
            for _ in 0..STEPS {
                let next = best.1.jittered(&area, share, random);
                let found = stands_out(&next);
                if found > best.0 {
                    best = (found, next);
                }
            }
            (best.0 >= ENOUGH).then_some(best.1)
        };
        (0..CLIMBS).find_map(|_| climb())
    }

    /// The values of a rectangle if its edges were continued into it: for each the index and the value.
    fn filled(&self, at: &Rectangle) -> impl Iterator<Item = (usize, f32)> {
        let Rectangle { left, top, width, height } = *at;
        let before = |start: usize| start.saturating_sub(1);
        let after = |start: usize, length: usize| (start + length).min(self.size - 1);
        let (west, east) = (before(left), after(left, width));
        let (north, south) = (before(top), after(top, height));
        (0..3 * width * height).map(move |i| {
            let (plane, y, x) = (i / (width * height), top + i / width % height, left + i % width);
            let value = |x: usize, y: usize| self.before[self.index(plane, x, y)];
            // Nearer edges weigh more.
            let ends = [
                (value(west, y), x + 1 - left),
                (value(east, y), left + width - x),
                (value(x, north), y + 1 - top),
                (value(x, south), top + height - y),
            ];
            let weights: f32 = ends.iter().map(|(_, far)| 1.0 / *far as f32).sum();
            let sum: f32 = ends.iter().map(|(value, far)| value / *far as f32).sum();
            (self.index(plane, x, y), sum / weights)
        })
    }

    fn fill(&mut self, at: &Rectangle) {
        let values: Vec<(usize, f32)> = self.filled(at).collect();
        values.into_iter().for_each(|(i, value)| self.after[i] = value);
    }

    /// For each value of `to`: its index, and the index of the value in `from`.
    fn pairs(
        &self,
        from: &Rectangle,
        to: &Rectangle,
    ) -> impl Iterator<Item = (usize, usize)> + use<> {
        let (size, Rectangle { width, height, .. }) = (self.size, *to);
        let corners = [(from.left, from.top), (to.left, to.top)];
        (0..3 * width * height).map(move |i| {
            let (plane, y, x) = (i / (width * height), i / width % height, i % width);
            let at = |(left, top): (usize, usize)| (plane * size + top + y) * size + left + x;
            (at(corners[1]), at(corners[0]))
        })
    }

    fn paste(&mut self, from: &Rectangle, to: &Rectangle, shift: f32, strength: f32) {
        for (to, from) in self.pairs(from, to) {
            self.after[to] += strength * (self.before[from] + shift - self.after[to]);
        }
    }

    /// The mean absolute change of the pixels if a piece is pasted.
    fn change(&self, from: &Rectangle, to: &Rectangle, shift: f32) -> f32 {
        let changes = self
            .pairs(from, to)
            .map(|(to, from)| (self.before[from] + shift - self.before[to]).abs());
        changes.sum::<f32>() / (3 * to.width * to.height) as f32
    }
}

/// The draw that changes most, if it changes enough.
fn best_of<T>(mut draw: impl FnMut() -> T, change: impl Fn(&T) -> f32) -> Option<T> {
    let draws = (0..DRAWS).map(|_| draw()).map(|drawn| (change(&drawn), drawn));
    let best = draws.reduce(|best, next| if next.0 > best.0 { next } else { best });
    best.filter(|(change, _)| *change >= ENOUGH).map(|(_, drawn)| drawn)
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

    fn prepared(colour: impl Fn(usize, usize) -> u8, size: usize) -> Prepared {
        let rgb = (0..size * size).flat_map(|i| [colour(i % size, i / size); 3]).collect();
        let photo = Photo::from_rgb(size, size, rgb).unwrap();
        photo.prepare(size, Fit::Squash, &Normalisation::default())
    }

    #[test]
    fn damage_stays_in_its_box_and_a_move_moves() {
        let size = 40;
        let noise = prepared(|x, y| ((x + 40 * y) * 31 % 251) as u8, size);
        let mut region = vec![false; size * size];
        (10..30).for_each(|y| region[y * size + 5..y * size + 35].fill(true));
        let area = Rectangle::around(Some(&region), size);
        assert_eq!(area, Rectangle { left: 5, top: 10, width: 30, height: 20 });
        for (seed, kind) in (0..6).flat_map(|seed| DamageKind::ALL.map(|kind| (seed, kind))) {
            let (damaged, at) = damaged(&noise, size, Some(&region), (kind, seed % 2 == 0), seed)
                .expect("a change");
            let changed = |i: &usize| damaged.pixels[*i] != noise.pixels[*i];
            let changes: Vec<usize> = (0..size * size).filter(changed).collect();
            assert!(!changes.is_empty(), "{kind:?} {seed}");
            for i in changes {
                assert!(region[i], "{kind:?} {seed}");
                let near = at.is_near(((i % size) as f32, (i / size) as f32), 0.0);
                assert!(near, "{kind:?} {seed}");
            }
        }
        let moved = moved(&noise, size, (3, -2));
        assert_eq!(moved.pixels[5 * size + 10], noise.pixels[7 * size + 7]);
    }

    /// Half of the bounding box does not count.
    #[test]
    fn damage_lies_in_the_region() {
        let size = 60;
        let noise = prepared(|x, y| ((x + 60 * y) * 31 % 251) as u8, size);
        let region: Vec<bool> = (0..size * size).map(|i| i % size > i / size).collect();
        for (seed, kind) in (0..6).flat_map(|seed| DamageKind::ALL.map(|kind| (seed, kind))) {
            let (damaged, _) = damaged(&noise, size, Some(&region), (kind, true), seed).unwrap();
            let change = |i: usize| (damaged.pixels[i] - noise.pixels[i]).abs();
            let (all, inside): (f32, f32) = (
                (0..size * size).map(change).sum(),
                (0..size * size).filter(|i| region[*i]).map(change).sum(),
            );
            assert!(all > 0.0 && inside > 0.45 * all, "{kind:?} {seed}: {inside} of {all}");
        }
    }

    /// A dark square on a bright ground.
    #[test]
    fn parts_go_come_and_move() {
        let size = 40;
        let is_part = |x: usize, y: usize| (12..19).contains(&x) && (12..19).contains(&y);
        let photo = prepared(|x, y| if is_part(x, y) { 20 } else { 220 }, size);
        let dark = |pixels: &[f32]| pixels[..size * size].iter().filter(|v| **v < 0.0).count();
        assert_eq!(dark(&photo.pixels), 49);
        let after = |kind, seed| {
            let (damaged, _) = damaged(&photo, size, None, (kind, false), seed).expect("a part");
            dark(&damaged.pixels)
        };
        let missing: Vec<usize> = (0..4).map(|seed| after(DamageKind::Missing, seed)).collect();
        assert!(missing.iter().all(|dark| *dark < 40), "{missing:?}");
        let extra: Vec<usize> = (0..4).map(|seed| after(DamageKind::Extra, seed)).collect();
        assert!(extra.iter().all(|dark| *dark > 70), "{extra:?}");
        // On an empty ground there is no part.
        let empty = prepared(|_, _| 220, size);
        for kind in DamageKind::ALL {
            let found = damaged(&empty, size, None, (kind, false), 1);
            let is_of_parts = kind.name().ends_with(" part");
            assert_eq!(found.is_none(), is_of_parts, "{kind:?}");
        }
    }
}
