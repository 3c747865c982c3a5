//! `blemish prompts explain`: which prompts gave a photo its score.

use std::io::Write;
use std::path::PathBuf;
use std::process::ExitCode;

use blemish::Prompts;
use blemish::detect::{Effect, EncodedPhoto, Explanation, PromptPart};
use blemish::prompt::TextCache;
use blemish::text::shown;
use serde::Serialize;

use super::args::PromptArgs;
use crate::cli::args::method::MethodArgs;
use crate::cli::args::values::SummaryFormat;
use crate::cli::encode::encode_all;
use crate::cli::inputs::Inputs;
use crate::cli::progress::progress_bar;
use crate::cli::terminal::{json_line, printed};

/// A prompt does not matter if it moves every score less than this: three digits do not show it.
const NOTHING: f32 = 0.0005;
/// Rows of each table.
const ROWS: usize = 10;

/// Show which state, template and prompt moved the scores, and by how much.
///
/// Each of them is left out in turn, and the photos are scored again. A number is the score with it minus the score
/// without it. A positive number means that it makes the photos more anomalous.
#[derive(clap::Args)]
#[command(after_help = "Examples:
  blemish prompts explain my.toml --product \"metal nut\" photos/bad.png
  blemish prompts explain my.toml --product \"metal nut\" photos/ --format json > why.json")]
pub struct Args {
    #[command(flatten)]
    given: PromptArgs,
    /// Photos, folders or patterns in quotes.
    #[arg(required = true)]
    photos: Vec<PathBuf>,
    /// A table of the largest effects over all photos, or JSON with all effects for each photo.
    #[arg(long, value_enum, default_value = "table")]
    format: SummaryFormat,
    #[command(flatten)]
    method: MethodArgs,
}

/// The effect of one state, template or prompt over all photos.
struct Row<'a> {
    effect: &'a Effect,
    /// Mean effect on the photos' scores and on their hottest patches.
    mean: (f32, f32),
    /// The largest absolute effect on either.
    largest: f32,
}

#[derive(Serialize)]
struct Json<'a> {
    photos: Vec<JsonPhoto<'a>>,
    never_matter: Vec<JsonPart<'a>>,
}

#[derive(Serialize)]
struct JsonPhoto<'a> {
    path: String,
    score: f32,
    hottest_x: usize,
    hottest_y: usize,
    hottest: f32,
    effects: Vec<JsonEffect<'a>>,
}

#[derive(Serialize)]
struct JsonPart<'a> {
    part: &'static str,
    kind: Option<&'a str>,
    text: &'a str,
}

#[derive(Serialize)]
struct JsonEffect<'a> {
    #[serde(flatten)]
    part: JsonPart<'a>,
    score: f32,
    hottest: f32,
}

pub fn run(args: &Args) -> anyhow::Result<ExitCode> {
    let method = args.method.resolve_per_photo()?;
    let (depth, quiet) = (method.depth, method.quiet);
    let prompts = Prompts::open(&args.given.file)?;
    prompts.expand(&args.given.product)?;
    let inputs = Inputs::find(&args.photos, &[]);
    let model = method.open()?;
    let product = model.product(&args.given.product, &prompts, &TextCache::from_env())?;
    let detector = model.detector()?;
    let (encoded, complete) = encode_all(&detector, depth, &inputs, quiet);
    let bar = progress_bar(encoded.len(), quiet);
    let explain = |(path, photo): &(PathBuf, EncodedPhoto)| {
        bar.inc(1);
        Ok((path.to_string_lossy().into_owned(), detector.explain(photo, &product)?))
    };
    let explained = encoded.iter().map(explain).collect::<blemish::Result<Vec<_>>>()?;
    bar.finish_and_clear();
    if explained.is_empty() {
        return Ok(ExitCode::FAILURE);
    }
    let rows = rows(&explained);
    let mut out = std::io::stdout().lock();
    printed(match args.format {
        SummaryFormat::Table => table(&mut out, &explained, &rows),
        SummaryFormat::Json => json(&mut out, &explained, &rows),
    })?;
    Ok(if complete { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// One row for each effect. All photos have the same effects in the same order.
fn rows(explained: &[(String, Explanation)]) -> Vec<Row<'_>> {
    let count = explained.len() as f32;
    let rows = explained[0].1.effects.iter().enumerate().map(|(i, effect)| {
        let all = || explained.iter().map(|(_, explanation)| &explanation.effects[i]);
        Row {
            effect,
            mean: (
                all().map(|e| e.score).sum::<f32>() / count,
                all().map(|e| e.peak).sum::<f32>() / count,
            ),
            largest: all().map(|e| e.score.abs().max(e.peak.abs())).fold(0.0, f32::max),
        }
    });
    rows.collect()
}

fn table(
    out: &mut impl Write,
    explained: &[(String, Explanation)],
    rows: &[Row],
) -> std::io::Result<()> {
    writeln!(out, "{:>6}  {:>7}  {:>13}  photo", "score", "hottest", "at")?;
    for (path, e) in explained {
        let at = format!("{}, {}", e.peak_at.0, e.peak_at.1);
        let path = shown(path);
        writeln!(out, "{:>6.3}  {:>7.3}  {at:>13}  {path}", e.score, e.peak)?;
    }
    for part in [PromptPart::State, PromptPart::Template, PromptPart::Prompt] {
        let mut of_part: Vec<&Row> = rows.iter().filter(|row| row.effect.part == part).collect();
        of_part.sort_by(|a, b| b.largest.total_cmp(&a.largest));
        if of_part.is_empty() {
            continue;
        }
        let all = if explained.len() > 1 { ", mean of all photos" } else { "" };
        let shown = ROWS.min(of_part.len());
        writeln!(
            out,
            "\nEffect of each {} on score and hottest patch{all} ({shown} of {})",
            name(part),
            of_part.len()
        )?;
        for row in &of_part[..shown] {
            let kind = kind_of(row.effect);
            let (score, peak) = row.mean;
            writeln!(out, "{score:>+8.4}  {peak:>+8.4}  {kind:<12}  {}", row.effect.text)?;
        }
    }
    writeln!(out)?;
    for part in [PromptPart::State, PromptPart::Template, PromptPart::Prompt] {
        let never = rows.iter().filter(|r| r.effect.part == part && r.largest < NOTHING);
        let (count, name) = (never.clone().count(), name(part));
        writeln!(out, "{count} {name}s never matter here (less than {NOTHING} on every photo)")?;
        for row in never.take(ROWS) {
            writeln!(out, "  {:<12}  {}", kind_of(row.effect), row.effect.text)?;
        }
    }
    Ok(())
}

fn json(
    out: &mut impl Write,
    explained: &[(String, Explanation)],
    rows: &[Row],
) -> std::io::Result<()> {
    fn part(effect: &Effect) -> JsonPart<'_> {
        JsonPart { part: name(effect.part), kind: effect.kind.as_deref(), text: &effect.text }
    }
    let photos = explained.iter().map(|(path, e)| JsonPhoto {
        path: path.clone(),
        score: e.score,
        hottest_x: e.peak_at.0,
        hottest_y: e.peak_at.1,
        hottest: e.peak,
        effects: e
            .effects
            .iter()
            .map(|e| JsonEffect { part: part(e), score: e.score, hottest: e.peak })
            .collect(),
    });
    let never = rows.iter().filter(|row| row.largest < NOTHING).map(|row| part(row.effect));
    let all = Json { photos: photos.collect(), never_matter: never.collect() };
    json_line(out, &all)
}

fn kind_of(effect: &Effect) -> &str {
    effect.kind.as_deref().unwrap_or("all")
}

fn name(part: PromptPart) -> &'static str {
    match part {
        PromptPart::State => "state",
        PromptPart::Template => "template",
        PromptPart::Prompt => "prompt",
    }
}
