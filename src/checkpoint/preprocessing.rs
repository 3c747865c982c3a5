//! The preprocessing that a model's files ask for.

use serde::Deserialize;

use crate::error::{Error, Result};
use crate::image::Normalisation;

/// Adds the name of the file to an error message.
pub(crate) fn in_file<T>(file: impl std::fmt::Display, result: Result<T, String>) -> Result<T> {
    result.map_err(|why| Error::model(file, why))
}

/// Mean and standard deviation from Hugging Face's `preprocessor_config.json`, or from the image part of
/// `processor_config.json` (transformers 5). `None` if that file has no image part. `with_resampling`: whether to refuse
/// a resampling that is not done here.
pub(crate) fn normalisation_from_hugging_face(
    file: &str,
    json: &[u8],
    with_resampling: bool,
) -> Result<Option<Normalisation>, String> {
    #[derive(Deserialize)]
    struct Preprocessor {
        image_mean: [f32; 3],
        image_std: [f32; 3],
        #[serde(default)]
        resample: Resample,
        #[serde(default = "byte")]
        rescale_factor: f64,
        do_rescale: Option<bool>,
        do_normalize: Option<bool>,
    }
    #[derive(Deserialize)]
    #[serde(untagged)]
    enum Resample {
        Number(u8),
        Name(String),
    }
    impl Default for Resample {
        fn default() -> Self {
            Self::Number(BICUBIC)
        }
    }
    const BICUBIC: u8 = 3; // PIL.Image.BICUBIC
    fn byte() -> f64 {
        1.0 / 255.0
    }
    let mut value: serde_json::Value =
        serde_json::from_slice(json).map_err(|e| format!("not a preprocessing file: {e}"))?;
    if let Some(part) = value.get_mut("image_processor").map(serde_json::Value::take) {
        value = part;
    } else if file.starts_with("processor") {
        return Ok(None);
    }
    let raw: Preprocessor = serde_json::from_value(value)
        .map_err(|e| format!("no preprocessing that is read here: {e}"))?;
    match raw.resample {
        _ if !with_resampling => {}
        Resample::Number(BICUBIC) => {}
        Resample::Name(name) if name == "bicubic" => {}
        Resample::Number(other) => {
            return Err(format!("resampling filter {other} is not supported (3, bicubic, is)"));
        }
        Resample::Name(other) => {
            return Err(format!("resampling filter {other:?} is not supported (bicubic is)"));
        }
    }
    // Pixels are already divided by 255 here. Another factor is moved into mean and standard deviation.
    let factor = if raw.do_rescale == Some(false) { 1.0 } else { raw.rescale_factor };
    if !(factor.is_finite() && factor > 0.0) {
        return Err(format!("a rescale_factor of {factor} is no positive number"));
    }
    let by = factor * 255.0;
    let scaled = |values: [f32; 3]| match (by - 1.0).abs() < 1e-9 {
        true => values,
        false => values.map(|value| (f64::from(value) / by) as f32),
    };
    let (mean, std) = match raw.do_normalize {
        Some(false) => ([0.0; 3], [1.0; 3]),
        _ => (raw.image_mean, raw.image_std),
    };
    checked_normalisation(scaled(mean), scaled(std)).map(Some)
}

/// Refuses values that no pixel can be scaled with.
pub(crate) fn checked_normalisation(
    mean: [f32; 3],
    std: [f32; 3],
) -> Result<Normalisation, String> {
    if std.iter().any(|s| !s.is_finite() || *s <= 0.0) || mean.iter().any(|m| !m.is_finite()) {
        return Err(
            "a standard deviation of the preprocessing is not positive, or a mean is no number"
                .into(),
        );
    }
    Ok(Normalisation { mean, std })
}
