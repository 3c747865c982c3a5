//! Copies of reference photos with simulated damage. They test what references and prompts can tell from good parts.

use rand::SeedableRng;
use rand_chacha::ChaCha8Rng;

use super::canvas::Canvas;
use super::rectangle::Rectangle;
use crate::image::{Prepared, region_at};
use crate::ops::shrunk;

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

/// Simulated damage on a copy.
#[derive(Clone, Copy, Debug)]
pub(super) struct Damage {
    pub kind: DamageKind,
    pub is_slight: bool,
    /// Where it is, on the model's square input.
    pub at: Rectangle,
}

/// How many copies [`damaged_copies`] makes at most.
pub(crate) const COPIES: usize = 2 * DamageKind::ALL.len();

/// Copies of a photo with every kind of damage that can be drawn on it, each clear and slight. The damage is drawn on
/// the input of the reference model, if there is one. `contrast`: what its values are in the other model's.
pub(super) fn damaged_copies<'a>(
    prepared: &'a Prepared,
    region: Option<&'a [bool]>,
    contrast: [f32; 3],
    seed: u64,
) -> impl Iterator<Item = (Prepared, Damage)> + 'a {
    let pixels = prepared.reference.as_ref().unwrap_or(&prepared.pixels);
    let size = (pixels.len() / 3).isqrt();
    let region = region.map(|region| region_at(region, size));
    let each = DamageKind::ALL.into_iter().flat_map(|kind| [(kind, false), (kind, true)]);
    each.enumerate().filter_map(move |(number, (kind, is_slight))| {
        let region = region.as_deref();
        let seed = seed ^ number as u64;
        let (drawn, at) = damaged(pixels, size, region, (kind, is_slight), seed)?;
        Some((with_damage(prepared, drawn, contrast), Damage { kind, is_slight, at }))
    })
}

/// One of these copies: `number` says which of [`COPIES`]. None if this damage cannot be drawn.
pub(crate) fn damaged_copy(
    prepared: &Prepared,
    region: Option<&[bool]>,
    contrast: [f32; 3],
    number: usize,
    seed: u64,
) -> Option<Prepared> {
    let pixels = prepared.reference.as_ref().unwrap_or(&prepared.pixels);
    let size = (pixels.len() / 3).isqrt();
    let region = region.map(|region| region_at(region, size));
    let kind = (DamageKind::ALL[number / 2 % DamageKind::ALL.len()], number % 2 == 1);
    let (drawn, _) = damaged(pixels, size, region.as_deref(), kind, seed)?;
    Some(with_damage(prepared, drawn, contrast))
}

/// The photo with damaged pixels: of its only input, or of the reference model's. Then the other input changes by the
/// mean of the change over each of its pixels.
fn with_damage(prepared: &Prepared, drawn: Vec<f32>, contrast: [f32; 3]) -> Prepared {
    let (placement, appearance) = (prepared.placement, prepared.appearance);
    let Some(before) = &prepared.reference else {
        return Prepared { pixels: drawn, reference: None, placement, appearance };
    };
    let mut pixels = prepared.pixels.clone();
    let size = (pixels.len() / 3).isqrt();
    let change: Vec<f32> = drawn.iter().zip(before).map(|(after, before)| after - before).collect();
    let change = shrunk(&change, size);
    let planes = pixels.chunks_exact_mut(size * size).zip(change.chunks_exact(size * size));
    for ((plane, change), contrast) in planes.zip(contrast) {
        plane.iter_mut().zip(change).for_each(|(value, change)| *value += contrast * change);
    }
    Prepared { pixels, reference: Some(drawn), placement, appearance }
}

/// Damages a photo and says where. At least half of the damage lies in `region`. None if the photo has no piece that
/// would change something, such as a part on an empty ground.
fn damaged(
    pixels: &[f32],
    size: usize,
    region: Option<&[bool]>,
    (kind, is_slight): (DamageKind, bool),
    seed: u64,
) -> Option<(Vec<f32>, Rectangle)> {
    let mut random = ChaCha8Rng::seed_from_u64(seed);
    let area = Rectangle::around(region, size);
    let mut draw = || {
        let mut canvas = Canvas::new(pixels, size);
        let random = &mut random;
        let at = match kind {
            DamageKind::Scratch => Some(canvas.scratch(area, is_slight, random)),
            DamageKind::Stain => Some(canvas.stain(area, is_slight, random)),
            DamageKind::Discoloration => Some(canvas.discoloration(area, is_slight, random)),
            DamageKind::Texture => canvas.cut_paste(area, is_slight, random),
            DamageKind::Missing => canvas.missing(area, is_slight, random),
            DamageKind::Extra => canvas.extra(area, is_slight, random),
            DamageKind::Moved => canvas.displaced(area, is_slight, random),
        }?;
        (canvas.share_inside(region) >= 0.5).then_some((canvas.after, at))
    };
    let tries = if region.is_some() { 8 } else { 1 };
    (0..tries).find_map(|_| draw())
}

/// How many copies [`moved_copies`] makes.
pub(super) const MOVES: usize = 4;

/// Copies of a photo, moved by half a patch in each direction. `patch`: of each input, in pixels.
pub(super) fn moved_copies(
    prepared: &Prepared,
    patches: [usize; 2],
) -> impl Iterator<Item = Prepared> + '_ {
    let moves: [(isize, isize); MOVES] = [(1, 0), (-1, 0), (0, 1), (0, -1)];
    moves.into_iter().map(move |(x, y)| {
        let [own, other] = patches.map(|patch| {
            let half = (patch / 2).max(1) as isize;
            (x * half, y * half)
        });
        Prepared {
            pixels: moved(&prepared.pixels, own),
            reference: prepared.reference.as_ref().map(|pixels| moved(pixels, other)),
            placement: prepared.placement,
            appearance: prepared.appearance,
        }
    })
}

/// The pixels of a square photo, moved. The empty border repeats the edge.
fn moved(pixels: &[f32], by: (isize, isize)) -> Vec<f32> {
    let size = (pixels.len() / 3).isqrt();
    let from = |to: usize, by: isize| (to as isize - by).clamp(0, size as isize - 1) as usize;
    let mut moved = Vec::with_capacity(pixels.len());
    for plane in pixels.chunks_exact(size * size) {
        for y in 0..size {
            let row = &plane[from(y, by.1) * size..][..size];
            moved.extend((0..size).map(|x| row[from(x, by.0)]));
        }
    }
    moved
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
            let (damaged, at) =
                damaged(&noise.pixels, size, Some(&region), (kind, seed % 2 == 0), seed)
                    .expect("a change");
            let changed = |i: &usize| damaged[*i] != noise.pixels[*i];
            let changes: Vec<usize> = (0..size * size).filter(changed).collect();
            assert!(!changes.is_empty(), "{kind:?} {seed}");
            for i in changes {
                assert!(region[i], "{kind:?} {seed}");
                let near = at.is_near(((i % size) as f32, (i / size) as f32), 0.0);
                assert!(near, "{kind:?} {seed}");
            }
        }
        let moved = moved(&noise.pixels, (3, -2));
        assert_eq!(moved[5 * size + 10], noise.pixels[7 * size + 7]);
    }

    /// Half of the bounding box does not count.
    #[test]
    fn damage_lies_in_the_region() {
        let size = 60;
        let noise = prepared(|x, y| ((x + 60 * y) * 31 % 251) as u8, size);
        let region: Vec<bool> = (0..size * size).map(|i| i % size > i / size).collect();
        for (seed, kind) in (0..6).flat_map(|seed| DamageKind::ALL.map(|kind| (seed, kind))) {
            let (damaged, _) =
                damaged(&noise.pixels, size, Some(&region), (kind, true), seed).unwrap();
            let change = |i: usize| (damaged[i] - noise.pixels[i]).abs();
            let (all, inside): (f32, f32) = (
                (0..size * size).map(change).sum(),
                (0..size * size).filter(|i| region[*i]).map(change).sum(),
            );
            assert!(all > 0.0 && inside > 0.45 * all, "{kind:?} {seed}: {inside} of {all}");
        }
    }

    #[test]
    fn damage_is_the_same_in_both_inputs() {
        let small = prepared(|_, _| 128, 40);
        let large = prepared(|_, _| 128, 120).pixels;
        let both = Prepared { reference: Some(large.clone()), ..small.clone() };
        for (copy, damage) in damaged_copies(&both, None, [2.0, 1.0, 1.0], 3) {
            let drawn = copy.reference.unwrap();
            let change = |after: &[f32], before: &[f32]| -> f32 {
                after.iter().zip(before).map(|(a, b)| a - b).sum::<f32>() / after.len() as f32
            };
            let of = |plane: usize, side: usize| plane * side * side..(plane + 1) * side * side;
            for (plane, contrast) in [2.0, 1.0, 1.0].into_iter().enumerate() {
                let in_large = change(&drawn[of(plane, 120)], &large[of(plane, 120)]);
                let in_small = change(&copy.pixels[of(plane, 40)], &small.pixels[of(plane, 40)]);
                assert!((in_small - contrast * in_large).abs() < 1e-3, "{damage:?} {plane}");
            }
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
            let (damaged, _) =
                damaged(&photo.pixels, size, None, (kind, false), seed).expect("a part");
            dark(&damaged)
        };
        let missing: Vec<usize> = (0..4).map(|seed| after(DamageKind::Missing, seed)).collect();
        assert!(missing.iter().all(|dark| *dark < 40), "{missing:?}");
        let extra: Vec<usize> = (0..4).map(|seed| after(DamageKind::Extra, seed)).collect();
        assert!(extra.iter().all(|dark| *dark > 70), "{extra:?}");
        // On an empty ground there is no part.
        let empty = prepared(|_, _| 220, size);
        for kind in DamageKind::ALL {
            let found = damaged(&empty.pixels, size, None, (kind, false), 1);
            let is_of_parts = kind.name().ends_with(" part");
            assert_eq!(found.is_none(), is_of_parts, "{kind:?}");
        }
    }
}
