//! The library in other languages.

#[cfg(feature = "capi")]
pub mod c;
#[cfg(feature = "uniffi")]
pub mod facade;
