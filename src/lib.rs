//! Finds defects in product photos with text prompts.
//!
//! A CLIP model compares a photo, and small windows of it, with prompts that describe good and defective products. The
//! result is an anomaly score and a map. The model is not trained on your photos, and a small model is part of the
//! library:
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
//! [`Clip::load`] also takes the names of larger models ([`clip::aliases`]), Hugging Face repository ids and folders.
//! [`profile::enroll`] makes a [`Profile`] from a few photos of good parts. The profile draws a line between good and
//! defective parts. Implement [`detect::Method`] to add another method. [`render`] draws maps, and [`report`] has
//! the fields of results.
//!
//! blemish allocates and frees large pieces of memory. It is faster with an allocator that keeps freed pages. The
//! command line uses mimalloc.
#![warn(missing_docs, missing_debug_implementations, clippy::too_many_lines)]

pub mod adapter;
pub mod autoencoder;
mod checkpoint;
pub mod clip;
pub mod data;
pub mod detect;
pub mod dino;
pub mod drift;
mod error;
pub mod eval;
pub mod files;
pub mod image;
pub mod metrics;
pub mod mutual;
mod ops;
pub mod page;
pub mod performance;
mod pickle;
pub mod profile;
pub mod prompt;
pub mod reference;
pub mod render;
pub mod report;
pub mod scorer;
pub mod sheet;
mod stats;
pub mod student;
pub mod text;
mod text_canvas;
pub mod train;
pub mod training_curves;

pub use adapter::Adapter;
pub use clip::Clip;
pub use detect::{AnomalyMap, Detector, Finding};
pub use error::{Error, Result, catches_panics};
pub use image::{BitDepth, Photo};
pub use profile::Profile;
pub use prompt::{Product, Prompts};
