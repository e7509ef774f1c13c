//! Events of a node.

use std::time::{Duration, SystemTime};

use super::error::{SignerProblem, StoreProblem};
use super::proposal::Proposal;
use super::status::SignerStatus;
use super::values::{SignerIndex, indices, moment, number, signature_bytes};
use crate::event;
use crate::event::FailureCause;
pub use crate::event::Submission;
use crate::protocol::envelope;
use crate::protocol::event as core;
pub use crate::protocol::event::Depth;
use crate::types::{SessionId, SignedTransaction, SignerKey, Txid};

/// Event of a node, with its number.
#[derive(Clone, Debug, PartialEq, uniffi::Record)]
pub struct NodeEvent {
    /// The event's number, for `event_handled`. After a restart the same event has another one.
    pub id: u64,
    /// The session; none for events of the network.
    pub session: Option<SessionId>,
    /// The event itself.
    pub event: Event,
    /// Whether the event is delivered again after a restart until it is acknowledged.
    pub durable: bool,
}

/// Kind of a NACK: why a signer cannot broadcast the transaction.
#[derive(Clone, Copy, Debug, PartialEq, Eq, uniffi::Enum)]
pub enum NackKind {
    /// It cannot reach a Bitcoin backend.
    Unreachable,
    /// Its Bitcoin backend rejects the transaction. Another one may take it.
    Rejected,
}

/// NACK of a signer: its word that it cannot broadcast the transaction.
#[derive(Clone, Copy, Debug, PartialEq, Eq, uniffi::Record)]
pub struct Nack {
    /// The signer's index.
    pub signer: SignerIndex,
    /// Why.
    pub kind: NackKind,
}

impl From<core::Nack> for Nack {
    fn from(nack: core::Nack) -> Self {
        let kind = match nack.kind {
            envelope::NackKind::Unreachable => NackKind::Unreachable,
            envelope::NackKind::Rejected => NackKind::Rejected,
        };
        Self { signer: nack.signer.into(), kind }
    }
}

/// Who broadcast a transaction, as far as a node knows. Words of others prove nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, uniffi::Enum)]
pub enum BroadcastBy {
    /// This node: its submission was accepted, or the Bitcoin backend had the transaction already; or its application reported
    /// the broadcast, and no other signer claims it.
    Own,
    /// Another signer, by its own word; if there are several the one whose turn came first.
    Claimed {
        /// The signer's index.
        signer: SignerIndex,
    },
    /// Nobody says so.
    Unknown,
}

impl From<core::BroadcastBy> for BroadcastBy {
    fn from(by: core::BroadcastBy) -> Self {
        match by {
            core::BroadcastBy::Own => Self::Own,
            core::BroadcastBy::Claimed { signer } => Self::Claimed { signer: signer.into() },
            core::BroadcastBy::Unknown => Self::Unknown,
        }
    }
}

/// Why a node waits for a coordinator no longer. Only the first one is proved.
#[uniffi::remote(Enum)]
pub enum FailureCause {
    /// An envelope of it breaks the protocol, which proves its guilt.
    Guilty,
    /// It said that it cannot reach a Bitcoin backend.
    Nack,
    /// It said that its Bitcoin backend rejects the transaction.
    Rejected,
    /// Its last connection was lost, and nothing of it came through others since.
    Gone,
    /// It is connected and did not say that it holds the signatures, without which it cannot broadcast.
    NotHolding,
    /// The transaction was not seen for longer than this node's own experience lets it expect.
    Pace,
    /// Its time is over: the broadcast timeout passed since its turn opened.
    Timeout,
}

/// Depth of a transaction in the chain.
#[uniffi::remote(Record)]
pub struct Depth {
    /// The block's height.
    pub height: u32,
    /// The number of confirmations; the block itself counts as one.
    pub confirmations: u32,
}

/// Answer to a submission of this node's own.
#[uniffi::remote(Enum)]
pub enum Submission {
    /// The Bitcoin backend accepted the transaction, or had it already.
    Accepted,
    /// The Bitcoin backend rejects the transaction itself.
    Rejected,
    /// The transaction is not final yet.
    NotYetFinal,
    /// The Bitcoin backend cannot be reached, or the broadcaster failed.
    Unreachable,
}

/// Event of a session or of the network. A durable event is delivered again after a restart until it is acknowledged;
/// at most one of a kind waits in each session.
#[derive(Clone, Debug, PartialEq, uniffi::Enum)]
pub enum Event {
    /// Another signer proposed a session. Answer with join or decline. Durable.
    SessionProposed {
        /// The terms.
        proposal: Proposal,
        /// The proposer's signer index.
        proposer: SignerIndex,
        /// When the proposal expires.
        expires_at: SystemTime,
    },
    /// This node's own proposal is signed. It is sent once it is stored.
    SessionCreated,
    /// A signer joined.
    SessionJoined {
        /// The signer's index.
        signer: SignerIndex,
        /// Number of signers that have joined.
        joined: u32,
        /// Number of signers.
        signers: u32,
    },
    /// All signers joined.
    SessionReady,
    /// All nonces of an attempt arrived.
    NoncesComplete {
        /// The attempt, counted from 0.
        attempt: u32,
    },
    /// The signatures are complete: this node is a holder. Durable.
    SessionComplete {
        /// 64 bytes for each message.
        signatures: Vec<Vec<u8>>,
        /// The signed transaction; none in sessions over raw messages.
        transaction: Option<SignedTransaction>,
        /// All signer indices, the elected coordinator first.
        priority_list: Vec<SignerIndex>,
        /// This node's position in the list.
        rank: u32,
        /// Whether the signatures are on the disk. If not, because the disk is full or slow, a crash may lose them here.
        stored: bool,
        /// Whether this node's own application aborted or abandoned the session before: then the node passes the signatures
        /// on, and takes no turn until the application calls `broadcast_now`.
        aborted_here: bool,
    },
    /// It is this node's turn to broadcast. With a broadcaster the node submits by itself. Durable.
    ShouldBroadcast {
        /// This node's own signer index.
        signer: SignerIndex,
        /// The turn, counted from 0.
        turn: u32,
        /// When the next turn opens, by this node's clock; none for the last turn.
        next_turn_at: Option<SystemTime>,
        /// 64 bytes for each message.
        signatures: Vec<Vec<u8>>,
        /// The signed transaction; none in sessions over raw messages.
        transaction: Option<SignedTransaction>,
        /// Whether the signatures are on the disk. If not, because the disk is full or slow, a crash may lose them here.
        stored: bool,
    },
    /// A turn opened because the coordinators before it did not broadcast in time.
    CoordinatorFailed {
        /// Coordinators of earlier turns that were not reported before. Turns missed while asleep come as one event.
        failed: Vec<SignerIndex>,
        /// Why this node waits for each of them no longer, in the order of `failed`.
        causes: Vec<FailureCause>,
        /// Coordinators of this turn.
        next: Vec<SignerIndex>,
        /// The turn, counted from 0.
        turn: u32,
    },
    /// All turns have passed; this node keeps submitting. Durable.
    FailoverExhausted {
        /// Number of turns.
        turns: u32,
        /// Number of submissions by this node.
        submissions: u32,
        /// Number of those that its Bitcoin backend accepted, or had already.
        accepted: u32,
        /// Number of those that it rejected.
        rejected: u32,
        /// Number of those that did not reach it.
        unreachable: u32,
        /// The last rejection of the transaction, if there was one.
        rejection: Option<String>,
        /// Signers that said that they cannot broadcast, and why; this one may be among them.
        nacks: Vec<Nack>,
        /// Signers that claimed to have broadcast.
        claims: Vec<SignerIndex>,
        /// The signed transaction; none in sessions over raw messages.
        transaction: Option<SignedTransaction>,
    },
    /// All signers that are to broadcast said that they cannot; this node keeps submitting, and the turns go on. Durable.
    NobodyCanBroadcast {
        /// Number of turns.
        turns: u32,
        /// Number of submissions by this node.
        submissions: u32,
        /// Number of those that its Bitcoin backend accepted, or had already.
        accepted: u32,
        /// Number of those that it rejected.
        rejected: u32,
        /// Number of those that did not reach it.
        unreachable: u32,
        /// The last rejection of the transaction, if there was one.
        rejection: Option<String>,
        /// Signers that said that they cannot broadcast, and why; this one may be among them.
        nacks: Vec<Nack>,
        /// Signers that claimed to have broadcast.
        claims: Vec<SignerIndex>,
        /// The signed transaction; none in sessions over raw messages.
        transaction: Option<SignedTransaction>,
    },
    /// A signer claims to have broadcast the transaction. Without an observer the application has to verify that, and
    /// to notify; then this is durable.
    BroadcastClaimed {
        /// Id of the transaction that it claims to have broadcast.
        txid: Txid,
        /// The signer's index.
        by: SignerIndex,
    },
    /// The observer sees the transaction: the watch pauses.
    BroadcastSeen {
        /// The transaction's id.
        txid: Txid,
        /// Coordinators of the last turn that opened at this node: whose turn it was.
        coordinators: Vec<SignerIndex>,
        /// Who broadcast it, as far as this node knows.
        by: BroadcastBy,
    },
    /// The transaction is in a block, or the application reported it. Durable.
    BroadcastConfirmed {
        /// The transaction's id, if it is known.
        txid: Option<Txid>,
        /// The depth at which the observer sees it; none if the application reported it.
        depth: Option<Depth>,
        /// Coordinators of the last turn that opened at this node: whose turn it was.
        coordinators: Vec<SignerIndex>,
        /// Who broadcast it, as far as this node knows.
        by: BroadcastBy,
    },
    /// A conflicting transaction is in a block. Durable.
    BroadcastConflict {
        /// The conflicting transaction's id.
        txid: Txid,
    },
    /// The transaction was seen and has disappeared (evicted or reorganised): a new watch starts. Durable.
    BroadcastLost {
        /// The transaction's id.
        txid: Txid,
    },
    /// The Bitcoin backend rejects the transaction. Durable.
    BroadcastRejected {
        /// The backend's message.
        reason: String,
    },
    /// The session made no progress for a while.
    SessionStalled {
        /// Signers that the session waits for.
        missing: Vec<SignerIndex>,
        /// State of each of them, in the same order.
        signers: Vec<SignerStatus>,
        /// Time since the last progress.
        since: Duration,
    },
    /// A signer provably violated the protocol. Durable.
    SessionFailed {
        /// Signers that violated it.
        culprits: Vec<SignerIndex>,
        /// A proof against each, for `verify_proof`.
        proofs: Vec<Vec<u8>>,
        /// Whether this node's partial signature was sent, or may have been before a restart, so that the others may still
        /// complete the session.
        may_still_complete: bool,
    },
    /// A signer declined or aborted. Durable.
    SessionAborted {
        /// The signer's index.
        by: SignerIndex,
        /// The signer's message.
        reason: String,
        /// Whether it declined before joining, and did not abort after.
        declined: bool,
        /// Whether this node's partial signature was sent, or may have been before a restart, so that the others may still
        /// complete the session.
        may_still_complete: bool,
    },
    /// The proposal expired. Durable.
    SessionExpired {
        /// Whether this node's partial signature was sent, or may have been before a restart, so that the others may still
        /// complete the session.
        may_still_complete: bool,
    },
    /// This node closed the session.
    SessionClosed,
    /// Another instance signs with this node's key: a restored backup, or a second node. Durable.
    KeyInUseElsewhere,
    /// The signer failed and will be retried.
    SignerFailed {
        /// The problem, with its data.
        problem: SignerProblem,
        /// Message for people.
        reason: String,
    },
    /// A device, or another wallet, is asked to sign, and was not heard of yet. Reported at once, and again while it is
    /// waited for.
    SignerWaiting {
        /// What it is asked for: 1 for public nonces, 2 for partial signatures.
        round: u32,
        /// Time since it was asked.
        since: Duration,
    },
    /// A submission of this node's own was answered. With a broadcaster only.
    Submitted {
        /// How it was answered.
        outcome: Submission,
        /// The Bitcoin backend's words, or why there is no answer, cut to 1,024 bytes; none if there are none.
        words: Option<String>,
    },
    /// The broadcaster failed, or answered too late: the others are told that this node cannot broadcast. The node retries.
    /// The same words are reported once a minute, others once a second, at most.
    BroadcasterFailed {
        /// What it said or threw, or that it did not answer in time, cut to 1,024 bytes.
        reason: String,
        /// Number of its failures since this was last reported; at least 1.
        failures: u64,
    },
    /// The chain observer failed, or answered too late: the node takes that for no answer, and asks again.
    /// The same words are reported once a minute, others once a second, at most.
    ObserverFailed {
        /// What it said or threw, or that it did not answer in time, cut to 1,024 bytes.
        reason: String,
        /// Number of its failures since this was last reported; at least 1.
        failures: u64,
    },
    /// A peer connected.
    PeerConnected {
        /// Its libp2p peer id.
        peer: String,
        /// Its signer key, if it has proved one.
        signer: Option<SignerKey>,
    },
    /// A peer disconnected.
    PeerDisconnected {
        /// Its libp2p peer id.
        peer: String,
        /// Its signer key, if it had proved one.
        signer: Option<SignerKey>,
    },
    /// A signer of this session disconnected.
    ParticipantDisconnected {
        /// The signer's index.
        signer: SignerIndex,
    },
    /// The store cannot commit; nothing is signed until it can. The node retries.
    /// With a session: its records cannot be read, and it is set aside.
    StoreFailed {
        /// The problem, with its data.
        problem: StoreProblem,
        /// Message for people.
        reason: String,
    },
    /// Part of the network layer failed; the node continues without it.
    NetworkDegraded {
        /// The failed part, and why it failed.
        reason: String,
    },
    /// This node refuses a proposal that its proposer signed: it has expired or expires too late by this node's clock, the
    /// signer does not hold a key that it names, or there is no room for another session. Nothing is kept of it, and it may
    /// be taken later. Reported once for each.
    ProposalRefused {
        /// Identity key of the proposer.
        proposer: SignerKey,
        /// Message for people.
        reason: String,
    },
    /// A signer's clock and this node's differ by more than is tolerated. Nothing depends on it but how the times are to be
    /// read that the two tell; the longer it lasts the sooner proposals seem expired. Reported once an hour for each signer.
    ClockSkew {
        /// Identity key of the signer.
        signer: SignerKey,
        /// Milliseconds by which the signer's clock is ahead of this node's; negative if it is behind. The median of the
        /// last nine that it said.
        offset_ms: i64,
        /// Whether this node's own clock is the suspect: those of most other signers differ from it in the same direction.
        own_suspect: bool,
    },
    /// A configured peer, or a signer of an open session, cannot be reached; the node keeps trying. Reported once for each,
    /// and again when the cause changes.
    PeerUnreachable {
        /// The configured address; none for a signer.
        address: Option<String>,
        /// The signer's key; none for a configured address.
        signer: Option<SignerKey>,
        /// Why it cannot be reached, in one line; for a signer, with the addresses that were dialled.
        cause: String,
        /// When the node tries again, by its clock; none if it waits until it learns an address.
        next_try_at: Option<SystemTime>,
    },
}

impl From<event::NodeEvent> for NodeEvent {
    fn from(event: event::NodeEvent) -> Self {
        Self { id: event.id, session: event.session, event: event.event.into(), durable: event.durable }
    }
}

impl From<event::Event> for Event {
    fn from(event: event::Event) -> Self {
        use event::Event as E;
        match event {
            E::SessionProposed { proposal, proposer, expires_at } => Self::SessionProposed {
                proposal: (&proposal).into(),
                proposer: proposer.into(),
                expires_at: moment(expires_at),
            },
            E::SessionCreated => Self::SessionCreated,
            E::SessionJoined { signer, joined, signers } => Self::SessionJoined {
                signer: signer.into(),
                joined: number(joined),
                signers: number(signers),
            },
            E::SessionReady => Self::SessionReady,
            E::NoncesComplete { attempt } => Self::NoncesComplete { attempt },
            E::SessionComplete { signatures, transaction, priority_list, rank, stored, aborted_here } => {
                Self::SessionComplete {
                    signatures: signature_bytes(signatures),
                    transaction,
                    priority_list: indices(priority_list),
                    rank: number(rank),
                    stored,
                    aborted_here,
                }
            }
            E::ShouldBroadcast { signer, turn, next_turn_at, signatures, transaction, stored } => {
                Self::ShouldBroadcast {
                    signer: signer.into(),
                    turn: number(turn),
                    next_turn_at: next_turn_at.map(moment),
                    signatures: signature_bytes(signatures),
                    transaction,
                    stored,
                }
            }
            E::CoordinatorFailed { failed, causes, next, turn } => Self::CoordinatorFailed {
                failed: indices(failed),
                causes,
                next: indices(next),
                turn: number(turn),
            },
            E::FailoverExhausted {
                turns,
                submissions,
                accepted,
                rejected,
                unreachable,
                rejection,
                nacks,
                claims,
                transaction,
            } => Self::FailoverExhausted {
                turns: number(turns),
                submissions,
                accepted,
                rejected,
                unreachable,
                rejection,
                nacks: nacks.into_iter().map(Nack::from).collect(),
                claims: indices(claims),
                transaction,
            },
            E::NobodyCanBroadcast {
                turns,
                submissions,
                accepted,
                rejected,
                unreachable,
                rejection,
                nacks,
                claims,
                transaction,
            } => Self::NobodyCanBroadcast {
                turns: number(turns),
                submissions,
                accepted,
                rejected,
                unreachable,
                rejection,
                nacks: nacks.into_iter().map(Nack::from).collect(),
                claims: indices(claims),
                transaction,
            },
            E::BroadcastClaimed { txid, by } => Self::BroadcastClaimed { txid, by: by.into() },
            E::BroadcastSeen { txid, coordinators, by } => {
                Self::BroadcastSeen { txid, coordinators: indices(coordinators), by: by.into() }
            }
            E::BroadcastConfirmed { txid, depth, coordinators, by } => {
                Self::BroadcastConfirmed { txid, depth, coordinators: indices(coordinators), by: by.into() }
            }
            E::BroadcastConflict { txid } => Self::BroadcastConflict { txid },
            E::BroadcastLost { txid } => Self::BroadcastLost { txid },
            E::BroadcastRejected { reason } => Self::BroadcastRejected { reason },
            E::SessionStalled { missing, signers, since } => Self::SessionStalled {
                missing: indices(missing),
                signers: signers.into_iter().map(SignerStatus::from).collect(),
                since,
            },
            E::SessionFailed { culprits, proofs, may_still_complete } => {
                Self::SessionFailed { culprits: indices(culprits), proofs, may_still_complete }
            }
            E::SessionAborted { by, reason, declined, may_still_complete } => {
                Self::SessionAborted { by: by.into(), reason, declined, may_still_complete }
            }
            E::SessionExpired { may_still_complete } => Self::SessionExpired { may_still_complete },
            E::SessionClosed => Self::SessionClosed,
            E::KeyInUseElsewhere => Self::KeyInUseElsewhere,
            E::SignerFailed { error } => {
                Self::SignerFailed { reason: error.to_string(), problem: error.into() }
            }
            E::SignerWaiting { round, since } => Self::SignerWaiting { round, since },
            E::Submitted { outcome, words } => Self::Submitted { outcome, words },
            E::BroadcasterFailed { reason, failures } => Self::BroadcasterFailed { reason, failures },
            E::ObserverFailed { reason, failures } => Self::ObserverFailed { reason, failures },
            E::PeerConnected { peer, signer } => Self::PeerConnected { peer, signer },
            E::PeerDisconnected { peer, signer } => Self::PeerDisconnected { peer, signer },
            E::ParticipantDisconnected { signer } => Self::ParticipantDisconnected { signer: signer.into() },
            E::StoreFailed { error } => {
                Self::StoreFailed { reason: error.to_string(), problem: error.into() }
            }
            E::NetworkDegraded { reason } => Self::NetworkDegraded { reason },
            E::ProposalRefused { proposer, error } => {
                Self::ProposalRefused { proposer, reason: error.to_string() }
            }
            E::ClockSkew { signer, offset, own_suspect } => {
                Self::ClockSkew { signer, offset_ms: offset, own_suspect }
            }
            E::PeerUnreachable { address, signer, cause, next_try_at } => {
                Self::PeerUnreachable { address, signer, cause, next_try_at: next_try_at.map(moment) }
            }
        }
    }
}
