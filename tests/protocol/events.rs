//! The exact list of events at each node.

use std::time::Duration;

use libmusig::protocol::event::Event;
use libmusig::types::SessionId;

use test_support::cluster::{Cluster, Duty, Options};

fn run(change: impl FnOnce(&mut Options), raw: bool) -> (Cluster, SessionId) {
    let mut options = Options::new(5);
    change(&mut options);
    let mut cluster = Cluster::new(options);
    cluster.run_for(Duration::from_millis(20));
    let terms = if raw { cluster.raw_terms() } else { cluster.terms() };
    let session = cluster.create_with(0, terms);
    cluster.complete(&session);
    cluster.run_for(Duration::from_secs(30));
    let now = cluster.now();
    cluster.chain.mine(now);
    cluster.run_for(Duration::from_secs(60));
    let now = cluster.now();
    cluster.chain.mine_blocks(5, now);
    cluster.run_for(Duration::from_secs(120));
    (cluster, session)
}

fn expected(parts: &[(&str, usize)]) -> Vec<String> {
    parts.iter().flat_map(|(name, times)| vec![(*name).to_owned(); *times]).collect()
}

const SIGNING: [(&str, usize); 4] =
    [("SessionJoined", 5), ("SessionReady", 1), ("NoncesComplete", 1), ("SessionComplete", 1)];

fn check(cluster: &Cluster, session: &SessionId, coordinator: &[&str], others: &[&str]) {
    for node in 0..5 {
        let (first, last) =
            if node == 0 { ("SessionCreated", coordinator) } else { ("SessionProposed", others) };
        let mut parts = vec![(first, 1)];
        parts.extend(SIGNING);
        parts.extend(last.iter().map(|name| (*name, 1)));
        assert_eq!(cluster.names(node, session), expected(&parts), "at {node}");
    }
}

#[test]
fn events_with_an_observer_and_a_broadcaster() {
    let (cluster, session) = run(|_| {}, false);
    check(
        &cluster,
        &session,
        &["ShouldBroadcast", "BroadcastSeen", "BroadcastConfirmed"],
        &["BroadcastClaimed", "BroadcastSeen", "BroadcastConfirmed"],
    );
    assert_eq!(cluster.submitters(), [0]);
    for node in 0..5 {
        for (_, event) in cluster.nodes[node].events.iter() {
            let durable = matches!(
                event.event,
                Event::SessionProposed { .. }
                    | Event::SessionComplete { .. }
                    | Event::ShouldBroadcast { .. }
                    | Event::BroadcastConfirmed { .. }
            );
            assert_eq!(event.durable.is_some(), durable, "{event:?}");
        }
    }
}

#[test]
fn events_with_an_observer_and_without_a_broadcaster() {
    let (cluster, session) = run(|options| options.settings.broadcaster = false, false);
    check(
        &cluster,
        &session,
        &["ShouldBroadcast", "BroadcastSeen", "BroadcastConfirmed"],
        &["BroadcastClaimed", "BroadcastSeen", "BroadcastConfirmed"],
    );
    assert_eq!(cluster.submitters(), [0]);
}

#[test]
fn events_with_an_observer_and_without_claims() {
    let (cluster, session) = run(|options| options.settings.claims = false, false);
    check(
        &cluster,
        &session,
        &["ShouldBroadcast", "BroadcastSeen", "BroadcastConfirmed"],
        &["BroadcastSeen", "BroadcastConfirmed"],
    );
}

#[test]
fn without_an_observer_the_claim_reaches_the_others_and_their_applications_notify() {
    let without = |options: &mut Options| {
        (options.settings.observer, options.settings.broadcaster) = (false, false);
    };
    for raw in [false, true] {
        let (cluster, session) = run(without, raw);
        check(
            &cluster,
            &session,
            &["ShouldBroadcast", "BroadcastConfirmed"],
            &["BroadcastClaimed", "BroadcastConfirmed"],
        );
        assert_eq!(cluster.submitters(), [0], "nobody else, and nobody is exhausted");
        for node in 1..5 {
            let (_, claimed) = cluster.nodes[node]
                .events
                .iter()
                .find(|(_, event)| matches!(event.event, Event::BroadcastClaimed { .. }))
                .expect("it was told");
            assert!(claimed.durable.is_some(), "the application is the observer");
        }
    }
}

#[test]
fn raw_messages_are_watched_by_the_application_even_if_there_is_an_observer() {
    let (cluster, session) = run(|_| {}, true);
    check(
        &cluster,
        &session,
        &["ShouldBroadcast", "BroadcastConfirmed"],
        &["BroadcastClaimed", "BroadcastConfirmed"],
    );
}

#[test]
fn with_a_broadcaster_and_without_an_observer_nobody_is_exhausted() {
    let (cluster, session) = run(|options| options.settings.observer = false, false);
    check(
        &cluster,
        &session,
        &["ShouldBroadcast", "BroadcastClaimed", "BroadcastConfirmed"],
        &["BroadcastClaimed", "BroadcastConfirmed"],
    );
    assert_eq!(cluster.submitters(), [0]);
}

#[test]
fn without_an_observer_and_without_a_word_everybody_is_asked_and_alarmed() {
    let mut options = Options::new(3);
    (options.settings.observer, options.settings.broadcaster) = (false, false);
    let mut cluster = Cluster::new(options);
    for node in &mut cluster.nodes {
        node.application.duty = Duty::SubmitsQuietly;
    }
    cluster.run_for(Duration::from_millis(20));
    let session = cluster.create(0, |_| {});
    cluster.complete(&session);
    cluster.run_for(Duration::from_millis(30_100));
    for node in 0..3 {
        assert_eq!(cluster.count(node, &session, "FailoverExhausted"), 1, "at {node}");
        assert_eq!(cluster.count(node, &session, "BroadcastConfirmed"), 0, "at {node}");
    }
    let asked: Vec<usize> = (0..3).map(|node| cluster.count(node, &session, "ShouldBroadcast")).collect();
    assert_eq!(asked, [4, 3, 2], "again after each timeout: a turn never closes");
}
