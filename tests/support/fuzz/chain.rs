//! Targets of what comes from other wallets, and seeds for them.

use libmusig::chain::descriptor::Descriptor;
use libmusig::chain::keys::fingerprint;
use libmusig::chain::psbt::Psbt;
use libmusig::protocol::crypto::aggregate::AggregateKey;
use libmusig::protocol::crypto::key_set::synthetic_xpub;
use libmusig::protocol::crypto::key_set::{Derivation, KeySet, Participant, Taproot};
use libmusig::protocol::proposal::KeyOrder;
use libmusig::types::SignerKey;

use crate::cluster::key;

pub fn psbt(bytes: &[u8]) {
    let Ok(psbt) = Psbt::from_bytes(bytes) else { return };
    assert_eq!(psbt.to_bytes(), bytes, "it is written back as it came");
    assert_eq!(Psbt::from_base64(&psbt.to_base64()).as_ref(), Ok(&psbt));
    let older = Psbt::from_bytes(&psbt.to_version_0()).expect("version 0 can be made of it");
    assert_eq!(older.unsigned_transaction(), psbt.unsigned_transaction());
    let _ = psbt.to_bitcoin();
    let mut combined = psbt.clone();
    combined.combine(&psbt).expect("with itself");
    assert_eq!(combined, psbt, "nothing new");
    combined.combine(&older).expect("of the same transaction");
    assert_eq!(combined, psbt, "nothing new");
    if let Ok(spends) = psbt.musig2_spends() {
        for spend in spends {
            let keys = &spend.key_set;
            assert_eq!(keys.final_key(&spend.derivation), Ok(spend.key), "what signs is what is said");
            let _ = psbt.aggregate_signature(&spend);
        }
    }
    let _ = psbt.spend_plan();
    let mut finalized = psbt.clone();
    match finalized.finalize() {
        Ok(()) => {
            let again = Psbt::from_bytes(&finalized.to_bytes()).expect("what is written can be read");
            assert_eq!(again.extract(), finalized.extract());
        }
        Err(_) => assert_eq!(finalized, psbt, "an error changes nothing"),
    }
}

pub fn descriptor(bytes: &[u8]) {
    let Ok(text) = std::str::from_utf8(bytes) else { return };
    let Ok(descriptor) = text.parse::<Descriptor>() else { return };
    let printed = descriptor.to_string();
    assert!(!printed.contains("prv"), "it shows public keys alone");
    assert_eq!(printed.parse().as_ref(), Ok(&descriptor), "what is written can be read");
    let branches = descriptor.branches();
    for (branch, index) in [(0, 0), (branches - 1, 1), (branches, 0), (0, 1 << 31)] {
        let script = descriptor.output_script(branch, index);
        if let Ok(keys) = descriptor.keys(branch, index) {
            assert_eq!(keys.key_set.final_key(&keys.derivation), Ok(keys.key));
            assert_eq!(script.expect("what signs has an output")[2..], *keys.key.x_only());
        }
    }
}

/// Descriptors with each kind of key and derivation: (name, text).
pub fn descriptor_seeds() -> Vec<(String, Vec<u8>)> {
    let (one, other) = (key(0), key(1));
    // The synthetic extended keys of single keys, which anybody can make.
    let (first, second) = (synthetic_xpub(&one), synthetic_xpub(&other));
    [
        ("keys", format!("tr(musig({one},{other}))")),
        ("raw", format!("rawtr(musig({one},[01020304/86h/0h/5]{other}))")),
        ("derived-later", format!("tr(musig({first},[01020304/87'/0'/0']{second})/<0;1>/*)")),
        ("derived-first", format!("rawtr(musig({first}/<0;1>/7/*,{second}/<2;3>/*))")),
        ("both", format!("tr(musig({first}/1,{second}/<4;5>)/2/3/*)")),
        ("with-scripts", format!("tr(musig({first},{second})/0/*,pk({one}))")),
    ]
    .into_iter()
    .map(|(name, text)| {
        let checked = text.parse::<Descriptor>().map_or(text, |descriptor| descriptor.to_string());
        (name.to_owned(), checked.into_bytes())
    })
    .collect()
}

fn compact(bytes: &mut Vec<u8>, part: &[u8]) {
    bytes.push(u8::try_from(part.len()).expect("short"));
    bytes.extend_from_slice(part);
}

fn map(fields: &[(Vec<u8>, Vec<u8>)]) -> Vec<u8> {
    let mut bytes = Vec::new();
    for (key, value) in fields {
        compact(&mut bytes, key);
        compact(&mut bytes, value);
    }
    bytes.push(0);
    bytes
}

/// Inputs of PSBTs of each version and kind of derivation: (name, bytes).
pub fn psbt_seeds() -> Vec<(String, Vec<u8>)> {
    let participants: Vec<_> = (0..2).map(|index| Participant { key: key(index), origin: None }).collect();
    let key_set = KeySet { participants, order: KeyOrder::AsGiven };
    let mut seeds = Vec::new();
    for (name, path, taproot) in [
        ("output-key", vec![], Taproot::None),
        ("internal-key", vec![], Taproot::KeyPath),
        ("child", vec![1, 7], Taproot::KeyPath),
        ("script-tree", vec![3], Taproot::MerkleRoot([5; 32])),
    ] {
        let derivation = Derivation { path, taproot };
        for version in [0, 2] {
            let bytes = seed(&key_set, &derivation, version);
            assert!(
                Psbt::from_bytes(&bytes)
                    .is_ok_and(|psbt| psbt.musig2_spends().is_ok_and(|all| all.len() == 1))
            );
            seeds.push((format!("{name}-version-{version}"), bytes));
        }
    }
    seeds
}

fn seed(key_set: &KeySet, derivation: &Derivation, version: u32) -> Vec<u8> {
    let aggregate = AggregateKey::new(&key_set.keys()).expect("two keys");
    let internal = aggregate.derive(&derivation.path).expect("unhardened").key();
    let last = key_set.final_key(derivation).expect("derivable");
    let script = |key: &SignerKey| [&[0x51, 0x20], key.x_only().as_slice()].concat();
    let amount = 1000u64.to_le_bytes().to_vec();
    let output = |script: Vec<u8>| [amount.as_slice(), &[script.len() as u8], &script].concat();
    let mut global = Vec::new();
    let mut input = vec![(vec![1], output(script(&last)))];
    if !derivation.path.is_empty() {
        let fingerprint = fingerprint(&aggregate.key());
        let path = derivation.path.iter().flat_map(|number| number.to_le_bytes());
        let origin = [0].into_iter().chain(fingerprint).chain(path).collect();
        input.push(([&[0x16], internal.x_only().as_slice()].concat(), origin));
    }
    if derivation.taproot != Taproot::None {
        input.push((vec![0x17], internal.x_only().to_vec()));
    }
    if let Taproot::MerkleRoot(root) = derivation.taproot {
        input.push((vec![0x18], root.to_vec()));
    }
    let keys = key_set.keys();
    let listed = keys.iter().flat_map(|key| *key.as_bytes()).collect();
    input.push(([&[0x1a], aggregate.key().as_bytes().as_slice()].concat(), listed));
    for participant in &keys {
        let slot = [participant.as_bytes().as_slice(), last.as_bytes()].concat();
        // Any two points are a nonce, and any number is a partial signature.
        let nonce = [key(2).as_bytes().as_slice(), key(3).as_bytes()].concat();
        input.push(([&[0x1b], slot.as_slice()].concat(), nonce));
        input.push(([&[0x1c], slot.as_slice()].concat(), vec![7; 32]));
    }
    input.sort();
    let mut paid = Vec::new();
    match version {
        0 => {
            let spends = [[9; 32].as_slice(), &[0; 4], &[0], &[0xfd, 0xff, 0xff, 0xff]].concat();
            let transaction =
                [&[2, 0, 0, 0, 1], spends.as_slice(), &[1], &output(vec![0x51]), &[0; 4]].concat();
            global.push((vec![0], transaction));
        }
        _ => {
            global.extend([(vec![2], vec![2, 0, 0, 0]), (vec![4], vec![1]), (vec![5], vec![1])]);
            global.push((vec![0xfb], vec![2, 0, 0, 0]));
            input.extend([(vec![0x0e], vec![9; 32]), (vec![0x0f], vec![0; 4])]);
            paid.extend([(vec![3], amount.clone()), (vec![4], vec![0x51])]);
        }
    }
    [b"psbt\xff".to_vec(), map(&global), map(&input), map(&paid)].concat()
}
