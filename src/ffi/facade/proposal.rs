//! Proposals and proofs.

use std::time::SystemTime;

use super::election::ElectionMethod;
use super::error::MusigError;
use super::keys::{Derivation, KeySet};
use super::values::{Broadcast, SighashType, SignerIndex, SpentOutput, moment, number};
use crate::protocol::crypto::musig2::Musig2;
use crate::protocol::envelope::Proof;
use crate::protocol::proposal as core;
use crate::types::{SessionId, SignerKey};

/// Immutable terms of a session, on which all signers agree.
#[derive(Clone, Debug, PartialEq, Eq, uniffi::Record)]
pub struct Proposal {
    /// The session's id.
    pub session: SessionId,
    /// The encoded terms, of which the session's id is a hash.
    pub encoded: Vec<u8>,
    /// The signer index of the proposer.
    pub proposer: SignerIndex,
    /// The signers' identity keys; a position here is a signer index.
    pub signers: Vec<SignerKey>,
    /// The keys that are aggregated to sign.
    pub key_sets: Vec<KeySet>,
    /// The messages to sign.
    pub messages: Vec<ProposalMessage>,
    /// The transaction that the signatures complete: its consensus encoding, if the proposal is of one.
    pub unsigned_transaction: Option<Vec<u8>>,
    /// The outputs that the transaction spends, one for each input.
    pub spent_outputs: Vec<SpentOutput>,
    /// The election method.
    pub election_method: ElectionMethod,
    /// Who is to broadcast.
    pub broadcast: Broadcast,
    /// The expiry of the proposal.
    pub expires_at: SystemTime,
    /// The proposer's message to the other signers.
    pub metadata: Vec<u8>,
    /// The older session whose transaction this one replaces.
    pub replaces: Option<SessionId>,
}

/// Message of a proposal.
#[derive(Clone, Debug, PartialEq, Eq, uniffi::Record)]
pub struct ProposalMessage {
    /// The 32 bytes that are signed; for a transaction a BIP-341 signature hash.
    pub digest: Vec<u8>,
    /// The index of the key set that signs.
    pub key_set: u32,
    /// What makes the final key of the key set's aggregate key.
    pub derivation: Derivation,
    /// For a transaction: the input that the signature is for.
    pub input: u32,
    /// For a transaction: the hash type.
    pub sighash_type: SighashType,
}

impl From<core::Message> for ProposalMessage {
    fn from(part: core::Message) -> Self {
        Self {
            digest: part.digest.to_vec(),
            key_set: number(part.key_set),
            derivation: part.derivation.into(),
            input: part.input,
            sighash_type: part.sighash_type,
        }
    }
}

impl From<&core::Proposal> for Proposal {
    fn from(proposal: &core::Proposal) -> Self {
        let terms = proposal.terms().clone();
        let (unsigned, spent) = match terms.transaction {
            Some(transaction) => (Some(transaction.unsigned), transaction.spent),
            None => (None, Vec::new()),
        };
        Self {
            session: proposal.id(),
            encoded: proposal.as_bytes().to_vec(),
            proposer: terms.proposer.into(),
            signers: terms.signers,
            key_sets: terms.key_sets.into_iter().map(KeySet::from).collect(),
            messages: terms.messages.into_iter().map(ProposalMessage::from).collect(),
            unsigned_transaction: unsigned,
            spent_outputs: spent,
            election_method: terms.election_method,
            broadcast: terms.broadcast.into(),
            expires_at: moment(terms.expires_at),
            metadata: terms.metadata,
            replaces: terms.replaces,
        }
    }
}

/// Decodes and validates an encoded proposal, but for its expiry.
#[uniffi::export]
pub fn decode_proposal(encoded: Vec<u8>) -> Result<Proposal, MusigError> {
    Ok((&core::Proposal::decode(&encoded)?).into())
}

/// Signer that a proof convicts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, uniffi::Record)]
pub struct Culprit {
    /// The session's id.
    pub session: SessionId,
    /// The signer's index.
    pub signer: SignerIndex,
}

/// Verifies a proof of a SessionFailed event from its bytes alone, and returns the signer that it convicts.
#[uniffi::export]
pub fn verify_proof(proof: Vec<u8>) -> Result<Culprit, MusigError> {
    let culprit = Proof::verify(&Musig2, &proof)?;
    Ok(Culprit { session: culprit.session, signer: culprit.signer.into() })
}
