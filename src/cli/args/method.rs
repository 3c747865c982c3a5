//! The flags for the model and the method.

use std::path::PathBuf;
use std::sync::Arc;

use blemish::adapter::Adapter;
use blemish::clip::{Precision, Tiles};
use blemish::detect::{Detector, MethodEntry, MethodInputs};
use blemish::image::{BitDepth, Fit};
use blemish::profile::TilesAbout;
use blemish::prompt::TextCache;
use blemish::reference::{Layers, ReferenceEntry, Region, RegionShape};
use blemish::{Clip, Error, Product, Prompts};
use clap::builder::{PossibleValue, PossibleValuesParser};

use super::model::{ModelArgs, ModelChoice};
use super::reference_model::ReferenceModelChoice;
use super::values;

/// Which model encodes the photos, and which method scores them.
#[derive(clap::Args)]
pub struct MethodArgs {
    #[command(flatten)]
    pub model: ModelArgs,
    /// How to score the photos [default of `score` and `eval folder`: auto; else april-gan with `tiny`, fused with
    /// another adapter, and winclip without one].
    #[arg(id = "method", long, value_name = "METHOD",
          value_parser = PossibleValuesParser::new(methods()))]
    name: Option<String>,
    /// The adapter (trained layers) for april-gan and fused: .safetensors, or a .pth of April-GAN's authors [default:
    /// the model's own, as `tiny` has].
    #[arg(long, value_name = "FILE")]
    adapter: Option<PathBuf>,
    /// Transformer blocks to use, counted from 1. With mutual and auto: layers compared between photos, also `trunk` if
    /// the model has one [default: quarters of the tower, and the trunk]. Otherwise: blocks the adapter reads [default:
    /// the adapter's own; 6,12,18,24 for a .pth].
    #[arg(long, value_name = "N,...")]
    blocks: Option<Layers>,
    /// How a photo becomes square.
    #[arg(long, value_name = "FIT", default_value = "squash", value_parser = values::fit())]
    fit: Fit,
    /// Bits that the camera uses in 16-bit files.
    #[arg(long, value_name = "BITS", default_value_t = 16)]
    bit_depth: u8,
}

/// How photos are scored.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum ScoringMode {
    /// Each photo by itself.
    PerPhoto,
    /// The photos of a folder, compared with each other.
    Mutual,
    /// A few photos by prompts. A folder of photos by prompts, and compared with each other.
    Auto,
}

/// Methods that compare the photos of a folder with each other.
const FOLDER_METHODS: [(&str, &str, ScoringMode); 2] = [
    (
        "mutual",
        "MuSc: compares the photos of a folder with each other; prompts only name the defects (`score`, `eval`)",
        ScoringMode::Mutual,
    ),
    (
        "auto",
        "Prompts and the other photos; `score` uses prompts only for fewer than 8 photos",
        ScoringMode::Auto,
    ),
];

fn methods() -> impl Iterator<Item = PossibleValue> {
    let alone = blemish::detect::METHODS.iter().map(|entry| (entry.name, entry.about));
    let all = alone.chain(FOLDER_METHODS.map(|(name, about, _)| (name, about)));
    all.map(|(name, about)| PossibleValue::new(name).help(about))
}

/// The values of `--reference-method`.
pub fn reference_methods() -> PossibleValuesParser {
    PossibleValuesParser::new(blemish::reference::REFERENCE_METHODS.iter().map(|entry| {
        PossibleValue::new(entry.name).help(format!("{} ({})", entry.about, entry.source))
    }))
}

/// The resolved [`MethodArgs`]: everything that is known before the model is opened.
pub struct MethodChoice {
    pub mode: ScoringMode,
    /// The method that scores by prompts.
    pub entry: &'static MethodEntry,
    /// The layers whose patches are compared between photos. None: the default.
    pub mutual_layers: Option<Layers>,
    pub fit: Fit,
    pub depth: BitDepth,
    pub quiet: bool,
    model: ModelChoice,
    adapter: Option<Adapter>,
    /// The blocks whose patches the adapter reads. None: the adapter's own.
    adapter_blocks: Option<Vec<usize>>,
}

impl MethodArgs {
    /// Whether `--method` was not given.
    pub fn is_default(&self) -> bool {
        self.name.is_none()
    }

    /// `default` is the mode without `--method`.
    pub fn resolve(&self, default: ScoringMode) -> anyhow::Result<MethodChoice> {
        let model = self.model.resolve()?;
        let depth = BitDepth::new(self.bit_depth)?;
        let mode = self.mode().unwrap_or(default);
        let (adapter_blocks, mutual_layers) = match self.mode() {
            Some(ScoringMode::Mutual | ScoringMode::Auto) => (None, self.blocks.clone()),
            _ => (self.adapter_blocks()?, None),
        };
        let blocks = adapter_blocks.as_deref();
        let asked = match (&self.name, self.mode()) {
            (Some(name), Some(ScoringMode::PerPhoto)) => Some(blemish::detect::method(name)?),
            _ => None,
        };
        self.check_for(asked)?;
        let named = self.adapter.as_ref().map(|file| Adapter::open(file, blocks)).transpose()?;
        let own = || match blemish::clip::is_cached(model.name()) {
            true => Adapter::of_model(model.name(), blocks),
            false => Ok(None),
        };
        // A method without trained layers needs no adapter.
        let adapter = match named {
            None if asked.is_none_or(|entry| entry.takes_adapter) => own()?,
            named => named,
        };
        let best = || blemish::detect::default_method(adapter.as_ref());
        let entry = asked.unwrap_or_else(best);
        self.check_for(Some(entry))?;
        let (fit, quiet) = (self.fit, model.quiet);
        Ok(MethodChoice {
            mode,
            entry,
            mutual_layers,
            fit,
            depth,
            quiet,
            model,
            adapter,
            adapter_blocks,
        })
    }

    /// The blocks that the adapter reads, if the flag says so.
    fn adapter_blocks(&self) -> blemish::Result<Option<Vec<usize>>> {
        match &self.blocks {
            Some(layers) if layers.trunk => {
                let why = "the trunk is for photos that are compared with each other: add --method auto or mutual";
                Err(Error::setting(format!("blocks {layers}"), why))
            }
            layers => Ok(layers.as_ref().map(|layers| layers.blocks.clone())),
        }
    }

    /// Refuses `--adapter` and `--blocks` for a method without trained layers.
    fn check_for(&self, entry: Option<&MethodEntry>) -> blemish::Result<()> {
        let Some(entry) = entry.filter(|entry| !entry.takes_adapter) else { return Ok(()) };
        let compares = matches!(self.mode(), Some(ScoringMode::Mutual | ScoringMode::Auto));
        for (setting, given) in
            [("adapter", self.adapter.is_some()), ("blocks", self.blocks.is_some() && !compares)]
        {
            if given {
                let why = format!("--method {} takes none; use april-gan or fused", entry.name);
                return Err(Error::setting(setting, why));
            }
        }
        Ok(())
    }

    /// Like `resolve`, for a command that scores each photo by itself.
    pub fn resolve_per_photo(&self) -> anyhow::Result<MethodChoice> {
        if let (Some(name), Some(ScoringMode::Mutual | ScoringMode::Auto)) =
            (&self.name, self.mode())
        {
            let why = "compares the photos of a folder with each other, which only `score` and `eval` do; take \
                       winclip, april-gan or fused";
            return Err(Error::setting(format!("method {name}"), why).into());
        }
        self.resolve(ScoringMode::PerPhoto)
    }

    /// Like `resolve`, for a profile, which brings its own method.
    pub fn resolve_for_profile(&self) -> anyhow::Result<ModelChoice> {
        if self.mode().is_some_and(|mode| mode != ScoringMode::Auto) {
            let why = "a profile brings its own; leave the flag out, or take auto";
            return Err(Error::setting("method", why).into());
        }
        self.model.resolve()
    }

    /// The mode that `--method` asks for.
    fn mode(&self) -> Option<ScoringMode> {
        let name = self.name.as_ref()?;
        let found = FOLDER_METHODS.iter().find(|(method, ..)| method == name);
        Some(found.map_or(ScoringMode::PerPhoto, |(.., mode)| *mode))
    }
}

impl MethodChoice {
    /// The model that was chosen.
    #[cfg(feature = "serve")]
    pub fn model(&self) -> &ModelChoice {
        &self.model
    }

    /// The same choice with a model that compares photos.
    pub fn comparing_by(self, reference: Option<ReferenceModelChoice>) -> Self {
        Self { model: self.model.comparing_by(reference), ..self }
    }

    /// The same choice with tiles for large photos.
    pub fn tiled(self, tiles: Option<Tiles>) -> Self {
        Self { model: self.model.tiled(tiles), ..self }
    }

    /// Opens the model, and the adapter if the method takes one.
    pub fn open(self) -> anyhow::Result<OpenModel> {
        let name = self.model.name();
        self.model.pull(name)?;
        let adapter = match self.adapter {
            None if self.entry.takes_adapter => {
                Adapter::of_model(name, self.adapter_blocks.as_deref())?
            }
            known => known,
        };
        if self.entry.takes_adapter && adapter.is_none() {
            let why =
                "needs an adapter for this model: give one with --adapter FILE (`blemish adapter`)";
            let setting = format!("method {}", self.entry.name);
            return Err(Error::setting(setting, why).into());
        }
        let inputs = MethodInputs { adapter: adapter.map(Arc::new) };
        if let Some(adapter) = &inputs.adapter {
            check_size(adapter, name, self.model.size())?;
            adapter.check_shape(name, blemish::clip::shape(name)?)?;
        }
        let clip = self.model.open(inputs.adapter.as_deref())?;
        if let Some(adapter) = &inputs.adapter {
            adapter.check(&clip)?;
        }
        let reference = clip.reference().map(|dino| (dino.tiles(), dino.input_size()));
        let all = [Some((clip.tiles(), clip.input_size())), reference];
        for (tiles, input) in all.into_iter().flatten().filter(|_| !self.quiet) {
            if let Some(TilesAbout { count, .. }) = TilesAbout::of(tiles) {
                let times = count * count;
                say!(
                    "note: {count}x{count} tiles of {input} pixels a photo: about {times} times the work"
                );
            }
        }
        let (entry, fit, model) = (self.entry, self.fit, self.model);
        Ok(OpenModel { clip: Arc::new(clip), inputs, entry, fit, quiet: self.quiet, model })
    }
}

/// Refuses an adapter if the model cannot take its input size. `--size` (`asked`) replaces that size.
fn check_size(adapter: &Adapter, model: &str, asked: Option<usize>) -> anyhow::Result<()> {
    let (shape, size) = (blemish::clip::shape(model)?, adapter.about().size.unwrap_or(0));
    if asked.is_some() || size.is_multiple_of(shape.patch) {
        return Ok(());
    }
    let why = format!(
        "is for an input of {size} pixels, which is no multiple of the patch size of model {model} ({}); \
         give --size",
        shape.patch
    );
    Err(Error::Adapter { adapter: adapter.name().into(), why }.into())
}

/// An open model, and the method that scores by prompts.
pub struct OpenModel {
    pub clip: Arc<Clip>,
    pub inputs: MethodInputs,
    pub entry: &'static MethodEntry,
    pub fit: Fit,
    pub quiet: bool,
    model: ModelChoice,
}

impl OpenModel {
    /// The same model with another precision.
    pub fn at(&self, precision: Precision) -> anyhow::Result<Self> {
        let model = self.model.at(precision);
        let clip = Arc::new(model.open(self.inputs.adapter.as_deref())?);
        let Self { entry, fit, quiet, .. } = *self;
        Ok(Self { clip, inputs: self.inputs.clone(), entry, fit, quiet, model })
    }

    /// The adapter, if the method has one.
    pub fn adapter(&self) -> Option<&Arc<Adapter>> {
        self.inputs.adapter.as_ref()
    }

    /// A detector that scores each photo by itself.
    pub fn detector(&self) -> anyhow::Result<Detector> {
        let method = self.entry.make(&self.inputs)?;
        self.clip.check(&method.taps())?;
        Ok(Detector::with(self.clip.clone(), method, self.fit))
    }

    /// Encodes the prompts of a product, and prints notes and warnings about them.
    pub fn product(
        &self,
        names: &[String],
        prompts: &Prompts,
        cache: &TextCache,
    ) -> blemish::Result<Product> {
        self.model.product(&self.clip, names, prompts, cache)
    }

    /// A region of the model's input. `photos`: those of the run.
    pub fn region(&self, shape: &RegionShape, photos: &[PathBuf]) -> blemish::Result<Region> {
        let input = (self.clip.size(), self.clip.grid());
        let region = Region::open(shape, photos, input, self.fit)?;
        if let (Some(note), false) = (&region.note, self.quiet) {
            say!("warning: {note}");
        }
        Ok(region)
    }

    /// The reference method of this name, or the default.
    pub fn reference_method(&self, name: Option<&str>) -> blemish::Result<&'static ReferenceEntry> {
        let default = blemish::reference::default_reference_method(&self.clip, self.entry.name);
        blemish::reference::reference_method(name.unwrap_or(default))
    }
}
