//! The content of `report.html`.

use std::path::Path;

use blemish::data::{Layout, Sample};
use blemish::detect::AnomalyMap;
use blemish::eval::{Metrics, Run};
use blemish::image::Mask;
use blemish::page::{Gallery, GalleryPhoto, Page, Pictures, Section, Table, charts};
use blemish::render::Scale;
use blemish::{BitDepth, Error, Photo};
use rayon::prelude::*;

use super::about::Protocol;
use super::report::{EvalReport, Row};
use super::set::by_product;

/// The page's name in the folder of a run.
pub const FILE: &str = "report.html";

/// The page of a run. Small pictures of all its photos are written beside it.
pub fn of(
    report: &EvalReport,
    layout: Layout,
    run: &Run,
    samples: &[Sample],
) -> anyhow::Result<Page> {
    let depth = report.about.bit_depth.map_or(Ok(BitDepth::default()), BitDepth::new)?;
    let region = if layout == Layout::Loco { "AU-sPRO" } else { "AU-PRO" };
    let file = run.folder().join(FILE);
    let (mut sections, mut scored) = (Vec::new(), Vec::new());
    if report.products.len() > 1 {
        sections.push(overview(report, region));
    }
    for (row, samples) in report.products.iter().zip(by_product(samples).values()) {
        let own = row.scores.photo_scores.iter().copied().zip(samples.iter().copied());
        let own: Vec<(f32, &Sample)> = own.collect();
        sections.push(section(report, row, &own, region));
        scored.extend(own);
    }
    let drawn =
        |(index, scored): (usize, &(f32, &Sample))| photo(&file, (index, run), *scored, depth);
    let rows: blemish::Result<_> = scored.par_iter().enumerate().map(drawn).collect();
    Ok(Page {
        title: "Measured by blemish".into(),
        facts: facts(report),
        warnings: warnings(report),
        sections,
        gallery: Gallery { rows: rows?, ..Gallery::default() },
    })
}

/// What the numbers depend on.
fn facts(report: &EvalReport) -> Vec<(String, String)> {
    let about = &report.about;
    let text = |value: &Option<String>| value.clone().unwrap_or("-".into());
    let mut facts = vec![
        (
            "model".to_string(),
            format!("{} (SHA-256 {})", text(&about.model), text(&about.model_sha256)),
        ),
        ("input".into(), format!("{} pixels, {}", about.size.unwrap_or(0), text(&about.fit))),
        ("precision".into(), text(&about.precision)),
        ("method".into(), text(&about.method)),
        ("protocol".into(), about.protocol.map_or("-".into(), |p| p.name().to_string())),
        ("prompts".into(), text(&about.prompts)),
        ("curves of regions".into(), report.curve.clone()),
    ];
    if about.references > 0 {
        let value = format!(
            "{}, the first {} good training photos",
            text(&about.reference_method),
            about.references
        );
        facts.push(("references".into(), value));
    }
    let calibration = about.calibration.as_deref().unwrap_or("none");
    let normalised = match about.protocol {
        Some(Protocol::Transductive) => {
            "scores and maps are put on the scale of the product's test photos"
        }
        Some(_) => "nothing is normalised over the test photos",
        None => "it is not known how the maps were normalised",
    };
    facts.push(("calibration".into(), format!("{calibration}; {normalised}")));
    if let Some(neighbours) = &about.neighbours {
        facts.push(("photos compared with each other".into(), neighbours.clone()));
    }
    if about.adapter.is_some() {
        let value = format!(
            "{} (SHA-256 {}), trained on {}",
            text(&about.adapter),
            text(&about.adapter_sha256),
            about.adapter_training_data.as_deref().unwrap_or("unknown data")
        );
        facts.push(("adapter".into(), value));
    }
    for p in &report.published {
        let value = format!(
            "AUROC {:.3}, AP {:.3}, F1 {:.3} of photos",
            p.image_auroc, p.image_ap, p.image_f1_max
        );
        facts.push((format!("published: {}", p.source), value));
    }
    facts
}

/// Warnings about the numbers.
fn warnings(report: &EvalReport) -> Vec<String> {
    let about = &report.about;
    let mut warnings = report.warnings.clone();
    if about.references > 0 {
        warnings.push(format!(
            "Not zero-shot: every photo was compared with {} good training photos.",
            about.references
        ));
    }
    if about.protocol == Some(Protocol::Transductive) {
        warnings.push("Not zero-shot (transductive): photos are compared with each other.".into());
    }
    for row in &report.products {
        if row.named.leak == Some(true) {
            let product = &row.scores.product;
            warnings.push(format!("Not zero-shot on {product}: the adapter was trained on it."));
        }
    }
    warnings
}

/// The numbers of a product, its curves, and the histogram of its scores.
fn section(report: &EvalReport, row: &Row, scores: &[(f32, &Sample)], region: &str) -> Section {
    let own = &row.scores;
    let mut rows = vec![cells("all", (own.good, own.anomalous), &own.all)];
    for (kind, metrics) in &own.kinds {
        rows.push(cells(kind, (own.good, metrics.photos), metrics));
    }
    let of = |is_anomalous: bool| -> Vec<f32> {
        let own = scores.iter().filter(|(_, sample)| sample.is_anomalous == is_anomalous);
        own.map(|(score, _)| *score).collect()
    };
    let (good, bad) = (of(false), of(true));
    let rate = "false-positive rate";
    let mut diagrams = vec![
        charts::histogram(&good, &bad),
        charts::curve("ROC of photos", rate, "recall", &charts::roc(&good, &bad)),
    ];
    if !own.overlap.is_empty() {
        let name = region.trim_start_matches("AU-");
        diagrams.push(charts::curve(name, rate, "mean overlap", &own.overlap));
    }
    let head = head(report, region);
    Section {
        name: own.product.clone(),
        tables: vec![Table { head, rows }],
        charts: diagrams,
        notes: vec![],
    }
}

/// The mean over the products, and each product.
fn overview(report: &EvalReport, region: &str) -> Section {
    let row = |row: &Row| {
        let own = &row.scores;
        cells(&own.product, (own.good, own.anomalous), &own.all)
    };
    let mut rows: Vec<Vec<String>> = report.products.iter().map(row).collect();
    let mut mean = cells("mean", (0, 0), &report.mean);
    mean[1..3].fill(String::new());
    rows.push(mean);
    let tables = vec![Table { head: head(report, region), rows }];
    Section { name: "All products".into(), tables, ..Section::default() }
}

fn head(report: &EvalReport, region: &str) -> Vec<String> {
    let names = "good,bad,AUROC,95 %,AP,F1,pixel AUROC,AP,F1".split(',').map(String::from);
    let limits = report.mean.au_pro.keys().map(|limit| format!("{region}@{limit}"));
    std::iter::once(String::new()).chain(names).chain(limits).collect()
}

fn cells(name: &str, (good, bad): (usize, usize), m: &Metrics) -> Vec<String> {
    let number = |value: Option<f64>| value.map_or("-".into(), |value| format!("{value:.3}"));
    let interval = m.image_auroc_95.map_or("-".into(), |(a, b)| format!("{a:.3}..{b:.3}"));
    let mut cells = vec![name.to_string(), good.to_string(), bad.to_string()];
    cells.extend([number(m.image_auroc), interval]);
    let others = [m.image_ap, m.image_f1_max, m.pixel_auroc, m.pixel_ap, m.pixel_f1_max];
    cells.extend(others.map(number));
    cells.extend(m.au_pro.values().map(|value| number(Some(*value))));
    cells
}

/// A photo of a run with its small pictures, which are written beside the page.
fn photo(
    page: &Path,
    (index, run): (usize, &Run),
    (score, sample): (f32, &Sample),
    depth: BitDepth,
) -> blemish::Result<GalleryPhoto> {
    let photo = Photo::open(&sample.photo, depth)?;
    let found = run.known(sample)?.ok_or_else(|| Error::Data {
        path: sample.photo.clone(),
        why: "has no result in this run".into(),
    })?;
    let row = labelled(Some(page), index, (sample, &photo), (&found.map, Scale::default()))?;
    Ok(GalleryPhoto { score, ..row })
}

/// What a page shows of a labelled photo, but its score. Its small pictures are written if there is a page.
pub fn labelled(
    page: Option<&Path>,
    index: usize,
    (sample, photo): (&Sample, &Photo),
    map: (&AnomalyMap, Scale),
) -> blemish::Result<GalleryPhoto> {
    let (width, height) = (photo.width(), photo.height());
    let mut pictures = Pictures::default();
    if let Some(page) = page {
        let mask = (!sample.masks.is_empty()).then(|| Mask::open(&sample.masks, width, height));
        let mask = mask.transpose()?;
        let key = format!("{index:05}");
        pictures = Pictures::write(page, &key, (&sample.photo, photo), map, mask.as_ref())?;
    }
    let (x, y, _) = map.0.peak();
    Ok(GalleryPhoto {
        path: sample.photo.to_string_lossy().into_owned(),
        kind: Some(sample.kind.clone()),
        label: Some(if sample.is_anomalous { "bad" } else { "good" }),
        width,
        height,
        x,
        y,
        pictures,
        ..GalleryPhoto::default()
    })
}
