//! The flags of `blemish eval` and `blemish merge`.

use std::path::PathBuf;

use blemish::autoencoder::Autoencoder;
use blemish::data::Layout;
use blemish::eval::Curve;
use blemish::profile::Augment;
use blemish::reference::Layers;
use clap::ValueEnum;

use crate::cli::args::method::{MethodArgs, reference_methods};
use crate::cli::args::mutual::MutualArgs;
use crate::cli::args::reference_model::ReferenceModelArgs;
use crate::cli::args::tiles::TileArgs;
use crate::cli::args::values::{self, SummaryFormat};
use crate::cli::args::views::ViewArgs;
use crate::cli::args::{rate, shard};

/// Measure a model and a method on labelled photos.
///
/// The metrics are AUROC, AP and F1 of scores and of pixels, and AU-PRO. On MVTec LOCO it is AU-sPRO, as its authors
/// compute it. With --profile-from, photos are also compared with good training photos, and the numbers are marked
/// few-shot. With --method mutual or auto, photos are compared with each other, and the numbers are marked
/// transductive. `eval maps` measures maps that another program made.
#[derive(clap::Args)]
#[command(after_help = "Examples:
  blemish eval mvtec mvtec_ad/ --model ViT-B-16-plus-240 --method winclip
  blemish eval loco mvtec_loco_anomaly_detection/ --profile-from train:4 --reference-method components
  blemish eval folder photos/ --profile nut.blemish --out out/
  blemish eval folder tiles/ --method april-gan --adapter mine.safetensors --format json
  blemish eval eyecandies eyecandies/ --profile-from train:4
  blemish eval folder rims/ --views \"{part}_{light}.png\" --profile-from train:16
  blemish eval maps loco mvtec_loco_anomaly_detection/ --maps anomaly_maps/ --curve official")]
pub struct Args {
    #[command(subcommand)]
    pub what: What,
}

#[derive(clap::Subcommand)]
pub enum What {
    /// MVTec AD: <product>/test/<kind>/ and <product>/ground_truth/<kind>/. Also VisA in this layout.
    Mvtec(RunArgs),
    /// MVTec LOCO: as MVTec AD, with a folder of masks for each photo, and defects_config.json.
    Loco(RunArgs),
    /// VisA as published, with split_csv/1cls.csv.
    Visa(RunArgs),
    /// Your own photos: good/ beside folders of defective photos. Masks may be in ground_truth/<kind>/.
    Folder(RunArgs),
    /// Eyecandies: <product>/test_public/data/<part>_image_<light>.png. The six photos of a part are scored together.
    Eyecandies(RunArgs),
    Maps(MapsArgs),
}

/// Which photos, and how the numbers are computed and printed.
#[derive(clap::Args)]
pub struct SetArgs {
    /// The folder of the photos.
    pub root: PathBuf,
    /// Measure only this product. Repeat the flag for several products.
    #[arg(long, value_name = "NAME")]
    pub category: Vec<String>,
    /// Thresholds of the curves on MVTec LOCO.
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
    /// Name of the product, if all photos show one product. Repeat the flag for synonyms [default: the prompt file's
    /// product, else the name of the product's folder].
    #[arg(long, value_name = "NAME")]
    pub product: Vec<String>,
    /// A prompt file, - for standard input, or the name of an embedded file [default: the method's].
    #[arg(long, value_name = "FILE")]
    pub prompts: Option<PathBuf>,
    /// Product names from folder names: `spaced` replaces _ by a space, `folder` keeps it (as April-GAN's authors do).
    #[arg(long, value_enum, default_value = "spaced")]
    pub names: Names,
    /// Only for your own photos: the labels are the marks that you made on the page of `score --out`. Only marked photos
    /// are measured.
    #[arg(long, value_name = "FILE", conflicts_with = "shard")]
    pub marks: Option<PathBuf>,
    /// Measure this profile of `enroll`: what its line finds, what it misses, and its false alarms.
    #[arg(long, value_name = "FILE", conflicts_with_all = ["product", "prompts", "profile_from", "resume", "shard",
          "allow_leak", "adapter", "blocks", "fit", "size", "activation", "bit_depth", "tiles", "tile_overlap",
          "against", "degrees", "rescore", "align", "repeats", "mutual_seed", "reference_method", "reference_blocks",
          "augment", "names", "views", "fuse"])]
    pub profile: Option<PathBuf>,
    /// Replace the profile's false-alarm rate, such as 0.05 or 5%.
    #[arg(long, value_name = "RATE", value_parser = rate::parse)]
    pub false_alarm: Option<f64>,
    /// Compare with the first N good training photos, in order of name. In the layout `folder`, these are in
    /// train/good, inside the folder or beside it.
    #[arg(long, value_name = "train:N", value_parser = training_photos)]
    pub profile_from: Option<usize>,
    /// How to compare with these photos, as in `enroll`.
    #[arg(long, value_name = "METHOD", requires = "profile_from",
          value_parser = reference_methods())]
    pub reference_method: Option<String>,
    /// Layers whose patches are compared with these photos, as in `enroll`.
    #[arg(long, value_name = "N,...", requires = "profile_from")]
    pub reference_blocks: Option<Layers>,
    /// Also compare with copies of these photos, as in `enroll`.
    #[arg(long, value_name = "NAME,...", requires = "profile_from", value_delimiter = ',',
          value_parser = values::augment())]
    pub augment: Vec<Augment>,
    /// Measure an autoencoder instead of the model. It is trained on all good training photos of each product (train/good), which
    /// takes minutes.
    #[arg(long, value_name = "NAME", value_parser = values::baseline(), conflicts_with_all = ["profile", "profile_from",
          "method", "adapter", "model", "shard", "allow_leak", "size", "activation", "tiles", "reference_model", "prompts", "product", "views", "fuse"])]
    pub baseline: Option<Autoencoder>,
    /// Steps of this training, with 8 photos each.
    #[arg(long, value_name = "N", default_value_t = 1000, requires = "baseline",
          value_parser = clap::builder::RangedU64ValueParser::<usize>::new().range(1..))]
    pub baseline_steps: usize,
    /// Keep everything in this folder: the settings, the score and map of every photo, and the metrics as JSON and CSV.
    /// The maps are float32 TIFF files in DIR/maps, in the layout of MVTec's scripts. On MVTec LOCO, the metrics are
    /// also written as MVTec's script writes them.
    #[arg(long, value_name = "DIR")]
    pub out: Option<PathBuf>,
    /// Continue a stopped run. Results in --out that are still valid are not computed again.
    #[arg(long, requires = "out")]
    pub resume: bool,
    /// Run only part I of N, counted from 0, and compute no metrics. `blemish merge` joins the parts. N alone takes I
    /// from JOB_COMPLETION_INDEX or SLURM_ARRAY_TASK_ID.
    #[arg(long, value_name = "I/N", requires = "out", value_parser = shard::parse)]
    pub shard: Option<(usize, usize)>,
    /// Measure products that the adapter was trained on, too, and mark their numbers.
    #[arg(long)]
    pub allow_leak: bool,
    #[command(flatten)]
    pub method: MethodArgs,
    #[command(flatten)]
    pub reference_model: ReferenceModelArgs,
    #[command(flatten)]
    pub tiles: TileArgs,
    #[command(flatten)]
    pub views: ViewArgs,
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

/// Measure anomaly maps on disk: one TIFF per photo, in the layout of MVTec's scripts.
///
/// The files are `MAPS/<product>/test/<kind>/<photo>.tiff`. They have one number per pixel (float32 or uint8; float64
/// is rounded), at the photo's own size. A photo's score is the highest value of its map.
#[derive(clap::Args)]
pub struct MapsArgs {
    /// The layout of the photos.
    #[arg(value_parser = values::layout())]
    pub layout: Layout,
    #[command(flatten)]
    pub set: SetArgs,
    /// The folder of maps.
    #[arg(long, value_name = "DIR")]
    pub maps: PathBuf,
    /// Print no progress, notes or warnings. Errors are still printed.
    #[arg(long, short)]
    pub quiet: bool,
}

/// Join the parts of `eval --shard`, and measure them as one run.
#[derive(clap::Args)]
#[command(after_help = "Example:
  blemish eval mvtec mvtec_ad/ --out part0 --shard 0/2
  blemish eval mvtec mvtec_ad/ --out part1 --shard 1/2
  blemish merge part0 part1 --out whole

The folder of the photos must still be where it was for the first part, because merge reads its masks.
If merge was stopped, run it again: it continues.")]
pub struct MergeArgs {
    /// The folders of all parts.
    #[arg(required = true)]
    pub parts: Vec<PathBuf>,
    /// The folder for the joined run.
    #[arg(long, value_name = "DIR")]
    pub out: PathBuf,
    /// Thresholds of the curves on MVTec LOCO.
    #[arg(long, value_name = "CURVE", default_value = "exact", value_parser = values::curve())]
    pub curve: Curve,
    /// How to print results.
    #[arg(long, value_enum, default_value = "table")]
    pub format: SummaryFormat,
}
