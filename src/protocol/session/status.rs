//! What a session looks like from outside.

use super::agreement::Agreement;
use super::broadcast::Broadcast;
use super::stored::{Ending, Stored};
use crate::protocol::envelope::Place;
use crate::protocol::envelope_set::{EnvelopeSet, Fact};
use crate::protocol::mutation::{self, Mutation};
use crate::protocol::status::{FailoverStatus, Phase, SessionStatus};
use crate::types::Time;

/// How a session stands.
pub fn status(
    agreement: &Agreement,
    set: &EnvelopeSet,
    stored: &Stored,
    broadcast: Option<&mut Broadcast>,
    now: Time,
) -> SessionStatus {
    let (attempt, signers) = (set.attempt(), agreement.signers());
    let joined = set.fact(Fact::Accept, agreement.own).is_some();
    let phase = match (&broadcast, stored.ending) {
        _ if stored.closed => Phase::Closed,
        (Some(broadcast), _) if broadcast.watch().ended() => Phase::Final,
        (Some(_), _) => Phase::Watching,
        (None, Some(Ending::Failed)) => Phase::Failed,
        (None, Some(Ending::Aborted)) => Phase::Aborted,
        (None, Some(Ending::Declined)) => Phase::Declined,
        (None, Some(Ending::Expired)) => Phase::Expired,
        (None, None) if !joined => Phase::Proposed,
        (None, None) if set.all_at(Place::Nonces(attempt), signers).is_some() => Phase::Signing,
        (None, None) => Phase::Joined,
    };
    let missing = match broadcast.is_some() || stored.ending.is_some() {
        true => Vec::new(),
        false => missing(agreement, set),
    };
    let failover = broadcast.map(|broadcast| {
        let watch = broadcast.watch_mut();
        FailoverStatus {
            coordinator: agreement.election.coordinator,
            current: watch.turns().signers(watch.turn()).to_vec(),
            turn: watch.turn(),
            until_next_turn: watch.until_next_turn(now),
            evidence: watch.evidence(),
            submissions: watch.submissions(),
            watch: watch.number(),
        }
    });
    SessionStatus {
        session: agreement.id(),
        phase,
        own_index: agreement.own,
        signers,
        accepted: set.by_all(Fact::Accept).map(|envelope| envelope.body().signer).collect(),
        missing,
        attempt,
        partial_sent: stored.partial_sent,
        expires_at: agreement.proposal.expires_at,
        failover,
    }
}

/// The signers that everybody waits for, as long as there is no certificate and no ending.
pub fn missing(agreement: &Agreement, set: &EnvelopeSet) -> Vec<usize> {
    let attempt = set.attempt();
    let lacking = |place: Place| -> Vec<usize> {
        (0..agreement.signers()).filter(|signer| set.at(place, *signer).is_none()).collect()
    };
    let nonces = lacking(Place::Nonces(attempt));
    if !nonces.is_empty() {
        // Whoever consented may be waiting for the consent of others itself.
        let silent = |signer: &usize| set.fact(Fact::Accept, *signer).is_none();
        let silent: Vec<usize> = nonces.iter().copied().filter(silent).collect();
        return if silent.is_empty() { nonces } else { silent };
    }
    let partials = lacking(Place::Partial(attempt));
    if mutation::on(Mutation::NobodyMissing) {
        return Vec::new();
    }
    if !partials.is_empty() {
        return partials;
    }
    // All are here but do not fit together: somebody lies about what it received.
    set.other_transcripts(attempt, set.transcript(attempt))
}
