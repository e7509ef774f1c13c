//! The protocol, without I/O: input and time go in, outputs come out.
//!
//! [`Engine`](engine::Engine) holds the sessions of one node. Call one of its methods with the time, then take
//! [`Output`]s until there are none, then sleep until [`Engine::next_timeout`](engine::Engine::next_timeout).
//!
//! Outputs are ordered. An [`Output::Persist`] may be a barrier for its session: it holds words of this node that
//! cannot be taken back, and what follows it for that session and [waits](Output::waits) for it happens only when it is
//! synced. A certificate, and what is done with it, waits for no disk. There is no socket, clock, thread or random source
//! in here.
//!
//! This module is for implementers: of another host of the engine, of a second implementation of the protocol, of a
//! simulator. What an application needs of it is re-exported at the crate's root.

use std::sync::Arc;
use std::time::Duration;

use self::event::Event;
use self::signer::{KeyCheck, SignTask};
use crate::error::Error;
use crate::mutation::{self, Mutation};
use crate::types::{ChainQuery, EnvelopeId, OutPoint, SessionId, SignedTransaction, SignerKey, UnixMillis};

pub use crate::types::Time;

pub mod consent;
/// **For implementers.**
pub mod counters;
/// **For implementers.**
pub mod crypto;
pub mod election;
/// **For implementers.**
pub mod engine;
/// **For implementers.**
pub mod envelope;
mod envelope_set;
pub mod event;
/// **For implementers.**
pub mod failover;
/// **For implementers.**
pub mod limits;
mod packing;
/// **For implementers.**
pub mod presence;
pub mod proposal;
/// **For implementers.**
pub mod reputation;
mod session;
pub mod signer;
pub mod status;
/// **For implementers.**
pub mod transaction;
/// **For implementers.**
pub mod wire;

/// Durability of a change, required before its successors take effect.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Durability {
    /// Written soon. A crash may lose it, and then also everything after it.
    Eventual,
    /// On the disk before anything that follows it, together with everything before it.
    Synced,
}

/// What an output waits for, if something of its session is on its way to the disk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Waits {
    /// For nothing: it can harm nobody, or it is as good without the disk.
    Never,
    /// For the commit of all that its session stored before, for [`limits::UNSTORED_AFTER`] at most, and not at all while
    /// the store has failed. An event of those then says so ([`Event::set_unstored`](event::Event::set_unstored)).
    Briefly,
    /// For the commit of all that its session stored before, however long that takes: a crash must not undo what the
    /// application was told that this node ended.
    Stored,
    /// Until the last barrier of its session before it is synced, however long that takes.
    Barrier,
}

/// Id of a request of the application until its [`Output::Done`].
pub type RequestId = u64;

/// Id of a [`SignTask`] until its answer.
pub type Ticket = u64;

/// Output of the engine, which the host carries out.
#[derive(Debug)]
pub enum Output {
    /// Write to the store. See the barrier above.
    Persist {
        /// The session.
        session: SessionId,
        /// What to write, in order.
        changes: Vec<SessionChange>,
        /// Durability required before those of the session's next outputs that wait for it.
        durability: Durability,
        /// Whether it is a barrier: it holds words of this node that cannot be taken back (consent, nonces, a restart), or
        /// forgets what it said. Only with [`Durability::Synced`].
        barrier: bool,
    },
    /// Send a frame to a connected signer. It may be lost: comparison sends it again.
    Send {
        /// The session.
        session: SessionId,
        /// The receiver.
        to: SignerKey,
        /// An encoded frame.
        frame: Arc<[u8]>,
        /// What it waits for. A certificate is never in a frame that waits.
        waits: Waits,
    },
    /// Let the signer sign; answer with [`Engine::signed`](engine::Engine::signed).
    Sign {
        /// The session.
        session: SessionId,
        /// Id of the answer.
        ticket: Ticket,
        /// What to sign.
        task: Box<SignTask>,
    },
    /// Ask also the foreign signer which participant keys it holds; answer with
    /// [`Engine::keys_checked`](engine::Engine::keys_checked). Only with [`Settings::foreign_signer`].
    CheckKeys {
        /// The session.
        session: SessionId,
        /// What to ask.
        check: Box<KeyCheck>,
    },
    /// Wipe secret nonces up to an attempt.
    Forget {
        /// The session.
        session: SessionId,
        /// The last attempt to wipe.
        attempt: u32,
    },
    /// Submit to the Bitcoin backend; answer with [`Engine::submitted`](engine::Engine::submitted).
    Submit {
        /// The session.
        session: SessionId,
        /// What to submit.
        transaction: SignedTransaction,
    },
    /// Ask the observer; answer with [`Engine::observed`](engine::Engine::observed).
    Observe {
        /// The session.
        session: SessionId,
        /// The query.
        query: ChainQuery,
    },
    /// Ask the observer for the state of each of these outputs; answer with
    /// [`Engine::coins`](engine::Engine::coins).
    Coins {
        /// The session.
        session: SessionId,
        /// The request that waits for it.
        request: RequestId,
        /// The outputs.
        coins: Vec<OutPoint>,
    },
    /// Ask the observer for the last block, and for the state of each of these outputs; answer with
    /// [`Engine::tip`](engine::Engine::tip).
    Tip {
        /// The session.
        session: SessionId,
        /// The outputs.
        coins: Vec<OutPoint>,
    },
    /// Deliver an event to the application.
    Event {
        /// The event.
        event: event::SessionEvent,
    },
    /// Answer a request of the application, which was carried out, or failed and changed nothing.
    Done {
        /// The session.
        session: SessionId,
        /// The request.
        request: RequestId,
        /// The outcome.
        result: Result<(), Error>,
        /// What the answer waits for.
        waits: Waits,
    },
}

impl Output {
    /// What it waits for.
    pub fn waits(&self) -> Waits {
        match self {
            Self::Submit { .. } | Self::Send { .. } if mutation::on(Mutation::SubmissionWaitsForDisk) => {
                Waits::Barrier
            }
            Self::Send { waits, .. } | Self::Done { waits, .. } => *waits,
            Self::Event { event } => match event.event {
                Event::SessionClosed | Event::SessionAborted { .. } => Waits::Stored,
                _ => Waits::Briefly,
            },
            Self::Persist { .. }
            | Self::Sign { .. }
            | Self::CheckKeys { .. }
            | Self::Forget { .. }
            | Self::Submit { .. }
            | Self::Observe { .. }
            | Self::Coins { .. }
            | Self::Tip { .. } => Waits::Never,
        }
    }

    /// Session of the output; `None` for events of the network.
    pub fn session(&self) -> Option<SessionId> {
        match self {
            Self::Persist { session, .. }
            | Self::Send { session, .. }
            | Self::Sign { session, .. }
            | Self::CheckKeys { session, .. }
            | Self::Forget { session, .. }
            | Self::Submit { session, .. }
            | Self::Observe { session, .. }
            | Self::Coins { session, .. }
            | Self::Tip { session, .. }
            | Self::Done { session, .. } => Some(*session),
            Self::Event { event } => event.session,
        }
    }
}

/// Change of a session's stored records.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SessionChange {
    /// The encoded proposal. The first change of every session.
    Proposal(Vec<u8>),
    /// An encoded `SessionRecord`; replaces the one before.
    State(Vec<u8>),
    /// An encoded `Certificate`.
    Certificate(Vec<u8>),
    /// An envelope.
    Envelope(EnvelopeId, Vec<u8>),
    /// Remove an envelope.
    DropEnvelope(EnvelopeId),
    /// Remove everything of the session.
    DropSession,
    /// The session ended, and expires then: for [`Engine::load_ended`](engine::Engine::load_ended).
    Ended(UnixMillis),
    /// An encoded `PaceRecord`, of the node and not of the session: for [`Engine::load_pace`](engine::Engine::load_pace).
    Pace(Vec<u8>),
    /// An encoded `AnsweredRecord` of another signer's proposal: for
    /// [`Engine::load_answered`](engine::Engine::load_answered).
    Answered(Vec<u8>),
}

/// Stored records of a session, for [`Engine::load`](engine::Engine::load).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct StoredSession {
    /// The encoded proposal.
    pub proposal: Vec<u8>,
    /// The encoded `SessionRecord`.
    pub state: Vec<u8>,
    /// The encoded `Certificate`, if there is one.
    pub certificate: Option<Vec<u8>>,
    /// Encoded envelopes.
    pub envelopes: Vec<Vec<u8>>,
}

/// Local settings of a node. They change nothing that a session's signers agreed on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settings {
    /// Confirmations after which a watch ends. At least 1.
    pub final_depth: u32,
    /// For which reasons turns open before their regular start.
    pub early_turns: EarlyTurns,
    /// Whether a claim is sent when this node's submission was accepted.
    pub claims: bool,
    /// Whether a NACK is sent when this node cannot broadcast.
    pub nacks: bool,
    /// Whether there is an observer.
    pub observer: bool,
    /// Whether there is a broadcaster.
    pub broadcaster: bool,
    /// Whether there is a foreign signer, which may hold participant keys that are not held at the node.
    pub foreign_signer: bool,
    /// Time without progress after which a session counts as stalled.
    pub stall_after: Duration,
    /// Difference between a signer's clock and this node's beyond which the application is told of it.
    pub clock_skew: Duration,
    /// Maximum number of sessions that are not closed.
    pub max_sessions: usize,
    /// Maximum number of unanswered proposals of one proposer.
    pub max_proposals_per_signer: usize,
    /// A session in watch or closed that was not used for this long is packed: it takes a tenth of the memory then, and
    /// some time when it is needed. It changes nothing else.
    pub pack_after: Duration,
}

/// Reasons for which a turn opens before its regular start at this node. Whatever they say, no turn opens later than that, and
/// who opens one early asks the observer before it submits. A NACK always counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct EarlyTurns {
    /// A coordinator is gone: its last connection was lost for a second, or answers no more, and nothing of it came through
    /// others. While a turn approaches, connected signers are asked each second for a sign of life; three that stay without
    /// an answer count as a lost connection.
    pub gone: bool,
    /// A coordinator is connected and has not said within 5 s that it holds the signatures.
    pub hold: bool,
    /// The transaction was not seen within the *pace*: min(T, max(10 s, 3 · q99 + 2 s)) of this node's own times from a
    /// submission, or from the signatures, until it was seen. T is the `broadcast_timeout`, which counts until there are 20
    /// such times.
    pub pace: bool,
}

impl Default for EarlyTurns {
    fn default() -> Self {
        Self { gone: true, hold: true, pace: true }
    }
}

impl EarlyTurns {
    /// None of them: each turn opens at its regular start, or after NACKs.
    pub const OFF: Self = Self { gone: false, hold: false, pace: false };
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            final_depth: 6,
            early_turns: EarlyTurns::default(),
            claims: true,
            nacks: true,
            observer: false,
            broadcaster: false,
            foreign_signer: false,
            stall_after: Duration::from_secs(10),
            clock_skew: Duration::from_secs(60),
            max_sessions: limits::SESSIONS,
            max_proposals_per_signer: limits::PROPOSALS_PER_SIGNER,
            pack_after: limits::PACK_AFTER,
        }
    }
}
