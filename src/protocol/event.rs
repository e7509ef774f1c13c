//! Events of sessions, of the network, and of the application's own objects.

use std::time::Duration;

use crate::error::{Error, SignerError, StoreError};
use crate::protocol::envelope::NackKind;
pub use crate::protocol::failover::FailureCause;
use crate::protocol::limits;
use crate::protocol::proposal::Proposal;
use crate::protocol::status::SignerStatus;
use crate::types::{
    SessionId, Signature, SignedTransaction, SignerKey, SubmitOutcome, Txid, UnixMillis, beginning,
};

/// Event of a session, of the network, or of the application's own objects. A durable event is delivered again after a
/// restart until it is acknowledged; at most one of a kind waits in each session.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub enum Event {
    /// Another signer proposed a session. Answer with join or decline. Durable.
    SessionProposed {
        /// The terms.
        proposal: Proposal,
        /// The proposer's signer index.
        proposer: usize,
        /// When the proposal expires.
        expires_at: UnixMillis,
    },
    /// This node's own proposal is signed. It is sent once it is stored.
    SessionCreated,
    /// A signer joined.
    SessionJoined {
        /// The signer's index.
        signer: usize,
        /// Number of signers that have joined.
        joined: usize,
        /// Number of signers.
        signers: usize,
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
        /// The signatures, one for each message.
        signatures: Vec<Signature>,
        /// The signed transaction; `None` in sessions over raw messages.
        transaction: Option<SignedTransaction>,
        /// All signer indices in the order of their turns, the elected coordinator first.
        priority_list: Vec<usize>,
        /// This node's position in the list.
        rank: usize,
        /// Whether the signatures are on the disk. If not, because the disk is full or slow, a crash may lose them here.
        stored: bool,
        /// Whether this node's own application aborted or abandoned the session before: then the node passes the signatures
        /// on, and takes no turn until the application calls `broadcast_now`.
        aborted_here: bool,
    },
    /// It is this node's turn to broadcast. With a broadcaster the node submits by itself. Durable.
    ShouldBroadcast {
        /// This node's own signer index.
        signer: usize,
        /// Its turn, counted from 0.
        turn: usize,
        /// When the next turn opens, by this node's clock; `None` for the last turn.
        next_turn_at: Option<UnixMillis>,
        /// The signatures, one for each message.
        signatures: Vec<Signature>,
        /// The signed transaction; `None` in sessions over raw messages.
        transaction: Option<SignedTransaction>,
        /// Whether the signatures are on the disk. If not, because the disk is full or slow, a crash may lose them here.
        stored: bool,
    },
    /// A turn opened because the coordinators before it did not broadcast in time.
    CoordinatorFailed {
        /// Coordinators of earlier turns that were not reported before. Turns missed while asleep come as one event.
        failed: Vec<usize>,
        /// Why this node waits for each of them no longer, in the order of `failed`.
        causes: Vec<FailureCause>,
        /// Coordinators of this turn.
        next: Vec<usize>,
        /// The turn, counted from 0.
        turn: usize,
    },
    /// All turns have passed; this node keeps submitting. Durable.
    FailoverExhausted {
        /// Number of turns.
        turns: usize,
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
        claims: Vec<usize>,
        /// The signed transaction; `None` in sessions over raw messages.
        transaction: Option<SignedTransaction>,
    },
    /// All signers that are to broadcast said that they cannot; this node keeps submitting, and the turns go on. Durable.
    NobodyCanBroadcast {
        /// Number of turns.
        turns: usize,
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
        claims: Vec<usize>,
        /// The signed transaction; `None` in sessions over raw messages.
        transaction: Option<SignedTransaction>,
    },
    /// A signer claims to have broadcast the transaction. Without an observer the application has to verify that, and
    /// to notify; then this is durable.
    BroadcastClaimed {
        /// Id of the transaction that it claims to have broadcast.
        txid: Txid,
        /// The signer's index.
        by: usize,
    },
    /// The observer sees the transaction: the watch pauses.
    BroadcastSeen {
        /// The transaction.
        txid: Txid,
        /// Coordinators of the last turn that opened at this node: whose turn it was.
        coordinators: Vec<usize>,
        /// Who broadcast it, as far as this node knows.
        by: BroadcastBy,
    },
    /// The transaction is in a block, or the application reported it. Durable.
    BroadcastConfirmed {
        /// The transaction, if it is known.
        txid: Option<Txid>,
        /// The depth at which the observer sees it; `None` if the application reported it.
        depth: Option<Depth>,
        /// Coordinators of the last turn that opened at this node: whose turn it was.
        coordinators: Vec<usize>,
        /// Who broadcast it, as far as this node knows.
        by: BroadcastBy,
    },
    /// A conflicting transaction is in a block. Durable.
    BroadcastConflict {
        /// The conflicting transaction.
        txid: Txid,
    },
    /// The transaction was seen and has disappeared (evicted or reorganised): a new watch starts. Durable.
    BroadcastLost {
        /// The transaction.
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
        missing: Vec<usize>,
        /// State of each of them, in the same order.
        signers: Vec<SignerStatus>,
        /// Time since the last progress.
        since: Duration,
    },
    /// A signer provably violated the protocol. Durable.
    SessionFailed {
        /// Signers that violated it.
        culprits: Vec<usize>,
        /// A proof against each, as far as they fit into 1 MiB, and at least one; for [`Proof::verify`](crate::protocol::envelope::Proof::verify).
        proofs: Vec<Vec<u8>>,
        /// Whether this node's partial signature was sent, or may have been before a restart, so that the others may still
        /// complete the session.
        may_still_complete: bool,
    },
    /// A signer declined or aborted. Durable.
    SessionAborted {
        /// The signer's index.
        by: usize,
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
        /// The failure.
        error: SignerError,
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
        /// The Bitcoin backend's words, or why there is no answer, cut to 1,024 bytes; `None` if there are none.
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
        signer: usize,
    },
    /// The store cannot commit; nothing is signed until it can. The node retries.
    /// With a session: its records cannot be read, and it is set aside.
    StoreFailed {
        /// The failure.
        error: StoreError,
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
        /// Why.
        error: Error,
    },
    /// A signer's clock and this node's differ by more than is tolerated. Nothing depends on it but how the times are to be
    /// read that the two tell; the longer it lasts the sooner proposals seem expired. Reported once an hour for each signer.
    ClockSkew {
        /// Identity key of the signer.
        signer: SignerKey,
        /// Milliseconds by which the signer's clock is ahead of this node's; negative if it is behind. The median of the
        /// last nine that it said.
        offset: i64,
        /// Whether this node's own clock is the suspect: those of most other signers differ from it in the same direction.
        own_suspect: bool,
    },
    /// A configured peer, or a signer of an open session, cannot be reached; the node keeps trying. Reported once for each,
    /// and again when the cause changes.
    PeerUnreachable {
        /// The configured address; `None` for a signer.
        address: Option<String>,
        /// The signer's key; `None` for a configured address.
        signer: Option<SignerKey>,
        /// Why it cannot be reached, in one line; for a signer, with the addresses that were dialled.
        cause: String,
        /// When the node tries again, by its clock; `None` if it waits until it learns an address.
        next_try_at: Option<UnixMillis>,
    },
}

/// Who broadcast a transaction, as far as a node knows. Words of others prove nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum BroadcastBy {
    /// This node: its submission was accepted, or the Bitcoin backend had the transaction already; or its application reported
    /// the broadcast, and no other signer claims it.
    Own,
    /// Another signer, by its own word; if there are several the one whose turn came first.
    Claimed {
        /// The signer's index.
        signer: usize,
    },
    /// Nobody says so.
    Unknown,
}

/// Answer to a submission of this node's own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
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

impl Event {
    /// Notes that what it reports is not on the disk yet, in those events that say so.
    pub fn set_unstored(&mut self) {
        if let Self::SessionComplete { stored, .. } | Self::ShouldBroadcast { stored, .. } = self {
            *stored = false;
        }
    }

    /// The event of an answer to a submission, with the words as far as an event has them.
    #[cfg_attr(not(feature = "node"), allow(dead_code))]
    pub(crate) fn submitted(answer: &Result<SubmitOutcome, String>) -> Self {
        let (outcome, words) = match answer {
            Ok(SubmitOutcome::Accepted) => (Submission::Accepted, None),
            Ok(SubmitOutcome::Rejected(words)) => (Submission::Rejected, Some(words)),
            Ok(SubmitOutcome::NotYetFinal) => (Submission::NotYetFinal, None),
            Err(words) => (Submission::Unreachable, Some(words)),
        };
        Self::Submitted { outcome, words: words.map(|words| beginning(words, limits::WORDS).to_owned()) }
    }
}

/// NACK of a signer: its word that it cannot broadcast the transaction.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Nack {
    /// The signer's index.
    pub signer: usize,
    /// Why.
    pub kind: NackKind,
}

/// Depth of a transaction in the chain.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Depth {
    /// The block's height.
    pub height: u32,
    /// Confirmations; the block itself counts as one.
    pub confirmations: u32,
}

/// Kind of a durable event. At most one of a kind waits for acknowledgement in each session.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(u8)]
pub enum DurableKind {
    /// [`Event::SessionProposed`].
    Proposed = 1,
    /// [`Event::SessionComplete`].
    Complete,
    /// [`Event::ShouldBroadcast`].
    ShouldBroadcast,
    /// [`Event::FailoverExhausted`].
    Exhausted,
    /// [`Event::BroadcastClaimed`].
    Claimed,
    /// [`Event::BroadcastConfirmed`].
    Confirmed,
    /// [`Event::BroadcastConflict`].
    Conflict,
    /// [`Event::BroadcastLost`].
    Lost,
    /// [`Event::BroadcastRejected`].
    Rejected,
    /// [`Event::SessionFailed`].
    Failed,
    /// [`Event::SessionAborted`].
    Aborted,
    /// [`Event::SessionExpired`].
    Expired,
    /// [`Event::KeyInUseElsewhere`].
    KeyInUse,
    /// [`Event::NobodyCanBroadcast`].
    NobodyCanBroadcast,
}

impl DurableKind {
    /// Converts a stored number; `None` if it stands for no kind.
    pub fn from_number(number: u32) -> Option<Self> {
        use DurableKind::*;
        const ALL: [DurableKind; 14] = [
            Proposed,
            Complete,
            ShouldBroadcast,
            Exhausted,
            Claimed,
            Confirmed,
            Conflict,
            Lost,
            Rejected,
            Failed,
            Aborted,
            Expired,
            KeyInUse,
            NobodyCanBroadcast,
        ];
        ALL.get((number as usize).checked_sub(1)?).copied()
    }
}

/// Event with its session.
#[derive(Clone, Debug, PartialEq)]
pub struct SessionEvent {
    /// The session; `None` for events of the network.
    pub session: Option<SessionId>,
    /// The event itself.
    pub event: Event,
    /// Kind of a durable event, which the application has to acknowledge; `None` for others.
    pub durable: Option<DurableKind>,
}
