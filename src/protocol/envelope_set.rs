//! The envelopes of a session: a set that only grows. What a node believes is a function of it and of the time.

use std::collections::{BTreeMap, BTreeSet};

use crate::mutation::{self, Mutation};
use crate::protocol::envelope::{Content, Envelope, NackKind, Place, Proof, transcript_hash};
use crate::protocol::limits;
use crate::protocol::proposal::Proposal;
use crate::types::EnvelopeId;

/// The kinds of which a signer may say the same or similar things again.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Fact {
    /// The proposal.
    Proposal,
    /// Consent.
    Accept,
    /// A restart, by its ordinal.
    Restart(u32),
    /// A refusal.
    Decline,
    /// An abort.
    Abort,
    /// A claim.
    Claim,
    /// A NACK, by its kind.
    Nack(NackKind),
}

impl Fact {
    fn of(content: &Content) -> Option<Self> {
        Some(match content {
            Content::Proposal(_) => Self::Proposal,
            Content::Accept => Self::Accept,
            Content::Restart { ordinal } => Self::Restart(*ordinal),
            Content::Decline { .. } => Self::Decline,
            Content::Abort { .. } => Self::Abort,
            Content::Claim { .. } => Self::Claim,
            Content::Nack { kind, .. } => Self::Nack(*kind),
            Content::Nonces { .. } | Content::Partial { .. } => return None,
        })
    }

    fn most(self) -> usize {
        match self {
            Self::Proposal | Self::Accept | Self::Restart(_) | Self::Nack(_) => 1,
            Self::Decline | Self::Abort | Self::Claim => limits::REPEATS,
        }
    }
}

/// Authentic envelopes of one session, within fixed bounds for each signer.
#[derive(Clone, Debug, Default)]
pub struct EnvelopeSet {
    envelopes: BTreeMap<EnvelopeId, Envelope>,
    places: BTreeMap<(Place, usize), Vec<Envelope>>,
    facts: BTreeMap<(Fact, usize), Vec<Envelope>>,
    bad: BTreeMap<usize, Envelope>,
    attempt: u32,
    /// The attempt at which a proof was found: what makes it is not dropped for any restart that comes later.
    failed_at: Option<u32>,
    /// The hash of all nonces of an attempt, where all signers' are here and nobody said two things.
    transcripts: BTreeMap<u32, [u8; 32]>,
    bytes: usize,
}

impl EnvelopeSet {
    /// Whether an envelope is in the set.
    pub fn contains(&self, id: &EnvelopeId) -> bool {
        self.envelopes.contains_key(id)
    }

    /// Whether the set would take this envelope: it is new, and its place or kind is not full.
    pub fn wants(&self, envelope: &Envelope, proposal: &Proposal) -> bool {
        let signer = envelope.body().signer;
        if self.contains(&envelope.id()) {
            return false;
        }
        if !envelope.content_allowed(proposal) {
            return !self.bad.contains_key(&signer);
        }
        match (envelope.place(), Fact::of(envelope.content())) {
            (Some(place), _) => {
                let (Place::Nonces(attempt) | Place::Partial(attempt)) = place;
                let near = self.keeps(attempt) && attempt <= self.attempt + 2;
                let unlimited = mutation::on(Mutation::PlacesWithoutLimit);
                near && self.places.get(&(place, signer)).is_none_or(|held| held.len() < 2 || unlimited)
            }
            (None, Some(fact)) => self.facts.get(&(fact, signer)).is_none_or(|held| held.len() < fact.most()),
            (None, None) => false,
        }
    }

    /// Adds a verified envelope that the set wants. Answers which envelopes it dropped for it (old attempts).
    pub fn insert(&mut self, envelope: Envelope, proposal: &Proposal) -> Vec<EnvelopeId> {
        let before = self.attempt;
        self.restore(envelope, proposal);
        if self.attempt == before { Vec::new() } else { self.drop_old_attempts() }
    }

    /// Adds one that was stored, whatever attempt it is of.
    pub fn restore(&mut self, envelope: Envelope, proposal: &Proposal) {
        if let Some(attempt) = self.put(envelope, proposal) {
            self.note_transcript(attempt, proposal.signers.len());
        }
    }

    /// Puts an envelope where it belongs, and counts it. Answers of which attempt it holds nonces.
    fn put(&mut self, envelope: Envelope, proposal: &Proposal) -> Option<u32> {
        let (id, signer) = (envelope.id(), envelope.body().signer);
        let mut nonces_of = None;
        if !envelope.content_allowed(proposal) {
            self.bad.insert(signer, envelope.clone());
        } else if let Some(place) = envelope.place() {
            self.places.entry((place, signer)).or_default().push(envelope.clone());
            nonces_of = match place {
                Place::Nonces(attempt) => Some(attempt),
                Place::Partial(_) => None,
            };
        } else if let Some(fact) = Fact::of(envelope.content()) {
            self.facts.entry((fact, signer)).or_default().push(envelope.clone());
            self.attempt += u32::from(matches!(fact, Fact::Restart(_)));
        }
        self.bytes += envelope.as_bytes().len();
        self.envelopes.insert(id, envelope);
        nonces_of
    }

    /// Appends all of it, as short as may be. Nonces come before what answers to them.
    pub fn pack(&self, proposal: &Proposal, to: &mut Vec<u8>) {
        let facts = self.facts.values().flatten();
        let all = facts.chain(self.places.values().flatten()).chain(self.bad.values());
        for envelope in all {
            let transcript = match envelope.place() {
                Some(Place::Partial(attempt)) => self.transcript(attempt),
                _ => None,
            };
            envelope.pack(proposal, transcript, to);
        }
    }

    /// The set that [`EnvelopeSet::pack`] appended: the same in everything. `None`: it did not.
    pub fn unpack(mut from: &[u8], proposal: &Proposal) -> Option<Self> {
        let mut set = Self::default();
        let signers = proposal.signers.len();
        while !from.is_empty() {
            let envelope = Envelope::unpack(&mut from, proposal, |attempt| set.transcript(attempt))?;
            let last = envelope.body().signer + 1 == signers;
            // They come by signer, so with the last one's all are there or never will be.
            if let Some(attempt) = set.put(envelope, proposal).filter(|_| last) {
                set.note_transcript(attempt, signers);
            }
        }
        Some(set)
    }

    fn note_transcript(&mut self, attempt: u32, signers: usize) {
        match self.all_at(Place::Nonces(attempt), signers) {
            Some(all) => {
                let ids: Vec<EnvelopeId> = all.into_iter().map(Envelope::id).collect();
                self.transcripts.insert(attempt, transcript_hash(&ids));
            }
            None => {
                self.transcripts.remove(&attempt);
            }
        }
    }

    /// The hash of all nonces of an attempt; `None` if one is missing or somebody said two things.
    pub fn transcript(&self, attempt: u32) -> Option<[u8; 32]> {
        self.transcripts.get(&attempt).copied()
    }

    /// Takes an envelope out, and forgets what was derived from it.
    fn take_out(&mut self, id: &EnvelopeId) {
        let Some(envelope) = self.envelopes.remove(id) else { return };
        self.bytes -= envelope.as_bytes().len();
        if let Some(Place::Nonces(attempt)) = envelope.place() {
            self.transcripts.remove(&attempt);
        }
    }

    /// Two attempts are kept: the signatures of the one before may still be finished by others. Of what older ones
    /// prove, one proof against each signer is kept: colluding signers could say two things in each of hundreds.
    fn drop_old_attempts(&mut self) -> Vec<EnvelopeId> {
        let old = |place: &Place| matches!(place, Place::Nonces(a) | Place::Partial(a) if !self.keeps(*a));
        let mut convicted = BTreeSet::new();
        let all_stay = mutation::on(Mutation::OldProofsKept);
        let mut proves =
            |signer: usize, held: &[Envelope]| held.len() == 2 && (convicted.insert(signer) || all_stay);
        let keys: Vec<_> = self
            .places
            .iter()
            .filter(|((place, signer), held)| old(place) && !proves(*signer, held))
            .map(|(k, _)| *k)
            .collect();
        let dropped = keys.iter().filter_map(|key| self.places.remove(key)).flatten();
        let dropped: Vec<_> = dropped.map(|envelope| envelope.id()).collect();
        dropped.iter().for_each(|id| self.take_out(id));
        dropped
    }

    /// Drops everything but the proposal, the restarts and what one signer said: what keeps that signer from saying
    /// something else when the session goes on. Answers which envelopes it dropped.
    pub fn keep_tombstone(&mut self, own: usize) -> Vec<EnvelopeId> {
        let kept = |envelope: &Envelope| {
            envelope.body().signer == own
                || matches!(envelope.content(), Content::Proposal(_) | Content::Restart { .. })
        };
        let dropped: Vec<_> =
            self.envelopes.iter().filter(|(_, envelope)| !kept(envelope)).map(|(id, _)| *id).collect();
        dropped.iter().for_each(|id| self.take_out(id));
        let any_kept = |held: &mut Vec<Envelope>| {
            held.retain(kept);
            !held.is_empty()
        };
        self.places.retain(|_, held| any_kept(held));
        self.facts.retain(|_, held| any_kept(held));
        self.bad.retain(|_, envelope| kept(envelope));
        dropped
    }

    /// The bytes of all envelopes.
    pub fn bytes(&self) -> usize {
        self.bytes
    }

    /// Whether what was said in an attempt is kept.
    fn keeps(&self, attempt: u32) -> bool {
        let proves = |failed: u32| (failed.saturating_sub(1)..=failed).contains(&attempt);
        attempt + 1 >= self.attempt || self.failed_at.is_some_and(proves)
    }

    /// The attempt in which, or in the one before, there may be a proof: the current one, until there is one.
    pub fn judged_attempt(&self) -> u32 {
        self.failed_at.unwrap_or(self.attempt)
    }

    /// From now on what is held of this attempt, and of the one before, is kept.
    pub fn keep_attempt(&mut self, attempt: u32) {
        self.failed_at = Some(attempt);
    }

    /// See [`EnvelopeSet::keep_attempt`].
    pub fn failed_at(&self) -> Option<u32> {
        self.failed_at
    }

    /// The number of restarts in the set.
    pub fn attempt(&self) -> u32 {
        self.attempt
    }

    /// What a signer said at an exclusive place: `None` also if it said two things.
    pub fn at(&self, place: Place, signer: usize) -> Option<&Envelope> {
        match self.places.get(&(place, signer))?.as_slice() {
            [envelope] => Some(envelope),
            _ => None,
        }
    }

    /// Whether a signer said anything at an exclusive place.
    pub fn taken(&self, place: Place, signer: usize) -> bool {
        self.places.contains_key(&(place, signer))
    }

    /// Whether any signer said anything at an exclusive place.
    pub fn has_any(&self, place: Place) -> bool {
        self.places.range((place, 0)..=(place, usize::MAX)).next().is_some()
    }

    /// What each signer said at a place, by index, but for those who said two things.
    pub fn each_at(&self, place: Place) -> impl Iterator<Item = &Envelope> {
        let held = self.places.range((place, 0)..=(place, usize::MAX));
        held.filter_map(|(_, held)| if let [one] = held.as_slice() { Some(one) } else { None })
    }

    /// What all signers said at a place, by index; `None` if one is missing or said two things.
    pub fn all_at(&self, place: Place, signers: usize) -> Option<Vec<&Envelope>> {
        (0..signers).map(|signer| self.at(place, signer)).collect()
    }

    /// Signers whose partial signatures of an attempt answer to other nonces than these.
    pub fn other_transcripts(&self, attempt: u32, transcript: Option<[u8; 32]>) -> Vec<usize> {
        let differs = |envelope: &&Envelope| match envelope.content() {
            Content::Partial { transcript: theirs, .. } => Some(*theirs) != transcript,
            _ => false,
        };
        let partials = self.each_at(Place::Partial(attempt));
        partials.filter(differs).map(|envelope| envelope.body().signer).collect()
    }

    /// The first envelope of a kind by a signer.
    pub fn fact(&self, fact: Fact, signer: usize) -> Option<&Envelope> {
        self.facts.get(&(fact, signer))?.first()
    }

    /// The first envelope of a kind by anybody.
    pub fn first(&self, fact: Fact) -> Option<&Envelope> {
        self.by_all(fact).next()
    }

    /// The first envelope of a kind by each signer that sent one, by index.
    pub fn by_all(&self, fact: Fact) -> impl Iterator<Item = &Envelope> {
        self.facts.range((fact, 0)..=(fact, usize::MAX)).filter_map(|(_, held)| held.first())
    }

    /// The NACKs, by signer and kind.
    pub fn nacks(&self) -> Vec<(usize, NackKind)> {
        let of = |kind| self.by_all(Fact::Nack(kind)).map(move |envelope| (envelope.body().signer, kind));
        let mut nacks: Vec<_> = NackKind::ALL.into_iter().flat_map(of).collect();
        nacks.sort_unstable();
        nacks
    }

    /// The ordinal of a signer's next restart: the first that is not here, for they may come in any order. `None`: it
    /// made all that it may.
    pub fn next_restart(&self, signer: usize) -> Option<u32> {
        (1..=limits::RESTARTS).find(|ordinal| self.fact(Fact::Restart(*ordinal), signer).is_none())
    }

    /// Proofs that the set holds by itself: equivocations, and content that breaks a rule.
    pub fn proofs(&self) -> Vec<Proof> {
        let boxed = |envelope: &Envelope| Box::new(envelope.clone());
        let two = self.places.values().filter_map(|held| match held.as_slice() {
            [first, second] => Some(Proof::Equivocation(boxed(first), boxed(second))),
            _ => None,
        });
        let bad = self.bad.values().map(|envelope| Proof::BadContent(boxed(envelope)));
        two.chain(bad).collect()
    }

    /// Whether one of these proofs is against a signer.
    pub fn accuses(&self, signer: usize) -> bool {
        let two = || self.places.iter().any(|((_, of), held)| *of == signer && held.len() > 1);
        self.bad.contains_key(&signer) || two()
    }

    /// All envelopes: the proposal first, then in the order in which a session needs them.
    pub fn in_order(&self) -> Vec<&Envelope> {
        let rank = |envelope: &Envelope| match envelope.content() {
            Content::Proposal(_) => (0, 0),
            Content::Accept => (1, 0),
            Content::Restart { .. } => (2, 0),
            Content::Nonces { attempt, .. } => (3, *attempt),
            Content::Partial { attempt, .. } => (4, *attempt),
            _ => (5, 0),
        };
        let mut all: Vec<_> = self.envelopes.values().collect();
        all.sort_by_cached_key(|envelope| (rank(envelope), envelope.body().signer, envelope.id()));
        all
    }

    /// The ids of all envelopes.
    pub fn ids(&self) -> impl Iterator<Item = &EnvelopeId> {
        self.envelopes.keys()
    }

    /// How many envelopes there are.
    pub fn len(&self) -> usize {
        self.envelopes.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.envelopes.is_empty()
    }
}
