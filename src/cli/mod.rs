//! One file per command; each parses its flags, calls the library and prints.

mod adapter;
mod decide;
mod enroll;
mod eval;
mod explain;
mod folder;
mod inputs;
mod maps;
mod measured;
mod merge;
mod mine;
mod models;
mod page;
mod profile;
mod prompts;
mod results;
mod score;
mod scorer;
mod setup;
mod shard;
mod together;
mod train;
mod watch;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

/// Finds defects in product photos from words alone.
#[derive(Parser)]
#[command(version, max_term_width = 100, arg_required_else_help = true)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    Score(score::Args),
    Enroll(enroll::Args),
    Decide(decide::Args),
    Profile(profile::Args),
    Prompts(prompts::Args),
    Adapter(adapter::Args),
    Eval(eval::Args),
    Merge(merge::Args),
    Models(models::Args),
}

pub fn run() -> anyhow::Result<ExitCode> {
    // The file that is being written is finished first, so that a stop leaves whole files only.
    ctrlc::set_handler(|| {
        let _stopped = blemish::files::stop_writing();
        std::process::exit(130);
    })?;
    match Cli::parse().command {
        Command::Score(args) => score::run(&args),
        Command::Enroll(args) => enroll::run(&args),
        Command::Decide(args) => decide::run(&args),
        Command::Profile(args) => profile::run(&args),
        Command::Prompts(args) => prompts::run(&args),
        Command::Adapter(args) => adapter::run(&args),
        Command::Eval(args) => eval::run(&args),
        Command::Merge(args) => merge::run(&args),
        Command::Models(args) => models::run(&args),
    }
}

/// Output that nobody reads any more (`blemish score ... | head`) is a good reason to stop, not a failure.
fn printed(result: std::io::Result<()>) -> anyhow::Result<bool> {
    match result {
        Ok(()) => Ok(true),
        Err(e) if e.kind() == std::io::ErrorKind::BrokenPipe => Ok(false),
        Err(e) => Err(anyhow::anyhow!("standard output: cannot write: {e}")),
    }
}
