//! The threshold between ok and ng. Only good photos decide it: split-conformal p-values (Vovk et al., Algorithmic Learning
//! in a Random World; Bates et al. 2023, arXiv 2104.08279).

use serde::{Deserialize, Serialize};

/// What a score means for the part.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Decision {
    /// Nothing unusual.
    Ok,
    /// The share of good parts with such a score or a higher one is at most the false-alarm rate.
    Ng,
    /// The score is near the line. Or it is higher than all good photos, but there are too few of them for the rate. A
    /// person should look at the part.
    Uncertain,
}

impl Decision {
    /// The name in results.
    pub fn name(self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::Ng => "ng",
            Self::Uncertain => "uncertain",
        }
    }

    /// The decision for a photo with this p-value. `photos` is the number of good photos. At most the share
    /// `false_alarm` of good parts is `ng`. A photo is uncertain up to twice this rate. It is also uncertain if its
    /// score is higher than all good photos, but there are fewer photos than [`Calibration::needed`].
    pub fn new(p_value: f64, photos: usize, false_alarm: f64) -> Self {
        // A small tolerance for rates such as 0.05, which floats cannot represent exactly.
        let within = |rate: f64| p_value <= rate * (1.0 + 1e-9);
        if within(false_alarm) {
            Self::Ng
        } else if within(2.0 * false_alarm) || within(Calibration::best(photos)) {
            Self::Uncertain
        } else {
            Self::Ok
        }
    }
}

/// The scores of held-out good photos.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Calibration {
    /// In ascending order.
    scores: Vec<f32>,
}

impl Calibration {
    /// From the scores of good photos. Each must be scored as if the method had not seen it.
    pub fn new(mut scores: Vec<f32>) -> Self {
        scores.sort_by(f32::total_cmp);
        Self { scores }
    }

    /// The scores in ascending order.
    pub fn scores(&self) -> &[f32] {
        &self.scores
    }

    /// Number of good photos.
    pub fn photos(&self) -> usize {
        self.scores.len()
    }

    /// The p-value `(1 + good photos with this score or a higher one) / (1 + good photos)`. At most this share of good
    /// parts reaches such a score. None if there are no good photos.
    pub fn p_value(&self, score: f32) -> Option<f64> {
        let below = self.scores.partition_point(|s| *s < score);
        let (n, reaching) = (self.scores.len(), self.scores.len() - below);
        (n > 0).then(|| (1 + reaching) as f64 / (n + 1) as f64)
    }

    /// A photo with a higher score is [`Decision::Ng`]. None if there are too few photos for this rate.
    pub fn threshold(&self, false_alarm: f64) -> Option<f32> {
        let n = self.scores.len();
        Self::reaching(n, false_alarm).map(|reaching| self.scores[n - reaching])
    }

    /// Where the false-alarm rate of one line lies with a probability of 90 %, as two shares. On average over many sets of
    /// good photos it is at most `false_alarm`. None if there are too few photos for this rate.
    ///
    /// The rate of one line has a beta distribution (Vovk 2012, arXiv 1209.2673, section 3).
    pub fn interval(photos: usize, false_alarm: f64) -> Option<(f64, f64)> {
        let reaching = Self::reaching(photos, false_alarm)?;
        Some((beta_quantile(reaching, photos, 0.05), beta_quantile(reaching, photos, 0.95)))
    }

    /// How many of the good photos may reach the score of an `ng` photo, itself counted. None if not even one.
    fn reaching(photos: usize, false_alarm: f64) -> Option<usize> {
        let reaching = (false_alarm * (photos + 1) as f64 * (1.0 + 1e-9)) as usize;
        (1..=photos).contains(&reaching).then_some(reaching)
    }

    /// Number of good photos that a false-alarm rate needs: 19 for 5 %, 99 for 1 %.
    pub fn needed(false_alarm: f64) -> usize {
        (1.0 / false_alarm - 1.0 - 1e-9).ceil() as usize
    }

    /// The lowest false-alarm rate that is possible with this number of good photos.
    pub fn best(photos: usize) -> f64 {
        1.0 / (photos as f64 + 1.0)
    }
}

/// The quantile `share` of the beta distribution with parameters `k` and `n + 1 - k`: the rate at which `k` or more of
/// `n` draws succeed with this probability.
fn beta_quantile(k: usize, n: usize, share: f64) -> f64 {
    let at_least_k = |rate: f64| {
        // The terms of the binomial distribution, each from the last, by their logarithms.
        let odds = rate.ln() - (-rate).ln_1p();
        let mut term = n as f64 * (-rate).ln_1p();
        let mut fewer = term.exp();
        for i in 1..k {
            term += ((n + 1 - i) as f64 / i as f64).ln() + odds;
            fewer += term.exp();
        }
        1.0 - fewer
    };
    let (mut low, mut high) = (0.0, 1.0);
    for _ in 0..60 {
        let middle = 0.5 * (low + high);
        if at_least_k(middle) < share { low = middle } else { high = middle }
    }
    high
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_rate_needs_its_photos() {
        assert_eq!([0.05, 0.01, 0.2, 0.5].map(Calibration::needed), [19, 99, 4, 1]);
        let scores = |n: usize| Calibration::new((0..n).map(|i| i as f32).collect());
        assert_eq!(scores(18).threshold(0.05), None);
        assert_eq!(scores(19).threshold(0.05), Some(18.0));
        assert_eq!(scores(99).threshold(0.05), Some(94.0));
        assert_eq!(scores(0).p_value(3.0), None);
    }

    #[test]
    fn few_photos_allow_a_wide_interval() {
        let near = |photos, rate, (low, high): (f64, f64)| {
            let found = Calibration::interval(photos, rate).unwrap();
            assert!((found.0 - low).abs() < 5e-5 && (found.1 - high).abs() < 5e-5, "{found:?}");
        };
        // With one photo above the line these are 1 - 0.95^(1/n) and 1 - 0.05^(1/n).
        near(19, 0.05, (0.0027, 0.1459));
        near(20, 0.05, (0.0026, 0.1391));
        // scipy.stats.beta(5, 95).ppf, and beta(500, 9501).
        near(99, 0.05, (0.0201, 0.0901));
        near(10_000, 0.05, (0.0465, 0.0536));
        assert_eq!(Calibration::interval(18, 0.05), None);
    }

    #[test]
    fn thresholds_and_p_values_agree() {
        let calibration = Calibration::new((0..40).map(|i| (i * 7 % 40) as f32).collect());
        for rate in [0.03, 0.05, 0.1, 0.25] {
            let threshold = calibration.threshold(rate).unwrap();
            for score in (0..90).map(|i| i as f32 / 2.0) {
                let p = calibration.p_value(score).unwrap();
                let decision = Decision::new(p, 40, rate);
                assert_eq!(decision == Decision::Ng, score > threshold, "{score} at {rate}");
            }
        }
    }

    #[test]
    fn too_few_photos_promise_nothing() {
        let four = Calibration::new(vec![0.1, 0.2, 0.3, 0.4]);
        let decide = |score, rate| Decision::new(four.p_value(score).unwrap(), 4, rate);
        assert_eq!(decide(0.5, 0.05), Decision::Uncertain, "beyond all, but 5 % needs 19");
        assert_eq!(decide(0.5, 0.2), Decision::Ng);
        assert_eq!(decide(0.35, 0.05), Decision::Ok);
    }

    /// At most the promised share of good parts is called defective, whatever the distribution of their scores is.
    #[test]
    fn the_rate_is_kept() {
        let mut state = 7u64;
        let mut draw = || {
            state = state.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
            ((state >> 40) as f32 / (1u64 << 24) as f32).powi(3)
        };
        let (mut alarms, rounds) = (0, 20_000);
        for _ in 0..rounds {
            let calibration = Calibration::new((0..19).map(|_| draw()).collect());
            let p = calibration.p_value(draw()).unwrap();
            alarms += usize::from(Decision::new(p, 19, 0.05) == Decision::Ng);
        }
        let rate = alarms as f64 / f64::from(rounds);
        assert!((0.045..0.055).contains(&rate), "{rate}");
    }
}
