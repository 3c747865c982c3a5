//! What is the same for all photos of a run. It turns the finding of a photo into a record.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Instant;

use super::Origin;
use crate::adapter::Adapter;
use crate::clip::Clip;
use crate::detect::{AnomalyMap, Detector, EncodedPhoto, Finding, Ignored, KindResult};
use crate::error::Result;
use crate::files::{files_sha256, sha256};
use crate::image::{Appearance, Fit, Photo, Prepared};
use crate::mutual::{MutualPart, MutualScores, MutualSetup};
use crate::profile::{Calibration, Decision, Profile, TilesAbout};
use crate::prompt::Product;
use crate::reference::{Region, RegionAbout};
use crate::render::{Overlay, Scale, overlay};
use crate::report::{AdapterRow, DefectRow, FolderRow, IgnoredRow, Record, SCHEMA};

/// Which values have which colours.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ScaleOf {
    /// One scale for all photos.
    Run,
    /// A scale for each photo.
    Image,
}

/// Everything that is the same for all photos: model, prompts, profile. It turns the finding of a photo into a record.
pub struct Context {
    product: Product,
    prompts_sha256: String,
    model: ModelRow,
    adapter: Option<Arc<Adapter>>,
    fit: Fit,
    enrolled: Option<OpenProfile>,
    /// The region of interest. A profile brings its own.
    region: Option<Arc<Region>>,
}

/// The model, as results name it.
#[derive(Clone, Debug)]
pub struct ModelRow {
    /// Its name as it was given.
    pub name: String,
    /// SHA-256 of its weights.
    pub sha256: String,
    /// Side of its square input, in pixels.
    pub size: usize,
    /// Its tiles of larger photos.
    pub tiles: Option<TilesAbout>,
    /// How it multiplies.
    pub precision: &'static str,
    /// The model that compares photos: its name and the SHA-256 of its weights.
    pub(super) reference: Option<(String, String)>,
}

impl ModelRow {
    pub(super) fn of(clip: &Clip) -> Self {
        let reference = clip.reference();
        Self {
            name: clip.name().to_string(),
            sha256: clip.sha256().to_string(),
            size: clip.input_size(),
            tiles: TilesAbout::of(clip.tiles()),
            precision: clip.precision().name(),
            reference: reference.map(|dino| (dino.name().into(), dino.sha256().into())),
        }
    }
}

pub(super) struct OpenProfile {
    pub file: PathBuf,
    pub sha256: String,
    /// The map values at both ends of the colour scale.
    pub scale: (f32, f32),
    /// Of several lights: the first one's.
    pub profile: Profile,
    pub calibration: Calibration,
    pub false_alarm: f64,
}

impl OpenProfile {
    pub fn new(file: PathBuf, profile: Profile, false_alarm: Option<f64>) -> Self {
        Self {
            false_alarm: false_alarm.unwrap_or(profile.about().false_alarm),
            calibration: profile.calibration(),
            sha256: profile.sha256().to_string(),
            scale: profile.about().scale,
            file,
            profile,
        }
    }

    /// The p-value of a score, and the verdict.
    fn judge(&self, score: f32) -> (Option<f64>, Decision) {
        let p_value = self.calibration.p_value(score);
        let decide = |p| Decision::new(p, self.calibration.photos(), self.false_alarm);
        (p_value, p_value.map_or(Decision::Uncertain, decide))
    }

    /// None for a student, which compares nothing.
    fn reference_method(&self) -> Option<String> {
        let about = self.profile.about();
        about.student.is_none().then(|| about.reference_method.clone())
    }

    fn scale(&self) -> Scale {
        let (low, high) = self.scale;
        Scale { low, high }
    }
}

impl Context {
    /// Scoring by prompts, and by the other photos of a folder.
    pub fn by_prompts(
        product: Product,
        clip: Arc<Clip>,
        adapter: Option<Arc<Adapter>>,
        fit: Fit,
        region: Option<Arc<Region>>,
    ) -> Self {
        let prompts_sha256 = product.words_sha256();
        let model = ModelRow::of(&clip);
        Self { prompts_sha256, product, model, adapter, fit, enrolled: None, region }
    }

    pub(super) fn by_profile(model: ModelRow, enrolled: OpenProfile) -> Self {
        let profile = &enrolled.profile;
        Self {
            prompts_sha256: profile.product().words_sha256(),
            product: profile.product().clone(),
            model,
            adapter: profile.adapter().cloned().map(Arc::new),
            fit: profile.about().fit,
            region: None,
            enrolled: Some(enrolled),
        }
    }

    /// The product and its prompts.
    pub fn product(&self) -> &Product {
        &self.product
    }

    /// SHA-256 of all prompts and of the kinds that they belong to.
    pub fn prompts_sha256(&self) -> &str {
        &self.prompts_sha256
    }

    /// The profile, if photos are compared with one.
    pub fn profile(&self) -> Option<&Profile> {
        self.enrolled.as_ref().map(|enrolled| &enrolled.profile)
    }

    /// SHA-256 of the profile's content, of all lights together. None without a profile.
    pub fn profile_sha256(&self) -> Option<&str> {
        self.enrolled.as_ref().map(|enrolled| &*enrolled.sha256)
    }

    /// The model. Of a student, the one that it learned from.
    pub fn model(&self) -> &ModelRow {
        &self.model
    }

    /// The region of interest of photos that are scored by prompts.
    pub fn region(&self) -> Option<&Arc<Region>> {
        self.region.as_ref()
    }

    /// The false-alarm rate of the run. None without a profile.
    pub fn false_alarm(&self) -> Option<f64> {
        self.enrolled.as_ref().map(|enrolled| enrolled.false_alarm)
    }

    /// How photos are made square.
    pub fn fit(&self) -> Fit {
        self.fit
    }

    /// The adapter, if the method has one.
    pub fn adapter(&self) -> Option<&Adapter> {
        self.adapter.as_deref()
    }

    /// The region of interest.
    pub fn region_about(&self) -> Option<&RegionAbout> {
        let enrolled = self.enrolled.as_ref().and_then(|e| e.profile.about().region.as_ref());
        self.region.as_ref().map(|region| &region.about).or(enrolled)
    }

    /// The result of a photo, by a detector that fits this context. Prepare the photo with [`Detector::prepare`].
    ///
    /// # Errors
    /// As [`Scorer::score`](super::Scorer::score).
    pub fn score(
        &self,
        detector: &Detector,
        origin: Origin,
        prepared: &Prepared,
    ) -> Result<(Record, Finding)> {
        let region = self.region_about();
        region.map_or(Ok(()), |r| r.check(origin.path, prepared.placement.photo_size()))?;
        let start = Instant::now();
        let encoded = detector.encode(prepared)?;
        self.of_encoded(detector, origin, (&encoded, prepared.appearance), start)
    }

    /// The result of a photo that was encoded since `start`.
    pub(super) fn of_encoded(
        &self,
        detector: &Detector,
        origin: Origin,
        (encoded, appearance): (&EncodedPhoto, Appearance),
        start: Instant,
    ) -> Result<(Record, Finding)> {
        let finding = detector.score(encoded, &self.product)?;
        let milliseconds = start.elapsed().as_secs_f64() * 1e3;
        let mut record =
            self.record(origin, &finding, detector.method().name(), milliseconds, None);
        record.appearance = Some(appearance);
        Ok((record, finding))
    }

    /// The result of a photo that was compared with the others of its folder. None if it could not be read, or if the run was
    /// stopped before it. `setup`: what `scores` were made with. `photo`: its index among the photos.
    pub fn of_folder(
        &self,
        scores: &MutualScores,
        setup: &MutualSetup,
        photo: usize,
    ) -> Option<(Record, Finding)> {
        let (part, i) = scores.find(photo)?;
        let group = scores.groups.as_ref().and_then(|groups| groups[photo]);
        let score = part.results.mutual_score(i);
        let row = score.map(|score| folder_row(setup, part, (i, score), group));
        let by_prompts = setup.method.name();
        let method = match (&row, setup.options.with_prompts) {
            (None, _) => by_prompts.to_string(),
            (Some(_), true) => format!("{by_prompts}+mutual"),
            (Some(_), false) => "mutual".into(),
        };
        let finding = part.results.finding(i);
        let origin = Origin { path: &scores.photos.paths()[photo], content: None };
        let milliseconds = part.encoded.milliseconds[i];
        let mut record = self.record(origin, &finding, &method, milliseconds, row);
        if !part.results.has_prompts() {
            record.adapter = None;
        }
        Some((record, finding))
    }

    /// The record of a finding. `method`: the name of the method. `milliseconds`: how long encoding and scoring took.
    /// `folder`: how the photos of a folder were compared.
    pub fn record(
        &self,
        origin: Origin,
        finding: &Finding,
        method: &str,
        milliseconds: f64,
        folder: Option<FolderRow>,
    ) -> Record {
        let (peak_x, peak_y, peak) = finding.map.peak();
        let defects = finding.kinds.iter().filter(|kind| kind.is_defect);
        let best = &finding.kinds[finding.kind];
        let enrolled = self.enrolled.as_ref();
        let about = enrolled.map(|e| e.profile.about());
        let ModelRow { name, sha256, size, tiles, precision, reference } = self.model.clone();
        let compared_by = reference.filter(|_| enrolled.is_some() || folder.is_some());
        let (reference_model, reference_model_sha256) = compared_by.unzip();
        let (p_value, verdict) = enrolled.map(|e| e.judge(finding.score)).unzip();
        Record {
            schema: SCHEMA,
            path: origin.path.to_string_lossy().into_owned(),
            part: None,
            light: None,
            lights: vec![],
            fuse: None,
            product: self.product.name().to_string(),
            product_english: self.product.english().to_string(),
            prompts_sha256: self.prompts_sha256.clone(),
            region: self.region_about().map(|region| region.file.clone()),
            score: finding.score,
            p_value: p_value.flatten(),
            calibration_photos: enrolled.map(|e| e.calibration.photos()),
            false_alarm: enrolled.map(|e| e.false_alarm),
            verdict: verdict.map(Decision::name),
            peak_x,
            peak_y,
            peak,
            width: finding.map.width,
            height: finding.map.height,
            coverage: finding.coverage,
            appearance: None,
            defect: best.is_defect.then(|| best.name.clone()),
            defects: defects.map(defect_row).collect(),
            score_before_ignoring: finding.score_before_ignoring,
            discounted_by: finding.discounted_by.map(|i| finding.ignored[i].name.clone()),
            ignored: finding.ignored.iter().map(ignored_row).collect(),
            method: method.to_string(),
            transductive: folder.is_some(),
            folder,
            reference_method: enrolled.and_then(OpenProfile::reference_method),
            references: about.map(|about| about.references.len()),
            unlike_references: enrolled.map(|e| e.profile.unlike(&finding.map)),
            profile: enrolled.map(|e| e.file.to_string_lossy().into_owned()),
            profile_sha256: enrolled.map(|e| e.sha256.clone()),
            model: name,
            model_sha256: sha256,
            reference_model,
            reference_model_sha256,
            adapter: self.adapter.as_ref().map(|a| self.adapter_row(a, origin)),
            size,
            tiles: tiles.map(|tiles| tiles.count),
            tile_overlap: tiles.map(|tiles| tiles.overlap),
            precision,
            fit: self.fit.name().into(),
            milliseconds: (milliseconds * 10.0).round() / 10.0,
            overlay: None,
            map: None,
        }
    }

    fn adapter_row(&self, adapter: &Adapter, photo: Origin) -> AdapterRow {
        let about = adapter.about();
        AdapterRow {
            file: adapter.name().to_string(),
            sha256: adapter.sha256().to_string(),
            training_data: about.training_data.clone(),
            licence: about.licence.clone(),
            trained_on_product: adapter
                .knows_products()
                .then(|| self.is_trained_on(adapter) || has_learned(adapter, photo)),
        }
    }

    fn is_trained_on(&self, adapter: &Adapter) -> bool {
        let names = [self.product.name(), self.product.english()];
        !adapter.trained_on(names.iter().flat_map(|names| names.split(", "))).is_empty()
    }

    /// The colours of a map, and the level of its outline.
    pub fn colours(&self, of: ScaleOf, map: &AnomalyMap) -> (Scale, Option<f32>) {
        match (of, &self.enrolled) {
            (ScaleOf::Image, _) => (Scale::of(map), None),
            (ScaleOf::Run, Some(enrolled)) => {
                let scale = enrolled.scale();
                (scale, Some(scale.low))
            }
            // At 0.5, the normal and the anomalous prompts fit equally well.
            (ScaleOf::Run, None) => (Scale::default(), Some(0.5)),
        }
    }

    /// The colour scale of all photos, and its name on a page.
    pub fn legend(&self, of: ScaleOf) -> (Scale, &'static str) {
        match (of, &self.enrolled) {
            (ScaleOf::Image, _) => (Scale::default(), "image"),
            (ScaleOf::Run, Some(enrolled)) => (enrolled.scale(), "profile"),
            (ScaleOf::Run, None) => (Scale::default(), "run"),
        }
    }

    /// A heat map of a photo as PNG. `has_strip`: with the score and the colour scale below it.
    pub fn overlay(
        &self,
        photo: &Photo,
        (record, finding): (&Record, &Finding),
        of: ScaleOf,
        has_strip: bool,
    ) -> Vec<u8> {
        let (scale, level) = self.colours(of, &finding.map);
        let masks: Vec<&[bool]> = finding.ignored.iter().map(|thing| &*thing.mask).collect();
        let kind = &finding.kinds[finding.kind];
        let light = record.light.as_ref().map(|light| format!("light {light}"));
        let words = [record.verdict, kind.is_defect.then_some(&*kind.english), light.as_deref()];
        let words = words.into_iter().flatten().map(|word| format!("  {word}"));
        let caption = format!("score {:.3}{}", record.score, words.collect::<String>());
        let how = Overlay {
            scale,
            level,
            ignored: &masks,
            marks_peak: record.verdict == Some("ng"),
            caption: has_strip.then_some(&*caption),
        };
        overlay(photo, &finding.map, &how)
    }

    /// The scores of good photos, and the false-alarm rate. None without a profile.
    pub fn calibration(&self) -> Option<(&Calibration, f64)> {
        let enrolled = self.enrolled.as_ref()?;
        Some((&enrolled.calibration, enrolled.false_alarm))
    }
}

fn folder_row(
    setup: &MutualSetup,
    part: &MutualPart,
    (photo, score): (usize, f32),
    group: Option<bool>,
) -> FolderRow {
    let options = &setup.options;
    let repeat = part.results.repeat_of(photo);
    FolderRow {
        photos: part.results.photos(),
        sha256: part.encoded.sha256.clone(),
        against: part.results.neighbors(),
        blocks: part.results.layers().clone(),
        ranks: options.musc.ranks.into(),
        degrees: options.musc.degrees.clone(),
        align: options.musc.align,
        rescored: options.rescore,
        seed: options.seed,
        score,
        group: group.map(u8::from),
        repeat: repeat.map(|(number, _)| number + 1),
        repeat_at: repeat.map(|(_, at)| at),
        repeat_is: repeat.and_then(|(number, _)| part.results.repeats()[number].is),
    }
}

/// Whether an adapter learned from this photo, under whatever name.
fn has_learned(adapter: &Adapter, photo: Origin) -> bool {
    // A photo that was scored can be read.
    let hash = || match photo.content {
        Some(content) => Some(sha256(content)),
        None => files_sha256(&[photo.path.to_path_buf()]).ok(),
    };
    adapter.knows_photos() && hash().is_some_and(|hash| adapter.learned_from(&hash))
}

fn defect_row(kind: &KindResult) -> DefectRow {
    DefectRow {
        name: kind.name.clone(),
        english: kind.english.clone(),
        counts: kind.counts,
        score: kind.score,
        peak: kind.map.peak().1,
        map: None,
    }
}

fn ignored_row(thing: &Ignored) -> IgnoredRow {
    IgnoredRow {
        name: thing.name.clone(),
        english: thing.english.clone(),
        counts: thing.counts,
        score: thing.score,
        area: thing.area,
    }
}

crate::error::opaque_debug!(Context);
