//! Several products in one stream: each photo goes to the profile whose references it resembles most.

use std::time::Instant;

use super::{Origin, Scorer};
use crate::adapter::Adapter;
use crate::detect::Finding;
use crate::error::{Error, Result};
use crate::image::Photo;
use crate::report::{Record, is_other_product};

/// A photo that is farther from the references than this many times the farthest reference shows another product
/// (docs/measured.md).
const LIKE: f32 = 2.0;

/// Profiles, one of which fits a photo.
pub struct Mixed {
    scorers: Vec<Scorer>,
    /// Profiles with the same features and distances: a photo is encoded once for all of them.
    groups: Vec<Vec<usize>>,
}

/// The profile that a photo resembles most, and its result.
#[derive(Clone, Debug)]
pub struct Match {
    /// The index of the profile.
    pub profile: usize,
    /// How far the photo is from the references, in distances of the farthest reference. None if the profile is of an older
    /// version.
    pub distance: Option<f32>,
    /// Whether the photo resembles the references at all. If not, it shows another product, view or light, or is badly damaged.
    pub is_like: bool,
    /// The result.
    pub record: Record,
    /// The map, and more.
    pub finding: Finding,
}

impl Mixed {
    /// Open profiles ([`Scorer::by_profile`]) with one model, so that photos are encoded once.
    pub fn new(scorers: Vec<Scorer>) -> Self {
        let mut groups: Vec<Vec<usize>> = Vec::new();
        for (i, scorer) in scorers.iter().enumerate() {
            let fitting = groups.iter_mut().find(|group| scorers[group[0]].compares_like(scorer));
            match fitting {
                Some(group) => group.push(i),
                None => groups.push(vec![i]),
            }
        }
        Self { scorers, groups }
    }

    /// The profiles.
    pub fn scorers(&self) -> &[Scorer] {
        &self.scorers
    }

    /// How many photos to score at the same time.
    pub fn photos_at_once(&self) -> usize {
        let counts = self.scorers.iter().map(|scorer| scorer.detector.photos_at_once());
        counts.min().unwrap_or(1)
    }

    /// The result of a photo, by the profile that it resembles most: the median of the patches' distances from its references is
    /// lowest. A defect on less than half of the photo does not count. Profiles of different models have different distances. Of the
    /// best of each, it is the one with the lower [`Match::distance`].
    ///
    /// # Errors
    /// [`Error::Photo`] if the photo fits no profile's region of interest. Otherwise as [`Scorer::score`].
    pub fn score(&self, origin: Origin, photo: &Photo) -> Result<Match> {
        let mut best: Option<Match> = None;
        for group in &self.groups {
            let found = self.best_of(group, origin, photo)?;
            best = match (best, found) {
                (Some(best), Some(found)) if found.is_nearer(&best) => Some(found),
                (None, found) => found,
                (best, _) => best,
            };
        }
        best.ok_or_else(|| {
            let why = "has the shape of no profile's region of interest";
            Error::photo(origin.path, why)
        })
    }

    /// The best of a group. None if the photo fits no region of interest.
    fn best_of(&self, group: &[usize], origin: Origin, photo: &Photo) -> Result<Option<Match>> {
        let fits = |i: &&usize| {
            let region = self.scorers[**i].context.region_about();
            let sides = (photo.width(), photo.height());
            region.is_none_or(|region| region.check(origin.path, sides).is_ok())
        };
        let fitting: Vec<usize> = group.iter().filter(fits).copied().collect();
        let Some(first) = fitting.first() else { return Ok(None) };
        let (start, detector) = (Instant::now(), &self.scorers[*first].detector);
        let prepared = detector.prepare(photo);
        let encoded = detector.encode(&prepared)?;
        let mut nearest = (*first, f32::INFINITY);
        for i in fitting {
            let distance = self.scorers[i].detector.reference_distance(&encoded)?;
            if distance < nearest.1 {
                nearest = (i, distance);
            }
        }
        let (profile, distance) = nearest;
        let Scorer { context, detector } = &self.scorers[profile];
        let photo = (&encoded, prepared.appearance);
        let (record, finding) = context.of_encoded(detector, origin, photo, start)?;
        let farthest = context.profile().and_then(|p| p.about().reference_distance);
        let distance = farthest.map(|farthest| distance / farthest.max(f32::MIN_POSITIVE));
        let is_like = match distance {
            Some(distance) => distance <= LIKE,
            None => !is_other_product(record.unlike_references),
        };
        Ok(Some(Match { profile, distance, is_like, record, finding }))
    }
}

impl Match {
    fn is_nearer(&self, other: &Self) -> bool {
        match (self.distance, other.distance) {
            (Some(own), Some(other)) => own < other,
            _ => self.record.unlike_references < other.record.unlike_references,
        }
    }
}

impl Scorer {
    /// Whether both have the same features of a photo, and the same distances of them.
    fn compares_like(&self, other: &Self) -> bool {
        let own = |scorer: &Self| {
            let about = scorer.context.profile().map(|profile| profile.about());
            let by = about.map(|a| (a.reference_method.clone(), a.reference_blocks.clone()));
            (by, scorer.context.adapter().map(|adapter| Adapter::sha256(adapter).to_string()))
        };
        self.detector.encodes_like(&other.detector) && own(self) == own(other)
    }
}

crate::error::opaque_debug!(Mixed);
