//! The flags that commands share, and what they stand for.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use blemish::{
    Activation, Adapter, BitDepth, Clip, Detector, Error, Fit, MethodEntry, ModelOptions, Parts,
    Photo, Product, Profile, Prompts, Region, Seen, TextCache,
};
use candle_core::Device;
use clap::ValueEnum;
use indicatif::{ProgressBar, ProgressStyle};

/// Which model, and how it runs.
#[derive(clap::Args)]
pub struct ModelArgs {
    /// A short name (`blemish models`), a Hugging Face repository (owner/name[@revision]) or a folder [default: tiny, or a
    /// profile's own].
    #[arg(id = "model", long, value_name = "MODEL")]
    name: Option<String>,
    /// Side of the model's square input in pixels, a multiple of its patch size [default: the adapter's, else
    /// the model's own].
    #[arg(long, value_name = "N")]
    size: Option<usize>,
    /// The model's nonlinearity [default: the adapter's, else the model's own].
    #[arg(long, value_enum)]
    activation: Option<Activation>,
    /// Where to compute.
    #[arg(long, value_enum, default_value = "cpu")]
    device: DeviceKind,
    /// Processor threads, at most one a core [default: all cores].
    #[arg(long, value_name = "N")]
    threads: Option<usize>,
    /// No progress, notes and warnings; errors are still printed.
    #[arg(long, short)]
    pub quiet: bool,
}

/// Which product, and which words for it.
#[derive(clap::Args)]
pub struct ProductArgs {
    /// What the photos show; give it again for synonyms. Needed unless the prompt file or a profile says it.
    #[arg(id = "product", long = "product", value_name = "NAME")]
    pub names: Vec<String>,
    /// A prompt file, - for standard input, or the name of one in the program: winclip, april-gan, inspection [default: the
    /// method's].
    #[arg(long, value_name = "FILE")]
    prompts: Option<PathBuf>,
    /// Kinds of defect that count, and no others; an entry of the prompt file or, where that has kind_states as
    /// `--prompts inspection` has, a new word.
    #[arg(long, value_name = "NAME,...", value_delimiter = ',')]
    detect: Vec<String>,
    /// Harmless things to discount [default: all of the prompt file]; an entry of it or, likewise, a new word.
    #[arg(long, value_name = "NAME,...", value_delimiter = ',')]
    ignore: Vec<String>,
}

impl ProductArgs {
    /// The prompt file's name, and what it says as far as it counts; `method`: whose file it is when none is given.
    pub fn prompts(&self, method: &MethodEntry) -> blemish::Result<(PathBuf, Prompts)> {
        let file = self.prompts.clone().unwrap_or(method.prompts.into());
        let prompts = Prompts::open(&file)?.select(&self.detect, &self.ignore)?;
        Ok((file, prompts))
    }
}

/// Which model looks at the photos, and how it judges them.
#[derive(clap::Args)]
pub struct MethodArgs {
    #[command(flatten)]
    pub model: ModelArgs,
    /// How to tell good from defective [default of `score`: auto; else fused where there is an adapter, and winclip
    /// where there is none].
    #[arg(id = "method", long, value_name = "METHOD",
          value_parser = clap::builder::PossibleValuesParser::new(methods()))]
    name: Option<String>,
    /// The trained layers of april-gan and fused: .safetensors, or a .pth of its authors [default: the model's
    /// own, as `tiny` has].
    #[arg(long, value_name = "FILE")]
    adapter: Option<PathBuf>,
    /// Blocks whose patches are compared, from 1. With --method mutual or --method auto: with those of other photos [default:
    /// quarters of the tower]. Else: with words, by the adapter [default: what it says; 6,12,18,24 for a .pth].
    #[arg(long, value_name = "N,...", value_delimiter = ',')]
    blocks: Option<Vec<usize>>,
    /// How a photo becomes square.
    #[arg(long, value_enum, default_value = "squash")]
    pub fit: Fit,
    /// Bits that the camera fills in 16-bit files.
    #[arg(long, value_name = "BITS", default_value_t = 16)]
    bit_depth: u8,
}

/// How a summary is printed.
#[derive(Clone, Copy, PartialEq, ValueEnum)]
pub enum Format {
    Table,
    Json,
}

#[derive(Clone, Copy, ValueEnum)]
enum DeviceKind {
    Cpu,
    Cuda,
    Metal,
}

/// How the photos of a folder are judged.
#[derive(Clone, Copy, PartialEq)]
pub enum Judges {
    /// Each alone.
    Words,
    /// By each other.
    Mutual,
    /// By what is there: words alone for a few photos, words and each other for a folder of them.
    Auto,
}

/// Methods that compare the photos of a folder with each other.
const FOLDER_METHODS: [(&str, &str, Judges); 2] = [
    (
        "mutual",
        "MuSc: the photos of one folder against each other; words name the defects (`score`, `eval`)",
        Judges::Mutual,
    ),
    (
        "auto",
        "Words, and the other photos too: with `score` from 8 photos of one product on, with `eval` always",
        Judges::Auto,
    ),
];

fn methods() -> impl Iterator<Item = clap::builder::PossibleValue> {
    let alone = blemish::METHODS.iter().map(|entry| (entry.name, entry.about));
    let all = alone.chain(FOLDER_METHODS.map(|(name, about, _)| (name, about)));
    all.map(|(name, about)| clap::builder::PossibleValue::new(name).help(about))
}

/// A model, and what its method needs besides.
pub struct Model {
    pub clip: Arc<Clip>,
    pub parts: Parts,
}

impl Model {
    /// A mask, on the model's input.
    pub fn region(&self, mask: &Path, fit: Fit, quiet: bool) -> blemish::Result<Region> {
        let region = Region::open(mask, (self.clip.size(), self.clip.grid()), fit)?;
        if let (Some(note), false) = (&region.note, quiet) {
            say!("warning: {note}");
        }
        Ok(region)
    }
}

impl ModelArgs {
    /// The model's name.
    pub fn name(&self) -> &str {
        self.name.as_deref().unwrap_or("tiny")
    }

    /// Does what has to come before the first computation.
    pub fn begin(&self) -> anyhow::Result<()> {
        self.threads.map_or(Ok(()), set_threads)
    }

    /// Opens the model, downloading it where it has to be; at the size and with the nonlinearity that an adapter
    /// asks for, where no flag does.
    pub fn open(&self, adapter: Option<&Adapter>) -> anyhow::Result<Clip> {
        let about = adapter.map(Adapter::about);
        let options = ModelOptions {
            size: self.size.or(about.and_then(|a| a.size)),
            activation: self.activation.or(about.and_then(|a| a.activation)),
            device: self.device()?,
        };
        self.open_with(self.name(), &options)
    }

    /// Opens the model that a profile was made with, or the same by the name that a flag gives.
    pub fn open_for(&self, profile: &Profile) -> anyhow::Result<Clip> {
        let about = profile.about();
        for (flag, given) in
            [("size", self.size.is_some()), ("activation", self.activation.is_some())]
        {
            if given {
                let why = "a profile brings its own; enroll again for another".to_string();
                return Err(Error::Setting { setting: format!("--{flag}"), why }.into());
            }
        }
        let options = ModelOptions {
            size: Some(about.size),
            activation: profile.activation(),
            device: self.device()?,
        };
        self.open_with(self.name.as_deref().unwrap_or(&about.model), &options)
    }

    fn open_with(&self, name: &str, options: &ModelOptions) -> anyhow::Result<Clip> {
        self.pull(name)?;
        Ok(Clip::open(name, options)?)
    }

    /// Downloads a model where it has to be.
    fn pull(&self, name: &str) -> anyhow::Result<()> {
        if !blemish::is_cached(name) {
            super::models::pull(name, self.quiet)?;
        }
        Ok(())
    }

    fn device(&self) -> anyhow::Result<Device> {
        let device = match self.device {
            DeviceKind::Cpu => Ok(Device::Cpu),
            DeviceKind::Cuda => Device::new_cuda(0),
            DeviceKind::Metal => Device::new_metal(0),
        };
        Ok(device.map_err(|error| {
            let name = name_of(self.device);
            Error::Setting {
                setting: format!("--device {name}"),
                why: format!(
                    "not to be had here ({}); this needs a build with `--features {name}`",
                    error.to_string().lines().next().unwrap_or_default()
                ),
            }
        })?)
    }

    /// Encodes a product's words, and says what is notable about them.
    pub fn product(
        &self,
        clip: &Clip,
        names: &[String],
        prompts: &Prompts,
        cache: &TextCache,
    ) -> blemish::Result<Product> {
        let spinner = spinner("reading the words (once per product and model)", self.quiet);
        let product = Product::with_synonyms(clip, names, prompts, cache);
        spinner.finish_and_clear();
        let product = product?;
        if self.quiet {
            return Ok(product);
        }
        if product.cut_prompts() > 0 {
            say!(
                "note: {} prompts are longer than the model reads and lose their end; use a \
                 shorter name",
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

impl MethodArgs {
    /// Checks what can be checked before the model is opened; returns the cameras' bit depth.
    pub fn begin(&self) -> anyhow::Result<BitDepth> {
        self.model.begin()?;
        Ok(BitDepth::new(self.bit_depth)?)
    }

    /// Whether photos are compared with each other; `default`: when no method was asked for.
    pub fn judges(&self, default: Judges) -> Judges {
        let Some(name) = &self.name else { return default };
        let found = FOLDER_METHODS.iter().find(|(method, ..)| method == name);
        found.map_or(Judges::Words, |(.., judges)| *judges)
    }

    /// Whether a method was asked for.
    pub fn is_given(&self) -> bool {
        self.name.is_some()
    }

    /// Refuses methods that compare photos with each other.
    pub fn check_words(&self) -> blemish::Result<()> {
        match &self.name {
            Some(name) if self.judges(Judges::Words) != Judges::Words => {
                let why = "compares the photos of a folder with each other, for `score` and `eval`; give one that \
                           judges each alone"
                    .to_string();
                Err(Error::Setting { setting: format!("--method {name}"), why })
            }
            _ => Ok(()),
        }
    }

    /// The blocks whose patches are compared with each other; none for the default.
    pub fn mutual_blocks(&self) -> Option<Vec<usize>> {
        self.blocks.clone().filter(|_| self.judges(Judges::Words) != Judges::Words)
    }

    /// The blocks whose patches the adapter takes; none for its own.
    fn adapter_blocks(&self) -> Option<&[usize]> {
        self.blocks.as_deref().filter(|_| self.judges(Judges::Words) == Judges::Words)
    }

    /// The method that judges by words: the one that was asked for, or else the best that the model has the parts for.
    pub fn words(&self) -> blemish::Result<&'static MethodEntry> {
        if let (Some(name), Judges::Words) = (&self.name, self.judges(Judges::Words)) {
            return blemish::method(name);
        }
        let model = self.model.name();
        let has_adapter = self.adapter.is_some()
            || blemish::is_cached(model) && Adapter::of_model(model, None)?.is_some();
        Ok(blemish::default_method(has_adapter))
    }

    /// Opens the model, and the adapter if the method takes one.
    pub fn open(&self) -> anyhow::Result<Model> {
        let entry = self.words()?;
        let takes_adapter = entry.takes_adapter;
        for (flag, given) in
            [("adapter", self.adapter.is_some()), ("blocks", self.adapter_blocks().is_some())]
        {
            if given && !takes_adapter {
                let why = format!("--method {} takes none; use april-gan or fused", entry.name);
                return Err(Error::Setting { setting: format!("--{flag}"), why }.into());
            }
        }
        // A file that is named is read before a model is downloaded.
        let blocks = self.adapter_blocks();
        let named = self.adapter.as_ref().map(|file| Adapter::open(file, blocks)).transpose()?;
        let model = self.model.name();
        self.model.pull(model)?;
        let adapter = match named {
            None if takes_adapter => Adapter::of_model(model, blocks)?,
            named => named,
        };
        let parts = Parts { adapter: adapter.clone().map(Arc::new) };
        if let (Some(adapter), None) = (&adapter, self.model.size) {
            let (shape, size) = (blemish::shape(model)?, adapter.about().size.unwrap_or(0));
            if !size.is_multiple_of(shape.patch) {
                let why = format!(
                    "is for an input of {size} pixels, which is no multiple of the patches of model {model} ({}); \
                     give --size",
                    shape.patch
                );
                return Err(Error::Adapter { adapter: adapter.name().into(), why }.into());
            }
        }
        // Says what is missing before the weights are read.
        entry.make(&parts)?;
        if let Some(adapter) = &adapter {
            adapter.check_shape(model, blemish::shape(model)?)?;
        }
        let clip = self.model.open(adapter.as_ref())?;
        if let Some(adapter) = &adapter {
            adapter.check(&clip)?;
        }
        Ok(Model { clip: Arc::new(clip), parts })
    }

    /// The model with its method.
    pub fn detector(&self, model: &Model) -> anyhow::Result<Detector> {
        let method = self.words()?.make(&model.parts)?;
        model.clip.check(&method.taps())?;
        Ok(Detector::with(model.clip.clone(), method, self.fit))
    }
}

/// The name of a value on the command line.
pub fn name_of(value: impl ValueEnum) -> String {
    value.to_possible_value().map_or(String::new(), |value| value.get_name().to_string())
}

/// The photos of a command that takes them alone, each as the model sees it; photos that cannot be read
/// are reported and left out. Says whether all could be read.
pub fn look_at_all(
    args: &MethodArgs,
    detector: &Detector,
    depth: BitDepth,
    inputs: &super::inputs::Inputs,
) -> (Vec<(PathBuf, Seen)>, bool) {
    let mut complete = inputs.errors.is_empty();
    inputs.errors.iter().for_each(|error| say!("{error}"));
    let bar = progress_bar(inputs.photos.len(), args.model.quiet);
    let (mut seen, mut notes) = (Vec::new(), Notes::new(args.model.quiet));
    for path in &inputs.photos {
        let found = Photo::open(path, depth).and_then(|photo| {
            notes.say(&bar, path, &photo);
            detector.look(&detector.prepare(&photo))
        });
        match found {
            Ok(one) => seen.push((path.clone(), one)),
            Err(error) => {
                complete = false;
                bar.suspend(|| say!("{error}"));
            }
        }
        bar.inc(1);
    }
    bar.finish_and_clear();
    (seen, complete)
}

/// What is notable about how photos are read: said once, as it is true of many.
pub struct Notes {
    said: bool,
}

impl Notes {
    pub fn new(quiet: bool) -> Self {
        Self { said: quiet }
    }

    /// Says what is notable about a photo.
    pub fn say(&mut self, bar: &ProgressBar, path: &Path, photo: &Photo) {
        if let Some(note) = photo.note() {
            self.once(bar, &format!("{}: {note}", path.display()));
        }
    }

    pub fn once(&mut self, bar: &ProgressBar, note: &str) {
        if !std::mem::replace(&mut self.said, true) {
            bar.suspend(|| say!("note: {note} (said once)"));
        }
    }
}

/// A sign of life while it is not known how long something takes.
pub fn spinner(what: &'static str, quiet: bool) -> ProgressBar {
    let spinner = if quiet { ProgressBar::hidden() } else { ProgressBar::new_spinner() };
    spinner.set_message(what);
    spinner.enable_steady_tick(Duration::from_millis(200));
    spinner
}

/// Photos done, photos a second, time left.
pub fn progress_bar(photos: usize, quiet: bool) -> ProgressBar {
    let bar = if quiet { ProgressBar::hidden() } else { ProgressBar::new(photos as u64) };
    let style =
        ProgressStyle::with_template("[{bar:30}] {pos}/{len} photos{msg}, {per_sec}, {eta} left");
    bar.set_style(style.expect("a template that every run tests"));
    bar
}

fn set_threads(threads: usize) -> anyhow::Result<()> {
    if threads == 0 {
        let setting = "--threads 0".to_string();
        return Err(Error::Setting { setting, why: "give at least 1".into() }.into());
    }
    // More threads than cores only wait for each other.
    let cores = std::thread::available_parallelism().map_or(threads, usize::from);
    let pool = rayon::ThreadPoolBuilder::new().num_threads(threads.min(cores)).build_global();
    pool.map_err(|_| anyhow::anyhow!(super::NO_THREAD))
}
