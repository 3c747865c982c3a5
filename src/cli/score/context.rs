//! Everything that is the same for all photos of a run: model, prompts, profile. It turns the finding of a photo into a
//! record.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Instant;

use blemish::detect::{AnomalyMap, Ignored, KindResult};
use blemish::files::files_sha256;
use blemish::image::{Fit, Prepared};
use blemish::profile::{Calibration, Decision, TilesAbout};
use blemish::prompt::TextCache;
use blemish::reference::{Region, RegionAbout};
use blemish::render::Scale;
use blemish::report::{AdapterRow, DefectRow, FolderRow, IgnoredRow, Record, SCHEMA};
use blemish::{Adapter, Clip, Detector, Finding, Product, Profile};

use super::args::ScaleOf;
use super::plan::{ByProfile, ByPrompts};
use super::resume::Settings;
use crate::cli::args::method::OpenModel;
use crate::cli::args::rate::say_what_is_promised;

/// Everything that is the same for all photos of a run.
pub struct ScoreContext {
    pub product: Product,
    prompts_sha256: String,
    clip: Arc<Clip>,
    adapter: Option<Arc<Adapter>>,
    fit: Fit,
    enrolled: Option<OpenProfile>,
    /// The region of `--roi`. A profile brings its own.
    pub region: Option<Arc<Region>>,
}

struct OpenProfile {
    file: PathBuf,
    profile: Profile,
    calibration: Calibration,
    false_alarm: f64,
}

impl OpenProfile {
    fn scale(&self) -> Scale {
        let (low, high) = self.profile.about().scale;
        Scale { low, high }
    }
}

impl ScoreContext {
    /// Opens the model, and prepares scoring by prompts.
    pub fn by_prompts(by: ByPrompts, photos: &[PathBuf]) -> anyhow::Result<(Self, OpenModel)> {
        let model = by.method.open()?;
        let region = by.roi.as_ref().map(|shape| model.region(shape, photos)).transpose()?;
        let names = &by.product.names;
        let product = model.product(names, &by.product.prompts, &TextCache::from_env())?;
        let context = Self {
            prompts_sha256: product.words_sha256(),
            product,
            clip: model.clip.clone(),
            adapter: model.adapter().cloned(),
            fit: model.fit,
            enrolled: None,
            region: region.map(Arc::new),
        };
        Ok((context, model))
    }

    /// Opens the model of a profile, and prepares its detector.
    pub fn by_profile(by: ByProfile) -> anyhow::Result<(Self, Detector)> {
        let ByProfile { file, profile, model, false_alarm } = by;
        let clip = Arc::new(model.open_for(&profile)?);
        let false_alarm = false_alarm.unwrap_or(profile.about().false_alarm);
        let calibration = profile.calibration();
        if !model.quiet {
            say_what_is_promised(calibration.photos(), false_alarm);
        }
        let detector = profile.detector(clip.clone())?;
        let context = Self {
            prompts_sha256: profile.product().words_sha256(),
            product: profile.product().clone(),
            clip,
            adapter: profile.adapter().cloned().map(Arc::new),
            fit: profile.about().fit,
            enrolled: Some(OpenProfile { file, profile, calibration, false_alarm }),
            region: None,
        };
        Ok((context, detector))
    }

    /// A detector that scores each photo by itself, by prompts.
    pub fn detector(&self, model: &OpenModel) -> anyhow::Result<Detector> {
        let detector = model.detector()?;
        Ok(match &self.region {
            Some(region) => detector.within(region),
            None => detector,
        })
    }

    pub fn has_profile(&self) -> bool {
        self.enrolled.is_some()
    }

    /// The region of interest.
    fn region_about(&self) -> Option<&RegionAbout> {
        let enrolled = self.enrolled.as_ref().and_then(|e| e.profile.about().region.as_ref());
        self.region.as_ref().map(|region| &region.about).or(enrolled)
    }

    pub fn score(
        &self,
        detector: &Detector,
        path: &Path,
        prepared: &Prepared,
    ) -> blemish::Result<(Record, Finding)> {
        self.region_about()
            .map_or(Ok(()), |region| region.check(path, prepared.placement.photo_size()))?;
        let start = Instant::now();
        let finding = detector.score(&detector.encode(prepared)?, &self.product)?;
        let milliseconds = start.elapsed().as_secs_f64() * 1e3;
        Ok((self.record(path, &finding, detector.method().name(), milliseconds, None), finding))
    }

    pub fn record(
        &self,
        path: &Path,
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
        let photos = enrolled.map(|e| e.calibration.photos());
        let tiles = TilesAbout::of(self.clip.tiles());
        let compared_by = self.clip.reference().filter(|_| enrolled.is_some() || folder.is_some());
        let p_value = enrolled.and_then(|e| e.calibration.p_value(finding.score));
        let verdict = enrolled.map(|e| match p_value {
            Some(p) => Decision::new(p, e.calibration.photos(), e.false_alarm),
            None => Decision::Uncertain,
        });
        Record {
            schema: SCHEMA,
            path: path.to_string_lossy().into_owned(),
            product: self.product.name().to_string(),
            product_english: self.product.english().to_string(),
            prompts_sha256: self.prompts_sha256.clone(),
            region: self.region_about().map(|region| region.file.clone()),
            score: finding.score,
            p_value,
            calibration_photos: photos,
            false_alarm: enrolled.map(|e| e.false_alarm),
            verdict: verdict.map(Decision::name),
            peak_x,
            peak_y,
            peak,
            width: finding.map.width,
            height: finding.map.height,
            coverage: finding.coverage,
            defect: best.is_defect.then(|| best.name.clone()),
            defects: defects.map(defect_row).collect(),
            score_before_ignoring: finding.score_before_ignoring,
            discounted_by: finding.discounted_by.map(|i| finding.ignored[i].name.clone()),
            ignored: finding.ignored.iter().map(ignored_row).collect(),
            method: method.to_string(),
            transductive: folder.is_some(),
            folder,
            reference_method: about.map(|about| about.reference_method.clone()),
            references: about.map(|about| about.references.len()),
            unlike_references: enrolled.map(|e| e.profile.unlike(&finding.map)),
            profile: enrolled.map(|e| e.file.to_string_lossy().into_owned()),
            profile_sha256: enrolled.map(|e| e.profile.sha256().to_string()),
            model: self.clip.name().to_string(),
            model_sha256: self.clip.sha256().to_string(),
            reference_model: compared_by.map(|dino| dino.name().to_string()),
            reference_model_sha256: compared_by.map(|dino| dino.sha256().to_string()),
            adapter: self.adapter.as_ref().map(|a| self.adapter_row(a, path)),
            size: self.clip.input_size(),
            tiles: tiles.map(|tiles| tiles.count),
            tile_overlap: tiles.map(|tiles| tiles.overlap),
            precision: self.clip.precision().name(),
            fit: self.fit.name().into(),
            milliseconds: (milliseconds * 10.0).round() / 10.0,
            overlay: None,
            map: None,
        }
    }

    fn adapter_row(&self, adapter: &Adapter, photo: &Path) -> AdapterRow {
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

    /// What the results of this run have in common. `method`: its name.
    pub fn settings<'a>(&'a self, method: &'a str, out: Option<&'a Path>) -> Settings<'a> {
        Settings {
            product: self.product.name(),
            method,
            model_sha256: self.clip.sha256(),
            profile_sha256: self.enrolled.as_ref().map(|enrolled| enrolled.profile.sha256()),
            size: self.clip.input_size(),
            tiles: TilesAbout::of(self.clip.tiles()),
            precision: self.clip.precision().name(),
            fit: self.fit.name(),
            prompts_sha256: &self.prompts_sha256,
            adapter_sha256: self.adapter.as_ref().map(|adapter| adapter.sha256()),
            false_alarm: self.enrolled.as_ref().map(|enrolled| enrolled.false_alarm),
            region: self.region_about().map(|region| &*region.file),
            out,
        }
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

    /// The scores of good photos, and the false-alarm rate. None without a profile.
    pub fn calibration(&self) -> Option<(&Calibration, f64)> {
        let enrolled = self.enrolled.as_ref()?;
        Some((&enrolled.calibration, enrolled.false_alarm))
    }
}

/// Whether an adapter learned from this photo, under whatever name.
fn has_learned(adapter: &Adapter, photo: &Path) -> bool {
    // A photo that was scored can be read.
    let hash = || files_sha256(&[photo.to_path_buf()]).ok();
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
