//! Which PSBTs sessions are proposed from, and why others are not: each refusal by its name.

use std::str::FromStr;

use bitcoin::Witness;
use bitcoin::consensus::serialize;
use libmusig::chain::descriptor::Descriptor;
use libmusig::chain::psbt::{Psbt, PsbtError};
use libmusig::error::ProposalError;
use libmusig::node::SessionRequest;
use libmusig::protocol::crypto::key_set::{Derivation, KeyOrder, KeySet, Taproot};
use libmusig::types::{OutPoint, Signature, SignerKey, Txid};

use super::{Pairs, join, list, pairs, psbt as read, text, vectors};
use test_support::party::key_of;
use test_support::psbt::{MusigCoin, psbt};

fn keys(numbers: &[u8]) -> Vec<SignerKey> {
    numbers.iter().map(|number| key_of(*number)).collect()
}

fn coin(number: u8, key_set: KeySet, derivation: Derivation) -> MusigCoin {
    MusigCoin { at: OutPoint { txid: Txid([number; 32]), vout: 1 }, value: 10_000, key_set, derivation }
}

fn pay(coins: &[MusigCoin]) -> Psbt {
    psbt(coins, &[(5_000, vec![0x51])])
}

fn refusal(signers: &[SignerKey], psbt: &Psbt, key_sets: &[KeySet]) -> PsbtError {
    let refused = SessionRequest::from_psbt(signers.to_vec(), psbt, key_sets);
    refused.err().expect("it is refused")
}

fn change(psbt: &Psbt, change: impl FnOnce(&mut Pairs)) -> Psbt {
    let mut maps = pairs(&psbt.to_bytes());
    change(&mut maps);
    Psbt::from_bytes(&join(&maps)).expect("good")
}

#[test]
fn psbt_v0_of_other_signers_is_refused_by_name() {
    let signers = keys(&[1, 2, 3]);
    let own = coin(1, KeySet::new(&signers), Derivation::key_path([0, 4]));
    SessionRequest::from_psbt(signers.clone(), &pay(std::slice::from_ref(&own)), &[])
        .expect("all three own it");
    let second = |key_set: KeySet| pay(&[own.clone(), coin(2, key_set, Derivation::key_path([]))]);

    let others = second(KeySet::new(&keys(&[4, 5, 6])));
    assert_eq!(refusal(&signers, &others, &[]), PsbtError::OtherSigners { input: 1 });
    // Once these have signed, and finalized, it is their business.
    let witness = serialize(&Witness::from_slice(&[[7u8; 64]]));
    let complete = change(&others, |maps| maps[2].push((vec![8], witness)));
    SessionRequest::from_psbt(signers.clone(), &complete, &[]).expect("input 1 is final");
    let part = second(KeySet::new(&keys(&[1, 3])));
    assert_eq!(refusal(&signers, &part, &[]), PsbtError::MissingSigner { input: 1, signer: 1 });
    let more = second(KeySet::new(&keys(&[1, 2, 3, 9])));
    let participant = key_of(9);
    assert_eq!(refusal(&signers, &more, &[]), PsbtError::ForeignParticipant { input: 1, participant });
    // Two keys of one signer, by a key set that says whose they are.
    let known = KeySet::new(&keys(&[11, 12, 13]));
    let twice = second(KeySet::new(&keys(&[11, 12, 13, 1])));
    assert_eq!(refusal(&signers, &twice, &[known]), PsbtError::SignerTwice { input: 1, signer: 0 });
}

#[test]
fn psbt_v0_key_sets_say_whose_a_participant_is() {
    let signers = keys(&[1, 2, 3]);
    let wallet = KeySet::new(&keys(&[23, 22, 21]));
    let spending = pay(&[coin(1, wallet.clone(), Derivation::key_path([0, 4]))]);
    assert_eq!(refusal(&signers, &spending, &[]), PsbtError::OtherSigners { input: 0 });
    SessionRequest::from_psbt(signers.clone(), &spending, std::slice::from_ref(&wallet)).expect("known");
    // A key of two signers, and key sets of other sizes.
    let swapped = KeySet::new(&keys(&[22, 23, 21]));
    let refused = refusal(&signers, &spending, &[wallet.clone(), swapped]);
    assert_eq!(refused, PsbtError::Signers(ProposalError::DuplicateKey { first: 0, second: 1 }));
    let small = KeySet::new(&keys(&[21, 22]));
    let limit = ProposalError::Limit { what: "keys of a key set", actual: 2, least: 3, most: 3 };
    assert_eq!(refusal(&signers, &spending, &[wallet, small]), PsbtError::Signers(limit));
    // An order that is neither sorted nor the signers'.
    let given = |numbers: &[u8]| KeySet::ordered(&keys(numbers), KeyOrder::AsGiven);
    let as_given = pay(&[coin(1, given(&[1, 2, 3]), Derivation::default())]);
    SessionRequest::from_psbt(signers.clone(), &as_given, &[]).expect("their own order");
    let sorted = libmusig::sort_keys(&signers);
    let neither =
        [[2, 3, 1], [3, 1, 2]].into_iter().find(|order| keys(order) != sorted).expect("one at least");
    let other = pay(&[coin(1, given(&neither), Derivation::default())]);
    assert_eq!(refusal(&signers, &other, &[]), PsbtError::ParticipantOrder { input: 0 });
}

#[test]
fn psbt_v0_that_no_session_signs_is_not_proposed() {
    let signers = keys(&[1, 2]);
    let own = |derivation| pay(&[coin(1, KeySet::new(&signers), derivation)]);
    let scripts = own(Derivation { path: vec![3], taproot: Taproot::MerkleRoot([7; 32]) });
    let scripts = change(&scripts, |maps| maps[1].push((vec![0x18], vec![7; 32])));
    assert_eq!(refusal(&signers, &scripts, &[]), PsbtError::ScriptTree { input: 0 });
    let good = own(Derivation::key_path([3]));
    let single = change(&good, |maps| maps[1].push((vec![3], 3u32.to_le_bytes().to_vec())));
    assert_eq!(refusal(&signers, &single, &[]), PsbtError::SighashType { input: 0, value: 3 });
    let signed = change(&good, |maps| maps[1].push((vec![0x13], vec![1; 64])));
    assert_eq!(refusal(&signers, &signed, &[]), PsbtError::WrongSignature { input: 0 });
    let mut without = good.clone();
    assert_eq!(without.add_signatures(&[]), Err(PsbtError::SignatureCount { expected: 1, actual: 0 }));
    let wrong = without.add_signatures(&[Signature([1; 64])]);
    assert_eq!(wrong, Err(PsbtError::WrongSignature { input: 0 }));
    assert_eq!(without, good);
    let Some(core) = vectors("psbt_not_proposed", "bitcoin/bip373-core.json") else { return };
    for case in list(&core["cases"]) {
        let psbt = read(&list(&case["steps"])[0]["psbt"]);
        if text(&case["case"]).contains("in a script leaf") {
            assert_eq!(refusal(&signers, &psbt, &[]), PsbtError::KeyInLeaf { input: 0 });
        }
    }
}

/// The key sets of Core's wallets are found in its PSBTs: those of each descriptor, at its index.
#[test]
fn descriptor_finds_the_key_sets_of_psbt_v0_and_psbt_v2() {
    let Some(core) = vectors("descriptor_key_sets", "bitcoin/bip373-core.json") else { return };
    let mut found = 0;
    for case in list(&core["cases"]) {
        let name = text(&case["case"]);
        if name.contains("script") {
            continue;
        }
        let descriptor = Descriptor::from_str(text(&case["descriptor"])).expect(name);
        let psbt = read(&list(&case["steps"])[0]["psbt"]);
        let key_sets = descriptor.key_sets(&psbt).expect(name);
        let index = case["index"].as_u64().expect("a number") as u32;
        let expected =
            (0..descriptor.branches()).map(|branch| descriptor.keys(branch, index).expect(name).key_set);
        assert!(expected.into_iter().any(|one| key_sets.contains(&one)), "{name}");
        // Signers with other identity keys, who are known by them.
        let count = key_sets[0].participants.len() as u8;
        let signers = keys(&(1..=count).collect::<Vec<_>>());
        SessionRequest::from_psbt(signers.clone(), &psbt, &key_sets).expect(name);
        assert_eq!(refusal(&signers, &psbt, &[]), PsbtError::OtherSigners { input: 0 }, "{name}");
        found += 1;
    }
    assert!(found > 10, "{found}");
}

/// Its maps, sorted, without derivations of no step: no leaf, and a fingerprint.
fn with_steps(psbt: &Psbt) -> Vec<u8> {
    let mut maps = pairs(&psbt.to_bytes());
    let (inputs, outputs) = maps[1..].split_at_mut(psbt.inputs());
    inputs.iter_mut().for_each(|map| map.retain(|(key, value)| key[0] != 0x16 || value.len() > 5));
    outputs.iter_mut().for_each(|map| map.retain(|(key, value)| key[0] != 0x07 || value.len() > 5));
    // Core writes the fields of version 2 last.
    maps.iter_mut().for_each(|map| map.sort());
    join(&maps)
}

/// What Core's updater added is added again to its PSBTs without it: but for derivations without a step, which
/// lead nowhere.
#[test]
fn psbt_v0_and_psbt_v2_are_updated_by_a_descriptor_as_by_core() {
    let Some(core) = vectors("psbt_update", "bitcoin/bip373-core.json") else { return };
    let mut updated = 0;
    for case in list(&core["cases"]) {
        let name = text(&case["case"]);
        if name.contains("script") {
            continue;
        }
        let descriptor = Descriptor::from_str(text(&case["descriptor"])).expect(name);
        let whole = read(&list(&case["steps"])[0]["psbt"]);
        let mut maps = pairs(&whole.to_bytes());
        let (inputs, outputs) = maps[1..].split_at_mut(whole.inputs());
        inputs.iter_mut().for_each(|map| map.retain(|(key, _)| ![0x16, 0x17, 0x1a].contains(&key[0])));
        outputs.iter_mut().for_each(|map| map.retain(|(key, _)| ![0x05, 0x07, 0x08].contains(&key[0])));
        let bare = Psbt::from_bytes(&join(&maps)).expect("good");
        assert!(bare.participants(0).is_empty(), "{name}");
        let mut other = bare.clone();
        let index = case["index"].as_u64().expect("a number") as u32;
        if descriptor.is_ranged() {
            assert_eq!(other.update(&descriptor, index), Ok(0), "{name}: it is not looked at that far");
            assert_eq!(other, bare, "{name}");
        }
        assert_eq!(other.update(&descriptor, 20), Ok(whole.inputs()), "{name}");
        assert_eq!(with_steps(&other), with_steps(&whole), "{name}");
        let once = other.clone();
        assert_eq!(other.update(&descriptor, 20), Ok(whole.inputs()), "{name}");
        assert_eq!(other, once, "{name}: once more changes nothing");
        updated += 1;
    }
    assert!(updated > 10, "{updated}");
}

#[test]
fn psbt_v0_is_updated_within_limits() {
    let descriptor = "tr(musig(02c6047f9441ed7d6d3045406e95c07cd85c778e4b8cef3ca7abac09b95c709ee5,\
        02f9308a019258c31049344f85f89d5229b531c845836f99b08601f113bce036f9))";
    let descriptor = Descriptor::from_str(descriptor).expect("two keys");
    let own = coin(1, descriptor.keys(0, 0).expect("exists").key_set, Derivation::key_path([]));
    let whole = pay(std::slice::from_ref(&own));
    let mut bare = change(&whole, |maps| maps[1].retain(|(key, _)| ![0x16, 0x17, 0x1a].contains(&key[0])));
    // Without a wildcard there is one index.
    assert_eq!(bare.update(&descriptor, u32::MAX), Ok(1));
    assert_eq!(bare, whole);
    // Somebody said something else of the input.
    let mut other = change(&whole, |maps| {
        maps[1].retain(|(key, _)| key[0] != 0x17);
        maps[1].push((vec![0x17], key_of(5).x_only().to_vec()));
    });
    let before = other.clone();
    assert!(matches!(other.update(&descriptor, 1), Err(PsbtError::Conflict { .. })));
    assert_eq!(other, before);
    let ranged = "tr(musig(xpub661MyMwAqRbcFtXgS5sYJABqqG9YLmC4Q1Rdap9gSE8NqtwybGhePY2gZ29ESFjqJoCu1Rupje8YtGqsefD265TMg7usUDFdp6W1EGMcet8)/<0;1>/*)";
    let ranged = Descriptor::from_str(ranged).expect("a key");
    assert!(matches!(other.update(&ranged, 50_001), Err(PsbtError::TooLarge { .. })));
}
