//! The highest of a matrix of similarities, of every row and of every column in one pass.

use pulp::{Simd, WithSimd};

use super::vectorised;

/// The highest value so far, and where it was; the first of several.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Highest {
    pub value: f32,
    pub at: u32,
}

impl Highest {
    pub const NONE: Self = Self { value: f32::NEG_INFINITY, at: 0 };
}

/// The same for many columns.
pub(crate) struct HighestOfColumns {
    values: Vec<f32>,
    at: Vec<u32>,
}

impl HighestOfColumns {
    pub fn new(columns: usize) -> Self {
        Self { values: vec![f32::NEG_INFINITY; columns], at: vec![0; columns] }
    }

    /// Meets a part of row number `row` that begins at column `first`: raises its columns, and `own`, the row's own
    /// highest.
    pub fn meet(&mut self, row: u32, first: usize, part: &[f32], own: &mut Highest) {
        let columns = first..first + part.len();
        let (values, at) = (&mut self.values[columns.clone()], &mut self.at[columns]);
        let highest = vectorised(Meet { part, row, values, at });
        if highest > own.value {
            // Once more for the place: cheaper than to carry it along.
            let found = part.iter().position(|value| *value == highest).unwrap_or_default();
            *own = Highest { value: highest, at: (first + found) as u32 };
        }
    }

    pub fn of(&self, column: usize) -> Highest {
        Highest { value: self.values[column], at: self.at[column] }
    }
}

struct Meet<'a> {
    part: &'a [f32],
    row: u32,
    values: &'a mut [f32],
    at: &'a mut [u32],
}

impl WithSimd for Meet<'_> {
    type Output = f32;

    #[inline(always)]
    fn with_simd<S: Simd>(self, _: S) -> f32 {
        const LANES: usize = 16;
        let Self { part, row, values, at } = self;
        for ((&new, best), at) in part.iter().zip(values).zip(at) {
            let is_higher = new > *best;
            *best = if is_higher { new } else { *best };
            *at = if is_higher { row } else { *at };
        }
        let (chunks, rest) = part.as_chunks::<LANES>();
        let mut lanes = [f32::NEG_INFINITY; LANES];
        for chunk in chunks {
            for (lane, &value) in lanes.iter_mut().zip(chunk) {
                *lane = if value > *lane { value } else { *lane };
            }
        }
        lanes.iter().chain(rest).fold(f32::NEG_INFINITY, |a, &b| if b > a { b } else { a })
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
            columns.meet(i as u32, 0, &row[..1], own);
            columns.meet(i as u32, 1, &row[1..], own);
        }
        let at = |h: Highest| (h.value, h.at);
        assert_eq!(rows.map(at), [(0.9, 1), (0.9, 1), (0.8, 0)]);
        let columns: Vec<_> = (0..3).map(|i| at(columns.of(i))).collect();
        assert_eq!(columns, [(0.8, 1), (0.9, 0), (0.7, 2)]);
    }
}
