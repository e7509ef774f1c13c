//! Sessions that Bitcoin Core and independent signers made on a regtest chain.

use bitcoin::consensus::deserialize;
use bitcoin::hex::FromHex;
use bitcoin::{Transaction, Witness};
use libmusig::chain::psbt::{InputPlan, Psbt, PsbtError};
use libmusig::protocol::crypto::key_set::Taproot;
use serde_json::Value;

use super::{list, psbt, text, vectors};

const FILES: [&str; 3] = ["bip373-core.json", "bip373-core-sighash-all.json", "bip373-mixed-signers.json"];

fn sessions(test: &str) -> Vec<Value> {
    let files = FILES.iter().filter_map(|file| vectors(test, &format!("bitcoin/{file}")));
    files.flat_map(|file| list(&file["cases"]).to_vec()).collect()
}

fn transaction(case: &Value) -> Transaction {
    let bytes: Vec<u8> = FromHex::from_hex(text(&case["transaction"])).expect("hexadecimal");
    deserialize(&bytes).expect("a transaction")
}

/// The PSBT with all partial signatures.
fn last(case: &Value) -> Psbt {
    psbt(&list(&case["steps"]).last().expect("steps")["psbt"])
}

#[test]
fn core_sessions_are_read_and_written_back_as_the_same_bytes_psbt_v0_psbt_v2() {
    let (mut steps, mut versions) = (0, [0; 2]);
    let sessions = sessions("core_sessions_bytes");
    for case in &sessions {
        for step in list(&case["steps"]) {
            let encoded = text(&step["psbt"]);
            let read = Psbt::from_base64(encoded).expect(encoded);
            assert_eq!(read.to_base64(), encoded);
            assert_eq!(read.version(), case["psbt_version"].as_u64().unwrap_or(0) as u32);
            versions[read.version() as usize / 2] += 1;
            // As version 0 it is the same transaction, with the same fields.
            let converted = Psbt::from_bytes(&read.to_version_0()).expect("version 0");
            assert_eq!(converted.unsigned_transaction(), read.unsigned_transaction());
            assert_eq!(converted.musig2_spends(), read.musig2_spends());
            assert_eq!(converted.partials(0), read.partials(0));
            let theirs = read.to_bitcoin().expect("the crate reads it");
            assert_eq!(&theirs.unsigned_tx, read.unsigned_transaction());
            assert_eq!(
                theirs.inputs[0].unknown.keys().filter(|key| key.type_value == 0x1b).count(),
                read.nonces(0).len()
            );
            steps += 1;
        }
    }
    if !sessions.is_empty() {
        assert_eq!(sessions.len(), 30);
        assert!(versions[1] >= 58 && steps == versions[0] + versions[1], "{versions:?}");
    }
}

#[test]
fn core_sessions_verify_nonce_by_nonce_and_partial_by_partial() {
    let (mut nonces, mut partials) = (0, 0);
    for case in sessions("core_sessions_verified") {
        let name = text(&case["case"]);
        let mined = transaction(&case);
        for step in list(&case["steps"]) {
            let psbt = psbt(&step["psbt"]);
            let spends = psbt.musig2_spends().expect(name);
            assert_eq!(spends.len(), psbt.inputs(), "{name}: each input is spent in one way");
            for spend in &spends {
                // Every nonce and partial signature belongs to a participant and the key that signs.
                let slots: Vec<_> =
                    spend.key_set.participants.iter().map(|one| spend.slot(one.key)).collect();
                let (known, signed) = (psbt.nonces(spend.input), psbt.partials(spend.input));
                assert!(known.iter().all(|nonce| slots.contains(&nonce.slot)), "{name}");
                assert!(signed.iter().all(|partial| slots.contains(&partial.slot)), "{name}");
                nonces += known.len();
                if known.len() < slots.len() {
                    assert!(matches!(psbt.round(spend), Err(PsbtError::MissingNonce { .. })), "{name}");
                    continue;
                }
                let verified = psbt.verify_partials(spend).expect(name);
                assert_eq!(verified.iter().flatten().count(), signed.len(), "{name}");
                partials += signed.len();
            }
        }
        // Together they make the signatures that were mined.
        let psbt = last(&case);
        for spend in psbt.musig2_spends().expect(name) {
            let signature = psbt.aggregate_signature(&spend).expect(name);
            let element = &mined.input[spend.input].witness[0];
            assert_eq!(&element[..64], signature.0, "{name}: input {}", spend.input);
        }
    }
    assert!(
        partials == 0 || (nonces > 300 && partials > 150),
        "{nonces} nonces, {partials} partial signatures"
    );
}

#[test]
fn core_sessions_end_in_the_transaction_that_was_mined() {
    for case in sessions("core_sessions_final") {
        let name = text(&case["case"]);
        let mut psbt = last(&case);
        let before = psbt.clone();
        if name.contains("in a script leaf") {
            assert_eq!(psbt.finalize(), Err(PsbtError::KeyInLeaf { input: 0 }), "{name}");
            assert_eq!(psbt, before);
            continue;
        }
        assert_eq!(psbt.extract(), Err(PsbtError::NotFinal { input: 0 }), "{name}");
        psbt.finalize().expect(name);
        assert_eq!(psbt.version(), before.version());
        assert!(psbt.nonces(0).is_empty() && psbt.participants(0).is_empty() && psbt.is_final(0));
        assert_eq!(psbt.spent_output(0), before.spent_output(0));
        let finished = psbt.extract().expect(name);
        assert_eq!(
            finished.bytes,
            Vec::<u8>::from_hex(text(&case["transaction"])).expect("hexadecimal"),
            "{name}"
        );
        assert_eq!(finished.txid.to_string(), text(&case["txid"]), "{name}");
        let again = Psbt::from_bytes(&psbt.to_bytes()).expect("what is written can be read");
        assert_eq!(again.extract().expect(name), finished);
    }
}

#[test]
fn core_sessions_as_plans_say_who_signs_what_or_why_no_session_can() {
    let mut derived = [0; 2];
    for case in sessions("core_sessions_plans") {
        let name = text(&case["case"]);
        let psbt = psbt(&list(&case["steps"])[0]["psbt"]);
        let plan = match psbt.spend_plan() {
            Ok(plan) => plan,
            Err(error) => {
                let expected = match name {
                    _ if name.contains("in a script leaf") => PsbtError::KeyInLeaf { input: 0 },
                    _ if name.contains("with a script tree") => PsbtError::ScriptTree { input: 0 },
                    _ => panic!("{name}: {error}"),
                };
                assert_eq!(error, expected, "{name}");
                continue;
            }
        };
        assert!(!name.contains("script"), "{name}");
        assert_eq!(plan.inputs.len(), psbt.inputs());
        let mut mined = transaction(&case);
        mined.input.iter_mut().for_each(|input| input.witness = Witness::new());
        assert_eq!(deserialize::<Transaction>(&plan.transaction).expect("a transaction"), mined);
        for (index, input) in plan.inputs.iter().enumerate() {
            let InputPlan::Musig2(spend) = input else { panic!("{name}: input {index}") };
            assert_eq!(spend.key_set.final_key(&spend.derivation), Ok(spend.key), "{name}");
            assert_eq!(plan.spent[index].script[2..], *spend.key.x_only(), "{name}");
            let raw = case["descriptor"].as_str().is_some_and(|descriptor| descriptor.starts_with("rawtr"));
            let tweak = if raw { Taproot::None } else { Taproot::KeyPath };
            assert_eq!(spend.derivation.taproot, tweak, "{name}");
            derived[usize::from(spend.derivation.path.is_empty())] += 1;
        }
    }
    assert!(derived == [0, 0] || derived.iter().all(|count| *count > 5), "{derived:?}");
}

/// Combining what the signers added gives what Core's `combinepsbt` gave, byte for byte.
#[test]
fn core_sessions_combine_as_core_combines() {
    let mut compared = 0;
    for case in sessions("core_sessions_combined") {
        let steps = list(&case["steps"]);
        for kind in ["nonce", "partial"] {
            let of_kind = |step: &&Value| {
                text(&step["step"]).starts_with(&format!("{kind} "))
                    && !text(&step["step"]).contains("combined")
            };
            let of_kind: Vec<_> = steps.iter().filter(of_kind).map(|step| psbt(&step["psbt"])).collect();
            let combined = |step: &&Value| {
                let step = text(&step["step"]);
                step.contains(&format!("{kind}s combined"))
                    || step.contains("partial signatures combined") && kind == "partial"
            };
            let Some(expected) = steps.iter().find(combined) else { continue };
            let mut mine = of_kind[0].clone();
            of_kind[1..].iter().for_each(|other| mine.combine(other).expect("of one transaction"));
            assert_eq!(mine.to_base64(), text(&expected["psbt"]), "{}", case["case"]);
            compared += 1;
        }
    }
    assert!(compared == 0 || compared > 40, "{compared}");
}
