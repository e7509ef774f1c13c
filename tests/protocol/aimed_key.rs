//! The proposer holds every key but one, and aims: the key that signs shall be the victim's own, or one of its coins. A
//! signature would then be the victim's word in another session, its presence, or the spend of a coin of its own.

use libmusig::error::{ProposalError, SignerError};
use libmusig::protocol::crypto::key_set::{Derivation, KeyOrder, KeySet, Taproot};
use libmusig::protocol::crypto::musig2::Musig2;
use libmusig::protocol::crypto::{Round, Scheme, SessionKeys};
use libmusig::protocol::proposal::{Message, Proposal, Terms};
use libmusig::protocol::wire::{self, pb};
use libmusig::signer::Signer;
use libmusig::types::{SignerKey, tagged_hash};
use musig2::KeyAggContext;
use musig2::secp::{G, MaybeScalar, Point, Scalar};

use test_support::party::{Party, key_of, local, terms};

const ATTACKER: u8 = 1;
const VICTIM: u8 = 2;

fn aggregated(terms: Terms) -> Option<ProposalError> {
    Musig2.aggregate_keys(&Proposal::new(terms).expect("valid terms")).err()
}

/// Nobody can aim a hash. But whoever says what a third signer's identity key is can say that it is the key that signs.
#[test]
fn aimed_key_is_refused_whoever_signs() {
    let participants = KeySet::new(&[11, 12, 13].map(key_of));
    let derivation = Derivation { path: vec![0, 7], taproot: Taproot::KeyPath };
    let with = |third: SignerKey| {
        let mut terms = terms(vec![key_of(ATTACKER), key_of(VICTIM), third]);
        terms.key_sets = vec![participants.clone()];
        terms.messages = vec![Message::raw([1; 32]), Message::with([2; 32], 0, derivation.clone())];
        terms
    };
    assert_eq!(aggregated(with(key_of(3))), None);
    let aggregate = participants.aggregate_key().expect("three keys");
    let child = participants.final_key(&derivation).expect("unhardened");
    for key in [aggregate, child] {
        assert_eq!(aggregated(with(key)), Some(ProposalError::AimedKey { signer: 2 }));
        // The same point with the other parity is the same x-only key.
        let negated = SignerKey::from_bytes(&[&[key.as_bytes()[0] ^ 1], &key.as_bytes()[1..]].concat());
        let negated = negated.expect("a point");
        assert_eq!(aggregated(with(negated)), Some(ProposalError::AimedKey { signer: 2 }));
    }
    // The aggregate of a key set counts also where only its children sign.
    let mut terms = with(aggregate);
    terms.messages.remove(0);
    assert_eq!(aggregated(terms), Some(ProposalError::AimedKey { signer: 2 }));
    // And participant keys are nobody's target either.
    let mut terms = with(key_of(3));
    terms.key_sets.push(KeySet::new(&[key_of(14), key_of(15), aggregate]));
    terms.messages.push(Message::with([3; 32], 1, Derivation::default()));
    assert_eq!(aggregated(terms), Some(ProposalError::AimedKey { signer: 2 }));
}

/// What a signer is told of keys may be wrong: it looks at them itself, once more before it signs.
#[test]
fn aimed_key_is_not_signed_with() {
    let good = Party::new(3, |_| ());
    let aggregate = good.proposal.key_sets[0].aggregate_key().expect("three keys");
    let aim = |terms: &mut Terms| {
        terms.key_sets = vec![KeySet::new(&[1, 2, 3].map(key_of))];
        terms.signers[2] = aggregate;
    };
    let mut terms = terms((1..=3).map(key_of).collect());
    aim(&mut terms);
    // The third signer's participant key is not its identity key now, and its identity key is the aggregate.
    let proposal = Proposal::new(terms).expect("valid terms");
    let mut request = good.nonce_request(0, 0);
    request.proposal = proposal.clone();
    request.keys = std::sync::Arc::new(Blind);
    let refused = local(1).make_nonces(&request);
    assert_eq!(refused, Err(SignerError::Mismatch("its key sets have no keys that may sign")));
}

/// Keys that say nothing.
#[derive(Debug)]
struct Blind;

impl SessionKeys for Blind {
    fn output_key(&self, _: usize) -> [u8; 32] {
        [0; 32]
    }
    fn begin_round(&self, _: &[&[u8]]) -> Result<std::sync::Arc<dyn Round>, usize> {
        Err(0)
    }
    fn verify_signatures(&self, _: &[libmusig::types::Signature]) -> bool {
        true
    }
    fn as_any(&self) -> &dyn std::any::Any {
        self
    }
}

/// The attack on a coin of the victim alone (BIP-86) takes a scalar: -a·x + TapTweak(V), where a is the attacker's
/// coefficient and x its secret. A proposal has no place for one: in the only 32 bytes that it chooses it is hashed.
#[test]
fn aimed_key_of_a_coin_takes_a_scalar_and_there_is_none() {
    let keys = [ATTACKER, VICTIM].map(key_of);
    let points = keys.map(|key| Point::from_slice(key.as_bytes()).expect("valid"));
    let context = KeyAggContext::new(points).expect("not infinity");
    let coefficient = context.key_coefficient(points[0]).expect("is among the keys");
    let aggregate: Point = context.aggregated_pubkey();
    let secret = Scalar::from_slice(&[[0; 31].as_slice(), &[ATTACKER]].concat()).expect("in range");
    let tap_tweak = tagged_hash("TapTweak", &[keys[1].x_only()]);
    let tap_tweak = MaybeScalar::from_slice(&tap_tweak).expect("in range");
    // With an odd victim the coin is that of its negation.
    let coin: SignerKey = {
        let even = points[1].to_even_y();
        SignerKey::from_bytes(&(even + tap_tweak * G).serialize()).expect("a point")
    };
    let to_even = if points[1] == points[1].to_even_y() {
        MaybeScalar::Zero
    } else {
        let victim = Scalar::from_slice(&[[0; 31].as_slice(), &[VICTIM]].concat()).expect("in range");
        -(victim + victim)
    };
    let scalar: MaybeScalar = -(coefficient * secret) + tap_tweak + to_even;
    let reached = (aggregate + scalar * G).serialize();
    assert_eq!(reached, *coin.as_bytes(), "by a scalar, the attack reaches the coin");

    // Whatever is said of a derivation, the key is another.
    let key_set = KeySet::ordered(&keys, KeyOrder::AsGiven);
    let number = u32::from_be_bytes(*scalar.serialize().first_chunk().expect("32 bytes")) >> 1;
    for path in [vec![], vec![number], vec![0, number]] {
        for taproot in [Taproot::None, Taproot::KeyPath, Taproot::MerkleRoot(scalar.serialize())] {
            let key = key_set.final_key(&Derivation { path: path.clone(), taproot }).expect("unhardened");
            assert_ne!(key.x_only(), coin.x_only());
        }
    }
    // And a message that carries one in any other field is refused.
    let good = Proposal::new(terms(keys.to_vec())).expect("valid terms");
    let message: pb::Proposal = wire::decode(good.as_bytes(), "").expect("canonical");
    let of_message = wire::encode(&message.messages[0]);
    for field in 8..=15_u8 {
        let bytes = [&of_message[..], &[field << 3 | 2, 32], &scalar.serialize()].concat();
        let position = find(good.as_bytes(), &of_message);
        let mut proposal = good.as_bytes().to_vec();
        proposal.splice(position..position + of_message.len(), bytes.clone());
        proposal[position - 1] = bytes.len() as u8;
        assert!(matches!(Proposal::decode(&proposal), Err(ProposalError::Encoding(_))), "field {field}");
    }
}

fn find(bytes: &[u8], part: &[u8]) -> usize {
    bytes.windows(part.len()).position(|window| window == part).expect("it is in there")
}
