//! SubspaceAD (Lendering et al., CVPR 2026, arXiv 2602.23013; CLendering/SubspaceAD, Apache-2.0): patches of good parts
//! span a subspace, and a defect sticks out of it. A product becomes one mean and some directions.
//!
//! The official code averages seven layers of DINOv2-giant. Here the layers that are compared are averaged.

use candle_core::{DType, Device, Tensor};
use nalgebra::{DMatrix, SymmetricEigen};

use super::{Distances, FitOptions, Places, ReferenceModel, Tensors, patches, unfit};
use crate::clip::Features;
use crate::error::{Error, Result};
use crate::image::{Blur, Border, enlarge};
use crate::stats::mean_of_highest;

/// The share of the variance that the directions explain.
const EXPLAINED: f64 = 0.99;
/// OpenCV's Gaussian of sigma 4, cut to 3x3 pixels: nearly a plain mean.
const BLUR: Blur = Blur { sigma: 4.0, radius: 1, border: Border::Inner };
/// The share of the highest pixels in the photo's score.
const HIGHEST: f64 = 0.01;

pub(super) struct Subspace {
    /// `[width]`.
    mean: Tensor,
    /// Orthonormal directions, `[width, directions]`.
    directions: Tensor,
}

impl Subspace {
    pub fn fit(references: &[&Features], options: FitOptions) -> Result<Self> {
        let rows = references.iter().map(|photo| options.places.rows(&mean_patches(photo)?));
        Self::of(&Tensor::cat(&rows.collect::<Result<Vec<_>>>()?, 0)?, EXPLAINED)
    }

    pub fn from_tensors(tensors: &mut Tensors) -> Result<Self> {
        let (mean, directions) = (tensors.take("mean", 1)?, tensors.take("directions", 2)?);
        if mean.dim(0)? != directions.dim(0)? {
            return Err(unfit("directions"));
        }
        Ok(Self { mean, directions })
    }

    /// `rows`: `[rows, width]`. `explained`: the share of their variance that the directions explain at least.
    fn of(rows: &Tensor, explained: f64) -> Result<Self> {
        let (count, width) = rows.dims2()?;
        let rows = rows.to_dtype(DType::F64)?;
        let mean = rows.mean(0)?;
        let centred = rows.broadcast_sub(&mean)?;
        let covariance = centred.t()?.matmul(&centred)?.flatten_all()?.to_vec1::<f64>()?;
        if covariance.iter().any(|value| !value.is_finite()) {
            return Err(Error::setting("references", "hold features that are not numbers"));
        }
        let scale = 1.0 / (count.max(2) - 1) as f64;
        let covariance = DMatrix::from_row_slice(width, width, &covariance) * scale;
        let found = SymmetricEigen::new(covariance);
        let mut order: Vec<usize> = (0..width).collect();
        order.sort_by(|&a, &b| found.eigenvalues[b].total_cmp(&found.eigenvalues[a]));
        let total: f64 = found.eigenvalues.iter().sum();
        let mut sum = 0.0;
        let reaches = |i: &usize| {
            sum += found.eigenvalues[*i];
            sum / total >= explained
        };
        let kept = order.iter().position(reaches).map_or(width, |at| at + 1);
        let columns = &order[..kept];
        let directions = (0..width)
            .flat_map(|row| columns.iter().map(move |column| (row, *column)))
            .map(|at| found.eigenvectors[at] as f32);
        Ok(Self {
            mean: mean.to_dtype(DType::F32)?,
            directions: Tensor::from_iter(directions, &Device::Cpu)?.reshape((width, kept))?,
        })
    }

    /// The squared length of what sticks out of the subspace, for each row of `[rows, width]`.
    fn residuals(&self, rows: &Tensor) -> Result<Vec<f32>> {
        let offsets = rows.broadcast_sub(&self.mean)?;
        // The difference of two lengths would lose digits.
        let inside = offsets.matmul(&self.directions)?.matmul(&self.directions.t()?)?;
        Ok((offsets - inside)?.sqr()?.sum(1)?.to_vec1()?)
    }
}

impl ReferenceModel for Subspace {
    fn compare(&self, photo: &Features, places: &Places) -> Result<Distances> {
        let map = self.residuals(&mean_patches(photo)?)?;
        let inside = places.at(photo.grid, photo.size);
        let smooth = smoothed(&map, photo);
        let counting = smooth.into_iter().enumerate().filter(|(i, _)| inside.holds(*i));
        let score = score_of(counting.map(|(_, value)| value).collect());
        Ok(Distances { map, score })
    }

    fn tensors(&self) -> Result<Vec<(String, Tensor)>> {
        Ok(vec![("mean".into(), self.mean.clone()), ("directions".into(), self.directions.clone())])
    }
}

/// The mean of the layers, `[grid^2, width]`.
fn mean_patches(photo: &Features) -> Result<Tensor> {
    let blocks = photo.blocks.iter().map(patches).collect::<Result<Vec<_>>>()?;
    Ok(Tensor::stack(&blocks, 0)?.mean(0)?)
}

fn smoothed(map: &[f32], photo: &Features) -> Vec<f32> {
    BLUR.apply(&enlarge(map, photo.grid, photo.size), photo.size)
}

/// The mean of the highest hundredth of the pixels.
fn score_of(pixels: Vec<f32>) -> f32 {
    let count = (HIGHEST * pixels.len() as f64) as usize;
    mean_of_highest(pixels, count)
}

#[cfg(test)]
mod tests {
    use super::super::tests::assert_near;
    use super::*;
    use std::collections::HashMap;

    const TESTS: [&str; 4] = ["good_2.png", "hole.png", "scratch.png", "stain.png"];

    fn golden() -> HashMap<String, Tensor> {
        let file =
            concat!(env!("CARGO_MANIFEST_DIR"), "/tests/fixtures/subspacead/expected.safetensors");
        candle_core::safetensors::load(file, &Device::Cpu).unwrap()
    }

    #[test]
    fn subspaces_and_scores_agree_with_the_official_code() {
        let golden = golden();
        let tokens = |photo: &str| golden[&format!("{photo}.tokens")].reshape((169, 48)).unwrap();
        for (shots, explained, run) in [
            (1, 0.99, "shots_1"),
            (1, 0.9, "shots_1.ev_0.9"),
            (2, 0.99, "shots_2"),
            (2, 0.9, "shots_2.ev_0.9"),
        ] {
            let references = ["good_0.png", "good_1.png"].map(tokens);
            let rows = Tensor::cat(&references[..shots], 0).unwrap();
            let found = Subspace::of(&rows, explained).unwrap();
            let expected = |name: &str| &golden[&format!("{run}.{name}")];
            let flat = |t: &Tensor| t.flatten_all().unwrap().to_vec1::<f32>().unwrap();
            assert_near(run, &flat(&found.mean), expected("mean"), 5e-5);
            let k = expected("k").flatten_all().unwrap();
            let k = k.to_dtype(DType::F32).unwrap().to_vec1::<f32>().unwrap()[0];
            assert_eq!(found.directions.dim(1).unwrap(), k as usize, "{run}");
            let projector = found.directions.matmul(&found.directions.t().unwrap()).unwrap();
            assert_near(run, &flat(&projector), expected("projector"), 5e-5);
            for (i, photo) in TESTS.iter().enumerate() {
                let seen = crate::reference::tests::photo(13, &vec![vec![0.0]; 169]);
                let seen = Features { size: 182, ..seen };
                let map = found.residuals(&tokens(photo)).unwrap();
                assert_near(run, &map, &expected("grid").get(i).unwrap(), 2e-3);
                let score = score_of(smoothed(&map, &seen));
                assert_near(run, &[score], &expected("scores").get(i).unwrap(), 1e-3);
            }
        }
    }

    #[test]
    fn equal_rows_span_nothing_and_are_normal() {
        let rows = Tensor::ones((5, 4), DType::F32, &Device::Cpu).unwrap();
        let found = Subspace::of(&rows, EXPLAINED).unwrap();
        assert!(found.residuals(&rows).unwrap().iter().all(|residual| *residual < 1e-9));
    }
}
