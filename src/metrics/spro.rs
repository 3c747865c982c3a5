//! Saturated per-region overlap (sPRO), as in the official MVTec LOCO AD evaluation (Bergmann et al., IJCV 2022,
//! section 4.2, and its evaluation code 2.0). Thresholds are added until the curve is fine enough.

use super::pixels::{Area, SortedPixels};

/// False-positive rates that AU-sPRO is integrated up to.
pub const LIMITS: [f64; 5] = [0.01, 0.05, 0.1, 0.3, 1.0];

/// The thresholds that MVTec's script uses for a category, in descending order. `parts`: its good photos and the photos
/// of both kinds of anomaly. For more than ten million pixels, the script draws its first thresholds from a random
/// sample. Here they are the quantiles of all pixels, as in the script for fewer pixels. The script stops at equal
/// thresholds. Here they count once.
pub fn official_thresholds(parts: &[&SortedPixels]) -> Vec<f64> {
    const ROUNDS: usize = 10;
    /// A round closes at most `MOST` gaps, and adds at least `LEAST` thresholds.
    const MOST: usize = 100;
    const LEAST: usize = 20;
    /// Largest allowed distance of two neighbouring points of the curve.
    const DISTANCE: f64 = 0.001;
    let mut thresholds = first_thresholds(parts);
    if thresholds.is_empty() {
        return thresholds;
    }
    thresholds.dedup();
    for _ in 0..ROUNDS {
        let points = spro_curve(parts, &thresholds);
        let gap = |i: &usize| {
            let ((x, y), (next_x, next_y)) = (points[*i], points[i + 1]);
            ((next_x - x).hypot(next_y - y), 0.5 * (next_x - x) * (next_y - y))
        };
        let is_wide = |i: &usize| {
            let (distance, area) = gap(i);
            distance > DISTANCE && area > 0.25 * DISTANCE * DISTANCE
        };
        let mut wide: Vec<(f64, usize)> =
            (0..points.len() - 1).filter(is_wide).map(|i| (gap(&i).0, i)).collect();
        if wide.is_empty() {
            break;
        }
        wide.sort_by(|a, b| b.0.total_cmp(&a.0));
        wide.truncate(MOST);
        let mut left = LEAST.saturating_sub(wide.len()) as f64;
        let mut distances: f64 = wide.iter().map(|(distance, _)| distance).sum();
        for (distance, i) in wide {
            let more = (distance / distances * left).round_ties_even();
            let width = (thresholds[i + 1] - thresholds[i]) / (more + 2.0);
            let first = thresholds[i];
            thresholds.extend((1..=more as usize + 1).map(|k| first + k as f64 * width));
            left -= more;
            distances -= distance;
        }
        thresholds.sort_by(|a, b| b.total_cmp(a));
    }
    thresholds
}

/// A score that more than one in fifty pixels share. MVTec's script would begin with equal thresholds, and stop. `None`
/// if there is no such score.
pub fn plateau(parts: &[&SortedPixels]) -> Option<f32> {
    let thresholds = first_thresholds(parts);
    thresholds.windows(2).find(|pair| pair[0] == pair[1]).map(|pair| pair[0] as f32)
}

/// Fifty quantiles of all pixels in descending order. The first is above every score, the last is below every score.
fn first_thresholds(parts: &[&SortedPixels]) -> Vec<f64> {
    const COUNT: usize = 50;
    const EPSILON: f64 = 1e-6;
    let total: usize = parts.iter().map(|part| part.count()).sum();
    if total == 0 {
        return vec![];
    }
    let at = |rank: usize| f64::from(ranked(parts, rank));
    let step = (total - 1) as f64 / (COUNT - 1) as f64;
    let mut thresholds = vec![at(total - 1) + EPSILON];
    thresholds.extend((1..COUNT - 1).rev().map(|i| at((i as f64 * step) as usize)));
    thresholds.push(at(0) - EPSILON);
    thresholds
}

/// The curve of [`spro_curve`] from (0, 0) to (1, 1) at about 200 thresholds, for display. High thresholds are closer
/// together.
pub fn coarse_curve(parts: &[&SortedPixels]) -> Vec<(f64, f64)> {
    const POINTS: usize = 200;
    let total: usize = parts.iter().map(|part| part.count()).sum();
    if total == 0 {
        return vec![];
    }
    let threshold = |i: usize| {
        let above = (i as f64 / POINTS as f64).powi(2) * (total - 1) as f64;
        f64::from(ranked(parts, total - 1 - above as usize))
    };
    let mut thresholds: Vec<f64> = (0..=POINTS).map(threshold).collect();
    thresholds.push(f64::NEG_INFINITY);
    spro_curve(parts, &thresholds)
}

/// For each threshold: the false-positive rate and the mean saturated per-region overlap of the pixels above it.
pub fn spro_curve(parts: &[&SortedPixels], thresholds: &[f64]) -> Vec<(f64, f64)> {
    let good: usize = parts.iter().map(|part| part.scores().0.len()).sum();
    let regions: usize = parts.iter().map(|part| part.regions().count()).sum();
    let above = |scores: &[f32], threshold: f64| {
        scores.len() - scores.partition_point(|score| f64::from(*score) <= threshold)
    };
    let point = |&threshold: &f64| {
        let found: usize = parts.iter().map(|part| above(part.scores().0, threshold)).sum();
        let overlaps = parts.iter().flat_map(|part| part.regions()).map(|(scores, saturation)| {
            (above(scores, threshold) as f64 / saturation as f64).min(1.0)
        });
        (found as f64 / good.max(1) as f64, overlaps.sum::<f64>() / regions.max(1) as f64)
    };
    thresholds.iter().map(point).collect()
}

/// The area under a curve up to each false-positive rate, divided by that rate.
pub fn area_up_to(curve: &[(f64, f64)], limits: &[f64]) -> Vec<f64> {
    let mut area = Area::new(limits);
    curve.iter().for_each(|(x, y)| area.to(*x, *y));
    area.finish()
}

/// The area under the ROC curve of photos, as MVTec's script 2.0 computes it. Of photos with equal scores, only the
/// first is a point of the curve, and good photos come first. Without equal scores it equals [`super::auroc`].
pub fn official_image_auroc(good: &[f32], bad: &[f32]) -> Option<f64> {
    let mut order: Vec<(f32, bool)> = good.iter().map(|score| (*score, false)).collect();
    order.extend(bad.iter().map(|score| (*score, true)));
    order.sort_by(|a, b| a.0.total_cmp(&b.0));
    let (mut fp, mut tp) = (good.len(), bad.len());
    let mut points = vec![(1.0, 1.0)];
    for (i, (score, is_bad)) in order.iter().enumerate() {
        *(if *is_bad { &mut tp } else { &mut fp }) -= 1;
        if i == 0 || order[i - 1].0 != *score || i + 1 == order.len() {
            points.push((fp as f64 / good.len() as f64, tp as f64 / bad.len() as f64));
        }
    }
    let steps =
        points.windows(2).map(|pair| (pair[0].0 - pair[1].0) * (pair[0].1 + pair[1].1) / 2.0);
    (!good.is_empty() && !bad.is_empty()).then(|| steps.sum())
}

/// The score at a rank among all pixels. Rank 0 is the lowest score.
fn ranked(parts: &[&SortedPixels], rank: usize) -> f32 {
    // Integers in the order in which `total_cmp` orders the floats.
    let key = |score: f32| {
        let bits = score.to_bits() as i32;
        bits ^ (((bits >> 31) as u32) >> 1) as i32
    };
    let score = |key: i32| f32::from_bits((key ^ (((key >> 31) as u32) >> 1) as i32) as u32);
    let lists: Vec<&[f32]> =
        parts.iter().flat_map(|part| [part.scores().0, part.scores().1]).collect();
    let (mut low, mut high) = (i64::from(i32::MIN), i64::from(i32::MAX));
    while low < high {
        let middle = (low + high).div_euclid(2);
        let upto = |list: &&[f32]| list.partition_point(|s| i64::from(key(*s)) <= middle);
        if lists.iter().map(upto).sum::<usize>() > rank {
            high = middle;
        } else {
            low = middle + 1;
        }
    }
    score(low as i32)
}

#[cfg(test)]
mod tests {
    use super::super::Pixels;
    use super::*;

    #[test]
    fn a_plateau_is_told() {
        let of = |score: fn(usize) -> f32| {
            let scores: Vec<f32> = (0..1000).map(score).collect();
            let mut pixels = Pixels::default();
            pixels.add(&scores, &[false; 1000], []);
            plateau(&[&pixels.sorted()])
        };
        assert_eq!(of(|i| i as f32), None);
        assert_eq!(of(|i| i.max(15) as f32), None);
        assert_eq!(of(|i| i.max(45) as f32), Some(45.0));
    }

    #[test]
    fn ranks_are_those_of_one_sorted_list() {
        let scores = [0.5f32, -2.0, 3.25, -0.0, 0.0, 7.0, -9.5, 0.5];
        let mut pixels = Pixels::default();
        let mask = [true, false, false, true, false, true, false, false];
        pixels.add(&scores, &mask, []);
        let pixels = pixels.sorted();
        let mut all = scores.to_vec();
        all.sort_by(f32::total_cmp);
        let found: Vec<f32> = (0..8).map(|rank| ranked(&[&pixels], rank)).collect();
        assert_eq!(found, all);
    }
}
