//! The flags for tiles of large photos.

use std::path::PathBuf;

use blemish::Photo;
use blemish::clip::{TileCount, Tiles};

/// Tiles of large photos.
#[derive(clap::Args)]
pub struct TileArgs {
    /// Cut each photo into N x N overlapping tiles, each as large as the model's input, to see small defects on large
    /// photos. `auto` keeps the photos' resolution, with at most 8 x 8 tiles. Time grows with the number of tiles.
    #[arg(long, value_name = "auto|N|off", default_value = "off", value_parser = count)]
    tiles: Count,
    /// How much a tile sees around the part that is taken from it, in patches [default: an eighth of a tile, at least 2].
    #[arg(long, value_name = "N")]
    tile_overlap: Option<usize>,
}

#[derive(Clone, Copy)]
enum Count {
    Off,
    Auto,
    Number(usize),
}

fn count(text: &str) -> Result<Count, String> {
    match text {
        "off" => Ok(Count::Off),
        "auto" => Ok(Count::Auto),
        text => text.parse().map(Count::Number).map_err(|_| "give auto, off or a number".into()),
    }
}

impl TileArgs {
    /// `photos`: of the run. `auto` looks at the size of some of them.
    pub fn resolve(&self, photos: &[PathBuf]) -> Option<Tiles> {
        /// Enough to meet the largest kind.
        const LOOKED_AT: usize = 32;
        let count = match self.tiles {
            Count::Off => return None,
            Count::Number(count) => TileCount::Number(count),
            Count::Auto => {
                let some = photos.iter().step_by(photos.len().div_ceil(LOOKED_AT).max(1));
                // A photo that cannot be read is reported later.
                let sides = some.filter_map(|photo| Photo::size(photo).ok());
                TileCount::Covering(sides.map(|(w, h)| w.max(h)).max().unwrap_or(0))
            }
        };
        Some(Tiles { count, overlap: self.tile_overlap })
    }
}
