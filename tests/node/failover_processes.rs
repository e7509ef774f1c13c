//! The first coordinators die, or are cut off; the next signer in the list broadcasts, once. Real processes, SIGKILL,
//! turns of two seconds. Who submits is judged by the number of its turn, never by a clock of the test.

use std::thread;
use std::time::Duration;

use libmusig::protocol::election::{ElectionMethod, elect};
use libmusig::types::{SessionId, Txid};
use serde_json::{Value, json};

use crate::process::{Cluster, TURN};
use test_support::nodes::keys;

/// What happens to the first signers of the list when they hold the finished transaction and are to submit it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fault {
    /// SIGKILL.
    Killed,
    /// SIGSTOP: alive, and reaches neither chain nor network.
    CutOff,
}

/// Runs one session of n signers of which the first k of the list fail.
fn run(n: usize, method: ElectionMethod, k: usize, fault: Fault) {
    run_with(TURN, n, method, k, fault);
}

/// The same with turns of this length.
fn run_with(turn: Duration, n: usize, method: ElectionMethod, k: usize, fault: Fault) {
    // Those that are to fail say when they are to submit, and wait. With a salt nobody knows who they are.
    let salted = method == ElectionMethod::SessionSalted;
    let expected = elect(&keys(n), method, &SessionId([0; 32])).expect("signers").priority_list;
    let mut cluster =
        Cluster::start(n, |signer| json!({ "open": !salted && !expected[..k].contains(&signer) }));
    cluster.turn = turn;
    cluster.propose(n / 2, method);
    cluster.wait("somebody is a holder", |log| log.iter().any(|said| said.is("SessionComplete")));
    let first = cluster.log.iter().find(|said| said.is("SessionComplete"));
    let complete = first.expect("was waited for").line.clone();
    let list: Vec<usize> = serde_json::from_value(complete["list"].clone()).expect("a list");
    let id: SessionId = complete["session"].as_str().expect("is set").parse().expect("an id");
    let elected = elect(&keys(n), method, &id).expect("signers");
    assert_eq!(list, elected.priority_list);
    let txid: Txid = complete["txid"].as_str().expect("is set").parse().expect("an id");

    let (victims, alive) = list.split_at(k);
    for signer in alive {
        cluster.order(*signer, &json!({ "order": "open" }));
    }
    cluster.wait_all("SessionComplete", 0..n);
    for signer in 0..n {
        assert_eq!(cluster.said(signer, "SessionComplete")[0]["list"], json!(list));
    }
    // Each fails when its turn came, its application knows, and it is about to submit.
    for victim in victims {
        cluster.wait_all("ShouldBroadcast", [*victim]);
        cluster.wait_all("about to submit", [*victim]);
        match fault {
            Fault::Killed => cluster.kill(*victim),
            Fault::CutOff => cluster.stop(*victim),
        }
    }
    cluster.wait_all("BroadcastConfirmed", alive.iter().copied());
    if fault == Fault::CutOff {
        for victim in victims {
            cluster.resume(*victim);
        }
        cluster.wait_all("BroadcastConfirmed", victims.iter().copied());
    }

    let what = format!("{n} signers, {method:?}, {k} {fault:?}");
    assert_eq!(cluster.chain.submissions(&txid).attempts, 1, "{what}: submissions");
    let submitted: Vec<usize> =
        cluster.log.iter().filter(|said| said.is("submitted")).map(|said| said.by).collect();
    assert_eq!(submitted, [list[k]], "{what}: who submitted");
    for (turn, signer) in list.iter().enumerate() {
        let asked: Vec<&Value> =
            cluster.said(*signer, "ShouldBroadcast").into_iter().map(|line| &line["turn"]).collect();
        if turn <= k {
            assert_eq!(asked.first(), Some(&&json!(turn)), "{what}: turn of {signer}");
        } else {
            assert!(asked.is_empty(), "{what}: {signer} was asked after the broadcast");
        }
    }
    for signer in alive {
        // On a busy machine two turns may be told as one; their contents add up all the same. Who became a holder a
        // moment later may see the transaction before its own clock opens the turn in which it was submitted.
        let told = cluster.said(*signer, "CoordinatorFailed");
        let mut failed = Vec::new();
        for line in &told {
            failed.extend(serde_json::from_value::<Vec<usize>>(line["failed"].clone()).expect("a list"));
            assert_eq!(line["turn"], json!(failed.len()), "{what}: {signer}");
            assert_eq!(line["next"], json!([list[failed.len()]]), "{what}: {signer}");
        }
        assert!(victims.starts_with(&failed), "{what}: {failed:?} failed, as {signer} saw it");
        let least = if *signer == list[k] { k } else { k.saturating_sub(1) };
        assert!(failed.len() >= least, "{what}: only {failed:?} failed, as {signer} saw it");
        assert!(cluster.said(*signer, "FailoverExhausted").is_empty(), "{what}: {signer}");
    }
}

/// Runs cases at the same time: most of what they do is to wait for turns.
fn all(cases: impl IntoIterator<Item = (usize, ElectionMethod, usize, Fault)>) {
    let threads: Vec<_> = cases
        .into_iter()
        .map(|(n, method, k, fault)| thread::spawn(move || run(n, method, k, fault)))
        .collect();
    for thread in threads {
        if let Err(panic) = thread.join() {
            std::panic::resume_unwind(panic);
        }
    }
}

#[test]
fn default_method_with_every_number_of_dead_coordinators() {
    all((0..5).map(|k| (5, ElectionMethod::Lexicographic, k, Fault::Killed)));
}

#[test]
fn other_methods_with_none_and_all_but_one_dead() {
    let methods = ElectionMethod::ALL.into_iter().filter(|method| *method != ElectionMethod::Lexicographic);
    for pair in methods.collect::<Vec<_>>().chunks(2) {
        all(pair.iter().flat_map(|method| [0, 4].map(|k| (5, *method, k, Fault::Killed))));
    }
}

#[test]
fn a_holder_that_is_cut_off_is_replaced_and_submits_nothing_when_it_returns() {
    all([
        (5, ElectionMethod::Lexicographic, 1, Fault::CutOff),
        (5, ElectionMethod::SessionSalted, 2, Fault::CutOff),
    ]);
}

#[test]
fn gone_coordinators_cost_seconds_and_not_their_timeouts() {
    // Nothing here waits for as long as one turn of five minutes.
    let turn = Duration::from_secs(300);
    for (n, k) in [(5, 2), (3, 1), (2, 1)] {
        run_with(turn, n, ElectionMethod::Lexicographic, k, Fault::Killed);
    }
}

#[test]
fn two_signers() {
    all([
        (2, ElectionMethod::Lexicographic, 0, Fault::Killed),
        (2, ElectionMethod::Lexicographic, 1, Fault::Killed),
        (2, ElectionMethod::Lexicographic, 1, Fault::CutOff),
    ]);
}

#[test]
fn ten_signers() {
    for k in [0, 3] {
        run(10, ElectionMethod::Lexicographic, k, Fault::Killed);
    }
    run(10, ElectionMethod::LastSigner, 1, Fault::CutOff);
}
