//! How well scores and maps separate good from defective: pure functions on slices, exact (every distinct score
//! is a threshold).

/// The area under the ROC curve: the probability that a defective one scores higher than a good one, ties counted
/// half. None without both.
///
/// # Panics
/// If the lengths differ.
pub fn auroc(scores: &[f32], is_anomalous: &[bool]) -> Option<f64> {
    assert_eq!(scores.len(), is_anomalous.len(), "a label for each score");
    area_under_roc(scores.iter().copied().zip(is_anomalous.iter().copied()).collect())
}

/// [`auroc`] over all pixels of some photos.
pub fn pixel_auroc(photos: &[Labelled]) -> Option<f64> {
    let pixels = photos.iter().flat_map(|p| p.map.iter().copied().zip(p.mask.iter().copied()));
    area_under_roc(pixels.collect())
}

fn area_under_roc(mut order: Vec<(f32, bool)>) -> Option<f64> {
    order.sort_unstable_by(|a, b| a.0.total_cmp(&b.0));
    let (mut wins, mut good, mut bad) = (0.0, 0.0, 0.0);
    for equal in order.chunk_by(|a, b| a.0 == b.0) {
        let anomalous = equal.iter().filter(|(_, anomalous)| *anomalous).count() as f64;
        let normal = equal.len() as f64 - anomalous;
        wins += anomalous * (good + normal / 2.0);
        good += normal;
        bad += anomalous;
    }
    (good > 0.0 && bad > 0.0).then(|| wins / (good * bad))
}

/// A photo's map with its ground truth, `[height, width]` both.
#[derive(Clone, Copy, Debug)]
pub struct Labelled<'a> {
    /// The anomaly map.
    pub map: &'a [f32],
    /// The defective pixels.
    pub mask: &'a [bool],
    /// Width of both.
    pub width: usize,
}

/// The area under the per-region-overlap curve up to a false-positive rate of `limit` (0..1), divided by
/// `limit` (Bergmann et al., IJCV 2021, section 5.2): the mean share of each defective region that lies above a threshold,
/// over the share of good pixels that do. Regions are 8-connected. None without a region or a good pixel.
pub fn au_pro(photos: &[Labelled], limit: f64) -> Option<f64> {
    // Each pixel with its region's number; 0 is none.
    let mut pixels: Vec<(f32, u32)> = Vec::new();
    let mut sizes = vec![0usize];
    for photo in photos {
        assert_eq!(photo.map.len(), photo.mask.len(), "a mask of the map's size");
        let (labels, found) = components(photo.mask, photo.width);
        let first = sizes.len() as u32 - 1;
        let number = |label: u32| if label == 0 { 0 } else { first + label };
        pixels.extend(photo.map.iter().zip(&labels).map(|(&value, &label)| (value, number(label))));
        sizes.extend(found);
    }
    let regions = sizes.len() - 1;
    let good = pixels.iter().filter(|(_, region)| *region == 0).count();
    if good == 0 || regions == 0 {
        return None;
    }
    pixels.sort_unstable_by(|a, b| b.0.total_cmp(&a.0));
    let (mut fpr, mut pro, mut area, mut positives) = (0.0, 0.0, 0.0, 0usize);
    for equal in pixels.chunk_by(|a, b| a.0 == b.0) {
        let in_regions = equal.iter().filter(|(_, region)| *region > 0);
        positives += equal.len() - in_regions.clone().count();
        let overlap: f64 = in_regions.map(|(_, region)| 1.0 / sizes[*region as usize] as f64).sum();
        let (next_fpr, next_pro) = (positives as f64 / good as f64, pro + overlap / regions as f64);
        if next_fpr >= limit {
            // The last step reaches beyond the limit: as much of it as lies before.
            let rest = limit - fpr;
            let reached =
                if next_fpr > fpr { pro + (next_pro - pro) * rest / (next_fpr - fpr) } else { pro };
            return Some((area + rest * (pro + reached) / 2.0) / limit);
        }
        area += (next_fpr - fpr) * (pro + next_pro) / 2.0;
        (fpr, pro) = (next_fpr, next_pro);
    }
    Some(area / limit)
}

/// For each pixel the number of its 8-connected region, from 1, or 0; and the regions' sizes.
fn components(mask: &[bool], width: usize) -> (Vec<u32>, Vec<usize>) {
    let height = mask.len() / width.max(1);
    let (mut label, mut sizes) = (vec![0u32; mask.len()], Vec::new());
    let mut stack = Vec::new();
    for start in 0..mask.len() {
        if !mask[start] || label[start] != 0 {
            continue;
        }
        let mut size = 0usize;
        label[start] = sizes.len() as u32 + 1;
        stack.push(start);
        while let Some(pixel) = stack.pop() {
            size += 1;
            let (x, y) = (pixel % width, pixel / width);
            for ny in y.saturating_sub(1)..(y + 2).min(height) {
                for nx in x.saturating_sub(1)..(x + 2).min(width) {
                    let next = ny * width + nx;
                    if mask[next] && label[next] == 0 {
                        label[next] = label[start];
                        stack.push(next);
                    }
                }
            }
        }
        sizes.push(size);
    }
    (label, sizes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn auroc_counts_pairs() {
        let auroc = |s: &[f32], l: &[bool]| auroc(s, l);
        assert_eq!(auroc(&[0.1, 0.4, 0.35, 0.8], &[false, false, true, true]), Some(0.75));
        assert_eq!(auroc(&[0.5, 0.5, 0.5], &[false, true, true]), Some(0.5));
        assert_eq!(auroc(&[0.5], &[true]), None);
    }

    #[test]
    fn regions_touch_at_corners() {
        let mask: Vec<bool> = "#..#.#..##......".bytes().map(|b| b == b'#').collect();
        // Rows: #..# / .#.. / ##.. / ....: the left one hangs together over corners.
        assert_eq!(components(&mask, 4).1, [4, 1]);
    }

    #[test]
    fn au_pro_of_a_perfect_and_of_a_blind_map() {
        let mask = [true, true, false, false, false, false, false, false, true];
        let photo = |map| [Labelled { map, mask: &mask, width: 3 }];
        let perfect: Vec<f32> = mask.iter().map(|m| f32::from(*m)).collect();
        assert_eq!(au_pro(&photo(&perfect), 1.0), Some(1.0));
        assert_eq!(au_pro(&photo(&[0.5; 9]), 1.0), Some(0.5));
        assert!((au_pro(&photo(&[0.5; 9]), 0.3).unwrap() - 0.15).abs() < 1e-12);
        assert_eq!(au_pro(&photo(&[0.5; 9])[..0], 0.3), None);
    }
}
