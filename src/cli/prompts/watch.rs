//! `blemish prompts watch`: new scores each time the prompt file is saved.

use std::io::{IsTerminal, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::{Duration, Instant};

use blemish::detect::EncodedPhoto;
use blemish::prompt::TextCache;
use blemish::text::shown;
use blemish::{Clip, Detector, Error, Product, Prompts};
use serde::Serialize;

use super::args::PromptArgs;
use crate::cli::args::method::MethodArgs;
use crate::cli::encode::encode_all;
use crate::cli::inputs::Inputs;
use crate::cli::terminal::{json_line, message, printed};

/// The pause between two readings of the file. When two readings agree, the file is saved completely.
const PAUSE: Duration = Duration::from_millis(20);

/// Score photos again each time the prompt file is saved, until Ctrl-C.
///
/// The model encodes the photos once. After a save, it encodes only the new prompts. If the file has a mistake, the
/// mistake is reported, and the last good version stays in use. Prints a table on a terminal, and JSON Lines elsewhere.
#[derive(clap::Args)]
#[command(after_help = "Example:
  blemish prompts watch my.toml --product \"metal nut\" photos/")]
pub struct Args {
    #[command(flatten)]
    given: PromptArgs,
    /// Photos, folders or patterns in quotes.
    #[arg(required = true)]
    photos: Vec<PathBuf>,
    #[command(flatten)]
    method: MethodArgs,
}

/// A photo's score with the prompts before and after a save.
#[derive(Serialize)]
struct Row<'a> {
    path: &'a str,
    before: Option<f32>,
    after: f32,
}

pub fn run(args: &Args) -> anyhow::Result<ExitCode> {
    let method = args.method.resolve_per_photo()?;
    let (depth, quiet) = (method.depth, method.quiet);
    let file = &args.given.file;
    let mut saved = read(file).map_err(|e| Error::Prompts {
        file: file.display().to_string(),
        why: format!(
            "cannot read: {e}; `blemish prompts new` writes a prompt file, also a copy of an embedded one"
        ),
    })?;
    let prompts = parse(&saved, file)?;
    prompts.expand(&args.given.product)?;
    let inputs = Inputs::find(&args.photos, &[]);
    let model = method.open()?;
    // A cache on disk would keep every saved version for ever.
    let cache = TextCache::in_memory();
    let product = model.product(&args.given.product, &prompts, &cache)?;
    let detector = model.detector()?;
    let (encoded, _) = encode_all(&detector, depth, &inputs, quiet);
    if encoded.is_empty() {
        return Ok(ExitCode::FAILURE);
    }
    let paths: Vec<String> =
        encoded.iter().map(|(path, _)| path.to_string_lossy().into_owned()).collect();
    let mut scores = rescore(&detector, &encoded, &product)?;
    if !print(&paths, None, &scores)? {
        return Ok(ExitCode::SUCCESS);
    }
    say!("watching {}; Ctrl-C stops", file.display());
    let mut settling = saved.clone();
    loop {
        std::thread::sleep(PAUSE);
        // While an editor replaces the file, the file may be missing for a moment.
        let Ok(now) = read(file) else { continue };
        if now != settling {
            settling = now;
            continue;
        }
        if now == saved {
            continue;
        }
        saved = now;
        let start = Instant::now();
        match rejudge(args, &model.clip, &cache, &detector, &encoded, &saved) {
            Ok(new) => {
                if !print(&paths, Some(&scores), &new)? {
                    return Ok(ExitCode::SUCCESS);
                }
                scores = new;
                let time = start.elapsed().as_millis();
                say!("{} photos scored again in {time} ms", paths.len());
            }
            Err(error) => say!("{}; the last good version stays in use", message(&error)),
        }
    }
}

/// [`Prompts::parse`] has a lower limit, and reports it.
fn read(file: &Path) -> std::io::Result<Vec<u8>> {
    blemish::files::read(file, 16 << 20)
}

fn parse(bytes: &[u8], file: &Path) -> blemish::Result<Prompts> {
    Prompts::parse(bytes, &file.display().to_string())
}

fn rejudge(
    args: &Args,
    clip: &Clip,
    cache: &TextCache,
    detector: &Detector,
    encoded: &[(PathBuf, EncodedPhoto)],
    saved: &[u8],
) -> blemish::Result<Vec<f32>> {
    let prompts = parse(saved, &args.given.file)?;
    let product = Product::with_synonyms(clip, &args.given.product, &prompts, cache)?;
    rescore(detector, encoded, &product)
}

fn rescore(
    detector: &Detector,
    encoded: &[(PathBuf, EncodedPhoto)],
    product: &Product,
) -> blemish::Result<Vec<f32>> {
    encoded.iter().map(|(_, encoded)| detector.image_score(encoded, product)).collect()
}

/// Prints every photo's score before and after. False if nobody reads the output any more.
fn print(paths: &[String], before: Option<&[f32]>, after: &[f32]) -> anyhow::Result<bool> {
    let mut out = std::io::stdout().lock();
    let is_table = out.is_terminal();
    let mut write = || {
        if is_table {
            writeln!(out, "\n{:>6}  {:>6}  {:>7}  photo", "before", "after", "change")?;
        }
        for (i, (path, &after)) in paths.iter().zip(after).enumerate() {
            let before = before.map(|scores| scores[i]);
            if !is_table {
                json_line(&mut out, &Row { path, before, after })?;
                continue;
            }
            let change = before.map_or(String::new(), |before| format!("{:+.3}", after - before));
            let before = before.map_or(String::new(), |before| format!("{before:.3}"));
            let path = shown(path);
            writeln!(out, "{before:>6}  {after:>6.3}  {change:>7}  {path}")?;
        }
        out.flush()
    };
    printed(write())
}
