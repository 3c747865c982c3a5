//! Gaussian anomaly detection (Rippel et al., arXiv 2005.14140): the Mahalanobis distance from the normal features. The
//! paper pools each level over the photo. Here one Gaussian describes all patches, at any position. So there is a map,
//! and few photos are enough.

use candle_core::{D, DType, Device, Tensor};
use nalgebra::DMatrix;

use super::{Distances, FitOptions, Places, ReferenceModel, Tensors, numbered, patches, unfit};
use crate::clip::Features;
use crate::error::{Error, Result};

/// One Gaussian for each block.
pub(super) struct Gaussians(Vec<Gaussian>);

struct Gaussian {
    /// `[width]`.
    mean: Tensor,
    /// `[width, width]`. Centred rows times this matrix are white.
    whitening: Tensor,
}

impl Gaussians {
    pub fn fit(references: &[&Features], options: FitOptions) -> Result<Self> {
        let gaussian = |i: usize| {
            let photos =
                references.iter().map(|photo| options.places.rows(&patches(&photo.blocks[i])?));
            Gaussian::fit(&Tensor::cat(&photos.collect::<Result<Vec<_>>>()?, 0)?)
        };
        Ok(Self((0..references[0].blocks.len()).map(gaussian).collect::<Result<_>>()?))
    }

    pub fn from_tensors(tensors: &mut Tensors) -> Result<Self> {
        let means = tensors.take_all("mean", 1)?.into_iter();
        let whitenings = tensors.take_all("whitening", 2)?;
        if means.len() != whitenings.len() {
            return Err(unfit("whitening"));
        }
        let all = means.zip(whitenings);
        Ok(Self(all.map(|(mean, whitening)| Gaussian { mean, whitening }).collect()))
    }
}

impl ReferenceModel for Gaussians {
    /// The Mahalanobis distance, summed over the blocks (the paper sums over levels).
    fn compare(&self, photo: &Features, places: &Places) -> Result<Distances> {
        let mut map = vec![0.0; photo.grid * photo.grid];
        if self.0.len() != photo.blocks.len() {
            return Err(unfit("mean"));
        }
        for (gaussian, block) in self.0.iter().zip(&photo.blocks) {
            let white = patches(block)?.broadcast_sub(&gaussian.mean)?;
            let white = white.matmul(&gaussian.whitening)?;
            let distances = white.sqr()?.sum(D::Minus1)?.sqrt()?.to_vec1::<f32>()?;
            map.iter_mut().zip(distances).for_each(|(sum, distance)| *sum += distance);
        }
        Ok(places.distances(map))
    }

    fn tensors(&self) -> Result<Vec<(String, Tensor)>> {
        let means = numbered("mean", self.0.iter().map(|g| g.mean.clone()));
        let whitenings = numbered("whitening", self.0.iter().map(|g| g.whitening.clone()));
        Ok(means.chain(whitenings).collect())
    }
}

impl Gaussian {
    /// Mean and shrunk covariance of rows, `[rows, width]`.
    fn fit(rows: &Tensor) -> Result<Self> {
        let width = rows.dim(1)?;
        let rows = rows.to_dtype(DType::F64)?;
        let mean = rows.mean(0)?;
        let centred = rows.broadcast_sub(&mean)?;
        let covariance = shrunk(&centred)?;
        let whitening = whitening(DMatrix::from_row_slice(width, width, &covariance))?;
        Ok(Self {
            mean: mean.to_dtype(DType::F32)?,
            whitening: Tensor::from_vec(whitening, (width, width), &Device::Cpu)?,
        })
    }
}

/// The covariance of centred rows with Ledoit-Wolf shrinkage (2004), `[width, width]`. The fewer rows there are, the
/// more it is shrunk towards a multiple of the identity.
fn shrunk(centred: &Tensor) -> Result<Vec<f64>> {
    let (count, width) = centred.dims2()?;
    let (n, p) = (count as f64, width as f64);
    let mut covariance = centred.t()?.matmul(centred)?.flatten_all()?.to_vec1::<f64>()?;
    covariance.iter_mut().for_each(|value| *value /= n);
    let trace: f64 = (0..width).map(|i| covariance[i * (width + 1)]).sum();
    let (mean, squares) = (trace / p, covariance.iter().map(|v| v * v).sum::<f64>());
    let norms = centred.sqr()?.sum(1)?.to_vec1::<f64>()?;
    let fourth: f64 = norms.iter().map(|norm| norm * norm).sum::<f64>() / n;
    let error = (fourth - squares) / (p * n);
    let spread = (squares - 2.0 * mean * trace + p * mean * mean) / p;
    let shrinkage = if spread > 0.0 { (error / spread).clamp(0.0, 1.0) } else { 1.0 };
    covariance.iter_mut().for_each(|value| *value *= 1.0 - shrinkage);
    // Equal rows have no variance. The small term keeps the covariance invertible, and an equal row still has distance
    // 0.
    let ball = (shrinkage * mean).max(1e-6 * mean).max(1e-12);
    (0..width).for_each(|i| covariance[i * (width + 1)] += ball);
    Ok(covariance)
}

/// The matrix `A` for which `|x A|` is the Mahalanobis length of a row `x`. It is the transposed inverse of the
/// Cholesky factor, stored row by row.
pub(super) fn whitening(covariance: DMatrix<f64>) -> Result<Vec<f32>> {
    let width = covariance.nrows();
    let fail = || Error::setting("references", "hold features that are not numbers");
    let factor = covariance.cholesky().ok_or_else(fail)?.unpack();
    let inverse = factor.solve_lower_triangular(&DMatrix::identity(width, width));
    // nalgebra stores the inverse column by column. This is its transpose row by row.
    Ok(inverse.ok_or_else(fail)?.as_slice().iter().map(|value| *value as f32).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_shrinkage_is_that_of_scikit_learn() {
        // `sklearn.covariance.ledoit_wolf` gives a shrinkage of 0.5791 on these rows.
        let rows = [[1f64, 2.0, 0.5], [2.0, 1.0, -0.5], [-1.0, -2.5, 1.0], [0.5, 0.2, -1.0]];
        let rows = Tensor::new(&rows, &Device::Cpu).unwrap();
        let centred = rows.broadcast_sub(&rows.mean(0).unwrap()).unwrap();
        let covariance = shrunk(&centred).unwrap();
        for (value, expected) in covariance.iter().zip(EXPECTED) {
            assert!((value - expected).abs() < 1e-8, "{covariance:?}");
        }
    }

    const EXPECTED: [f64; 9] = [
        1.37903205,
        0.64841395,
        -0.2104386,
        0.64841395,
        2.06085313,
        -0.23148246,
        -0.2104386,
        -0.23148246,
        1.14886483,
    ];
}
