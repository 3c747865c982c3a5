//! The squares that the networks learn from: copies of good photos, some of them damaged, and what the profile's model says
//! about each place of them.

use std::path::Path;
use std::sync::{Arc, OnceLock};

use candle_core::{Device, Tensor};
use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;
use rayon::prelude::*;

use super::StudentModel;
use super::net::CHANNELS;
use super::pixels::{bytes_of, changed_places, moved, with_channels};
use crate::clip::{Clip, Features, enlarged_rows};
use crate::detect::{Detector, FewShotMethod};
use crate::error::{Error, Result};
use crate::image::{BitDepth, Fit, Normalisation, Photo, Prepared, region_at};
use crate::ops::unit_rows;
use crate::profile::{Augment, COPIES, Profile, damaged_copy};
use crate::reference::RegionAbout;

const SIDE: usize = StudentModel::SIDE;
const GRID: usize = StudentModel::GRID;
/// Squares of a photo, and of all photos at least and at most.
const PER_PHOTO: usize = 20;
const LEAST: usize = 200;
const MOST: usize = 600;
/// What the other squares are than the photos themselves, as often as it stands here.
const MIX: [Change; 10] = {
    use Change::{Damage, Light, Shift, Turn};
    [Shift, Shift, Shift, Shift, Turn, Turn, Light, Damage, Damage, Damage]
};
/// A shift is at most this share of each side, and changes the light by at most this share.
const SHIFT: f32 = 0.02;
const FLICKER: f32 = 0.05;
/// The light of [`Augment::Light`].
const LIGHTS: [[f32; 3]; 4] = [[0.75; 3], [1.3; 3], [1.12, 1.0, 0.85], [0.85, 1.0, 1.12]];

/// What may learn from a square.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum SquareKind {
    /// It shows a good part: all networks.
    Good,
    /// A view that the profile does not know, such as a turned part: the teacher.
    Other,
    /// The teacher, and the student's penalty.
    Damaged,
}

/// A square that the networks learn from.
pub(super) struct Square {
    /// `[side^2, 3]`.
    pub pixels: Vec<u8>,
    pub kind: SquareKind,
    /// 1 for the places that are damaged, else 0. Empty for a square without damage.
    pub changed: Vec<f32>,
    /// What the teacher is to say, `[places, channels]`.
    pub targets: Vec<f32>,
}

/// How a square is made from a photo.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Change {
    None,
    /// Moved by a few pixels, and a little brighter or darker.
    Shift,
    /// Turned and mirrored.
    Turn,
    Light,
    Damage,
}

/// Makes squares as the profile sees photos.
pub(super) struct Maker {
    detector: Detector,
    pair: FewShotMethod,
    model: String,
    fit: Fit,
    depth: BitDepth,
    region_about: Option<RegionAbout>,
    /// What counts of the model's input, and of the square.
    regions: Option<(Arc<[bool]>, Vec<bool>)>,
    /// The factors that turn a change of the square into a change of the model's input, and of the reference model's.
    contrasts: ([f32; 3], Option<[f32; 3]>),
    /// Whether turned and relit parts are good: the profile has such copies.
    turns: bool,
    relights: bool,
    seed: u64,
    projections: OnceLock<Result<Vec<Tensor>, String>>,
}

impl Maker {
    pub fn new(clip: Arc<Clip>, profile: &Profile, seed: u64) -> Result<Self> {
        let about = profile.about();
        let has = |augment: Augment| about.augment.iter().any(|name| name == augment.name());
        let contrast = |theirs: [f32; 3]| -> [f32; 3] {
            let own = Normalisation::default().std;
            std::array::from_fn(|channel| own[channel] / theirs[channel])
        };
        let reference = clip.reference().map(|dino| contrast(dino.normalisation().std));
        let regions = profile.region().map(|region| (region.clone(), region_at(region, SIDE)));
        Ok(Self {
            pair: profile.pair()?,
            model: clip.name().to_string(),
            fit: about.fit,
            depth: profile.bit_depth()?,
            region_about: about.region.clone(),
            regions,
            contrasts: (contrast(clip.normalisation().std), reference),
            turns: has(Augment::Rotate),
            relights: has(Augment::Light),
            seed,
            projections: OnceLock::new(),
            detector: profile.detector(clip)?,
        })
    }

    /// The square of a photo, `[3, side, side]`, 0..1. What does not count is black.
    pub fn plain(&self, path: &Path) -> Result<Vec<f32>> {
        Ok(self.square(&self.open(path)?))
    }

    /// Squares of good photos, with their targets. The same photos and seed always give the same squares.
    pub fn squares(
        &self,
        photos: &[&Path],
        progress: &(dyn Fn(f64) + Sync),
    ) -> Result<Vec<Square>> {
        let plan = plan(photos.len(), self.seed);
        let total = plan.iter().map(Vec::len).sum::<usize>();
        let mut squares: Vec<Square> = Vec::with_capacity(total);
        for (path, changes) in photos.iter().zip(plan).filter(|(_, changes)| !changes.is_empty()) {
            let photo = self.open(path)?;
            for some in changes.chunks(self.detector.photos_at_once()) {
                let made = some.par_iter().map(|(change, seed)| self.made(&photo, *change, *seed));
                squares.extend(made.collect::<Result<Vec<_>>>()?);
                progress(squares.len() as f64 / total as f64);
            }
        }
        standardise(&mut squares);
        match squares.iter().flat_map(|square| &square.targets).all(|value| value.is_finite()) {
            true => Ok(squares),
            false => Err(Error::model(&self.model, "gave features that are not numbers")),
        }
    }

    fn open(&self, path: &Path) -> Result<Photo> {
        let photo = Photo::open(path, self.depth)?;
        let sides = (photo.width(), photo.height());
        self.region_about.as_ref().map_or(Ok(()), |region| region.check(path, sides))?;
        Ok(photo)
    }

    fn square(&self, photo: &Photo) -> Vec<f32> {
        let mut pixels = photo.prepare(SIDE, self.fit, &Normalisation::NONE).pixels;
        self.blank(&mut pixels);
        pixels
    }

    /// Blackens what does not count of a square.
    fn blank(&self, pixels: &mut [f32]) {
        let Some((_, region)) = &self.regions else { return };
        for plane in pixels.chunks_exact_mut(region.len()) {
            let outside = plane.iter_mut().zip(region).filter(|(_, inside)| !**inside);
            outside.for_each(|(value, _)| *value = 0.0);
        }
    }

    /// One square of a photo.
    fn made(&self, photo: &Photo, change: Change, seed: u64) -> Result<Square> {
        let mut chance = ChaCha8Rng::seed_from_u64(seed);
        let changed = self.changed_photo(photo, change, &mut chance)?;
        let photo = changed.as_ref().unwrap_or(photo);
        let (mut prepared, mut pixels) = (self.detector.prepare(photo), self.square(photo));
        let mut kind = match change {
            Change::Turn if !self.turns => SquareKind::Other,
            Change::Light if !self.relights => SquareKind::Other,
            _ => SquareKind::Good,
        };
        let mut changed = vec![];
        if change == Change::Damage
            && let Some((damaged, drawn)) = self.damaged(&prepared, &pixels, &mut chance)
        {
            changed = changed_places(&pixels, &drawn);
            (prepared, pixels, kind) = (damaged, drawn, SquareKind::Damaged);
        }
        let targets = self.targets(&prepared)?;
        Ok(Square { pixels: bytes_of(&pixels), kind, changed, targets })
    }

    /// The changed photo. None if the photo itself is used.
    fn changed_photo(
        &self,
        photo: &Photo,
        change: Change,
        chance: &mut ChaCha8Rng,
    ) -> Result<Option<Photo>> {
        Ok(match change {
            Change::None | Change::Damage => None,
            Change::Shift => {
                let mut by = |side: usize| {
                    (side as f32 * chance.random_range(-SHIFT..=SHIFT)).round() as isize
                };
                let by = (by(photo.width()), by(photo.height()));
                let light = 1.0 + chance.random_range(-FLICKER..=FLICKER);
                Some(moved(photo, by, false)?.relit([light; 3]))
            }
            Change::Turn => {
                let turned = photo.rotated(45.0 * f64::from(chance.random_range(1..8u32)));
                // The mirror image of a good part need not be good.
                let is_mirrored = !self.turns && chance.random::<bool>();
                Some(moved(&turned, (0, 0), is_mirrored)?)
            }
            Change::Light => Some(photo.relit(LIGHTS[chance.random_range(0..LIGHTS.len())])),
        })
    }

    /// Draws damage on the square and on the model's inputs. None if none can be drawn.
    fn damaged(
        &self,
        prepared: &Prepared,
        square: &[f32],
        chance: &mut ChaCha8Rng,
    ) -> Option<(Prepared, Vec<f32>)> {
        // Damage is drawn in standard deviations of all photos.
        let normalisation = Normalisation::default();
        let square = with_channels(square, |value, channel| {
            (value - normalisation.mean[channel]) / normalisation.std[channel]
        });
        let (first, seed) = (chance.random_range(0..COPIES), chance.random::<u64>());
        let region = self.regions.as_ref().map(|(_, region)| &region[..]);
        // The square takes the place of the reference model's input, so that the model's own input gets the same damage.
        let on = |pixels: &[f32], contrast: [f32; 3], number: usize| {
            let (pixels, reference) = (pixels.to_vec(), Some(square.clone()));
            let both = Prepared { pixels, reference, ..prepared.clone() };
            damaged_copy(&both, region, contrast, number, seed)
        };
        let (own, drawn) = (0..COPIES).find_map(|i| {
            let number = (first + i) % COPIES;
            let own = on(&prepared.pixels, self.contrasts.0, number)?;
            let reference = match (&prepared.reference, self.contrasts.1) {
                (Some(pixels), Some(contrast)) => Some(on(pixels, contrast, number)?.pixels),
                _ => None,
            };
            let drawn = own.reference?;
            Some((Prepared { pixels: own.pixels, reference, ..prepared.clone() }, drawn))
        })?;
        let mut drawn = with_channels(&drawn, |value, channel| {
            (value * normalisation.std[channel] + normalisation.mean[channel]).clamp(0.0, 1.0)
        });
        self.blank(&mut drawn);
        let mut own = own;
        if let Some((region, _)) = &self.regions {
            own.blank_outside(region);
        }
        Some((own, drawn))
    }

    /// The features of all layers that the profile compares, projected at random to fewer channels (which nearly keeps their
    /// distances) and brought to the grid of the square: `[places, channels]`.
    fn targets(&self, prepared: &Prepared) -> Result<Vec<f32>> {
        let encoded = self.detector.encode(prepared)?;
        let layers = layers_of(&self.pair.compared(&encoded.features))?;
        let projections = self.projections.get_or_init(|| {
            let widths: Vec<usize> = layers.iter().map(|(rows, _)| rows.dims()[1]).collect();
            projections_of(&widths, self.seed).map_err(|e| e.to_string())
        });
        let projections = match projections {
            Ok(projections) => projections,
            Err(error) => return Err(Error::model(&self.model, error)),
        };
        let mut sum = vec![0f32; GRID * GRID * CHANNELS];
        for ((rows, grid), projection) in layers.iter().zip(projections) {
            let projected = unit_rows(rows)?.matmul(projection)?;
            let projected = enlarged_rows(&projected, *grid, GRID)?.flatten_all()?;
            let values = projected.to_vec1::<f32>()?;
            sum.iter_mut().zip(values).for_each(|(sum, value)| *sum += value);
        }
        Ok(sum)
    }
}

/// The patches of each layer, `[grid^2, width]`, with its grid.
fn layers_of(sources: &[Features]) -> Result<Vec<(Tensor, usize)>> {
    let mut layers = Vec::new();
    for source in sources {
        let own = |rows: &Tensor| -> Result<(Tensor, usize)> {
            Ok((rows.to_device(&Device::Cpu)?.contiguous()?, source.grid))
        };
        for block in &source.blocks {
            // Without the class token.
            layers.push(own(&block.narrow(0, 1, block.dim(0)? - 1)?)?);
        }
        if let Some(patches) = source.patches.as_ref().filter(|_| source.blocks.is_empty()) {
            layers.push(own(patches)?);
        }
    }
    Ok(layers)
}

/// For each layer a matrix of normal numbers, `[width, channels]`.
fn projections_of(widths: &[usize], seed: u64) -> candle_core::Result<Vec<Tensor>> {
    let mut chance = ChaCha8Rng::seed_from_u64(seed);
    chance.set_stream(u64::MAX);
    let mut normal = || {
        // Box and Muller.
        let (a, b): (f32, f32) = (chance.random_range(f32::EPSILON..1.0), chance.random());
        (-2.0 * a.ln()).sqrt() * (std::f32::consts::TAU * b).cos()
    };
    let matrix = |width: &usize| {
        let values: Vec<f32> = (0..width * CHANNELS).map(|_| normal()).collect();
        Tensor::from_vec(values, (*width, CHANNELS), &Device::Cpu)
    };
    widths.iter().map(matrix).collect()
}

/// For each photo how its squares are made, and their seeds. Most squares have no damage.
fn plan(photos: usize, seed: u64) -> Vec<Vec<(Change, u64)>> {
    let mut chance = ChaCha8Rng::seed_from_u64(seed);
    chance.set_stream(u64::MAX - 1);
    let total = (PER_PHOTO * photos).clamp(LEAST, MOST);
    let unchanged = photos.min(total * 3 / 5);
    let mut plan = vec![vec![]; photos];
    for i in 0..total {
        let change =
            if i < unchanged { Change::None } else { MIX[chance.random_range(0..MIX.len())] };
        plan[i % photos].push((change, chance.random()));
    }
    plan
}

/// Gives each channel of the targets mean 0 and deviation 1 over the good squares (section 3.1).
fn standardise(squares: &mut [Square]) {
    let (mut count, mut sums) = (0f64, [(0f64, 0f64); CHANNELS]);
    for square in squares.iter().filter(|square| square.kind == SquareKind::Good) {
        count += (square.targets.len() / CHANNELS) as f64;
        for (i, value) in square.targets.iter().enumerate() {
            let ((sum, squares), value) = (&mut sums[i % CHANNELS], f64::from(*value));
            *sum += value;
            *squares += value * value;
        }
    }
    let line = sums.map(|(sum, squares)| {
        let mean = sum / count.max(1.0);
        let variance = (squares / count.max(1.0) - mean * mean).max(1e-12);
        (mean as f32, (1.0 / variance.sqrt()) as f32)
    });
    for square in squares {
        for (i, value) in square.targets.iter_mut().enumerate() {
            let (mean, factor) = line[i % CHANNELS];
            *value = (*value - mean) * factor;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn most_squares_have_no_damage() {
        for (photos, total) in [(1, 200), (10, 200), (20, 400), (1000, 600)] {
            let plan = plan(photos, 3);
            let changes: Vec<Change> = plan.iter().flatten().map(|(change, _)| *change).collect();
            assert_eq!((plan.len(), changes.len()), (photos, total));
            let count = |of: Change| changes.iter().filter(|change| **change == of).count();
            assert!((20..total / 2).contains(&count(Change::Damage)), "{photos}");
            assert_eq!(count(Change::None), photos.min(360), "{photos}");
        }
        assert_eq!(plan(5, 1), plan(5, 1));
        assert_ne!(plan(5, 1), plan(5, 2));
    }

    #[test]
    fn good_squares_have_standard_channels() {
        let square = |kind, offset: usize| Square {
            pixels: vec![],
            kind,
            changed: vec![],
            targets: (0..4 * CHANNELS).map(|i| ((i * 7 + offset) % 31) as f32).collect(),
        };
        let mut squares = vec![
            square(SquareKind::Good, 0),
            square(SquareKind::Other, 5000),
            square(SquareKind::Good, 11),
        ];
        squares[1].targets.fill(1e6);
        standardise(&mut squares);
        let good = [0, 2].map(|i: usize| squares[i].targets.iter().step_by(CHANNELS).copied());
        let values: Vec<f32> = good.into_iter().flatten().collect();
        let mean = values.iter().sum::<f32>() / values.len() as f32;
        let variance = values.iter().map(|v| (v - mean).powi(2)).sum::<f32>() / values.len() as f32;
        assert!(mean.abs() < 1e-5 && (variance - 1.0).abs() < 1e-4, "{mean} {variance}");
    }
}
