//! Signers: [`LocalSigner`] keeps its secret keys in this process's memory; others implement [`Signer`].

mod account;
mod key_pair;
mod local;
#[cfg(feature = "node")]
mod node_signer;

pub use local::LocalSigner;
#[cfg(feature = "node")]
pub(crate) use node_signer::NodeSigner;

pub use crate::protocol::signer::{
    HeldKeys, Identity, KeyCheck, NonceRequest, PartialRequest, SignTask, Signer,
};
