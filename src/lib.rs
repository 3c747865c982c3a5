//! Finds defects in product photos from words alone.
//!
//! A CLIP model compares a photo, and small windows of it, with sentences about good and defective
//! products; the result is an anomaly score and a map. Nothing is trained, and a small model is part of
//! the library:
//!
//! ```
//! use blemish::{BitDepth, Clip, Detector, Photo, Product, Prompts};
//!
//! let model = Clip::load("tiny")?;
//! let product = Product::new(&model, "leather", &Prompts::default())?;
//! let photo = Photo::open("examples/pictures/leather/stain.png", BitDepth::default())?;
//! let finding = Detector::new(model).inspect(&photo, &product)?;
//!
//! assert!(finding.score > 0.5);
//! let (x, y, _) = finding.map.peak();
//! assert!(x.abs_diff(200) < 40 && y.abs_diff(128) < 40); // the stain
//! # Ok::<(), blemish::Error>(())
//! ```
//!
//! [`Clip::load`] also takes the names of larger models ([`aliases`]), Hugging Face repository ids and
//! folders. [`enroll`] makes a [`Profile`] of a few photos of good parts, which draws a line between good and
//! defective. [`Method`] is what other ways to tell good from defective implement. [`render`] paints maps,
//! [`report`] prints results. Memory is allocated and freed in large pieces: a program that uses this
//! library is faster with an allocator that keeps them (the command line uses mimalloc).
#![warn(missing_docs)]

mod adapter;
mod canvas;
mod clip;
pub mod curves;
pub mod data;
mod detect;
mod error;
mod eval;
pub mod files;
pub mod html;
mod image;
pub mod metrics;
mod ops;
mod pickle;
mod profile;
mod prompt;
mod reference;
pub mod render;
pub mod report;
pub mod sheet;
pub mod text;
mod train;

pub use adapter::{About, Adapter, TrainingSet, training_sets};
pub use clip::{
    Alias, Clip, Features, ModelOptions, Shape, Taps, Tokens, aliases, is_cached, shape,
};
#[cfg(feature = "hub")]
pub use clip::{Download, pull};
pub use detect::{
    AnomalyMap, AprilGan, Detector, Effect, EncodedPhoto, Explanation, Finding, Folder,
    FolderOptions, Found, Fused, Ignored, Judged, METHODS, Method, MethodEntry, Pair, Part, Parts,
    PatchMap, Seen, Verdict, WinClip, default_method, method,
};
pub use error::{Error, Result, catches_panics};
pub use eval::{Curve, Looked, Maps, Metrics, Run, RunAbout, Scores, evaluate, mean, merge};
pub use image::{BitDepth, Fit, Mask, Normalisation, Photo, Placement, Prepared};
pub use ops::Activation;
pub use profile::{
    Calibration, Decision, EnrollOptions, Enrolled, KindAbout, Photos, Profile, ProfileAbout,
    Readiness, ReferenceAbout, enroll,
};
pub use prompt::{Kind, Product, Prompt, Prompts, Report, Role, TextCache, Warning, prompt_files};
pub use reference::{
    Distances, Mutual, MutualOptions, REFERENCE_METHODS, ReferenceEntry, Region, RegionAbout,
    reference_method, rescored,
};
pub use train::{Point, Progress, TrainFiles, TrainOptions, train};
