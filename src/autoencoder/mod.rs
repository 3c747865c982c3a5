//! Autoencoders as baselines: trained on good photos of one product, they learn to rebuild it. What they rebuild badly is
//! anomalous. They are for `eval` only.

mod loss;
mod net;

use std::path::PathBuf;
use std::sync::Arc;

use candle_core::{DType, Device, Tensor};
use candle_nn::{AdamW, Optimizer, ParamsAdamW};
use rand::seq::SliceRandom;
use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;

use self::net::{Net, SIDE};
use crate::detect::{Detector, MapOf};
use crate::error::{Error, Result};
use crate::image::{BitDepth, Fit, Normalisation, Photo};

/// Photos of a step of training.
const BATCH: usize = 8;
/// The learning rate and the weight decay (Bergmann et al. 2019, section 4).
const RATE: f64 = 2e-4;
const DECAY: f64 = 1e-5;
/// How often a variational autoencoder rebuilds a photo.
const DRAWS: usize = 8;

/// How an autoencoder is trained, and how a photo is compared with what it rebuilds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Autoencoder {
    /// The squared error of pixels.
    Mse,
    /// Structural similarity of windows of 11x11 pixels (Bergmann et al. 2019, arXiv 1807.02011).
    Ssim,
    /// Variational: the mean squared error of some draws, which is the reconstruction probability of a decoder with one
    /// variance (An and Cho 2015, Variational autoencoder based anomaly detection using reconstruction probability).
    Variational,
}

impl Autoencoder {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Mse, Self::Ssim, Self::Variational];

    /// The name on the command line and in results.
    pub fn name(self) -> &'static str {
        match self {
            Self::Mse => "autoencoder-mse",
            Self::Ssim => "autoencoder-ssim",
            Self::Variational => "vae",
        }
    }
}

/// Options of a training.
pub struct AutoencoderOptions<'a> {
    /// Number of steps. Each sees 8 photos.
    pub steps: usize,
    /// How photos are made square.
    pub fit: Fit,
    /// The number of bits that the camera uses in 16-bit files.
    pub depth: BitDepth,
    /// Seed of the first weights, the order of photos, and the draws.
    pub seed: u64,
    /// Called with the finished share, 0..1, and the loss.
    pub progress: &'a (dyn Fn(f64, f32) + Sync),
}

/// Trains an autoencoder on photos of good parts, as squares of 128 pixels.
///
/// # Errors
/// [`Error::Setting`] without photos. [`Error::Photo`] for a photo that cannot be read.
pub fn train(
    kind: Autoencoder,
    photos: &[PathBuf],
    options: &AutoencoderOptions,
) -> Result<Detector> {
    let squares = photos.iter().map(|path| square(&Photo::open(path, options.depth)?, options.fit));
    let squares = squares.collect::<Result<Vec<Tensor>>>()?;
    if squares.is_empty() {
        return Err(Error::setting("baseline", "needs good training photos, in train/good"));
    }
    let mut chance = ChaCha8Rng::seed_from_u64(options.seed);
    let net = Net::new(kind == Autoencoder::Variational, &mut chance)?;
    let params = ParamsAdamW { lr: RATE, weight_decay: DECAY, ..ParamsAdamW::default() };
    let mut optimiser = AdamW::new(net.vars(), params)?;
    let mut order: Vec<usize> = Vec::new();
    for step in 0..options.steps {
        while order.len() < BATCH {
            let mut next: Vec<usize> = (0..squares.len()).collect();
            next.shuffle(&mut chance);
            order.extend(next);
        }
        let batch: Vec<&Tensor> = order.drain(..BATCH).map(|photo| &squares[photo]).collect();
        let loss = kind.loss(&net, &Tensor::stack(&batch, 0)?, &mut chance)?;
        optimiser.backward_step(&loss)?;
        (options.progress)((step + 1) as f64 / options.steps as f64, loss.to_scalar()?);
    }
    let (net, seed) = (Arc::new(net), options.seed);
    let map = move |pixels: &[f32]| {
        let photo = Tensor::from_slice(pixels, (1, 3, SIDE, SIDE), &Device::Cpu)?;
        // The draws are the same for every photo.
        kind.map(&net, &photo, &mut ChaCha8Rng::seed_from_u64(seed))
    };
    let map = MapOf { size: SIDE, grid: SIDE, map: Box::new(map) };
    Ok(Detector::by_map(kind.name(), map, options.fit))
}

fn square(photo: &Photo, fit: Fit) -> Result<Tensor> {
    let pixels = photo.prepare(SIDE, fit, &Normalisation::NONE).pixels;
    Ok(Tensor::from_vec(pixels, (3, SIDE, SIDE), &Device::Cpu)?)
}

impl Autoencoder {
    fn loss(self, net: &Net, photos: &Tensor, chance: &mut ChaCha8Rng) -> Result<Tensor> {
        let code = net.encode(photos)?;
        Ok(match self {
            Self::Mse => loss::squares(photos, &net.decode(&code)?)?.mean_all()?,
            Self::Ssim => loss::dissimilarity(photos, &net.decode(&code)?)?.mean_all()?,
            Self::Variational => {
                let (mean, log_variance) = halves(&code)?;
                let rebuilt = net.decode(&drawn(&mean, &log_variance, chance)?)?;
                let error = (loss::squares(photos, &rebuilt)?.flatten_from(1)?.sum(1)? * 1.5)?;
                (error.mean_all()? + loss::divergence(&mean, &log_variance)?)?
            }
        })
    }

    /// `[side, side]`, 0..1.
    fn map(self, net: &Net, photo: &Tensor, chance: &mut ChaCha8Rng) -> Result<Vec<f32>> {
        let code = net.encode(photo)?;
        let map = match self {
            Self::Mse => loss::squares(photo, &net.decode(&code)?)?,
            Self::Ssim => loss::dissimilarity(photo, &net.decode(&code)?)?,
            Self::Variational => {
                let (mean, log_variance) = halves(&code)?;
                let mut sum = Tensor::zeros((1, SIDE, SIDE), DType::F32, &Device::Cpu)?;
                for _ in 0..DRAWS {
                    let rebuilt = net.decode(&drawn(&mean, &log_variance, chance)?)?;
                    sum = (sum + loss::squares(photo, &rebuilt)?)?;
                }
                (sum / DRAWS as f64)?
            }
        };
        Ok(map.clamp(0f32, 1f32)?.flatten_all()?.to_vec1()?)
    }
}

fn halves(code: &Tensor) -> Result<(Tensor, Tensor)> {
    let each = code.dim(1)? / 2;
    // A variance stays a number while the network is untrained.
    let log_variance = code.narrow(1, each, each)?.clamp(-10f32, 10f32)?;
    Ok((code.narrow(1, 0, each)?, log_variance))
}

fn drawn(mean: &Tensor, log_variance: &Tensor, chance: &mut ChaCha8Rng) -> Result<Tensor> {
    let normal = |_| {
        // Box and Muller.
        let (a, b): (f32, f32) = (chance.random_range(f32::EPSILON..1.0), chance.random());
        (-2.0 * a.ln()).sqrt() * (std::f32::consts::TAU * b).cos()
    };
    let noise: Vec<f32> = (0..mean.elem_count()).map(normal).collect();
    let noise = Tensor::from_vec(noise, mean.shape(), &Device::Cpu)?;
    Ok((mean + noise.mul(&(log_variance / 2.0)?.exp()?)?)?)
}

crate::error::opaque_debug!(AutoencoderOptions<'_>);

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Mutex;

    #[test]
    fn training_lowers_every_loss() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("part.png");
        let pixel = |x: u32, y: u32| {
            image::Rgb([if (x / 16 + y / 16).is_multiple_of(2) { 60 } else { 190 }; 3])
        };
        image::RgbImage::from_fn(128, 128, pixel).save(&path).unwrap();
        for kind in Autoencoder::ALL {
            let losses = Mutex::new(Vec::new());
            let options = AutoencoderOptions {
                steps: 8,
                fit: Fit::default(),
                depth: BitDepth::default(),
                seed: 1,
                progress: &|_, loss| losses.lock().unwrap().push(loss),
            };
            train(kind, std::slice::from_ref(&path), &options).unwrap();
            let losses = losses.into_inner().unwrap();
            assert!(losses[7] < losses[0], "{}: {losses:?}", kind.name());
        }
    }
}
