//! The flags for tiles of large photos.

use std::path::PathBuf;

use blemish::clip::{TileCount, Tiles};
use blemish::image::Fit;
use blemish::{Error, Photo};

/// Tiles of large photos.
#[derive(clap::Args)]
pub struct TileArgs {
    /// Cut each photo into N x N overlapping tiles, each as large as the model's input, to see small defects on large
    /// photos. `auto` looks at some photos and keeps their resolution, with at most 8 x 8 tiles. Time grows with the number of
    /// tiles.
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
    /// `photos`: of the run. `auto` looks at the size of some of them. `fit`: how they become square.
    pub fn resolve(&self, photos: &[PathBuf], fit: Fit) -> blemish::Result<Option<Tiles>> {
        const LOOKED_AT: usize = 32;
        let count = match self.tiles {
            Count::Off if self.tile_overlap.is_some() => {
                return Err(Error::setting("tile-overlap", "needs --tiles"));
            }
            Count::Off => return Ok(None),
            Count::Number(count) => TileCount::Number(count),
            Count::Auto => {
                let some = photos.iter().step_by(photos.len().div_ceil(LOOKED_AT).max(1));
                // A photo that cannot be read is reported later.
                let sides = some.filter_map(|photo| Photo::size(photo).ok());
                let seen = |(width, height): (usize, usize)| match fit {
                    Fit::Crop => width.min(height),
                    Fit::Squash | Fit::Letterbox => width.max(height),
                };
                TileCount::Covering(sides.map(seen).max().unwrap_or(0))
            }
        };
        Ok(Some(Tiles { count, overlap: self.tile_overlap }))
    }
}
