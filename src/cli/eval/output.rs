//! Prints a measurement as a table or as JSON, and writes its files.

use std::io::Write;

use blemish::data::{Layout, Sample};
use blemish::eval::{Metrics, Run, Scores};
use blemish::files::{below, write_whole};
use blemish::text::shown;
use serde::Serialize;
use serde_json::{Value, json};

use super::about::{Named, Protocol};
use super::page;
use super::published::Published;
use super::report::{EvalReport, Row};
use crate::cli::args::values::SummaryFormat;
use crate::cli::terminal::{json_line, printed};

impl EvalReport {
    pub fn print(&self, layout: Layout, format: SummaryFormat, quiet: bool) -> anyhow::Result<()> {
        for warning in self.warnings.iter().filter(|_| !quiet) {
            say!("warning: {warning}");
        }
        let bare = self.products.iter().find(|row| !row.scores.has_masks);
        if let (Some(row), false) = (bare.filter(|_| layout != Layout::Folder), quiet) {
            say!("note: {} has no masks: photos are measured, not pixels", row.scores.product);
        }
        let mut out = std::io::stdout().lock();
        printed(match format {
            SummaryFormat::Table => table(&mut out, layout, self),
            SummaryFormat::Json => json_line(&mut out, self),
        })?;
        Ok(())
    }

    /// Writes `metrics.json`, `metrics.csv`, `report.html` with its small pictures, and for MVTec LOCO `official/<product>/metrics.json` as
    /// MVTec's script writes it.
    pub fn write(&self, layout: Layout, run: &Run, samples: &[Sample]) -> anyhow::Result<()> {
        let folder = run.folder();
        let page = page::of(self, layout, run, samples)?;
        write_whole(&folder.join(page::FILE), page.html().as_bytes())?;
        write_whole(&folder.join("metrics.json"), &serde_json::to_vec_pretty(self)?)?;
        write_whole(&folder.join("metrics.csv"), &self.csv()?)?;
        for row in self.products.iter().filter(|_| layout == Layout::Loco) {
            let names = ["official".as_ref(), row.scores.product.as_ref(), "metrics.json".as_ref()];
            let file = below(folder, &names)?;
            write_whole(&file, &official(&row.scores)?)?;
        }
        Ok(())
    }
}

/// The file that MVTec LOCO's own script writes for a product: four spaces per level, keys in order.
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

fn table(out: &mut impl Write, layout: Layout, report: &EvalReport) -> std::io::Result<()> {
    let (title, limit) = if layout == Layout::Loco { ("AU-sPRO", 0.05) } else { ("AU-PRO", 0.3) };
    writeln!(out, "{}", shown(&report.title()))?;
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
    writeln!(out, "AUROC, AP and highest F1 of photos and of pixels, {title} up to {limit}")?;
    notes(out, layout, report)
}

/// The lines below the table, which explain the numbers.
fn notes(out: &mut impl Write, layout: Layout, report: &EvalReport) -> std::io::Result<()> {
    let about = &report.about;
    if let (Layout::Loco, None, Some(auroc)) = (layout, &about.maps, report.mean.map_maximum_auroc)
    {
        writeln!(
            out,
            "AUROC of photos by the highest value of each map, as in MVTec's script: {auroc:.3}"
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
        writeln!(out, "not zero-shot: every photo was compared with other test photos")?;
    }
    if let Some(adapter) = &about.adapter {
        let data = about.adapter_training_data.as_deref().unwrap_or("unknown data");
        let licence =
            about.adapter_licence.as_ref().map_or(String::new(), |licence| format!(" ({licence})"));
        writeln!(out, "{}", shown(&format!("adapter {adapter}, trained on {data}{licence}")))?;
    }
    Ok(())
}
