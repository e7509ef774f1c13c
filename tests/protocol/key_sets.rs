//! Key sets and derivations: wallets that derive before the aggregation, after it, or both; whose each key is; and what
//! can be made can be signed for.

use std::sync::Arc;

use libmusig::error::{Error, ProposalError, SignerError};
use libmusig::protocol::consent::JoinOptions;
use libmusig::protocol::crypto::Scheme;
use libmusig::protocol::crypto::key_set::{Derivation, KeyOrder, KeySet, Taproot, aggregate_key, sort_keys};
use libmusig::protocol::crypto::musig2::Musig2;
use libmusig::protocol::engine::Engine;
use libmusig::protocol::envelope::{Body, Content};
use libmusig::protocol::event::Event;
use libmusig::protocol::proposal::{Message, Proposal, Terms};
use libmusig::protocol::transaction::NoTransactions;
use libmusig::protocol::wire::{self, pb};
use libmusig::protocol::{Output, Settings, Time, limits};
use libmusig::signer::{HeldKeys, Identity, KeyCheck, LocalSigner, Signer};
use libmusig::types::{SignerKey, UnixMillis};

use test_support::party::{Party, key_of, local, seal, slices, terms};

fn secret(number: u8) -> [u8; 32] {
    let mut secret = [0; 32];
    secret[31] = number;
    secret
}

fn add(signer: &LocalSigner, keys: &[u8]) {
    for key in keys {
        assert_eq!(signer.add_key(secret(*key)), Ok(key_of(*key)));
    }
}

/// Three signers with identity keys 1 to 3, and two key sets: 11 to 13 and 21 to 23.
fn wallets(change: impl FnOnce(&mut Terms)) -> Party {
    let party = Party::new(3, |terms| {
        terms.key_sets = vec![
            KeySet::new(&[11, 12, 13].map(key_of)),
            KeySet::ordered(&[23, 22, 21].map(key_of), KeyOrder::AsGiven),
        ];
        terms.messages = vec![
            Message::with([1; 32], 0, Derivation::default()),
            Message::with([2; 32], 1, Derivation::key_path([])),
            Message::with([3; 32], 0, Derivation { path: vec![0, 7], taproot: Taproot::MerkleRoot([9; 32]) }),
            Message::with([4; 32], 1, Derivation { path: vec![0, 7], taproot: Taproot::None }),
        ];
        change(terms);
    });
    for (signer, keys) in [[11, 23], [12, 22], [13, 21]].into_iter().enumerate() {
        add(&party.signers[signer], &keys);
    }
    party
}

#[test]
fn key_sets_of_one_session_sign_each_its_messages() {
    let party = wallets(|_| ());
    let round = party.round(&party.nonces(0));
    let partials = party.partials(0, &round);
    for (signer, partials) in partials.iter().enumerate() {
        assert!(round.verify_partials(signer, partials));
        assert!(!round.verify_partials((signer + 1) % 3, partials));
    }
    let signatures = round.aggregate(&slices(&partials)).expect("all honest");
    assert!(party.keys.verify_signatures(&signatures));
    let mut seen = std::collections::HashSet::new();
    for (index, message) in party.proposal.messages.iter().enumerate() {
        let key = party.proposal.key_sets[message.key_set].final_key(&message.derivation).expect("valid");
        assert_eq!(party.keys.output_key(index), *key.x_only());
        assert!(Musig2.verify(&key, &message.digest, &signatures[index]));
        assert!(seen.insert(key));
    }
    // A request names the key that signs each message.
    let request = party.nonce_request(2, 1);
    let named: Vec<_> = (0..4).map(|index| request.participant_key(index)).collect();
    assert_eq!(named, [13, 21, 13, 21].map(|key| Some(key_of(key))));
    assert_eq!(request.participant_key(4), None);
}

#[test]
fn key_sets_of_keys_that_a_signer_lacks_are_not_signed_with() {
    let party = wallets(|_| ());
    let stranger = local(1);
    let mismatch = |signer: &LocalSigner| {
        matches!(signer.make_nonces(&party.nonce_request(0, 0)), Err(SignerError::Mismatch(_)))
    };
    assert!(mismatch(&stranger), "its identity key alone");
    stranger.add_key(secret(11)).expect("a key");
    assert!(mismatch(&stranger), "one of two keys");
    stranger.add_key(secret(23)).expect("a key");
    assert!(stranger.make_nonces(&party.nonce_request(0, 0)).is_ok());
    // One key, one purpose.
    let identities = Party::new(2, |_| ());
    assert!(stranger.holds(&key_of(11), None) && !stranger.holds(&key_of(1), None));
    let refused = stranger.make_nonces(&identities.nonce_request(0, 0));
    assert!(matches!(refused, Err(SignerError::Mismatch(_))), "its identity key signs no session any more");
    assert!(stranger.sign(&[1; 32]).is_ok(), "but what others believe of it");
    assert!(matches!(stranger.add_key(secret(1)), Err(SignerError::Mismatch(_))));
    assert_eq!(stranger.add_key([0; 32]), Err(SignerError::InvalidSecret));
}

#[test]
fn key_sets_survive_a_lock_but_their_secrets_do_not() {
    let party = wallets(|_| ());
    let round = party.round(&party.nonces(0));
    let signer = &party.signers[0];
    signer.lock();
    assert!(signer.holds(&key_of(11), None) && signer.holds(&key_of(23), None));
    assert_eq!(signer.make_partials(&party.partial_request(0, 0, &round)), Err(SignerError::Locked));
    signer.unlock(secret(1)).expect("its own secret");
    assert_eq!(signer.make_nonces(&party.nonce_request(0, 1)), Err(SignerError::Locked));
    add(signer, &[11, 23]);
    assert!(signer.make_nonces(&party.nonce_request(0, 1)).is_ok());
}

fn engine(held: Option<Arc<dyn HeldKeys>>) -> Engine {
    let engine = Engine::new(key_of(1), Settings::default(), Arc::new(Musig2), Arc::new(NoTransactions));
    match held {
        Some(held) => engine.with_held_keys(held),
        None => engine,
    }
}

const NOW: Time = Time { wall: UnixMillis(0), monotonic: std::time::Duration::ZERO };

#[test]
fn key_sets_with_a_key_of_another_are_refused() {
    let party = wallets(|_| ());
    let options = JoinOptions { sign_blind: true, ..JoinOptions::default() };
    let create =
        |mut engine: Engine, proposal: &Proposal| engine.create_with(proposal.clone(), options, 1, NOW);
    let missing = |key: u8| Err(Error::Proposal(ProposalError::KeyNotHeld { key: key_of(key) }));
    assert_eq!(create(engine(None), &party.proposal), missing(11), "the identity key alone");
    let held = Arc::new(local(1));
    held.add_key(secret(11)).expect("a key");
    assert_eq!(create(engine(Some(held.clone())), &party.proposal), missing(23));
    held.add_key(secret(23)).expect("a key");
    assert!(create(engine(Some(held.clone())), &party.proposal).is_ok());
    // Another signer's place has a key that this node's signer holds, or its negation.
    held.add_key(secret(12)).expect("a key");
    let duplicate = Err(Error::Proposal(ProposalError::DuplicateKey { first: 0, second: 1 }));
    assert_eq!(create(engine(Some(held)), &party.proposal), duplicate);
    let negated = |key: SignerKey| {
        SignerKey::from_bytes(&[&[key.as_bytes()[0] ^ 1], &key.as_bytes()[1..]].concat()).expect("a point")
    };
    let held = Arc::new(local(1));
    add(&held, &[11, 23, 30]);
    let mut terms = party.proposal.terms().clone();
    terms.key_sets[0].participants[1].key = negated(key_of(30));
    let proposal = Proposal::new(terms).expect("valid terms");
    assert_eq!(create(engine(Some(held)), &proposal), duplicate);
}

/// The order of aggregation is that of the key set, and changes the key and nothing else.
#[test]
fn key_sets_are_aggregated_in_their_order() {
    let keys: Vec<_> = [3, 1, 2].map(key_of).to_vec();
    let sorted = KeySet::new(&keys).aggregate_key().expect("three keys");
    let given = KeySet::ordered(&keys, KeyOrder::AsGiven).aggregate_key().expect("three keys");
    let mut ascending = keys.clone();
    ascending.sort();
    assert_eq!(sort_keys(&keys), ascending);
    assert_eq!(KeySet::ordered(&ascending, KeyOrder::AsGiven).aggregate_key(), Ok(sorted));
    assert_eq!(KeySet::new(&ascending).aggregate_key(), Ok(sorted));
    assert_ne!(given, sorted);
    assert_eq!(aggregate_key(&keys, KeyOrder::AsGiven), Ok(given));
}

/// Whatever gives out a key refuses what a session refuses, in the same words; and what it gives out, a session signs.
#[test]
fn makeable_is_signable() {
    let key = |number: u8| key_of(number);
    let negated = SignerKey::from_bytes(&[&[key(2).as_bytes()[0] ^ 1], &key(2).as_bytes()[1..]].concat());
    let negated = negated.expect("a point");
    let path = |numbers: &[u32]| Derivation { path: numbers.to_vec(), taproot: Taproot::KeyPath };
    let many: Vec<SignerKey> = (1..=129).map(key).collect();
    let cases: Vec<(&str, Vec<SignerKey>, Derivation)> = vec![
        ("good", vec![key(1), key(2)], Derivation::default()),
        ("good, derived", vec![key(1), key(2), key(3)], path(&[0, 7, 0x7fff_ffff, 3, 4, 5, 6, 7])),
        ("alone", vec![key(1)], path(&[])),
        ("no keys", vec![], Derivation::default()),
        ("too many keys", many, Derivation::default()),
        ("a repeated key", vec![key(1), key(2), key(1)], Derivation::default()),
        ("a key and its negation", vec![key(1), key(2), negated], path(&[1])),
        ("a path that is too long", vec![key(1), key(2)], path(&[0; 9])),
        ("a hardened step", vec![key(1), key(2)], path(&[0, 0x8000_0000])),
    ];
    let mut refused = 0;
    for (name, keys, derivation) in cases {
        for order in [KeyOrder::Sorted, KeyOrder::AsGiven] {
            let key_set = KeySet::ordered(&keys, order);
            let made = key_set.final_key(&derivation);
            let mut terms = terms(keys.clone());
            terms.key_sets = vec![key_set.clone()];
            terms.messages = vec![Message::with([1; 32], 0, derivation.clone())];
            let signable = Proposal::new(terms).and_then(|proposal| Musig2.aggregate_keys(&proposal));
            let signs_with = signable.map(|keys| keys.output_key(0));
            assert_eq!(made.clone().map(|key| *key.x_only()), signs_with, "{name}");
            if let Err(error) = &made {
                refused += 1;
                if derivation == Derivation::default() {
                    assert_eq!(key_set.check().as_ref(), Err(error), "{name}");
                    assert_eq!(key_set.aggregate_key().as_ref(), Err(error), "{name}");
                    assert_eq!(aggregate_key(&keys, order).as_ref(), Err(error), "{name}");
                }
            }
            #[cfg(feature = "bitcoin")]
            {
                let address = key_set.address(&derivation, bitcoin::Network::Regtest);
                assert_eq!(address.is_ok(), made.is_ok(), "{name}");
                assert_eq!(address.err(), made.err(), "{name}");
            }
        }
    }
    assert_eq!(refused, 12);
}

/// An engine beside a foreign signer: what is not held here is asked for.
fn beside_a_foreign_signer() -> Engine {
    let settings = Settings { foreign_signer: true, ..Settings::default() };
    let held = Arc::new(local(1));
    held.add_key(secret(11)).expect("a key");
    Engine::new(key_of(1), settings, Arc::new(Musig2), Arc::new(NoTransactions)).with_held_keys(held)
}

/// What it puts out until it has nothing to do.
fn outputs(engine: &mut Engine) -> Vec<Output> {
    std::iter::from_fn(|| engine.poll_output()).collect()
}

fn checks(outputs: &[Output]) -> Vec<&KeyCheck> {
    let checks = outputs.iter().filter_map(|output| match output {
        Output::CheckKeys { check, .. } => Some(&**check),
        _ => None,
    });
    checks.collect()
}

/// A proposal of signer 1, as it comes in an export.
fn received(party: &Party, change: impl FnOnce(&mut Terms)) -> (Proposal, Vec<u8>) {
    let mut terms = party.proposal.terms().clone();
    terms.proposer = 1;
    change(&mut terms);
    let proposal = Proposal::new(terms).expect("valid terms");
    let content = Content::Proposal(proposal.as_bytes().to_vec());
    let body = Body { session: proposal.id(), signer: 1, content };
    let envelopes = vec![seal(&party.signers[1], body).as_bytes().to_vec()];
    (proposal, wire::encode(&pb::Frame { envelopes, ..Default::default() }))
}

#[test]
fn key_sets_that_wait_for_a_foreign_signer_begin_once_it_says_yes() {
    let party = wallets(|_| ());
    let id = party.proposal.id();
    let mut engine = beside_a_foreign_signer();
    let blind = JoinOptions { sign_blind: true, ..JoinOptions::default() };
    let create =
        |engine: &mut Engine, request| engine.create_with(party.proposal.clone(), blind, request, NOW);
    assert_eq!(create(&mut engine, 1), Ok(id));
    let asked = outputs(&mut engine);
    let [check] = checks(&asked)[..] else { panic!("{asked:?}") };
    assert_eq!((asked.len(), check.signer, check.proposal.id()), (1, 0, id));
    assert!(engine.proposal(&id).is_none(), "nothing is begun");
    assert_eq!(create(&mut engine, 2), Err(Error::SessionExists(id)));
    // It is asked for the own keys first, and for nothing more if one is not held.
    let about = std::cell::RefCell::new(Vec::new());
    let result = check.run(|key, _| {
        about.borrow_mut().push(*key);
        Ok(*key == key_of(11))
    });
    assert_eq!(result, Err(Error::Proposal(ProposalError::KeyNotHeld { key: key_of(23) })));
    assert_eq!(about.into_inner(), [11, 23].map(key_of));
    assert_eq!(check.run(|key, _| Ok([11, 23].map(key_of).contains(key))), Ok(()));
    let stolen = check.run(|key, _| Ok([11, 23, 21].map(key_of).contains(key)));
    assert_eq!(stolen, Err(Error::Proposal(ProposalError::DuplicateKey { first: 0, second: 2 })));
    let broken = Err(Error::Signer(SignerError::Locked));
    assert_eq!(check.run(|_, _| Err(SignerError::Locked)), broken);
    // No, and it could not be asked: the request fails, and nothing is left.
    for (request, why) in [(1, stolen), (2, broken)] {
        engine.keys_checked(&id, why.clone(), NOW);
        let done = outputs(&mut engine);
        let [Output::Done { request: of, result, .. }] = &done[..] else { panic!("{done:?}") };
        assert_eq!((*of, result), (request, &why));
        assert_eq!(create(&mut engine, request + 1), Ok(id));
        assert_eq!(checks(&outputs(&mut engine)).len(), 1);
    }
    engine.keys_checked(&id, Ok(()), NOW);
    assert!(outputs(&mut engine).iter().any(|output| matches!(output, Output::Sign { .. })));
    assert!(engine.proposal(&id).is_some());
    // An answer that nobody waits for changes nothing.
    engine.keys_checked(&id, Ok(()), NOW);
    assert!(outputs(&mut engine).is_empty());
}

#[test]
fn key_sets_that_come_wait_for_a_foreign_signer_too() {
    let party = wallets(|_| ());
    let (proposal, frame) = received(&party, |_| ());
    let mut engine = beside_a_foreign_signer();
    let told = |outputs: &[Output]| outputs.iter().any(|output| matches!(output, Output::Event { .. }));
    engine.import(&frame, NOW).expect("it waits");
    engine.import(&frame, NOW).expect("it waits already");
    let asked = outputs(&mut engine);
    assert_eq!((checks(&asked).len(), asked.len()), (1, 1), "{asked:?}");
    let not_held = || Err(ProposalError::KeyNotHeld { key: key_of(23) }.into());
    let refusals = |outputs: &[Output]| {
        let refused = |output: &&Output| match output {
            Output::Event { event } => matches!(event.event, Event::ProposalRefused { .. }),
            _ => false,
        };
        outputs.iter().filter(refused).count()
    };
    engine.keys_checked(&proposal.id(), not_held(), NOW);
    assert_eq!(refusals(&outputs(&mut engine)), 1);
    assert!(engine.proposal(&proposal.id()).is_none());
    assert_eq!(engine.refused().proposals, 1);
    // It is reported once, however often it comes.
    engine.import(&frame, NOW).expect("it waits");
    engine.keys_checked(&proposal.id(), not_held(), NOW);
    assert!(!told(&outputs(&mut engine)) && engine.proposal(&proposal.id()).is_none());
    // A failure is heard; neither is an answer for good.
    engine.import(&frame, NOW).expect("it waits");
    assert_eq!(checks(&outputs(&mut engine)).len(), 1);
    engine.keys_checked(&proposal.id(), Err(SignerError::Locked.into()), NOW);
    assert!(told(&outputs(&mut engine)) && engine.proposal(&proposal.id()).is_none());
    engine.import(&frame, NOW).expect("it waits");
    assert_eq!(checks(&outputs(&mut engine)).len(), 1);
    engine.keys_checked(&proposal.id(), Ok(()), NOW);
    assert!(told(&outputs(&mut engine)), "it is proposed");
    assert!(engine.proposal(&proposal.id()).is_some());
}

#[test]
fn key_sets_that_wait_for_a_foreign_signer_are_limited() {
    let party = wallets(|_| ());
    let mut engine = beside_a_foreign_signer();
    let mut waiting = Vec::new();
    for number in 0..20 {
        let (proposal, frame) = received(&party, |terms| terms.entropy = [number; 32]);
        if engine.import(&frame, NOW).is_ok() {
            waiting.push(proposal.id());
        }
    }
    assert_eq!(waiting.len(), limits::KEY_CHECKS / 8, "of one proposer");
    assert_eq!(checks(&outputs(&mut engine)).len(), waiting.len());
    // Once they are answered others may wait.
    for id in &waiting {
        engine.keys_checked(id, Err(SignerError::Locked.into()), NOW);
    }
    let (_, frame) = received(&party, |terms| terms.entropy = [99; 32]);
    assert!(engine.import(&frame, NOW).is_ok());
}
