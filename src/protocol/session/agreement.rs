//! The proposal as this node checked it, and what follows from it alone.

use std::collections::HashSet;
use std::sync::Arc;

use crate::error::{Error, ProposalError};
use crate::protocol::crypto::{Scheme, SessionKeys};
use crate::protocol::election::{Election, elect};
use crate::protocol::failover::Turns;
use crate::protocol::proposal::Proposal;
use crate::protocol::transaction::{TransactionCodec, TransactionInfo};
use crate::types::{SessionId, SignerKey, Txid};

/// What the signers of a session agreed on, and this node's place among them. Never changes.
pub struct Agreement {
    pub proposal: Proposal,
    /// This node's signer index.
    pub own: usize,
    pub election: Election,
    /// The aggregate keys; `None` once they are not needed: a packed session with a certificate has none.
    pub keys: Option<Arc<dyn SessionKeys>>,
    pub transaction: Option<Box<TransactionInfo>>,
}

impl Agreement {
    /// Checks the keys, and the transaction if there is one.
    pub fn new(
        proposal: Proposal,
        own: &SignerKey,
        scheme: &dyn Scheme,
        codec: &dyn TransactionCodec,
    ) -> Result<Self, Error> {
        let own = proposal.index_of(own).ok_or(ProposalError::NotASigner)?;
        let keys = scheme.aggregate_keys(&proposal)?;
        let transaction = match &proposal.transaction {
            Some(_) => Some(Box::new(codec.check(&proposal, keys.as_ref())?)),
            None => None,
        };
        Self::checked(proposal, own, Some(keys), transaction)
    }

    /// The same, where all that was checked before.
    pub fn checked(
        proposal: Proposal,
        own: usize,
        keys: Option<Arc<dyn SessionKeys>>,
        transaction: Option<Box<TransactionInfo>>,
    ) -> Result<Self, Error> {
        let election = elect(&proposal.signers, proposal.election_method, &proposal.id())?;
        Ok(Self { proposal, own, election, keys, transaction })
    }

    pub fn id(&self) -> SessionId {
        self.proposal.id()
    }

    /// How many signers there are.
    pub fn signers(&self) -> usize {
        self.proposal.signers.len()
    }

    /// The indices of all other signers.
    pub fn others(&self) -> impl Iterator<Item = usize> + use<> {
        let own = self.own;
        (0..self.signers()).filter(move |signer| *signer != own)
    }

    /// The other signers that are connected, by index.
    pub fn connected_others(&self, connected: &HashSet<SignerKey>) -> Vec<(usize, SignerKey)> {
        let signers = &self.proposal.signers;
        self.others()
            .map(|signer| (signer, signers[signer]))
            .filter(|(_, key)| connected.contains(key))
            .collect()
    }

    /// The id of the session's transaction, if the proposal is of one.
    pub fn txid(&self) -> Option<Txid> {
        self.transaction.as_ref().map(|transaction| transaction.txid)
    }

    /// Who is to broadcast when. `None`: nobody is, the session only signs.
    pub fn turns(&self) -> Option<Turns> {
        Turns::new(&self.election.priority_list, &self.proposal.broadcast)
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::agreement;
    use super::*;

    #[test]
    fn the_others_are_all_signers_but_the_own_and_those_connected_keep_their_index() {
        for own in 0..3 {
            let agreement = agreement(own);
            let others: Vec<usize> = (0..3).filter(|signer| *signer != own).collect();
            assert_eq!(agreement.others().collect::<Vec<_>>(), others);
            assert_eq!(agreement.connected_others(&HashSet::new()), []);
            let last = *others.last().expect("two others");
            let key = agreement.proposal.signers[last];
            let connected = HashSet::from([key, agreement.proposal.signers[own]]);
            assert_eq!(agreement.connected_others(&connected), [(last, key)]);
        }
    }

    #[test]
    fn all_signers_elect_the_same_list() {
        let list = |own| agreement(own).election.priority_list;
        assert_eq!(list(0), [0, 1, 2]);
        assert_eq!((list(1), list(2)), (list(0), list(0)));
    }

    #[test]
    fn raw_messages_have_no_transaction_and_no_id() {
        assert_eq!(agreement(0).txid(), None);
    }
}
