//! Maps without any tower: how far the student is from the teacher and from the autoencoder, on a common scale
//! (EfficientAD, arXiv 2303.14535, sections 3.3 and 3.4).

use candle_core::{Result, Tensor};

use super::convolve::Network;
use super::net::{CHANNELS, Nets, input_of_planes, shrunk};
use crate::ops::cpu_slice;
use crate::stats::{MedianMad, logistic, signed_log1p};

/// The quantiles of good photos that are put on 0 and on [`AT_HIGH`].
const LOW: f64 = 0.9;
const HIGH: f64 = 0.995;
const AT_HIGH: f32 = 0.1;
/// The smallest unit of the output. Few photos may by chance have nearly the same maximum.
const LEAST_SPREAD: f32 = 0.02;

/// All networks with constant weights.
#[derive(Clone, Debug)]
pub(super) struct Networks {
    pub teacher: Network,
    pub student: Network,
    pub autoencoder: Network,
}

impl Networks {
    pub fn of(nets: &Nets) -> Result<Self> {
        Ok(Self {
            teacher: nets.teacher.frozen()?,
            student: nets.student.frozen()?,
            autoencoder: nets.autoencoder.frozen()?,
        })
    }

    /// The local and the global map of a square, `[3, side, side]`, 0..1: at each place the mean squared difference of the
    /// student's halves from the teacher and from the autoencoder.
    pub fn maps(&self, square: &[f32]) -> Result<Maps> {
        let input = input_of_planes(square);
        // Teacher and student read the same windows.
        let windows = self.teacher.windows(&input)?;
        let teacher = self.teacher.forward_windows(&windows)?;
        let student = self.student.forward_windows(&windows)?;
        let autoencoder = self.autoencoder.forward(&shrunk(&input))?;
        Ok(Maps {
            local: distances(&teacher, &student, 0)?,
            global: distances(&autoencoder, &student, CHANNELS)?,
        })
    }
}

/// For each place the mean squared difference of the channels from the student's channels from `first` on.
fn distances(of: &Tensor, student: &Tensor, first: usize) -> Result<Vec<f32>> {
    let (of, student) = (cpu_slice(of)?, cpu_slice(student)?);
    let rows = of.chunks_exact(CHANNELS).zip(student.chunks_exact(2 * CHANNELS));
    let distance = |(of, student): (&[f32], &[f32])| {
        let pairs = of.iter().zip(&student[first..]);
        pairs.map(|(a, b)| (a - b) * (a - b)).sum::<f32>() / CHANNELS as f32
    };
    Ok(rows.map(distance).collect())
}

/// The maps of one square before they are scaled.
#[derive(Clone, Debug)]
pub(super) struct Maps {
    pub local: Vec<f32>,
    pub global: Vec<f32>,
}

/// The value that a share of the values lies below, linear between two values. 0 if there are no values.
pub(super) fn quantile(values: &mut [f32], share: f64) -> f32 {
    if values.is_empty() {
        return 0.0;
    }
    let at = share * (values.len() - 1) as f64;
    let (_, low, above) = values.select_nth_unstable_by(at as usize, f32::total_cmp);
    let low = *low;
    let next = above.iter().copied().min_by(f32::total_cmp).unwrap_or(low);
    low + (next - low) * at.fract() as f32
}

/// Quantiles of the values of good photos.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Quantiles {
    pub low: f32,
    pub high: f32,
}

impl Quantiles {
    pub fn of(mut values: Vec<f32>) -> Self {
        Self { low: quantile(&mut values, LOW), high: quantile(&mut values, HIGH) }
    }

    fn scaled(self, value: f32) -> f32 {
        // A map of equal values has no range.
        AT_HIGH * (value - self.low) / (self.high - self.low).max(1e-6)
    }
}

/// From maps to values of 0..1.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Scale {
    pub local: Quantiles,
    pub global: Quantiles,
    /// The joint value that becomes 0.5: the median of the highest values of good photos.
    pub centre: f32,
    /// How much these differ.
    pub spread: f32,
}

impl Scale {
    /// From the maps of good photos that the networks were not trained on.
    pub fn of(held_out: &[Maps]) -> Self {
        let all = |part: fn(&Maps) -> &Vec<f32>| {
            Quantiles::of(held_out.iter().flat_map(|maps| part(maps).iter().copied()).collect())
        };
        let (local, global) = (all(|maps| &maps.local), all(|maps| &maps.global));
        let scale = Self { local, global, centre: 0.0, spread: 1.0 };
        let highest = |maps: &Maps| scale.joint(maps).fold(f32::NEG_INFINITY, f32::max);
        let line = MedianMad::of(held_out.iter().map(highest).collect());
        Self { centre: line.median, spread: line.spread.max(LEAST_SPREAD), ..scale }
    }

    /// The mean of both maps, each on its own scale.
    fn joint(self, maps: &Maps) -> impl Iterator<Item = f32> {
        let pairs = maps.local.iter().zip(&maps.global);
        pairs.map(move |(local, global)| {
            (self.local.scaled(*local) + self.global.scaled(*global)) / 2.0
        })
    }

    /// The mean of both maps, 0..1.
    pub fn map(self, maps: &Maps) -> Vec<f32> {
        let output = |value: f32| logistic(signed_log1p((value - self.centre) / self.spread));
        self.joint(maps).map(output).collect()
    }

    /// The numbers, as [`Scale::from_numbers`] takes them.
    pub fn numbers(self) -> [f32; 6] {
        let Self { local, global, centre, spread } = self;
        [local.low, local.high, global.low, global.high, centre, spread]
    }

    /// None if no scale has these numbers.
    pub fn from_numbers(numbers: &[f32]) -> Option<Self> {
        let &[low, high, global_low, global_high, centre, spread] = numbers else { return None };
        let local = Quantiles { low, high };
        let global = Quantiles { low: global_low, high: global_high };
        let rises = [local, global].iter().all(|quantiles| quantiles.low <= quantiles.high);
        let is_scale = numbers.iter().all(|n| n.is_finite()) && rises && spread > 0.0;
        is_scale.then_some(Self { local, global, centre, spread })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantiles_lie_between_values() {
        assert_eq!(quantile(&mut [3.0, 1.0, 2.0, 4.0], 0.5), 2.5);
        assert_eq!(quantile(&mut [3.0, 1.0], 1.0), 3.0);
        assert_eq!(quantile(&mut [], 0.5), 0.0);
        let quantiles = Quantiles::of((0..=1000).rev().map(|i| i as f32).collect());
        assert_eq!(quantiles, Quantiles { low: 900.0, high: 995.0 });
        assert_eq!((quantiles.scaled(900.0), quantiles.scaled(995.0)), (0.0, 0.1));
    }

    #[test]
    fn half_of_the_good_photos_lie_below_the_middle() {
        let maps = |peak: f32| Maps {
            local: (0..100).map(|i| if i == 7 { peak } else { i as f32 / 100.0 }).collect(),
            global: vec![0.5; 100],
        };
        let held_out = [maps(1.0), maps(2.0), maps(3.0)];
        let scale = Scale::of(&held_out);
        let highest = |maps: &Maps| scale.map(maps).into_iter().fold(0.0, f32::max);
        let [a, b, c, far] = [1.0, 2.0, 3.0, 90.0].map(|peak| highest(&maps(peak)));
        assert!(a < b && b < c && c < far && far < 1.0, "{a} {b} {c} {far}");
        assert_eq!(b, 0.5);
        assert_eq!(Scale::from_numbers(&scale.numbers()), Some(scale));
    }

    #[test]
    fn numbers_of_no_scale_are_refused() {
        assert!(Scale::from_numbers(&[0.0, 1.0, 0.0, 1.0, 0.5, 1.0]).is_some());
        for (at, value) in [(0, 2.0), (3, -1.0), (4, f32::NAN), (5, 0.0)] {
            let mut numbers = [0.0, 1.0, 0.0, 1.0, 0.5, 1.0];
            numbers[at] = value;
            assert_eq!(Scale::from_numbers(&numbers), None, "{at}");
        }
        assert_eq!(Scale::from_numbers(&[1.0; 5]), None);
    }
}
