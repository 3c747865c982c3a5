//! From a photo's file to what a model sees, and back: decoding, resampling that agrees with Pillow
//! bit for bit, normalisation, and the geometry that places a map on the photo again.

mod decode;
mod jpeg;
mod mask;
mod photo;
mod prepare;
mod resample;
mod tiff;

pub use mask::Mask;
pub use photo::{BitDepth, Photo};
pub use prepare::{Fit, Normalisation, Placement, Prepared};
pub(crate) use prepare::{enlarge, enlarge_to_corners};
pub(crate) use resample::resample_table;
