//! `blemish merge`: joins the parts of a measurement.

use std::process::ExitCode;

use blemish::Error;
use blemish::data::{Layout, Sample, samples, stray};
use blemish::eval::{RunAbout, evaluate, merge};

use super::args::MergeArgs;
use super::report::{EvalReport, Row};
use super::set::{by_product, paths_of};
use crate::cli::inputs::{check_writable, mark_results};

pub fn run(args: &MergeArgs) -> anyhow::Result<ExitCode> {
    check_writable("out", &args.out)?;
    let layout = |name: &str| {
        let found = Layout::ALL.into_iter().find(|layout| layout.name() == name);
        let why = || format!("holds a run of an unknown layout ({name})");
        found.ok_or_else(|| Error::Data { path: args.parts[0].clone(), why: why() })
    };
    let of_products = |about: &RunAbout| -> blemish::Result<Vec<Sample>> {
        let mut all = samples(&about.root, Some(layout(&about.layout)?))?;
        all.retain(|sample| about.products.contains_key(&sample.product));
        Ok(all)
    };
    let (run, about) = merge(&args.parts, &args.out, of_products, blemish::render::tiff)?;
    let (layout, all) = (layout(&about.layout)?, of_products(&about)?);
    mark_results(std::slice::from_ref(&args.out), &paths_of(&all))?;
    let mut products = Vec::new();
    for (folder, samples) in by_product(&all) {
        let scores = evaluate(&samples, layout, args.curve, |sample| {
            let found = run.known(sample)?;
            Ok(found.expect("merging keeps every photo"))
        })?;
        products
            .push(Row { named: serde_json::from_value(about.products[folder].clone())?, scores });
    }
    let report = EvalReport::new(
        serde_json::from_value(about.settings)?,
        args.curve,
        products,
        stray(&about.root, layout, &all)?,
    );
    report.write(layout, &run, &all)?;
    report.print(layout, args.format, false)?;
    Ok(ExitCode::SUCCESS)
}
