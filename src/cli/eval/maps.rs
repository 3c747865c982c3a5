//! `blemish eval maps`: measures maps that another program made.

use std::process::ExitCode;

use blemish::data::stray;
use blemish::eval::{Maps, evaluate};

use super::about::{EvalAbout, Named};
use super::args::MapsArgs;
use super::report::{EvalReport, Row};
use super::set::by_product;
use crate::cli::progress::progress_bar;

pub fn run(args: &MapsArgs) -> anyhow::Result<ExitCode> {
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
    let about = EvalAbout { maps, ..EvalAbout::default() };
    let report = EvalReport::new(about, args.set.curve, products, strays);
    report.print(args.layout, args.set.format, args.quiet)?;
    Ok(ExitCode::SUCCESS)
}
