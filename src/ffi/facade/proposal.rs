//! The terms of a session, as they were proposed.

use std::time::SystemTime;

use super::election::ElectionMethod;
use super::error::MusigError;
use super::values::{FailoverPolicy, KeyOrder, SighashType, SignerIndex, SpentOutput, Tweak, moment, number};
use crate::protocol::crypto::musig2::Musig2;
use crate::protocol::envelope::Proof;
use crate::protocol::proposal as core;
use crate::types::{SessionId, SignerKey};

/// Everything that all signers agree on. It cannot be changed.
#[derive(Clone, Debug, PartialEq, Eq, uniffi::Record)]
pub struct Proposal {
    /// The session.
    pub session: SessionId,
    /// The encoded terms, of which the session's id is a hash.
    pub encoded: Vec<u8>,
    /// The signer index of whoever proposes.
    pub proposer: SignerIndex,
    /// The signers; a position here is a signer index.
    pub signers: Vec<SignerKey>,
    /// The order of key aggregation.
    pub key_order: KeyOrder,
    /// Tweaks, a shared prefix once.
    pub tweaks: Vec<Tweak>,
    /// What is signed.
    pub messages: Vec<ProposalMessage>,
    /// The transaction that the signatures complete: its consensus encoding, if the proposal is of one.
    pub unsigned_transaction: Option<Vec<u8>>,
    /// The outputs that the transaction spends, one for each input.
    pub spent_outputs: Vec<SpentOutput>,
    /// How the coordinator is elected.
    pub election_method: ElectionMethod,
    /// When others take over from it.
    pub failover: FailoverPolicy,
    /// When the session ends if it has no other end.
    pub expires_at: SystemTime,
    /// The proposer's words to the other signers.
    pub metadata: Vec<u8>,
    /// An older session whose transaction this one replaces.
    pub replaces: Option<SessionId>,
}

/// One message of a proposal.
#[derive(Clone, Debug, PartialEq, Eq, uniffi::Record)]
pub struct ProposalMessage {
    /// What is signed: 32 bytes; for a transaction its BIP-341 signature hash.
    pub digest: Vec<u8>,
    /// The last tweak of the key it is signed with. None: the aggregate key itself.
    pub tweak: Option<u32>,
    /// For a transaction: the input that the signature is for.
    pub input: u32,
    /// For a transaction: the hash type.
    pub sighash_type: SighashType,
}

impl From<core::Message> for ProposalMessage {
    fn from(part: core::Message) -> Self {
        Self {
            digest: part.digest.to_vec(),
            tweak: part.tweak.map(number),
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
            key_order: terms.key_order,
            tweaks: terms.tweaks.into_iter().map(Tweak::from).collect(),
            messages: terms.messages.into_iter().map(ProposalMessage::from).collect(),
            unsigned_transaction: unsigned,
            spent_outputs: spent,
            election_method: terms.election_method,
            failover: terms.failover.into(),
            expires_at: moment(terms.expires_at),
            metadata: terms.metadata,
            replaces: terms.replaces,
        }
    }
}

/// Reads and checks an encoded proposal. Its expiry is not looked at.
#[uniffi::export]
pub fn decode_proposal(encoded: Vec<u8>) -> Result<Proposal, MusigError> {
    Ok((&core::Proposal::decode(&encoded)?).into())
}

/// Whom a proof convicts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, uniffi::Record)]
pub struct Culprit {
    /// The session.
    pub session: SessionId,
    /// The signer's index.
    pub signer: SignerIndex,
}

/// Checks a proof of a SessionFailed event from its bytes alone, and says whom it convicts.
#[uniffi::export]
pub fn verify_proof(proof: Vec<u8>) -> Result<Culprit, MusigError> {
    let culprit = Proof::verify(&Musig2, &proof)?;
    Ok(Culprit { session: culprit.session, signer: culprit.signer.into() })
}
