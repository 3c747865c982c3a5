//! Rotated copies of a photo.

use rayon::prelude::*;

use super::Photo;

impl Photo {
    /// The photo, rotated counter-clockwise around its middle, on a canvas of the same size. The corners that come in are
    /// filled with the mirrored photo. This is AnomalyDINO's rotation of references (arXiv 2405.14529), as OpenCV 5
    /// computes it: bilinear, with the middle at half of the width and height.
    pub(crate) fn rotated(&self, degrees: f64) -> Photo {
        let (width, height) = (self.width(), self.height());
        let (sin, cos) = degrees.to_radians().sin_cos();
        let middle = (width as f64 / 2.0, height as f64 / 2.0);
        // Rounding errors must not move an exact quarter turn between pixels.
        let snapped = |at: f64| if (at - at.round()).abs() < 1e-9 { at.round() } else { at };
        let mut rgb = vec![0u8; self.rgb().len()];
        rgb.par_chunks_mut(3 * width).enumerate().for_each(|(y, row)| {
            for (x, pixel) in row.chunks_exact_mut(3).enumerate() {
                let (dx, dy) = (x as f64 - middle.0, y as f64 - middle.1);
                let from_x = snapped(cos * dx - sin * dy + middle.0);
                let from_y = snapped(sin * dx + cos * dy + middle.1);
                let (left, top) = (from_x.floor(), from_y.floor());
                let (across, down) = (from_x - left, from_y - top);
                let columns = [left, left + 1.0].map(|at| mirrored(at as isize, width));
                let rows = [top, top + 1.0].map(|at| mirrored(at as isize, height));
                for (channel, value) in pixel.iter_mut().enumerate() {
                    let source = |row: usize, column: usize| {
                        f64::from(self.rgb()[3 * (row * width + column) + channel])
                    };
                    let [above, below] = rows.map(|row| {
                        let (a, b) = (source(row, columns[0]), source(row, columns[1]));
                        a + (b - a) * across
                    });
                    *value = (above + (below - above) * down + 0.5) as u8;
                }
            }
        });
        Photo::unchecked(width, height, rgb)
    }
}

/// The index of a pixel beyond the edge. The edge itself is not repeated.
fn mirrored(at: isize, length: usize) -> usize {
    let last = length as isize - 1;
    let at = at.rem_euclid((2 * last).max(1));
    (if at > last { 2 * last - at } else { at }) as usize
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::image::BitDepth;

    #[test]
    fn rotated_photos_are_opencv_s() {
        let open = |name: &str| {
            let folder =
                concat!(env!("CARGO_MANIFEST_DIR"), "/tests/fixtures/anomaly_dino/images/");
            Photo::open(format!("{folder}{name}"), BitDepth::default()).unwrap()
        };
        let photo = open("good_0.png");
        for degrees in [45, 90, 180, 315] {
            let expected = open(&format!("rotated_{degrees:03}.png"));
            let found = photo.rotated(f64::from(degrees));
            let pairs = found.rgb().iter().zip(expected.rgb());
            let steps: Vec<u8> = pairs.map(|(a, b)| a.abs_diff(*b)).collect();
            let off = steps.iter().filter(|step| **step > 0).count();
            assert!(steps.iter().all(|step| *step <= 1), "{degrees}");
            assert!(off * 10_000 < steps.len(), "{degrees}: {off} of {}", steps.len());
        }
        assert_eq!(photo.rotated(0.0).rgb(), photo.rgb());
    }
}
