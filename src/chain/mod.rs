//! Interfaces to a Bitcoin backend: [`Broadcaster`] submits transactions, [`ChainObserver`] reports their state.

#[cfg(feature = "bitcoin")]
pub mod descriptor;
#[cfg(feature = "bitcoin")]
pub mod group;
#[cfg(feature = "bitcoin")]
pub mod keys;
#[cfg(feature = "bitcoin")]
pub mod psbt;
#[cfg(feature = "http")]
pub mod sources;
#[cfg(feature = "bitcoin")]
pub mod summary;
#[cfg(feature = "bitcoin")]
pub mod transaction;
#[cfg(feature = "bitcoin")]
#[cfg_attr(not(feature = "node"), allow(dead_code))]
pub mod wallet;
#[cfg(feature = "bitcoin")]
mod witness;

pub use crate::types::{
    ChainError, ChainQuery, ChainStatus, ChainTip, CoinStatus, OutPoint, SignedTransaction, SubmitOutcome,
};

/// Submitter of transactions. Called on a thread of its own, one call at a time; it may block.
pub trait Broadcaster: Send + Sync {
    /// Submits a transaction to the Bitcoin backend. May be called again with the same transaction.
    ///
    /// Errors: the backend cannot be reached. A rejection is not an error, but [`SubmitOutcome::Rejected`].
    fn submit(&self, transaction: &SignedTransaction) -> Result<SubmitOutcome, ChainError>;

    /// The node that this belongs to opens every connection through a SOCKS 5 proxy (`socks5h://…`), so this is to do so too.
    /// Called while a node with a proxy starts; it must not block. By default nothing happens.
    fn follow_proxy(&self, proxy: &str) {
        let _ = proxy;
    }
}

/// Observer of the chain. Called on a thread of its own, one call at a time; it may block.
pub trait ChainObserver: Send + Sync {
    /// State of a transaction now. A conflicting transaction counts once it is in a block.
    ///
    /// Errors: the backend cannot be reached.
    fn status(&self, query: &ChainQuery) -> Result<ChainStatus, ChainError>;

    /// State of an output now, asked before this node consents to a transaction that spends it. `None`: this observer
    /// cannot tell, as by default.
    ///
    /// Errors: the backend cannot be reached.
    fn coin(&self, outpoint: &OutPoint) -> Result<Option<CoinStatus>, ChainError> {
        let _ = outpoint;
        Ok(None)
    }

    /// The last block of the chain now, asked when a transaction has a lock time. `None`: this observer cannot tell, as
    /// by default.
    ///
    /// Errors: the backend cannot be reached.
    fn tip(&self) -> Result<Option<ChainTip>, ChainError> {
        Ok(None)
    }

    /// Whether the chain is congested, so that transactions take longer than they did: a node then gives a coordinator a
    /// longer pace, though never more than the broadcast timeout. Asked with a look at a transaction, once a minute at
    /// most. `None`: this observer cannot tell, as by default.
    ///
    /// Errors: the backend cannot be reached. It is as if the observer could not tell.
    fn congested(&self) -> Result<Option<bool>, ChainError> {
        Ok(None)
    }

    /// The node that this belongs to opens every connection through a SOCKS 5 proxy (`socks5h://…`), so this is to do so too.
    /// Called while a node with a proxy starts; it must not block. By default nothing happens.
    fn follow_proxy(&self, proxy: &str) {
        let _ = proxy;
    }
}
