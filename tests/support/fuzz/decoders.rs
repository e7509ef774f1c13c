//! Targets that take bytes as a peer, a file or a disk hands them over. Signatures are believed, so that a fuzzer gets
//! past them.

use std::sync::{Arc, OnceLock};
use std::time::Duration;

use libmusig::protocol::crypto::musig2::Musig2;
use libmusig::protocol::crypto::{Scheme, SessionKeys};
use libmusig::protocol::election::elect;
use libmusig::protocol::engine::Engine;
use libmusig::protocol::envelope::{Envelope, Proof, envelope_id};
use libmusig::protocol::failover::Turns;
use libmusig::protocol::limits;
use libmusig::protocol::presence::Presence;
use libmusig::protocol::proposal::{Broadcast, Proposal, Terms};
use libmusig::protocol::wire::{self, pb};
use libmusig::protocol::{Output, Settings, Time};
use libmusig::signer::Signer;
use libmusig::types::{OutPoint, SessionId, Signature, SignerKey, Txid, UnixMillis};

use crate::cluster::{Cluster, EPOCH, Options, key};
use crate::disk::Disk;
use crate::double::{Double, DoubleCodec, DoubleSigner, transaction};

/// The double of cryptography, but every signature of an envelope is good.
#[derive(Debug)]
struct Trusting;

impl Scheme for Trusting {
    fn verify(&self, _: &SignerKey, _: &[u8; 32], _: &Signature) -> bool {
        true
    }

    fn aggregate_keys(
        &self,
        proposal: &Proposal,
    ) -> Result<Arc<dyn SessionKeys>, libmusig::error::ProposalError> {
        Double.aggregate_keys(proposal)
    }
}

/// Terms of three signers that never change: seeds name their session.
pub fn fixed_terms() -> Terms {
    let mut terms = Cluster::idle(Options::new(3)).terms();
    (terms.entropy, terms.expires_at) = ([7; 32], EPOCH.saturating_add(Duration::from_secs(3600)));
    let spent = OutPoint { txid: Txid([6; 32]), vout: 0 };
    let (transaction, messages) = transaction(&[spent], b"");
    (terms.transaction, terms.messages) = (Some(transaction), messages);
    terms
}

/// The proposal of [`fixed_terms`].
pub fn fixed_proposal() -> &'static Proposal {
    static PROPOSAL: OnceLock<Proposal> = OnceLock::new();
    PROPOSAL.get_or_init(|| Proposal::new(fixed_terms()).expect("valid terms"))
}

pub fn envelope(bytes: &[u8]) {
    let Ok(envelope) = Envelope::decode(bytes) else { return };
    assert_eq!(envelope.as_bytes(), bytes, "one content has one encoding");
    let body = envelope.body().encode();
    assert_eq!(envelope.id(), envelope_id(&body), "its identity is that of its body");
    let sealed: pb::Envelope = wire::decode(bytes, "it").expect("it was decoded before");
    assert_eq!(sealed.body, body);
    let _ = envelope.content_allowed(fixed_proposal());
    let _ = envelope.verify(&Trusting, fixed_proposal());
    if cfg!(miri) {
        return;
    }
    let _ = envelope.verify(&Musig2, fixed_proposal());
}

pub fn proposal(bytes: &[u8]) {
    let Ok(proposal) = Proposal::decode(bytes) else { return };
    assert_eq!(proposal.as_bytes(), bytes, "one content has one encoding");
    let again = Proposal::new(proposal.terms().clone()).expect("decoded terms are valid");
    assert_eq!(again, proposal);
    let signers = proposal.signers.len();
    assert!((1..=limits::SIGNERS).contains(&signers) && proposal.proposer < signers);
    for (index, message) in proposal.messages.iter().enumerate() {
        assert!(message.derivation.path.len() <= limits::CHILD_NUMBERS);
        assert!((0..signers).all(|signer| proposal.participant_key(index, signer).is_some()));
    }
    let election = elect(&proposal.signers, proposal.election_method, &proposal.id()).expect("no key twice");
    let mut list = election.priority_list.clone();
    list.sort_unstable();
    assert!(list.iter().copied().eq(0..signers), "a permutation");
    let turns = Turns::new(&election.priority_list, &proposal.broadcast);
    assert_eq!(turns.is_none(), proposal.broadcast == Broadcast::SignOnly);
    let turns = turns.as_ref();
    assert!(turns.is_none_or(|turns| turns.signers(0).first() == Some(&election.coordinator)));
    if cfg!(miri) {
        return;
    }
    // The real key aggregation takes any keys, and refuses aimed ones.
    if let Ok(keys) = Musig2.aggregate_keys(&proposal) {
        (0..proposal.messages.len()).for_each(|index| {
            keys.output_key(index);
        });
    }
}

pub fn proof(bytes: &[u8]) {
    let _ = Proof::verify(&Trusting, bytes);
    if !cfg!(miri) {
        let _ = Proof::verify(&Musig2, bytes);
    }
}

pub fn presence(bytes: &[u8]) {
    if !cfg!(miri) {
        let _ = Presence::decode(&Musig2, bytes);
    }
    let Ok(presence) = Presence::decode(&Trusting, bytes) else { return };
    let sealed: pb::Presence = wire::decode(bytes, "it").expect("it was decoded before");
    assert_eq!(sealed.record, presence.encode(), "one content has one encoding");
    assert!(presence.addresses.len() <= limits::ADDRESSES && bytes.len() <= limits::PRESENCE);
}

/// An engine with its disk, whose signer answers at once.
struct Host {
    engine: Engine,
    signer: DoubleSigner,
    disk: Disk,
    now: Time,
    /// Since they were last looked at: outputs, and bytes that were sent.
    outputs: usize,
    sent: usize,
}

impl Host {
    fn engine(settings: Settings) -> Engine {
        Engine::new(key(0), settings, Arc::new(Trusting), Arc::new(DoubleCodec))
    }

    /// The first of three signers, connected to the others.
    fn new() -> Self {
        let settings =
            Settings { observer: true, broadcaster: true, pack_after: Duration::ZERO, ..Settings::default() };
        let mut host = Self {
            engine: Self::engine(settings),
            signer: DoubleSigner::new(key(0), 0),
            disk: Disk::default(),
            now: Time { wall: EPOCH, monotonic: Duration::from_secs(100) },
            outputs: 0,
            sent: 0,
        };
        (1..3).for_each(|index| host.engine.connected(key(index), host.now));
        host
    }

    /// With the session of [`fixed_terms`], which it proposed.
    fn with_session() -> Self {
        let mut host = Self::new();
        host.engine.create(fixed_proposal().clone(), 1, host.now).expect("a new session");
        host.pump();
        host
    }

    fn pump(&mut self) {
        while let Some(output) = self.engine.poll_output() {
            self.outputs += 1;
            assert!(self.outputs < 4096, "it never ends");
            match output {
                Output::Persist { session, changes, .. } => {
                    let commit = self.disk.write(session, changes, self.now.monotonic);
                    self.disk.sync(commit);
                }
                Output::Send { frame, to, .. } => {
                    assert!(frame.len() <= limits::FRAME && to != key(0));
                    self.sent += frame.len();
                }
                Output::Sign { session, ticket, task } => {
                    let result = task.run(&self.signer, &self.signer);
                    self.engine.signed(&session, ticket, result, self.now);
                }
                Output::Forget { session, attempt } => self.signer.forget(&session, attempt),
                _ => {}
            }
        }
    }

    fn advance(&mut self, by: Duration) {
        self.now.monotonic += by;
        self.now.wall = UnixMillis(self.now.wall.0 + by.as_millis() as u64);
        self.engine.tick(self.now);
        self.pump();
    }

    /// What is on the disk is what is in memory, and what is handed out can be read by others.
    fn check(&mut self) {
        let ids = self.engine.ids();
        let mut restarted = Self::engine(Settings::default());
        for stored in self.disk.sessions() {
            restarted.load(&stored, self.now).expect("what was stored can be read");
        }
        assert_eq!(restarted.ids(), ids);
        for id in ids {
            let export = self.engine.export(&id).expect("it is known");
            assert_eq!(restarted.export(&id), Some(export.clone()), "memory and disk agree");
            assert_eq!(restarted.certificate(&id), self.engine.certificate(&id));
            let mut other = Self::engine(Settings::default());
            assert_eq!(other.import(&export, self.now), Ok(vec![id]));
            self.verify(&id);
        }
    }

    fn verify(&mut self, id: &SessionId) {
        let status = self.engine.status(id, self.now).expect("it is known");
        assert!(status.missing.iter().chain(&status.accepted).all(|signer| *signer < status.signers.len()));
        if let Some(certificate) = self.engine.certificate(id) {
            let proposal = self.engine.proposal(id).expect("it is known");
            let keys = Double.aggregate_keys(&proposal).expect("a double takes all keys");
            assert!(keys.verify_signatures(&certificate.signatures), "nothing unverified is final");
        }
    }
}

/// The first byte says from whom it comes.
pub fn frame(bytes: &[u8]) {
    let Some((first, frame)) = bytes.split_first() else { return };
    let mut host = Host::with_session();
    (host.outputs, host.sent) = (0, 0);
    let from = key(1 + usize::from(first % 3));
    let _ = host.engine.frame(from, frame, host.now);
    host.pump();
    // Asking for a session costs little and may be answered by all of it, to each of two.
    assert!(host.outputs <= 256, "{} outputs", host.outputs);
    assert!(host.sent <= 32_768 + 16 * frame.len(), "{} bytes for {}", host.sent, frame.len());
    // The same again changes nothing.
    let before: Vec<_> = host.engine.ids().iter().map(|id| host.engine.export(id)).collect();
    let _ = host.engine.frame(from, frame, host.now);
    host.pump();
    let after: Vec<_> = host.engine.ids().iter().map(|id| host.engine.export(id)).collect();
    assert_eq!(before, after, "a repetition changes nothing");
    host.check();
    host.advance(Duration::from_secs(3));
    host.check();
}

/// The first byte says what is there before.
pub fn import(bytes: &[u8]) {
    let Some((first, export)) = bytes.split_first() else { return };
    let mut host = if first % 2 == 0 { Host::with_session() } else { Host::new() };
    (host.outputs, host.sent) = (0, 0);
    let result = host.engine.import(export, host.now);
    host.pump();
    assert!(host.outputs <= 256, "{} outputs", host.outputs);
    if let Ok(ids) = result {
        let known = host.engine.ids();
        assert!(ids.iter().all(|id| known.contains(id)));
    }
    host.check();
    host.advance(Duration::from_secs(3));
    host.check();
}
