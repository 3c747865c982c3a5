//! Says what ignored things hide.

use std::collections::BTreeMap;
use std::fmt::{Display, Formatter};

use blemish::Finding;
use serde::Serialize;

/// A larger share of a photo is no small harmless thing.
const LARGE: f64 = 0.3;
/// In fewer photos, chance decides.
const ENOUGH: usize = 4;
/// With a lower rank correlation, the order of the photos is another one.
const SAME_ORDER: f64 = 0.8;

/// What ignored things did to some photos.
#[derive(Default)]
pub struct Ignoring {
    things: BTreeMap<String, Hidden>,
    /// The score of each photo before and after ignoring.
    scores: Vec<(f32, f32)>,
}

/// What one ignored thing did: in how many photos it covers a large share, how many scores it lowers, and the sum of the
/// shares that it covers.
#[derive(Default)]
struct Hidden {
    covers: usize,
    lowers: usize,
    area: f64,
}

/// What an ignored thing did to some photos, as a result.
#[derive(Serialize)]
pub struct IgnoredThing {
    name: String,
    photos: usize,
    /// How many scores it lowers.
    lowers: usize,
    /// The mean share of a photo that it covers, 0..1.
    area: f64,
}

impl Display for IgnoredThing {
    fn fmt(&self, f: &mut Formatter<'_>) -> std::fmt::Result {
        let Self { name, photos, lowers, area } = self;
        let percent = area * 100.0;
        write!(
            f,
            "ignored {name:?}: lowers the score of {lowers} of {photos} photos, covers {percent:.1} % of a photo on \
             average"
        )
    }
}

impl Ignoring {
    /// Counts a photo.
    pub fn add(&mut self, finding: &Finding) {
        self.scores.push((finding.score_before_ignoring, finding.score));
        for (i, thing) in finding.ignored.iter().enumerate().filter(|(_, thing)| thing.counts) {
            let hidden = self.things.entry(thing.name.clone()).or_default();
            hidden.covers += usize::from(thing.area > LARGE);
            hidden.lowers += usize::from(finding.discounted_by == Some(i));
            hidden.area += thing.area;
        }
    }

    /// What each ignored thing did.
    pub fn rows(&self) -> Vec<IgnoredThing> {
        let photos = self.scores.len();
        let row = |(name, hidden): (&String, &Hidden)| IgnoredThing {
            name: name.clone(),
            photos,
            lowers: hidden.lowers,
            area: hidden.area / photos as f64,
        };
        self.things.iter().map(row).collect()
    }

    /// A warning for each thing that hides much in more than half of the photos. A warning if the photos change their
    /// order.
    pub fn warnings(&self) -> Vec<String> {
        let photos = self.scores.len();
        let is_most = |count: usize| photos >= ENOUGH && 2 * count > photos;
        let advice = "it may hide defects; use narrower words, or do not ignore it";
        let warning = |(name, hidden): (&String, &Hidden)| {
            let what = match hidden {
                Hidden { lowers, .. } if is_most(*lowers) => {
                    format!("lowers the score of {lowers} of {photos} photos")
                }
                Hidden { covers, .. } if is_most(*covers) => {
                    format!("covers more than 30 % of {covers} of {photos} photos")
                }
                _ => return None,
            };
            Some(format!("the ignored \"{name}\" {what}: {advice}"))
        };
        let mut warnings: Vec<String> = self.things.iter().filter_map(warning).collect();
        if let (true, Some(order)) = (warnings.is_empty() && photos >= ENOUGH, self.order()) {
            let lowering = self.things.iter().filter(|(_, hidden)| hidden.lowers > 0);
            let names: Vec<String> = lowering.map(|(name, _)| format!("\"{name}\"")).collect();
            if order < SAME_ORDER {
                let names = names.join(", ");
                warnings.push(format!(
                    "ignoring {names} changes the order of the photos (rank correlation {order:.2}): {advice}"
                ));
            }
        }
        warnings
    }

    /// Spearman's rank correlation of the scores before and after ignoring. None if nothing is lowered.
    fn order(&self) -> Option<f64> {
        let photos = self.scores.len() as f64;
        let [before, after] = [|pair: &(f32, f32)| pair.0, |pair: &(f32, f32)| pair.1]
            .map(|of| ranks(self.scores.iter().map(of)));
        let squares: f64 = before.iter().zip(&after).map(|(a, b)| (a - b).powi(2)).sum();
        let is_lowered = self.things.values().any(|hidden| hidden.lowers > 0);
        is_lowered.then(|| 1.0 - 6.0 * squares / (photos * (photos * photos - 1.0)))
    }
}

/// The rank of each value.
fn ranks(values: impl Iterator<Item = f32>) -> Vec<f64> {
    let mut order: Vec<(usize, f32)> = values.enumerate().collect();
    order.sort_by(|a, b| a.1.total_cmp(&b.1));
    let mut ranks = vec![0.0; order.len()];
    order.iter().enumerate().for_each(|(rank, (photo, _))| ranks[*photo] = rank as f64);
    ranks
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn most_photos_must_be_hidden() {
        let told = |photos, covers, lowers| {
            let things =
                BTreeMap::from([("oil".to_string(), Hidden { covers, lowers, area: 0.2 })]);
            Ignoring { scores: vec![(0.5, 0.5); photos], things }.warnings()
        };
        assert!(told(10, 5, 5).is_empty() && told(3, 3, 3).is_empty());
        assert!(told(10, 0, 6)[0].contains("\"oil\" lowers the score of 6 of 10 photos"));
        assert!(told(4, 3, 0)[0].contains("covers more than 30 % of 3 of 4 photos"));
    }

    #[test]
    fn another_order_of_the_photos_is_told() {
        let told = |after: [f32; 5]| {
            let things = [("oil", 2), ("dust", 0)]
                .map(|(name, lowers)| (name.to_string(), Hidden { covers: 0, lowers, area: 0.5 }));
            let before = [0.1, 0.2, 0.3, 0.8, 0.9];
            let scores = before.into_iter().zip(after).collect();
            let ignoring = Ignoring { scores, things: things.into() };
            (ignoring.warnings(), ignoring.rows())
        };
        let (warnings, rows) = told([0.1, 0.2, 0.3, 0.15, 0.05]);
        assert!(warnings[0].contains("ignoring \"oil\" changes the order"), "{warnings:?}");
        let oil = rows[1].to_string();
        assert!(oil.contains("\"oil\": lowers the score of 2 of 5 photos, covers 10.0 %"), "{oil}");
        assert!(told([0.1, 0.2, 0.3, 0.7, 0.6]).0.is_empty(), "two photos change places");
    }
}
