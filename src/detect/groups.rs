//! Whether numbers, or points, fall into two groups.

/// Sorted scores cut in two where the halves explain most of their spread (Otsu's cut): how many are in the upper half, and
/// that share of the variance, 0..1.
pub(super) fn two_groups(mut scores: Vec<f32>) -> (usize, f64) {
    scores.sort_by(f32::total_cmp);
    let left = |at: &usize| squares(&scores[..*at]) + squares(&scores[*at..]);
    let cuts = (1..scores.len()).map(|at| (at, left(&at)));
    let Some((at, left)) = cuts.min_by(|a, b| a.1.total_cmp(&b.1)) else { return (0, 0.0) };
    let all = squares(&scores);
    // Of equal scores nothing is to be explained.
    if all < 1e-12 * scores.len() as f64 { (0, 0.0) } else { (scores.len() - at, 1.0 - left / all) }
}

/// The sum of squared differences from the mean.
fn squares(values: &[f32]) -> f64 {
    let mean = values.iter().map(|v| f64::from(*v)).sum::<f64>() / values.len() as f64;
    values.iter().map(|v| (f64::from(*v) - mean).powi(2)).sum()
}

/// Two clusters of rows of unit length; the share of their spread around the mean that they explain, 0..1, and the
/// cosine distance of their centres. Begins with the row that is farthest from the mean and the one farthest from that.
pub(super) fn two_means(rows: &[Vec<f32>]) -> (Vec<bool>, f32, f32) {
    const ROUNDS: usize = 50;
    let mean = |of: &dyn Fn(usize) -> bool| -> Vec<f32> {
        let chosen: Vec<&Vec<f32>> = (0..rows.len()).filter(|i| of(*i)).map(|i| &rows[i]).collect();
        let sum = |k: usize| chosen.iter().map(|row| row[k]).sum::<f32>();
        (0..rows[0].len()).map(|k| sum(k) / chosen.len().max(1) as f32).collect()
    };
    let far = |a: &[f32], b: &[f32]| a.iter().zip(b).map(|(a, b)| (a - b).powi(2)).sum::<f32>();
    let farthest = |from: &[f32]| {
        let by = |a: &&Vec<f32>, b: &&Vec<f32>| far(a, from).total_cmp(&far(b, from));
        rows.iter().max_by(by).cloned().unwrap_or_default()
    };
    let middle = mean(&|_| true);
    let mut centres = [farthest(&middle), vec![]];
    centres[1] = farthest(&centres[0]);
    let mut groups = vec![false; rows.len()];
    for _ in 0..ROUNDS {
        let is_second = |row: &Vec<f32>| far(row, &centres[1]) < far(row, &centres[0]);
        let next: Vec<bool> = rows.iter().map(is_second).collect();
        if std::mem::replace(&mut groups, next) == groups {
            break;
        }
        centres = [mean(&|i| !groups[i]), mean(&|i| groups[i])];
    }
    let within: f32 =
        rows.iter().zip(&groups).map(|(row, group)| far(row, &centres[usize::from(*group)])).sum();
    let total: f32 = rows.iter().map(|row| far(row, &middle)).sum();
    let dot = |a: &[f32], b: &[f32]| a.iter().zip(b).map(|(a, b)| a * b).sum::<f32>();
    let [a, b] = &centres;
    let apart = 1.0 - dot(a, b) / (dot(a, a) * dot(b, b)).sqrt().max(f32::MIN_POSITIVE);
    (groups, 1.0 - within / total.max(f32::MIN_POSITIVE), apart)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn scores_are_cut_where_they_part() {
        let (upper, explained) = two_groups(vec![0.9, 0.1, 0.15, 0.95, 0.05, 0.12]);
        assert!(upper == 2 && explained > 0.98, "{upper} {explained}");
        assert_eq!(two_groups(vec![0.5]), (0, 0.0));
        assert_eq!(two_groups(vec![0.5; 9]), (0, 0.0));
    }

    #[test]
    fn two_clusters_explain_their_spread() {
        let row = |i: usize| {
            let side = if i < 6 { 0.0 } else { 1.0 };
            vec![side + (i % 3) as f32 * 0.01, 0.5 - side]
        };
        let (groups, explained, apart) = two_means(&(0..10).map(row).collect::<Vec<_>>());
        assert!(explained > 0.99 && apart > 0.9, "{explained} {apart}");
        assert!((0..10).all(|i| groups[i] == groups[usize::from(i >= 6) * 6]), "{groups:?}");
        assert_ne!(groups[0], groups[9]);
    }
}
