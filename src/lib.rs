#![cfg_attr(all(feature = "node", feature = "bitcoin"), doc = include_str!("../README.md"))]
#![cfg_attr(
    not(all(feature = "node", feature = "bitcoin")),
    doc = "MuSig2 sessions with failover of the broadcast. This build has the protocol alone."
)]
#![deny(missing_docs, unsafe_code, unsafe_op_in_unsafe_fn)]

#[cfg(feature = "uniffi")]
uniffi::setup_scaffolding!("musig");

#[cfg(any(feature = "node", feature = "bitcoin"))]
pub mod chain;
pub mod error;
#[cfg(feature = "node")]
pub mod event;
#[cfg(any(feature = "capi", feature = "uniffi"))]
#[doc(hidden)]
pub mod ffi;
#[cfg(feature = "node")]
#[doc(hidden)]
pub mod net;
#[cfg(feature = "node")]
pub mod node;
pub mod platform;
pub mod protocol;
pub mod signer;
#[cfg(feature = "node")]
pub mod store;
pub mod types;
