//! `blemish profile`: shows, compares, checks and changes profiles.

mod change;

use std::io::Write;
use std::path::PathBuf;
use std::process::ExitCode;

use blemish::text::{json, shown};
use blemish::{Photo, Profile};
use clap::Subcommand;
use serde_json::Value;

use self::change::{AddArgs, ForgetArgs};
use crate::cli::args::model::ModelArgs;
use crate::cli::terminal::{message, printed};

/// Show, compare, check and change profiles, the files that `blemish enroll` writes.
#[derive(clap::Args)]
#[command(after_help = "Examples:
  blemish profile show nut.blemish
  blemish profile diff nut.blemish nut_old.blemish
  blemish profile check nut.blemish --model /models/ViT-B-16-plus-240
  blemish profile add nut.blemish --calibrate false_alarms/ --by \"A. Kim\"
  blemish profile add nut.blemish --reference new_batch/ --photos good/
  blemish profile forget nut.blemish 0042.png
  blemish profile history nut.blemish")]
pub struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Print the description of a profile as JSON.
    Show {
        /// The profile.
        file: PathBuf,
    },
    /// Print the differences between two profiles. The exit code is 1 if they differ.
    Diff {
        /// The old profile.
        old: PathBuf,
        /// The new profile.
        new: PathBuf,
    },
    /// Check that a profile is undamaged and fits its model. The exit code is 1 if not.
    Check {
        /// The profile.
        file: PathBuf,
        #[command(flatten)]
        model: ModelArgs,
    },
    /// Add photos of good parts, and draw the line again. The old line and the new one are printed.
    Add(AddArgs),
    /// Forget photos, and draw the line again.
    Forget(ForgetArgs),
    /// Print who changed a profile, when, and how.
    History {
        /// The profile.
        file: PathBuf,
        /// Print a line of JSON for each change.
        #[arg(long)]
        json: bool,
    },
}

pub fn run(args: &Args) -> anyhow::Result<ExitCode> {
    let mut out = std::io::stdout();
    match &args.command {
        Command::Add(args) => change::add(args),
        Command::Forget(args) => change::forget(args),
        Command::History { file, json } => change::history(file, *json),
        Command::Show { file } => {
            let text = serde_json::to_string_pretty(&described(&Profile::open(file)?)?)?;
            printed(writeln!(out, "{}", json(&text)))?;
            Ok(ExitCode::SUCCESS)
        }
        Command::Diff { old, new } => {
            let (old, new) = (described(&Profile::open(old)?)?, described(&Profile::open(new)?)?);
            let mut lines = Vec::new();
            differences("", &old, &new, &mut lines);
            for line in &lines {
                if !printed(writeln!(out, "{}", shown(line)))? {
                    break;
                }
            }
            Ok(if lines.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
        }
        Command::Check { file, model } => {
            let model = model.resolve()?;
            let profile = Profile::open(file)?;
            let check = || -> anyhow::Result<()> {
                let detector = model.detector(&profile)?;
                // Scoring a photo checks that the stored references fit the model.
                let grey = Photo::from_rgb(64, 64, vec![128; 64 * 64 * 3])?;
                detector.inspect(&grey, profile.product())?;
                Ok(())
            };
            if let Err(error) = check() {
                match error.downcast_ref() {
                    Some(error) => say!("{}", message(error)),
                    None => say!("{error}"),
                }
                return Ok(ExitCode::FAILURE);
            }
            let about = profile.about();
            let text = format!(
                "{}: good; {} with model {}, {} references, p-values from {} good photos",
                file.display(),
                about.product,
                about.model,
                about.references.len(),
                profile.calibration().photos()
            );
            printed(writeln!(out, "{}", shown(&text)))?;
            Ok(ExitCode::SUCCESS)
        }
    }
}

/// The description of a profile, with its hash.
fn described(profile: &Profile) -> serde_json::Result<Value> {
    let mut about = serde_json::to_value(profile.about())?;
    about["sha256"] = profile.sha256().into();
    Ok(about)
}

/// Adds a line for each value that differs: its place, the old value and the new value.
fn differences(place: &str, old: &Value, new: &Value, lines: &mut Vec<String>) {
    let below = |key: &dyn std::fmt::Display| match place.is_empty() {
        true => key.to_string(),
        false => format!("{place}.{key}"),
    };
    match (old, new) {
        (Value::Object(a), Value::Object(b)) => {
            let added = b.keys().filter(|key| !a.contains_key(*key));
            for key in a.keys().chain(added) {
                differences(&below(key), &old[key], &new[key], lines);
            }
        }
        (Value::Array(a), Value::Array(b))
            if a.iter().chain(b).all(|v| v["sha256"].is_string()) =>
        {
            // Photos are matched by their hash, because their order does not matter.
            let file = |photo: &Value| photo["file"].as_str().unwrap_or_default().to_string();
            let find = |of: &[Value], photo: &Value| {
                of.iter().find(|other| other["sha256"] == photo["sha256"]).cloned()
            };
            for photo in a {
                match find(b, photo) {
                    Some(new) => differences(&below(&file(photo)), photo, &new, lines),
                    None => lines.push(format!("{place}: removed {}", file(photo))),
                }
            }
            let added = b.iter().filter(|photo| find(a, photo).is_none());
            lines.extend(added.map(|photo| format!("{place}: added {}", file(photo))));
        }
        (Value::Array(a), Value::Array(b)) => {
            for i in 0..a.len().max(b.len()) {
                let (old, new) = (a.get(i), b.get(i));
                let null = Value::Null;
                differences(&below(&i), old.unwrap_or(&null), new.unwrap_or(&null), lines);
            }
        }
        _ if old == new => {}
        _ => lines.push(format!("{place}: {old} -> {new}")),
    }
}
