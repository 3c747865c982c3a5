//! `blemish bench`: how fast a model and a method are on this machine.

mod measured;
mod work;

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Instant;

use blemish::Error;
use blemish::clip::Precision;
use blemish::mutual::ENOUGH;
use blemish::performance::{Differences, instructions, product_rate};
use blemish::prompt::TextCache;
use clap::value_parser;

use super::args::method::{MethodArgs, ScoringMode};
use super::args::mutual::MutualArgs;
use super::args::product::ProductArgs;
use super::args::values::SummaryFormat;
use super::inputs::Inputs;
use super::terminal::{json_line, printed};
use measured::{Comparison, Machine, On};
use work::Work;

/// Without photos, so many are made.
const MADE: u32 = 8;
/// Their side in pixels.
const SIDE: u32 = 1024;

/// Measure how fast a model and a method are on this machine.
///
/// Times each stage of a photo, and photos per second as `score` works. A method that compares the photos of a folder is
/// timed as a whole. Run it on an idle machine.
#[derive(clap::Args)]
#[command(after_help = "Examples:
  blemish bench
  blemish bench photos/ --method winclip --rounds 5
  blemish bench photos/ --method auto
  blemish bench photos/ --model ViT-B-16-plus-240 --compare
  blemish bench --model ViT-B-16-plus-240 --threads 4 --format json")]
pub struct Args {
    /// Photos, folders or patterns in quotes [default: 8 made photos of 1024x1024 pixels].
    photos: Vec<PathBuf>,
    /// How often each photo is scored, at most 1000. The median counts.
    #[arg(long, value_name = "N", default_value_t = 3, value_parser = value_parser!(u16).range(1..=1000))]
    rounds: u16,
    /// Score the same photos in float32 and in fast mode: both speeds, and how far scores and maps are apart.
    #[arg(long, conflicts_with = "precision")]
    compare: bool,
    /// How to print results.
    #[arg(long, value_enum, default_value = "table")]
    format: SummaryFormat,
    #[command(flatten)]
    product: ProductArgs,
    #[command(flatten)]
    method: MethodArgs,
    #[command(flatten)]
    mutual: MutualArgs,
}

pub fn run(args: &Args) -> anyhow::Result<ExitCode> {
    let method = args.method.resolve(ScoringMode::PerPhoto)?;
    let machine = Machine {
        instructions: instructions()?,
        threads: rayon::current_num_threads(),
        product_gflops: product_rate()? / 1e9,
    };
    let (mode, depth, quiet) = (method.mode, method.depth, method.quiet);
    let made = tempfile::tempdir()?;
    let photos = match args.photos.is_empty() {
        true => make_photos(made.path())?,
        false => given(&args.photos, quiet),
    };
    if photos.is_empty() {
        return Ok(ExitCode::FAILURE);
    }
    let choice = args.product.resolve_or(method.entry, "part")?;
    let mutual = match (mode, args.mutual.given()) {
        (ScoringMode::PerPhoto, Some(flag)) => {
            return Err(Error::setting(flag, "is for --method mutual or auto").into());
        }
        (ScoringMode::PerPhoto, None) => None,
        // As `score` does it.
        (ScoringMode::Auto, _) if photos.len() < ENOUGH => None,
        _ => Some(args.mutual.resolve(&method)?),
    };
    let model = method.open()?;
    let start = Instant::now();
    let product = model.product(&choice.names, &choice.prompts, &TextCache::in_memory())?;
    let prompts = start.elapsed().as_secs_f64() * 1e3;
    let work = Work::new(&model, product.clone(), mutual.as_ref(), &photos, depth)?;
    let measured = work.measure(&model, &machine, prompts, args.rounds, quiet)?;
    let mut out = std::io::stdout().lock();
    if !args.compare {
        printed(match args.format {
            SummaryFormat::Table => measured.table(&machine, &mut out),
            SummaryFormat::Json => json_line(&mut out, &On { machine: &machine, value: &measured }),
        })?;
        return Ok(ExitCode::SUCCESS);
    }
    let fast_model = model.at(Precision::Fast)?;
    let fast_work = Work::new(&fast_model, product, mutual.as_ref(), &photos, depth)?;
    let mut fast = fast_work.measure(&fast_model, &machine, prompts, args.rounds, quiet)?;
    // It would be that of both models.
    fast.peak_memory = None;
    let mut differences = Differences::default();
    work.compare(&fast_work, quiet, &mut differences)?;
    let comparison = Comparison { f32: measured, fast, difference: differences.summary() };
    printed(match args.format {
        SummaryFormat::Table => comparison.table(&machine, &mut out),
        SummaryFormat::Json => json_line(&mut out, &On { machine: &machine, value: &comparison }),
    })?;
    Ok(ExitCode::SUCCESS)
}

/// The photos of the command line. None if an input cannot be used, which was reported.
fn given(photos: &[PathBuf], quiet: bool) -> Vec<PathBuf> {
    let inputs = Inputs::find(photos, &[]);
    inputs.report(quiet);
    if inputs.errors.is_empty() { inputs.photos } else { vec![] }
}

/// Writes photos with some texture.
fn make_photos(folder: &Path) -> anyhow::Result<Vec<PathBuf>> {
    let photo = |i: u32| -> anyhow::Result<PathBuf> {
        let picture = image::RgbImage::from_fn(SIDE, SIDE, |x, y| {
            let wave = ((x * (i + 3)) / 17 + y / 5) % 96;
            image::Rgb([90 + wave as u8, 120, 80 + ((x ^ y) % 40) as u8])
        });
        let file = folder.join(format!("{i}.jpg"));
        picture.save(&file)?;
        Ok(file)
    };
    (0..MADE).map(photo).collect()
}
