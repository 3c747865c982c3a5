//! The command line. Each command reads its flags, calls the library and prints. No command uses another command:
//! shared code has modules of its own.

#[macro_use]
pub mod terminal;

mod adapter;
mod args;
mod bench;
mod decide;
mod distill;
mod drift;
mod encode;
mod enroll;
mod eval;
mod ignoring;
mod inputs;
mod marks;
mod models;
mod parts;
mod printer;
mod profile;
mod progress;
mod prompts;
mod pull;
mod results;
mod score;
#[cfg(feature = "serve")]
mod serve;
#[cfg(feature = "watch")]
mod watch;

use std::process::ExitCode;

use clap::error::{ContextKind, ContextValue, ErrorKind};
use clap::{CommandFactory, FromArgMatches, Parser, Subcommand};

/// Find defects in product photos with CLIP.
#[derive(Parser)]
#[command(version, max_term_width = 100, arg_required_else_help = true)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    Score(score::Args),
    #[cfg(feature = "serve")]
    Serve(serve::Args),
    #[cfg(feature = "watch")]
    Watch(watch::Args),
    Enroll(enroll::Args),
    Distill(distill::Args),
    Decide(decide::Args),
    Drift(drift::Args),
    Profile(profile::Args),
    Prompts(prompts::Args),
    Adapter(adapter::Args),
    Eval(eval::Args),
    Merge(eval::MergeArgs),
    Models(models::Args),
    Bench(bench::Args),
}

pub fn run() -> anyhow::Result<ExitCode> {
    terminal::handle_stop()?;
    blemish::performance::instructions()?;
    let matches = Cli::command().try_get_matches().unwrap_or_else(|error| refuse(error));
    terminal::know_flags(flags(&matches));
    match Cli::from_arg_matches(&matches).unwrap_or_else(|error| error.exit()).command {
        Command::Score(args) => score::run(&args),
        #[cfg(feature = "serve")]
        Command::Serve(args) => serve::run(&args),
        #[cfg(feature = "watch")]
        Command::Watch(args) => watch::run(&args),
        Command::Enroll(args) => enroll::run(&args),
        Command::Distill(args) => distill::run(&args),
        Command::Decide(args) => decide::run(&args),
        Command::Drift(args) => drift::run(&args),
        Command::Profile(args) => profile::run(&args),
        Command::Prompts(args) => prompts::run(&args),
        Command::Adapter(args) => adapter::run(&args),
        Command::Eval(args) => eval::run(&args),
        Command::Merge(args) => eval::merge(&args),
        Command::Models(args) => models::run(&args),
        Command::Bench(args) => bench::run(&args),
    }
}

/// Prints what is wrong with the command line, and ends the program. `--help` and `--version` come here, too.
fn refuse(mut error: clap::Error) -> ! {
    let flag = match (error.kind(), error.get(ContextKind::InvalidArg)) {
        (ErrorKind::UnknownArgument, Some(ContextValue::String(flag))) => {
            flag.trim_start_matches('-').to_string()
        }
        _ => error.exit(),
    };
    let of = with_flag(&Cli::command(), &flag, "blemish");
    if !of.is_empty() {
        // Advice to pass it as a value would mislead.
        error.remove(ContextKind::Suggested);
    }
    // What cannot be printed cannot be told either.
    let _ = error.print();
    if let Some((some, others)) = of.split_at_checked(3.min(of.len())).filter(|_| !of.is_empty()) {
        let others = if others.is_empty() { "" } else { " and others" };
        say!("--{flag} is a flag of {}{others}", some.join(", "));
    }
    std::process::exit(error.exit_code())
}

/// The commands that have a flag.
fn with_flag(command: &clap::Command, flag: &str, name: &str) -> Vec<String> {
    let own = command.get_arguments().any(|argument| argument.get_long() == Some(flag));
    let below = command
        .get_subcommands()
        .flat_map(|command| with_flag(command, flag, &format!("{name} {}", command.get_name())));
    own.then(|| format!("`{name}`")).into_iter().chain(below).collect()
}

/// Tells an error. Returns the exit code: 2 for a wrong command, 1 for a failure.
pub fn tell(error: &anyhow::Error) -> ExitCode {
    let known = error.downcast_ref::<blemish::Error>();
    match known {
        Some(error) => say!("{}", terminal::message(error)),
        None => say!("{error}"),
    }
    ExitCode::from(if known.is_some_and(blemish::Error::is_usage) { 2 } else { 1 })
}

/// The flags of the command that was given.
fn flags(matches: &clap::ArgMatches) -> Vec<String> {
    let (mut command, mut matches) = (Cli::command(), matches);
    while let Some((name, inner)) = matches.subcommand() {
        let Some(found) = command.find_subcommand(name).cloned() else { break };
        (command, matches) = (found, inner);
    }
    command.get_arguments().filter_map(|flag| flag.get_long()).map(String::from).collect()
}
