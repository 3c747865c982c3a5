//! Changes of a profile after its enrolment: photos are added or forgotten, and the line is drawn again.

use std::collections::{HashMap, HashSet};
use std::path::PathBuf;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::enroll::fit;
use super::enrolment::{Enrolment, Notes, PhotoFile};
use super::{
    Augment, EnrollOptions, EnrollPhotos, Enrolled, Profile, ProfileAbout, Readiness,
    ReferenceAbout,
};
use crate::clip::Clip;
use crate::detect::MethodInputs;
use crate::error::{Error, Result};
use crate::reference::Region;

/// A change that was made.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Change {
    /// The time, as its maker gave it.
    pub when: String,
    /// Who made it.
    pub who: String,
    /// New references.
    pub references: Vec<PhotoName>,
    /// New photos that only decide the line.
    pub calibration: Vec<PhotoName>,
    /// Photos that were forgotten.
    pub forgotten: Vec<PhotoName>,
    /// The line between ok and ng before. None if there were too few photos for one.
    pub line_before: Option<f32>,
    /// The line after it.
    pub line_after: Option<f32>,
    /// Whether all photos were compared again, because the references changed. Then older scores do not fit the line.
    pub is_refit: bool,
    /// SHA-256 of the profile before.
    pub sha256_before: String,
}

/// A photo of a profile.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct PhotoName {
    /// The file's name, without its folders.
    pub file: String,
    /// SHA-256 of the file.
    pub sha256: String,
}

/// What to change.
#[derive(Clone, Copy)]
pub struct ProfileChange<'a> {
    /// New reference photos.
    pub references: &'a [PathBuf],
    /// New photos of good parts that only decide the line.
    pub calibration: &'a [PathBuf],
    /// Photos to forget: file names, or the first eight letters or more of hashes.
    pub forget: &'a [String],
    /// Files among which the profile's own photos are. They are needed if the references change.
    pub photos: &'a [PathBuf],
    /// The time, for the history.
    pub when: &'a str,
    /// The person, for the history.
    pub who: &'a str,
    /// Called with the current step and its finished share, 0..1.
    pub progress: &'a (dyn Fn(&str, f64) + Sync),
}

/// The new profile, and what changed.
#[derive(Debug)]
pub struct Changed {
    /// The profile, and notes for the user.
    pub enrolled: Enrolled,
    /// Also the last entry of its history. None if nothing changed, because all photos were known.
    pub change: Option<Change>,
}

impl Profile {
    /// The profile with more photos, or with fewer. New photos that only decide the line are scored alone. If the references
    /// change, all photos are compared again, as [`enroll`](super::enroll()) does.
    ///
    /// # Errors
    /// [`Error::Setting`] for a name that no photo or several photos have, and if a photo of the profile is not among
    /// `photos` but needed. Otherwise as [`enroll`](super::enroll()).
    pub fn change(&self, clip: Arc<Clip>, change: &ProfileChange) -> Result<Changed> {
        let forgotten = self.named(change.forget)?;
        let is_reference = |photo: &ReferenceAbout| forgotten.contains(&photo.sha256);
        let is_refit =
            !change.references.is_empty() || self.about.references.iter().any(is_reference);
        let augment = self.augment();
        let options = self.options(&augment, change)?;
        let enrolled = match is_refit {
            true => self.refit(clip, change, (&options, &forgotten))?,
            false => self.redrawn(clip, change, (&options, &forgotten))?,
        };
        self.noted(enrolled, change, is_refit)
    }

    /// The hashes of photos by their names.
    fn named(&self, names: &[String]) -> Result<HashSet<String>> {
        let all = || self.about.references.iter().chain(&self.about.calibration);
        let hash = |name: &String| {
            let start = name.to_lowercase();
            let is_meant = |photo: &&ReferenceAbout| {
                photo.file == *name || (start.len() >= 8 && photo.sha256.starts_with(&start))
            };
            match all().filter(is_meant).collect::<Vec<_>>()[..] {
                [photo] => Ok(photo.sha256.clone()),
                [] => {
                    let why = "is no photo of the profile; `blemish profile show` lists them";
                    Err(Error::setting(format!("forget {name:?}"), why))
                }
                [one, ..] => {
                    let why = format!(
                        "is the name of several photos; give the start of a hash, such as {}",
                        super::short(&one.sha256)
                    );
                    Err(Error::setting(format!("forget {name}"), why))
                }
            }
        };
        names.iter().map(hash).collect()
    }

    fn augment(&self) -> Vec<Augment> {
        let is_in = |augment: &Augment| self.about.augment.iter().any(|a| a == augment.name());
        Augment::ALL.into_iter().filter(is_in).collect()
    }

    /// The options that the profile was enrolled with.
    fn options<'a>(
        &self,
        augment: &'a [Augment],
        change: &ProfileChange<'a>,
    ) -> Result<EnrollOptions<'a>> {
        let about = &self.about;
        let references = crate::reference::reference_method(&about.reference_method)?;
        Ok(EnrollOptions {
            method: crate::detect::method(&about.method)?,
            inputs: MethodInputs { adapter: self.adapter.clone() },
            references,
            layers: references.takes_blocks.then(|| about.reference_blocks.clone()),
            augment,
            fit: about.fit,
            depth: self.bit_depth()?,
            prompts: about.prompts.clone(),
            false_alarm: about.false_alarm,
            region: None,
            seed: about.seed,
            simulates_damage: about.readiness.damaged > 0,
            progress: change.progress,
            ..EnrollOptions::default()
        })
    }

    fn open_region(&self) -> Option<Region> {
        let (about, pixels) = (self.about.region.clone()?, self.region.clone()?);
        Some(Region { about, pixels, note: None })
    }

    /// Compares all photos again.
    fn refit(
        &self,
        clip: Arc<Clip>,
        change: &ProfileChange,
        (options, forgotten): (&EnrollOptions, &HashSet<String>),
    ) -> Result<Enrolled> {
        let mut notes = Notes::default();
        let found = PhotoFile::all(change.photos, &mut notes, &|share| {
            (change.progress)("finding the profile's photos", share);
        });
        let found: HashMap<String, PathBuf> =
            found.into_iter().map(|file| (file.sha256, file.path)).collect();
        let own = |photos: &[ReferenceAbout], new: &[PathBuf]| {
            let kept = photos.iter().filter(|photo| !forgotten.contains(&photo.sha256));
            let (there, gone): (Vec<_>, Vec<_>) =
                kept.partition(|photo| found.contains_key(&photo.sha256));
            let there = there.into_iter().map(|photo| found[&photo.sha256].clone());
            let gone: Vec<String> = gone.into_iter().map(|photo| photo.file.clone()).collect();
            (there.chain(new.iter().cloned()).collect::<Vec<_>>(), gone)
        };
        if self.about.references.iter().all(|photo| forgotten.contains(&photo.sha256))
            && change.references.is_empty()
        {
            let why = "no reference would be left; keep one, or enroll again";
            return Err(Error::setting("forget", why));
        }
        let (references, mut gone) = own(&self.about.references, change.references);
        let (calibration, further) = own(&self.about.calibration, change.calibration);
        gone.extend(further);
        if let Some(first) = gone.first() {
            let why = format!(
                "the references change, so all photos are compared again; {} of the profile's photos are not \
                 there, such as {first}; give the folder that has them",
                gone.len()
            );
            return Err(Error::setting("photos", why));
        }
        let photos = EnrollPhotos { references: &references, calibration: &calibration };
        fit(clip, self.product.clone(), photos, (options, self.open_region()))
    }

    /// Scores new photos. The references stay.
    fn redrawn(
        &self,
        clip: Arc<Clip>,
        change: &ProfileChange,
        (options, forgotten): (&EnrollOptions, &HashSet<String>),
    ) -> Result<Enrolled> {
        let detector = self.detector(clip.clone())?;
        let mut enrolment = Enrolment::begin(clip, &self.pair()?, options, self.open_region());
        let photos = EnrollPhotos { references: &[], calibration: change.calibration };
        let (_, mut files) = enrolment.read(photos);
        let own = || self.about.references.iter().chain(&self.about.calibration);
        files.retain(|file| {
            let of = own().find(|photo| photo.sha256 == file.sha256);
            let copy = of.map(|of| (file.path.clone(), PathBuf::from(&of.file)));
            enrolment.notes.copies.extend(copy);
            of.is_none()
        });
        let (new, _) = enrolment.calibrate(&files, &detector, &self.product)?;
        let kept = self.about.calibration.iter();
        let kept = kept.filter(|photo| !forgotten.contains(&photo.sha256)).cloned();
        let mut calibration: Vec<ReferenceAbout> = kept.chain(new).collect();
        calibration.sort_by(|a, b| a.sha256.cmp(&b.sha256));
        let why = "the line was drawn again; enroll again to measure what is found";
        let readiness = match self.about.readiness.damaged {
            0 => self.about.readiness.clone(),
            _ => Readiness {
                verdict: "not measured".into(),
                why: why.into(),
                kinds: vec![],
                ..self.about.readiness.clone()
            },
        };
        let about = ProfileAbout { calibration, readiness, ..self.about.clone() };
        let Notes { unreadable, copies, note } = enrolment.notes;
        Ok(Enrolled { profile: self.with(about)?, unreadable, copies, note })
    }

    /// The same references and prompts with another description.
    fn with(&self, about: ProfileAbout) -> Result<Self> {
        let (product, tensors) = (self.product.clone(), self.tensors.clone());
        Self::new(about, product, self.adapter.clone(), tensors, self.region.clone())
    }

    /// Adds the change to the history.
    fn noted(
        &self,
        mut enrolled: Enrolled,
        change: &ProfileChange,
        is_refit: bool,
    ) -> Result<Changed> {
        let new = &enrolled.profile;
        let missing = |of: &[ReferenceAbout], from: &[&[ReferenceAbout]]| -> Vec<PhotoName> {
            let known: HashSet<&String> =
                from.iter().copied().flatten().map(|photo| &photo.sha256).collect();
            let of = of.iter().filter(|photo| !known.contains(&photo.sha256));
            of.map(|p| PhotoName { file: p.file.clone(), sha256: p.sha256.clone() }).collect()
        };
        let (before, after) = (&self.about, &new.about);
        let line = |profile: &Self| profile.calibration().threshold(profile.about.false_alarm);
        let all: [&[_]; 2] = [&after.references, &after.calibration];
        let mut forgotten = missing(&before.references, &all);
        forgotten.extend(missing(&before.calibration, &all));
        let made = Change {
            when: change.when.into(),
            who: change.who.into(),
            references: missing(&after.references, &[&before.references]),
            calibration: missing(&after.calibration, &[&before.calibration]),
            forgotten,
            line_before: line(self),
            line_after: line(new),
            is_refit,
            sha256_before: self.sha256.clone(),
        };
        if [&made.references, &made.calibration, &made.forgotten].iter().all(|all| all.is_empty()) {
            return Ok(Changed { enrolled, change: None });
        }
        let mut history = self.about.history.clone();
        history.push(made.clone());
        enrolled.profile = new.with(ProfileAbout { history, ..new.about.clone() })?;
        Ok(Changed { enrolled, change: Some(made) })
    }
}

crate::error::opaque_debug!(ProfileChange<'_>);
