//! The part of the corpora that a program makes: one input of each kind, for a fuzzer to begin with.

use std::time::Duration;

use libmusig::protocol::crypto::Scheme;
use libmusig::protocol::election::ElectionMethod;
use libmusig::protocol::envelope::{Body, Content, Envelope, NackKind, Proof, transcript_hash};
use libmusig::protocol::presence::{Presence, seal};
use libmusig::protocol::proposal::{
    Broadcast, Derivation, FailoverPolicy, KeyOrder, KeyOrigin, KeySet, Message, Proposal, Taproot, Tiers,
};
use libmusig::protocol::wire::{self, Certificate, pb};
use libmusig::signer::{NonceRequest, PartialRequest, SignTask};
use libmusig::types::{SessionId, Signature, Txid};

use super::decoders::{fixed_proposal, fixed_terms};
use crate::cluster::key;
use crate::double::{Double, DoubleSigner};

/// An input of a target, and its name.
pub type Seed = (&'static str, String, Vec<u8>);

pub fn seeds() -> Vec<Seed> {
    let mut seeds = Vec::new();
    let mut add = |target, name: &str, bytes| seeds.push((target, format!("seed-{name}"), bytes));
    let session = Session::new();
    for (name, envelope) in session.envelopes() {
        add("envelope", name, envelope.as_bytes().to_vec());
    }
    for (name, bytes) in frames(&session) {
        add("frame", name, [vec![0], bytes.clone()].concat());
        add("import", name, [vec![(name.len() % 2) as u8], bytes].concat());
    }
    for (name, proposal) in proposals() {
        add("proposal", name, proposal.as_bytes().to_vec());
    }
    for (name, proof) in session.proofs() {
        add("proof", name, proof.encode(fixed_proposal()));
    }
    let presence = Presence {
        signer: key(1),
        peer: [vec![0, 36, 8, 1, 18, 32], vec![1; 32]].concat(),
        addresses: vec![vec![4, 127, 0, 0, 1, 6, 0x1f, 0x90], vec![54, 1, b'a', 6, 0, 80]],
        sequence: 7,
    };
    add("presence", "two-addresses", seal(presence.encode(), &Signature([1; 64])));
    let nowhere = Presence { addresses: Vec::new(), sequence: 0, ..presence };
    add("presence", "nowhere", seal(nowhere.encode(), &Signature([2; 64])));
    for (name, script) in SCRIPTS {
        add("machine", name, script.to_vec());
    }
    // They hold aggregate keys, which Miri cannot make.
    #[cfg(all(feature = "bitcoin", not(miri)))]
    for (target, of_target) in
        [("descriptor", super::chain::descriptor_seeds()), ("psbt", super::chain::psbt_seeds())]
    {
        of_target.into_iter().for_each(|(name, bytes)| add(target, &name, bytes));
    }
    seeds
}

/// Number of signers less one, flags, then actions with what they need: see `machine.rs`.
const SCRIPTS: [(&str, &[u8]); 9] = [
    ("three-complete", &[2, 0, 3, 3, 6, 0, 0, 5, 5, 17, 1, 0, 3, 6]),
    ("raw", &[1, 0, 3, 3, 6, 1, 1, 5, 7]),
    ("crash-and-restart", &[2, 16, 3, 3, 6, 0, 0, 3, 0, 8, 0, 2, 1, 5, 6, 8, 1, 0, 0, 5, 5, 9, 1, 5, 7]),
    ("older-disk", &[2, 0, 3, 3, 6, 0, 0, 10, 1, 0, 3, 3, 10, 1, 1, 5, 7]),
    ("two-instances", &[2, 128, 3, 3, 6, 0, 0, 5, 7, 14, 3, 0, 7, 0]),
    ("forged-nonces", &[2, 64, 3, 3, 6, 0, 0, 3, 1, 27, 0, 0, 3, 0, 1, 2, 27, 0, 1, 3, 0, 1, 3, 5, 7]),
    ("forged-partials", &[3, 64, 3, 3, 6, 1, 0, 3, 2, 27, 0, 0, 5, 0, 1, 2, 5, 7, 27, 0, 1, 8, 0, 1, 2]),
    (
        "carried-by-hand",
        &[1, 0, 12, 0, 1, 1, 6, 0, 0, 5, 5, 20, 0, 0, 5, 3, 21, 1, 0, 0, 5, 7, 20, 1, 0, 21, 0, 1, 0],
    ),
    ("failover", &[2, 1, 3, 3, 16, 0, 0, 2, 6, 0, 0, 5, 7, 5, 7, 5, 7, 18, 1, 0, 3, 9]),
];

/// The fixed session as the other two signers see it.
struct Session {
    nonces: Vec<Envelope>,
    partials: Vec<Envelope>,
    signers: Vec<DoubleSigner>,
    certificate: Certificate,
}

impl Session {
    fn new() -> Self {
        let proposal = fixed_proposal();
        let keys = Double.aggregate_keys(proposal).expect("a double takes all keys");
        let signers: Vec<_> = (0..3).map(|index| DoubleSigner::new(key(index), 0)).collect();
        let run = |task: SignTask, signer: usize| {
            task.run(&signers[signer], &signers[signer]).expect("the first time")
        };
        let nonces: Vec<_> = (0..3)
            .map(|signer| {
                let (proposal, keys) = (proposal.clone(), keys.clone());
                run(SignTask::Nonces(NonceRequest::new(proposal, 0, signer, keys)), signer)
            })
            .collect();
        let public: Vec<&[u8]> = nonces
            .iter()
            .map(|envelope| match envelope.content() {
                Content::Nonces { nonces, .. } => nonces.as_slice(),
                _ => unreachable!("nonces were asked for"),
            })
            .collect();
        let round = keys.begin_round(&public).expect("a double's nonces");
        let transcript = transcript_hash(&nonces.iter().map(Envelope::id).collect::<Vec<_>>());
        let partials: Vec<_> = (0..3)
            .map(|signer| {
                let (proposal, keys, round) = (proposal.clone(), keys.clone(), round.clone());
                let request = PartialRequest::new(proposal, 0, signer, keys, round);
                run(SignTask::Partial { request, transcript }, signer)
            })
            .collect();
        let each: Vec<&[u8]> = partials
            .iter()
            .map(|envelope| match envelope.content() {
                Content::Partial { partials, .. } => partials.as_slice(),
                _ => unreachable!("partial signatures were asked for"),
            })
            .collect();
        let signatures = round.aggregate(&each).expect("they are valid");
        let certificate = Certificate { session: proposal.id(), signatures };
        Self { nonces, partials, signers, certificate }
    }

    fn say(&self, signer: usize, content: Content) -> Envelope {
        let body = Body { session: fixed_proposal().id(), signer, content };
        SignTask::Envelope(body).run(&self.signers[signer], &self.signers[signer]).expect("not locked")
    }

    fn envelopes(&self) -> Vec<(&'static str, Envelope)> {
        let reason = String::from("no");
        vec![
            ("proposal", self.say(0, Content::Proposal(fixed_proposal().as_bytes().to_vec()))),
            ("accept", self.say(1, Content::Accept)),
            ("nonces", self.nonces[1].clone()),
            ("partial", self.partials[1].clone()),
            ("restart", self.say(2, Content::Restart { ordinal: 1 })),
            ("decline", self.say(1, Content::Decline { reason: reason.clone() })),
            ("abort", self.say(1, Content::Abort { reason: reason.clone() })),
            ("claim", self.say(1, Content::Claim { txid: Txid([4; 32]) })),
            ("nack", self.say(2, Content::Nack { kind: NackKind::Unreachable, reason })),
        ]
    }

    fn proofs(&self) -> Vec<(&'static str, Proof)> {
        let Content::Nonces { attempt, mut nonces } = self.nonces[1].content().clone() else {
            unreachable!("nonces")
        };
        nonces[5] ^= 1;
        let other = self.say(1, Content::Nonces { attempt, nonces });
        let Content::Partial { attempt, transcript, mut partials } = self.partials[1].content().clone()
        else {
            unreachable!("partial signatures")
        };
        partials[5] ^= 1;
        let wrong = self.say(1, Content::Partial { attempt, transcript, partials });
        let unusable = self.say(1, Content::Nonces { attempt: 0, nonces: vec![9; 66] });
        vec![
            ("equivocation", Proof::Equivocation(Box::new(self.nonces[1].clone()), Box::new(other))),
            ("bad-partial", Proof::BadPartial { nonces: self.nonces.clone(), partial: Box::new(wrong) }),
            ("bad-content", Proof::BadContent(Box::new(unusable))),
        ]
    }
}

fn frames(session: &Session) -> Vec<(&'static str, Vec<u8>)> {
    let envelopes = |of: &[Envelope]| -> Vec<Vec<u8>> {
        of.iter().map(|envelope| envelope.as_bytes().to_vec()).collect()
    };
    let of = |envelopes: Vec<Vec<u8>>| wire::encode(&pb::Frame { envelopes, ..pb::Frame::default() });
    let accepts: Vec<_> = (0..3).map(|signer| session.say(signer, Content::Accept)).collect();
    let all: Vec<_> = session.envelopes().into_iter().map(|(_, envelope)| envelope).collect();
    let complete = [&all[..1], &accepts, &session.nonces, &session.partials].concat();
    let new = Proposal::new({
        let mut terms = fixed_terms();
        (terms.entropy, terms.proposer) = ([8; 32], 1);
        terms
    })
    .expect("valid terms");
    let content = Content::Proposal(new.as_bytes().to_vec());
    let body = Body { session: new.id(), signer: 1, content };
    let proposed =
        SignTask::Envelope(body).run(&session.signers[1], &session.signers[1]).expect("not locked");
    let have = |id: SessionId, envelopes: Vec<u8>, certificate, answer| pb::Have {
        session: id.0.to_vec(),
        envelopes,
        certificate,
        answer,
        time: 0,
    };
    let id = fixed_proposal().id();
    let ids = session.nonces.iter().flat_map(|envelope| envelope.id().0).collect();
    let comparisons = vec![
        have(id, ids, false, false),
        have(SessionId([6; 32]), Vec::new(), true, false),
        have(new.id(), Vec::new(), false, true),
    ];
    vec![
        ("accepts", of(envelopes(&accepts[1..]))),
        ("nonces", of(envelopes(&[&accepts[1..], &session.nonces[1..]].concat()))),
        ("complete", of(envelopes(&complete))),
        ("everything", of(envelopes(&all))),
        ("restarts", of(envelopes(&[&accepts[1..], &all[4..5], &session.nonces[1..]].concat()))),
        ("proposed", of(envelopes(&[proposed]))),
        ("proofs", of(envelopes(&session.proofs().into_iter().flat_map(parts).collect::<Vec<_>>()))),
        (
            "certificate",
            wire::encode(&pb::Frame {
                envelopes: envelopes(&[&all[..1], &accepts].concat()),
                certificates: vec![session.certificate.to_wire()],
                ..pb::Frame::default()
            }),
        ),
        (
            "passed-on",
            wire::encode(&pb::Frame {
                envelopes: envelopes(&accepts[1..]),
                lacking: vec![pb::Lacking { session: id.0.to_vec(), signers: vec![1, 2] }],
                ..pb::Frame::default()
            }),
        ),
        ("comparisons", wire::encode(&pb::Frame { have: comparisons, ..pb::Frame::default() })),
    ]
}

fn parts((_, proof): (&'static str, Proof)) -> Vec<Envelope> {
    match proof {
        Proof::Equivocation(one, other) => vec![*one, *other],
        Proof::BadPartial { nonces, partial } => [nonces, vec![*partial]].concat(),
        Proof::BadContent(envelope) => vec![*envelope],
    }
}

fn proposals() -> Vec<(&'static str, Proposal)> {
    let raw = || {
        let mut terms = fixed_terms();
        terms.transaction = None;
        terms.messages = vec![Message::raw([1; 32]), Message::raw([2; 32])];
        terms
    };
    let mut derived = raw();
    let mut other = KeySet::ordered(&[key(0), key(4), key(5)], KeyOrder::AsGiven);
    other.participants[1].origin = Some(KeyOrigin { fingerprint: [1, 2, 3, 4], path: vec![1 << 31, 7] });
    derived.key_sets.push(other);
    derived.messages[0].derivation = Derivation { path: vec![0, 7], taproot: Taproot::MerkleRoot([3; 32]) };
    (derived.messages[1].key_set, derived.messages[1].derivation) = (1, Derivation::key_path([]));
    let mut full = derived.clone();
    full.election_method = ElectionMethod::SessionSalted;
    full.broadcast = Broadcast::Failover(FailoverPolicy {
        broadcast_timeout: Duration::from_millis(1500),
        tiers: Tiers::Fixed(2),
    });
    full.metadata = b"for the others".to_vec();
    full.replaces = Some(SessionId([5; 32]));
    full.signers = (0..20).map(key).collect();
    let identities = KeySet::new(&full.signers);
    let others = (0..20).map(|index| if index < 5 { key(index) } else { key(index + 20) });
    full.key_sets = vec![identities, KeySet::new(&others.collect::<Vec<_>>())];
    let mut off = fixed_terms();
    off.broadcast = Broadcast::CoordinatorOnly;
    let mut signs_alone = fixed_terms();
    signs_alone.broadcast = Broadcast::SignOnly;
    let of = |terms| Proposal::new(terms).expect("valid terms");
    vec![
        ("transaction", fixed_proposal().clone()),
        ("derived", of(derived)),
        ("full", of(full)),
        ("coordinator-only", of(off)),
        ("sign-only", of(signs_alone)),
    ]
}
