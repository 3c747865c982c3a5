//! How fast a model and a method are on this machine, stage by stage.

use std::path::{Path, PathBuf};
use std::sync::mpsc::sync_channel;
use std::time::Instant;

use candle_core::{Device, Tensor};
use rayon::prelude::*;

use crate::detect::Detector;
use crate::error::Result;
use crate::image::{BitDepth, Photo};
use crate::ops::{Linear, operations};
use crate::prompt::Product;

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
                let ready = Photo::open(path, depth).map(|photo| detector.prepare(&photo));
                if sender.send(ready).is_err() {
                    return;
                }
            }
        });
        loop {
            let batch: Vec<_> = (0..at_once).map_while(|_| receiver.recv().ok()).collect();
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
