//! How a region of interest is given: as a mask, a rectangle or a polygon.

use std::path::PathBuf;
use std::str::FromStr;

use crate::error::{Error, Result};
use crate::image::{Mask, Photo};

/// A region of interest as a person gives it.
#[derive(Clone, Debug, PartialEq)]
pub enum RegionShape {
    /// A picture with the photos' aspect ratio. White parts count.
    Mask(PathBuf),
    /// The inside of a polygon, with the text that gave it.
    Polygon(String, Vec<(Length, Length)>),
}

/// A distance from the left or upper edge of the upright photo.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Length {
    /// In pixels.
    Pixels(f64),
    /// As a share of the photo's width or height, 0..1.
    Share(f64),
}

impl Length {
    /// In pixels, of a side with so many pixels.
    fn of(self, side: usize) -> f64 {
        match self {
            Self::Pixels(pixels) => pixels,
            Self::Share(share) => share * side as f64,
        }
    }
}

impl FromStr for Length {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (number, is_share) = match text.strip_suffix('%') {
            Some(number) => (number, true),
            None => (text, false),
        };
        let value: f64 = number.trim().parse().map_err(|_| format!("{text:?} is no number"))?;
        Ok(if is_share { Self::Share(value / 100.0) } else { Self::Pixels(value) })
    }
}

const SYNTAX: &str =
    "give X,Y,WIDTH,HEIGHT, a polygon X,Y,X,Y,X,Y,... (pixels or percent), or the file of a mask";

impl FromStr for RegionShape {
    type Err = String;

    /// A rectangle `X,Y,WIDTH,HEIGHT`, a polygon `X,Y,X,Y,X,Y,...`, or else the file of a mask. Numbers are pixels, or
    /// percent with a `%`.
    fn from_str(text: &str) -> Result<Self, String> {
        let is_number = |c: char| c.is_ascii_digit() || ".-".contains(c);
        let is_mask = !text.starts_with(is_number) || PathBuf::from(text).is_file();
        if is_mask && !text.is_empty() {
            return Ok(Self::Mask(text.into()));
        }
        let numbers = text.split(',').map(|number| number.trim().parse());
        let numbers: Vec<Length> =
            numbers.collect::<Result<_, String>>().map_err(|why| format!("{why}; {SYNTAX}"))?;
        let points = match numbers[..] {
            [x, y, width, height] => rectangle([x, y], [width, height])?,
            _ if numbers.len() >= 6 && numbers.len().is_multiple_of(2) => {
                numbers.chunks_exact(2).map(|point| (point[0], point[1])).collect()
            }
            _ => return Err(SYNTAX.into()),
        };
        Ok(Self::Polygon(text.into(), points))
    }
}

fn rectangle([x, y]: [Length; 2], sides: [Length; 2]) -> Result<Vec<(Length, Length)>, String> {
    let far = |near: Length, side: Length| match (near, side) {
        (Length::Pixels(near), Length::Pixels(side)) => Ok(Length::Pixels(near + side)),
        (Length::Share(near), Length::Share(side)) => Ok(Length::Share(near + side)),
        _ => Err("give place and size both in pixels, or both in percent"),
    };
    let (right, bottom) = (far(x, sides[0])?, far(y, sides[1])?);
    Ok(vec![(x, y), (right, y), (right, bottom), (x, bottom)])
}

impl RegionShape {
    /// The name in results and messages.
    pub(super) fn name(&self) -> String {
        match self {
            Self::Mask(file) => file.file_name().unwrap_or_default().to_string_lossy().into_owned(),
            Self::Polygon(text, _) => text.clone(),
        }
    }

    /// Whether it is given in percent alone.
    pub(super) fn is_relative(&self) -> bool {
        let is_share = |length: &Length| matches!(length, Length::Share(_));
        match self {
            Self::Mask(_) => false,
            Self::Polygon(_, points) => points.iter().all(|(x, y)| is_share(x) && is_share(y)),
        }
    }

    /// The mask. The first photo that can be read gives the size of a polygon's mask.
    ///
    /// # Errors
    /// If the mask cannot be read, or if no photo can be read.
    pub(super) fn mask(&self, photos: &[PathBuf]) -> Result<Mask> {
        let (text, points) = match self {
            Self::Mask(file) => return Mask::white(file),
            Self::Polygon(text, points) => (text, points),
        };
        let size = photos.iter().find_map(|photo| Photo::size(photo).ok());
        let (width, height) = size.ok_or_else(|| {
            Error::setting(format!("roi {text}"), "no photo can be read, so its size is not known")
        })?;
        let points: Vec<(f64, f64)> =
            points.iter().map(|(x, y)| (x.of(width), y.of(height))).collect();
        let mut mask = Mask::empty(width, height);
        for (i, pixel) in mask.pixels.iter_mut().enumerate() {
            *pixel = is_inside(&points, (i % width) as f64 + 0.5, (i / width) as f64 + 0.5);
        }
        Ok(mask)
    }
}

/// Whether a point lies in a polygon, by the even-odd rule.
fn is_inside(points: &[(f64, f64)], x: f64, y: f64) -> bool {
    let edges = points.iter().zip(points.iter().cycle().skip(1));
    let crossed = edges.filter(|((x1, y1), (x2, y2))| {
        (*y1 > y) != (*y2 > y) && x < (x2 - x1) * (y - y1) / (y2 - y1) + x1
    });
    !crossed.count().is_multiple_of(2)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rectangles_and_polygons_are_drawn_at_the_photos_size() {
        let folder = tempfile::tempdir().unwrap();
        let photo = folder.path().join("1.png");
        image::RgbImage::new(40, 20).save(&photo).unwrap();
        let pixels = |text: &str| {
            let mask =
                text.parse::<RegionShape>().unwrap().mask(std::slice::from_ref(&photo)).unwrap();
            assert_eq!((mask.width, mask.height), (40, 20));
            mask.pixels.iter().filter(|inside| **inside).count()
        };
        assert_eq!(pixels("10,5,20,10"), 200);
        assert_eq!(pixels("25%, 25%, 50%, 50%"), 200);
        assert_eq!(pixels("10,5,30,5,30,15,10,15"), 200);
        assert_eq!(pixels("0,0,40,0,0,20"), 400, "a triangle");
        assert_eq!(pixels("30,0,100,100"), 200, "what lies outside is cut");
        let of = |text: &str| text.parse::<RegionShape>();
        assert_eq!(of("masks/roi,1.png").unwrap(), RegionShape::Mask("masks/roi,1.png".into()));
        for wrong in
            ["1,2,3", "1,2,3,4,5", "10%,10,5,5", "1,,2,3", "10;10;5;5", "0 0 9 9", "9px,1,1,1", ""]
        {
            assert!(of(wrong).is_err(), "{wrong}");
        }
        let missing = of("1,1,5,5").unwrap().mask(&["gone.png".into()]);
        assert!(missing.unwrap_err().to_string().contains("no photo can be read"));
    }
}
