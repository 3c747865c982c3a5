//! `blemish adapter`: the trained layers of April-GAN.

mod output;
mod train;

use std::io::Write;
use std::path::PathBuf;
use std::process::ExitCode;

use blemish::Adapter;
use blemish::clip::Activation;
use blemish::files::write_whole;
use blemish::text::shown;
use clap::Subcommand;
use serde::Serialize;

use self::output::check_new;
use crate::cli::args::values::{self, SummaryFormat};
use crate::cli::terminal::{json_line, printed};

/// Show, convert and train adapters, the trained layers of april-gan and fused.
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
    Train(Box<train::Args>),
}

/// Show what an adapter needs, its training data and its licence.
#[derive(clap::Args)]
struct Info {
    /// A .safetensors file, or a .pth of April-GAN's authors.
    file: PathBuf,
    /// Blocks that the layers read, counted from 1, if the file does not name them.
    #[arg(long, value_name = "N,...", value_delimiter = ',')]
    blocks: Option<Vec<usize>>,
    /// How to print the result.
    #[arg(long, value_enum, default_value = "table")]
    format: SummaryFormat,
}

/// Write an adapter as .safetensors, with its metadata.
///
/// A .pth of April-GAN's authors has no metadata. Without flags, blemish writes blocks 6,12,18,24 of ViT-L-14-336 at
/// 518 pixels with exact GELU. It also writes the training data if the file has the name of one of the authors' files.
#[derive(clap::Args)]
struct Convert {
    /// The file to read.
    file: PathBuf,
    /// The file to write.
    #[arg(long, short, value_name = "FILE")]
    output: PathBuf,
    /// Blocks that the layers read, counted from 1.
    #[arg(long, value_name = "N,...", value_delimiter = ',')]
    blocks: Option<Vec<usize>>,
    /// Side of the model's input in pixels.
    #[arg(long, value_name = "N")]
    size: Option<usize>,
    /// The model's nonlinearity.
    #[arg(long, value_name = "NAME", value_parser = values::activation())]
    activation: Option<Activation>,
    /// Factor on the cosines before the softmax.
    #[arg(long, value_name = "X")]
    logit_scale: Option<f32>,
    /// The training data: mvtec, visa, or any text.
    #[arg(long, value_name = "TEXT")]
    training_data: Option<String>,
    /// The licence of the training data.
    #[arg(long, value_name = "TEXT")]
    licence: Option<String>,
    /// The products in the training data.
    #[arg(long, value_name = "NAME,...", value_delimiter = ',')]
    products: Option<Vec<String>>,
}

pub fn run(args: &Args) -> anyhow::Result<ExitCode> {
    match &args.command {
        Command::Info(args) => info(args)?,
        Command::Convert(args) => convert(args)?,
        Command::Train(args) => train::run(args)?,
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
    /// Channels that the layer on the trunk reads.
    trunk: Option<usize>,
    size: Option<usize>,
    activation: Option<&'a str>,
    logit_scale: f32,
    model: Option<&'a str>,
    model_sha256: Option<&'a str>,
    training_data: Option<&'a str>,
    licence: Option<&'a str>,
    products: &'a [String],
    /// Number of photos that it learned from, if they are known.
    photos: Option<usize>,
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
        trunk: adapter.trunk().map(|layer| layer.widths().0),
        size: about.size,
        activation: about.activation.map(Activation::name),
        logit_scale: about.logit_scale,
        model: about.model.as_deref(),
        model_sha256: about.model_sha256.as_deref(),
        training_data: about.training_data.as_deref(),
        licence: about.licence.as_deref(),
        products: &about.products,
        photos: adapter.knows_photos().then_some(about.photos.len()),
        spread: about.spread,
    };
    let mut out = std::io::stdout().lock();
    let mut print = || {
        if args.format == SummaryFormat::Json {
            return json_line(&mut out, &json);
        }
        for (name, value) in rows(&adapter) {
            writeln!(out, "{name:<12}  {}", shown(&value))?;
        }
        Ok(())
    };
    printed(print())?;
    Ok(())
}

/// What the table says of an adapter.
fn rows(adapter: &Adapter) -> Vec<(&'static str, String)> {
    let about = adapter.about();
    let (width, embedding) = adapter.widths();
    let blocks: Vec<String> = about.blocks.iter().map(usize::to_string).collect();
    let layers =
        format!("{} from {width} to {embedding}, of blocks {}", blocks.len(), blocks.join(", "));
    let trunk = match adapter.trunk() {
        Some(layer) => format!("a layer on its {} channels", layer.widths().0),
        None => "no layer on it".into(),
    };
    let or_unknown = |text: Option<String>| text.unwrap_or_else(|| "not known".into());
    let products = (!about.products.is_empty()).then(|| about.products.join(", "));
    let spread = about.spread.map(|(w, l)| format!("{w:.3} windows, {l:.3} layers"));
    vec![
        ("layers", layers),
        ("trunk", trunk),
        ("input", or_unknown(about.size.map(|size| format!("{size} pixels")))),
        ("activation", or_unknown(about.activation.map(|a| a.name().to_string()))),
        ("logit scale", about.logit_scale.to_string()),
        ("model", or_unknown(about.model.clone())),
        ("its weights", or_unknown(about.model_sha256.clone())),
        ("trained on", or_unknown(about.training_data.clone())),
        ("licence", or_unknown(about.licence.clone())),
        ("products", or_unknown(products)),
        ("spread", or_unknown(spread)),
        ("sha256", adapter.sha256().to_string()),
    ]
}

fn convert(args: &Convert) -> anyhow::Result<()> {
    check_new(&args.output)?;
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
    say!("wrote {}", args.output.display());
    Ok(())
}
