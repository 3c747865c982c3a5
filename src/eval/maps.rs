//! Anomaly maps on disk, in the layout that MVTec's evaluation scripts read: `<maps>/<product>/test/<kind>/<photo>.tiff`.

use std::collections::{BTreeSet, HashSet};
use std::path::{Path, PathBuf};

use tiff::decoder::{Decoder, DecodingResult};

use super::Looked;
use crate::data::Sample;
use crate::{AnomalyMap, Error, Result};

/// What maps' files end in.
const ENDINGS: [&str; 4] = ["tiff", "tif", "TIFF", "TIF"];

/// A folder of maps.
pub struct Maps {
    folder: PathBuf,
}

impl Maps {
    /// In this folder.
    pub fn new(folder: impl Into<PathBuf>) -> Self {
        Self { folder: folder.into() }
    }

    /// Where a photo's map lies, without its ending.
    pub fn stem(&self, sample: &Sample) -> PathBuf {
        let name = sample.photo.file_stem().unwrap_or_default();
        let kind = sample.photo.parent().and_then(Path::file_name).unwrap_or_default();
        self.folder.join(&sample.product).join("test").join(kind).join(name)
    }

    /// Files in the folders of these samples' products that are no map of theirs. MVTec's scripts stop at some of them.
    ///
    /// # Errors
    /// [`Error::Read`].
    pub fn stray(&self, samples: &[Sample]) -> Result<Vec<PathBuf>> {
        let known: HashSet<PathBuf> = samples.iter().map(|sample| self.stem(sample)).collect();
        let products: BTreeSet<&str> = samples.iter().map(|sample| &*sample.product).collect();
        let mut found = Vec::new();
        for product in products {
            let files = walkdir::WalkDir::new(self.folder.join(product)).sort_by_file_name();
            for entry in files {
                let entry = entry.map_err(|e| Error::read(&self.folder)(e.into()))?;
                let ending = entry.path().extension().and_then(|ending| ending.to_str());
                let is_map = ending.is_some_and(|ending| ENDINGS.contains(&ending))
                    && known.contains(&entry.path().with_extension(""));
                if entry.file_type().is_file() && !is_map {
                    found.push(entry.into_path());
                }
            }
        }
        Ok(found)
    }

    /// A photo's map, and its highest value as the score.
    ///
    /// # Errors
    /// [`Error::Photo`] for a map that is missing, there twice or not a picture of one number a pixel.
    pub fn read(&self, sample: &Sample) -> Result<Looked> {
        let stem = self.stem(sample);
        let with = |ending: &&str| {
            let mut name = stem.clone().into_os_string();
            name.push(format!(".{ending}"));
            PathBuf::from(name)
        };
        let found: Vec<PathBuf> = ENDINGS.iter().map(with).filter(|path| path.is_file()).collect();
        let path = match &found[..] {
            [one] => one,
            [] => return Err(Error::photo(&with(&"tiff"), "there is no map for this photo")),
            [one, other, ..] => {
                let why = format!("{} is a map for the same photo: keep one", other.display());
                return Err(Error::photo(one, why));
            }
        };
        let map = read_map(path).map_err(|why| Error::photo(path, why))?;
        let score = map.values.iter().copied().fold(f32::NEG_INFINITY, f32::max);
        Ok(Looked { score, map })
    }
}

fn read_map(path: &Path) -> Result<AnomalyMap, String> {
    let fail = |e: &dyn std::fmt::Display| format!("not a TIFF of one number a pixel ({e})");
    let file = std::fs::File::open(path).map_err(|e| format!("cannot read: {e}"))?;
    let mut decoder = Decoder::new(std::io::BufReader::new(file)).map_err(|e| fail(&e))?;
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
        return Err(fail(&"several numbers a pixel"));
    }
    Ok(AnomalyMap { width, height, values })
}
