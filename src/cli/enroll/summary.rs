//! The summary of a new profile.

use std::io::{IsTerminal, Write};
use std::path::Path;

use blemish::Profile;
use blemish::profile::{Calibration, Readiness, ReferenceAbout};
use blemish::text::shown;
use serde::Serialize;

use super::mine::MinedRow;
use crate::cli::args::values::SummaryFormat;
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
    /// Higher scores are ng. None if there are too few photos for the rate.
    threshold: Option<f32>,
    readiness: &'a Readiness,
    pub mined: Option<MinedSummary>,
}

/// The references that `--mine` took.
#[derive(Serialize)]
pub struct MinedSummary {
    pub sheet: String,
    pub photos: Vec<MinedRow>,
}

impl<'a> Summary<'a> {
    pub fn of(profile: &'a Profile, file: &Path, mined: Option<MinedSummary>) -> Self {
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
            threshold: calibration.threshold(about.false_alarm),
            readiness: &about.readiness,
            mined,
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
        let percent = self.false_alarm * 100.0;
        match self.threshold {
            Some(threshold) => writeln!(
                out,
                "ng if the score is above {threshold:.4}: {percent} % false alarms, from {} good photos",
                self.calibration_photos
            )?,
            None => writeln!(
                out,
                "no photo is ng at {percent} % false alarms: that needs {} good photos, there are {}",
                Calibration::needed(self.false_alarm),
                self.calibration_photos
            )?,
        }
        let readiness = self.readiness;
        write!(out, "{}: {}", readiness.verdict, readiness.why)?;
        if let Some(hits) = readiness.peak_on_damage {
            let (percent, damaged) = (hits * 100.0, readiness.damaged);
            write!(
                out,
                "; the map's peak is on the damage in {percent:.0} % of {damaged} damaged copies"
            )?;
        }
        writeln!(out)
    }
}
