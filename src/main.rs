//! The command line: reads arguments, calls the library, prints.

mod cli;

use std::process::ExitCode;

/// candle returns a fresh buffer from every operation; glibc gives each back to the system and asks
/// for it again, page by page.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    match cli::run() {
        Ok(code) => code,
        Err(error) => {
            eprintln!("blemish: {error:#}");
            let usage = error.downcast_ref::<blemish::Error>().is_some_and(|e| e.is_usage());
            ExitCode::from(if usage { 2 } else { 1 })
        }
    }
}
