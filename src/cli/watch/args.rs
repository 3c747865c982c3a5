//! The flags of `blemish watch`.

use std::path::PathBuf;

use crate::cli::args::model::ModelArgs;
use crate::cli::args::rate;

/// Score each photo that a camera drops into a folder.
///
/// Results are appended to DIR/results.jsonl, with the fields of `score`. Each photo is scored once, when it is whole. A photo
/// that is replaced counts as a new one. What was done is remembered: start the same command again to go on. Ctrl-C and SIGTERM
/// stop it.
#[derive(clap::Args)]
#[command(after_help = "Examples:
  blemish watch camera/ --profile nut.blemish --out results/
  blemish watch camera/ --profile nut.blemish --out results/ --webhook http://plant:9000/inspection
  blemish watch camera/ --profile nut.blemish --out results/ --mqtt mqtt://broker/line3/inspection")]
pub struct Args {
    /// The folder that photos come into, with its subfolders.
    pub folder: PathBuf,
    /// The profile of `enroll`.
    #[arg(long, value_name = "FILE")]
    pub profile: PathBuf,
    /// The folder of results.
    #[arg(long, value_name = "DIR")]
    pub out: PathBuf,
    /// Replace the profile's false-alarm rate, such as 0.05 or 5%.
    #[arg(long, value_name = "RATE", value_parser = rate::parse)]
    pub false_alarm: Option<f64>,
    /// Write no heat maps.
    #[arg(long)]
    pub no_overlay: bool,
    /// Seconds between two looks into the folder. A photo is whole if it did not change between two looks.
    #[arg(long, value_name = "S", default_value_t = 1.0)]
    pub every: f64,
    /// Send each result to this address (POST, JSON). It is sent again until the answer is a success.
    #[arg(long, value_name = "URL")]
    pub webhook: Option<String>,
    /// Publish each result (QoS 1): mqtt://[USER:PASSWORD@]HOST[:PORT]/TOPIC, or mqtts:// for TLS. It is sent again until the broker has it.
    #[arg(long, value_name = "URL")]
    pub mqtt: Option<String>,
    #[command(flatten)]
    pub model: ModelArgs,
}
