//! One file per command; each parses its flags, calls the library and prints.

/// Says something on standard error, on a line of its own.
macro_rules! say {
    ($($text:tt)*) => { $crate::cli::say(format_args!($($text)*)) };
}

mod adapter;
mod decide;
mod early;
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

use std::io::Write;
use std::process::ExitCode;
use std::sync::atomic::{AtomicU8, Ordering};

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

/// See [`say!`]. Names of files come from anywhere: what would steer the terminal is not shown, and that nobody reads is
/// no reason to stop.
pub fn say(text: std::fmt::Arguments) {
    let text = text.to_string();
    let _ = writeln!(std::io::stderr(), "blemish: {}", blemish::text::shown(&text));
}

/// The exit code of a run that was stopped.
pub const STOPPED: u8 = 130;

/// What Ctrl-C does: ends the program at once, is noted, or has been.
static STOP: AtomicU8 = AtomicU8::new(AT_ONCE);
const AT_ONCE: u8 = 0;
const NOTED: u8 = 1;
const CAME: u8 = 2;

/// From now on Ctrl-C only makes [`is_stopped`] true, so that what is done can be kept; a second one ends the program.
pub fn note_stop() {
    STOP.store(NOTED, Ordering::SeqCst);
}

/// From now on Ctrl-C ends the program, unless it has come.
pub fn end_at_stop() {
    let _ = STOP.compare_exchange(NOTED, AT_ONCE, Ordering::SeqCst, Ordering::SeqCst);
}

pub fn is_stopped() -> bool {
    STOP.load(Ordering::SeqCst) == CAME
}

/// A thread needs memory for its stack, and a place among the user's processes; the system does not say which it lacks.
pub const NO_THREAD: &str =
    "no thread can be started: free memory, or allow more processes (ulimit -u)";

pub fn run() -> anyhow::Result<ExitCode> {
    ctrlc::set_handler(|| {
        if STOP.compare_exchange(NOTED, CAME, Ordering::SeqCst, Ordering::SeqCst).is_ok() {
            return;
        }
        // The file that is being written is finished first, so that a stop leaves whole files only.
        let _stopped = blemish::files::stop_writing();
        std::process::exit(STOPPED.into());
    })
    .map_err(|_| anyhow::anyhow!(NO_THREAD))?;
    // A file that grows too large is an error of writing, not an end without a word.
    #[cfg(unix)]
    // SAFETY: ignores a signal; nothing else handles it.
    unsafe {
        libc::signal(libc::SIGXFSZ, libc::SIG_IGN);
    }
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

/// A value as a line of JSON that a terminal may show.
fn json_line(out: &mut impl Write, value: &impl serde::Serialize) -> std::io::Result<()> {
    writeln!(out, "{}", blemish::text::json(&serde_json::to_string(value)?))
}

/// Output that nobody reads any more (`blemish score ... | head`) is a good reason to stop, not a failure.
fn printed(result: std::io::Result<()>) -> anyhow::Result<bool> {
    match result {
        Ok(()) => Ok(true),
        Err(e) if e.kind() == std::io::ErrorKind::BrokenPipe => Ok(false),
        Err(e) => Err(anyhow::anyhow!("standard output: cannot write: {e}")),
    }
}
