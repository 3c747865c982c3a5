//! What `eval` and `merge` measured, as a table, as JSON, and as files.

use std::io::Write;
use std::path::PathBuf;

use blemish::data::{Layout, Sample};
use blemish::files::{below, write_whole};
use blemish::text::{cell, shown};
use blemish::{Curve, Error, Metrics, Run, Scores, mean};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::setup::Format;

#[derive(Serialize)]
pub struct Report {
    /// What was measured: how maps came about.
    #[serde(flatten)]
    pub about: About,
    pub curve: String,
    pub products: Vec<Row>,
    /// The unweighted mean over the products.
    pub mean: Metrics,
    /// What others published of the same model, input size, method and set.
    pub published: Vec<Published>,
    /// Files beside the set's that were not used.
    pub stray: Vec<String>,
    /// What has to be known of the files.
    pub warnings: Vec<String>,
}

#[derive(Default, Serialize, Deserialize)]
pub struct About {
    /// A folder of maps, where another program made them.
    pub maps: Option<String>,
    pub method: Option<String>,
    /// None for maps that another program made.
    pub protocol: Option<Protocol>,
    /// How the photos of a product were compared with each other.
    pub neighbours: Option<String>,
    pub reference_method: Option<String>,
    /// Good photos of each product that photos were compared with: none is zero-shot.
    pub references: usize,
    /// What lines and spreads were measured on: nothing, or good photos of the training part; never the test part.
    pub calibration: Option<String>,
    pub model: Option<String>,
    pub model_sha256: Option<String>,
    pub size: Option<usize>,
    pub fit: Option<String>,
    pub activation: Option<String>,
    pub bit_depth: Option<u8>,
    pub prompts: Option<String>,
    pub adapter: Option<String>,
    pub adapter_sha256: Option<String>,
    pub adapter_training_data: Option<String>,
    pub adapter_licence: Option<String>,
}

/// What a score depends on besides the photo, the words and the model.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Protocol {
    /// Nothing.
    ZeroShot,
    /// Good photos of the training part.
    FewShot,
    /// The other photos of the test part.
    Transductive,
}

/// What is known of a product before it is measured.
#[derive(Clone, Default, Serialize, Deserialize)]
pub struct Named {
    /// What the model was told that it is.
    pub name: String,
    /// SHA-256 of all its sentences.
    pub words_sha256: String,
    /// Whether the adapter was trained on it: no zero-shot result. None where that is not known.
    pub leak: Option<bool>,
    /// What it was compared with: SHA-256 of the good training photos one after another, or of the test photos' hashes in
    /// ascending order (as `folder.sha256` of `score`).
    pub compared_sha256: Option<String>,
}

#[derive(Serialize)]
pub struct Row {
    #[serde(flatten)]
    pub named: Named,
    #[serde(flatten)]
    pub scores: Scores,
}

/// Numbers that others published.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub struct Published {
    pub source: String,
    #[serde(skip_serializing)]
    method: String,
    #[serde(skip_serializing)]
    model: String,
    #[serde(skip_serializing)]
    size: usize,
    #[serde(skip_serializing)]
    set: String,
    pub image_auroc: f64,
    pub image_ap: f64,
    pub image_f1_max: f64,
}

/// Those of the same model, input size, method and whole set, zero-shot (`published.toml`).
fn published(about: &About, products: &[&str]) -> Vec<Published> {
    #[derive(Deserialize)]
    struct File {
        published: Vec<Published>,
    }
    let file: File = toml::from_str(include_str!("published.toml")).expect("an embedded file");
    let is_whole = |name: &str| {
        let set = blemish::training_sets().iter().find(|set| set.name == name);
        set.is_some_and(|set| {
            set.products.len() == products.len()
                && products.iter().all(|product| set.products.iter().any(|p| p == product))
        })
    };
    let same = |p: &Published| {
        about.references == 0
            && about.method.as_ref() == Some(&p.method)
            && about.model.as_ref() == Some(&p.model)
            && about.size == Some(p.size)
            && is_whole(&p.set)
    };
    file.published.into_iter().filter(same).collect()
}

impl Protocol {
    pub fn name(self) -> &'static str {
        match self {
            Self::ZeroShot => "zero-shot",
            Self::FewShot => "few-shot",
            Self::Transductive => "transductive",
        }
    }
}

impl Report {
    /// Of a product (or of all): an adapter that was trained on it has seen more than the protocol says.
    fn protocol(&self, leak: Option<bool>) -> &'static str {
        match leak {
            Some(true) => "trained-on",
            _ => self.about.protocol.map_or("-", Protocol::name),
        }
    }

    /// Some where an adapter was trained on one of the products.
    fn has_leak(&self) -> Option<bool> {
        self.products.iter().any(|row| row.named.leak == Some(true)).then_some(true)
    }

    /// `stray`: files beside the set's that are no part of it.
    pub fn new(about: About, curve: Curve, products: Vec<Row>, stray: Vec<PathBuf>) -> Self {
        let names: Vec<&str> = products.iter().map(|row| &*row.scores.product).collect();
        let published = published(&about, &names);
        let metrics =
            products.iter().map(|row| (row.scores.product.clone(), row.scores.all.clone()));
        let mean = mean(&metrics.collect());
        let mut warnings = Vec::new();
        if let [first, others @ ..] = &stray[..] {
            let others = match others.len() {
                0 => String::new(),
                1 => ", nor is another file".into(),
                count => format!(", nor are {count} other files"),
            };
            warnings.push(format!("{} is no part of the set{others}: not used", first.display()));
        }
        for (product, value) in
            products.iter().filter_map(|r| Some((&r.scores.product, r.scores.plateau?)))
        {
            warnings.push(format!(
                "{product}: so many pixels score {value} that MVTec's script stops at these maps; add a little noise for it"
            ));
        }
        for Row { scores, .. } in &products {
            if let [first, others @ ..] = &scores.doubtful_masks[..] {
                let others = match others.len() {
                    0 => String::new(),
                    count => {
                        format!(" ({count} other masks of {} are doubtful, too)", scores.product)
                    }
                };
                warnings.push(format!("{first}{others}"));
            }
        }
        let curve = super::setup::name_of(curve);
        let stray = stray.iter().map(|path| path.to_string_lossy().into_owned()).collect();
        Self { about, curve, products, mean, published, stray, warnings }
    }

    pub fn print(&self, layout: Layout, format: Format, quiet: bool) -> anyhow::Result<()> {
        for warning in self.warnings.iter().filter(|_| !quiet) {
            say!("warning: {warning}");
        }
        let bare = self.products.iter().find(|row| !row.scores.has_masks);
        if let (Some(row), false) = (bare.filter(|_| layout != Layout::Folder), quiet) {
            say!("note: {} has no masks: photos are measured, not pixels", row.scores.product);
        }
        let mut out = std::io::stdout().lock();
        super::printed(match format {
            Format::Table => table(&mut out, layout, self),
            Format::Json => super::json_line(&mut out, self),
        })?;
        Ok(())
    }

    /// `metrics.json`, `metrics.csv`, `report.html`, and for MVTec LOCO `official/<product>/metrics.json` as its script
    /// writes it.
    pub fn write(&self, layout: Layout, run: &Run, samples: &[Sample]) -> anyhow::Result<()> {
        let folder = run.folder();
        let page = super::page::of(self, layout, run, samples)?;
        write_whole(&folder.join("report.html"), page.html().as_bytes())?;
        write_whole(&folder.join("metrics.json"), &serde_json::to_vec_pretty(self)?)?;
        write_whole(&folder.join("metrics.csv"), &self.csv()?)?;
        for row in self.products.iter().filter(|_| layout == Layout::Loco) {
            let names = ["official".as_ref(), row.scores.product.as_ref(), "metrics.json".as_ref()];
            let file = below(folder, &names)?;
            write_whole(&file, &official(&row.scores)?)?;
        }
        Ok(())
    }

    /// A line for each product, and for each of its kinds of defect.
    fn csv(&self) -> anyhow::Result<Vec<u8>> {
        let mut csv = csv::Writer::from_writer(Vec::new());
        let limits: Vec<&String> = self.mean.au_pro.keys().collect();
        let fixed = ["product", "kind", "protocol", "good", "bad"];
        let images = ["image_auroc", "map_maximum_auroc", "image_ap", "image_f1_max"];
        let pixels = ["pixel_auroc", "pixel_ap", "pixel_f1_max"];
        let areas = limits.iter().map(|limit| format!("au_pro_{limit}"));
        let header = fixed.into_iter().chain(images).chain(pixels).map(String::from).chain(areas);
        csv.write_record(header.collect::<Vec<_>>())?;
        let mut line =
            |product: &str, kind: &str, protocol: &str, good: usize, metrics: &Metrics| {
                let m = metrics;
                let numbers = [
                    m.image_auroc,
                    m.map_maximum_auroc,
                    m.image_ap,
                    m.image_f1_max,
                    m.pixel_auroc,
                    m.pixel_ap,
                    m.pixel_f1_max,
                ];
                let areas = limits.iter().map(|limit| m.au_pro.get(*limit).copied());
                let numbers = numbers.into_iter().chain(areas);
                let numbers = numbers.map(|n| n.map_or(String::new(), |n| n.to_string()));
                let named = [
                    cell(product).into_owned(),
                    cell(kind).into_owned(),
                    protocol.into(),
                    good.to_string(),
                    m.photos.to_string(),
                ];
                csv.write_record(named.into_iter().chain(numbers).collect::<Vec<_>>())
            };
        for Row { named, scores } in &self.products {
            let protocol = self.protocol(named.leak);
            line(&scores.product, "", protocol, scores.good, &scores.all)?;
            for (kind, metrics) in &scores.kinds {
                line(&scores.product, kind, protocol, scores.good, metrics)?;
            }
        }
        let good = self.products.iter().map(|row| row.scores.good).sum();
        line("mean", "", self.protocol(self.has_leak()), good, &self.mean)?;
        Ok(csv
            .into_inner()
            .map_err(|e| Error::Write { path: "metrics.csv".into(), cause: e.into_error() })?)
    }
}

/// The file that MVTec LOCO's own script writes for a product: four blanks a level, keys in order.
fn official(scores: &Scores) -> anyhow::Result<Vec<u8>> {
    let kinds = ["logical_anomalies", "mean", "structural_anomalies"];
    let of = |kind: &str| if kind == "mean" { Some(&scores.all) } else { scores.kinds.get(kind) };
    let each = |value: &dyn Fn(&Metrics) -> Value| -> Value {
        kinds.iter().filter_map(|kind| Some((kind.to_string(), value(of(kind)?)))).collect()
    };
    let text = json!({
        "classification": { "auc_roc": each(&|m| json!(m.map_maximum_auroc)) },
        "localization": { "auc_spro": each(&|m| json!(m.au_pro)) },
    });
    let mut bytes = Vec::new();
    let indent = serde_json::ser::PrettyFormatter::with_indent(b"    ");
    text.serialize(&mut serde_json::Serializer::with_formatter(&mut bytes, indent))?;
    Ok(bytes)
}

fn table(out: &mut impl Write, layout: Layout, report: &Report) -> std::io::Result<()> {
    let (title, limit) = if layout == Layout::Loco { ("AU-sPRO", 0.05) } else { ("AU-PRO", 0.3) };
    writeln!(
        out,
        "{:>5} {:>5}  {:>6} {:>6} {:>6}  {:>6} {:>6} {:>6}  {title:>7}  {:<12}  product",
        "good", "bad", "AUROC", "AP", "F1", "pixels", "AP", "F1", "protocol"
    )?;
    let cell = |value: Option<f64>| value.map_or("-".into(), |v| format!("{v:.3}"));
    let mut line = |protocol: &str, good: &str, bad: &str, m: &Metrics, name: &str| {
        let [auroc, ap, f1] = [m.image_auroc, m.image_ap, m.image_f1_max].map(cell);
        let [pixels, pixel_ap, pixel_f1] = [m.pixel_auroc, m.pixel_ap, m.pixel_f1_max].map(cell);
        let pro = cell(m.au_pro(limit));
        let name = shown(name);
        writeln!(
            out,
            "{good:>5} {bad:>5}  {auroc:>6} {ap:>6} {f1:>6}  {pixels:>6} {pixel_ap:>6} {pixel_f1:>6}  \
             {pro:>7}  {protocol:<12}  {name}"
        )
    };
    for Row { named: Named { name: called, leak, .. }, scores } in &report.products {
        let mark = match (&report.about.adapter, leak) {
            (Some(_), Some(true)) => "  (LEAK: the adapter was trained on it)",
            (Some(_), None) => "  (not known whether the adapter was trained on it)",
            _ => "",
        };
        let called = if called.is_empty() { String::new() } else { format!(" ({called:?})") };
        let name = format!("{}{called}{mark}", scores.product);
        let (good, bad) = (scores.good.to_string(), scores.anomalous.to_string());
        let protocol = report.protocol(*leak);
        line(protocol, &good, &bad, &scores.all, &name)?;
        if scores.kinds.len() > 1 {
            for (kind, metrics) in &scores.kinds {
                line(protocol, "", &metrics.photos.to_string(), metrics, &format!("  {kind}"))?;
            }
        }
    }
    if report.products.len() > 1 {
        let leak = report.has_leak();
        let name = if leak.is_some() { "mean  (LEAK)" } else { "mean" };
        line(report.protocol(leak), "", "", &report.mean, name)?;
    }
    let about = &report.about;
    writeln!(out, "AUROC, AP and highest F1 of photos and of pixels, {title} up to {limit}")?;
    if let (Layout::Loco, None, Some(auroc)) = (layout, &about.maps, report.mean.map_maximum_auroc)
    {
        writeln!(
            out,
            "AUROC of photos by their maps' highest values, as MVTec's script has it: {auroc:.3}"
        )?;
    }
    for other in &report.published {
        let Published { source, image_auroc, image_ap, image_f1_max, .. } = other;
        writeln!(
            out,
            "published ({source}): AUROC {image_auroc:.3}, AP {image_ap:.3}, F1 {image_f1_max:.3}"
        )?;
    }
    if about.references > 0 {
        let method = about.reference_method.as_deref().unwrap_or_default();
        let (n, s) = (about.references, if about.references == 1 { "" } else { "s" });
        writeln!(out, "not zero-shot: compared with {n} good training photo{s} by {method}")?;
    }
    if about.protocol == Some(Protocol::Transductive) {
        writeln!(out, "not zero-shot: every photo was compared with others of the test part")?;
    }
    if let Some(adapter) = &about.adapter {
        let data = about.adapter_training_data.as_deref().unwrap_or("data that is not known");
        let licence =
            about.adapter_licence.as_ref().map_or(String::new(), |licence| format!(" ({licence})"));
        writeln!(out, "{}", shown(&format!("adapter {adapter}, trained on {data}{licence}")))?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn published_numbers_stand_beside_the_same_protocol_only() {
        let about = |model: &str, size, references| About {
            method: Some("winclip".into()),
            model: Some(model.into()),
            size: Some(size),
            references,
            ..About::default()
        };
        let same = about("ViT-B-16-plus-240", 240, 0);
        let products = |set: usize| -> Vec<&str> {
            blemish::training_sets()[set].products.iter().map(|p| &**p).collect()
        };
        let (mvtec, visa) = (products(0), products(1));
        let found = published(&same, &mvtec);
        assert_eq!(found.iter().map(|p| p.image_auroc).collect::<Vec<_>>(), [0.918, 0.904]);
        assert_eq!(published(&same, &visa).len(), 2);
        assert_eq!(published(&same, &mvtec[..14]).len(), 0);
        // As many as VisA has.
        assert_eq!(published(&same, &mvtec[..12]).len(), 0);
        assert_eq!(published(&about("ViT-B-16-plus-240", 240, 4), &mvtec).len(), 0);
        assert_eq!(published(&about("tiny", 240, 0), &mvtec).len(), 0);
        assert_eq!(published(&about("ViT-B-16-plus-240", 336, 0), &mvtec).len(), 0);
    }
}
