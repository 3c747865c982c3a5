//! How fast a model and a method are on this machine, stage by stage.

use std::path::{Path, PathBuf};
use std::sync::mpsc::sync_channel;
use std::time::Instant;

use candle_core::{Device, Tensor};
use rayon::prelude::*;

use crate::detect::{Detector, Finding, PIXELS_AT_ONCE};
use crate::error::Result;
use crate::image::{BitDepth, Photo};
use crate::ops::{Linear, operations};
use crate::prompt::Product;
use crate::stats::rank_correlation;

/// How long the stages of one photo took, in milliseconds.
#[derive(Clone, Copy, Debug, Default)]
pub struct StageTimes {
    /// Reading the file and decoding it.
    pub read: f64,
    /// Making it square and normalising it.
    pub prepare: f64,
    /// The image tower, the trunk and the windows.
    pub encode: f64,
    /// Comparing with the prompts or the references, and the map.
    pub score: f64,
    /// Multiplications and additions of `encode`, on the processor.
    pub operations: u64,
}

/// Scores one photo and times each stage.
///
/// # Errors
/// If the photo cannot be read or scored.
pub fn stages(
    detector: &Detector,
    product: &Product,
    path: &Path,
    depth: BitDepth,
) -> Result<StageTimes> {
    let mut last = Instant::now();
    let mut lap = || {
        let milliseconds = last.elapsed().as_secs_f64() * 1e3;
        last = Instant::now();
        milliseconds
    };
    let photo = Photo::open(path, depth)?;
    let read = lap();
    let prepared = detector.prepare(&photo);
    let prepare = lap();
    let before = operations();
    let encoded = detector.encode(&prepared)?;
    let (encode, operations) = (lap(), operations() - before);
    detector.score(&encoded, product)?;
    Ok(StageTimes { read, prepare, encode, score: lap(), operations })
}

/// Photos per second, as `blemish score` works: some photos are scored at the same time, and the next ones are read
/// meanwhile ([`Detector::photos_at_once`]).
///
/// # Errors
/// If a photo cannot be read or scored.
pub fn photos_per_second(
    detector: &Detector,
    product: &Product,
    photos: &[PathBuf],
    depth: BitDepth,
) -> Result<f64> {
    let (start, at_once) = (Instant::now(), detector.photos_at_once());
    std::thread::scope(|scope| {
        let (sender, receiver) = sync_channel(at_once);
        scope.spawn(move || {
            for path in photos {
                let photo = Photo::open(path, depth);
                let pixels = photo.as_ref().map_or(0, |photo| photo.width() * photo.height());
                let ready = photo.map(|photo| detector.prepare(&photo));
                if sender.send((pixels, ready)).is_err() {
                    return;
                }
            }
        });
        loop {
            let (mut batch, mut pixels) = (Vec::new(), 0);
            while batch.len() < at_once && pixels < PIXELS_AT_ONCE {
                let Ok((more, ready)) = receiver.recv() else { break };
                pixels += more;
                batch.push(ready);
            }
            if batch.is_empty() {
                return Ok(photos.len() as f64 / start.elapsed().as_secs_f64());
            }
            batch.into_par_iter().try_for_each(|prepared: Result<_>| {
                detector.score(&detector.encode(&prepared?)?, product).map(|_| ())
            })?;
        }
    })
}

/// How many multiplications and additions per second this machine does in large products of float32, with all threads.
/// This is the floor of the tower's time.
///
/// # Errors
/// [`crate::Error::Tensor`] if there is too little memory.
pub fn product_rate() -> Result<f64> {
    const SIDE: usize = 1024;
    let values = |factor: usize| -> Vec<f32> {
        (0..SIDE * SIDE).map(|i| (i * factor % 251) as f32 / 251.0 - 0.5).collect()
    };
    let [weight, x] =
        [7, 11].map(|factor| Tensor::from_vec(values(factor), (SIDE, SIDE), &Device::Cpu));
    let (layer, x) = (Linear::new(&weight?, None)?, x?);
    layer.forward(&x, None)?;
    let mut best = f64::INFINITY;
    for _ in 0..20 {
        let start = Instant::now();
        layer.forward(&x, None)?;
        best = best.min(start.elapsed().as_secs_f64());
    }
    Ok(2.0 * (SIDE * SIDE * SIDE) as f64 / best)
}

/// The name of the vector instructions that the kernels use: `avx512`, `avx2`, `neon` or `none`.
///
/// # Errors
/// [`crate::Error::Setting`] if the variable `BLEMISH_SIMD` asks for instructions that this processor does not have.
pub fn instructions() -> Result<&'static str> {
    crate::ops::instructions()
}

/// How far two results of each photo are apart.
#[derive(Debug, Default)]
pub struct Differences {
    scores: Vec<[f32; 2]>,
    map_max: f32,
    map_mean: f64,
    map_ranks: Vec<f64>,
}

/// The summary of [`Differences`].
#[derive(Clone, Copy, Debug, serde::Serialize)]
pub struct Difference {
    /// Number of photos.
    pub photos: usize,
    /// The largest difference of a score.
    pub score_max: f32,
    /// The mean difference of scores.
    pub score_mean: f64,
    /// Spearman's rank correlation of the scores. None for fewer than two photos, or equal scores.
    pub score_rank: Option<f64>,
    /// The largest difference of a value of a map.
    pub map_max: f32,
    /// The mean difference of the values of the maps.
    pub map_mean: f64,
    /// Spearman's rank correlation within a map, the mean of all photos.
    pub map_rank: Option<f64>,
}

impl Differences {
    /// Adds two results of the same photo.
    pub fn add(&mut self, a: &Finding, b: &Finding) {
        self.scores.push([a.score, b.score]);
        // Values outside a region are NaN.
        let pairs = a.map.values.iter().zip(&b.map.values);
        let (a, b): (Vec<f32>, Vec<f32>) =
            pairs.filter(|(a, b)| !a.is_nan() && !b.is_nan()).unzip();
        let differences = || a.iter().zip(&b).map(|(a, b)| (a - b).abs());
        self.map_max = differences().fold(self.map_max, f32::max);
        self.map_mean += differences().map(f64::from).sum::<f64>() / a.len().max(1) as f64;
        self.map_ranks.extend(rank_correlation(&a, &b));
    }

    /// The summary of all photos.
    pub fn summary(&self) -> Difference {
        let photos = self.scores.len();
        let mean = |sum: f64, count: usize| sum / count.max(1) as f64;
        let differences = || self.scores.iter().map(|[a, b]| (a - b).abs());
        let (a, b): (Vec<f32>, Vec<f32>) = self.scores.iter().map(|[a, b]| (*a, *b)).unzip();
        let ranks = &self.map_ranks;
        Difference {
            photos,
            score_max: differences().fold(0.0, f32::max),
            score_mean: mean(differences().map(f64::from).sum(), photos),
            score_rank: rank_correlation(&a, &b),
            map_max: self.map_max,
            map_mean: mean(self.map_mean, photos),
            map_rank: (!ranks.is_empty()).then(|| mean(ranks.iter().sum(), ranks.len())),
        }
    }
}

/// The most memory that this process has used, in bytes. None where the system does not say.
pub fn peak_memory() -> Option<u64> {
    let status = crate::files::read_text(Path::new("/proc/self/status"), 1 << 16).ok()?;
    let status = String::from_utf8(status).ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"))?;
    let kilobytes: u64 = line.trim().trim_end_matches("kB").trim().parse().ok()?;
    Some(kilobytes * 1024)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn operations_of_a_product_are_counted() {
        let weight = Tensor::zeros((30, 20), candle_core::DType::F32, &Device::Cpu).unwrap();
        let x = Tensor::zeros((7, 20), candle_core::DType::F32, &Device::Cpu).unwrap();
        let layer = Linear::new(&weight, None).unwrap();
        let before = operations();
        layer.forward(&x, None).unwrap();
        // Other tests count at the same time.
        assert!(operations() - before >= 2 * 7 * 20 * 30);
        assert!(product_rate().unwrap().is_finite());
    }
}
