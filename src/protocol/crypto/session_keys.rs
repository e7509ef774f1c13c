//! The keys of a session: each key set aggregated once, each derivation's prefix derived once.

use crate::error::ProposalError;
use crate::protocol::crypto::aggregate::FinalKey;
use crate::protocol::crypto::key_set::{KeyTree, Owners};
use crate::protocol::proposal::Proposal;
use crate::types::SessionId;

/// The keys that sign a session's messages. A session keeps them, so they hold nothing else of its proposal.
#[derive(Debug)]
pub(crate) struct AggregatedKeys {
    session: SessionId,
    signers: usize,
    /// The x-only aggregate keys, by key set.
    aggregates: Vec<[u8; 32]>,
    /// By message.
    final_keys: Vec<FinalKey>,
    digests: Vec<[u8; 32]>,
}

impl AggregatedKeys {
    /// Errors: [`ProposalError::AimedKey`], and [`ProposalError::Derivation`], which happens with no known key.
    pub(crate) fn new(proposal: &Proposal) -> Result<Self, ProposalError> {
        let mut trees = proposal.key_sets.iter().map(KeyTree::new).collect::<Result<Vec<_>, _>>()?;
        // Not collected, for that takes room for more.
        let mut final_keys = Vec::with_capacity(proposal.messages.len());
        for message in &proposal.messages {
            final_keys.push(trees[message.key_set].derive(&message.derivation)?.into_final());
        }
        let keys = Self {
            session: proposal.id(),
            signers: proposal.signers.len(),
            final_keys,
            aggregates: trees.iter().map(|tree| tree.root().x_only()).collect(),
            digests: proposal.messages.iter().map(|message| message.digest).collect(),
        };
        keys.refuse_aimed(proposal)?;
        Ok(keys)
    }

    /// Refuses keys that are a signer's own; once more before they sign. The proposal is that of these keys.
    pub(crate) fn refuse_aimed(&self, proposal: &Proposal) -> Result<(), ProposalError> {
        let owners = Owners::new(&proposal.signers, &proposal.key_sets)?;
        let final_keys = self.final_keys.iter().map(FinalKey::x_only);
        owners.refuse_aimed(self.aggregates.iter().copied().chain(final_keys))
    }

    /// The session that these are the keys of.
    pub(crate) fn session(&self) -> SessionId {
        self.session
    }

    /// How many signers there are.
    pub(crate) fn signers(&self) -> usize {
        self.signers
    }

    /// How many messages there are.
    pub(crate) fn messages(&self) -> usize {
        self.final_keys.len()
    }

    /// The key that signs each message.
    pub(crate) fn final_keys(&self) -> &[FinalKey] {
        &self.final_keys
    }

    /// What is signed, and the key that signs it.
    pub(crate) fn signed(&self) -> impl ExactSizeIterator<Item = (&[u8; 32], &FinalKey)> {
        self.digests.iter().zip(&self.final_keys)
    }
}
