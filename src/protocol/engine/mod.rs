//! All sessions of one node: routing, limits, timers.

mod admission;
mod answered;
mod application;
mod clocks;
mod consents;
mod debt;
mod host;
mod key_checks;
mod network;
mod purged;
mod session_index;
mod session_table;
mod verification;

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::time::Duration;

use self::admission::{Admission, Proposer};
use self::answered::{Answer, Answered};
use self::clocks::Clocks;
use self::consents::Consents;
use self::host::Host;
use self::key_checks::{KeyChecks, Waiting};
use self::purged::Purged;
use self::session_index::SessionIndex;
use self::session_table::{SessionTable, Slot, View};
use self::verification::{LatestIds, Verification};
use crate::error::{Error, ProposalError, SignerError, WireError};
use crate::mutation::{self, Mutation};
use crate::protocol::counters::Counters;
use crate::protocol::crypto::Scheme;
use crate::protocol::envelope::Envelope;
use crate::protocol::event::{Event, SessionEvent};
use crate::protocol::failover::{Pace, Replacement};
use crate::protocol::proposal::Proposal;
use crate::protocol::reputation::Reputation;
use crate::protocol::session::Session;
use crate::protocol::session::context::Context;
use crate::protocol::signer::{HeldKeys, KeyCheck};
use crate::protocol::transaction::TransactionCodec;
use crate::protocol::{Durability, Output, SessionChange, Settings, StoredSession, Ticket, Waits, limits};
use crate::types::{
    ChainStatus, ChainTip, CoinStatus, SessionId, SignerKey, SubmitOutcome, Time, UnixMillis,
};

/// Input that was refused, by kind. Bad input never changes anything else.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Refused {
    /// Not canonical, or over a limit.
    pub malformed: u64,
    /// Wrong signatures.
    pub signatures: u64,
    /// Of sessions that are unknown, or that the sender is no signer of.
    pub strangers: u64,
    /// Proposals that cannot be, or that are too many.
    pub proposals: u64,
}

impl Refused {
    /// Of any kind.
    pub fn total(&self) -> u64 {
        self.malformed + self.signatures + self.strangers + self.proposals
    }
}

/// What an engine keeps in memory. Each number has a bound that no input can exceed: docs/simulation.md.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Usage {
    /// Sessions, tombstones too.
    pub sessions: usize,
    /// Envelopes of all sessions.
    pub envelopes: usize,
    /// Their bytes.
    pub bytes: usize,
    /// Signers of whom is known when they were last heard.
    pub heard: usize,
    /// Sessions that peers spoke of and that are unknown here.
    pub unknown: usize,
    /// Proposals that were answered, of which little more than the ids is known.
    pub answered: usize,
}

/// The state of one node: see the [module](super).
#[derive(Debug)]
pub struct Engine {
    own: SignerKey,
    held: Arc<dyn HeldKeys>,
    host: Host,
    sessions: SessionTable,
    index: SessionIndex,
    unknown: HashMap<(SessionId, SignerKey), Duration>,
    /// Ids of purged sessions.
    purged: Purged,
    /// Others' proposals that are done with and were never joined, but for the latest, which are sessions still.
    answered: Answered,
    admission: Admission,
    /// Sessions whose records cannot be read. None begins anew, for what this node said in it is not known.
    set_aside: HashSet<SessionId>,
    /// Sessions that name an older one, by the older one's id.
    replacing: HashMap<SessionId, Vec<SessionId>>,
    /// Consents that wait for the observer.
    consents: Consents,
    /// Proposals that wait for the foreign signer.
    key_checks: KeyChecks,
    refused: Refused,
    reported: LatestIds<{ limits::REPORTED }>,
    verification: Verification,
    clocks: Clocks,
}

impl Engine {
    /// An engine without sessions, for the signer with this key.
    pub fn new(
        own: SignerKey,
        settings: Settings,
        scheme: Arc<dyn Scheme>,
        codec: Arc<dyn TransactionCodec>,
    ) -> Self {
        Self {
            own,
            held: Arc::new(own),
            host: Host::new(settings, scheme, codec),
            sessions: SessionTable::default(),
            index: SessionIndex::default(),
            unknown: HashMap::new(),
            purged: Purged::default(),
            answered: Answered::default(),
            admission: Admission::default(),
            set_aside: HashSet::new(),
            replacing: HashMap::new(),
            consents: Consents::default(),
            key_checks: KeyChecks::default(),
            refused: Refused::default(),
            reported: LatestIds::default(),
            verification: Verification::default(),
            clocks: Clocks::default(),
        }
    }

    /// Sets which participant keys are held at this node. By default its identity key alone.
    pub fn with_held_keys(mut self, held: Arc<dyn HeldKeys>) -> Self {
        self.held = held;
        self
    }

    /// The next thing to do. `None`: nothing until an input or the next timeout.
    pub fn poll_output(&mut self) -> Option<Output> {
        self.host.outputs.pop_front()
    }

    /// When [`Engine::tick`] is to be called, by the monotonic clock.
    pub fn next_timeout(&self) -> Option<Duration> {
        self.index.next().map(|(at, _)| at)
    }

    /// This node's signer key.
    pub fn own_key(&self) -> &SignerKey {
        &self.own
    }

    /// What was refused so far.
    pub fn refused(&self) -> Refused {
        self.refused
    }

    /// What its sessions did so far.
    pub fn counters(&self) -> &Counters {
        &self.host.counters
    }

    /// What this node saw itself of how a signer broadcasts.
    pub fn reputation(&self, signer: &SignerKey, now: Time) -> Reputation {
        self.host.reputations.of(signer, now.wall)
    }

    /// Signers whose reputation is more than what is assumed of everybody.
    pub fn judged_signers(&self) -> impl Iterator<Item = &SignerKey> {
        self.host.reputations.signers()
    }

    /// Forgets how a signer broadcast. Answers whether anything was known.
    pub fn forget_signer(&mut self, signer: &SignerKey) -> bool {
        self.host.reputations.forget(signer)
    }

    /// Reads what was stored of a signer.
    pub fn load_reputation(&mut self, signer: SignerKey, record: &[u8]) -> Result<(), WireError> {
        self.host.reputations.load(signer, record)
    }

    /// What is to be stored of signers, and (`None`) of whom nothing is, since the last call. It is written with whatever is
    /// committed next, and nothing waits for it.
    pub fn take_changed_reputations(&mut self) -> Vec<(SignerKey, Option<Vec<u8>>)> {
        self.host.reputations.take_changed()
    }

    /// What it keeps in memory now.
    pub fn usage(&self) -> Usage {
        let each = self.sessions.iter().map(|(_, session)| session.envelopes());
        let (envelopes, bytes) = each.fold((0, 0), |sum, one| (sum.0 + one.0, sum.1 + one.1));
        let (heard, unknown) = (self.host.heard.len(), self.unknown.len());
        let answered = self.answered.len();
        Usage { sessions: self.sessions.len(), envelopes, bytes, heard, unknown, answered }
    }

    /// Runs `act` on a session, then stores, sends and reschedules what follows from it.
    fn with_session<R>(
        &mut self,
        id: &SessionId,
        now: Time,
        act: impl FnOnce(&mut Session, &mut Context<'_>) -> R,
    ) -> Option<R> {
        let (result, older) = self.step(id, now, act)?;
        self.step_older(older, now);
        Some(result)
    }

    /// Lets a session look again at what replaces it, and all that it replaces itself.
    fn step_older(&mut self, mut older: Option<SessionId>, now: Time) {
        while let Some(id) = older {
            older = self.proposal(&id).and_then(|proposal| proposal.replaces);
            self.step(&id, now, |_, _| ());
        }
    }

    /// Answers also which older session is to look again, because of what is known now of this one, which replaces it.
    fn step<R>(
        &mut self,
        id: &SessionId,
        now: Time,
        act: impl FnOnce(&mut Session, &mut Context<'_>) -> R,
    ) -> Option<(R, Option<SessionId>)> {
        let replacement = self.replacement_of(id, now);
        let session = self.sessions.unpacked(id, self.host.codec.as_ref())?;
        let kind = |replacement: Option<Replacement>| replacement.map(|kind| std::mem::discriminant(&kind));
        let said_before = kind(session.as_replacement(now));
        session.replaced_by(replacement, now);
        let (watched, joined) = (!session.watch_ended(), session.joined());
        let mut context = self.host.lend(now);
        let result = act(session, &mut context);
        session.flush(&mut context);
        if let Some(evidence) = session.final_evidence().filter(|_| watched) {
            context.counters.watch_ended(evidence);
        }
        let key = session.proposer_key();
        if !joined && session.joined() && key != self.own {
            let partner = self.index.partner(&key) || self.admission.names(&key);
            let proposals = context.settings.max_proposals_per_signer;
            self.admission.joined(Proposer { key, partner, proposals }, session.bytes());
        }
        let deadline = session.next_timeout(&context);
        let purgeable = session.is_purgeable(now).then(|| session.proposal().clone());
        let says = session.as_replacement(now).filter(|_| purgeable.is_none());
        let older = session.proposal().replaces.filter(|_| kind(says) != said_before);
        if purgeable.is_none() {
            let asks = context.settings.early_turns.gone && session.asks();
            self.index.note(session, deadline, asks);
        }
        for key in self.host.take_relayed() {
            self.note_heard(key, now);
        }
        match purgeable {
            Some(proposal) => self.purge(&proposal),
            None => self.sessions.rest(id, self.host.settings.pack_after, now.monotonic),
        }
        while let Some(id) = self.index.too_old() {
            self.keep_answer(&id, now.wall);
        }
        Some((result, older))
    }

    /// Forgets another signer's proposal that is done with and was never joined, but for what is needed so that it does
    /// not come again.
    fn keep_answer(&mut self, id: &SessionId, now: UnixMillis) {
        let Some(session) = self.view(id) else { return };
        let proposal = session.proposal().clone();
        let partner = self.is_partner(&session.proposer_key());
        let answer = Answer::new(&proposal, session.last_word().map(Envelope::as_bytes), partner);
        drop(session);
        self.remove(&proposal);
        self.persist(*id, vec![SessionChange::DropSession, SessionChange::Answered(answer.encode())]);
        for forgotten in self.answered.keep(*id, answer, now) {
            self.persist(forgotten, vec![SessionChange::DropSession]);
        }
    }

    /// Writes what need not be on the disk before anything else happens.
    fn persist(&mut self, session: SessionId, changes: Vec<SessionChange>) {
        let durability = Durability::Eventual;
        self.host.outputs.push_back(Output::Persist { session, changes, durability, barrier: false });
    }

    /// Whether this signer shares a joined session with this node, or the application named it.
    fn is_partner(&self, signer: &SignerKey) -> bool {
        self.index.partner(signer) || self.admission.names(signer)
    }

    fn proposer(&self, key: SignerKey) -> Proposer {
        let proposals = self.host.settings.max_proposals_per_signer;
        Proposer { key, partner: self.is_partner(&key), proposals }
    }

    /// Removes a session, and notes its id as purged.
    fn purge(&mut self, proposal: &Proposal) {
        let (id, expires_at) = (proposal.id(), proposal.expires_at);
        self.remove(proposal);
        self.persist(id, vec![SessionChange::DropSession, SessionChange::Ended(expires_at)]);
        if let Some(first) = self.purged.note(expires_at, id) {
            self.persist(first, vec![SessionChange::DropSession]);
        }
    }

    /// Purges a packed session without unpacking it. Answers whether this is a packed one that is purgeable.
    fn purge_packed(&mut self, id: &SessionId, now: Time) -> bool {
        let packed = self.sessions.get(id).and_then(Slot::packed);
        let Some(packed) = packed.filter(|packed| packed.is_purgeable(now.wall)) else { return false };
        let proposal = packed.proposal(*id);
        self.purge(&proposal);
        true
    }

    fn view(&self, id: &SessionId) -> Option<View<'_>> {
        self.sessions.view(id, self.host.codec.as_ref())
    }

    fn insert(&mut self, session: Session) {
        let id = session.id();
        if let Some(older) = session.proposal().replaces {
            self.replacing.entry(older).or_default().push(id);
        }
        self.sessions.insert(session);
    }

    fn remove(&mut self, proposal: &Proposal) {
        self.sessions.remove(&proposal.id());
        self.index.forget(proposal);
        let Some(older) = proposal.replaces else { return };
        if let Some(newer) = self.replacing.get_mut(&older) {
            newer.retain(|newer| *newer != proposal.id());
            if newer.is_empty() {
                self.replacing.remove(&older);
            }
        }
    }

    /// The strongest that is known of all sessions that lead back to this one and spend one of its coins. An id is the
    /// hash of what its session replaces, so nothing leads back to itself.
    fn replacement_of(&self, id: &SessionId, now: Time) -> Option<Replacement> {
        let mut newer = self.replacing.get(id)?.clone();
        let older = self.view(id)?;
        let mut strongest = None;
        while let Some(id) = newer.pop() {
            newer.extend(self.replacing.get(&id).into_iter().flatten());
            if self.sessions.get(&id).is_some_and(Slot::certified)
                && let Some(session) = self.view(&id).filter(|session| session.may_replace(&older))
            {
                strongest = strongest.max(session.as_replacement(now));
            }
        }
        strongest
    }

    fn known<R>(
        &mut self,
        id: &SessionId,
        now: Time,
        act: impl FnOnce(&mut Session, &mut Context<'_>) -> Result<R, Error>,
    ) -> Result<R, Error> {
        self.with_session(id, now, act).ok_or_else(|| self.unknown_session(id))?
    }

    fn unknown_session(&self, id: &SessionId) -> Error {
        match self.answered.contains(id) {
            true => {
                let (state, hint) = ("over, and forgotten but for that", "propose a new one");
                Error::WrongState { session: *id, state, hint }
            }
            false => Error::UnknownSession(*id),
        }
    }

    fn new_session(&mut self, proposal: Proposal, now: Time) -> Result<Session, Error> {
        let context = self.host.lend(now);
        Session::new(proposal, &self.own, &context)
    }

    /// Checks that the participant keys in this node's own place are its signer's, and no others are. Answers what the
    /// foreign signer is to be asked, if there is one.
    fn check_keys(&self, proposal: &Proposal) -> Result<Option<KeyCheck>, Error> {
        let signer = proposal.index_of(&self.own).ok_or(ProposalError::NotASigner)?;
        if mutation::on(Mutation::AimedKeys) {
            return Ok(None);
        }
        let check = KeyCheck { proposal: proposal.clone(), signer };
        match check.run(|key, origin| Ok(self.held.holds(key, origin))) {
            Ok(()) | Err(Error::Proposal(ProposalError::KeyNotHeld { .. }))
                if self.host.settings.foreign_signer =>
            {
                Ok(Some(check))
            }
            checked => checked.map(|()| None),
        }
    }

    fn ask_about_keys(&mut self, session: SessionId, check: KeyCheck, waiting: Waiting) {
        self.key_checks.wait(session, waiting);
        self.host.outputs.push_back(Output::CheckKeys { session, check: Box::new(check) });
    }

    /// The foreign signer was asked, as [`Output::CheckKeys`] says: what is wrong with the keys, or why it could not be
    /// asked.
    pub fn keys_checked(&mut self, id: &SessionId, answer: Result<(), Error>, now: Time) {
        match self.key_checks.take(id) {
            Some(Waiting::Own { proposal, options, request }) => {
                let result = answer.and_then(|()| self.create_checked(proposal, options, request, now));
                if let Err(error) = result {
                    let (session, result, waits) = (*id, Err(error), Waits::Never);
                    self.host.outputs.push_back(Output::Done { session, request, result, waits });
                }
            }
            Some(Waiting::Received { session, beside }) => match answer {
                Ok(()) => self.received(*session, beside, now),
                Err(error) => {
                    self.refused.proposals += 1;
                    if let Error::Signer(error) = error {
                        let event = SessionEvent {
                            session: None,
                            event: Event::SignerFailed { error },
                            durable: None,
                        };
                        self.host.outputs.push_back(Output::Event { event });
                    } else {
                        self.report_refused(session.proposal(), error, now);
                    }
                }
            },
            None => {}
        }
    }

    fn check_expiry(
        &self,
        proposal: &Proposal,
        clock_error: Duration,
        now: Time,
    ) -> Result<(), ProposalError> {
        proposal.check_expiry(now.wall, clock_error)?;
        let expires_at = proposal.expires_at;
        if self.was_purged(proposal) {
            return Err(ProposalError::Expiry { expires_at, now: expires_at });
        }
        Ok(())
    }

    /// Whether this node had it once, and keeps its id alone, or records that it cannot read.
    fn was_purged(&self, proposal: &Proposal) -> bool {
        let (expires_at, id) = (proposal.expires_at, proposal.id());
        self.purged.may_contain(expires_at, id) || self.set_aside.contains(&id)
    }

    fn check_room(&self) -> Result<(), Error> {
        if self.index.open() < self.host.settings.max_sessions {
            return Ok(());
        }
        let (what, hint) = ("open sessions", "close those that are settled, or raise max_sessions");
        Err(Error::Limit { what, limit: self.host.settings.max_sessions, hint })
    }

    /// Whether one more session may be joined that may have to be kept after its end. None is evicted for it.
    fn check_kept(&self, proposer: &SignerKey, bytes: usize) -> Result<(), Error> {
        let (all, theirs) = (self.index.all_kept(), self.index.kept(proposer));
        let (what, hint) = (
            "ended sessions that may still complete",
            "they are forgotten once the chain settled their coins, or some weeks after their expiry",
        );
        let full = |limit: usize| Err(Error::Limit { what, limit, hint });
        let share = if *proposer == self.own { 1 } else { 4 };
        if all.count >= limits::KEPT || all.bytes + bytes > limits::KEPT_BYTES {
            return full(limits::KEPT);
        }
        if theirs.count >= limits::KEPT / share || theirs.bytes + bytes > limits::KEPT_BYTES / share {
            return full(limits::KEPT / share);
        }
        Ok(())
    }

    // ---- The store ----

    /// Reads a session that was stored before. Its durable events that were not acknowledged come again.
    pub fn load(&mut self, stored: &StoredSession, now: Time) -> Result<SessionId, Error> {
        let context = self.host.lend(now);
        let session = Session::restore(stored, &self.own, &context)?;
        let (id, older) = (session.id(), session.proposal().replaces);
        if session.joined() {
            self.host.counters.note_signers(&session.proposal().signers);
        }
        self.insert(session);
        self.with_session(&id, now, |session, context| session.tick(context));
        self.step_older(older, now);
        Ok(id)
    }

    /// A stored session cannot be read: it is neither taken up nor begun anew, and its records stay as they are.
    pub fn set_aside(&mut self, id: SessionId) {
        self.set_aside.insert(id);
    }

    /// Reads that a session ended before: see [`SessionChange::Ended`].
    pub fn load_ended(&mut self, id: SessionId, expires_at: UnixMillis) {
        self.purged.note(expires_at, id);
    }

    /// Reads what is kept of a proposal that was answered before: see [`SessionChange::Answered`].
    pub fn load_answered(&mut self, id: SessionId, record: &[u8]) -> Result<(), WireError> {
        let answer = Answer::decode(record)?;
        for forgotten in self.answered.keep(id, answer, UnixMillis(0)) {
            self.persist(forgotten, vec![SessionChange::DropSession]);
        }
        Ok(())
    }

    /// Reads the pace that was stored before: see [`SessionChange::Pace`].
    pub fn load_pace(&mut self, record: &[u8]) -> Result<(), WireError> {
        self.host.pace = Pace::decode(record)?;
        Ok(())
    }

    // ---- What others answer ----

    /// The signer answered a [`Output::Sign`].
    pub fn signed(
        &mut self,
        id: &SessionId,
        ticket: Ticket,
        result: Result<Envelope, SignerError>,
        now: Time,
    ) {
        let remove = self.with_session(id, now, |session, context| session.signed(ticket, result, context));
        if remove == Some(true)
            && let Some(proposal) = self.proposal(id)
        {
            self.remove(&proposal);
        }
    }

    /// The broadcaster answered a [`Output::Submit`]; `Err` if it could not reach the network.
    pub fn submitted(&mut self, id: &SessionId, answer: Result<SubmitOutcome, String>, now: Time) {
        self.with_session(id, now, |session, context| {
            context.counters.submitted(&answer);
            session.submitted(answer, context);
        });
    }

    /// The observer answered a [`Output::Observe`]; `None` if it could not.
    pub fn observed(&mut self, id: &SessionId, answer: Option<ChainStatus>, now: Time) {
        self.with_session(id, now, |session, context| session.observed(answer, context));
    }

    /// The observer says whether the chain is congested, so that transactions take longer to be seen than they did. It stays
    /// so until it says otherwise.
    pub fn congested(&mut self, congested: bool) {
        self.host.pace.set_congested(congested);
    }

    /// Whether the observer said so last.
    pub fn is_congested(&self) -> bool {
        self.host.pace.congested()
    }

    /// The observer answered an [`Output::Tip`]: the last block, and a state for each output; `None` if it could not, or
    /// cannot tell.
    pub fn tip(&mut self, id: &SessionId, answer: Option<(ChainTip, Vec<Option<CoinStatus>>)>, now: Time) {
        self.with_session(id, now, |session, context| session.tip(answer, context));
    }

    // ---- Time ----

    /// Does what the time asks for.
    pub fn tick(&mut self, now: Time) {
        while let Some((at, id)) = self.index.next() {
            if at > now.monotonic {
                break;
            }
            if self.purge_packed(&id, now) {
                continue;
            }
            self.with_session(&id, now, |session, context| session.tick(context));
            // One that wants to be called at once again waits until the next call.
            self.index.not_before(&id, now.monotonic, now.monotonic + Duration::from_millis(1));
        }
    }

    /// After sleep: look at everything again.
    pub fn woke(&mut self, now: Time) {
        for id in self.ids() {
            self.with_session(&id, now, |session, context| session.woke(context));
        }
    }
}
