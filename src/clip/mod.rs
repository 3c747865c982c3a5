//! CLIP: an image tower and a text tower that share one embedding. It reads published checkpoints of Hugging Face and
//! of open_clip.

mod checkpoint;
mod config;
mod text;
mod tokenizer;
mod transformer;
mod trunk;
mod trunk_config;
mod value_path;
mod vision;

use std::sync::Arc;

use candle_core::{Device, Tensor};

use crate::checkpoint::{
    Files, Manifest, find, in_file, normalisation_from_hugging_face, weights_sha256,
};
use crate::dino::Dino;
use crate::error::{Error, Result};
use crate::image::{Fit, Normalisation, Photo, Prepared};
use crate::ops::{Layout, Tiling, shrunk};
use checkpoint::Checkpoint;
use config::Config;
use text::TextTower;
use tokenizer::Tokenizer;
use vision::VisionTower;

pub use crate::checkpoint::{Alias, Use, aliases, is_cached};
#[cfg(feature = "hub")]
pub use crate::checkpoint::{Download, pull};
pub use crate::ops::{Activation, Precision, TileCount, Tiles};
pub use tokenizer::Tokens;
pub use trunk::TrunkOutputs;
pub(crate) use trunk::{FINER, enlarged_rows};
pub use vision::{Features, Taps};

/// Settings that replace a checkpoint's own.
#[derive(Clone, Debug)]
pub struct ModelOptions {
    /// Side of the square input in pixels, a multiple of the patch size. The position embedding is resized to fit.
    /// Default: the checkpoint's own size.
    pub size: Option<usize>,
    /// Nonlinearity of both towers. Default: the checkpoint's own.
    pub activation: Option<Activation>,
    /// How the products of the image tower are computed. Text embeddings do not depend on it.
    pub precision: Precision,
    /// Tiles for photos that are larger than the input.
    pub tiles: Option<Tiles>,
    /// The device that computes.
    pub device: Device,
}

impl Default for ModelOptions {
    fn default() -> Self {
        Self {
            size: None,
            activation: None,
            precision: Precision::F32,
            tiles: None,
            device: Device::Cpu,
        }
    }
}

/// The shape of a checkpoint's image tower, from its configuration.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Shape {
    /// Width of the patch tokens.
    pub width: usize,
    /// Width of the embedding that photos and texts share.
    pub embedding: usize,
    /// Number of transformer blocks.
    pub blocks: usize,
    /// Side of the square input during training, in pixels.
    pub size: usize,
    /// Side of a patch, in pixels.
    pub patch: usize,
    /// Channels of the two outputs of a hybrid model's trunk, the finer one first. None if the model has no trunk.
    pub trunk: Option<[usize; 2]>,
}

/// The shape of a model. Its weights are not read.
///
/// # Errors
/// As [`Clip::load`].
pub fn shape(name: &str) -> Result<Shape> {
    let files = find(name)?;
    let (_, config, _) = configuration(name, &files)?;
    Ok(config.shape())
}

/// The content of another file in the model's folder, if it exists.
pub(crate) fn companion(name: &str, file: &str) -> Result<Option<std::borrow::Cow<'static, [u8]>>> {
    let files = find(name)?;
    let is_there = files.names()?.iter().any(|n| n == file);
    is_there.then(|| files.read(file)).transpose()
}

/// With tokens of at most this width, one photo or tile is too little work for all threads.
const SMALL: usize = 256;

/// A CLIP model, ready to encode photos and texts.
pub struct Clip {
    name: String,
    sha256: String,
    shape: Shape,
    activation: Activation,
    precision: Precision,
    logit_scale: f32,
    text_shape: String,
    normalisation: Normalisation,
    tokenizer: Tokenizer,
    vision: VisionTower,
    text: TextTower,
    tiling: Option<Tiling>,
    reference: Option<Arc<Dino>>,
}

impl Clip {
    /// Opens a model by name: `tiny` (embedded in the program), a short name ([`aliases`]), a Hugging Face repository
    /// id
    /// (`owner/name` or `owner/name@revision`), or a folder. Downloads files that are not cached.
    ///
    /// # Errors
    /// [`Error::Setting`] if the name is none of these. [`Error::Model`] if files are missing or damaged, or cannot be
    /// downloaded.
    pub fn load(name: &str) -> Result<Self> {
        Self::open(name, &ModelOptions::default())
    }

    /// Opens a model by name, with other settings than its own.
    ///
    /// # Errors
    /// As [`Clip::load`], and [`Error::Setting`] for a size that the model cannot use, or for [`Precision::Fast`] on
    /// another device than the processor.
    pub fn open(name: &str, options: &ModelOptions) -> Result<Self> {
        let files = find(name)?;
        let (manifest, mut config, normalisation) = configuration(name, &files)?;
        if let Some(activation) = options.activation {
            config.vision.activation = activation;
            config.text.activation = activation;
        }
        let size = options.size.unwrap_or(config.image_size);
        check_size(size, config.patch_size)?;
        let tiles = options.tiles.map(|tiles| tiles.tiling(size, config.patch_size)).transpose()?;
        let (device, precision) = (&options.device, options.precision);
        if precision == Precision::Fast && !device.is_cpu() {
            return Err(Error::setting(
                "precision fast",
                "is for the processor alone; leave out `--device`",
            ));
        }
        // Hashing a large file takes about as long as loading it, so both run at the same time.
        std::thread::scope(|scope| {
            let sha256 = scope.spawn(|| weights_sha256(&files, &manifest.weights));
            let words = manifest.words().map_err(|why| Error::model(name, why))?;
            let tokenizer = Tokenizer::open(&files, words, config.context, config.vocabulary)?;
            let checkpoint = Checkpoint::open(&files, &manifest, device, precision)?;
            let vision = VisionTower::open(&checkpoint, &config, &normalisation, size, device)?;
            let text = TextTower::open(&checkpoint, &config, device)?;
            let sha256 =
                sha256.join().map_err(|_| Error::model(name, "hashing the weights failed"))??;
            Ok(Self {
                name: name.to_string(),
                sha256,
                shape: config.shape(),
                activation: config.vision.activation,
                precision,
                logit_scale: checkpoint.logit_scale()?,
                text_shape: format!("{:?} {}", config.text, config.context),
                normalisation,
                tokenizer,
                vision,
                text,
                tiling: tiles.flatten(),
                reference: None,
            })
        })
    }

    /// The name that it was opened by.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// SHA-256 of the weights file. If there are several shards: of all shards, one after another in order of name.
    pub fn sha256(&self) -> &str {
        &self.sha256
    }

    /// The shape of the image tower, from the configuration.
    pub fn shape(&self) -> Shape {
        self.shape
    }

    /// The nonlinearity in use.
    pub fn activation(&self) -> Activation {
        self.activation
    }

    /// How the products of the image tower are computed.
    pub fn precision(&self) -> Precision {
        self.precision
    }

    /// The trained factor on the cosines (logit scale).
    pub fn logit_scale(&self) -> f32 {
        self.logit_scale
    }

    /// Identifies everything that text embeddings depend on, except the texts.
    pub(crate) fn text_identity(&self) -> String {
        let device = self.device().location();
        let arithmetic = crate::ops::arithmetic();
        let tokenizer = self.tokenizer.sha256();
        format!("{} {tokenizer} {} {device:?} {arithmetic}", self.sha256, self.text_shape)
    }

    /// The device that computes.
    pub fn device(&self) -> &Device {
        self.vision.device()
    }

    /// Side of the square input, in pixels. With tiles: of one tile.
    pub fn input_size(&self) -> usize {
        self.vision.size()
    }

    /// Side of the square that is seen, in pixels: the input, or all tiles.
    pub fn size(&self) -> usize {
        self.grid() * self.shape.patch
    }

    /// Number of patches along one side of that square.
    pub fn grid(&self) -> usize {
        self.tiling.as_ref().map_or(self.vision.grid(), Tiling::side)
    }

    /// The tiles of larger photos, with their number and overlap. None without tiles.
    pub fn tiles(&self) -> Option<Tiles> {
        self.tiling.as_ref().map(Tiling::tiles)
    }

    /// Whether one photo is too little work for all threads.
    pub(crate) fn is_small(&self) -> bool {
        let is_tiled =
            self.tiling.is_some() || self.reference().is_some_and(|dino| dino.tiles().is_some());
        !is_tiled && self.shape.width.max(self.compared_shape().width) <= SMALL
    }

    /// The same model with a reference model: photos are compared with each other by its patches. Words stay with this
    /// model.
    pub fn with_reference(self, reference: impl Into<Arc<Dino>>) -> Self {
        Self { reference: Some(reference.into()), ..self }
    }

    /// The reference model, if there is one.
    pub fn reference(&self) -> Option<&Dino> {
        self.reference.as_deref()
    }

    /// The shape of the tower whose patches are compared: of the reference model, or the image tower.
    pub fn compared_shape(&self) -> Shape {
        self.reference().map_or(self.shape, |dino| Shape {
            width: dino.width(),
            embedding: dino.width(),
            blocks: dino.blocks(),
            size: dino.size(),
            patch: dino.patch(),
            trunk: None,
        })
    }

    /// Side of the input of the tower whose patches are compared, in pixels and in patches.
    pub(crate) fn compared_sides(&self) -> (usize, usize) {
        let own = (self.size(), self.grid());
        self.reference().map_or(own, |dino| (dino.size(), dino.size() / dino.patch()))
    }

    /// Prepares a photo as input of this model, and of the reference model.
    pub fn prepare(&self, photo: &Photo, fit: Fit) -> Prepared {
        let reference = self.reference().map(|dino| dino.prepare(photo, fit));
        Prepared { reference, ..photo.prepare(self.size(), fit, &self.normalisation) }
    }

    /// Mean and standard deviation of the pixels that the image tower takes.
    pub(crate) fn normalisation(&self) -> Normalisation {
        self.normalisation
    }

    /// The factors that turn a change of the reference model's pixels into a change of this model's.
    pub(crate) fn reference_contrast(&self) -> [f32; 3] {
        let own = self.normalisation.std;
        let theirs = self.reference().map_or(own, |dino| dino.normalisation().std);
        std::array::from_fn(|channel| theirs[channel] / own[channel])
    }

    /// Checks that the model can compute `taps` at its input size.
    ///
    /// # Errors
    /// [`Error::Setting`] for a window that is larger than the grid, or a block that the model does not have.
    pub fn check(&self, taps: &Taps) -> Result<()> {
        let grid = self.grid();
        if let Some(window) = taps.windows.iter().find(|w| !(1..=grid).contains(*w)) {
            return Err(Error::setting(
                format!("a window of {window}x{window} patches"),
                format!(
                    "does not fit the {grid}x{grid} grid of a {} pixel input; use a larger size",
                    self.size()
                ),
            ));
        }
        let is_cut = |window: &&usize| {
            self.tiling.as_ref().is_some_and(|tiling| **window > tiling.largest_window())
        };
        if let Some(window) = taps.windows.iter().find(is_cut) {
            let why = format!("is too small for windows of {window}x{window} patches; give more");
            return Err(Error::setting("tile-overlap", why));
        }
        if taps.trunk && !self.vision.has_trunk() {
            let why = format!("model {} has no trunk", self.name);
            return Err(Error::setting("the features of a trunk", why));
        }
        if taps.reference.is_some() && self.reference.is_none() {
            let why = format!("model {} has none; open it with one", self.name);
            return Err(Error::setting("a reference model", why));
        }
        if let Some(block) = taps.blocks.iter().find(|b| **b > self.vision.blocks()) {
            let blocks = self.vision.blocks();
            return Err(Error::setting(
                format!("block {block}"),
                format!("the model has {blocks}"),
            ));
        }
        Ok(())
    }

    /// Encodes one photo. `pixels`: `[3, size, size]`, normalised ([`Prepared::pixels`]).
    ///
    /// # Errors
    /// [`Error::Setting`] if `pixels` has another size, and as [`Clip::check`].
    pub fn encode_image(&self, pixels: &[f32], taps: &Taps) -> Result<Features> {
        let side = self.size();
        if pixels.len() != 3 * side * side {
            return Err(Error::setting("pixels", format!("are not 3 planes of {side}x{side}")));
        }
        self.check(taps)?;
        match &self.tiling {
            Some(tiling) => self.encode_tiles(tiling, pixels, taps),
            None => Ok(self.vision.forward(pixels, taps)?),
        }
    }

    /// The tokens of all tiles in one grid. The image embedding and the class tokens are those of the whole photo.
    fn encode_tiles(&self, tiling: &Tiling, pixels: &[f32], taps: &Taps) -> Result<Features> {
        let of_whole = Taps { windows: vec![], patches: false, trunk: false, ..taps.clone() };
        let whole = self.vision.forward(&shrunk(pixels, self.input_size()), &of_whole)?;
        let tiles_at_once = if self.shape.width <= SMALL { 4 } else { 1 };
        let encode = |tile: &[f32]| -> Result<Vec<(Layout, Tensor)>> {
            self.vision.forward(tile, taps)?.parts()
        };
        let how = (self.shape.patch, tiles_at_once);
        let parts = tiling.encode(pixels, self.size(), how, &encode)?;
        let parts = parts.into_iter().map(|part| Ok(part.to_device(self.device())?));
        whole.with_parts(parts.collect::<Result<_>>()?, taps, tiling.side(), self.size())
    }

    /// Encodes a prepared photo, also by the reference model if `taps` ask for it.
    ///
    /// # Errors
    /// As [`Clip::encode_image`], and [`Error::Setting`] for a photo that was prepared without the reference model.
    pub fn encode(&self, prepared: &Prepared, taps: &Taps) -> Result<Features> {
        let features = self.encode_image(&prepared.pixels, taps)?;
        let Some((taps, dino)) = taps.reference.as_deref().zip(self.reference()) else {
            return Ok(features);
        };
        let pixels = prepared.reference.as_deref().unwrap_or_default();
        let reference = Some(Box::new(features_of(dino, pixels, taps)?));
        Ok(Features { reference, ..features })
    }

    /// Splits texts into tokens. Each text is cut to the model's context and keeps its end-of-text token.
    ///
    /// # Errors
    /// [`Error::Setting`] for a text that the tokenizer refuses.
    pub fn tokenize(&self, texts: &[String]) -> Result<Vec<Tokens>> {
        self.tokenizer.encode(texts)
    }

    /// Encodes texts: `[texts, embedding]`, not normalised.
    ///
    /// # Errors
    /// As [`Clip::tokenize`].
    pub fn encode_texts(&self, texts: &[String]) -> Result<Tensor> {
        let tokens = self.tokenize(texts)?;
        let read: Vec<&[u32]> = tokens.iter().map(|t| self.tokenizer.read_part(t)).collect();
        Ok(self.text.forward(&read)?)
    }
}

/// The tokens of the reference model as features. Registers are left out.
fn features_of(dino: &Dino, pixels: &[f32], taps: &Taps) -> Result<Features> {
    if !taps.windows.is_empty() || taps.trunk || taps.v_v_stages > 0 {
        let why = "has only blocks and patches; take another method";
        return Err(Error::setting("reference-model", why));
    }
    let tokens = dino.encode_square(pixels, &taps.blocks)?;
    let block = |tokens_of: &Tensor| -> Result<Tensor> {
        let class = tokens_of.narrow(0, 0, 1)?;
        Ok(Tensor::cat(&[&class, &tokens.patches(tokens_of)?], 0)?)
    };
    Ok(Features {
        image: tokens.last.get(0)?,
        windows: vec![],
        blocks: tokens.blocks.iter().map(block).collect::<Result<_>>()?,
        patches: taps.patches.then(|| tokens.patches(&tokens.last)).transpose()?,
        trunk: None,
        v_v: vec![],
        reference: None,
        grid: tokens.grid.0,
        size: dino.size(),
    })
}

fn configuration(name: &str, files: &Files) -> Result<(Manifest, Config, Normalisation)> {
    let manifest = Manifest::choose(&files.names()?).map_err(|why| Error::model(name, why))?;
    let config_file = files.path(&manifest.config);
    let json = files.read(&manifest.config)?;
    let (config, normalisation) = in_file(
        config_file.display(),
        if manifest.is_open_clip() {
            Config::from_open_clip(&json)
        } else {
            Config::from_hugging_face(&json).map(|c| (c, Normalisation::default()))
        },
    )?;
    for file in &manifest.preprocessors {
        let found = normalisation_from_hugging_face(file, &files.read(file)?, true);
        if let Some(found) = in_file(files.path(file).display(), found)? {
            return Ok((manifest, config, found));
        }
    }
    Ok((manifest, config, normalisation))
}

fn check_size(size: usize, patch: usize) -> Result<()> {
    const LARGEST: usize = 4096;
    if size == 0 || !size.is_multiple_of(patch) || size > LARGEST {
        let below = (size.min(LARGEST) / patch).max(1) * patch;
        let next =
            if below + patch <= LARGEST { format!(" or {}", below + patch) } else { String::new() };
        return Err(Error::setting(
            format!("--size {size}"),
            format!(
                "must be a multiple of the model's patch size {patch} and at most {LARGEST}: \
                 try {below}{next}"
            ),
        ));
    }
    Ok(())
}

crate::error::opaque_debug!(Clip);
