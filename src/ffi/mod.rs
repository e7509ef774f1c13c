//! The library for other languages.

#[cfg(feature = "capi")]
pub mod c;
