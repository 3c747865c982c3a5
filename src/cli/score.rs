//! `blemish score`: an anomaly score and a map for every photo.

use std::io::IsTerminal;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::mpsc::sync_channel;
use std::time::{Duration, Instant};

use anyhow::Context;
use blemish::files::write_whole;
use blemish::render::{self, Scale};
use blemish::report::{Format, Printer, Record, SCHEMA};
use blemish::{
    Activation, BitDepth, Clip, Detector, Error, Finding, Fit, ModelOptions, Photo, Prepared,
    Product, Prompts, TextCache,
};
use candle_core::Device;
use clap::ValueEnum;
use indicatif::{ProgressBar, ProgressStyle};

use super::inputs::{Inputs, with_suffix};

/// Score photos of a product, from its name alone.
#[derive(clap::Args)]
#[command(after_help = "Examples:
  blemish score photos/ --product \"metal nut\" --out out/
  blemish score 'line3/*.jpg' --product zipper --format csv > scores.csv
  blemish score photos/ --product \"metal nut\" --model ViT-B-16-plus-240 --out out/ --save-map

Scores run from 0 to 1, higher is more anomalous; compare them within one product and model. Exit
code: 0 when every photo was scored, 1 when some could not be, 2 for a mistake in the command.")]
pub struct Args {
    /// Photos, folders (searched with their subfolders) or patterns in quotes. PNG, JPEG, BMP, TIFF, WebP.
    #[arg(required = true)]
    photos: Vec<PathBuf>,
    /// What the photos show, in English; give it again for synonyms.
    #[arg(long, required = true, value_name = "NAME")]
    product: Vec<String>,
    /// Write heat-map overlays (PNG, at the photos' size) into this folder, mirroring theirs.
    #[arg(long, value_name = "DIR")]
    out: Option<PathBuf>,
    /// Also write each map as a float32 TIFF.
    #[arg(long, requires = "out")]
    save_map: bool,
    /// Colours of the overlays: the same for all photos, or stretched for each.
    #[arg(long, value_enum, default_value = "run", requires = "out")]
    scale: ScaleOf,
    /// A short name (`blemish models`), a Hugging Face repository (owner/name[@revision]) or a folder.
    #[arg(long, default_value = "tiny")]
    model: String,
    /// How to tell good from defective.
    #[arg(long, default_value = blemish::METHODS[0].0,
          value_parser = clap::builder::PossibleValuesParser::new(methods()))]
    method: String,
    /// A prompt file to use in place of WinCLIP's.
    #[arg(long, value_name = "FILE")]
    prompts: Option<PathBuf>,
    /// Side of the model's square input in pixels, a multiple of its patch size [default: the model's own].
    #[arg(long, value_name = "N")]
    size: Option<usize>,
    /// How a photo becomes square.
    #[arg(long, value_enum, default_value = "squash")]
    fit: Fit,
    /// The model's nonlinearity [default: the model's own].
    #[arg(long, value_enum)]
    activation: Option<Activation>,
    /// Bits that the camera fills in 16-bit files.
    #[arg(long, value_name = "BITS", default_value_t = 16)]
    bit_depth: u8,
    /// How to print results; a table by default on a terminal, JSON Lines otherwise.
    #[arg(long, value_enum)]
    format: Option<Format>,
    /// Where to compute.
    #[arg(long, value_enum, default_value = "cpu")]
    device: DeviceKind,
    /// Processor threads [default: all cores].
    #[arg(long, value_name = "N")]
    threads: Option<usize>,
    /// No progress and no notes; errors are still printed.
    #[arg(long, short)]
    quiet: bool,
}

#[derive(Clone, Copy, ValueEnum)]
enum ScaleOf {
    Run,
    Image,
}

#[derive(Clone, Copy, ValueEnum)]
enum DeviceKind {
    Cpu,
    Cuda,
    Metal,
}

fn methods() -> impl Iterator<Item = clap::builder::PossibleValue> {
    blemish::METHODS
        .iter()
        .map(|(name, help, _)| clap::builder::PossibleValue::new(*name).help(*help))
}

pub fn run(args: &Args) -> anyhow::Result<ExitCode> {
    if let Some(threads) = args.threads {
        set_threads(threads)?;
    }
    let depth = BitDepth::new(args.bit_depth)?;
    let inputs = Inputs::find(&args.photos, args.out.as_deref());
    let mut failed = inputs.errors.len();
    inputs.errors.iter().for_each(|error| eprintln!("blemish: {error}"));
    if inputs.photos.is_empty() {
        return Ok(ExitCode::FAILURE);
    }
    // What cannot work is said before the model is loaded.
    let targets = match &args.out {
        Some(out) => {
            let targets = inputs.targets(out, &["png", "tiff"])?;
            check_writable(out)?;
            targets.into_iter().map(Some).collect()
        }
        None => vec![None; inputs.photos.len()],
    };
    let prompts = match &args.prompts {
        Some(file) => Prompts::open(file)?,
        None => Prompts::default(),
    };
    let clip = open_model(args)?;
    let scorer = Scorer::new(args, clip, &prompts)?;

    let stdout = std::io::stdout().lock();
    let default = if stdout.is_terminal() { Format::Table } else { Format::Jsonl };
    let mut printer = Printer::new(stdout, args.format.unwrap_or(default));
    let bar = progress_bar(inputs.photos.len(), args.quiet);
    let complain = |error: &dyn std::fmt::Display| bar.suspend(|| eprintln!("blemish: {error}"));
    let mut noted = args.quiet;
    std::thread::scope(|scope| {
        // The next photo is read while this one is inspected.
        let (sender, receiver) = sync_channel(1);
        let (scorer, photos) = (&scorer, &inputs.photos);
        scope.spawn(move || {
            for path in photos {
                let read = Photo::open(path, depth);
                let ready = read.map(|photo| {
                    let prepared = scorer.detector.prepare(&photo);
                    (photo, prepared)
                });
                if sender.send(ready).is_err() {
                    return;
                }
            }
        });
        for ((path, target), ready) in photos.iter().zip(&targets).zip(receiver) {
            match ready.and_then(|(photo, prepared)| {
                if let (Some(note), false) = (photo.note(), std::mem::replace(&mut noted, true)) {
                    complain(&format!("note: {}: {note} (said once)", path.display()));
                }
                let (mut record, finding) = scorer.score(path, &prepared)?;
                if let Some(target) = target {
                    // A result that cannot be drawn is still a result.
                    if let Err(error) = scorer.draw(&photo, &finding, target, &mut record) {
                        failed += 1;
                        complain(&error);
                    }
                }
                Ok(record)
            }) {
                Ok(record) => {
                    if !bar.suspend(|| super::printed(printer.print(&record)))? {
                        return Ok(());
                    }
                }
                Err(error) => {
                    failed += 1;
                    complain(&error);
                }
            }
            bar.inc(1);
        }
        anyhow::Ok(())
    })?;
    bar.finish_and_clear();
    if failed > 0 && !args.quiet {
        eprintln!(
            "blemish: {failed} {} above; all other photos were scored",
            if failed == 1 { "problem" } else { "problems" }
        );
    }
    Ok(if failed == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// Everything that is the same for all photos of a run.
struct Scorer<'a> {
    args: &'a Args,
    detector: Detector,
    product: Product,
    sha256: String,
    size: usize,
}

impl<'a> Scorer<'a> {
    fn new(args: &'a Args, clip: Clip, prompts: &Prompts) -> anyhow::Result<Self> {
        let method = blemish::method(&args.method)?;
        clip.check(&method.taps())?;
        let spinner = if args.quiet { ProgressBar::hidden() } else { ProgressBar::new_spinner() };
        spinner.set_message("reading the words (once per product and model)");
        spinner.enable_steady_tick(Duration::from_millis(200));
        let cache = TextCache::from_env();
        let product = Product::with_synonyms(&clip, &args.product, prompts, cache.as_ref())?;
        spinner.finish_and_clear();
        if product.cut_prompts() > 0 && !args.quiet {
            eprintln!(
                "blemish: note: {} prompts are longer than the model reads and lose their end; use a \
                 shorter name",
                product.cut_prompts()
            );
        }
        Ok(Self {
            args,
            sha256: clip.sha256().to_string(),
            size: clip.size(),
            detector: Detector::with(clip, method, args.fit),
            product,
        })
    }

    fn score(&self, path: &Path, prepared: &Prepared) -> blemish::Result<(Record, Finding)> {
        let start = Instant::now();
        let finding = self.detector.inspect_prepared(prepared, &self.product)?;
        let milliseconds = start.elapsed().as_secs_f64() * 1e3;
        let (peak_x, peak_y, peak) = finding.map.peak();
        let fit = self.args.fit.to_possible_value();
        let record = Record {
            schema: SCHEMA,
            path: path.to_string_lossy().into_owned(),
            product: self.product.name().to_string(),
            score: finding.score,
            peak_x,
            peak_y,
            peak,
            width: finding.map.width,
            height: finding.map.height,
            coverage: finding.coverage,
            method: self.args.method.clone(),
            model: self.args.model.clone(),
            model_sha256: self.sha256.clone(),
            size: self.size,
            fit: fit.map_or(String::new(), |fit| fit.get_name().to_string()),
            milliseconds: (milliseconds * 10.0).round() / 10.0,
            overlay: None,
            map: None,
        };
        Ok((record, finding))
    }

    /// Writes the overlay, and the map if wanted, and notes where.
    fn draw(
        &self,
        photo: &Photo,
        finding: &Finding,
        target: &Path,
        record: &mut Record,
    ) -> blemish::Result<()> {
        let scale = match self.args.scale {
            ScaleOf::Run => Scale::default(),
            ScaleOf::Image => Scale::of(&finding.map),
        };
        let overlay = with_suffix(target, "png");
        write_whole(&overlay, &render::overlay(photo, &finding.map, scale))?;
        record.overlay = Some(overlay.to_string_lossy().into_owned());
        if self.args.save_map {
            let map = with_suffix(target, "tiff");
            write_whole(&map, &render::tiff(&finding.map))?;
            record.map = Some(map.to_string_lossy().into_owned());
        }
        Ok(())
    }
}

fn open_model(args: &Args) -> anyhow::Result<Clip> {
    let device = match args.device {
        DeviceKind::Cpu => Ok(Device::Cpu),
        DeviceKind::Cuda => Device::new_cuda(0),
        DeviceKind::Metal => Device::new_metal(0),
    };
    let device = device.map_err(|error| {
        let name =
            args.device.to_possible_value().map_or(String::new(), |v| v.get_name().to_string());
        Error::Setting {
            setting: format!("--device {name}"),
            why: format!(
                "not to be had here ({}); this needs a build with `--features {name}`",
                error.to_string().lines().next().unwrap_or_default()
            ),
        }
    })?;
    if !blemish::is_cached(&args.model) {
        super::models::pull(&args.model, args.quiet)?;
    }
    let options = ModelOptions { size: args.size, activation: args.activation, device };
    Ok(Clip::open(&args.model, &options)?)
}

fn set_threads(threads: usize) -> anyhow::Result<()> {
    if threads == 0 {
        let setting = "--threads 0".to_string();
        return Err(Error::Setting { setting, why: "give at least 1".into() }.into());
    }
    rayon::ThreadPoolBuilder::new().num_threads(threads).build_global().context("--threads")
}

/// Finds out before the run whether results can be kept.
fn check_writable(out: &Path) -> blemish::Result<()> {
    let probe = out.join(".blemish-probe");
    write_whole(&probe, b"")?;
    std::fs::remove_file(&probe).map_err(|source| Error::Write { path: probe, source })
}

fn progress_bar(photos: usize, quiet: bool) -> ProgressBar {
    let bar = if quiet { ProgressBar::hidden() } else { ProgressBar::new(photos as u64) };
    let style =
        ProgressStyle::with_template("[{bar:30}] {pos}/{len} photos, {per_sec}, {eta} left");
    bar.set_style(style.expect("a template that every run tests"));
    bar
}
