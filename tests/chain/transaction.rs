//! Signature hashes, what every node checks, completion.

use std::fs;

use bitcoin::consensus::{deserialize, serialize};
use bitcoin::{Amount, ScriptBuf, Sequence, Transaction, TxOut, Witness};
use libmusig::chain::transaction::{BitcoinTransactions, SigningKey, TransactionCodec, finalize, messages};
use libmusig::error::ProposalError;
use libmusig::protocol::proposal::{
    Broadcast, Derivation, Message, Proposal, SighashType, SpentOutput, Terms, TransactionTerms,
};
use libmusig::types::{OutPoint, Signature, Txid, to_hex};
use serde_json::Value;

use crate::payment::{Payment, SIGNERS, anybody_script, sign, taproot_script, txid};
use test_support::backend::chain::{Chain, RejectReason, verify_scripts};
use test_support::party::{Party, vectors_folder};

fn check(party: &Party) -> Result<libmusig::chain::transaction::TransactionInfo, ProposalError> {
    BitcoinTransactions.check(&party.proposal, party.keys.as_ref())
}

fn bytes(value: &Value) -> Vec<u8> {
    bitcoin::hex::FromHex::from_hex(value.as_str().expect("a string")).expect("hexadecimal")
}

#[test]
fn bip_341_vectors() {
    let Some(folder) = vectors_folder("bip_341_vectors") else { return };
    let text = fs::read_to_string(folder.join("bip341.json")).expect("bip341.json is there");
    let vectors: Value = serde_json::from_str(&text).expect("JSON");
    let mut checked = 0;
    for case in vectors["keyPathSpending"].as_array().expect("a list") {
        let raw = bytes(&case["given"]["rawUnsignedTx"]);
        let spent = case["given"]["utxosSpent"].as_array().expect("a list").iter();
        let spent: Vec<_> = spent
            .map(|output| SpentOutput {
                value: output["amountSats"].as_u64().expect("a number"),
                script: bytes(&output["scriptPubKey"]),
            })
            .collect();
        for input in case["inputSpending"].as_array().expect("a list") {
            let sighash_type = match input["given"]["hashType"].as_u64().expect("a number") {
                0 => SighashType::Default,
                1 => SighashType::All,
                _ => continue, // leaves the transaction open
            };
            let position = input["given"]["txinIndex"].as_u64().expect("a number") as usize;
            let key = spent[position].script[2..].try_into().expect("a Taproot output");
            let digest = bytes(&input["intermediary"]["sigHash"]).try_into().expect("32 bytes");
            let derivation = Derivation::key_path([3]);
            let key = SigningKey { output_key: key, key_set: 2, derivation: derivation.clone() };
            let input = position as u32;
            let expected = Message { digest, key_set: 2, derivation, input, sighash_type };
            assert_eq!(messages(&raw, &spent, &[key], sighash_type), Ok(vec![expected]));
            checked += 1;
        }
    }
    assert_eq!(checked, 2, "one of each hash type");
}

#[test]
fn three_signers_spend_two_keys() {
    for (sighash_type, length) in [(SighashType::Default, 64), (SighashType::All, 65)] {
        let chain = Chain::new();
        let payment = Payment::new(&chain, sighash_type);
        let party = payment.party(|_| ());
        let inputs: Vec<_> = party.proposal.messages.iter().map(|message| message.input).collect();
        assert_eq!(inputs, [0, 2]);

        let info = check(&party).expect("a good proposal");
        assert_eq!(info.txid, txid(&payment.transaction));
        let spends = payment.transaction.input.iter().map(|input| input.previous_output);
        let spends: Vec<_> = spends.map(|spend| (spend.txid.to_string(), spend.vout)).collect();
        assert_eq!(
            info.spends.iter().map(|spend| (spend.txid.to_string(), spend.vout)).collect::<Vec<_>>(),
            spends
        );

        let finished = BitcoinTransactions.finalize(&party.proposal, &sign(&party)).expect("complete");
        assert_eq!(finished.txid, info.txid);
        let transaction: Transaction = deserialize(&finished.bytes).expect("a transaction");
        for input in [0, 2] {
            let witness = &transaction.input[input].witness;
            assert_eq!(witness.len(), 1);
            assert_eq!(witness[0].len(), length);
            assert_eq!(witness[0].get(64), (length == 65).then_some(&1));
        }
        assert_eq!(transaction.input[1].witness, payment.transaction.input[1].witness);
        assert_eq!(chain.submit(&finished.bytes), Ok(info.txid));
    }
}

#[test]
fn core_refuses_each_flipped_bit_of_a_signature() {
    let chain = Chain::new();
    let payment = Payment::new(&chain, SighashType::Default);
    let party = payment.party(|_| ());
    let finished = finalize(&party.proposal, &sign(&party)).expect("complete");
    let outputs: Vec<_> = payment.spent.iter().map(txout).collect();
    let outputs: Vec<_> = outputs.iter().collect();
    assert_eq!(verify_scripts(&outputs, &finished.bytes), Ok(()));
    let good: Transaction = deserialize(&finished.bytes).expect("a transaction");
    for input in [0, 2] {
        for bit in (0..512).step_by(37) {
            let mut signature = good.input[input].witness[0].to_vec();
            signature[bit / 8] ^= 1 << (bit % 8);
            let mut bad = good.clone();
            bad.input[input].witness = Witness::from_slice(&[signature]);
            assert_eq!(chain.submit(&serialize(&bad)), Err(RejectReason::Script { input }), "bit {bit}");
        }
    }
    // The signature covers what is spent, too.
    let mut cheaper = payment.spent.iter().map(txout).collect::<Vec<_>>();
    cheaper[0].value -= Amount::ONE_SAT;
    assert_eq!(verify_scripts(&cheaper.iter().collect::<Vec<_>>(), &finished.bytes), Err(0));
    assert_eq!(chain.submit(&finished.bytes), Ok(finished.txid));
}

fn txout(output: &SpentOutput) -> TxOut {
    TxOut {
        value: Amount::from_sat(output.value),
        script_pubkey: ScriptBuf::from_bytes(output.script.clone()),
    }
}

#[test]
fn raw_messages_are_no_transaction() {
    let party = Party::new(SIGNERS, |_| ());
    refused(check(&party), "the proposal has none");
    refused(finalize(&party.proposal, &[Signature([0; 64])]), "the proposal has none");
}

/// That it is refused as a transaction, for this reason.
#[track_caller]
fn refused<T: std::fmt::Debug>(result: Result<T, ProposalError>, why: &str) {
    match result {
        Err(ProposalError::Transaction(reason)) => {
            assert!(reason.contains(why), "{why:?} is not in {reason:?}")
        }
        other => panic!("expected {why:?}, got {other:?}"),
    }
}

/// Alters the transaction and what it spends, not the messages, and checks the proposal.
fn check_changed(
    change: impl FnOnce(&mut Transaction, &mut Vec<SpentOutput>),
) -> Result<libmusig::chain::transaction::TransactionInfo, ProposalError> {
    let payment = Payment::new(&Chain::new(), SighashType::Default);
    let (mut transaction, mut spent) = (payment.transaction.clone(), payment.spent.clone());
    change(&mut transaction, &mut spent);
    let transaction = Some(TransactionTerms { unsigned: serialize(&transaction), spent });
    check(&payment.party(|terms| terms.transaction = transaction))
}

#[test]
fn impossible_transactions_are_refused() {
    let most = Amount::MAX_MONEY.to_sat();
    check_changed(|_, _| ()).expect("is good as it is");
    refused(check_changed(|tx, _| tx.input.clear()), "no inputs or no outputs");
    refused(check_changed(|tx, _| tx.output.clear()), "no inputs or no outputs");
    refused(check_changed(|_, spent| drop(spent.pop())), "3 inputs, and 2 spent outputs");
    refused(check_changed(|_, spent| spent.push(spent[0].clone())), "3 inputs, and 4 spent outputs");
    refused(
        check_changed(|tx, _| tx.input[2].previous_output = tx.input[0].previous_output),
        "input 2 spends the same",
    );
    refused(
        check_changed(|tx, _| tx.input[1].previous_output = bitcoin::OutPoint::null()),
        "input 1 spends nothing",
    );
    refused(check_changed(|_, spent| spent[0].value = most), "spends more than 21 million");
    refused(check_changed(|_, spent| spent.iter_mut().for_each(|s| s.value = u64::MAX)), "spends more than");
    refused(check_changed(|tx, _| tx.output[0].value = Amount::MAX), "pays more than 21 million");
    refused(
        check_changed(|tx, _| tx.output[0].value = Amount::from_sat(101_001)),
        "spends 0.00120000 BTC only",
    );
    let huge = ScriptBuf::from_bytes(vec![0x6a; 1_000_000]);
    refused(check_changed(|tx, _| tx.output[1].script_pubkey = huge), "larger than a block");
}

#[test]
fn other_bytes_than_one_transaction_are_refused() {
    let payment = Payment::new(&Chain::new(), SighashType::Default);
    let good = payment.bytes();
    let check_bytes = |unsigned: Vec<u8>| {
        let spent = payment.spent.clone();
        check(&payment.party(|terms| terms.transaction = Some(TransactionTerms { unsigned, spent })))
    };
    check_bytes(good.clone()).expect("is good as it is");
    for length in 0..good.len() {
        refused(check_bytes(good[..length].to_vec()), "consensus encoding");
    }
    refused(check_bytes([good.as_slice(), &[0]].concat()), "consensus encoding");
    refused(check_bytes(good.repeat(2)), "consensus encoding");
    refused(check_bytes(to_hex(&good).into_bytes()), "consensus encoding");
    // The number of inputs in three bytes instead of one.
    let long = [&good[..6], &[0xfd, 3, 0], &good[7..]].concat();
    refused(check_bytes(long), "consensus encoding");
}

#[test]
fn messages_of_another_transaction_are_refused() {
    let not_the_hash = "is not the signature hash of input 0";
    refused(check_changed(|tx, _| tx.output[0].value -= Amount::ONE_SAT), not_the_hash);
    refused(check_changed(|tx, _| tx.input[2].sequence = Sequence::ZERO), not_the_hash);
    refused(check_changed(|_, spent| spent[1].value += 1), not_the_hash);
    refused(check_changed(|_, spent| spent[1].script.push(0)), not_the_hash);
    let wrong_key = "input 0 does not spend an output of the key of message 0";
    refused(check_changed(|_, spent| spent.swap(0, 2)), wrong_key);
    refused(check_changed(|_, spent| spent[0].script.push(0)), wrong_key);
    refused(check_changed(|_, spent| spent[0].script[0] = 0x52), wrong_key);
    let other_key = |terms: &mut Terms| terms.messages[0].derivation = Derivation::default();
    let payment = Payment::new(&Chain::new(), SighashType::Default);
    refused(check(&payment.party(other_key)), wrong_key);
    refused(check(&payment.party(|terms| terms.messages[0].digest[31] ^= 1)), not_the_hash);
    refused(check(&payment.party(|terms| terms.messages[0].sighash_type = SighashType::All)), not_the_hash);
    let beyond = check(&payment.party(|terms| terms.messages[1].input = 3));
    assert_eq!(beyond, Err(ProposalError::Index { what: "input", index: 3 }));
    let party = payment.party(|terms| terms.messages[1].input = u32::MAX);
    let beyond = finalize(&party.proposal, &[Signature([0; 64]); 2]);
    assert_eq!(beyond, Err(ProposalError::Index { what: "input", index: u32::MAX.into() }));
}

#[test]
fn messages_name_each_input_once_ascending() {
    let good = Payment::new(&Chain::new(), SighashType::Default).party(|_| ()).proposal;
    for (first, second) in [(2, 0), (0, 0), (2, 2)] {
        let mut terms = good.terms().clone();
        (terms.messages[0].input, terms.messages[1].input) = (first, second);
        assert!(matches!(Proposal::new(terms), Err(ProposalError::Encoding(_))), "{first}, {second}");
    }
}

#[test]
fn an_input_to_sign_must_not_be_signed() {
    let signed = "input 2, which the session signs, is signed already";
    refused(check_changed(|tx, _| tx.input[2].witness = Witness::from_slice(&[[0; 64]])), signed);
    refused(check_changed(|tx, _| tx.input[2].script_sig = ScriptBuf::from_bytes(vec![0])), signed);
    let mut payment = Payment::new(&Chain::new(), SighashType::Default);
    payment.transaction.input[2].witness = Witness::from_slice(&[[0; 64]]);
    refused(messages(&payment.bytes(), &payment.spent, &payment.keys, SighashType::Default), signed);
}

#[test]
fn messages_need_an_input_of_the_signers() {
    let payment = Payment::new(&Chain::new(), SighashType::Default);
    let all = |keys: &[_]| messages(&payment.bytes(), &payment.spent, keys, SighashType::Default);
    refused(all(&[]), "no input spends an output of the signers' keys");
    let unrelated = SigningKey { output_key: [7; 32], ..payment.keys[0].clone() };
    refused(all(&[unrelated]), "no input spends an output of the signers' keys");
    let one = all(&payment.keys[..1]).expect("one of two");
    let found: Vec<_> = one.iter().map(|message| (message.input, &message.derivation)).collect();
    assert_eq!(found, [(2, &Derivation::key_path([]))]);
    refused(messages(&[], &payment.spent, &payment.keys, SighashType::Default), "consensus encoding");
}

/// Input 1, which the session does not sign, as `change` makes it: the answer with failover and without.
fn with_other_input(
    change: impl Fn(&mut Transaction, &mut Vec<SpentOutput>),
) -> [Result<Txid, ProposalError>; 2] {
    let mut payment = Payment::new(&Chain::new(), SighashType::Default);
    change(&mut payment.transaction, &mut payment.spent);
    [true, false].map(|enabled| {
        let mode = if enabled { Broadcast::default() } else { Broadcast::CoordinatorOnly };
        let party = payment.party(|terms| terms.broadcast = mode);
        check(&party).map(|info| info.txid)
    })
}

#[test]
fn failover_needs_the_other_inputs_final_and_segwit() {
    let fixed = |reason: &str| Err(ProposalError::FailoverNeedsFixedTransaction(format!("input 1 {reason}")));
    let [with, without] = with_other_input(|_, _| ());
    assert!(with.is_ok() && with == without);

    let [with, without] = with_other_input(|tx, _| tx.input[1].witness.clear());
    assert_eq!(with, fixed("is not signed"));
    without.expect("may be signed later");

    // P2SH-wrapped segwit: final, but its script signature is part of the id.
    let [with, without] = with_other_input(|tx, spent| {
        spent[1].script = [&[0xa9, 0x14], [5; 20].as_slice(), &[0x87]].concat();
        tx.input[1].script_sig = ScriptBuf::from_bytes([&[0x22], anybody_script().as_slice()].concat());
    });
    assert_eq!(with, fixed("has a script signature, which anybody can alter and the id with it"));
    without.expect("the application takes care of it");

    let [with, without] = with_other_input(|_, spent| {
        spent[1].script = [&[0x76, 0xa9, 0x14], [5; 20].as_slice(), &[0x88, 0xac]].concat();
    });
    assert_eq!(with, fixed("does not spend a native segwit output"));
    without.expect("the application takes care of it");

    // An input of the same signers that the proposal leaves out is another input, too.
    let payment = Payment::new(&Chain::new(), SighashType::Default);
    let party = payment.party(|terms| terms.messages.truncate(1));
    assert_eq!(
        check(&party),
        Err(ProposalError::FailoverNeedsFixedTransaction("input 2 is not signed".into()))
    );
}

#[test]
fn only_a_complete_transaction_is_finished() {
    let mut payment = Payment::new(&Chain::new(), SighashType::Default);
    let party = payment.party(|_| ());
    for count in [0, 1, 3] {
        let expected = ProposalError::Limit { what: "signatures", actual: count, least: 2, most: 2 };
        let signatures = vec![Signature([0; 64]); count as usize];
        assert_eq!(finalize(&party.proposal, &signatures), Err(expected));
    }
    payment.transaction.input[1].witness.clear();
    let party = payment.party(|terms| terms.broadcast = Broadcast::CoordinatorOnly);
    check(&party).expect("without failover");
    refused(finalize(&party.proposal, &sign(&party)), "input 1 has no signature yet");
}

#[test]
fn each_of_256_inputs_gets_its_message() {
    let payment = Payment::new(&Chain::new(), SighashType::Default);
    let key = payment.keys[0].clone();
    let spends: Vec<_> = (0..256).map(|vout| OutPoint { txid: Txid([9; 32]), vout }).collect();
    let transaction = crate::payment::unsigned(&spends, &[(1_000, anybody_script())]);
    let spent = vec![SpentOutput { value: 1_000, script: taproot_script(&key.output_key) }; 256];
    let unsigned = serialize(&transaction);
    let all = messages(&unsigned, &spent, &[key], SighashType::All).expect("all are theirs");
    assert_eq!(all.len(), 256);
    assert!(all.iter().enumerate().all(|(index, message)| message.input as usize == index));
    let party = payment.party(|terms| {
        terms.messages = all;
        terms.transaction = Some(TransactionTerms { unsigned, spent });
    });
    assert_eq!(check(&party).expect("good").spends, spends);
}
