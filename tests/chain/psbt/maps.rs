//! Reading and writing: what BIP-174 and BIP-370 require, exclude and leave open.

use bitcoin::absolute::LockTime;
use bitcoin::consensus::serialize;
use libmusig::chain::psbt::{Psbt, PsbtError};
use libmusig::types::to_hex;

use super::{Pairs, join, list, pairs, psbt, vectors};

/// A version 0 and a version 2 of Core's.
fn samples(test: &str) -> Option<[Psbt; 2]> {
    let core = vectors(test, "bitcoin/bip373-core.json")?;
    let of_version = |version: u64| {
        let case = list(&core["cases"]).iter().find(|case| case["psbt_version"] == version).expect("a case");
        psbt(&list(&case["steps"])[3]["psbt"])
    };
    Some([of_version(0), of_version(2)])
}

fn read(maps: &Pairs) -> Result<Psbt, String> {
    Psbt::from_bytes(&join(maps)).map_err(|error| error.to_string())
}

#[test]
fn psbt_v0_and_psbt_v2_exclude_and_require_each_others_fields() {
    let Some([v0, v2]) = samples("psbt_versions") else { return };
    let (v0, v2) = (pairs(&v0.to_bytes()), pairs(&v2.to_bytes()));
    assert_eq!(read(&v0).expect("good").version(), 0);
    assert_eq!(read(&v2).expect("good").version(), 2);
    for (map, key_type, name) in [
        (0, 2, "PSBT_GLOBAL_TX_VERSION of the global map"),
        (0, 4, "PSBT_GLOBAL_INPUT_COUNT of the global map"),
        (0, 5, "PSBT_GLOBAL_OUTPUT_COUNT of the global map"),
        (1, 0x0e, "PSBT_IN_PREVIOUS_TXID of input 0"),
        (1, 0x0f, "PSBT_IN_OUTPUT_INDEX of input 0"),
        (3, 3, "PSBT_OUT_AMOUNT of output 1"),
        (3, 4, "PSBT_OUT_SCRIPT of output 1"),
    ] {
        let mut without = v2.clone();
        let position = without[map].iter().position(|(key, _)| *key == [key_type]).expect(name);
        let field = without[map].remove(position);
        assert_eq!(read(&without).unwrap_err(), format!("{name} is missing; PSBT version 2 requires it"));
        let mut with = v0.clone();
        with[map].push(field);
        assert_eq!(read(&with).unwrap_err(), format!("{name} does not belong into PSBT version 0"));
    }
    let unsigned = v0[0][0].clone();
    assert_eq!(unsigned.0, [0]);
    let mut with = v2.clone();
    with[0].push(unsigned);
    let words = "PSBT_GLOBAL_UNSIGNED_TX of the global map does not belong into PSBT version 2";
    assert_eq!(read(&with).unwrap_err(), words);
    let mut without = v0.clone();
    without[0].remove(0);
    let words = "PSBT_GLOBAL_UNSIGNED_TX of the global map is missing; PSBT version 0 requires it";
    assert_eq!(read(&without).unwrap_err(), words);
    for version in [1u32, 3] {
        let mut other = v0.clone();
        other[0].push((vec![0xfb], version.to_le_bytes().to_vec()));
        let words =
            format!("PSBT version {version} is unknown; versions 0 (BIP-174) and 2 (BIP-370) are read");
        assert_eq!(read(&other).unwrap_err(), words);
    }
    // Version 0 may say so.
    let mut said = v0.clone();
    said[0].push((vec![0xfb], vec![0; 4]));
    assert_eq!(read(&said).expect("good").to_bytes(), join(&said));
}

#[test]
fn psbt_v2_has_the_lock_time_that_its_inputs_require() {
    let Some([_, v2]) = samples("psbt_lock_times") else { return };
    let one = pairs(&v2.to_bytes());
    let with = |fallback: u32, required: &[[Option<u32>; 2]]| {
        let mut maps = one.clone();
        maps[0].retain(|(key, _)| !matches!(key[0], 3 | 4));
        maps[0].push((vec![3], fallback.to_le_bytes().to_vec()));
        maps[0].push((vec![4], vec![required.len() as u8]));
        let input = maps.remove(1);
        for (index, locks) in required.iter().enumerate() {
            let mut input = input.clone();
            // Each spends another output.
            input.iter_mut().find(|(key, _)| *key == [0x0f]).expect("required").1 =
                vec![index as u8, 0, 0, 0];
            for (key_type, lock) in [0x11, 0x12].into_iter().zip(locks) {
                input.extend(lock.map(|lock| (vec![key_type], lock.to_le_bytes().to_vec())));
            }
            maps.insert(1, input);
        }
        read(&maps).map(|psbt| psbt.unsigned_transaction().lock_time.to_consensus_u32())
    };
    const TIME: u32 = 1_800_000_000;
    // Of each: the time and the height that it requires (BIP-370, test vectors).
    assert_eq!(with(17, &[[None, None]]), Ok(17));
    assert_eq!(with(0, &[[None, Some(10_000)]]), Ok(10_000));
    assert_eq!(with(5, &[[None, Some(10_000)], [None, Some(9_000)]]), Ok(10_000));
    assert_eq!(with(5, &[[None, Some(10_000)], [Some(TIME), Some(9_000)]]), Ok(10_000));
    assert_eq!(with(5, &[[Some(TIME), Some(10_000)], [Some(TIME + 1), Some(9_000)]]), Ok(10_000));
    assert_eq!(with(5, &[[Some(TIME), None], [Some(TIME + 1), Some(9_000)]]), Ok(TIME + 1));
    assert_eq!(with(5, &[[Some(TIME), None], [None, None]]), Ok(TIME));
    let words = PsbtError::LockTimeConflict.to_string();
    assert_eq!(with(5, &[[Some(TIME), None], [None, Some(9_000)]]), Err(words));
    for (locks, name) in [
        ([Some(499_999_999), None], "PSBT_IN_REQUIRED_TIME_LOCKTIME of input 0: it is a height"),
        ([None, Some(500_000_000)], "PSBT_IN_REQUIRED_HEIGHT_LOCKTIME of input 0: it is no height"),
        ([None, Some(0)], "PSBT_IN_REQUIRED_HEIGHT_LOCKTIME of input 0: it is no height"),
    ] {
        let error = with(5, &[locks]).unwrap_err();
        assert!(error.starts_with(name), "{error}");
    }
}

#[test]
fn psbt_v2_defaults_to_a_final_sequence() {
    let Some([_, v2]) = samples("psbt_sequence") else { return };
    let mut maps = pairs(&v2.to_bytes());
    maps[1].retain(|(key, _)| *key != [0x10]);
    let sequence = read(&maps).expect("good").unsigned_transaction().input[0].sequence;
    assert_eq!(sequence, bitcoin::Sequence::MAX);
}

#[test]
fn psbt_v0_keeps_what_it_does_not_know() {
    let Some([v0, _]) = samples("psbt_unknown") else { return };
    let mut maps = pairs(&v0.to_bytes());
    // In no order, of one and of three bytes of type, proprietary ones, and an empty value.
    maps[0].push((vec![0xfd, 0x00, 0x01, 7], vec![1; 300]));
    maps[1].insert(0, (vec![0xfc, 3, b'a', b'b', b'c', 1], vec![2; 5]));
    maps[1].insert(1, (vec![0x77, 1, 2, 3], Vec::new()));
    maps[3].insert(0, (vec![0x66], vec![0; 70_000]));
    let bytes = join(&maps);
    let mut psbt = Psbt::from_bytes(&bytes).expect("good");
    assert_eq!(psbt.to_bytes(), bytes);
    assert_eq!(Psbt::from_base64(&psbt.to_base64()).expect("good"), psbt);
    assert!(psbt.combine(&v0).is_ok());
    assert_eq!(psbt.to_bytes(), bytes, "nothing new");
    let mut other = v0.clone();
    other.combine(&psbt).expect("of one transaction");
    assert_eq!(other.to_bytes().len(), bytes.len());
    let conflict = maps.iter_mut().find_map(|map| map.iter_mut().find(|(key, _)| *key == [0x66]));
    conflict.expect("just added").1[0] = 1;
    let before = other.clone();
    let error = other.combine(&Psbt::from_bytes(&join(&maps)).expect("good")).unwrap_err();
    assert_eq!(error.to_string(), "the PSBTs have different values of the unknown field 0x66 of output 1");
    assert_eq!(other, before);
}

#[test]
fn psbt_v0_refuses_a_signed_or_empty_transaction() {
    let Some([v0, _]) = samples("psbt_unsigned") else { return };
    let maps = pairs(&v0.to_bytes());
    let with = |change: &dyn Fn(&mut bitcoin::Transaction)| {
        let mut transaction = v0.unsigned_transaction().clone();
        change(&mut transaction);
        let mut maps = maps.clone();
        maps[0][0].1 = serialize(&transaction);
        read(&maps).map(|psbt| psbt.to_bytes() == join(&maps))
    };
    assert_eq!(with(&|transaction| transaction.lock_time = LockTime::from_consensus(9)), Ok(true));
    let name = "PSBT_GLOBAL_UNSIGNED_TX of the global map";
    type Change = fn(&mut bitcoin::Transaction);
    let changes: [Change; 2] = [
        |transaction| transaction.input[0].script_sig = vec![0x51].into(),
        |transaction| transaction.input[0].witness.push([1]),
    ];
    for change in &changes {
        let error = with(change).unwrap_err();
        assert!(error.starts_with(name) && error.contains("without script signatures"), "{error}");
    }
    assert!(with(&|transaction| transaction.output.clear()).unwrap_err().contains("no inputs or no outputs"));
}

#[test]
fn psbt_v0_base64_has_one_spelling() {
    let Some([v0, _]) = samples("psbt_base64") else { return };
    let text = v0.to_base64();
    assert_eq!(format!(" {text}\r\n").parse::<Psbt>().expect("white space around it"), v0);
    let padding = text.bytes().filter(|byte| *byte == b'=').count();
    for bad in [
        text[..text.len() - 1].to_owned(),
        format!("{}\n{}", &text[..4], &text[4..]),
        text.replacen('c', "-", 1),
        format!("{text}===="),
        format!("{}={}", &text[..3], &text[4..]),
        format!("é{text}"),
    ] {
        assert_eq!(Psbt::from_base64(&bad), Err(PsbtError::Base64), "{bad}");
    }
    // Bits that no byte needs.
    for (bytes, good, bad) in [(1, "cA==", "cB=="), (2, "cHM=", "cHN=")] {
        assert_eq!(Psbt::from_base64(good), Err(PsbtError::NotPsbt), "{bytes} bytes");
        assert_eq!(Psbt::from_base64(bad), Err(PsbtError::Base64), "{bytes} bytes");
    }
    assert!(padding < 3);
    assert_eq!(Psbt::from_base64(""), Err(PsbtError::NotPsbt));
    assert_eq!(Psbt::from_bytes(text.as_bytes()), Err(PsbtError::NotPsbt), "{}", to_hex(&v0.to_bytes()));
}
