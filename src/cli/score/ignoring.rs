//! Warns where ignored things hide much.

use std::collections::BTreeMap;

use blemish::Finding;

/// A larger share of a photo is no small harmless thing.
const LARGE: f64 = 0.3;
/// In fewer photos, chance decides.
const ENOUGH: usize = 4;

/// What ignored things did in a run.
#[derive(Default)]
pub struct Ignoring {
    photos: usize,
    things: BTreeMap<String, Hidden>,
}

/// What one ignored thing did: in how many photos it covers a large share, and how many scores it lowers.
#[derive(Default)]
struct Hidden {
    covers: usize,
    lowers: usize,
}

impl Ignoring {
    /// Counts a photo.
    pub fn add(&mut self, finding: &Finding) {
        self.photos += 1;
        for (i, thing) in finding.ignored.iter().enumerate().filter(|(_, thing)| thing.counts) {
            let hidden = self.things.entry(thing.name.clone()).or_default();
            hidden.covers += usize::from(thing.area > LARGE);
            hidden.lowers += usize::from(finding.discounted_by == Some(i));
        }
    }

    /// A warning for each thing that hides much in more than half of the photos.
    pub fn warnings(&self) -> Vec<String> {
        let is_most = |count: usize| self.photos >= ENOUGH && 2 * count > self.photos;
        let warning = |(name, hidden): (&String, &Hidden)| {
            let what = match hidden {
                Hidden { lowers, .. } if is_most(*lowers) => {
                    format!("lowers the score of {lowers} of {} photos", self.photos)
                }
                Hidden { covers, .. } if is_most(*covers) => {
                    format!("covers more than 30 % of {covers} of {} photos", self.photos)
                }
                _ => return None,
            };
            let advice = "it may hide defects; use narrower words, or do not ignore it";
            Some(format!("warning: the ignored \"{name}\" {what}: {advice}"))
        };
        self.things.iter().filter_map(warning).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn most_photos_must_be_hidden() {
        let told = |photos, covers, lowers| {
            let things = BTreeMap::from([("oil".to_string(), Hidden { covers, lowers })]);
            Ignoring { photos, things }.warnings()
        };
        assert!(told(10, 5, 5).is_empty() && told(3, 3, 3).is_empty());
        assert!(told(10, 0, 6)[0].contains("\"oil\" lowers the score of 6 of 10 photos"));
        assert!(told(4, 3, 0)[0].contains("covers more than 30 % of 3 of 4 photos"));
    }
}
