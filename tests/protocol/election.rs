//! Election against the reference vectors, and what must hold for any signers.

use libmusig::error::ElectionError;
use libmusig::protocol::election::{ElectionMethod, elect};
use libmusig::types::{SessionId, SignerKey, tagged_hash};
use serde_json::Value;

use test_support::party::{Choices, key_of};

const SESSION: SessionId = SessionId([5; 32]);

#[test]
fn elections_match_the_reference_vectors() {
    let vectors: Value = serde_json::from_str(include_str!("../vectors/election.json")).expect("JSON");
    let cases = vectors["cases"].as_array().expect("a list");
    assert_eq!(cases.len(), 80);
    for case in cases {
        let name = &case["name"];
        let keys = case["pubkeys"].as_array().expect("a list").iter();
        let keys: Vec<SignerKey> =
            keys.map(|key| key.as_str().expect("hex").parse().expect("a key")).collect();
        let method = match case["method"].as_str() {
            Some("lexicographic") => ElectionMethod::Lexicographic,
            Some("hash-based") => ElectionMethod::HashBased,
            Some("first-signer") => ElectionMethod::FirstSigner,
            Some("last-signer") => ElectionMethod::LastSigner,
            other => panic!("unknown method {other:?}"),
        };
        let election = elect(&keys, method, &SESSION).expect("there are signers");
        assert_eq!(Value::from(election.coordinator), case["coordinatorIndex"], "{name}");
        assert_eq!(
            Value::from(keys[election.coordinator].to_string()),
            case["coordinatorPublicKey"],
            "{name}"
        );
        assert_eq!(Value::from(election.priority_list.clone()), case["priorityList"], "{name}");
        assert_eq!(Value::from(election.proof.clone()), case["electionProof"], "{name}");
        let backups: Vec<Option<usize>> =
            (0..keys.len()).map(|index| election.backup_after(index).expect("in range")).collect();
        assert_eq!(serde_json::json!(backups), case["backups"], "{name}");
        assert!(election.verify(&keys, &SESSION), "{name}");
    }
}

#[test]
fn any_signers_give_a_permutation_that_verifies_and_no_other_does() {
    for seed in 0..200 {
        let mut choices = Choices::new(seed);
        let n = 1 + choices.below(40);
        let mut numbers: Vec<u8> = (1..=40).collect();
        choices.shuffle(&mut numbers);
        let keys: Vec<_> = numbers[..n].iter().map(|number| key_of(*number)).collect();
        let session = SessionId(choices.bytes());
        for method in ElectionMethod::ALL {
            let election = elect(&keys, method, &session).expect("there are signers");
            let mut sorted = election.priority_list.clone();
            sorted.sort_unstable();
            assert_eq!(sorted, (0..n).collect::<Vec<_>>(), "{method:?} {seed}");
            assert_eq!(election.coordinator, election.priority_list[0]);
            assert!(election.verify(&keys, &session));
            if n > 1 {
                let mut other = election.clone();
                other.priority_list.swap(0, n - 1);
                assert!(!other.verify(&keys, &session), "{method:?} {seed}: another list");
                let mut other = election.clone();
                other.coordinator = other.priority_list[1];
                assert!(!other.verify(&keys, &session), "{method:?} {seed}: another winner");
            }
            let mut other = election.clone();
            other.proof.replace_range(..1, if other.proof.starts_with('0') { "1" } else { "0" });
            assert!(!other.verify(&keys, &session), "{method:?} {seed}: another proof");
        }
    }
}

#[test]
fn following_the_backups_visits_everybody_once() {
    let keys: Vec<_> = (1..=9).map(key_of).collect();
    for method in ElectionMethod::ALL {
        let election = elect(&keys, method, &SESSION).expect("there are signers");
        let mut visited = vec![election.coordinator];
        while let Some(next) = election.backup_after(visited[visited.len() - 1]).expect("in range") {
            if next == election.coordinator {
                break;
            }
            visited.push(next);
        }
        assert_eq!(visited, election.priority_list, "{method:?}");
        let last = election.priority_list[8];
        let wraps = matches!(method, ElectionMethod::Lexicographic | ElectionMethod::HashBased);
        assert_eq!(election.backup_after(last), Ok(wraps.then_some(election.coordinator)), "{method:?}");
    }
}

#[test]
fn session_salted_follows_its_definition_and_rotates() {
    let keys: Vec<_> = (1..=7).map(key_of).collect();
    let mut winners = [0; 7];
    let mut choices = Choices::new(1);
    for _ in 0..700 {
        let session = SessionId(choices.bytes());
        let election = elect(&keys, ElectionMethod::SessionSalted, &session).expect("there are signers");
        let mut expected: Vec<usize> = (0..7).collect();
        expected.sort_by_key(|index| tagged_hash("musig/rotation", &[&session.0, keys[*index].as_bytes()]));
        assert_eq!(election.priority_list, expected);
        winners[election.coordinator] += 1;
    }
    // 100 each on average, with a standard deviation of 9.3.
    assert!(winners.iter().all(|wins| (50..150).contains(wins)), "{winners:?}");
}

#[test]
fn session_salted_does_not_depend_on_the_order_of_the_keys() {
    let mut keys: Vec<_> = (1..=9).map(key_of).collect();
    let ranked = |keys: &[SignerKey]| -> Vec<SignerKey> {
        let election = elect(keys, ElectionMethod::SessionSalted, &SESSION).expect("there are signers");
        election.priority_list.iter().map(|index| keys[*index]).collect()
    };
    let before = ranked(&keys);
    Choices::new(3).shuffle(&mut keys);
    assert_eq!(before, ranked(&keys));
}

#[test]
fn equal_keys_keep_their_order() {
    let keys = [key_of(2), key_of(1), key_of(2), key_of(1)];
    let election = elect(&keys, ElectionMethod::Lexicographic, &SESSION).expect("there are signers");
    let (low, high) = if key_of(1) < key_of(2) { ([1, 3], [0, 2]) } else { ([0, 2], [1, 3]) };
    assert_eq!(election.priority_list, [low, high].concat());
}

#[test]
fn invalid_election_queries_are_errors() {
    for method in ElectionMethod::ALL {
        assert_eq!(elect(&[], method, &SESSION), Err(ElectionError::NoSigners));
        let alone = elect(&[key_of(1)], method, &SESSION).expect("one signer");
        assert_eq!(alone.backup_after(0), Ok(None));
        assert_eq!(alone.backup_after(1), Err(ElectionError::IndexOutOfRange { index: 1, signers: 1 }));
    }
}

#[test]
fn numbers_on_the_wire_are_stable() {
    let numbers = ElectionMethod::ALL.map(ElectionMethod::number);
    assert_eq!(numbers, [0, 1, 2, 3, 4]);
    assert_eq!(numbers.map(ElectionMethod::from_number), ElectionMethod::ALL.map(Some));
    assert_eq!(ElectionMethod::from_number(5), None);
}
