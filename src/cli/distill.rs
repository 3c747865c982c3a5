//! `blemish distill`: trains small networks that find what a profile finds, faster.

use std::io::{IsTerminal, Write};
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Instant;

use blemish::profile::Calibration;
use blemish::student::{DistillOptions, distill};
use blemish::{BitDepth, Error, Photo, Profile};
use rayon::prelude::*;
use serde::Serialize;

use super::args::model::ModelArgs;
use super::args::values::SummaryFormat;
use super::inputs::{Inputs, check_profile_target, place, with_suffix};
use super::progress::StepBar;
use super::terminal::{json_line, message, printed};

/// Train small networks that find what a profile finds, but faster: a student (EfficientAD).
///
/// It learns from photos of good parts of one product, in a few minutes. `score`, `serve` and `watch` take it like another profile,
/// and need no model then. It finds less than the profile: measure both with `blemish eval folder`. After every 100 steps it
/// keeps a .checkpoint beside OUT. The same command continues from there.
#[derive(clap::Args)]
#[command(after_help = "Examples:
  blemish distill --profile nut.blemish --reference good/ -o fast.blemish
  blemish distill --profile nut.blemish --reference good/ --calibrate more_good/ --steps 1000 -o fast.blemish

Then run: blemish score photos/ --profile fast.blemish")]
pub struct Args {
    /// The profile to learn from. It does not change.
    #[arg(long, value_name = "FILE")]
    profile: PathBuf,
    /// Photos of good parts to learn from, such as those that the profile was enrolled with.
    #[arg(long, value_name = "PHOTOS", num_args = 1.., required = true)]
    reference: Vec<PathBuf>,
    /// Other photos of good parts. They set the line between ok and ng [default: one in five of --reference is held out].
    #[arg(long, value_name = "PHOTOS", num_args = 1..)]
    calibrate: Vec<PathBuf>,
    /// The profile to write.
    #[arg(long, short, value_name = "FILE")]
    out: PathBuf,
    /// Steps of training, for the teacher and again for the student. More steps find more, and take longer.
    #[arg(long, value_name = "N", default_value_t = 400,
          value_parser = clap::builder::RangedU64ValueParser::<usize>::new().range(1..))]
    steps: usize,
    /// Random seed.
    #[arg(long, value_name = "N", default_value_t = 0)]
    seed: u64,
    /// How to print the summary. The default is a table on a terminal, and JSON elsewhere.
    #[arg(long, value_enum)]
    format: Option<SummaryFormat>,
    #[command(flatten)]
    model: ModelArgs,
}

pub fn run(args: &Args) -> anyhow::Result<ExitCode> {
    let model = args.model.resolve()?;
    check_profile_target(&args.out)?;
    if place(&args.out) == place(&args.profile) {
        let why = "is the file of --profile; give another name";
        return Err(Error::setting(format!("out {}", args.out.display()), why).into());
    }
    let profile = Profile::open(&args.profile)?;
    if profile.about().student.is_some() {
        let why = "is a student; give the profile that it learned from";
        return Err(Error::setting(format!("profile {}", args.profile.display()), why).into());
    }
    let [references, calibration] =
        [&args.reference, &args.calibrate].map(|given| Inputs::find(given, &[]));
    [&references, &calibration].iter().for_each(|inputs| inputs.report(model.quiet));
    let depth = profile.bit_depth()?;
    let (references, unreadable) = readable(references, depth);
    let (calibration, more) = readable(calibration, depth);
    let failed = unreadable + more;
    if references.is_empty() {
        return Ok(ExitCode::FAILURE);
    }
    let clip = Arc::new(model.open_for(&profile)?);
    let checkpoint = with_suffix(&args.out, "checkpoint");
    if checkpoint.exists() && !model.quiet {
        say!("continuing from {}", checkpoint.display());
    }
    let (bar, start) = (StepBar::new(model.quiet), Instant::now());
    let options = DistillOptions {
        steps: args.steps,
        seed: args.seed,
        checkpoint: Some(&checkpoint),
        progress: &|what, share| bar.show(what, share),
    };
    let student = distill(clip, &profile, &references, &calibration, &options);
    bar.finish();
    let student = student?;
    student.save(&args.out)?;
    if checkpoint.exists() {
        std::fs::remove_file(&checkpoint)
            .map_err(|source| Error::Write { path: checkpoint.clone(), source })?;
    }
    let summary = Summary::of(&student, args, start.elapsed().as_secs_f64());
    summary.print(args.format)?;
    let needed = Calibration::needed(summary.false_alarm);
    if summary.threshold.is_none() && !model.quiet {
        say!(
            "note: no photo can be ng at {} % false alarms: that needs {needed} held-out photos; give more good photos with --calibrate",
            summary.false_alarm * 100.0
        );
    }
    Ok(if failed == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// The photos that can be read, and the number of inputs that cannot be used. Each is reported before the training.
fn readable(inputs: Inputs, depth: BitDepth) -> (Vec<PathBuf>, usize) {
    let mut failed = inputs.errors.len();
    let opened: Vec<_> = inputs.photos.par_iter().map(|photo| Photo::open(photo, depth)).collect();
    let mut photos = inputs.photos;
    let mut opened = opened.into_iter();
    photos.retain(|_| match opened.next() {
        Some(Err(error)) => {
            say!("{}", message(&error));
            failed += 1;
            false
        }
        _ => true,
    });
    (photos, failed)
}

/// The summary of a new student.
#[derive(Serialize)]
struct Summary {
    profile: String,
    sha256: String,
    teacher: String,
    teacher_sha256: String,
    product: String,
    /// Photos that it learned from.
    training: usize,
    /// Photos that decide the line.
    held_out: usize,
    false_alarm: f64,
    threshold: Option<f32>,
    steps: usize,
    seed: u64,
    seconds: f64,
    megabytes: f64,
}

impl Summary {
    fn of(student: &Profile, args: &Args, seconds: f64) -> Self {
        let (about, calibration) = (student.about(), student.calibration());
        let of = about.student.as_ref();
        let bytes = std::fs::metadata(&args.out).map_or(0, |file| file.len());
        Self {
            profile: args.out.display().to_string(),
            sha256: student.sha256().into(),
            teacher: args.profile.display().to_string(),
            teacher_sha256: of.map(|of| of.teacher_profile_sha256.clone()).unwrap_or_default(),
            product: about.product.clone(),
            training: about.references.len(),
            held_out: about.calibration.len(),
            false_alarm: about.false_alarm,
            threshold: calibration.threshold(about.false_alarm),
            steps: args.steps,
            seed: args.seed,
            seconds: (seconds * 10.0).round() / 10.0,
            megabytes: (bytes as f64 / 1e5).round() / 10.0,
        }
    }

    fn print(&self, format: Option<SummaryFormat>) -> anyhow::Result<bool> {
        let mut out = std::io::stdout().lock();
        let default = if out.is_terminal() { SummaryFormat::Table } else { SummaryFormat::Json };
        printed(match format.unwrap_or(default) {
            SummaryFormat::Json => json_line(&mut out, self),
            SummaryFormat::Table => {
                let Self { profile, product, teacher, seconds, megabytes, .. } = self;
                let (own, held_out) = (self.training, self.held_out);
                writeln!(out, "{profile}: a student of {teacher}, {product}, {megabytes} MB")?;
                writeln!(out, "trained on {own} photos in {seconds} s, {held_out} held out")?;
                match self.threshold {
                    Some(line) => writeln!(out, "ng if the score is above {line:.4}"),
                    None => writeln!(
                        out,
                        "no photo is ng at {} % false alarms: that needs {} held-out photos",
                        self.false_alarm * 100.0,
                        Calibration::needed(self.false_alarm)
                    ),
                }
            }
        })
    }
}
