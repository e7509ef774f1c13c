//! One session at one node: consent, two rounds, the certificate, the watch, and every ending.
//!
//! What is believed is a function of the envelope set and the time. Everything said and stored goes through
//! [`Session::flush`], which puts what must be on disk before what may be seen.

mod application;
pub(super) mod compare;
mod events;
mod look;
pub(super) mod packed;
mod record;
mod rounds;
mod signing;
mod watching;

use std::collections::{BTreeMap, HashSet};
use std::sync::Arc;
use std::time::Duration;

use crate::error::{Error, WireError};
use crate::protocol::crypto::{Scheme, SessionKeys};
use crate::protocol::election::{Election, elect};
use crate::protocol::envelope::{Content, Envelope, Place};
use crate::protocol::envelope_set::{EnvelopeSet, Fact};
use crate::protocol::event::{DurableKind, Event};
use crate::protocol::failover::Watch;
use crate::protocol::mutation::{self, Mutation};
use crate::protocol::proposal::Proposal;
use crate::protocol::session::compare::Comparisons;
use crate::protocol::transaction::{TransactionCodec, TransactionInfo};
use crate::protocol::wire::Certificate;
use crate::protocol::{Output, Record, RequestId, Settings, Ticket, Time};
use crate::types::{EnvelopeId, SessionId, SignedTransaction, SignerKey, Txid};

/// How long a restarted node waits for its peers' answers before it makes nonces again.
const RECOVERY: Duration = Duration::from_secs(2);
/// How often an incomplete session compares with others.
const COMPARE_EVERY: Duration = Duration::from_secs(2);
/// How often at the most rarely, once it ended here although others may still finish it.
const COMPARE_ENDED: Duration = Duration::from_secs(3600);
/// With how many signers it compares each time.
const COMPARE_WITH: usize = 3;
/// How long a refusal of the signer is waited out.
const SIGNER_RETRY: Duration = Duration::from_secs(1);

/// What a session borrows from its engine for one call.
pub(super) struct Context<'a> {
    pub now: Time,
    pub settings: &'a Settings,
    pub scheme: &'a dyn Scheme,
    pub codec: &'a dyn TransactionCodec,
    /// When a signer was last heard of, by the monotonic clock.
    pub heard: &'a dyn Fn(&SignerKey) -> Option<Duration>,
    pub connected: &'a HashSet<SignerKey>,
    pub tickets: &'a mut Ticket,
    pub outputs: &'a mut std::collections::VecDeque<Output>,
    /// Signers of whom something new came through others.
    pub relayed: &'a mut Vec<SignerKey>,
}

/// How a session ended at this node without a certificate.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Ending {
    Failed = 1,
    Aborted,
    Declined,
    Expired,
}

impl Ending {
    fn from_number(number: u32) -> Option<Self> {
        let all = [Self::Failed, Self::Aborted, Self::Declined, Self::Expired];
        all.into_iter().find(|ending| *ending as u32 == number)
    }
}

/// What a ticket was given for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
enum Purpose {
    Proposal,
    Accept,
    Nonces(u32),
    Partial(u32),
    Restart(u32),
    Decline,
    Abort,
    Claim,
    Nack,
}

pub(super) struct Session {
    pub proposal: Proposal,
    /// Needed until the signatures are finished.
    keys: Option<Arc<dyn SessionKeys>>,
    election: Election,
    transaction: Option<Box<TransactionInfo>>,
    own: usize,
    set: EnvelopeSet,
    certificate: Option<Certificate>,
    finished: Option<SignedTransaction>,
    pub watch: Option<Watch>,

    // Stored:
    attempts_used: u32,
    partial_sent: bool,
    pub closed: bool,
    pub ending: Option<Ending>,
    pending: Vec<DurableKind>,
    foreign_envelope: bool,
    /// This node's application consented. A signed consent from elsewhere is none.
    consented: bool,

    // Of this process only:
    /// The own proposal, until the own consent is signed too: both are stored at once or neither.
    own_proposal: Option<Envelope>,
    loaded_at: Option<Duration>,
    compared: HashSet<usize>,
    imported: bool,
    mismatch_told: Option<u32>,
    nonces_held: Option<u32>,
    tickets: BTreeMap<Ticket, Purpose>,
    signer_retry: Option<Duration>,
    requests: BTreeMap<Purpose, Vec<RequestId>>,
    holders: HashSet<usize>,
    comparisons: Comparisons,
    proofs_checked: Option<usize>,
    compare_at: Duration,
    compare_every: Duration,
    compare_next: usize,
    progress_at: Duration,
    stalled: bool,
    ready_reported: bool,
    nonces_reported: Option<u32>,
    bad_nonces: Option<u32>,
    /// The nonces of the attempt before that were looked at, by their hash.
    looked_at: Option<[u8; 32]>,
    tried: Option<(u32, usize)>,
    round: Option<(u32, [u8; 32], Arc<dyn crate::protocol::crypto::Round>)>,
    holder_at: Duration,
    claimed_txid: Option<Txid>,

    // Collected until the next flush:
    effects: Vec<Output>,
    records: Vec<Record>,
    state_changed: bool,
    sync: bool,

    /// When it was used last, if it waits at its engine to be packed.
    pub rested_at: Option<Duration>,
}

impl Session {
    /// A session with nothing in it. Checks the keys, and the transaction if there is one.
    pub fn new(proposal: Proposal, own: &SignerKey, context: &Context<'_>) -> Result<Self, Error> {
        let own = proposal.index_of(own).ok_or(crate::error::ProposalError::NotASigner)?;
        let keys = context.scheme.aggregate_keys(&proposal)?;
        let transaction = match &proposal.transaction {
            Some(_) => Some(Box::new(context.codec.check(&proposal, keys.as_ref())?)),
            None => None,
        };
        Self::begin(proposal, own, Some(keys), transaction, context.now.monotonic)
    }

    /// The same, where all that was checked before.
    fn begin(
        proposal: Proposal,
        own: usize,
        keys: Option<Arc<dyn SessionKeys>>,
        transaction: Option<Box<TransactionInfo>>,
        now: Duration,
    ) -> Result<Self, Error> {
        let election = elect(&proposal.signers, proposal.election_method, &proposal.id())?;
        Ok(Self {
            keys,
            election,
            transaction,
            own,
            set: EnvelopeSet::default(),
            certificate: None,
            finished: None,
            watch: None,
            attempts_used: 0,
            partial_sent: false,
            closed: false,
            ending: None,
            pending: Vec::new(),
            foreign_envelope: false,
            consented: false,
            own_proposal: None,
            loaded_at: None,
            compared: HashSet::new(),
            imported: false,
            mismatch_told: None,
            nonces_held: None,
            tickets: BTreeMap::new(),
            signer_retry: None,
            requests: BTreeMap::new(),
            holders: HashSet::new(),
            comparisons: Comparisons::default(),
            proofs_checked: None,
            compare_at: now + COMPARE_EVERY,
            compare_every: COMPARE_EVERY,
            compare_next: own + 1,
            progress_at: now,
            stalled: false,
            ready_reported: false,
            nonces_reported: None,
            bad_nonces: None,
            looked_at: None,
            tried: None,
            round: None,
            holder_at: Duration::ZERO,
            claimed_txid: None,
            effects: Vec::new(),
            records: vec![Record::Proposal(proposal.as_bytes().to_vec())],
            state_changed: true,
            sync: false,
            rested_at: None,
            proposal,
        })
    }

    pub fn id(&self) -> SessionId {
        self.proposal.id()
    }

    /// Who proposes it.
    pub fn proposer_key(&self) -> SignerKey {
        self.proposal.signers[self.proposal.proposer]
    }

    pub fn election(&self) -> &Election {
        &self.election
    }

    pub fn own_index(&self) -> usize {
        self.own
    }

    /// How many envelopes it holds, and their bytes.
    pub fn held(&self) -> (usize, usize) {
        (self.set.len(), self.set.bytes())
    }

    pub fn certificate(&self) -> Option<&Certificate> {
        self.certificate.as_ref()
    }

    pub fn final_transaction(&self) -> Option<&SignedTransaction> {
        self.finished.as_ref()
    }

    fn signers(&self) -> usize {
        self.proposal.signers.len()
    }

    fn others(&self) -> impl Iterator<Item = usize> + use<> {
        let own = self.own;
        (0..self.signers()).filter(move |signer| *signer != own)
    }

    /// Whether this node's application consented: the signed consent is in the set.
    pub fn joined(&self) -> bool {
        self.set.fact(Fact::Accept, self.own).is_some()
    }

    /// Whether this node signs no more.
    fn over(&self) -> bool {
        self.ending.is_some() || self.closed
    }

    /// Whether nothing is left to do or to tell: the session may be forgotten once it expired.
    pub fn spent(&self, now: Time) -> bool {
        self.nothing_left() && now.wall >= self.proposal.expires_at
    }

    fn nothing_left(&self) -> bool {
        let over = self.closed || self.ending.is_some() || self.watch.as_ref().is_some_and(Watch::ended);
        over && self.pending.is_empty() && self.requests.is_empty()
    }

    pub fn own_turn_open(&self) -> bool {
        self.watch.as_ref().is_some_and(Watch::own_turn_open)
    }

    /// The bytes of what it holds, as they came.
    pub fn bytes(&self) -> usize {
        self.proposal.as_bytes().len() + self.set.bytes()
    }

    /// Whether it is another signer's proposal that this node has not joined. Ended ones still take a place.
    pub fn foreign(&self) -> bool {
        !self.closed && self.proposal.proposer != self.own && !self.joined() && !self.consenting()
    }

    // ---- What others say ----

    /// Takes an envelope from a peer, that signed it or passes it on. Answers whether it is new here.
    pub fn receive(
        &mut self,
        envelope: Envelope,
        from: usize,
        context: &mut Context<'_>,
    ) -> Result<bool, WireError> {
        if self.closed || !self.set.wants(&envelope, &self.proposal) {
            return Ok(false);
        }
        envelope.verify(context.scheme, &self.proposal)?;
        let signer = envelope.body().signer;
        if signer != from {
            context.relayed.push(self.proposal.signers[signer]);
        }
        if signer == self.own {
            self.own_envelope_returned(&envelope, context);
        }
        self.progress_at = context.now.monotonic;
        self.stalled = false;
        self.add(envelope, context);
        Ok(true)
    }

    /// An envelope of the own key that is not here. A partial signature is not synced when it is sent, so after a
    /// restart it may come back; everything else was on disk before it left.
    fn own_envelope_returned(&mut self, envelope: &Envelope, context: &Context<'_>) {
        let own_partial_lost = match envelope.place() {
            Some(Place::Partial(attempt)) => {
                self.loaded_at.is_some() && self.set.taken(Place::Nonces(attempt), self.own)
            }
            Some(Place::Nonces(_)) => false,
            None => matches!(envelope.content(), Content::Claim { .. } | Content::Nack { .. }),
        };
        match envelope.place().filter(|_| envelope.content_allowed(&self.proposal)) {
            Some(Place::Partial(_)) => self.partial_sent = true,
            Some(Place::Nonces(attempt)) => self.attempts_used = self.attempts_used.max(attempt + 1),
            None => {}
        }
        self.state_changed = true;
        if !own_partial_lost && !self.foreign_envelope {
            self.foreign_envelope = true;
            self.tell_durably(DurableKind::KeyInUse);
            // As after a restart: others may hold more of what this key said. What is here comes first.
            if self.loaded_at.is_none() {
                self.loaded_at = Some(context.now.monotonic);
                self.compare_all(context);
            }
        }
    }

    fn add(&mut self, envelope: Envelope, context: &Context<'_>) {
        let (id, signer) = (envelope.id(), envelope.body().signer);
        self.records.push(Record::Envelope(id, envelope.as_bytes().to_vec()));
        let dropped = self.set.insert(envelope.clone(), &self.proposal);
        self.records.extend(dropped.into_iter().map(Record::DropEnvelope));
        match envelope.content() {
            Content::Accept => {
                let (joined, signers) = (self.set.by_all(Fact::Accept).count(), self.signers());
                self.tell(Event::SessionJoined { signer, joined, signers });
            }
            Content::Claim { txid } if signer != self.own => self.heard_claim(*txid, signer, context),
            _ => {}
        }
    }

    /// Tells the application of another signer's proposal.
    pub fn announce(&mut self) {
        self.tell_durably(DurableKind::Proposed);
    }

    /// A peer is gone.
    pub fn peer_gone(&mut self, key: &SignerKey) {
        let unfinished = self.certificate.is_none() && self.ending.is_none() && !self.closed;
        if let Some(signer) = self.proposal.index_of(key).filter(|_| unfinished) {
            self.tell(Event::ParticipantDisconnected { signer });
        }
    }

    /// What another signer holds was brought here by hand: as good as a comparison with it.
    pub fn imported(&mut self) {
        self.imported = true;
    }

    /// After envelopes came in: see what follows from them.
    pub fn received(&mut self, context: &mut Context<'_>) {
        self.advance(context);
        self.drive_watch(context);
    }

    /// Takes a certificate. Makes a holder of any node that ever joined, whatever it believed before.
    pub fn receive_certificate(
        &mut self,
        certificate: Certificate,
        from: Option<usize>,
        context: &mut Context<'_>,
    ) -> Result<(), WireError> {
        if let Some(from) = from
            && self.certificate.as_ref() == Some(&certificate)
        {
            self.holders.insert(from);
        }
        if self.certificate.is_some() || !self.joined() {
            return Ok(());
        }
        let unverified = mutation::on(Mutation::CertificateUnverified);
        let verifies = |keys: &Arc<dyn SessionKeys>| keys.verify_signatures(&certificate.signatures);
        if !unverified && !self.keys.as_ref().is_some_and(verifies) {
            return Err(WireError::Signature("the certificate"));
        }
        self.holders.extend(from);
        self.become_holder(certificate, context);
        Ok(())
    }

    // ---- Time ----

    /// Does what the time asks for.
    pub fn tick(&mut self, context: &mut Context<'_>) {
        let monotonic = context.now.monotonic;
        if self.signer_retry.is_some_and(|at| monotonic >= at) {
            self.signer_retry = None;
        }
        self.advance(context);
        self.drive_watch(context);
        if self.compares() && monotonic >= self.compare_at {
            if self.ending.is_some() {
                self.compare_every = (self.compare_every * 2).min(COMPARE_ENDED);
            }
            self.compare_at = monotonic + self.compare_every;
            self.compare_some(context);
        }
        if self.over() || self.certificate.is_some() {
            return;
        }
        if self.joined()
            && !self.stalled
            && monotonic >= self.progress_at.saturating_add(context.settings.stall_after)
        {
            self.stalled = true;
            let since = monotonic - self.progress_at;
            let missing = self.missing();
            if !missing.is_empty() {
                self.tell(Event::SessionStalled { missing, since });
            }
        }
    }

    /// Whether others may know something that matters here: as long as there is no certificate, and after an ending
    /// if the own partial signature is out, so that others may still finish.
    fn compares(&self) -> bool {
        let open = self.ending.is_none() || self.partial_sent;
        open && !self.closed && self.certificate.is_none() && !self.set.is_empty()
    }

    /// When [`Session::tick`] is to be called next.
    pub fn next_timeout(&mut self, context: &Context<'_>) -> Option<Duration> {
        let now = context.now;
        let until_expiry = self.proposal.expires_at.saturating_since(now.wall);
        let over = self.over() || self.certificate.is_some();
        let stalls = !over && self.joined() && !self.stalled;
        [
            self.watch_timeout(context),
            Some(self.compare_at).filter(|_| self.compares()),
            Some(now.monotonic.saturating_add(until_expiry)).filter(|_| !over || !until_expiry.is_zero()),
            Some(self.progress_at.saturating_add(context.settings.stall_after)).filter(|_| stalls),
            self.recovery_ends().filter(|at| !over && *at > now.monotonic),
            self.signer_retry,
        ]
        .into_iter()
        .flatten()
        .min()
    }

    /// After sleep: compare at once, and look at the chain before submitting.
    pub fn woke(&mut self, context: &mut Context<'_>) {
        if let Some(watch) = &mut self.watch {
            watch.woke(context.now);
        }
        self.compare_at = context.now.monotonic;
        self.tick(context);
    }

    // ---- Saying and storing ----

    fn tell(&mut self, event: Event) {
        self.effects.push(self.event_output(event, None));
    }

    /// Raises a durable event, unless one of its kind waits already.
    fn tell_durably(&mut self, kind: DurableKind) {
        if self.pending.contains(&kind) {
            // The application is reminded of its turn, also if it kept the event before.
            if kind == DurableKind::ShouldBroadcast {
                self.effects.push(self.event_output(Event::SessionClosed, Some(kind)));
            }
            return;
        }
        self.pending.push(kind);
        self.state_changed = true;
        // What others would tell again need not be synced.
        self.sync |= !matches!(kind, DurableKind::Proposed | DurableKind::Claimed);
        // Its content is read when it is flushed, so that what comes later in the same step is in it.
        let placeholder = Event::SessionClosed;
        self.effects.push(self.event_output(placeholder, Some(kind)));
    }

    fn event_output(&self, event: Event, durable: Option<DurableKind>) -> Output {
        let session = Some(self.id());
        Output::Event { event: crate::protocol::event::SessionEvent { session, event, durable } }
    }

    /// Hands out what was collected: first what is to be stored, then what may be seen.
    pub fn flush(&mut self, context: &mut Context<'_>) {
        // Until the first envelope is in, a proposal of this node's own is nothing that must be kept.
        if self.state_changed && !self.set.is_empty() {
            let state = self.state_record(context.now);
            self.records.push(Record::State(state));
        }
        let session = self.id();
        if !self.records.is_empty() && !self.set.is_empty() {
            let durability = if self.sync {
                crate::protocol::Durability::Synced
            } else {
                crate::protocol::Durability::Eventual
            };
            let changes = std::mem::take(&mut self.records);
            context.outputs.push_back(Output::Persist { session, changes, durability });
        }
        self.state_changed &= self.set.is_empty();
        self.sync = false;
        for mut effect in std::mem::take(&mut self.effects) {
            if let Output::Event { event } = &mut effect
                && let Some(kind) = event.durable
            {
                let Some(content) = self.durable_event(kind, context.now) else {
                    // What it spoke of is so no more.
                    self.settle(kind);
                    continue;
                };
                event.event = content;
            }
            context.outputs.push_back(effect);
        }
    }

    fn forget_nonces(&mut self) {
        self.nonces_held = None;
        let attempt = self.set.attempt().max(self.attempts_used);
        self.effects.push(Output::Forget { session: self.id(), attempt });
    }

    fn envelope_ids(&self) -> Vec<EnvelopeId> {
        self.set.ids().copied().collect()
    }
}
