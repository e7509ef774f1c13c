//! What the state machine asks of cryptography. [`Musig2`](crate::protocol::crypto::musig2::Musig2) answers with
//! BIP-327 by libsecp256k1; the simulator may put a fast double in its place.

use std::any::Any;
use std::fmt;
use std::sync::Arc;

pub use self::aggregate::{NONCE, PARTIAL};
use crate::error::ProposalError;
use crate::protocol::proposal::Proposal;
use crate::types::{Signature, SignerKey};

pub mod aggregate;
pub(crate) mod bip32;
mod bip328;
pub mod key_set;
pub mod musig2;
pub mod nonce;
mod recent;
pub(crate) mod session_keys;

/// Signature checks, and the key aggregation of a session.
pub trait Scheme: fmt::Debug + Send + Sync {
    /// BIP-340 verification of `digest` under the x-only form of `key`.
    fn verify(&self, key: &SignerKey, digest: &[u8; 32], signature: &Signature) -> bool;

    /// Aggregates each key set once, and derives the key of each message.
    ///
    /// Errors: [`ProposalError::AimedKey`]; [`ProposalError::Derivation`], which happens with no known key.
    fn aggregate_keys(&self, proposal: &Proposal) -> Result<Arc<dyn SessionKeys>, ProposalError>;
}

/// The aggregate keys of one session.
pub trait SessionKeys: fmt::Debug + Send + Sync {
    /// The x-only key that message `index` is signed with.
    fn output_key(&self, index: usize) -> [u8; 32];

    /// Begins the second round: `nonces[i]` are the public nonces of signer `i`, 66 bytes for each message.
    ///
    /// Errors: the first signer, by index, of whom a nonce has the wrong length or is no pair of points.
    fn begin_round(&self, nonces: &[&[u8]]) -> Result<Arc<dyn Round>, usize>;

    /// BIP-340 verification of finished signatures, one for each message, under the final keys.
    fn verify_signatures(&self, signatures: &[Signature]) -> bool;

    /// For a [`Signer`](crate::protocol::signer::Signer) that knows the scheme.
    fn as_any(&self) -> &dyn Any;
}

/// One attempt, once all its nonces are known.
pub trait Round: fmt::Debug + Send + Sync {
    /// The aggregate nonce of message `index`.
    fn aggregate_nonce(&self, index: usize) -> [u8; NONCE];

    /// BIP-327 `PartialSigVerify` of all partial signatures of one signer: 32 bytes for each message.
    /// `false` also if their length is wrong or one is no scalar.
    fn verify_partials(&self, signer: usize, partials: &[u8]) -> bool;

    /// Adds up the partial signatures of all signers (`partials[i]` is signer `i`'s) and verifies the result.
    ///
    /// `None` if any does not come out: then at least one signer's do not verify.
    fn aggregate(&self, partials: &[&[u8]]) -> Option<Vec<Signature>>;

    /// For a [`Signer`](crate::protocol::signer::Signer) that knows the scheme.
    fn as_any(&self) -> &dyn Any;
}
