//! What is the same for all photos of `blemish score`: model, words, profile; and a photo's finding as a record and as
//! pictures.

use std::path::Path;
use std::sync::Arc;
use std::time::Instant;

use blemish::files::write_whole;
use blemish::render::{self, Scale};
use blemish::report::{AdapterRow, DefectRow, FolderRow, IgnoredRow, Record, SCHEMA};
use blemish::{
    Adapter, Calibration, Clip, Decision, Detector, Finding, Fit, Photo, Prepared, Product,
    Profile, Prompts, Region, TextCache,
};

use super::inputs::with_suffix;
use super::score::{Args, ScaleOf};
use super::setup::{Model, name_of};

/// Everything that is the same for all photos of a run.
pub struct Scorer<'a> {
    pub args: &'a Args,
    pub product: Product,
    /// What the names of the defects' maps end in.
    defect_files: Vec<String>,
    clip: Arc<Clip>,
    adapter: Option<Arc<Adapter>>,
    fit: Fit,
    profile: Option<Enrolled>,
    /// Without a profile: those bring their own.
    pub region: Option<Arc<Region>>,
}

struct Enrolled {
    profile: Profile,
    calibration: Calibration,
    false_alarm: f64,
}

impl<'a> Scorer<'a> {
    /// By words, and the model to judge with.
    pub fn new(
        args: &'a Args,
        prompts: &Prompts,
        defect_files: Vec<String>,
    ) -> anyhow::Result<(Self, Model)> {
        let model = args.method.open()?;
        let cache = TextCache::from_env();
        let region = args.roi.as_ref();
        let region = region
            .map(|mask| model.region(mask, args.method.fit, args.method.model.quiet))
            .transpose()?;
        let scorer = Self {
            defect_files,
            args,
            product: args.method.model.product(
                &model.clip,
                &args.product.names,
                prompts,
                &cache,
            )?,
            clip: model.clip.clone(),
            adapter: model.parts.adapter.clone(),
            fit: args.method.fit,
            profile: None,
            region: region.map(Arc::new),
        };
        Ok((scorer, model))
    }

    pub fn enrolled(
        args: &'a Args,
        profile: Profile,
        defect_files: Vec<String>,
    ) -> anyhow::Result<Self> {
        let clip = Arc::new(args.method.model.open_for(&profile)?);
        let false_alarm = args.false_alarm.unwrap_or(profile.about().false_alarm);
        let calibration = profile.calibration();
        if !args.method.model.quiet {
            super::decide::say_what_is_promised(calibration.photos(), false_alarm);
        }
        Ok(Self {
            defect_files,
            args,
            product: profile.product().clone(),
            clip,
            adapter: profile.adapter().cloned().map(Arc::new),
            fit: profile.about().fit,
            profile: Some(Enrolled { profile, calibration, false_alarm }),
            region: None,
        })
    }

    /// What judges a photo by itself.
    pub fn detector(&self, model: Option<&Model>) -> anyhow::Result<Detector> {
        let detector = match (&self.profile, model) {
            (None, Some(model)) => self.args.method.detector(model)?,
            (Some(enrolled), _) => return Ok(enrolled.profile.detector(self.clip.clone())?),
            (None, None) => unreachable!("a model without a profile"),
        };
        Ok(match &self.region {
            Some(region) => detector.within(region),
            None => detector,
        })
    }

    pub fn score(
        &self,
        detector: &Detector,
        path: &Path,
        prepared: &Prepared,
    ) -> blemish::Result<(Record, Finding)> {
        let enrolled = self.profile.as_ref().and_then(|e| e.profile.about().region.as_ref());
        let region = self.region.as_ref().map(|region| &region.about).or(enrolled);
        region.map_or(Ok(()), |region| region.check(path, prepared.placement.photo_size()))?;
        let start = Instant::now();
        let finding = detector.judge(&detector.look(prepared)?, &self.product)?;
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
        let enrolled = self.profile.as_ref();
        let about = enrolled.map(|e| e.profile.about());
        let photos = enrolled.map(|e| e.calibration.photos());
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
            defects: defects
                .map(|kind| DefectRow {
                    name: kind.name.clone(),
                    english: kind.english.clone(),
                    counts: kind.counts,
                    score: kind.score,
                    peak: kind.map.peak().1,
                    map: None,
                })
                .collect(),
            score_before_ignoring: finding.score_before_ignoring,
            discounted_by: finding.discounted_by.map(|i| finding.ignored[i].name.clone()),
            ignored: finding
                .ignored
                .iter()
                .map(|thing| IgnoredRow {
                    name: thing.name.clone(),
                    english: thing.english.clone(),
                    counts: thing.counts,
                    score: thing.score,
                    area: thing.area,
                })
                .collect(),
            method: method.to_string(),
            transductive: folder.is_some(),
            folder,
            reference_method: about.map(|about| about.reference_method.clone()),
            references: about.map(|about| about.references.len()),
            profile: self.args.profile.as_ref().map(|file| file.to_string_lossy().into_owned()),
            profile_sha256: enrolled.map(|e| e.profile.sha256().to_string()),
            model: self.clip.name().to_string(),
            model_sha256: self.clip.sha256().to_string(),
            adapter: self.adapter.as_ref().map(|a| self.adapter_row(a)),
            size: self.clip.size(),
            fit: name_of(self.fit),
            milliseconds: (milliseconds * 10.0).round() / 10.0,
            overlay: None,
            map: None,
        }
    }

    fn adapter_row(&self, adapter: &Adapter) -> AdapterRow {
        let about = adapter.about();
        AdapterRow {
            file: adapter.name().to_string(),
            sha256: adapter.sha256().to_string(),
            training_data: about.training_data.clone(),
            licence: about.licence.clone(),
            trained_on_product: adapter.knows_products().then(|| self.is_trained_on(adapter)),
        }
    }

    fn is_trained_on(&self, adapter: &Adapter) -> bool {
        let names = [self.product.name(), self.product.english()];
        !adapter.trained_on(names.iter().flat_map(|names| names.split(", "))).is_empty()
    }

    /// Writes the overlay, and the maps if wanted, and notes where.
    pub fn draw(
        &self,
        photo: &Photo,
        finding: &Finding,
        target: &Path,
        record: &mut Record,
    ) -> blemish::Result<()> {
        let scale = match self.args.scale {
            ScaleOf::Run => self.profile.as_ref().map_or(Scale::default(), |enrolled| {
                let (low, high) = enrolled.profile.about().scale;
                Scale { low, high }
            }),
            ScaleOf::Image => Scale::of(&finding.map),
        };
        let overlay = with_suffix(target, "png");
        let masks: Vec<&[bool]> = finding.ignored.iter().map(|thing| &*thing.mask).collect();
        write_whole(&overlay, &render::overlay(photo, &finding.map, &masks, scale))?;
        record.overlay = Some(overlay.to_string_lossy().into_owned());
        if self.args.save_map {
            let map = with_suffix(target, "tiff");
            write_whole(&map, &render::tiff(&finding.map))?;
            record.map = Some(map.to_string_lossy().into_owned());
            let defects = finding.kinds.iter().filter(|kind| kind.is_defect);
            let files = defects.zip(&self.defect_files).zip(&mut record.defects);
            for ((kind, file), row) in files {
                let map = with_suffix(target, file);
                write_whole(&map, &render::tiff(&finding.map_of(kind)))?;
                row.map = Some(map.to_string_lossy().into_owned());
            }
        }
        Ok(())
    }
}
