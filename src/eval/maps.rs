//! Anomaly maps on disk, in the layout of MVTec's evaluation scripts: `<maps>/<product>/test/<kind>/<photo>.tiff`.

use std::collections::{BTreeSet, HashMap};
use std::path::{Path, PathBuf};

use tiff::decoder::{Decoder, DecodingResult, Limits};

use super::EvalPrediction;
use crate::data::Sample;
use crate::detect::AnomalyMap;
use crate::error::catch_panic;
use crate::error::{Error, Result};
use crate::files::below;
use crate::image::Photo;

/// Enough for 128 megapixels in float64.
const MOST_BYTES: u64 = 2 << 30;

/// File endings of maps.
const ENDINGS: [&str; 4] = ["tiff", "tif", "TIFF", "TIF"];

/// A folder of maps.
pub struct Maps {
    folder: PathBuf,
}

impl Maps {
    /// The maps in this folder.
    pub fn new(folder: impl Into<PathBuf>) -> Self {
        Self { folder: folder.into() }
    }

    /// The path of a photo's map, without its ending.
    ///
    /// # Errors
    /// [`Error::Data`] if the name of a product or a photo leads out of the folder.
    pub fn stem(&self, sample: &Sample) -> Result<PathBuf> {
        let name = sample.photo.file_stem().unwrap_or_default();
        let kind = sample.photo.parent().and_then(Path::file_name).unwrap_or_default();
        below(&self.folder, &[sample.product.as_ref(), "test".as_ref(), kind, name])
    }

    /// Maps each path of a map, without its ending, to its photo.
    ///
    /// # Errors
    /// As [`Maps::stem`], and [`Error::Data`] if two photos would share a map.
    pub fn stems<'a>(&self, samples: &'a [Sample]) -> Result<HashMap<PathBuf, &'a Sample>> {
        let mut stems = HashMap::new();
        for sample in samples {
            if let Some(other) = stems.insert(self.stem(sample)?, sample) {
                let why = format!(
                    "would share its map with {}: the name of a map is the photo's without its ending; rename one",
                    other.photo.display()
                );
                return Err(Error::data(&sample.photo, why));
            }
        }
        Ok(stems)
    }

    /// Files in the product folders of these samples that are not a map of a sample. MVTec's scripts stop at some of
    /// them.
    ///
    /// # Errors
    /// [`Error::Read`], and as [`Maps::stems`].
    pub fn stray(&self, samples: &[Sample]) -> Result<Vec<PathBuf>> {
        let known = self.stems(samples)?;
        let products: BTreeSet<&str> = samples.iter().map(|sample| &*sample.product).collect();
        let mut found = Vec::new();
        for product in products {
            let files = walkdir::WalkDir::new(below(&self.folder, &[product.as_ref()])?)
                .sort_by_file_name();
            for entry in files {
                let entry = entry.map_err(|e| Error::read(&self.folder)(e.into()))?;
                let ending = entry.path().extension().and_then(|ending| ending.to_str());
                let is_map = ending.is_some_and(|ending| ENDINGS.contains(&ending))
                    && known.contains_key(&entry.path().with_extension(""));
                if entry.file_type().is_file() && !is_map {
                    found.push(entry.into_path());
                }
            }
        }
        Ok(found)
    }

    /// The file of a photo's map.
    ///
    /// # Errors
    /// [`Error::Photo`] if the map is missing, or if there are two.
    pub fn file(&self, sample: &Sample) -> Result<PathBuf> {
        let stem = self.stem(sample)?;
        let with = |ending: &&str| {
            let mut name = stem.clone().into_os_string();
            name.push(format!(".{ending}"));
            PathBuf::from(name)
        };
        let mut found: Vec<PathBuf> =
            ENDINGS.iter().map(with).filter(|path| path.is_file()).collect();
        // On some file systems, names that differ only in case are the same file.
        found.dedup_by_key(|path| path.canonicalize().ok());
        match &found[..] {
            [_] => Ok(found.remove(0)),
            [] => Err(Error::photo(&with(&"tiff"), "there is no map for this photo")),
            [one, other, ..] => {
                let why = format!("{} is a map for the same photo: keep one", other.display());
                Err(Error::photo(one, why))
            }
        }
    }

    /// Reads a photo's map. The score is the highest value of the map.
    ///
    /// # Errors
    /// As [`Maps::file`], and [`Error::Photo`] if the map is not a picture with one number per pixel, or does not have
    /// the photo's size.
    pub fn read(&self, sample: &Sample) -> Result<EvalPrediction> {
        let path = self.file(sample)?;
        let fail = |why: String| Error::photo(&path, why);
        let bytes = crate::files::read(&path, MOST_BYTES).map_err(Error::read(&path))?;
        let map = catch_panic(|| read_map(&bytes));
        let map = map.unwrap_or_else(|| Err("the decoder failed on it".into())).map_err(fail)?;
        let (width, height) = Photo::size(&sample.photo)?;
        if (map.width, map.height) != (width, height) {
            return Err(fail(format!(
                "the map has {}x{} pixels and its photo {width}x{height}; their sizes must be equal",
                map.width, map.height
            )));
        }
        let score = map.values.iter().copied().fold(f32::NEG_INFINITY, f32::max);
        Ok(EvalPrediction { score, map })
    }
}

fn read_map(bytes: &[u8]) -> Result<AnomalyMap, String> {
    let fail = |e: &dyn std::fmt::Display| format!("not a TIFF with one number per pixel ({e})");
    let mut limits = Limits::default();
    limits.decoding_buffer_size = MOST_BYTES as usize;
    limits.intermediate_buffer_size = MOST_BYTES as usize;
    let decoder = Decoder::new(std::io::Cursor::new(bytes)).map_err(|e| fail(&e))?;
    let mut decoder = decoder.with_limits(limits);
    let (width, height) = decoder.dimensions().map_err(|e| fail(&e))?;
    let values: Vec<f32> = match decoder.read_image().map_err(|e| fail(&e))? {
        DecodingResult::F32(values) => values,
        DecodingResult::F64(values) => values.into_iter().map(|v| v as f32).collect(),
        DecodingResult::U8(values) => values.into_iter().map(f32::from).collect(),
        DecodingResult::U16(values) => values.into_iter().map(f32::from).collect(),
        _ => return Err(fail(&"float32, float64, uint8 or uint16")),
    };
    let (width, height) = (width as usize, height as usize);
    if values.len() != width * height {
        return Err(fail(&"several numbers per pixel"));
    }
    Ok(AnomalyMap { width, height, values })
}

crate::error::opaque_debug!(Maps);
