//! `blemish adapter train`.

use std::path::{Path, PathBuf};

use blemish::adapter::AdapterAbout;
use blemish::data::{self, Layout, Sample};
use blemish::files::{cache_folder, write_whole};
use blemish::reference::Layers;
use blemish::train::{Point, Progress, TrainFiles, TrainOptions};
use blemish::{Adapter, BitDepth, Error, Prompts};
use indicatif::{ProgressBar, ProgressStyle};

use super::output::check_new;
use crate::cli::args::model::{ModelArgs, ModelChoice};
use crate::cli::args::values;
use crate::cli::inputs::{check_writable, with_suffix};
use crate::cli::progress::spinner;

/// Train an adapter on photos with masks. The model itself does not change.
///
/// The command writes the training curves beside OUTPUT, as .csv and .png. While it runs, it also keeps a .checkpoint
/// there, and --resume continues from it. The features of the photos are kept in a cache, so later epochs and runs are
/// quick.
#[derive(clap::Args)]
pub struct Args {
    /// Folders of labelled photos with masks.
    #[arg(long, required = true, num_args = 1.., value_name = "ROOT")]
    data: Vec<PathBuf>,
    /// The layout of these folders [default: found out].
    #[arg(long, value_name = "LAYOUT", value_parser = values::layout())]
    layout: Option<Layout>,
    /// Folders of labelled photos to measure every epoch on. Take other products to measure the adapter on products
    /// that it has not seen [default: a tenth of --data is held back].
    #[arg(long, num_args = 1.., value_name = "ROOT")]
    validation: Vec<PathBuf>,
    /// The file to write.
    #[arg(long, short, value_name = "FILE")]
    output: PathBuf,
    /// Blocks that get a layer, counted from 1, and `trunk` for a layer on the model's trunk [default: one block at each
    /// quarter of the model, 6,12,18,24 of 24, and the trunk if there is one].
    #[arg(long, value_name = "N,...")]
    blocks: Option<Layers>,
    /// The number of epochs (the authors: 3 on MVTec AD, 15 on VisA).
    #[arg(long, value_name = "N", default_value_t = 15)]
    epochs: usize,
    /// Photos per step.
    #[arg(long, value_name = "N", default_value_t = 8)]
    batch: usize,
    /// The optimiser's learning rate.
    #[arg(long, value_name = "X", default_value_t = 1e-3)]
    learning_rate: f64,
    /// AdamW's weight decay. 0 gives Adam, as in the paper.
    #[arg(long, value_name = "X", default_value_t = 0.0)]
    weight_decay: f64,
    /// The share of photos that are replaced by a 2x2 mosaic of photos of their product.
    #[arg(long, value_name = "X", default_value_t = 0.2)]
    mosaic: f64,
    /// Factor on the cosines before the softmax [default: what the model was trained with].
    #[arg(long, value_name = "X")]
    logit_scale: Option<f32>,
    /// A prompt file, or the name of an embedded file.
    #[arg(long, value_name = "FILE", default_value = "april-gan")]
    prompts: PathBuf,
    /// The training data, as written into the adapter: mvtec, visa, or any text [default: the folders' names].
    #[arg(long, value_name = "TEXT")]
    training_data: Option<String>,
    /// The licence of the photos, as written into the adapter.
    #[arg(long, value_name = "TEXT")]
    licence: Option<String>,
    /// Random seed.
    #[arg(long, value_name = "N", default_value_t = 0)]
    seed: u64,
    /// Bits that the camera uses in 16-bit files.
    #[arg(long, value_name = "BITS", default_value_t = 16)]
    bit_depth: u8,
    /// Continue a stopped run from its checkpoint.
    #[arg(long)]
    resume: bool,
    /// Where to keep the features of the photos [default: features in $BLEMISH_CACHE or ~/.cache/blemish].
    #[arg(long, value_name = "DIR")]
    cache: Option<PathBuf>,
    #[command(flatten)]
    model: ModelArgs,
}

pub fn run(args: &Args) -> anyhow::Result<()> {
    let model = args.model.resolve()?;
    refuse_fast(&model)?;
    let learnt = samples(&args.data, args.layout)?;
    let validation = samples(&args.validation, args.layout)?;
    let prompts = Prompts::open(&args.prompts)?;
    let checkpoint = with_suffix(&args.output, "checkpoint");
    if checkpoint.exists() && !args.resume {
        let why =
            "is there from a run that was stopped; continue it with --resume, or remove the file";
        return Err(Error::setting(format!("the file {}", checkpoint.display()), why).into());
    }
    let folder =
        args.output.parent().filter(|p| !p.as_os_str().is_empty()).unwrap_or(Path::new("."));
    check_writable("output", folder)?;
    check_new(&args.output)?;
    let cache = args.cache.clone().or_else(|| Some(cache_folder()?.join("features")));
    let no_home =
        || Error::setting("cache", "there is no home folder; give a folder for the cache");
    let cache = cache.ok_or_else(no_home)?;
    let clip = model.open(None)?;
    let options = TrainOptions {
        layers: args.blocks.clone().unwrap_or_else(|| Layers::quarters(clip.shape())),
        epochs: args.epochs,
        batch: args.batch,
        learning_rate: args.learning_rate,
        weight_decay: args.weight_decay,
        mosaic: args.mosaic,
        logit_scale: args.logit_scale,
        seed: args.seed,
        depth: BitDepth::new(args.bit_depth)?,
        ..TrainOptions::default()
    };
    let files = TrainFiles { cache: &cache, checkpoint: &checkpoint, resume: args.resume };
    let mut bars = Bars::new(model.quiet, &cache);
    let (adapter, points) = blemish::train::train(
        &clip,
        &learnt,
        &validation,
        &prompts,
        &options,
        files,
        &mut |progress| bars.show(progress),
    )?;
    bars.bar.finish_and_clear();
    let about = args.about(&adapter);
    write_whole(&args.output, &adapter.with_about(about)?.to_bytes()?)?;
    write_whole(&with_suffix(&args.output, "csv"), &csv(&points)?)?;
    write_whole(&with_suffix(&args.output, "png"), &blemish::training_curves::png(&points))?;
    // A finished run needs no checkpoint.
    let _ = std::fs::remove_file(&checkpoint);
    if !model.quiet {
        if !points.iter().any(|point| point.pixel_auroc.is_some()) {
            say!(
                "note: there are too few photos to hold some back; measure the adapter with --validation"
            );
        }
        say!("wrote {0}, {0}.csv and {0}.png", args.output.display());
    }
    Ok(())
}

/// Layers trained on rounded features would not fit the others.
fn refuse_fast(model: &ModelChoice) -> blemish::Result<()> {
    match model.is_fast() {
        true => Err(Error::setting("precision fast", "is not for training; leave it out")),
        false => Ok(()),
    }
}

impl Args {
    /// The metadata of the new adapter.
    fn about(&self, adapter: &Adapter) -> AdapterAbout {
        let mut about = adapter.about().clone();
        let folders: Vec<String> =
            self.data.iter().map(|path| path.display().to_string()).collect();
        let products = about.products.clone();
        about.set_training_data(self.training_data.as_deref().unwrap_or(&folders.join(", ")));
        // Only products that it was trained on. The whole data set may have more.
        about.products = products;
        about.licence = self.licence.clone().or(about.licence);
        about
    }
}

fn samples(roots: &[PathBuf], layout: Option<Layout>) -> anyhow::Result<Vec<Sample>> {
    let mut all = Vec::new();
    for root in roots {
        all.extend(data::samples(root, layout)?);
    }
    Ok(all)
}

fn csv(points: &[Point]) -> anyhow::Result<Vec<u8>> {
    let mut csv = csv::Writer::from_writer(Vec::new());
    for point in points {
        csv.serialize(point)?;
    }
    Ok(csv.into_inner()?)
}

/// A bar while the photos are encoded, then a bar for the training.
struct Bars {
    bar: ProgressBar,
    quiet: bool,
    cache: PathBuf,
    is_learning: bool,
    /// Losses since the last epoch.
    losses: Vec<f64>,
}

impl Bars {
    fn new(quiet: bool, cache: &Path) -> Self {
        Self {
            bar: spinner("reading the photos", quiet),
            quiet,
            cache: cache.into(),
            is_learning: false,
            losses: vec![],
        }
    }

    fn begin(&mut self, length: usize, what: &str) {
        self.bar.finish_and_clear();
        if self.quiet {
            return;
        }
        let template =
            format!("[{{bar:30}}] {{pos}}/{{len}} {what}, {{per_sec}}, {{eta}} left{{msg}}");
        self.bar = ProgressBar::new(length as u64);
        self.bar.set_style(
            ProgressStyle::with_template(&template).expect("a template that every run tests"),
        );
    }

    fn show(&mut self, progress: Progress) {
        match progress {
            Progress::Encoded { done, of, bytes } => {
                if done == 1 && !self.quiet {
                    let megabytes = (bytes * of) as f64 / 1e6;
                    say!(
                        "{of} pictures, {megabytes:.0} MB of features in {} (you may delete them at any time)",
                        self.cache.display()
                    );
                    self.begin(of, "pictures encoded");
                }
                self.bar.set_position(done as u64);
            }
            Progress::Stepped { done, of, loss } => {
                if !std::mem::replace(&mut self.is_learning, true) {
                    self.begin(of, "steps");
                    self.bar.reset_eta();
                }
                self.losses.push(loss);
                self.bar.set_message(format!(", loss {loss:.3}"));
                self.bar.set_position(done as u64);
            }
            Progress::Noted(note) if !self.quiet => {
                self.bar.suspend(|| say!("note: {note} (shown once)"));
            }
            Progress::Noted(_) => {}
            Progress::Point(point) => {
                let (Some(auroc), Some(pro)) = (point.pixel_auroc, point.au_pro) else { return };
                let losses = std::mem::take(&mut self.losses);
                let loss = losses.iter().sum::<f64>() / losses.len().max(1) as f64;
                if !self.quiet {
                    let epoch = point.epoch;
                    self.bar.suspend(|| {
                        say!(
                            "epoch {epoch:.0}: loss {loss:.3}, pixel AUROC {auroc:.3}, AU-PRO {pro:.3}"
                        );
                    });
                }
            }
        }
    }
}
