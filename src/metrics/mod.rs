//! How well scores and maps separate good from defective. All functions here are pure. They are exact: every distinct
//! score is a threshold. Only [`official_thresholds`] chooses thresholds, as MVTec's script does.

mod pixels;
mod spro;

pub use pixels::{Measured, Pixels, SortedPixels, measure};
pub use spro::{
    LIMITS, area_up_to, coarse_curve, official_image_auroc, official_thresholds, plateau,
    spro_curve,
};

/// The area under the ROC curve: the probability that a defective item has a higher score than a good one. Equal scores
/// count half. `None` without both good and defective items, and if a score is NaN.
///
/// # Panics
/// If the lengths differ.
pub fn auroc(scores: &[f32], is_anomalous: &[bool]) -> Option<f64> {
    measured(scores, is_anomalous).auroc
}

/// The area under the precision-recall curve, as steps: the mean precision at the defective items. `None` without both
/// good and defective items, and if a score is NaN.
///
/// # Panics
/// If the lengths differ.
pub fn average_precision(scores: &[f32], is_anomalous: &[bool]) -> Option<f64> {
    measured(scores, is_anomalous).average_precision
}

/// The highest F1 of all thresholds. `None` without both good and defective items, and if a score is NaN.
///
/// # Panics
/// If the lengths differ.
pub fn f1_max(scores: &[f32], is_anomalous: &[bool]) -> Option<f64> {
    measured(scores, is_anomalous).f1_max
}

/// Photos are measured like the pixels of one picture.
fn measured(scores: &[f32], is_anomalous: &[bool]) -> Measured {
    assert_eq!(scores.len(), is_anomalous.len(), "a label for each score");
    let mut all = Pixels::default();
    all.add(scores, is_anomalous, []);
    measure(&[&all.sorted()], &[])
}

/// The pixels of each 8-connected region of equal labels. The regions are in the order of their first pixels. Label 0
/// is not a region.
pub fn regions(labels: &[u32], width: usize) -> Vec<Vec<usize>> {
    let height = labels.len() / width.max(1);
    let mut free: Vec<bool> = labels.iter().map(|label| *label != 0).collect();
    let mut regions = Vec::new();
    for start in 0..labels.len() {
        if !std::mem::take(&mut free[start]) {
            continue;
        }
        let (mut region, mut next) = (vec![start], 0);
        while let Some(&pixel) = region.get(next) {
            next += 1;
            let (x, y) = (pixel % width, pixel / width);
            for ny in y.saturating_sub(1)..(y + 2).min(height) {
                for nx in x.saturating_sub(1)..(x + 2).min(width) {
                    let other = ny * width + nx;
                    if labels[other] == labels[start] && std::mem::take(&mut free[other]) {
                        region.push(other);
                    }
                }
            }
        }
        regions.push(region);
    }
    regions
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn auroc_counts_pairs() {
        assert_eq!(auroc(&[0.1, 0.4, 0.35, 0.8], &[false, false, true, true]), Some(0.75));
        assert_eq!(auroc(&[0.5, 0.5, 0.5], &[false, true, true]), Some(0.5));
        assert_eq!(auroc(&[0.5], &[true]), None);
        for nan in [f32::NAN, -f32::NAN] {
            assert_eq!(auroc(&[0.5, nan, 0.2], &[true, false, false]), None);
            assert_eq!(auroc(&[nan, 0.1, 0.2], &[true, false, false]), None);
        }
    }

    #[test]
    fn precision_and_f1_are_those_of_scikit_learn() {
        // From scikit-learn's average_precision_score, and the maximum over precision_recall_curve. Two scores are
        // tied.
        let scores = [0.1, 0.4, 0.35, 0.8, 0.4, 0.9];
        let labels = [false, false, true, true, true, false];
        let ap = average_precision(&scores, &labels).unwrap();
        assert!((ap - (0.5 + 0.5 + 0.6) / 3.0).abs() < 1e-12, "{ap}");
        assert_eq!(f1_max(&scores, &labels), Some(0.75));
    }

    #[test]
    fn regions_touch_at_corners() {
        let labels: Vec<u32> = "#..#.#..##......".bytes().map(|b| u32::from(b == b'#')).collect();
        // Rows: #..# / .#.. / ##.. / ....: the left region is connected at corners.
        let found: Vec<usize> = regions(&labels, 4).iter().map(Vec::len).collect();
        assert_eq!(found, [4, 1]);
    }
}
