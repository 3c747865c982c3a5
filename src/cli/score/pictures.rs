//! Draws what `--out` asks for: heat maps, maps as TIFF, and the page.

use std::path::{Path, PathBuf};

use blemish::files::{sha256, write_whole};
use blemish::page::{Gallery, GalleryPhoto, Legend, Page, Pictures, facts};
use blemish::render;
use blemish::report::{Record, is_other_product};
use blemish::scorer::Context;
use blemish::{Finding, Photo};
use serde_json::Value;

use super::plan::Drawing;
use crate::cli::inputs::with_suffix;

/// A photo that is drawn.
pub struct Drawn<'a> {
    pub path: &'a Path,
    pub photo: &'a Photo,
    /// The path of its pictures without extension.
    pub target: &'a Path,
}

/// The start of the names of a photo's small pictures. A run that continues another one finds them again.
fn key(overlay: &Path) -> String {
    sha256(overlay.as_os_str().as_encoded_bytes())[..16].to_string()
}

/// Writes the pictures and maps of a photo. Their paths go into the record. Returns the pictures for the page.
pub fn draw(
    context: &Context,
    drawing: &Drawing,
    drawn: &Drawn,
    finding: &Finding,
    record: &mut Record,
) -> blemish::Result<Option<Pictures>> {
    let overlay = with_suffix(drawn.target, "png");
    let picture = context.overlay(drawn.photo, (record, finding), drawing.scale, drawing.has_strip);
    write_whole(&overlay, &picture)?;
    record.overlay = Some(overlay.to_string_lossy().into_owned());
    if drawing.save_map {
        save_maps(drawing, drawn.target, finding, record)?;
    }
    let Some(page) = &drawing.page else { return Ok(None) };
    let (scale, _) = context.colours(drawing.scale, &finding.map);
    let photo = (drawn.path, drawn.photo);
    let pictures = Pictures::write(page, &key(&overlay), photo, (&finding.map, scale), None)?;
    Ok(Some(pictures.with_overlay(page, &overlay)))
}

fn save_maps(
    drawing: &Drawing,
    target: &Path,
    finding: &Finding,
    record: &mut Record,
) -> blemish::Result<()> {
    let map = with_suffix(target, "tiff");
    write_whole(&map, &render::tiff(&finding.map))?;
    record.map = Some(map.to_string_lossy().into_owned());
    let defects = finding.kinds.iter().filter(|kind| kind.is_defect);
    let files = defects.zip(&drawing.defect_files).zip(&mut record.defects);
    for ((kind, file), row) in files {
        let map = with_suffix(target, file);
        write_whole(&map, &render::tiff(&finding.map_of(kind)))?;
        row.map = Some(map.to_string_lossy().into_owned());
    }
    Ok(())
}

/// The page of a run, `index.html` in the folder of `--out`.
pub struct ScorePage {
    file: PathBuf,
    page: Page,
}

impl ScorePage {
    pub fn new(file: PathBuf, context: &Context, drawing: &Drawing) -> Self {
        let (scale, of) = context.legend(drawing.scale);
        let legend = Legend::new(scale, of);
        let gallery = match context.calibration() {
            Some((calibration, rate)) => Gallery::with_line(calibration, rate, legend),
            None => Gallery { scale: legend, ..Gallery::default() },
        };
        let title = format!("blemish: {}", context.product().name());
        Self { file, page: Page { title, gallery, ..Page::default() } }
    }

    pub fn add(&mut self, record: &Record, pictures: Pictures) {
        if self.page.facts.is_empty() {
            self.page.facts = facts(&serde_json::to_value(record).unwrap_or_default());
        }
        self.page.gallery.rows.push(GalleryPhoto::of(record, pictures));
    }

    /// Adds a result of an earlier run. Its pictures are beside the page, if they are still there.
    pub fn add_earlier(&mut self, row: &Value) {
        if self.page.facts.is_empty() {
            self.page.facts = facts(row);
        }
        let text = |field: &str| row[field].as_str().map(String::from);
        let number = |field: &str| row[field].as_u64().unwrap_or_default() as usize;
        let areas = row["ignored"].as_array().into_iter().flatten();
        let (path, overlay) = (text("path").unwrap_or_default(), text("overlay"));
        let pictures = overlay.as_deref().map_or(Pictures::default(), |overlay| {
            let key = key(Path::new(overlay));
            Pictures::known(&self.file, &key, Path::new(&path))
                .with_overlay(&self.file, Path::new(overlay))
        });
        self.page.gallery.rows.push(GalleryPhoto {
            score: row["score"].as_f64().unwrap_or_default() as f32,
            verdict: ["ok", "ng", "uncertain"]
                .into_iter()
                .find(|verdict| row["verdict"] == *verdict),
            kind: text("defect"),
            is_other: is_other_product(row["unlike_references"].as_f64()),
            ignored: areas.filter_map(|thing| thing["area"].as_f64()).sum(),
            width: number("width"),
            height: number("height"),
            x: number("peak_x"),
            y: number("peak_y"),
            path,
            pictures,
            ..GalleryPhoto::default()
        });
    }

    /// Writes the page. Returns its file, or None if it has no photos.
    pub fn write(mut self, warnings: Vec<String>) -> blemish::Result<Option<PathBuf>> {
        if self.page.gallery.rows.is_empty() {
            return Ok(None);
        }
        self.page.warnings = warnings;
        write_whole(&self.file, self.page.html().as_bytes())?;
        Ok(Some(self.file))
    }
}
