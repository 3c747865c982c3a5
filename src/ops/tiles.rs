//! Tiles of a large picture, and their tokens in one grid (SuperADD, Roming et al. 2026, arXiv 2605.14808). Every cell is
//! taken from the tile in which it lies most centrally. Everything after sees one large grid.

use std::ops::Range;

use candle_core::{Device, Result, Tensor};
use rayon::prelude::*;

use super::cpu_slice;
use crate::error::Error;

/// Tiles for photos that are larger than a model's input.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Tiles {
    /// How many tiles.
    pub count: TileCount,
    /// How much of a tile is around the part that is taken from it, in patches: less than half a tile. None: an eighth of a
    /// tile, but at least two patches.
    pub overlap: Option<usize>,
}

/// How many tiles along each side.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TileCount {
    /// So many.
    Number(usize),
    /// As many as keep so many pixels of a photo's longer side, at most 8. One if it is at most one and a half inputs
    /// long.
    Covering(usize),
}

/// The most tiles along each side, asked for or chosen.
const MOST_TILES: usize = 16;
const MOST_CHOSEN: usize = 8;

impl Tiles {
    /// The tiling of a model's square input, `size` pixels. None for a single tile.
    ///
    /// # Errors
    /// [`Error::Setting`] for a number or an overlap that does not fit.
    pub(crate) fn tiling(self, size: usize, patch: usize) -> crate::error::Result<Option<Tiling>> {
        let tile = size / patch;
        let fail = |setting: String, why: String| Err(Error::setting(setting, why));
        // A tile of three patches has one in its middle.
        let most = tile.saturating_sub(1) / 2;
        let margin = self.overlap.unwrap_or((tile / 8).max(2).min(most));
        if self.overlap.is_some() && !(1..=most).contains(&margin) {
            let why = format!("give a number of patches from 1 to {most}");
            return fail(format!("tile-overlap {margin}"), why);
        }
        if most == 0 && self.count != TileCount::Number(1) {
            return fail("tiles".into(), "an input of so few patches cannot be a tile".into());
        }
        let pixels = |tiles: usize| Tiling::cells_of(tiles, tile, margin) * patch;
        let tiles = match self.count {
            TileCount::Number(tiles) => tiles,
            TileCount::Covering(long) if 2 * long <= 3 * size => 1,
            TileCount::Covering(long) => {
                (2..MOST_CHOSEN).find(|tiles| pixels(*tiles) >= long).unwrap_or(MOST_CHOSEN)
            }
        };
        if !(1..=MOST_TILES).contains(&tiles) {
            return fail(format!("tiles {tiles}"), format!("give a number from 1 to {MOST_TILES}"));
        }
        let cells = Tiling::cells_of(tiles, tile, margin);
        Ok((tiles > 1).then(|| Tiling::new((cells, cells), tile, margin)))
    }
}

/// A tile along one axis, in cells (patches).
#[derive(Clone, Debug, PartialEq, Eq)]
struct Span {
    /// The first cell of the tile.
    start: usize,
    /// The cells that are taken from it, counted in the whole picture.
    keep: Range<usize>,
}

/// The tiles of one axis. `cells`: of the whole picture, at least `tile`. `margin`: cells of a tile around each kept one,
/// but at the edges of the picture.
fn spans(cells: usize, tile: usize, margin: usize) -> Vec<Span> {
    let free = cells - tile;
    let count = free.div_ceil(tile - 2 * margin) + 1;
    let start = |i: usize| i * free / (count - 1).max(1);
    // The border is in the middle of the overlap with the next tile.
    let end = |i: usize| match i + 1 < count {
        true => start(i + 1) + (start(i) + tile - start(i + 1)).div_ceil(2),
        false => cells,
    };
    let first = |i: usize| if i == 0 { 0 } else { end(i - 1) };
    (0..count).map(|i| Span { start: start(i), keep: first(i)..end(i) }).collect()
}

/// What the rows of a tile's tokens are.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Layout {
    /// One for each cell, on a grid this many times as fine.
    Cells { finer: usize },
    /// One for each window of `side` x `side` cells, with stride 1.
    Windows { side: usize },
}

/// What an encoder makes of a tile.
type Parts<E> = std::result::Result<Vec<(Layout, Tensor)>, E>;

/// How a picture is cut into square tiles.
#[derive(Clone, Debug)]
pub(crate) struct Tiling {
    rows: Vec<Span>,
    columns: Vec<Span>,
    /// Rows and columns of cells of the whole picture.
    cells: (usize, usize),
    /// Cells along a side of a tile.
    tile: usize,
    margin: usize,
}

impl Tiling {
    /// `margin` must be at least 1, and `tile` larger than two margins.
    pub fn new(cells: (usize, usize), tile: usize, margin: usize) -> Self {
        let (rows, columns) = (spans(cells.0, tile, margin), spans(cells.1, tile, margin));
        Self { rows, columns, cells, tile, margin }
    }

    /// How many cells so many tiles cover along one axis.
    pub fn cells_of(tiles: usize, tile: usize, margin: usize) -> usize {
        tile + (tiles - 1) * (tile - 2 * margin)
    }

    /// The largest window of patches, along one side, that lies within a tile wherever it begins.
    pub fn largest_window(&self) -> usize {
        self.margin + 1
    }

    /// The tiles of a square picture.
    pub fn tiles(&self) -> Tiles {
        let count = TileCount::Number(self.columns.len());
        Tiles { count, overlap: Some(self.margin) }
    }

    /// Cells along the upper side.
    pub fn side(&self) -> usize {
        self.cells.1
    }

    /// Encodes each tile, `[3, side, side]` of `pixels`, `[3, height, width]`, and stitches what comes out: for each tensor
    /// of `encode` one of the whole picture, on the CPU. `patch`: side of a cell in pixels. `at_once`: tiles that are
    /// encoded at the same time. Blank tiles (all zeros) are encoded once.
    pub fn encode<E: From<candle_core::Error> + Send>(
        &self,
        pixels: &[f32],
        width: usize,
        (patch, at_once): (usize, usize),
        encode: &(dyn Fn(&[f32]) -> Parts<E> + Sync),
    ) -> std::result::Result<Vec<Tensor>, E> {
        let places: Vec<(&Span, &Span)> =
            self.rows.iter().flat_map(|row| self.columns.iter().map(move |c| (row, c))).collect();
        let (mut stitched, mut blank): (Vec<Stitched>, Option<Vec<(Layout, Tensor)>>) =
            (vec![], None);
        for places in places.chunks(at_once) {
            let tile = |(row, column): &(&Span, &Span)| {
                let crop = self.crop(pixels, width, patch, (row.start, column.start));
                match crop.iter().all(|value| *value == 0.0) {
                    true => Ok(None),
                    false => encode(&crop).map(Some),
                }
            };
            let found = places.par_iter().map(tile).collect::<std::result::Result<Vec<_>, E>>()?;
            for (place, parts) in places.iter().zip(found) {
                let parts = match (parts, &blank) {
                    (Some(parts), _) => parts,
                    (None, Some(blank)) => blank.clone(),
                    (None, None) => {
                        let side = self.tile * patch;
                        blank.insert(encode(&vec![0.0; 3 * side * side])?).clone()
                    }
                };
                if stitched.is_empty() {
                    let new = |(layout, part): &(Layout, Tensor)| self.stitched(*layout, part);
                    stitched = parts.iter().map(new).collect::<Result<_>>()?;
                }
                for (whole, (_, part)) in stitched.iter_mut().zip(&parts) {
                    whole.take(*place, part)?;
                }
            }
        }
        stitched.into_iter().map(|whole| Ok(whole.finish()?)).collect()
    }

    fn crop(
        &self,
        pixels: &[f32],
        width: usize,
        patch: usize,
        (top, left): (usize, usize),
    ) -> Vec<f32> {
        let side = self.tile * patch;
        let plane = pixels.len() / 3;
        let mut crop = Vec::with_capacity(3 * side * side);
        for channel in 0..3 {
            for y in 0..side {
                let row = channel * plane + (top * patch + y) * width + left * patch;
                crop.extend_from_slice(&pixels[row..][..side]);
            }
        }
        crop
    }

    /// An empty whole for parts like this one.
    fn stitched(&self, layout: Layout, part: &Tensor) -> Result<Stitched> {
        let (finer, less) = match layout {
            Layout::Cells { finer } => (finer, 0),
            Layout::Windows { side } => (1, side - 1),
        };
        let of = |cells: usize| cells * finer - less;
        let (rows, columns) = (of(self.cells.0), of(self.cells.1));
        let width = part.dim(1)?;
        let values = vec![0.0; rows * columns * width];
        Ok(Stitched { values, width, finer, rows, columns, own: of(self.tile) })
    }
}

/// The tokens of the whole picture, tile by tile.
struct Stitched {
    /// `[rows, columns, width]`.
    values: Vec<f32>,
    width: usize,
    finer: usize,
    rows: usize,
    columns: usize,
    /// Tokens along a side of a tile.
    own: usize,
}

impl Stitched {
    /// Takes what counts of a tile's tokens, `[own^2, width]`.
    fn take(&mut self, (row, column): (&Span, &Span), part: &Tensor) -> Result<()> {
        let part = part.to_device(&Device::Cpu)?.contiguous()?;
        let part = cpu_slice(&part)?;
        let within = |span: &Span, most: usize| {
            (span.keep.start * self.finer).min(most)..(span.keep.end * self.finer).min(most)
        };
        let (rows, columns) = (within(row, self.rows), within(column, self.columns));
        for y in rows {
            let own =
                (y - row.start * self.finer) * self.own + columns.start - column.start * self.finer;
            let length = columns.len() * self.width;
            let target = (y * self.columns + columns.start) * self.width;
            self.values[target..][..length].copy_from_slice(&part[own * self.width..][..length]);
        }
        Ok(())
    }

    fn finish(self) -> Result<Tensor> {
        Tensor::from_vec(self.values, (self.rows * self.columns, self.width), &Device::Cpu)
    }
}

/// The mean of each pixel's area: `[3, from, from]` to `[3, to, to]`.
pub(crate) fn shrunk(pixels: &[f32], to: usize) -> Vec<f32> {
    let from = (pixels.len() / 3).isqrt();
    let range = |i: usize| i * from / to..((i + 1) * from).div_ceil(to);
    let mut out = vec![0.0; 3 * to * to];
    out.par_chunks_mut(to).enumerate().for_each(|(line, out)| {
        let (channel, y) = (line / to, line % to);
        for (x, value) in out.iter_mut().enumerate() {
            let (rows, columns) = (range(y), range(x));
            let count = rows.len() * columns.len();
            let sum: f32 = rows
                .map(|row| &pixels[(channel * from + row) * from..][..from])
                .flat_map(|row| &row[columns.clone()])
                .sum();
            *value = sum / count as f32;
        }
    });
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::Value;

    fn fixture(name: &str) -> String {
        format!("{}/tests/fixtures/tiling/{name}", env!("CARGO_MANIFEST_DIR"))
    }

    #[test]
    fn axes_are_those_of_superadd() {
        let axes: Value =
            serde_json::from_slice(&std::fs::read(fixture("axes.json")).unwrap()).unwrap();
        for axis in axes.as_array().unwrap() {
            let number = |name: &str| axis[name].as_u64().unwrap() as usize;
            let cell = number("cell");
            let [size, tile, margin] = ["size", "tile", "margin"].map(|name| number(name) / cell);
            let found = spans(size, tile, margin);
            let pairs = |list: Vec<[usize; 2]>| serde_json::to_value(list).unwrap();
            let input = found.iter().map(|s| [s.start * cell, (s.start + tile) * cell]).collect();
            assert_eq!(pairs(input), axis["input_px"], "{axis}");
            let keep =
                found.iter().map(|s| [s.keep.start - s.start, s.keep.end - s.start]).collect();
            assert_eq!(pairs(keep), axis["keep_cells"], "{axis}");
            let result = found.iter().map(|s| [s.keep.start, s.keep.end]).collect();
            assert_eq!(pairs(result), axis["result_cells"], "{axis}");
        }
        assert_eq!(spans(Tiling::cells_of(4, 15, 2), 15, 2).len(), 4);
    }

    /// The stand-in tower of the golden: means over a cell and over its tile, and the cell's row and column in its tile.
    #[test]
    fn stitched_tokens_are_those_of_superadd() {
        let golden =
            candle_core::safetensors::load(fixture("expected.safetensors"), &Device::Cpu).unwrap();
        let values = |name: &str| golden[name].flatten_all().unwrap().to_vec1::<f32>().unwrap();
        let (cell, tile, width) = (8, 6, 131);
        let tower = |crop: &[f32]| -> Result<Vec<(Layout, Tensor)>> {
            let side = tile * cell;
            let all = crop.iter().sum::<f32>() / crop.len() as f32;
            let (mut first, mut second) = (vec![], vec![]);
            for at in 0..tile * tile {
                let (row, column) = (at / tile, at % tile);
                let mean = |plane: &[f32]| {
                    let rows = (row * cell..(row + 1) * cell)
                        .flat_map(|y| &plane[y * side + column * cell..][..cell]);
                    rows.sum::<f32>() / (cell * cell) as f32
                };
                let means: Vec<f32> = crop.chunks_exact(side * side).map(mean).collect();
                first.extend([&means[..], &[1.0, 0.0]].concat());
                second.extend(means.iter().map(|mean| mean + all));
                second.extend([row as f32 / 100.0, column as f32 / 100.0]);
            }
            [first, second]
                .into_iter()
                .map(|rows| Tensor::from_vec(rows, (tile * tile, 5), &Device::Cpu))
                .map(|tensor| Ok((Layout::Cells { finer: 1 }, tensor?)))
                .collect()
        };
        let tiling = Tiling::new((98 / cell, width / cell), tile, 1);
        assert_eq!((tiling.rows.len(), tiling.columns.len()), (3, 4));
        let found = tiling.encode(&values("input"), width, (cell, 5), &tower).unwrap();
        for (layer, found) in found.iter().enumerate() {
            let expected = values(&format!("stitched.{layer}"));
            let found = found.flatten_all().unwrap().to_vec1::<f32>().unwrap();
            assert_eq!(found.len(), expected.len());
            let worst = found.iter().zip(&expected).map(|(a, b)| (a - b).abs());
            assert!(worst.fold(0.0, f32::max) < 2e-6, "{layer}");
        }
    }

    /// Numbered windows and finer cells come out in the order of the whole picture.
    #[test]
    fn windows_and_finer_cells_are_stitched_too() {
        let (tile, side) = (6, 14);
        let tiling = Tiling::new((side, side), tile, 2);
        // Each pixel is one cell. Its value is its number.
        let pixels: Vec<f32> =
            (0..3 * side * side).map(|i| (i % (side * side)) as f32 + 1.0).collect();
        let tower = |crop: &[f32]| -> Result<Vec<(Layout, Tensor)>> {
            let windows = (0..16).map(|i| crop[i / 4 * tile + i % 4]);
            let finer = (0..144)
                .map(|i| crop[i / 24 * tile + i % 12 / 2] + (i / 12 % 2 * 2 + i % 2) as f32 / 4.0);
            let tensor = |values: Vec<f32>| {
                let rows = values.len();
                Tensor::from_vec(values, (rows, 1), &Device::Cpu)
            };
            Ok(vec![
                (Layout::Windows { side: 3 }, tensor(windows.collect())?),
                (Layout::Cells { finer: 2 }, tensor(finer.collect())?),
            ])
        };
        let found = tiling.encode(&pixels, side, (1, 3), &tower).unwrap();
        let [windows, finer] = &found[..] else { panic!("{}", found.len()) };
        let windows = windows.flatten_all().unwrap().to_vec1::<f32>().unwrap();
        let expected = |i: usize| (i / 12 * side + i % 12) as f32 + 1.0;
        assert_eq!(windows, (0..144).map(expected).collect::<Vec<_>>());
        let finer = finer.flatten_all().unwrap().to_vec1::<f32>().unwrap();
        let expected = |i: usize| {
            let (row, column) = (i / 28, i % 28);
            (row / 2 * side + column / 2) as f32 + 1.0 + (row % 2 * 2 + column % 2) as f32 / 4.0
        };
        assert_eq!(finer, (0..784).map(expected).collect::<Vec<_>>());
    }

    #[test]
    fn tiles_cover_a_photo() {
        let tiles = |count| Tiles { count, overlap: None }.tiling(240, 16);
        let side = |count| tiles(count).unwrap().map(|tiling| tiling.side() * 16);
        assert_eq!(side(TileCount::Number(1)), None);
        assert_eq!(side(TileCount::Number(2)), Some(416));
        assert_eq!(side(TileCount::Covering(360)), None);
        assert_eq!(side(TileCount::Covering(600)), Some(768));
        // At most 64 tiles.
        assert_eq!(side(TileCount::Covering(8000)), Some(1472));
        assert!(tiles(TileCount::Number(0)).is_err() && tiles(TileCount::Number(17)).is_err());
        for overlap in [0, 7, 8] {
            let tiles = Tiles { count: TileCount::Number(2), overlap: Some(overlap) };
            assert_eq!(tiles.tiling(240, 16).is_err(), overlap != 7, "{overlap}");
        }
    }

    #[test]
    fn a_shrunk_picture_keeps_its_means() {
        let pixels: Vec<f32> = (0..3 * 36).map(|i| (i % 36) as f32).collect();
        assert_eq!(shrunk(&pixels, 6), pixels);
        assert_eq!(shrunk(&pixels, 2)[..4], [7.0, 10.0, 25.0, 28.0]);
    }
}
