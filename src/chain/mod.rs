//! The way to the network: who submits transactions, and who sees what became of them.

use crate::types::{OutPoint, Txid};

/// What became of a submission.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SubmitOutcome {
    /// The network's node took it, or knew it (or the same transaction with another witness) already.
    Accepted,
    /// It refuses the transaction itself (fee, policy, inputs): its words. Nobody is excused by that.
    Rejected(String),
}

/// A call to the outside failed: no answer, no connection. The core sends a NACK and goes on trying.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the network's node cannot be reached: {reason}")]
pub struct ChainError {
    /// For people.
    pub reason: String,
}

/// A finished transaction.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SignedTransaction {
    /// Its id.
    pub txid: Txid,
    /// Consensus encoding with witnesses.
    pub bytes: Vec<u8>,
}

/// Submits transactions. Called on a thread of its own, one call at a time; it may block.
pub trait Broadcaster: Send + Sync {
    /// Submits. May be called again with the same transaction.
    fn submit(&self, transaction: &SignedTransaction) -> Result<SubmitOutcome, ChainError>;
}

/// What an observer is asked about.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ChainQuery {
    /// The transaction.
    pub txid: Txid,
    /// What it spends: a conflicting transaction spends one of these.
    pub spends: Vec<OutPoint>,
}

/// What the chain says about a transaction.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ChainStatus {
    /// Neither it nor a conflicting spend is known.
    Unknown,
    /// It is in the mempool.
    Seen,
    /// It is in a block. `confirmations` is at least 1.
    Confirmed {
        /// The block's height.
        height: u32,
        /// The block itself counts as one.
        confirmations: u32,
    },
    /// Another transaction spends one of its inputs and is in a block. `confirmations` is at least 1.
    Conflict {
        /// That transaction.
        txid: Txid,
        /// The block itself counts as one.
        confirmations: u32,
    },
}

/// Looks at the chain. Called on a thread of its own, one call at a time; it may block.
pub trait ChainObserver: Send + Sync {
    /// What the chain says now. A conflicting transaction that is not in a block yet is not reported.
    fn status(&self, query: &ChainQuery) -> Result<ChainStatus, ChainError>;
}
