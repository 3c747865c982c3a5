//! `blemish profile add`, `forget` and `history`.

use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::SystemTime;

use blemish::profile::{Change, Enrolled, PhotoName, ProfileChange};
use blemish::text::shown;
use blemish::{Error, Profile};
use serde_json::json;

use crate::cli::args::model::ModelArgs;
use crate::cli::inputs::{Inputs, check_profile_target};
use crate::cli::marks::Marks;
use crate::cli::progress::StepBar;
use crate::cli::terminal::{json_line, message, printed};

/// Which photos come in.
#[derive(clap::Args)]
#[command(group(clap::ArgGroup::new("new").required(true).multiple(true)))]
pub struct AddArgs {
    /// The profile.
    file: PathBuf,
    /// Photos of good parts that help to decide the line, such as false alarms that a person checked. They are scored; the
    /// references stay as they are.
    #[arg(long, value_name = "PHOTOS", num_args = 1.., group = "new")]
    calibrate: Vec<PathBuf>,
    /// Marks that you made on the page of `score --out`: photos marked ok are added as with --calibrate.
    #[arg(long, value_name = "FILE", group = "new")]
    marks: Option<PathBuf>,
    /// Photos of good parts to compare with. All photos of the profile are compared again, so --photos must have them.
    #[arg(long, value_name = "PHOTOS", num_args = 1.., group = "new")]
    reference: Vec<PathBuf>,
    #[command(flatten)]
    how: HowArgs,
}

/// Which photos go out.
#[derive(clap::Args)]
pub struct ForgetArgs {
    /// The profile.
    file: PathBuf,
    /// Photos to forget: file names as `blemish profile show` prints them, or at least eight letters of their hashes.
    #[arg(required = true)]
    names: Vec<String>,
    #[command(flatten)]
    how: HowArgs,
}

#[derive(clap::Args)]
struct HowArgs {
    /// Where the profile's own photos are: files or folders. They are found by their content.
    #[arg(long, value_name = "PHOTOS", num_args = 1..)]
    photos: Vec<PathBuf>,
    /// Who makes the change, for the history [default: the user of this computer].
    #[arg(long, value_name = "NAME")]
    by: Option<String>,
    /// The profile to write [default: the same file].
    #[arg(long, short, value_name = "FILE")]
    out: Option<PathBuf>,
    #[command(flatten)]
    model: ModelArgs,
}

/// What changes, with all files found.
#[derive(Default)]
struct Found {
    references: Vec<PathBuf>,
    calibration: Vec<PathBuf>,
    forget: Vec<String>,
}

pub fn add(args: &AddArgs) -> anyhow::Result<ExitCode> {
    let marked = args.marks.as_ref().map(|file| Marks::open(file)).transpose()?;
    let mut calibrate = args.calibrate.clone();
    calibrate.extend(marked.into_iter().flat_map(|marks| marks.ok));
    let quiet = args.how.model.quiet;
    let (Some(references), Some(calibration)) =
        (found(&args.reference, quiet), found(&calibrate, quiet))
    else {
        return Ok(ExitCode::FAILURE);
    };
    if references.is_empty() && calibration.is_empty() {
        let why = "marks no photo ok; mark some good photos";
        return Err(Error::setting("marks", why).into());
    }
    run(&args.file, &args.how, Found { references, calibration, ..Found::default() })
}

pub fn forget(args: &ForgetArgs) -> anyhow::Result<ExitCode> {
    run(&args.file, &args.how, Found { forget: args.names.clone(), ..Found::default() })
}

/// The photos of some inputs. None if an input cannot be used, which was said.
fn found(given: &[PathBuf], quiet: bool) -> Option<Vec<PathBuf>> {
    let inputs = Inputs::find(given, &[]);
    if given.is_empty() {
        return Some(vec![]);
    }
    inputs.report(quiet);
    inputs.errors.is_empty().then_some(inputs.photos)
}

fn run(file: &Path, how: &HowArgs, found_files: Found) -> anyhow::Result<ExitCode> {
    // A link stays one.
    let own = std::fs::canonicalize(file).unwrap_or_else(|_| file.to_path_buf());
    let out = how.out.as_deref().unwrap_or(&own);
    let profile = Profile::open(file)?;
    check_profile_target(out)?;
    let model = how.model.resolve()?;
    let quiet = how.model.quiet;
    let Some(photos) = found(&how.photos, quiet) else { return Ok(ExitCode::FAILURE) };
    let bar = StepBar::new(quiet);
    let change = ProfileChange {
        references: &found_files.references,
        calibration: &found_files.calibration,
        forget: &found_files.forget,
        photos: &photos,
        when: &humantime::format_rfc3339_seconds(SystemTime::now()).to_string(),
        who: &how.by.clone().unwrap_or_else(user),
        progress: &|what, share| bar.show(what, share),
    };
    let changed = profile.change(model.open_for(&profile)?.into(), &change);
    bar.finish();
    let changed = changed?;
    let Enrolled { profile: new, unreadable, copies, note } = &changed.enrolled;
    unreadable.iter().for_each(|error| say!("{}", message(error)));
    if !quiet {
        note.iter().for_each(|note| say!("note: {note} (shown once)"));
        for (copy, of) in copies {
            say!(
                "note: {} has the same content as {} and counts once",
                copy.display(),
                of.display()
            );
        }
    }
    let code = if unreadable.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE };
    if how.out.is_none() && Profile::open(file)?.sha256() != profile.sha256() {
        let why = "was changed meanwhile; run the command again";
        return Err(Error::setting(format!("profile {}", file.display()), why).into());
    }
    let Some(made) = &changed.change else {
        say!("{}: nothing to change", file.display());
        how.out.as_ref().map_or(Ok(()), |out| profile.save(out))?;
        return Ok(code);
    };
    new.save(out)?;
    let mut row = serde_json::to_value(made)?;
    row["profile"] = json!(out.display().to_string());
    row["sha256"] = json!(new.sha256());
    row["calibration_photos"] = json!(new.calibration().photos());
    printed(json_line(&mut std::io::stdout(), &row))?;
    // A looser line is never silent.
    say!("{}", line_of(made));
    if !quiet {
        warn_of_few(made, new);
    }
    Ok(code)
}

fn user() -> String {
    let names = ["USER", "USERNAME"].into_iter().filter_map(|name| std::env::var(name).ok());
    names.into_iter().find(|name| !name.is_empty()).unwrap_or("unknown".into())
}

fn line_of(change: &Change) -> String {
    match (change.line_before, change.line_after) {
        (Some(before), Some(after)) if after > before => format!(
            "the line is looser: {before:.4} before, now {after:.4}; scores between them were ng, and are no longer"
        ),
        (Some(before), Some(after)) if after < before => {
            format!("the line is stricter: {before:.4} before, now {after:.4}")
        }
        (Some(_), Some(after)) => format!("the line stays at {after:.4}"),
        (None, Some(after)) => format!("there was no line, now it is {after:.4}"),
        (Some(before), None) => {
            format!("the line was {before:.4}, and now there are too few good photos for one")
        }
        (None, None) => "there are too few good photos for a line".into(),
    }
}

/// Photos that were chosen because of their high scores are no fair sample of good parts.
fn warn_of_few(change: &Change, new: &Profile) {
    let Some(before) = change.line_before else { return };
    let is_new = |hash: &str| change.calibration.iter().any(|photo| photo.sha256 == hash);
    let own = new.about().calibration.iter().filter(|photo| is_new(&photo.sha256));
    let scores: Vec<f32> = own.filter_map(|photo| photo.score).collect();
    if !change.is_refit && !scores.is_empty() && scores.iter().all(|score| *score > before) {
        say!(
            "note: all new photos score above the old line. Add other good parts of the same days too, or the line finds \
             less than its false-alarm rate allows"
        );
    }
}

/// Prints the changes, the oldest first.
pub fn history(file: &Path, is_json: bool) -> anyhow::Result<ExitCode> {
    let profile = Profile::open(file)?;
    let mut out = std::io::stdout().lock();
    let about = profile.about();
    for change in &about.history {
        let is_read = match is_json {
            true => printed(json_line(&mut out, change))?,
            false => printed(writeln!(out, "{}", shown(&described(change))))?,
        };
        if !is_read {
            break;
        }
    }
    if about.history.is_empty() {
        say!("{}: nothing was changed since it was enrolled", file.display());
    }
    Ok(ExitCode::SUCCESS)
}

fn described(change: &Change) -> String {
    let named = |what: &str, photos: &[PhotoName]| {
        let names: Vec<&str> = photos.iter().map(|photo| &*photo.file).collect();
        match names.len() {
            0 => None,
            1..=3 => Some(format!("{what} {}", names.join(", "))),
            n => Some(format!("{what} {}, ... ({n} photos)", names[..3].join(", "))),
        }
    };
    let parts = [
        named("references:", &change.references),
        named("for the line:", &change.calibration),
        named("forgot", &change.forgotten),
    ];
    let parts: Vec<String> = parts.into_iter().flatten().collect();
    format!("{} {}: {}; {}", change.when, change.who, parts.join("; "), line_of(change))
}
