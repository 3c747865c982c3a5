//! Groups of photos that share something odd: half of the folder has nothing like it. A person says whether it is a
//! defect or a variant. The rule is our own, after CoDeGraph (arXiv 2510.10456), which uses a graph of photos, too.

use std::collections::BTreeSet;

use rayon::prelude::*;

use super::ranks::{Ranks, scored};
use super::{Distances, Places};

/// A patch is unusual if its distance to the typical photo is this many times that of the folder's median photo.
const UNUSUAL: f32 = 1.1;
/// Fewer photos are no group.
const SMALLEST: usize = 3;

/// What the photos of a group share.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Repeated {
    /// It is a defect: members of the group do not judge each other's unusual patches.
    Defect,
    /// It is harmless: members are compared with members only, and the other photos with other photos only.
    Variant,
}

/// Photos that share something odd.
#[derive(Clone, Debug)]
pub struct RepeatGroup {
    /// The photos in ascending order, by their index.
    pub photos: Vec<usize>,
    /// What a person said of it.
    pub is: Option<Repeated>,
    /// For each photo, its most unusual patch that another member has, too.
    pub(crate) patches: Vec<OddPatch>,
}

/// A patch on a grid with `side` patches along one side.
#[derive(Clone, Copy, Debug)]
pub(crate) struct OddPatch {
    pub patch: usize,
    pub side: usize,
    /// How unusual it is: above 1.
    odds: f32,
}

/// How far the patches of a photo are from each of the photos that it was compared with: the other photo, and the mean
/// over blocks and degrees, `[grid^2]`.
pub(super) type FromOthers = Vec<(usize, Vec<f32>)>;

/// The distances of all photos of a folder to each other.
pub(crate) struct AllDistances {
    pub(super) photos: Vec<FromOthers>,
    pub(super) places: Places,
    /// Side of the model's input in pixels.
    pub(super) size: usize,
    pub(super) ranks: Ranks,
}

/// A patch that half of the other photos disagree with, and the photos that have its like.
struct Unusual {
    patch: OddPatch,
    twins: Vec<usize>,
}

/// The half of the other photos that is nearer to a patch.
struct Nearer {
    patch: usize,
    /// Distances in ascending order, and the photos.
    others: Vec<(f32, usize)>,
}

impl Nearer {
    /// The distance to the typical photo.
    fn far(&self) -> f32 {
        self.others.last().map_or(0.0, |(far, _)| *far)
    }
}

/// The unusual patches of all photos.
pub(crate) struct UnusualPatches(Vec<Vec<Unusual>>);

impl AllDistances {
    /// The patches farther from the typical photo than the median photo's oddest patch, with a margin of a tenth. The
    /// typical photo is at the middle of the other photos, in the order of distance. The twins of such a patch come
    /// before the largest relative step of these distances.
    pub fn unusual(&self) -> UnusualPatches {
        let oddest = |photo| self.nearer_half(photo).iter().map(Nearer::far).fold(0.0, f32::max);
        let limit = UNUSUAL * median(self.photos.par_iter().map(oddest).collect());
        let unusual = |photo: &FromOthers| -> Vec<Unusual> {
            let side = photo.first().map_or(0, |(_, map)| map.len().isqrt());
            let patches = self.nearer_half(photo).into_iter().filter(|near| near.far() > limit);
            let unusual = |near: Nearer| Unusual {
                patch: OddPatch { patch: near.patch, side, odds: near.far() / limit },
                twins: twins(&near.others),
            };
            patches.map(unusual).collect()
        };
        UnusualPatches(self.photos.par_iter().map(unusual).collect())
    }

    /// For each patch of a photo that counts.
    fn nearer_half(&self, photo: &FromOthers) -> Vec<Nearer> {
        let patches = photo.first().map_or(0, |(_, map)| map.len());
        let near = |patch: usize| {
            let distances = photo.iter().map(|(other, map)| (map[patch], *other));
            let mut others: Vec<(f32, usize)> = distances.collect();
            others.sort_by(|a, b| a.0.total_cmp(&b.0));
            others.truncate(photo.len().div_ceil(2));
            Nearer { patch, others }
        };
        (0..patches).filter(|patch| self.places.holds(*patch)).map(near).collect()
    }

    /// The distances of a photo if only some of the others judge it. `judges`: whether the other photo judges the
    /// patch. If no photo may judge a patch, all do.
    pub fn judged(&self, photo: usize, judges: &dyn Fn(usize, usize) -> bool) -> Distances {
        let others = &self.photos[photo];
        let value = |patch: usize| {
            if !self.places.holds(patch) {
                return 0.0;
            }
            let from = |all: bool| {
                let others = others.iter().filter(|(other, _)| all || judges(patch, *other));
                others.map(|(_, map)| map[patch]).collect::<Vec<_>>()
            };
            let mut near = from(false);
            if near.is_empty() {
                near = from(true);
            }
            near.sort_by(f32::total_cmp);
            self.ranks.mean(&near, near.len()) as f32
        };
        let patches = others.first().map_or(0, |(_, map)| map.len());
        scored((0..patches).map(value).collect(), &self.places, self.size)
    }
}

impl UnusualPatches {
    /// Whether a patch of a photo is unusual.
    pub fn has(&self, photo: usize, patch: usize) -> bool {
        self.0[photo].binary_search_by_key(&patch, |unusual| unusual.patch.patch).is_ok()
    }
}

/// The groups of a folder, the largest first. `comparisons`: the unusual patches of each comparison. Two photos are
/// linked if each has an unusual patch with a twin in the other. Linked photos are in one group.
pub(crate) fn groups(comparisons: &[UnusualPatches]) -> Vec<RepeatGroup> {
    let count = comparisons.first().map_or(0, |all| all.0.len());
    let mut linked = vec![BTreeSet::new(); count];
    for all in comparisons {
        let twins = |i: usize| -> BTreeSet<usize> {
            all.0[i].iter().flat_map(|unusual| unusual.twins.iter().copied()).collect()
        };
        let twins: Vec<BTreeSet<usize>> = (0..count).map(twins).collect();
        for (i, own) in twins.iter().enumerate() {
            linked[i].extend(own.iter().filter(|j| twins[**j].contains(&i)));
        }
    }
    let mut groups = Vec::new();
    let mut seen = vec![false; count];
    for first in 0..count {
        let (mut members, mut open) = (BTreeSet::new(), vec![first]);
        while let Some(photo) = open.pop() {
            if !std::mem::replace(&mut seen[photo], true) {
                members.insert(photo);
                open.extend(&linked[photo]);
            }
        }
        if members.len() >= SMALLEST {
            let patch = |photo: &usize| oddest(comparisons, *photo, &members);
            let patches = members.iter().filter_map(patch).collect();
            groups.push(RepeatGroup { photos: members.into_iter().collect(), is: None, patches });
        }
    }
    groups.sort_by_key(|group| std::cmp::Reverse(group.photos.len()));
    groups
}

/// The most unusual patch of a photo that a member of its group has, too.
fn oddest(
    comparisons: &[UnusualPatches],
    photo: usize,
    members: &BTreeSet<usize>,
) -> Option<OddPatch> {
    let patches = comparisons.iter().flat_map(|all| &all.0[photo]);
    let shared = patches.filter(|unusual| unusual.twins.iter().any(|twin| members.contains(twin)));
    shared.map(|unusual| unusual.patch).max_by(|a, b| a.odds.total_cmp(&b.odds))
}

/// The photos before the largest relative step. None if that is one photo only.
fn twins(near: &[(f32, usize)]) -> Vec<usize> {
    let log = |at: usize| near[at].0.max(1e-6).ln();
    let mut largest = (0.0, 0);
    for at in 1..near.len() {
        let step = log(at) - log(at - 1);
        if step > largest.0 {
            largest = (step, at);
        }
    }
    match largest.1 {
        0 | 1 => vec![],
        count => near[..count].iter().map(|(_, other)| *other).collect(),
    }
}

fn median(mut values: Vec<f32>) -> f32 {
    values.sort_by(f32::total_cmp);
    match values.len() {
        0 => 0.0,
        count => (values[(count - 1) / 2] + values[count / 2]) / 2.0,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Twelve photos of four patches. Three of them share something odd at patch 2; one more is odd alone, at patch 1.
    fn folder() -> AllDistances {
        let odd = |photo: usize| photo.is_multiple_of(4).then_some(2).or((photo == 5).then_some(1));
        let distance = |photo: usize, other: usize, patch: usize| {
            let noise = ((photo * 7 + other * 5 + patch * 3) % 11) as f32 / 100.0;
            match odd(photo) == Some(patch) {
                true if odd(other) == Some(patch) => 0.05 + noise / 10.0,
                true => 1.0 + noise,
                false => 0.3 + noise,
            }
        };
        let from = |photo: usize| {
            let others = (0..12).filter(|other| *other != photo);
            let map = |other: usize| (0..4).map(|patch| distance(photo, other, patch)).collect();
            others.map(|other| (other, map(other))).collect()
        };
        let places = Places::default();
        let photos = (0..12).map(from).collect();
        AllDistances { photos, places, size: 8, ranks: Ranks::MUSC }
    }

    #[test]
    fn photos_that_share_something_odd_are_a_group() {
        let unusual = folder().unusual();
        assert!(unusual.has(5, 1) && unusual.has(0, 2) && !unusual.has(0, 1) && !unusual.has(3, 2));
        let found = groups(&[unusual]);
        assert_eq!(found.len(), 1);
        assert_eq!(found[0].photos, [0, 4, 8]);
        assert!(found[0].patches.iter().all(|at| (at.patch, at.side) == (2, 2) && at.odds > 1.0));
    }

    #[test]
    fn what_may_not_judge_does_not() {
        let folder = folder();
        // Three of the eleven others judge; for photo 0, two of them have the same oddity.
        let all = folder.judged(0, &|_, _| true).map[2];
        let apart = folder.judged(0, &|_, other| !other.is_multiple_of(4)).map[2];
        assert!(all < 0.45 && apart > 1.0, "{all} {apart}");
        assert_eq!(folder.judged(0, &|_, _| false).map[2], all);
    }

    #[test]
    fn twins_come_before_the_largest_step() {
        let near = |values: &[f32]| values.iter().copied().zip(0..).collect::<Vec<_>>();
        assert_eq!(twins(&near(&[0.1, 0.11, 0.4, 0.5])), [0, 1]);
        assert!(twins(&near(&[0.1, 0.4, 0.5])).is_empty());
        // Of equal steps the first counts.
        assert_eq!(twins(&near(&[0.5, 0.5, 1.0, 2.0])), [0, 1]);
        assert!(twins(&near(&[0.2])).is_empty());
        assert_eq!(median(vec![3.0, 1.0, 2.0, 10.0]), 2.5);
    }
}
