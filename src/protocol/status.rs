//! Status of a session at a node.

use std::time::Duration;

use crate::protocol::failover::{Evidence, FailureCause};
use crate::types::{SessionId, UnixMillis};

/// Phase of a session.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
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
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SessionStatus {
    /// The session.
    pub session: SessionId,
    /// Its phase.
    pub phase: Phase,
    /// This node's own signer index.
    pub own_index: usize,
    /// State of each signer, in the order of their indices.
    pub signers: Vec<SignerStatus>,
    /// Signers that have joined.
    pub accepted: Vec<usize>,
    /// Signers that the session waits for.
    pub missing: Vec<usize>,
    /// The current attempt, counted from 0.
    pub attempt: u32,
    /// Whether this node's partial signature was sent, or may have been before a restart.
    pub partial_sent: bool,
    /// When the proposal expires.
    pub expires_at: UnixMillis,
    /// The watch, once the signatures are complete; none in a session that only signs.
    pub failover: Option<FailoverStatus>,
}

/// State of a signer of a session, as far as this node knows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct SignerStatus {
    /// The signer's index.
    pub signer: usize,
    /// Whether it is connected. This node itself always is.
    pub connected: bool,
    /// When this node last heard of it, directly or through other signers, by this node's clock; `None` if it did not
    /// since it started, or had no session with it then.
    pub last_seen: Option<UnixMillis>,
    /// Whether it joined the session.
    pub consented: bool,
}

/// Status of a session's watch.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FailoverStatus {
    /// The elected coordinator.
    pub coordinator: usize,
    /// The signers of the last turn that opened.
    pub current: Vec<usize>,
    /// The last turn that opened, counted from 0.
    pub turn: usize,
    /// Time until the next turn opens; `None` for the last one.
    pub until_next_turn: Option<Duration>,
    /// Evidence of the transaction.
    pub evidence: Evidence,
    /// Number of submissions by this node.
    pub submissions: u32,
    /// Number of earlier watches, each ended by a lost transaction.
    pub watch: u32,
    /// The signers that have a turn, in the order of their turns, and how long this node waits for each.
    pub signers: Vec<CoordinatorStatus>,
}

/// A signer as the coordinator of its turn, as this node sees it now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct CoordinatorStatus {
    /// The signer's index.
    pub signer: usize,
    /// Its turn, counted from 0.
    pub turn: usize,
    /// Whether it is connected. This node itself always is.
    pub connected: bool,
    /// Whether it is known to hold the signatures, without which it cannot broadcast. Once no turn is ahead that may be
    /// forgotten.
    pub holds: bool,
    /// How long it is waited for, from the start of its turn on: the broadcast timeout, or less.
    pub wait: Duration,
    /// Why not for longer.
    pub cause: FailureCause,
    /// When its turn opens, by this node's clock, if nothing more is heard until then; `None` if it is open, or the watch waits.
    pub opens_at: Option<UnixMillis>,
}
