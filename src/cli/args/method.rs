//! Which method scores the photos, and with what.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use blemish::adapter::Adapter;
use blemish::detect::{Detector, MethodEntry, MethodInputs};
use blemish::image::{BitDepth, Fit};
use blemish::prompt::TextCache;
use blemish::reference::{ReferenceEntry, Region};
use blemish::{Clip, Error, Product, Prompts};
use clap::builder::{PossibleValue, PossibleValuesParser};

use super::model::{ModelArgs, ModelChoice};
use super::values;

/// Which model encodes the photos, and which method scores them.
#[derive(clap::Args)]
pub struct MethodArgs {
    #[command(flatten)]
    pub model: ModelArgs,
    /// How to tell good from defective [default of `score`: auto; else fused where there is an adapter, and winclip
    /// where there is none].
    #[arg(id = "method", long, value_name = "METHOD",
          value_parser = PossibleValuesParser::new(methods()))]
    name: Option<String>,
    /// The trained layers of april-gan and fused: .safetensors, or a .pth of its authors [default: the model's
    /// own, as `tiny` has].
    #[arg(long, value_name = "FILE")]
    adapter: Option<PathBuf>,
    /// Transformer blocks to use, counted from 1. With mutual and auto: blocks compared between photos [default: quarters of
    /// the tower]. Otherwise: blocks the adapter reads [default: what it says; 6,12,18,24 for a .pth].
    #[arg(long, value_name = "N,...", value_delimiter = ',')]
    blocks: Option<Vec<usize>>,
    /// How a photo becomes square.
    #[arg(long, value_name = "FIT", default_value = "squash", value_parser = values::fit())]
    fit: Fit,
    /// Bits that the camera fills in 16-bit files.
    #[arg(long, value_name = "BITS", default_value_t = 16)]
    bit_depth: u8,
}

/// How photos are scored.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum ScoringMode {
    /// Each alone.
    PerPhoto,
    /// By each other.
    Mutual,
    /// By prompts for a few photos, by prompts and each other for a folder of them.
    Auto,
}

/// Methods that compare the photos of a folder with each other.
const FOLDER_METHODS: [(&str, &str, ScoringMode); 2] = [
    (
        "mutual",
        "MuSc: the photos of one folder against each other; prompts name the defects (`score`, `eval`)",
        ScoringMode::Mutual,
    ),
    (
        "auto",
        "Prompts, and the other photos too: with `score` from 8 photos of one product on, with `eval` always",
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

/// What [`MethodArgs`] mean: all that can be known before the model is opened.
pub struct MethodChoice {
    pub mode: ScoringMode,
    /// The method that scores by prompts.
    pub entry: &'static MethodEntry,
    /// The blocks whose patches are compared between photos; none for the default.
    pub mutual_blocks: Option<Vec<usize>>,
    pub fit: Fit,
    pub depth: BitDepth,
    pub quiet: bool,
    model: ModelChoice,
    adapter: Option<Adapter>,
    /// The blocks whose patches the adapter takes; none for its own.
    adapter_blocks: Option<Vec<usize>>,
}

impl MethodArgs {
    /// `default`: the mode when no method was asked for.
    pub fn resolve(&self, default: ScoringMode) -> anyhow::Result<MethodChoice> {
        let model = self.model.resolve()?;
        let depth = BitDepth::new(self.bit_depth)?;
        let mode = self.mode().unwrap_or(default);
        let (adapter_blocks, mutual_blocks) = match self.mode() {
            Some(ScoringMode::Mutual | ScoringMode::Auto) => (None, self.blocks.clone()),
            _ => (self.blocks.clone(), None),
        };
        let blocks = adapter_blocks.as_deref();
        let named = self.adapter.as_ref().map(|file| Adapter::open(file, blocks)).transpose()?;
        let asked = match (&self.name, self.mode()) {
            (Some(name), Some(ScoringMode::PerPhoto)) => Some(blemish::detect::method(name)?),
            _ => None,
        };
        let own = || match blemish::clip::is_cached(model.name()) {
            true => Adapter::of_model(model.name(), blocks),
            false => Ok(None),
        };
        // Of methods without layers, neither is looked for.
        let adapter = match named {
            None if asked.is_none_or(|entry| entry.takes_adapter) => own()?,
            named => named,
        };
        let best = || blemish::detect::default_method(adapter.is_some());
        let entry = asked.unwrap_or_else(best);
        for (setting, given) in
            [("adapter", self.adapter.is_some()), ("blocks", adapter_blocks.is_some())]
        {
            if given && !entry.takes_adapter {
                let why = format!("--method {} takes none; use april-gan or fused", entry.name);
                return Err(Error::setting(setting, why).into());
            }
        }
        let (fit, quiet) = (self.fit, model.quiet);
        Ok(MethodChoice {
            mode,
            entry,
            mutual_blocks,
            fit,
            depth,
            quiet,
            model,
            adapter,
            adapter_blocks,
        })
    }

    /// The same for a command that scores each photo alone.
    pub fn resolve_per_photo(&self) -> anyhow::Result<MethodChoice> {
        if let (Some(name), Some(ScoringMode::Mutual | ScoringMode::Auto)) =
            (&self.name, self.mode())
        {
            let why = "compares the photos of a folder with each other, for `score` and `eval`; give one that \
                       scores each alone";
            return Err(Error::setting(format!("method {name}"), why).into());
        }
        self.resolve(ScoringMode::PerPhoto)
    }

    /// The same where a profile brings the method.
    pub fn resolve_for_profile(&self) -> anyhow::Result<ModelChoice> {
        if self.mode().is_some_and(|mode| mode != ScoringMode::Auto) {
            let why = "a profile brings its own; leave it out, or take auto";
            return Err(Error::setting("method", why).into());
        }
        self.model.resolve()
    }

    /// The mode of the method that was asked for.
    fn mode(&self) -> Option<ScoringMode> {
        let name = self.name.as_ref()?;
        let found = FOLDER_METHODS.iter().find(|(method, ..)| method == name);
        Some(found.map_or(ScoringMode::PerPhoto, |(.., mode)| *mode))
    }
}

impl MethodChoice {
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
        let (entry, fit, model) = (self.entry, self.fit, self.model);
        Ok(OpenModel { clip: Arc::new(clip), inputs, entry, fit, quiet: self.quiet, model })
    }
}

/// Refuses an adapter whose input size the model cannot take, unless another size was asked for.
fn check_size(adapter: &Adapter, model: &str, asked: Option<usize>) -> anyhow::Result<()> {
    let (shape, size) = (blemish::clip::shape(model)?, adapter.about().size.unwrap_or(0));
    if asked.is_some() || size.is_multiple_of(shape.patch) {
        return Ok(());
    }
    let why = format!(
        "is for an input of {size} pixels, which is no multiple of the patches of model {model} ({}); \
         give --size",
        shape.patch
    );
    Err(Error::Adapter { adapter: adapter.name().into(), why }.into())
}

/// A model, and the method that scores by prompts with it.
pub struct OpenModel {
    pub clip: Arc<Clip>,
    pub inputs: MethodInputs,
    pub entry: &'static MethodEntry,
    pub fit: Fit,
    pub quiet: bool,
    model: ModelChoice,
}

impl OpenModel {
    /// The adapter, where the method has one.
    pub fn adapter(&self) -> Option<&Arc<Adapter>> {
        self.inputs.adapter.as_ref()
    }

    /// What scores a photo by itself.
    pub fn detector(&self) -> anyhow::Result<Detector> {
        let method = self.entry.make(&self.inputs)?;
        self.clip.check(&method.taps())?;
        Ok(Detector::with(self.clip.clone(), method, self.fit))
    }

    /// Encodes a product's prompts, and says what is notable about them.
    pub fn product(
        &self,
        names: &[String],
        prompts: &Prompts,
        cache: &TextCache,
    ) -> blemish::Result<Product> {
        self.model.product(&self.clip, names, prompts, cache)
    }

    /// A mask, on the model's input.
    pub fn region(&self, mask: &Path) -> blemish::Result<Region> {
        let region = Region::open(mask, (self.clip.size(), self.clip.grid()), self.fit)?;
        if let (Some(note), false) = (&region.note, self.quiet) {
            say!("warning: {note}");
        }
        Ok(region)
    }

    /// The reference method that was asked for; or else the one of the same paper, or the best measured
    /// (`docs/measured.md`).
    pub fn reference_method(&self, name: Option<&str>) -> blemish::Result<&'static ReferenceEntry> {
        reference_method(name, self.entry.name)
    }
}

fn reference_method(name: Option<&str>, method: &str) -> blemish::Result<&'static ReferenceEntry> {
    let default = if method == "winclip" { "winclip" } else { "april-gan" };
    blemish::reference::reference_method(name.unwrap_or(default))
}
