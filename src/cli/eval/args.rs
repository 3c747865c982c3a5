//! The flags of `blemish eval` and `blemish merge`.

use std::path::PathBuf;

use blemish::data::Layout;
use blemish::eval::Curve;
use clap::ValueEnum;

use crate::cli::args::method::{MethodArgs, reference_methods};
use crate::cli::args::mutual::MutualArgs;
use crate::cli::args::shard;
use crate::cli::args::values::{self, SummaryFormat};

/// Measure a model and a method on labelled photos: AUROC, AP and F1 of scores and of pixels, AU-PRO; on MVTec LOCO
/// AU-sPRO as its authors compute it.
///
/// With --profile-from the photos are compared with good ones of the training part too, with --method mutual or auto with
/// each other: such numbers are marked few-shot and transductive. `eval maps` measures maps that another program made.
#[derive(clap::Args)]
#[command(after_help = "Examples:
  blemish eval mvtec mvtec_ad/ --model ViT-B-16-plus-240 --method winclip
  blemish eval loco mvtec_loco_anomaly_detection/ --profile-from train:4 --reference-method components
  blemish eval folder tiles/ --method april-gan --adapter mine.safetensors --format json
  blemish eval maps loco mvtec_loco_anomaly_detection/ --maps anomaly_maps/ --curve official")]
pub struct Args {
    #[command(subcommand)]
    pub what: What,
}

#[derive(clap::Subcommand)]
pub enum What {
    /// MVTec AD's layout: <product>/test/<kind>/, <product>/ground_truth/<kind>/; also VisA in this form.
    Mvtec(RunArgs),
    /// MVTec LOCO's: the same with a folder of masks for each photo, and defects_config.json.
    Loco(RunArgs),
    /// VisA as published, with split_csv/1cls.csv.
    Visa(RunArgs),
    /// Photos of one's own: good/ beside folders of defective ones, masks in ground_truth/<kind>/ where there are any.
    Folder(RunArgs),
    Maps(MapsArgs),
}

/// Which photos, and how the numbers are computed and printed.
#[derive(clap::Args)]
pub struct SetArgs {
    /// The photos' folder.
    pub root: PathBuf,
    /// Measure these products only; give it again for several.
    #[arg(long, value_name = "NAME")]
    pub category: Vec<String>,
    /// Thresholds of MVTec LOCO's curves.
    #[arg(long, value_name = "CURVE", default_value = "exact", value_parser = values::curve())]
    pub curve: Curve,
    /// How to print results.
    #[arg(long, value_enum, default_value = "table")]
    pub format: SummaryFormat,
}

#[derive(clap::Args)]
pub struct RunArgs {
    #[command(flatten)]
    pub set: SetArgs,
    /// What the photos show, where they are of one product; give it again for synonyms [default: the prompt
    /// file's product, else the name of the product's folder].
    #[arg(long, value_name = "NAME")]
    pub product: Vec<String>,
    /// A prompt file, - for standard input, or the name of one in the program [default: the method's].
    #[arg(long, value_name = "FILE")]
    pub prompts: Option<PathBuf>,
    /// How folders name products: as they are called (metal_nut; as April-GAN's authors do), or with spaces for _.
    #[arg(long, value_enum, default_value = "spaced")]
    pub names: Names,
    /// Compare with the first N good photos of the training part, in order of name; of `folder` those of train/good, in it or
    /// beside it.
    #[arg(long, value_name = "train:N", value_parser = training_photos)]
    pub profile_from: Option<usize>,
    /// How to compare with good parts, as with `enroll`.
    #[arg(long, value_name = "METHOD", requires = "profile_from",
          value_parser = reference_methods())]
    pub reference_method: Option<String>,
    /// Keep everything in this folder: what was run, every photo's score and map (float32 TIFF, in the layout that
    /// MVTec's scripts read: DIR/maps), and the metrics as JSON and CSV; on MVTec LOCO also as its script writes them.
    #[arg(long, value_name = "DIR")]
    pub out: Option<PathBuf>,
    /// Go on with a run that was stopped: what is in --out and still holds is not computed again.
    #[arg(long, requires = "out")]
    pub resume: bool,
    /// Run one part of the photos, I of N from 0, and measure nothing: `blemish merge` puts the parts together. N alone
    /// takes I from JOB_COMPLETION_INDEX or SLURM_ARRAY_TASK_ID.
    #[arg(long, value_name = "I/N", requires = "out", value_parser = shard::parse)]
    pub shard: Option<(usize, usize)>,
    /// Go on where the adapter was trained on a product that it is measured on, and mark the numbers.
    #[arg(long)]
    pub allow_leak: bool,
    #[command(flatten)]
    pub method: MethodArgs,
    #[command(flatten)]
    pub mutual: MutualArgs,
}

#[derive(Clone, Copy, ValueEnum)]
pub enum Names {
    Spaced,
    Folder,
}

fn training_photos(text: &str) -> Result<usize, String> {
    let count = text.strip_prefix("train:").and_then(|count| count.parse().ok());
    count
        .filter(|count| *count > 0)
        .ok_or("give train:N with N good photos, such as train:4".into())
}

/// Measure anomaly maps on disk: a TIFF a photo, in the layout that MVTec's scripts read.
///
/// `MAPS/<product>/test/<kind>/<photo>.tiff`: one number a pixel (float32 or uint8; float64 is rounded), at the photo's own
/// size. A photo's score is its map's highest value.
#[derive(clap::Args)]
pub struct MapsArgs {
    /// How the photos are laid out.
    #[arg(value_parser = values::layout())]
    pub layout: Layout,
    #[command(flatten)]
    pub set: SetArgs,
    /// The folder of maps.
    #[arg(long, value_name = "DIR")]
    pub maps: PathBuf,
    /// No progress; errors are still printed.
    #[arg(long, short)]
    pub quiet: bool,
}

/// Put the parts of a measurement together: what `eval --shard` kept, measured as one run.
#[derive(clap::Args)]
#[command(after_help = "Example:
  blemish eval mvtec mvtec_ad/ --out part0 --shard 0/2
  blemish eval mvtec mvtec_ad/ --out part1 --shard 1/2
  blemish merge part0 part1 --out whole

The photos' folder has to be where the first part had it, for its masks. A merge that was stopped goes on.")]
pub struct MergeArgs {
    /// The folders of all parts.
    #[arg(required = true)]
    pub parts: Vec<PathBuf>,
    /// The folder to put them together in.
    #[arg(long, value_name = "DIR")]
    pub out: PathBuf,
    /// Thresholds of MVTec LOCO's curves.
    #[arg(long, value_name = "CURVE", default_value = "exact", value_parser = values::curve())]
    pub curve: Curve,
    /// How to print results.
    #[arg(long, value_enum, default_value = "table")]
    pub format: SummaryFormat,
}
