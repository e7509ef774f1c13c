//! The C library: one file for each C type. `include/musig.h` is generated from these files and is their
//! documentation, including the validity of pointers.
#![allow(unsafe_code, non_camel_case_types, clippy::missing_safety_doc, clippy::upper_case_acronyms)]

#[macro_use]
pub mod enums;
#[macro_use]
mod boundary;
pub mod bytes;
pub mod callback;
pub mod chain;
#[cfg(test)]
mod codes;
pub mod config;
pub mod delivery;
#[cfg(feature = "bitcoin")]
pub mod descriptor;
pub mod election;
pub mod error;
pub mod event;
mod failure;
mod fields;
#[cfg(feature = "bitcoin")]
pub mod group;
mod handle;
pub mod key_set;
pub mod keys;
pub mod log;
pub mod metrics;
pub mod node;
pub mod proposal;
#[cfg(feature = "bitcoin")]
pub mod psbt;
#[cfg(feature = "bitcoin")]
pub mod psbt_signer;
mod reaper;
pub mod reputation;
pub mod session;
pub mod session_status;
mod settings;
pub mod signer;
#[cfg(feature = "http")]
pub mod source;
pub mod start;
pub mod status;
#[cfg(feature = "bitcoin")]
pub mod summary;
pub mod terms;
pub mod version;
#[cfg(feature = "bitcoin")]
pub mod wallet;
mod words;
