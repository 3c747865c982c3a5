//! The flags for the model and how it runs.

use std::path::Path;
use std::sync::Arc;

use blemish::adapter::Adapter;
use blemish::clip::{Activation, ModelOptions, Precision, Tiles};
use blemish::dino::{Dino, DinoOptions, Positions};
use blemish::prompt::TextCache;
use blemish::scorer::Scorer;
use blemish::{Clip, Detector, Error, Product, Profile, Prompts};
use candle_core::Device;
use clap::ValueEnum;

use super::reference_model::ReferenceModelChoice;
use super::values;
use crate::cli::progress::spinner;
use crate::cli::pull::pull;
use crate::cli::terminal::NO_THREAD;

/// Which model, and how it runs.
#[derive(clap::Args)]
pub struct ModelArgs {
    /// The model: a short name (`blemish models`), a Hugging Face repository (owner/name[@revision]) or a folder
    /// [default: tiny, or a profile's own].
    #[arg(id = "model", long, value_name = "MODEL")]
    name: Option<String>,
    /// Side of the model's square input in pixels, a multiple of its patch size [default: the adapter's, else
    /// the model's own].
    #[arg(long, value_name = "N")]
    size: Option<usize>,
    /// The model's nonlinearity [default: the adapter's, else the model's own].
    #[arg(long, value_name = "NAME", value_parser = values::activation())]
    activation: Option<Activation>,
    /// How the model multiplies on the processor. `fast` is for large models: compare both with `blemish bench
    /// --compare` [default: f32, or a profile's own].
    #[arg(long, value_name = "NAME", value_parser = values::precision())]
    precision: Option<Precision>,
    /// The device to run the model on.
    #[arg(long, value_enum, default_value = "cpu")]
    device: DeviceKind,
    /// The number of processor threads, at most one per core [default: all cores].
    #[arg(long, value_name = "N")]
    threads: Option<usize>,
    /// Print no progress, notes or warnings. Errors are still printed.
    #[arg(long, short)]
    pub quiet: bool,
}

#[derive(Clone, Copy, ValueEnum)]
enum DeviceKind {
    Cpu,
    Cuda,
    Metal,
}

/// The resolved [`ModelArgs`].
#[derive(Clone)]
pub struct ModelChoice {
    given: Option<String>,
    size: Option<usize>,
    activation: Option<Activation>,
    precision: Option<Precision>,
    device: DeviceKind,
    /// The model that compares photos. None: this one, or a profile's.
    reference: Option<ReferenceModelChoice>,
    /// The tiles of large photos. None: one, or a profile's.
    tiles: Option<Tiles>,
    pub quiet: bool,
}

impl ModelArgs {
    /// Also sets the number of threads, which must happen before the first computation.
    pub fn resolve(&self) -> anyhow::Result<ModelChoice> {
        self.threads.map_or(Ok(()), set_threads)?;
        Ok(ModelChoice {
            given: self.name.clone(),
            size: self.size,
            activation: self.activation,
            precision: self.precision,
            device: self.device,
            reference: None,
            tiles: None,
            quiet: self.quiet,
        })
    }
}

impl ModelChoice {
    pub fn name(&self) -> &str {
        self.given.as_deref().unwrap_or("tiny")
    }

    /// The value of `--size`.
    pub fn size(&self) -> Option<usize> {
        self.size
    }

    /// Whether `--precision fast` was given.
    pub fn is_fast(&self) -> bool {
        self.precision == Some(Precision::Fast)
    }

    /// The same choice with a model that compares photos.
    pub fn comparing_by(self, reference: Option<ReferenceModelChoice>) -> Self {
        Self { reference, ..self }
    }

    /// The same choice with tiles for large photos.
    pub fn tiled(self, tiles: Option<Tiles>) -> Self {
        Self { tiles, ..self }
    }

    /// The same choice with another precision.
    pub fn at(&self, precision: Precision) -> Self {
        Self { precision: Some(precision), ..self.clone() }
    }

    /// Opens the model, and downloads it if needed. The flags decide the size and the nonlinearity, then the adapter.
    pub fn open(&self, adapter: Option<&Adapter>) -> anyhow::Result<Clip> {
        let about = adapter.map(Adapter::about);
        let options = ModelOptions {
            size: self.size.or(about.and_then(|a| a.size)),
            activation: self.activation.or(about.and_then(|a| a.activation)),
            precision: self.precision.unwrap_or_default(),
            tiles: self.tiles,
            device: self.device()?,
        };
        self.open_with(self.name(), &options, self.reference.clone())
    }

    /// Opens the model of a profile. `--model` can say where that model is.
    pub fn open_for(&self, profile: &Profile) -> anyhow::Result<Clip> {
        let about = profile.about();
        for (setting, given) in
            [("size", self.size.is_some()), ("activation", self.activation.is_some())]
        {
            if given {
                let why = "a profile brings its own; enroll again to change it";
                return Err(Error::setting(setting, why).into());
            }
        }
        let precision = profile.precision()?;
        if let Some(given) = self.precision.filter(|given| *given != precision) {
            let (setting, own) = (format!("precision {}", given.name()), precision.name());
            let why = format!("the profile was enrolled with {own}; enroll again to change it");
            return Err(Error::setting(setting, why).into());
        }
        let given = self.reference.as_ref().map(|reference| &*reference.name);
        self.pull(self.given.as_deref().unwrap_or(&about.model))?;
        if let Some(own) = &about.reference_model {
            self.pull_reference(given.unwrap_or(&own.name))?;
        }
        Ok(profile.open_model(self.given.as_deref(), given, self.device()?)?)
    }

    fn open_with(
        &self,
        name: &str,
        options: &ModelOptions,
        reference: Option<ReferenceModelChoice>,
    ) -> anyhow::Result<Clip> {
        self.pull(name)?;
        let Some(ReferenceModelChoice { name: other, size, tiles }) = reference else {
            return Ok(Clip::open(name, options)?);
        };
        self.pull_reference(&other)?;
        let (precision, positions) = (options.precision, Positions::default());
        let tiles = tiles.or(self.tiles);
        let dino = Dino::open(&other, &DinoOptions { size, precision, tiles, positions })?;
        Ok(Clip::open(name, options)?.with_reference(dino))
    }

    /// Downloads a model that is not on this machine.
    pub fn pull(&self, name: &str) -> anyhow::Result<()> {
        if !blemish::clip::is_cached(name) {
            pull(name, self.quiet)?;
        }
        Ok(())
    }

    fn pull_reference(&self, name: &str) -> anyhow::Result<()> {
        self.pull(name).map_err(|error| match error.downcast_ref() {
            Some(Error::Setting { setting, why }) => {
                Error::setting(format!("reference-{setting}"), why.as_str()).into()
            }
            _ => error,
        })
    }

    /// Opens the model of a profile, which was read from `file`. `false_alarm` replaces the profile's rate.
    pub fn scorer(
        &self,
        file: &Path,
        profile: Profile,
        false_alarm: Option<f64>,
    ) -> anyhow::Result<Scorer> {
        if let Some(scorer) = Scorer::by_student(file, &profile, false_alarm)? {
            return Ok(scorer);
        }
        let clip = Arc::new(self.open_for(&profile)?);
        Ok(Scorer::by_profile(file.to_path_buf(), profile, clip, false_alarm)?)
    }

    /// The detector of a profile.
    pub fn detector(&self, profile: &Profile) -> anyhow::Result<Detector> {
        match blemish::student::detector(profile)? {
            Some(detector) => Ok(detector),
            None => Ok(profile.detector(self.open_for(profile)?)?),
        }
    }

    fn device(&self) -> anyhow::Result<Device> {
        let (name, device) = match self.device {
            DeviceKind::Cpu => ("cpu", Ok(Device::Cpu)),
            DeviceKind::Cuda => ("cuda", Device::new_cuda(0)),
            DeviceKind::Metal => ("metal", Device::new_metal(0)),
        };
        Ok(device.map_err(|error| {
            let reason = error.to_string();
            let reason = reason.lines().next().unwrap_or_default();
            let build = format!("it needs a build with `--features {name}`");
            let why = format!("cannot be used here ({reason}); {build}");
            Error::setting(format!("device {name}"), why)
        })?)
    }

    /// Encodes the prompts of a product, and prints notes and warnings about them.
    pub fn product(
        &self,
        clip: &Clip,
        names: &[String],
        prompts: &Prompts,
        cache: &TextCache,
    ) -> blemish::Result<Product> {
        let spinner = spinner("encoding the prompts (once per product and model)", self.quiet);
        let product = Product::with_synonyms(clip, names, prompts, cache);
        spinner.finish_and_clear();
        let product = product?;
        if self.quiet {
            return Ok(product);
        }
        if product.cut_prompts() > 0 {
            say!(
                "note: {} prompts are too long for the model and lose their end; use a shorter name",
                product.cut_prompts()
            );
        }
        for pair in product.confusable()? {
            say!("warning: {pair}");
        }
        let kinds = product.kinds().iter().map(|kind| (&*kind.name, &*kind.english));
        for (name, english) in kinds.chain([(product.name(), product.english())]) {
            if name != english {
                say!("note: {name} is read as {english:?}");
            }
        }
        Ok(product)
    }
}

fn set_threads(threads: usize) -> anyhow::Result<()> {
    if threads == 0 {
        let setting = "threads 0";
        return Err(Error::setting(setting, "give at least 1").into());
    }
    // More threads than cores only wait for each other.
    let cores = std::thread::available_parallelism().map_or(threads, usize::from);
    let pool = rayon::ThreadPoolBuilder::new().num_threads(threads.min(cores)).build_global();
    pool.map_err(|_| anyhow::anyhow!(NO_THREAD))
}
