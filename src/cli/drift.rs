//! `blemish drift`: are today's photos still like those that the profile was enrolled with?

use std::collections::HashSet;
use std::path::PathBuf;
use std::process::ExitCode;

use blemish::Profile;
use blemish::drift::watch;
use blemish::image::Appearance;
use blemish::profile::ReferenceAbout;
use blemish::report::SCHEMA;
use serde::{Deserialize, Serialize};

use super::args::rate::{self, check_rate};
use super::results::lines;
use super::terminal::{json_line, printed};

/// The exit code of drift: neither success nor failure.
const DRIFT: u8 = 3;

/// Say whether photos drift away from the good photos of a profile.
///
/// It watches the scores of good parts, and the brightness, contrast and sharpness of all photos. A lamp that ages, a lens out
/// of focus or a new batch changes one of them. Give results in the order of time. One line of JSON says what moved, since
/// when, and how sure that is. The exit code is 3 if something moved.
#[derive(clap::Args)]
#[command(after_help = "Examples:
  blemish drift nut.blemish results.jsonl
  blemish drift nut.blemish monday.jsonl tuesday.jsonl --false-alarm 0.001
  tail -n 1000 results/results.jsonl | blemish drift nut.blemish -")]
pub struct Args {
    /// The profile.
    profile: PathBuf,
    /// Results of `score --profile` or `watch` in JSON Lines, the oldest first, or - for standard input.
    #[arg(required = true)]
    results: Vec<PathBuf>,
    /// How often photos without any drift may be reported, such as 0.01 or 1%.
    #[arg(long, value_name = "RATE", value_parser = rate::parse, default_value = "0.01")]
    false_alarm: f64,
    /// Print only the JSON. Errors are still printed.
    #[arg(long, short)]
    quiet: bool,
}

/// What is needed of a result.
#[derive(Deserialize)]
struct Row {
    schema: u32,
    path: String,
    score: f32,
    profile_sha256: String,
    #[serde(default)]
    appearance: Option<Appearance>,
}

#[derive(Serialize)]
struct Report {
    profile: String,
    photos: usize,
    /// The share of them above the line.
    ng_share: f64,
    drift: bool,
    false_alarm: f64,
    measures: Vec<Measure>,
}

#[derive(Serialize)]
struct Measure {
    measure: &'static str,
    drift: bool,
    /// At most its inverse is the chance of so much without any drift. At most 1e9.
    evidence: f64,
    /// Evidence for an alarm.
    needed: f64,
    photos: usize,
    /// The photo at which the drift was seen, and how many photos had come with it.
    seen_at: Option<String>,
    seen_after: Option<usize>,
    /// The photo since which it lasts, about.
    since: Option<String>,
    /// The mean of the profile's photos.
    usual: f64,
    /// The mean of the photos since then.
    now: f64,
}

pub fn run(args: &Args) -> anyhow::Result<ExitCode> {
    check_rate(args.false_alarm)?;
    let profile = Profile::open(&args.profile)?;
    let (rows, failed) = read(args, &profile)?;
    let report = report(args, &profile, &rows);
    if report.measures.is_empty() {
        let profile = args.profile.display();
        say!(
            "{profile}: nothing can be watched: no results of this profile, or no good photos with a score in it"
        );
        return Ok(ExitCode::FAILURE);
    }
    printed(json_line(&mut std::io::stdout(), &report))?;
    if !args.quiet {
        tell(&report);
    }
    Ok(match (report.drift, failed) {
        (true, _) => ExitCode::from(DRIFT),
        (false, 0) => ExitCode::SUCCESS,
        (false, _) => ExitCode::FAILURE,
    })
}

/// The results, and how many lines are none. Each file says what is wrong with its first one.
fn read(args: &Args, profile: &Profile) -> anyhow::Result<(Vec<Row>, usize)> {
    let known = same_line(profile);
    let (mut rows, mut all_failed) = (Vec::new(), 0);
    for file in &args.results {
        let (mut failed, mut first, mut last) = (0, None, 0);
        lines(file, |number, line| {
            last = number;
            let why = match serde_json::from_str::<Row>(line) {
                Err(error) if error.is_eof() => "is cut off; it is not counted",
                Err(_) => {
                    "is no result of a profile; give the JSON Lines of `score --profile` or `watch`"
                }
                Ok(row) if row.schema != SCHEMA => "is of another version of blemish; score again",
                Ok(row) if !known.contains(&row.profile_sha256) => {
                    "was scored with another profile; score again, or give that one"
                }
                Ok(row) => {
                    rows.push(row);
                    return Ok(true);
                }
            };
            failed += 1;
            first.get_or_insert((number, why));
            Ok(true)
        })?;
        // Something may be writing the last line right now.
        let is_growing =
            failed == 1 && first.is_some_and(|(at, why)| at == last && why.starts_with("is cut"));
        if let (Some((number, why)), false) = (first, is_growing) {
            let others = if failed > 1 { format!(" ({failed} such lines)") } else { String::new() };
            say!("{}:{number}: {why}{others}", file.display());
            all_failed += failed;
        }
    }
    Ok((rows, all_failed))
}

/// The hashes of the profile and of its older states with the same references: their scores are the same.
fn same_line(profile: &Profile) -> HashSet<String> {
    let older = profile.about().history.iter().rev().take_while(|change| !change.is_refit);
    let older = older.map(|change| change.sha256_before.clone());
    std::iter::once(profile.sha256().to_string()).chain(older).collect()
}

fn report(args: &Args, profile: &Profile, rows: &[Row]) -> Report {
    let about = profile.about();
    let line = profile.calibration().threshold(about.false_alarm).unwrap_or(f32::INFINITY);
    // Parts that are ng say nothing of good parts. The line is one of the good scores in order, so the good scores below it, old and
    // new, are still exchangeable.
    let is_below = |score: &f32| *score < line;
    let photos: Vec<&ReferenceAbout> = about.references.iter().chain(&about.calibration).collect();
    let calibration = profile.calibration();
    let usual: Vec<f32> = calibration.scores().iter().copied().filter(is_below).collect();
    let below: Vec<&Row> = rows.iter().filter(|row| is_below(&row.score)).collect();
    let scores =
        Numbers { usual, stream: below.iter().map(|row| (&*row.path, row.score)).collect() };
    let seen = |value: fn(&Appearance) -> f32| Numbers {
        usual: photos.iter().filter_map(|photo| photo.appearance.as_ref().map(value)).collect(),
        stream: rows
            .iter()
            .filter_map(|row| Some((&*row.path, row.appearance.as_ref().map(value)?)))
            .collect(),
    };
    let all = [
        ("score", scores),
        ("brightness", seen(|photo| photo.brightness)),
        ("contrast", seen(|photo| photo.contrast)),
        ("sharpness", seen(|photo| photo.sharpness)),
    ];
    // Each of them may alarm.
    let needed = all.len() as f64 / args.false_alarm;
    let measures: Vec<Measure> =
        all.into_iter().filter_map(|(name, numbers)| numbers.measured(name, needed)).collect();
    Report {
        profile: args.profile.display().to_string(),
        photos: rows.len(),
        ng_share: rows.iter().filter(|row| row.score > line).count() as f64
            / rows.len().max(1) as f64,
        drift: measures.iter().any(|measure| measure.drift),
        false_alarm: args.false_alarm,
        measures,
    }
}

/// One number of each photo.
struct Numbers<'a> {
    usual: Vec<f32>,
    /// With the photo's path.
    stream: Vec<(&'a str, f32)>,
}

impl Numbers<'_> {
    fn measured(&self, measure: &'static str, needed: f64) -> Option<Measure> {
        let stream: Vec<f32> = self.stream.iter().map(|(_, value)| *value).collect();
        let course = watch(&self.usual, &stream, needed, 0)?;
        let mean = |values: &[f32]| {
            values.iter().map(|value| f64::from(*value)).sum::<f64>() / values.len().max(1) as f64
        };
        let is_moved = course.alarm.is_some();
        let path = |at: usize| self.stream[at].0.to_string();
        Some(Measure {
            measure,
            drift: is_moved,
            evidence: course.evidence,
            needed,
            photos: stream.len(),
            seen_at: course.alarm.map(path),
            seen_after: course.alarm.map(|at| at + 1),
            since: is_moved.then(|| path(course.since)),
            usual: mean(&self.usual),
            now: mean(&stream[if is_moved { course.since } else { 0 }..]),
        })
    }
}

fn tell(report: &Report) {
    let photos = report.photos;
    for measure in report.measures.iter().filter(|measure| measure.drift) {
        let (since, seen) = (measure.since.as_deref(), measure.seen_after.unwrap_or_default());
        say!(
            "{}: {:.3} before, now {:.3}; since about {}, seen after {seen} photos",
            measure.measure,
            measure.usual,
            measure.now,
            since.unwrap_or_default()
        );
    }
    let watched: Vec<&str> = report.measures.iter().map(|measure| measure.measure).collect();
    let watched = watched.join(", ");
    match report.drift {
        true => say!("drift: look at these photos, light and lens; enroll again if it is to stay"),
        false => say!(
            "no drift of {watched} in {photos} photos (false alarms: at most {})",
            report.false_alarm
        ),
    }
    if report.measures.iter().all(|measure| measure.measure == "score") {
        say!(
            "note: brightness, contrast and sharpness are not in the results, or not in the profile: older versions did not \
             measure them; enroll again to watch them"
        );
    }
}
