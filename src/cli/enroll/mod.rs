//! `blemish enroll`: makes a profile from photos of good parts.

mod args;
mod bad;
mod lights;
mod mine;
mod page;
mod summary;

use std::path::PathBuf;
use std::process::ExitCode;

use blemish::data::Views;
use blemish::profile::{Augment, EnrollOptions, EnrollPhotos, Enrolled, Fuse, enroll};
use blemish::prompt::{Role, TextCache};
use blemish::{BitDepth, Error, Photo, Product, Profile};

pub use self::args::Args;
use self::lights::Parts;
use self::mine::mine;
use self::summary::{MinedSummary, Summary};
use crate::cli::args::method::{MethodChoice, OpenModel};
use crate::cli::args::rate::{check_rate, say_what_is_promised};
use crate::cli::args::values::once;
use crate::cli::ignoring::Ignoring;
use crate::cli::inputs::{self, Inputs, check_profile_target, check_writable, folder_of, place};
use crate::cli::progress::StepBar;
use crate::cli::terminal::message;

/// So many good photos tell what is ignored.
const SOME: usize = 24;

pub fn run(args: &Args) -> anyhow::Result<ExitCode> {
    let method = args.method.resolve_per_photo()?;
    let method = method.comparing_by(args.reference_model.resolve());
    check(args)?;
    let views = args.views.resolve()?;
    if let Some((views, fuse)) = &views {
        return enroll_parts(args, method, (views, *fuse));
    }
    let Some(mut files) = Files::find(args)? else { return Ok(ExitCode::FAILURE) };
    let quiet = method.quiet;
    let choice = args.product.resolve(method.entry)?;
    let depth = method.depth;
    let tiles = args.tiles.resolve(&files.references, method.fit)?;
    let model = method.tiled(tiles).open()?;
    let product = model.product(&choice.names, &choice.prompts, &TextCache::from_env())?;
    let mined = match args.mine.is_empty() {
        true => None,
        false => Some(files.mined(args, &model, (&product, depth))?),
    };
    let augment = once(&args.augment);
    let bar = StepBar::new(quiet);
    let options = options(args, &model, (&augment, depth, choice.file))?;
    let options = EnrollOptions { progress: &|what, share| bar.show(what, share), ..options };
    let photos = EnrollPhotos { references: &files.references, calibration: &files.calibration };
    let enrolled = enroll(model.clip.clone(), product, photos, &options);
    bar.finish();
    let enrolled = enrolled?;
    enrolled.unreadable.iter().for_each(|error| say!("{}", message(error)));
    files.failed += enrolled.unreadable.len();
    if !quiet {
        say_notes(&enrolled, mined.is_some());
    }
    enrolled.profile.save(&args.out)?;
    let (on_bad, failed) = bad::measure(&files.bad, photos, &model, (&options, &enrolled.profile))?;
    files.failed += failed;
    let ignoring = ignored_on_good(&enrolled.profile, &model, &files.references)?;
    let mut summary = Summary::of(&enrolled.profile, &args.out, mined, on_bad);
    summary.ignored_on_good = ignoring.rows();
    if let Some(file) = &args.page {
        let photos = files.references.iter().chain(&files.calibration);
        page::write(file, &summary, &enrolled.profile, photos)?;
    }
    summary.print(args.format)?;
    if !quiet {
        say_what_the_line_is_worth(args, &summary);
        ignoring.warnings().iter().for_each(|warning| say!("warning: {warning}"));
    }
    Ok(if files.failed == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

fn options<'a>(
    args: &Args,
    model: &OpenModel,
    (augment, depth, prompts): (&'a [Augment], BitDepth, String),
) -> anyhow::Result<EnrollOptions<'a>> {
    Ok(EnrollOptions {
        method: model.entry,
        inputs: model.inputs.clone(),
        references: model.reference_method(args.reference_method.as_deref())?,
        layers: args.reference_blocks.clone(),
        augment,
        fit: model.fit,
        depth,
        prompts,
        false_alarm: args.false_alarm,
        region: args.roi.clone(),
        seed: args.seed,
        ..EnrollOptions::default()
    })
}

/// Parts that have several photos.
fn enroll_parts(
    args: &Args,
    method: MethodChoice,
    (views, fuse): (&Views, Fuse),
) -> anyhow::Result<ExitCode> {
    let Some(parts) = Parts::find(args, views)? else { return Ok(ExitCode::FAILURE) };
    let (choice, depth) = (args.product.resolve(method.entry)?, method.depth);
    let tiles = args.tiles.resolve(&parts.photos(), method.fit)?;
    let model = method.tiled(tiles).open()?;
    let product = model.product(&choice.names, &choice.prompts, &TextCache::from_env())?;
    let augment = once(&args.augment);
    let options = options(args, &model, (&augment, depth, choice.file))?;
    lights::run(args, &parts, (views, fuse), (&model, &product), &options)
}

/// What the ignored things hide of good parts.
fn ignored_on_good(
    profile: &Profile,
    model: &OpenModel,
    photos: &[PathBuf],
) -> anyhow::Result<Ignoring> {
    let mut ignoring = Ignoring::default();
    let is_ignored = |kind: &blemish::prompt::Kind| kind.role == Role::Ignore && kind.counts;
    if profile.product().kinds().iter().any(is_ignored) {
        let (detector, depth) = (profile.detector(model.clip.clone())?, profile.bit_depth()?);
        for path in photos.iter().take(SOME) {
            // A photo that cannot be read was reported.
            if let Ok(photo) = Photo::open(path, depth) {
                ignoring.add(&detector.inspect(&photo, profile.product())?);
            }
        }
    }
    Ok(ignoring)
}

fn say_what_the_line_is_worth(args: &Args, summary: &Summary) {
    say_what_is_promised(summary.calibration_photos, args.false_alarm);
    if let (Some(mined), true) = (&summary.mined, args.calibrate.is_empty()) {
        say!(
            "note: look at {}, and leave out defective parts with --drop. These photos are more typical than other \
             good parts, so too many good parts may be marked ng. Add good photos with --calibrate to correct that",
            mined.sheet
        );
    }
}

/// The photos that the command line names.
struct Files {
    references: Vec<PathBuf>,
    calibration: Vec<PathBuf>,
    /// Known defects.
    bad: Vec<PathBuf>,
    /// The number of inputs that cannot be used. They were reported.
    failed: usize,
}

impl Files {
    /// None if there are no references, or if an input of `--calibrate` or `--bad` cannot be used.
    fn find(args: &Args) -> anyhow::Result<Option<Self>> {
        let (good, bad) = args.photos()?;
        let [references, calibration, bad] =
            [&good, &args.calibrate, &bad].map(|given| Inputs::find(given, &[]));
        let all = [&references, &calibration, &bad];
        all.iter().for_each(|inputs| inputs.report(args.method.model.quiet));
        let failed = all.iter().map(|inputs| inputs.errors.len()).sum();
        let is_wrong = !calibration.errors.is_empty() || !bad.errors.is_empty();
        if references.photos.is_empty() || is_wrong {
            return Ok(None);
        }
        for twice in references.repeated.iter().filter(|_| !args.method.model.quiet) {
            say!("note: {} is given twice and counts once", twice.display());
        }
        let mut photos = references.photos;
        photos.sort();
        if args.mine.is_empty() {
            photos.truncate(args.limit.unwrap_or(usize::MAX));
        } else if args.sheet.is_none() {
            // The sheet of an earlier run may be among the photos.
            let sheet = place(&args.sheet_file());
            photos.retain(|photo| place(photo) != sheet);
        }
        let (calibration, bad) = (calibration.photos, bad.photos);
        Ok(Some(Self { references: photos, calibration, bad, failed }))
    }
}

impl Files {
    /// Replaces the references by those that `--mine` takes of them.
    fn mined(
        &mut self,
        args: &Args,
        model: &OpenModel,
        (product, depth): (&Product, BitDepth),
    ) -> anyhow::Result<MinedSummary> {
        let found = mine(args, &self.references, model, product, depth)?;
        self.failed += found.unreadable;
        self.references = found.photos;
        let sheet = args.sheet_file().display().to_string();
        Ok(MinedSummary { photos: found.rows, sheet })
    }
}

fn say_notes(enrolled: &Enrolled, is_mined: bool) {
    // With --mine, the note was printed before.
    if let Some(note) = enrolled.note.as_ref().filter(|_| !is_mined) {
        say!("note: {note} (shown once)");
    }
    let copies = &enrolled.copies;
    for (copy, of) in copies.iter().take(3) {
        let (copy, of) = (copy.display(), of.display());
        say!("note: {copy} has the same content as {of} and counts once");
    }
    if copies.len() > 3 {
        say!("note: {} other copies are left out", copies.len() - 3);
    }
}

/// Checks the flags before the work.
fn check(args: &Args) -> anyhow::Result<()> {
    check_rate(args.false_alarm)?;
    if args.limit == Some(0) {
        let why = "take at least 1 reference";
        return Err(Error::setting("limit 0", why).into());
    }
    check_profile_target(&args.out)?;
    check_page(args)
}

/// Checks before the work that the page can be written, and what it replaces.
fn check_page(args: &Args) -> anyhow::Result<()> {
    let Some(file) = &args.page else { return Ok(()) };
    check_writable("page", folder_of(file))?;
    inputs::check_page("page", file)?;
    let others = [&args.out, &args.sheet_file()].map(|other| place(other));
    if others.contains(&place(file)) {
        let why = "is the file of --out or of the contact sheet; give another name";
        return Err(Error::setting(format!("page {}", file.display()), why).into());
    }
    Ok(())
}
