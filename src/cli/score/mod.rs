//! `blemish score`: an anomaly score and a map for every photo.

mod args;
mod context;
mod copies;
mod mutual;
mod per_photo;
mod pictures;
mod plan;
mod repeats;
mod resume;
mod sink;
mod table;

use std::process::ExitCode;

use blemish::mutual::{ENOUGH, MutualOptions, MutualSetup, PhotoHashes};

pub use self::args::Args;
use self::context::ScoreContext;
use self::plan::{Plan, Source};
use self::sink::ResultSink;
use crate::cli::args::method::ScoringMode;
use crate::cli::args::mutual::mutual_setup;

pub fn run(args: &Args) -> anyhow::Result<ExitCode> {
    let Some((plan, source)) = plan::resolve(args)? else { return Ok(ExitCode::FAILURE) };
    match source {
        Source::Profile(by) => {
            let (context, detector) = ScoreContext::by_profile(*by)?;
            let mut sink = ResultSink::new(&context, &plan, detector.method().name())?;
            per_photo::score(&mut sink, &detector)?;
            sink.finish()
        }
        Source::Prompts(by) => by_prompts(&plan, *by),
    }
}

fn by_prompts(plan: &Plan, by: plan::ByPrompts) -> anyhow::Result<ExitCode> {
    let (mutual_flag, apart) = (by.mutual_flag, by.apart);
    let is_few = by.method.mode == ScoringMode::Auto && plan.photos.len() < ENOUGH;
    let mutual = by.mutual.clone().filter(|_| !is_few);
    let repeated = by.repeated.clone();
    // Threads read the photos while the model is opened.
    let hashes = mutual.is_some().then(|| PhotoHashes::begin(&plan.photos));
    let (context, model) = ScoreContext::by_prompts(by, &plan.found)?;
    let mut sink = ResultSink::new(&context, plan, model.entry.name)?;
    let is_done = match (hashes, mutual) {
        (Some(hashes), Some(mutual)) => {
            let options = MutualOptions { region: context.region.clone(), ..mutual };
            let setup = mutual_setup(options, &model, &context.product, apart)?;
            let setup = MutualSetup { repeated, ..setup };
            mutual::score(&mut sink, hashes, &setup, model.entry.name)?
        }
        _ => false,
    };
    if !is_done {
        if let (Some(flag), false) = (mutual_flag, plan.quiet) {
            say!(
                "note: --{flag} has no effect on fewer than {ENOUGH} photos: each is scored by prompts only"
            );
        }
        per_photo::score(&mut sink, &context.detector(&model)?)?;
    }
    sink.finish()
}
