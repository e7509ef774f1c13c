//! Killed at every step, and started again from its store: the session finishes, no nonce serves two challenges, no
//! durable event gets lost.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::Duration;

use libmusig::event::{Event, KeepEvent};
use libmusig::node::{Node, SessionRequest};
use libmusig::protocol::election::ElectionMethod;
use libmusig::protocol::envelope::Content;
use libmusig::signer::LocalSigner;
use libmusig::store::memory::MemoryStore;
use libmusig::types::Txid;
use serde_json::json;

use crate::auditor::audit;
use crate::process::{Cluster, Export, lexicographic};
use test_support::nodes::*;

pub const N: usize = 3;

/// Waits until all confirm; then audits what all hold. Answers the highest attempt.
#[track_caller]
pub fn finish(cluster: &mut Cluster, what: &str) -> u64 {
    let attempt = finish_from_elsewhere(cluster, what);
    (0..N)
        .for_each(|signer| assert!(cluster.said(signer, "KeyInUseElsewhere").is_empty(), "{what}: {signer}"));
    attempt
}

/// Like [`finish`], where an older store may make a key look used elsewhere.
#[track_caller]
pub fn finish_from_elsewhere(cluster: &mut Cluster, what: &str) -> u64 {
    cluster.wait_all("BroadcastConfirmed", 0..N);
    let exports: Vec<Export> = (0..N).map(|signer| cluster.export_of_the_living(signer)).collect();
    let attempt = exports.iter().map(|export| export.attempt).max().unwrap_or_default();
    let findings = audit(exports.into_iter().flat_map(|export| export.envelopes));
    assert!(findings.nonces >= N && findings.partials >= N, "{what}: {findings:?}");
    let txid = cluster.said(0, "SessionComplete")[0]["txid"].as_str().expect("is set").to_owned();
    let txid: Txid = txid.parse().expect("an id");
    assert_eq!(cluster.chain.submissions(&txid).accepted, 1, "{what}");
    for signer in 0..N {
        assert!(cluster.said(signer, "SessionFailed").is_empty(), "{what}: {signer}");
        check_durable_events(cluster, signer, what);
    }
    attempt
}

/// None is lost over all lives of a signer, and those that come for the first time keep their order.
fn check_durable_events(cluster: &Cluster, signer: usize, what: &str) {
    let mut first = Vec::new();
    for said in cluster.log.iter().filter(|said| said.by == signer && said.line["durable"] == true) {
        let event = said.line["event"].as_str().expect("is set").to_owned();
        if event != "KeyInUseElsewhere" && !first.contains(&event) {
            first.push(event);
        }
    }
    let order = ["SessionProposed", "SessionComplete", "ShouldBroadcast", "BroadcastConfirmed"];
    let expected: Vec<&str> =
        order.into_iter().filter(|name| first.iter().any(|event| event == name)).collect();
    assert_eq!(first, expected, "{what}: durable events of {signer}");
    assert!(expected.contains(&"SessionComplete"), "{what}: {signer} has {expected:?}");
    assert!(expected.contains(&"BroadcastConfirmed"), "{what}: {signer} has {expected:?}");
}

/// Whether an export has the nonces, and the consent, of a signer.
pub fn holds(export: &Export, signer: usize) -> (bool, bool) {
    let has = |wanted: fn(&Content) -> bool| {
        export.envelopes.iter().any(|envelope| envelope.body().signer == signer && wanted(envelope.content()))
    };
    (has(|content| matches!(content, Content::Nonces { .. })), has(|content| *content == Content::Accept))
}

#[test]
fn all_killed_after_they_became_holders() {
    let mut cluster = Cluster::start(N, |_| json!({ "open": false }));
    cluster.propose(0, ElectionMethod::Lexicographic);
    cluster.wait_all("SessionComplete", 0..N);
    (0..N).for_each(|signer| cluster.kill(signer));
    (0..N).for_each(|signer| cluster.restart(signer, &json!({})));
    assert_eq!(finish(&mut cluster, "killed as holders"), 0);
}

#[test]
fn killed_between_the_rounds() {
    let [victim, late, proposer] = [lexicographic(N)[0], lexicographic(N)[1], lexicographic(N)[2]];
    let mut cluster = Cluster::start(N, |signer| json!({ "consents": signer != late }));
    cluster.propose(proposer, ElectionMethod::Lexicographic);
    // All are connected, so nonces go out with the consent; nobody can answer them before the last one consents.
    cluster.wait_until_exported(proposer, |export| holds(export, victim) == (true, true));
    cluster.wait_all("SessionProposed", [late]);
    cluster.kill(victim);
    cluster.restart(victim, &json!({}));
    cluster.order(late, &json!({ "order": "join" }));
    assert_eq!(finish(&mut cluster, "killed between the rounds"), 1, "its nonces are lost: another attempt");
    let own = cluster.export(proposer).expect("is there").envelopes;
    let nonces =
        own.iter().filter(|e| e.body().signer == victim && matches!(e.content(), Content::Nonces { .. }));
    assert_eq!(nonces.count(), 2);
}

#[test]
fn killed_before_the_first_round() {
    let [victim, absent, proposer] = [lexicographic(N)[0], lexicographic(N)[1], lexicographic(N)[2]];
    let mut cluster = Cluster::start(N, |_| json!({}));
    cluster.kill(absent);
    cluster.wait_disconnected([victim, proposer]);
    cluster.propose(proposer, ElectionMethod::Lexicographic);
    cluster.wait_until_exported(proposer, |export| holds(export, victim).1);
    let export = cluster.export(proposer).expect("is there");
    assert_eq!(holds(&export, victim), (false, true), "consent, and no nonces while somebody is away");
    cluster.kill(victim);
    cluster.restart(victim, &json!({}));
    cluster.restart(absent, &json!({}));
    assert_eq!(finish(&mut cluster, "killed before the first round"), 0);
}

/// When a signer is killed, and by whom the session is proposed.
#[derive(Clone, Copy, Debug)]
struct Case {
    victim: usize,
    proposer: usize,
    /// A setting of the victim: SIGKILL just before or after its n-th commit, or when it is told of its n-th durable
    /// event or has dealt with it.
    when: &'static str,
    number: u64,
    /// The first coordinator does not submit, so that others have their turn.
    silent: Option<usize>,
}

impl Case {
    /// `false`: there were not that many commits or events.
    fn run(self) -> bool {
        let mut cluster = Cluster::start(N, |signer| {
            let mut settings = json!({ "open": self.silent != Some(signer) });
            if signer == self.victim {
                settings[self.when] = json!(self.number);
            }
            settings
        });
        // One that dies in its own turn comes back before the next turn opens, however busy the machine is.
        cluster.turn = Duration::from_secs(if self.silent.is_some() { 2 } else { 60 });
        cluster.propose(self.proposer, ElectionMethod::Lexicographic);
        let done =
            |cluster: &Cluster| (0..N).all(|signer| !cluster.said(signer, "BroadcastConfirmed").is_empty());
        let died = loop {
            if cluster.bury(self.victim) {
                break true;
            }
            if done(&cluster) {
                break false;
            }
            cluster.take_a_line();
        };
        if died {
            cluster.restart(self.victim, &json!({ "open": self.silent != Some(self.victim) }));
        }
        finish(&mut cluster, &format!("{self:?}"));
        if let Some(silent) = self.silent {
            assert!(cluster.said(silent, "submitted").is_empty(), "{self:?}");
        }
        died
    }
}

/// Runs cases, three at a time. Answers in how many of them the victim died.
fn run_all(cases: impl IntoIterator<Item = Case>) -> u64 {
    let cases: Vec<Case> = cases.into_iter().collect();
    let (next, died) = (AtomicUsize::new(0), AtomicUsize::new(0));
    thread::scope(|scope| {
        for _ in 0..3 {
            scope.spawn(|| {
                while let Some(case) = cases.get(next.fetch_add(1, Ordering::Relaxed)) {
                    died.fetch_add(usize::from(case.run()), Ordering::Relaxed);
                }
            });
        }
    });
    died.into_inner() as u64
}

/// The proposal, consent, nonces, partial signatures, certificate, turn, submission, what the chain shows, and each
/// acknowledgement: commits of a session, in this order, some of them in one.
const COMMITS: u64 = 10;
/// Of a coordinator that does not propose: the proposal, the completion, its turn, the confirmation.
const EVENTS: u64 = 4;

#[test]
fn killed_at_every_commit() {
    let [victim, other, _] = lexicographic(N)[..] else { panic!("three signers") };
    let case = |proposer, number| Case { victim, proposer, when: "die_after", number, silent: None };
    let coordinator = (0..COMMITS).map(|commit| case(other, commit));
    let proposer = (0..COMMITS).step_by(2).map(|commit| case(victim, commit));
    let died = run_all(coordinator.chain(proposer));
    assert!(died >= COMMITS, "only {died} died: the cases do not reach what they are about");
}

/// The application is told of something, or has dealt with it, and dies before it says so.
#[test]
fn killed_at_every_durable_event() {
    let [victim, proposer, _] = lexicographic(N)[..] else { panic!("three signers") };
    let cases = (0..EVENTS).flat_map(|number| {
        ["die_before_event", "die_after_event"].map(|when| Case {
            victim,
            proposer,
            when,
            number,
            silent: None,
        })
    });
    // That one dies at the very last event may be noticed only after everything is done.
    let died = run_all(cases);
    assert!(died >= 2 * EVENTS - 1, "only {died} died: the cases do not reach what they are about");
}

/// The coordinator never submits: the next one dies when its turn comes, when it submits, and when it sees that.
#[test]
fn killed_at_every_step_of_a_later_turn() {
    let [silent, victim, proposer] = lexicographic(N)[..] else { panic!("three signers") };
    let silent = Some(silent);
    let commits = (3..COMMITS).map(|number| Case { victim, proposer, when: "die_after", number, silent });
    let events = (1..EVENTS).flat_map(|number| {
        ["die_before_event", "die_after_event"].map(|when| Case { victim, proposer, when, number, silent })
    });
    let died = run_all(commits.chain(events));
    // On a busy machine the turn after it may come before it is through all of them.
    assert!(died >= 2 * (EVENTS - 1), "only {died} died: the cases do not reach what they are about");
}

#[test]
#[ignore = "minutes; make test-full runs it"]
fn killed_before_and_after_every_commit() {
    let list = lexicographic(N);
    let mut cases = Vec::new();
    for silent in [None, Some(list[0])] {
        for number in 0..2 * COMMITS {
            for victim in list.iter().copied() {
                let case = |when| Case { victim, proposer: list[1], when, number, silent };
                // What is killed before its own proposal is on the disk has proposed nothing.
                if (number, victim) != (0, list[1]) {
                    cases.push(case("die_before"));
                }
                cases.push(case("die_after"));
            }
        }
    }
    run_all(cases);
}

/// By export and import alone there is nobody to compare with: what is imported takes that place.
#[test]
fn restarted_without_a_network() {
    let stores = [MemoryStore::new(), MemoryStore::new()];
    let start =
        |index: usize| builder(secret(index)).store(stores[index].clone()).offline().start().expect("starts");
    let nodes = [start(0), start(1)];
    let session = nodes[0].create_session(SessionRequest::messages(keys(2), vec![message(1)]));
    let id = session.wait().expect("is created").id();
    let pass = |from: &Node, to: &Node| {
        let bytes = from.session(id).export().wait().expect("is known");
        to.import(bytes).wait().expect("imports");
    };
    pass(&nodes[0], &nodes[1]);
    nodes[0].stop().expect("stops");
    let first = start(0);
    nodes[1].session(id).join().wait().expect("joins");
    wait_until("both are holders", || {
        pass(&nodes[1], &first);
        pass(&first, &nodes[1]);
        let done = |node: &Node| node.session(id).final_signatures().wait().expect("known").is_some();
        done(&first) && done(&nodes[1])
    });
    first.stop().expect("stops");
    nodes[1].stop().expect("stops");
}

/// The durable events that come now, without the notices.
fn durable(node: &Node) -> Vec<(u64, String)> {
    let mut events = Vec::new();
    while let Some(event) = node.try_next_event().expect("runs") {
        if event.durable {
            let name = format!("{:?}", event.event);
            events.push((event.id, name.split([' ', '(']).next().unwrap_or_default().to_owned()));
        }
    }
    events
}

fn names(events: &[(u64, String)]) -> Vec<&str> {
    events.iter().map(|(_, name)| name.as_str()).collect()
}

#[test]
fn durable_events_come_again_until_they_are_acknowledged() {
    let directory = tempfile::tempdir().expect("a directory");
    let start = || {
        let node = node_builder()
            .signer(LocalSigner::new(secret(0)).expect("a key"))
            .store_path(directory.path().join("node.redb"))
            .offline()
            .without_observer()
            .start()
            .expect("starts");
        // An answer comes after what was to be told at the start.
        node.metrics().wait().expect("runs");
        node
    };
    let both = ["SessionComplete", "ShouldBroadcast"];
    let node = start();
    let request = SessionRequest::messages(keys(1), vec![message(1)]);
    let session = node.create_session(request).wait().expect("is created");
    let mut events = Vec::new();
    wait_until("it is asked to broadcast", || {
        events.extend(durable(&node));
        events.len() == 2
    });
    assert_eq!(names(&events), both);
    assert_eq!(durable(&node), [], "each is handed out once");
    node.redeliver().wait().expect("runs");
    let again = durable(&node);
    assert_eq!(names(&again), both);
    assert!(!node.event_handled(events[0].0), "the old number is gone");
    node.stop().expect("stops");

    let node = start();
    let events = durable(&node);
    assert_eq!(names(&events), both, "nobody acknowledged them");
    assert!(node.event_handled(events[0].0));
    assert!(!node.event_handled(events[0].0), "once");
    node.metrics().wait().expect("runs");
    node.stop().expect("stops");

    let node = start();
    let events = durable(&node);
    assert_eq!(names(&events), ["ShouldBroadcast"]);
    node.session(session.id()).notify_broadcast_complete(None).wait().expect("is complete");
    node.stop().expect("stops");

    let node = start();
    let events = durable(&node);
    assert_eq!(names(&events), ["BroadcastConfirmed"], "what was asked for is done");
    assert!(node.event_handled(events[0].0));
    node.metrics().wait().expect("runs");
    node.stop().expect("stops");
    let node = start();
    assert_eq!(durable(&node), []);
    node.stop().expect("stops");
}

#[test]
fn a_handler_keeps_an_event_by_failing() {
    let directory = tempfile::tempdir().expect("a directory");
    let (seen, keep) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(1)));
    let start = || {
        let (seen, keep) = (seen.clone(), keep.clone());
        node_builder()
            .signer(LocalSigner::new(secret(0)).expect("a key"))
            .store_path(directory.path().join("node.redb"))
            .offline()
            .without_observer()
            .event_handler(move |event| {
                if matches!(event.event, Event::SessionComplete { .. }) {
                    seen.fetch_add(1, Ordering::SeqCst);
                    match keep.load(Ordering::SeqCst) {
                        0 => {}
                        1 => return Err(KeepEvent),
                        _ => panic!("a handler that fails in its own way"),
                    }
                }
                Ok(())
            })
            .start()
            .expect("starts")
    };
    let wait_seen = |count: usize| wait_until("it is told", || seen.load(Ordering::SeqCst) == count);
    let node = start();
    let request = SessionRequest::messages(keys(1), vec![message(1)]);
    node.create_session(request).wait().expect("is created");
    wait_seen(1);
    node.stop().expect("stops");
    keep.store(2, Ordering::SeqCst);
    let node = start();
    wait_seen(2);
    node.stop().expect("stops");
    keep.store(0, Ordering::SeqCst);
    let node = start();
    wait_seen(3);
    wait_until("it is acknowledged", || node.metrics().wait().expect("runs").events_waiting == 0);
    node.redeliver().wait().expect("runs");
    wait_until("all is told", || node.metrics().wait().expect("runs").events_waiting == 0);
    assert_eq!(seen.load(Ordering::SeqCst), 3);
    node.stop().expect("stops");
    let node = start();
    wait_until("all is told", || node.metrics().wait().expect("runs").events_waiting == 0);
    node.stop().expect("stops");
    assert_eq!(seen.load(Ordering::SeqCst), 3);
}
