//! Status of sessions.

use std::time::{Duration, SystemTime};

use super::values::{SignerIndex, indices, moment, number};
pub use crate::protocol::failover::{Evidence, FailureCause};
use crate::protocol::status as core;
pub use crate::protocol::status::Phase;
use crate::types::{SessionId, Txid};

/// Phase of a session.
#[uniffi::remote(Enum)]
pub enum Phase {
    /// Proposed by another signer; waits for join or decline.
    Proposed,
    /// Joined; waits for the others' consent or nonces.
    Joined,
    /// All nonces of the attempt arrived; waits for partial signatures.
    Signing,
    /// The signatures are complete; watches the transaction until it is final.
    Watching,
    /// Nothing is left to watch: the transaction, or a conflicting one, is final, or the application reported it, or the
    /// session only signs and the signatures are complete.
    Final,
    /// A signer provably violated the protocol.
    Failed,
    /// A signer aborted.
    Aborted,
    /// A signer declined.
    Declined,
    /// The proposal expired.
    Expired,
    /// Closed by the application.
    Closed,
}

/// Status of a session at this node.
#[derive(Clone, Debug, PartialEq, Eq, uniffi::Record)]
pub struct SessionStatus {
    /// The session's id.
    pub session: SessionId,
    /// The phase.
    pub phase: Phase,
    /// This node's own signer index.
    pub own_index: SignerIndex,
    /// State of each signer, in the order of their indices.
    pub signers: Vec<SignerStatus>,
    /// Signers that have joined.
    pub accepted: Vec<SignerIndex>,
    /// Signers that the session waits for.
    pub missing: Vec<SignerIndex>,
    /// The current attempt, counted from 0.
    pub attempt: u32,
    /// Whether this node's partial signature was sent, or may have been before a restart.
    pub partial_sent: bool,
    /// When the proposal expires.
    pub expires_at: SystemTime,
    /// The watch, once the signatures are complete; none in a session that only signs.
    pub failover: Option<FailoverStatus>,
}

/// State of a signer of a session, as far as this node knows.
#[derive(Clone, Debug, PartialEq, Eq, uniffi::Record)]
pub struct SignerStatus {
    /// The signer's index.
    pub signer: SignerIndex,
    /// Whether it is connected. This node itself always is.
    pub connected: bool,
    /// When this node last heard of it, directly or through other signers, by this node's clock; none if it did not
    /// since it started, or had no session with it then.
    pub last_seen: Option<SystemTime>,
    /// Whether it joined the session.
    pub consented: bool,
}

/// Status of a session's failover.
#[derive(Clone, Debug, PartialEq, Eq, uniffi::Record)]
pub struct FailoverStatus {
    /// The elected coordinator.
    pub coordinator: SignerIndex,
    /// The signers of the last turn that opened.
    pub current: Vec<SignerIndex>,
    /// The last turn that opened, counted from 0.
    pub turn: u32,
    /// Time until the next turn opens. None: this is the last one.
    pub until_next_turn: Option<Duration>,
    /// The evidence about the transaction.
    pub evidence: Evidence,
    /// Number of submissions by this node.
    pub submissions: u32,
    /// The number of watches before this one, each ended by an eviction or a reorganisation.
    pub watch: u32,
    /// The signers that have a turn, in the order of their turns, and how long this node waits for each.
    pub signers: Vec<CoordinatorStatus>,
}

/// A signer as the coordinator of its turn, as this node sees it now.
#[derive(Clone, Debug, PartialEq, Eq, uniffi::Record)]
pub struct CoordinatorStatus {
    /// The signer's index.
    pub signer: SignerIndex,
    /// Its turn, counted from 0.
    pub turn: u32,
    /// Whether it is connected. This node itself always is.
    pub connected: bool,
    /// Whether it is known to hold the signatures, without which it cannot broadcast. Once no turn is ahead that may be
    /// forgotten.
    pub holds: bool,
    /// How long it is waited for, from the start of its turn on: the broadcast timeout, or less.
    pub wait: Duration,
    /// Why not for longer.
    pub cause: FailureCause,
    /// When its turn opens, by this node's clock, if nothing more is heard until then. None: it is open, or the watch waits.
    pub opens_at: Option<SystemTime>,
}

/// Evidence that a transaction was broadcast.
#[uniffi::remote(Enum)]
pub enum Evidence {
    /// No evidence, or only claims of others.
    #[uniffi(name = "Nothing")]
    None,
    /// This node's submission was accepted, or its application reported that.
    Submitted,
    /// The observer sees the transaction.
    Seen,
    /// The transaction is in a block.
    Confirmed {
        /// The block's height.
        height: u32,
        /// The number of confirmations; the block itself counts as one.
        confirmations: u32,
    },
    /// A conflicting spend is in a block.
    Conflict {
        /// The conflicting transaction.
        txid: Txid,
        /// The number of confirmations; the block itself counts as one.
        confirmations: u32,
    },
    /// The application, in place of an observer, reported the broadcast.
    Notified,
}

impl From<core::FailoverStatus> for FailoverStatus {
    fn from(status: core::FailoverStatus) -> Self {
        Self {
            coordinator: status.coordinator.into(),
            current: indices(status.current),
            turn: number(status.turn),
            until_next_turn: status.until_next_turn,
            evidence: status.evidence,
            submissions: status.submissions,
            watch: status.watch,
            signers: status.signers.into_iter().map(CoordinatorStatus::from).collect(),
        }
    }
}

impl From<core::CoordinatorStatus> for CoordinatorStatus {
    fn from(status: core::CoordinatorStatus) -> Self {
        Self {
            signer: status.signer.into(),
            turn: number(status.turn),
            connected: status.connected,
            holds: status.holds,
            wait: status.wait,
            cause: status.cause,
            opens_at: status.opens_at.map(moment),
        }
    }
}

impl From<core::SignerStatus> for SignerStatus {
    fn from(status: core::SignerStatus) -> Self {
        Self {
            signer: status.signer.into(),
            connected: status.connected,
            last_seen: status.last_seen.map(moment),
            consented: status.consented,
        }
    }
}

impl From<core::SessionStatus> for SessionStatus {
    fn from(status: core::SessionStatus) -> Self {
        Self {
            session: status.session,
            phase: status.phase,
            own_index: status.own_index.into(),
            signers: status.signers.into_iter().map(SignerStatus::from).collect(),
            accepted: indices(status.accepted),
            missing: indices(status.missing),
            attempt: status.attempt,
            partial_sent: status.partial_sent,
            expires_at: moment(status.expires_at),
            failover: status.failover.map(FailoverStatus::from),
        }
    }
}
