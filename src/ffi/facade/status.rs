//! How a session stands.

use std::time::{Duration, SystemTime};

use super::values::{SignerIndex, indices, moment, number};
pub use crate::protocol::failover::Evidence;
use crate::protocol::status as core;
pub use crate::protocol::status::Phase;
use crate::types::{SessionId, Txid};

/// How far a session is.
#[uniffi::remote(Enum)]
pub enum Phase {
    /// Proposed by another signer; waits for join or decline.
    Proposed,
    /// Joined; waits for the others' consent or nonces.
    Joined,
    /// All nonces are here; waits for partial signatures.
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
#[derive(Clone, Debug, PartialEq, Eq, uniffi::Record)]
pub struct SessionStatus {
    /// The session.
    pub session: SessionId,
    /// How far it is.
    pub phase: Phase,
    /// This node's own signer index.
    pub own_index: SignerIndex,
    /// How many signers there are.
    pub signers: u32,
    /// The signers that accepted.
    pub accepted: Vec<SignerIndex>,
    /// The signers that everybody waits for.
    pub missing: Vec<SignerIndex>,
    /// The current attempt, from 0 on.
    pub attempt: u32,
    /// Whether this node's partial signature went out.
    pub partial_sent: bool,
    /// When the proposal expires.
    pub expires_at: SystemTime,
    /// The watch, once the signatures are finished.
    pub failover: Option<FailoverStatus>,
}

/// The watch of a session.
#[derive(Clone, Debug, PartialEq, Eq, uniffi::Record)]
pub struct FailoverStatus {
    /// The elected coordinator.
    pub coordinator: SignerIndex,
    /// The signers of the last turn that opened.
    pub current: Vec<SignerIndex>,
    /// The last turn that opened, from 0 on.
    pub turn: u32,
    /// How long until the next turn opens. None: this is the last one.
    pub until_next_turn: Option<Duration>,
    /// What is known of the transaction.
    pub evidence: Evidence,
    /// How often this node submitted.
    pub submissions: u32,
    /// Watches that came before, each lost.
    pub watch: u32,
}

/// What a node knows of a transaction's way.
#[uniffi::remote(Enum)]
pub enum Evidence {
    /// Nothing, or only what others claim.
    #[uniffi(name = "Nothing")]
    None,
    /// The own submission was accepted, or the application said so.
    Submitted,
    /// The observer sees it.
    Seen,
    /// It is in a block.
    Confirmed {
        /// The block's height.
        height: u32,
        /// The block itself counts as one.
        confirmations: u32,
    },
    /// A conflicting spend is in a block.
    Conflict {
        /// The conflicting transaction.
        txid: Txid,
        /// The block itself counts as one.
        confirmations: u32,
    },
    /// The application, which is the observer here, said that it is broadcast.
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
        }
    }
}

impl From<core::SessionStatus> for SessionStatus {
    fn from(status: core::SessionStatus) -> Self {
        Self {
            session: status.session,
            phase: status.phase,
            own_index: status.own_index.into(),
            signers: number(status.signers),
            accepted: indices(status.accepted),
            missing: indices(status.missing),
            attempt: status.attempt,
            partial_sent: status.partial_sent,
            expires_at: moment(status.expires_at),
            failover: status.failover.map(FailoverStatus::from),
        }
    }
}
