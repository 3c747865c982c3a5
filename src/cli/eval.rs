//! `blemish eval`: how well a model and a method do on labelled photos, or maps that another program made.

use std::collections::BTreeMap;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use blemish::data::{Layout, Sample, good_training_photos, samples};
use blemish::{
    Adapter, BitDepth, Curve, Detector, EnrollOptions, Error, Looked, Maps, Metrics, Photo, Photos,
    Product, Prompts, Scores, TextCache, enroll, evaluate, mean,
};
use clap::ValueEnum;
use serde::Serialize;

use super::setup::{MethodArgs, Model, progress_bar};

/// Measure a model and a method on labelled photos: AUROC, AP and F1 of scores and of pixels, AU-PRO; on MVTec LOCO
/// AU-sPRO as its authors compute it.
///
/// With --profile-from the photos are compared with good ones of the training part too. `eval maps` measures maps
/// that another program made.
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
    Maps(MapsArgs),
}

/// Measure anomaly maps on disk: a TIFF a photo, in the layout that MVTec's scripts read.
///
/// `MAPS/<product>/test/<kind>/<photo>.tiff`: one number a pixel (float32 or uint8; float64 is rounded), at the photo's own
/// size. A photo's score is its map's highest value.
#[derive(clap::Args)]
struct MapsArgs {
    /// How the photos are laid out.
    #[arg(value_enum)]
    layout: Layout,
    #[command(flatten)]
    set: Set,
    /// The folder of maps.
    #[arg(long, value_name = "DIR")]
    maps: PathBuf,
    /// No progress; errors are still printed.
    #[arg(long, short)]
    quiet: bool,
}

/// Which photos, and how the numbers are computed and printed.
#[derive(clap::Args)]
struct Set {
    /// The photos' folder.
    root: PathBuf,
    /// Measure these products only; give it again for several.
    #[arg(long, value_name = "NAME")]
    category: Vec<String>,
    /// Thresholds of MVTec LOCO's curves.
    #[arg(long, value_enum, default_value = "exact")]
    curve: Curve,
    /// How to print results.
    #[arg(long, value_enum, default_value = "table")]
    format: Format,
}

#[derive(clap::Args)]
struct RunArgs {
    #[command(flatten)]
    set: Set,
    /// What the photos show, where they are of one product; give it again for synonyms [default: the prompt
    /// file's product, else the name of the product's folder].
    #[arg(long, value_name = "NAME")]
    product: Vec<String>,
    /// A prompt file, or the name of one in the program [default: the method's].
    #[arg(long, value_name = "FILE")]
    prompts: Option<PathBuf>,
    /// How folders name products: as they are called (metal_nut; as April-GAN's authors do), or with spaces for _.
    #[arg(long, value_enum, default_value = "spaced")]
    names: Names,
    /// Compare with the first N good photos of the training part, in order of name.
    #[arg(long, value_name = "train:N", value_parser = training_photos)]
    profile_from: Option<usize>,
    /// How to compare with good parts, as with `enroll`.
    #[arg(long, value_name = "METHOD", requires = "profile_from",
          value_parser = clap::builder::PossibleValuesParser::new(super::enroll::reference_methods()))]
    reference_method: Option<String>,
    /// Write each map as a float32 TIFF into this folder, in the layout that MVTec's scripts read.
    #[arg(long, value_name = "DIR")]
    save_maps: Option<PathBuf>,
    /// Go on where the adapter was trained on a product that it is measured on, and mark the numbers.
    #[arg(long)]
    allow_leak: bool,
    #[command(flatten)]
    method: MethodArgs,
}

#[derive(Clone, Copy, ValueEnum)]
enum Names {
    Spaced,
    Folder,
}

#[derive(Clone, Copy, PartialEq, ValueEnum)]
enum Format {
    Table,
    Json,
}

fn training_photos(text: &str) -> Result<usize, String> {
    let count = text.strip_prefix("train:").and_then(|count| count.parse().ok());
    count
        .filter(|count| *count > 0)
        .ok_or("give train:N with N good photos, such as train:4".into())
}

#[derive(Serialize)]
struct Report<'a> {
    /// What was measured: how maps came about.
    #[serde(flatten)]
    about: About<'a>,
    curve: String,
    products: Vec<Row>,
    /// The unweighted mean over the products.
    mean: Metrics,
}

#[derive(Default, Serialize)]
struct About<'a> {
    /// A folder of maps, where another program made them.
    maps: Option<String>,
    method: Option<&'a str>,
    reference_method: Option<&'a str>,
    /// Good photos of each product that photos were compared with: none is zero-shot.
    references: usize,
    model: Option<&'a str>,
    model_sha256: Option<&'a str>,
    size: Option<usize>,
    prompts: Option<String>,
    adapter: Option<&'a str>,
    adapter_sha256: Option<&'a str>,
    adapter_training_data: Option<&'a str>,
    adapter_licence: Option<&'a str>,
}

#[derive(Serialize)]
struct Row {
    /// What the model was told that the product is.
    name: String,
    #[serde(flatten)]
    scores: Scores,
    /// Whether the adapter was trained on this product: no zero-shot result. None where that is not known.
    leak: Option<bool>,
}

pub fn run(args: &Args) -> anyhow::Result<ExitCode> {
    match &args.what {
        What::Mvtec(args) => measure_model(args, Layout::Mvtec),
        What::Loco(args) => measure_model(args, Layout::Loco),
        What::Visa(args) => measure_model(args, Layout::Visa),
        What::Folder(args) => measure_model(args, Layout::Folder),
        What::Maps(args) => measure_maps(args),
    }
}

impl Set {
    fn samples(&self, layout: Layout) -> anyhow::Result<Vec<Sample>> {
        let mut all = samples(&self.root, Some(layout))?;
        for wanted in &self.category {
            if !all.iter().any(|sample| sample.product == *wanted) {
                let mut there: Vec<&str> = all.iter().map(|s| &*s.product).collect();
                there.dedup();
                let why = format!("{} has {}", self.root.display(), there.join(", "));
                return Err(Error::Setting { setting: format!("--category {wanted}"), why }.into());
            }
        }
        all.retain(|s| self.category.is_empty() || self.category.contains(&s.product));
        for (is_anomalous, wanted) in [
            (false, "good photos: they belong in good/ (or ok/, normal/)"),
            (true, "defective photos"),
        ] {
            if !all.iter().any(|s| s.is_anomalous == is_anomalous) {
                let why = format!("has no {wanted}, and nothing can be measured without");
                return Err(Error::Data { path: self.root.clone(), why }.into());
            }
        }
        Ok(all)
    }

    fn print(&self, layout: Layout, about: About, products: Vec<Row>) -> anyhow::Result<ExitCode> {
        let metrics =
            products.iter().map(|row| (row.scores.product.clone(), row.scores.all.clone()));
        let mean = mean(&metrics.collect());
        let curve = super::setup::name_of(self.curve);
        let report = Report { about, curve, products, mean };
        let mut out = std::io::stdout().lock();
        super::printed(match self.format {
            Format::Table => table(&mut out, layout, &report),
            Format::Json => serde_json::to_writer(&mut out, &report)
                .map_err(std::io::Error::from)
                .and_then(|()| writeln!(out)),
        })?;
        Ok(ExitCode::SUCCESS)
    }
}

fn table(out: &mut impl Write, layout: Layout, report: &Report) -> std::io::Result<()> {
    let (title, limit) = if layout == Layout::Loco { ("AU-sPRO", 0.05) } else { ("AU-PRO", 0.3) };
    writeln!(
        out,
        "{:>5} {:>5}  {:>6} {:>6} {:>6}  {:>6} {:>6} {:>6}  {title:>7}  product",
        "good", "bad", "AUROC", "AP", "F1", "pixels", "AP", "F1"
    )?;
    let cell = |value: Option<f64>| value.map_or("-".into(), |v| format!("{v:.3}"));
    let mut line = |good: &str, bad: &str, m: &Metrics, name: &str| {
        let [auroc, ap, f1] = [m.image_auroc, m.image_ap, m.image_f1_max].map(cell);
        let [pixels, pixel_ap, pixel_f1] = [m.pixel_auroc, m.pixel_ap, m.pixel_f1_max].map(cell);
        let pro = cell(m.au_pro(limit));
        writeln!(
            out,
            "{good:>5} {bad:>5}  {auroc:>6} {ap:>6} {f1:>6}  {pixels:>6} {pixel_ap:>6} {pixel_f1:>6}  \
             {pro:>7}  {name}"
        )
    };
    for Row { name: called, scores, leak } in &report.products {
        let mark = match (report.about.adapter, leak) {
            (Some(_), Some(true)) => "  (LEAK: the adapter was trained on it)",
            (Some(_), None) => "  (not known whether the adapter was trained on it)",
            _ => "",
        };
        let called = if called.is_empty() { String::new() } else { format!(" ({called:?})") };
        let name = format!("{}{called}{mark}", scores.product);
        let (good, bad) = (scores.good.to_string(), scores.anomalous.to_string());
        line(&good, &bad, &scores.all, &name)?;
        if scores.kinds.len() > 1 {
            for (kind, metrics) in &scores.kinds {
                line("", &metrics.photos.to_string(), metrics, &format!("  {kind}"))?;
            }
        }
    }
    if report.products.len() > 1 {
        let leak = report.products.iter().any(|row| row.leak == Some(true));
        line("", "", &report.mean, if leak { "mean  (LEAK)" } else { "mean" })?;
    }
    let about = &report.about;
    writeln!(out, "AUROC, AP and highest F1 of photos and of pixels, {title} up to {limit}")?;
    if about.references > 0 {
        let method = about.reference_method.unwrap_or_default();
        let (n, s) = (about.references, if about.references == 1 { "" } else { "s" });
        writeln!(out, "not zero-shot: compared with {n} good training photo{s} by {method}")?;
    }
    if let Some(adapter) = about.adapter {
        let data = about.adapter_training_data.unwrap_or("data that is not known");
        let licence =
            about.adapter_licence.map_or(String::new(), |licence| format!(" ({licence})"));
        writeln!(out, "adapter {adapter}, trained on {data}{licence}")?;
    }
    Ok(())
}

fn by_product(all: &[Sample]) -> BTreeMap<&str, Vec<&Sample>> {
    let mut by_product: BTreeMap<&str, Vec<&Sample>> = BTreeMap::new();
    for sample in all {
        by_product.entry(&sample.product).or_default().push(sample);
    }
    by_product
}

fn measure_maps(args: &MapsArgs) -> anyhow::Result<ExitCode> {
    let all = args.set.samples(args.layout)?;
    let maps = Maps::new(&args.maps);
    let bar = progress_bar(all.len(), args.quiet);
    let mut products = Vec::new();
    for samples in by_product(&all).values() {
        let scores = evaluate(samples, args.layout, args.set.curve, |sample| {
            bar.inc(1);
            maps.read(sample)
        })?;
        products.push(Row { name: String::new(), scores, leak: None });
    }
    bar.finish_and_clear();
    let maps = Some(args.maps.display().to_string());
    args.set.print(args.layout, About { maps, ..About::default() }, products)
}

fn measure_model(args: &RunArgs, layout: Layout) -> anyhow::Result<ExitCode> {
    let depth = args.method.begin()?;
    let all = args.set.samples(layout)?;
    let by_product = by_product(&all);
    let several = by_product.len() > 1;
    if several && !args.product.is_empty() {
        let why =
            format!("the photos are of {} products; their folders name them", by_product.len());
        return Err(Error::Setting { setting: "--product".into(), why }.into());
    }
    if let Some(folder) = &args.save_maps {
        super::score::check_writable("--save-maps", folder)?;
    }
    let file = args.prompts.clone().unwrap_or(args.method.entry()?.prompts.into());
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
    let cache = TextCache::from_env();
    let bar = progress_bar(all.len(), args.method.model.quiet);
    let mut products = Vec::new();
    for (folder, samples) in &by_product {
        let names = match args.names {
            _ if !args.product.is_empty() => args.product.clone(),
            _ if !several && prompts.names_product() => vec![],
            Names::Folder => vec![folder.to_string()],
            Names::Spaced => vec![folder.replace('_', " ")],
        };
        let product = args.method.model.product(&model.clip, &names, &prompts, &cache)?;
        let enrolled = match args.profile_from {
            Some(count) => Some(args.enrolled(count, (layout, folder), &model, &product, depth)?),
            None => None,
        };
        let detector = enrolled.as_ref().unwrap_or(&alone);
        let scores = evaluate(samples, layout, args.set.curve, |sample| {
            let finding = detector.inspect(&Photo::open(&sample.photo, depth)?, &product)?;
            if let Some(folder) = &args.save_maps {
                let file = Maps::new(folder).stem(sample);
                let file = super::inputs::with_suffix(&file, "tiff");
                blemish::files::write_whole(&file, &blemish::render::tiff(&finding.map))?;
            }
            bar.inc(1);
            Ok(Looked { score: finding.score, map: finding.map })
        })?;
        let is_known = adapter.is_none_or(Adapter::knows_products);
        products.push(Row {
            name: product.name().to_string(),
            scores,
            leak: is_known.then(|| leaks.contains(folder)),
        });
    }
    bar.finish_and_clear();
    let about = adapter.map(Adapter::about);
    let reference = args.profile_from.map(|_| args.reference_method(alone.method().name()));
    args.set.print(
        layout,
        About {
            maps: None,
            method: Some(alone.method().name()),
            reference_method: reference.transpose()?.map(|entry| entry.name),
            references: args.profile_from.unwrap_or(0),
            model: Some(model.clip.name()),
            model_sha256: Some(model.clip.sha256()),
            size: Some(model.clip.size()),
            prompts: Some(file.display().to_string()),
            adapter: adapter.map(Adapter::name),
            adapter_sha256: adapter.map(Adapter::sha256),
            adapter_training_data: about.and_then(|a| a.training_data.as_deref()),
            adapter_licence: about.and_then(|a| a.licence.as_deref()),
        },
        products,
    )
}

impl RunArgs {
    fn reference_method(&self, words: &str) -> blemish::Result<&'static blemish::ReferenceEntry> {
        super::enroll::reference_method(self.reference_method.as_deref(), words)
    }

    /// A detector that knows the first good training photos of a product.
    fn enrolled(
        &self,
        count: usize,
        (layout, folder): (Layout, &str),
        model: &Model,
        product: &Product,
        depth: BitDepth,
    ) -> anyhow::Result<Detector> {
        let mut photos = good_training_photos(&self.set.root, layout, folder)?;
        if photos.len() < count {
            let why = format!(
                "has {} good training photos of {folder}, fewer than {count}",
                photos.len()
            );
            return Err(Error::Data { path: Path::new(&self.set.root).into(), why }.into());
        }
        photos.truncate(count);
        let entry = self.method.entry()?;
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
