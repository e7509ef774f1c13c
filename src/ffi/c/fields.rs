//! What an event carries, as numbers, lists and bytes.

use super::event::{
    musig_event_bytes_field as Bytes, musig_event_kind as Kind, musig_event_list_field as List,
    musig_event_number_field as Number,
};
use crate::event::Event;
use crate::protocol::proposal::Proposal;
use crate::types::{Signature, SignedTransaction};

/// The fields of one event.
#[derive(Default)]
pub(super) struct Fields {
    pub kind: i32,
    numbers: Vec<(Number, u64)>,
    lists: Vec<(List, Vec<u32>)>,
    /// Each with a NUL behind it, which is not part of it.
    bytes: Vec<(Bytes, Vec<u8>)>,
    pub proofs: Vec<Vec<u8>>,
    pub proposal: Option<Proposal>,
}

impl Fields {
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

    fn kind(mut self, kind: Kind) -> Self {
        self.kind = kind as i32;
        self
    }

    fn with(mut self, field: Number, value: impl TryInto<u64>) -> Self {
        self.numbers.push((field, value.try_into().unwrap_or(u64::MAX)));
        self
    }

    fn flag(self, field: Number, value: bool) -> Self {
        self.with(field, u64::from(value))
    }

    fn with_list(mut self, field: List, value: &[usize]) -> Self {
        self.lists.push((field, value.iter().map(|index| *index as u32).collect()));
        self
    }

    fn with_bytes(mut self, field: Bytes, value: &[u8]) -> Self {
        let mut bytes = Vec::with_capacity(value.len() + 1);
        bytes.extend_from_slice(value);
        bytes.push(0);
        self.bytes.push((field, bytes));
        self
    }

    fn text(self, field: Bytes, value: &str) -> Self {
        self.with_bytes(field, value.replace('\0', " ").as_bytes())
    }

    fn signatures(self, signatures: &[Signature]) -> Self {
        let bytes: Vec<u8> = signatures.iter().flat_map(|signature| signature.0).collect();
        self.with_bytes(Bytes::SIGNATURES, &bytes)
    }

    fn transaction(self, transaction: Option<&SignedTransaction>) -> Self {
        match transaction {
            Some(transaction) => self
                .with_bytes(Bytes::TXID, &transaction.txid.0)
                .with_bytes(Bytes::TRANSACTION, &transaction.bytes),
            None => self,
        }
    }

    pub(super) fn of(event: &Event) -> Self {
        let fields = Self::default();
        match event {
            Event::SessionProposed { proposal, proposer, expires_at } => {
                let fields = fields.kind(Kind::SESSION_PROPOSED).with(Number::SIGNER, *proposer);
                let mut fields = fields.with(Number::EXPIRES_AT, expires_at.0);
                fields.proposal = Some(proposal.clone());
                fields
            }
            Event::SessionCreated => fields.kind(Kind::SESSION_CREATED),
            Event::SessionJoined { signer, joined, signers } => fields
                .kind(Kind::SESSION_JOINED)
                .with(Number::SIGNER, *signer)
                .with(Number::JOINED, *joined)
                .with(Number::SIGNERS, *signers),
            Event::SessionReady => fields.kind(Kind::SESSION_READY),
            Event::NoncesComplete { attempt } => {
                fields.kind(Kind::NONCES_COMPLETE).with(Number::ATTEMPT, *attempt)
            }
            Event::SessionComplete { signatures, transaction, priority_list, rank } => fields
                .kind(Kind::SESSION_COMPLETE)
                .with(Number::RANK, *rank)
                .with_list(List::PRIORITY_LIST, priority_list)
                .signatures(signatures)
                .transaction(transaction.as_ref()),
            Event::ShouldBroadcast { signer, turn, next_turn_at, signatures, transaction } => {
                let fields = fields
                    .kind(Kind::SHOULD_BROADCAST)
                    .with(Number::SIGNER, *signer)
                    .with(Number::TURN, *turn)
                    .signatures(signatures)
                    .transaction(transaction.as_ref());
                match next_turn_at {
                    Some(at) => fields.with(Number::NEXT_TURN_AT, at.0),
                    None => fields,
                }
            }
            Event::CoordinatorFailed { failed, next, turn } => fields
                .kind(Kind::COORDINATOR_FAILED)
                .with(Number::TURN, *turn)
                .with_list(List::FAILED, failed)
                .with_list(List::NEXT, next),
            Event::FailoverExhausted { turns, submissions, rejection, claims, transaction } => {
                let fields = fields
                    .kind(Kind::FAILOVER_EXHAUSTED)
                    .with(Number::TURNS, *turns)
                    .with(Number::SUBMISSIONS, *submissions)
                    .with_list(List::CLAIMS, claims)
                    .transaction(transaction.as_ref());
                match rejection {
                    Some(words) => fields.text(Bytes::REASON, words),
                    None => fields,
                }
            }
            Event::BroadcastClaimed { txid, by } => fields
                .kind(Kind::BROADCAST_CLAIMED)
                .with(Number::SIGNER, *by)
                .with_bytes(Bytes::TXID, &txid.0),
            Event::BroadcastSeen { txid } => {
                fields.kind(Kind::BROADCAST_SEEN).with_bytes(Bytes::TXID, &txid.0)
            }
            Event::BroadcastConfirmed { txid, depth } => {
                let mut fields = fields.kind(Kind::BROADCAST_CONFIRMED);
                if let Some(txid) = txid {
                    fields = fields.with_bytes(Bytes::TXID, &txid.0);
                }
                match depth {
                    Some(depth) => fields
                        .with(Number::HEIGHT, depth.height)
                        .with(Number::CONFIRMATIONS, depth.confirmations),
                    None => fields,
                }
            }
            Event::BroadcastConflict { txid } => {
                fields.kind(Kind::BROADCAST_CONFLICT).with_bytes(Bytes::TXID, &txid.0)
            }
            Event::BroadcastLost { txid } => {
                fields.kind(Kind::BROADCAST_LOST).with_bytes(Bytes::TXID, &txid.0)
            }
            Event::BroadcastRejected { reason } => {
                fields.kind(Kind::BROADCAST_REJECTED).text(Bytes::REASON, reason)
            }
            Event::SessionStalled { missing, since } => fields
                .kind(Kind::SESSION_STALLED)
                .with(Number::SINCE, since.as_millis())
                .with_list(List::MISSING, missing),
            Event::SessionFailed { culprits, proofs, may_still_complete } => {
                let mut fields = fields
                    .kind(Kind::SESSION_FAILED)
                    .flag(Number::MAY_STILL_COMPLETE, *may_still_complete)
                    .with_list(List::CULPRITS, culprits);
                fields.proofs = proofs.clone();
                fields
            }
            Event::SessionAborted { by, reason, declined, may_still_complete } => fields
                .kind(Kind::SESSION_ABORTED)
                .with(Number::SIGNER, *by)
                .flag(Number::DECLINED, *declined)
                .flag(Number::MAY_STILL_COMPLETE, *may_still_complete)
                .text(Bytes::REASON, reason),
            Event::SessionExpired { may_still_complete } => {
                fields.kind(Kind::SESSION_EXPIRED).flag(Number::MAY_STILL_COMPLETE, *may_still_complete)
            }
            Event::SessionClosed => fields.kind(Kind::SESSION_CLOSED),
            Event::KeyInUseElsewhere => fields.kind(Kind::KEY_IN_USE_ELSEWHERE),
            Event::SignerFailed { error } => {
                fields.kind(Kind::SIGNER_FAILED).text(Bytes::REASON, &error.to_string())
            }
            Event::PeerConnected { peer, signer } => {
                fields.kind(Kind::PEER_CONNECTED).peer(peer, signer.as_ref())
            }
            Event::PeerDisconnected { peer, signer } => {
                fields.kind(Kind::PEER_DISCONNECTED).peer(peer, signer.as_ref())
            }
            Event::ParticipantDisconnected { signer } => {
                fields.kind(Kind::PARTICIPANT_DISCONNECTED).with(Number::SIGNER, *signer)
            }
            Event::StoreFailed { error } => {
                fields.kind(Kind::STORE_FAILED).text(Bytes::REASON, &error.to_string())
            }
            Event::NetworkDegraded { reason } => {
                fields.kind(Kind::NETWORK_DEGRADED).text(Bytes::REASON, reason)
            }
        }
    }

    fn peer(self, peer: &str, signer: Option<&crate::types::SignerKey>) -> Self {
        let fields = self.text(Bytes::PEER, peer);
        match signer {
            Some(key) => fields.with_bytes(Bytes::SIGNER_KEY, key.as_bytes()),
            None => fields,
        }
    }
}
