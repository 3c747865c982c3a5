//! From a photo's file to the input of a model, and back: decoding, resampling that equals Pillow's bit for bit,
//! normalisation, and the geometry that places a map on the photo.

mod appearance;
mod blur;
mod decode;
mod jpeg;
mod light;
mod mask;
mod photo;
mod prepare;
mod resample;
mod rotate;
mod shift;
mod tiff;

pub use appearance::Appearance;
pub(crate) use blur::{Blur, Border};
pub use mask::Mask;
pub use photo::{BitDepth, Photo};
pub use prepare::{Fit, Normalisation, Placement, Prepared};
pub(crate) use prepare::{enlarge, enlarge_to_corners, region_at};
pub(crate) use resample::resample_rows;
pub(crate) use shift::Edges;
