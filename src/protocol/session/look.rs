//! What a session looks like from outside.

use super::{Ending, Session};
use crate::protocol::Time;
use crate::protocol::envelope::Place;
use crate::protocol::envelope_set::Fact;
use crate::protocol::failover::Turns;
use crate::protocol::mutation::{self, Mutation};
use crate::protocol::status::{FailoverStatus, Phase, SessionStatus};

impl Session {
    pub fn status(&mut self, now: Time) -> SessionStatus {
        let attempt = self.set.attempt();
        let phase = match (&self.watch, self.ending) {
            _ if self.closed => Phase::Closed,
            (Some(watch), _) if watch.ended() => Phase::Final,
            (Some(_), _) => Phase::Watching,
            (None, Some(Ending::Failed)) => Phase::Failed,
            (None, Some(Ending::Aborted)) => Phase::Aborted,
            (None, Some(Ending::Declined)) => Phase::Declined,
            (None, Some(Ending::Expired)) => Phase::Expired,
            (None, None) if !self.joined() => Phase::Proposed,
            (None, None) if self.set.all_at(Place::Nonces(attempt), self.signers()).is_some() => {
                Phase::Signing
            }
            (None, None) => Phase::Joined,
        };
        let coordinator = self.election.coordinator;
        let failover = self.watch.as_mut().map(|watch| FailoverStatus {
            coordinator,
            current: watch.turns().signers(watch.turn()).to_vec(),
            turn: watch.turn(),
            until_next_turn: watch.until_next_turn(now),
            evidence: watch.evidence(),
            submissions: watch.submissions(),
            watch: watch.number(),
        });
        SessionStatus {
            session: self.id(),
            phase,
            own_index: self.own,
            signers: self.signers(),
            accepted: self.set.by_all(Fact::Accept).map(|envelope| envelope.body().signer).collect(),
            missing: self.missing(),
            attempt,
            partial_sent: self.partial_sent,
            expires_at: self.proposal.expires_at,
            failover,
        }
    }

    /// The signers that everybody waits for.
    pub(super) fn missing(&self) -> Vec<usize> {
        if self.certificate.is_some() || self.ending.is_some() {
            return Vec::new();
        }
        let attempt = self.set.attempt();
        let lacking = |place: Place| -> Vec<usize> {
            (0..self.signers()).filter(|signer| self.set.at(place, *signer).is_none()).collect()
        };
        let nonces = lacking(Place::Nonces(attempt));
        if !nonces.is_empty() {
            // Whoever consented may be waiting for the consent of others itself.
            let silent = |signer: &usize| self.set.fact(Fact::Accept, *signer).is_none();
            let silent: Vec<usize> = nonces.iter().copied().filter(silent).collect();
            return if silent.is_empty() { nonces } else { silent };
        }
        let mut partials = lacking(Place::Partial(attempt));
        if mutation::on(Mutation::NobodyMissing) {
            return Vec::new();
        }
        if partials.is_empty() {
            // All are here but do not fit together: somebody lies about what it received.
            let transcript = self.set.transcript(attempt);
            partials = self.other_transcripts(attempt, transcript);
        }
        partials
    }

    pub(super) fn turns(&self) -> Turns {
        Turns::new(&self.election.priority_list, &self.proposal.failover)
    }
}
