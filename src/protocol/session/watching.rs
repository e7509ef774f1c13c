//! From the certificate on: the watch, and what it says and hears.

use std::collections::HashSet;
use std::time::Duration;

use super::{Context, Purpose, Session};
use crate::error::{Error, WireError};
use crate::protocol::envelope::Content;
use crate::protocol::event::{DurableKind, Event};
use crate::protocol::failover::{Action, Evidence, Surroundings, Watch};

use crate::protocol::envelope_set::Fact;
use crate::protocol::transaction::TransactionCodec;
use crate::protocol::wire::{self, Certificate};
use crate::protocol::{Output, Record, RequestId};
use crate::types::{ChainQuery, ChainStatus, SubmitOutcome, Txid};

impl Session {
    pub(super) fn become_holder(&mut self, certificate: Certificate, context: &mut Context<'_>) {
        self.records.push(Record::Certificate(wire::encode(&certificate.to_wire())));
        self.install_certificate(certificate, context.codec);
        self.closed = false;
        self.ending = None;
        self.holder_at = context.now.monotonic;
        let stale = [DurableKind::Proposed, DurableKind::Failed, DurableKind::Aborted, DurableKind::Expired];
        self.pending.retain(|kind| !stale.contains(kind));
        self.watch = Some(Watch::new(self.turns(), self.own, context.now));
        self.forget_nonces();
        self.round = None;
        self.tell_durably(DurableKind::Complete);
        self.send_certificate(context);
        self.drive_watch(context);
        // A claim may have come by a shorter way than the signatures.
        let claims = self.set.by_all(Fact::Claim).filter_map(|envelope| match envelope.content() {
            Content::Claim { txid } => Some((*txid, envelope.body().signer)),
            _ => None,
        });
        for (txid, by) in claims.filter(|(_, by)| *by != self.own).collect::<Vec<_>>() {
            self.heard_claim(txid, by, context);
        }
    }

    /// Keeps the certificate and completes the transaction with it.
    pub(super) fn install_certificate(&mut self, certificate: Certificate, codec: &dyn TransactionCodec) {
        if self.transaction.is_some() {
            self.finished = codec.finalize(&self.proposal, &certificate.signatures).ok();
        }
        self.certificate = Some(certificate);
    }

    fn with_watch<R>(
        &mut self,
        context: &Context<'_>,
        act: impl FnOnce(&mut Watch, &Surroundings<'_>) -> R,
    ) -> Option<R> {
        let mut watch = self.watch.take()?;
        let settings = context.settings;
        let known = self.finished.is_some();
        let nacks: HashSet<usize> =
            self.set.by_all(Fact::Nack).map(|envelope| envelope.body().signer).collect();
        let excused = |signer: usize| {
            nacks.contains(&signer)
                || self.silent_since(signer, context).is_some_and(|at| context.now.monotonic >= at)
        };
        let surroundings = Surroundings {
            observer: settings.observer && known,
            broadcaster: settings.broadcaster && known,
            final_depth: settings.final_depth.max(1),
            excused: &excused,
        };
        let result = act(&mut watch, &surroundings);
        self.watch = Some(watch);
        Some(result)
    }

    /// When a signer looks dead if nothing more is heard of it. `None`: never.
    fn silent_since(&self, signer: usize, context: &Context<'_>) -> Option<Duration> {
        let dead_after = context.settings.dead_after.filter(|_| signer != self.own)?;
        let heard = (context.heard)(&self.proposal.signers[signer]).unwrap_or_default();
        Some(heard.max(self.holder_at).saturating_add(dead_after))
    }

    /// Lets the watch do what the time asks for.
    pub(super) fn drive_watch(&mut self, context: &mut Context<'_>) {
        if self.closed {
            return;
        }
        let now = context.now;
        if let Some(actions) = self.with_watch(context, |watch, around| watch.poll(now, around)) {
            self.act(actions, context);
        }
    }

    pub(super) fn watch_timeout(&mut self, context: &Context<'_>) -> Option<Duration> {
        if self.closed {
            return None;
        }
        let now = context.now;
        let own = self.with_watch(context, |watch, around| watch.next_timeout(now, around))??;
        let waits = self.watch.as_ref().is_none_or(|watch| watch.evidence().pauses());
        let silences = (0..self.signers())
            .filter(|_| !waits && context.settings.dead_after.is_some())
            .filter_map(|signer| self.silent_since(signer, context))
            .filter(|at| *at > now.monotonic)
            .min();
        Some(silences.map_or(own, |at| at.min(own)))
    }

    /// The observer answered; `None` if it could not.
    pub fn observed(&mut self, answer: Option<ChainStatus>, context: &mut Context<'_>) {
        let now = context.now;
        if self.closed {
            self.interrupt_watch();
        } else if let Some(actions) =
            self.with_watch(context, |watch, around| watch.observed(answer, now, around))
        {
            self.state_changed = true;
            self.act(actions, context);
        }
    }

    /// The broadcaster answered, or could not reach the network.
    pub fn submitted(&mut self, answer: Result<SubmitOutcome, String>, context: &mut Context<'_>) {
        let now = context.now;
        if self.closed {
            self.interrupt_watch();
        } else if let Some(actions) =
            self.with_watch(context, |watch, around| watch.submitted(answer, now, around))
        {
            self.state_changed = true;
            self.act(actions, context);
        }
    }

    /// Answers that come after the session was closed change nothing. If it is opened again, it asks again.
    fn interrupt_watch(&mut self) {
        if let Some(watch) = &mut self.watch {
            watch.interrupted();
        }
    }

    /// The application broadcast, or saw, the transaction.
    pub fn notify(
        &mut self,
        txid: Option<Txid>,
        request: RequestId,
        context: &mut Context<'_>,
    ) -> Result<(), Error> {
        self.need_certificate()?;
        if let (Some(given), Some(own)) = (txid, self.txid())
            && given != own
        {
            let (state, hint) =
                ("about another transaction", "notify with the id of its own transaction, or none");
            return Err(Error::WrongState { session: self.id(), state, hint });
        }
        let now = context.now;
        let actions =
            self.with_watch(context, |watch, around| watch.notified(now, around)).unwrap_or_default();
        if !actions.is_empty() {
            self.state_changed = true;
            self.sync = true;
        }
        self.claimed_txid = txid.or(self.claimed_txid);
        self.act(actions, context);
        self.finish(request);
        Ok(())
    }

    /// The application could not reach the network: excuse this node's signer, so that the next ones take over.
    pub fn report_failed(
        &mut self,
        reason: String,
        request: RequestId,
        context: &mut Context<'_>,
    ) -> Result<(), Error> {
        self.need_certificate()?;
        if reason.len() > crate::protocol::limits::REASON {
            let (what, most) = ("the reason", crate::protocol::limits::REASON);
            return Err(WireError::TooLong { what, actual: reason.len(), most }.into());
        }
        let known = self.set.fact(Fact::Nack, self.own).is_some();
        if !known {
            self.requests.entry(Purpose::Nack).or_default().push(request);
            if !self.in_flight(Purpose::Nack) {
                self.say(Purpose::Nack, Content::Nack { reason }, context);
            }
        } else {
            self.finish(request);
        }
        Ok(())
    }

    /// Broadcasts now, whoever's turn it is.
    pub fn broadcast_now(&mut self, request: RequestId, context: &mut Context<'_>) -> Result<(), Error> {
        self.need_certificate()?;
        let now = context.now;
        let actions =
            self.with_watch(context, |watch, around| watch.broadcast_now(now, around)).unwrap_or_default();
        self.act(actions, context);
        self.finish(request);
        Ok(())
    }

    fn need_certificate(&self) -> Result<(), Error> {
        let session = self.id();
        if self.closed {
            return Err(Error::WrongState { session, state: "closed", hint: "join opens it again" });
        }
        if self.certificate.is_none() {
            return Err(Error::WrongState {
                session,
                state: "not complete",
                hint: "wait for SessionComplete",
            });
        }
        Ok(())
    }

    /// The id of the session's transaction, if the proposal is of one.
    pub fn txid(&self) -> Option<Txid> {
        self.transaction.as_ref().map(|transaction| transaction.txid)
    }

    /// Somebody claims to have broadcast: look, and tell.
    pub(super) fn heard_claim(&mut self, txid: Txid, by: usize, context: &Context<'_>) {
        let Some(watch) = &mut self.watch else { return };
        if watch.ended() || watch.evidence().pauses() {
            return;
        }
        watch.claimed(context.now);
        if context.settings.observer && self.finished.is_some() {
            self.tell(Event::BroadcastClaimed { txid, by });
        } else {
            self.tell_durably(DurableKind::Claimed);
        }
    }

    fn act(&mut self, actions: Vec<Action>, context: &mut Context<'_>) {
        for action in actions {
            // Asking changes nothing that is stored; the answer does.
            self.state_changed |= action != Action::Observe;
            match action {
                Action::CoordinatorFailed { failed, next, turn } => {
                    self.tell(Event::CoordinatorFailed { failed, next, turn });
                }
                Action::ShouldBroadcast => self.tell_durably(DurableKind::ShouldBroadcast),
                Action::Submit => {
                    if let Some(transaction) = self.finished.clone() {
                        self.effects.push(Output::Submit { session: self.id(), transaction });
                    }
                }
                Action::Observe => {
                    if let Some(info) = &self.transaction {
                        let query = ChainQuery { txid: info.txid, spends: info.spends.clone() };
                        self.effects.push(Output::Observe { session: self.id(), query });
                    }
                }
                Action::Exhausted => self.tell_durably(DurableKind::Exhausted),
                Action::Lost => {
                    self.settle(DurableKind::Confirmed);
                    self.settle(DurableKind::Conflict);
                    self.tell_durably(DurableKind::Lost);
                }
                Action::Seen => {
                    if let Some(txid) = self.txid() {
                        self.tell(Event::BroadcastSeen { txid });
                    }
                }
                Action::Confirmed => {
                    self.settle(DurableKind::ShouldBroadcast);
                    self.tell_durably(DurableKind::Confirmed);
                }
                Action::Conflict(_) => self.tell_durably(DurableKind::Conflict),
                Action::Rejected => self.tell_durably(DurableKind::Rejected),
                Action::Nack(reason) => self.send_nack(reason, context),
                Action::Claim => self.send_claim(context),
            }
        }
    }

    fn send_nack(&mut self, mut reason: String, context: &mut Context<'_>) {
        let said = self.set.fact(Fact::Nack, self.own).is_some() || self.in_flight(Purpose::Nack);
        if context.settings.nacks && !said {
            let mut end = reason.len().min(crate::protocol::limits::REASON);
            while !reason.is_char_boundary(end) {
                end -= 1;
            }
            reason.truncate(end);
            self.say(Purpose::Nack, Content::Nack { reason }, context);
        }
    }

    fn send_claim(&mut self, context: &mut Context<'_>) {
        let said = self.set.fact(Fact::Claim, self.own).is_some() || self.in_flight(Purpose::Claim);
        let txid = self.txid().or(self.claimed_txid).unwrap_or(Txid([0; 32]));
        if context.settings.claims && !said {
            self.say(Purpose::Claim, Content::Claim { txid }, context);
        }
    }

    /// What this session's watch says of the session that it replaces: whether to pause it, and whether to end it.
    pub fn replaces(&self) -> Option<(crate::types::SessionId, bool, bool)> {
        let older = self.proposal.replaces?;
        let watch = self.watch.as_ref()?;
        // Closed, it sees no more what becomes of its transaction, unless that is final.
        if self.closed && !watch.ended() {
            return None;
        }
        let evidence = watch.evidence();
        let seen = matches!(evidence, Evidence::Seen | Evidence::Confirmed { .. } | Evidence::Notified);
        let confirmed = matches!(evidence, Evidence::Confirmed { .. } | Evidence::Notified);
        Some((older, seen, confirmed))
    }

    /// Whether this session is about the same coins as an older one: else it says nothing about that one's way to
    /// the chain, and somebody could end a watch by proposing a session of its own.
    pub fn may_replace(&self, older: &Self) -> bool {
        match (&self.transaction, &older.transaction) {
            (Some(new), Some(old)) => new.spends.iter().any(|spent| old.spends.contains(spent)),
            _ => older.proposal.signers.iter().all(|key| self.proposal.index_of(key).is_some()),
        }
    }

    /// A session that replaces this one was seen (`pause`), was confirmed (`end`), or neither.
    pub fn replaced(&mut self, pause: bool, end: bool) {
        if let Some(watch) = &mut self.watch {
            self.state_changed |= watch.replacement(pause, end);
        }
    }
}
