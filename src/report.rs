//! Results as records. `docs/output.md` explains every field.

use serde::Serialize;

use crate::image::Appearance;
use crate::profile::OTHER_PRODUCT;
use crate::reference::{Layers, Repeated};

/// The version of the fields. It grows when a field changes its meaning or is removed.
pub const SCHEMA: u32 = 1;

/// The result for one photo. The fields have the same names in the JSON and the CSV.
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
    /// At most this share of good parts reaches such a score. None without a profile with calibration photos.
    pub p_value: Option<f64>,
    /// Number of good photos that the p-value is computed from.
    pub calibration_photos: Option<usize>,
    /// The share of good parts that may be called `ng`.
    pub false_alarm: Option<f64>,
    /// `ok`, `ng` or `uncertain`.
    pub verdict: Option<&'static str>,
    /// Column of the highest value of the map, in pixels of the photo.
    pub peak_x: usize,
    /// Row of the highest value of the map, in pixels of the photo.
    pub peak_y: usize,
    /// The highest value of the map, 0..1.
    pub peak: f32,
    /// Width of the upright photo in pixels.
    pub width: usize,
    /// Height of the upright photo in pixels.
    pub height: usize,
    /// The share of the photo that the model saw, 0..1.
    pub coverage: f64,
    /// What the whole photo looks like. None if it was compared with the photos of a folder.
    pub appearance: Option<Appearance>,
    /// The part, if it has a photo under each of several lights. Then the score and the map are those of all lights.
    pub part: Option<String>,
    /// The light that saw most of the anomaly.
    pub light: Option<String>,
    /// Each light's own result.
    pub lights: Vec<LightRow>,
    /// How the lights were joined.
    pub fuse: Option<&'static str>,
    /// The kind of defect that fits best. None if the general `anomalous` prompts fit better.
    pub defect: Option<String>,
    /// Every kind of defect that the product has prompts for.
    pub defects: Vec<DefectRow>,
    /// The score if nothing were ignored.
    pub score_before_ignoring: f32,
    /// The harmless thing that discounts the score, if one does.
    pub discounted_by: Option<String>,
    /// Every harmless thing that the product has prompts for.
    pub ignored: Vec<IgnoredRow>,
    /// SHA-256 of all prompts and of the kinds that they belong to.
    pub prompts_sha256: String,
    /// The region of interest: the mask's file, or the shape as it was given.
    pub region: Option<String>,
    /// The product's name in English, as the model reads it.
    pub product_english: String,
    /// The method that scored the photo.
    pub method: String,
    /// Whether the score depends on the other photos. Then other photos give another score.
    pub transductive: bool,
    /// The photos that it was compared with, if it was.
    pub folder: Option<FolderRow>,
    /// The method of comparison with reference photos.
    pub reference_method: Option<String>,
    /// Number of reference photos.
    pub references: Option<usize>,
    /// The share of the photo that is unlike the reference photos, 0..1. Above 0.6, it shows another product.
    pub unlike_references: Option<f64>,
    /// The profile's file.
    pub profile: Option<String>,
    /// SHA-256 of the profile's content.
    pub profile_sha256: Option<String>,
    /// The model's name as it was given.
    pub model: String,
    /// SHA-256 of the model's weights.
    pub model_sha256: String,
    /// The model that compared photos, if it was another one.
    pub reference_model: Option<String>,
    /// SHA-256 of its weights.
    pub reference_model_sha256: Option<String>,
    /// The adapter, if the method has one.
    pub adapter: Option<AdapterRow>,
    /// Side of the model's square input in pixels.
    pub size: usize,
    /// Tiles along each side of the photo, if there are any.
    pub tiles: Option<usize>,
    /// How much of a tile is around the part that is taken from it, in patches.
    pub tile_overlap: Option<usize>,
    /// How the model multiplied: `f32` or `fast`.
    pub precision: &'static str,
    /// How the photo was made square.
    pub fit: String,
    /// Time of the model and the method, in milliseconds.
    pub milliseconds: f64,
    /// The file of the overlay, if one was written.
    pub overlay: Option<String>,
    /// The file of the map, if one was written.
    pub map: Option<String>,
}

/// What one light saw of a part.
#[derive(Clone, Debug, Serialize)]
pub struct LightRow {
    /// The light's name.
    pub name: String,
    /// The photo's file.
    pub path: String,
    /// The score under this light, on the scale of its own good parts, 0..1.
    pub score: f32,
    /// The highest value of its map, on the same scale, 0..1.
    pub peak: f32,
    /// Column of the highest value, in pixels of the photo.
    pub peak_x: usize,
    /// Row of the highest value.
    pub peak_y: usize,
    /// How far the photo lies right of the first light's, in pixels. None if it cannot be told.
    pub shift_x: Option<isize>,
    /// How far it lies below.
    pub shift_y: Option<isize>,
}

/// Whether a photo with this share of [`Record::unlike_references`] resembles no reference photo.
pub fn is_other_product(unlike_references: Option<f64>) -> bool {
    unlike_references.is_some_and(|share| share > OTHER_PRODUCT)
}

/// How the photos of a folder were compared with each other.
#[derive(Clone, Debug, Default, Serialize)]
pub struct FolderRow {
    /// Number of photos. Equal contents count once.
    pub photos: usize,
    /// SHA-256 of the hashes of their contents in ascending order, written one after another.
    pub sha256: String,
    /// The number of other photos that each photo was compared with.
    pub against: usize,
    /// The layers whose patches were compared.
    pub blocks: Layers,
    /// Which of the other photos judged a patch, as shares of them in the order of their distance.
    pub ranks: [f64; 2],
    /// Sides of the neighbourhoods that patches were averaged over, in patches.
    pub degrees: Vec<usize>,
    /// Only patches at most this many cells away were compared. None: all patches.
    pub align: Option<usize>,
    /// Whether scores were averaged over similar photos (RsCIN).
    pub rescored: bool,
    /// The seed of the ring's order.
    pub seed: u64,
    /// MuSc's score: the mean distance of the oddest patch to its nearest patches in other photos, 0..2. If rescored,
    /// 0..1.
    pub score: f32,
    /// The group, 0 or 1, if the folder seems to hold two products.
    pub group: Option<u8>,
    /// The group of photos that share something odd, counted from 1. None without `--groups`, and for a photo of no
    /// group.
    pub repeat: Option<usize>,
    /// Column and row of what they share.
    pub repeat_at: Option<[usize; 2]>,
    /// What a person said of it: `defect` or `variant`.
    pub repeat_is: Option<Repeated>,
}

/// The adapter that April-GAN uses.
#[derive(Clone, Debug, Default, Serialize)]
pub struct AdapterRow {
    /// Its file.
    pub file: String,
    /// The file's SHA-256.
    pub sha256: String,
    /// The training data, as far as known.
    pub training_data: Option<String>,
    /// The licence of the training data.
    pub licence: Option<String>,
    /// Whether the product is in the training data. If so, this is not a zero-shot result. None if it is not known.
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
    /// The score of the whole photo, 0..1.
    pub score: f32,
    /// The highest value of its map on the grid of patches, 0..1, before anything is ignored.
    pub peak: f32,
    /// The file of its map, if one was written.
    pub map: Option<String>,
}

/// How much of a photo is discounted because it fits a harmless thing.
#[derive(Clone, Debug, Serialize)]
pub struct IgnoredRow {
    /// Its name.
    pub name: String,
    /// Its name in English.
    pub english: String,
    /// Whether it is discounted.
    pub counts: bool,
    /// The score of the whole photo, 0..1.
    pub score: f32,
    /// The discounted share of what the model saw, 0..1.
    pub area: f64,
}
