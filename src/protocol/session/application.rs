//! What the application asks of a session.

use super::{Context, Ending, Purpose, Session};
use crate::error::{Error, WireError};
use crate::protocol::envelope::Content;
use crate::protocol::envelope_set::Fact;
use crate::protocol::event::{DurableKind, Event};
use crate::protocol::{Record, RequestId};

impl Session {
    /// Proposes this session: signs the proposal and the own consent.
    pub fn propose(&mut self, request: RequestId, context: &mut Context<'_>) {
        self.requests.entry(Purpose::Accept).or_default().push(request);
        self.say(Purpose::Proposal, Content::Proposal(self.proposal.as_bytes().to_vec()), context);
    }

    /// Whether this node's consent is being signed.
    pub(super) fn consenting(&self) -> bool {
        self.in_flight(Purpose::Proposal) || self.in_flight(Purpose::Accept)
    }

    /// Consents. A closed session is opened again.
    pub fn join(&mut self, request: RequestId, context: &mut Context<'_>) -> Result<(), Error> {
        if let Some(ending) = self.ending.filter(|_| self.certificate.is_none()) {
            let (state, hint) = match ending {
                Ending::Failed => ("failed", "propose a new one, without the culprit"),
                Ending::Aborted => ("aborted", "propose a new one"),
                Ending::Declined => ("declined", "propose a new one"),
                Ending::Expired => ("expired", "propose a new one with a later expiry"),
            };
            return Err(Error::WrongState { session: self.id(), state, hint });
        }
        self.proposal
            .check_expiry(context.now.wall)
            .or_else(|error| if self.certificate.is_some() { Ok(()) } else { Err(error) })?;
        if self.closed {
            self.closed = false;
            self.state_changed = true;
            self.compare_all(context);
            if let Some(watch) = &mut self.watch {
                watch.woke(context.now);
            }
        }
        if self.joined() {
            // The signed consent may be there from elsewhere: an older disk, a second instance. This is the own one.
            self.consented = true;
            self.state_changed = true;
            self.settle(DurableKind::Proposed);
            self.sync = true;
            self.finish(request);
        } else {
            self.requests.entry(Purpose::Accept).or_default().push(request);
            if !self.consenting() {
                self.say(Purpose::Accept, Content::Accept, context);
            }
        }
        self.advance(context);
        self.drive_watch(context);
        Ok(())
    }

    /// Refuses the proposal.
    pub fn decline(
        &mut self,
        reason: String,
        request: RequestId,
        context: &mut Context<'_>,
    ) -> Result<(), Error> {
        if self.joined() || self.consenting() {
            let (state, hint) = ("joined", "it can be aborted instead");
            return Err(Error::WrongState { session: self.id(), state, hint });
        }
        self.stop(Purpose::Decline, Fact::Decline, Content::Decline { reason }, request, context)
    }

    /// Stops taking part, and tells the others.
    pub fn abort(
        &mut self,
        reason: String,
        request: RequestId,
        context: &mut Context<'_>,
    ) -> Result<(), Error> {
        self.stop(Purpose::Abort, Fact::Abort, Content::Abort { reason }, request, context)
    }

    fn stop(
        &mut self,
        purpose: Purpose,
        fact: Fact,
        content: Content,
        request: RequestId,
        context: &mut Context<'_>,
    ) -> Result<(), Error> {
        let (Content::Decline { reason } | Content::Abort { reason }) = &content else {
            return Err(Error::Internal("only a refusal stops a session".into()));
        };
        if reason.len() > crate::protocol::limits::REASON {
            let (what, most) = ("the reason", crate::protocol::limits::REASON);
            return Err(WireError::TooLong { what, actual: reason.len(), most }.into());
        }
        if self.certificate.is_some() {
            let (state, hint) = ("complete", "the signatures exist and cannot be taken back");
            return Err(Error::WrongState { session: self.id(), state, hint });
        }
        if self.set.fact(fact, self.own).is_some() {
            self.finish(request);
            return Ok(());
        }
        self.requests.entry(purpose).or_default().push(request);
        if !self.in_flight(purpose) {
            self.say(purpose, content, context);
        }
        Ok(())
    }

    /// Forgets what the others said. A tombstone stays until the expiry: opened again, the session asks for the rest.
    pub fn close(&mut self, request: RequestId, context: &mut Context<'_>) {
        if !self.closed {
            self.closed = true;
            self.state_changed = true;
            self.sync = true;
            self.pending.clear();
            self.forget_nonces();
            let dropped = self.set.keep_tombstone(self.own);
            self.records.extend(dropped.into_iter().map(Record::DropEnvelope));
            self.round = None;
            self.tell(Event::SessionClosed);
        }
        let _ = context;
        self.finish(request);
    }

    /// The application handled a durable event. That it handled a proposal is not stored before its answer is.
    pub fn acknowledge(&mut self, kind: DurableKind) {
        let answers = [Purpose::Decline, Purpose::Abort];
        let answering = self.consenting() || answers.iter().any(|answer| self.in_flight(*answer));
        if kind != DurableKind::Proposed || !answering {
            self.settle(kind);
        }
    }

    /// The application need not be told any more.
    pub(super) fn settle(&mut self, kind: DurableKind) {
        let before = self.pending.len();
        self.pending.retain(|pending| *pending != kind);
        self.state_changed |= self.pending.len() != before;
    }
}
