//! Rectangles on the model's square input.

use rand::Rng;
use rand_chacha::ChaCha8Rng;

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
    pub fn and(&self, other: &Self) -> Self {
        let (left, top) = (self.left.min(other.left), self.top.min(other.top));
        let right = (self.left + self.width).max(other.left + other.width);
        let bottom = (self.top + self.height).max(other.top + other.height);
        Self { left, top, width: right - left, height: bottom - top }
    }

    pub fn middle(&self) -> (f32, f32) {
        let middle = |start: usize, length: usize| start as f32 + length as f32 / 2.0;
        (middle(self.left, self.width), middle(self.top, self.height))
    }

    /// A rectangle inside this one, with these shares of its sides.
    pub fn draw(&self, share: (f32, f32), random: &mut ChaCha8Rng) -> Self {
        let mut side = |whole: usize| {
            ((random.random_range(share.0..share.1) * whole as f32) as usize).clamp(1, whole)
        };
        let (width, height) = (side(self.width), side(self.height));
        let left = self.left + random.random_range(0..=self.width - width);
        let top = self.top + random.random_range(0..=self.height - height);
        Self { left, top, width, height }
    }

    /// A rectangle near this one, inside `area`, with these shares of its sides.
    pub fn jittered(&self, area: &Self, share: (f32, f32), random: &mut ChaCha8Rng) -> Self {
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
    pub fn moved(&self, by: (f32, f32), area: &Self) -> Self {
        let at = |start: usize, by: f32, length: usize, (least, whole): (usize, usize)| {
            let most = (least + whole - length) as f32;
            (start as f32 + by).clamp(least as f32, most) as usize
        };
        let left = at(self.left, by.0, self.width, (area.left, area.width));
        let top = at(self.top, by.1, self.height, (area.top, area.height));
        Self { left, top, ..*self }
    }
}
