//! All sessions of one node: routing, limits, timers.

use std::collections::{HashMap, HashSet, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use crate::error::{Error, ProposalError, SignerError, WireError};
use crate::protocol::election::Election;
use crate::protocol::envelope::{Content, Envelope};
use crate::protocol::event::DurableKind;
use crate::protocol::held::{Held as Slot, Sessions, View};
use crate::protocol::index::Index;
use crate::protocol::proposal::Proposal;
use crate::protocol::scheme::Scheme;
use crate::protocol::session::{Context, Session, compare};
use crate::protocol::status::SessionStatus;
use crate::protocol::transaction::TransactionCodec;
use crate::protocol::wire::{self, Certificate, pb};
use crate::protocol::{Output, Record, RequestId, Settings, StoredSession, Ticket, Time, limits};
use crate::store::Durability;
use crate::types::{ChainStatus, SessionId, SignedTransaction, SignerKey, SubmitOutcome, Txid, UnixMillis};

/// How often a peer is told that a session it speaks of is unknown here.
const ASK_UNKNOWN_EVERY: Duration = Duration::from_secs(1);
/// How many such sessions of one peer are remembered.
const UNKNOWN_SESSIONS_PER_PEER: usize = 64;
/// How many such sessions are remembered.
const UNKNOWN_SESSIONS: usize = 1024;
/// How many signers more than twice those wanted may be remembered as heard, before the others are forgotten.
const HEARD_SPARE: usize = 64;

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

/// What an engine keeps in memory. Each number has a bound that no input can exceed: docs/simulation.md.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Held {
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
}

/// The state of one node: see the [module](super).
#[derive(Debug)]
pub struct Engine {
    own: SignerKey,
    settings: Settings,
    scheme: Arc<dyn Scheme>,
    codec: Arc<dyn TransactionCodec>,
    sessions: Sessions,
    index: Index,
    connected: HashSet<SignerKey>,
    heard: HashMap<SignerKey, Duration>,
    unknown: HashMap<(SessionId, SignerKey), Duration>,
    /// The latest expiry of the sessions that were forgotten. What expires no later may be one of them, however the
    /// clock was turned since: to begin it anew would be to say two things.
    forgotten: UnixMillis,
    /// Sessions that name an older one, by the older one's id.
    replacing: HashMap<SessionId, Vec<SessionId>>,
    tickets: Ticket,
    outputs: VecDeque<Output>,
    refused: Refused,
}

impl std::fmt::Debug for Session {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Session({})", self.id())
    }
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
            settings,
            scheme,
            codec,
            sessions: Sessions::default(),
            index: Index::default(),
            connected: HashSet::new(),
            heard: HashMap::new(),
            unknown: HashMap::new(),
            forgotten: UnixMillis(0),
            replacing: HashMap::new(),
            tickets: 0,
            outputs: VecDeque::new(),
            refused: Refused::default(),
        }
    }

    /// The next thing to do. `None`: nothing until an input or the next timeout.
    pub fn poll_output(&mut self) -> Option<Output> {
        self.outputs.pop_front()
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

    /// What it keeps in memory now.
    pub fn held(&self) -> Held {
        let each = self.sessions.iter().map(|(_, session)| session.held());
        let (envelopes, bytes) = each.fold((0, 0), |sum, one| (sum.0 + one.0, sum.1 + one.1));
        let (heard, unknown) = (self.heard.len(), self.unknown.len());
        Held { sessions: self.sessions.len(), envelopes, bytes, heard, unknown }
    }

    /// Runs `act` on a session, then stores, sends and reschedules what follows from it.
    fn with_session<R>(
        &mut self,
        id: &SessionId,
        now: Time,
        act: impl FnOnce(&mut Session, &mut Context<'_>) -> R,
    ) -> Option<R> {
        let (result, concerned) = self.step(id, now, act)?;
        if let Some(older) = concerned {
            self.step(&older, now, |_, _| ());
        }
        Some(result)
    }

    /// Answers also which older session is to look again, because of what is known now of this one, which replaces it.
    fn step<R>(
        &mut self,
        id: &SessionId,
        now: Time,
        act: impl FnOnce(&mut Session, &mut Context<'_>) -> R,
    ) -> Option<(R, Option<SessionId>)> {
        let (pause, end) = self.replaced(id);
        let session = self.sessions.unpacked(id, self.codec.as_ref())?;
        let replaces_before = session.replaces();
        session.replaced(pause, end);
        let mut relayed = Vec::new();
        let heard = &self.heard;
        let mut context = Context {
            now,
            settings: &self.settings,
            scheme: self.scheme.as_ref(),
            codec: self.codec.as_ref(),
            heard: &|key| heard.get(key).copied(),
            connected: &self.connected,
            tickets: &mut self.tickets,
            outputs: &mut self.outputs,
            relayed: &mut relayed,
        };
        let result = act(session, &mut context);
        session.flush(&mut context);
        let deadline = session.next_timeout(&context);
        let spent = session.spent(now).then(|| session.proposal.clone());
        let replaces = session.replaces().filter(|_| spent.is_none());
        if spent.is_none() {
            self.index.note(session, deadline);
        }
        for key in relayed {
            self.note_heard(key, now);
        }
        match spent {
            Some(proposal) => self.forget(&proposal),
            None => self.sessions.rest(id, self.settings.ready_sessions, now.monotonic),
        }
        let concerned = replaces.filter(|_| replaces != replaces_before).map(|(older, ..)| older);
        Some((result, concerned))
    }

    /// Forgets a session that is spent.
    fn forget(&mut self, proposal: &Proposal) {
        self.forgotten = self.forgotten.max(proposal.expires_at);
        self.remove(proposal);
        let (session, changes) = (proposal.id(), vec![Record::DropSession]);
        self.outputs.push_back(Output::Persist { session, changes, durability: Durability::Eventual });
    }

    /// Forgets a packed session that is spent, without unpacking it. Answers whether this is one.
    fn forget_packed(&mut self, id: &SessionId, now: Time) -> bool {
        let packed = self.sessions.get(id).and_then(Slot::packed);
        let Some(spent) = packed.filter(|packed| packed.spent(now.wall)) else { return false };
        let proposal = spent.proposal(*id);
        self.forget(&proposal);
        true
    }

    fn view(&self, id: &SessionId) -> Option<View<'_>> {
        self.sessions.view(id, self.codec.as_ref())
    }

    fn insert(&mut self, session: Session) {
        let id = session.id();
        if let Some(older) = session.proposal.replaces {
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

    /// Whether a session that replaces this one was seen, and whether it was confirmed.
    fn replaced(&self, id: &SessionId) -> (bool, bool) {
        let Some(newer) = self.replacing.get(id) else { return (false, false) };
        let Some(older) = self.view(id) else { return (false, false) };
        newer
            .iter()
            .filter_map(|newer| self.view(newer))
            .filter(|newer| newer.may_replace(&older))
            .filter_map(|session| session.replaces())
            .fold((false, false), |(pause, end), (_, seen, confirmed)| (pause || seen, end || confirmed))
    }

    fn known<R>(
        &mut self,
        id: &SessionId,
        now: Time,
        act: impl FnOnce(&mut Session, &mut Context<'_>) -> Result<R, Error>,
    ) -> Result<R, Error> {
        self.with_session(id, now, act).ok_or(Error::UnknownSession(*id))?
    }

    fn new_session(&mut self, proposal: Proposal, now: Time) -> Result<Session, Error> {
        let mut relayed = Vec::new();
        let context = Context {
            now,
            settings: &self.settings,
            scheme: self.scheme.as_ref(),
            codec: self.codec.as_ref(),
            heard: &|_| None,
            connected: &self.connected,
            tickets: &mut self.tickets,
            outputs: &mut self.outputs,
            relayed: &mut relayed,
        };
        Session::new(proposal, &self.own, &context)
    }

    fn check_expiry(&self, proposal: &Proposal, now: Time) -> Result<(), ProposalError> {
        proposal.check_expiry(now.wall)?;
        let expires_at = proposal.expires_at;
        if expires_at > self.forgotten {
            return Ok(());
        }
        Err(ProposalError::Expiry { expires_at, now: self.forgotten })
    }

    fn check_room(&self) -> Result<(), Error> {
        if self.index.open() < self.settings.max_sessions {
            return Ok(());
        }
        let (what, hint) = ("open sessions", "close some, or raise max_sessions");
        Err(Error::Limit { what, limit: self.settings.max_sessions, hint })
    }

    // ---- The store ----

    /// Reads a session that was stored before. Its durable events that were not acknowledged come again.
    pub fn load(&mut self, stored: &StoredSession, now: Time) -> Result<SessionId, Error> {
        let mut relayed = Vec::new();
        let heard = &self.heard;
        let context = Context {
            now,
            settings: &self.settings,
            scheme: self.scheme.as_ref(),
            codec: self.codec.as_ref(),
            heard: &|key| heard.get(key).copied(),
            connected: &self.connected,
            tickets: &mut self.tickets,
            outputs: &mut self.outputs,
            relayed: &mut relayed,
        };
        let session = Session::load(stored, &self.own, &context)?;
        let id = session.id();
        self.insert(session);
        self.with_session(&id, now, |session, context| session.tick(context));
        Ok(id)
    }

    // ---- What the application asks for. Each request is answered by one `Output::Done`, unless it fails at once. ----

    /// Proposes a session. This node's consent is part of it.
    pub fn create(&mut self, proposal: Proposal, request: RequestId, now: Time) -> Result<SessionId, Error> {
        let id = proposal.id();
        if self.sessions.contains(&id) {
            return Err(Error::SessionExists(id));
        }
        if proposal.signers.get(proposal.proposer) != Some(&self.own) {
            return Err(ProposalError::NotASigner.into());
        }
        self.check_expiry(&proposal, now)?;
        self.check_room()?;
        let session = self.new_session(proposal, now)?;
        self.insert(session);
        self.with_session(&id, now, |session, context| session.propose(request, context));
        Ok(id)
    }

    /// Consents to a proposal, or opens a closed session again.
    pub fn join(&mut self, id: &SessionId, request: RequestId, now: Time) -> Result<(), Error> {
        self.known(id, now, |session, context| session.join(request, context))
    }

    /// Refuses a proposal. Ends the session for everybody, since it needs all signers.
    pub fn decline(
        &mut self,
        id: &SessionId,
        reason: String,
        request: RequestId,
        now: Time,
    ) -> Result<(), Error> {
        self.known(id, now, |session, context| session.decline(reason, request, context))
    }

    /// Stops taking part. A partial signature that is out already is not taken back by that.
    pub fn abort(
        &mut self,
        id: &SessionId,
        reason: String,
        request: RequestId,
        now: Time,
    ) -> Result<(), Error> {
        self.known(id, now, |session, context| session.abort(reason, request, context))
    }

    /// Forgets a session but for a tombstone, which stays until the expiry.
    pub fn close(&mut self, id: &SessionId, request: RequestId, now: Time) -> Result<(), Error> {
        self.known(id, now, |session, context| {
            session.close(request, context);
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

    /// The application handled a durable event.
    pub fn acknowledge(&mut self, id: &SessionId, kind: DurableKind, now: Time) {
        self.with_session(id, now, |session, _| session.acknowledge(kind));
    }

    /// Hands out all durable events again that were not acknowledged.
    pub fn redeliver(&mut self, now: Time) {
        for id in self.ids() {
            if self.sessions.get(&id).and_then(Slot::packed).is_none_or(|packed| !packed.told) {
                self.with_session(&id, now, |session, _| session.redeliver());
            }
        }
    }

    // ---- Questions ----

    /// The ids of all sessions, closed ones too.
    pub fn ids(&self) -> Vec<SessionId> {
        let mut ids: Vec<_> = self.sessions.ids().copied().collect();
        ids.sort_unstable();
        ids
    }

    /// How a session stands.
    pub fn status(&mut self, id: &SessionId, now: Time) -> Option<SessionStatus> {
        let status = self.sessions.unpacked(id, self.codec.as_ref()).map(|session| session.status(now));
        self.sessions.rest(id, self.settings.ready_sessions, now.monotonic);
        status
    }

    /// The proposal of a session.
    pub fn proposal(&self, id: &SessionId) -> Option<Proposal> {
        Some(match self.sessions.get(id)? {
            Slot::Ready(session) => session.proposal.clone(),
            Slot::Packed(packed) => packed.proposal(*id),
        })
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

    /// [`Engine::export`], to be handed out at the request's [`Output::Done`]: then all of it is on the disk.
    pub fn request_export(
        &mut self,
        id: &SessionId,
        request: RequestId,
        now: Time,
    ) -> Result<Vec<u8>, Error> {
        self.known(id, now, |session, _| {
            session.finish(request);
            Ok(session.export())
        })
    }

    /// All signers of sessions in which something is left to say, if they changed since the last call.
    pub fn wanted_signers_if_changed(&mut self) -> Option<HashSet<SignerKey>> {
        let mut wanted = self.index.wanted_if_changed()?;
        wanted.remove(&self.own);
        Some(wanted)
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
        self.with_session(id, now, |session, context| session.submitted(answer, context));
    }

    /// The observer answered a [`Output::Observe`]; `None` if it could not.
    pub fn observed(&mut self, id: &SessionId, answer: Option<ChainStatus>, now: Time) {
        self.with_session(id, now, |session, context| session.observed(answer, context));
    }

    // ---- The network ----

    /// A signer is connected: compare all that both take part in.
    pub fn connected(&mut self, signer: SignerKey, now: Time) {
        self.note_heard(signer, now);
        self.connected.insert(signer);
        for id in self.shared_with(&signer, |session| !session.closed()) {
            self.with_session(&id, now, |session, context| {
                session.compare_with(&signer, context);
                session.received(context);
            });
        }
    }

    /// A signer is gone.
    pub fn disconnected(&mut self, signer: &SignerKey, now: Time) {
        self.connected.remove(signer);
        // Those that are packed have nothing to tell of it.
        for id in self.shared_with(signer, |session| session.packed().is_none()) {
            self.with_session(&id, now, |session, _| session.peer_gone(signer));
        }
    }

    /// A sign of life from a connected signer.
    pub fn heard(&mut self, signer: SignerKey, now: Time) {
        self.note_heard(signer, now);
    }

    /// Only of signers with whom something is left to do: else every key that ever connected would stay in memory.
    fn note_heard(&mut self, signer: SignerKey, now: Time) {
        if !self.index.wants(&signer) {
            return;
        }
        if self.heard.len() >= HEARD_SPARE + 2 * self.index.wanted() {
            self.heard.retain(|signer, _| self.index.wants(signer));
        }
        self.heard.insert(signer, now.monotonic);
    }

    fn shared_with(&self, signer: &SignerKey, which: impl Fn(&Slot) -> bool) -> Vec<SessionId> {
        let chosen = self.sessions.iter().filter(|(_, session)| which(session));
        let shared = chosen.filter(|(_, session)| session.index_of(signer).is_some());
        let mut ids: Vec<_> = shared.map(|(id, _)| *id).collect();
        ids.sort_unstable();
        ids
    }

    /// A frame from a connected signer. Bad parts are counted and dropped; good ones are kept.
    pub fn frame(&mut self, from: SignerKey, bytes: &[u8], now: Time) -> Result<(), WireError> {
        self.note_heard(from, now);
        let frame: pb::Frame = match wire::decode_within(bytes, "the frame", limits::FRAME) {
            Ok(frame) => frame,
            Err(error) => {
                self.refused.malformed += 1;
                return Err(error);
            }
        };
        let mut first_error = Ok(());
        self.content(&frame, Some(from), now, &mut |error| first_error = first_error.and(Err(error)));
        let mut compared = HashSet::new();
        for have in &frame.have {
            // A comparison may be answered with a whole session, so a frame asks for one of each at most.
            if !compared.insert(have.session.as_slice()) {
                self.refused.malformed += 1;
                continue;
            }
            let Some(id) = SessionId::from_slice(&have.session) else {
                self.refused.malformed += 1;
                continue;
            };
            match self.sessions.get(&id).map(|session| session.index_of(&from)) {
                None if !have.answer => self.ask_for(id, from, now),
                None => {}
                Some(None) => self.refused.strangers += 1,
                Some(Some(index)) => {
                    let result = match self.sessions.get(&id).and_then(Slot::packed) {
                        Some(packed) if packed.compares_no_more(index, now) => Some(compare::check(have)),
                        _ => self
                            .with_session(&id, now, |session, context| session.compare(have, index, context)),
                    };
                    if let Some(Err(error)) = result {
                        self.count(error);
                    }
                }
            }
        }
        first_error
    }

    /// Takes what [`Engine::export`] made, from whatever way it came. Answers the sessions in it.
    pub fn import(&mut self, bytes: &[u8], now: Time) -> Result<Vec<SessionId>, Error> {
        let frame: pb::Frame = wire::decode_within(bytes, "the export", limits::EXPORT)?;
        let mut first_error = None;
        let ids = self.content(&frame, None, now, &mut |error| first_error = first_error.or(Some(error)));
        match first_error {
            Some(error) if ids.is_empty() => Err(error.into()),
            _ => Ok(ids),
        }
    }

    /// Takes the envelopes and certificates of a frame. Each session advances once, after all of its envelopes.
    fn content(
        &mut self,
        frame: &pb::Frame,
        from: Option<SignerKey>,
        now: Time,
        refuse: &mut dyn FnMut(WireError),
    ) -> Vec<SessionId> {
        let mut groups: Vec<(SessionId, Vec<Envelope>)> = Vec::new();
        let mut positions: HashMap<SessionId, usize> = HashMap::new();
        for bytes in &frame.envelopes {
            match Envelope::decode(bytes) {
                Ok(envelope) => {
                    let id = envelope.body().session;
                    // Nearly always a frame speaks of one session.
                    let position = match groups.last() {
                        Some((last, _)) if *last == id => groups.len() - 1,
                        _ => *positions.entry(id).or_insert_with(|| {
                            groups.push((id, Vec::new()));
                            groups.len() - 1
                        }),
                    };
                    groups[position].1.push(envelope);
                }
                Err(error) => refuse(self.count(error)),
            }
        }
        let mut known = Vec::new();
        for (id, group) in groups {
            let lacking = frame.lacking.iter().find(|lacking| lacking.session == id.0);
            let lacking = lacking.map_or(&[][..], |lacking| &lacking.signers);
            match self.envelopes(id, group, lacking, from, now) {
                Ok(()) => known.push(id),
                Err(error) => refuse(self.count(error)),
            }
        }
        for certificate in &frame.certificates {
            match Certificate::from_wire(certificate)
                .and_then(|certificate| self.certified(certificate, from, now))
            {
                Ok(id) if !known.contains(&id) => known.push(id),
                Ok(_) => {}
                Err(error) => refuse(self.count(error)),
            }
        }
        known
    }

    fn envelopes(
        &mut self,
        id: SessionId,
        group: Vec<Envelope>,
        lacking: &[u8],
        from: Option<SignerKey>,
        now: Time,
    ) -> Result<(), WireError> {
        if !self.sessions.contains(&id) {
            let proposals = || {
                group.iter().filter_map(|envelope| match envelope.content() {
                    Content::Proposal(bytes) => Some((envelope, bytes)),
                    _ => None,
                })
            };
            // Its proposer may have signed another one into this session: a proof, that comes with the rest.
            let fits = |(_, bytes): &(&Envelope, &Vec<u8>)| Proposal::id_of(bytes) == id;
            let proposed = proposals().find(fits).or_else(|| proposals().next());
            match (proposed, from) {
                (Some((envelope, bytes)), _) => self.proposed(id, envelope, bytes, from, now)?,
                (None, Some(from)) => {
                    // It came before the proposal, by a shorter way: ask for everything.
                    self.ask_for(id, from, now);
                    return Ok(());
                }
                (None, None) => return Err(WireError::UnknownSession(id)),
            }
        }
        if let (Some(packed), Some(from)) = (self.sessions.get(&id).and_then(Slot::packed), from)
            && packed.closed
        {
            // It takes nothing.
            return packed.index_of(&from).map(|_| ()).ok_or(WireError::UnknownSession(id));
        }
        let foreign = self.sessions.ready(&id).filter(|session| session.foreign());
        if let Some(proposer) = foreign.map(|session| session.proposer_key())
            && !self.has_bytes_for(&proposer, 0)
        {
            // It comes again by comparison, once the application has answered.
            self.refused.proposals += 1;
            return Ok(());
        }
        let result = self.with_session(&id, now, |session, context| {
            let index = match from {
                Some(from) => Some(session.proposal.index_of(&from).ok_or(WireError::UnknownSession(id))?),
                None => None,
            };
            let (mut first_error, mut passed_on) = (Ok(()), Vec::new());
            for envelope in group {
                let from = index.unwrap_or(envelope.body().signer);
                let copy = if lacking.is_empty() { None } else { Some(envelope.clone()) };
                match session.receive(envelope, from, context) {
                    Ok(new) => passed_on.extend(copy.filter(|_| new)),
                    // Who is honest passes on what it verified. Checking on would let one frame cost seconds.
                    Err(error) => {
                        first_error = Err(error);
                        break;
                    }
                }
            }
            session.pass_on(&passed_on, lacking, context);
            if index.is_none() {
                session.imported();
            }
            session.received(context);
            first_error
        });
        result.unwrap_or(Ok(()))
    }

    /// A proposal of a session that is not known yet.
    fn proposed(
        &mut self,
        id: SessionId,
        envelope: &Envelope,
        bytes: &[u8],
        from: Option<SignerKey>,
        now: Time,
    ) -> Result<(), WireError> {
        let refused = WireError::Malformed("the proposal");
        let mut refuse = || {
            self.refused.proposals += 1;
            refused
        };
        let known = |key: &SignerKey| *key == self.own || self.connected.contains(key);
        let proposal = Proposal::decode_knowing(bytes, &known).map_err(|_| refuse())?;
        let stranger = from.is_some_and(|from| proposal.index_of(&from).is_none());
        if proposal.id() != id || stranger || envelope.body().signer != proposal.proposer {
            return Err(refuse());
        }
        self.check_expiry(&proposal, now).map_err(|_| {
            self.refused.proposals += 1;
            refused
        })?;
        let proposer = proposal.signers[proposal.proposer];
        if !self.has_room_for(&proposer, bytes.len()) {
            self.refused.proposals += 1;
            return Err(refused);
        }
        self.check_room().map_err(|_| refused)?;
        envelope.verify(self.scheme.as_ref(), &proposal)?;
        let session = self.new_session(proposal, now).map_err(|_| {
            self.refused.proposals += 1;
            refused
        })?;
        self.insert(session);
        self.with_session(&id, now, |session, _| session.announce());
        Ok(())
    }

    /// Whether another proposal of this signer may wait for an answer. Strangers, of whom there can be any number,
    /// share one half of the room; the other is for those with whom this node signed before.
    fn has_room_for(&self, proposer: &SignerKey, bytes: usize) -> bool {
        let most = limits::FOREIGN_PROPOSALS.min(self.settings.max_sessions);
        self.index.unanswered(proposer).count < self.settings.max_proposals_per_signer
            && self.index.foreign().count < most.div_ceil(self.share_of(proposer))
            && self.has_bytes_for(proposer, bytes)
    }

    /// Whether the sessions that this node has not joined may take this much more, of this proposer.
    fn has_bytes_for(&self, proposer: &SignerKey, more: usize) -> bool {
        self.index.unanswered(proposer).bytes + more <= limits::FOREIGN_BYTES / 4
            && self.index.foreign().bytes + more <= limits::FOREIGN_BYTES / self.share_of(proposer)
    }

    /// By what the room is divided for this proposer.
    fn share_of(&self, proposer: &SignerKey) -> usize {
        if self.index.partner(proposer) { 1 } else { 2 }
    }

    fn certified(
        &mut self,
        certificate: Certificate,
        from: Option<SignerKey>,
        now: Time,
    ) -> Result<SessionId, WireError> {
        let id = certificate.session;
        if let Some(packed) = self.sessions.get(&id).and_then(Slot::packed)
            && packed.needs_no_certificate()
        {
            let stranger = from.is_some_and(|from| packed.index_of(&from).is_none());
            return if stranger { Err(WireError::UnknownSession(id)) } else { Ok(id) };
        }
        if !self.sessions.contains(&id) {
            if let Some(from) = from {
                self.ask_for(id, from, now);
            }
            return Err(WireError::UnknownSession(id));
        }
        let result = self.with_session(&id, now, |session, context| {
            let index = match from {
                Some(from) => Some(session.proposal.index_of(&from).ok_or(WireError::UnknownSession(id))?),
                None => None,
            };
            session.receive_certificate(certificate, index, context)
        });
        result.unwrap_or(Ok(())).map(|()| id)
    }

    /// Tells a peer that nothing is here of a session it speaks of, so that it sends all.
    fn ask_for(&mut self, id: SessionId, from: SignerKey, now: Time) {
        let asked = self.unknown.get(&(id, from));
        if asked.is_some_and(|at| now.monotonic < *at + ASK_UNKNOWN_EVERY) {
            return;
        }
        // Each peer has its own share, so that one that names sessions at random hides no others' questions.
        let of_peer = self.unknown.keys().filter(|(_, peer)| *peer == from).count();
        if of_peer >= UNKNOWN_SESSIONS_PER_PEER || self.unknown.len() >= UNKNOWN_SESSIONS {
            self.unknown.retain(|_, at| now.monotonic < *at + ASK_UNKNOWN_EVERY);
            return;
        }
        self.unknown.insert((id, from), now.monotonic);
        let have = vec![pb::Have {
            session: id.0.to_vec(),
            envelopes: Vec::new(),
            certificate: false,
            answer: true,
        }];
        let frame = wire::encode(&pb::Frame { have, ..pb::Frame::default() });
        self.outputs.push_back(Output::Send { session: id, to: from, frame: frame.into() });
    }

    fn count(&mut self, error: WireError) -> WireError {
        match error {
            WireError::Signature(_) => self.refused.signatures += 1,
            WireError::UnknownSession(_) | WireError::NoSuchSigner { .. } => self.refused.strangers += 1,
            _ => self.refused.malformed += 1,
        }
        error
    }

    // ---- Time ----

    /// Does what the time asks for.
    pub fn tick(&mut self, now: Time) {
        while let Some((at, id)) = self.index.next() {
            if at > now.monotonic {
                break;
            }
            if self.forget_packed(&id, now) {
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
