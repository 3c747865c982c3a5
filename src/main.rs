//! The command line: reads arguments, calls the library, prints.
#![warn(clippy::too_many_lines)]

mod allocator;
#[macro_use]
mod cli;

use std::process::ExitCode;

#[global_allocator]
static ALLOCATOR: allocator::Allocator = allocator::Allocator;

fn main() -> ExitCode {
    // A panic that becomes an error is reported as that error. Any other panic is a bug, and is reported in one line.
    std::panic::set_hook(Box::new(|panic| {
        if blemish::catches_panics() {
            return;
        }
        let text = panic.to_string();
        // The standard library, rayon and candle panic if the system does not allow a new thread.
        let no_thread = ["failed to spawn", "global thread pool has not been initialized"];
        if no_thread.iter().any(|why| text.contains(why)) {
            say!("{}", cli::terminal::NO_THREAD);
            std::process::exit(1);
        }
        say!("a bug in blemish, please report it: {text}");
    }));
    match cli::run() {
        Ok(code) => code,
        Err(error) => cli::tell(&error),
    }
}
