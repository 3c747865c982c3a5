//! Gaussian smoothing of maps.

use rayon::prelude::*;

/// How a map goes on beyond its edge.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Border {
    /// Mirrored, and the outermost value stands twice: `b a | a b c` (scipy's `reflect`).
    Edge,
    /// Mirrored, and the outermost value stands once: `c b | a b c` (OpenCV's default).
    Inner,
}

impl Border {
    /// The index of a value at `position`, which may lie outside `0..length`.
    fn index(self, position: isize, length: usize) -> usize {
        let length = length as isize;
        let (period, last) = match self {
            Border::Edge => (2 * length, 2 * length - 1),
            Border::Inner => ((2 * length - 2).max(1), 2 * length - 2),
        };
        let at = position.rem_euclid(period);
        (if at < length { at } else { last - at }) as usize
    }
}

/// A Gaussian of `sigma` pixels, cut at `radius`.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Blur {
    pub sigma: f32,
    pub radius: usize,
    pub border: Border,
}

impl Blur {
    /// Smooths `[height, width]`, one axis after the other.
    pub fn apply(&self, map: &[f32], width: usize) -> Vec<f32> {
        if map.is_empty() {
            return vec![];
        }
        let height = map.len() / width;
        let weights = self.weights();
        let radius = self.radius as isize;
        let taps = |length: usize| -> Vec<Vec<usize>> {
            let around = |i: usize| (-radius..=radius).map(move |d| i as isize + d);
            (0..length)
                .map(|i| around(i).map(|at| self.border.index(at, length)).collect())
                .collect()
        };
        let (rows, columns) = (taps(height), taps(width));
        let mut down = vec![0f32; map.len()];
        down.par_chunks_mut(width).zip(&rows).for_each(|(out, rows)| {
            for (&row, weight) in rows.iter().zip(&weights) {
                let source = &map[row * width..][..width];
                out.iter_mut().zip(source).for_each(|(sum, value)| *sum += weight * value);
            }
        });
        let mut out = vec![0f32; map.len()];
        out.par_chunks_mut(width).zip(down.par_chunks(width)).for_each(|(out, row)| {
            for (value, columns) in out.iter_mut().zip(&columns) {
                *value = columns.iter().zip(&weights).map(|(&at, weight)| weight * row[at]).sum();
            }
        });
        out
    }

    fn weights(&self) -> Vec<f32> {
        let radius = self.radius as isize;
        let value = |d: isize| (-0.5 * (d as f64 / f64::from(self.sigma)).powi(2)).exp();
        let sum: f64 = (-radius..=radius).map(value).sum();
        (-radius..=radius).map(|d| (value(d) / sum) as f32).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_blur_keeps_what_is_even_and_spreads_a_point() {
        for border in [Border::Edge, Border::Inner] {
            let blur = Blur { sigma: 2.0, radius: 8, border };
            // The radius is larger than the map.
            let even = blur.apply(&[0.5; 6 * 4], 6);
            assert!(even.iter().all(|value| (value - 0.5).abs() < 1e-6), "{even:?}");
        }
        let blur = Blur { sigma: 4.0, radius: 1, border: Border::Inner };
        let point = blur.apply(&[0.0, 0.0, 0.0, 0.0, 1.0, 0.0, 0.0, 0.0, 0.0], 3);
        // Of OpenCV's GaussianBlur with a kernel of 3x3 and sigma 4.
        let (side, middle) = (0.329_843_f32, 0.340_314_f32);
        assert!((point[4] - middle * middle).abs() < 1e-5, "{point:?}");
        // The mirrored neighbour of the corner is the middle, so its weight counts twice there.
        assert!((point[0] - 4.0 * side * side).abs() < 1e-5, "{point:?}");
    }

    #[test]
    fn borders_are_mirrored() {
        let at = |border: Border| (-3..7).map(|i| border.index(i, 4)).collect::<Vec<_>>();
        assert_eq!(at(Border::Edge), [2, 1, 0, 0, 1, 2, 3, 3, 2, 1]);
        assert_eq!(at(Border::Inner), [3, 2, 1, 0, 1, 2, 3, 2, 1, 0]);
        assert_eq!(Border::Inner.index(5, 1), 0);
    }
}
