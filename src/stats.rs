//! Statistics that several methods share.

/// The mean and the standard deviation of a sample (divided by `n - 1`).
pub(crate) fn mean_and_spread(values: impl Iterator<Item = f32>) -> (f32, f32) {
    let values: Vec<f64> = values.map(f64::from).collect();
    let count = values.len().max(1) as f64;
    let mean = values.iter().sum::<f64>() / count;
    let variance = values.iter().map(|v| (v - mean).powi(2)).sum::<f64>() / (count - 1.0).max(1.0);
    (mean as f32, variance.sqrt() as f32)
}

/// The standard deviation of a whole population (divided by `n`).
pub(crate) fn population_deviation(values: &[f32]) -> f32 {
    let count = values.len() as f32;
    let mean = values.iter().sum::<f32>() / count;
    (values.iter().map(|v| (v - mean).powi(2)).sum::<f32>() / count).sqrt()
}

/// The middle value, or the mean of the two middle values. 0 if there are no values.
pub(crate) fn median(values: &mut [f32]) -> f32 {
    if values.is_empty() {
        return 0.0;
    }
    let middle = values.len() / 2;
    let (below, at, _) = values.select_nth_unstable_by(middle, f32::total_cmp);
    let at = *at;
    match below.iter().copied().max_by(f32::total_cmp) {
        Some(below) if values.len().is_multiple_of(2) => (below + at) / 2.0,
        _ => at,
    }
}

/// The median of some values and their median absolute deviation (MAD). A minority of outliers changes neither.
#[derive(Clone, Copy)]
pub(crate) struct MedianMad {
    pub median: f32,
    /// The MAD times 1.4826. For a normal distribution this is the standard deviation.
    pub spread: f32,
}

impl MedianMad {
    pub fn of(mut values: Vec<f32>) -> Self {
        let centre = median(&mut values);
        values.iter_mut().for_each(|value| *value = (*value - centre).abs());
        // If most values are equal, the MAD is 0. The lower limit keeps z-scores finite.
        Self { median: centre, spread: (1.4826 * median(&mut values)).max(1e-6) }
    }

    /// The robust z-score: how many spreads a value lies above the median.
    pub fn robust_z(self, value: f32) -> f32 {
        (value - self.median) / self.spread
    }
}

/// Index and value of the largest value. If several are equal, the first of them.
pub(crate) fn highest(values: impl Iterator<Item = (usize, f32)>) -> (usize, f32) {
    values.fold((0, f32::NEG_INFINITY), |best, next| if next.1 > best.1 { next } else { best })
}

/// The mean of the `count` highest values, of at least one and at most all.
pub(crate) fn mean_of_highest(mut values: Vec<f32>, count: usize) -> f32 {
    let count = count.max(1).min(values.len());
    if count == 0 {
        return f32::NEG_INFINITY;
    }
    values.select_nth_unstable_by(count - 1, |a, b| b.total_cmp(a));
    (values[..count].iter().map(|value| f64::from(*value)).sum::<f64>() / count as f64) as f32
}

/// The logistic function: from log-odds to a probability.
pub(crate) fn logistic(log_odds: f32) -> f32 {
    1.0 / (1.0 + (-log_odds).exp())
}

/// The log-odds of a probability. The probability is clamped, so the result is finite.
pub(crate) fn log_odds(p: f32) -> f32 {
    let p = p.clamp(1e-6, 1.0 - 1e-6);
    (p / (1.0 - p)).ln()
}

/// The odds of a probability. The result is finite, also at 1.
pub(crate) fn odds(p: f32) -> f32 {
    p / (1.0 - p).max(1e-30)
}

/// Compresses large values on both sides of 0. So large log-odds keep their order: without it, their probabilities
/// would all round to 0 or 1.
pub(crate) fn signed_log1p(x: f32) -> f32 {
    x.signum() * x.abs().ln_1p()
}

/// The inverse of [`signed_log1p`].
pub(crate) fn signed_expm1(x: f32) -> f32 {
    x.signum() * x.abs().exp_m1()
}

/// Spearman's rank correlation, -1..1. None if all values of a list are equal. Equal values share the mean of their
/// ranks.
pub(crate) fn rank_correlation(a: &[f32], b: &[f32]) -> Option<f64> {
    let (a, b) = (centred_ranks(a), centred_ranks(b));
    let products = |a: &[f64], b: &[f64]| a.iter().zip(b).map(|(a, b)| a * b).sum::<f64>();
    let spread = (products(&a, &a) * products(&b, &b)).sqrt();
    (spread > 0.0).then(|| products(&a, &b) / spread)
}

/// The rank of each value, minus the mean rank.
fn centred_ranks(values: &[f32]) -> Vec<f64> {
    let mut order: Vec<usize> = (0..values.len()).collect();
    order.sort_by(|a, b| values[*a].total_cmp(&values[*b]));
    let (mut ranks, mut first) = (vec![0.0; values.len()], 0);
    for equal in order.chunk_by(|a, b| values[*a] == values[*b]) {
        let rank = first as f64 + (equal.len() - 1) as f64 / 2.0;
        equal.iter().for_each(|i| ranks[*i] = rank - (values.len() - 1) as f64 / 2.0);
        first += equal.len();
    }
    ranks
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_minority_moves_neither_median_nor_mad() {
        let line = MedianMad::of(vec![1.0, 2.0, 3.0, 4.0, 900.0]);
        assert_eq!((line.median, line.spread), (3.0, 1.4826));
        assert_eq!(MedianMad::of(vec![1.0, 2.0]).median, 1.5);
        assert_eq!(MedianMad::of(vec![0.5; 9]).robust_z(0.5), 0.0);
        assert_eq!(median(&mut []), 0.0);
    }

    #[test]
    fn probabilities_and_log_odds_undo_each_other() {
        for p in [0.001, 0.3, 0.5, 0.99] {
            assert!((logistic(log_odds(p)) - p).abs() < 1e-6, "{p}");
            assert!((log_odds(p).exp() - odds(p)).abs() < 1e-3 * odds(p), "{p}");
        }
        assert!(log_odds(0.0).is_finite() && log_odds(1.0).is_finite() && odds(1.0).is_finite());
        assert!((signed_expm1(signed_log1p(-7.5)) + 7.5).abs() < 1e-5);
    }

    #[test]
    fn deviations_are_of_a_sample_and_of_a_population() {
        let values = [2.0, 4.0, 4.0, 4.0, 5.0, 5.0, 7.0, 9.0];
        assert_eq!(population_deviation(&values), 2.0);
        let (mean, spread) = mean_and_spread(values.into_iter());
        assert!(mean == 5.0 && (spread - (32f32 / 7.0).sqrt()).abs() < 1e-6);
    }

    #[test]
    fn the_first_of_equal_values_is_the_highest() {
        let values = [0.1, 0.7, 0.7];
        assert_eq!(highest(values.into_iter().enumerate()), (1, 0.7));
    }

    #[test]
    fn rank_correlation_is_that_of_scipy() {
        let (a, b) = ([1.0, 2.0, 2.0, 5.0, 4.0], [1.0, 3.0, 2.0, 4.0, 4.0]);
        // scipy.stats.spearmanr(a, b)
        assert!((rank_correlation(&a, &b).unwrap() - 0.947_368_421_052_631_5).abs() < 1e-12);
        assert_eq!(rank_correlation(&[1.0, 2.0], &[2.0, 1.0]), Some(-1.0));
        assert_eq!(rank_correlation(&[1.0, 1.0], &[2.0, 1.0]), None);
        assert_eq!(rank_correlation(&[], &[]), None);
    }
}
