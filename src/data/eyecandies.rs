//! Eyecandies (Bonfiglioli et al. 2022, arXiv 2210.04570): rendered sweets under six lights.

use std::path::{Path, PathBuf};

use super::{Sample, folders, list, name, stem, unicode};
use crate::error::{Error, Result};

/// Its names of anomalies.
const ANOMALIES: [&str; 4] = ["bumps", "colors", "dents", "normals"];
const MOST_BYTES: u64 = 1 << 20;

/// The photos of the public test part. Each photo is a sample with the mask of its part.
pub fn samples(root: &Path) -> Result<Vec<Sample>> {
    let mut samples = Vec::new();
    for product in products(root)? {
        for photo in photos(&product.join("test_public/data"))? {
            let kind = kind(&photo)?;
            let mask = beside(&photo, "mask.png");
            samples.push(Sample {
                product: name(&product),
                is_anomalous: kind.is_some(),
                masks: if kind.is_some() && mask.is_file() { vec![mask] } else { vec![] },
                kind: kind.unwrap_or_else(|| "good".into()),
                photo,
                part: None,
            });
        }
    }
    Ok(samples)
}

/// The photos of a product's training part. All parts in it are good.
pub fn training(root: &Path, product: &str) -> Result<Vec<PathBuf>> {
    let found = products(root)?.into_iter().find(|folder| name(folder) == product);
    found.map_or(Ok(vec![]), |folder| photos(&folder.join("train/data")))
}

/// `root` itself, or the folders in it.
fn products(root: &Path) -> Result<Vec<PathBuf>> {
    let is_one = |folder: &Path| folder.join("test_public/data").is_dir();
    if is_one(root) {
        return Ok(vec![root.to_path_buf()]);
    }
    unicode(folders(root)?.into_iter().filter(|folder| is_one(folder)).collect())
}

/// The photos of a folder. It also holds depths, normals and masks.
fn photos(folder: &Path) -> Result<Vec<PathBuf>> {
    if !folder.is_dir() {
        return Ok(vec![]);
    }
    let is_photo = |path: &PathBuf| {
        path.extension().is_some_and(|end| end == "png") && stem(path).contains("_image_")
    };
    Ok(list(folder)?.into_iter().filter(is_photo).collect())
}

/// A file of the same part.
fn beside(photo: &Path, end: &str) -> PathBuf {
    let stem = stem(photo);
    let part = stem.split("_image_").next().unwrap_or_default();
    photo.with_file_name(format!("{part}_{end}"))
}

/// What is wrong with the part, by its metadata: lines such as `dents: 1`. None for a good part.
fn kind(photo: &Path) -> Result<Option<String>> {
    let file = beside(photo, "metadata.yaml");
    let read = crate::files::read_text(&file, MOST_BYTES);
    let text = read.map_err(|source| Error::Read { path: file.clone(), source })?;
    let text = String::from_utf8_lossy(&text);
    let is_set = |wanted: &str| {
        let mut fields = text.lines().filter_map(|line| line.split_once(':'));
        fields.any(|(field, value)| {
            field.trim() == wanted && matches!(value.trim(), "1" | "true" | "1.0")
        })
    };
    let kinds: Vec<&str> = ANOMALIES.into_iter().filter(|kind| is_set(kind)).collect();
    Ok(match (is_set("anomalous") || !kinds.is_empty(), kinds.is_empty()) {
        (false, _) => None,
        (true, true) => Some("anomalous".into()),
        (true, false) => Some(kinds.join("_")),
    })
}
