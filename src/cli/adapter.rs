//! `blemish adapter`: the trained layers of April-GAN.

use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use blemish::data::{self, Layout, Sample};
use blemish::files::{cache_folder, write_whole};
use blemish::{
    Activation, Adapter, BitDepth, Error, Point, Progress, Prompts, TrainFiles, TrainOptions,
};
use clap::{Subcommand, ValueEnum};
use indicatif::{ProgressBar, ProgressStyle};
use serde::Serialize;

use super::inputs::with_suffix;
use super::setup::ModelArgs;

/// Look at, convert and train adapters: the layers that april-gan and fused draw with.
#[derive(clap::Args)]
#[command(after_help = "Examples:
  blemish adapter info mvtec_pretrained.pth
  blemish adapter convert mvtec_pretrained.pth -o mvtec.safetensors
  blemish adapter train --data mvtec/ --model ViT-L-14-336 --size 518 --activation gelu -o mine.safetensors
  blemish score photos/ --product \"metal nut\" --model ViT-L-14-336 --method april-gan --adapter mine.safetensors")]
pub struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    Info(Info),
    Convert(Convert),
    Train(Box<Train>),
}

/// Say what an adapter needs, and what it was trained on under which licence.
#[derive(clap::Args)]
struct Info {
    /// A .safetensors file, or a .pth of April-GAN's authors.
    file: PathBuf,
    /// Blocks that the layers take, where the file does not say so.
    #[arg(long, value_name = "N,...", value_delimiter = ',')]
    blocks: Option<Vec<usize>>,
    /// How to print it.
    #[arg(long, value_enum, default_value = "table")]
    format: Format,
}

#[derive(Clone, Copy, PartialEq, ValueEnum)]
enum Format {
    Table,
    Json,
}

/// Write an adapter as .safetensors, with what is known of it.
///
/// A .pth of April-GAN's authors says nothing of itself: blocks 6,12,18,24 of ViT-L-14-336 at 518 pixels with exact
/// GELU are noted unless flags say otherwise, and the training data of files that are called as theirs are.
#[derive(clap::Args)]
struct Convert {
    /// The file to read.
    file: PathBuf,
    /// The file to write.
    #[arg(long, short, value_name = "FILE")]
    output: PathBuf,
    /// Blocks that the layers take, from 1.
    #[arg(long, value_name = "N,...", value_delimiter = ',')]
    blocks: Option<Vec<usize>>,
    /// Side of the model's input in pixels.
    #[arg(long, value_name = "N")]
    size: Option<usize>,
    /// The model's nonlinearity.
    #[arg(long, value_enum)]
    activation: Option<Activation>,
    /// What cosines are multiplied by.
    #[arg(long, value_name = "X")]
    logit_scale: Option<f32>,
    /// What it was trained on: mvtec, visa, or any words.
    #[arg(long, value_name = "TEXT")]
    training_data: Option<String>,
    /// The licence of that.
    #[arg(long, value_name = "TEXT")]
    licence: Option<String>,
    /// The products among that.
    #[arg(long, value_name = "NAME,...", value_delimiter = ',')]
    products: Option<Vec<String>>,
}

/// Train an adapter on photos with masks; only the layers learn, the model stays as it is.
///
/// Beside OUTPUT it writes the curves, as .csv and .png, and while it runs a .checkpoint that --resume goes on from. What
/// the model sees of the photos is kept in a cache, so that further epochs and runs are quick.
#[derive(clap::Args)]
struct Train {
    /// Folders of labelled photos with masks.
    #[arg(long, required = true, num_args = 1.., value_name = "ROOT")]
    data: Vec<PathBuf>,
    /// How they are laid out [default: found out].
    #[arg(long, value_enum)]
    layout: Option<Layout>,
    /// Folders of labelled photos that judge every epoch; of other products, if it is to be told how well the
    /// adapter does on what it has not seen [default: a tenth of --data is held back].
    #[arg(long, num_args = 1.., value_name = "ROOT")]
    validation: Vec<PathBuf>,
    /// The file to write.
    #[arg(long, short, value_name = "FILE")]
    output: PathBuf,
    /// Blocks that get a layer, from 1.
    #[arg(long, value_name = "N,...", value_delimiter = ',', default_value = "6,12,18,24")]
    blocks: Vec<usize>,
    /// Times that every photo is seen (the authors: 3 on MVTec AD, 15 on VisA).
    #[arg(long, value_name = "N", default_value_t = 15)]
    epochs: usize,
    /// Photos of one step.
    #[arg(long, value_name = "N", default_value_t = 8)]
    batch: usize,
    /// The optimiser's learning rate.
    #[arg(long, value_name = "X", default_value_t = 1e-3)]
    learning_rate: f64,
    /// AdamW's weight decay; 0 is Adam, as in the paper.
    #[arg(long, value_name = "X", default_value_t = 0.0)]
    weight_decay: f64,
    /// The share of photos that a 2x2 mosaic of their product's takes the place of.
    #[arg(long, value_name = "X", default_value_t = 0.2)]
    mosaic: f64,
    /// What cosines are multiplied by [default: what the model was trained with].
    #[arg(long, value_name = "X")]
    logit_scale: Option<f32>,
    /// A prompt file, or the name of one in the program.
    #[arg(long, value_name = "FILE", default_value = "april-gan")]
    prompts: PathBuf,
    /// What the photos are, to be noted in the file: mvtec, visa, or any words [default: the folders' names].
    #[arg(long, value_name = "TEXT")]
    training_data: Option<String>,
    /// The licence of the photos, to be noted in the file.
    #[arg(long, value_name = "TEXT")]
    licence: Option<String>,
    /// Decides everything that is drawn by lot.
    #[arg(long, value_name = "N", default_value_t = 0)]
    seed: u64,
    /// Bits that the camera fills in 16-bit files.
    #[arg(long, value_name = "BITS", default_value_t = 16)]
    bit_depth: u8,
    /// Go on from the checkpoint of a run that was stopped.
    #[arg(long)]
    resume: bool,
    /// Where to keep what the model sees of the photos [default: features in $BLEMISH_CACHE or ~/.cache/blemish].
    #[arg(long, value_name = "DIR")]
    cache: Option<PathBuf>,
    #[command(flatten)]
    model: ModelArgs,
}

pub fn run(args: &Args) -> anyhow::Result<ExitCode> {
    match &args.command {
        Command::Info(args) => info(args)?,
        Command::Convert(args) => convert(args)?,
        Command::Train(args) => train(args)?,
    }
    Ok(ExitCode::SUCCESS)
}

#[derive(Serialize)]
struct Json<'a> {
    file: &'a str,
    sha256: &'a str,
    width: usize,
    embedding: usize,
    blocks: &'a [usize],
    size: Option<usize>,
    activation: Option<&'a str>,
    logit_scale: f32,
    model: Option<&'a str>,
    model_sha256: Option<&'a str>,
    training_data: Option<&'a str>,
    licence: Option<&'a str>,
    products: &'a [String],
    spread: Option<(f32, f32)>,
}

fn info(args: &Info) -> anyhow::Result<()> {
    let adapter = Adapter::open(&args.file, args.blocks.as_deref())?;
    let about = adapter.about();
    let (width, embedding) = adapter.widths();
    let json = Json {
        file: adapter.name(),
        sha256: adapter.sha256(),
        width,
        embedding,
        blocks: &about.blocks,
        size: about.size,
        activation: about.activation.map(Activation::name),
        logit_scale: about.logit_scale,
        model: about.model.as_deref(),
        model_sha256: about.model_sha256.as_deref(),
        training_data: about.training_data.as_deref(),
        licence: about.licence.as_deref(),
        products: &about.products,
        spread: about.spread,
    };
    let mut out = std::io::stdout().lock();
    let mut print = || {
        if args.format == Format::Json {
            serde_json::to_writer(&mut out, &json)?;
            return writeln!(out);
        }
        let blocks: Vec<String> = about.blocks.iter().map(usize::to_string).collect();
        let or_unknown = |text: Option<String>| text.unwrap_or_else(|| "not known".into());
        for (name, value) in [
            (
                "layers",
                format!(
                    "{} from {width} to {embedding}, of blocks {}",
                    blocks.len(),
                    blocks.join(", ")
                ),
            ),
            ("input", or_unknown(about.size.map(|size| format!("{size} pixels")))),
            ("activation", or_unknown(json.activation.map(str::to_string))),
            ("logit scale", about.logit_scale.to_string()),
            ("model", or_unknown(about.model.clone())),
            ("its weights", or_unknown(about.model_sha256.clone())),
            ("trained on", or_unknown(about.training_data.clone())),
            ("licence", or_unknown(about.licence.clone())),
            (
                "products",
                or_unknown((!about.products.is_empty()).then(|| about.products.join(", "))),
            ),
            (
                "spread",
                or_unknown(about.spread.map(|(w, l)| format!("{w:.3} windows, {l:.3} layers"))),
            ),
            ("sha256", adapter.sha256().to_string()),
        ] {
            writeln!(out, "{name:<12}  {value}")?;
        }
        Ok(())
    };
    super::printed(print())?;
    Ok(())
}

fn convert(args: &Convert) -> anyhow::Result<()> {
    let adapter = Adapter::open(&args.file, args.blocks.as_deref())?;
    let mut about = adapter.about().clone();
    about.size = args.size.or(about.size);
    about.activation = args.activation.or(about.activation);
    about.logit_scale = args.logit_scale.unwrap_or(about.logit_scale);
    if let Some(words) = &args.training_data {
        about.set_training_data(words);
    }
    about.licence = args.licence.clone().or(about.licence);
    about.products = args.products.clone().unwrap_or(about.products);
    let known = adapter.about();
    let same = (&about.blocks, about.size, about.activation, about.logit_scale)
        == (&known.blocks, known.size, known.activation, known.logit_scale);
    if !same || args.blocks.is_some() {
        about.spread = None;
    }
    write_whole(&args.output, &adapter.with_about(about)?.to_bytes()?)?;
    eprintln!("blemish: wrote {}", args.output.display());
    Ok(())
}

fn train(args: &Train) -> anyhow::Result<()> {
    args.model.begin()?;
    let samples = samples(&args.data, args.layout)?;
    let validation = samples_or_none(&args.validation, args.layout)?;
    let prompts = Prompts::open(&args.prompts)?;
    let checkpoint = with_suffix(&args.output, "checkpoint");
    if checkpoint.exists() && !args.resume {
        let why = "is there from a run that was stopped: go on from it with --resume, or remove it"
            .to_string();
        return Err(Error::Setting { setting: checkpoint.display().to_string(), why }.into());
    }
    let folder =
        args.output.parent().filter(|p| !p.as_os_str().is_empty()).unwrap_or(Path::new("."));
    super::score::check_writable("--output", folder)?;
    if args.output.is_dir() {
        let why = "is a folder; give a file".to_string();
        return Err(
            Error::Setting { setting: format!("--output {}", args.output.display()), why }.into()
        );
    }
    let cache = args.cache.clone().or_else(|| Some(cache_folder()?.join("features")));
    let cache = cache.ok_or_else(|| Error::Setting {
        setting: "--cache".into(),
        why: "give a folder: there is no home for one".into(),
    })?;
    let clip = args.model.open(None)?;
    let options = TrainOptions {
        blocks: args.blocks.clone(),
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
    let mut bars = Bars::new(args.model.quiet, &cache);
    let (adapter, points) =
        blemish::train(&clip, &samples, &validation, &prompts, &options, files, &mut |progress| {
            bars.show(progress)
        })?;
    bars.bar.finish_and_clear();
    let mut about = adapter.about().clone();
    let folders: Vec<String> = args.data.iter().map(|path| path.display().to_string()).collect();
    let products = about.products.clone();
    about.set_training_data(args.training_data.as_deref().unwrap_or(&folders.join(", ")));
    // What was seen, not what the whole set would hold.
    about.products = products;
    about.licence = args.licence.clone().or(about.licence);
    write_whole(&args.output, &adapter.with_about(about)?.to_bytes()?)?;
    write_whole(&with_suffix(&args.output, "csv"), &csv(&points)?)?;
    write_whole(&with_suffix(&args.output, "png"), &blemish::curves::png(&points))?;
    // A run that is done is not gone on from.
    let _ = std::fs::remove_file(&checkpoint);
    if !args.model.quiet {
        if !points.iter().any(|point| point.pixel_auroc.is_some()) {
            eprintln!(
                "blemish: note: too few photos to hold some back: give others with --validation to see how well it does"
            );
        }
        eprintln!("blemish: wrote {0}, {0}.csv and {0}.png", args.output.display());
    }
    Ok(())
}

fn samples(roots: &[PathBuf], layout: Option<Layout>) -> anyhow::Result<Vec<Sample>> {
    let mut all = Vec::new();
    for root in roots {
        all.extend(data::samples(root, layout)?);
    }
    Ok(all)
}

fn samples_or_none(roots: &[PathBuf], layout: Option<Layout>) -> anyhow::Result<Vec<Sample>> {
    if roots.is_empty() { Ok(vec![]) } else { samples(roots, layout) }
}

fn csv(points: &[Point]) -> anyhow::Result<Vec<u8>> {
    let mut csv = csv::Writer::from_writer(Vec::new());
    for point in points {
        csv.serialize(point)?;
    }
    Ok(csv.into_inner()?)
}

/// One bar for looking at the photos, then one for learning.
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
            bar: ProgressBar::hidden(),
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
            Progress::Looked { done, of, bytes } => {
                if done == 1 && !self.quiet {
                    let megabytes = (bytes * of) as f64 / 1e6;
                    eprintln!(
                        "blemish: {of} pictures, {megabytes:.0} MB in {} (may be deleted at any time)",
                        self.cache.display()
                    );
                    self.begin(of, "pictures looked at");
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
            Progress::Point(point) => {
                let (Some(auroc), Some(pro)) = (point.pixel_auroc, point.au_pro) else { return };
                let losses = std::mem::take(&mut self.losses);
                let loss = losses.iter().sum::<f64>() / losses.len().max(1) as f64;
                if !self.quiet {
                    let epoch = point.epoch;
                    self.bar.suspend(|| {
                        eprintln!(
                            "blemish: epoch {epoch:.0}: loss {loss:.3}, pixel AUROC {auroc:.3}, AU-PRO {pro:.3}"
                        );
                    });
                }
            }
        }
    }
}
