//! `blemish enroll --views`: a profile of parts that have a photo under each of several lights.

use std::io::{IsTerminal, Write};
use std::path::PathBuf;
use std::process::ExitCode;

use blemish::data::{Part, Views};
use blemish::profile::{
    Calibration, EnrollOptions, EnrollParts, Fuse, LightsProfile, Readiness, enroll_lights,
};
use blemish::{Error, Product};
use serde::Serialize;

use super::args::Args;
use crate::cli::args::method::OpenModel;
use crate::cli::args::rate::{say_what_is_promised, spread};
use crate::cli::args::values::SummaryFormat;
use crate::cli::inputs::Inputs;
use crate::cli::progress::StepBar;
use crate::cli::terminal::{json_line, message, printed};

/// The good parts that the command line names.
pub struct Parts {
    pub references: Vec<Part>,
    calibration: Vec<Part>,
    /// The number of inputs that cannot be used. They were reported.
    failed: usize,
}

impl Parts {
    /// None if there is no part to compare with.
    pub fn find(args: &Args, views: &Views) -> anyhow::Result<Option<Self>> {
        let quiet = args.method.model.quiet;
        let (good, _) = args.photos()?;
        let [mut references, mut calibration] =
            [&good, &args.calibrate].map(|given| Inputs::find(given, &[]));
        let mut found = references.parts(views, None, quiet);
        let lights = Part::lights(&found);
        let calibrating = calibration.parts(views, Some(&lights), quiet);
        [&references, &calibration].iter().for_each(|inputs| inputs.report(quiet));
        if found.is_empty() {
            return Ok(None);
        }
        if lights.len() < 2 {
            let why = "finds one light only; without --views each photo is a part of its own";
            return Err(Error::setting(format!("views {}", views.pattern()), why).into());
        }
        found.sort_by(|a, b| a.name.cmp(&b.name));
        found.truncate(args.limit.unwrap_or(usize::MAX));
        let failed = references.errors.len() + calibration.errors.len();
        Ok(Some(Self { references: found, calibration: calibrating, failed }))
    }

    /// The first photo of each reference.
    pub fn photos(&self) -> Vec<PathBuf> {
        self.references.iter().map(|part| part.first().to_path_buf()).collect()
    }
}

/// Enrolls the parts and prints the summary.
pub fn run(
    args: &Args,
    parts: &Parts,
    (views, fuse): (&Views, Fuse),
    (model, product): (&OpenModel, &Product),
    options: &EnrollOptions,
) -> anyhow::Result<ExitCode> {
    let quiet = args.method.model.quiet;
    let bar = StepBar::new(quiet);
    let options =
        EnrollOptions { progress: &|what, share| bar.show(what, share), ..options.clone() };
    let good = EnrollParts { references: &parts.references, calibration: &parts.calibration };
    let enrolled = enroll_lights(&model.clip, product, good, (views, fuse), &options);
    bar.finish();
    let enrolled = enrolled?;
    enrolled.unusable.iter().for_each(|error| say!("{}", message(error)));
    enrolled.profile.save(&args.out)?;
    let summary = Summary::of(&enrolled.profile, args.out.display().to_string());
    summary.print(args.format)?;
    if !quiet {
        say_what_is_promised(summary.calibration_parts, args.false_alarm);
    }
    let failed = parts.failed + enrolled.unusable.len();
    Ok(if failed == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// The summary of a new profile of lights.
#[derive(Serialize)]
struct Summary<'a> {
    profile: String,
    sha256: &'a str,
    product: &'a str,
    method: &'a str,
    reference_method: &'a str,
    views: &'a str,
    fuse: &'a str,
    /// The number of parts that others are compared with.
    references: usize,
    /// The number of good parts that decide the line.
    calibration_parts: usize,
    false_alarm: f64,
    false_alarm_interval: Option<(f64, f64)>,
    /// A part with a higher joined score is ng.
    threshold: Option<f32>,
    lights: Vec<LightSummary<'a>>,
}

#[derive(Serialize)]
struct LightSummary<'a> {
    name: &'a str,
    /// The line of this light alone. It is not used.
    threshold: Option<f32>,
    /// Photos that lie far from the others.
    odd: Vec<&'a str>,
    /// The test with simulated damage.
    readiness: &'a Readiness,
}

impl<'a> Summary<'a> {
    fn of(profile: &'a LightsProfile, file: String) -> Self {
        let (about, calibration) = (profile.about(), profile.calibration());
        let first = profile.first().about();
        let (parts, rate) = (calibration.photos(), about.false_alarm);
        let light = |(name, own): (&'a str, &'a blemish::Profile)| {
            let odd = own.about().references.iter().filter(|photo| photo.is_odd);
            LightSummary {
                name,
                threshold: own.calibration().threshold(rate),
                odd: odd.map(|photo| &*photo.file).collect(),
                readiness: &own.about().readiness,
            }
        };
        Self {
            profile: file,
            sha256: profile.sha256(),
            product: &about.product,
            method: &first.method,
            reference_method: &first.reference_method,
            views: &about.views,
            fuse: about.fuse.name(),
            references: about.references.len(),
            calibration_parts: parts,
            false_alarm: rate,
            false_alarm_interval: Calibration::interval(parts, rate),
            threshold: calibration.threshold(rate),
            lights: profile.lights().map(light).collect(),
        }
    }

    fn print(&self, format: Option<SummaryFormat>) -> anyhow::Result<bool> {
        let mut out = std::io::stdout().lock();
        let default = if out.is_terminal() { SummaryFormat::Table } else { SummaryFormat::Json };
        printed(match format.unwrap_or(default) {
            SummaryFormat::Table => self.table(&mut out),
            SummaryFormat::Json => json_line(&mut out, self),
        })
    }

    fn table(&self, out: &mut impl Write) -> std::io::Result<()> {
        let Self { profile, product, method, reference_method, .. } = self;
        let (parts, lights, fuse) = (self.references, self.lights.len(), self.fuse);
        writeln!(out, "{profile}: {product}, {method} with {reference_method}")?;
        writeln!(out, "{parts} good parts under {lights} lights, joined by {fuse}")?;
        writeln!(out, "{:<16}  {:>9}  {:>9}  odd photos", "light", "simulated", "on damage")?;
        for light in &self.lights {
            let cell = |share: Option<f64>| share.map_or("-".into(), |share| format!("{share:.3}"));
            let (auroc, peak) = (light.readiness.image_auroc, light.readiness.peak_on_damage);
            let odd = if light.odd.is_empty() { "none".into() } else { light.odd.join(", ") };
            writeln!(out, "{:<16}  {:>9}  {:>9}  {odd}", light.name, cell(auroc), cell(peak))?;
        }
        let (percent, parts) = (self.false_alarm * 100.0, self.calibration_parts);
        match self.threshold.zip(spread(parts, self.false_alarm)) {
            Some((threshold, spread)) => writeln!(
                out,
                "ng if the score is above {threshold:.4}: {percent} % false alarms on average; {spread}"
            ),
            None => writeln!(
                out,
                "no part is ng at {percent} % false alarms: that needs {} good parts, there are {parts}",
                Calibration::needed(self.false_alarm)
            ),
        }
    }
}
