//! The flags of `blemish enroll`.

use std::path::PathBuf;

use crate::cli::args::method::{MethodArgs, reference_methods};
use crate::cli::args::product::ProductArgs;
use crate::cli::args::values::SummaryFormat;
use crate::cli::inputs::with_suffix;

/// Enroll a product from a few photos of good parts: one file for `score --profile`.
///
/// Ends with a verdict: can these photos and words tell good parts from damage? For that damage is laid over
/// the good photos (parts of them, cut out and pasted elsewhere), and each is judged as if it were not among the
/// references.
#[derive(clap::Args)]
#[command(after_help = "Examples:
  blemish enroll --product \"metal nut\" --reference good/ -o nut.blemish
  blemish enroll --product \"metal nut\" --reference good/ --limit 8 --calibrate more_good/ --false-alarm 0.01 -o nut.blemish
  blemish enroll --product \"metal nut\" --mine unsorted/ -o nut.blemish     # look at nut.blemish.png
  blemish enroll --product \"metal nut\" --mine unsorted/ --drop 0042.png -o nut.blemish
  blemish enroll --product \"gear\" --reference good/ --roi mask.png --reference-method padim -o gear.blemish

Then: blemish score photos/ --profile nut.blemish. An odd photo among the references is marked; leave it out if it
shows a defect. Exit code 1 when a photo could not be read; the others are enrolled.")]
pub struct Args {
    #[command(flatten)]
    pub product: ProductArgs,
    /// Photos of good parts: files, folders or patterns in quotes.
    #[arg(long, value_name = "PHOTOS", required_unless_present = "mine", num_args = 1..)]
    reference: Vec<PathBuf>,
    /// Photos that nobody has sorted, most of them good: the most typical ones become the references, those that most of the
    /// others resemble. They are shown on a contact sheet, to be looked through.
    #[arg(long, value_name = "PHOTOS", num_args = 1.., conflicts_with = "reference")]
    pub mine: Vec<PathBuf>,
    /// Leave these photos of --mine out, by name: others take their places. Give it again for several.
    #[arg(long, value_name = "NAME", requires = "mine", conflicts_with = "reference")]
    pub drop: Vec<PathBuf>,
    /// Where to write the contact sheet [default: the product file's name with .png].
    #[arg(long, value_name = "FILE", requires = "mine", conflicts_with = "reference")]
    pub sheet: Option<PathBuf>,
    /// Take the first N references only, in order of name; with --mine N of them, at most half of the folder [default: all,
    /// 16 with --mine].
    #[arg(long, value_name = "N")]
    pub limit: Option<usize>,
    /// Further photos of good parts, which draw the line between ok and ng and are not compared with.
    #[arg(long, value_name = "PHOTOS", num_args = 1..)]
    pub calibrate: Vec<PathBuf>,
    /// How to compare with good parts [default: winclip with --method winclip, else april-gan].
    #[arg(long, value_name = "METHOD",
          value_parser = reference_methods())]
    pub reference_method: Option<String>,
    /// Blocks of the model whose patches are compared, from 1 [default: the middle one and the last but one].
    #[arg(long, value_name = "N,...", value_delimiter = ',')]
    pub reference_blocks: Option<Vec<usize>>,
    /// The share of good parts that may be called ng, 0..1: 5 % needs 19 good photos, 1 % needs 99. `score` and
    /// `decide` can change it.
    #[arg(long, value_name = "RATE", default_value_t = 0.05)]
    pub false_alarm: f64,
    /// A picture of the photos' shape, white where to look: what is black never counts.
    #[arg(long, value_name = "MASK")]
    pub roi: Option<PathBuf>,
    /// Of what is drawn by lot: the order of --mine, simulated damage, PaDiM's dimensions, the coreset, clusters.
    #[arg(long, value_name = "N", default_value_t = 0)]
    pub seed: u64,
    /// The product file to write; an older one is replaced.
    #[arg(long, short, value_name = "FILE")]
    pub out: PathBuf,
    /// How to print the summary; a table by default on a terminal, JSON otherwise.
    #[arg(long, value_enum)]
    pub format: Option<SummaryFormat>,
    #[command(flatten)]
    pub method: MethodArgs,
}

impl Args {
    /// Photos that become references, or that these are mined from.
    pub fn photos(&self) -> &[PathBuf] {
        if self.mine.is_empty() { &self.reference } else { &self.mine }
    }

    /// Where the contact sheet goes.
    pub fn sheet_file(&self) -> PathBuf {
        self.sheet.clone().unwrap_or_else(|| with_suffix(&self.out, "png"))
    }
}
