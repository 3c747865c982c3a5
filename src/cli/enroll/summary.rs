//! The summary of a new profile.

use std::io::{IsTerminal, Write};
use std::path::Path;

use blemish::Profile;
use blemish::profile::{Calibration, KindReadiness, Readiness, ReferenceAbout};
use blemish::text::shown;
use serde::Serialize;

use super::bad::{self, OnBad};
use super::mine::MinedRow;
use crate::cli::args::rate::spread;
use crate::cli::args::values::SummaryFormat;
use crate::cli::ignoring::IgnoredThing;
use crate::cli::terminal::{json_line, printed};

/// The summary of a profile.
#[derive(Serialize)]
pub struct Summary<'a> {
    profile: String,
    sha256: &'a str,
    product: &'a str,
    method: &'a str,
    reference_method: &'a str,
    references: &'a [ReferenceAbout],
    odd: Vec<&'a str>,
    pub calibration_photos: usize,
    false_alarm: f64,
    /// Where the rate of this line lies with a probability of 90 %.
    false_alarm_interval: Option<(f64, f64)>,
    /// Higher scores are ng. None if there are too few photos for the rate.
    threshold: Option<f32>,
    pub readiness: &'a Readiness,
    pub mined: Option<MinedSummary>,
    /// What each reference method finds of the photos of `--bad`.
    pub on_bad: Vec<OnBad>,
    /// What the ignored things hide of the good photos.
    pub ignored_on_good: Vec<IgnoredThing>,
}

/// The references that `--mine` took.
#[derive(Serialize)]
pub struct MinedSummary {
    pub sheet: String,
    pub photos: Vec<MinedRow>,
}

impl<'a> Summary<'a> {
    pub fn of(
        profile: &'a Profile,
        file: &Path,
        mined: Option<MinedSummary>,
        on_bad: Vec<OnBad>,
    ) -> Self {
        let (about, calibration) = (profile.about(), profile.calibration());
        let odd = about.references.iter().filter(|r| r.is_odd).map(|r| &*r.file);
        Self {
            profile: file.display().to_string(),
            sha256: profile.sha256(),
            product: &about.product,
            method: &about.method,
            reference_method: &about.reference_method,
            references: &about.references,
            odd: odd.collect(),
            calibration_photos: calibration.photos(),
            false_alarm: about.false_alarm,
            false_alarm_interval: Calibration::interval(calibration.photos(), about.false_alarm),
            threshold: calibration.threshold(about.false_alarm),
            readiness: &about.readiness,
            mined,
            on_bad,
            ignored_on_good: vec![],
        }
    }

    /// The default is a table on a terminal, and JSON elsewhere.
    pub fn print(&self, format: Option<SummaryFormat>) -> anyhow::Result<bool> {
        let mut out = std::io::stdout().lock();
        let default = if out.is_terminal() { SummaryFormat::Table } else { SummaryFormat::Json };
        printed(match format.unwrap_or(default) {
            SummaryFormat::Table => self.table(&mut out),
            SummaryFormat::Json => json_line(&mut out, self),
        })
    }

    fn table(&self, out: &mut impl Write) -> std::io::Result<()> {
        let Self { profile, product, method, reference_method, .. } = self;
        let title = format!("{profile}: {product}, {method} with {reference_method}");
        writeln!(out, "{}", shown(&title))?;
        if let Some(MinedSummary { sheet, photos }) = &self.mined {
            writeln!(out, "the most typical and varied of {} photos: see {sheet}", photos[0].of)?;
            for MinedRow { file, score, rank, .. } in photos {
                writeln!(out, "{score:>7.3}  {rank:>4}. of the folder  {}", shown(file))?;
            }
        }
        writeln!(out, "{:>7}  reference, compared with the others", "score")?;
        let mut references: Vec<&ReferenceAbout> = self.references.iter().collect();
        references.sort_by_key(|reference| &reference.file);
        for reference in references {
            let score = reference.score.map_or("-".into(), |score| format!("{score:.3}"));
            let odd = if reference.is_odd { "  odd: is this part good?" } else { "" };
            writeln!(out, "{score:>7}  {}{odd}", shown(&reference.file))?;
        }
        writeln!(out, "{}", self.line())?;
        let readiness = self.readiness;
        if !readiness.kinds.is_empty() {
            writeln!(out, "{:<14}  {:>6}  {:>6}", "found of", "clear", "slight")?;
        }
        for KindReadiness { kind, clear, slight } in &readiness.kinds {
            let cell =
                |share: &Option<f64>| share.map_or("-".into(), |s| format!("{:.0} %", s * 100.0));
            writeln!(out, "{kind:<14}  {:>6}  {:>6}  simulated", cell(clear), cell(slight))?;
        }
        writeln!(out, "{}", self.verdict())?;
        for thing in &self.ignored_on_good {
            writeln!(out, "{}", shown(&thing.to_string()))?;
        }
        self.known_defects(out)
    }

    /// Where the line between ok and ng is, and what it is worth.
    fn line(&self) -> String {
        let (percent, photos) = (self.false_alarm * 100.0, self.calibration_photos);
        match self.threshold.zip(spread(photos, self.false_alarm)) {
            Some((threshold, spread)) => format!(
                "ng if the score is above {threshold:.4}: {percent} % false alarms on average; {spread}"
            ),
            None => format!(
                "no photo is ng at {percent} % false alarms: that needs {} good photos, there are {photos}",
                Calibration::needed(self.false_alarm)
            ),
        }
    }

    /// Whether the profile is ready, why, and what to try.
    pub fn verdict(&self) -> String {
        format!("{}: {}{}", self.readiness.verdict, self.readiness.why, self.advice())
    }

    /// How the profile was made, for a page.
    pub fn facts(&self) -> Vec<(String, String)> {
        let odd = if self.odd.is_empty() { "none".into() } else { self.odd.join(", ") };
        let facts = [
            ("profile", format!("{} (SHA-256 {}…)", self.profile, &self.sha256[..12])),
            ("method", format!("{} with {}", self.method, self.reference_method)),
            ("references", self.references.len().to_string()),
            ("odd references", odd),
            ("line", self.line()),
        ];
        facts.map(|(name, value)| (name.to_string(), value)).to_vec()
    }

    /// Which reference method finds most of the known defects.
    pub fn best(&self) -> String {
        match bad::best(&self.on_bad, self.reference_method).map(|best| best.reference_method) {
            None => "no method finds one of them".into(),
            Some(name) if name == self.reference_method => {
                format!("{name} finds as many as any other method")
            }
            Some(name) => format!("{name} finds most of them: try --reference-method {name}"),
        }
    }

    /// What each reference method finds of the photos of `--bad`, and the best of them.
    fn known_defects(&self, out: &mut impl Write) -> std::io::Result<()> {
        if self.on_bad.is_empty() {
            return Ok(());
        }
        writeln!(out, "{:<14}  {:>6}  {:>6}  defective photos", "method", "found", "AUROC")?;
        for OnBad { reference_method, found, photos, image_auroc } in &self.on_bad {
            let auroc = image_auroc.map_or("-".into(), |auroc| format!("{auroc:.3}"));
            writeln!(
                out,
                "{reference_method:<14}  {:>6}  {auroc:>6}",
                format!("{found}/{photos}")
            )?;
        }
        writeln!(out, "{}", self.best())
    }

    /// What to try if parts that are missing, extra or moved are not found.
    fn advice(&self) -> &'static str {
        let is_missed = |kind: &KindReadiness| {
            kind.kind.ends_with(" part") && kind.clear.is_some_and(|share| share < 0.5)
        };
        match self.readiness.kinds.iter().any(is_missed) && self.reference_method != "components" {
            true => ". For parts, try --reference-method components",
            false => "",
        }
    }
}
