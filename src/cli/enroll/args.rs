//! The flags of `blemish enroll`.

use std::path::PathBuf;

use blemish::Error;
use blemish::profile::Augment;
use blemish::reference::{Layers, RegionShape};

use crate::cli::args::method::{MethodArgs, reference_methods};
use crate::cli::args::product::ProductArgs;
use crate::cli::args::rate;
use crate::cli::args::reference_model::ReferenceModelArgs;
use crate::cli::args::tiles::TileArgs;
use crate::cli::args::values::{self, SummaryFormat};
use crate::cli::args::views::ViewArgs;
use crate::cli::inputs::with_suffix;
use crate::cli::marks::Marks;

/// Make a profile from a few photos of good parts, for `score --profile`.
///
/// The command ends with a table: what share of seven kinds of simulated damage is found? Each damaged copy is scored
/// as if its original were not among the references. Real defects can differ, so also give some with --bad.
#[derive(clap::Args)]
#[command(group(clap::ArgGroup::new("good").required(true)))]
#[command(after_help = "Examples:
  blemish enroll --product \"metal nut\" --reference good/ -o nut.blemish
  blemish enroll --product \"metal nut\" --reference good/ --limit 8 --calibrate more_good/ --false-alarm 0.01 -o nut.blemish
  blemish enroll --product \"metal nut\" --reference good/ --bad defective/ -o nut.blemish
  blemish enroll --product \"metal nut\" --marks marks.csv -o nut.blemish
  blemish enroll --product \"metal nut\" --mine unsorted/ -o nut.blemish     # look at nut.blemish.png
  blemish enroll --product \"metal nut\" --mine unsorted/ --drop 0042.png -o nut.blemish
  blemish enroll --product \"rim\" --reference good/ --views \"{part}_{light}.png\" -o rim.blemish     # several lights
  blemish enroll --product \"gear\" --reference good/ --roi mask.png --reference-method padim -o gear.blemish

Then run: blemish score photos/ --profile nut.blemish
An odd reference photo is marked. Leave it out if it shows a defect.
The exit code is 1 if a photo cannot be read. The other photos are enrolled.")]
pub struct Args {
    #[command(flatten)]
    pub product: ProductArgs,
    /// Photos of good parts: files, folders or patterns in quotes.
    #[arg(long, value_name = "PHOTOS", num_args = 1.., group = "good")]
    reference: Vec<PathBuf>,
    /// Unsorted photos, most of them good. The most typical ones become the references. A contact sheet shows them:
    /// look at it.
    #[arg(long, value_name = "PHOTOS", num_args = 1.., group = "good", conflicts_with = "views")]
    pub mine: Vec<PathBuf>,
    /// Marks that you made on the page of `score --out`. Photos marked ok are the references, and photos marked ng are
    /// known defects, as with --bad.
    #[arg(long, value_name = "FILE", group = "good", conflicts_with = "views")]
    pub marks: Option<PathBuf>,
    /// Leave out this photo of --mine, by name. Another photo takes its place. Repeat the flag for several photos.
    #[arg(long, value_name = "NAME", requires = "mine", conflicts_with = "reference")]
    pub drop: Vec<PathBuf>,
    /// The contact sheet to write [default: the profile's name with .png].
    #[arg(long, value_name = "FILE", requires = "mine", conflicts_with = "reference")]
    pub sheet: Option<PathBuf>,
    /// Take only the first N references, in order of name. With --mine: take N photos, at most half of the folder
    /// [default: all; with --mine 16, or as many as --false-alarm needs].
    #[arg(long, value_name = "N")]
    pub limit: Option<usize>,
    /// More photos of good parts. They help to set the threshold between ok and ng, but no photo is compared with them.
    #[arg(long, value_name = "PHOTOS", num_args = 1..)]
    pub calibrate: Vec<PathBuf>,
    /// A few photos with known defects. Every reference method is measured on them. They do not change the profile.
    #[arg(long, value_name = "PHOTOS", num_args = 1.., conflicts_with = "views")]
    pub bad: Vec<PathBuf>,
    /// How to compare with the reference photos [default: anomaly-dino with --reference-model, winclip with --method
    /// winclip, else april-gan].
    #[arg(long, value_name = "METHOD",
          value_parser = reference_methods())]
    pub reference_method: Option<String>,
    /// Layers whose patches are compared: blocks of the model, counted from 1, and `trunk` if the model has one
    /// [default: the middle block, the last but one, and the trunk].
    #[arg(long, value_name = "N,...")]
    pub reference_blocks: Option<Layers>,
    /// Also compare with copies of the references: rotated, for parts that lie in any direction, or in other light. Time
    /// and size grow with the copies.
    #[arg(long, value_name = "NAME,...", value_delimiter = ',', value_parser = values::augment())]
    pub augment: Vec<Augment>,
    /// The share of good parts that may be marked ng, such as 0.05 or 5%. 0.05 needs 19 good photos, 0.01 needs 99.
    /// `score` and `decide` can change it.
    #[arg(long, value_name = "RATE", default_value = "0.05", value_parser = rate::parse)]
    pub false_alarm: f64,
    /// The region of interest: a rectangle X,Y,WIDTH,HEIGHT or a polygon X,Y,X,Y,X,Y,... in pixels or percent
    /// (10%,10%,80%,80%), or a mask. In a mask with the photos' aspect ratio, white parts count.
    #[arg(long, value_name = "REGION", allow_hyphen_values = true)]
    pub roi: Option<RegionShape>,
    /// Random seed for the order of --mine, the simulated damage, PaDiM's dimensions, the coreset and the clusters.
    #[arg(long, value_name = "N", default_value_t = 0)]
    pub seed: u64,
    /// The profile to write. An older profile is replaced.
    #[arg(long, short, value_name = "FILE")]
    pub out: PathBuf,
    /// Also write a page: what the profile finds, its good photos and their scores.
    #[arg(long, value_name = "FILE.html", conflicts_with = "views")]
    pub page: Option<PathBuf>,
    /// How to print the summary. The default is a table on a terminal, and JSON elsewhere.
    #[arg(long, value_enum)]
    pub format: Option<SummaryFormat>,
    #[command(flatten)]
    pub method: MethodArgs,
    #[command(flatten)]
    pub reference_model: ReferenceModelArgs,
    #[command(flatten)]
    pub tiles: TileArgs,
    #[command(flatten)]
    pub views: ViewArgs,
}

impl Args {
    /// The reference photos, or the photos to take them from, and the photos with known defects.
    pub fn photos(&self) -> anyhow::Result<(Vec<PathBuf>, Vec<PathBuf>)> {
        let Some(file) = &self.marks else {
            let good = if self.mine.is_empty() { &self.reference } else { &self.mine };
            return Ok((good.clone(), self.bad.clone()));
        };
        let marks = Marks::open(file)?;
        if marks.ok.is_empty() {
            let why = "marks no photo ok; mark some good photos";
            return Err(Error::setting(format!("marks {}", file.display()), why).into());
        }
        Ok((marks.ok, [marks.ng, self.bad.clone()].concat()))
    }

    /// The file of the contact sheet.
    pub fn sheet_file(&self) -> PathBuf {
        self.sheet.clone().unwrap_or_else(|| with_suffix(&self.out, "png"))
    }
}
