//! The region of interest: which part of the photos counts.

use std::path::Path;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::Places;
use crate::error::{Error, Result};
use crate::image::{Fit, Mask, Placement};

/// A mask that says what counts.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct RegionAbout {
    /// The file's name, without its folders.
    pub file: String,
    /// Width in pixels.
    pub width: usize,
    /// Height in pixels.
    pub height: usize,
}

/// The mask, and what it comes to on the model's square.
#[derive(Clone, Debug)]
pub struct Region {
    /// What it is.
    pub about: RegionAbout,
    /// `[size, size]`.
    pub(crate) pixels: Arc<[bool]>,
    /// What is doubtful about the mask, if anything.
    pub note: Option<String>,
}

impl Region {
    /// Where a picture is white, on a model's input of `size` pixels and `grid` patches a side.
    ///
    /// # Errors
    /// [`Error::Photo`] for a file that is no picture, and for one that is white on less than a patch.
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
        let why = "is white (brighter than half) nowhere, or nowhere for as much as a patch; paint white where to look";
        Err(Error::photo(mask, why))
    }

    /// The patches that count.
    pub(crate) fn places(&self, grid: usize) -> Places {
        places_of(&self.pixels, grid)
    }
}

impl RegionAbout {
    /// Whether a photo of this width and height has the mask's shape.
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

/// The patches of which at least half counts, of a region of a square.
pub(crate) fn places_of(region: &[bool], grid: usize) -> Places {
    let size = region.len().isqrt();
    let mut inside = vec![0; grid * grid];
    for i in (0..size * size).filter(|i| region[*i]) {
        inside[(i / size * grid / size) * grid + i % size * grid / size] += 1;
    }
    let half = (size / grid).pow(2) / 2;
    Places(Some(inside.into_iter().map(|count| count > 0 && count >= half).collect()))
}
