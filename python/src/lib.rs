//! blemish for Python. All work is done by the library: nothing here decides anything.

mod photo;
mod result;

use std::path::PathBuf;
use std::sync::Arc;

use blemish::clip::{ModelOptions, Precision};
use blemish::detect::{MethodEntry, MethodInputs};
use blemish::mutual::{MutualOptions, MutualOutcome, MutualScores, MutualSetup, Watch};
use blemish::profile::{EnrollOptions, EnrollPhotos};
use blemish::prompt::TextCache;
use blemish::reference::{Musc, default_reference_method, reference_method as entry_of};
use blemish::scorer::{Context, Scorer};
use blemish::{Adapter, BitDepth, Clip, Detector, Error};
use pyo3::exceptions::{PyException, PyOSError, PyValueError};
use pyo3::prelude::*;

use photo::{Failures, score};
use result::Scored;

// Freed pages go back to the system at every tensor otherwise.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

pyo3::create_exception!(
    _blemish,
    BlemishError,
    PyException,
    "A photo, model or profile cannot be used."
);

/// The error of the library as an exception with the same words.
fn raise(error: Error) -> PyErr {
    let text = error.to_string();
    match error {
        Error::Setting { .. } | Error::Prompts { .. } => PyValueError::new_err(text),
        Error::Read { .. } | Error::Write { .. } => PyOSError::new_err(text),
        _ => BlemishError::new_err(text),
    }
}

/// A CLIP model, with its adapter if it has one.
#[pyclass(frozen)]
struct Model {
    clip: Arc<Clip>,
    adapter: Option<Arc<Adapter>>,
}

impl Model {
    fn open(name: &str, size: Option<usize>, precision: &str) -> blemish::Result<Self> {
        let adapter = Adapter::of_model(name, None)?;
        let about = adapter.as_ref().map(Adapter::about);
        let found = Precision::ALL.into_iter().find(|known| known.name() == precision);
        let options = ModelOptions {
            size: size.or(about.and_then(|about| about.size)),
            activation: about.and_then(|about| about.activation),
            precision: found.ok_or_else(|| {
                Error::setting(format!("precision {precision}"), "give f32 or fast")
            })?,
            ..ModelOptions::default()
        };
        let clip = Arc::new(Clip::open(name, &options)?);
        Ok(Self { clip, adapter: adapter.map(Arc::new) })
    }

    /// The method of this name, and its adapter. None: the best one of the model.
    fn method(&self, name: Option<&str>) -> blemish::Result<(&'static MethodEntry, MethodInputs)> {
        let entry = match name {
            Some(name) => blemish::detect::method(name)?,
            None => blemish::detect::default_method(self.adapter.as_deref()),
        };
        let adapter = self.adapter.clone().filter(|_| entry.takes_adapter);
        Ok((entry, MethodInputs { adapter }))
    }
}

#[pymethods]
impl Model {
    #[new]
    #[pyo3(signature = (name="tiny", *, size=None, precision="f32"))]
    fn new(py: Python, name: &str, size: Option<usize>, precision: &str) -> PyResult<Self> {
        py.detach(|| Self::open(name, size, precision)).map_err(raise)
    }

    #[getter]
    fn name(&self) -> &str {
        self.clip.name()
    }

    #[getter]
    fn sha256(&self) -> &str {
        self.clip.sha256()
    }
}

/// One name, or several.
#[derive(FromPyObject)]
enum Names {
    One(String),
    Several(Vec<String>),
}

/// A product that is scored by prompts.
#[pyclass(frozen)]
struct Product {
    scorer: Scorer,
    clip: Arc<Clip>,
    entry: &'static MethodEntry,
    inputs: MethodInputs,
    prompts: String,
    depth: BitDepth,
}

#[pymethods]
impl Product {
    #[new]
    #[pyo3(signature = (name, *, model=None, method=None, prompts=None, detect=vec![], ignore=vec![], bit_depth=16))]
    #[allow(clippy::too_many_arguments)] // Python names them
    fn new(
        py: Python,
        name: Names,
        model: Option<PyRef<Model>>,
        method: Option<&str>,
        prompts: Option<PathBuf>,
        detect: Vec<String>,
        ignore: Vec<String>,
        bit_depth: u8,
    ) -> PyResult<Self> {
        let names = match name {
            Names::One(name) => vec![name],
            Names::Several(names) => names,
        };
        let given = model.map(|model| (model.clip.clone(), model.adapter.clone()));
        let made = || -> blemish::Result<Self> {
            let model = match given {
                Some((clip, adapter)) => Model { clip, adapter },
                None => Model::open("tiny", None, "f32")?,
            };
            let depth = BitDepth::new(bit_depth)?;
            let (entry, inputs) = model.method(method)?;
            let file = prompts.unwrap_or(PathBuf::from(entry.prompts));
            let chosen = blemish::Prompts::open(&file)?.select(&detect, &ignore)?;
            let cache = TextCache::from_env();
            let product = blemish::Product::with_synonyms(&model.clip, &names, &chosen, &cache)?;
            let (clip, fit) = (model.clip, Default::default());
            let detector = Detector::with(clip.clone(), entry.make(&inputs)?, fit);
            clip.check(&detector.method().taps())?;
            let context =
                Context::by_prompts(product, clip.clone(), inputs.adapter.clone(), fit, None);
            let scorer = Scorer { context, detector };
            Ok(Self { scorer, clip, entry, inputs, prompts: file.display().to_string(), depth })
        };
        py.detach(made).map_err(raise)
    }

    #[getter]
    fn name(&self) -> &str {
        self.scorer.context.product().name()
    }

    /// Scores each photo by itself: a path, the bytes of a file, or a uint8 array of height x width x 3. A list gives a list.
    /// errors: `raise`, or `return` for the exception in place of the result.
    #[pyo3(signature = (photos, *, overlay=false, errors="raise"))]
    fn score(&self, photos: &Bound<PyAny>, overlay: bool, errors: &str) -> PyResult<Py<PyAny>> {
        score(&self.scorer, self.depth, photos, overlay, Failures::of(errors)?)
    }
}

/// The photos of a folder, scored by each other.
#[pyclass(frozen)]
struct Mutual {
    product: Py<Product>,
    with_prompts: bool,
}

#[pymethods]
impl Mutual {
    #[new]
    #[pyo3(signature = (product, *, with_prompts=true))]
    fn new(product: Py<Product>, with_prompts: bool) -> Self {
        Self { product, with_prompts }
    }

    /// Compares photos with each other, as `--method auto`; without prompts as `mutual`.
    /// errors: `raise`, or `return` for the exception in place of the result.
    #[pyo3(signature = (photos, *, errors="raise"))]
    fn score(&self, py: Python, photos: Vec<PathBuf>, errors: &str) -> PyResult<Vec<Py<PyAny>>> {
        photo::check_process()?;
        let failures = Failures::of(errors)?;
        let (product, with_prompts) = (self.product.get(), self.with_prompts);
        let options = MutualOptions { with_prompts, depth: product.depth, ..Default::default() };
        let found = py.detach(|| {
            let setup = MutualSetup {
                clip: product.clip.clone(),
                method: product.entry.make(&product.inputs)?.into(),
                product: product.scorer.context.product().clone(),
                options,
                apart: false,
                repeated: vec![],
            };
            match blemish::mutual::score_photos(&photos, &setup, Watch::default())? {
                MutualOutcome::Scored(scores) => Ok((scores, setup)),
                _ if with_prompts => {
                    let why = format!(
                        "{} are too few: give at least {}, or score each",
                        photos.len(),
                        blemish::mutual::ENOUGH
                    );
                    Err(Error::setting("photos", why))
                }
                _ => Err(Musc::too_few()),
            }
        });
        let (scores, setup) = found.map_err(raise)?;
        let result = |photo| of_folder(py, &product.scorer.context, (&scores, &setup), photo);
        (0..photos.len()).map(|photo| failures.place(py, result(photo))).collect()
    }
}

/// The result of a photo that was compared with others.
fn of_folder(
    py: Python,
    context: &Context,
    (scores, setup): (&MutualScores, &MutualSetup),
    photo: usize,
) -> PyResult<Scored> {
    let lost = || {
        let parts = scores.parts.iter();
        let mut found = parts.filter_map(|part| part.encoded.index(&scores.photos, photo));
        let why = found.find_map(Result::err).map(Error::to_string);
        let path = scores.photos.paths()[photo].display();
        BlemishError::new_err(why.unwrap_or(format!("{path}: cannot be read")))
    };
    let (record, finding) = context.of_folder(scores, setup, photo).ok_or_else(lost)?;
    Scored::new(py, record, finding, None)
}

/// A product with photos of good parts, and the line between ok and ng.
#[pyclass(frozen)]
struct Profile {
    scorer: Scorer,
    depth: BitDepth,
}

impl Profile {
    fn of(
        file: PathBuf,
        profile: blemish::Profile,
        clip: Option<Arc<Clip>>,
        false_alarm: Option<f64>,
    ) -> blemish::Result<Self> {
        let depth = profile.bit_depth()?;
        let clip = match clip {
            Some(clip) => clip,
            None => Arc::new(profile.open_model(None, None, ModelOptions::default().device)?),
        };
        Ok(Self { scorer: Scorer::by_profile(file, profile, clip, false_alarm)?, depth })
    }
}

#[pymethods]
impl Profile {
    #[new]
    #[pyo3(signature = (file, *, model=None, false_alarm=None))]
    fn new(
        py: Python,
        file: PathBuf,
        model: Option<PyRef<Model>>,
        false_alarm: Option<f64>,
    ) -> PyResult<Self> {
        if false_alarm.is_some_and(|rate| !(rate > 0.0 && rate < 1.0)) {
            return Err(PyValueError::new_err(
                "false_alarm: give a share between 0 and 1, such as 0.05",
            ));
        }
        let clip = model.map(|model| model.clip.clone());
        let made = || Self::of(file.clone(), blemish::Profile::open(&file)?, clip, false_alarm);
        py.detach(made).map_err(raise)
    }

    /// Writes the profile to a file.
    fn save(&self, py: Python, file: PathBuf) -> PyResult<()> {
        let profile = self.scorer.context.profile().expect("a profile has one");
        py.detach(|| profile.save(file)).map_err(raise)
    }

    /// Scores each photo by itself: a path, the bytes of a file, or a uint8 array of height x width x 3. A list gives a list.
    /// errors: `raise`, or `return` for the exception in place of the result.
    #[pyo3(signature = (photos, *, overlay=false, errors="raise"))]
    fn score(&self, photos: &Bound<PyAny>, overlay: bool, errors: &str) -> PyResult<Py<PyAny>> {
        score(&self.scorer, self.depth, photos, overlay, Failures::of(errors)?)
    }

    #[getter]
    fn product(&self) -> &str {
        self.scorer.context.product().name()
    }

    #[getter]
    fn sha256(&self) -> &str {
        self.scorer.context.profile().expect("a profile has one").sha256()
    }

    #[getter]
    fn false_alarm(&self) -> Option<f64> {
        self.scorer.context.false_alarm()
    }

    /// The score above which a photo is ng. None if there are too few good photos.
    #[getter]
    fn line(&self) -> Option<f32> {
        let (calibration, rate) = self.scorer.context.calibration()?;
        calibration.threshold(rate)
    }
}

/// Makes a profile from photos of good parts.
#[pyfunction]
#[pyo3(signature = (product, references, *, calibration=vec![], reference_method=None, false_alarm=0.05, simulate_damage=true))]
fn enroll(
    py: Python,
    product: PyRef<Product>,
    references: Vec<PathBuf>,
    calibration: Vec<PathBuf>,
    reference_method: Option<&str>,
    false_alarm: f64,
    simulate_damage: bool,
) -> PyResult<Profile> {
    photo::check_process()?;
    let product: &Product = &product;
    let made = || -> blemish::Result<Profile> {
        let default = default_reference_method(&product.clip, product.entry.name);
        let options = EnrollOptions {
            method: product.entry,
            inputs: product.inputs.clone(),
            references: entry_of(reference_method.unwrap_or(default))?,
            depth: product.depth,
            prompts: product.prompts.clone(),
            false_alarm,
            simulates_damage: simulate_damage,
            ..EnrollOptions::default()
        };
        let photos = EnrollPhotos { references: &references, calibration: &calibration };
        let words = product.scorer.context.product();
        let enrolled =
            blemish::profile::enroll(product.clip.clone(), words.clone(), photos, &options)?;
        if let Some(error) = enrolled.unreadable.into_iter().next() {
            return Err(error);
        }
        Profile::of(PathBuf::new(), enrolled.profile, Some(product.clip.clone()), None)
    };
    py.detach(made).map_err(raise)
}

#[pymodule]
fn _blemish(module: &Bound<PyModule>) -> PyResult<()> {
    module.add("__version__", env!("CARGO_PKG_VERSION"))?;
    module.add("BlemishError", module.py().get_type::<BlemishError>())?;
    module.add_class::<Model>()?;
    module.add_class::<Product>()?;
    module.add_class::<Mutual>()?;
    module.add_class::<Profile>()?;
    module.add_class::<Scored>()?;
    module.add_function(wrap_pyfunction!(enroll, module)?)
}
