//! What answers to submissions mean: every recorded answer of real backends, and words that nobody knows.

use libmusig::chain::sources::{BackendAnswer, BroadcastAnswer, RejectionKind, classify_broadcast_answer};
use libmusig::types::Txid;
use serde_json::Value;

use test_support::party::vectors_folder;

/// What an answer is to mean.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Meaning {
    Accepted,
    AlreadyKnown,
    NotYetFinal,
    Misconfigured,
    Rejected(RejectionKind),
    /// The same, and the chain is to be looked at.
    Look,
}

use Meaning::{Accepted, AlreadyKnown, Look, Misconfigured, NotYetFinal, Rejected};
use RejectionKind::{Conflict, FeeTooHigh, FeeTooLow, Invalid, MissingInputs, Policy, Undecodable};

/// What each situation of the files is.
const SITUATIONS: &[(&str, Meaning)] = &[
    ("accepted", Accepted),
    ("op_return 83 bytes", Accepted),
    ("conflict higher fee", Accepted),
    ("already in mempool", AlreadyKnown),
    ("same txid other witness in mempool", AlreadyKnown),
    ("same txid other witness", AlreadyKnown),
    ("conflict in mempool, same fee", Rejected(Conflict)),
    ("conflict in mempool, lower fee", Rejected(Conflict)),
    ("conflict in mempool, slightly higher fee", Rejected(Conflict)),
    ("conflict in mempool", Rejected(Conflict)),
    ("missing inputs", Look),
    ("already mined, outputs unspent", AlreadyKnown),
    ("already mined, output unspent", AlreadyKnown),
    ("already mined, other witness, outputs unspent", AlreadyKnown),
    ("already mined other witness", AlreadyKnown),
    ("already mined, output spent in mempool", AlreadyKnown),
    ("already mined, all outputs spent in chain", Look),
    ("already mined, output spent", Look),
    ("conflict confirmed", Look),
    ("fee zero", Rejected(FeeTooLow)),
    ("fee below minimum relay", Rejected(FeeTooLow)),
    ("fee above maxfeerate", Rejected(FeeTooHigh)),
    ("absurd fee", Rejected(FeeTooHigh)),
    ("outputs exceed inputs", Rejected(Invalid)),
    ("bad signature (one bit)", Rejected(Invalid)),
    ("bad signature", Rejected(Invalid)),
    ("no witness", Rejected(Invalid)),
    ("65-byte signature with sighash byte 0", Rejected(Invalid)),
    ("dust output", Rejected(Policy)),
    ("dust", Rejected(Policy)),
    ("op_return 500 bytes", Rejected(Policy)),
    ("mempool chain too long", Rejected(Policy)),
    ("non-final locktime", NotYetFinal),
    ("non-BIP68-final", NotYetFinal),
    ("premature coinbase", NotYetFinal),
    ("garbage", Rejected(Undecodable)),
    ("truncated", Rejected(Undecodable)),
    ("extra bytes", Rejected(Undecodable)),
    ("empty", Rejected(Undecodable)),
    ("no auth", Misconfigured),
    ("wrong auth", Misconfigured),
    ("unknown method", Misconfigured),
    ("unknown method, 1.0", Misconfigured),
    ("nosuch ()", Misconfigured),
    ("wrong type", Misconfigured),
];

/// Entries of the files that are no answers to submissions.
const OTHERS: &[&str] = &["node", "version", "server.version", "chain length"];
/// Answers to other questions.
const QUESTIONS: &[&str] =
    &["gettxout", "getrawtransaction", "getmempoolentry", "gettxspendingprevout", "blockchain."];

fn meaning(answer: &BroadcastAnswer) -> Meaning {
    match answer {
        BroadcastAnswer::Accepted => Accepted,
        BroadcastAnswer::AlreadyKnown => AlreadyKnown,
        BroadcastAnswer::NotYetFinal { .. } => NotYetFinal,
        BroadcastAnswer::Misconfigured { .. } => Misconfigured,
        BroadcastAnswer::Rejected { kind: MissingInputs, ambiguous: true, .. } => Look,
        BroadcastAnswer::Rejected { kind, ambiguous: false, .. } => Rejected(*kind),
        other => panic!("{other:?}"),
    }
}

fn check(file: &str, situation: &str, expected: Meaning, http_status: Option<u16>, words: &str) {
    let answer = classify_broadcast_answer(&BackendAnswer { http_status, words, ..Default::default() });
    // A node that has the transaction in its mempool accepts it again.
    let again = expected == AlreadyKnown && answer == BroadcastAnswer::Accepted;
    assert!(
        again || meaning(&answer) == expected,
        "{file}, {situation}: {words:?} is {answer:?}, expected {expected:?}"
    );
    if !answer.is_success() {
        assert!(!answer.words().is_empty(), "{file}, {situation}: {answer:?} keeps no words");
        assert!(answer.words().chars().count() <= 400, "{file}, {situation}: {answer:?}");
    }
}

/// An error as Esplora's servers pass it on.
fn check_error(file: &str, situation: &str, expected: Meaning, error: &Value) {
    check(file, situation, expected, Some(400), &format!("sendrawtransaction RPC error: {error}"));
    let (code, words) = (error["code"].as_i64(), error["message"].as_str().expect("a message"));
    let answer = classify_broadcast_answer(&BackendAnswer { code, words, ..Default::default() });
    assert_eq!(meaning(&answer), expected, "{file}, {situation}: {error} apart");
}

/// An entry of a file: answers to `sendrawtransaction` and `testmempoolaccept`, in several wrappings.
fn check_entry(file: &str, situation: &str, expected: Meaning, entry: &Value) -> usize {
    if entry.get("jsonrpc").is_some() {
        check(file, situation, expected, None, &entry.to_string());
        return 1;
    }
    if let (Some(status), Some(body)) = (entry["http"].as_u64(), entry["body"].as_str()) {
        check(file, situation, expected, u16::try_from(status).ok(), body);
        return 1;
    }
    let mut checked = 0;
    for (method, answer) in entry.as_object().expect("answers by method") {
        let (status, body) = match answer {
            Value::Array(pair) => (pair[0].as_u64(), pair[1].as_str().expect("a body").to_owned()),
            _ => (answer["http"].as_u64(), answer["body"].to_string()),
        };
        let response: Value = serde_json::from_str(&body).expect("JSON");
        if method == "testmempoolaccept" && response["error"].is_null() {
            let result = &response["result"][0];
            for key in ["reject-reason", "reject-details"] {
                if let Some(words) = result[key].as_str() {
                    check(file, situation, expected, None, words);
                    checked += 1;
                }
            }
            continue;
        }
        // Its fee limit is off by default.
        let accepts = situation == "absurd fee" || (file.contains("btcd") && situation == "fee zero");
        let expected = if accepts { Accepted } else { expected };
        check(file, situation, expected, status.and_then(|status| u16::try_from(status).ok()), &body);
        if response["error"].is_object() {
            check_error(file, situation, expected, &response["error"]);
        }
        checked += 1;
    }
    checked
}

#[test]
fn classify_every_recorded_answer_as_its_file_says() {
    let Some(folder) = vectors_folder("classify_every_recorded_answer_as_its_file_says") else { return };
    let (mut files, mut answers) = (0, 0);
    for file in std::fs::read_dir(folder.join("bitcoin")).expect("the folder of recorded answers") {
        let path = file.expect("a file").path();
        let name = path.file_name().expect("a name").to_string_lossy().into_owned();
        if !name.starts_with("broadcast-") {
            continue;
        }
        let content: Value =
            serde_json::from_str(&std::fs::read_to_string(&path).expect("text")).expect("JSON");
        for (situation, entry) in content.as_object().expect("situations") {
            let empty = entry.as_object().is_some_and(serde_json::Map::is_empty);
            let question = QUESTIONS.iter().any(|question| situation.starts_with(question));
            if OTHERS.contains(&situation.as_str()) || question || empty {
                continue;
            }
            if situation == "unknown method" && entry.is_array() {
                let (status, body) = (entry[0].as_u64(), entry[1].as_str().expect("a body"));
                check(
                    &name,
                    situation,
                    Misconfigured,
                    status.and_then(|status| u16::try_from(status).ok()),
                    body,
                );
                answers += 1;
                continue;
            }
            let expected = SITUATIONS.iter().find(|(known, _)| known == situation);
            let (_, expected) = expected.unwrap_or_else(|| panic!("{name}: is {situation:?} a submission?"));
            answers += check_entry(&name, situation, *expected, entry);
        }
        files += 1;
    }
    assert!(files >= 3 && answers > 150, "{answers} answers in {files} files");
}

fn classified(http_status: Option<u16>, code: Option<i64>, words: &str) -> BroadcastAnswer {
    classify_broadcast_answer(&BackendAnswer { http_status, code, words, txid: None })
}

#[test]
fn classify_unknown_words_as_a_rejection_that_keeps_them() {
    for words in [
        "the moon is in the wrong phase",
        "success",
        "ok",
        "accepted",
        r#"{"result":"ok","error":null}"#,
        r#"{"result":true}"#,
        r#"{"result":null,"error":null,"id":1}"#,
        r#"{"result":["0101010101010101010101010101010101010101010101010101010101010101"]}"#,
        r#"no {"result":"0101010101010101010101010101010101010101010101010101010101010101"}"#,
        "0101010101010101010101010101010101010101010101010101010101010101 not",
    ] {
        match classified(Some(200), None, words) {
            BroadcastAnswer::Rejected { kind: RejectionKind::Other, words: kept, ambiguous: false } => {
                assert_eq!(kept, words);
            }
            other => panic!("{words:?} is {other:?}"),
        }
    }
    for code in [-26, -99, 1, 0, 7] {
        let answer = classified(None, Some(code), "the moon is in the wrong phase");
        assert_eq!(
            answer,
            BroadcastAnswer::Rejected {
                kind: RejectionKind::Other,
                words: "the moon is in the wrong phase".into(),
                ambiguous: false
            }
        );
    }
    // Bitcoin Core says -25 of a transaction whose outputs are all spent.
    match classified(None, Some(-25), "the moon is in the wrong phase") {
        BroadcastAnswer::Rejected { ambiguous: true, .. } => {}
        other => panic!("{other:?}"),
    }
}

#[test]
fn classify_an_id_with_an_error_or_of_another_transaction_is_no_success() {
    let id = "0101010101010101010101010101010101010101010101010101010101010101";
    assert_eq!(classified(None, None, id), BroadcastAnswer::Accepted);
    assert_eq!(classified(Some(200), None, &format!(" {id}\n")), BroadcastAnswer::Accepted);
    assert!(!classified(Some(500), None, id).is_success());
    assert!(!classified(None, Some(-26), id).is_success());
    let both = format!(r#"{{"result":"{id}","error":{{"code":-26,"message":"dust"}}}}"#);
    assert!(!classified(Some(200), None, &both).is_success());
    let of = |byte| {
        let txid = Some(Txid([byte; 32]));
        classify_broadcast_answer(&BackendAnswer { words: id, txid, ..Default::default() })
    };
    assert_eq!(of(1), BroadcastAnswer::Accepted);
    assert!(matches!(of(2), BroadcastAnswer::Unreachable { words } if words.contains(id)));
}

#[test]
fn classify_what_is_no_answer_of_a_backend_as_unreachable_or_misconfigured() {
    for (status, words) in [
        (Some(502), "<html>Bad Gateway</html>"),
        (Some(200), "<!doctype html><title>Log in to the hotel</title>"),
        (Some(200), ""),
        (Some(503), "Work queue depth exceeded"),
        (Some(429), "slow down"),
        (Some(500), "boom"),
        (None, ""),
        (None, "excessive resource usage"),
    ] {
        let answer = classified(status, None, words);
        assert!(matches!(answer, BroadcastAnswer::Unreachable { .. }), "{status:?} {words:?} is {answer:?}");
        assert!(!answer.words().is_empty());
    }
    for (status, code, words, advice) in [
        (Some(401), None, "", "password"),
        (Some(403), None, "", "who may connect"),
        (Some(301), None, "", "final address"),
        (Some(404), None, "", "address"),
        (Some(200), Some(-28), "Loading block index…", "wait"),
        (
            Some(500),
            None,
            r#"{"result":null,"error":{"code":-28,"message":"Rewinding blocks…"},"id":1}"#,
            "wait",
        ),
        (Some(200), Some(-32_601), "no such thing", "version"),
    ] {
        match classified(status, code, words) {
            BroadcastAnswer::Misconfigured { words: shown } => assert!(shown.contains(advice), "{shown}"),
            other => panic!("{status:?} {code:?} {words:?} is {other:?}"),
        }
    }
}

#[test]
fn classify_words_decide_before_codes() {
    // btcd's codes for what Bitcoin Core says otherwise.
    assert_eq!(
        classified(None, Some(-26), "TX rejected: already have transaction in mempool 01"),
        BroadcastAnswer::AlreadyKnown
    );
    match classified(
        None,
        Some(-25),
        "TX rejected: failed to validate input 01:0 which references output 02:0",
    ) {
        BroadcastAnswer::Rejected { kind: Invalid, ambiguous: false, .. } => {}
        other => panic!("{other:?}"),
    }
    match classified(None, Some(-27), "TX rejected: the moon") {
        BroadcastAnswer::AlreadyKnown => {}
        other => panic!("{other:?}"),
    }
}

#[test]
fn classify_shows_foreign_words_without_what_controls_a_terminal() {
    let hostile = format!("\u{1b}[2J\u{202e}dust\n\r\u{7}{}", "é".repeat(1_000));
    let answer = classified(Some(400), None, &hostile);
    let words = answer.words();
    assert!(words.chars().count() <= 256, "{}", words.chars().count());
    assert!(words.contains("dust"));
    assert!(
        !words.chars().any(|char| char.is_control() || ('\u{202a}'..='\u{202e}').contains(&char)),
        "{words:?}"
    );
    // The transaction that ElectrumX repeats is not shown.
    let electrum = r#"{"error":{"code":1,"message":"the transaction was rejected by network rules.\n\nthe moon\n[02000000]"}}"#;
    assert_eq!(classified(None, None, electrum).words(), "the moon");
    let deep = "{\"error\":".repeat(100_000);
    assert!(!classified(None, None, &deep).is_success());
}
