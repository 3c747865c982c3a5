//! The flags of `blemish score`.

use std::path::PathBuf;

use clap::ValueEnum;

use crate::cli::args::method::MethodArgs;
use crate::cli::args::mutual::{HEADING, MutualArgs};
use crate::cli::args::product::ProductArgs;
use crate::cli::args::shard;
use crate::cli::printer::Format;

/// Score photos of a product, from its name and from each other.
#[derive(clap::Args)]
#[command(after_help = "Examples:
  blemish score photos/ --product \"metal nut\" --out out/
  blemish score 'line3/*.jpg' --product zipper --format csv > scores.csv
  blemish score photos/ --product \"steel plate\" --prompts inspection --detect scratch,dent --ignore \"mill scale\"
  blemish score photos/ --product \"metal nut\" --model ViT-B-16-plus-240 --out out/ --save-map
  blemish score photos/ --product \"metal nut\" --method mutual --against 200
  blemish score photos/ --profile nut.blemish --out out/

Scores run from 0 to 1, higher is more anomalous; compare them within one product and model, and those of photos that
judged each other (from 8 on; --method fused judges each by words alone) within one run. Exit
code: 0 when every photo was scored; 1 when some could not be, or the model or the output is not to be
had; 2 for a mistake in the command; 130 after Ctrl-C, when photos that judge each other and were looked at are scored by
words.")]
pub struct Args {
    /// Photos, folders (searched with their subfolders) or patterns in quotes. PNG, JPEG, BMP, TIFF, WebP.
    #[arg(required = true)]
    pub photos: Vec<PathBuf>,
    #[command(flatten)]
    pub product: ProductArgs,
    /// A product that was enrolled (`blemish enroll`): its words, good parts and line between ok and ng.
    #[arg(long, value_name = "FILE", conflicts_with_all = ["product", "prompts", "detect", "ignore",
          "adapter", "blocks", "fit", "size", "activation", "bit_depth", "roi"])]
    pub profile: Option<PathBuf>,
    /// Override the profile's false-alarm rate, 0 to 1.
    #[arg(long, value_name = "RATE")]
    pub false_alarm: Option<f64>,
    /// Write heat-map overlays (PNG, at the photos' size) into this folder, mirroring theirs.
    #[arg(long, value_name = "DIR")]
    pub out: Option<PathBuf>,
    /// Also write each map as a float32 TIFF, and one for each kind of defect.
    #[arg(long, requires = "out")]
    pub save_map: bool,
    /// Colours of the overlays: the same for all photos, or stretched for each. With --profile the good parts fix them, and
    /// what hardly goes beyond those stays grey; `image` shows where each photo is hottest.
    #[arg(long, value_enum, default_value = "run", requires = "out")]
    pub scale: ScaleOf,
    /// Score one part of the photos by words alone, or with a profile: I of N from 0; N alone takes I from JOB_COMPLETION_INDEX
    /// or SLURM_ARRAY_TASK_ID. The parts' results one after another are those of all photos.
    #[arg(long, value_name = "I/N", value_parser = shard::parse)]
    pub shard: Option<(usize, usize)>,
    /// A picture of the photos' shape, white where to look: what is black never counts.
    #[arg(long, value_name = "MASK")]
    pub roi: Option<PathBuf>,
    /// How to print results; a table by default on a terminal, JSON Lines otherwise.
    #[arg(long, value_enum)]
    pub format: Option<Format>,
    #[command(flatten)]
    pub method: MethodArgs,
    #[command(flatten)]
    pub mutual: MutualArgs,
    /// Where the folder seems to hold two products, compare the photos of each with each other alone.
    #[arg(long, help_heading = HEADING)]
    pub apart: bool,
}

#[derive(Clone, Copy, ValueEnum)]
pub enum ScaleOf {
    Run,
    Image,
}
