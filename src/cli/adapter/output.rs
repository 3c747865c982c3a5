//! Checks the file that an adapter is written to.

use std::path::Path;

use blemish::Error;

/// Refuses an existing file, because it may be hours of work.
pub fn check_new(output: &Path) -> blemish::Result<()> {
    let why = match output {
        _ if output.is_dir() => "is a folder; give a file",
        _ if output.exists() => "is there already; choose another name, or remove it",
        _ if output.extension().is_none_or(|e| e != "safetensors") => "must end in .safetensors",
        _ => return Ok(()),
    };
    Err(Error::setting(format!("output {}", output.display()), why))
}
