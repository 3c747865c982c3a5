//! `blemish eval maps`: maps that another program made.

use std::path::PathBuf;
use std::process::ExitCode;

use blemish::data::{Layout, stray};
use blemish::{Maps, evaluate};

use super::eval::{Set, by_product};
use super::measured::{About, Named, Report, Row};
use super::setup::progress_bar;

/// Measure anomaly maps on disk: a TIFF a photo, in the layout that MVTec's scripts read.
///
/// `MAPS/<product>/test/<kind>/<photo>.tiff`: one number a pixel (float32 or uint8; float64 is rounded), at the photo's own
/// size. A photo's score is its map's highest value.
#[derive(clap::Args)]
pub struct Args {
    /// How the photos are laid out.
    #[arg(value_enum)]
    layout: Layout,
    #[command(flatten)]
    set: Set,
    /// The folder of maps.
    #[arg(long, value_name = "DIR")]
    maps: PathBuf,
    /// No progress; errors are still printed.
    #[arg(long, short)]
    quiet: bool,
}

pub fn run(args: &Args) -> anyhow::Result<ExitCode> {
    let all = args.set.samples(args.layout)?;
    let maps = Maps::new(&args.maps);
    let mut strays = maps.stray(&all)?;
    strays.extend(stray(&args.set.root, args.layout, &all)?);
    let bar = progress_bar(all.len(), args.quiet);
    let mut products = Vec::new();
    for samples in by_product(&all).values() {
        let scores = evaluate(samples, args.layout, args.set.curve, |sample| {
            bar.inc(1);
            maps.read(sample)
        })?;
        products.push(Row { named: Named::default(), scores });
    }
    bar.finish_and_clear();
    let maps = Some(args.maps.display().to_string());
    let about = About { maps, ..About::default() };
    let report = Report::new(about, args.set.curve, products, strays);
    report.print(args.layout, args.set.format, args.quiet)?;
    Ok(ExitCode::SUCCESS)
}
