//! The proposer holds every key but one, and aims: the key that would sign shall be the victim's own. A signature would
//! then be the victim's word in another session, its presence, or the spend of a coin of its own.

use libmusig::error::ProposalError;
use libmusig::protocol::crypto::Scheme;
use libmusig::protocol::crypto::musig2::Musig2;
use libmusig::protocol::proposal::{KeyOrder, Message, Proposal, Tweak};
use libmusig::types::SignerKey;
use musig2::KeyAggContext;
use musig2::secp::{G, MaybeScalar, Point, Scalar};

use test_support::party::{key_of, terms};

const ATTACKER: u8 = 1;
const VICTIM: u8 = 2;

/// What makes the aggregate of both keys any key whose secret is known, or the victim's: with A = x·G and V in given
/// order it is a·A + V.
fn aim(at: SignerKey) -> Tweak {
    let points =
        [ATTACKER, VICTIM].map(|secret| Point::from_slice(key_of(secret).as_bytes()).expect("valid"));
    let context = KeyAggContext::new(points).expect("not infinity");
    let coefficient = context.key_coefficient(points[0]).expect("is among the keys");
    let aggregate: Point = context.aggregated_pubkey();
    let secret =
        |number: u8| Scalar::from_slice(&[[0; 31].as_slice(), &[number]].concat()).expect("in range");
    let without = -(coefficient * secret(ATTACKER));
    let candidates = [
        without,
        without - secret(VICTIM) - secret(VICTIM),
        without - secret(VICTIM) + secret(ATTACKER),
        without - secret(VICTIM) + secret(3),
    ];
    let reaches = |scalar: &&MaybeScalar| (aggregate + **scalar * G).serialize() == *at.as_bytes();
    let scalar = *candidates.iter().find(reaches).expect("one of them reaches it");
    Tweak { follows: None, x_only: false, scalar: scalar.serialize() }
}

#[test]
fn aimed_key_is_refused_whoever_signs() {
    let victim = key_of(VICTIM);
    let with = |tweaks: Vec<Tweak>| {
        let mut terms = terms([ATTACKER, VICTIM].map(key_of).to_vec());
        terms.key_order = KeyOrder::AsGiven;
        terms.messages = vec![Message::raw([1; 32], None), Message::raw([2; 32], Some(0))];
        terms.tweaks = tweaks;
        Musig2.aggregate_keys(&Proposal::new(terms).expect("valid terms"))
    };
    assert_eq!(with(vec![aim(victim)]).err(), Some(ProposalError::AimedKey { signer: 1 }));
    // The same point with the other parity is the same x-only key.
    let negated = SignerKey::from_bytes(&[&[3], &victim.as_bytes()[1..]].concat()).expect("valid");
    assert_ne!(negated, victim);
    assert_eq!(with(vec![aim(negated)]).err(), Some(ProposalError::AimedKey { signer: 1 }));
    assert_eq!(with(vec![aim(key_of(ATTACKER))]).err(), Some(ProposalError::AimedKey { signer: 0 }));
    assert!(with(vec![aim(key_of(3))]).is_ok(), "the key of nobody in the session");
}
