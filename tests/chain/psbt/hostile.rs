//! PSBTs made to hurt: an error that names the field, and no memory beyond a stated number.

use libmusig::chain::keys::fingerprint;
use libmusig::chain::psbt::{Psbt, PsbtError, limits};
use secp256k1::PublicKey;

use super::{Pairs, join, list, pairs, psbt, size, vectors};
use test_support::counting::cost;

/// What reading may hold beyond the input: its copy, the pairs, and one transaction at a time.
fn memory(bytes: &[u8]) -> isize {
    (8 * bytes.len() + (4 << 20)) as isize
}

/// Reads within the bound of memory.
fn read(bytes: &[u8]) -> Result<Psbt, PsbtError> {
    let (cost, result) = cost(|| Psbt::from_bytes(bytes));
    assert!(cost <= memory(bytes), "{cost} bytes held for {}", bytes.len());
    result
}

fn refusal(bytes: &[u8]) -> String {
    read(bytes).expect_err("it is hostile").to_string()
}

/// Core's, of each version: with all nonces and partial signatures.
fn samples(test: &str) -> Option<[Psbt; 2]> {
    let core = vectors(test, "bitcoin/bip373-core.json")?;
    let of_version = |version: u64| {
        let case = list(&core["cases"]).iter().find(|case| case["psbt_version"] == version).expect("a case");
        psbt(&list(&case["steps"]).last().expect("steps")["psbt"])
    };
    Some([of_version(0), of_version(2)])
}

fn changed(maps: &Pairs, change: impl FnOnce(&mut Pairs)) -> Vec<u8> {
    let mut maps = maps.clone();
    change(&mut maps);
    join(&maps)
}

#[test]
fn hostile_psbt_cut_anywhere_names_what_is_cut() {
    let Some(samples) = samples("hostile_psbt_cut") else { return };
    for sample in samples {
        let bytes = sample.to_bytes();
        for length in 0..bytes.len() {
            let error = read(&bytes[..length]).expect_err("it is cut");
            match error {
                PsbtError::NotPsbt => assert!(length < 5, "{length}"),
                PsbtError::Truncated { .. } => assert!(error.to_string().contains(" of "), "{error}"),
                error => panic!("{length}: {error}"),
            }
        }
        let longer = [bytes.clone(), vec![0]].concat();
        assert_eq!(read(&longer), Err(PsbtError::Trailing { bytes: 1 }));
    }
}

#[test]
fn hostile_psbt_lengths_that_lie() {
    for length in [3u64, 0xfd, 0x1_0000, 1 << 32, 1 << 40, u64::MAX] {
        let of_key = [b"psbt\xff".as_slice(), &size(length), &[0]].concat();
        assert!(refusal(&of_key).contains("within a key of the global map"), "{length}");
        let of_value = [b"psbt\xff".as_slice(), &[1, 0], &size(length), &[0]].concat();
        assert!(refusal(&of_value).contains("within PSBT_GLOBAL_UNSIGNED_TX of the global map"), "{length}");
    }
    // A length that is longer than needed would not be written back alike.
    for length in [[0xfd, 1, 0].as_slice(), &[0xfe, 1, 0, 0, 0], &[0xff, 1, 0, 0, 0, 0, 0, 0, 0]] {
        let bytes = [b"psbt\xff".as_slice(), length, &[0; 9]].concat();
        assert!(
            refusal(&bytes).contains("a key of the global map: its length is written longer"),
            "{length:?}"
        );
    }
    let bytes = [b"psbt\xff".as_slice(), &[3, 0xfd, 1, 0, 0], &[0; 9]].concat();
    assert!(refusal(&bytes).contains("its type is cut, or written longer than needed"));
}

#[test]
fn hostile_psbt_counts_of_2_to_the_40() {
    let Some([v0, v2]) = samples("hostile_psbt_counts") else { return };
    let (v0, v2) = (pairs(&v0.to_bytes()), pairs(&v2.to_bytes()));
    for count in [1u64 << 16, 1 << 24, 1 << 32, 1 << 40, u64::MAX] {
        // Of version 2.
        for (key_type, what) in [(4u8, "inputs"), (5, "outputs")] {
            let bytes = changed(&v2, |maps| {
                maps[0].iter_mut().find(|(key, _)| *key == [key_type]).expect("required").1 = size(count);
            });
            let error = refusal(&bytes);
            assert!(error.contains(what) || error.contains(" of output "), "{error}");
        }
        // Inputs and outputs within the transaction; elements of a witness; outputs of a previous transaction; leaves.
        let transaction = |count: u64| [&[2, 0, 0, 0], size(count).as_slice(), &[0; 60]].concat();
        let bytes = changed(&v0, |maps| maps[0][0].1 = transaction(count));
        assert!(refusal(&bytes).starts_with("PSBT_GLOBAL_UNSIGNED_TX of the global map"), "{count}");
        for (key, value, name) in [
            (vec![0x00], transaction(count), "PSBT_IN_NON_WITNESS_UTXO of input 0"),
            (vec![0x01], [vec![0; 8], size(count)].concat(), "PSBT_IN_WITNESS_UTXO of input 0"),
            (vec![0x08], size(count), "PSBT_IN_FINAL_SCRIPTWITNESS of input 0"),
            (
                [&[0x16], point(5)[1..].as_ref()].concat(),
                [size(count), vec![0; 64]].concat(),
                "PSBT_IN_TAP_BIP32_DERIVATION of input 0",
            ),
        ] {
            let bytes = changed(&v0, |maps| {
                maps[1].retain(|(known, _)| *known != key);
                maps[1].push((key, value));
            });
            let error = refusal(&bytes);
            assert!(error.starts_with(name), "{error}");
        }
    }
}

/// A point of the curve that depends on a number, compressed.
fn point(number: u32) -> Vec<u8> {
    let mut secret = [1; 32];
    secret[..4].copy_from_slice(&number.to_be_bytes());
    let secret = secp256k1::SecretKey::from_secret_bytes(secret).expect("below the order");
    PublicKey::from_secret_key(&secret).serialize().to_vec()
}

#[test]
fn hostile_psbt_keys_that_are_no_points_and_numbers_above_the_order() {
    let Some(samples) = samples("hostile_psbt_points") else { return };
    // x = 5 is on no point of secp256k1.
    let mut none = [0; 33];
    (none[0], none[32]) = (2, 5);
    for sample in samples {
        let maps = pairs(&sample.to_bytes());
        let find = |key_type: u8| maps[1].iter().position(|(key, _)| key[0] == key_type).expect("there");
        let key = |key_type: u8, from: usize| {
            changed(&maps, |maps| maps[1][find(key_type)].0[from..from + 33].copy_from_slice(&none))
        };
        let value = |key_type: u8, bytes: &[u8], from: usize| {
            changed(&maps, |maps| maps[1][find(key_type)].1[from..from + bytes.len()].copy_from_slice(bytes))
        };
        let x_only =
            |key_type: u8| changed(&maps, |maps| maps[1][find(key_type)].0[1..].copy_from_slice(&none[1..]));
        for (bytes, name, reason) in [
            (key(0x1a, 1), "PSBT_IN_MUSIG2_PARTICIPANT_PUBKEYS", "the aggregate key, is no"),
            (value(0x1a, &none, 0), "PSBT_IN_MUSIG2_PARTICIPANT_PUBKEYS", "a participant is no"),
            (value(0x1a, &none, 33), "PSBT_IN_MUSIG2_PARTICIPANT_PUBKEYS", "a participant is no"),
            (value(0x1a, &point(9), 0), "PSBT_IN_MUSIG2_PARTICIPANT_PUBKEYS", "do not aggregate to"),
            (key(0x1b, 1), "PSBT_IN_MUSIG2_PUB_NONCE", "begins with no compressed point"),
            (key(0x1b, 34), "PSBT_IN_MUSIG2_PUB_NONCE", "goes on with no compressed point"),
            (value(0x1b, &none, 0), "PSBT_IN_MUSIG2_PUB_NONCE", "no public nonce"),
            (value(0x1b, &none, 33), "PSBT_IN_MUSIG2_PUB_NONCE", "no public nonce"),
            (key(0x1c, 1), "PSBT_IN_MUSIG2_PARTIAL_SIG", "begins with no compressed point"),
            (key(0x1c, 34), "PSBT_IN_MUSIG2_PARTIAL_SIG", "goes on with no compressed point"),
            (value(0x1c, &[0xff; 32], 0), "PSBT_IN_MUSIG2_PARTIAL_SIG", "no partial signature"),
            (value(0x17, &none[1..], 0), "PSBT_IN_TAP_INTERNAL_KEY", "no x-only key"),
            (x_only(0x16), "PSBT_IN_TAP_BIP32_DERIVATION", "no x-only key"),
        ] {
            let error = refusal(&bytes);
            assert!(error.starts_with(&format!("{name} of input 0")) && error.contains(reason), "{error}");
        }
    }
}

#[test]
fn hostile_psbt_lengths_of_the_fields_of_bip_373() {
    let Some([sample, _]) = samples("hostile_psbt_shapes") else { return };
    let maps = pairs(&sample.to_bytes());
    for (key_type, name) in [
        (0x1a, "PSBT_IN_MUSIG2_PARTICIPANT_PUBKEYS of input 0"),
        (0x1b, "PSBT_IN_MUSIG2_PUB_NONCE of input 0"),
        (0x1c, "PSBT_IN_MUSIG2_PARTIAL_SIG of input 0"),
    ] {
        let index = maps[1].iter().position(|(key, _)| key[0] == key_type).expect("there");
        type Change = fn(&mut Vec<u8>);
        let changes: [Change; 3] =
            [|bytes| bytes.push(0), |bytes| bytes.truncate(bytes.len() - 1), |bytes| bytes.truncate(1)];
        for change in changes {
            for of_key in [true, false] {
                let bytes = changed(&maps, |maps| {
                    let (key, value) = &mut maps[1][index];
                    change(if of_key { key } else { value });
                });
                if bytes != join(&maps) {
                    assert!(refusal(&bytes).starts_with(name), "{name}");
                }
            }
        }
        let empty = changed(&maps, |maps| maps[1][index].1.clear());
        assert!(refusal(&empty).starts_with(name), "{name}");
    }
}

#[test]
fn hostile_psbt_duplicate_keys() {
    let Some(samples) = samples("hostile_psbt_duplicates") else { return };
    for sample in samples {
        let maps = pairs(&sample.to_bytes());
        for map in 0..maps.len() {
            for field in 0..maps[map].len() {
                let bytes = changed(&maps, |maps| {
                    let (key, _) = maps[map][field].clone();
                    maps[map].push((key, vec![1, 2, 3]));
                });
                assert!(refusal(&bytes).contains("stands there twice with the same key"), "{map} {field}");
            }
        }
    }
}

#[test]
fn hostile_psbt_of_4_mib_of_unknown_fields() {
    let Some(samples) = samples("hostile_psbt_unknown") else { return };
    for sample in samples {
        let maps = pairs(&sample.to_bytes());
        for (map, name) in [(0, "the global map"), (1, "input 0"), (3, "output 1")] {
            // One large field, many small ones, proprietary ones.
            let small = (0..4u32 << 20)
                .step_by(8)
                .map(|n| ([&[0x99], n.to_be_bytes().as_slice()].concat(), Vec::new()));
            let proprietary =
                (0..4096u16).map(|n| ([&[0xfc, 0], n.to_be_bytes().as_slice()].concat(), vec![0; 1024]));
            for fields in [vec![(vec![0x99], vec![0; 4 << 20])], small.collect(), proprietary.collect()] {
                let bytes = changed(&maps, |maps| maps[map].extend(fields));
                let error = refusal(&bytes);
                assert!(
                    error.contains(&format!("of {name}")) || error.contains("fields; the limit is"),
                    "{error}"
                );
            }
        }
    }
    let huge = vec![0; limits::BYTES + 1];
    let (actual, most) = (huge.len() as u64, limits::BYTES as u64);
    assert_eq!(read(&huge), Err(PsbtError::TooLarge { what: "bytes", actual, most }));
    let text = "A".repeat(limits::BYTES * 2);
    let (cost, result) = cost(|| Psbt::from_base64(&text));
    assert!(matches!(result, Err(PsbtError::TooLarge { what: "characters", .. })) && cost < 4096, "{cost}");
}

#[test]
fn hostile_psbt_of_work_without_end() {
    let Some([sample, _]) = samples("hostile_psbt_work") else { return };
    let maps = pairs(&sample.to_bytes());
    let key = |key_type: u8, number: u32| [&[key_type], point(number).as_slice()].concat();
    // More participants than a session has.
    let many: Vec<u8> = (0..200).flat_map(point).collect();
    let bytes = changed(&maps, |maps| maps[1].push((key(0x1a, 1), many)));
    assert!(refusal(&bytes).contains("200 participants of one aggregate key; the limit is"));
    // More aggregate keys than anybody has: one participant is its own aggregate in every way.
    let aggregate = |number: u32| {
        let keys = [libmusig::types::SignerKey::from_bytes(&point(number)).expect("a point")];
        libmusig::protocol::crypto::aggregate::AggregateKey::new(&keys).expect("one key").key()
    };
    let bytes = changed(&maps, |maps| {
        maps[1].extend((0..100).map(|n| ([&[0x1a], aggregate(n).as_bytes().as_slice()].concat(), point(n))));
    });
    assert!(refusal(&bytes).contains("aggregate keys of one input or output; the limit is 64"));
    // Children without end, each said to be one of the aggregate key: only those that could sign are derived.
    let spend = sample.musig2_spends().expect("good").remove(0);
    let mut value = vec![0];
    value.extend(fingerprint(&spend.aggregate));
    value.extend([0; 40]);
    let bytes = changed(&maps, |maps| {
        maps[1].extend((0..5000).map(|n| ([&[0x16], point(n)[1..].as_ref()].concat(), value.clone())));
    });
    assert_eq!(read(&bytes).expect("only large").musig2_spends().expect("good"), [spend]);
    // Leaves that all have those children: too many.
    let script: Vec<u8> = (0..5000).flat_map(|n| [&[0x20], &point(n)[1..]].concat()).chain([0xc0]).collect();
    let bytes = changed(&maps, |maps| {
        maps[1].extend((0..5000).map(|n| ([&[0x16], point(n)[1..].as_ref()].concat(), value.clone())));
        maps[1].push(([&[0x15, 0xc0], &point(1)[1..]].concat(), script));
    });
    let psbt = read(&bytes).expect("only large");
    let error = psbt.musig2_spends().unwrap_err();
    assert!(error.to_string().contains("keys to derive for them; the limit is 1024"), "{error}");
}
