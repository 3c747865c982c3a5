//! `blemish prompts`: prompt files, their prompts for a product, and their effect on scores.

mod args;
mod check;
mod explain;
mod watch;

use std::io::Write;
use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Context;
use blemish::{Error, Prompts};
use clap::Subcommand;

use self::args::PromptArgs;
use crate::cli::terminal::printed;

/// Write, check and try prompt files. They define what counts as a defect.
#[derive(clap::Args)]
#[command(after_help = "Examples:
  blemish prompts new my.toml
  blemish prompts check my.toml --product \"metal nut\"
  blemish prompts explain my.toml --product \"metal nut\" photos/bad.png
  blemish prompts watch my.toml --product \"metal nut\" photos/
  blemish score photos/ --prompts my.toml --product \"metal nut\"")]
pub struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Write a copy of an embedded prompt file. Then edit it.
    New {
        /// The file to write. It must not exist yet.
        file: PathBuf,
        /// The file to copy. `inspection` explains every key. The others are from the papers.
        #[arg(long, default_value = "inspection",
              value_parser = clap::builder::PossibleValuesParser::new(names()))]
        from: String,
    },
    Check(check::Args),
    /// Print every prompt of a prompt file: its kind, a tab, the prompt.
    Show {
        #[command(flatten)]
        given: PromptArgs,
    },
    Explain(explain::Args),
    Watch(watch::Args),
}

fn names() -> impl Iterator<Item = &'static str> {
    blemish::prompt::prompt_files().iter().map(|(name, _)| *name)
}

pub fn run(args: &Args) -> anyhow::Result<ExitCode> {
    match &args.command {
        Command::New { file, from } => new(file, from)?,
        Command::Check(args) => return check::run(args),
        Command::Show { given } => show(given)?,
        Command::Explain(args) => return explain::run(args),
        Command::Watch(args) => return watch::run(args),
    }
    Ok(ExitCode::SUCCESS)
}

fn new(file: &std::path::Path, from: &str) -> anyhow::Result<()> {
    if file.symlink_metadata().is_ok() {
        let setting = format!("the file {}", file.display());
        return Err(Error::setting(setting, "is there already; choose another name").into());
    }
    let embedded = blemish::prompt::prompt_files().iter().find(|(name, _)| *name == from);
    let (_, text) = embedded.context("--from: not in the program")?;
    blemish::files::write_whole(file, text.as_bytes())?;
    say!("wrote {}; edit it and pass it with --prompts", file.display());
    Ok(())
}

fn show(given: &PromptArgs) -> anyhow::Result<()> {
    let prompts = Prompts::open(&given.file)?;
    let groups = prompts.expand(&given.product)?;
    let mut out = std::io::stdout().lock();
    let mut lines = groups
        .iter()
        .flat_map(|(_, name, list)| list.iter().map(move |prompt| (name, &prompt.text)));
    printed(lines.try_for_each(|(name, text)| writeln!(out, "{name}\t{text}")))?;
    Ok(())
}
