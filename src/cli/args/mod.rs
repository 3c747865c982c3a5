//! The flags that commands share, and what they stand for. Each kind of flags is resolved once, to a value that commands
//! take.

pub mod method;
pub mod model;
pub mod mutual;
pub mod product;
pub mod rate;
pub mod shard;
pub mod values;
