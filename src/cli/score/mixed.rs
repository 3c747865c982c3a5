//! Photos of several products: each is scored with the profile that it resembles most.

use std::io::Write;
use std::path::Path;
use std::process::ExitCode;
use std::sync::Arc;

use blemish::scorer::{Match, Mixed, Scorer};
use blemish::{Clip, Error, Photo, Profile};
use rayon::prelude::*;
use serde_json::json;

use super::plan::Plan;
use super::sink::{FOUND, PhotoResult, ResultSink};
use super::source::ByProfiles;
use crate::cli::inputs::named;
use crate::cli::printer::Format;
use crate::cli::progress::progress_bar;
use crate::cli::terminal::{STOPPED, is_stopped, json_line, printed};

pub fn score(plan: &Plan, by: ByProfiles) -> anyhow::Result<ExitCode> {
    let out = by.out.as_deref();
    let own = |(name, _, profile): &(String, _, Profile)| {
        plan.of_profile(profile, out.map(|out| (out, out.join(name))))
    };
    let plans = by.profiles.iter().map(own).collect::<anyhow::Result<Vec<Plan>>>()?;
    let (names, folder) = (names(&by), by.folder.clone());
    let mixed = open(by)?;
    let mut sinks: Vec<Option<ResultSink>> = plans.iter().map(|_| None).collect();
    let (mut failed, mut done) = (plan.failed, 0);
    let bar = progress_bar(plan.photos.len(), plan.quiet);
    let photos: Vec<usize> = (0..plan.photos.len()).collect();
    'all: for batch in photos.chunks(mixed.photos_at_once()) {
        let scored: Vec<_> = batch.par_iter().map(|photo| one(&mixed, &plans, *photo)).collect();
        for (photo, scored) in batch.iter().zip(scored) {
            let path = &plan.photos[*photo];
            bar.inc(1);
            done += 1;
            match scored {
                Ok((Some(result), profile)) => {
                    let sink = match &mut sinks[profile] {
                        Some(sink) => sink,
                        empty => empty.insert(begun(&mixed, &plans, profile, &bar)?),
                    };
                    if !sink.keep(result)? {
                        break 'all;
                    }
                }
                Ok((None, closest)) => {
                    failed += 1;
                    let (folder, closest) = (folder.display(), &names[closest]);
                    let why = format!("resembles no profile of {folder}; the closest is {closest}");
                    bar.suspend(|| say!("{}: {why}", path.display()));
                    if plan.format == Format::Jsonl {
                        let row = json!({ "path": path.to_string_lossy(), "error": why });
                        printed(json_line(&mut std::io::stdout(), &row))?;
                    }
                }
                Err(error) => {
                    failed += 1;
                    bar.suspend(|| say!("{}", named(path, &error)));
                }
            }
        }
        if is_stopped() {
            break;
        }
    }
    bar.finish_and_clear();
    let missing = plan.photos.len() - done;
    let stopped = is_stopped() && missing > 0;
    let stopped = stopped.then(|| format!("stopped: {missing} photos were not scored"));
    let code = finish(plan, sinks, &names, (failed, stopped.as_deref()))?;
    stopped.iter().for_each(|text| say!("{text}"));
    Ok(code)
}

fn names(by: &ByProfiles) -> Vec<String> {
    by.profiles.iter().map(|(name, ..)| name.clone()).collect()
}

/// Opens all profiles. Those of one model share it.
fn open(by: ByProfiles) -> anyhow::Result<Mixed> {
    let ByProfiles { profiles, model, false_alarm, .. } = by;
    let mut open = Vec::<(String, Arc<Clip>)>::new();
    let mut scorers = Vec::new();
    for (_, file, profile) in profiles {
        let needed = needed_model(&profile)?;
        let clip = match open.iter().find(|(other, _)| *other == needed) {
            Some((_, clip)) => clip.clone(),
            None => {
                let clip = Arc::new(model.open_for(&profile)?);
                open.push((needed, clip.clone()));
                clip
            }
        };
        scorers.push(Scorer::by_profile(file, profile, clip, false_alarm)?);
    }
    Ok(Mixed::new(scorers))
}

/// Two profiles with the same text can share an open model.
fn needed_model(profile: &Profile) -> anyhow::Result<String> {
    let about = profile.about();
    let own = (&about.model, &about.model_sha256, about.size, &about.activation, &about.precision);
    Ok(serde_json::to_string(&(own, about.tiles, &about.reference_model))?)
}

fn begun<'a>(
    mixed: &'a Mixed,
    plans: &'a [Plan],
    profile: usize,
    bar: &indicatif::ProgressBar,
) -> anyhow::Result<ResultSink<'a>> {
    let Scorer { context, detector } = &mixed.scorers()[profile];
    let mut sink = ResultSink::new(context, &plans[profile], detector.method().name())?;
    sink.bar = bar.clone();
    sink.begin();
    Ok(sink)
}

/// The result of a photo and its profile, or the closest profile if it resembles none.
fn one(mixed: &Mixed, plans: &[Plan], photo: usize) -> Result<(Option<PhotoResult>, usize), Error> {
    let path: &Path = &plans[0].photos[photo];
    let opened = Photo::open(path, plans[0].depth)?;
    let Match { profile, is_like, record, finding, .. } = mixed.score(path.into(), &opened)?;
    let context = &mixed.scorers()[profile].context;
    let draw =
        || PhotoResult::draw((context, &plans[profile]), photo, (record, finding), Some(opened));
    Ok((is_like.then(draw), profile))
}

/// Prints what each profile prints at the end. The worst exit code is that of the run.
fn finish(
    plan: &Plan,
    sinks: Vec<Option<ResultSink>>,
    names: &[String],
    (failed, stopped): (usize, Option<&str>),
) -> anyhow::Result<ExitCode> {
    let mut codes = vec![u8::from(failed > 0)];
    for (sink, name) in sinks.into_iter().zip(names) {
        let Some(mut sink) = sink else { continue };
        match plan.format {
            Format::Table => _ = printed(writeln!(std::io::stdout(), "{name}:"))?,
            _ => sink.say(&format!("{name}:")),
        }
        sink.only_own();
        stopped.iter().for_each(|text| sink.tell_page(text.to_string()));
        codes.push(sink.finished()?);
    }
    if failed > 0 && !plan.quiet {
        say!("{failed} of {} photos have no result", plan.photos.len());
    }
    let worst = [STOPPED, 1, FOUND].into_iter().find(|code| codes.contains(code));
    Ok(ExitCode::from(worst.unwrap_or_default()))
}
