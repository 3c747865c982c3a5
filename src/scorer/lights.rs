//! Scores parts that have a photo under each of several lights.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Instant;

use rayon::prelude::*;

use super::context::OpenProfile;
use super::{Context, ModelRow};
use crate::clip::Clip;
use crate::data::Part;
use crate::detect::{AnomalyMap, Detector, Finding};
use crate::error::{Error, Result};
use crate::image::{BitDepth, Photo};
use crate::profile::{Fuse, LightsProfile, OpenPart, OwnScale, Profile};
use crate::report::{LightRow, Record};

/// A product whose parts have several photos.
pub struct LightScorer {
    /// What is the same for all parts.
    pub context: Context,
    lights: Vec<Light>,
    /// The names of the lights, in order.
    names: Vec<String>,
    fuse: Fuse,
}

struct Light {
    detector: Detector,
    scale: OwnScale,
    /// Good parts mostly stay below this value of the map. None without a profile.
    warm: Option<f32>,
}

/// The result for one part.
#[derive(Debug)]
pub struct PartResult {
    /// The result of all lights together.
    pub record: Record,
    /// Its map and kinds. The kinds are those of the light that saw most.
    pub finding: Finding,
    /// The photo under that light.
    pub photo: Photo,
}

impl LightScorer {
    /// A profile of lights, read from `file`. `false_alarm` replaces its rate.
    ///
    /// # Errors
    /// As [`Profile::detector`].
    pub fn by_profile(
        file: PathBuf,
        profile: LightsProfile,
        clip: Arc<Clip>,
        false_alarm: Option<f64>,
    ) -> Result<Self> {
        let light = |(own, scale): (&Profile, OwnScale)| {
            let warm = Some(own.about().scale.0);
            Ok(Light { detector: own.detector(clip.clone())?, scale, warm })
        };
        let lights = profile.profiles.iter().zip(profile.scales()).map(light);
        let lights = lights.collect::<Result<Vec<Light>>>()?;
        let (calibration, sha256) = (profile.calibration(), profile.sha256().to_string());
        let about = profile.about().clone();
        // Values that are usual under one light stay without colour under all.
        let ends = profile.profiles.iter().zip(&lights).map(|(own, light)| {
            let (low, high) = own.about().scale;
            (light.scale.map(low), light.scale.map(high))
        });
        let scale = ends.fold((0.0, 0.0), |(low, high), own| (own.0.max(low), own.1.max(high)));
        let first = profile.profiles.into_iter().next();
        let enrolled = first.map(|profile| OpenProfile {
            false_alarm: false_alarm.unwrap_or(about.false_alarm),
            calibration,
            sha256,
            scale,
            file,
            profile,
        });
        let enrolled = enrolled.ok_or_else(|| Error::setting("profile", "has no light"))?;
        let context = Context::by_profile(ModelRow::of(&clip), enrolled);
        Ok(Self { context, lights, names: about.lights, fuse: about.fuse })
    }

    /// Scoring by prompts, with a detector for each light.
    pub fn by_prompts(context: Context, lights: Vec<(String, Detector)>, fuse: Fuse) -> Self {
        let light = |detector| Light { detector, scale: OwnScale::Same, warm: None };
        let (names, detectors): (Vec<String>, Vec<Detector>) = lights.into_iter().unzip();
        Self { context, lights: detectors.into_iter().map(light).collect(), names, fuse }
    }

    /// The name of the method of every light.
    pub fn method(&self) -> &'static str {
        self.lights.first().map_or("", |light| light.detector.method().name())
    }

    /// The result for a part.
    ///
    /// # Errors
    /// As [`OpenPart::open`] and [`Scorer::score`](super::Scorer::score).
    pub fn score(&self, part: &Part, depth: BitDepth) -> Result<PartResult> {
        let OpenPart { mut photos, shifts } = OpenPart::open(part, &self.names, depth)?;
        let region = self.context.region_about();
        let size = photos.first().map_or((0, 0), |photo| (photo.width(), photo.height()));
        region.map_or(Ok(()), |region| region.check(part.first(), size))?;
        let start = Instant::now();
        let seen = self.see(&photos)?;
        let milliseconds = start.elapsed().as_secs_f64() * 1e3;
        let scores: Vec<f32> =
            seen.iter().zip(&self.lights).map(|(f, light)| light.scale.score(f.score)).collect();
        let best =
            (1..seen.len()).fold(0, |best, i| if scores[i] > scores[best] { i } else { best });
        let before = seen.iter().zip(&self.lights);
        let before =
            before.map(|(finding, light)| light.scale.score(finding.score_before_ignoring));
        let maps: Vec<Map> = seen
            .iter()
            .zip(&self.lights)
            .zip(&shifts)
            .map(|((finding, light), shift)| Map {
                map: &finding.map,
                scale: light.scale,
                shift: shift.unwrap_or_default(),
            })
            .collect();
        let finding = Finding {
            score: self.fuse.join(scores.iter().copied()),
            score_before_ignoring: self.fuse.join(before),
            map: joined(&maps, self.fuse),
            ..seen[best].clone()
        };
        let method = self.method();
        let mut record =
            self.context.record(part.first().into(), &finding, method, milliseconds, None);
        record.part = Some(part.name.to_string_lossy().into_owned());
        record.light = Some(self.names[best].clone());
        record.fuse = Some(self.fuse.name());
        let rows = part.photos.iter().zip(&maps).zip(scores.iter().zip(&shifts));
        record.lights = rows.map(|(photo, (score, shift))| row(photo, *score, *shift)).collect();
        record.unlike_references = self.unlike(&seen);
        // The heat map lies on the photo of this light.
        let photo = moved_to_first(photos.swap_remove(best), shifts[best].unwrap_or_default())?;
        Ok(PartResult { record, finding, photo })
    }

    /// What each light sees.
    fn see(&self, photos: &[Photo]) -> Result<Vec<Finding>> {
        let at_once = self.lights.first().map_or(1, |light| light.detector.photos_at_once());
        let look = |(light, photo): (&Light, &Photo)| {
            light.detector.inspect(photo, self.context.product())
        };
        let pairs: Vec<(&Light, &Photo)> = self.lights.iter().zip(photos).collect();
        let batches = pairs.chunks(at_once);
        let batches =
            batches.map(|batch| batch.par_iter().map(|pair| look(*pair)).collect::<Vec<_>>());
        batches.flatten().collect()
    }

    /// The mean over the lights of the share of a photo that is unlike its references. None without a profile.
    fn unlike(&self, seen: &[Finding]) -> Option<f64> {
        let share = |(finding, light): (&Finding, &Light)| {
            let warm = light.warm?;
            let values = finding.map.values.iter().filter(|value| !value.is_nan());
            let count = values.clone().filter(|value| **value > warm).count();
            Some(count as f64 / values.count().max(1) as f64)
        };
        let shares: Option<Vec<f64>> = seen.iter().zip(&self.lights).map(share).collect();
        shares.map(|shares| shares.iter().sum::<f64>() / shares.len().max(1) as f64)
    }
}

/// A light's map, and how far it is shifted against the first one's.
struct Map<'a> {
    map: &'a AnomalyMap,
    scale: OwnScale,
    shift: (isize, isize),
}

impl Map<'_> {
    /// The value at a pixel of the first light's photo. NaN outside.
    fn at(&self, x: usize, y: usize) -> f32 {
        let (x, y) = (x as isize + self.shift.0, y as isize + self.shift.1);
        let AnomalyMap { width, height, values } = self.map;
        match (0..*width as isize).contains(&x) && (0..*height as isize).contains(&y) {
            true => self.scale.map(values[y as usize * width + x as usize]),
            false => f32::NAN,
        }
    }
}

/// One map of all lights, in the pixels of the first one's photo.
fn joined(maps: &[Map], fuse: Fuse) -> AnomalyMap {
    let Some(AnomalyMap { width, height, .. }) = maps.first().map(|map| map.map) else {
        return AnomalyMap { width: 0, height: 0, values: vec![] };
    };
    let value = |i: usize| fuse.join(maps.iter().map(|map| map.at(i % width, i / width)));
    let values = (0..width * height).into_par_iter().map(value).collect();
    AnomalyMap { width: *width, height: *height, values }
}

/// A photo with its content where the first light's is.
fn moved_to_first(photo: Photo, (right, below): (isize, isize)) -> Result<Photo> {
    if (right, below) == (0, 0) {
        return Ok(photo);
    }
    let (width, height) = (photo.width(), photo.height());
    let inside = |at: usize, by: isize, side: usize| (at as isize + by).clamp(0, side as isize - 1);
    let pixel = |i: usize| {
        let (x, y) = (inside(i % width, right, width), inside(i / width, below, height));
        let at = 3 * (y as usize * width + x as usize);
        [photo.rgb()[at], photo.rgb()[at + 1], photo.rgb()[at + 2]]
    };
    Photo::from_rgb(width, height, (0..width * height).flat_map(pixel).collect())
}

fn row(
    ((name, path), map): (&(String, PathBuf), &Map),
    score: f32,
    shift: Option<(isize, isize)>,
) -> LightRow {
    let (peak_x, peak_y, peak) = map.map.peak();
    LightRow {
        name: name.clone(),
        path: path.to_string_lossy().into_owned(),
        score,
        peak: map.scale.map(peak),
        peak_x,
        peak_y,
        shift_x: shift.map(|(x, _)| x),
        shift_y: shift.map(|(_, y)| y),
    }
}

crate::error::opaque_debug!(LightScorer);
