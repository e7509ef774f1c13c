//! What a session does, collected until the end of a step.

use std::collections::VecDeque;
use std::sync::Arc;

use crate::error::Error;
use crate::mutation::{self, Mutation};
use crate::protocol::event::{DurableKind, Event, SessionEvent};
use crate::protocol::{Durability, Output, RequestId, SessionChange, Waits};
use crate::types::{ChainQuery, EnvelopeId, SessionId, SignedTransaction, SignerKey};

/// Something that others may see.
#[derive(Debug)]
enum Effect {
    /// As it is.
    Now(Output),
    /// A durable event. Its content is read when it is handed out, so that what happens later in the same step is in it.
    Durable {
        kind: DurableKind,
        /// It was handed out before.
        again: bool,
    },
}

/// The changes and effects of one step.
///
/// Invariant: [`Outbox::flush`] is the only way out, and it hands out what must be on the disk before anything that may
/// be seen. Each effect says what it [waits](Waits) for.
#[derive(Debug)]
pub struct Outbox {
    session: SessionId,
    effects: Vec<Effect>,
    changes: Vec<SessionChange>,
    state_changed: bool,
    sync: bool,
    barrier: bool,
}

impl Outbox {
    /// That of a session of which all that there is to store is stored.
    pub fn new(session: SessionId) -> Self {
        Self {
            session,
            effects: Vec::new(),
            changes: Vec::new(),
            state_changed: false,
            sync: false,
            barrier: false,
        }
    }

    /// That of a session of which nothing is stored yet.
    pub fn unstored(session: SessionId, proposal: &[u8]) -> Self {
        let changes = vec![SessionChange::Proposal(proposal.to_vec())];
        Self { changes, state_changed: true, ..Self::new(session) }
    }

    /// Whether nothing is to be stored or handed out.
    pub fn is_empty(&self) -> bool {
        self.effects.is_empty() && self.changes.is_empty() && !self.state_changed && !self.sync
    }

    // ---- To be stored ----

    pub fn write(&mut self, change: SessionChange) {
        self.changes.push(change);
    }

    pub fn drop_envelopes(&mut self, ids: Vec<EnvelopeId>) {
        self.changes.extend(ids.into_iter().map(SessionChange::DropEnvelope));
    }

    /// The session's record changed, if `changed`: it is written with the next flush.
    pub fn state_changes(&mut self, changed: bool) {
        self.state_changed |= changed;
    }

    /// Whether the session's record is to be written.
    pub fn state_changed(&self) -> bool {
        self.state_changed
    }

    /// What is collected is to be synced, if `needed`: its events wait for that, for a while.
    pub fn needs_sync(&mut self, needed: bool) {
        self.sync |= needed;
    }

    /// What is collected holds words of this node that cannot be taken back, if `needed`: nothing of them is said before
    /// they are synced.
    pub fn needs_barrier(&mut self, needed: bool) {
        self.sync |= needed;
        self.barrier |= needed;
    }

    // ---- To be seen ----

    pub fn emit(&mut self, event: Event) {
        self.push(Output::Event {
            event: SessionEvent { session: Some(self.session), event, durable: None },
        });
    }

    pub fn emit_durable(&mut self, kind: DurableKind) {
        self.effects.push(Effect::Durable { kind, again: false });
    }

    /// Hands out a durable event that was handed out before.
    pub fn emit_again(&mut self, kind: DurableKind) {
        self.effects.push(Effect::Durable { kind, again: true });
    }

    /// Whether a durable event is handed out by the next [`Outbox::flush`].
    pub fn hands_out(&self, kind: DurableKind) -> bool {
        let is = |effect: &Effect| matches!(effect, Effect::Durable { kind: other, .. } if *other == kind);
        self.effects.iter().any(is)
    }

    pub fn send(&mut self, to: SignerKey, frame: Arc<[u8]>, waits: Waits) {
        self.push(Output::Send { session: self.session, to, frame, waits });
    }

    pub fn answer(&mut self, request: RequestId, result: Result<(), Error>, waits: Waits) {
        self.push(Output::Done { session: self.session, request, result, waits });
    }

    pub fn wipe_nonces(&mut self, attempt: u32) {
        self.push(Output::Forget { session: self.session, attempt });
    }

    pub fn submit(&mut self, transaction: SignedTransaction) {
        self.push(Output::Submit { session: self.session, transaction });
    }

    pub fn observe(&mut self, query: ChainQuery) {
        self.push(Output::Observe { session: self.session, query });
    }

    fn push(&mut self, output: Output) {
        self.effects.push(Effect::Now(output));
    }

    /// Hands everything out: first what is to be stored, then what may be seen. `content` makes a durable event, or
    /// `None` if the session's state does not call for it any more; those kinds are returned. `count` sees each event that
    /// is handed out for the first time.
    ///
    /// With `store` false nothing is stored, and what is to be stored stays: the session does not exist yet.
    pub fn flush(
        &mut self,
        store: bool,
        mut content: impl FnMut(DurableKind) -> Option<Event>,
        mut count: impl FnMut(&Event),
        outputs: &mut VecDeque<Output>,
    ) -> Vec<DurableKind> {
        let session = self.session;
        if store && !self.changes.is_empty() {
            let durability = if self.sync { Durability::Synced } else { Durability::Eventual };
            let barrier = self.barrier || (self.sync && mutation::on(Mutation::SubmissionWaitsForDisk));
            let changes = std::mem::take(&mut self.changes);
            outputs.push_back(Output::Persist { session, changes, durability, barrier });
        }
        self.state_changed &= !store;
        (self.sync, self.barrier) = (false, false);
        let mut obsolete = Vec::new();
        for effect in self.effects.drain(..) {
            match effect {
                Effect::Now(output) => {
                    if let Output::Event { event } = &output {
                        count(&event.event);
                    }
                    outputs.push_back(output);
                }
                Effect::Durable { kind, again } => match content(kind) {
                    Some(event) => {
                        if !again || mutation::on(Mutation::CountsAgain) {
                            count(&event);
                        }
                        let event = SessionEvent { session: Some(session), event, durable: Some(kind) };
                        outputs.push_back(Output::Event { event });
                    }
                    None => obsolete.push(kind),
                },
            }
        }
        obsolete
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn flush(outbox: &mut Outbox, store: bool) -> (Vec<Output>, Vec<DurableKind>) {
        let mut outputs = VecDeque::new();
        let content = |kind| (kind == DurableKind::Expired).then_some(Event::SessionReady);
        let obsolete = outbox.flush(store, content, |_| {}, &mut outputs);
        (outputs.into(), obsolete)
    }

    #[test]
    fn changes_leave_before_effects_whatever_came_first() {
        let mut outbox = Outbox::unstored(SessionId([1; 32]), b"proposal");
        outbox.emit(Event::SessionCreated);
        outbox.write(SessionChange::DropSession);
        outbox.needs_barrier(true);
        let (outputs, _) = flush(&mut outbox, true);
        let [Output::Persist { changes, durability, barrier: true, .. }, Output::Event { event }] =
            &outputs[..]
        else {
            panic!("{outputs:?}")
        };
        assert_eq!(changes, &[SessionChange::Proposal(b"proposal".to_vec()), SessionChange::DropSession]);
        assert_eq!((*durability, &event.event), (Durability::Synced, &Event::SessionCreated));
        assert!(outbox.is_empty(), "each leaves once");
        assert!(flush(&mut outbox, true).0.is_empty());
    }

    #[test]
    fn what_is_to_be_stored_stays_until_the_session_exists() {
        let mut outbox = Outbox::unstored(SessionId([1; 32]), b"proposal");
        assert!(flush(&mut outbox, false).0.is_empty());
        assert!(outbox.state_changed() && !outbox.is_empty());
        assert!(matches!(&flush(&mut outbox, true).0[..], [Output::Persist { .. }]));
        assert!(outbox.is_empty());
    }

    #[test]
    fn a_durable_event_whose_cause_is_gone_is_returned_and_not_handed_out() {
        let mut outbox = Outbox::new(SessionId([1; 32]));
        outbox.emit_durable(DurableKind::Lost);
        outbox.emit_durable(DurableKind::Expired);
        let (outputs, obsolete) = flush(&mut outbox, true);
        assert_eq!(obsolete, [DurableKind::Lost]);
        let [Output::Event { event }] = &outputs[..] else { panic!("{outputs:?}") };
        assert_eq!((event.durable, &event.event), (Some(DurableKind::Expired), &Event::SessionReady));
    }

    #[test]
    fn an_event_that_comes_again_is_handed_out_and_not_counted() {
        let mut outbox = Outbox::new(SessionId([1; 32]));
        outbox.emit(Event::SessionCreated);
        outbox.emit_again(DurableKind::Expired);
        outbox.emit_durable(DurableKind::Expired);
        let (mut outputs, mut counted) = (VecDeque::new(), Vec::new());
        let content = |_| Some(Event::SessionReady);
        outbox.flush(true, content, |event| counted.push(event.clone()), &mut outputs);
        assert_eq!(outputs.len(), 3);
        assert_eq!(counted, [Event::SessionCreated, Event::SessionReady]);
    }
}
