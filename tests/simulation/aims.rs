//! Proposals whose keys are chosen against a signer: its own key, or its coin's, shall be the one that signs, or a key
//! stands where it may not. All but the victim's secrets are the attacker's.

use std::time::Duration;

use libmusig::protocol::crypto::key_set::{Derivation, KeyOrder, KeySet, Taproot};
use libmusig::protocol::engine::Engine;
use libmusig::protocol::envelope::{Body, Content};
use libmusig::protocol::proposal::{Broadcast, Message, Proposal, Terms};
use libmusig::types::{SessionId, SignerKey, tagged_hash};
use musig2::KeyAggContext;
use musig2::secp::{G, MaybeScalar, Point, Scalar};

use crate::byzantine::{sign, signer};
use crate::run::Run;
use test_support::cluster::{EPOCH, Random, key, secret};

/// What a proposal aims at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Aim {
    /// The victim's own key signs: by a merkle root that were the right scalar, if it were one.
    Identity,
    /// The same for the key of the victim's own coin (BIP-86).
    Coin,
    /// The victim's key is a participant key of another signer too, as it is or negated.
    VictimsKey(bool),
    /// A third signer's identity key is a participant key of the proposer, as it is or negated.
    OthersKey(bool),
    /// The victim's participant key is none of its own.
    ForeignKey,
    /// The identity key of a third signer is the aggregate of the key set.
    Aggregate,
    /// Or what is derived from that.
    Child,
}

impl Aim {
    /// One that the seed decides.
    pub fn any(random: &mut Random) -> Self {
        match random.below(8) {
            0 | 1 => Self::Identity,
            2 | 3 => Self::Coin,
            4 => Self::VictimsKey(random.chance(500)),
            5 => Self::OthersKey(random.chance(500)),
            6 => Self::ForeignKey,
            _ if random.chance(500) => Self::Aggregate,
            _ => Self::Child,
        }
    }

    /// Whether every node refuses it. What is said to be a scalar is only a merkle root, and as good as any.
    pub fn is_refused(self) -> bool {
        !matches!(self, Self::Identity | Self::Coin)
    }

    /// Whether keys have to be points of the curve for it.
    fn takes_algebra(self) -> bool {
        matches!(self, Self::Identity | Self::Coin | Self::Aggregate | Self::Child)
    }
}

/// A proposal that was aimed at a signer.
#[derive(Clone, Copy, Debug)]
pub struct Aimed {
    pub id: SessionId,
    pub aim: Aim,
    pub victim: usize,
}

/// A key that belongs to no node.
fn stranger(number: usize) -> SignerKey {
    let pair = secp256k1::Keypair::from_secret_bytes(secret(1000 + number)).expect("a small number");
    SignerKey::from(pair.public_key())
}

/// The other point with this x coordinate.
fn negated(key: &SignerKey) -> SignerKey {
    let mut bytes = *key.as_bytes();
    bytes[0] ^= 1;
    SignerKey::from_bytes(&bytes).expect("the same x")
}

fn point(key: &SignerKey) -> Point {
    Point::from_slice(key.as_bytes()).expect("a point")
}

/// The output key of the coin that a key has alone (BIP-86).
pub fn coin(key: &SignerKey) -> SignerKey {
    let tap_tweak = MaybeScalar::from_slice(&tagged_hash("TapTweak", &[key.x_only()])).expect("in range");
    let output = point(key).to_even_y() + tap_tweak * G;
    SignerKey::from_bytes(&output.serialize()).expect("not infinity")
}

/// What takes the output key of {attacker, victim} to the victim's own, or to its coin's: with Q = a·x·G + V, which g
/// makes even, g·Q + t·G is g·V for t = -g·a·x.
fn scalar(attacker: usize, victim: usize, of_coin: bool) -> [u8; 32] {
    let keys = [key(attacker), key(victim)];
    let context = KeyAggContext::new(keys.iter().map(point)).expect("not infinity");
    let coefficient = context.key_coefficient(point(&keys[0])).expect("it is among them");
    let aggregate: Point = context.aggregated_pubkey();
    let is_even = |point: Point| point == point.to_even_y();
    let signed = |even: bool, scalar: MaybeScalar| if even { scalar } else { -scalar };
    let own = Scalar::from_slice(&secret(attacker)).expect("in range");
    let scalar = -signed(is_even(aggregate), coefficient * own);
    if !of_coin {
        return scalar.serialize();
    }
    let tap_tweak = tagged_hash("TapTweak", &[keys[1].x_only()]);
    let tap_tweak = MaybeScalar::from_slice(&tap_tweak).expect("in range");
    (scalar + signed(is_even(aggregate) == is_even(point(&keys[1])), tap_tweak)).serialize()
}

/// A proposal with an aim: its bytes, for no call makes all of them.
fn proposal(terms: Terms, attacker: usize, victim: usize, aim: Aim) -> Vec<u8> {
    let [own, its] = [key(attacker), key(victim)];
    let participants = KeySet::ordered(&[stranger(0), its, stranger(2)], KeyOrder::AsGiven);
    let mut terms = Terms {
        proposer: 0,
        signers: vec![own, its, stranger(1)],
        key_sets: vec![participants.clone()],
        ..terms
    };
    let mut replaced = None;
    let or_negated = |key: SignerKey, is: bool| if is { negated(&key) } else { key };
    match aim {
        Aim::Identity | Aim::Coin => {
            let root = scalar(attacker, victim, aim == Aim::Coin);
            let derivation = Derivation { path: Vec::new(), taproot: Taproot::MerkleRoot(root) };
            terms.signers.truncate(2);
            terms.key_sets = vec![KeySet::ordered(&terms.signers, KeyOrder::AsGiven)];
            terms.messages = vec![Message::with(terms.messages[0].digest, 0, derivation)];
        }
        Aim::VictimsKey(is_negated) => replaced = Some(or_negated(its, is_negated)),
        Aim::OthersKey(is_negated) => replaced = Some(or_negated(terms.signers[2], is_negated)),
        Aim::ForeignKey => terms.key_sets[0].participants[1] = stranger(3).into(),
        Aim::Aggregate => terms.signers[2] = participants.aggregate_key().expect("three keys"),
        Aim::Child => {
            let derivation = Derivation::key_path([0, 7]);
            terms.signers[2] = participants.final_key(&derivation).expect("unhardened");
            terms.messages = vec![Message::with(terms.messages[0].digest, 0, derivation)];
        }
    }
    let mut bytes = Proposal::new(terms).expect("valid until a key is replaced").as_bytes().to_vec();
    if let Some(with) = replaced {
        let from = stranger(0);
        let at = bytes.windows(33).position(|window| window == from.as_bytes()).expect("it is in there");
        bytes[at..at + 33].copy_from_slice(with.as_bytes());
    }
    bytes
}

/// Proposes it to the victim. The proposer's own node takes part if it can, else it only says that it does.
pub fn attack(run: &mut Run, node: usize, victim: usize, aim: Aim) {
    if aim.takes_algebra() && !run.scenario.real {
        return;
    }
    let expires_at = EPOCH.saturating_add(run.cluster.now() + Duration::from_secs(60));
    let mut terms = Terms { expires_at, ..run.cluster.raw_terms() };
    terms.broadcast = Broadcast::SignOnly;
    let bytes = proposal(terms, node, victim, aim);
    let id = SessionId(tagged_hash("musig/session", &[&bytes]));
    run.aims.push(Aimed { id, aim, victim });
    if let Ok(proposal) = Proposal::decode(&bytes) {
        // Who signs blind is not fooled by a key either.
        run.cluster.learn(&proposal);
        run.cluster.consented.insert((node, id));
        let (request, options) = (run.cluster.request(), run.cluster.word(&id));
        let create = |engine: &mut Engine, now| engine.create_with(proposal, options, request, now);
        let created = run.cluster.drive(node, create);
        if matches!(created, Some(Ok(_))) {
            return;
        }
    }
    let own = signer(node, run.scenario.real);
    let contents = [Content::Proposal(bytes), Content::Accept];
    let envelopes = contents.map(|content| sign(own.as_ref(), Body { session: id, signer: 0, content }));
    run.cluster.inject(node, victim, &envelopes);
}
