//! Data sets of labelled photos in their published layouts: which photos there are, of which product and kind, and
//! where their masks are.

mod eyecandies;
mod views;
mod visa;

use std::collections::{BTreeMap, HashMap, HashSet};
use std::path::{Path, PathBuf};

use walkdir::WalkDir;

use crate::error::{Error, Result};

pub use views::{Grouped, Part, Views};

/// The layout of a data set's files.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Layout {
    /// `<product>/test/<kind>/<name>.png` and `<product>/ground_truth/<kind>/<name>_mask.png`. Also VisA in this form,
    /// with masks `<name>.png`, and AutoVI, with a folder of masks for each photo.
    Mvtec,
    /// As [`Layout::Mvtec`], with a folder of masks for each photo: `ground_truth/<kind>/<name>/000.png`.
    Loco,
    /// VisA as published, with `split_csv/1cls.csv`.
    Visa,
    /// `good` (or `ok`, `normal`) beside folders of defective photos. Masks are optional, in
    /// `ground_truth/<kind>/<name>_mask.png`.
    Folder,
    /// Eyecandies: six photos of each part, `<product>/<split>/data/<part>_image_<light>.png`, and `<part>_mask.png`.
    Eyecandies,
}

impl Layout {
    /// All layouts.
    pub const ALL: [Self; 5] =
        [Self::Mvtec, Self::Loco, Self::Visa, Self::Folder, Self::Eyecandies];

    /// The name that the command line and results use.
    pub fn name(self) -> &'static str {
        match self {
            Self::Mvtec => "mvtec",
            Self::Loco => "loco",
            Self::Visa => "visa",
            Self::Folder => "folder",
            Self::Eyecandies => "eyecandies",
        }
    }
}

/// A labelled photo.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sample {
    /// The photo's file. If the part has several photos, the first of them.
    pub photo: PathBuf,
    /// The part with all its photos, after [`parts`].
    pub part: Option<Part>,
    /// Name of the product's folder.
    pub product: String,
    /// Name of the folder of its kind. `good` for good photos.
    pub kind: String,
    /// Whether it is defective.
    pub is_anomalous: bool,
    /// The files of its masks. A pixel is defective if any mask marks it. Empty for good photos.
    pub masks: Vec<PathBuf>,
}

impl Sample {
    /// The files of all its photos.
    pub fn files(&self) -> Vec<PathBuf> {
        match &self.part {
            Some(part) => part.photos.iter().map(|(_, photo)| photo.clone()).collect(),
            None => vec![self.photo.clone()],
        }
    }
}

/// Names of the folders of good photos.
const GOOD: [&str; 3] = ["good", "ok", "normal"];
/// File endings of photos.
pub const ENDINGS: [&str; 7] = ["png", "jpg", "jpeg", "bmp", "tif", "tiff", "webp"];

/// The labelled photos of a data set, in order of product, kind and name. If there are several splits, only the test
/// split. If `layout` is `None`, it is detected.
///
/// # Errors
/// [`Error::Data`] if the folder has no photos, or another layout. A defective photo without a mask is not an error
/// here (see [`require_masks`]).
pub fn samples(root: &Path, layout: Option<Layout>) -> Result<Vec<Sample>> {
    let layout = match layout {
        Some(layout) => layout,
        None => detect(root)?,
    };
    let samples = match layout {
        Layout::Visa => visa::samples(root)?,
        Layout::Folder => folder(root)?,
        Layout::Eyecandies => eyecandies::samples(root)?,
        Layout::Mvtec | Layout::Loco => {
            let mut all = Vec::new();
            for product in products(root)? {
                all.extend(mvtec(&product, layout)?);
            }
            all
        }
    };
    if samples.is_empty() {
        let why = match layout {
            Layout::Mvtec | Layout::Loco => "no <product>/test/<kind>/ with photos in it",
            Layout::Visa => "no test photos in split_csv/1cls.csv",
            Layout::Folder => "no photos in folders such as good/ and scratch/",
            Layout::Eyecandies => {
                "no <product>/test_public/data/ with photos such as 00_image_0.png"
            }
        };
        return Err(Error::data(root, why));
    }
    Ok(samples)
}

/// The folders of products without test photos.
///
/// # Errors
/// [`Error::Read`].
pub fn empty_products(root: &Path, layout: Layout) -> Result<Vec<PathBuf>> {
    if !matches!(layout, Layout::Mvtec | Layout::Loco) {
        return Ok(vec![]);
    }
    let mut empty = products(root)?;
    let photos = empty.iter().map(|product| mvtec(product, layout)).collect::<Result<Vec<_>>>()?;
    let mut photos = photos.iter();
    empty.retain(|_| photos.next().is_some_and(Vec::is_empty));
    Ok(empty)
}

/// Files and folders beside these samples that are not part of the set: a file that is neither a photo nor a mask of a
/// photo, and an empty folder. The paths are relative to `root`. VisA's list names its files, so nothing is found
/// there.
///
/// # Errors
/// [`Error::Read`].
pub fn stray(root: &Path, layout: Layout, samples: &[Sample]) -> Result<Vec<PathBuf>> {
    let folders = match layout {
        Layout::Visa | Layout::Eyecandies => vec![],
        Layout::Folder => list(root)?.into_iter().filter(|path| path.is_dir()).collect(),
        Layout::Mvtec | Layout::Loco => {
            let of_product = |product: &PathBuf| ["test", "ground_truth"].map(|f| product.join(f));
            let measured = |product: &PathBuf| samples.iter().any(|s| s.product == name(product));
            products(root)?.iter().filter(|p| measured(p)).flat_map(of_product).collect()
        }
    };
    let known: HashSet<&Path> =
        samples.iter().flat_map(|s| s.masks.iter().chain([&s.photo])).map(|path| &**path).collect();
    let mut found = Vec::new();
    for folder in folders.iter().filter(|folder| folder.is_dir()) {
        // Links are followed. A link to a folder that contains the link is an error.
        let entries = WalkDir::new(folder).follow_links(true).sort_by_file_name().into_iter();
        for entry in entries.filter_entry(|e| e.depth() == 0 || !name(e.path()).starts_with('.')) {
            let entry = match entry {
                Ok(entry) => entry,
                Err(e) if e.loop_ancestor().is_some() => {
                    return Err(Error::data(folder, format!("cannot read: {e}")));
                }
                // For example a broken link.
                Err(e) => {
                    found.extend(e.path().map(PathBuf::from));
                    continue;
                }
            };
            let is_stray = match entry.file_type().is_dir() {
                true => list(entry.path())?.is_empty(),
                false => !known.contains(entry.path()),
            };
            if is_stray {
                found.push(entry.into_path());
            }
        }
    }
    let relative = |path: PathBuf| path.strip_prefix(root).map(PathBuf::from).unwrap_or(path);
    Ok(found.into_iter().map(relative).collect())
}

/// The good photos of a product's training part, in order of name.
///
/// # Errors
/// [`Error::Data`] if there is no training part, or no good photo in it.
pub fn good_training_photos(root: &Path, layout: Layout, product: &str) -> Result<Vec<PathBuf>> {
    let photos = match layout {
        Layout::Visa => visa::rows(root)?
            .into_iter()
            .filter(|row| row.split == "train" && row.label == "normal" && row.object == product)
            .map(|row| root.join(row.image))
            .collect(),
        Layout::Mvtec | Layout::Loco => {
            let found = products(root)?.into_iter().find(|folder| name(folder) == product);
            let folder = found.map(|folder| folder.join("train").join("good"));
            folder.filter(|folder| folder.is_dir()).map_or(Ok(vec![]), |folder| photos(&folder))?
        }
        Layout::Eyecandies => eyecandies::training(root, product)?,
        Layout::Folder => {
            let found = training_folders(root).into_iter().find(|folder| folder.is_dir());
            let folder = found.ok_or_else(|| {
                let why = "has no good training photos: put them into train/good in this folder, or beside it";
                Error::data(root, why)
            })?;
            photos(&folder)?
        }
    };
    if photos.is_empty() {
        return Err(Error::data(root, format!("has no good training photos of {product}")));
    }
    let mut photos: Vec<PathBuf> = photos;
    photos.sort();
    Ok(photos)
}

/// Where good training photos are in [`Layout::Folder`]: in the folder or beside it.
fn training_folders(root: &Path) -> [PathBuf; 2] {
    let root = root.canonicalize().unwrap_or_else(|_| root.to_path_buf());
    [root.join("train/good"), root.with_file_name("train").join("good")]
}

/// Refuses defective photos without a mask.
///
/// # Errors
/// [`Error::Data`], which names the first such photo.
pub fn require_masks<'a>(
    samples: impl IntoIterator<Item = &'a Sample, IntoIter: Clone>,
) -> Result<()> {
    let bare = samples.into_iter().filter(|sample| sample.is_anomalous && sample.masks.is_empty());
    match bare.clone().next() {
        None => Ok(()),
        Some(sample) => {
            let count = bare.count();
            let others =
                if count > 1 { format!(", nor have {} others", count - 1) } else { String::new() };
            let why = format!(
                "has no mask{others}: the defect has to be marked in a picture of the photo's size \
                 (ground_truth/{}/{}_mask.png)",
                sample.kind,
                stem(&sample.photo)
            );
            Err(Error::data(&sample.photo, why))
        }
    }
}

/// Joins the photos of each part into one sample, with the masks of all its photos.
///
/// # Errors
/// [`Error::Photo`] for a photo that the pattern does not describe, and for a part that has other lights than most.
pub fn parts(samples: Vec<Sample>, views: &Views) -> Result<Vec<Sample>> {
    let photos: Vec<PathBuf> = samples.iter().map(|sample| sample.photo.clone()).collect();
    let parts = whole_parts(&photos, views)?;
    let by_photo: HashMap<&PathBuf, &Sample> = samples.iter().map(|s| (&s.photo, s)).collect();
    let join = |part: Part| {
        let own = part.photos.iter().filter_map(|(_, photo)| by_photo.get(photo).copied());
        let own: Vec<&Sample> = own.collect();
        let mut masks: Vec<PathBuf> = own.iter().flat_map(|s| s.masks.clone()).collect();
        masks.sort();
        masks.dedup();
        let first = own.into_iter().find(|sample| sample.photo == part.first());
        first.map(|first| Sample { masks, part: Some(part), ..first.clone() })
    };
    Ok(parts.into_iter().filter_map(join).collect())
}

/// The parts of photos that a pattern describes. All have the same lights.
///
/// # Errors
/// As [`parts`].
pub fn whole_parts(photos: &[PathBuf], views: &Views) -> Result<Vec<Part>> {
    let Grouped { parts, others, mut errors } = views.group(photos);
    if !errors.is_empty() {
        return Err(errors.swap_remove(0));
    }
    if let Some(other) = others.first() {
        let why = format!("does not fit the pattern {}; change the pattern", views.pattern());
        return Err(Error::photo(other, why));
    }
    let lights = Part::lights(&parts);
    parts.iter().try_for_each(|part| part.check(&lights))?;
    Ok(parts)
}

fn detect(root: &Path) -> Result<Layout> {
    if root.join("split_csv").is_dir() {
        return Ok(Layout::Visa);
    }
    let products = products(root)?;
    if products.is_empty() {
        return Ok(Layout::Folder);
    }
    let is_loco = |product: &PathBuf| product.join("defects_config.json").is_file();
    Ok(if products.iter().any(is_loco) { Layout::Loco } else { Layout::Mvtec })
}

/// The folders of the products: `root` itself if it has a `test` folder, otherwise the folders in it that have one.
fn products(root: &Path) -> Result<Vec<PathBuf>> {
    if root.join("test").is_dir() {
        return Ok(vec![root.to_path_buf()]);
    }
    let is_product = |path: &PathBuf| path.is_dir() && path.join("test").is_dir();
    unicode(list(root)?.into_iter().filter(is_product).collect())
}

fn mvtec(product: &Path, layout: Layout) -> Result<Vec<Sample>> {
    let truth = product.join("ground_truth");
    let mut samples = Vec::new();
    for kind in unicode(folders(&product.join("test"))?)? {
        let masks = truth.join(name(&kind));
        samples.extend(kind_of(product, &kind, &masks, layout)?);
    }
    Ok(samples)
}

fn folder(root: &Path) -> Result<Vec<Sample>> {
    let (truth, training) = (root.join("ground_truth"), root.join("train"));
    let mut samples = Vec::new();
    // A folder `train` without a folder `good` in it is a kind like others.
    let is_kind =
        |path: &PathBuf| *path != truth && !(*path == training && path.join("good").is_dir());
    for kind in unicode(folders(root)?.into_iter().filter(is_kind).collect())? {
        samples.extend(kind_of(root, &kind, &truth.join(name(&kind)), Layout::Folder)?);
    }
    Ok(samples)
}

/// The photos of one kind, with their masks.
fn kind_of(product: &Path, kind: &Path, masks: &Path, layout: Layout) -> Result<Vec<Sample>> {
    let is_anomalous = !GOOD.contains(&name(kind).to_lowercase().as_str());
    let mut by_photo = BTreeMap::new();
    if is_anomalous && masks.is_dir() {
        for path in list(masks)? {
            match layout {
                _ if path.is_dir() => {
                    let masks = photos(&path)?;
                    if !masks.is_empty() {
                        by_photo.insert(stem_of(&path, b""), masks);
                    }
                }
                Layout::Loco => {}
                _ if is_photo(&path) => {
                    if let Some(others) =
                        by_photo.insert(stem_of(&path, b"_mask"), vec![path.clone()])
                    {
                        let why = format!(
                            "is a mask of the same photo as {}; keep one",
                            others[0].display()
                        );
                        return Err(Error::data(&path, why));
                    }
                }
                _ => {}
            }
        }
    }
    let sample = |photo: PathBuf| Sample {
        product: name(product),
        kind: if is_anomalous { name(kind) } else { "good".into() },
        is_anomalous,
        masks: by_photo.get(&stem_of(&photo, b"")).cloned().unwrap_or_default(),
        photo,
        part: None,
    };
    Ok(photos(kind)?.into_iter().map(sample).collect())
}

/// The content of a folder in order of name, without hidden files and folders.
fn list(folder: &Path) -> Result<Vec<PathBuf>> {
    let entries = std::fs::read_dir(folder).map_err(Error::read(folder))?;
    let mut paths = Vec::new();
    for entry in entries {
        let path = entry.map_err(Error::read(folder))?.path();
        if !name(&path).starts_with('.') {
            paths.push(path);
        }
    }
    paths.sort();
    Ok(paths)
}

fn folders(folder: &Path) -> Result<Vec<PathBuf>> {
    Ok(list(folder)?.into_iter().filter(|path| path.is_dir()).collect())
}

/// Refuses names that are not Unicode. The names of products and kinds are written into results, which are Unicode.
fn unicode(folders: Vec<PathBuf>) -> Result<Vec<PathBuf>> {
    match folders.iter().find(|path| path.to_str().is_none()) {
        Some(path) => Err(Error::data(path, "its name is not Unicode; rename it")),
        None => Ok(folders),
    }
}

fn photos(folder: &Path) -> Result<Vec<PathBuf>> {
    Ok(list(folder)?.into_iter().filter(|path| is_photo(path)).collect())
}

fn is_photo(path: &Path) -> bool {
    has_photo_ending(path) && path.is_file()
}

/// Whether a file has the ending of a photo.
pub fn has_photo_ending(path: &Path) -> bool {
    let ending = path.extension().and_then(|e| e.to_str()).map(str::to_lowercase);
    ending.is_some_and(|ending| ENDINGS.contains(&ending.as_str()))
}

/// The last part of a path. Works for `.` too, because a product may be the current folder.
fn name(path: &Path) -> String {
    let named = path.file_name().map(|n| n.to_string_lossy().into_owned());
    named
        .or_else(|| Some(path.canonicalize().ok()?.file_name()?.to_string_lossy().into_owned()))
        .unwrap_or_default()
}

/// A name without its ending and without `end`, the suffix of masks. It is in bytes, because not all names are Unicode.
fn stem_of(path: &Path, end: &[u8]) -> Vec<u8> {
    let name = if path.is_dir() { path.file_name() } else { path.file_stem() };
    let name = name.unwrap_or_default().as_encoded_bytes();
    name.strip_suffix(end).unwrap_or(name).to_vec()
}

fn stem(path: &Path) -> String {
    path.file_stem().map(|s| s.to_string_lossy().into_owned()).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn touch(root: &Path, files: &[&str]) {
        for file in files {
            let path = root.join(file);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, "").unwrap();
        }
    }

    fn found(root: &Path) -> Vec<String> {
        let line =
            |s: Sample| format!("{} {} {} {}", s.product, s.kind, stem(&s.photo), s.masks.len());
        samples(root, None).unwrap().into_iter().map(line).collect()
    }

    #[test]
    fn each_layout_is_recognised_and_read() {
        let folder = tempfile::tempdir().unwrap();
        let root = folder.path();
        touch(
            &root.join("mvtec/nut"),
            &[
                "test/good/0.png",
                "test/bent/1.png",
                "ground_truth/bent/1_mask.png",
                "test/bent/.x.png",
            ],
        );
        assert_eq!(found(&root.join("mvtec")), ["nut bent 1 1", "nut good 0 0"]);
        assert_eq!(found(&root.join("mvtec/nut")), ["nut bent 1 1", "nut good 0 0"]);
        touch(
            &root.join("visa/pcb"),
            &["test/bad/2.JPG", "ground_truth/bad/2.png", "test/good/1.JPG"],
        );
        assert_eq!(found(&root.join("visa")), ["pcb bad 2 1", "pcb good 1 0"]);
        touch(
            &root.join("loco/bag"),
            &[
                "defects_config.json",
                "test/good/0.png",
                "test/logical_anomalies/1.png",
                "ground_truth/logical_anomalies/1/000.png",
                "ground_truth/logical_anomalies/1/001.png",
            ],
        );
        assert_eq!(found(&root.join("loco")), ["bag good 0 0", "bag logical_anomalies 1 2"]);
        touch(
            &root.join("tile"),
            &["OK/0.png", "crack/1.png", "ground_truth/crack/1_mask.png", "chip/2.png"],
        );
        assert_eq!(found(&root.join("tile")), ["tile good 0 0", "tile chip 2 0", "tile crack 1 1"]);
        let all = samples(&root.join("tile"), None).unwrap();
        let error = require_masks(&all).unwrap_err().to_string();
        assert!(error.contains("2.png: has no mask:"), "{error}");
        let csv = "object,split,label,image,mask\npcb,test,anomaly,pcb/a.JPG,pcb/a.png\n\
                   pcb,train,normal,pcb/b.JPG,\npcb,test,normal,pcb/c.JPG,\n";
        std::fs::create_dir_all(root.join("raw/split_csv")).unwrap();
        std::fs::write(root.join("raw/split_csv/1cls.csv"), csv).unwrap();
        assert_eq!(found(&root.join("raw")), ["pcb anomaly a 1", "pcb good c 0"]);
        touch(&root.join("mvtec/nut"), &["test/notes.txt", "ground_truth/bent/7_mask.png"]);
        std::fs::create_dir(root.join("mvtec/nut/test/empty")).unwrap();
        let all = samples(&root.join("mvtec"), None).unwrap();
        let strays = stray(&root.join("mvtec"), Layout::Mvtec, &all).unwrap();
        let expected = ["test/empty", "test/notes.txt", "ground_truth/bent/7_mask.png"];
        assert_eq!(strays, expected.map(|f| Path::new("nut").join(f)));
        std::fs::create_dir_all(root.join("mvtec/void/test")).unwrap();
        let empty = empty_products(&root.join("mvtec"), Layout::Mvtec).unwrap();
        assert_eq!(empty, [root.join("mvtec/void")]);
        let error = samples(&root.join("mvtec/nut/test/bent"), None).unwrap_err().to_string();
        assert!(error.contains("no photos in folders"), "{error}");
        std::fs::write(root.join("raw/split_csv/1cls.csv"), csv.replace("pcb/a.JPG", "../a"))
            .unwrap();
        assert!(samples(&root.join("raw"), None).unwrap_err().to_string().contains("outside"));
    }
}
