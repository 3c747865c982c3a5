//! Measures a profile on labelled photos: what its line finds, and what it calls ng wrongly.

use std::collections::{BTreeMap, HashSet};
use std::io::Write;
use std::path::Path;
use std::process::ExitCode;

use blemish::data::{Layout, Sample};
use blemish::eval::{EvalPrediction, Scores, evaluate};
use blemish::files::{files_sha256, write_whole};
use blemish::page::{Gallery, GalleryPhoto, Legend, Page, Section, Table};
use blemish::profile::{Calibration, Decision};
use blemish::render::Scale;
use blemish::report::is_other_product;
use blemish::text::shown;
use blemish::{BitDepth, Detector, Error, Photo, Profile};
use serde::Serialize;

use super::args::RunArgs;
use super::page::{FILE, labelled};
use super::set::{by_product, paths_of};
use crate::cli::args::rate::{check_rate, spread};
use crate::cli::args::values::SummaryFormat;
use crate::cli::inputs::{check_page, check_writable, mark_results};
use crate::cli::progress::progress_bar;
use crate::cli::terminal::{json_line, printed};

/// What was measured of a profile.
#[derive(Serialize)]
struct ProfileReport {
    profile: String,
    profile_sha256: String,
    model: String,
    method: String,
    reference_method: String,
    references: usize,
    calibration_photos: usize,
    false_alarm: f64,
    /// Photos above this score are ng. None if there are too few good photos for the rate.
    threshold: Option<f32>,
    /// The verdicts by kind of photo, the good ones first.
    verdicts: Vec<Verdicts>,
    #[serde(flatten)]
    scores: Scores,
    /// How many of the photos are in the profile: references, or photos that drew its line.
    known: usize,
    /// The paths of the defective photos that are ok.
    missed: Vec<String>,
    /// The paths of the good photos that are ng.
    false_alarms: Vec<String>,
}

/// How many photos of a kind got each verdict.
#[derive(Default, Serialize)]
struct Verdicts {
    kind: String,
    is_good: bool,
    ok: usize,
    uncertain: usize,
    ng: usize,
}

pub fn run(args: &RunArgs, file: &Path, layout: Layout) -> anyhow::Result<ExitCode> {
    let choice = args.method.resolve_for_profile()?;
    let choice = choice.comparing_by(args.reference_model.resolve());
    let profile = Profile::open(file)?;
    let false_alarm = args.false_alarm.unwrap_or(profile.about().false_alarm);
    check_rate(false_alarm)?;
    let samples = args.samples(layout)?;
    if by_product(&samples).len() > 1 {
        let why = "is of one product; choose it with --category";
        return Err(Error::setting(format!("profile {}", file.display()), why).into());
    }
    if let Some(out) = &args.out {
        check_writable("out", out)?;
        check_page("out", &out.join(FILE))?;
        if out.join("run.json").exists() {
            let why = "holds a run of `eval`; give another folder";
            return Err(Error::setting(format!("out {}", out.display()), why).into());
        }
        mark_results(std::slice::from_ref(out), &paths_of(&samples))?;
    }
    let page = args.out.as_ref().map(|out| out.join(FILE));
    let mut measuring = Measuring {
        detector: choice.detector(&profile)?,
        calibration: profile.calibration(),
        depth: profile.bit_depth()?,
        profile: &profile,
        false_alarm,
        page: page.as_deref(),
        rows: vec![],
    };
    let bar = progress_bar(samples.len(), choice.quiet);
    let of_set: Vec<&Sample> = samples.iter().collect();
    let scores = evaluate(&of_set, layout, args.set.curve, |sample| {
        bar.inc(1);
        measuring.look(sample)
    })?;
    bar.finish_and_clear();
    let (legend, rows) = (Legend::new(measuring.scale(), "profile"), measuring.rows);
    let mut report = ProfileReport::new(file, &profile, false_alarm, scores, &rows);
    report.known = known(&profile, &samples)?;
    if let (Some(warning), false) = (report.warning(), choice.quiet) {
        say!("warning: {warning}");
    }
    if let (Some(out), Some(page)) = (&args.out, &page) {
        let line = Gallery::with_line(&profile.calibration(), false_alarm, legend);
        write_whole(page, report.page(Gallery { rows, ..line }).html().as_bytes())?;
        write_whole(&out.join("metrics.json"), &serde_json::to_vec_pretty(&report)?)?;
    }
    let mut out = std::io::stdout().lock();
    printed(match args.set.format {
        SummaryFormat::Table => report.table(&mut out),
        SummaryFormat::Json => json_line(&mut out, &report),
    })?;
    Ok(ExitCode::SUCCESS)
}

/// Scores photos with the profile, and collects them for the page.
struct Measuring<'a> {
    profile: &'a Profile,
    detector: Detector,
    calibration: Calibration,
    depth: BitDepth,
    false_alarm: f64,
    page: Option<&'a Path>,
    rows: Vec<GalleryPhoto>,
}

impl Measuring<'_> {
    fn scale(&self) -> Scale {
        let (low, high) = self.profile.about().scale;
        Scale { low, high }
    }

    fn look(&mut self, sample: &Sample) -> blemish::Result<EvalPrediction> {
        let photo = Photo::open(&sample.photo, self.depth)?;
        let size = (photo.width(), photo.height());
        let region = self.profile.about().region.as_ref();
        region.map_or(Ok(()), |region| region.check(&sample.photo, size))?;
        let finding = self.detector.inspect(&photo, self.profile.product())?;
        let verdict = match self.calibration.p_value(finding.score) {
            Some(p) => Decision::new(p, self.calibration.photos(), self.false_alarm),
            None => Decision::Uncertain,
        };
        let map = (&finding.map, self.scale());
        let row = labelled(self.page, self.rows.len(), (sample, &photo), map)?;
        self.rows.push(GalleryPhoto {
            score: finding.score,
            verdict: Some(verdict.name()),
            is_other: is_other_product(Some(self.profile.unlike(&finding.map))),
            ..row
        });
        Ok(EvalPrediction { score: finding.score, map: finding.map })
    }
}

/// How many of these photos are in the profile.
fn known(profile: &Profile, samples: &[Sample]) -> blemish::Result<usize> {
    let about = profile.about();
    let photos = about.references.iter().chain(&about.calibration);
    let hashes: HashSet<&str> = photos.map(|photo| &*photo.sha256).collect();
    let hash = |sample: &Sample| files_sha256(std::slice::from_ref(&sample.photo));
    let is_known = samples.iter().map(|sample| Ok(hashes.contains(&*hash(sample)?)));
    Ok(is_known.collect::<blemish::Result<Vec<_>>>()?.into_iter().filter(|known| *known).count())
}

impl ProfileReport {
    fn new(
        file: &Path,
        profile: &Profile,
        false_alarm: f64,
        scores: Scores,
        rows: &[GalleryPhoto],
    ) -> Self {
        let (about, calibration) = (profile.about(), profile.calibration());
        let mut kinds: BTreeMap<(bool, &str), Verdicts> = BTreeMap::new();
        for row in rows {
            let (is_bad, kind) =
                (row.label == Some("bad"), row.kind.as_deref().unwrap_or_default());
            let verdicts = kinds.entry((is_bad, kind)).or_default();
            (verdicts.kind, verdicts.is_good) = (kind.to_string(), !is_bad);
            match row.verdict {
                Some("ok") => verdicts.ok += 1,
                Some("ng") => verdicts.ng += 1,
                _ => verdicts.uncertain += 1,
            }
        }
        let of = |label: &str, verdict: &str| {
            let is = |row: &&GalleryPhoto| row.label == Some(label) && row.verdict == Some(verdict);
            rows.iter().filter(is).map(|row| row.path.clone()).collect()
        };
        Self {
            profile: file.display().to_string(),
            profile_sha256: profile.sha256().into(),
            model: about.model.clone(),
            method: about.method.clone(),
            reference_method: about.reference_method.clone(),
            references: about.references.len(),
            calibration_photos: calibration.photos(),
            false_alarm,
            threshold: calibration.threshold(false_alarm),
            verdicts: kinds.into_values().collect(),
            known: 0,
            missed: of("bad", "ok"),
            false_alarms: of("good", "ng"),
            scores,
        }
    }

    /// A warning if the profile knows the photos.
    fn warning(&self) -> Option<String> {
        let Self { known, scores, .. } = self;
        let of = scores.good + scores.anomalous;
        (*known > 0).then(|| {
            format!(
                "the profile was made from {known} of these {of} photos, so the numbers are too good; measure on others"
            )
        })
    }

    fn rows(&self) -> Vec<[String; 4]> {
        let row = |verdicts: &Verdicts| {
            let Verdicts { kind, ok, uncertain, ng, .. } = verdicts;
            [kind.clone(), ok.to_string(), uncertain.to_string(), ng.to_string()]
        };
        self.verdicts.iter().map(row).collect()
    }

    /// What the line was worth on these photos.
    fn lines(&self) -> Vec<String> {
        let number = |value: Option<f64>| value.map_or("-".into(), |value| format!("{value:.3}"));
        let metrics = &self.scores.all;
        let mut lines = vec![format!(
            "AUROC of photos {}, of pixels {}; missed (ok): {} of {} defective photos; false alarms (ng): {} of {} good \
             photos",
            number(metrics.image_auroc),
            number(metrics.pixel_auroc),
            self.missed.len(),
            self.scores.anomalous,
            self.false_alarms.len(),
            self.scores.good
        )];
        let (percent, photos) = (self.false_alarm * 100.0, self.calibration_photos);
        lines.push(match self.threshold.zip(spread(photos, self.false_alarm)) {
            Some((line, spread)) => {
                format!("ng above {line:.4}: {percent} % false alarms on average; {spread}")
            }
            None => format!("nothing is ng: {photos} good photos are too few for {percent} %"),
        });
        lines
    }

    fn table(&self, out: &mut impl Write) -> std::io::Result<()> {
        let Self { profile, method, reference_method, references, model, .. } = self;
        let title =
            format!("{profile}: {method} with {references} photos by {reference_method}, {model}");
        writeln!(out, "{}", shown(&title))?;
        writeln!(out, "{:>5} {:>9} {:>5}  photos", "ok", "uncertain", "ng")?;
        for [kind, ok, uncertain, ng] in self.rows() {
            writeln!(out, "{ok:>5} {uncertain:>9} {ng:>5}  {}", shown(&kind))?;
        }
        self.lines().iter().try_for_each(|line| writeln!(out, "{line}"))
    }

    fn page(&self, gallery: Gallery) -> Page {
        let facts = [
            ("profile", format!("{} (SHA-256 {}…)", self.profile, &self.profile_sha256[..12])),
            ("model", self.model.clone()),
            ("method", format!("{} with {}", self.method, self.reference_method)),
            ("references", self.references.to_string()),
        ];
        let table = Table {
            head: ["photos", "ok", "uncertain", "ng"].map(String::from).to_vec(),
            rows: self.rows().into_iter().map(Vec::from).collect(),
        };
        let section = Section {
            name: "What the line finds".into(),
            tables: vec![table],
            notes: self.lines(),
            ..Section::default()
        };
        Page {
            title: "A profile, measured by blemish".into(),
            facts: facts.map(|(name, value)| (name.to_string(), value)).to_vec(),
            warnings: self.warning().into_iter().collect(),
            sections: vec![section],
            gallery,
        }
    }
}
