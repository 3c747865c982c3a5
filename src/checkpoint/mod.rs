//! The files of a model: where they are, how they are downloaded, and the tensors in them.

mod files;
#[cfg(feature = "hub")]
mod http;
#[cfg(feature = "hub")]
mod hub;
mod locate;
mod models;
mod preprocessing;
mod source;
mod tensors;
mod weights;

pub(crate) use files::{Files, Manifest, Vocabulary};
#[cfg(feature = "hub")]
pub use hub::{Download, pull};
pub(crate) use locate::find;
pub use locate::is_cached;
pub use models::{Alias, Use, aliases};
pub(crate) use preprocessing::{checked_normalisation, in_file, normalisation_from_hugging_face};
pub(crate) use tensors::{CheckedTensors, weights_sha256};
