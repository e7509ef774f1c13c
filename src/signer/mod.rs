//! Signers: [`LocalSigner`] keeps its secret key in this process's memory; others implement [`Signer`].

mod account;
#[cfg(feature = "node")]
mod checked;
mod key_pair;
mod local;

#[cfg(feature = "node")]
pub(crate) use checked::Checked;
pub use local::LocalSigner;

pub use crate::protocol::signer::{HeldKeys, NonceRequest, PartialRequest, SignTask, Signer};
