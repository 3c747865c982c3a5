//! Photos as Python has them, and their scores.

use std::path::PathBuf;
use std::sync::OnceLock;

use blemish::report::Record;
use blemish::scorer::{Origin, ScaleOf, Scorer};
use blemish::{BitDepth, Finding, Photo};
use numpy::{PyReadonlyArray3, PyUntypedArrayMethods};
use pyo3::exceptions::{PyRuntimeError, PyTypeError};
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

/// The result of a photo, or a list of them for a list or tuple of photos.
pub fn score(
    scorer: &Scorer,
    depth: BitDepth,
    photos: &Bound<PyAny>,
    has_overlay: bool,
) -> PyResult<Py<PyAny>> {
    let py = photos.py();
    check_process()?;
    let is_many = photos.is_instance_of::<PyList>() || photos.is_instance_of::<PyTuple>();
    let inputs = match is_many {
        true => photos.try_iter()?.map(|photo| Input::of(&photo?)).collect::<PyResult<Vec<_>>>()?,
        false => vec![Input::of(photos)?],
    };
    let scored: blemish::Result<Vec<_>> = py.detach(|| {
        let mut all = Vec::new();
        for batch in inputs.chunks(scorer.detector.photos_at_once()) {
            let batch = batch.par_iter().map(|input| one(scorer, depth, input, has_overlay));
            all.extend(batch.collect::<blemish::Result<Vec<_>>>()?);
        }
        Ok(all)
    });
    let scored = scored.map_err(raise)?.into_iter();
    let scored = scored.map(|(record, finding, overlay)| Scored::new(py, record, finding, overlay));
    let mut scored = scored.collect::<PyResult<Vec<Scored>>>()?;
    match is_many {
        true => Ok(scored.into_pyobject(py)?.into_any().unbind()),
        false => Ok(Py::new(py, scored.remove(0))?.into_any()),
    }
}
