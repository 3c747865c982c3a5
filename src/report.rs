//! Results as records. `docs/output.md` explains every field.

use serde::Serialize;

/// The version of the fields below; grows when one changes its meaning or goes away.
pub const SCHEMA: u32 = 1;

/// One photo's result. The field names are those of the JSON and the CSV.
#[derive(Clone, Debug, Serialize)]
pub struct Record {
    /// [`SCHEMA`].
    pub schema: u32,
    /// The photo's file, as it was found.
    pub path: String,
    /// The product's name, or names.
    pub product: String,
    /// 0..1, higher is more anomalous.
    pub score: f32,
    /// The share of good parts that reach this score, at most; none without a profile that is calibrated.
    pub p_value: Option<f64>,
    /// Good photos that the p-value is from.
    pub calibration_photos: Option<usize>,
    /// The share of good parts that may be called defective.
    pub false_alarm: Option<f64>,
    /// `ok`, `ng` or `uncertain`.
    pub verdict: Option<&'static str>,
    /// Column of the map's peak, in pixels of the photo.
    pub peak_x: usize,
    /// Row of the map's peak, in pixels of the photo.
    pub peak_y: usize,
    /// The map's value there, 0..1.
    pub peak: f32,
    /// Width of the photo in pixels, upright.
    pub width: usize,
    /// Height of the photo in pixels, upright.
    pub height: usize,
    /// The share of the photo that was looked at, 0..1.
    pub coverage: f64,
    /// The kind of defect that fits best; none where the general words fit better.
    pub defect: Option<String>,
    /// Every kind of defect of the prompt file.
    pub defects: Vec<DefectRow>,
    /// The score if nothing were ignored.
    pub score_before_ignoring: f32,
    /// The harmless thing that discounts the score, if one does.
    pub discounted_by: Option<String>,
    /// Every harmless thing of the prompt file.
    pub ignored: Vec<IgnoredRow>,
    /// The product's name in English, as the model read it.
    pub product_english: String,
    /// How the photo was scored.
    pub method: String,
    /// Whether the score depends on the other photos: another set of them gives another score.
    pub transductive: bool,
    /// The photos that it was compared with, where it was.
    pub folder: Option<FolderRow>,
    /// How it was compared with good parts.
    pub reference_method: Option<String>,
    /// How many good parts.
    pub references: Option<usize>,
    /// The profile's file.
    pub profile: Option<String>,
    /// SHA-256 of what it holds.
    pub profile_sha256: Option<String>,
    /// The model as it was named.
    pub model: String,
    /// SHA-256 of the model's weights.
    pub model_sha256: String,
    /// The adapter, where the method has one.
    pub adapter: Option<AdapterRow>,
    /// Side of the model's square input in pixels.
    pub size: usize,
    /// How the photo was made square.
    pub fit: String,
    /// Time that the model and the method took, in milliseconds.
    pub milliseconds: f64,
    /// The overlay that was written, if any.
    pub overlay: Option<String>,
    /// The map that was written, if any.
    pub map: Option<String>,
}

/// The photos of a folder that judged each other.
#[derive(Clone, Debug, Default, Serialize)]
pub struct FolderRow {
    /// How many: each content once.
    pub photos: usize,
    /// Which: SHA-256 of the hashes of their contents in ascending order, written one after another.
    pub sha256: String,
    /// With how many of the others each was compared.
    pub against: usize,
    /// Blocks whose patches were compared.
    pub blocks: Vec<usize>,
    /// Neighbourhoods that patches were averaged over.
    pub degrees: Vec<usize>,
    /// Cells within which patches were compared, if not all were.
    pub align: Option<usize>,
    /// Whether scores of photos that resemble each other were brought nearer.
    pub rescored: bool,
    /// The seed of the ring's order.
    pub seed: u64,
    /// MuSc's score: how far the oddest patch is from its nearest twins on the mean, 0..2; 0..1 where it was rescored.
    pub score: f32,
    /// The group, where the folder seems to hold two products: 0 or 1.
    pub group: Option<u8>,
}

/// The layers that April-GAN draws with.
#[derive(Clone, Debug, Default, Serialize)]
pub struct AdapterRow {
    /// Its file.
    pub file: String,
    /// The file's SHA-256.
    pub sha256: String,
    /// What it was trained on, as far as is known.
    pub training_data: Option<String>,
    /// The licence of that.
    pub licence: Option<String>,
    /// Whether the product is among that, where it is known: then this is no zero-shot result.
    pub trained_on_product: Option<bool>,
}

/// How much a photo resembles one kind of defect.
#[derive(Clone, Debug, Serialize)]
pub struct DefectRow {
    /// Its name.
    pub name: String,
    /// Its name in English.
    pub english: String,
    /// Whether it counts towards the score.
    pub counts: bool,
    /// 0..1, of the whole photo.
    pub score: f32,
    /// 0..1, the highest value of its map on the grid of patches, before anything is ignored.
    pub peak: f32,
    /// Its map, if it was written.
    pub map: Option<String>,
}

/// How much of a photo is discounted as a harmless thing.
#[derive(Clone, Debug, Serialize)]
pub struct IgnoredRow {
    /// Its name.
    pub name: String,
    /// Its name in English.
    pub english: String,
    /// Whether it is discounted.
    pub counts: bool,
    /// 0..1, of the whole photo.
    pub score: f32,
    /// The share of what was looked at that is discounted, 0..1.
    pub area: f64,
}
