//! `blemish score`: an anomaly score and a map for every photo.

mod args;
mod copies;
mod lights;
mod mixed;
mod mutual;
mod per_photo;
mod pictures;
mod plan;
mod repeats;
mod resume;
mod sink;
mod source;
mod table;

use std::process::ExitCode;
use std::sync::Arc;

use blemish::mutual::{ENOUGH, MutualOptions, MutualSetup, PhotoHashes};
use blemish::prompt::TextCache;
use blemish::scorer::{Context, LightScorer, Scorer};

pub use self::args::Args;
use self::plan::Plan;
use self::sink::ResultSink;
use self::source::{ByLights, ByProfile, ByPrompts, Source};
use crate::cli::args::method::ScoringMode;
use crate::cli::args::mutual::mutual_setup;
use crate::cli::args::rate::say_what_is_promised;

pub fn run(args: &Args) -> anyhow::Result<ExitCode> {
    let Some((plan, source)) = plan::resolve(args)? else { return Ok(ExitCode::FAILURE) };
    match source {
        Source::Profile(by) => {
            let Scorer { context, detector } = by_profile(*by)?;
            let mut sink = ResultSink::new(&context, &plan, detector.method().name())?;
            per_photo::score(&mut sink, &detector)?;
            sink.finish()
        }
        Source::Lights(by) => by_lights(&plan, *by),
        Source::Profiles(by) => mixed::score(&plan, *by),
        Source::Prompts(by) => by_prompts(&plan, *by),
    }
}

/// Opens the model of a profile.
fn by_profile(by: ByProfile) -> anyhow::Result<Scorer> {
    let ByProfile { file, profile, model, false_alarm } = by;
    let scorer = model.scorer(&file, profile, false_alarm)?;
    if let (Some((calibration, rate)), false) = (scorer.context.calibration(), model.quiet) {
        say_what_is_promised(calibration.photos(), rate);
    }
    Ok(scorer)
}

fn by_lights(plan: &Plan, by: ByLights) -> anyhow::Result<ExitCode> {
    let ByLights { file, profile, model, false_alarm, .. } = by;
    let clip = Arc::new(model.open_for(profile.first())?);
    let scorer = LightScorer::by_profile(file, profile, clip, false_alarm)?;
    if let (Some((calibration, rate)), false) = (scorer.context.calibration(), model.quiet) {
        say_what_is_promised(calibration.photos(), rate);
    }
    let mut sink = ResultSink::new(&scorer.context, plan, scorer.method())?;
    lights::score(&mut sink, &scorer)?;
    sink.finish()
}

fn by_prompts(plan: &Plan, by: ByPrompts) -> anyhow::Result<ExitCode> {
    let (mutual_flag, apart) = (by.mutual_flag, by.apart);
    let is_few = by.method.mode == ScoringMode::Auto && plan.photos.len() < ENOUGH;
    let mutual = by.mutual.clone().filter(|_| !is_few);
    let repeated = by.repeated.clone();
    // Threads read the photos while the model is opened.
    let hashes = mutual.is_some().then(|| PhotoHashes::begin(&plan.photos));
    let model = by.method.open()?;
    let region = by.roi.as_ref().map(|shape| model.region(shape, &plan.found)).transpose()?;
    let (names, prompts) = (&by.product.names, &by.product.prompts);
    let product = model.product(names, prompts, &TextCache::from_env())?;
    let (clip, adapter) = (model.clip.clone(), model.adapter().cloned());
    let context = Context::by_prompts(product, clip, adapter, model.fit, region.map(Arc::new));
    if let Some((lights, fuse)) = &plan.lights {
        let detector = |light: &String| {
            let detector = model.detector()?;
            let detector = match context.region() {
                Some(region) => detector.within(region),
                None => detector,
            };
            Ok((light.clone(), detector))
        };
        let lights = lights.iter().map(detector).collect::<anyhow::Result<Vec<_>>>()?;
        let scorer = LightScorer::by_prompts(context, lights, *fuse);
        let mut sink = ResultSink::new(&scorer.context, plan, scorer.method())?;
        lights::score(&mut sink, &scorer)?;
        return sink.finish();
    }
    let mut sink = ResultSink::new(&context, plan, model.entry.name)?;
    let is_done = match (hashes, mutual) {
        (Some(hashes), Some(mutual)) => {
            let options = MutualOptions { region: context.region().cloned(), ..mutual };
            let setup = mutual_setup(options, &model, context.product(), apart)?;
            let setup = MutualSetup { repeated, ..setup };
            mutual::score(&mut sink, hashes, &setup)?
        }
        _ => false,
    };
    if !is_done {
        if let (Some(flag), false) = (mutual_flag, plan.quiet) {
            say!(
                "note: --{flag} has no effect on fewer than {ENOUGH} photos: each is scored by prompts only"
            );
        }
        let detector = model.detector()?;
        let detector = match context.region() {
            Some(region) => detector.within(region),
            None => detector,
        };
        per_photo::score(&mut sink, &detector)?;
    }
    sink.finish()
}
