//! The flags that commands share. Each group of flags is resolved once, to a value that the commands use.

pub mod method;
pub mod model;
pub mod mutual;
pub mod product;
pub mod rate;
pub mod reference_model;
pub mod repeats;
pub mod shard;
pub mod tiles;
pub mod values;
pub mod views;
