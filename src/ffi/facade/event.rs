//! What the application is told.

use std::time::{Duration, SystemTime};

use super::error::{SignerProblem, StoreProblem};
use super::proposal::Proposal;
use super::values::{SignerIndex, indices, moment, number, signature_bytes};
use crate::event;
use crate::protocol::event as core;
pub use crate::protocol::event::Depth;
use crate::types::{SessionId, SignedTransaction, SignerKey, Txid};

/// An event, as the application gets it.
#[derive(Clone, Debug, PartialEq, uniffi::Record)]
pub struct NodeEvent {
    /// Names it for `event_handled`. Another one after a restart.
    pub id: u64,
    /// The session; none for events of the network.
    pub session: Option<SessionId>,
    /// What happened.
    pub event: Event,
    /// Whether it comes again after a restart until it is acknowledged.
    pub durable: bool,
}

/// How deep a transaction lies in the chain.
#[uniffi::remote(Record)]
pub struct Depth {
    /// The block's height.
    pub height: u32,
    /// The block itself counts as one.
    pub confirmations: u32,
}

/// Something happened. A durable event has to be acknowledged; at most one of a kind waits in each session.
#[derive(Clone, Debug, PartialEq, uniffi::Enum)]
pub enum Event {
    /// Somebody proposed a session. Answer with join or decline. Durable.
    SessionProposed {
        /// The terms.
        proposal: Proposal,
        /// The proposer's signer index.
        proposer: SignerIndex,
        /// When the proposal expires.
        expires_at: SystemTime,
    },
    /// This node's own proposal is stored and on its way.
    SessionCreated,
    /// A signer accepted.
    SessionJoined {
        /// Which one.
        signer: SignerIndex,
        /// How many did so far.
        joined: u32,
        /// How many there are.
        signers: u32,
    },
    /// All signers accepted.
    SessionReady,
    /// All nonces of an attempt are here.
    NoncesComplete {
        /// Which attempt, from 0 on.
        attempt: u32,
    },
    /// The signatures are finished: this node is a holder. Durable.
    SessionComplete {
        /// 64 bytes for each message.
        signatures: Vec<Vec<u8>>,
        /// The finished transaction, if the proposal is of one.
        transaction: Option<SignedTransaction>,
        /// All signer indices, the elected coordinator first.
        priority_list: Vec<SignerIndex>,
        /// This node's position in the list.
        rank: u32,
    },
    /// It is this node's turn to broadcast. With a broadcaster the node submits by itself. Durable.
    ShouldBroadcast {
        /// This node's own signer index.
        signer: SignerIndex,
        /// Its turn, from 0 on.
        turn: u32,
        /// When the next turn opens, by this node's clock; none for the last turn.
        next_turn_at: Option<SystemTime>,
        /// 64 bytes for each message.
        signatures: Vec<Vec<u8>>,
        /// The finished transaction, if the proposal is of one.
        transaction: Option<SignedTransaction>,
    },
    /// A turn opened, for the signers before did not broadcast in time.
    CoordinatorFailed {
        /// The signers of the turns before it that were not reported yet. Turns missed while asleep come as one.
        failed: Vec<SignerIndex>,
        /// The signers of this turn.
        next: Vec<SignerIndex>,
        /// Which turn.
        turn: u32,
    },
    /// Every signer had its turn. An alarm: this node goes on submitting. Durable.
    FailoverExhausted {
        /// How many turns there were.
        turns: u32,
        /// How often this node submitted.
        submissions: u32,
        /// The last refusal of the transaction, if there was one.
        rejection: Option<String>,
        /// Signers that claimed to have broadcast.
        claims: Vec<SignerIndex>,
        /// The finished transaction, if the proposal is of one.
        transaction: Option<SignedTransaction>,
    },
    /// A signer claims to have broadcast. Durable without an observer: look, and notify.
    BroadcastClaimed {
        /// What it claims to have broadcast.
        txid: Txid,
        /// Its signer index.
        by: SignerIndex,
    },
    /// The observer sees the transaction.
    BroadcastSeen {
        /// The transaction.
        txid: Txid,
    },
    /// The transaction is in a block, or the application said so. Durable.
    BroadcastConfirmed {
        /// The transaction, if it is known.
        txid: Option<Txid>,
        /// Where the observer sees it. None: by the application.
        depth: Option<Depth>,
    },
    /// Another transaction that spends the same is in a block. Durable.
    BroadcastConflict {
        /// That transaction.
        txid: Txid,
    },
    /// The transaction was seen and is gone: a new watch begins. Durable.
    BroadcastLost {
        /// The transaction.
        txid: Txid,
    },
    /// The network's node refuses the transaction. Durable.
    BroadcastRejected {
        /// Its words.
        reason: String,
    },
    /// Nothing happened for a while.
    SessionStalled {
        /// The signers that everybody waits for.
        missing: Vec<SignerIndex>,
        /// For how long.
        since: Duration,
    },
    /// A signer provably broke a rule. Durable.
    SessionFailed {
        /// Their signer indices.
        culprits: Vec<SignerIndex>,
        /// A proof against each, for `verify_proof`.
        proofs: Vec<Vec<u8>>,
        /// Whether this node's partial signature is out, so that others may finish.
        may_still_complete: bool,
    },
    /// A signer declined or aborted. Durable.
    SessionAborted {
        /// Its signer index.
        by: SignerIndex,
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
    /// The session was closed here.
    SessionClosed,
    /// An envelope of this node's key that this node did not make: an old backup, or a second instance. Durable.
    KeyInUseElsewhere,
    /// The signer could not do what a session needs; it is asked again.
    SignerFailed {
        /// Why.
        problem: SignerProblem,
        /// The same, for people.
        reason: String,
    },
    /// A peer connected.
    PeerConnected {
        /// Its libp2p peer id.
        peer: String,
        /// Its signer key, once it proved it.
        signer: Option<SignerKey>,
    },
    /// A peer is gone.
    PeerDisconnected {
        /// Its libp2p peer id.
        peer: String,
        /// Its signer key, if it had proved it.
        signer: Option<SignerKey>,
    },
    /// A signer of this session is gone.
    ParticipantDisconnected {
        /// Its signer index.
        signer: SignerIndex,
    },
    /// The store does not take commits: nothing is signed or sent until it does. It is tried again.
    StoreFailed {
        /// Why.
        problem: StoreProblem,
        /// The same, for people.
        reason: String,
    },
    /// A part of the network does not work; the node goes on without it.
    NetworkDegraded {
        /// Which, and why.
        reason: String,
    },
}

impl From<event::NodeEvent> for NodeEvent {
    fn from(event: event::NodeEvent) -> Self {
        Self { id: event.id, session: event.session, event: event.event.into(), durable: event.durable }
    }
}

impl From<core::Event> for Event {
    fn from(event: core::Event) -> Self {
        use core::Event as E;
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
            E::SessionComplete { signatures, transaction, priority_list, rank } => Self::SessionComplete {
                signatures: signature_bytes(signatures),
                transaction,
                priority_list: indices(priority_list),
                rank: number(rank),
            },
            E::ShouldBroadcast { signer, turn, next_turn_at, signatures, transaction } => {
                Self::ShouldBroadcast {
                    signer: signer.into(),
                    turn: number(turn),
                    next_turn_at: next_turn_at.map(moment),
                    signatures: signature_bytes(signatures),
                    transaction,
                }
            }
            E::CoordinatorFailed { failed, next, turn } => {
                Self::CoordinatorFailed { failed: indices(failed), next: indices(next), turn: number(turn) }
            }
            E::FailoverExhausted { turns, submissions, rejection, claims, transaction } => {
                Self::FailoverExhausted {
                    turns: number(turns),
                    submissions,
                    rejection,
                    claims: indices(claims),
                    transaction,
                }
            }
            E::BroadcastClaimed { txid, by } => Self::BroadcastClaimed { txid, by: by.into() },
            E::BroadcastSeen { txid } => Self::BroadcastSeen { txid },
            E::BroadcastConfirmed { txid, depth } => Self::BroadcastConfirmed { txid, depth },
            E::BroadcastConflict { txid } => Self::BroadcastConflict { txid },
            E::BroadcastLost { txid } => Self::BroadcastLost { txid },
            E::BroadcastRejected { reason } => Self::BroadcastRejected { reason },
            E::SessionStalled { missing, since } => Self::SessionStalled { missing: indices(missing), since },
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
            E::PeerConnected { peer, signer } => Self::PeerConnected { peer, signer },
            E::PeerDisconnected { peer, signer } => Self::PeerDisconnected { peer, signer },
            E::ParticipantDisconnected { signer } => Self::ParticipantDisconnected { signer: signer.into() },
            E::StoreFailed { error } => {
                Self::StoreFailed { reason: error.to_string(), problem: error.into() }
            }
            E::NetworkDegraded { reason } => Self::NetworkDegraded { reason },
        }
    }
}
