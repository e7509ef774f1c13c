//! Real processes on a bad network: see [`network`](crate::process::network). It is TCP that has to cope, and sessions
//! finish all the same.

use std::thread;
use std::time::{Duration, Instant};

use libmusig::protocol::election::ElectionMethod;
use serde_json::json;

use crate::process::network::{self, Link, Network};
use crate::process::{Cluster, lexicographic};
use crate::recovery::{N, finish};
use test_support::nodes::{key, skip};

/// `false`, and said so, if there can be no such network here.
fn possible(test: &str) -> bool {
    let possible = network::available();
    if let Err(why) = &possible {
        skip(test, why);
    }
    possible.is_ok()
}

fn cut() -> Link {
    Link { cut: true, ..Link::default() }
}

#[test]
fn late_and_lossy() {
    if !possible("links::late_and_lossy") {
        return;
    }
    let link = Link { delay: Duration::from_millis(200), lost_of_1000: 200, cut: false };
    let mut cluster = Cluster::start_in(Network::new(link), N, |_| json!({}), |_| N - 1);
    cluster.propose(lexicographic(N)[1], ElectionMethod::Lexicographic);
    finish(&mut cluster, "200 ms, 20 % lost");
    let (passed, lost) = cluster.network.as_ref().expect("is there").counts();
    println!("{passed} packets passed, {lost} were lost");
    assert!(lost * 8 > passed && lost * 2 < passed, "{passed} passed, {lost} were lost");
}

/// Cuts one signer off when it said something, until the others have lost it.
fn cut_off_at(event: &str, victim: usize, proposer: usize) {
    let network = Network::new(Link::default());
    let mut cluster = Cluster::start_in(network, N, |_| json!({ "alert": true }), |_| N - 1);
    cluster.propose(proposer, ElectionMethod::Lexicographic);
    cluster.wait_all(event, [victim]);
    cluster.network.as_ref().expect("is there").cut_off(victim, N);
    cluster.wait_disconnected((0..N).filter(|signer| *signer != victim));
    cluster.network.as_ref().expect("is there").heal();
    finish(&mut cluster, &format!("{victim} cut off at {event}"));
}

#[test]
fn links_that_are_cut_and_healed() {
    if !possible("links::links_that_are_cut_and_healed") {
        return;
    }
    let list = lexicographic(N);
    // The coordinator when it is asked, the proposer after it proposed, one that became a holder, one whose turn it is.
    let cases = [
        ("SessionProposed", list[0], list[1]),
        ("proposed", list[1], list[1]),
        ("SessionComplete", list[2], list[1]),
        ("ShouldBroadcast", list[0], list[2]),
    ];
    let threads =
        cases.map(|(event, victim, proposer)| thread::spawn(move || cut_off_at(event, victim, proposer)));
    threads.into_iter().for_each(|thread| thread.join().expect("no panic"));
}

#[test]
fn two_that_meet_only_through_a_third() {
    if !possible("links::two_that_meet_only_through_a_third") {
        return;
    }
    let [first, between, last] = lexicographic(N)[..] else { panic!("three signers") };
    let network = Network::new(Link::default());
    network.set(first, last, cut());
    let neighbours = |signer| if signer == between { 2 } else { 1 };
    let mut cluster = Cluster::start_in(network, N, |_| json!({}), neighbours);
    // The last proposes, the first is the coordinator: both ways lead through the one between them.
    cluster.propose(last, ElectionMethod::Lexicographic);
    finish(&mut cluster, "through a third");
    for (one, other) in [(first, last), (last, first)] {
        let met =
            cluster.said(one, "PeerConnected").iter().any(|line| line["signer"] == key(other).to_string());
        assert!(!met, "{one} met {other}");
    }
}

#[test]
fn addresses_that_change() {
    if !possible("links::addresses_that_change") {
        return;
    }
    let [first, stays, late] = lexicographic(N)[..] else { panic!("three signers") };
    let settings = |signer| json!({ "alert": true, "consents": signer != late });
    let mut cluster = Cluster::start_in(Network::new(Link::default()), N, settings, |_| N - 1);
    cluster.propose(stays, ElectionMethod::Lexicographic);
    // Each of them has a reason to look for the others.
    cluster.wait_all("SessionProposed", [first, late]);
    // Two of three move while the session waits: what they were reached at is gone, and so are their connections.
    for signer in [first, late] {
        cluster.order(signer, &json!({ "order": "move", "address": network::address(signer, 1) }));
    }
    cluster.wait("they are lost", |log| {
        let lost = |by: usize, who: usize| {
            let key = key(who).to_string();
            log.iter().any(|said| said.by == by && said.is("PeerDisconnected") && said.line["signer"] == key)
        };
        lost(stays, first) && lost(stays, late)
    });
    cluster.order(late, &json!({ "order": "join" }));
    finish(&mut cluster, "after two moved");
}

#[test]
fn a_pulled_cable_costs_seconds_and_not_the_timeout() {
    if !possible("links::a_pulled_cable_costs_seconds_and_not_the_timeout") {
        return;
    }
    let list = lexicographic(N);
    let settings = |signer| json!({ "open": signer != list[0] });
    let mut cluster = Cluster::start_in(Network::new(Link::default()), N, settings, |_| N - 1);
    cluster.turn = Duration::from_secs(300);
    cluster.propose(list[1], ElectionMethod::Lexicographic);
    cluster.wait_all("SessionComplete", 0..N);
    cluster.wait_all("about to submit", [list[0]]);
    cluster.network.as_ref().expect("is there").cut_off(list[0], N);
    let pulled = Instant::now();
    cluster.wait_all("submitted", [list[1]]);
    let submitted = cluster.log.iter().find(|said| said.is("submitted")).expect("was waited for");
    let took = submitted.at - pulled;
    println!("the next one submitted {took:?} after the cable was pulled");
    assert!(took < Duration::from_secs(6), "{took:?}");
    // Three questions stayed without an answer. Before that nobody is gone.
    assert!(took > Duration::from_secs(2), "{took:?}");
    assert!(cluster.said(list[1], "disconnected").is_empty(), "the connection itself was still there");
    cluster.network.as_ref().expect("is there").heal();
    let rest: Vec<usize> = list[1..].to_vec();
    cluster.wait_all("BroadcastConfirmed", rest);
    assert_eq!(cluster.log.iter().filter(|said| said.is("submitted")).count(), 1);
}
