//! MuSig2 signing sessions in which no coordinator can censor or lose the transaction.
#![deny(missing_docs, unsafe_code, unsafe_op_in_unsafe_fn)]

pub mod chain;
pub mod error;
#[cfg(feature = "node")]
pub mod event;
#[cfg(feature = "capi")]
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
pub mod store;
pub mod types;
