//! What the application asks for, and what it may know.

use std::collections::HashSet;
use std::time::Duration;

use super::Engine;
use super::consents;
use super::key_checks::Waiting;
use super::session_table::Slot;
use crate::error::{ConsentError, Error, ProposalError};
use crate::mutation::{self, Mutation};
use crate::protocol::consent::{AcceptedProposers, JoinOptions, check_coins};
use crate::protocol::crypto::key_set::KeySet;
use crate::protocol::election::Election;
use crate::protocol::event::DurableKind;
use crate::protocol::proposal::{Proposal, Taproot};
use crate::protocol::session::Session;
use crate::protocol::session::context::Context;
use crate::protocol::status::{Phase, SessionStatus};
use crate::protocol::wire::Certificate;
use crate::protocol::{Output, RequestId, Waits};
use crate::types::{CoinStatus, OutPoint, SessionId, SignedTransaction, SignerKey, Time, Txid};

/// Each request is answered by one `Output::Done`, unless it fails at once.
impl Engine {
    /// Proposes a session, without a word of the application beyond that. This node's consent is part of it.
    pub fn create(&mut self, proposal: Proposal, request: RequestId, now: Time) -> Result<SessionId, Error> {
        self.create_with(proposal, JoinOptions::default(), request, now)
    }

    /// Proposes a session. This node's consent is part of it, under the same conditions as for
    /// [`Engine::join_with`].
    pub fn create_with(
        &mut self,
        proposal: Proposal,
        options: JoinOptions,
        request: RequestId,
        now: Time,
    ) -> Result<SessionId, Error> {
        let id = proposal.id();
        if self.key_checks.waits_for(&id) {
            return Err(Error::SessionExists(id));
        }
        if let Some(check) = self.check_keys(&proposal)? {
            // What can be refused without asking is.
            self.begin(proposal.clone(), now)?;
            self.check_inputs(&proposal, options)?;
            self.check_blind(&proposal, options)?;
            let (limit, hint) = (self.host.settings.max_sessions, "wait for its answers");
            if self.key_checks.own() >= limit {
                return Err(Error::Limit { what: "proposals that wait for the foreign signer", limit, hint });
            }
            self.ask_about_keys(id, check, Waiting::Own { proposal, options, request });
            return Ok(id);
        }
        self.create_checked(proposal, options, request, now)?;
        Ok(id)
    }

    /// The same once the keys are known to be this node's.
    pub(super) fn create_checked(
        &mut self,
        proposal: Proposal,
        options: JoinOptions,
        request: RequestId,
        now: Time,
    ) -> Result<(), Error> {
        let id = proposal.id();
        let session = self.begin(proposal.clone(), now)?;
        self.check_inputs(&proposal, options)?;
        self.check_blind(&proposal, options)?;
        if let Some(coins) = self.coins_to_ask_for(&session, options)? {
            self.ask_for_coins(id, Some(proposal), coins, request);
            return Ok(());
        }
        self.insert(session);
        self.with_session(&id, now, |session, context| session.propose(request, context));
        Ok(())
    }

    /// A session of this node's own proposal, with nothing in it.
    fn begin(&mut self, proposal: Proposal, now: Time) -> Result<Session, Error> {
        let id = proposal.id();
        if self.sessions.contains(&id) || self.consents.creates(&id) {
            return Err(Error::SessionExists(id));
        }
        if proposal.signers.get(proposal.proposer) != Some(&self.own) {
            return Err(ProposalError::NotASigner.into());
        }
        self.check_expiry(&proposal, Duration::ZERO, now)?;
        self.check_room()?;
        self.check_kept(&self.own, proposal.as_bytes().len())?;
        self.new_session(proposal, now)
    }

    /// Sets whose proposals are taken from now on. Those that are here already stay.
    pub fn set_accepted_proposers(&mut self, accepted: AcceptedProposers) {
        self.admission.accepted = accepted;
    }

    /// Sets the key sets that the application calls its own wallet's: raw messages are signed with them only if it says so for
    /// the session.
    pub fn set_own_key_sets<'a>(&mut self, key_sets: impl IntoIterator<Item = &'a KeySet>) {
        self.index.set_own_key_sets(key_sets);
    }

    /// Consents to a proposal, or opens a closed session again, without a word of the application beyond that.
    pub fn join(&mut self, id: &SessionId, request: RequestId, now: Time) -> Result<(), Error> {
        self.join_with(id, JoinOptions::default(), request, now)
    }

    /// Consents to a proposal, or opens a closed session again. Where failover is on and there is an observer, that is
    /// asked for the transaction's coins first.
    pub fn join_with(
        &mut self,
        id: &SessionId,
        options: JoinOptions,
        request: RequestId,
        now: Time,
    ) -> Result<(), Error> {
        // What this node consented to before is neither asked for nor refused again.
        let asked = match self.view(id) {
            Some(session) if !session.joined() && session.certificate().is_none() => {
                session.may_join(now)?;
                self.check_kept(&session.proposer_key(), session.bytes())?;
                self.check_inputs(session.proposal(), options)?;
                self.check_blind(session.proposal(), options)?;
                self.coins_to_ask_for(&session, options)?
            }
            _ => None,
        };
        if let Some(coins) = asked {
            self.ask_for_coins(*id, None, coins, request);
            return Ok(());
        }
        self.known(id, now, |session, context| session.join(request, context))
    }

    /// The observer answered an [`Output::Coins`]: a state for each output, `None` for what it cannot tell; or why it
    /// could not be asked.
    pub fn coins(&mut self, request: RequestId, answer: Result<Vec<Option<CoinStatus>>, String>, now: Time) {
        let Some(waiting) = self.consents.take(request) else { return };
        let id = waiting.session;
        let result = check_coins(&waiting.coins, answer).map_err(Error::from).and_then(|()| {
            let Some(proposal) = waiting.own else {
                return self.known(&id, now, |session, context| session.join(request, context));
            };
            let session = self.begin(proposal, now)?;
            self.insert(session);
            self.with_session(&id, now, |session, context| session.propose(request, context));
            Ok(())
        });
        if let Err(error) = result {
            let (result, waits) = (Err(error), Waits::Never);
            self.host.outputs.push_back(Output::Done { session: id, request, result, waits });
        }
    }

    /// Refuses inputs of others that this node cannot verify, where the signatures alone are to complete the transaction.
    fn check_inputs(&self, proposal: &Proposal, options: JoinOptions) -> Result<(), ConsentError> {
        if !proposal.broadcast.is_failover()
            || options.allow_unverified_inputs
            || mutation::on(Mutation::UnverifiedInputsJoined)
        {
            return Ok(());
        }
        match self.host.codec.unverified(proposal).first() {
            Some(input) => Err(ConsentError::UnverifiedInput { input: *input }),
            None => Ok(()),
        }
    }

    /// Refuses raw messages to be signed with keys that own coins: each may be the signature hash of a transaction that
    /// spends them.
    fn check_blind(&self, proposal: &Proposal, options: JoinOptions) -> Result<(), ConsentError> {
        if proposal.transaction.is_some() || options.sign_blind || mutation::on(Mutation::BlindUnasked) {
            return Ok(());
        }
        let known = |key_set| (self.index.wallet(key_set), self.index.is_own(key_set));
        let wallets: Vec<_> = proposal.key_sets.iter().map(known).collect();
        for (message, index) in proposal.messages.iter().zip(0..) {
            let (session, own) = wallets[message.key_set];
            if session.is_some() || own || message.derivation.taproot != Taproot::None {
                return Err(ConsentError::BlindMessage { message: index, session });
            }
        }
        Ok(())
    }

    /// The coins of which the observer is asked before this node consents, each with its input's index.
    ///
    /// What this node asked about before, when it consented to a session that this one replaces, is not asked again: that
    /// session's transaction may spend it by now.
    fn coins_to_ask_for(
        &self,
        session: &Session,
        options: JoinOptions,
    ) -> Result<Option<Vec<(u32, OutPoint)>>, Error> {
        let failover = session.proposal().broadcast.is_failover();
        if !self.host.settings.observer || !failover || options.allow_missing_coins {
            return Ok(None);
        }
        let Some(spends) = session.spends() else { return Ok(None) };
        let (mut known, mut older) = (HashSet::new(), session.proposal().replaces);
        while let Some(replaced) = older.and_then(|id| self.view(&id)) {
            if replaced.joined() {
                known.extend(replaced.spends().into_iter().flatten().copied());
            }
            older = replaced.proposal().replaces;
        }
        let coins: Vec<_> =
            (0..).zip(spends.iter().copied()).filter(|(_, coin)| !known.contains(coin)).collect();
        let (limit, hint) = (self.host.settings.max_sessions, "wait for their answers");
        if self.consents.len() >= limit {
            return Err(Error::Limit { what: "consents that wait for the chain observer", limit, hint });
        }
        Ok(Some(coins).filter(|coins| !coins.is_empty()))
    }

    fn ask_for_coins(
        &mut self,
        session: SessionId,
        own: Option<Proposal>,
        coins: Vec<(u32, OutPoint)>,
        request: RequestId,
    ) {
        let asked = coins.iter().map(|(_, coin)| *coin).collect();
        self.consents.wait(request, consents::Waiting { session, own, coins });
        self.host.outputs.push_back(Output::Coins { session, request, coins: asked });
    }

    /// Refuses a proposal. Ends the session for everybody, since it needs all signers.
    pub fn decline(
        &mut self,
        id: &SessionId,
        reason: String,
        request: RequestId,
        now: Time,
    ) -> Result<(), Error> {
        self.take_back(id, now, |session, context| session.decline(reason, request, context))
    }

    /// Does what ends a session for this node. The later word stands: a consent that waits for the chain observer is given
    /// no more.
    fn take_back(
        &mut self,
        id: &SessionId,
        now: Time,
        act: impl FnOnce(&mut Session, &mut Context<'_>) -> Result<(), Error>,
    ) -> Result<(), Error> {
        self.known(id, now, act)?;
        if mutation::on(Mutation::ConsentOutlivesAbort) {
            return Ok(());
        }
        for request in self.consents.withdraw(id) {
            let (state, hint) = ("given up by a later request", "join it again if it is wanted after all");
            let result = Err(Error::WrongState { session: *id, state, hint });
            self.host.outputs.push_back(Output::Done { session: *id, request, result, waits: Waits::Never });
        }
        Ok(())
    }

    /// Stops taking part. A partial signature that is out already is not taken back by that.
    pub fn abort(
        &mut self,
        id: &SessionId,
        reason: String,
        request: RequestId,
        now: Time,
    ) -> Result<(), Error> {
        self.take_back(id, now, |session, context| session.abort(reason, request, context))
    }

    /// Forgets a session but for a tombstone, which stays until the expiry. Refused while that would give up a transaction
    /// that may still come about.
    pub fn close(&mut self, id: &SessionId, request: RequestId, now: Time) -> Result<(), Error> {
        if self.answered.contains(id) {
            let (session, result, waits) = (*id, Ok(()), Waits::Never);
            self.host.outputs.push_back(Output::Done { session, request, result, waits });
            return Ok(());
        }
        self.take_back(id, now, |session, _| session.close(request))
    }

    /// Gives a session's transaction up for this node, and forgets the session. A certificate that comes later is taken, kept,
    /// passed on and told once; no turn is taken with it before [`Engine::broadcast_now`].
    pub fn abandon(&mut self, id: &SessionId, request: RequestId, now: Time) -> Result<(), Error> {
        self.take_back(id, now, |session, context| {
            session.abandon(request, context);
            Ok(())
        })
    }

    /// The application broadcast the transaction, or saw it.
    pub fn notify_broadcast(
        &mut self,
        id: &SessionId,
        txid: Option<Txid>,
        request: RequestId,
        now: Time,
    ) -> Result<(), Error> {
        self.known(id, now, |session, context| session.notify(txid, request, context))
    }

    /// The application cannot reach the network: sends a NACK, so that the next signers take over.
    pub fn report_broadcast_failed(
        &mut self,
        id: &SessionId,
        reason: String,
        request: RequestId,
        now: Time,
    ) -> Result<(), Error> {
        self.known(id, now, |session, context| session.report_failed(reason, request, context))
    }

    /// Broadcasts now, whoever's turn it is.
    pub fn broadcast_now(&mut self, id: &SessionId, request: RequestId, now: Time) -> Result<(), Error> {
        self.known(id, now, |session, context| session.broadcast_now(request, context))
    }

    /// The application handled a durable event. That it handled a proposal is not stored before its answer is.
    pub fn acknowledge(&mut self, id: &SessionId, kind: DurableKind, now: Time) {
        if kind == DurableKind::Proposed && self.consents.waits_for(id) {
            return;
        }
        self.with_session(id, now, |session, _| session.acknowledge(kind));
    }

    /// Hands out all durable events again that were not acknowledged.
    pub fn redeliver(&mut self, now: Time) {
        for id in self.ids() {
            if self.sessions.get(&id).and_then(Slot::packed).is_none_or(|packed| !packed.summary.acknowledged)
            {
                self.with_session(&id, now, |session, _| session.redeliver());
            }
        }
    }

    /// The ids of all sessions, closed ones too.
    pub fn ids(&self) -> Vec<SessionId> {
        let mut ids: Vec<_> = self.sessions.ids().copied().collect();
        ids.sort_unstable();
        ids
    }

    /// How a session stands.
    pub fn status(&mut self, id: &SessionId, now: Time) -> Option<SessionStatus> {
        let codec = self.host.codec.clone();
        let context = self.host.lend(now);
        match self.sessions.get_mut(id)? {
            Slot::Ready(session) => Some(session.status(&context)),
            Slot::Packed(packed) => Some(Session::unpack(packed, *id, codec.as_ref()).status(&context)),
        }
    }

    /// The phase of each session, in no order.
    pub fn phases(&self) -> impl Iterator<Item = Phase> {
        self.sessions.iter().map(|(_, slot)| slot.phase())
    }

    /// The proposal of a session.
    pub fn proposal(&self, id: &SessionId) -> Option<Proposal> {
        Some(match self.sessions.get(id)? {
            Slot::Ready(session) => session.proposal().clone(),
            Slot::Packed(packed) => packed.proposal(*id),
        })
    }

    /// The proposals of other sessions whose transactions may still come about, to compare a new one with. `true`: this
    /// node takes part in it; `false`: it ended here, and others may complete it.
    pub fn pending_transactions(&self, but: &SessionId) -> Vec<(Proposal, bool)> {
        let mut others: Vec<_> = self
            .sessions
            .iter()
            .filter(|(id, _)| *id != but)
            .filter_map(|(id, slot)| match slot {
                Slot::Ready(session) => Some((session.proposal().clone(), session.transaction_pending()?)),
                Slot::Packed(packed) => {
                    let summary = &packed.summary;
                    let pending = summary.joined && !(summary.certified && summary.done);
                    pending.then(|| (packed.proposal(*id), !summary.is_closed()))
                }
            })
            .filter(|(proposal, _)| proposal.transaction.is_some())
            .collect();
        others.sort_unstable_by_key(|(proposal, _)| proposal.id());
        others
    }

    /// The election of a session.
    pub fn election(&self, id: &SessionId) -> Option<Election> {
        self.view(id).map(|session| session.election().clone())
    }

    /// This node's signer index in a session.
    pub fn own_index(&self, id: &SessionId) -> Option<usize> {
        self.sessions.get(id).map(Slot::own_index)
    }

    /// Whether this node's own turn is open.
    pub fn own_turn_open(&self, id: &SessionId) -> Option<bool> {
        self.sessions.get(id).map(Slot::own_turn_open)
    }

    /// The finished signatures of a session.
    pub fn certificate(&self, id: &SessionId) -> Option<Certificate> {
        match self.sessions.get(id)? {
            Slot::Ready(session) => session.certificate().cloned(),
            Slot::Packed(packed) => packed.certificate(*id),
        }
    }

    /// The finished transaction of a session.
    pub fn final_transaction(&self, id: &SessionId) -> Option<SignedTransaction> {
        self.view(id)?.final_transaction().cloned()
    }

    /// Everything a session holds, as bytes: push, QR code or file instead of the network. What is not on the disk
    /// yet must not be handed out: see [`Engine::request_export`].
    pub fn export(&self, id: &SessionId) -> Option<Vec<u8>> {
        self.view(id).map(|session| session.export())
    }

    /// [`Engine::export`], to be handed out at the request's [`Output::Done`]: then all of it is on the
    /// disk.
    pub fn request_export(
        &mut self,
        id: &SessionId,
        request: RequestId,
        now: Time,
    ) -> Result<Vec<u8>, Error> {
        self.known(id, now, |session, _| {
            session.answer(request);
            Ok(session.export())
        })
    }

    /// All signers of sessions in which something is left to say, if they changed since the last call.
    pub fn wanted_signers_if_changed(&mut self) -> Option<HashSet<SignerKey>> {
        let mut wanted = self.index.wanted_if_changed()?;
        wanted.remove(&self.own);
        Some(wanted)
    }

    /// All signers that are to be asked for signs of life, while they are connected, if they changed since the last call:
    /// those of sessions in which a turn approaches. None with [`EarlyTurns::gone`](crate::protocol::EarlyTurns::gone) off. Of
    /// those that do not answer [`Engine::silent`] is to be told.
    pub fn asked_signers_if_changed(&mut self) -> Option<HashSet<SignerKey>> {
        let mut asked = self.index.asked_if_changed()?;
        asked.remove(&self.own);
        Some(asked)
    }
}
