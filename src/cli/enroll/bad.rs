//! Measures all reference methods on known defects.

use std::path::PathBuf;

use blemish::profile::{Calibration, Decision, EnrollOptions, EnrollPhotos, enroll};
use blemish::reference::{REFERENCE_METHODS, ReferenceEntry};
use blemish::{Detector, Photo, Product, Profile};
use serde::Serialize;

use crate::cli::args::method::OpenModel;
use crate::cli::inputs::named;
use crate::cli::progress::progress_bar;

/// What a reference method finds.
#[derive(Clone, Serialize)]
pub struct OnBad {
    pub reference_method: &'static str,
    /// How many of the defective photos are found: above the line, or above all good photos if there are too few for it.
    pub found: usize,
    pub photos: usize,
    /// The share of pairs in which the defective photo scores above the held-out good one, 0..1.
    pub image_auroc: Option<f64>,
}

/// Enrolls with every reference method, and scores the defective photos, if there are some. `own`: the profile of the
/// chosen method. Returns what each method finds, and how many photos could not be scored.
pub fn measure(
    bad: &[PathBuf],
    photos: EnrollPhotos,
    model: &OpenModel,
    (options, own): (&EnrollOptions, &Profile),
) -> anyhow::Result<(Vec<OnBad>, usize)> {
    if bad.is_empty() {
        return Ok((vec![], 0));
    }
    let bar = progress_bar(REFERENCE_METHODS.len() + bad.len(), model.quiet);
    let (mut judges, mut failed) = (Vec::new(), 0);
    for references in REFERENCE_METHODS.iter().filter(|entry| entry.fits(&model.clip)) {
        judges.push(Judge::new(references, photos, model, (options, own))?);
        bar.inc(1);
    }
    for path in bad {
        let scored = Photo::open(path, options.depth).and_then(|photo| {
            let region = own.about().region.as_ref();
            region.map_or(Ok(()), |region| region.check(path, (photo.width(), photo.height())))?;
            judges.iter_mut().try_for_each(|judge| judge.score(&photo, own.product()))
        });
        if let Err(error) = scored {
            failed += 1;
            bar.suspend(|| say!("{}", named(path, &error)));
        }
        bar.inc(1);
    }
    bar.finish_and_clear();
    Ok((judges.into_iter().map(Judge::finish).collect(), failed))
}

/// A reference method on the defective photos.
struct Judge {
    detector: Detector,
    calibration: Calibration,
    false_alarm: f64,
    on_bad: OnBad,
    /// For each photo, the share of good photos that score below it.
    above: f64,
}

impl Judge {
    fn new(
        references: &'static ReferenceEntry,
        photos: EnrollPhotos,
        model: &OpenModel,
        (options, own): (&EnrollOptions, &Profile),
    ) -> anyhow::Result<Self> {
        let enrolled;
        let profile = if references.name == own.about().reference_method {
            own
        } else {
            let layers = None;
            let options = EnrollOptions {
                inputs: options.inputs.clone(),
                prompts: options.prompts.clone(),
                region: options.region.clone(),
                simulates_damage: false,
                progress: &|_, _| {},
                references,
                layers,
                ..*options
            };
            let product = own.product().clone();
            enrolled = enroll(model.clip.clone(), product, photos, &options)?.profile;
            &enrolled
        };
        let reference_method = references.name;
        Ok(Self {
            detector: profile.detector(model.clip.clone())?,
            calibration: profile.calibration(),
            false_alarm: profile.about().false_alarm,
            on_bad: OnBad { reference_method, found: 0, photos: 0, image_auroc: None },
            above: 0.0,
        })
    }

    fn score(&mut self, photo: &Photo, product: &Product) -> blemish::Result<()> {
        let score = self.detector.inspect(photo, product)?.score;
        let good = self.calibration.photos();
        self.on_bad.photos += 1;
        if let Some(p_value) = self.calibration.p_value(score) {
            let rate = self.false_alarm.max(Calibration::best(good));
            self.on_bad.found += usize::from(Decision::new(p_value, good, rate) == Decision::Ng);
            // The p-value counts the good photos that reach the score, and one more.
            let reaching = p_value * (good + 1) as f64 - 1.0;
            self.above += 1.0 - reaching / good as f64;
        }
        Ok(())
    }

    fn finish(self) -> OnBad {
        let photos = self.on_bad.photos;
        let has_pairs = self.calibration.photos() > 0 && photos > 0;
        OnBad { image_auroc: has_pairs.then(|| self.above / photos as f64), ..self.on_bad }
    }
}

/// The method that finds most; `own` if it finds as much. None if nothing is found.
pub fn best<'a>(methods: &'a [OnBad], own: &str) -> Option<&'a OnBad> {
    let key = |on: &OnBad| (on.found, on.image_auroc.unwrap_or_default());
    let better = |a: &&OnBad, b: &&OnBad| {
        let ((found_a, auroc_a), (found_b, auroc_b)) = (key(a), key(b));
        let is_own = |on: &OnBad| on.reference_method == own;
        let found = found_a.cmp(&found_b).then(auroc_a.total_cmp(&auroc_b));
        found.then(is_own(a).cmp(&is_own(b)))
    };
    methods.iter().max_by(better).filter(|best| best.found > 0)
}
