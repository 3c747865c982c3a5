//! `blemish score`: an anomaly score and a map for every photo.

use std::collections::HashSet;
use std::io::IsTerminal;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::mpsc::sync_channel;
use std::time::Instant;

use blemish::files::write_whole;
use blemish::render::{self, Scale};
use blemish::report::{AdapterRow, DefectRow, Format, IgnoredRow, Printer, Record, SCHEMA};
use blemish::{
    Adapter, Calibration, Clip, Decision, Detector, Error, Finding, Fit, Photo, Prepared, Product,
    Profile, Prompts, Role, TextCache,
};
use clap::ValueEnum;

use super::inputs::{Inputs, with_suffix};
use super::setup::{MethodArgs, ProductArgs, name_of, progress_bar};

/// Score photos of a product, from its name alone.
#[derive(clap::Args)]
#[command(after_help = "Examples:
  blemish score photos/ --product \"metal nut\" --out out/
  blemish score 'line3/*.jpg' --product zipper --format csv > scores.csv
  blemish score photos/ --product \"steel plate\" --prompts inspection --detect scratch,dent --ignore \"mill scale\"
  blemish score photos/ --product \"metal nut\" --model ViT-B-16-plus-240 --out out/ --save-map
  blemish score photos/ --profile nut.blemish --out out/

Scores run from 0 to 1, higher is more anomalous; compare them within one product and model. Exit
code: 0 when every photo was scored; 1 when some could not be, or the model or the output is not to be
had; 2 for a mistake in the command.")]
pub struct Args {
    /// Photos, folders (searched with their subfolders) or patterns in quotes. PNG, JPEG, BMP, TIFF, WebP.
    #[arg(required = true)]
    photos: Vec<PathBuf>,
    #[command(flatten)]
    product: ProductArgs,
    /// A product that was enrolled (`blemish enroll`): its words, good parts and line between ok and ng.
    #[arg(long, value_name = "FILE", conflicts_with_all = ["product", "prompts", "detect", "ignore", "method",
          "adapter", "blocks", "fit", "size", "activation", "bit_depth"])]
    profile: Option<PathBuf>,
    /// Another share of good parts that may be called ng than the profile's, 0..1.
    #[arg(long, value_name = "RATE")]
    false_alarm: Option<f64>,
    /// Write heat-map overlays (PNG, at the photos' size) into this folder, mirroring theirs.
    #[arg(long, value_name = "DIR")]
    out: Option<PathBuf>,
    /// Also write each map as a float32 TIFF, and one for each kind of defect.
    #[arg(long, requires = "out")]
    save_map: bool,
    /// Colours of the overlays: the same for all photos, or stretched for each. With --profile the good parts fix them, and
    /// what hardly goes beyond those stays grey; `image` shows where each photo is hottest.
    #[arg(long, value_enum, default_value = "run", requires = "out")]
    scale: ScaleOf,
    /// Score one part of the photos, I of N from 0; N alone takes I from JOB_COMPLETION_INDEX or SLURM_ARRAY_TASK_ID. The
    /// parts' results one after another are those of all photos.
    #[arg(long, value_name = "I/N", value_parser = super::shard::parse)]
    shard: Option<(usize, usize)>,
    /// How to print results; a table by default on a terminal, JSON Lines otherwise.
    #[arg(long, value_enum)]
    format: Option<Format>,
    #[command(flatten)]
    method: MethodArgs,
}

#[derive(Clone, Copy, ValueEnum)]
enum ScaleOf {
    Run,
    Image,
}

pub fn run(args: &Args) -> anyhow::Result<ExitCode> {
    let profile = args.profile.as_ref().map(Profile::open).transpose()?;
    let mut depth = args.method.begin()?;
    if let Some(profile) = &profile {
        depth = profile.bit_depth()?;
    }
    if let Some(rate) = args.false_alarm {
        if profile.is_none() {
            let why = "needs --profile: words alone draw no line".to_string();
            return Err(Error::Setting { setting: "--false-alarm".into(), why }.into());
        }
        super::decide::check_rate(rate)?;
    }
    let mut inputs = Inputs::find(&args.photos, args.out.as_deref());
    let found = inputs.photos.len();
    let mut failed = inputs.errors.len();
    inputs.errors.iter().for_each(|error| eprintln!("blemish: {error}"));
    if found == 0 {
        return Ok(ExitCode::FAILURE);
    }
    // What cannot work is said before the model is loaded.
    let (prompts, defect_files) = match &profile {
        Some(profile) => {
            let kinds = profile.product().kinds().iter().map(|kind| (kind.role, &*kind.name));
            (None, defect_files(kinds))
        }
        None => {
            let (_, prompts) = args.product.prompts(args.method.entry()?)?;
            let groups = prompts.expand(&args.product.names)?;
            let files = defect_files(groups.iter().map(|(role, name, _)| (*role, *name)));
            (Some(prompts), files)
        }
    };
    let targets = match &args.out {
        Some(out) => {
            let mut files = vec!["png"];
            if args.save_map {
                files.push("tiff");
                files.extend(defect_files.iter().map(|file| &**file));
            }
            let targets = inputs.targets(out, &files)?;
            check_writable("--out", out)?;
            targets.into_iter().map(Some).collect()
        }
        None => vec![None; inputs.photos.len()],
    };
    // After the names of all results are known: two parts never give one name to two photos.
    let (part, parts) = args.shard.unwrap_or((0, 1));
    let photos = std::mem::take(&mut inputs.photos).into_iter().zip(targets).enumerate();
    let (photos, targets): (Vec<PathBuf>, Vec<Option<PathBuf>>) =
        photos.filter(|(i, _)| i % parts == part).map(|(_, photo)| photo).unzip();
    inputs.photos = photos;
    let scorer = match (profile, &prompts) {
        (Some(profile), _) => Scorer::enrolled(args, profile, defect_files)?,
        (None, Some(prompts)) => Scorer::new(args, prompts, defect_files)?,
        (None, None) => unreachable!("words come from a profile or from prompts"),
    };

    let stdout = std::io::stdout().lock();
    let default = if stdout.is_terminal() { Format::Table } else { Format::Jsonl };
    let mut printer = Printer::new(stdout, args.format.unwrap_or(default));
    let bar = progress_bar(inputs.photos.len(), args.method.model.quiet);
    let complain = |error: &dyn std::fmt::Display| bar.suspend(|| eprintln!("blemish: {error}"));
    let mut noted = args.method.model.quiet;
    let mut scored = 0;
    std::thread::scope(|scope| {
        // The next photo is read while this one is inspected.
        let (sender, receiver) = sync_channel(1);
        let (scorer, photos) = (&scorer, &inputs.photos);
        scope.spawn(move || {
            for path in photos {
                let read = Photo::open(path, depth);
                let ready = read.map(|photo| {
                    let prepared = scorer.detector.prepare(&photo);
                    (photo, prepared)
                });
                if sender.send(ready).is_err() {
                    return;
                }
            }
        });
        for ((path, target), ready) in photos.iter().zip(&targets).zip(receiver) {
            match ready.and_then(|(photo, prepared)| {
                if let (Some(note), false) = (photo.note(), std::mem::replace(&mut noted, true)) {
                    complain(&format!("note: {}: {note} (said once)", path.display()));
                }
                let (mut record, finding) = scorer.score(path, &prepared)?;
                if let Some(target) = target {
                    // A result that cannot be drawn is still a result.
                    if let Err(error) = scorer.draw(&photo, &finding, target, &mut record) {
                        failed += 1;
                        complain(&error);
                    }
                }
                Ok(record)
            }) {
                Ok(record) => {
                    scored += 1;
                    if !bar.suspend(|| super::printed(printer.print(&record)))? {
                        return Ok(());
                    }
                }
                Err(error) => {
                    failed += 1;
                    complain(&error);
                }
            }
            bar.inc(1);
        }
        anyhow::Ok(())
    })?;
    bar.finish_and_clear();
    if failed > 0 && !args.method.model.quiet {
        eprintln!(
            "blemish: {failed} {} above; {scored} of {} photos were scored",
            if failed == 1 { "problem" } else { "problems" },
            inputs.photos.len()
        );
    }
    Ok(if failed == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// Everything that is the same for all photos of a run.
struct Scorer<'a> {
    args: &'a Args,
    detector: Detector,
    product: Product,
    /// What the names of the defects' maps end in.
    defect_files: Vec<String>,
    clip: Arc<Clip>,
    adapter: Option<Arc<Adapter>>,
    fit: Fit,
    profile: Option<Enrolled>,
}

struct Enrolled {
    profile: Profile,
    calibration: Calibration,
    false_alarm: f64,
}

impl<'a> Scorer<'a> {
    /// By words alone.
    fn new(args: &'a Args, prompts: &Prompts, defect_files: Vec<String>) -> anyhow::Result<Self> {
        let model = args.method.open()?;
        let cache = TextCache::from_env();
        Ok(Self {
            defect_files,
            args,
            detector: args.method.detector(&model)?,
            product: args.method.model.product(
                &model.clip,
                &args.product.names,
                prompts,
                &cache,
            )?,
            clip: model.clip,
            adapter: model.parts.adapter,
            fit: args.method.fit,
            profile: None,
        })
    }

    fn enrolled(
        args: &'a Args,
        profile: Profile,
        defect_files: Vec<String>,
    ) -> anyhow::Result<Self> {
        let clip = Arc::new(args.method.model.open_for(&profile)?);
        let false_alarm = args.false_alarm.unwrap_or(profile.about().false_alarm);
        let calibration = profile.calibration();
        let detector = profile.detector(clip.clone())?;
        if !args.method.model.quiet {
            super::decide::say_what_is_promised(calibration.photos(), false_alarm);
        }
        Ok(Self {
            defect_files,
            args,
            detector,
            product: profile.product().clone(),
            clip,
            adapter: profile.adapter().cloned().map(Arc::new),
            fit: profile.about().fit,
            profile: Some(Enrolled { profile, calibration, false_alarm }),
        })
    }

    fn score(&self, path: &Path, prepared: &Prepared) -> blemish::Result<(Record, Finding)> {
        let region = self.profile.as_ref().and_then(|e| e.profile.about().region.as_ref());
        region.map_or(Ok(()), |region| region.check(path, prepared.placement.photo_size()))?;
        let start = Instant::now();
        let finding = self.detector.judge(&self.detector.look(prepared)?, &self.product)?;
        let milliseconds = start.elapsed().as_secs_f64() * 1e3;
        let (peak_x, peak_y, peak) = finding.map.peak();
        let defects = finding.kinds.iter().filter(|kind| kind.is_defect);
        let best = &finding.kinds[finding.kind];
        let enrolled = self.profile.as_ref();
        let about = enrolled.map(|e| e.profile.about());
        let photos = enrolled.map(|e| e.calibration.photos());
        let p_value = enrolled.and_then(|e| e.calibration.p_value(finding.score));
        let verdict = enrolled.map(|e| match p_value {
            Some(p) => Decision::new(p, e.calibration.photos(), e.false_alarm),
            None => Decision::Uncertain,
        });
        let record = Record {
            schema: SCHEMA,
            path: path.to_string_lossy().into_owned(),
            product: self.product.name().to_string(),
            product_english: self.product.english().to_string(),
            score: finding.score,
            p_value,
            calibration_photos: photos,
            false_alarm: enrolled.map(|e| e.false_alarm),
            verdict: verdict.map(Decision::name),
            peak_x,
            peak_y,
            peak,
            width: finding.map.width,
            height: finding.map.height,
            coverage: finding.coverage,
            defect: best.is_defect.then(|| best.name.clone()),
            defects: defects
                .map(|kind| DefectRow {
                    name: kind.name.clone(),
                    english: kind.english.clone(),
                    counts: kind.counts,
                    score: kind.score,
                    peak: kind.map.peak().1,
                    map: None,
                })
                .collect(),
            score_before_ignoring: finding.score_before_ignoring,
            discounted_by: finding.discounted_by.map(|i| finding.ignored[i].name.clone()),
            ignored: finding
                .ignored
                .iter()
                .map(|thing| IgnoredRow {
                    name: thing.name.clone(),
                    english: thing.english.clone(),
                    counts: thing.counts,
                    score: thing.score,
                    area: thing.area,
                })
                .collect(),
            method: self.detector.method().name().to_string(),
            reference_method: about.map(|about| about.reference_method.clone()),
            references: about.map(|about| about.references.len()),
            profile: self.args.profile.as_ref().map(|file| file.to_string_lossy().into_owned()),
            profile_sha256: enrolled.map(|e| e.profile.sha256().to_string()),
            model: self.clip.name().to_string(),
            model_sha256: self.clip.sha256().to_string(),
            adapter: self.adapter.as_ref().map(|a| self.adapter_row(a)),
            size: self.clip.size(),
            fit: name_of(self.fit),
            milliseconds: (milliseconds * 10.0).round() / 10.0,
            overlay: None,
            map: None,
        };
        Ok((record, finding))
    }

    fn adapter_row(&self, adapter: &Adapter) -> AdapterRow {
        let about = adapter.about();
        AdapterRow {
            file: adapter.name().to_string(),
            sha256: adapter.sha256().to_string(),
            training_data: about.training_data.clone(),
            licence: about.licence.clone(),
            trained_on_product: adapter.knows_products().then(|| self.is_trained_on(adapter)),
        }
    }

    fn is_trained_on(&self, adapter: &Adapter) -> bool {
        let names = [self.product.name(), self.product.english()];
        !adapter.trained_on(names.iter().flat_map(|names| names.split(", "))).is_empty()
    }

    /// Writes the overlay, and the maps if wanted, and notes where.
    fn draw(
        &self,
        photo: &Photo,
        finding: &Finding,
        target: &Path,
        record: &mut Record,
    ) -> blemish::Result<()> {
        let scale = match self.args.scale {
            ScaleOf::Run => self.profile.as_ref().map_or(Scale::default(), |enrolled| {
                let (low, high) = enrolled.profile.about().scale;
                Scale { low, high }
            }),
            ScaleOf::Image => Scale::of(&finding.map),
        };
        let overlay = with_suffix(target, "png");
        let masks: Vec<&[bool]> = finding.ignored.iter().map(|thing| &*thing.mask).collect();
        write_whole(&overlay, &render::overlay(photo, &finding.map, &masks, scale))?;
        record.overlay = Some(overlay.to_string_lossy().into_owned());
        if self.args.save_map {
            let map = with_suffix(target, "tiff");
            write_whole(&map, &render::tiff(&finding.map))?;
            record.map = Some(map.to_string_lossy().into_owned());
            let defects = finding.kinds.iter().filter(|kind| kind.is_defect);
            let files = defects.zip(&self.defect_files).zip(&mut record.defects);
            for ((kind, file), row) in files {
                let map = with_suffix(target, file);
                write_whole(&map, &render::tiff(&finding.map_of(kind)))?;
                row.map = Some(map.to_string_lossy().into_owned());
            }
        }
        Ok(())
    }
}

/// For each kind of defect the end of its map's name, each another.
fn defect_files<'a>(kinds: impl Iterator<Item = (Role, &'a str)>) -> Vec<String> {
    let mut used = HashSet::new();
    let defects = kinds.filter(|(role, _)| *role == Role::Defect);
    let name = |(_, name): (Role, &str)| {
        let plain = name.chars().map(|c| if c.is_alphanumeric() { c } else { '-' });
        let mut name: String = plain.take(60).collect();
        while !used.insert(name.to_lowercase()) {
            name.push('-');
        }
        format!("defects/{name}.tiff")
    };
    defects.map(name).collect()
}

/// Finds out before the run whether results can be kept.
pub fn check_writable(flag: &str, out: &Path) -> blemish::Result<()> {
    let fail = |cause| Error::Write { path: out.into(), cause };
    if out.exists() && !out.is_dir() {
        let why = "is a file; give a folder".to_string();
        return Err(Error::Setting { setting: format!("{flag} {}", out.display()), why });
    }
    std::fs::create_dir_all(out).map_err(fail)?;
    let probe = out.join(".blemish-probe");
    std::fs::write(&probe, b"").and_then(|()| std::fs::remove_file(&probe)).map_err(fail)
}
