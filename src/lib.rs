//! blemish
mod clip;
mod detect;
mod error;
pub mod files;
mod image;
mod ops;
mod prompt;
pub mod render;
pub mod report;

pub use clip::{Alias, Clip, Features, ModelOptions, Taps, Tokens, aliases, is_cached};
#[cfg(feature = "hub")]
pub use clip::{Download, pull};
pub use detect::{
    AnomalyMap, Detector, Finding, METHODS, Method, MethodEntry, Verdict, WinClip, method,
};
pub use error::{Error, Result};
pub use image::{BitDepth, Fit, Normalisation, Photo, Placement, Prepared};
pub use ops::Activation;
pub use prompt::{Product, Prompts, TextCache};
