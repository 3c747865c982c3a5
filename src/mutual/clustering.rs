//! Tests whether numbers or points fall into two groups.

/// Cuts sorted scores into two groups where this explains most of their variance (Otsu's method). Returns how many
/// scores are in the upper group, and the explained share of the variance, 0..1.
pub(super) fn two_groups(mut scores: Vec<f32>) -> (usize, f64) {
    scores.sort_by(f32::total_cmp);
    let count = scores.len();
    let mean = scores.iter().map(|v| f64::from(*v)).sum::<f64>() / count.max(1) as f64;
    // Values around the mean keep the rounding errors of the sums small.
    let values: Vec<f64> = scores.iter().map(|v| f64::from(*v) - mean).collect();
    let all: f64 = values.iter().map(|v| v * v).sum();
    // Equal scores have no variance to explain.
    if count < 2 || all < 1e-12 * count as f64 {
        return (0, 0.0);
    }
    // The variance between the groups. All values sum to 0, so the sums of the two groups differ only in their sign.
    let mut below = 0.0;
    let cuts = (1..count).map(|at| {
        below += values[at - 1];
        (at, below * below * count as f64 / (at * (count - at)) as f64)
    });
    let best = cuts.reduce(|best, cut| if cut.1 > best.1 { cut } else { best });
    best.map_or((0, 0.0), |(at, between)| (count - at, between / all))
}

/// Two clusters of rows.
pub(super) struct TwoMeans {
    /// For each row, whether it is in the second cluster.
    pub is_second: Vec<bool>,
    /// The share of the rows' variance that the clusters explain, 0..1.
    pub explained: f32,
    /// The cosine distance of the cluster centres, 0..2.
    pub apart: f32,
}

/// 2-means of rows at unit length. It starts from the two sides of the mean along the direction in which the rows vary
/// most, so that a few odd rows do not become a cluster.
pub(super) fn two_means(rows: &[Vec<f32>]) -> TwoMeans {
    const ROUNDS: usize = 50;
    let middle = mean_row(rows, &|_| true);
    let axis = main_axis(rows, &middle);
    let mut is_second: Vec<bool> =
        rows.iter().map(|row| dot(row, &axis) > dot(&middle, &axis)).collect();
    let centres_of = |is_second: &[bool]| {
        [mean_row(rows, &|i| !is_second[i]), mean_row(rows, &|i| is_second[i])]
    };
    let mut centres = centres_of(&is_second);
    for _ in 0..ROUNDS {
        let nearer = |row: &Vec<f32>| squared(row, &centres[1]) < squared(row, &centres[0]);
        let next: Vec<bool> = rows.iter().map(nearer).collect();
        if std::mem::replace(&mut is_second, next) == is_second {
            break;
        }
        centres = centres_of(&is_second);
    }
    let within: f32 =
        rows.iter().zip(&is_second).map(|(row, g)| squared(row, &centres[usize::from(*g)])).sum();
    let total: f32 = rows.iter().map(|row| squared(row, &middle)).sum();
    let [a, b] = &centres;
    let apart = 1.0 - dot(a, b) / (dot(a, a) * dot(b, b)).sqrt().max(f32::MIN_POSITIVE);
    TwoMeans { is_second, explained: 1.0 - within / total.max(f32::MIN_POSITIVE), apart }
}

/// The mean of the wanted rows, chosen by index.
fn mean_row(rows: &[Vec<f32>], wanted: &dyn Fn(usize) -> bool) -> Vec<f32> {
    let chosen: Vec<&Vec<f32>> = (0..rows.len()).filter(|i| wanted(*i)).map(|i| &rows[i]).collect();
    let sum = |k: usize| chosen.iter().map(|row| row[k]).sum::<f32>();
    (0..rows[0].len()).map(|k| sum(k) / chosen.len().max(1) as f32).collect()
}

fn farthest(rows: &[Vec<f32>], from: &[f32]) -> Vec<f32> {
    let by = |a: &&Vec<f32>, b: &&Vec<f32>| squared(a, from).total_cmp(&squared(b, from));
    rows.iter().max_by(by).cloned().unwrap_or_default()
}

/// The direction in which the rows vary most, by power iteration.
fn main_axis(rows: &[Vec<f32>], middle: &[f32]) -> Vec<f32> {
    const ROUNDS: usize = 30;
    let from_middle = |row: &[f32]| row.iter().zip(middle).map(|(a, b)| a - b).collect();
    let mut axis: Vec<f32> = from_middle(&farthest(rows, middle));
    for _ in 0..ROUNDS {
        let mut next = vec![0f32; middle.len()];
        for row in rows {
            let offset: Vec<f32> = from_middle(row);
            let along = dot(&offset, &axis);
            next.iter_mut().zip(&offset).for_each(|(sum, value)| *sum += along * value);
        }
        let length = dot(&next, &next).sqrt().max(f32::MIN_POSITIVE);
        axis = next.into_iter().map(|value| value / length).collect();
    }
    axis
}

fn squared(a: &[f32], b: &[f32]) -> f32 {
    a.iter().zip(b).map(|(a, b)| (a - b).powi(2)).sum()
}

fn dot(a: &[f32], b: &[f32]) -> f32 {
    a.iter().zip(b).map(|(a, b)| a * b).sum()
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
        // The squares around the mean, 3.25, add up to 62.75. The squares around the lower group's mean, 1, add up to
        // 2.
        let (upper, explained) = two_groups(vec![0.0, 1.0, 2.0, 10.0]);
        assert!(
            upper == 1 && (explained - (1.0 - 2.0 / 62.75)).abs() < 1e-9,
            "{upper} {explained}"
        );
    }

    #[test]
    fn two_clusters_explain_their_spread() {
        let row = |i: usize| {
            let side = if i < 6 { 0.0 } else { 1.0 };
            vec![side + (i % 3) as f32 * 0.01, 0.5 - side]
        };
        let TwoMeans { is_second: groups, explained, apart } =
            two_means(&(0..10).map(row).collect::<Vec<_>>());
        assert!(explained > 0.99 && apart > 0.9, "{explained} {apart}");
        assert!((0..10).all(|i| groups[i] == groups[usize::from(i >= 6) * 6]), "{groups:?}");
        assert_ne!(groups[0], groups[9]);
    }
}
