//! The photos of a page, and their small pictures.

use std::path::{Path, PathBuf};

use serde::Serialize;

use crate::detect::AnomalyMap;
use crate::error::Result;
use crate::files::write_whole;
use crate::image::{Mask, Photo};
use crate::profile::Calibration;
use crate::render::{Scale, mask_outline, palette, photo_thumbnail, thumbnail_heat};
use crate::report::{Record, is_other_product};

/// The longer side of a small photo in pixels.
const SIDE: usize = 360;
/// The longer side of a small map. A map is smooth, and the browser enlarges it.
const MAP_SIDE: usize = 128;

/// The photos of a page: a person looks through them, moves the line between ok and ng, and marks photos.
#[derive(Debug, Default, Serialize)]
pub struct Gallery {
    /// The photos.
    pub rows: Vec<GalleryPhoto>,
    /// The scores of good photos in ascending order. They turn a line into a false-alarm rate. Empty if there are none.
    pub calibration: Vec<f32>,
    /// The false-alarm rate of the run.
    pub false_alarm: f64,
    /// Photos above this score are ng.
    pub line: Option<f32>,
    /// What the colours mean.
    pub scale: Legend,
}

/// One photo on a page.
#[derive(Clone, Debug, Default, Serialize)]
pub struct GalleryPhoto {
    /// Its file, as it was found.
    pub path: String,
    /// 0..1, higher is more anomalous. NaN if it has none.
    pub score: f32,
    /// `ok`, `ng` or `uncertain`.
    pub verdict: Option<&'static str>,
    /// The kind of defect.
    pub kind: Option<String>,
    /// What is known of the photo: `good` or `bad`.
    pub label: Option<&'static str>,
    /// The discounted share, 0..1.
    pub ignored: f64,
    /// Whether it resembles no reference photo.
    pub is_other: bool,
    /// Width of the upright photo in pixels.
    pub width: usize,
    /// Height of the upright photo in pixels.
    pub height: usize,
    /// Column of the highest value of the map.
    pub x: usize,
    /// Row of the highest value of the map.
    pub y: usize,
    /// The small pictures.
    #[serde(flatten)]
    pub pictures: Pictures,
}

impl GalleryPhoto {
    /// The row of a record.
    pub fn of(record: &Record, pictures: Pictures) -> Self {
        Self {
            path: record.path.clone(),
            score: record.score,
            verdict: record.verdict,
            kind: record.defect.clone(),
            label: None,
            ignored: record.ignored.iter().map(|thing| thing.area).sum(),
            is_other: is_other_product(record.unlike_references),
            width: record.width,
            height: record.height,
            x: record.peak_x,
            y: record.peak_y,
            pictures,
        }
    }
}

/// The pictures of a photo: paths relative to the page, or data URLs.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Pictures {
    /// The photo itself, if its path can be written.
    pub photo: Option<String>,
    /// The small photo.
    pub thumb: String,
    /// The small map.
    pub map: Option<String>,
    /// The outline of the ground truth.
    pub truth: Option<String>,
    /// The heat map as a file.
    pub overlay: Option<String>,
}

/// What the colours mean.
#[derive(Clone, Debug, Serialize)]
pub struct Legend {
    /// The value at the cold end.
    pub low: f32,
    /// The value at the hot end.
    pub high: f32,
    /// `run`: the same for all photos. `profile`: set by good parts. `image`: a scale for each photo.
    pub of: &'static str,
    colours: Vec<String>,
}

impl Legend {
    /// The colours between two values.
    pub fn new(scale: Scale, of: &'static str) -> Self {
        Self { low: scale.low, high: scale.high, of, colours: palette() }
    }
}

impl Default for Legend {
    fn default() -> Self {
        Self::new(Scale::default(), "run")
    }
}

impl Gallery {
    /// No photos yet, and the line between ok and ng at a false-alarm rate.
    pub fn with_line(calibration: &Calibration, false_alarm: f64, scale: Legend) -> Self {
        Self {
            rows: vec![],
            calibration: calibration.scores().to_vec(),
            false_alarm,
            line: calibration.threshold(false_alarm),
            scale,
        }
    }

    pub(super) fn json(&self) -> String {
        serde_json::to_string(self).expect("numbers and text")
    }
}

impl Pictures {
    /// Writes the small pictures of a photo into the folder of a page: `page.html` has `page_files/`. `key` begins their
    /// names, and is another one for every photo.
    ///
    /// # Errors
    /// If a file cannot be written.
    pub fn write(
        page: &Path,
        key: &str,
        (path, photo): (&Path, &Photo),
        map: (&AnomalyMap, Scale),
        truth: Option<&Mask>,
    ) -> Result<Self> {
        let folder = folder(page);
        let name = folder.file_name().unwrap_or_default().to_string_lossy();
        let keep = |ending: &str, bytes: Vec<u8>| -> Result<String> {
            let file = format!("{key}{ending}");
            write_whole(&folder.join(&file), &bytes)?;
            Ok(format!("{name}/{file}"))
        };
        let truth = truth.map(|mask| keep(".truth.png", mask_outline(mask, SIDE)));
        let (thumb, map) = Self::drawn(photo, map);
        Ok(Self {
            photo: relative(page, path),
            thumb: keep(".jpg", thumb)?,
            map: Some(keep(".map.png", map)?),
            truth: truth.transpose()?,
            overlay: None,
        })
    }

    /// The small photo as JPEG, and the small map as PNG.
    pub fn drawn(photo: &Photo, (map, scale): (&AnomalyMap, Scale)) -> (Vec<u8>, Vec<u8>) {
        (photo_thumbnail(photo, SIDE), thumbnail_heat(map, scale, MAP_SIDE))
    }

    /// The small pictures that [`Self::write`] wrote before. They are left out if they are gone.
    pub fn known(page: &Path, key: &str, path: &Path) -> Self {
        let folder = folder(page);
        let name = folder.file_name().unwrap_or_default().to_string_lossy();
        let found = |ending: &str| {
            let file = format!("{key}{ending}");
            folder.join(&file).is_file().then(|| format!("{name}/{file}"))
        };
        let (thumb, map) = (found(".jpg").unwrap_or_default(), found(".map.png"));
        Self { photo: relative(page, path), thumb, map, truth: found(".truth.png"), overlay: None }
    }

    /// A small photo inside the page.
    pub fn inside(page: &Path, path: &Path, photo: &Photo) -> Self {
        use base64::Engine;
        let encoded =
            base64::engine::general_purpose::STANDARD.encode(photo_thumbnail(photo, SIDE));
        let thumb = format!("data:image/jpeg;base64,{encoded}");
        Self { photo: relative(page, path), thumb, ..Self::default() }
    }

    /// Adds the heat map that was written as a file.
    pub fn with_overlay(self, page: &Path, overlay: &Path) -> Self {
        Self { overlay: relative(page, overlay), ..self }
    }
}

/// The folder of a page's pictures.
pub fn folder(page: &Path) -> PathBuf {
    let stem = page.file_stem().unwrap_or_default().to_string_lossy();
    page.with_file_name(format!("{stem}_files"))
}

/// A file as the page names it, with `/` between folders. None if no address leads there.
fn relative(page: &Path, file: &Path) -> Option<String> {
    // Both with all links resolved, because the browser does not resolve `..` after a link.
    let real = |path: &Path| match path.as_os_str().is_empty() {
        true => Path::new(".").canonicalize().ok(),
        false => path.canonicalize().ok(),
    };
    let (from, to) = (real(page.parent()?)?, real(file)?);
    let path = pathdiff::diff_paths(to, from).filter(|path| path.is_relative())?;
    let parts: Option<Vec<&str>> = path.iter().map(|part| part.to_str()).collect();
    Some(parts?.join("/"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_page_finds_its_photos_from_where_it_is() {
        let home = tempfile::tempdir().unwrap();
        let at = |name: &str| home.path().join(name);
        for name in ["a b/1.png", "out/a/1.png"] {
            write_whole(&at(name), b"").unwrap();
        }
        let page = at("out/index.html");
        assert_eq!(relative(&page, &at("a b/1.png")).unwrap(), "../a b/1.png");
        assert_eq!(relative(&at("a b/../out/index.html"), &at("out/a/1.png")).unwrap(), "a/1.png");
        assert_eq!(relative(&page, &at("gone.png")), None);
        assert_eq!(folder(&page), at("out/index_files"));
    }
}
