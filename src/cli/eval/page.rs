//! The content of `report.html`.

use blemish::data::{Layout, Sample};
use blemish::eval::Run;
use blemish::html::{Page, Picture, Section};
use blemish::image::Mask;
use blemish::{BitDepth, Error, Photo, render};

use super::about::Protocol;
use super::report::{EvalReport, Row};
use super::set::by_product;

/// How many photos of each sort are shown for a product.
const PICTURES: usize = 3;
/// The longer side of these pictures in pixels.
const SIDE: u32 = 320;

pub fn of(
    report: &EvalReport,
    layout: Layout,
    run: &Run,
    samples: &[Sample],
) -> anyhow::Result<Page> {
    let about = &report.about;
    let depth = about.bit_depth.map_or(Ok(BitDepth::default()), BitDepth::new)?;
    let mut products = Vec::new();
    for (row, samples) in report.products.iter().zip(by_product(samples).values()) {
        products.push(section(row, run, samples, depth)?);
    }
    Ok(Page {
        title: "Measured by blemish".into(),
        facts: facts(report),
        warnings: warnings(report),
        products,
        mean: report.mean.clone(),
        region_metric: if layout == Layout::Loco { "AU-sPRO" } else { "AU-PRO" }.into(),
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

fn section(row: &Row, run: &Run, samples: &[&Sample], depth: BitDepth) -> blemish::Result<Section> {
    let scores = &row.scores;
    let mut rows = vec![("all".to_string(), scores.good, scores.anomalous, scores.all.clone())];
    for (kind, metrics) in &scores.kinds {
        rows.push((kind.clone(), scores.good, metrics.photos, metrics.clone()));
    }
    let mut order: Vec<(f32, &Sample)> =
        scores.photo_scores.iter().copied().zip(samples.iter().copied()).collect();
    order.sort_by(|a, b| b.0.total_cmp(&a.0));
    let of = |is_anomalous: bool| order.iter().filter(move |(_, s)| s.is_anomalous == is_anomalous);
    let found = of(true).take(PICTURES).map(|p| ("highest scores of defective photos", p));
    let missed = of(true).rev().take(PICTURES).map(|p| ("lowest scores of defective photos", p));
    let alarms = of(false).take(PICTURES).map(|p| ("highest scores of good photos", p));
    let mut pictures = Vec::new();
    for (sort, (score, sample)) in found.chain(missed).chain(alarms) {
        pictures.push(picture(run, sample, depth, sort, *score)?);
    }
    let of_kind = |is_anomalous| of(is_anomalous).map(|(score, _)| *score).collect();
    Ok(Section {
        name: scores.product.clone(),
        rows,
        good: of_kind(false),
        bad: of_kind(true),
        overlap: scores.overlap.clone(),
        pictures,
    })
}

fn picture(
    run: &Run,
    sample: &Sample,
    depth: BitDepth,
    sort: &str,
    score: f32,
) -> blemish::Result<Picture> {
    let photo = Photo::open(&sample.photo, depth)?;
    let mask = match sample.is_anomalous {
        true => Mask::open(&sample.masks, photo.width(), photo.height())?,
        false => Mask::empty(photo.width(), photo.height()),
    };
    let found = run.known(sample)?.ok_or_else(|| Error::Data {
        path: sample.photo.clone(),
        why: "has no result in this run".into(),
    })?;
    let name = sample.photo.file_name().unwrap_or_default().to_string_lossy();
    Ok(Picture {
        caption: format!("{}/{name}: {score:.3}, {sort}", sample.kind),
        png: render::outlined(&photo, &found.map, &mask, SIDE),
    })
}
