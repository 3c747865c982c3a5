//! The region of interest: which part of the photos counts.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::Places;
use super::shape::RegionShape;
use crate::error::{Error, Result};
use crate::image::{Fit, Placement};

/// The mask of a region of interest.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct RegionAbout {
    /// The mask's file without its folders, or the rectangle or polygon as it was given.
    pub file: String,
    /// Width in pixels. 0 if the region fits photos of any size.
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
    /// The region of a shape. The model's input has `size` pixels and `grid` patches along one side. `photos` are those
    /// of the run: a rectangle or a polygon is drawn at their size.
    ///
    /// # Errors
    /// [`Error::Photo`] if a mask is not a black and white picture, or if the region is smaller than a patch.
    pub fn open(
        shape: &RegionShape,
        photos: &[PathBuf],
        (size, grid): (usize, usize),
        fit: Fit,
    ) -> Result<Self> {
        let white = shape.mask(photos)?;
        let placement = Placement::new((white.width, white.height), size, fit);
        let pixel = |i: usize| {
            let (x, y) = ((i % size) as f64 + 0.5, (i / size) as f64 + 0.5);
            let (column, row) = placement.on_photo(x, y);
            placement.is_on_photo(x, y) && white.pixels[row * white.width + column]
        };
        let pixels: Arc<[bool]> = (0..size * size).map(pixel).collect();
        let file = shape.name();
        let note = white.note.map(|note| format!("{file}: {note}"));
        // Shares of the sides are the same on every photo that is stretched to a square.
        let any_size = shape.is_relative() && fit == Fit::Squash;
        let (width, height) = if any_size { (0, 0) } else { (white.width, white.height) };
        let about = RegionAbout { file, width, height };
        let region = Self { about, pixels, note };
        if region.places(grid).0.is_some_and(|places| places.contains(&true)) {
            return Ok(region);
        }
        Err(match shape {
            RegionShape::Mask(mask) => {
                let why = "is white (brighter than half) nowhere, or on less than a patch; paint white what counts";
                Error::photo(mask, why)
            }
            RegionShape::Polygon(text, _) => {
                let why =
                    "lies outside the photos, or holds less than a patch; give another region";
                Error::setting(format!("roi {text}"), why)
            }
        })
    }

    /// The patches that count.
    pub(crate) fn places(&self, grid: usize) -> Places {
        places_of(&self.pixels, grid)
    }
}

/// Photos of one camera differ by so many pixels where they are cropped by hand.
const FEW: f64 = 4.0;
const MISFIT: &str = "the region of interest";

impl RegionAbout {
    /// Checks that a photo of this width and height has the aspect ratio of the mask, but for a few pixels.
    ///
    /// # Errors
    /// [`Error::Photo`] that names the photo.
    pub fn check(&self, photo: &Path, (width, height): (usize, usize)) -> Result<()> {
        if self.width == 0 {
            return Ok(());
        }
        // The mask's height on a photo of this width.
        let wanted = self.height as f64 * width as f64 / self.width as f64;
        if (height as f64 - wanted).abs() <= (0.02 * wanted).max(FEW) {
            return Ok(());
        }
        let why = format!(
            "has {width}x{height} pixels and {MISFIT} {}x{}: they must have one aspect ratio",
            self.width, self.height
        );
        Err(Error::photo(photo, why))
    }

    /// Whether an error of a photo came from [`Self::check`]. Then many photos have it.
    pub fn is_misfit(error: &Error) -> bool {
        matches!(error, Error::Photo { why, .. } if why.contains(MISFIT))
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
