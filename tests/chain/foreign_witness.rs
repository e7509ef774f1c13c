//! Witnesses of inputs that the session does not sign: with failover, what a Bitcoin node would not take is refused before
//! anybody signs. What consensus says of each is asked of Bitcoin Core's own code.

use bitcoin::hashes::{Hash, hash160};
use bitcoin::sighash::{EcdsaSighashType, Prevouts, SighashCache, TapSighashType};
use bitcoin::{Amount, ScriptBuf, TxOut, Witness};
use libmusig::chain::summary::{SummaryOptions, Warning, summarize};
use libmusig::chain::transaction::{BitcoinTransactions, TransactionCodec, finalize};
use libmusig::error::ProposalError;
use libmusig::protocol::limits;
use libmusig::protocol::proposal::{Broadcast, SighashType, SpentOutput, TransactionTerms};
use libmusig::types::{OutPoint, Txid};
use secp256k1::{Keypair, Message, SecretKey, ecdsa, schnorr};

use crate::payment::{ANYBODY, Payment, anybody_script, anybody_witness, sign, taproot_script, unsigned};
use test_support::backend::chain::{Chain, verify_scripts};

/// The input of somebody else.
const OTHER: usize = 1;

fn owner() -> Keypair {
    Keypair::from_secret_bytes([9; 32]).expect("below the order")
}

fn p2wpkh(key: &[u8]) -> Vec<u8> {
    [&[0x00, 0x14], hash160::Hash::hash(key).as_byte_array().as_slice()].concat()
}

/// The payment whose second input spends this script, without its witness.
fn spending(script: Vec<u8>) -> Payment {
    let mut payment = Payment::new(&Chain::new(), SighashType::Default);
    payment.spent[OTHER].script = script;
    payment.transaction.input[OTHER].witness.clear();
    payment
}

fn outputs(payment: &Payment) -> Vec<TxOut> {
    let output = |spent: &SpentOutput| TxOut {
        value: Amount::from_sat(spent.value),
        script_pubkey: ScriptBuf::from_bytes(spent.script.clone()),
    };
    payment.spent.iter().map(output).collect()
}

/// What the library says with failover, and whether consensus takes the finished transaction.
#[track_caller]
fn judge(mut payment: Payment, witness: &[&[u8]]) -> (Result<(), String>, bool) {
    payment.transaction.input[OTHER].witness = Witness::from_slice(witness);
    let party = payment.party(|_| ());
    let verdict = match BitcoinTransactions.check(&party.proposal, party.keys.as_ref()) {
        Ok(_) => Ok(()),
        Err(ProposalError::FailoverNeedsFixedTransaction(reason)) => Err(reason),
        Err(error) => panic!("{error}"),
    };
    // Without failover nothing is promised, and nothing is looked at.
    let without = payment.party(|terms| terms.broadcast = Broadcast::CoordinatorOnly);
    BitcoinTransactions.check(&without.proposal, without.keys.as_ref()).expect("is taken without failover");
    let finished = finalize(&without.proposal, &sign(&without)).expect("complete");
    let outputs = outputs(&payment);
    let valid = verify_scripts(&outputs.iter().collect::<Vec<_>>(), &finished.bytes).is_ok();
    (verdict, valid)
}

#[track_caller]
fn refused(payment: Payment, witness: &[&[u8]], reason: &str, consensus: bool) {
    let (verdict, valid) = judge(payment, witness);
    assert_eq!(verdict, Err(format!("input 1 {reason}")));
    assert_eq!(valid, consensus, "by consensus");
}

#[track_caller]
fn taken(payment: Payment, witness: &[&[u8]]) {
    assert_eq!(judge(payment, witness), (Ok(()), true));
}

/// A signature with its hash type, as a P2WPKH witness has it.
fn ecdsa_signature(payment: &Payment, script: &[u8], hash_type: EcdsaSighashType) -> Vec<u8> {
    let mut cache = SighashCache::new(&payment.transaction);
    let script = ScriptBuf::from_bytes(script.to_vec());
    let value = Amount::from_sat(payment.spent[OTHER].value);
    let hash = cache.p2wpkh_signature_hash(OTHER, &script, value, hash_type).expect("is there");
    let signature = ecdsa::sign(Message::from_digest(hash.to_byte_array()), &owner().secret_key());
    [&signature.serialize_der()[..], &[hash_type as u8]].concat()
}

fn schnorr_signature(payment: &Payment, hash_type: TapSighashType) -> Vec<u8> {
    let mut cache = SighashCache::new(&payment.transaction);
    let outputs = outputs(payment);
    let hash = cache.taproot_key_spend_signature_hash(OTHER, &Prevouts::All(&outputs), hash_type);
    let hash = hash.expect("is there").to_byte_array();
    let mut signature = schnorr::sign_no_aux_rand(&hash, &owner()).to_byte_array().to_vec();
    if hash_type != TapSighashType::Default {
        signature.push(hash_type as u8);
    }
    signature
}

/// In DER, with S and its complement to the order: what any observer can turn a signature into.
fn with_high_s(signature: &[u8]) -> Vec<u8> {
    let (hash_type, der) = signature.split_last().expect("not empty");
    let mut compact = ecdsa::Signature::from_der(der).expect("DER").serialize_compact();
    let s = SecretKey::from_secret_bytes(compact[32..].try_into().expect("32 bytes")).expect("in range");
    compact[32..].copy_from_slice(&s.negate().to_secret_bytes());
    let high = ecdsa::Signature::from_compact(&compact).expect("in range");
    [&high.serialize_der()[..], &[*hash_type]].concat()
}

#[test]
fn foreign_witness_of_p2wpkh_is_verified() {
    use EcdsaSighashType::*;
    let key = owner().public_key().serialize();
    let script = p2wpkh(&key);
    for hash_type in [All, None, Single, AllPlusAnyoneCanPay, NonePlusAnyoneCanPay, SinglePlusAnyoneCanPay] {
        let payment = spending(script.clone());
        let signature = ecdsa_signature(&payment, &script, hash_type);
        taken(payment, &[&signature, &key]);
    }
    let payment = || spending(script.clone());
    let good = ecdsa_signature(&payment(), &script, All);

    // What the attack put there.
    refused(payment(), &[&[0]], "has not the two elements of a P2WPKH witness", false);
    refused(payment(), &[&[0], &key], "has a signature with an undefined hash type", false);
    refused(payment(), &[&[], &key], "has an empty signature", false);
    refused(payment(), &[&good, &key, &[]], "has not the two elements of a P2WPKH witness", false);
    let another = Keypair::from_secret_bytes([8; 32]).expect("in range").public_key().serialize();
    refused(payment(), &[&good, &another], "has another public key than its output asks for", false);
    // Another input's signature, another amount's, and every bit that is flipped.
    let mut elsewhere = payment();
    elsewhere.spent[OTHER].value += 1;
    let other_amount = ecdsa_signature(&elsewhere, &script, All);
    refused(payment(), &[&other_amount, &key], "has a signature that does not verify", false);
    for bit in (0..good.len() * 8).step_by(13) {
        let mut bad = good.clone();
        bad[bit / 8] ^= 1 << (bit % 8);
        let (verdict, valid) = judge(payment(), &[&bad, &key]);
        assert!(verdict.is_err() && !valid, "bit {bit}");
    }
    // Consensus takes these, nodes do not relay them.
    let high = with_high_s(&good);
    refused(payment(), &[&high, &key], "has a signature that is not strict DER with a low S", true);
    let full = owner().public_key().serialize_uncompressed();
    let wide = p2wpkh(&full);
    let signature = ecdsa_signature(&spending(wide.clone()), &wide, All);
    let uncompressed = "has a public key that is not a compressed point";
    refused(spending(wide), &[&signature, &full], uncompressed, true);
    let no_point = [[2; 1].as_slice(), &[0xff; 32]].concat();
    refused(spending(p2wpkh(&no_point)), &[&good, &no_point], uncompressed, false);
}

#[test]
fn foreign_witness_of_a_key_path_is_verified() {
    use TapSighashType::*;
    let key = owner().x_only_public_key().0.to_byte_array();
    let payment = || spending(taproot_script(&key));
    for hash_type in
        [Default, All, None, Single, AllPlusAnyoneCanPay, NonePlusAnyoneCanPay, SinglePlusAnyoneCanPay]
    {
        let signature = schnorr_signature(&payment(), hash_type);
        taken(payment(), &[&signature]);
    }
    let good = schnorr_signature(&payment(), All);
    let length = "has a signature of another length than 64 or 65 bytes";
    refused(payment(), &[&[0]], length, false);
    refused(payment(), &[&[]], length, false);
    refused(payment(), &[&good[..63]], length, false);
    refused(payment(), &[&[good.as_slice(), &[1]].concat()], length, false);
    let undefined = "has a signature with an undefined hash type";
    for hash_type in [0, 4, 0x80, 0x84] {
        refused(payment(), &[&[&good[..64], &[hash_type]].concat()], undefined, false);
    }
    refused(payment(), &[&good[..64]], "has a signature that does not verify", false);
    for bit in (0..512).step_by(23) {
        let mut bad = good.clone();
        bad[bit / 8] ^= 1 << (bit % 8);
        refused(payment(), &[&bad], "has a signature that does not verify", false);
    }
    // SIGHASH_SINGLE without an output at its place.
    let mut few = payment();
    let all = few.transaction.output.iter().map(|output| output.value).sum();
    few.transaction.output.truncate(1);
    few.transaction.output[0].value = all;
    let single = [&good[..64], &[3]].concat();
    refused(few, &[&single], "has no signature hash of its hash type", false);
    // With an annex, which the signature commits to, consensus takes it, and nodes do not relay it.
    refused(payment(), &[&good, &[0x50]], "has an annex, with which nodes do not relay it", false);
    refused(
        payment(),
        &[&good, &[0x51], &key, &[0x50]],
        "has an annex, with which nodes do not relay it",
        false,
    );
    refused(
        spending(taproot_script(&[0xff; 32])),
        &[&good],
        "spends an output whose key is not a point",
        false,
    );
}

/// What is not verified is said to be so, by everything that shows a transaction.
#[test]
fn foreign_witness_of_another_kind_is_unverified() {
    let key = owner().x_only_public_key().0.to_byte_array();
    let script_path: [&[u8]; 2] = [&[0x51], &[&[0xc0], key.as_slice()].concat()];
    let unverified = |script: Vec<u8>, witness: Witness| {
        let mut payment = spending(script);
        payment.transaction.input[OTHER].witness = witness;
        let party = payment.party(|_| ());
        BitcoinTransactions.check(&party.proposal, party.keys.as_ref()).expect("nobody can tell");
        assert_eq!(BitcoinTransactions.unverified(&party.proposal), [1]);
        let summary = summarize(&party.proposal, &SummaryOptions::default()).expect("makes sense");
        assert!(summary.warnings.contains(&Warning::UnverifiedInput { input: 1 }));
    };
    unverified(anybody_script(), anybody_witness(&ANYBODY));
    unverified(anybody_script(), Witness::from_slice(&[[0]]));
    unverified(taproot_script(&key), Witness::from_slice(&script_path));
    unverified([&[0x52, 0x20], key.as_slice()].concat(), Witness::from_slice(&[[0]]));
    let payment = spending(taproot_script(&key));
    let signature = schnorr_signature(&payment, TapSighashType::Default);
    let mut payment = payment;
    payment.transaction.input[OTHER].witness = Witness::from_slice(&[signature]);
    assert_eq!(BitcoinTransactions.unverified(&payment.party(|_| ()).proposal), [0; 0]);
}

#[test]
fn foreign_witness_limit_bounds_what_a_proposal_makes_others_verify() {
    let with = |others: usize| {
        let payment = Payment::new(&Chain::new(), SighashType::Default);
        let mut spends = vec![OutPoint { txid: Txid([8; 32]), vout: 0 }];
        spends.extend((0..others as u32).map(|vout| OutPoint { txid: Txid([9; 32]), vout }));
        let mut transaction = unsigned(&spends, &[(1_000, anybody_script())]);
        let mut spent =
            vec![SpentOutput { value: 1_000, script: taproot_script(&payment.keys[0].output_key) }];
        spent.resize(1 + others, SpentOutput { value: 1_000, script: anybody_script() });
        transaction.input[1..].iter_mut().for_each(|input| input.witness = anybody_witness(&[1]));
        let unsigned = bitcoin::consensus::serialize(&transaction);
        let messages =
            libmusig::chain::transaction::messages(&unsigned, &spent, &payment.keys, SighashType::Default);
        let party = payment.party(|terms| {
            terms.messages = messages.expect("one is theirs");
            terms.transaction = Some(TransactionTerms { unsigned, spent });
        });
        BitcoinTransactions.check(&party.proposal, party.keys.as_ref()).map(|_| ())
    };
    assert_eq!(with(limits::OTHER_INPUTS), Ok(()));
    assert!(matches!(
        with(limits::OTHER_INPUTS + 1),
        Err(ProposalError::Limit { actual: 257, most: 256, .. })
    ));
}
