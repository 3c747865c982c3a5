//! The page of a new profile: what it finds, and its good photos.

use std::collections::HashMap;
use std::path::{Path, PathBuf};

use blemish::files::{files_sha256, write_whole};
use blemish::page::{Gallery, GalleryPhoto, Legend, Page, Pictures, Section, Table};
use blemish::profile::{KindReadiness, ReferenceAbout};
use blemish::{Photo, Profile};

use super::summary::Summary;

/// Writes the page. `photos`: the references and the calibration photos.
pub fn write<'a>(
    page: &Path,
    summary: &Summary,
    profile: &Profile,
    photos: impl Iterator<Item = &'a PathBuf>,
) -> anyhow::Result<()> {
    let about = profile.about();
    let known = about.references.iter().map(|photo| ("reference", photo));
    let known = known.chain(about.calibration.iter().map(|photo| ("calibration", photo)));
    let mut known: HashMap<&str, (&str, &ReferenceAbout)> =
        known.map(|(role, photo)| (&*photo.sha256, (role, photo))).collect();
    let mut rows = Vec::new();
    for path in photos {
        // A copy of another photo is not in the profile, and a photo that could not be read was reported.
        let Some((role, good)) =
            files_sha256(std::slice::from_ref(path)).ok().and_then(|hash| known.remove(&*hash))
        else {
            continue;
        };
        let photo = Photo::open(path, profile.bit_depth()?)?;
        let odd = if good.is_odd { ", odd" } else { "" };
        rows.push(GalleryPhoto {
            path: path.to_string_lossy().into_owned(),
            score: good.score.unwrap_or(f32::NAN),
            kind: Some(format!("{role}{odd}")),
            width: photo.width(),
            height: photo.height(),
            pictures: Pictures::inside(page, path, &photo),
            ..GalleryPhoto::default()
        });
    }
    let gallery = Gallery {
        rows,
        ..Gallery::with_line(&profile.calibration(), about.false_alarm, Legend::default())
    };
    let title = format!("blemish: profile of {}", about.product);
    let (facts, sections) = (summary.facts(), sections(summary));
    let content = Page { title, facts, warnings: vec![], sections, gallery };
    Ok(write_whole(page, content.html().as_bytes())?)
}

fn sections(summary: &Summary) -> Vec<Section> {
    let percent = |share: Option<f64>| share.map_or("-".into(), |s| format!("{:.0} %", s * 100.0));
    let row =
        |kind: &KindReadiness| vec![kind.kind.clone(), percent(kind.clear), percent(kind.slight)];
    let head = ["", "clear", "slight"].map(String::from).to_vec();
    let damage = Table { head, rows: summary.readiness.kinds.iter().map(row).collect() };
    let mut sections = vec![Section {
        name: "Simulated damage that is found".into(),
        tables: vec![damage],
        notes: vec![summary.verdict()],
        ..Section::default()
    }];
    if !summary.on_bad.is_empty() {
        let number = |value: Option<f64>| value.map_or("-".into(), |value| format!("{value:.3}"));
        let row = |on: &super::bad::OnBad| {
            let found = format!("{} of {}", on.found, on.photos);
            vec![on.reference_method.to_string(), found, number(on.image_auroc)]
        };
        let head = ["method", "found", "AUROC"].map(String::from).to_vec();
        let table = Table { head, rows: summary.on_bad.iter().map(row).collect() };
        sections.push(Section {
            name: "Your defective photos".into(),
            tables: vec![table],
            notes: vec![summary.best()],
            ..Section::default()
        });
    }
    sections
}
