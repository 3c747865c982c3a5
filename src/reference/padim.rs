//! PaDiM (Defard et al., arXiv 2011.08785): a Gaussian of each position over the reference photos. Each position is
//! compared only with itself, so parts must always lie in the same place.

use candle_core::{Device, Tensor};
use nalgebra::DMatrix;
use rand::SeedableRng;
use rand::seq::index::sample;
use rand_chacha::ChaCha8Rng;
use rayon::prelude::*;

use super::gaussian::whitening;
use super::{Distances, FitOptions, Places, ReferenceModel, Tensors, joined_patches};
use crate::clip::Features;
use crate::error::{Error, Result};

/// Number of dimensions that are kept. They are drawn at random (section III-B: as good as a projection).
const DIMENSIONS: usize = 100;
/// Added to each variance: the paper's 0.01 plus anomalib's 1e-5.
const REGULARISATION: f64 = 0.01 + 1e-5;

pub(super) struct Padim {
    /// Which dimensions of the joined patches are kept.
    dimensions: Vec<u32>,
    /// `[positions, dimensions]`.
    means: Vec<f32>,
    /// `[positions, dimensions, dimensions]`. A centred row times this matrix is white.
    whitenings: Vec<f32>,
}

impl Padim {
    pub const NAME: &str = "padim";

    pub fn fit(references: &[&Features], options: FitOptions) -> Result<Self> {
        let width: usize = references[0].blocks.iter().map(|b| b.dims()[1]).sum();
        let mut random = ChaCha8Rng::seed_from_u64(options.seed);
        let mut dimensions: Vec<u32> =
            sample(&mut random, width, DIMENSIONS.min(width)).iter().map(|d| d as u32).collect();
        dimensions.sort_unstable();
        let photos =
            references.iter().map(|photo| kept(photo, &dimensions)).collect::<Result<Vec<_>>>()?;
        let (size, positions) = (dimensions.len(), references[0].grid * references[0].grid);
        let position = |i: usize| -> Result<(Vec<f32>, Vec<f32>)> {
            let rows: Vec<&[f32]> = photos.iter().map(|photo| &photo[i * size..][..size]).collect();
            let rows = DMatrix::from_fn(rows.len(), size, |row, d| f64::from(rows[row][d]));
            let mean = rows.row_mean();
            let centred = DMatrix::from_fn(rows.nrows(), size, |r, d| rows[(r, d)] - mean[d]);
            let mut covariance = centred.tr_mul(&centred) / (rows.nrows().max(2) - 1) as f64;
            (0..size).for_each(|d| covariance[(d, d)] += REGULARISATION);
            Ok((mean.iter().map(|m| *m as f32).collect(), whitening(covariance)?))
        };
        let fitted = (0..positions).into_par_iter().map(position).collect::<Result<Vec<_>>>()?;
        let (means, whitenings): (Vec<_>, Vec<_>) = fitted.into_iter().unzip();
        Ok(Self { dimensions, means: means.concat(), whitenings: whitenings.concat() })
    }

    pub fn from_tensors(tensors: &mut Tensors) -> Result<Self> {
        let dimensions = tensors.take("dimensions", 1)?.to_vec1::<u32>()?;
        let (means, whitenings) = (tensors.take("means", 2)?, tensors.take("whitenings", 3)?);
        let (positions, size) = (means.dim(0)?, dimensions.len());
        if means.dims() != [positions, size] || whitenings.dims() != [positions, size, size] {
            return Err(super::unfit("whitenings"));
        }
        let values = |t: Tensor| -> Result<Vec<f32>> { Ok(t.flatten_all()?.to_vec1()?) };
        Ok(Self { dimensions, means: values(means)?, whitenings: values(whitenings)? })
    }
}

/// The patches of a photo in the kept dimensions, `[positions, dimensions]`.
fn kept(photo: &Features, dimensions: &[u32]) -> Result<Vec<f32>> {
    let dimensions = Tensor::new(dimensions, &Device::Cpu)?;
    Ok(joined_patches(photo)?.index_select(&dimensions, 1)?.flatten_all()?.to_vec1()?)
}

impl ReferenceModel for Padim {
    /// The Mahalanobis distance from the Gaussian of the position (equation 2).
    fn compare(&self, photo: &Features, places: &Places) -> Result<Distances> {
        let size = self.dimensions.len();
        let rows = kept(photo, &self.dimensions)?;
        if rows.len() != self.means.len() {
            return Err(Error::setting(
                "reference-method padim",
                "needs the input size that was used at enrolment",
            ));
        }
        let distance = |position: usize| {
            let at = position * size;
            let offset = rows[at..][..size].iter().zip(&self.means[at..]).map(|(x, m)| x - m);
            let mut white = vec![0f32; size];
            for (x, row) in offset.zip(self.whitenings[at * size..].chunks_exact(size)) {
                white.iter_mut().zip(row).for_each(|(sum, w)| *sum += x * w);
            }
            white.iter().map(|w| w * w).sum::<f32>().sqrt()
        };
        Ok(places.distances((0..rows.len() / size).into_par_iter().map(distance).collect()))
    }

    fn tensors(&self) -> Result<Vec<(String, Tensor)>> {
        let (size, device) = (self.dimensions.len(), &Device::Cpu);
        let positions = self.means.len() / size;
        Ok(vec![
            ("dimensions".into(), Tensor::new(&self.dimensions[..], device)?),
            ("means".into(), Tensor::from_slice(&self.means, (positions, size), device)?),
            (
                "whitenings".into(),
                Tensor::from_slice(&self.whitenings, (positions, size, size), device)?,
            ),
        ])
    }
}
