//! DINOv2 and DINOv3: vision towers without words. Their patches are made to be compared (Oquab et al. 2023, arXiv
//! 2304.07193; Siméoni et al. 2025, arXiv 2508.10104). It reads checkpoints in the layout of Hugging Face, and computes
//! what transformers computes.

mod config;
mod positions;
mod tower;

use candle_core::{Device, Tensor};

use crate::checkpoint::{
    CheckedTensors, Manifest, find, in_file, normalisation_from_hugging_face, weights_sha256,
};
use crate::error::{Error, Result};
use crate::image::{Fit, Normalisation, Photo};
use crate::ops::{Layout, Precision, Tiles, Tiling, shrunk};
use config::{Config, Family};
use tower::Tower;

pub use positions::Positions;

/// Settings of a tower.
#[derive(Clone, Copy, Debug, Default)]
pub struct DinoOptions {
    /// Side of the square input in pixels, a multiple of the patch size. Default: the largest one up to 448, as in
    /// AnomalyDINO.
    pub size: Option<usize>,
    /// Tiles for larger photos.
    pub tiles: Option<Tiles>,
    /// How the products of the blocks are computed.
    pub precision: Precision,
    /// How position embeddings are resized to other input sizes.
    pub positions: Positions,
}

/// The tokens of a picture.
#[derive(Clone, Debug)]
pub struct Tokens {
    /// For each block that was asked for: its output, not normed, `[others + patches, width]`.
    pub blocks: Vec<Tensor>,
    /// The output of the last block after the last norm, `[others + patches, width]`.
    pub last: Tensor,
    /// The number of tokens before the patches: the class token, then the registers.
    pub others: usize,
    /// Rows and columns of patches. The patches are in rows, from the upper left corner.
    pub grid: (usize, usize),
}

impl Tokens {
    /// The patches of a block or of [`Tokens::last`], `[patches, width]`.
    ///
    /// # Errors
    /// [`Error::Tensor`] for a tensor of another tower.
    pub fn patches(&self, tokens: &Tensor) -> Result<Tensor> {
        Ok(tokens.narrow(0, self.others, self.grid.0 * self.grid.1)?.contiguous()?)
    }
}

/// A DINOv2 or DINOv3 model.
pub struct Dino {
    name: String,
    sha256: String,
    normalisation: Normalisation,
    precision: Precision,
    positions: Positions,
    size: usize,
    tiling: Option<Tiling>,
    tower: Tower,
}

/// The default input size.
const SIZE: usize = 448;
/// The largest input size.
const LARGEST: usize = 4096;

impl Dino {
    /// Opens a model by name: a short name ([`aliases`](crate::clip::aliases)), a Hugging Face repository id, or a
    /// folder. Downloads files that are not cached.
    ///
    /// # Errors
    /// [`Error::Setting`] if the name is none of these. [`Error::Model`] if files are missing or damaged, or belong to
    /// another kind of model.
    pub fn open(name: &str, options: &DinoOptions) -> Result<Self> {
        let files = find(name).map_err(of_reference_model)?;
        let manifest = Manifest::choose(&files.names()?).map_err(|why| Error::model(name, why))?;
        let json = files.read(&manifest.config)?;
        let config = in_file(files.path(&manifest.config).display(), Config::parse(&json))?;
        let size = options.size.unwrap_or(SIZE / config.patch * config.patch);
        if size == 0 || !size.is_multiple_of(config.patch) || size > LARGEST {
            let patch = config.patch;
            let why = format!("must be a multiple of the patch size {patch} and at most {LARGEST}");
            return Err(Error::setting(format!("reference-size {size}"), why));
        }
        let tiling = options.tiles.map(|tiles| tiles.tiling(size, config.patch)).transpose();
        let tiling = tiling.map_err(of_reference_model)?;
        let mut normalisation = IMAGENET;
        for file in &manifest.preprocessors {
            let found = normalisation_from_hugging_face(file, &files.read(file)?, false);
            if let Some(found) = in_file(files.path(file).display(), found)? {
                normalisation = found;
                break;
            }
        }
        // Hashing a large file takes about as long as loading it, so both run at the same time.
        std::thread::scope(|scope| {
            let sha256 = scope.spawn(|| weights_sha256(&files, &manifest.weights));
            let tensors = CheckedTensors::open(&files, &manifest.weights, &Device::Cpu)?;
            let tower = Tower::open(&tensors, config, (options.precision, options.positions))?;
            let sha256 =
                sha256.join().map_err(|_| Error::model(name, "hashing the weights failed"))??;
            let DinoOptions { precision, positions, .. } = *options;
            let name = name.to_string();
            let tiling = tiling.flatten();
            Ok(Self { name, sha256, normalisation, precision, positions, size, tiling, tower })
        })
    }

    /// The name that it was opened by.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// SHA-256 of the weights file, or of all shards one after another.
    pub fn sha256(&self) -> &str {
        &self.sha256
    }

    /// How the products of the blocks are computed.
    pub fn precision(&self) -> Precision {
        self.precision
    }

    /// How position embeddings are resized.
    pub fn positions(&self) -> Positions {
        self.positions
    }

    /// Side of the square input, in pixels. With tiles: of one tile.
    pub fn input_size(&self) -> usize {
        self.size
    }

    /// Side of the square that is seen, in pixels: the input, or all tiles.
    pub fn size(&self) -> usize {
        self.tiling.as_ref().map_or(self.size, |tiling| tiling.side() * self.patch())
    }

    /// The tiles of larger photos, with their number and overlap. None without tiles.
    pub fn tiles(&self) -> Option<Tiles> {
        self.tiling.as_ref().map(Tiling::tiles)
    }

    /// Mean and standard deviation of the pixels.
    pub fn normalisation(&self) -> Normalisation {
        self.normalisation
    }

    /// Prepares a photo as square input, `[3, size, size]`.
    pub fn prepare(&self, photo: &Photo, fit: Fit) -> Vec<f32> {
        photo.prepare(self.size(), fit, &self.normalisation).pixels
    }

    /// Whether it is a DINOv2 model.
    pub fn is_v2(&self) -> bool {
        self.tower.config().family != Family::Dinov3
    }

    /// Side of a patch, in pixels.
    pub fn patch(&self) -> usize {
        self.tower.config().patch
    }

    /// Number of blocks.
    pub fn blocks(&self) -> usize {
        self.tower.config().layers
    }

    /// Width of the tokens.
    pub fn width(&self) -> usize {
        self.tower.config().width
    }

    /// Encodes a square picture ([`Dino::prepare`]), in tiles if there are any: then class token and registers are those of
    /// the whole picture at the input's size. `blocks`: as in [`Dino::encode`].
    ///
    /// # Errors
    /// As [`Dino::encode`].
    pub fn encode_square(&self, pixels: &[f32], blocks: &[usize]) -> Result<Tokens> {
        let (input, side) = (self.size, self.size());
        let Some(tiling) = &self.tiling else {
            return self.encode(pixels, (input, input), blocks);
        };
        if pixels.len() != 3 * side * side {
            return Err(Error::setting("pixels", format!("are not 3 planes of {side}x{side}")));
        }
        let whole = self.encode(&shrunk(pixels, input), (input, input), blocks)?;
        let encode = |tile: &[f32]| -> Result<Vec<(Layout, Tensor)>> {
            let tokens = self.encode(tile, (input, input), blocks)?;
            let parts = tokens.blocks.iter().chain([&tokens.last]);
            parts.map(|part| Ok((Layout::Cells { finer: 1 }, tokens.patches(part)?))).collect()
        };
        let stitched = tiling.encode(pixels, side, (self.patch(), 1), &encode)?;
        let of_whole = whole.blocks.iter().chain([&whole.last]);
        let mut all = of_whole.zip(stitched).map(|(own, patches)| {
            Ok(Tensor::cat(&[&own.narrow(0, 0, whole.others)?, &patches], 0)?)
        });
        let blocks = all.by_ref().take(blocks.len()).collect::<Result<Vec<_>>>()?;
        let last = all.next().unwrap_or(Ok(whole.last.clone()))?;
        Ok(Tokens { blocks, last, grid: (tiling.side(), tiling.side()), ..whole.clone() })
    }

    /// Encodes a picture. `pixels`: `[3, height, width]`, normalised. What is left of it at the right and below, less
    /// than a patch, is ignored. `blocks`: the blocks to keep, counted from 1. 0 is the input of the first block.
    ///
    /// # Errors
    /// [`Error::Setting`] for another number of pixels, a picture smaller than a patch, or a block that the model does
    /// not have.
    pub fn encode(
        &self,
        pixels: &[f32],
        (height, width): (usize, usize),
        blocks: &[usize],
    ) -> Result<Tokens> {
        let patch = self.patch();
        if pixels.len() != 3 * height * width || height < patch || width < patch {
            let why = format!("are not 3 planes of {height}x{width}, at least {patch}x{patch}");
            return Err(Error::setting("pixels", why));
        }
        if let Some(block) = blocks.iter().find(|block| **block > self.blocks()) {
            let why = format!("the model has {}", self.blocks());
            return Err(Error::setting(format!("block {block}"), why));
        }
        let mut kept = vec![None; blocks.len()];
        let keep = |block: usize, x: &Tensor| {
            for (slot, _) in kept.iter_mut().zip(blocks).filter(|(_, wanted)| **wanted == block) {
                *slot = Some(x.clone());
            }
        };
        let last = self.tower.forward(pixels, (height, width), keep)?;
        let grid = (height / patch, width / patch);
        let blocks = kept.into_iter().flatten().collect();
        Ok(Tokens { blocks, last, others: self.tower.others(), grid })
    }
}

/// Says that a setting is the reference model's.
fn of_reference_model(error: Error) -> Error {
    match error {
        Error::Setting { setting, why } if setting.starts_with("model ") => {
            Error::Setting { setting: format!("reference-{setting}"), why }
        }
        Error::Setting { setting, why } => {
            Error::Setting { setting, why: format!("{why} (for the reference model)") }
        }
        other => other,
    }
}

/// Mean and standard deviation of ImageNet's pixels.
const IMAGENET: Normalisation =
    Normalisation { mean: [0.485, 0.456, 0.406], std: [0.229, 0.224, 0.225] };

crate::error::opaque_debug!(Dino);
