//! `blemish prompts check`: counts prompts, warns about doubtful ones, and tries ignored things on photos.

use std::io::Write;
use std::path::PathBuf;
use std::process::ExitCode;

use blemish::Prompts;
use blemish::prompt::{Role, TextCache};

use super::args::PromptArgs;
use crate::cli::args::method::MethodArgs;
use crate::cli::encode::encode_all;
use crate::cli::ignoring::Ignoring;
use crate::cli::inputs::Inputs;
use crate::cli::terminal::printed;

/// Count the prompts of a prompt file, and warn about doubtful ones.
///
/// With --photos, also say what the ignored things hide. Give photos of good and of defective parts.
#[derive(clap::Args)]
#[command(after_help = "Example:
  blemish prompts check my.toml --product \"metal nut\" --photos photos/")]
pub struct Args {
    #[command(flatten)]
    given: PromptArgs,
    /// Try the ignored things on these photos: files, folders or patterns in quotes.
    #[arg(long, value_name = "PHOTOS", num_args = 1..)]
    photos: Vec<PathBuf>,
    #[command(flatten)]
    method: MethodArgs,
}

pub fn run(args: &Args) -> anyhow::Result<ExitCode> {
    let method = args.method.resolve_per_photo()?;
    let depth = method.depth;
    let prompts = Prompts::open(&args.given.file)?;
    prompts.expand(&args.given.product)?;
    let model = method.open()?;
    let cache = TextCache::from_env();
    // This prints how names in other languages are read.
    let product = model.product(&args.given.product, &prompts, &cache)?;
    let report = prompts.check(&model.clip, &args.given.product, &cache)?;
    let mut out = std::io::stdout().lock();
    let mut print = || {
        for (role, name, states, prompts) in &report.groups {
            let role = match role {
                Role::Normal | Role::Anomalous => "",
                Role::Defect => "defect ",
                Role::Ignore => "ignore ",
            };
            writeln!(out, "{role}{name}: {states} states, {prompts} prompts")?;
        }
        for (a, b, cosine) in &report.cosines {
            writeln!(out, "cosine of {a} and {b}: {cosine:.4}")?;
        }
        for warning in &report.warnings {
            writeln!(out, "{}: warning: {}", warning.place, warning.why)?;
        }
        if report.warnings.is_empty() {
            writeln!(out, "nothing doubtful")?;
        }
        out.flush()
    };
    if !printed(print())? || args.photos.is_empty() {
        return Ok(ExitCode::SUCCESS);
    }
    let inputs = Inputs::find(&args.photos, &[]);
    let detector = model.detector()?;
    let (encoded, complete) = encode_all(&detector, depth, &inputs, model.quiet);
    let mut ignoring = Ignoring::default();
    for (_, photo) in &encoded {
        ignoring.add(&detector.score(photo, &product)?);
    }
    if encoded.is_empty() {
        return Ok(ExitCode::FAILURE);
    }
    let mut lines: Vec<String> = ignoring.rows().iter().map(ToString::to_string).collect();
    if lines.is_empty() {
        lines.push("the prompt file ignores nothing: it has no [[ignore]] that counts".into());
    }
    lines.extend(ignoring.warnings().iter().map(|warning| format!("warning: {warning}")));
    printed(lines.iter().try_for_each(|line| writeln!(out, "{line}")))?;
    Ok(if complete { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}
