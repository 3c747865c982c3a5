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
    #[getter]
    fn path(&self) -> &str {
        &self.record.path
    }

    #[getter]
    fn score(&self) -> f32 {
        self.record.score
    }

    #[getter]
    fn p_value(&self) -> Option<f64> {
        self.record.p_value
    }

    #[getter]
    fn verdict(&self) -> Option<&'static str> {
        self.record.verdict
    }

    #[getter]
    fn defect(&self) -> Option<&str> {
        self.record.defect.as_deref()
    }

    #[getter]
    fn peak(&self) -> (usize, usize) {
        (self.record.peak_x, self.record.peak_y)
    }

    #[getter]
    fn map(&self, py: Python) -> Py<PyArray2<f32>> {
        self.map.clone_ref(py)
    }

    #[getter]
    fn overlay(&self, py: Python) -> Option<Py<PyBytes>> {
        self.overlay.as_ref().map(|png| png.clone_ref(py))
    }

    fn to_dict<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyAny>> {
        let text = serde_json::to_string(&self.record).expect("numbers and text");
        py.import("json")?.call_method1("loads", (text,))
    }

    fn __repr__(&self) -> String {
        let verdict = self.record.verdict.map_or(String::new(), |v| format!(", verdict={v:?}"));
        format!("Scored(path={:?}, score={:.3}{verdict})", self.record.path, self.record.score)
    }
}
