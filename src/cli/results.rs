//! Reads results that `score` or `watch` wrote as JSON Lines.

use std::io::{BufRead, BufReader, Read};
use std::path::Path;

use blemish::Error;

/// A longer line is no result: a result has a few kilobytes.
const LONGEST_LINE: u64 = 16 << 20;

/// Calls `each` with the number and the text of every line that is not empty, until it says false. `-` is standard input.
///
/// # Errors
/// If the file cannot be read, or has an endless line. Otherwise as `each`.
pub fn lines(
    file: &Path,
    mut each: impl FnMut(usize, &str) -> anyhow::Result<bool>,
) -> anyhow::Result<()> {
    let failed = |source| Error::Read { path: file.to_path_buf(), source };
    let mut reader: Box<dyn BufRead> = match file.as_os_str() == "-" {
        true => Box::new(std::io::stdin().lock()),
        false => Box::new(BufReader::new(std::fs::File::open(file).map_err(failed)?)),
    };
    let mut line = Vec::new();
    for number in 1.. {
        line.clear();
        // A device may send an endless line.
        let read = (&mut reader).take(LONGEST_LINE).read_until(b'\n', &mut line).map_err(failed)?;
        if read as u64 == LONGEST_LINE {
            let file = file.display();
            anyhow::bail!("{file}:{number}: no result is longer than {} MiB", LONGEST_LINE >> 20);
        }
        // Windows programs begin files with this mark. What is no text is no result either.
        let text = String::from_utf8_lossy(&line);
        let text = text.trim().trim_start_matches('\u{feff}');
        if read == 0 || (!text.is_empty() && !each(number, text)?) {
            break;
        }
    }
    Ok(())
}
