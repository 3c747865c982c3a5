//! Draws damage on a photo.

use std::f32::consts::TAU;

use rand::Rng;
use rand_chacha::ChaCha8Rng;

use super::rectangle::Rectangle;

/// The mean change of the pixels that counts as damage, in standard deviations of all photos.
const ENOUGH: f32 = 0.25;
/// How often a piece is drawn, to find one that changes something.
const DRAWS: usize = 32;

/// A photo, `[3, size, size]` in standard deviations of all photos, before and after the damage. Damage lies in an `area`
/// and is clear or slight. Each kind returns where it is, or None if it would not change enough.
pub(super) struct Canvas<'a> {
    before: &'a [f32],
    pub after: Vec<f32>,
    size: usize,
}

impl<'a> Canvas<'a> {
    pub fn new(pixels: &'a [f32], size: usize) -> Self {
        Self { before: pixels, after: pixels.to_vec(), size }
    }

    /// The share of the change that lies in a region.
    pub fn share_inside(&self, region: Option<&[bool]>) -> f32 {
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
    pub fn scratch(
        &mut self,
        area: Rectangle,
        is_slight: bool,
        random: &mut ChaCha8Rng,
    ) -> Rectangle {
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

    /// A dark spot with a soft edge.
    pub fn stain(
        &mut self,
        area: Rectangle,
        is_slight: bool,
        random: &mut ChaCha8Rng,
    ) -> Rectangle {
        let at = area.draw((0.08, 0.2), random);
        self.spot(at, [-1.0, -1.0, -0.9], is_slight)
    }

    /// A spot of another hue, as bright as before.
    pub fn discoloration(
        &mut self,
        area: Rectangle,
        is_slight: bool,
        random: &mut ChaCha8Rng,
    ) -> Rectangle {
        let at = area.draw((0.15, 0.35), random);
        let turn = random.random_range(0.0..TAU);
        let hue = [0.0, 1.0, 2.0].map(|third| (turn + third * TAU / 3.0).cos());
        self.spot(at, hue, is_slight)
    }

    fn spot(&mut self, at: Rectangle, value: [f32; 3], is_slight: bool) -> Rectangle {
        let contrast = if is_slight { 0.3 } else { 1.0 };
        let (middle_x, middle_y) = at.middle();
        for y in at.top..at.top + at.height {
            for x in at.left..at.left + at.width {
                let across = (x as f32 + 0.5 - middle_x) / (at.width as f32 / 2.0);
                let down = (y as f32 + 0.5 - middle_y) / (at.height as f32 / 2.0);
                let cover = ((1.0 - across.hypot(down)) * 3.0).clamp(0.0, 1.0);
                self.add(x, y, value.map(|v| v * contrast * cover));
            }
        }
        at
    }

    /// CutPaste (Li et al., arXiv 2104.04015): a piece of the photo at another place, a little brighter or darker.
    pub fn cut_paste(
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

    /// A part is gone: its surroundings are continued over it.
    pub fn missing(
        &mut self,
        area: Rectangle,
        is_slight: bool,
        random: &mut ChaCha8Rng,
    ) -> Option<Rectangle> {
        let part = self.find_part(area, is_slight, random)?;
        self.fill(&part);
        Some(part)
    }

    /// A part is there twice.
    pub fn extra(
        &mut self,
        area: Rectangle,
        is_slight: bool,
        random: &mut ChaCha8Rng,
    ) -> Option<Rectangle> {
        let part = self.find_part(area, is_slight, random)?;
        let draw = || {
            let mut away = |whole: usize| random.random_range(-1.0..1.0f32) * whole as f32;
            part.moved((away(area.width), away(area.height)), &area)
        };
        let to = best_of(draw, |to| self.change(&part, to, 0.0))?;
        self.paste(&part, &to, 0.0, 1.0);
        Some(to)
    }

    /// A part lies elsewhere, near its place.
    pub fn displaced(
        &mut self,
        area: Rectangle,
        is_slight: bool,
        random: &mut ChaCha8Rng,
    ) -> Option<Rectangle> {
        let part = self.find_part(area, is_slight, random)?;
        let draw = || {
            let far = random.random_range(0.5..0.9f32);
            let (sin, cos) = random.random_range(0.0..TAU).sin_cos();
            part.moved((far * part.width as f32 * cos, far * part.height as f32 * sin), &area)
        };
        let to = best_of(draw, |to| self.change(&part, to, 0.0))?;
        self.fill(&part);
        self.paste(&part, &to, 0.0, 1.0);
        Some(part.and(&to))
    }

    /// A piece that differs from its surroundings, while its edge is of one colour: drawn, then improved step by step.
    fn find_part(
        &self,
        area: Rectangle,
        is_slight: bool,
        random: &mut ChaCha8Rng,
    ) -> Option<Rectangle> {
        const CLIMBS: usize = 12;
        const STEPS: usize = 100;
        const GREEN: usize = 1;
        let share = if is_slight { (0.06, 0.12) } else { (0.12, 0.25) };
        let stands_out = |part: &Rectangle| {
            let filled: Vec<(usize, f32)> = self.filled(GREEN, part).collect();
            let mean = |sum: f32| sum / filled.len() as f32;
            let change =
                mean(filled.iter().map(|(i, value)| (value - self.before[*i]).abs()).sum());
            let middle = mean(filled.iter().map(|(_, value)| value).sum());
            let spread = mean(filled.iter().map(|(_, value)| (value - middle).abs()).sum());
            change - 2.0 * spread
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

    /// The values of a rectangle in a plane if its edges were continued into it: for each the index and the value.
    fn filled(&self, plane: usize, at: &Rectangle) -> impl Iterator<Item = (usize, f32)> {
        let Rectangle { left, top, width, height } = *at;
        let before = |start: usize| start.saturating_sub(1);
        let after = |start: usize, length: usize| (start + length).min(self.size - 1);
        let (west, east) = (before(left), after(left, width));
        let (north, south) = (before(top), after(top, height));
        (0..width * height).map(move |i| {
            let (y, x) = (top + i / width, left + i % width);
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
        let values: Vec<_> = (0..3).flat_map(|plane| self.filled(plane, at)).collect();
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
