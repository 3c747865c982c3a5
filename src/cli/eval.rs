//! `blemish eval`: how well a model and a method do on labelled photos.

use std::collections::BTreeMap;
use std::io::Write;
use std::path::PathBuf;
use std::process::ExitCode;

use blemish::data::{Layout, Sample, samples};
use blemish::{Adapter, Error, Prompts, Scores, TextCache, evaluate};
use clap::ValueEnum;
use serde::Serialize;

use super::setup::{MethodArgs, progress_bar};

/// Measure a model and a method on labelled photos: AUROC of scores and of pixels, AU-PRO.
#[derive(clap::Args)]
#[command(after_help = "Examples:
  blemish eval mvtec mvtec_ad/ --model ViT-B-16-plus-240 --method winclip
  blemish eval folder tiles/ --method april-gan --adapter mine.safetensors --format json")]
pub struct Args {
    /// How the photos are laid out.
    #[arg(value_enum)]
    layout: Layout,
    /// Their folder.
    root: PathBuf,
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
    /// Go on where the adapter was trained on a product that it is measured on, and mark the numbers.
    #[arg(long)]
    allow_leak: bool,
    /// How to print results.
    #[arg(long, value_enum, default_value = "table")]
    format: Format,
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

#[derive(Serialize)]
struct Report<'a> {
    method: &'a str,
    model: &'a str,
    model_sha256: &'a str,
    size: usize,
    prompts: String,
    adapter: Option<&'a str>,
    adapter_sha256: Option<&'a str>,
    adapter_training_data: Option<&'a str>,
    adapter_licence: Option<&'a str>,
    products: Vec<Row>,
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
    let depth = args.method.begin()?;
    let all = samples(&args.root, Some(args.layout))?;
    let mut by_product: BTreeMap<&str, Vec<&Sample>> = BTreeMap::new();
    for sample in &all {
        by_product.entry(&sample.product).or_default().push(sample);
    }
    let several = by_product.len() > 1;
    if several && !args.product.is_empty() {
        let why =
            format!("the photos are of {} products; their folders name them", by_product.len());
        return Err(Error::Setting { setting: "--product".into(), why }.into());
    }
    for (is_anomalous, wanted) in
        [(false, "good photos: they belong in good/ (or ok/, normal/)"), (true, "defective photos")]
    {
        let lacks =
            |samples: &&Vec<&Sample>| !samples.iter().any(|s| s.is_anomalous == is_anomalous);
        if by_product.values().all(|samples| lacks(&samples)) {
            let why = format!("has no {wanted}, and nothing can be measured without");
            return Err(Error::Data { path: args.root.clone(), why }.into());
        }
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
    let detector = args.method.detector(&model)?;
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
        let scores = evaluate(&detector, &product, samples, depth, || bar.inc(1))?;
        let is_known = adapter.is_none_or(Adapter::knows_products);
        products.push(Row {
            name: product.name().to_string(),
            scores,
            leak: is_known.then(|| leaks.contains(folder)),
        });
    }
    bar.finish_and_clear();
    let about = adapter.map(Adapter::about);
    let report = Report {
        method: detector.method().name(),
        model: model.clip.name(),
        model_sha256: model.clip.sha256(),
        size: model.clip.size(),
        prompts: file.display().to_string(),
        adapter: adapter.map(Adapter::name),
        adapter_sha256: adapter.map(Adapter::sha256),
        adapter_training_data: about.and_then(|a| a.training_data.as_deref()),
        adapter_licence: about.and_then(|a| a.licence.as_deref()),
        products,
    };
    let mut out = std::io::stdout().lock();
    super::printed(match args.format {
        Format::Table => table(&mut out, &report),
        Format::Json => serde_json::to_writer(&mut out, &report)
            .map_err(std::io::Error::from)
            .and_then(|()| writeln!(out)),
    })?;
    Ok(ExitCode::SUCCESS)
}

fn leaks<'a>(adapter: Option<&Adapter>, products: impl Iterator<Item = &'a str>) -> Vec<&'a str> {
    adapter.map(|adapter| adapter.trained_on(products)).unwrap_or_default()
}

fn table(out: &mut impl Write, report: &Report) -> std::io::Result<()> {
    let rows = &report.products;
    let cell = |value: Option<f64>| value.map_or("-".into(), |v| format!("{v:.3}"));
    writeln!(
        out,
        "{:>6}  {:>6}  {:>11}  {:>11}  {:>6}  product",
        "good", "bad", "image AUROC", "pixel AUROC", "AU-PRO"
    )?;
    for Row { name: called, scores, leak } in rows {
        let mark = match leak {
            Some(true) => "  (LEAK: the adapter was trained on it)",
            Some(false) => "",
            None => "  (not known whether the adapter was trained on it)",
        };
        let [image, pixel, pro] = [scores.image_auroc, scores.pixel_auroc, scores.au_pro].map(cell);
        let (good, bad, name) = (scores.good, scores.anomalous, &scores.product);
        writeln!(
            out,
            "{good:>6}  {bad:>6}  {image:>11}  {pixel:>11}  {pro:>6}  {name} ({called:?}){mark}"
        )?;
    }
    if rows.len() > 1 {
        let mean = |get: fn(&Scores) -> Option<f64>| {
            let values: Option<Vec<f64>> = rows.iter().map(|row| get(&row.scores)).collect();
            cell(values.map(|values| values.iter().sum::<f64>() / values.len() as f64))
        };
        let [image, pixel, pro] =
            [mean(|s| s.image_auroc), mean(|s| s.pixel_auroc), mean(|s| s.au_pro)];
        let mark = if rows.iter().any(|row| row.leak == Some(true)) { "  (LEAK)" } else { "" };
        writeln!(out, "{:>6}  {:>6}  {image:>11}  {pixel:>11}  {pro:>6}  mean{mark}", "", "")?;
    }
    if let Some(adapter) = report.adapter {
        let data = report.adapter_training_data.unwrap_or("data that is not known");
        let licence =
            report.adapter_licence.map_or(String::new(), |licence| format!(" ({licence})"));
        writeln!(out, "adapter {adapter}, trained on {data}{licence}")?;
    }
    Ok(())
}
