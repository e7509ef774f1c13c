//! The embedded chain, and what the signers' key owns on it.

use std::sync::Arc;

use bitcoin::hashes::Hash;
use libmusig::chain::{
    Broadcaster, ChainError, ChainObserver, ChainQuery, ChainStatus, SignedTransaction, SubmitOutcome,
};
use libmusig::node::SessionRequest;
use libmusig::protocol::crypto::key_set::{Derivation, KeySet};
use libmusig::protocol::proposal::SpentOutput;
use libmusig::types::{OutPoint, SignerKey};

use test_support::backend::chain::{Chain, RejectReason};

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
            unsigned: unsigned(funding, VALUE - 1_000, &script),
            spent: SpentOutput { value: VALUE, script },
        }
    }

    pub fn request(&self, signers: Vec<SignerKey>) -> SessionRequest {
        SessionRequest::transaction(signers, self.unsigned.clone(), vec![self.spent.clone()])
    }
}

fn unsigned(funding: OutPoint, value: u64, script: &[u8]) -> Vec<u8> {
    let outpoint =
        bitcoin::OutPoint { txid: bitcoin::Txid::from_byte_array(funding.txid.0), vout: funding.vout };
    bitcoin::consensus::serialize(&bitcoin::Transaction {
        version: bitcoin::transaction::Version::TWO,
        lock_time: bitcoin::absolute::LockTime::ZERO,
        input: vec![bitcoin::TxIn {
            previous_output: outpoint,
            sequence: bitcoin::Sequence::ENABLE_RBF_NO_LOCKTIME,
            ..bitcoin::TxIn::default()
        }],
        output: vec![bitcoin::TxOut {
            value: bitcoin::Amount::from_sat(value),
            script_pubkey: bitcoin::ScriptBuf::from_bytes(script.to_vec()),
        }],
    })
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
