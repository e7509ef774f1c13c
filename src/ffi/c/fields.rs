//! What an event carries, as numbers, lists and bytes.

use super::enums::{
    musig_event_bytes_field as Bytes, musig_event_kind as Kind, musig_event_list_field as List,
    musig_event_number_field as Number,
};
use super::failure::Failure;
use crate::event::Event;
use crate::protocol::proposal::Proposal;
use crate::types::{Signature, SignedTransaction, SignerKey, Txid};

/// The fields of one event.
pub(super) struct Fields {
    pub kind: Kind,
    numbers: Vec<(Number, u64)>,
    lists: Vec<(List, Vec<u32>)>,
    /// Each with a NUL behind it, which is not part of it.
    bytes: Vec<(Bytes, Vec<u8>)>,
    pub proofs: Vec<Vec<u8>>,
    pub proposal: Option<Proposal>,
}

impl Fields {
    fn new(kind: Kind) -> Self {
        let (numbers, lists, bytes) = Default::default();
        Self { kind, numbers, lists, bytes, proofs: Vec::new(), proposal: None }
    }

    pub(super) fn number(&self, field: Number) -> Option<u64> {
        self.numbers.iter().find(|(name, _)| *name == field).map(|(_, value)| *value)
    }

    pub(super) fn list(&self, field: List) -> Option<&[u32]> {
        self.lists.iter().find(|(name, _)| *name == field).map(|(_, value)| value.as_slice())
    }

    /// Without the NUL.
    pub(super) fn bytes(&self, field: Bytes) -> Option<&[u8]> {
        let (_, value) = self.bytes.iter().find(|(name, _)| *name == field)?;
        Some(&value[..value.len() - 1])
    }

    fn with(mut self, field: Number, value: impl TryInto<u64>) -> Self {
        self.numbers.push((field, value.try_into().unwrap_or(u64::MAX)));
        self
    }

    fn with_list(mut self, field: List, value: Vec<usize>) -> Self {
        self.lists.push((field, value.into_iter().map(|index| index as u32).collect()));
        self
    }

    fn with_bytes(mut self, field: Bytes, mut value: Vec<u8>) -> Self {
        value.push(0);
        self.bytes.push((field, value));
        self
    }

    /// A text ends at its first NUL for C.
    fn with_text(self, field: Bytes, value: String) -> Self {
        let value = if value.contains('\0') { value.replace('\0', " ") } else { value };
        self.with_bytes(field, value.into_bytes())
    }

    /// Sets a field if there is a value.
    fn with_some<T>(self, value: Option<T>, set: impl FnOnce(Self, T) -> Self) -> Self {
        match value {
            Some(value) => set(self, value),
            None => self,
        }
    }

    fn signatures(self, signatures: Vec<Signature>) -> Self {
        let bytes = signatures.into_iter().flat_map(|signature| signature.0).collect();
        self.with_bytes(Bytes::SIGNATURES, bytes)
    }

    fn txid(self, txid: Txid) -> Self {
        self.with_bytes(Bytes::TXID, txid.0.to_vec())
    }

    fn transaction(self, transaction: Option<SignedTransaction>) -> Self {
        self.with_some(transaction, |fields, transaction| {
            fields.txid(transaction.txid).with_bytes(Bytes::TRANSACTION, transaction.bytes)
        })
    }

    fn peer(self, peer: String, signer: Option<SignerKey>) -> Self {
        self.with_text(Bytes::PEER, peer)
            .with_some(signer, |fields, key| fields.with_bytes(Bytes::SIGNER_KEY, key.as_bytes().to_vec()))
    }

    pub(super) fn of(event: Event) -> Self {
        match event {
            Event::SessionProposed { proposal, proposer, expires_at } => {
                let mut fields = Self::new(Kind::SESSION_PROPOSED)
                    .with(Number::SIGNER, proposer)
                    .with(Number::EXPIRES_AT, expires_at.0);
                fields.proposal = Some(proposal);
                fields
            }
            Event::SessionCreated => Self::new(Kind::SESSION_CREATED),
            Event::SessionJoined { signer, joined, signers } => Self::new(Kind::SESSION_JOINED)
                .with(Number::SIGNER, signer)
                .with(Number::JOINED, joined)
                .with(Number::SIGNERS, signers),
            Event::SessionReady => Self::new(Kind::SESSION_READY),
            Event::NoncesComplete { attempt } => {
                Self::new(Kind::NONCES_COMPLETE).with(Number::ATTEMPT, attempt)
            }
            Event::SessionComplete { signatures, transaction, priority_list, rank } => {
                Self::new(Kind::SESSION_COMPLETE)
                    .with(Number::RANK, rank)
                    .with_list(List::PRIORITY_LIST, priority_list)
                    .signatures(signatures)
                    .transaction(transaction)
            }
            Event::ShouldBroadcast { signer, turn, next_turn_at, signatures, transaction } => {
                Self::new(Kind::SHOULD_BROADCAST)
                    .with(Number::SIGNER, signer)
                    .with(Number::TURN, turn)
                    .with_some(next_turn_at, |fields, at| fields.with(Number::NEXT_TURN_AT, at.0))
                    .signatures(signatures)
                    .transaction(transaction)
            }
            Event::CoordinatorFailed { failed, next, turn } => Self::new(Kind::COORDINATOR_FAILED)
                .with(Number::TURN, turn)
                .with_list(List::FAILED, failed)
                .with_list(List::NEXT, next),
            Event::FailoverExhausted { turns, submissions, rejection, claims, transaction } => {
                Self::new(Kind::FAILOVER_EXHAUSTED)
                    .with(Number::TURNS, turns)
                    .with(Number::SUBMISSIONS, submissions)
                    .with_list(List::CLAIMS, claims)
                    .transaction(transaction)
                    .with_some(rejection, |fields, words| fields.with_text(Bytes::REASON, words))
            }
            Event::BroadcastClaimed { txid, by } => {
                Self::new(Kind::BROADCAST_CLAIMED).with(Number::SIGNER, by).txid(txid)
            }
            Event::BroadcastSeen { txid } => Self::new(Kind::BROADCAST_SEEN).txid(txid),
            Event::BroadcastConfirmed { txid, depth } => Self::new(Kind::BROADCAST_CONFIRMED)
                .with_some(txid, Self::txid)
                .with_some(depth, |fields, depth| {
                    fields.with(Number::HEIGHT, depth.height).with(Number::CONFIRMATIONS, depth.confirmations)
                }),
            Event::BroadcastConflict { txid } => Self::new(Kind::BROADCAST_CONFLICT).txid(txid),
            Event::BroadcastLost { txid } => Self::new(Kind::BROADCAST_LOST).txid(txid),
            Event::BroadcastRejected { reason } => {
                Self::new(Kind::BROADCAST_REJECTED).with_text(Bytes::REASON, reason)
            }
            Event::SessionStalled { missing, since } => Self::new(Kind::SESSION_STALLED)
                .with(Number::SINCE, since.as_millis())
                .with_list(List::MISSING, missing),
            Event::SessionFailed { culprits, proofs, may_still_complete } => {
                let mut fields = Self::new(Kind::SESSION_FAILED)
                    .with(Number::MAY_STILL_COMPLETE, may_still_complete)
                    .with_list(List::CULPRITS, culprits);
                fields.proofs = proofs;
                fields
            }
            Event::SessionAborted { by, reason, declined, may_still_complete } => {
                Self::new(Kind::SESSION_ABORTED)
                    .with(Number::SIGNER, by)
                    .with(Number::DECLINED, declined)
                    .with(Number::MAY_STILL_COMPLETE, may_still_complete)
                    .with_text(Bytes::REASON, reason)
            }
            Event::SessionExpired { may_still_complete } => {
                Self::new(Kind::SESSION_EXPIRED).with(Number::MAY_STILL_COMPLETE, may_still_complete)
            }
            Event::SessionClosed => Self::new(Kind::SESSION_CLOSED),
            Event::KeyInUseElsewhere => Self::new(Kind::KEY_IN_USE_ELSEWHERE),
            Event::SignerFailed { error } => {
                Self::new(Kind::SIGNER_FAILED).with_text(Bytes::REASON, Failure::from(error).message)
            }
            Event::PeerConnected { peer, signer } => Self::new(Kind::PEER_CONNECTED).peer(peer, signer),
            Event::PeerDisconnected { peer, signer } => Self::new(Kind::PEER_DISCONNECTED).peer(peer, signer),
            Event::ParticipantDisconnected { signer } => {
                Self::new(Kind::PARTICIPANT_DISCONNECTED).with(Number::SIGNER, signer)
            }
            Event::StoreFailed { error } => {
                Self::new(Kind::STORE_FAILED).with_text(Bytes::REASON, Failure::from(error).message)
            }
            Event::NetworkDegraded { reason } => {
                Self::new(Kind::NETWORK_DEGRADED).with_text(Bytes::REASON, reason)
            }
        }
    }
}
