//! `blemish bench`: how fast a model and a method are on this machine.

use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Instant;

use blemish::Error;
use blemish::performance::{StageTimes, peak_memory, photos_per_second, product_rate, stages};
use blemish::prompt::TextCache;
use serde::Serialize;

use super::args::method::MethodArgs;
use super::args::product::ProductArgs;
use super::args::values::SummaryFormat;
use super::inputs::Inputs;
use super::progress::progress_bar;
use super::terminal::{json_line, printed};

/// Without photos, so many are made.
const MADE: u32 = 8;
/// Their side in pixels.
const SIDE: u32 = 1024;

/// Measure how fast a model and a method are on this machine.
///
/// Times each stage, and photos per second as `score` works. A method that compares the photos of a folder is not
/// measured here. Run it on an idle machine.
#[derive(clap::Args)]
#[command(after_help = "Examples:
  blemish bench
  blemish bench photos/ --method winclip --rounds 5
  blemish bench --model ViT-B-16-plus-240 --threads 4 --format json")]
pub struct Args {
    /// Photos, folders or patterns in quotes [default: 8 made photos of 1024x1024 pixels].
    photos: Vec<PathBuf>,
    /// How often each photo is scored. The median counts.
    #[arg(long, value_name = "N", default_value_t = 3)]
    rounds: usize,
    /// How to print results.
    #[arg(long, value_enum, default_value = "table")]
    format: SummaryFormat,
    #[command(flatten)]
    product: ProductArgs,
    #[command(flatten)]
    method: MethodArgs,
}

/// What was measured. Times are medians in milliseconds.
#[derive(Serialize)]
struct Measured {
    model: String,
    size: usize,
    method: String,
    threads: usize,
    photos: usize,
    rounds: usize,
    read: f64,
    prepare: f64,
    encode: f64,
    score: f64,
    photos_per_second: f64,
    /// Multiplications and additions of `encode`, in thousand millions. None on another device than the processor.
    encode_gflop: Option<f64>,
    /// The same per second of `encode`.
    encode_gflops: Option<f64>,
    /// What large products alone reach on this machine.
    product_gflops: f64,
    /// Time of the product's prompts, without a cache.
    prompts: f64,
    prompt_count: usize,
    peak_memory: Option<u64>,
}

pub fn run(args: &Args) -> anyhow::Result<ExitCode> {
    if args.rounds == 0 {
        return Err(Error::setting("rounds 0", "measure at least once").into());
    }
    let method = args.method.resolve_per_photo()?;
    let (depth, quiet) = (method.depth, method.quiet);
    let made = tempfile::tempdir()?;
    let photos = match args.photos.is_empty() {
        true => make_photos(made.path())?,
        false => given(&args.photos, quiet),
    };
    if photos.is_empty() {
        return Ok(ExitCode::FAILURE);
    }
    let choice = args.product.resolve_or(method.entry, "part")?;
    let model = method.open()?;
    let start = Instant::now();
    let product = model.product(&choice.names, &choice.prompts, &TextCache::in_memory())?;
    let prompts = start.elapsed().as_secs_f64() * 1e3;
    let detector = model.detector()?;
    let product_rate = product_rate()?;
    // The first photo pays for the first touch of the memory.
    stages(&detector, &product, &photos[0], depth)?;
    let bar = progress_bar(photos.len() * (args.rounds + 1), quiet);
    let mut times = Vec::new();
    for path in photos.iter().cycle().take(photos.len() * args.rounds) {
        times.push(stages(&detector, &product, path, depth)?);
        bar.inc(1);
    }
    let photos_per_second = photos_per_second(&detector, &product, &photos, depth)?;
    bar.finish_and_clear();
    let median = |of: fn(&StageTimes) -> f64| median(times.iter().map(of).collect());
    let (encode, gflop) = (median(|t| t.encode), median(|t| t.operations as f64) / 1e9);
    let counted = (gflop > 0.0).then_some(gflop);
    let measured = Measured {
        model: model.clip.name().into(),
        size: model.clip.size(),
        method: detector.method().name().into(),
        threads: rayon::current_num_threads(),
        photos: photos.len(),
        rounds: args.rounds,
        read: median(|t| t.read),
        prepare: median(|t| t.prepare),
        encode,
        score: median(|t| t.score),
        photos_per_second,
        encode_gflop: counted,
        encode_gflops: counted.map(|gflop| gflop / encode * 1e3),
        product_gflops: product_rate / 1e9,
        prompts,
        prompt_count: product.all_kinds().map(|kind| kind.prompts.len()).sum(),
        peak_memory: peak_memory(),
    };
    let mut out = std::io::stdout().lock();
    printed(match args.format {
        SummaryFormat::Table => measured.table(&mut out),
        SummaryFormat::Json => json_line(&mut out, &measured),
    })?;
    Ok(ExitCode::SUCCESS)
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
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

impl Measured {
    fn table(&self, out: &mut impl Write) -> std::io::Result<()> {
        let Self { model, size, method, threads, photos, rounds, .. } = self;
        writeln!(
            out,
            "{model} at {size} pixels, {method}, {threads} threads, {photos} photos, median of {rounds} rounds"
        )?;
        writeln!(out, "{:>9.1} ms  read and decode", self.read)?;
        writeln!(out, "{:>9.1} ms  make square", self.prepare)?;
        let speed = match (self.encode_gflop, self.encode_gflops) {
            (Some(gflop), Some(speed)) => {
                let share = speed / self.product_gflops * 100.0;
                format!(
                    ": {gflop:.1} GFLOP at {speed:.0} GFLOP/s, {share:.0} % of products alone ({:.0} GFLOP/s)",
                    self.product_gflops
                )
            }
            _ => String::new(),
        };
        writeln!(out, "{:>9.1} ms  encode{speed}", self.encode)?;
        writeln!(out, "{:>9.1} ms  compare and map", self.score)?;
        writeln!(out, "{:>9.1} photos per second, as `score` works", self.photos_per_second)?;
        writeln!(out, "{:>9.1} ms  {} prompts of a new product", self.prompts, self.prompt_count)?;
        match self.peak_memory {
            Some(bytes) => writeln!(out, "{:>9.0} MB  memory at most", bytes as f64 / 1e6),
            None => Ok(()),
        }
    }
}
