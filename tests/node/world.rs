//! The embedded chain, and what the signers' key owns on it.

use std::sync::Arc;

use bitcoin::consensus::serialize;
use libmusig::chain::{
    Broadcaster, ChainError, ChainObserver, ChainQuery, ChainStatus, SignedTransaction, SubmitOutcome,
};
use libmusig::node::SessionRequest;
use libmusig::protocol::crypto::key_set::{Derivation, KeySet};
use libmusig::protocol::proposal::SpentOutput;
use libmusig::types::SignerKey;

use test_support::backend::chain::{Chain, RejectReason};
use test_support::psbt::unsigned;

/// What an output of the world is worth.
const VALUE: u64 = 100_000;

/// The script that the signers' output key owns.
pub fn script_of(signers: &[SignerKey]) -> Vec<u8> {
    let key = KeySet::new(signers).final_key(&Derivation::key_path([])).expect("keys have an aggregate");
    let key = *key.x_only();
    [&[0x51, 0x20][..], &key].concat()
}

/// A transaction that the signers are to sign: all but a fee goes back to them.
pub struct Spend {
    pub unsigned: Vec<u8>,
    pub spent: SpentOutput,
}

impl Spend {
    /// Funds the signers' key, and spends that.
    pub fn new(chain: &Chain, signers: &[SignerKey]) -> Self {
        let script = script_of(signers);
        let funding = chain.fund(&script, VALUE);
        Self {
            unsigned: serialize(&unsigned(&[funding], &[(VALUE - 1_000, script.clone())])),
            spent: SpentOutput { value: VALUE, script },
        }
    }

    pub fn request(&self, signers: Vec<SignerKey>) -> SessionRequest {
        SessionRequest::transaction(signers, self.unsigned.clone(), vec![self.spent.clone()])
    }
}

/// The chain as a node of this process sees it.
pub struct Direct(pub Arc<Chain>);

impl Broadcaster for Direct {
    fn submit(&self, transaction: &SignedTransaction) -> Result<SubmitOutcome, ChainError> {
        Ok(match self.0.submit(&transaction.bytes) {
            Ok(_) | Err(RejectReason::AlreadyInChain | RejectReason::SameTransaction) => {
                SubmitOutcome::Accepted
            }
            Err(reason) => SubmitOutcome::Rejected(reason.to_string()),
        })
    }
}

impl ChainObserver for Direct {
    fn status(&self, query: &ChainQuery) -> Result<ChainStatus, ChainError> {
        let tip = self.0.tip();
        let depth = |height: u32| tip.saturating_sub(height) + 1;
        match self.0.status(&query.txid) {
            Some(None) => return Ok(ChainStatus::Seen),
            Some(Some(height)) => {
                return Ok(ChainStatus::Confirmed { height, confirmations: depth(height) });
            }
            None => {}
        }
        let spends = query.spends.iter().filter_map(|outpoint| self.0.spend(outpoint));
        let conflict = spends.filter(|spend| spend.txid != query.txid).find_map(|spend| {
            let confirmations = depth(spend.place?);
            Some(ChainStatus::Conflict { txid: spend.txid, confirmations })
        });
        Ok(conflict.unwrap_or(ChainStatus::Unknown))
    }
}
