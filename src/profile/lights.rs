//! A profile of parts that have a photo under each of several lights: a profile for each light, and the line of the joined scores.

use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::Arc;

use rayon::prelude::*;
use serde::{Deserialize, Serialize};

use super::{
    Calibration, EnrollOptions, EnrollPhotos, Fusion, OpenPart, Profile, ReferenceAbout, enroll,
};
use crate::clip::Clip;
use crate::data::{Part, Views};
use crate::error::{Error, Result};
use crate::files::{files_sha256, sha256};
use crate::prompt::Product;
use crate::stats::{logistic, mean_and_spread, signed_log1p};

/// How the values of all lights become one: of scores, and of each pixel.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Fuse {
    /// The highest value: one light that sees a defect is enough.
    #[default]
    Max,
    /// `1 - (1 - a)(1 - b)...`: also higher if several lights see something.
    NoisyOr,
    /// The mean.
    Mean,
}

impl Fuse {
    /// All rules.
    pub const ALL: [Self; 3] = [Self::Max, Self::NoisyOr, Self::Mean];

    /// The name on the command line and in results.
    pub fn name(self) -> &'static str {
        match self {
            Self::Max => "max",
            Self::NoisyOr => "noisy-or",
            Self::Mean => "mean",
        }
    }

    /// Joins values of 0..1. NaN is left out. NaN if there is no other value.
    pub fn join(self, values: impl Iterator<Item = f32>) -> f32 {
        let values = values.filter(|value| !value.is_nan());
        let sum = |(sum, count): (f32, f32), value: f32| (sum + value, count + 1.0);
        match self {
            Self::Max => values.fold(f32::NAN, f32::max),
            Self::NoisyOr => {
                match values.fold((1.0, 0.0), |(all, n), v| (all * (1.0 - v), n + 1.0)) {
                    (_, 0.0) => f32::NAN,
                    (none, _) => 1.0 - none,
                }
            }
            Self::Mean => {
                let (sum, count) = values.fold((0.0, 0.0), sum);
                sum / count
            }
        }
    }
}

/// Puts the scores of one light on the scale of its good parts, so that the lights can be compared: 0.5 is a usual good part.
#[derive(Clone, Copy, Debug)]
pub(crate) enum OwnScale {
    /// The scores are on it already.
    Same,
    /// Mean and spread of the good parts' scores, and a map value that they mostly stay below.
    Of { mean: f32, spread: f32, warm: f32 },
}

impl OwnScale {
    fn of(profile: &Profile) -> Self {
        if let Fusion::Balanced(_) = profile.about.fusion {
            return Self::Same;
        }
        let scores = profile.about.references.iter().filter_map(|photo| photo.score);
        let (mean, spread) = mean_and_spread(scores);
        // A few photos may have nearly the same score by chance.
        Self::Of { mean, spread: spread.max(0.02), warm: profile.about.scale.0.max(1e-3) }
    }

    /// How many spreads of the references a score lies above their mean.
    fn spreads(self, score: f32) -> f32 {
        match self {
            // All of these fusions have the same scale.
            Self::Same => Fusion::default().spread_out(score),
            Self::Of { mean, spread, .. } => (score - mean) / spread,
        }
    }

    pub fn score(self, score: f32) -> f32 {
        match self {
            Self::Same => score,
            Self::Of { .. } => of_spreads(self.spreads(score)),
        }
    }

    /// As [`Fusion`] does with distances: 0.5 where good parts mostly stay below.
    pub fn map(self, value: f32) -> f32 {
        match self {
            Self::Same => value,
            Self::Of { warm, .. } => logistic(signed_log1p(3.0 * (value / warm - 1.0))),
        }
    }
}

fn of_spreads(spreads: f32) -> f32 {
    logistic(signed_log1p(spreads))
}

/// Scores of references, in spreads, each on the scale of the other references. A new part is no part of the scale that it is put on, so a
/// reference must not be part of its own. Otherwise the highest of several lights would be too high for new parts.
fn held_out(spreads: &[f32]) -> Vec<f32> {
    let n = spreads.len();
    if n < 3 {
        return spreads.to_vec();
    }
    let (_, own) = mean_and_spread(spreads.iter().copied());
    // Below 1, the scale has its lower limit.
    let least = if own < 0.99 { 1.0 } else { 1e-3 };
    let of = |i: usize| {
        let others = (0..n).filter(|other| *other != i).map(|other| spreads[other]);
        let (mean, spread) = mean_and_spread(others);
        (spreads[i] - mean) / spread.max(least)
    };
    (0..n).map(of).collect()
}

/// The description in a profile of lights.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct LightsAbout {
    /// The version of blemish that wrote it.
    pub version: String,
    /// The product's name, or names.
    pub product: String,
    /// The pattern that says which photos show one part.
    pub views: String,
    /// The lights in order of name.
    pub lights: Vec<String>,
    /// How the lights are joined.
    pub fuse: Fuse,
    /// The share of good parts that may be called `ng`, 0..1.
    pub false_alarm: f64,
    /// The good parts that others are compared with.
    pub references: Vec<PartAbout>,
    /// Good parts that only decide the line.
    pub calibration: Vec<PartAbout>,
}

/// A good part.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct PartAbout {
    /// The part's name, without folders.
    pub part: String,
    /// The joined score, computed as if the part were not among the references. None for a single reference.
    pub score: Option<f32>,
}

/// A profile for each light, and what joins them.
#[derive(Debug)]
pub struct LightsProfile {
    pub(super) about: LightsAbout,
    pub(super) sha256: String,
    /// In the order of the lights.
    pub(crate) profiles: Vec<Profile>,
}

/// The parts to enroll.
#[derive(Clone, Copy, Debug)]
pub struct EnrollParts<'a> {
    /// Good parts. Others are compared with them.
    pub references: &'a [Part],
    /// Other good parts. They only decide the line.
    pub calibration: &'a [Part],
}

/// A profile of lights, and what was left out.
#[derive(Debug)]
pub struct EnrolledLights {
    /// The profile.
    pub profile: LightsProfile,
    /// Parts and photos that could not be used.
    pub unusable: Vec<Error>,
}

/// Enrolls a product whose parts have a photo under each light. All have the lights that most references have.
///
/// # Errors
/// As [`enroll`]. [`Error::Setting`] if no part can be used.
pub fn enroll_lights(
    clip: &Arc<Clip>,
    product: &Product,
    parts: EnrollParts,
    (views, fuse): (&Views, Fuse),
    options: &EnrollOptions,
) -> Result<EnrolledLights> {
    let lights = Part::lights(parts.references);
    let mut unusable = Vec::new();
    let mut usable = |parts: &[Part]| -> Vec<Part> {
        let open = |part: &Part| OpenPart::open(part, &lights, options.depth).map(|_| part.clone());
        let opened: Vec<Result<Part>> = parts.par_iter().map(open).collect();
        opened.into_iter().filter_map(|part| part.map_err(|e| unusable.push(e)).ok()).collect()
    };
    let (references, calibration) = (usable(parts.references), usable(parts.calibration));
    let mut known = HashMap::new();
    let (references, copies) = without_copies(references, &mut known);
    unusable.extend(copies);
    let (calibration, copies) = without_copies(calibration, &mut known);
    unusable.extend(copies);
    if references.is_empty() || lights.is_empty() {
        let why = "give at least one good part with all its photos";
        return Err(unusable.pop().unwrap_or_else(|| Error::setting("reference", why)));
    }
    let mut profiles = Vec::new();
    for (i, light) in lights.iter().enumerate() {
        let of = |parts: &[Part]| -> Vec<PathBuf> {
            parts.iter().map(|part| part.photos[i].1.clone()).collect()
        };
        let (own, more) = (of(&references), of(&calibration));
        let progress = |what: &str, share: f64| {
            (options.progress)(
                &format!("light {light}: {what}"),
                (i as f64 + share) / lights.len() as f64,
            );
        };
        // Every part needs a score under every light.
        let options = EnrollOptions { held_out: own.len(), progress: &progress, ..options.clone() };
        let photos = EnrollPhotos { references: &own, calibration: &more };
        let enrolled = enroll(clip.clone(), product.clone(), photos, &options)?;
        unusable.extend(enrolled.unreadable);
        profiles.push(enrolled.profile);
    }
    let scored = |parts: &[Part], is_held_out| scored(parts, &profiles, fuse, is_held_out);
    let about = LightsAbout {
        version: env!("CARGO_PKG_VERSION").into(),
        product: product.name().into(),
        views: views.pattern().into(),
        lights,
        fuse,
        false_alarm: options.false_alarm,
        references: scored(&references, true)?,
        calibration: scored(&calibration, false)?,
    };
    Ok(EnrolledLights { profile: LightsProfile::new(about, profiles), unusable })
}

/// The joined scores of good parts, from the scores of their photos in the profiles. `is_held_out`: whether they are the references.
fn scored(
    parts: &[Part],
    profiles: &[Profile],
    fuse: Fuse,
    is_held_out: bool,
) -> Result<Vec<PartAbout>> {
    let mut lights = Vec::new();
    for (i, profile) in profiles.iter().enumerate() {
        let all = profile.about.references.iter().chain(&profile.about.calibration);
        let score = |photo: &ReferenceAbout| Some((photo.sha256.clone(), photo.score?));
        let known: HashMap<String, f32> = all.filter_map(score).collect();
        let scale = OwnScale::of(profile);
        let spreads = parts.iter().map(|part| {
            let sha256 = files_sha256(std::slice::from_ref(&part.photos[i].1))?;
            Ok(known.get(&sha256).map(|score| scale.spreads(*score)))
        });
        // None if there is a single reference.
        let spreads: Option<Vec<f32>> = spreads.collect::<Result<Vec<_>>>()?.into_iter().collect();
        lights.push(spreads.map(|all| if is_held_out { held_out(&all) } else { all }));
    }
    let lights: Option<Vec<Vec<f32>>> = lights.into_iter().collect();
    let about = |(i, part): (usize, &Part)| {
        let of = |lights: &Vec<Vec<f32>>| fuse.join(lights.iter().map(|own| of_spreads(own[i])));
        let part = part.name.file_name().unwrap_or_default().to_string_lossy().into_owned();
        PartAbout { part, score: lights.as_ref().map(of) }
    };
    Ok(parts.iter().enumerate().map(about).collect())
}

/// Takes out parts that share a photo with an earlier one: a copy is no further part, and a lamp that fails gives equal photos.
fn without_copies(
    parts: Vec<Part>,
    known: &mut HashMap<String, PathBuf>,
) -> (Vec<Part>, Vec<Error>) {
    let (mut own, mut errors) = (Vec::new(), Vec::new());
    for part in parts {
        let hashes = part.photos.iter().map(|(_, photo)| files_sha256(std::slice::from_ref(photo)));
        let hashes: Vec<String> = match hashes.collect() {
            Ok(hashes) => hashes,
            Err(error) => {
                errors.push(error);
                continue;
            }
        };
        let shared = hashes
            .iter()
            .zip(&part.photos)
            .find_map(|(sha256, photo)| Some((photo, known.get(sha256)?)));
        if let Some(((light, _), of)) = shared {
            let of = of.display();
            let why = format!(
                "its photo under light {light} has the same content as {of}; it is left out"
            );
            errors.push(Error::photo(&part.name, why));
            continue;
        }
        known.extend(hashes.into_iter().zip(part.photos.iter().map(|(_, photo)| photo.clone())));
        own.push(part);
    }
    (own, errors)
}

impl LightsProfile {
    pub(super) fn new(about: LightsAbout, profiles: Vec<Profile>) -> Self {
        let mut profile = Self { about, sha256: String::new(), profiles };
        profile.sha256 = profile.content_sha256();
        profile
    }

    /// The description.
    pub fn about(&self) -> &LightsAbout {
        &self.about
    }

    /// The profile of each light, with the light's name.
    pub fn lights(&self) -> impl Iterator<Item = (&str, &Profile)> {
        self.about.lights.iter().map(|light| &**light).zip(&self.profiles)
    }

    /// The profile of the first light. All have the same product, model and settings.
    pub fn first(&self) -> &Profile {
        &self.profiles[0]
    }

    /// SHA-256 of the content.
    pub fn sha256(&self) -> &str {
        &self.sha256
    }

    /// The joined scores of the good parts that decide the line.
    pub fn calibration(&self) -> Calibration {
        let parts = self.about.references.iter().chain(&self.about.calibration);
        Calibration::new(parts.filter_map(|part| part.score).collect())
    }

    pub(crate) fn scales(&self) -> Vec<OwnScale> {
        self.profiles.iter().map(OwnScale::of).collect()
    }

    /// The profiles of the lights have hashes of their own, so this covers all.
    fn content_sha256(&self) -> String {
        let about = serde_json::to_string(&self.about).unwrap_or_default();
        let all = self.profiles.iter().fold(about, |all, profile| all + "\n" + profile.sha256());
        sha256(all.as_bytes())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lights_are_joined() {
        let join = |fuse: Fuse, values: &[f32]| fuse.join(values.iter().copied());
        let values = [0.5, f32::NAN, 0.2];
        assert_eq!(join(Fuse::Max, &values), 0.5);
        assert!((join(Fuse::NoisyOr, &values) - 0.6).abs() < 1e-6);
        assert!((join(Fuse::Mean, &values) - 0.35).abs() < 1e-6);
        for fuse in Fuse::ALL {
            assert!(join(fuse, &[f32::NAN]).is_nan(), "{}", fuse.name());
        }
    }

    /// At most the promised share of good parts is above the line, though the line is drawn on the parts that make the scale.
    #[test]
    fn the_rate_is_kept_for_the_highest_of_six_lights() {
        let mut state = 7u64;
        let mut draw = || {
            state = state.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
            -((state >> 40) as f32 / (1u64 << 24) as f32).max(1e-7).ln()
        };
        let (lights, parts, rounds) = (6, 19, 2000);
        let mut alarms = 0;
        for _ in 0..rounds {
            let (mut good, mut new) = (vec![f32::MIN; parts], f32::MIN);
            for _ in 0..lights {
                let raw: Vec<f32> = (0..parts).map(|_| draw()).collect();
                let (mean, spread) = mean_and_spread(raw.iter().copied());
                let own: Vec<f32> = raw.iter().map(|value| (value - mean) / spread).collect();
                let highest = good.iter_mut().zip(held_out(&own));
                highest.for_each(|(best, value)| *best = best.max(value));
                new = new.max((draw() - mean) / spread);
            }
            alarms += usize::from(good.iter().all(|value| new > *value));
        }
        let rate = alarms as f64 / f64::from(rounds);
        assert!((0.01..0.055).contains(&rate), "{rate}");
    }

    /// A usual good part of any light has 0.5, and the order of scores stays.
    #[test]
    fn a_plain_mean_is_put_on_the_scale_of_good_parts() {
        let scale = OwnScale::Of { mean: 0.3, spread: 0.1, warm: 0.4 };
        assert!((scale.score(0.3) - 0.5).abs() < 1e-6 && (scale.map(0.4) - 0.5).abs() < 1e-6);
        assert!(scale.score(0.6) > scale.score(0.5) && scale.map(0.9) > scale.map(0.5));
        // One spread above the mean: the logistic function of ln 2.
        assert!((scale.score(0.4) - 2.0 / 3.0).abs() < 1e-5);
    }
}
