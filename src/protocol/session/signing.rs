//! What the signer is asked, and what it answers.

use super::{Context, Purpose, SIGNER_RETRY, Session};
use crate::error::{Error, SignerError};
use crate::protocol::envelope::{Body, Content, Envelope};
use crate::protocol::event::{DurableKind, Event};
use crate::protocol::mutation::{self, Mutation};
use crate::protocol::signer::SignTask;
use crate::protocol::{Output, RequestId, Ticket};

impl Session {
    pub(super) fn in_flight(&self, purpose: Purpose) -> bool {
        self.tickets.values().any(|given| *given == purpose)
    }

    pub(super) fn say(&mut self, purpose: Purpose, content: Content, context: &mut Context<'_>) {
        let body = Body { session: self.id(), signer: self.own, content };
        self.ask_signer(purpose, SignTask::Envelope(body), context);
    }

    pub(super) fn ask_signer(&mut self, purpose: Purpose, task: SignTask, context: &mut Context<'_>) {
        *context.tickets += 1;
        let ticket = *context.tickets;
        self.tickets.insert(ticket, purpose);
        // Asking is no act that others can see, so it need not wait for the disk.
        context.outputs.push_back(Output::Sign { session: self.id(), ticket, task: Box::new(task) });
    }

    /// The signer answered. `true`: the session was never begun and is to be removed.
    pub fn signed(
        &mut self,
        ticket: Ticket,
        result: Result<Envelope, SignerError>,
        context: &mut Context<'_>,
    ) -> bool {
        let Some(purpose) = self.tickets.remove(&ticket) else { return false };
        match result {
            Ok(envelope) => self.own_envelope(purpose, envelope, context),
            Err(error) => return self.signer_failed(purpose, error, context),
        }
        self.advance(context);
        self.drive_watch(context);
        false
    }

    fn own_envelope(&mut self, purpose: Purpose, envelope: Envelope, context: &mut Context<'_>) {
        if purpose == Purpose::Proposal {
            self.own_proposal = Some(envelope);
            self.say(Purpose::Accept, Content::Accept, context);
            return;
        }
        // Between question and answer an envelope for the same place may have come from elsewhere. Then this one
        // is not used: two would be a proof against the own key. Nor does a node sign after an ending or a closing.
        let taken = |place| self.set.taken(place, self.own) && !mutation::on(Mutation::SameAttemptAgain);
        let over = self.over() && !mutation::on(Mutation::AbortStopsNothing);
        let taken = envelope.place().is_some_and(|place| over || taken(place));
        if taken || !self.set.wants(&envelope, &self.proposal) {
            if let Purpose::Nonces(_) = purpose {
                self.forget_nonces();
            }
            self.done(purpose, Ok(()));
            return;
        }
        match purpose {
            Purpose::Nonces(attempt) => {
                self.attempts_used = self.attempts_used.max(attempt + 1);
                self.nonces_held = Some(attempt);
                self.sync = true;
            }
            Purpose::Partial(_) => {
                self.nonces_held = None;
                self.partial_sent = true;
            }
            Purpose::Claim | Purpose::Nack => {}
            Purpose::Accept => {
                self.consented = true;
                self.settle(DurableKind::Proposed);
                self.sync = true;
            }
            Purpose::Proposal | Purpose::Restart(_) | Purpose::Decline | Purpose::Abort => {
                self.sync = true;
            }
        }
        self.state_changed = true;
        let mut envelopes = Vec::with_capacity(2);
        if let Some(proposal) = self.own_proposal.take_if(|_| purpose == Purpose::Accept) {
            self.tell(Event::SessionCreated);
            envelopes.push(proposal);
        }
        envelopes.push(envelope);
        self.send_envelopes(&envelopes, context);
        for envelope in envelopes {
            self.add(envelope, context);
        }
        self.done(purpose, Ok(()));
    }

    fn signer_failed(&mut self, purpose: Purpose, error: SignerError, context: &mut Context<'_>) -> bool {
        let first_words = matches!(purpose, Purpose::Proposal | Purpose::Accept);
        if first_words && !self.joined() {
            // Nothing was stored or sent, so the request failed without a trace.
            self.done(Purpose::Accept, Err(error.into()));
            return self.proposal.proposer == self.own && self.loaded_at.is_none() && self.set.is_empty();
        }
        if matches!(purpose, Purpose::Decline | Purpose::Abort) {
            self.done(purpose, Err(error.into()));
            return false;
        }
        self.done(purpose, Err(error.clone().into()));
        match (purpose, &error) {
            (Purpose::Partial(_), SignerError::NonceGone) => self.nonces_held = None,
            // It made them before, and they never came back: they are lost, and so is the attempt.
            (Purpose::Nonces(attempt), SignerError::Mismatch(_) | SignerError::NonceGone) => {
                self.attempts_used = self.attempts_used.max(attempt + 1);
                self.state_changed = true;
            }
            _ => {}
        }
        self.signer_retry = Some(context.now.monotonic + SIGNER_RETRY);
        self.tell(Event::SignerFailed { error });
        false
    }

    /// Answers a request once everything before is on the disk.
    pub fn finish(&mut self, request: RequestId) {
        self.effects.push(Output::Done { session: self.id(), request, result: Ok(()) });
    }

    pub(super) fn done(&mut self, purpose: Purpose, result: Result<(), Error>) {
        for request in self.requests.remove(&purpose).unwrap_or_default() {
            self.effects.push(Output::Done { session: self.id(), request, result: result.clone() });
        }
    }
}
