//! The log: one line for each event of the protocol, under targets that do not change with the files; and short spans of what
//! takes time. None lasts as long as a session: a watch may take a month.

use std::sync::OnceLock;

use tracing::Span;

use crate::protocol::event::{Event, SessionEvent};
use crate::signer::SignTask;
use crate::types::SessionId;

/// Target of what happens to sessions.
pub(crate) const SESSION: &str = "libmusig::session";
/// Target of connections and frames.
pub(crate) const NET: &str = "libmusig::net";
/// Target of submissions and observations.
pub(crate) const CHAIN: &str = "libmusig::chain";

/// Span of a task of the signer, from the request to the answer.
pub(crate) fn sign(session: &SessionId, task: &SignTask) -> Span {
    let task = match task {
        SignTask::Envelope(_) => "envelope",
        SignTask::Nonces(_) => "nonces",
        SignTask::Partial { .. } => "partial",
    };
    tracing::info_span!(target: SESSION, "sign", %session, task)
}

/// Span of the opening of a turn, in which its event is logged.
fn turn(session: Option<&SessionId>, turn: usize) -> Span {
    tracing::info_span!(target: SESSION, "turn", session = session.map(tracing::field::display), turn)
}

/// Span of a submission, from the request to the broadcaster's answer.
pub(crate) fn submit(session: &SessionId) -> Span {
    tracing::info_span!(target: CHAIN, "submit", %session)
}

/// Span of a question to the observer, until its answer.
pub(crate) fn observe(session: &SessionId, question: &'static str) -> Span {
    tracing::debug_span!(target: CHAIN, "observe", %session, question)
}

/// Makes sure that the process has two dispatchers. With one alone, `tracing` decides once for each line of code, by the
/// dispatcher of the thread that comes by first: a node without a log would silence the log of another.
pub(crate) fn keep_two_dispatchers() {
    static SILENT: OnceLock<tracing::Dispatch> = OnceLock::new();
    SILENT.get_or_init(|| tracing::Dispatch::new(tracing::subscriber::NoSubscriber::default()));
}

/// Level of a record for the sinks of the C interface and the other languages. What libraries below this one call a warning
/// is none for an operator (a Kademlia node that knows no peers yet), so their records are at DEBUG or below.
#[cfg(any(feature = "capi", feature = "uniffi"))]
pub(crate) fn level_for_sinks(metadata: &tracing::Metadata<'_>) -> tracing::Level {
    let own = metadata.target().split("::").next() == Some("libmusig");
    if own { *metadata.level() } else { tracing::Level::DEBUG.max(*metadata.level()) }
}

/// Logs an event as it leaves the engine, at INFO, and at WARN what calls for somebody. Texts of others are fields, which
/// are escaped; messages are our own.
pub(crate) fn event(event: &SessionEvent) {
    let session = event.session.map(tracing::field::display);
    let _turn = match &event.event {
        Event::ShouldBroadcast { turn: number, .. } | Event::CoordinatorFailed { turn: number, .. } => {
            Some(turn(event.session.as_ref(), *number).entered())
        }
        _ => None,
    };
    macro_rules! line {
        ($level:ident, $($rest:tt)*) => { tracing::$level!(target: SESSION, session, $($rest)*) };
    }
    match &event.event {
        Event::SessionProposed { proposal, proposer, .. } => {
            let (signers, messages) = (proposal.signers.len(), proposal.terms().messages.len());
            line!(info, signer = proposer, signers, messages, "a session was proposed");
        }
        Event::SessionCreated => line!(info, "the own proposal is signed"),
        Event::SessionJoined { signer, joined, signers } => {
            line!(info, signer, joined, signers, "a signer joined");
        }
        Event::SessionReady => line!(info, "all signers joined"),
        Event::NoncesComplete { attempt } => line!(info, attempt, "all nonces arrived"),
        Event::SessionComplete { priority_list, rank, stored, .. } => {
            line!(info, ?priority_list, rank, stored, "the signatures are complete");
        }
        Event::ShouldBroadcast { signer, turn, .. } => {
            line!(info, signer, turn, "it is this node's turn to broadcast");
        }
        Event::CoordinatorFailed { failed, causes, next, turn } => {
            line!(info, signer = ?failed, ?causes, turn, ?next, "the coordinators did not broadcast in time");
        }
        Event::FailoverExhausted { turns, submissions, accepted, rejected, unreachable, claims, .. } => {
            line!(
                warn,
                turns,
                submissions,
                accepted,
                rejected,
                unreachable,
                ?claims,
                "all turns have passed and the transaction was not seen"
            );
        }
        Event::NobodyCanBroadcast { turns, submissions, accepted, rejected, unreachable, .. } => {
            line!(
                warn,
                turns,
                submissions,
                accepted,
                rejected,
                unreachable,
                "all signers that are to broadcast said that they cannot"
            );
        }
        Event::BroadcastClaimed { txid, by } => {
            line!(info, signer = by, %txid, "a signer claims to have broadcast")
        }
        Event::BroadcastSeen { txid, coordinators, by } => {
            line!(info, %txid, ?coordinators, ?by, "the transaction was seen");
        }
        Event::BroadcastConfirmed { txid, depth, coordinators, by } => {
            let txid = txid.map(tracing::field::display);
            let (height, confirmations) =
                (depth.map(|depth| depth.height), depth.map(|depth| depth.confirmations));
            line!(info, txid, height, confirmations, ?coordinators, ?by, "the transaction is confirmed");
        }
        Event::BroadcastConflict { txid } => line!(warn, %txid, "a conflicting transaction is in a block"),
        Event::BroadcastLost { txid } => line!(warn, %txid, "the transaction has disappeared"),
        Event::BroadcastRejected { reason } => {
            line!(warn, reason, "the Bitcoin backend rejects the transaction")
        }
        Event::SessionStalled { missing, since, .. } => {
            line!(info, signer = ?missing, since = ?since, "the session makes no progress");
        }
        Event::SessionFailed { culprits, .. } => {
            line!(warn, signer = ?culprits, "a signer provably violated the protocol");
        }
        Event::SessionAborted { by, reason, declined, .. } => {
            line!(info, signer = by, reason, declined, "a signer declined or aborted");
        }
        Event::SessionExpired { may_still_complete } => {
            line!(info, may_still_complete, "the proposal expired")
        }
        Event::SessionClosed => line!(info, "the session is closed"),
        Event::KeyInUseElsewhere => line!(warn, "another instance signs with this node's key"),
        Event::SignerFailed { error } => {
            line!(warn, error = error.to_string(), "the signer failed and will be retried");
        }
        Event::SignerWaiting { round, since } => {
            line!(info, round, since = ?since, "the device was not heard of yet")
        }
        Event::ProposalRefused { proposer, error } => {
            line!(info, signer = %proposer, error = error.to_string(), "a proposal was refused");
        }
        Event::ClockSkew { signer, offset, own_suspect } => {
            line!(warn, %signer, offset_ms = offset, own_suspect, "a clock is wrong, the signer's or this node's");
        }
        Event::ParticipantDisconnected { signer } => line!(info, signer, "a signer disconnected"),
        Event::StoreFailed { error } => line!(warn, error = error.to_string(), "the store failed"),
        // The node's own; logged where they are made.
        Event::PeerConnected { .. }
        | Event::PeerDisconnected { .. }
        | Event::NetworkDegraded { .. }
        | Event::PeerUnreachable { .. }
        | Event::Submitted { .. }
        | Event::BroadcasterFailed { .. }
        | Event::ObserverFailed { .. } => {}
    }
}
