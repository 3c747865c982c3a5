//! How many spreads something lies above the middle, by words and by neighbours.

/// Median and spread of some values: the median deviation, as wide as a normal distribution's standard deviation.
#[derive(Clone, Copy)]
pub(super) struct Middle {
    middle: f32,
    spread: f32,
}

impl Middle {
    pub fn of(mut values: Vec<f32>) -> Self {
        let middle = median(&mut values);
        values.iter_mut().for_each(|value| *value = (*value - middle).abs());
        // Where most are equal, any difference is large, but finite.
        Self { middle, spread: (1.4826 * median(&mut values)).max(1e-6) }
    }

    pub fn spreads_above(self, value: f32) -> f32 {
        (value - self.middle) / self.spread
    }
}

pub(super) fn median(values: &mut [f32]) -> f32 {
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

/// Words and neighbours together, of photos or of places.
#[derive(Clone, Copy)]
pub(super) struct Both {
    words: Middle,
    neighbours: Middle,
    /// What words count for.
    share: f32,
    together: Middle,
}

impl Both {
    pub fn of(words: Vec<f32>, neighbours: Vec<f32>, share: f32) -> Self {
        let whole = Middle { middle: 0.0, spread: 1.0 };
        let pairs: Vec<(f32, f32)> =
            words.iter().copied().zip(neighbours.iter().copied()).collect();
        let mut both = Self {
            words: Middle::of(words),
            neighbours: Middle::of(neighbours),
            share,
            together: whole,
        };
        both.together =
            Middle::of(pairs.into_iter().map(|(w, n)| both.spreads_above(w, n)).collect());
        both
    }

    pub fn spreads_above(&self, words: f32, neighbours: f32) -> f32 {
        let words = self.share * self.words.spreads_above(words);
        self.together.spreads_above(self.neighbours.spreads_above(neighbours) + words)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_minority_moves_neither_middle_nor_spread() {
        let line = Middle::of(vec![1.0, 2.0, 3.0, 4.0, 900.0]);
        assert_eq!((line.middle, line.spread), (3.0, 1.4826));
        assert_eq!(Middle::of(vec![1.0, 2.0]).middle, 1.5);
        assert_eq!(Middle::of(vec![0.5; 9]).spreads_above(0.5), 0.0);
    }

    #[test]
    fn words_count_half_or_nothing() {
        let (words, neighbours) = (vec![0.0, 1.0, 2.0, 9.0], vec![3.0, 1.0, 2.0, 0.0]);
        let alone = Both::of(words.clone(), neighbours.clone(), 0.0);
        assert_eq!(alone.spreads_above(0.0, 3.0), alone.spreads_above(99.0, 3.0));
        let both = Both::of(words, neighbours, 0.5);
        let step = |words: f32, neighbours: f32| {
            both.spreads_above(words, neighbours) - both.spreads_above(0.0, 0.0)
        };
        let ratio = step(both.words.spread, 0.0) / step(0.0, both.neighbours.spread);
        assert!((ratio - 0.5).abs() < 1e-5, "{ratio}");
    }
}
