//! The flags of `blemish score`.

use std::path::PathBuf;

use blemish::reference::RegionShape;
use blemish::scorer::ScaleOf;
use clap::ValueEnum;

use super::table::Order;

use crate::cli::args::method::MethodArgs;
use crate::cli::args::mutual::{HEADING, MutualArgs};
use crate::cli::args::product::ProductArgs;
use crate::cli::args::reference_model::ReferenceModelArgs;
use crate::cli::args::repeats::RepeatArgs;
use crate::cli::args::tiles::TileArgs;
use crate::cli::args::views::ViewArgs;
use crate::cli::args::{rate, shard, values};
use crate::cli::printer::Format;

/// Score photos of a product by prompts, and by comparing the photos with each other.
#[derive(clap::Args)]
#[command(after_help = "Examples:
  blemish score photos/ --product \"metal nut\" --out out/
  blemish score 'line3/*.jpg' --product zipper --format csv > scores.csv
  blemish score photos/ --product \"steel plate\" --prompts inspection --detect scratch,dent --ignore \"mill scale\"
  blemish score photos/ --product \"metal nut\" --model ViT-B-16-plus-240 --out out/ --save-map
  blemish score photos/ --product \"metal nut\" --method mutual --against 200
  blemish score photos/ --profile nut.blemish --out out/ --fail-on ng
  blemish score photos/ --profiles profiles/ --out out/     # several products
  blemish score parts/ --profile rim.blemish                # a photo under each light, see enroll --views
  find /line3 -name '*.png' -mmin -60 | blemish score --files-from - --profile nut.blemish

Scores run from 0 to 1. Higher is more anomalous. Compare scores only within one product and one model.
With 8 photos or more, each photo is also compared with the others. Compare such scores only within one run.
--method april-gan scores each photo by prompts only.

Exit codes:
  0    every photo was scored
  1    a photo could not be scored, or the model or the output cannot be used
  2    the command is wrong
  3    --fail-on found such a photo
  130  Ctrl-C; if photos are compared, those that are already encoded are still scored")]
pub struct Args {
    /// Photos, folders (with their subfolders) or patterns in quotes. PNG, JPEG, BMP, TIFF, WebP.
    #[arg(required_unless_present = "files_from")]
    pub photos: Vec<PathBuf>,
    /// Take more photos from a file with a path on each line, or - for standard input.
    #[arg(long, value_name = "FILE")]
    pub files_from: Option<PathBuf>,
    #[command(flatten)]
    pub product: ProductArgs,
    /// A profile from `blemish enroll`. It brings the prompts, the reference photos and the threshold between ok and ng.
    #[arg(long, value_name = "FILE", conflicts_with_all = ["product", "prompts", "detect", "ignore",
          "adapter", "blocks", "fit", "size", "activation", "bit_depth", "tiles", "tile_overlap", "roi"])]
    pub profile: Option<PathBuf>,
    /// A folder of profiles, for photos of several products (without its subfolders). Each photo is scored with the profile whose
    /// references it resembles most. A photo that resembles none is reported, and has no score. With --out, each profile has
    /// a folder and a page.
    #[arg(long, value_name = "DIR", conflicts_with_all = ["profile", "product", "prompts", "detect", "ignore",
          "adapter", "blocks", "fit", "size", "activation", "bit_depth", "tiles", "tile_overlap", "roi", "copy_to", "resume", "views"])]
    pub profiles: Option<PathBuf>,
    /// Replace the profile's false-alarm rate, such as 0.05 or 5%.
    #[arg(long, value_name = "RATE", value_parser = rate::parse)]
    pub false_alarm: Option<f64>,
    /// Write heat maps into this folder, with the photos' subfolders, and index.html: a page to look through the
    /// photos, move the line between ok and ng, and mark photos.
    #[arg(long, value_name = "DIR")]
    pub out: Option<PathBuf>,
    /// Also write each map as a float32 TIFF, and one TIFF for each kind of defect.
    #[arg(long, requires = "out")]
    pub save_map: bool,
    /// Colours of the heat maps: one scale for all photos, or a scale for each photo. With --profile, the good
    /// parts set the scale of `run`: values like theirs stay without colour. `image` shows where each photo is hottest.
    #[arg(long, value_name = "SCALE", default_value = "run", value_parser = values::scale_of(), requires = "out")]
    pub scale: ScaleOf,
    /// Draw no strip with the score and the colour scale below the heat maps.
    #[arg(long, requires = "out")]
    pub no_strip: bool,
    /// Copy each photo into DIR/ok, DIR/ng or DIR/uncertain. Needs --profile.
    #[arg(long, value_name = "DIR", conflicts_with = "views")]
    pub copy_to: Option<PathBuf>,
    /// Score only part I of N, counted from 0. A part gets no index.html. A part is scored by prompts only, or with a profile. The results of all
    /// parts, one after another, are the results of one run (a table is sorted within each part). N alone takes I from JOB_COMPLETION_INDEX or
    /// SLURM_ARRAY_TASK_ID.
    #[arg(long, value_name = "I/N", value_parser = shard::parse)]
    pub shard: Option<(usize, usize)>,
    /// The region of interest: a rectangle X,Y,WIDTH,HEIGHT or a polygon X,Y,X,Y,X,Y,... in pixels or percent
    /// (10%,10%,80%,80%), or a mask. In a mask with the photos' aspect ratio, white parts count.
    #[arg(long, value_name = "REGION", allow_hyphen_values = true)]
    pub roi: Option<RegionShape>,
    /// Append the results to this file (JSON Lines) instead of printing them, and skip photos that it has: the same
    /// command goes on where a run was stopped. Each photo must be scored by itself: with --profile, or with a method
    /// by prompts only.
    #[arg(long, value_name = "FILE", conflicts_with_all = ["format", "sort", "top", "shard"])]
    pub resume: Option<PathBuf>,
    /// How to print results. The default is a table on a terminal, and JSON Lines elsewhere.
    #[arg(long, value_enum)]
    pub format: Option<Format>,
    /// End with exit code 3 if a photo is ng. `uncertain`: if a photo is ng or uncertain. Needs --profile.
    #[arg(long, value_enum, value_name = "VERDICT")]
    pub fail_on: Option<FailOn>,
    /// Order of the table: the highest score first, or the order of the photos [default: score].
    #[arg(long, value_enum, value_name = "ORDER")]
    pub sort: Option<Order>,
    /// Print only the first N rows of the table.
    #[arg(long, value_name = "N")]
    pub top: Option<usize>,
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
    #[command(flatten)]
    pub repeats: RepeatArgs,
    /// If the folder seems to hold two products, compare each photo only with photos of the same product.
    #[arg(long, help_heading = HEADING)]
    pub apart: bool,
}

/// The verdicts that `--fail-on` looks for.
#[derive(Clone, Copy, PartialEq, ValueEnum)]
pub enum FailOn {
    Ng,
    Uncertain,
}
