//! The result of a photo.

use blemish::Finding;
use blemish::report::Record;
use numpy::{PyArray1, PyArray2, PyArrayMethods};
use pyo3::prelude::*;
use pyo3::types::PyBytes;

/// The result of a photo.
#[pyclass(frozen)]
pub struct Scored {
    record: Record,
    map: Py<PyArray2<f32>>,
    overlay: Option<Py<PyBytes>>,
}

impl Scored {
    /// The map's values are moved, not copied.
    pub fn new(
        py: Python,
        record: Record,
        finding: Finding,
        overlay: Option<Vec<u8>>,
    ) -> PyResult<Self> {
        let (width, height) = (finding.map.width, finding.map.height);
        let map = PyArray1::from_vec(py, finding.map.values).reshape([height, width])?;
        let overlay = overlay.map(|png| PyBytes::new(py, &png).unbind());
        Ok(Self { record, map: map.unbind(), overlay })
    }
}

#[pymethods]
impl Scored {
    /// The photo's file, or `photo`.
    #[getter]
    fn path(&self) -> &str {
        &self.record.path
    }

    /// 0 to 1, higher is more anomalous.
    #[getter]
    fn score(&self) -> f32 {
        self.record.score
    }

    /// At most this share of good parts reaches such a score. None without a profile.
    #[getter]
    fn p_value(&self) -> Option<f64> {
        self.record.p_value
    }

    /// `ok`, `ng` or `uncertain`. None without a profile.
    #[getter]
    fn verdict(&self) -> Option<&'static str> {
        self.record.verdict
    }

    /// The kind of defect that fits best.
    #[getter]
    fn defect(&self) -> Option<&str> {
        self.record.defect.as_deref()
    }

    /// Column and row of the most anomalous pixel.
    #[getter]
    fn peak(&self) -> (usize, usize) {
        (self.record.peak_x, self.record.peak_y)
    }

    /// [height, width], 0 to 1. NaN where the model saw nothing.
    #[getter]
    fn map(&self, py: Python) -> Py<PyArray2<f32>> {
        self.map.clone_ref(py)
    }

    /// The heat map as PNG, if it was asked for.
    #[getter]
    fn overlay(&self, py: Python) -> Option<Py<PyBytes>> {
        self.overlay.as_ref().map(|png| png.clone_ref(py))
    }

    /// All fields, with the names of docs/output.md.
    fn to_dict<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyAny>> {
        let text = serde_json::to_string(&self.record).expect("numbers and text");
        py.import("json")?.call_method1("loads", (text,))
    }

    fn __repr__(&self) -> String {
        let verdict = self.record.verdict.map_or(String::new(), |v| format!(", verdict={v:?}"));
        format!("Scored(path={:?}, score={:.3}{verdict})", self.record.path, self.record.score)
    }
}
