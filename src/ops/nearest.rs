//! The highest value of every row and every column of a matrix of similarities, in one pass.

use pulp::{Simd, WithSimd};

use super::vectorised;

/// The highest value so far, and its position. Of equal values, the first.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Highest {
    pub value: f32,
    pub at: u32,
}

impl Highest {
    pub const NONE: Self = Self { value: f32::NEG_INFINITY, at: 0 };

    /// Adds further values. `first`: position of the first of them.
    pub fn meet(&mut self, first: usize, values: &[f32]) {
        let highest = vectorised(HighestOf(values));
        if highest > self.value {
            // A second search for the position is cheaper than tracking it in the first one.
            let found = values.iter().position(|value| *value == highest).unwrap_or_default();
            *self = Self { value: highest, at: (first + found) as u32 };
        }
    }
}

/// The highest value of each of many columns.
pub(crate) struct HighestOfColumns {
    values: Vec<f32>,
    at: Vec<u32>,
}

impl HighestOfColumns {
    pub fn new(columns: usize) -> Self {
        Self { values: vec![f32::NEG_INFINITY; columns], at: vec![0; columns] }
    }

    /// Adds a part of row number `row`, which begins at column `first`.
    pub fn meet(&mut self, row: u32, first: usize, part: &[f32]) {
        let columns = first..first + part.len();
        let (values, at) = (&mut self.values[columns.clone()], &mut self.at[columns]);
        vectorised(Raise { part, row, values, at });
    }

    /// The highest value of each column.
    pub fn all(&self) -> Vec<Highest> {
        let columns = self.values.iter().zip(&self.at);
        columns.map(|(&value, &at)| Highest { value, at }).collect()
    }
}

struct HighestOf<'a>(&'a [f32]);

impl WithSimd for HighestOf<'_> {
    type Output = f32;

    #[inline(always)]
    fn with_simd<S: Simd>(self, _: S) -> f32 {
        const LANES: usize = 16;
        let (chunks, rest) = self.0.as_chunks::<LANES>();
        let mut lanes = [f32::NEG_INFINITY; LANES];
        for chunk in chunks {
            for (lane, &value) in lanes.iter_mut().zip(chunk) {
                *lane = if value > *lane { value } else { *lane };
            }
        }
        lanes.iter().chain(rest).fold(f32::NEG_INFINITY, |a, &b| if b > a { b } else { a })
    }
}

struct Raise<'a> {
    part: &'a [f32],
    row: u32,
    values: &'a mut [f32],
    at: &'a mut [u32],
}

impl WithSimd for Raise<'_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, _: S) {
        let Self { part, row, values, at } = self;
        for ((&new, best), at) in part.iter().zip(values).zip(at) {
            let is_higher = new > *best;
            *best = if is_higher { new } else { *best };
            *at = if is_higher { row } else { *at };
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_and_columns_find_their_highest() {
        let matrix = [[0.1f32, 0.9, 0.3], [0.8, 0.9, 0.2], [0.8, 0.4, 0.7]];
        let mut columns = HighestOfColumns::new(3);
        let mut rows = [Highest::NONE; 3];
        for (i, (row, own)) in matrix.iter().zip(&mut rows).enumerate() {
            for part in [0..1, 1..3] {
                columns.meet(i as u32, part.start, &row[part.clone()]);
                own.meet(part.start, &row[part]);
            }
        }
        let at = |h: Highest| (h.value, h.at);
        assert_eq!(rows.map(at), [(0.9, 1), (0.9, 1), (0.8, 0)]);
        assert_eq!(
            columns.all().into_iter().map(at).collect::<Vec<_>>(),
            [(0.8, 1), (0.9, 0), (0.7, 2)]
        );
    }
}
