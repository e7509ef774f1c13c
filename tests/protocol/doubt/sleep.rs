//! A node that slept through turns: it asks its observer first, then submits.

use std::time::Duration;

use libmusig::protocol::event::Event;
use libmusig::types::SessionId;

use super::{TIMEOUT, all_broadcasters, held, submissions, txid};
use test_support::cluster::{Broadcaster, Cluster};

fn session_of(cluster: &Cluster) -> SessionId {
    cluster.engine(0).ids()[0]
}

fn slept(change: impl FnOnce(&mut Cluster)) -> (Cluster, SessionId, Duration) {
    let (mut cluster, session) = held(5, |cluster| all_broadcasters(cluster, &Broadcaster::Hangs));
    cluster.nodes[4].broadcaster = Broadcaster::Works;
    cluster.sleep(4);
    cluster.run_for(Duration::from_secs(3600));
    assert!(cluster.submitters().is_empty());
    change(&mut cluster);
    let woke = cluster.now();
    cluster.wake(4);
    (cluster, session, woke)
}

#[test]
fn a_node_that_slept_through_all_turns_asks_its_observer_and_submits() {
    let (mut cluster, session, woke) = slept(|_| {});
    let asked = cluster.nodes[4].observations;
    cluster.run_for(Duration::from_secs(6));
    assert!(cluster.nodes[4].observations > asked);
    assert_eq!(cluster.submitters(), [4]);
    let took = cluster.chain.submissions[0].at - woke;
    // One answer of the observer, then one of the broadcaster.
    assert_eq!(took, cluster.options.chain * 2);
    let missed: Vec<_> = cluster
        .events(4, &session)
        .filter_map(|(_, event)| match event {
            Event::CoordinatorFailed { failed, next, turn, .. } => {
                Some((failed.clone(), next.clone(), *turn))
            }
            _ => None,
        })
        .collect();
    assert_eq!(missed, [(vec![0, 1, 2, 3], vec![4], 4)], "turns missed while asleep come as one");
    assert_eq!(cluster.count(4, &session, "ShouldBroadcast"), 1);
    assert_eq!(cluster.count(4, &session, "FailoverExhausted"), 1);
    let names = cluster.names(4, &session);
    let position = |name: &str| names.iter().position(|each| each == name);
    assert!(position("ShouldBroadcast") < position("FailoverExhausted"));
}

#[test]
fn a_woken_node_does_not_wait_for_an_observer_that_hangs() {
    let (mut cluster, _, woke) = slept(|cluster| cluster.nodes[4].observer_hangs = true);
    cluster.run_for(Duration::from_secs(6));
    assert_eq!(cluster.submitters(), [4]);
    let took = cluster.chain.submissions[0].at - woke;
    assert_eq!(took, Duration::from_secs(5) + cluster.options.chain);
}

#[test]
fn a_woken_node_submits_nothing_that_was_submitted_already() {
    let (mut cluster, session, _) = slept(|cluster| {
        let (txid, now) = (txid(cluster, &session_of(cluster)), cluster.now());
        cluster.chain.submit(2, txid, now);
    });
    cluster.run_for(Duration::from_secs(60));
    assert!(!cluster.submitters().contains(&4));
    assert_eq!(cluster.count(4, &session, "BroadcastSeen"), 1);
    assert_eq!(cluster.count(4, &session, "ShouldBroadcast"), 0);
}

#[test]
fn sleep_before_the_own_turn_changes_nothing() {
    let (mut cluster, session) = held(3, |cluster| {
        cluster.nodes[0].broadcaster = Broadcaster::Hangs;
    });
    cluster.run_for(Duration::from_secs(1));
    cluster.sleep(1);
    cluster.run_for(Duration::from_secs(3));
    cluster.wake(1);
    cluster.run_for(TIMEOUT);
    let (by, after) = submissions(&cluster, &session)[0];
    assert_eq!((by, after), (1, TIMEOUT + cluster.options.chain), "punctual, without asking first");
}
