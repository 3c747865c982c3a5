//! The region of interest: which part of the photos counts.

use std::path::Path;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::Places;
use crate::error::{Error, Result};
use crate::image::{Fit, Mask, Placement};

/// The mask of a region of interest.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct RegionAbout {
    /// The file's name, without its folders.
    pub file: String,
    /// Width in pixels.
    pub width: usize,
    /// Height in pixels.
    pub height: usize,
}

/// The mask, and the region on the model's square input.
#[derive(Clone, Debug)]
pub struct Region {
    /// File and size of the mask.
    pub about: RegionAbout,
    /// Which pixels of the model's input count, `[size, size]`.
    pub(crate) pixels: Arc<[bool]>,
    /// A warning about the mask, if something is doubtful.
    pub note: Option<String>,
}

impl Region {
    /// The region where a mask is white. The model's input has `size` pixels and `grid` patches along one side.
    ///
    /// # Errors
    /// [`Error::Photo`] if the file is not a picture, or if no patch is white enough.
    pub fn open(mask: &Path, (size, grid): (usize, usize), fit: Fit) -> Result<Self> {
        let white = Mask::white(mask)?;
        let placement = Placement::new((white.width, white.height), size, fit);
        let pixel = |i: usize| {
            let (x, y) = ((i % size) as f64 + 0.5, (i / size) as f64 + 0.5);
            let (column, row) = placement.on_photo(x, y);
            placement.is_on_photo(x, y) && white.pixels[row * white.width + column]
        };
        let pixels: Arc<[bool]> = (0..size * size).map(pixel).collect();
        let file = mask.file_name().unwrap_or_default().to_string_lossy().into_owned();
        let about = RegionAbout { file, width: white.width, height: white.height };
        let note = white.note.map(|note| format!("{}: {note}", mask.display()));
        let region = Self { about, pixels, note };
        if region.places(grid).0.is_some_and(|places| places.contains(&true)) {
            return Ok(region);
        }
        let why = "is white (brighter than half) nowhere, or on less than a patch; paint white what counts";
        Err(Error::photo(mask, why))
    }

    /// The patches that count.
    pub(crate) fn places(&self, grid: usize) -> Places {
        places_of(&self.pixels, grid)
    }
}

impl RegionAbout {
    /// Checks that a photo of this width and height has the aspect ratio of the mask.
    ///
    /// # Errors
    /// [`Error::Photo`] that names the photo.
    pub fn check(&self, photo: &Path, (width, height): (usize, usize)) -> Result<()> {
        let (own, mask) = (width as f64 / height as f64, self.width as f64 / self.height as f64);
        if (own / mask - 1.0).abs() <= 0.02 {
            return Ok(());
        }
        let why = format!(
            "has {width}x{height} pixels and the region of interest {}x{}: they must have one aspect ratio",
            self.width, self.height
        );
        Err(Error::photo(photo, why))
    }
}

/// The patches that lie in a region by at least half.
pub(crate) fn places_of(region: &[bool], grid: usize) -> Places {
    let size = region.len().isqrt();
    let mut inside = vec![0; grid * grid];
    for i in (0..size * size).filter(|i| region[*i]) {
        inside[(i / size * grid / size) * grid + i % size * grid / size] += 1;
    }
    let half = (size / grid).pow(2) / 2;
    Places(Some(inside.into_iter().map(|count| count > 0 && count >= half).collect()))
}
