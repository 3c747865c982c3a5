//! What is said and printed, and what Ctrl-C does.

use std::io::Write;
use std::sync::atomic::{AtomicU8, Ordering};

/// Says something on standard error, on a line of its own.
macro_rules! say {
    ($($text:tt)*) => { $crate::cli::terminal::say(format_args!($($text)*)) };
}

/// See [`say!`]. Names of files come from anywhere: what would steer the terminal is not shown. That nobody reads is no
/// reason to stop.
pub fn say(text: std::fmt::Arguments) {
    let text = text.to_string();
    let _ = writeln!(std::io::stderr(), "blemish: {}", blemish::text::shown(&text));
}

/// A value as a line of JSON that a terminal may show.
pub fn json_line(out: &mut impl Write, value: &impl serde::Serialize) -> std::io::Result<()> {
    writeln!(out, "{}", blemish::text::json(&serde_json::to_string(value)?))
}

/// Output that nobody reads any more (`blemish score ... | head`) is a good reason to stop, not a failure.
pub fn printed(result: std::io::Result<()>) -> anyhow::Result<bool> {
    match result {
        Ok(()) => Ok(true),
        Err(e) if e.kind() == std::io::ErrorKind::BrokenPipe => Ok(false),
        Err(e) => Err(anyhow::anyhow!("standard output: cannot write: {e}")),
    }
}

/// The exit code of a run that was stopped.
pub const STOPPED: u8 = 130;

/// A thread needs memory for its stack, and a place among the user's processes; the system does not say which it lacks.
pub const NO_THREAD: &str =
    "no thread can be started: free memory, or allow more processes (ulimit -u)";

/// What Ctrl-C does: ends the program at once, is noted, or has been.
static STOP: AtomicU8 = AtomicU8::new(AT_ONCE);
const AT_ONCE: u8 = 0;
const NOTED: u8 = 1;
const CAME: u8 = 2;

/// Ctrl-C ends the program between two files, so that it leaves whole files only.
pub fn handle_stop() -> anyhow::Result<()> {
    ctrlc::set_handler(|| {
        if STOP.compare_exchange(NOTED, CAME, Ordering::SeqCst, Ordering::SeqCst).is_ok() {
            return;
        }
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
    Ok(())
}

/// From now on Ctrl-C only makes [`is_stopped`] true, so that what is done can be kept; a second one ends the program.
pub fn note_stop() {
    STOP.store(NOTED, Ordering::SeqCst);
}

/// From now on Ctrl-C ends the program, unless it has come.
pub fn end_at_stop() {
    let _ = STOP.compare_exchange(NOTED, AT_ONCE, Ordering::SeqCst, Ordering::SeqCst);
}

/// Whether Ctrl-C has come since [`note_stop`].
pub fn is_stopped() -> bool {
    STOP.load(Ordering::SeqCst) == CAME
}
