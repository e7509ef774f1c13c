//! One session at one node: consent, two rounds, the certificate, the watch, and every ending.
//!
//! What is believed is a function of the envelope set and the time. A [`Session`] dispatches; its parts own their state
//! and answer with what is to be done. Everything said and stored goes through [`Session::flush`], which puts what must
//! be on disk before what may be seen.

mod agreement;
mod broadcast;
pub(super) mod compact;
pub(super) mod contacts;
pub(super) mod context;
mod durable_events;
pub(super) mod frames;
mod keeping;
mod outbox;
mod proofs;
mod rounds;
mod signer_requests;
mod stall;
mod status;
mod stored;
mod sync;
#[cfg(test)]
mod testing;
mod verdicts;

use std::time::Duration;

use self::agreement::Agreement;
use self::broadcast::Broadcast;
use self::compact::{Packed, Parts, Summary};
use self::context::Context;
use self::durable_events::{broadcast_by, durable_event};
use self::keeping::Keeping;
use self::outbox::Outbox;
use self::rounds::{Conditions, RoundAction, Rounds};
use self::signer_requests::{Purpose, SignerRequests};
use self::stall::Stall;
use self::stored::{Ending, Stored};
use self::sync::AntiEntropy;
use crate::error::{Error, SignerError, WireError};
use crate::mutation::{self, Mutation};
use crate::protocol::election::Election;
use crate::protocol::envelope::{Body, Content, Envelope, NackKind, Place};
use crate::protocol::envelope_set::{EnvelopeSet, Fact};
use crate::protocol::event::{DurableKind, Event};
use crate::protocol::failover::{Action, Evidence, FailureCause, Outlook, Replacement, Surroundings, Watch};
use crate::protocol::limits;
use crate::protocol::proposal::Proposal;
use crate::protocol::signer::{NonceRequest, PartialRequest, SignTask};
use crate::protocol::status::{Phase, SessionStatus};
use crate::protocol::transaction::TransactionCodec;
use crate::protocol::wire::{self, Certificate, pb};
use crate::protocol::{Output, RequestId, SessionChange, StoredSession, Ticket, Waits};
use crate::types::{
    ChainQuery, ChainStatus, ChainTip, CoinStatus, OutPoint, SessionId, SignedTransaction, SignerKey,
    SubmitOutcome, Time, Txid, beginning,
};

/// A session and its parts.
pub(super) struct Session {
    agreement: Agreement,
    set: EnvelopeSet,
    stored: Stored,
    rounds: Rounds,
    requests: SignerRequests,
    sync: AntiEntropy,
    stall: Stall,
    keeping: Keeping,
    /// From the certificate on.
    broadcast: Option<Broadcast>,
    outbox: Outbox,
    /// When it was used last, if it waits at its engine to be packed.
    pub rested_at: Option<Duration>,
}

impl std::fmt::Debug for Session {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Session({})", self.id())
    }
}

impl Session {
    // ---- Making one, packing it, reading it again ----

    /// A session with nothing in it. Checks the keys, and the transaction if there is one.
    pub fn new(proposal: Proposal, own: &SignerKey, context: &Context<'_>) -> Result<Self, Error> {
        let agreement = Agreement::new(proposal, own, context.scheme, context.codec)?;
        let outbox = Outbox::unstored(agreement.id(), agreement.proposal.as_bytes());
        let now = context.now.monotonic;
        Ok(Self {
            set: EnvelopeSet::default(),
            stored: Stored::default(),
            rounds: Rounds::default(),
            requests: SignerRequests::default(),
            sync: AntiEntropy::new(agreement.own, now),
            stall: Stall::new(now),
            keeping: Keeping::new(agreement.id(), now),
            broadcast: None,
            outbox,
            rested_at: None,
            agreement,
        })
    }

    /// Reads a session from what was stored. Its durable events come again.
    pub fn restore(stored: &StoredSession, own: &SignerKey, context: &Context<'_>) -> Result<Self, Error> {
        let proposal = Proposal::decode(&stored.proposal)?;
        let record: pb::SessionRecord = wire::decode(&stored.state, "the stored session")?;
        let mut session = Self::new(proposal, own, context)?;
        session.outbox = Outbox::new(session.id());
        session.sync.recover(context.now.monotonic);
        session.stored = Stored::restore(&record);
        let (id, now) = (session.id(), context.now.monotonic);
        session.keeping = Keeping::restore(record.settled, record.overdue, id, now);
        let envelopes = stored.envelopes.iter().map(|bytes| Envelope::decode(bytes));
        session.restore_envelopes(envelopes.collect::<Result<_, _>>()?);
        if let Some(bytes) = &stored.certificate {
            let certificate = Certificate::from_wire(&wire::decode(bytes, "the stored certificate")?)?;
            let (agreement, watch) = (&session.agreement, record.watch.as_ref());
            let mut broadcast = Broadcast::restore(certificate, watch, agreement, context.codec, context.now);
            if let Some(watch) = broadcast.watch_mut() {
                watch.set_idle(session.stored.given_up, context.now);
            }
            session.broadcast = Some(broadcast);
        }
        session.redeliver();
        Ok(session)
    }

    fn restore_envelopes(&mut self, mut envelopes: Vec<Envelope>) {
        // The set takes nonces of an attempt only if it knows the restarts before it.
        envelopes.sort_by_key(|envelope| envelope.place().is_some());
        let failed = self.stored.ending == Some(Ending::Failed);
        for envelope in envelopes {
            if !failed && !self.set.wants(&envelope, &self.agreement.proposal) {
                continue;
            }
            if let (true, Some(Place::Nonces(attempt))) =
                (envelope.body().signer == self.agreement.own, envelope.place())
            {
                self.stored.use_attempt(attempt);
            }
            if failed {
                self.set.restore(envelope, &self.agreement.proposal);
            } else {
                self.set.insert(envelope, &self.agreement.proposal);
            }
        }
        if failed {
            self.rounds.keep_judged_attempt(&self.agreement, &mut self.set);
        }
    }

    /// Whether it has come to rest: nothing is under way, and nothing is to be written or handed out.
    pub fn at_rest(&self) -> bool {
        let settled = self.stored.over() || self.broadcast.is_some();
        settled && self.requests.is_empty() && self.outbox.is_empty() && !self.set.is_empty()
    }

    /// Packs a session that is [at rest](Session::at_rest).
    pub fn pack(self, now: Duration) -> Packed {
        let (envelopes, bytes) = self.envelopes();
        let summary = Summary {
            envelopes: envelopes as u32,
            envelope_bytes: bytes as u32,
            joined: self.joined(),
            certified: self.broadcast.is_some(),
            own_turn_open: self.own_turn_open(),
            turn_ahead: self.watches() && self.watch().is_some_and(Watch::turn_ahead),
            phase: self.phase(),
            kept: self.is_kept(),
            done: self.is_done(),
            acknowledged: self.stored.pending().is_empty(),
        };
        // Every part is named, so that none that is added later is forgotten.
        let Self {
            agreement,
            set,
            stored,
            rounds,
            requests: _,
            sync,
            stall,
            keeping,
            broadcast,
            outbox: _,
            rested_at: _,
        } = self;
        let holders_matter =
            broadcast.as_ref().is_none_or(|broadcast| broadcast.watch().is_none_or(Watch::turn_ahead));
        let (sync, quotas) = sync.pack(holders_matter, now);
        let parts = Parts::new(
            &set,
            &agreement.proposal,
            (stored.pack(), rounds.pack(broadcast.is_none().then_some(&set))),
            (sync, stall.pack(), keeping.pack()),
            broadcast.map(Broadcast::pack),
        );
        Packed::new(agreement, &parts, quotas, summary)
    }

    /// The session that was packed.
    pub fn unpack(packed: &Packed, id: SessionId, codec: &dyn TransactionCodec) -> Self {
        let (agreement, parts) = (packed.agreement(id), packed.parts());
        let set = parts.envelope_set(&agreement.proposal);
        Self {
            stored: Stored::unpack(&parts.stored),
            rounds: Rounds::unpack(&parts.rounds, &set),
            set,
            requests: SignerRequests::default(),
            sync: AntiEntropy::unpack(&parts.sync, packed.quotas()),
            stall: Stall::unpack(&parts.stall),
            keeping: Keeping::unpack(&parts.keeping),
            broadcast: parts.broadcast.map(|it| Broadcast::unpack(it, &agreement, codec)),
            outbox: Outbox::new(id),
            rested_at: None,
            agreement,
        }
    }

    // ---- What it is ----

    pub fn id(&self) -> SessionId {
        self.agreement.id()
    }

    pub fn proposal(&self) -> &Proposal {
        &self.agreement.proposal
    }

    /// Who proposes it.
    pub fn proposer_key(&self) -> SignerKey {
        self.agreement.proposal.signers[self.agreement.proposal.proposer]
    }

    /// Whether its transaction may still come about: `true` while this node takes part in it, `false` if it ended here and
    /// others may complete it. `None`: it has no transaction, or that is settled, or this node gave no signature.
    pub fn transaction_pending(&self) -> Option<bool> {
        self.agreement.transaction.as_ref()?;
        match &self.broadcast {
            Some(_) => (!self.watch_ended()).then_some(!self.stored.closed),
            None if self.stored.over() => self.stored.partial_sent.then_some(false),
            None => self.joined().then_some(true),
        }
    }

    /// What its transaction spends, if it has one.
    pub fn spends(&self) -> Option<&[OutPoint]> {
        self.agreement.transaction.as_ref().map(|transaction| transaction.spends.as_slice())
    }

    pub fn election(&self) -> &Election {
        &self.agreement.election
    }

    pub fn own_index(&self) -> usize {
        self.agreement.own
    }

    /// How many envelopes it holds, and their bytes.
    pub fn envelopes(&self) -> (usize, usize) {
        (self.set.len(), self.set.bytes())
    }

    /// The bytes of what it holds, as they came.
    pub fn bytes(&self) -> usize {
        self.agreement.proposal.as_bytes().len() + self.set.bytes()
    }

    pub fn certificate(&self) -> Option<&Certificate> {
        self.broadcast.as_ref().map(Broadcast::certificate)
    }

    pub fn final_transaction(&self) -> Option<&SignedTransaction> {
        self.broadcast.as_ref()?.transaction()
    }

    pub fn closed(&self) -> bool {
        self.stored.closed
    }

    /// Whether something is left to say to its other signers.
    pub fn wants_peers(&self) -> bool {
        !self.stored.over() && (!self.is_unanswered() || mutation::on(Mutation::UnansweredSeek))
            || self.is_kept()
    }

    /// Whether this node ended it, and a certificate may still come, or still be needed.
    pub fn is_kept(&self) -> bool {
        let ended = self.stored.over() && self.stored.partial_sent && !self.watch_ended();
        (ended || self.only_signed()) && !self.keeping.over()
    }

    /// Whether it is a session that only signs, and has its signatures: all that is left is that the others get them.
    fn only_signed(&self) -> bool {
        self.broadcast.as_ref().is_some_and(|broadcast| broadcast.watch().is_none())
    }

    /// Whether this node's application consented: the signed consent is in the set.
    pub fn joined(&self) -> bool {
        self.set.fact(Fact::Accept, self.agreement.own).is_some()
    }

    /// Whether it is another signer's proposal that this node has not joined.
    pub fn is_foreign(&self) -> bool {
        let others = self.agreement.proposal.proposer != self.agreement.own;
        others && !self.joined() && !self.requests.consenting()
    }

    /// Whether it is such a proposal that waits for an answer, or whose end the application has not acknowledged.
    pub fn is_unanswered(&self) -> bool {
        self.is_foreign() && !self.stored.closed && !self.is_answered()
    }

    /// Whether it is such a proposal that is over, and this node gave no signature: all that matters of it is that it does
    /// not come again.
    pub fn is_answered(&self) -> bool {
        let signed = self.stored.partial_sent || self.stored.attempts_used > 0;
        self.is_foreign() && !signed && self.stored.over() && self.is_done()
    }

    /// The decline or abort that ended it, this node's own before others'.
    pub fn last_word(&self) -> Option<&Envelope> {
        let own =
            [Fact::Decline, Fact::Abort].into_iter().find_map(|fact| self.set.fact(fact, self.own_index()));
        own.or_else(|| self.set.first(Fact::Abort)).or_else(|| self.set.first(Fact::Decline))
    }

    /// True once the session is over and not to be kept, its durable events are acknowledged, and it has expired.
    pub fn is_purgeable(&self, now: Time) -> bool {
        self.is_done() && now.wall >= self.agreement.proposal.expires_at
    }

    fn is_done(&self) -> bool {
        let kept = self.is_kept() && !mutation::on(Mutation::ExpiryForgets);
        let over = (self.stored.over() || self.watch_ended() || self.only_signed()) && !kept;
        over && self.stored.pending().is_empty() && !self.requests.any_waiting()
    }

    fn watch(&self) -> Option<&Watch> {
        self.broadcast.as_ref()?.watch()
    }

    fn watch_mut(&mut self) -> Option<&mut Watch> {
        self.broadcast.as_mut()?.watch_mut()
    }

    /// Whether its watch ended.
    pub fn watch_ended(&self) -> bool {
        self.watch().is_some_and(Watch::ended)
    }

    /// With what its watch ended, if it did.
    pub fn final_evidence(&self) -> Option<Evidence> {
        self.watch().filter(|watch| watch.ended()).map(Watch::evidence)
    }

    pub fn own_turn_open(&self) -> bool {
        let given_up = self.stored.given_up;
        self.watch().is_some_and(|watch| watch.own_turn_open() && !given_up)
    }

    pub fn phase(&self) -> Phase {
        status::phase(&self.agreement, &self.set, &self.stored, self.broadcast.as_ref())
    }

    pub fn status(&mut self, context: &Context<'_>) -> SessionStatus {
        let until_next_turn = self.until_next_turn(context);
        let outlook = self.act(context, |watch, around| watch.outlook(context.now, around));
        let (broadcast, contacts) = (self.broadcast.as_ref(), context.contacts());
        let mut status =
            status::status(&self.agreement, &self.set, &self.stored, broadcast, until_next_turn, contacts);
        if let Some(failover) = &mut status.failover {
            let of = |seen: Outlook| contacts.coordinator(seen, &self.agreement, &self.sync);
            failover.signers = outlook.into_iter().map(of).collect();
        }
        status
    }

    /// Everything that the session holds, as one frame: the form in which it is exported.
    pub fn export(&self) -> Vec<u8> {
        frames::export(&self.set, self.certificate())
    }

    // ---- What others say ----

    /// Takes an envelope from a peer, that signed it or passes it on. Answers whether it is new here.
    pub fn receive(
        &mut self,
        envelope: Envelope,
        from: usize,
        context: &mut Context<'_>,
    ) -> Result<bool, WireError> {
        let proposal = &self.agreement.proposal;
        if self.stored.closed || !self.set.wants(&envelope, proposal) {
            return Ok(false);
        }
        envelope.verify(context.scheme, proposal)?;
        let signer = envelope.body().signer;
        if signer != from {
            context.relayed.push(proposal.signers[signer]);
        }
        if signer == self.agreement.own {
            self.own_envelope_returned(&envelope, context);
        }
        self.stall = Stall::new(context.now.monotonic);
        self.add(envelope, context);
        Ok(true)
    }

    /// An envelope of the own key that is not here. A partial signature is not synced when it is sent, nor is what cannot
    /// harm, so after a restart they may come back; everything else was on disk before it left. An abort or a decline that
    /// comes back stands, as if a crash had not undone it.
    fn own_envelope_returned(&mut self, envelope: &Envelope, context: &Context<'_>) {
        let own = self.agreement.own;
        let own_partial_lost = match envelope.place() {
            Some(Place::Partial(attempt)) => {
                self.sync.recovers() && self.set.taken(Place::Nonces(attempt), own)
            }
            Some(Place::Nonces(_)) => false,
            None => harmless(envelope.content()),
        };
        match envelope.place().filter(|_| envelope.content_allowed(&self.agreement.proposal)) {
            Some(Place::Partial(_)) => self.stored.partial_sent = true,
            Some(Place::Nonces(attempt)) => {
                self.stored.use_attempt(attempt);
                // Whoever made them may have sent what followed.
                self.stored.partial_sent = true;
            }
            None => self.own_word(envelope.content(), context.now),
        }
        self.outbox.state_changes(true);
        if !own_partial_lost && !self.stored.foreign_envelope {
            self.stored.foreign_envelope = true;
            self.raise(DurableKind::KeyInUse);
            // As after a restart: others may hold more of what this key said. What is here comes first.
            if !self.sync.recovers() {
                self.sync.recover(context.now.monotonic);
                self.compare_all(context);
            }
        }
    }

    fn add(&mut self, envelope: Envelope, context: &mut Context<'_>) {
        let (id, signer) = (envelope.id(), envelope.body().signer);
        self.count(&envelope, context);
        self.outbox.write(SessionChange::Envelope(id, envelope.as_bytes().to_vec()));
        let dropped = self.set.insert(envelope.clone(), &self.agreement.proposal);
        self.outbox.drop_envelopes(dropped);
        match envelope.content() {
            Content::Accept => {
                let (joined, signers) = (self.set.by_all(Fact::Accept).count(), self.agreement.signers());
                self.outbox.emit(Event::SessionJoined { signer, joined, signers });
            }
            Content::Claim { txid } if signer != self.agreement.own => {
                self.claim_heard(*txid, signer, context);
            }
            _ => {}
        }
    }

    /// Counts what is no event. The envelope is not in the set yet.
    fn count(&self, envelope: &Envelope, context: &mut Context<'_>) {
        let (signer, signers) = (envelope.body().signer, &self.agreement.proposal.signers);
        match envelope.content() {
            Content::Accept if signer == self.agreement.own => context.counters.note_signers(signers),
            Content::Restart { .. } => context.counters.restarts += 1,
            Content::Claim { .. } if self.joined() && self.set.fact(Fact::Claim, signer).is_none() => {
                context.counters.broadcast(&signers[signer]);
                if mutation::on(Mutation::ReputationFromClaims) {
                    self.judge(signer, true, context);
                }
            }
            _ => {}
        }
    }

    /// Reports another signer's proposal to the application.
    pub fn announce(&mut self) {
        self.raise(DurableKind::Proposed);
    }

    /// A peer disconnected.
    pub fn peer_disconnected(&mut self, key: &SignerKey) {
        let unfinished = self.broadcast.is_none() && !self.stored.over();
        if let Some(signer) = self.agreement.proposal.index_of(key).filter(|_| unfinished) {
            self.outbox.emit(Event::ParticipantDisconnected { signer });
        }
    }

    /// What another signer holds was brought here by hand: as good as a comparison with it.
    pub fn imported(&mut self) {
        self.sync.imported();
    }

    /// Does what follows from the envelopes that came in.
    pub fn advance(&mut self, context: &mut Context<'_>) {
        self.advance_rounds(context);
        self.advance_watch(context);
    }

    /// Takes a certificate. Makes a holder of any node that ever joined, whatever it believed before.
    pub fn receive_certificate(
        &mut self,
        certificate: Certificate,
        from: Option<usize>,
        context: &mut Context<'_>,
    ) -> Result<(), WireError> {
        if let Some(from) = from
            && self.certificate() == Some(&certificate)
        {
            self.note_holder(from);
        }
        if self.broadcast.is_some() || !self.joined() {
            // Where a session only signs, whoever passes it on goes on doing that until it knows that all have it.
            let only_signed = self.only_signed();
            from.into_iter().filter(|_| only_signed).for_each(|from| self.confirm_to(from, context));
            return Ok(());
        }
        let unverified = mutation::on(Mutation::CertificateUnverified);
        if !unverified && !self.rounds.verifies(&certificate, from, &self.agreement) {
            return Err(WireError::Signature("the certificate"));
        }
        from.into_iter().for_each(|from| self.sync.note_holder(from));
        self.become_holder(certificate, context);
        // Whoever holds it waits for the turns of those only who say that they do too. It was not passed back.
        from.into_iter().for_each(|from| self.confirm_to(from, context));
        Ok(())
    }

    /// Says to a signer that the certificate is here, on the disk.
    fn confirm_to(&mut self, from: usize, context: &Context<'_>) {
        if self.sync.admit(from, context.now.monotonic) {
            self.send_comparison(self.agreement.proposal.signers[from], true, context);
        }
    }

    /// Another signer has the certificate. Once all have that of a session that only signs, nothing is left to do.
    fn note_holder(&mut self, signer: usize) {
        self.sync.note_holder(signer);
        self.settle_once_all_hold();
    }

    fn settle_once_all_hold(&mut self) {
        let all = || self.agreement.others().all(|signer| self.sync.is_holder(signer));
        if self.only_signed() && all() {
            let news = self.keeping.settle();
            self.outbox.state_changes(news);
        }
    }

    // ---- Sending, comparing ----

    /// Sends own envelopes to everybody who is connected, and says who is not: those are given them by who can. Who
    /// cannot be reached at all gets them by comparison.
    fn send_envelopes(&mut self, envelopes: &[Envelope], context: &Context<'_>) {
        let connected = self.agreement.connected_others(context.connected);
        let unconnected = |signer: &usize| !connected.iter().any(|(other, _)| other == signer);
        let lacking: Vec<usize> = self.agreement.others().filter(unconnected).collect();
        self.send_to(envelopes, &lacking, &connected);
    }

    fn send_to(&mut self, envelopes: &[Envelope], lacking: &[usize], to: &[(usize, SignerKey)]) {
        // Only its own words have to be on the disk before this node says them, and of those only what binds it.
        let own = self.agreement.own;
        let binds = |envelope: &Envelope| envelope.body().signer == own && !harmless(envelope.content());
        let waits = if envelopes.iter().any(binds) { Waits::Barrier } else { Waits::Never };
        let envelopes = envelopes.iter().map(|envelope| envelope.as_bytes().to_vec()).collect();
        for frame in frames::envelopes(self.id(), envelopes, lacking) {
            for (_, key) in to {
                self.outbox.send(*key, frame.clone(), waits);
            }
        }
    }

    /// Passes on what is new here to the signers that its sender cannot reach. Each envelope is new once, so it goes to
    /// each of them once at most, whatever anybody says.
    pub fn pass_on(&mut self, envelopes: &[Envelope], lacking: &[u8], context: &Context<'_>) {
        let lacks = |signer: usize| lacking.iter().any(|lacking| usize::from(*lacking) == signer);
        let signers = &self.agreement.proposal.signers;
        let (to, rest): (Vec<_>, Vec<_>) = self
            .agreement
            .others()
            .filter(|signer| lacks(*signer))
            .map(|signer| (signer, signers[signer]))
            .partition(|(_, key)| context.connected.contains(key));
        let rest: Vec<usize> = rest.into_iter().map(|(signer, _)| signer).collect();
        if !envelopes.is_empty() && !self.stored.closed {
            self.send_to(envelopes, &rest, &to);
        }
    }

    /// Sends the certificate to everybody who is connected and not known to hold it.
    fn send_certificate(&mut self, context: &Context<'_>) {
        let Some(frame) = self.certificate().map(frames::certificate) else { return };
        for (signer, key) in self.agreement.connected_others(context.connected) {
            if !self.sync.is_holder(signer) {
                self.outbox.send(key, frame.clone(), Waits::Never);
            }
        }
    }

    /// Sends the envelopes that make a proof, so that everybody sees it at once.
    fn send_proofs(&mut self, context: &Context<'_>) {
        for proof in self.rounds.proofs(&self.agreement, &self.set) {
            let envelopes = proofs::envelopes(&self.agreement, &self.set, proof);
            self.send_envelopes(&envelopes, context);
        }
    }

    /// Starts a comparison with a signer that is connected.
    pub fn compare_with(&mut self, signer: &SignerKey, context: &Context<'_>) {
        if mutation::on(Mutation::ReconnectBeginsAgain)
            && let Some(broadcast) = &mut self.broadcast
        {
            broadcast.start_over(&self.agreement, context.now);
        }
        let index = self.agreement.proposal.index_of(signer);
        let another = index.is_some_and(|index| index != self.agreement.own);
        let speaks = !self.stored.closed || self.broadcast.is_some() && self.is_kept();
        if speaks && !self.set.is_empty() && another {
            self.send_comparison(*signer, false, context);
        }
    }

    fn compare_all(&mut self, context: &Context<'_>) {
        for (_, key) in self.agreement.connected_others(context.connected) {
            self.send_comparison(key, false, context);
        }
    }

    fn send_comparison(&mut self, to: SignerKey, answer: bool, context: &Context<'_>) {
        let (certificate, time) = (self.broadcast.is_some(), context.now.wall);
        let frame = frames::comparison(self.id(), self.set.ids(), certificate, answer, time);
        self.outbox.send(to, frame, Waits::Barrier);
    }

    /// A signer says what it holds: send what it lacks, and answer with what is here.
    pub fn compare(
        &mut self,
        have: &pb::Have,
        from: usize,
        context: &mut Context<'_>,
    ) -> Result<(), WireError> {
        frames::check_comparison(have)?;
        if !self.sync.admit(from, context.now.monotonic) {
            return Ok(());
        }
        if have.certificate {
            self.note_holder(from);
        }
        let key = self.agreement.proposal.signers[from];
        if self.stored.closed {
            self.compare_closed(have, from, key, context);
            return Ok(());
        }
        for frame in frames::envelopes(self.id(), self.lacked_by(have, from), &[]) {
            self.outbox.send(key, frame, Waits::Barrier);
        }
        if let Some(frame) = self.certificate().filter(|_| !have.certificate).map(frames::certificate) {
            self.note_sent_to(from);
            self.outbox.send(key, frame, Waits::Never);
        }
        if have.answer {
            self.sync.answered(from);
        } else {
            self.send_comparison(key, true, context);
        }
        self.advance_rounds(context);
        Ok(())
    }

    /// The certificate is on its way to a signer. Where that is all there is to do, it has it once it says so.
    fn note_sent_to(&mut self, signer: usize) {
        if !self.only_signed() {
            self.sync.note_sent(signer);
        }
    }

    /// A closed session takes a certificate and passes one on, and has nothing else to say.
    fn compare_closed(&mut self, have: &pb::Have, from: usize, key: SignerKey, context: &Context<'_>) {
        let certificate = self.certificate().map(frames::certificate);
        match certificate {
            Some(frame) if self.is_kept() && !have.certificate => {
                self.note_sent_to(from);
                self.outbox.send(key, frame, Waits::Never);
            }
            None if self.is_kept() && have.certificate && !have.answer => {
                self.send_comparison(key, true, context)
            }
            _ => {}
        }
    }

    /// The envelopes that a signer lacks and needs.
    fn lacked_by(&self, have: &pb::Have, signer: usize) -> Vec<Vec<u8>> {
        let theirs: std::collections::HashSet<&[u8]> = have.envelopes.chunks_exact(32).collect();
        // Who has the certificate needs no more than what is said about the broadcast.
        let finished = self.broadcast.is_some() || have.certificate;
        let useful = |envelope: &&Envelope| {
            let about_broadcast = matches!(envelope.content(), Content::Claim { .. } | Content::Nack { .. });
            // Without the proposal nobody can check a certificate, and who lost what it said itself must know that
            // it said it before it says it again.
            let proposal = matches!(envelope.content(), Content::Proposal(_));
            !finished || about_broadcast || proposal || envelope.body().signer == signer
        };
        let all = self.set.in_order().into_iter();
        all.filter(|envelope| !theirs.contains(envelope.id().0.as_slice()))
            .filter(useful)
            .map(|envelope| envelope.as_bytes().to_vec())
            .collect()
    }

    // ---- Time ----

    /// Does what the time asks for.
    pub fn tick(&mut self, context: &mut Context<'_>) {
        let now = context.now.monotonic;
        self.requests.pass_time(now);
        self.advance(context);
        self.keep(context);
        if self.compares() && self.sync.begin(now, self.stored.over() || self.only_signed()) {
            let mut connected = self.agreement.connected_others(context.connected);
            connected.retain(|(signer, _)| !self.only_signed() || !self.sync.is_holder(*signer));
            for key in self.sync.next_peers(connected) {
                self.send_comparison(key, false, context);
            }
        }
        if self.stored.over() || self.broadcast.is_some() || !self.joined() {
            return;
        }
        if let Some(since) = self.stall.report(now, context.settings.stall_after) {
            let missing = status::missing(&self.agreement, &self.set);
            if !missing.is_empty() {
                let contacts = context.contacts();
                let state = |signer: &usize| contacts.of(*signer, &self.agreement, &self.set);
                let signers = missing.iter().map(state).collect();
                self.outbox.emit(Event::SessionStalled { missing, signers, since });
            }
        }
    }

    /// Counts how long it has been kept, and asks the observer whether it must be kept longer.
    fn keep(&mut self, context: &Context<'_>) {
        if !self.is_kept() {
            return;
        }
        let counted = self.keeping.pass_time(context.now, self.agreement.proposal.expires_at);
        self.outbox.state_changes(counted);
        if self.asks_of_coins(context) && self.keeping.observe(context.now.monotonic) {
            self.ask_observer();
        }
    }

    /// Whether the observer is asked about the coins although there is no watch.
    fn asks_of_coins(&self, context: &Context<'_>) -> bool {
        context.settings.observer && self.agreement.transaction.is_some() && self.broadcast.is_none()
    }

    fn ask_observer(&mut self) {
        if let Some(info) = &self.agreement.transaction {
            self.outbox.observe(ChainQuery { txid: info.txid, spends: info.spends.clone() });
        }
    }

    /// Whether others may know something that matters here: as long as there is no certificate, and after an ending
    /// if the own partial signature may be out, so that others may still finish. Or whether they have the certificate, if
    /// that is all that is left.
    fn compares(&self) -> bool {
        let open = !self.stored.over() || self.is_kept();
        let asks = self.broadcast.is_none() || self.only_signed() && self.is_kept();
        open && asks && !self.set.is_empty()
    }

    /// When [`Session::tick`] is to be called next.
    pub fn next_timeout(&mut self, context: &Context<'_>) -> Option<Duration> {
        let now = context.now;
        let until_expiry = self.agreement.proposal.expires_at.saturating_since(now.wall);
        let over = self.stored.over() || self.broadcast.is_some();
        let stalls = !over && self.joined();
        let wait_ends = self.sync.wait_ends(self.agreement.signers()).filter(|_| self.joined());
        let asks = self.asks_of_coins(context);
        let keeping =
            self.is_kept().then(|| self.keeping.due_at(now, self.agreement.proposal.expires_at, asks));
        let watches = self.watches();
        let broadcast = self.broadcast.as_mut().filter(|_| watches);
        [
            keeping,
            broadcast.and_then(|it| it.next_timeout(&self.agreement, &self.set, &self.sync, context)),
            Some(self.sync.due_at()).filter(|_| self.compares()),
            Some(now.monotonic.saturating_add(until_expiry)).filter(|_| !over || !until_expiry.is_zero()),
            self.stall.due_at(context.settings.stall_after).filter(|_| stalls),
            wait_ends.filter(|at| !over && *at > now.monotonic),
            self.requests.retry_at(),
        ]
        .into_iter()
        .flatten()
        .min()
    }

    /// After sleep: compare at once, and look at the chain before submitting.
    pub fn woke(&mut self, context: &mut Context<'_>) {
        if let Some(watch) = self.watch_mut() {
            watch.woke(context.now);
        }
        self.sync.hurry(context.now.monotonic);
        self.tick(context);
    }

    // ---- The rounds ----

    fn advance_rounds(&mut self, context: &mut Context<'_>) {
        if self.broadcast.is_some() || self.stored.closed {
            return;
        }
        let (attempt, now) = (self.set.attempt(), context.now);
        let conditions = Conditions {
            expired: now.wall >= self.agreement.proposal.expires_at,
            ending: self.stored.ending,
            consented: self.stored.consented,
            attempts_used: self.stored.attempts_used,
            signer_refused: self.requests.retry_at().is_some(),
            recovering: self.sync.waits(self.agreement.others(), now.monotonic),
            connected: context.connected,
            nonces_asked: self.requests.in_flight(Purpose::Nonces(attempt)),
            partial_asked: self.requests.in_flight(Purpose::Partial(attempt)),
        };
        for action in self.rounds.advance(&self.agreement, &self.set, conditions) {
            self.carry_out_round(action, context);
        }
    }

    fn carry_out_round(&mut self, action: RoundAction, context: &mut Context<'_>) {
        match action {
            RoundAction::Complete(certificate) => self.become_holder(certificate, context),
            RoundAction::Report(event) => self.outbox.emit(event),
            RoundAction::End(ending) => self.end(ending, context),
            RoundAction::CompareAll => self.compare_all(context),
            RoundAction::WipeNonces(attempt) => self.outbox.wipe_nonces(attempt),
            RoundAction::MakeNonces(attempt) => {
                let Some(keys) = self.agreement.keys.clone() else { return };
                let (proposal, signer) = (self.agreement.proposal.clone(), self.agreement.own);
                let task = SignTask::Nonces(NonceRequest::new(proposal, attempt, signer, keys));
                self.ask_signer(Purpose::Nonces(attempt), task, context);
            }
            RoundAction::MakePartial { attempt, transcript, round } => {
                let Some(keys) = self.agreement.keys.clone() else { return };
                let (proposal, signer) = (self.agreement.proposal.clone(), self.agreement.own);
                let request = PartialRequest::new(proposal, attempt, signer, keys, round);
                let task = SignTask::Partial { request, transcript };
                self.ask_signer(Purpose::Partial(attempt), task, context);
            }
            // Without restarts left the session can only be finished by others.
            RoundAction::Restart => {
                if let Some(ordinal) = self.set.next_restart(self.agreement.own)
                    && !self.requests.in_flight(Purpose::Restart(ordinal))
                {
                    self.sign(Purpose::Restart(ordinal), Content::Restart { ordinal }, context);
                }
            }
        }
    }

    fn end(&mut self, ending: Ending, context: &Context<'_>) {
        self.stored.ending = Some(ending);
        if ending == Ending::Failed {
            self.set.keep_attempt(self.set.attempt());
        }
        self.withdraw(&[DurableKind::Proposed]);
        self.wipe_nonces();
        self.raise(match ending {
            Ending::Failed => DurableKind::Failed,
            Ending::Aborted | Ending::Declined => DurableKind::Aborted,
            Ending::Expired => DurableKind::Expired,
        });
        if ending == Ending::Failed && !mutation::on(Mutation::ProofNotSent) {
            // A provable fault known to one honest node is soon known to all: pass on what proves it.
            self.compare_all(context);
            self.send_proofs(context);
        }
    }

    fn wipe_nonces(&mut self) {
        self.stored.stop_signing();
        self.rounds.nonces_gone();
        self.outbox.wipe_nonces(self.set.attempt().max(self.stored.attempts_used));
    }

    // ---- The signer ----

    fn sign(&mut self, purpose: Purpose, content: Content, context: &mut Context<'_>) {
        let body = Body { session: self.id(), signer: self.agreement.own, content };
        self.ask_signer(purpose, SignTask::Envelope(body), context);
    }

    fn ask_signer(&mut self, purpose: Purpose, task: SignTask, context: &mut Context<'_>) {
        *context.tickets += 1;
        let ticket = *context.tickets;
        self.requests.ask(ticket, purpose);
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
        let Some(purpose) = self.requests.answered(ticket) else { return false };
        match result {
            Ok(envelope) => self.own_envelope(purpose, envelope, context),
            Err(error) => return self.signer_failed(purpose, error, context),
        }
        self.advance(context);
        false
    }

    fn own_envelope(&mut self, purpose: Purpose, envelope: Envelope, context: &mut Context<'_>) {
        if purpose == Purpose::Proposal {
            self.requests.keep_proposal(envelope);
            self.sign(Purpose::Accept, Content::Accept, context);
            return;
        }
        // Between question and answer an envelope for the same place may have come from elsewhere. Then this one
        // is not used: two would be a proof against the own key. Nor does a node sign after an ending or a closing.
        let own = self.agreement.own;
        let taken = |place| self.set.taken(place, own) && !mutation::on(Mutation::SameAttemptAgain);
        let over = self.stored.over() && !mutation::on(Mutation::AbortStopsNothing);
        let taken = envelope.place().is_some_and(|place| over || taken(place));
        if taken || !self.set.wants(&envelope, &self.agreement.proposal) {
            if let Purpose::Nonces(_) = purpose {
                self.wipe_nonces();
            }
            self.answer_waiting(purpose, Ok(()));
            return;
        }
        match purpose {
            Purpose::Nonces(attempt) => {
                self.stored.use_attempt(attempt);
                self.rounds.nonces_made(attempt);
            }
            Purpose::Partial(_) => {
                self.rounds.nonces_gone();
                self.stored.partial_sent = true;
            }
            Purpose::Accept => {
                self.stored.consented = true;
                self.withdraw(&[DurableKind::Proposed]);
            }
            _ => self.own_word(envelope.content(), context.now),
        }
        self.outbox.state_changes(true);
        // A partial signature that is lost with the disk comes back from the others, claims and NACKs need not. An ending
        // is stored at once, and takes effect without that.
        self.outbox.needs_sync(matches!(purpose, Purpose::Decline | Purpose::Abort));
        self.outbox
            .needs_barrier(matches!(purpose, Purpose::Accept | Purpose::Nonces(_) | Purpose::Restart(_)));
        let mut envelopes = Vec::with_capacity(2);
        if purpose == Purpose::Accept
            && let Some(proposal) = self.requests.take_proposal()
        {
            self.outbox.emit(Event::SessionCreated);
            envelopes.push(proposal);
        }
        envelopes.push(envelope);
        self.send_envelopes(&envelopes, context);
        for envelope in envelopes {
            self.add(envelope, context);
        }
        self.answer_waiting(purpose, Ok(()));
    }

    fn signer_failed(&mut self, purpose: Purpose, error: SignerError, context: &Context<'_>) -> bool {
        if matches!(purpose, Purpose::Proposal | Purpose::Accept) && !self.joined() {
            // Nothing was stored or sent, so the request failed without a trace.
            self.answer_waiting(Purpose::Accept, Err(error.into()));
            let own = self.agreement.proposal.proposer == self.agreement.own;
            return own && !self.sync.recovers() && self.set.is_empty();
        }
        self.answer_waiting(purpose, Err(error.clone().into()));
        if matches!(purpose, Purpose::Decline | Purpose::Abort) {
            return false;
        }
        match (purpose, &error) {
            (Purpose::Partial(_), SignerError::NonceGone) => self.rounds.nonces_gone(),
            // It made them before, and they never came back: they are lost, and so is the attempt.
            (Purpose::Nonces(attempt), SignerError::Mismatch(_) | SignerError::NonceGone) => {
                self.stored.use_attempt(attempt);
                self.outbox.state_changes(true);
            }
            _ => {}
        }
        self.requests.refused(context.now.monotonic);
        self.outbox.emit(Event::SignerFailed { error });
        false
    }

    fn answer_waiting(&mut self, purpose: Purpose, result: Result<(), Error>) {
        let waits = match purpose {
            Purpose::Decline | Purpose::Abort | Purpose::Nack(_) => Waits::Briefly,
            _ => Waits::Barrier,
        };
        for request in self.requests.take_waiting(purpose) {
            self.outbox.answer(request, result.clone(), waits);
        }
    }

    // ---- What the application asks ----

    /// Proposes this session: signs the proposal and the own consent.
    pub fn propose(&mut self, request: RequestId, context: &mut Context<'_>) {
        self.requests.wait_for(Purpose::Accept, request);
        let content = Content::Proposal(self.agreement.proposal.as_bytes().to_vec());
        self.sign(Purpose::Proposal, content, context);
    }

    /// Refuses to join what has ended.
    pub fn may_join(&self, now: Time) -> Result<(), Error> {
        if let Some(ending) = self.stored.ending {
            let (state, hint) = match ending {
                _ if self.broadcast.is_some() => ("complete", "broadcast_now takes its turns again"),
                Ending::Failed => ("failed", "propose a new one, without the culprit"),
                Ending::Aborted => ("aborted", "propose a new one"),
                Ending::Declined => ("declined", "propose a new one"),
                Ending::Expired => ("expired", "propose a new one with a later expiry"),
            };
            return Err(Error::WrongState { session: self.id(), state, hint });
        }
        let not_expired = self.agreement.proposal.check_expiry(now.wall, limits::CLOCK_ERROR);
        if self.broadcast.is_none() { Ok(not_expired?) } else { Ok(()) }
    }

    /// Consents. A closed session is opened again.
    pub fn join(&mut self, request: RequestId, context: &mut Context<'_>) -> Result<(), Error> {
        self.may_join(context.now)?;
        if self.stored.closed {
            self.stored.closed = false;
            self.stored.given_up = false;
            self.outbox.state_changes(true);
            self.compare_all(context);
            if let Some(watch) = self.watch_mut() {
                watch.set_idle(false, context.now);
                watch.woke(context.now);
            }
        }
        if self.joined() {
            // The signed consent may be there from elsewhere: an older disk, a second instance. This is the own one.
            self.stored.consented = true;
            self.outbox.state_changes(true);
            self.withdraw(&[DurableKind::Proposed]);
            self.outbox.needs_barrier(true);
            self.answer(request);
        } else {
            self.requests.wait_for(Purpose::Accept, request);
            if !self.requests.consenting() {
                self.sign(Purpose::Accept, Content::Accept, context);
            }
        }
        self.advance(context);
        Ok(())
    }

    /// Refuses the proposal.
    pub fn decline(
        &mut self,
        reason: String,
        request: RequestId,
        context: &mut Context<'_>,
    ) -> Result<(), Error> {
        if self.joined() || self.requests.consenting() {
            let (state, hint) = ("joined", "it can be aborted instead");
            return Err(Error::WrongState { session: self.id(), state, hint });
        }
        check_reason(&reason)?;
        self.stop(Purpose::Decline, Fact::Decline, Content::Decline { reason }, request, context)
    }

    /// Stops taking part, and tells the others.
    pub fn abort(
        &mut self,
        reason: String,
        request: RequestId,
        context: &mut Context<'_>,
    ) -> Result<(), Error> {
        check_reason(&reason)?;
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
        if self.broadcast.is_some() {
            let (state, hint) = ("complete", "the signatures exist and cannot be taken back");
            return Err(Error::WrongState { session: self.id(), state, hint });
        }
        self.state_fact(purpose, fact, content, request, context);
        Ok(())
    }

    /// Signs a fact for a request, unless it is signed or being signed already.
    fn state_fact(
        &mut self,
        purpose: Purpose,
        fact: Fact,
        content: Content,
        request: RequestId,
        context: &mut Context<'_>,
    ) {
        if self.set.fact(fact, self.agreement.own).is_some() {
            self.outbox.answer(request, Ok(()), Waits::Briefly);
            return;
        }
        self.requests.wait_for(purpose, request);
        if !self.requests.in_flight(purpose) {
            self.sign(purpose, content, context);
        }
    }

    /// Forgets a session with which nothing is given up. See [`Session::forget`].
    pub fn close(&mut self, request: RequestId) -> Result<(), Error> {
        if self.unsettled() && !mutation::on(Mutation::CloseEndsWatch) {
            return Err(Error::NotSettled { session: self.id(), complete: self.broadcast.is_some() });
        }
        self.forget();
        self.answer(request);
        Ok(())
    }

    /// Gives the transaction up for this node, and forgets the session. A certificate that comes later is taken, kept and
    /// passed on, and no turn is taken with one.
    pub fn abandon(&mut self, request: RequestId, context: &Context<'_>) {
        if !self.stored.closed || !self.stored.given_up {
            self.outbox.state_changes(true);
            self.outbox.needs_barrier(true);
            self.give_up(context.now);
            self.forget();
            if mutation::on(Mutation::AbandonTakesTurn) {
                self.take_up();
                self.watch_mut().into_iter().for_each(|watch| watch.set_idle(false, context.now));
            }
        }
        self.answer(request);
    }

    /// Whether closing it would give something up: its watch is open, or others may complete it with the partial signature of
    /// this node.
    fn unsettled(&self) -> bool {
        let pending = match &self.broadcast {
            Some(broadcast) => broadcast.watch().is_some_and(|watch| !watch.ended()),
            None => self.stored.partial_sent && !self.keeping.over(),
        };
        pending && !self.stored.closed
    }

    /// Forgets what the others said. A tombstone stays until the expiry: opened again, the session asks for the rest.
    fn forget(&mut self) {
        if !self.stored.closed {
            self.stored.closed = true;
            self.outbox.state_changes(true);
            self.outbox.needs_barrier(true);
            self.stored.clear_pending();
            self.wipe_nonces();
            let dropped = self.set.keep_tombstone(self.agreement.own);
            self.outbox.drop_envelopes(dropped);
            self.rounds.drop_round();
            self.outbox.emit(Event::SessionClosed);
        }
    }

    /// Answers a request once what this node said before is on the disk.
    pub fn answer(&mut self, request: RequestId) {
        self.outbox.answer(request, Ok(()), Waits::Barrier);
    }

    /// The application broadcast, or saw, the transaction.
    pub fn notify(
        &mut self,
        txid: Option<Txid>,
        request: RequestId,
        context: &mut Context<'_>,
    ) -> Result<(), Error> {
        self.check_complete()?;
        if let (Some(given), Some(own)) = (txid, self.agreement.txid())
            && given != own
        {
            let (state, hint) =
                ("about another transaction", "notify with the id of its own transaction, or none");
            return Err(Error::WrongState { session: self.id(), state, hint });
        }
        let actions = self.act(context, |watch, around| watch.notified(context.now, around));
        if let Some(broadcast) = &mut self.broadcast {
            broadcast.name_txid(txid);
            self.outbox.state_changes(!actions.is_empty());
            self.outbox.needs_sync(!actions.is_empty());
            self.carry_out(actions, context);
        }
        self.outbox.answer(request, Ok(()), Waits::Briefly);
        Ok(())
    }

    /// The application could not broadcast: excuse this node's signer, so that the next ones take over.
    pub fn report_failed(
        &mut self,
        reason: String,
        request: RequestId,
        context: &mut Context<'_>,
    ) -> Result<(), Error> {
        self.check_complete()?;
        check_reason(&reason)?;
        let kind = NackKind::Unreachable;
        let content = Content::Nack { kind, reason };
        self.state_fact(Purpose::Nack(kind), Fact::Nack(kind), content, request, context);
        Ok(())
    }

    /// Broadcasts now, whoever's turn it is.
    pub fn broadcast_now(&mut self, request: RequestId, context: &mut Context<'_>) -> Result<(), Error> {
        self.check_broadcasts()?;
        if self.broadcast.is_some() && self.stored.given_up {
            self.take_up();
            self.outbox.state_changes(true);
            self.outbox.needs_sync(true);
        }
        self.check_complete()?;
        let actions = self.act(context, |watch, around| watch.broadcast_now(context.now, around));
        self.carry_out(actions, context);
        self.outbox.answer(request, Ok(()), Waits::Never);
        Ok(())
    }

    fn check_complete(&self) -> Result<(), Error> {
        let session = self.id();
        if self.stored.closed {
            return Err(Error::WrongState { session, state: "closed", hint: "join opens it again" });
        }
        if self.broadcast.is_none() {
            let (state, hint) = ("not complete", "wait for SessionComplete");
            return Err(Error::WrongState { session, state, hint });
        }
        self.check_broadcasts()
    }

    fn check_broadcasts(&self) -> Result<(), Error> {
        if self.only_signed() {
            let (state, hint) = ("one that only signs", "broadcast what it signed yourself, if anything");
            return Err(Error::WrongState { session: self.id(), state, hint });
        }
        Ok(())
    }

    /// The application handled a durable event. That it handled a proposal is not stored before its answer is.
    pub fn acknowledge(&mut self, kind: DurableKind) {
        let answers = [Purpose::Decline, Purpose::Abort];
        let answering =
            self.requests.consenting() || answers.iter().any(|answer| self.requests.in_flight(*answer));
        if kind != DurableKind::Proposed || !answering {
            self.withdraw(&[kind]);
        }
    }

    /// Hands the durable events out again that were not acknowledged.
    pub fn redeliver(&mut self) {
        for kind in self.stored.pending() {
            self.outbox.emit_again(*kind);
        }
    }

    // ---- The watch ----

    fn become_holder(&mut self, certificate: Certificate, context: &mut Context<'_>) {
        self.outbox.write(SessionChange::Certificate(wire::encode(&certificate.to_wire())));
        self.broadcast = Some(Broadcast::new(certificate, &self.agreement, context.codec, context.now));
        if self.stored.over()
            && let Some(watch) = self.watch_mut()
        {
            watch.ask_first();
        }
        if self.stored.given_up {
            self.give_up(context.now);
        } else {
            self.take_up();
        }
        self.wipe_nonces();
        self.rounds.drop_round();
        self.raise(DurableKind::Complete);
        // That it is here is this node's word, and others forget it because of that.
        self.outbox.needs_barrier(self.only_signed());
        self.settle_once_all_hold();
        self.send_certificate(context);
        self.advance_watch(context);
        // A claim may have come by a shorter way than the signatures.
        let claims = self.set.by_all(Fact::Claim).filter_map(|envelope| match envelope.content() {
            Content::Claim { txid } => Some((*txid, envelope.body().signer)),
            _ => None,
        });
        let own = self.agreement.own;
        for (txid, by) in claims.filter(|(_, by)| *by != own).collect::<Vec<_>>() {
            self.claim_heard(txid, by, context);
        }
    }

    /// This node's application wants no more of it: from now on it takes no turn.
    fn give_up(&mut self, now: Time) {
        self.stored.given_up = !mutation::on(Mutation::AbortTakesTurn);
        let given_up = self.stored.given_up;
        if let Some(watch) = self.watch_mut() {
            watch.set_idle(given_up, now);
        }
    }

    /// An abort or a decline of this node's application stands, also if the certificate came before it did: while it was
    /// signed, or after a crash that undid it here.
    fn own_word(&mut self, content: &Content, now: Time) {
        let ending = match content {
            Content::Abort { .. } => Ending::Aborted,
            Content::Decline { .. } => Ending::Declined,
            _ => return,
        };
        self.give_up(now);
        if self.broadcast.is_some() {
            self.stored.ending = Some(ending);
            self.withdraw(&[DurableKind::ShouldBroadcast]);
        }
    }

    /// Nothing that happened before the certificate counts any more.
    fn take_up(&mut self) {
        self.stored.closed = false;
        self.stored.given_up = false;
        self.stored.ending = None;
        self.stored.remove_pending(&[
            DurableKind::Proposed,
            DurableKind::Failed,
            DurableKind::Aborted,
            DurableKind::Expired,
        ]);
    }

    /// Whether its signers are asked for signs of life: a turn of its watch approaches.
    pub fn asks(&self) -> bool {
        let approaches = |watch: &Watch| watch.turn_approaches() || mutation::on(Mutation::AsksForEver);
        self.watches() && self.watch().is_some_and(approaches)
    }

    /// Whether it looks at the chain: a closed one does if it must be kept until the chain settles its coins.
    fn watches(&self) -> bool {
        !self.stored.closed || self.stored.given_up
    }

    /// Lets the watch act, if there is one.
    fn act<R: Default>(
        &mut self,
        context: &Context<'_>,
        act: impl FnOnce(&mut Watch, &Surroundings<'_>) -> R,
    ) -> R {
        let broadcast = self.broadcast.as_mut();
        broadcast.map(|it| it.act(&self.agreement, &self.set, &self.sync, context, act)).unwrap_or_default()
    }

    /// How long until the next turn opens, as far as is known now.
    fn until_next_turn(&mut self, context: &Context<'_>) -> Option<Duration> {
        self.act(context, |watch, around| watch.until_next_turn(context.now, around))
    }

    /// Lets the watch do what the time asks for.
    fn advance_watch(&mut self, context: &mut Context<'_>) {
        if self.watches() {
            let actions = self.act(context, |watch, around| watch.poll(context.now, around));
            self.carry_out(actions, context);
        }
    }

    /// The observer answered; `None` if it could not.
    pub fn observed(&mut self, answer: Option<ChainStatus>, context: &mut Context<'_>) {
        let watches = self.watches();
        let Some(broadcast) = &mut self.broadcast else {
            let settled = self.keeping.observed(answer, context.settings.final_depth.max(1));
            self.outbox.state_changes(settled);
            return;
        };
        if !watches {
            // Nothing follows from it. If the session is opened again, it asks again.
            broadcast.watch_mut().into_iter().for_each(Watch::interrupted);
            return;
        }
        let actions = self.act(context, |watch, around| watch.observed(answer, context.now, around));
        self.outbox.state_changes(true);
        self.carry_out(actions, context);
    }

    /// The observer answered what tells whether a lock is met; `None` if it could not.
    pub fn tip(&mut self, answer: Option<(ChainTip, Vec<Option<CoinStatus>>)>, context: &mut Context<'_>) {
        let Some(broadcast) = &mut self.broadcast else { return };
        if self.stored.closed {
            broadcast.watch_mut().into_iter().for_each(Watch::interrupted);
            return;
        }
        let met = answer.map(|(tip, coins)| broadcast.locks_met(&tip, &coins));
        let actions = self.act(context, |watch, around| watch.lock_answered(met, context.now, around));
        self.outbox.state_changes(true);
        self.carry_out(actions, context);
    }

    /// The broadcaster answered, or could not reach its backend.
    pub fn submitted(&mut self, answer: Result<SubmitOutcome, String>, context: &mut Context<'_>) {
        let watches = self.watches();
        let Some(broadcast) = &mut self.broadcast else { return };
        if !watches {
            broadcast.watch_mut().into_iter().for_each(Watch::interrupted);
            return;
        }
        let actions = self.act(context, |watch, around| watch.submitted(answer, context.now, around));
        self.outbox.state_changes(true);
        self.carry_out(actions, context);
    }

    /// Somebody claims to have broadcast: ask the observer, and report it.
    fn claim_heard(&mut self, txid: Txid, by: usize, context: &Context<'_>) {
        let Some(broadcast) = self.broadcast.as_mut().filter(|_| !self.stored.given_up) else { return };
        let awaits = |watch: &&mut Watch| !watch.ended() && !watch.evidence().pauses();
        let Some(watch) = broadcast.watch_mut().filter(awaits) else { return };
        watch.claimed(context.now);
        if broadcast.observes(context) {
            self.outbox.emit(Event::BroadcastClaimed { txid, by });
        } else {
            self.raise(DurableKind::Claimed);
        }
    }

    fn carry_out(&mut self, actions: Vec<Action>, context: &mut Context<'_>) {
        for action in actions {
            // Asking changes nothing that is stored; the answer does.
            let asks = matches!(action, Action::Observe | Action::AskTip | Action::Judge { .. });
            self.outbox.state_changes(!asks);
            // Of what it gave up its application is told nothing more than what becomes of the coins, and closed not that.
            if self.stored.given_up && action == Action::Lost
                || self.stored.closed && action != Action::Observe
            {
                continue;
            }
            match action {
                Action::CoordinatorFailed { failed, causes, next, turn } => {
                    self.count_turns(&failed, &causes, turn, context);
                    self.outbox.emit(Event::CoordinatorFailed { failed, causes, next, turn });
                }
                Action::ShouldBroadcast => self.raise(DurableKind::ShouldBroadcast),
                Action::Submit => {
                    if let Some(transaction) = self.final_transaction().cloned() {
                        self.outbox.submit(transaction);
                    }
                }
                Action::Observe => self.ask_observer(),
                Action::AskTip => {
                    if let Some(broadcast) = &self.broadcast {
                        let (session, coins) = (self.id(), broadcast.locked_coins());
                        context.outputs.push_back(Output::Tip { session, coins });
                    }
                }
                Action::Exhausted => self.raise(DurableKind::Exhausted),
                Action::NobodyCanBroadcast => self.raise(DurableKind::NobodyCanBroadcast),
                Action::Lost => {
                    self.withdraw(&[DurableKind::Confirmed, DurableKind::Conflict]);
                    self.raise(DurableKind::Lost);
                }
                Action::Seen => {
                    self.withdraw(&[DurableKind::NobodyCanBroadcast]);
                    if let (Some(txid), Some(watch)) = (self.agreement.txid(), self.watch()) {
                        let coordinators = watch.coordinators().to_vec();
                        let by = broadcast_by(&self.agreement, &self.set, watch);
                        self.outbox.emit(Event::BroadcastSeen { txid, coordinators, by });
                    }
                }
                Action::Judge { failed, sufficed } => {
                    for signer in failed {
                        self.judge(signer, false, context);
                    }
                    for signer in sufficed {
                        self.judge(signer, true, context);
                    }
                }
                Action::Confirmed => {
                    self.withdraw(&[DurableKind::ShouldBroadcast, DurableKind::NobodyCanBroadcast]);
                    self.raise(DurableKind::Confirmed);
                }
                Action::Conflict(_) => self.raise(DurableKind::Conflict),
                Action::Rejected => self.raise(DurableKind::Rejected),
                Action::Nack(kind, reason) => self.send_nack(kind, reason, context),
                Action::Sample(by, time) => {
                    context.pace.note(by, time);
                    self.outbox.write(SessionChange::Pace(context.pace.encode()));
                }
                Action::Claim => {
                    self.withdraw(&[DurableKind::NobodyCanBroadcast]);
                    self.send_claim(context);
                }
            }
        }
    }

    /// Counts the turns that opened: those after the first that failed, up to `last`.
    fn count_turns(&self, failed: &[usize], causes: &[FailureCause], last: usize, context: &mut Context<'_>) {
        let Some(watch) = self.watch() else { return };
        let turns = watch.turns();
        let cause = |signer: &usize| {
            failed.iter().zip(causes).find(|(failed, _)| *failed == signer).map(|(_, cause)| *cause)
        };
        let first = failed.first().and_then(|signer| turns.of_signer(*signer)).unwrap_or(last);
        context.counters.failovers += u64::from(first == 0);
        for turn in first + 1..=last {
            // The one that was waited for longest.
            let longest = turns.signers(turn - 1).iter().filter_map(cause).max();
            let timeout = FailureCause::Timeout;
            let cause = longest.filter(|_| !watch.is_due(turn)).unwrap_or(timeout);
            context.counters.turn(cause);
            context.counters.own_turns += u64::from(turns.signers(turn).contains(&self.agreement.own));
        }
    }

    /// A verdict of the watch on how a signer broadcast. None is needed on this node itself.
    fn judge(&self, signer: usize, sufficed: bool, context: &mut Context<'_>) {
        if signer != self.agreement.own {
            let key = &self.agreement.proposal.signers[signer];
            context.reputations.judge(key, sufficed, context.now.wall);
            if !sufficed {
                context.counters.failed(key);
            }
        }
    }

    fn send_nack(&mut self, kind: NackKind, mut reason: String, context: &mut Context<'_>) {
        if context.settings.nacks && !self.stated(Purpose::Nack(kind), Fact::Nack(kind)) {
            reason.truncate(beginning(&reason, limits::REASON).len());
            self.sign(Purpose::Nack(kind), Content::Nack { kind, reason }, context);
        }
    }

    fn send_claim(&mut self, context: &mut Context<'_>) {
        if context.settings.claims && !self.stated(Purpose::Claim, Fact::Claim) {
            let txid = self.broadcast.as_ref().and_then(|it| it.txid(&self.agreement));
            let txid = txid.unwrap_or(Txid([0; 32]));
            self.sign(Purpose::Claim, Content::Claim { txid }, context);
        }
    }

    /// Whether this node stated a fact, or is about to.
    fn stated(&self, purpose: Purpose, fact: Fact) -> bool {
        self.set.fact(fact, self.agreement.own).is_some() || self.requests.in_flight(purpose)
    }

    // ---- The sessions that it replaces ----

    /// What this session's watch says of the older ones that it replaces.
    pub fn as_replacement(&self, now: Time) -> Option<Replacement> {
        self.agreement.proposal.replaces?;
        let watch = self.watch()?;
        // One that looks at the chain no more does not see what becomes of its transaction, unless that is final.
        if !self.watches() && !watch.ended() {
            return None;
        }
        watch.as_replacement(now)
    }

    /// Whether this session is about the same coins as an older one: else it says nothing about that one's way to
    /// the chain, and somebody could pause a watch by proposing a session of its own. Raw messages name no coins.
    pub fn may_replace(&self, older: &Self) -> bool {
        match (&self.agreement.transaction, &older.agreement.transaction) {
            (Some(new), Some(old)) => new.spends.iter().any(|spent| old.spends.contains(spent)),
            _ => false,
        }
    }

    /// The strongest that is known of all sessions that replace this one.
    pub fn replaced_by(&mut self, replacement: Option<Replacement>, now: Time) {
        if let Some(watch) = self.watch_mut() {
            let changed = watch.replaced_by(replacement, now);
            self.outbox.state_changes(changed);
            self.outbox.needs_sync(changed);
        }
    }

    // ---- Events and the outbox ----

    /// Raises a durable event, unless one of its kind is pending.
    fn raise(&mut self, kind: DurableKind) {
        if self.stored.add_pending(kind) {
            self.outbox.state_changes(true);
            // What others would say again need not be synced.
            self.outbox.needs_sync(!matches!(kind, DurableKind::Proposed | DurableKind::Claimed));
            self.outbox.emit_durable(kind);
        } else if kind == DurableKind::ShouldBroadcast {
            // The application is reminded of its turn, also if it kept the event before.
            self.outbox.emit_again(kind);
        }
    }

    /// The application need not be told any more.
    fn withdraw(&mut self, kinds: &[DurableKind]) {
        let changed = self.stored.remove_pending(kinds);
        self.outbox.state_changes(changed);
    }

    /// Hands out what was collected: first what is to be stored, then what may be seen.
    pub fn flush(&mut self, context: &mut Context<'_>) {
        // Until the first envelope is in, a proposal of this node's own is nothing that must be kept.
        let (store, now) = (!self.set.is_empty(), context.now);
        if store && self.outbox.state_changed() {
            let watch = self.broadcast.as_mut().and_then(|broadcast| broadcast.store(now));
            self.outbox.write(SessionChange::State(self.stored.store(watch, &self.keeping)));
        }
        let its_turn = self.outbox.hands_out(DurableKind::ShouldBroadcast);
        let until_next_turn = if its_turn { self.until_next_turn(context) } else { None };
        let content = |kind| {
            durable_event(
                kind,
                (&self.agreement, &self.set),
                &mut self.rounds,
                &self.stored,
                self.broadcast.as_ref(),
                until_next_turn,
                now,
            )
        };
        let counters = &mut *context.counters;
        let count = |event: &Event| counters.event(event);
        let obsolete = self.outbox.flush(store, content, count, context.outputs);
        self.withdraw(&obsolete);
    }
}

/// Whether it can harm nobody that a node says this and does not know it after a crash: it binds its signer to nothing,
/// and nothing else that the signer says contradicts it.
fn harmless(content: &Content) -> bool {
    match content {
        Content::Claim { .. } | Content::Nack { .. } | Content::Decline { .. } | Content::Abort { .. } => {
            true
        }
        Content::Proposal(_)
        | Content::Accept
        | Content::Nonces { .. }
        | Content::Partial { .. }
        | Content::Restart { .. } => false,
    }
}

fn check_reason(reason: &str) -> Result<(), WireError> {
    match reason.len() {
        actual if actual > limits::REASON => {
            Err(WireError::TooLong { what: "the reason", actual, most: limits::REASON })
        }
        _ => Ok(()),
    }
}
