//! What the state machine needs to know of transactions. `chain::transaction` answers with the crate `bitcoin`.

use std::fmt;

use crate::error::ProposalError;
use crate::protocol::crypto::SessionKeys;
use crate::protocol::proposal::Proposal;
use crate::types::{Locks, OutPoint, Signature, SignedTransaction, Txid};

/// The transaction of a checked proposal.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TransactionInfo {
    /// Its id: the witnesses are no part of it.
    pub txid: Txid,
    /// What it spends.
    pub spends: Vec<OutPoint>,
}

/// Checks and completes transactions.
pub trait TransactionCodec: fmt::Debug + Send + Sync {
    /// Checks that each message is the signature hash of its input, under the key that the input pays to, and, with
    /// failover, that the signatures alone complete the transaction: every witness that can be verified is valid. Called
    /// for proposals with a transaction only.
    fn check(&self, proposal: &Proposal, keys: &dyn SessionKeys) -> Result<TransactionInfo, ProposalError>;

    /// The inputs that the session does not sign and whose witnesses cannot be verified, ascending. Called for proposals
    /// that [`TransactionCodec::check`] took.
    fn unverified(&self, proposal: &Proposal) -> Vec<u32> {
        let _ = proposal;
        Vec::new()
    }

    /// What must be reached before the transaction can be in a block.
    fn locks(&self, proposal: &Proposal) -> Locks {
        let _ = proposal;
        Locks::default()
    }

    /// Puts the signatures in. They were verified.
    fn finalize(
        &self,
        proposal: &Proposal,
        signatures: &[Signature],
    ) -> Result<SignedTransaction, ProposalError>;

    /// Whether it reads transactions at all. If not, what it refuses may be good elsewhere.
    fn reads(&self) -> bool {
        true
    }
}

/// Refuses all transactions: for builds that cannot read them.
#[derive(Clone, Copy, Debug, Default)]
pub struct NoTransactions;

impl TransactionCodec for NoTransactions {
    fn check(&self, _: &Proposal, _: &dyn SessionKeys) -> Result<TransactionInfo, ProposalError> {
        Err(ProposalError::Transaction(
            "this build has no support for transactions (feature `bitcoin`)".into(),
        ))
    }

    fn finalize(&self, _: &Proposal, _: &[Signature]) -> Result<SignedTransaction, ProposalError> {
        Err(ProposalError::Transaction(
            "this build has no support for transactions (feature `bitcoin`)".into(),
        ))
    }

    fn reads(&self) -> bool {
        false
    }
}
