//! `blemish merge`: the parts of a measurement, put together.

use std::path::PathBuf;
use std::process::ExitCode;

use blemish::data::{Layout, Sample, samples, stray};
use blemish::{Curve, Error, evaluate, merge};
use clap::ValueEnum;

use super::eval::by_product;
use super::measured::{Report, Row};
use super::setup::Format;

/// Put the parts of a measurement together: what `eval --shard` kept, measured as one run.
#[derive(clap::Args)]
#[command(after_help = "Example:
  blemish eval mvtec mvtec_ad/ --out part0 --shard 0/2
  blemish eval mvtec mvtec_ad/ --out part1 --shard 1/2
  blemish merge part0 part1 --out whole

The photos' folder has to be where the first part had it, for its masks. A merge that was stopped goes on.")]
pub struct Args {
    /// The folders of all parts.
    #[arg(required = true)]
    parts: Vec<PathBuf>,
    /// The folder to put them together in.
    #[arg(long, value_name = "DIR")]
    out: PathBuf,
    /// Thresholds of MVTec LOCO's curves.
    #[arg(long, value_enum, default_value = "exact")]
    curve: Curve,
    /// How to print results.
    #[arg(long, value_enum, default_value = "table")]
    format: Format,
}

pub fn run(args: &Args) -> anyhow::Result<ExitCode> {
    super::score::check_writable("--out", &args.out)?;
    let layout = |name: &str| {
        Layout::from_str(name, false)
            .map_err(|why| Error::Setting { setting: format!("layout {name}"), why })
    };
    let of_products = |about: &blemish::RunAbout| -> blemish::Result<Vec<Sample>> {
        let mut all = samples(&about.root, Some(layout(&about.layout)?))?;
        all.retain(|sample| about.products.contains_key(&sample.product));
        Ok(all)
    };
    let (run, about) = merge(&args.parts, &args.out, of_products, blemish::render::tiff)?;
    let (layout, all) = (layout(&about.layout)?, of_products(&about)?);
    let mut products = Vec::new();
    for (folder, samples) in by_product(&all) {
        let scores = evaluate(&samples, layout, args.curve, |sample| {
            let found = run.known(sample)?;
            Ok(found.expect("merging keeps every photo"))
        })?;
        products
            .push(Row { named: serde_json::from_value(about.products[folder].clone())?, scores });
    }
    let report = Report::new(
        serde_json::from_value(about.settings)?,
        args.curve,
        products,
        stray(&about.root, layout, &all)?,
    );
    report.write(layout, &run, &all)?;
    report.print(layout, args.format, false)?;
    Ok(ExitCode::SUCCESS)
}
