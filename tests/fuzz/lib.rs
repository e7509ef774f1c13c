//! The fuzz targets, for cargo-fuzz. `tests/protocol/fuzzed.rs` runs the same functions over the committed corpora.

mod decoders;
mod machine;
#[path = "../support/mod.rs"]
mod simulated;
mod targets;

pub use targets::run;
