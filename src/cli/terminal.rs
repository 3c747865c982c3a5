//! Messages on standard error, results on standard output, and Ctrl-C.

use std::io::Write;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU8, Ordering};

/// Prints a message on standard error, as one line.
macro_rules! say {
    ($($text:tt)*) => { $crate::cli::terminal::say(format_args!($($text)*)) };
}

/// See [`say!`]. File names come from anywhere, so characters that control a terminal are replaced. The run goes on if
/// nobody reads standard error.
pub fn say(text: std::fmt::Arguments) {
    let text = text.to_string();
    let _ = writeln!(std::io::stderr(), "blemish: {}", blemish::text::shown(&text));
}

/// The flags of the command that runs.
static FLAGS: OnceLock<Vec<String>> = OnceLock::new();

/// From now on [`message`] knows the flags of the command that runs.
pub fn know_flags(flags: Vec<String>) {
    let _ = FLAGS.set(flags);
}

/// An error of the library on one line. The library names a setting; where a flag sets it, `--` is put before it.
pub fn message(error: &blemish::Error) -> String {
    let is_flag = |setting: &str| {
        let name = setting.split(' ').next().unwrap_or_default();
        FLAGS.get().is_some_and(|flags| flags.iter().any(|flag| flag == name))
    };
    match error {
        blemish::Error::Setting { setting, .. } if is_flag(setting) => format!("--{error}"),
        _ => error.to_string(),
    }
}

/// Writes a value as a line of JSON that is safe on a terminal.
pub fn json_line(out: &mut impl Write, value: &impl serde::Serialize) -> std::io::Result<()> {
    writeln!(out, "{}", blemish::text::json(&serde_json::to_string(value)?))
}

/// False if nobody reads the output any more (`blemish score ... | head`). Then the command stops, but it has not
/// failed.
pub fn printed(result: std::io::Result<()>) -> anyhow::Result<bool> {
    match result {
        Ok(()) => Ok(true),
        Err(e) if e.kind() == std::io::ErrorKind::BrokenPipe => Ok(false),
        Err(e) => Err(anyhow::anyhow!("standard output: cannot write: {e}")),
    }
}

/// The exit code after Ctrl-C.
pub const STOPPED: u8 = 130;

/// A thread needs memory for its stack, and counts as a process of the user. The system does not say which one is
/// short.
pub const NO_THREAD: &str =
    "no thread can be started: free memory, or allow more processes (ulimit -u)";

/// What Ctrl-C does: end the program at once, or only be noted. `CAME`: it was noted.
static STOP: AtomicU8 = AtomicU8::new(AT_ONCE);
const AT_ONCE: u8 = 0;
const NOTED: u8 = 1;
const CAME: u8 = 2;

/// Ctrl-C ends the program between two files, so that no file is left incomplete.
pub fn handle_stop() -> anyhow::Result<()> {
    ctrlc::set_handler(|| {
        if STOP.compare_exchange(NOTED, CAME, Ordering::SeqCst, Ordering::SeqCst).is_ok() {
            return;
        }
        let _stopped = blemish::files::stop_writing();
        std::process::exit(STOPPED.into());
    })
    .map_err(|_| anyhow::anyhow!(NO_THREAD))?;
    // Without this, the system would kill the program without a message when a file grows too large.
    #[cfg(unix)]
    // SAFETY: this ignores a signal, and nothing else handles it.
    unsafe {
        libc::signal(libc::SIGXFSZ, libc::SIG_IGN);
    }
    Ok(())
}

/// From now on the first Ctrl-C only makes [`is_stopped`] true, so that finished work can be kept. A second one ends
/// the program.
pub fn note_stop() {
    let _ = STOP.compare_exchange(AT_ONCE, NOTED, Ordering::SeqCst, Ordering::SeqCst);
}

/// From now on Ctrl-C ends the program. If it came before, [`is_stopped`] stays true.
pub fn end_at_stop() {
    let _ = STOP.compare_exchange(NOTED, AT_ONCE, Ordering::SeqCst, Ordering::SeqCst);
}

/// Whether Ctrl-C has come since [`note_stop`].
pub fn is_stopped() -> bool {
    STOP.load(Ordering::SeqCst) == CAME
}
