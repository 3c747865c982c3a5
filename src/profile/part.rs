//! The photos of one part, opened and checked.

use crate::data::Part;
use crate::error::{Error, Result};
use crate::image::{BitDepth, Edges, Photo};

/// Photos that are shifted by more than this share of their shorter side do not show the same places.
const MOST_SHIFT: f64 = 0.03;

/// A part with its photos.
#[derive(Debug)]
pub struct OpenPart {
    /// In the order of the part's lights.
    pub photos: Vec<Photo>,
    /// For each photo, how far its content lies right of and below that of the first photo, in pixels. None if both show too
    /// different edges to tell. Then the photo counts as not shifted.
    pub shifts: Vec<Option<(isize, isize)>>,
}

impl OpenPart {
    /// Opens the photos of a part. `lights`: those that it must have.
    ///
    /// # Errors
    /// As [`Photo::open`]. [`Error::Photo`] names the part if a light is missing or too many, if the photos have different sizes, or
    /// if one is shifted by more than 3 % of its shorter side.
    pub fn open(part: &Part, lights: &[String], depth: BitDepth) -> Result<Self> {
        part.check(lights)?;
        let photos = part.photos.iter().map(|(_, photo)| Photo::open(photo, depth));
        let photos = photos.collect::<Result<Vec<Photo>>>()?;
        let shifts = shifts(part, &photos)?;
        Ok(Self { photos, shifts })
    }
}

fn shifts(part: &Part, photos: &[Photo]) -> Result<Vec<Option<(isize, isize)>>> {
    let Some(first) = photos.first() else { return Ok(vec![]) };
    let (width, height) = (first.width(), first.height());
    let own = Edges::of(first);
    let most = (MOST_SHIFT * width.min(height) as f64) as isize;
    let refuse = |why: String| Err(Error::photo(&part.name, why));
    let mut shifts = vec![Some((0, 0))];
    for (photo, (light, _)) in photos.iter().zip(&part.photos).skip(1) {
        let of_first = &part.photos[0].0;
        if (photo.width(), photo.height()) != (width, height) {
            return refuse(format!(
                "its photos have different sizes: {width}x{height} under {of_first}, {}x{} under {light}; \
                 give photos of one camera",
                photo.width(),
                photo.height()
            ));
        }
        let shift = own.shift_to(&Edges::of(photo));
        if let Some((x, y)) = shift.filter(|(x, y)| x.abs().max(y.abs()) > most) {
            return refuse(format!(
                "its photo under {light} is shifted by {x}, {y} pixels against {of_first}, more than {most}; \
                 keep the part still between the lights"
            ));
        }
        shifts.push(shift);
    }
    Ok(shifts)
}
