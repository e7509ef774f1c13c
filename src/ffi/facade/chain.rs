//! The way to the network, in the application's language.

use std::sync::Arc;

use super::error::MusigError;
use super::live::{InUse, Live};
use crate::chain;
use crate::types::{ChainError, SignedTransaction, Txid};
pub use crate::types::{ChainQuery, ChainStatus, OutPoint, SubmitOutcome};

/// Submits transactions. Called on a thread of its own, one call at a time; it may block.
#[uniffi::export(rust, foreign)]
pub trait Broadcaster: Send + Sync {
    /// Submits. May be called again with the same transaction. Whatever it raises means that the network cannot be
    /// reached: the other signers take over, and it is asked again.
    fn submit(&self, transaction: SignedTransaction) -> Result<SubmitOutcome, MusigError>;
}

/// Looks at the chain. Called on a thread of its own, one call at a time; it may block.
#[uniffi::export(rust, foreign)]
pub trait ChainObserver: Send + Sync {
    /// What the chain says now. Whatever it raises means that it cannot be looked at; it is asked again.
    fn status(&self, query: ChainQuery) -> Result<ChainStatus, MusigError>;
}

/// What became of a submission.
#[uniffi::remote(Enum)]
pub enum SubmitOutcome {
    /// The network's node took it, or knew it (or the same transaction with another witness) already.
    Accepted,
    /// It refuses the transaction itself (fee, policy, inputs). Nobody is excused by that.
    Rejected(
        /// Its words.
        #[uniffi(name = "reason")]
        String,
    ),
}

/// An output that a transaction spends.
#[uniffi::remote(Record)]
pub struct OutPoint {
    /// The transaction that made the output.
    pub txid: Txid,
    /// Its position there.
    pub vout: u32,
}

/// What an observer is asked about.
#[uniffi::remote(Record)]
pub struct ChainQuery {
    /// The transaction.
    pub txid: Txid,
    /// What it spends: a conflicting transaction spends one of these.
    pub spends: Vec<OutPoint>,
}

/// What the chain says about a transaction.
#[uniffi::remote(Enum)]
pub enum ChainStatus {
    /// Neither it nor a conflicting spend is known.
    Unknown,
    /// It is in the mempool.
    Seen,
    /// It is in a block.
    Confirmed {
        /// The block's height.
        height: u32,
        /// At least 1: the block itself counts.
        confirmations: u32,
    },
    /// Another transaction spends one of its inputs and is in a block.
    Conflict {
        /// That transaction.
        txid: Txid,
        /// At least 1: the block itself counts.
        confirmations: u32,
    },
}

fn unreachable(error: MusigError) -> ChainError {
    ChainError { reason: error.to_string() }
}

pub(super) struct ForeignBroadcaster {
    object: Arc<dyn Broadcaster>,
    _in_use: InUse,
    _live: Live,
}

impl ForeignBroadcaster {
    pub(super) fn new(object: Arc<dyn Broadcaster>, in_use: InUse) -> Self {
        Self { object, _in_use: in_use, _live: Live::new("Broadcaster") }
    }
}

impl chain::Broadcaster for ForeignBroadcaster {
    fn submit(&self, transaction: &SignedTransaction) -> Result<SubmitOutcome, ChainError> {
        self.object.submit(transaction.clone()).map_err(unreachable)
    }
}

pub(super) struct ForeignObserver {
    object: Arc<dyn ChainObserver>,
    _in_use: InUse,
    _live: Live,
}

impl ForeignObserver {
    pub(super) fn new(object: Arc<dyn ChainObserver>, in_use: InUse) -> Self {
        Self { object, _in_use: in_use, _live: Live::new("ChainObserver") }
    }
}

impl chain::ChainObserver for ForeignObserver {
    fn status(&self, query: &ChainQuery) -> Result<ChainStatus, ChainError> {
        self.object.status(query.clone()).map_err(unreachable)
    }
}
