//! From a photo's file to the input of a model, and back: decoding, resampling that equals Pillow's bit for bit,
//! normalisation, and the geometry that places a map on the photo.

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
