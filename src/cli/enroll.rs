//! `blemish enroll`: photos of good parts become a product file.

use std::io::{IsTerminal, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Mutex;

use blemish::text::shown;
use blemish::{
    Calibration, EnrollOptions, Enrolled, Error, Photos, Profile, ReferenceAbout, ReferenceEntry,
    TextCache, enroll,
};
use clap::builder::PossibleValue;
use indicatif::{ProgressBar, ProgressStyle};
use serde::Serialize;

use super::inputs::{Inputs, place, with_suffix};
use super::mine::{MinedRow, mine};
use super::score::check_writable;
use super::setup::{Format, MethodArgs, ProductArgs};

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
    product: ProductArgs,
    /// Photos of good parts: files, folders or patterns in quotes.
    #[arg(long, value_name = "PHOTOS", required_unless_present = "mine", num_args = 1..)]
    reference: Vec<PathBuf>,
    /// Photos that nobody has sorted, most of them good: the most typical ones become the references, those that most of the
    /// others resemble. They are shown on a contact sheet, to be looked through.
    #[arg(long, value_name = "PHOTOS", num_args = 1.., conflicts_with = "reference")]
    mine: Vec<PathBuf>,
    /// Leave these photos of --mine out, by name: others take their places. Give it again for several.
    #[arg(long, value_name = "NAME", requires = "mine", conflicts_with = "reference")]
    pub drop: Vec<PathBuf>,
    /// Where to write the contact sheet [default: the product file's name with .png].
    #[arg(long, value_name = "FILE", requires = "mine", conflicts_with = "reference")]
    sheet: Option<PathBuf>,
    /// Take the first N references only, in order of name; with --mine N of them, at most half of the folder [default: all,
    /// 16 with --mine].
    #[arg(long, value_name = "N")]
    pub limit: Option<usize>,
    /// Further photos of good parts, which draw the line between ok and ng and are not compared with.
    #[arg(long, value_name = "PHOTOS", num_args = 1..)]
    calibrate: Vec<PathBuf>,
    /// How to compare with good parts [default: winclip with --method winclip, else april-gan].
    #[arg(long, value_name = "METHOD",
          value_parser = clap::builder::PossibleValuesParser::new(reference_methods()))]
    reference_method: Option<String>,
    /// Blocks of the model whose patches are compared, from 1 [default: the middle one and the last but one].
    #[arg(long, value_name = "N,...", value_delimiter = ',')]
    reference_blocks: Option<Vec<usize>>,
    /// The share of good parts that may be called ng, 0..1: 5 % needs 19 good photos, 1 % needs 99. `score` and
    /// `decide` can change it.
    #[arg(long, value_name = "RATE", default_value_t = 0.05)]
    false_alarm: f64,
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
    format: Option<Format>,
    #[command(flatten)]
    pub method: MethodArgs,
}

impl Args {
    fn photos(&self) -> &[PathBuf] {
        if self.mine.is_empty() { &self.reference } else { &self.mine }
    }

    /// Where the contact sheet goes.
    pub fn sheet(&self) -> PathBuf {
        self.sheet.clone().unwrap_or_else(|| with_suffix(&self.out, "png"))
    }
}

pub fn reference_methods() -> impl Iterator<Item = PossibleValue> {
    blemish::REFERENCE_METHODS.iter().map(|entry| {
        PossibleValue::new(entry.name).help(format!("{} ({})", entry.about, entry.source))
    })
}

pub fn run(args: &Args) -> anyhow::Result<ExitCode> {
    let depth = args.method.begin()?;
    args.method.check_words()?;
    super::decide::check_rate(args.false_alarm)?;
    if args.limit == Some(0) {
        let why = "take at least 1 reference".to_string();
        return Err(Error::Setting { setting: "--limit 0".into(), why }.into());
    }
    check_target(&args.out)?;
    let (mut references, calibration) =
        (Inputs::find(args.photos(), None), Inputs::find(&args.calibrate, None));
    let errors = references.errors.iter().chain(&calibration.errors);
    let mut failed = errors.clone().count();
    errors.for_each(|error| say!("{error}"));
    if references.photos.is_empty() || !calibration.errors.is_empty() {
        return Ok(ExitCode::FAILURE);
    }
    references.photos.sort();
    if args.mine.is_empty() {
        references.photos.truncate(args.limit.unwrap_or(usize::MAX));
    } else if args.sheet.is_none() {
        // The sheet of an earlier run may lie among the photos.
        let sheet = place(&args.sheet());
        references.photos.retain(|photo| place(photo) != sheet);
    }
    if !args.method.model.quiet {
        for twice in &references.repeated {
            say!("note: {} is given twice and counts once", twice.display());
        }
    }
    let entry = args.method.words()?;
    let (file, prompts) = args.product.prompts(entry)?;
    prompts.expand(&args.product.names)?;
    let model = args.method.open()?;
    let cache = TextCache::from_env();
    let product = args.method.model.product(&model.clip, &args.product.names, &prompts, &cache)?;
    let mut mined = None;
    if !args.mine.is_empty() {
        let found = mine(args, &references.photos, &model, &product, depth)?;
        failed += found.unreadable;
        references.photos = found.photos;
        mined = Some(found.rows);
    }
    let bar = Bar::new(args.method.model.quiet);
    let options = EnrollOptions {
        method: entry,
        parts: model.parts.clone(),
        references: reference_method(args.reference_method.as_deref(), entry.name)?,
        blocks: args.reference_blocks.clone(),
        fit: args.method.fit,
        depth,
        prompts: file.display().to_string(),
        false_alarm: args.false_alarm,
        region: args.roi.clone(),
        seed: args.seed,
        progress: &|what, share| bar.show(what, share),
    };
    let photos = Photos { references: &references.photos, calibration: &calibration.photos };
    let enrolled = enroll(model.clip, product, photos, &options);
    bar.finish();
    let Enrolled { profile, unreadable, copies, note } = enrolled?;
    unreadable.iter().for_each(|error| say!("{error}"));
    failed += unreadable.len();
    if !args.method.model.quiet {
        // Of mined photos it was said before.
        if let Some(note) = note.filter(|_| mined.is_none()) {
            say!("note: {note} (said once)");
        }
        for (copy, of) in copies.iter().take(3) {
            let (copy, of) = (copy.display(), of.display());
            say!("note: {copy} has the same content as {of} and counts once");
        }
        if copies.len() > 3 {
            say!("note: so are {} other copies left out", copies.len() - 3);
        }
    }
    profile.save(&args.out)?;
    let mined =
        mined.map(|photos| MinedSummary { photos, sheet: args.sheet().display().to_string() });
    let summary = Summary::of(&profile, &args.out, mined);
    let mut out = std::io::stdout().lock();
    let default = if out.is_terminal() { Format::Table } else { Format::Json };
    super::printed(match args.format.unwrap_or(default) {
        Format::Table => summary.table(&mut out),
        Format::Json => super::json_line(&mut out, &summary),
    })?;
    if !args.method.model.quiet {
        super::decide::say_what_is_promised(summary.calibration_photos, args.false_alarm);
        if let (Some(mined), true) = (&summary.mined, args.calibrate.is_empty()) {
            say!(
                "note: look through {}, and leave out defective parts with --drop. The line between ok and ng is drawn by \
                 typical parts: ordinary ones may be called ng more often than promised; --calibrate mends that",
                mined.sheet
            );
        }
    }
    Ok(if failed == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// The one that was asked for; or else the words' own paper's, or the best measured (`docs/measured.md`).
pub fn reference_method(
    name: Option<&str>,
    words: &str,
) -> blemish::Result<&'static ReferenceEntry> {
    let default = if words == "winclip" { "winclip" } else { "april-gan" };
    blemish::reference_method(name.unwrap_or(default))
}

/// Finds out before the work whether the file can be kept, and that it replaces nothing but a product file.
fn check_target(out: &Path) -> anyhow::Result<()> {
    let folder = out.parent().filter(|folder| !folder.as_os_str().is_empty());
    check_writable("-o", folder.unwrap_or(Path::new(".")))?;
    if out.exists() && !Profile::is_one(out) {
        let why = "is there and is no product file; give another name".to_string();
        return Err(Error::Setting { setting: format!("-o {}", out.display()), why }.into());
    }
    Ok(())
}

/// What is being done, and how much of it is done.
struct Bar(Mutex<(String, ProgressBar)>, bool);

impl Bar {
    fn new(quiet: bool) -> Self {
        Self(Mutex::new((String::new(), ProgressBar::hidden())), quiet)
    }

    fn show(&self, what: &str, share: f64) {
        const STEPS: u64 = 1000;
        let Ok(mut state) = self.0.lock() else { return };
        if state.0 != what {
            state.1.finish_and_clear();
            let bar = if self.1 { ProgressBar::hidden() } else { ProgressBar::new(STEPS) };
            let style = ProgressStyle::with_template("[{bar:30}] {percent} % {msg}, {eta} left");
            *state = (what.to_string(), bar.with_style(style.expect("a template of our own")));
            state.1.set_message(what.to_string());
        }
        state.1.set_position((share * STEPS as f64) as u64);
    }

    fn finish(&self) {
        if let Ok(state) = self.0.lock() {
            state.1.finish_and_clear();
        }
    }
}

/// What is printed of a profile.
#[derive(Serialize)]
struct Summary<'a> {
    profile: String,
    sha256: &'a str,
    product: &'a str,
    method: &'a str,
    reference_method: &'a str,
    references: &'a [ReferenceAbout],
    odd: Vec<&'a str>,
    calibration_photos: usize,
    false_alarm: f64,
    /// Scores above it are ng; none where there are too few photos for the rate.
    threshold: Option<f32>,
    readiness: &'a blemish::Readiness,
    mined: Option<MinedSummary>,
}

/// Where the references come from, with --mine.
#[derive(Serialize)]
struct MinedSummary {
    sheet: String,
    photos: Vec<MinedRow>,
}

impl<'a> Summary<'a> {
    fn of(profile: &'a Profile, file: &Path, mined: Option<MinedSummary>) -> Self {
        let (about, calibration) = (profile.about(), profile.calibration());
        let odd = about.references.iter().filter(|r| r.is_odd).map(|r| &*r.file);
        Self {
            profile: file.display().to_string(),
            sha256: profile.sha256(),
            product: &about.product,
            method: &about.method,
            reference_method: &about.reference_method,
            references: &about.references,
            odd: odd.collect(),
            calibration_photos: calibration.photos(),
            false_alarm: about.false_alarm,
            threshold: calibration.threshold(about.false_alarm),
            readiness: &about.readiness,
            mined,
        }
    }

    fn table(&self, out: &mut impl Write) -> std::io::Result<()> {
        let Self { profile, product, method, reference_method, .. } = self;
        let title = format!("{profile}: {product}, {method} with {reference_method}");
        writeln!(out, "{}", shown(&title))?;
        if let Some(MinedSummary { sheet, photos }) = &self.mined {
            writeln!(
                out,
                "taken of {} photos as the most typical and well spread: see {sheet}",
                photos[0].of
            )?;
            for MinedRow { file, score, rank, .. } in photos {
                writeln!(out, "{score:>7.3}  {rank:>4}. of the folder  {}", shown(file))?;
            }
        }
        writeln!(out, "{:>7}  good part, judged by the others", "score")?;
        let mut references: Vec<&ReferenceAbout> = self.references.iter().collect();
        references.sort_by_key(|reference| &reference.file);
        for reference in references {
            let score = reference.score.map_or("-".into(), |score| format!("{score:.3}"));
            let odd = if reference.is_odd { "  odd: is this part good?" } else { "" };
            writeln!(out, "{score:>7}  {}{odd}", shown(&reference.file))?;
        }
        let percent = self.false_alarm * 100.0;
        match self.threshold {
            Some(threshold) => writeln!(
                out,
                "ng above {threshold:.4}: {percent} % false alarms, from {} good photos",
                self.calibration_photos
            )?,
            None => writeln!(
                out,
                "no ng at {percent} % false alarms: that needs {} good photos, there are {}",
                Calibration::needed(self.false_alarm),
                self.calibration_photos
            )?,
        }
        let readiness = self.readiness;
        write!(out, "{}: {}", readiness.verdict, readiness.why)?;
        if let Some(hits) = readiness.peak_on_damage {
            let (percent, damaged) = (hits * 100.0, readiness.damaged);
            write!(out, "; the map's peak lies on {percent:.0} % of {damaged} damages")?;
        }
        writeln!(out)
    }
}
