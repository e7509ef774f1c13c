//! Transactions and PSBTs as a wallet makes them: with the spent outputs, the participants and the derivations.

use std::collections::BTreeMap;

use bitcoin::absolute::LockTime;
use bitcoin::bip32::{DerivationPath, Fingerprint};
use bitcoin::hashes::Hash;
use bitcoin::secp256k1::XOnlyPublicKey;
use bitcoin::{Amount, ScriptBuf, Sequence, Transaction, TxIn, TxOut, transaction};
use libmusig::chain::keys::fingerprint;
use libmusig::chain::psbt::{ParticipantKeys, Psbt};
use libmusig::protocol::crypto::aggregate::AggregateKey;
use libmusig::protocol::crypto::key_set::{Derivation, KeyOrder, KeySet, Taproot, sort_keys};
use libmusig::types::{OutPoint, SignerKey};

/// A coin of a MuSig2 key.
#[derive(Clone)]
pub struct MusigCoin {
    pub at: OutPoint,
    pub value: u64,
    pub key_set: KeySet,
    pub derivation: Derivation,
}

impl MusigCoin {
    pub fn script(&self) -> Vec<u8> {
        let final_key = aggregate(&self.key_set).derive(&self.derivation.path).expect("unhardened");
        let final_key = match self.derivation.taproot {
            Taproot::None => final_key,
            Taproot::KeyPath => final_key.taproot(None).expect("a key"),
            Taproot::MerkleRoot(root) => final_key.taproot(Some(root)).expect("a key"),
        };
        [&[0x51, 0x20], final_key.key().x_only().as_slice()].concat()
    }
}

fn aggregated(key_set: &KeySet) -> Vec<SignerKey> {
    match key_set.order {
        KeyOrder::Sorted => sort_keys(&key_set.keys()),
        KeyOrder::AsGiven => key_set.keys(),
    }
}

fn aggregate(key_set: &KeySet) -> AggregateKey {
    AggregateKey::new(&aggregated(key_set)).expect("keys")
}

fn origin(fingerprint: [u8; 4], path: &[u32]) -> (Vec<bitcoin::TapLeafHash>, (Fingerprint, DerivationPath)) {
    let path: Vec<bitcoin::bip32::ChildNumber> = path.iter().map(|number| (*number).into()).collect();
    (Vec::new(), (Fingerprint::from(fingerprint), path.into()))
}

fn x_only(key: &SignerKey) -> XOnlyPublicKey {
    XOnlyPublicKey::from_slice(key.x_only()).expect("a point")
}

fn output((value, script): &(u64, Vec<u8>)) -> TxOut {
    TxOut { value: Amount::from_sat(*value), script_pubkey: ScriptBuf::from_bytes(script.clone()) }
}

/// A transaction without witnesses that spends coins into outputs: value and script.
pub fn unsigned(spends: &[OutPoint], outputs: &[(u64, Vec<u8>)]) -> Transaction {
    let input = |spend: &OutPoint| TxIn {
        previous_output: bitcoin::OutPoint {
            txid: bitcoin::Txid::from_byte_array(spend.txid.0),
            vout: spend.vout,
        },
        sequence: Sequence::ENABLE_RBF_NO_LOCKTIME,
        ..TxIn::default()
    };
    Transaction {
        version: transaction::Version::TWO,
        lock_time: LockTime::ZERO,
        input: spends.iter().map(input).collect(),
        output: outputs.iter().map(output).collect(),
    }
}

/// A PSBT of version 0 that spends coins into such outputs.
pub fn psbt(coins: &[MusigCoin], outputs: &[(u64, Vec<u8>)]) -> Psbt {
    let spends: Vec<OutPoint> = coins.iter().map(|coin| coin.at).collect();
    let unsigned = unsigned(&spends, outputs);
    let mut made = bitcoin::Psbt::from_unsigned_tx(unsigned).expect("without signatures");
    for (input, coin) in made.inputs.iter_mut().zip(coins) {
        input.witness_utxo = Some(output(&(coin.value, coin.script())));
        let aggregate = aggregate(&coin.key_set);
        let path = &coin.derivation.path;
        let internal = aggregate.derive(path).expect("unhardened").key();
        let mut origins = BTreeMap::new();
        if !path.is_empty() {
            origins.insert(x_only(&internal), origin(fingerprint(&aggregate.key()), path));
        }
        for participant in &coin.key_set.participants {
            if let Some(known) = &participant.origin {
                origins.insert(x_only(&participant.key), origin(known.fingerprint, &known.path));
            }
        }
        input.tap_key_origins = origins;
        if coin.derivation.taproot != Taproot::None {
            input.tap_internal_key = Some(x_only(&internal));
        }
    }
    let mut made = Psbt::from_bytes(&made.serialize()).expect("what the crate wrote");
    for (index, coin) in coins.iter().enumerate() {
        let keys = aggregated(&coin.key_set);
        let aggregate = aggregate(&coin.key_set).key();
        made.add_participants(index, &ParticipantKeys { aggregate, keys }).expect("they aggregate to it");
    }
    made
}
