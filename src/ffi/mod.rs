//! The library in other languages.

#[cfg(feature = "uniffi")]
pub mod facade;
