//! What the good photos tell about the profile: odd references, the colour scale, and whether damage is visible.

use super::damage::Rectangle;
use super::{Readiness, ReferenceAbout};
use crate::detect::{Fusion, HeldOutScore};
use crate::metrics::auroc;
use crate::stats::{MedianMad, mean_and_spread};

/// Marks references that lie more than five spreads (scaled median absolute deviations) above the median. By chance,
/// one in twenty sets of five good photos has such a photo, and one in a hundred sets of sixteen.
pub(super) fn flag_odd(references: &mut [ReferenceAbout], rule: &Fusion) {
    const SPREADS: f32 = 5.0;
    // With fewer than four photos the spread says nothing.
    if references.len() < 4 {
        return;
    }
    let distance = |score: f32| rule.spread_out(score);
    let distances: Vec<f32> = references.iter().filter_map(|r| r.score).map(distance).collect();
    let MedianMad { median, spread } = MedianMad::of(distances.clone());
    for (reference, distance) in references.iter_mut().zip(distances) {
        reference.is_odd = distance - median > SPREADS * spread.max(0.02);
    }
}

/// The map values at both ends of the colour scale. The lower end is one standard deviation above the mean peak of the
/// good maps. About five of six good photos stay below it. (The highest peak of a few photos would be too random.) The
/// upper end is farther away by a third of the distance between the lower end and the mean of the maps' medians.
pub(super) fn scale(held: &[&HeldOutScore]) -> (f32, f32) {
    if held.is_empty() {
        return (0.5, 0.8);
    }
    let (mean, spread) = mean_and_spread(held.iter().map(|held| held.peak));
    let middle = held.iter().map(|held| held.median).sum::<f32>() / held.len() as f32;
    let low = (mean + spread.max(0.02)).min(0.98);
    (low, (low + ((low - middle) / 3.0).max(0.02)).min(1.0))
}

/// The share of pairs of good and damaged photos that must be in the right order.
const READY: f64 = 0.9;
/// With this many references the share is reliable.
const ENOUGH: usize = 8;
/// With this many references, more of them will not help.
const MANY: usize = 16;

/// Rounds down, so that the shown number is never too high.
fn shown(auroc: f64) -> String {
    let percent = (auroc * 1000.0).floor() / 10.0;
    format!("simulated damage scores above good parts in {percent:.1} %")
}

pub(super) fn readiness(
    references: &[ReferenceAbout],
    good: &[HeldOutScore],
    damaged: &[HeldOutScore],
    boxes: &[Rectangle],
    size: usize,
    grid: usize,
) -> Readiness {
    let scores: Vec<f32> = good.iter().chain(damaged).map(|held| held.score).collect();
    let labels: Vec<bool> = (0..scores.len()).map(|i| i >= good.len()).collect();
    let image_auroc = auroc(&scores, &labels);
    let patch = (size / grid) as f32;
    let on_damage = |(held, damage): (&HeldOutScore, &Rectangle)| {
        let (x, y) = held.peak_at;
        damage.is_near((x * size as f32, y * size as f32), patch / 2.0)
    };
    let hits = damaged.iter().zip(boxes).filter(|pair| on_damage(*pair)).count();
    let peak_on_damage = (!damaged.is_empty()).then(|| hits as f64 / damaged.len() as f64);
    let odd = references.iter().filter(|r| r.is_odd).count();
    let (verdict, why) = match image_auroc {
        None => ("add references", "a single photo cannot be compared with others".to_string()),
        Some(auroc) if odd > 0 && auroc < READY => {
            let are = if odd == 1 { "photo is" } else { "photos are" };
            ("add references", format!("{odd} {are} far from the others: check that first"))
        }
        Some(auroc) if auroc >= READY && good.len() < ENOUGH => {
            let why = format!(
                "{}, but {} photos are too few to be sure of that; {ENOUGH} are enough",
                shown(auroc),
                good.len()
            );
            ("add references", why)
        }
        Some(auroc) if auroc >= READY => ("ready", shown(auroc)),
        Some(auroc) if auroc >= 0.7 => {
            let many = if good.len() < MANY {
                ""
            } else {
                "; use a larger model, as there are enough references"
            };
            ("add references", format!("{} only{many}", shown(auroc)))
        }
        Some(auroc) => {
            let why = "where guessing gives 50 %: another model or another camera view is needed";
            ("not suitable", format!("{}, {why}", shown(auroc)))
        }
    };
    Readiness { verdict: verdict.into(), why, damaged: damaged.len(), image_auroc, peak_on_damage }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_odd_photo_in_five_is_flagged_and_a_quiet_five_are_not() {
        let flagged = |scores: &[f32], rule: &Fusion| -> Vec<usize> {
            let about = |&score: &f32| ReferenceAbout {
                file: String::new(),
                sha256: String::new(),
                score: Some(score),
                is_odd: false,
            };
            let mut references: Vec<_> = scores.iter().map(about).collect();
            flag_odd(&mut references, rule);
            (0..scores.len()).filter(|i| references[*i].is_odd).collect()
        };
        let balanced = Fusion::default();
        assert_eq!(flagged(&[0.5, 0.48, 0.9, 0.52, 0.47], &balanced), [2]);
        assert!(flagged(&[0.5, 0.48, 0.55, 0.52, 0.47], &balanced).is_empty());
        assert!(flagged(&[0.5, 0.5, 0.5, 0.501, 0.5], &balanced).is_empty());
        // A plain mean needs no inverse. The inverse would turn 0.97 into 31, and the others into 8 to 12.
        let plain = Fusion::Mean { prompts: 1.0, references: 1.0, line: None };
        let near_one = [0.9, 0.91, 0.97, 0.92, 0.93];
        assert_eq!(flagged(&near_one, &balanced), [2]);
        assert!(flagged(&near_one, &plain).is_empty());
        assert_eq!(flagged(&[0.5, 0.48, 0.9, 0.52, 0.47], &plain), [2]);
    }
}
