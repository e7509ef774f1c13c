//! The vectors of BIP-373.

use libmusig::chain::psbt::{Psbt, PsbtError};
use libmusig::protocol::crypto::key_set::Taproot;
use libmusig::types::SignerKey;

use super::{list, psbt, text, vectors};

#[test]
fn psbt_v0_vectors_of_bip_373_are_read_and_written_back_or_refused_by_name() {
    let Some(vectors) = vectors("bip_373", "bip373.json") else { return };
    let aggregate: SignerKey = SignerKey::from_bytes(
        &libmusig::types::from_hex::<33>(text(&vectors["aggregate_pubkey"])).expect("hexadecimal"),
    )
    .expect("a key");
    let (mut valid, mut refused) = (0, 0);
    for case in list(&vectors["cases"]) {
        let (name, encoded) = (text(&case["case"]), text(&case["psbt"]));
        match Psbt::from_base64(encoded) {
            Ok(read) => {
                assert_eq!(case["valid"], true, "{name}");
                assert_eq!(read.to_base64(), encoded, "{name}");
                let known = read.participants(0).into_iter().chain(read.output_participants(0));
                let all: Vec<_> = known.chain(read.output_participants(1)).collect();
                assert_eq!(all.len(), 1, "{name}");
                assert_eq!(all[0].aggregate, aggregate, "{name}");
                let keys: Vec<String> = all[0].keys.iter().map(SignerKey::to_string).collect();
                assert_eq!(keys, list(&vectors["participants"]).iter().map(text).collect::<Vec<_>>());
                valid += 1;
            }
            Err(PsbtError::Malformed { field, .. }) => {
                assert_eq!(case["valid"], false, "{name}");
                let words = if name.contains("nonce") {
                    "PSBT_IN_MUSIG2_PUB_NONCE of input 0"
                } else if name.contains("partial sig") {
                    "PSBT_IN_MUSIG2_PARTIAL_SIG of input 0"
                } else if name.contains("output") {
                    "PSBT_OUT_MUSIG2_PARTICIPANT_PUBKEYS of output 0"
                } else {
                    "PSBT_IN_MUSIG2_PARTICIPANT_PUBKEYS of input 0"
                };
                assert_eq!(field.to_string(), words, "{name}");
                refused += 1;
            }
            Err(error) => panic!("{name}: {error}"),
        }
    }
    assert_eq!((valid, refused), (14, 10));
}

#[test]
fn psbt_v0_vectors_of_bip_373_name_what_signs() {
    let Some(vectors) = vectors("bip_373_spends", "bip373.json") else { return };
    let spends: Vec<_> = list(&vectors["cases"])
        .iter()
        .filter(|case| case["valid"] == true && !case["step"].is_null())
        .collect();
    assert_eq!(spends.len(), 12);
    for case in spends {
        let (name, step) = (text(&case["case"]), text(&case["step"]));
        let psbt = psbt(&case["psbt"]);
        let spends = psbt.musig2_spends().expect(name);
        assert_eq!(spends.len(), 1, "{name}");
        let spend = &spends[0];
        let (tweak, derived) = (spend.derivation.taproot, !spend.derivation.path.is_empty());
        assert_eq!(derived, name.contains("derived"), "{name}");
        assert_eq!(tweak == Taproot::KeyPath, name.contains("internal key"), "{name}");
        assert_eq!(spend.leaf.is_some(), name.contains("in a script"), "{name}");
        match step {
            "With participant pubkeys only" => {
                let participant = spend.key_set.participants[0].key;
                assert_eq!(psbt.round(spend).unwrap_err(), PsbtError::MissingNonce { input: 0, participant });
            }
            "With all pubnonces" => {
                assert_eq!(psbt.verify_partials(spend), Ok(vec![None; 3]), "{name}");
                let participant = spend.key_set.participants[0].key;
                let missing = PsbtError::MissingPartial { input: 0, participant };
                assert_eq!(psbt.aggregate_signature(spend), Err(missing), "{name}");
            }
            _ => {
                assert!(psbt.verify_partials(spend).expect(name).iter().all(Option::is_some), "{name}");
                psbt.aggregate_signature(spend).expect(name);
            }
        }
    }
}
