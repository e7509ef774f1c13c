//! The steps of a PSBT's life: participants, nonces and partial signatures added, combined, finalized, refused by name.

use bitcoin::consensus::{deserialize, serialize};
use bitcoin::{Transaction, Witness};
use libmusig::chain::keys::fingerprint;
use libmusig::chain::psbt::{InputPlan, Musig2Nonce, Musig2Partial, ParticipantKeys, Psbt, PsbtError};
use libmusig::protocol::crypto::aggregate::AggregateKey;
use libmusig::protocol::crypto::key_set::{Derivation, KeySet, Participant, Taproot};
use libmusig::protocol::proposal::{KeyOrder, SighashType};
use libmusig::types::{SignerKey, from_hex};
use serde_json::Value;

use super::{Pairs, join, list, pairs, psbt, text, vectors};
use crate::payment::{taproot_script, unsigned};

/// Core's session of that name with all its steps.
fn session(test: &str, name: &str) -> Option<Value> {
    let core = vectors(test, "bitcoin/bip373-core.json")?;
    list(&core["cases"]).iter().find(|case| text(&case["case"]) == name).cloned()
}

const DERIVED_LATER: &str = "tr(musig(xpub,xpub)/0/*): aggregated, then derived (BIP-328)";

fn change(psbt: &Psbt, change: impl FnOnce(&mut Pairs)) -> Psbt {
    let mut maps = pairs(&psbt.to_bytes());
    change(&mut maps);
    Psbt::from_bytes(&join(&maps)).expect("good")
}

/// What signers add by themselves is what Core's have added: the same bytes.
#[test]
fn psbt_v0_and_psbt_v2_take_nonces_and_partial_signatures_where_core_puts_them() {
    let Some(core) = vectors("psbt_steps", "bitcoin/bip373-core.json") else { return };
    let mut versions = [0; 2];
    for case in list(&core["cases"]) {
        let steps = list(&case["steps"]);
        let (mut mine, last) = (psbt(&steps[0]["psbt"]), psbt(&steps.last().expect("steps")["psbt"]));
        // Backwards, to see that the order in which they come does not matter.
        for index in 0..last.inputs() {
            for partial in last.partials(index).iter().rev() {
                mine.add_partial(index, partial).expect("new");
            }
            for nonce in last.nonces(index).iter().rev() {
                mine.add_nonce(index, nonce).expect("new");
                mine.add_nonce(index, nonce).expect("the same again changes nothing");
            }
        }
        if text(&case["case"]).contains("with a script tree") {
            // There a Core signed the leaf besides, by itself.
            continue;
        }
        assert_eq!(mine.to_base64(), last.to_base64(), "{}", case["case"]);
        versions[mine.version() as usize / 2] += 1;
    }
    assert!(versions.iter().all(|count| *count > 5), "{versions:?}");
}

#[test]
fn psbt_v2_answers_combine_into_psbt_v0_and_back() {
    let name = "tr(musig(xpub/*,xpub/*)): derived, then aggregated";
    let Some(core) = vectors("psbt_across", "bitcoin/bip373-core.json") else { return };
    let case = list(&core["cases"])
        .iter()
        .find(|case| text(&case["case"]) == name && case["psbt_version"] == 2)
        .expect("there");
    let steps = list(&case["steps"]);
    let (first, last) = (psbt(&steps[0]["psbt"]), psbt(&steps.last().expect("steps")["psbt"]));
    let mut older = Psbt::from_bytes(&first.to_version_0()).expect("version 0");
    older.combine(&last).expect("of one transaction");
    assert_eq!(older.version(), 0);
    assert_eq!(older.to_bytes(), last.to_version_0());
    let mut newer = first.clone();
    newer.combine(&older).expect("of one transaction");
    assert_eq!(newer, last);
    let Some(other) = session("psbt_across", DERIVED_LATER) else { return };
    let other = psbt(&list(&other["steps"])[0]["psbt"]);
    assert_eq!(newer.combine(&other), Err(PsbtError::OtherTransaction));
    assert_eq!(newer, last);
}

#[test]
fn psbt_v0_refuses_wrong_missing_and_conflicting_answers_by_name() {
    let Some(case) = session("psbt_wrong", DERIVED_LATER) else { return };
    let last = psbt(&list(&case["steps"]).last().expect("steps")["psbt"]);
    let spend = last.musig2_spends().expect("good").remove(0);
    let participants: Vec<SignerKey> = spend.key_set.keys();
    let partials = last.partials(0);
    let of = |participant: SignerKey| {
        partials.iter().find(|one| one.slot.participant == participant).expect("there")
    };

    // Another partial signature in its place.
    let wrong = change(&last, |maps| {
        let of_second = of(participants[1]).partial;
        maps[1].iter_mut().find(|(_, value)| *value == of_second).expect("there").1[31] ^= 1;
    });
    let refused = PsbtError::WrongPartial { input: 0, participant: participants[1] };
    assert_eq!(wrong.verify_partials(&spend), Err(refused.clone()));
    let mut finalized = wrong.clone();
    assert_eq!(finalized.finalize(), Err(refused));
    assert_eq!(finalized, wrong);
    let mut combined = last.clone();
    let error = combined.combine(&wrong).unwrap_err();
    let words = "the PSBTs have different values of PSBT_IN_MUSIG2_PARTIAL_SIG of input 0";
    assert_eq!(error.to_string(), words);
    assert_eq!(combined, last);
    let replaced = Musig2Partial { partial: [3; 32], ..*of(participants[0]) };
    assert!(matches!(combined.add_partial(0, &replaced), Err(PsbtError::Conflict { .. })));
    let no_number = Musig2Partial { partial: [0xff; 32], ..*of(participants[0]) };
    assert!(matches!(combined.add_partial(0, &no_number), Err(PsbtError::Malformed { .. })));
    let no_nonce = Musig2Nonce { slot: spend.slot(participants[0]), nonce: [0; 66] };
    assert!(matches!(combined.add_nonce(0, &no_nonce), Err(PsbtError::Malformed { .. })));
    assert!(matches!(combined.add_partial(7, of(participants[0])), Err(PsbtError::NoSuchMap { .. })));
    assert_eq!(combined, last);

    // Without one of them.
    let missing = change(&last, |maps| maps[1].retain(|(_, value)| *value != of(participants[1]).partial));
    assert_eq!(missing.verify_partials(&spend).expect("good"), [Some(of(participants[0]).partial), None]);
    let refused = PsbtError::MissingPartial { input: 0, participant: participants[1] };
    assert_eq!(missing.clone().finalize(), Err(refused));

    // A signature.
    let mut signed = last.clone();
    let signature = last.aggregate_signature(&spend).expect("all are there");
    let mut bad = signature;
    bad.0[63] ^= 1;
    assert_eq!(signed.add_signature(&spend, &bad), Err(PsbtError::WrongSignature { input: 0 }));
    assert_eq!(signed, last);
    signed.add_signature(&spend, &signature).expect("good");
    let without = change(&signed, |maps| maps[1].retain(|(key, _)| !matches!(key[0], 0x1b | 0x1c)));
    let mut finalized = without.clone();
    finalized.finalize().expect("the signature is enough");
    assert_eq!(finalized.extract().expect("complete").txid.to_string(), text(&case["txid"]));
    let broken = change(&without, |maps| {
        maps[1].iter_mut().find(|(key, _)| *key == [0x13]).expect("just added").1[0] ^= 1;
    });
    assert_eq!(broken.clone().finalize(), Err(PsbtError::WrongSignature { input: 0 }));
    // 65 bytes for DEFAULT leave another witness than the signers agreed on.
    let longer = change(&without, |maps| {
        maps[1].iter_mut().find(|(key, _)| *key == [0x13]).expect("just added").1.push(1);
    });
    assert_eq!(longer.clone().finalize(), Err(PsbtError::WrongSignature { input: 0 }));
}

#[test]
fn psbt_v0_plans_refuse_by_name_what_no_session_signs() {
    let Some(case) = session("psbt_refused", DERIVED_LATER) else { return };
    let first = psbt(&list(&case["steps"])[0]["psbt"]);
    first.spend_plan().expect("good");
    // Signature hash types.
    for value in [2u32, 3, 0x81, 0x82, 0x83, 4, 0x100, u32::MAX] {
        let other = change(&first, |maps| maps[1].push((vec![3], value.to_le_bytes().to_vec())));
        assert_eq!(other.spend_plan(), Err(PsbtError::SighashType { input: 0, value }));
        assert!(other.musig2_spends().is_err());
    }
    for (value, sighash_type) in [(0u32, SighashType::Default), (1, SighashType::All)] {
        let other = change(&first, |maps| maps[1].push((vec![3], value.to_le_bytes().to_vec())));
        assert_eq!(other.musig2_spends().expect("good")[0].sighash_type, sighash_type);
    }
    // Nothing is known of the coin.
    let unknown = change(&first, |maps| maps[1].retain(|(key, _)| *key != [1]));
    assert_eq!(unknown.spend_plan(), Err(PsbtError::NoSpentOutput { input: 0 }));
    // A merkle root that is not the output's, and a derivation that is missing.
    let rooted = change(&first, |maps| maps[1].push((vec![0x18], vec![7; 32])));
    assert_eq!(rooted.spend_plan(), Err(PsbtError::OutputKey { input: 0 }));
    let lost = change(&first, |maps| maps[1].retain(|(key, _)| key[0] != 0x16));
    assert_eq!(lost.spend_plan(), Err(PsbtError::Unrelated { input: 0 }));
    // Nobody's.
    let nobody = change(&first, |maps| maps[1].retain(|(key, _)| key[0] != 0x1a));
    assert_eq!(nobody.spend_plan(), Err(PsbtError::NothingToSign));
    // Complete already.
    let mut last = psbt(&list(&case["steps"]).last().expect("steps")["psbt"]);
    last.finalize().expect("good");
    assert_eq!(last.spend_plan(), Err(PsbtError::NothingToSign));
}

#[test]
fn psbt_v0_previous_transactions_must_be_those_that_are_spent() {
    let Some(case) = session("psbt_previous", DERIVED_LATER) else { return };
    let first = psbt(&list(&case["steps"])[0]["psbt"]);
    let spent = first.spent_output(0).expect("there");
    let mut previous = unsigned(&[], &[(1, vec![0x51])]);
    previous.input = first.unsigned_transaction().input.clone();
    previous.output.push(spent.clone());
    // A transaction of the test's own, which spends output 1 of that one.
    let mut spending = first.unsigned_transaction().clone();
    spending.input[0].previous_output = bitcoin::OutPoint { txid: previous.compute_txid(), vout: 1 };
    let maps = |previous: &Transaction, witness_utxo: Option<Vec<u8>>| {
        let mut maps = pairs(&first.to_bytes());
        maps[0][0].1 = serialize(&spending);
        maps[1].retain(|(key, _)| *key != [1]);
        maps[1].insert(0, (vec![0], serialize(previous)));
        maps[1].extend(witness_utxo.map(|value| (vec![1], value)));
        Psbt::from_bytes(&join(&maps)).map_err(|error| error.to_string())
    };
    let read = maps(&previous, None).expect("the very transaction");
    assert_eq!(read.spent_output(0).expect("there"), spent);
    assert_eq!(read.spend_plan().expect("good").inputs.len(), 1);
    maps(&previous, Some(serialize(&spent))).expect("both agree");
    let mut cheaper = spent.clone();
    cheaper.value -= bitcoin::Amount::ONE_SAT;
    let error = maps(&previous, Some(serialize(&cheaper))).unwrap_err();
    assert!(error.starts_with("PSBT_IN_WITNESS_UTXO of input 0: it is another output"), "{error}");
    previous.output[1] = cheaper;
    let error = maps(&previous, None).unwrap_err();
    assert!(error.starts_with("PSBT_IN_NON_WITNESS_UTXO of input 0: it is not the transaction"), "{error}");
    previous.output.truncate(1);
    spending.input[0].previous_output.txid = previous.compute_txid();
    let mut map = pairs(&first.to_bytes());
    map[0][0].1 = serialize(&spending);
    map[1].insert(0, (vec![0], serialize(&previous)));
    let error = Psbt::from_bytes(&join(&map)).unwrap_err().to_string();
    assert!(error.contains("it has no output of the number that the input spends"), "{error}");
}

/// A PSBT made from nothing but a key set: three inputs with a different derivation each, and one of somebody else.
#[test]
fn psbt_v0_made_of_a_key_set_is_planned_with_each_derivation() {
    let Some(core) = vectors("psbt_made", "bitcoin/bip373-core.json") else { return };
    let public = |name: &str| {
        SignerKey::from_bytes(&from_hex::<33>(text(&core["keys"][name]["public"])).expect("hex"))
            .expect("a key")
    };
    let participants = ["D", "A", "C"].map(|name| Participant { key: public(name), origin: None }).to_vec();
    let key_set = KeySet { participants, order: KeyOrder::AsGiven };
    let aggregate = AggregateKey::new(&key_set.keys()).expect("three keys");
    let derivations = [
        Derivation { path: vec![], taproot: Taproot::None },
        Derivation { path: vec![], taproot: Taproot::KeyPath },
        Derivation { path: vec![1, 7, 3], taproot: Taproot::None },
        Derivation { path: vec![9], taproot: Taproot::KeyPath },
    ];
    let keys: Vec<SignerKey> =
        derivations.iter().map(|derivation| key_set.final_key(derivation).expect("derivable")).collect();
    let spends: Vec<_> = (0..5)
        .map(|vout| libmusig::types::OutPoint { txid: libmusig::types::Txid([vout as u8; 32]), vout })
        .collect();
    let transaction = unsigned(&spends, &[(100, vec![0x51])]);
    let mut maps: Pairs = vec![Vec::new(); 7];
    maps[0].push((vec![0], serialize(&transaction)));
    for (index, (derivation, key)) in derivations.iter().zip(&keys).enumerate() {
        let output = bitcoin::TxOut {
            value: bitcoin::Amount::from_sat(1000),
            script_pubkey: taproot_script(key.x_only()).into(),
        };
        maps[1 + index].push((vec![1], serialize(&output)));
        let child = aggregate.derive(&derivation.path).expect("unhardened").key();
        if !derivation.path.is_empty() {
            let path = derivation.path.iter().flat_map(|number| number.to_le_bytes());
            let value = [0].into_iter().chain(fingerprint(&aggregate.key())).chain(path).collect();
            maps[1 + index].push(([&[0x16], child.x_only().as_slice()].concat(), value));
        }
        if derivation.taproot == Taproot::KeyPath {
            maps[1 + index].push((vec![0x17], child.x_only().to_vec()));
        }
    }
    let foreign = bitcoin::TxOut { value: bitcoin::Amount::from_sat(5), script_pubkey: vec![0x51].into() };
    maps[5].push((vec![1], serialize(&foreign)));
    let mut psbt = Psbt::from_bytes(&join(&maps)).expect("good");
    assert_eq!(psbt.spend_plan(), Err(PsbtError::NothingToSign));
    let listed = ParticipantKeys { aggregate: aggregate.key(), keys: key_set.keys() };
    for index in 0..4 {
        psbt.add_participants(index, &listed).expect("new");
    }
    psbt.add_output_participants(0, &listed).expect("new");
    assert_eq!(psbt.output_participants(0), std::slice::from_ref(&listed));
    let mut wrong = listed.clone();
    wrong.keys.swap(0, 1);
    assert!(matches!(psbt.add_participants(4, &wrong), Err(PsbtError::Malformed { .. })));

    let plan = psbt.spend_plan().expect("good");
    for (index, (derivation, key)) in derivations.iter().zip(&keys).enumerate() {
        let InputPlan::Musig2(spend) = &plan.inputs[index] else { panic!("input {index}") };
        assert_eq!((&spend.key_set, &spend.derivation, spend.key), (&key_set, derivation, *key));
    }
    assert_eq!(plan.inputs[4], InputPlan::Other { complete: false });
    // The foreign input's witness goes along once it is there.
    let witness = Witness::from_slice(&[[7u8; 3]]);
    let complete = change(&psbt, |maps| maps[5].push((vec![8], serialize(&witness))));
    let plan = complete.spend_plan().expect("good");
    assert_eq!(plan.inputs[4], InputPlan::Other { complete: true });
    let transaction: Transaction = deserialize(&plan.transaction).expect("a transaction");
    assert_eq!(transaction.input[4].witness, witness);
    assert!(transaction.input[..4].iter().all(|input| input.witness.is_empty()));

    // One key twice: aggregated it can be, signed for it cannot.
    let twice = KeySet { participants: vec![key_set.participants[0].clone(); 2], order: KeyOrder::AsGiven };
    let aggregate = AggregateKey::new(&twice.keys()).expect("two keys").key();
    let repeated = change(&psbt, |maps| {
        maps[1].retain(|(key, _)| key[0] != 0x1a);
        let script = taproot_script(aggregate.x_only()).into();
        maps[1][0].1 = serialize(&bitcoin::TxOut { value: bitcoin::Amount::ONE_SAT, script_pubkey: script });
    });
    let mut repeated = repeated;
    repeated.add_participants(0, &ParticipantKeys { aggregate, keys: twice.keys() }).expect("it aggregates");
    assert_eq!(repeated.spend_plan(), Err(PsbtError::RepeatedParticipant { input: 0 }));
}
