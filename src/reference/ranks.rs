//! Which of the other photos judge a patch, and the score of a photo judged by others.

use std::ops::Range;

use super::{Distances, Places};

/// So many patches are scored by their peak ([`Places::peak`]), as tiles are.
const MANY: usize = 2000;

/// The other photos that judge a patch: a part of them, ordered by the distance of their nearest patch. The mean of
/// these distances is the patch's score.
#[derive(Clone, Copy, Debug, PartialEq, serde::Serialize)]
#[serde(into = "[f64; 2]")]
pub struct Ranks {
    /// Where the part begins and ends, 0..1.
    from: f64,
    to: f64,
}

impl Ranks {
    /// The nearest 30 % (MuSc, section 3.2). A defect that looks alike on more photos counts as normal.
    pub const MUSC: Self = Self { from: 0.0, to: 0.3 };
    /// From 20 to 50 %: a defect that looks alike on up to 20 % of the photos is seen in full. So is a harmless variant
    /// that so few photos share. The numbers were chosen on generated photos (`docs/measured.md`).
    pub const REPEATS: Self = Self { from: 0.2, to: 0.5 };

    /// The part of so many photos.
    pub(super) fn of(self, others: usize) -> Range<usize> {
        let at = |share: f64| (share * others as f64) as usize;
        at(self.from)..at(self.to).max(at(self.from) + 1)
    }

    /// The mean of the part of ascending distances to so many photos. Only the lowest distances may be given.
    pub(super) fn mean(self, lowest: &[f32], others: usize) -> f64 {
        let Range { start, end } = self.of(others);
        let end = end.min(lowest.len());
        let part = &lowest[start.min(end.saturating_sub(1))..end];
        part.iter().map(|d| f64::from(*d)).sum::<f64>() / part.len() as f64
    }
}

impl From<Ranks> for [f64; 2] {
    fn from(Ranks { from, to }: Ranks) -> Self {
        [from, to]
    }
}

/// A map with its score. Places that do not count become 0.
pub(super) fn scored(mut map: Vec<f32>, places: &Places, size: usize) -> Distances {
    let patches = map.iter_mut().enumerate();
    patches.filter(|(i, _)| !places.holds(*i)).for_each(|(_, value)| *value = 0.0);
    let mut distances = places.distances(map);
    if places.0.is_none() && distances.map.len() < MANY {
        // MuSc takes the highest value of the enlarged map. It may be lower than the highest value of the grid.
        distances.score = distances.map_at(size).into_iter().fold(0.0, f32::max);
    }
    distances
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_ranks_of_musc_are_the_nearest_three_tenths() {
        let of = |ranks: Ranks| [2, 3, 5, 24, 35].map(|others| ranks.of(others));
        assert_eq!(of(Ranks::MUSC), [0..1, 0..1, 0..1, 0..7, 0..10]);
        assert_eq!(of(Ranks::REPEATS), [0..1, 0..1, 1..2, 4..12, 7..17]);
    }
}
