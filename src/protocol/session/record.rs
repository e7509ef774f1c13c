//! What is stored of a session, and reading it again.

use super::{Context, Ending, Session};
use crate::error::Error;
use crate::protocol::envelope::{Envelope, Place};
use crate::protocol::event::DurableKind;
use crate::protocol::failover::Watch;
use crate::protocol::wire::{self, Certificate, pb};
use crate::protocol::{StoredSession, Time};
use crate::types::SignerKey;

const VERSION: u32 = 1;

impl Session {
    pub(super) fn state_record(&mut self, now: Time) -> Vec<u8> {
        wire::encode(&pb::SessionRecord {
            version: VERSION,
            attempts_used: self.attempts_used,
            partial_sent: self.partial_sent,
            closed: self.closed,
            ending: self.ending.map_or(0, |ending| ending as u32),
            watch: self.watch.as_mut().map(|watch| watch.record(now)),
            pending_events: self.pending.iter().map(|kind| *kind as u32).collect(),
            foreign_envelope: self.foreign_envelope,
            consented: self.consented,
        })
    }

    /// Reads a session from what was stored. Its durable events come again.
    pub fn load(stored: &StoredSession, own: &SignerKey, context: &Context<'_>) -> Result<Self, Error> {
        let proposal = crate::protocol::proposal::Proposal::decode(&stored.proposal)?;
        let state: pb::SessionRecord = wire::decode(&stored.state, "the stored session")?;
        let mut session = Self::new(proposal, own, context)?;
        session.records.clear();
        session.state_changed = false;
        session.loaded_at = Some(context.now.monotonic);
        session.attempts_used = state.attempts_used;
        session.partial_sent = state.partial_sent;
        session.closed = state.closed;
        session.foreign_envelope = state.foreign_envelope;
        session.consented = state.consented;
        session.ending = Ending::from_number(state.ending);
        session.holder_at = context.now.monotonic;
        let mut envelopes =
            stored.envelopes.iter().map(|bytes| Envelope::decode(bytes)).collect::<Result<Vec<_>, _>>()?;
        // The set takes nonces of an attempt only if it knows the restarts before it.
        envelopes.sort_by_key(|envelope| envelope.place().is_some());
        let failed = session.ending == Some(Ending::Failed);
        for envelope in envelopes {
            if !failed && !session.set.wants(&envelope, &session.proposal) {
                continue;
            }
            if let (true, Some(Place::Nonces(attempt))) =
                (envelope.body().signer == session.own, envelope.place())
            {
                session.attempts_used = session.attempts_used.max(attempt + 1);
            }
            if failed {
                session.set.restore(envelope, &session.proposal);
            } else {
                session.set.insert(envelope, &session.proposal);
            }
        }
        if failed {
            session.find_proofs();
        }
        if let Some(bytes) = &stored.certificate {
            let certificate = Certificate::from_wire(&wire::decode(bytes, "the stored certificate")?)?;
            session.install_certificate(certificate, context.codec);
            let turns = session.turns();
            session.watch = Some(match &state.watch {
                Some(record) => Watch::restore(turns, session.own, record, context.now),
                None => Watch::new(turns, session.own, context.now),
            });
        }
        let pending = state.pending_events.iter().filter_map(|number| DurableKind::from_number(*number));
        session.pending = pending.collect();
        for kind in session.pending.clone() {
            let placeholder = crate::protocol::event::Event::SessionClosed;
            let output = session.event_output(placeholder, Some(kind));
            session.effects.push(output);
        }
        Ok(session)
    }

    /// Hands the durable events out again that were not acknowledged.
    pub fn redeliver(&mut self) {
        for kind in self.pending.clone() {
            let output = self.event_output(crate::protocol::event::Event::SessionClosed, Some(kind));
            self.effects.push(output);
        }
    }
}
