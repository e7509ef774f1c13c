//! The way to the chain: [`Broadcaster`] submits transactions, [`ChainObserver`] sees what became of them.

#[cfg(feature = "bitcoin")]
pub mod descriptor;
#[cfg(feature = "bitcoin")]
pub mod keys;
#[cfg(feature = "bitcoin")]
pub mod psbt;
#[cfg(feature = "http")]
pub mod sources;
#[cfg(feature = "bitcoin")]
pub mod transaction;

pub use crate::types::{ChainError, ChainQuery, ChainStatus, SignedTransaction, SubmitOutcome};

/// Submits transactions. Called on a thread of its own, one call at a time; it may block.
pub trait Broadcaster: Send + Sync {
    /// Submits. May be called again with the same transaction.
    fn submit(&self, transaction: &SignedTransaction) -> Result<SubmitOutcome, ChainError>;
}

/// Looks at the chain. Called on a thread of its own, one call at a time; it may block.
pub trait ChainObserver: Send + Sync {
    /// What the chain says now. A conflicting transaction that is not in a block yet is not reported.
    fn status(&self, query: &ChainQuery) -> Result<ChainStatus, ChainError>;
}
