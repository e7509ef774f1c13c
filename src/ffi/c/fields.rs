//! The fields of an event, as numbers, lists and bytes.

use super::enums::{
    Enumeration, musig_broadcast_by, musig_event_bytes_field as Bytes, musig_event_kind as Kind,
    musig_event_list_field as List, musig_event_number_field as Number, musig_failure_cause, musig_submit,
};
use super::failure::Failure;
use crate::event::{BroadcastBy, Event, Nack};
use crate::protocol::envelope::NackKind;
use crate::protocol::proposal::Proposal;
use crate::protocol::status::SignerStatus;
use crate::types::{Signature, SignedTransaction, SignerKey, Txid};

/// The fields of one event.
pub(super) struct Fields {
    pub kind: Kind,
    numbers: Vec<(Number, u64)>,
    lists: Vec<(List, Vec<u32>)>,
    /// Each with a NUL behind it, which is not part of it.
    bytes: Vec<(Bytes, Vec<u8>)>,
    pub proofs: Vec<Vec<u8>>,
    pub signers: Vec<SignerStatus>,
    pub proposal: Option<Proposal>,
}

impl Fields {
    fn new(kind: Kind) -> Self {
        let (numbers, lists, bytes) = Default::default();
        Self { kind, numbers, lists, bytes, proofs: Vec::new(), signers: Vec::new(), proposal: None }
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

    fn nacks(self, nacks: &[Nack]) -> Self {
        let of = |kind| nacks.iter().filter(|nack| nack.kind == kind).map(|nack| nack.signer).collect();
        self.with_list(List::NACKS_UNREACHABLE, of(NackKind::Unreachable))
            .with_list(List::NACKS_REJECTED, of(NackKind::Rejected))
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

    fn broadcast(self, coordinators: Vec<usize>, by: BroadcastBy) -> Self {
        let claimed = match by {
            BroadcastBy::Claimed { signer } => Some(signer),
            BroadcastBy::Own | BroadcastBy::Unknown => None,
        };
        self.with(Number::BY, musig_broadcast_by::from(by).number())
            .with_some(claimed, |fields, signer| fields.with(Number::SIGNER, signer))
            .with_list(List::COORDINATORS, coordinators)
    }

    fn transaction(self, transaction: Option<SignedTransaction>) -> Self {
        self.with_some(transaction, |fields, transaction| {
            fields.txid(transaction.txid).with_bytes(Bytes::TRANSACTION, transaction.bytes)
        })
    }

    fn peer(self, peer: String, signer: Option<SignerKey>) -> Self {
        self.with_text(Bytes::PEER, peer).with_some(signer, Self::signer_key)
    }

    fn signer_key(self, key: SignerKey) -> Self {
        self.with_bytes(Bytes::SIGNER_KEY, key.as_bytes().to_vec())
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
            Event::SessionComplete { signatures, transaction, priority_list, rank, stored, aborted_here } => {
                Self::new(Kind::SESSION_COMPLETE)
                    .with(Number::RANK, rank)
                    .with(Number::STORED, stored)
                    .with(Number::ABORTED_HERE, aborted_here)
                    .with_list(List::PRIORITY_LIST, priority_list)
                    .signatures(signatures)
                    .transaction(transaction)
            }
            Event::ShouldBroadcast { signer, turn, next_turn_at, signatures, transaction, stored } => {
                Self::new(Kind::SHOULD_BROADCAST)
                    .with(Number::SIGNER, signer)
                    .with(Number::TURN, turn)
                    .with(Number::STORED, stored)
                    .with_some(next_turn_at, |fields, at| fields.with(Number::NEXT_TURN_AT, at.0))
                    .signatures(signatures)
                    .transaction(transaction)
            }
            Event::CoordinatorFailed { failed, causes, next, turn } => Self::new(Kind::COORDINATOR_FAILED)
                .with(Number::TURN, turn)
                .with_list(List::FAILED, failed)
                .with_list(
                    List::CAUSES,
                    causes.into_iter().map(|cause| musig_failure_cause::from(cause) as usize).collect(),
                )
                .with_list(List::NEXT, next),
            Event::FailoverExhausted {
                turns,
                submissions,
                accepted,
                rejected,
                unreachable,
                rejection,
                nacks,
                claims,
                transaction,
            } => Self::new(Kind::FAILOVER_EXHAUSTED)
                .with(Number::TURNS, turns)
                .with(Number::SUBMISSIONS, submissions)
                .with(Number::ACCEPTED, accepted)
                .with(Number::REJECTED, rejected)
                .with(Number::UNREACHABLE, unreachable)
                .nacks(&nacks)
                .with_list(List::CLAIMS, claims)
                .transaction(transaction)
                .with_some(rejection, |fields, words| fields.with_text(Bytes::REASON, words)),
            Event::NobodyCanBroadcast {
                turns,
                submissions,
                accepted,
                rejected,
                unreachable,
                rejection,
                nacks,
                claims,
                transaction,
            } => Self::new(Kind::NOBODY_CAN_BROADCAST)
                .with(Number::TURNS, turns)
                .with(Number::SUBMISSIONS, submissions)
                .with(Number::ACCEPTED, accepted)
                .with(Number::REJECTED, rejected)
                .with(Number::UNREACHABLE, unreachable)
                .nacks(&nacks)
                .with_list(List::CLAIMS, claims)
                .transaction(transaction)
                .with_some(rejection, |fields, words| fields.with_text(Bytes::REASON, words)),
            Event::BroadcastClaimed { txid, by } => {
                Self::new(Kind::BROADCAST_CLAIMED).with(Number::SIGNER, by).txid(txid)
            }
            Event::BroadcastSeen { txid, coordinators, by } => {
                Self::new(Kind::BROADCAST_SEEN).txid(txid).broadcast(coordinators, by)
            }
            Event::BroadcastConfirmed { txid, depth, coordinators, by } => {
                Self::new(Kind::BROADCAST_CONFIRMED)
                    .broadcast(coordinators, by)
                    .with_some(txid, Self::txid)
                    .with_some(depth, |fields, depth| {
                        fields
                            .with(Number::HEIGHT, depth.height)
                            .with(Number::CONFIRMATIONS, depth.confirmations)
                    })
            }
            Event::BroadcastConflict { txid } => Self::new(Kind::BROADCAST_CONFLICT).txid(txid),
            Event::BroadcastLost { txid } => Self::new(Kind::BROADCAST_LOST).txid(txid),
            Event::BroadcastRejected { reason } => {
                Self::new(Kind::BROADCAST_REJECTED).with_text(Bytes::REASON, reason)
            }
            Event::SessionStalled { missing, signers, since } => {
                let mut fields = Self::new(Kind::SESSION_STALLED)
                    .with(Number::SINCE, since.as_millis())
                    .with_list(List::MISSING, missing);
                fields.signers = signers;
                fields
            }
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
            Event::SignerWaiting { round, since } => Self::new(Kind::SIGNER_WAITING)
                .with(Number::ROUND, round)
                .with(Number::SINCE, since.as_millis()),
            Event::Submitted { outcome, words } => Self::new(Kind::SUBMITTED)
                .with(Number::OUTCOME, musig_submit::from(outcome).number())
                .with_some(words, |fields, words| fields.with_text(Bytes::REASON, words)),
            Event::BroadcasterFailed { reason, failures } => Self::new(Kind::BROADCASTER_FAILED)
                .with(Number::FAILURES, failures)
                .with_text(Bytes::REASON, reason),
            Event::ObserverFailed { reason, failures } => Self::new(Kind::OBSERVER_FAILED)
                .with(Number::FAILURES, failures)
                .with_text(Bytes::REASON, reason),
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
            Event::ProposalRefused { proposer, error } => Self::new(Kind::PROPOSAL_REFUSED)
                .signer_key(proposer)
                .with_text(Bytes::REASON, Failure::from(error).message),
            Event::ClockSkew { signer, offset, own_suspect } => Self::new(Kind::CLOCK_SKEW)
                .signer_key(signer)
                // The caller converts it back.
                .with(Number::OFFSET, offset as u64)
                .with(Number::OWN_SUSPECT, own_suspect),
            Event::PeerUnreachable { address, signer, cause, next_try_at } => {
                Self::new(Kind::PEER_UNREACHABLE)
                    .with_text(Bytes::REASON, cause)
                    .with_some(address, |fields, address| fields.with_text(Bytes::ADDRESS, address))
                    .with_some(signer, Self::signer_key)
                    .with_some(next_try_at, |fields, at| fields.with(Number::NEXT_TRY_AT, at.0))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;
    use std::fmt::Write;
    use std::time::Duration;

    use super::*;
    use crate::error::{SignerError, StoreError};
    use crate::event::{Depth, FailureCause, Submission};
    use crate::types::UnixMillis;

    /// A proposal with one signer, for its event.
    fn proposal() -> Proposal {
        let signer = crate::signer::LocalSigner::new([1; 32]).expect("is a secret key");
        let key = signer.public_key();
        let message = crate::protocol::proposal::Message::raw([2; 32]);
        crate::node::SessionRequest::messages(vec![key], vec![message])
            .into_proposal(&key, UnixMillis(1))
            .expect("is a proposal")
    }

    /// One event of each kind with everything that it can have, and with nothing that it can lack.
    fn events(full: bool) -> Vec<Event> {
        let txid = Txid([1; 32]);
        let transaction = || full.then(|| SignedTransaction { txid, bytes: vec![1, 2] });
        let words = || "words".to_owned();
        let signatures = || vec![Signature([3; 64])];
        let signer = || full.then(|| proposal().signers[0]);
        let by = || if full { BroadcastBy::Claimed { signer: 0 } } else { BroadcastBy::Unknown };
        vec![
            Event::SessionProposed { proposal: proposal(), proposer: 0, expires_at: UnixMillis(9) },
            Event::SessionCreated,
            Event::SessionJoined { signer: 0, joined: 1, signers: 2 },
            Event::SessionReady,
            Event::NoncesComplete { attempt: 0 },
            Event::SessionComplete {
                signatures: signatures(),
                transaction: transaction(),
                priority_list: vec![0],
                rank: 0,
                stored: true,
                aborted_here: false,
            },
            Event::ShouldBroadcast {
                signer: 0,
                turn: 0,
                stored: false,
                next_turn_at: full.then_some(UnixMillis(1)),
                signatures: signatures(),
                transaction: transaction(),
            },
            Event::CoordinatorFailed {
                failed: vec![0],
                causes: vec![FailureCause::Gone],
                next: vec![1],
                turn: 1,
            },
            Event::FailoverExhausted {
                turns: 1,
                submissions: 3,
                accepted: 0,
                rejected: 1,
                unreachable: 2,
                rejection: full.then(words),
                nacks: vec![],
                claims: vec![],
                transaction: transaction(),
            },
            Event::NobodyCanBroadcast {
                turns: 1,
                submissions: 3,
                accepted: 0,
                rejected: 1,
                unreachable: 2,
                rejection: full.then(words),
                nacks: vec![],
                claims: vec![],
                transaction: transaction(),
            },
            Event::BroadcastClaimed { txid, by: 0 },
            Event::BroadcastSeen { txid, coordinators: vec![0], by: by() },
            Event::BroadcastConfirmed {
                txid: full.then_some(txid),
                depth: full.then_some(Depth { height: 1, confirmations: 1 }),
                coordinators: vec![0],
                by: by(),
            },
            Event::BroadcastConflict { txid },
            Event::BroadcastLost { txid },
            Event::BroadcastRejected { reason: words() },
            Event::SessionStalled {
                missing: vec![0],
                signers: vec![SignerStatus {
                    signer: 0,
                    connected: false,
                    last_seen: None,
                    consented: false,
                }],
                since: Duration::from_secs(1),
            },
            Event::SessionFailed { culprits: vec![0], proofs: vec![vec![1]], may_still_complete: true },
            Event::SessionAborted { by: 0, reason: words(), declined: true, may_still_complete: false },
            Event::SessionExpired { may_still_complete: false },
            Event::SessionClosed,
            Event::KeyInUseElsewhere,
            Event::SignerFailed { error: SignerError::Locked },
            Event::SignerWaiting { round: 1, since: Duration::from_secs(1) },
            Event::Submitted { outcome: Submission::Rejected, words: full.then(words) },
            Event::BroadcasterFailed { reason: words(), failures: 1 },
            Event::ObserverFailed { reason: words(), failures: 1 },
            Event::PeerConnected { peer: words(), signer: signer() },
            Event::PeerDisconnected { peer: words(), signer: signer() },
            Event::ParticipantDisconnected { signer: 0 },
            Event::StoreFailed { error: StoreError::Suspended },
            Event::NetworkDegraded { reason: words() },
            Event::ProposalRefused { proposer: proposal().signers[0], error: SignerError::Locked.into() },
            Event::ClockSkew { signer: proposal().signers[0], offset: -1, own_suspect: true },
            Event::PeerUnreachable {
                address: full.then(words),
                signer: signer(),
                cause: words(),
                next_try_at: full.then_some(UnixMillis(1)),
            },
        ]
    }

    fn names<T: Enumeration>(has: impl Fn(T) -> bool) -> Vec<String> {
        let all = T::ALL.iter().copied().filter(|field| has(*field));
        all.map(|field| field.name().to_string_lossy().into_owned()).collect()
    }

    /// The names of an event's fields, by what reads them.
    fn columns(fields: &Fields) -> [Vec<String>; 4] {
        let other = [
            ("musig_event_terms", fields.proposal.is_some()),
            ("musig_event_proof", !fields.proofs.is_empty()),
            ("musig_event_signer_status", !fields.signers.is_empty()),
        ];
        [
            names(|field| fields.number(field).is_some()),
            names(|field| fields.list(field).is_some()),
            names(|field| fields.bytes(field).is_some()),
            other.iter().filter(|(_, has)| *has).map(|(name, _)| (*name).to_owned()).collect(),
        ]
    }

    fn table() -> String {
        let mut table = String::from(
            "| `MUSIG_EVENT_…` | `musig_event_number` | `musig_event_list` | `musig_event_bytes` | besides |\n\
             |---|---|---|---|---|\n",
        );
        for (full, bare) in events(true).into_iter().zip(events(false)) {
            let (full, bare) = (Fields::of(full), Fields::of(bare));
            let _ = write!(table, "| `{}` |", full.kind.name().to_string_lossy());
            for (all, always) in columns(&full).iter().zip(columns(&bare)) {
                let mark = |name: &String| if always.contains(name) { "" } else { "?" };
                let cells: Vec<String> = all.iter().map(|name| format!("`{name}`{}", mark(name))).collect();
                let _ = write!(table, " {} |", cells.join(", "));
            }
            table.push('\n');
        }
        table.replace("|  |", "| |").replace("|  |", "| |")
    }

    #[test]
    fn the_table_of_fields_in_the_documentation_is_what_events_have() {
        let kinds: BTreeSet<i32> =
            events(true).into_iter().map(|event| Fields::of(event).kind.number()).collect();
        let all: BTreeSet<i32> = Kind::ALL.iter().map(|kind| kind.number()).collect();
        assert_eq!(kinds, all, "an event of each kind");
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/docs/c-api.md");
        let page = std::fs::read_to_string(path).expect("the documentation is there");
        let (begin, end) = ("<!-- fields -->\n", "<!-- end of fields -->");
        let start = page.find(begin).expect("a mark") + begin.len();
        let stop = page.find(end).expect("a mark");
        let table = table();
        if std::env::var_os("MUSIG_UPDATE").is_some() {
            let page = format!("{}{table}{}", &page[..start], &page[stop..]);
            std::fs::write(path, page).expect("can be written");
        } else {
            assert_eq!(&page[start..stop], table, "run this test once with MUSIG_UPDATE=1");
        }
    }
}
