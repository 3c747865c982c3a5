//! `blemish models`: lists the models with short names, and downloads models.

use std::io::Write;
use std::process::ExitCode;

use clap::Subcommand;
use serde::Serialize;

use super::printer::{Format, default_format};
use super::pull::pull;
use super::terminal::printed;

/// List the models with short names, or download a model.
#[derive(clap::Args)]
#[command(after_help = "Examples:
  blemish models
  blemish models pull ViT-B-16-plus-240
  HF_ENDPOINT=https://mirror.example blemish models pull openai/clip-vit-base-patch32@main")]
pub struct Args {
    #[command(subcommand)]
    command: Option<Command>,
    /// How to print the list. The default is a table on a terminal, and JSON Lines elsewhere.
    #[arg(long, value_enum)]
    format: Option<Format>,
}

#[derive(Subcommand)]
enum Command {
    /// Download a model into the Hugging Face cache, or update it.
    Pull {
        /// A short name, or a Hugging Face repository: owner/name or owner/name@revision.
        model: String,
        /// Print no progress.
        #[arg(long, short)]
        quiet: bool,
    },
}

#[derive(Serialize)]
struct Row {
    name: &'static str,
    flag: &'static str,
    million_parameters: f32,
    megabytes: u32,
    input: usize,
    licence: &'static str,
    cached: bool,
    repository: &'static str,
    origin: &'static str,
}

pub fn run(args: &Args) -> anyhow::Result<ExitCode> {
    match &args.command {
        None => list(args.format)?,
        Some(Command::Pull { model, quiet }) => {
            pull(model, *quiet)?;
            if !quiet {
                say!("{model} is ready");
            }
        }
    }
    Ok(ExitCode::SUCCESS)
}

fn list(format: Option<Format>) -> anyhow::Result<()> {
    let rows = blemish::clip::aliases().iter().map(|alias| Row {
        name: alias.name,
        flag: alias.use_for.flag(),
        million_parameters: alias.million_parameters,
        megabytes: alias.megabytes(),
        input: alias.image_size,
        licence: alias.licence,
        cached: blemish::clip::is_cached(alias.name),
        repository: alias.repository.unwrap_or("(in the binary)"),
        origin: alias.origin,
    });
    let mut out = std::io::stdout().lock();
    let print = || match format.unwrap_or(default_format()) {
        Format::Jsonl => rows.into_iter().try_for_each(|row| {
            serde_json::to_writer(&mut out, &row)?;
            writeln!(out)
        }),
        Format::Csv => {
            let mut csv = csv::Writer::from_writer(&mut out);
            for row in rows {
                csv.serialize(row).map_err(std::io::Error::other)?;
            }
            csv.flush()
        }
        Format::Table => {
            writeln!(
                out,
                "{:<22} {:<17} {:>8} {:>8} {:>6} {:<15} {:<7} origin",
                "name", "flag", "params", "download", "input", "licence", "cached"
            )?;
            for row in rows {
                writeln!(
                    out,
                    "{:<22} {:<17} {:>7}M {:>6}MB {:>6} {:<15} {:<7} {}",
                    row.name,
                    row.flag,
                    row.million_parameters,
                    row.megabytes,
                    row.input,
                    row.licence,
                    if row.cached { "yes" } else { "no" },
                    row.origin
                )?;
            }
            Ok(())
        }
    };
    printed(print())?;
    Ok(())
}
