//! What the good photos tell about the profile: odd references, the colour scale, and what damage is found.

use super::damage::{Damage, DamageKind};
use super::{KindReadiness, Readiness, ReferenceAbout};
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
    let distances = references.iter().filter_map(|r| r.score).map(distance).collect();
    let MedianMad { median, spread } = MedianMad::of(distances);
    for reference in references {
        let distance = reference.score.map(distance);
        reference.is_odd = distance.is_some_and(|d| d - median > SPREADS * spread.max(0.02));
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

/// Damage of a kind is found if this share of its clear cases is.
const FOUND: f64 = 0.9;
/// Damage of a kind is missed if a smaller share of its cases is found.
const MISSED: f64 = 0.5;
/// With this many references the shares are reliable.
const ENOUGH: usize = 8;

/// A damaged copy of a reference photo.
pub(super) struct DamagedCopy {
    pub damage: Damage,
    pub score: HeldOutScore,
}

/// `line`: a photo above it is `ng`. `patch`: the side of a patch, in pixels of the model's input.
pub(super) fn readiness(
    references: &[ReferenceAbout],
    good: &[HeldOutScore],
    damaged: &[DamagedCopy],
    line: Option<f32>,
    (size, patch): (usize, usize),
) -> Readiness {
    let all = good.iter().chain(damaged.iter().map(|copy| &copy.score));
    let scores: Vec<f32> = all.map(|held| held.score).collect();
    let labels: Vec<bool> = (0..scores.len()).map(|i| i >= good.len()).collect();
    let highest = good.iter().map(|held| held.score).reduce(f32::max);
    let line = line.or(highest).filter(|_| !damaged.is_empty());
    let kinds = line.map_or(vec![], |line| kinds(damaged, line));
    let is_hit = |copy: &&DamagedCopy| {
        let (x, y) = copy.score.peak_at;
        copy.damage.at.is_near((x * size as f32, y * size as f32), patch as f32 / 2.0)
    };
    let hits = damaged.iter().filter(is_hit).count();
    let odd = references.iter().filter(|r| r.is_odd).count();
    let (verdict, why) = verdict(&kinds, good.len(), odd);
    Readiness {
        verdict: verdict.into(),
        why,
        kinds,
        damaged: damaged.len(),
        image_auroc: auroc(&scores, &labels),
        peak_on_damage: (!damaged.is_empty()).then(|| hits as f64 / damaged.len() as f64),
    }
}

/// What is found of each kind.
fn kinds(damaged: &[DamagedCopy], line: f32) -> Vec<KindReadiness> {
    let found = |kind: DamageKind, is_slight: bool| {
        let is_own =
            |copy: &&DamagedCopy| (copy.damage.kind, copy.damage.is_slight) == (kind, is_slight);
        let own = damaged.iter().filter(is_own);
        let found: Vec<bool> = own.map(|copy| copy.score.score > line).collect();
        let count = found.iter().filter(|found| **found).count();
        (!found.is_empty()).then(|| count as f64 / found.len() as f64)
    };
    let kind = |kind: DamageKind| KindReadiness {
        kind: kind.name().into(),
        clear: found(kind, false),
        slight: found(kind, true),
    };
    DamageKind::ALL.map(kind).to_vec()
}

fn verdict(kinds: &[KindReadiness], good: usize, odd: usize) -> (&'static str, String) {
    let listed = |share: Option<f64>, kind: &KindReadiness, wanted: &dyn Fn(f64) -> bool| {
        let share = share.filter(|share| wanted(*share))?;
        Some(format!("{} ({:.0} %)", kind.kind, share * 100.0))
    };
    let clear = |wanted: &dyn Fn(f64) -> bool| {
        kinds.iter().filter_map(|kind| listed(kind.clear, kind, wanted)).collect::<Vec<_>>()
    };
    let is_missed = |share: f64| share < MISSED;
    let slight: Vec<String> =
        kinds.iter().filter_map(|kind| listed(kind.slight, kind, &is_missed)).collect();
    let (found, missed) = (clear(&|share| share >= FOUND), clear(&is_missed));
    let some = clear(&|share| (MISSED..FOUND).contains(&share));
    let all = clear(&|_| true).len();
    if all == 0 {
        return ("add references", "a single photo cannot be compared with others".into());
    }
    if odd > 0 && found.len() < all {
        let are = if odd == 1 { "photo is" } else { "photos are" };
        return ("add references", format!("{odd} {are} far from the others: check that first"));
    }
    let lists = [
        ("finds", &found),
        ("finds some of", &some),
        ("misses", &missed),
        ("misses slight damage:", &slight),
    ];
    let lists = lists.iter().filter(|(_, kinds)| !kinds.is_empty());
    let lists: Vec<String> =
        lists.map(|(verb, kinds)| format!("{verb} {}", kinds.join(", "))).collect();
    let what = format!("of clear damage it {}", lists.join("; "));
    match () {
        () if good < ENOUGH => {
            let few = format!("{good} photos are too few to be sure; {ENOUGH} are enough");
            ("add references", format!("{what}. {few}"))
        }
        () if found.len() == all && slight.is_empty() => ("ready", what),
        () if 2 * missed.len() > all => ("not suitable", what),
        () => ("partly", what),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_profile_says_what_it_finds_and_what_it_misses() {
        let of = |found: [f64; 3]| -> Vec<KindReadiness> {
            let names = ["scratch", "stain", "missing part"];
            let kind = |(name, clear): (&str, f64)| KindReadiness {
                kind: name.into(),
                clear: Some(clear),
                slight: None,
            };
            names.into_iter().zip(found).map(kind).collect()
        };
        assert_eq!(
            verdict(&of([1.0, 0.95, 0.0]), 16, 0),
            (
                "partly",
                "of clear damage it finds scratch (100 %), stain (95 %); misses missing part (0 %)"
                    .into()
            )
        );
        assert_eq!(verdict(&of([1.0, 0.95, 0.9]), 16, 0).0, "ready");
        let mut faint = of([1.0, 0.95, 0.9]);
        (faint[0].slight, faint[1].slight) = (Some(0.25), Some(0.5));
        let (verdict_of_faint, why) = verdict(&faint, 16, 0);
        assert_eq!(verdict_of_faint, "partly");
        assert!(why.ends_with("; misses slight damage: scratch (25 %)"), "{why}");
        assert_eq!(verdict(&of([1.0, 0.3, 0.2]), 16, 0).0, "not suitable");
        assert_eq!(verdict(&of([1.0, 1.0, 1.0]), 7, 0).0, "add references");
        assert!(verdict(&of([1.0, 0.2, 1.0]), 16, 1).1.starts_with("1 photo is far"));
        assert_eq!(verdict(&[], 1, 0).0, "add references");
    }

    #[test]
    fn one_odd_photo_in_five_is_flagged_and_a_quiet_five_are_not() {
        let flagged = |scores: &[f32], rule: &Fusion| -> Vec<usize> {
            let about = |&score: &f32| ReferenceAbout {
                file: String::new(),
                sha256: String::new(),
                score: Some(score),
                is_odd: false,
                appearance: None,
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
