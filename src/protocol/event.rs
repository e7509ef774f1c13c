//! What the application is told.

use std::time::Duration;

use crate::error::{SignerError, StoreError};
use crate::protocol::proposal::Proposal;
use crate::types::{SessionId, Signature, SignedTransaction, SignerKey, Txid, UnixMillis};

/// Something happened. Durable events come again after a restart until they are acknowledged.
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
    /// This node's own proposal is stored and being sent.
    SessionCreated,
    /// A signer joined.
    SessionJoined {
        /// Which one.
        signer: usize,
        /// How many did so far.
        joined: usize,
        /// How many there are.
        signers: usize,
    },
    /// All signers joined.
    SessionReady,
    /// All nonces of an attempt arrived.
    NoncesComplete {
        /// Which attempt, from 0 on.
        attempt: u32,
    },
    /// The signatures are complete: this node is a holder. Durable.
    SessionComplete {
        /// One for each message.
        signatures: Vec<Signature>,
        /// The finished transaction, if the proposal is of one.
        transaction: Option<SignedTransaction>,
        /// All signer indices, the elected coordinator first.
        priority_list: Vec<usize>,
        /// This node's position in the list.
        rank: usize,
    },
    /// It is this node's turn to broadcast. With a broadcaster the node submits by itself. Durable.
    ShouldBroadcast {
        /// This node's own signer index.
        signer: usize,
        /// Its turn, from 0 on.
        turn: usize,
        /// When the next turn opens, by this node's clock; `None` for the last turn.
        next_turn_at: Option<UnixMillis>,
        /// One for each message.
        signatures: Vec<Signature>,
        /// The finished transaction, if the proposal is of one.
        transaction: Option<SignedTransaction>,
    },
    /// A turn opened because the coordinators before it did not broadcast in time.
    CoordinatorFailed {
        /// The signers of the turns before it that were not reported yet. Turns missed while asleep come as one.
        failed: Vec<usize>,
        /// The signers of this turn.
        next: Vec<usize>,
        /// Which turn.
        turn: usize,
    },
    /// All turns have passed; this node keeps submitting. Durable.
    FailoverExhausted {
        /// How many turns there were.
        turns: usize,
        /// How often this node submitted.
        submissions: u32,
        /// The last refusal of the transaction, if there was one.
        rejection: Option<String>,
        /// Signers that claimed to have broadcast.
        claims: Vec<usize>,
        /// The finished transaction, if the proposal is of one.
        transaction: Option<SignedTransaction>,
    },
    /// A signer claims to have broadcast the transaction. Without an observer the application has to verify that, and
    /// to notify; then this is durable.
    BroadcastClaimed {
        /// What it claims to have broadcast.
        txid: Txid,
        /// Its signer index.
        by: usize,
    },
    /// The observer sees the transaction: the watch pauses.
    BroadcastSeen {
        /// The transaction.
        txid: Txid,
    },
    /// The transaction is in a block, or the application reported it. Durable.
    BroadcastConfirmed {
        /// The transaction, if it is known.
        txid: Option<Txid>,
        /// Where the observer sees it. `None`: by the application.
        depth: Option<Depth>,
    },
    /// A conflicting transaction is in a block. Durable.
    BroadcastConflict {
        /// That transaction.
        txid: Txid,
    },
    /// The transaction was seen and has disappeared (evicted or reorganised): a new watch starts. Durable.
    BroadcastLost {
        /// The transaction.
        txid: Txid,
    },
    /// The Bitcoin backend rejects the transaction. Durable.
    BroadcastRejected {
        /// Its words.
        reason: String,
    },
    /// The session made no progress for a while.
    SessionStalled {
        /// The signers that everybody waits for.
        missing: Vec<usize>,
        /// For how long.
        since: Duration,
    },
    /// A signer provably violated the protocol. Durable.
    SessionFailed {
        /// Their signer indices.
        culprits: Vec<usize>,
        /// A proof against each, as far as they fit into 1 MiB, and at least one; for [`Proof::verify`](crate::protocol::envelope::Proof::verify).
        proofs: Vec<Vec<u8>>,
        /// Whether this node's partial signature is out, so that others may finish.
        may_still_complete: bool,
    },
    /// A signer declined or aborted. Durable.
    SessionAborted {
        /// Its signer index.
        by: usize,
        /// Its words.
        reason: String,
        /// Whether it refused before it took part.
        declined: bool,
        /// Whether this node's partial signature is out, so that others may finish.
        may_still_complete: bool,
    },
    /// The proposal expired. Durable.
    SessionExpired {
        /// Whether this node's partial signature is out, so that others may finish.
        may_still_complete: bool,
    },
    /// This node closed the session.
    SessionClosed,
    /// Another instance signs with this node's key: a restored backup, or a second node. Durable.
    KeyInUseElsewhere,
    /// The signer failed and will be retried.
    SignerFailed {
        /// Why.
        error: SignerError,
    },
    /// A peer connected.
    PeerConnected {
        /// Its libp2p peer id.
        peer: String,
        /// Its signer key, once it proved it.
        signer: Option<SignerKey>,
    },
    /// A peer disconnected.
    PeerDisconnected {
        /// Its libp2p peer id.
        peer: String,
        /// Its signer key, if it had proved it.
        signer: Option<SignerKey>,
    },
    /// A signer of this session disconnected.
    ParticipantDisconnected {
        /// Its signer index.
        signer: usize,
    },
    /// The store cannot commit; nothing is signed until it can. The node retries.
    StoreFailed {
        /// Why.
        error: StoreError,
    },
    /// Part of the network layer failed; the node continues without it.
    NetworkDegraded {
        /// Which, and why.
        reason: String,
    },
}

/// How deep a transaction lies in the chain.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Depth {
    /// The block's height.
    pub height: u32,
    /// The block itself counts as one.
    pub confirmations: u32,
}

/// The durable events. At most one of a kind waits for its acknowledgement in each session.
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
}

impl DurableKind {
    /// The kind that a stored number stands for.
    pub fn from_number(number: u32) -> Option<Self> {
        use DurableKind::*;
        const ALL: [DurableKind; 13] = [
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
        ];
        ALL.get((number as usize).checked_sub(1)?).copied()
    }
}

/// An event, with the session it belongs to.
#[derive(Clone, Debug, PartialEq)]
pub struct SessionEvent {
    /// The session; `None` for events of the network.
    pub session: Option<SessionId>,
    /// What happened.
    pub event: Event,
    /// Set if the application has to acknowledge it: it comes again after a restart until then.
    pub durable: Option<DurableKind>,
}
