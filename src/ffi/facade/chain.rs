//! The way to the network, in the application's language.

use std::sync::Arc;

use super::error::MusigError;
use super::live::{InUse, Live};
use super::values::SignedTransaction;
use crate::chain;
use crate::types::{self, ChainError, Txid};

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
#[derive(Clone, Debug, PartialEq, Eq, uniffi::Enum)]
pub enum SubmitOutcome {
    /// The network's node took it, or knew it (or the same transaction with another witness) already.
    Accepted,
    /// It refuses the transaction itself (fee, policy, inputs). Nobody is excused by that.
    Rejected {
        /// Its words.
        reason: String,
    },
}

/// An output that a transaction spends.
#[derive(Clone, Copy, Debug, PartialEq, Eq, uniffi::Record)]
pub struct OutPoint {
    /// The transaction that made the output.
    pub txid: Txid,
    /// Its position there.
    pub vout: u32,
}

/// What an observer is asked about.
#[derive(Clone, Debug, PartialEq, Eq, uniffi::Record)]
pub struct ChainQuery {
    /// The transaction.
    pub txid: Txid,
    /// What it spends: a conflicting transaction spends one of these.
    pub spends: Vec<OutPoint>,
}

/// What the chain says about a transaction.
#[derive(Clone, Copy, Debug, PartialEq, Eq, uniffi::Enum)]
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
    fn submit(&self, transaction: &types::SignedTransaction) -> Result<types::SubmitOutcome, ChainError> {
        match self.object.submit(transaction.clone().into()) {
            Ok(SubmitOutcome::Accepted) => Ok(types::SubmitOutcome::Accepted),
            Ok(SubmitOutcome::Rejected { reason }) => Ok(types::SubmitOutcome::Rejected(reason)),
            Err(error) => Err(unreachable(error)),
        }
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
    fn status(&self, query: &types::ChainQuery) -> Result<types::ChainStatus, ChainError> {
        let spends = query.spends.iter().map(|point| OutPoint { txid: point.txid, vout: point.vout });
        let query = ChainQuery { txid: query.txid, spends: spends.collect() };
        match self.object.status(query).map_err(unreachable)? {
            ChainStatus::Unknown => Ok(types::ChainStatus::Unknown),
            ChainStatus::Seen => Ok(types::ChainStatus::Seen),
            ChainStatus::Confirmed { height, confirmations } => {
                Ok(types::ChainStatus::Confirmed { height, confirmations })
            }
            ChainStatus::Conflict { txid, confirmations } => {
                Ok(types::ChainStatus::Conflict { txid, confirmations })
            }
        }
    }
}
