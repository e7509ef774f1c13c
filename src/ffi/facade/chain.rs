//! Broadcasters and chain observers in the application's language.

use std::sync::Arc;

use super::error::MusigError;
use super::live::{InUse, Live};
use crate::chain;
use crate::types::{ChainError, SignedTransaction, Txid};
pub use crate::types::{ChainQuery, ChainStatus, ChainTip, CoinStatus, OutPoint, SubmitOutcome};

/// Interface to a Bitcoin backend (node or API) that submits transactions. Called on a thread of its own, one call at a
/// time; it may block.
#[uniffi::export(rust, foreign)]
pub trait Broadcaster: Send + Sync {
    /// Submits a transaction, perhaps not for the first time. Any error means that the Bitcoin backend cannot be
    /// reached: the other signers take over, and this call is repeated.
    fn submit(&self, transaction: SignedTransaction) -> Result<SubmitOutcome, MusigError>;
}

/// Interface to a Bitcoin backend (node or API) that looks transactions up. Called on a thread of its own, one call at
/// a time; it may block.
#[uniffi::export(rust, foreign)]
pub trait ChainObserver: Send + Sync {
    /// Looks a transaction up. Any error means that the Bitcoin backend cannot be reached; this call is repeated.
    fn status(&self, query: ChainQuery) -> Result<ChainStatus, MusigError>;

    /// Looks an output up, before this node consents to a transaction that spends it. None: this observer cannot tell.
    /// Any error means that the Bitcoin backend cannot be reached.
    fn coin(&self, outpoint: OutPoint) -> Result<Option<CoinStatus>, MusigError>;

    /// Looks the last block up, if a transaction has a lock. None: this observer cannot tell. Any error means that the
    /// Bitcoin backend cannot be reached.
    fn tip(&self) -> Result<Option<ChainTip>, MusigError>;

    /// Whether the chain is congested, so that transactions take longer than they did: a coordinator is then given a longer
    /// pace, though never more than the broadcast timeout. Asked with a look at a transaction, once a minute at most.
    /// None: this observer cannot tell. Any error counts as that.
    fn congested(&self) -> Result<Option<bool>, MusigError>;
}

/// Outcome of a submission.
#[uniffi::remote(Enum)]
pub enum SubmitOutcome {
    /// The Bitcoin backend accepted the transaction, or had it (or the same one with another witness) already.
    Accepted,
    /// The Bitcoin backend rejected the transaction itself (fee, policy, inputs). The signer's turn stays open.
    Rejected(
        /// The backend's message.
        #[uniffi(name = "reason")]
        String,
    ),
    /// The transaction is not final yet: a lock time, a relative lock or a coinbase's maturity is not reached. It is
    /// submitted again, nobody takes over, and nobody is late.
    NotYetFinal,
}

/// Reference to an output that a transaction spends.
#[uniffi::remote(Record)]
pub struct OutPoint {
    /// The transaction that made the output.
    pub txid: Txid,
    /// The output's index in that transaction.
    pub vout: u32,
}

/// Query to a chain observer.
#[uniffi::remote(Record)]
pub struct ChainQuery {
    /// The transaction to look up.
    pub txid: Txid,
    /// The outputs that it spends. A conflicting transaction spends one of these.
    pub spends: Vec<OutPoint>,
}

/// State of a transaction in the chain.
#[uniffi::remote(Enum)]
pub enum ChainStatus {
    /// Neither the transaction nor a conflicting one is known.
    Unknown,
    /// The transaction is in the mempool.
    Seen,
    /// The transaction is in a block.
    Confirmed {
        /// The block's height.
        height: u32,
        /// Confirmations, at least 1: the block itself counts.
        confirmations: u32,
    },
    /// Another transaction spends one of its inputs and is in a block.
    Conflict {
        /// That transaction.
        txid: Txid,
        /// Confirmations, at least 1: the block itself counts.
        confirmations: u32,
    },
}

/// State of an output on the chain.
#[uniffi::remote(Enum)]
pub enum CoinStatus {
    /// The output is in a block and spent by nothing, not even in the mempool.
    Unspent {
        /// Confirmations, at least 1: the block itself counts.
        confirmations: u32,
        /// Median time of the eleven blocks before the output's, in seconds since 1970: what relative locks by time count
        /// from (BIP-68). None: not known, so such a lock delays nothing.
        #[uniffi(default = None)]
        median_time: Option<u32>,
    },
    /// The output's transaction is in the mempool, and nothing there spends it.
    InMempool,
    /// A transaction in a block or in the mempool spends the output.
    Spent,
    /// The output is not known. Without an index of transactions a backend cannot tell one that was spent in a block
    /// from one that never was.
    Unknown,
}

/// Last block of a chain.
#[uniffi::remote(Record)]
pub struct ChainTip {
    /// The block's height.
    pub height: u32,
    /// Median of the times of the last eleven blocks, in seconds since 1970 (BIP-113): what lock times by time are
    /// compared with.
    pub median_time: u32,
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

    fn coin(&self, outpoint: &OutPoint) -> Result<Option<CoinStatus>, ChainError> {
        self.object.coin(*outpoint).map_err(unreachable)
    }

    fn tip(&self) -> Result<Option<ChainTip>, ChainError> {
        self.object.tip().map_err(unreachable)
    }

    fn congested(&self) -> Result<Option<bool>, ChainError> {
        self.object.congested().map_err(unreachable)
    }
}
