//! How a photo differs from what was rebuilt of it.

use candle_core::{Result, Tensor};

/// Side of SSIM's windows.
const WINDOW: usize = 11;
/// SSIM's constants for values of 0..1 (Wang et al. 2004, Image quality assessment, section III.B).
const C1: f64 = 0.01 * 0.01;
const C2: f64 = 0.03 * 0.03;

/// The mean squared error of the colours of each pixel: `[photos, 3, side, side]` to `[photos, side, side]`.
pub fn squares(photos: &Tensor, rebuilt: &Tensor) -> Result<Tensor> {
    (photos - rebuilt)?.sqr()?.mean(1)
}

/// `(1 - SSIM) / 2` of the window around each pixel, mean of the colours, 0..1. Outside the photo, windows have zeros.
pub fn dissimilarity(photos: &Tensor, rebuilt: &Tensor) -> Result<Tensor> {
    let (count, colours, side, _) = photos.dims4()?;
    let each = (count * colours, side, side);
    let (x, y) = (photos.reshape(each)?, rebuilt.reshape(each)?);
    // The means of windows are two products with a band, which are faster than a convolution.
    let is_near = |i: usize| (i / side).abs_diff(i % side) <= WINDOW / 2;
    let band = |i: usize| if is_near(i) { 1.0 / WINDOW as f32 } else { 0.0 };
    let band: Vec<f32> = (0..side * side).map(band).collect();
    let band = Tensor::from_vec(band, (side, side), photos.device())?;
    let mean = |values: &Tensor| band.broadcast_matmul(values)?.broadcast_matmul(&band);
    let (mean_x, mean_y) = (mean(&x)?, mean(&y)?);
    let variance_x = (mean(&x.sqr()?)? - mean_x.sqr()?)?;
    let variance_y = (mean(&y.sqr()?)? - mean_y.sqr()?)?;
    let covariance = (mean(&x.mul(&y)?)? - mean_x.mul(&mean_y)?)?;
    let above = ((mean_x.mul(&mean_y)? * 2.0)? + C1)?.mul(&((covariance * 2.0)? + C2)?)?;
    let below =
        ((mean_x.sqr()? + mean_y.sqr()?)? + C1)?.mul(&((variance_x + variance_y)? + C2)?)?;
    let similar = above.div(&below)?.reshape((count, colours, side, side))?.mean(1)?;
    similar.affine(-0.5, 0.5)
}

/// The Kullback-Leibler divergence of codes from the standard normal distribution, mean of the photos (Kingma and Welling
/// 2014, arXiv 1312.6114, appendix B).
pub fn divergence(mean: &Tensor, log_variance: &Tensor) -> Result<Tensor> {
    let each = ((mean.sqr()? + log_variance.exp()?)? - log_variance)?.affine(0.5, -0.5)?;
    each.sum(1)?.mean_all()
}

#[cfg(test)]
mod tests {
    use super::*;
    use candle_core::Device;

    /// scikit-image 0.26: structural_similarity(x, y, win_size=11, gaussian_weights=False, use_sample_covariance=False,
    /// data_range=1.0, full=True).
    #[test]
    fn structural_similarity_agrees_with_scikit_image() {
        let side = 16;
        let x = |i: usize| ((i / side).pow(2) * 3 + i % side * 7 + (i / side) * (i % side)) % 13;
        let x: Vec<f32> = (0..side * side).map(|i| x(i) as f32 / 12.0).collect();
        let is_changed = |i: usize| (6..10).contains(&(i / side)) && (7..12).contains(&(i % side));
        let y = x.iter().enumerate().map(|(i, x)| if is_changed(i) { 0.35 } else { *x });
        let y: Vec<f32> = y.map(|y| y * 0.9 + 0.02).collect();
        let tensor = |values: &[f32]| {
            Tensor::from_vec([values, values, values].concat(), (1, 3, side, side), &Device::Cpu)
        };
        let map = dissimilarity(&tensor(&x).unwrap(), &tensor(&y).unwrap()).unwrap();
        let map = map.flatten_all().unwrap().to_vec1::<f32>().unwrap();
        let expected: [((usize, usize), f32); 4] = [
            ((8, 8), 0.894_833_8),
            ((5, 5), 0.896_891_7),
            ((10, 7), 0.887_940_2),
            ((7, 10), 0.896_968_2),
        ];
        for ((row, column), expected) in expected {
            let found = 1.0 - 2.0 * map[row * side + column];
            assert!((found - expected).abs() < 1e-5, "{row}, {column}: {found}");
        }
    }

    #[test]
    fn the_standard_normal_distribution_has_no_divergence() {
        let zeros = Tensor::zeros((2, 5), candle_core::DType::F32, &Device::Cpu).unwrap();
        let of = |mean: &Tensor, log_variance: &Tensor| {
            divergence(mean, log_variance).unwrap().to_scalar::<f32>().unwrap()
        };
        assert_eq!(of(&zeros, &zeros), 0.0);
        let ones = zeros.ones_like().unwrap();
        // 5 numbers, each (1 + e - 1 - 1) / 2.
        assert!((of(&ones, &ones) - 2.5 * (std::f32::consts::E - 1.0)).abs() < 1e-5);
    }
}
