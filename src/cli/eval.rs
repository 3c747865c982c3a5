//! `blemish eval`: how well a model and a method do on labelled photos, or maps that another program made.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::process::ExitCode;

use blemish::data::{Layout, Sample, empty_products, good_training_photos, samples, stray};
use blemish::files::files_sha256;
use blemish::{
    Adapter, BitDepth, Curve, Detector, EnrollOptions, Error, Looked, Photo, Photos, Product,
    Prompts, Run, RunAbout, TextCache, enroll, evaluate,
};
use clap::ValueEnum;

use super::folder::{Contents, FolderArgs};
use super::measured::{About, Named, Protocol, Report, Row};
use super::setup::{Format, Judges, MethodArgs, Model, Notes, progress_bar};
use super::together;

/// Measure a model and a method on labelled photos: AUROC, AP and F1 of scores and of pixels, AU-PRO; on MVTec LOCO
/// AU-sPRO as its authors compute it.
///
/// With --profile-from the photos are compared with good ones of the training part too, with --method mutual or auto with
/// each other: such numbers are marked few-shot and transductive. `eval maps` measures maps that another program made.
#[derive(clap::Args)]
#[command(after_help = "Examples:
  blemish eval mvtec mvtec_ad/ --model ViT-B-16-plus-240 --method winclip
  blemish eval loco mvtec_loco_anomaly_detection/ --profile-from train:4 --reference-method components
  blemish eval folder tiles/ --method april-gan --adapter mine.safetensors --format json
  blemish eval maps loco mvtec_loco_anomaly_detection/ --maps anomaly_maps/ --curve official")]
pub struct Args {
    #[command(subcommand)]
    what: What,
}

#[derive(clap::Subcommand)]
enum What {
    /// MVTec AD's layout: <product>/test/<kind>/, <product>/ground_truth/<kind>/; also VisA in this form.
    Mvtec(RunArgs),
    /// MVTec LOCO's: the same with a folder of masks for each photo, and defects_config.json.
    Loco(RunArgs),
    /// VisA as published, with split_csv/1cls.csv.
    Visa(RunArgs),
    /// Photos of one's own: good/ beside folders of defective ones, masks in ground_truth/<kind>/ where there are any.
    Folder(RunArgs),
    Maps(super::maps::Args),
}

/// Which photos, and how the numbers are computed and printed.
#[derive(clap::Args)]
pub struct Set {
    /// The photos' folder.
    pub root: PathBuf,
    /// Measure these products only; give it again for several.
    #[arg(long, value_name = "NAME")]
    category: Vec<String>,
    /// Thresholds of MVTec LOCO's curves.
    #[arg(long, value_enum, default_value = "exact")]
    pub curve: Curve,
    /// How to print results.
    #[arg(long, value_enum, default_value = "table")]
    pub format: Format,
}

#[derive(clap::Args)]
struct RunArgs {
    #[command(flatten)]
    set: Set,
    /// What the photos show, where they are of one product; give it again for synonyms [default: the prompt
    /// file's product, else the name of the product's folder].
    #[arg(long, value_name = "NAME")]
    product: Vec<String>,
    /// A prompt file, - for standard input, or the name of one in the program [default: the method's].
    #[arg(long, value_name = "FILE")]
    prompts: Option<PathBuf>,
    /// How folders name products: as they are called (metal_nut; as April-GAN's authors do), or with spaces for _.
    #[arg(long, value_enum, default_value = "spaced")]
    names: Names,
    /// Compare with the first N good photos of the training part, in order of name; of `folder` those of train/good, in it or
    /// beside it.
    #[arg(long, value_name = "train:N", value_parser = training_photos)]
    profile_from: Option<usize>,
    /// How to compare with good parts, as with `enroll`.
    #[arg(long, value_name = "METHOD", requires = "profile_from",
          value_parser = clap::builder::PossibleValuesParser::new(super::enroll::reference_methods()))]
    reference_method: Option<String>,
    /// Keep everything in this folder: what was run, every photo's score and map (float32 TIFF, in the layout that
    /// MVTec's scripts read: DIR/maps), and the metrics as JSON and CSV; on MVTec LOCO also as its script writes them.
    #[arg(long, value_name = "DIR")]
    out: Option<PathBuf>,
    /// Go on with a run that was stopped: what is in --out and still holds is not computed again.
    #[arg(long, requires = "out")]
    resume: bool,
    /// Run one part of the photos, I of N from 0, and measure nothing: `blemish merge` puts the parts together. N alone
    /// takes I from JOB_COMPLETION_INDEX or SLURM_ARRAY_TASK_ID.
    #[arg(long, value_name = "I/N", requires = "out", value_parser = super::shard::parse)]
    shard: Option<(usize, usize)>,
    /// Go on where the adapter was trained on a product that it is measured on, and mark the numbers.
    #[arg(long)]
    allow_leak: bool,
    #[command(flatten)]
    method: MethodArgs,
    #[command(flatten)]
    folder: FolderArgs,
}

#[derive(Clone, Copy, ValueEnum)]
enum Names {
    Spaced,
    Folder,
}

fn training_photos(text: &str) -> Result<usize, String> {
    let count = text.strip_prefix("train:").and_then(|count| count.parse().ok());
    count
        .filter(|count| *count > 0)
        .ok_or("give train:N with N good photos, such as train:4".into())
}

pub fn run(args: &Args) -> anyhow::Result<ExitCode> {
    match &args.what {
        What::Mvtec(args) => measure_model(args, Layout::Mvtec),
        What::Loco(args) => measure_model(args, Layout::Loco),
        What::Visa(args) => measure_model(args, Layout::Visa),
        What::Folder(args) => measure_model(args, Layout::Folder),
        What::Maps(args) => super::maps::run(args),
    }
}

impl Set {
    pub fn samples(&self, layout: Layout) -> anyhow::Result<Vec<Sample>> {
        let mut all = samples(&self.root, Some(layout))?;
        for wanted in &self.category {
            if !all.iter().any(|sample| sample.product == *wanted) {
                let mut there: Vec<&str> = all.iter().map(|s| &*s.product).collect();
                there.dedup();
                let why = format!("{} has {}", self.root.display(), there.join(", "));
                return Err(Error::Setting { setting: format!("--category {wanted}"), why }.into());
            }
        }
        let is_wanted = |product: &str| {
            self.category.is_empty() || self.category.iter().any(|wanted| wanted == product)
        };
        all.retain(|s| is_wanted(&s.product));
        let empty = empty_products(&self.root, layout)?.into_iter().find(|product| {
            product.file_name().is_some_and(|name| is_wanted(&name.to_string_lossy()))
        });
        if let Some(path) = empty {
            let why = "has no photos in test/<kind>/; choose others with --category".into();
            return Err(Error::Data { path, why }.into());
        }
        for (product, samples) in by_product(&all) {
            for (is_anomalous, wanted) in [
                (false, "good photos (they belong in good/, ok/ or normal/)"),
                (true, "defective photos"),
            ] {
                if !samples.iter().any(|s| s.is_anomalous == is_anomalous) {
                    let why = format!(
                        "{product} has no {wanted}, and nothing can be measured without; choose others with --category"
                    );
                    return Err(Error::Data { path: self.root.clone(), why }.into());
                }
            }
        }
        Ok(all)
    }
}

pub fn by_product(all: &[Sample]) -> BTreeMap<&str, Vec<&Sample>> {
    let mut by_product: BTreeMap<&str, Vec<&Sample>> = BTreeMap::new();
    for sample in all {
        by_product.entry(&sample.product).or_default().push(sample);
    }
    by_product
}

fn measure_model(args: &RunArgs, layout: Layout) -> anyhow::Result<ExitCode> {
    let depth = args.method.begin()?;
    // Words alone unless asked for more: a zero-shot number depends on no other photo.
    let judges = args.method.judges(Judges::Words);
    let refuse = |setting: &str, why: &str| {
        Err(Error::Setting { setting: setting.into(), why: why.into() }.into())
    };
    match (judges, args.folder.given()) {
        (Judges::Words, Some(flag)) => return refuse(flag, "is for --method mutual and auto"),
        (Judges::Words, None) => {}
        _ if args.shard.is_some() => {
            return refuse("--shard", "a part of the photos cannot be compared with all others");
        }
        _ if args.profile_from.is_some() => {
            return refuse("--profile-from", "good parts take the place of the other photos");
        }
        _ => args.folder.check()?,
    }
    let all = args.set.samples(layout)?;
    let strays = stray(&args.set.root, layout, &all)?;
    let by_product = by_product(&all);
    let several = by_product.len() > 1;
    if several && !args.product.is_empty() {
        let why =
            format!("the photos are of {} products; their folders name them", by_product.len());
        return Err(Error::Setting { setting: "--product".into(), why }.into());
    }
    if let Some(folder) = &args.out {
        super::score::check_writable("--out", folder)?;
    }
    let file = args.prompts.clone().unwrap_or(args.method.words()?.prompts.into());
    let prompts = Prompts::open(&file)?;
    let model = args.method.open()?;
    let adapter = model.parts.adapter.as_deref();
    let leaks = leaks(adapter, by_product.keys().copied());
    if let (Some(adapter), false, false) = (adapter, leaks.is_empty(), args.allow_leak) {
        let why = format!(
            "was trained on {}, which it would be measured on: that is no zero-shot result; use another \
             adapter or --method winclip, or mark the numbers with --allow-leak",
            leaks.join(", ")
        );
        return Err(Error::Setting { setting: format!("adapter {}", adapter.name()), why }.into());
    }
    let alone = args.method.detector(&model)?;
    let reference = args.profile_from.map(|_| args.reference_method(alone.method().name()));
    let cache = TextCache::from_env();
    let mut words = BTreeMap::new();
    let mut contents: BTreeMap<&str, Contents> = BTreeMap::new();
    for &folder in by_product.keys() {
        let names = match args.names {
            _ if !args.product.is_empty() => args.product.clone(),
            _ if !several && prompts.names_product() => vec![],
            Names::Folder => vec![folder.to_string()],
            Names::Spaced => vec![folder.replace('_', " ")],
        };
        let product = args.method.model.product(&model.clip, &names, &prompts, &cache)?;
        let is_known = adapter.is_none_or(Adapter::knows_products);
        let named = Named {
            name: product.name().to_string(),
            words_sha256: product.words_sha256(),
            leak: is_known.then(|| leaks.contains(&folder)),
            compared_sha256: match (args.profile_from, judges) {
                (Some(count), _) => Some(files_sha256(&args.references(count, layout, folder)?)?),
                (None, Judges::Words) => None,
                (None, _) => {
                    let photos = together::photos(&by_product[folder]);
                    let of = Contents::of(&photos, args.folder.seed(), args.method.model.quiet);
                    Some(contents.entry(folder).or_insert(of).sha256())
                }
            },
        };
        words.insert(folder.to_string(), (product, named));
    }
    // Without words there are no layers for them.
    let has_words = judges != Judges::Mutual || words.values().any(|(p, _)| p.kinds().len() > 1);
    let used = adapter.filter(|_| has_words);
    let described = used.map(Adapter::about);
    let about = About {
        maps: None,
        method: Some(match judges {
            Judges::Words => alone.method().name().into(),
            Judges::Mutual => "mutual".into(),
            Judges::Auto => format!("{}+mutual", alone.method().name()),
        }),
        protocol: Some(match (judges, args.profile_from) {
            (Judges::Words, None) => Protocol::ZeroShot,
            (Judges::Words, Some(_)) => Protocol::FewShot,
            _ => Protocol::Transductive,
        }),
        neighbours: (judges != Judges::Words).then(|| args.folder.about(&args.method)),
        reference_method: reference.transpose()?.map(|entry| entry.name.into()),
        references: args.profile_from.unwrap_or(0),
        calibration: args.profile_from.map(|_| "the references, each held out in turn".into()),
        model: Some(model.clip.name().into()),
        model_sha256: Some(model.clip.sha256().into()),
        size: Some(model.clip.size()),
        fit: Some(super::setup::name_of(args.method.fit)),
        activation: Some(model.clip.activation().name().into()),
        bit_depth: Some(depth.bits()),
        prompts: Some(file.display().to_string()),
        adapter: used.map(|a| a.name().into()),
        adapter_sha256: used.map(|a| a.sha256().into()),
        adapter_training_data: described.and_then(|a| a.training_data.clone()),
        adapter_licence: described.and_then(|a| a.licence.clone()),
    };
    let run_about = RunAbout {
        root: std::path::absolute(&args.set.root)?,
        layout: super::setup::name_of(layout),
        products: words
            .iter()
            .map(|(folder, (_, named))| Ok((folder.clone(), serde_json::to_value(named)?)))
            .collect::<serde_json::Result<_>>()?,
        settings: serde_json::to_value(&about)?,
        shard: args.shard,
    };
    let mut run = match &args.out {
        Some(folder) => {
            let photos = (&*args.set.root, &all[..]);
            Some(Run::begin(folder, &run_about, photos, args.resume)?)
        }
        None => None,
    };
    let stale = run.as_ref().map_or(0, Run::stale);
    if stale > 0 && !args.method.model.quiet {
        say!(
            "note: {stale} results no longer hold (cut, altered, or of a photo or map that changed); they are computed again"
        );
    }
    let (part, parts) = args.shard.unwrap_or((0, 1));
    let bar = progress_bar(all.len().div_ceil(parts), args.method.model.quiet);
    let mut products = Vec::new();
    let mut notes = Notes::new(args.method.model.quiet);
    let mut first = 0;
    for (folder, samples) in &by_product {
        let (product, named) = &words[*folder];
        let enrolled = match args.profile_from {
            Some(count) => Some(args.enrolled(count, (layout, folder), &model, product, depth)?),
            None => None,
        };
        let detector = enrolled.as_ref().unwrap_or(&alone);
        let known = |run: &Option<Run>, sample: &Sample| -> blemish::Result<Option<Looked>> {
            Ok(run.as_ref().map(|run| run.known(sample)).transpose()?.flatten())
        };
        // The bar counts the photos that are looked at: with each other, that is before the first result.
        let judged = match judges {
            Judges::Words => None,
            _ if run.as_ref().is_some_and(|run| samples.iter().all(|s| run.has(s))) => None,
            _ => {
                let with_words = judges == Judges::Auto;
                let contents = &contents[folder];
                let count = contents.count();
                let empty =
                    args.folder.folder(&args.method, &model, product, None, (with_words, count))?;
                Some(together::judge(empty, contents, samples, depth, (&bar, &mut notes))?)
            }
        };
        let mut look = |sample: &Sample| -> blemish::Result<Looked> {
            if judged.is_none() {
                bar.inc(1);
            }
            if let Some(known) = known(&run, sample)? {
                return Ok(known);
            }
            // Taken before the photo is looked at: it may be replaced meanwhile.
            let sha256 = match (&run, &judged) {
                (None, _) => String::new(),
                (Some(_), Some((_, index))) => index[&*sample.photo].1.clone(),
                (Some(_), None) => files_sha256(std::slice::from_ref(&sample.photo))?,
            };
            let finding = match &judged {
                Some((judged, index)) => judged.finding(index[&*sample.photo].0),
                None => {
                    let photo = Photo::open(&sample.photo, depth)?;
                    notes.say(&bar, &sample.photo, &photo);
                    detector.inspect(&photo, product)?
                }
            };
            let found = Looked { score: finding.score, map: finding.map };
            if let Some(run) = &mut run {
                run.keep(sample, &found, sha256, blemish::render::tiff)?;
            }
            Ok(found)
        };
        if args.shard.is_some() {
            let own = samples.iter().enumerate().filter(|(i, _)| (first + i) % parts == part);
            for (_, sample) in own {
                look(sample)?;
            }
        } else {
            let scores = evaluate(samples, layout, args.set.curve, look)?;
            products.push(Row { named: named.clone(), scores });
        }
        first += samples.len();
    }
    bar.finish_and_clear();
    if args.shard.is_some() {
        return Ok(ExitCode::SUCCESS);
    }
    let report = Report::new(about, args.set.curve, products, strays);
    if let Some(run) = &run {
        report.write(layout, run, &all)?;
    }
    report.print(layout, args.set.format, args.method.model.quiet)?;
    Ok(ExitCode::SUCCESS)
}

impl RunArgs {
    fn reference_method(&self, words: &str) -> blemish::Result<&'static blemish::ReferenceEntry> {
        super::enroll::reference_method(self.reference_method.as_deref(), words)
    }

    /// The first good training photos of a product.
    fn references(
        &self,
        count: usize,
        layout: Layout,
        folder: &str,
    ) -> anyhow::Result<Vec<PathBuf>> {
        let mut photos = good_training_photos(&self.set.root, layout, folder)?;
        if photos.len() < count {
            let why = format!(
                "has {} good training photos of {folder}, fewer than {count}",
                photos.len()
            );
            return Err(Error::Data { path: self.set.root.clone(), why }.into());
        }
        photos.truncate(count);
        Ok(photos)
    }

    /// A detector that knows them.
    fn enrolled(
        &self,
        count: usize,
        (layout, folder): (Layout, &str),
        model: &Model,
        product: &Product,
        depth: BitDepth,
    ) -> anyhow::Result<Detector> {
        let photos = self.references(count, layout, folder)?;
        let entry = self.method.words()?;
        let options = EnrollOptions {
            method: entry,
            parts: model.parts.clone(),
            references: self.reference_method(entry.name)?,
            blocks: None,
            fit: self.method.fit,
            depth,
            prompts: String::new(),
            false_alarm: 0.05,
            region: None,
            seed: 0,
            progress: &|_, _| {},
        };
        let photos = Photos { references: &photos, calibration: &[] };
        let mut enrolled = enroll(model.clip.clone(), product.clone(), photos, &options)?;
        match enrolled.unreadable.pop() {
            Some(error) => Err(error.into()),
            None => Ok(enrolled.profile.detector(model.clip.clone())?),
        }
    }
}

fn leaks<'a>(adapter: Option<&Adapter>, products: impl Iterator<Item = &'a str>) -> Vec<&'a str> {
    adapter.map(|adapter| adapter.trained_on(products)).unwrap_or_default()
}
