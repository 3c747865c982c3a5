//! Photos as Python has them, and their scores.

use std::path::PathBuf;
use std::sync::OnceLock;

use blemish::report::Record;
use blemish::scorer::{Origin, ScaleOf, Scorer};
use blemish::{BitDepth, Finding, Photo};
use numpy::{PyReadonlyArray3, PyUntypedArrayMethods};
use pyo3::exceptions::{PyRuntimeError, PyTypeError, PyValueError};
use pyo3::prelude::*;
use pyo3::pybacked::PyBackedBytes;
use pyo3::types::{PyList, PyTuple};
use rayon::prelude::*;

use crate::raise;
use crate::result::Scored;

/// A photo: a file, the content of a file, or pixels.
pub enum Input {
    File(PathBuf),
    Content(PyBackedBytes),
    Pixels(Photo),
}

impl Input {
    fn of(photo: &Bound<PyAny>) -> PyResult<Self> {
        if let Ok(content) = photo.extract::<PyBackedBytes>() {
            return Ok(Self::Content(content));
        }
        if let Ok(pixels) = photo.extract::<PyReadonlyArray3<u8>>()
            && pixels.shape()[2] == 3
        {
            let (height, width) = (pixels.shape()[0], pixels.shape()[1]);
            let rgb = pixels.as_array().iter().copied().collect();
            return Ok(Self::Pixels(Photo::from_rgb(width, height, rgb).map_err(raise)?));
        }
        let wrong = |_| {
            let name = photo.get_type().to_string();
            let array = photo.getattr("dtype").ok().zip(photo.getattr("shape").ok());
            let kind = array.map_or(name, |(dtype, shape)| format!("{dtype} of shape {shape}"));
            let why =
                "a photo is a path, the bytes of a file, or a uint8 array of height x width x 3";
            PyTypeError::new_err(format!("{why}, and not {kind}"))
        };
        photo.extract().map(Self::File).map_err(wrong)
    }

    fn name(&self) -> PathBuf {
        match self {
            Self::File(path) => path.clone(),
            Self::Content(_) | Self::Pixels(_) => "photo".into(),
        }
    }
}

/// Refuses a process that was forked after photos were scored: the threads that score stay in the first one.
pub fn check_process() -> PyResult<()> {
    static FIRST: OnceLock<u32> = OnceLock::new();
    let own = std::process::id();
    match *FIRST.get_or_init(|| own) == own {
        true => Ok(()),
        false => {
            let why = "blemish was used before this process was forked; start it by spawn, and open the profile in it";
            Err(PyRuntimeError::new_err(why))
        }
    }
}

type Result = blemish::Result<(Record, Finding, Option<Vec<u8>>)>;

fn one(scorer: &Scorer, depth: BitDepth, input: &Input, has_overlay: bool) -> Result {
    let name = input.name();
    let opened = match input {
        Input::File(path) => Some(Photo::open(path, depth)?),
        Input::Content(content) => Some(Photo::decode(&name, content, depth)?),
        Input::Pixels(_) => None,
    };
    let photo = match (&opened, input) {
        (None, Input::Pixels(photo)) => photo,
        (opened, _) => opened.as_ref().expect("it was just opened"),
    };
    let content = match input {
        Input::File(_) => None,
        Input::Content(content) => Some(&**content),
        Input::Pixels(photo) => Some(photo.rgb()),
    };
    let prepared = scorer.detector.prepare(photo);
    let (record, finding) = scorer.score(Origin { path: &name, content }, &prepared)?;
    let overlay =
        has_overlay.then(|| scorer.context.overlay(photo, (&record, &finding), ScaleOf::Run, true));
    Ok((record, finding, overlay))
}

/// What happens with a photo that cannot be scored.
#[derive(Clone, Copy, PartialEq)]
pub enum Failures {
    /// Its exception ends the call.
    Raise,
    /// Its exception stands in its place.
    Return,
}

impl Failures {
    pub fn of(name: &str) -> PyResult<Self> {
        match name {
            "raise" => Ok(Self::Raise),
            "return" => Ok(Self::Return),
            _ => Err(PyValueError::new_err(format!("errors {name}: give raise or return"))),
        }
    }

    /// A result, or the exception in its place.
    pub fn place(self, py: Python, result: PyResult<Scored>) -> PyResult<Py<PyAny>> {
        match (result, self) {
            (Ok(scored), _) => Ok(Py::new(py, scored)?.into_any()),
            (Err(error), Self::Return) => Ok(error.into_value(py).into_any()),
            (Err(error), Self::Raise) => Err(error),
        }
    }
}

/// The result of a photo, or a list of them for a list or tuple of photos.
pub fn score(
    scorer: &Scorer,
    depth: BitDepth,
    photos: &Bound<PyAny>,
    has_overlay: bool,
    failures: Failures,
) -> PyResult<Py<PyAny>> {
    let py = photos.py();
    check_process()?;
    let is_many = photos.is_instance_of::<PyList>() || photos.is_instance_of::<PyTuple>();
    let inputs = match is_many {
        true => photos.try_iter()?.map(|photo| Input::of(&photo?)).collect::<PyResult<Vec<_>>>()?,
        false => vec![Input::of(photos)?],
    };
    let scored = py.detach(|| {
        let mut all = Vec::new();
        for batch in inputs.chunks(scorer.detector.photos_at_once()) {
            let results = batch.par_iter().map(|input| one(scorer, depth, input, has_overlay));
            all.extend(results.collect::<Vec<Result>>());
            if failures == Failures::Raise && all.iter().any(Result::is_err) {
                break;
            }
        }
        all
    });
    let place = |result: Result| {
        let scored = result.map_err(raise);
        let scored =
            scored.and_then(|(record, finding, map)| Scored::new(py, record, finding, map));
        failures.place(py, scored)
    };
    let mut placed = scored.into_iter().map(place).collect::<PyResult<Vec<_>>>()?;
    match is_many {
        true => Ok(placed.into_pyobject(py)?.into_any().unbind()),
        false => Ok(placed.remove(0)),
    }
}
