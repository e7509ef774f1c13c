//! What a session looks like from outside.

use std::time::Duration;

use super::agreement::Agreement;
use super::broadcast::Broadcast;
use super::contacts::Contacts;
use super::stored::{Ending, Stored};
use crate::mutation::{self, Mutation};
use crate::protocol::envelope::Place;
use crate::protocol::envelope_set::{EnvelopeSet, Fact};
use crate::protocol::failover::Watch;
use crate::protocol::status::{FailoverStatus, Phase, SessionStatus};

/// How a session stands.
pub fn status(
    agreement: &Agreement,
    set: &EnvelopeSet,
    stored: &Stored,
    broadcast: Option<&Broadcast>,
    until_next_turn: Option<Duration>,
    contacts: Contacts<'_>,
) -> SessionStatus {
    let (attempt, signers) = (set.attempt(), agreement.signers());
    let phase = phase(agreement, set, stored, broadcast);
    let missing = match broadcast.is_some() || stored.ending.is_some() {
        true => Vec::new(),
        false => missing(agreement, set),
    };
    let failover = broadcast.and_then(Broadcast::watch).map(|watch| FailoverStatus {
        coordinator: agreement.election.coordinator,
        current: watch.coordinators().to_vec(),
        turn: watch.turn(),
        until_next_turn,
        evidence: watch.evidence(),
        submissions: watch.submissions().made,
        watch: watch.number(),
        signers: Vec::new(),
    });
    SessionStatus {
        session: agreement.id(),
        phase,
        own_index: agreement.own,
        signers: (0..signers).map(|signer| contacts.of(signer, agreement, set)).collect(),
        accepted: set.by_all(Fact::Accept).map(|envelope| envelope.body().signer).collect(),
        missing,
        attempt,
        partial_sent: stored.partial_sent,
        expires_at: agreement.proposal.expires_at,
        failover,
    }
}

/// The phase of a session.
pub fn phase(
    agreement: &Agreement,
    set: &EnvelopeSet,
    stored: &Stored,
    broadcast: Option<&Broadcast>,
) -> Phase {
    let joined = set.fact(Fact::Accept, agreement.own).is_some();
    match (broadcast, stored.ending) {
        _ if stored.closed => Phase::Closed,
        (Some(broadcast), _) if broadcast.watch().is_some_and(Watch::ended) => Phase::Final,
        // With a certificate an ending stands only if it is its own application's word.
        (_, Some(Ending::Failed)) => Phase::Failed,
        (_, Some(Ending::Aborted)) => Phase::Aborted,
        (_, Some(Ending::Declined)) => Phase::Declined,
        (_, Some(Ending::Expired)) => Phase::Expired,
        // A session that only signs has nothing to watch.
        (Some(broadcast), None) if broadcast.watch().is_none() => Phase::Final,
        (Some(_), None) => Phase::Watching,
        (None, None) if !joined => Phase::Proposed,
        (None, None) if set.all_at(Place::Nonces(set.attempt()), agreement.signers()).is_some() => {
            Phase::Signing
        }
        (None, None) => Phase::Joined,
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

#[cfg(test)]
mod tests {
    use super::super::testing::{agreement, nonces, partial, say};
    use super::*;
    use crate::protocol::envelope::Content;
    use crate::types::Time;

    fn state(set: &EnvelopeSet, stored: &Stored) -> SessionStatus {
        let (connected, heard) = Default::default();
        let contacts = Contacts { now: Time::default(), connected: &connected, heard: &heard };
        status(&agreement(0), set, stored, None, None, contacts)
    }

    fn phase(set: &EnvelopeSet, stored: &Stored) -> Phase {
        state(set, stored).phase
    }

    #[test]
    fn the_phase_follows_from_the_envelopes() {
        let (agreement, mut set, stored) = (agreement(0), EnvelopeSet::default(), Stored::default());
        assert_eq!(phase(&set, &stored), Phase::Proposed);
        say(&mut set, &agreement, 1, Content::Accept);
        assert_eq!(phase(&set, &stored), Phase::Proposed, "another's consent is none of this node");
        say(&mut set, &agreement, 0, Content::Accept);
        assert_eq!(phase(&set, &stored), Phase::Joined);
        (0..3).for_each(|signer| say(&mut set, &agreement, signer, nonces(signer as u8)));
        assert_eq!(phase(&set, &stored), Phase::Signing);
    }

    #[test]
    fn an_ending_outweighs_the_envelopes_and_closing_outweighs_all() {
        let (agreement, mut set) = (agreement(0), EnvelopeSet::default());
        say(&mut set, &agreement, 0, Content::Accept);
        for (ending, expected) in [
            (Ending::Failed, Phase::Failed),
            (Ending::Aborted, Phase::Aborted),
            (Ending::Declined, Phase::Declined),
            (Ending::Expired, Phase::Expired),
        ] {
            let mut stored = Stored::default();
            stored.ending = Some(ending);
            assert_eq!(phase(&set, &stored), expected);
            let ended = state(&set, &stored);
            assert!(ended.missing.is_empty(), "{ending:?}");
            stored.closed = true;
            assert_eq!(phase(&set, &stored), Phase::Closed);
        }
    }

    #[test]
    fn those_who_have_not_consented_are_missing_before_those_whose_nonces_are() {
        let (agreement, mut set) = (agreement(0), EnvelopeSet::default());
        assert_eq!(missing(&agreement, &set), [0, 1, 2]);
        say(&mut set, &agreement, 0, Content::Accept);
        say(&mut set, &agreement, 1, Content::Accept);
        assert_eq!(missing(&agreement, &set), [2], "the others may wait for its consent");
        say(&mut set, &agreement, 2, Content::Accept);
        assert_eq!(missing(&agreement, &set), [0, 1, 2]);
        say(&mut set, &agreement, 1, nonces(1));
        assert_eq!(missing(&agreement, &set), [0, 2]);
    }

    #[test]
    fn who_answers_to_other_nonces_is_missing_once_all_partial_signatures_are_here() {
        let (agreement, mut set) = (agreement(0), EnvelopeSet::default());
        (0..3).for_each(|signer| say(&mut set, &agreement, signer, Content::Accept));
        (0..3).for_each(|signer| say(&mut set, &agreement, signer, nonces(signer as u8)));
        let transcript = set.transcript(0).expect("all nonces are here");
        say(&mut set, &agreement, 0, partial(0, transcript));
        say(&mut set, &agreement, 1, partial(1, transcript));
        assert_eq!(missing(&agreement, &set), [2]);
        say(&mut set, &agreement, 2, partial(2, [7; 32]));
        assert_eq!(missing(&agreement, &set), [2]);
    }
}
