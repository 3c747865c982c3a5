//! `blemish decide`: applies another false-alarm rate to existing results.

use std::io::Write;
use std::path::PathBuf;
use std::process::ExitCode;

use blemish::profile::Decision;
use blemish::report::SCHEMA;
use blemish::text::json;
use serde_json::Value;

use super::args::rate::{self, check_rate, say_what_is_promised, spread};
use super::results::lines;
use super::terminal::printed;

/// Decide between ok and ng again, with another false-alarm rate.
///
/// Reads the JSON Lines of `score --profile`, and prints them with new verdicts. Nothing is scored again. A summary
/// goes to standard error.
#[derive(clap::Args)]
#[command(after_help = "Examples:
  blemish score photos/ --profile nut.blemish > results.jsonl
  blemish decide results.jsonl --false-alarm 0.01 > fewer_alarms.jsonl
  blemish decide results.jsonl --false-alarm 0.1 | grep '\"verdict\":\"ng\"'")]
pub struct Args {
    /// A file with the JSON Lines of `score --profile`, or - for standard input.
    results: PathBuf,
    /// The share of good parts that may be marked ng, such as 0.05 or 5%. 0.05 needs 19 good photos, 0.01 needs 99.
    #[arg(long, value_name = "RATE", value_parser = rate::parse)]
    false_alarm: f64,
    /// Print no summary. Errors are still printed.
    #[arg(long, short)]
    quiet: bool,
}

pub fn run(args: &Args) -> anyhow::Result<ExitCode> {
    check_rate(args.false_alarm)?;
    let mut out = std::io::stdout().lock();
    let (mut counts, mut failed, mut photos) = ([0usize; 3], 0, None);
    let (mut is_read, mut is_foreign) = (true, false);
    lines(&args.results, |number, line| {
        match decide(line, args.false_alarm) {
            Ok((decision, among, line)) => {
                counts[decision as usize] += 1;
                photos = Some(photos.map_or(among, |least: usize| least.min(among)));
                is_read = printed(writeln!(out, "{}", json(&line)))?;
            }
            Err(why) if photos.is_none() => {
                // The first line is no result, so this is the wrong kind of file: one message is enough.
                let file = args.results.display();
                say!("{file}:{number}: {why}; score again with --profile and --format jsonl");
                is_foreign = true;
            }
            Err(why) => {
                failed += 1;
                say!("{}:{number}: {why}", args.results.display());
            }
        }
        Ok(is_read && !is_foreign)
    })?;
    if is_foreign {
        return Ok(ExitCode::FAILURE);
    }
    if !is_read {
        return Ok(ExitCode::SUCCESS);
    }
    if photos.is_none() {
        say!("{}: holds no results of `blemish score --profile`", args.results.display());
        return Ok(ExitCode::FAILURE);
    }
    if let (Some(photos), false) = (photos, args.quiet) {
        say_what_is_promised(photos, args.false_alarm);
        let [ok, ng, uncertain] = counts;
        let spread = spread(photos, args.false_alarm);
        let spread = spread.map_or(String::new(), |spread| format!("; {spread}"));
        say!("{ok} ok, {ng} ng, {uncertain} uncertain{spread}");
    }
    Ok(if failed == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// Decides about one result again: the verdict, the number of calibration photos, and the new line.
fn decide(line: &str, false_alarm: f64) -> Result<(Decision, usize, String), String> {
    let other = "not a result of `blemish score --profile` in JSON Lines";
    let mut row: Value = serde_json::from_str(line).map_err(|_| other)?;
    if row["schema"] != SCHEMA {
        return Err(format!("a result of another version of blemish (schema {})", row["schema"]));
    }
    let photos = row.get("calibration_photos").and_then(Value::as_u64).ok_or(other)? as usize;
    let decision = match row.get("p_value") {
        Some(Value::Null) => Decision::Uncertain,
        Some(p) => {
            let p = p.as_f64().filter(|p| *p > 0.0 && *p <= 1.0).ok_or(other)?;
            Decision::new(p, photos, false_alarm)
        }
        None => return Err(other.into()),
    };
    row["false_alarm"] = false_alarm.into();
    row["verdict"] = decision.name().into();
    Ok((decision, photos, row.to_string()))
}
