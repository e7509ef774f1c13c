//! What a node can say about a session.

use std::time::Duration;

use crate::protocol::failover::Evidence;
use crate::types::{SessionId, UnixMillis};

/// How far a session is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Phase {
    /// Proposed by another signer; waits for join or decline.
    Proposed,
    /// Joined; waits for the others' consent or nonces.
    Joined,
    /// All nonces of the attempt are here; waits for partial signatures.
    Signing,
    /// The signatures are finished, and the transaction's way to the chain is watched.
    Watching,
    /// The watch ended: the transaction, or a conflicting one, is final, or the application said so.
    Final,
    /// A signer provably broke a rule.
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

/// A session, as this node sees it now.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SessionStatus {
    /// The session.
    pub session: SessionId,
    /// How far it is.
    pub phase: Phase,
    /// This node's own signer index.
    pub own_index: usize,
    /// How many signers there are.
    pub signers: usize,
    /// The signers that accepted.
    pub accepted: Vec<usize>,
    /// The signers that everybody waits for.
    pub missing: Vec<usize>,
    /// The current attempt, from 0 on.
    pub attempt: u32,
    /// Whether this node's partial signature went out.
    pub partial_sent: bool,
    /// When the proposal expires.
    pub expires_at: UnixMillis,
    /// The watch, once the signatures are finished.
    pub failover: Option<FailoverStatus>,
}

/// The watch of a session.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FailoverStatus {
    /// The elected coordinator.
    pub coordinator: usize,
    /// The signers of the last turn that opened.
    pub current: Vec<usize>,
    /// The last turn that opened, from 0 on.
    pub turn: usize,
    /// How long until the next turn opens. `None`: this is the last one.
    pub until_next_turn: Option<Duration>,
    /// What is known of the transaction.
    pub evidence: Evidence,
    /// How often this node submitted.
    pub submissions: u32,
    /// Watches that came before, each lost.
    pub watch: u32,
}
