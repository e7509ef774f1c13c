//! The exact list of events at each node.

use std::time::Duration;

use libmusig::protocol::event::{BroadcastBy, Event};
use libmusig::types::SessionId;

use test_support::cluster::{Broadcaster, Cluster, Duty, Options};

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

/// Whose turn it was, and who broadcast, as each event of a node says it.
fn broadcasts(cluster: &Cluster, node: usize, session: &SessionId) -> Vec<(Vec<usize>, BroadcastBy)> {
    let told = cluster.events(node, session).filter_map(|(_, event)| match event {
        Event::BroadcastSeen { coordinators, by, .. }
        | Event::BroadcastConfirmed { coordinators, by, .. } => Some((coordinators.clone(), *by)),
        _ => None,
    });
    told.collect()
}

#[test]
fn seen_and_confirmed_say_whose_turn_it_was_and_by_whom() {
    let claimed = |signer| BroadcastBy::Claimed { signer };
    let (cluster, session) = run(|_| {}, false);
    assert_eq!(broadcasts(&cluster, 0, &session), vec![(vec![0], BroadcastBy::Own); 2]);
    for node in 1..5 {
        assert_eq!(broadcasts(&cluster, node, &session), vec![(vec![0], claimed(0)); 2], "{node}");
    }
    // Without an observer: the one that broadcast reports it, and the others check its claim.
    let without = |options: &mut Options| {
        (options.settings.observer, options.settings.broadcaster) = (false, false);
    };
    let (cluster, session) = run(without, false);
    assert_eq!(broadcasts(&cluster, 0, &session), [(vec![0], BroadcastBy::Own)]);
    assert_eq!(broadcasts(&cluster, 3, &session), [(vec![0], claimed(0))]);
    // Nobody says anything.
    let (cluster, session) = run(|options| options.settings.claims = false, false);
    assert_eq!(broadcasts(&cluster, 0, &session), vec![(vec![0], BroadcastBy::Own); 2]);
    assert_eq!(broadcasts(&cluster, 4, &session), vec![(vec![0], BroadcastBy::Unknown); 2]);
}

#[test]
fn seen_and_confirmed_after_a_failover_name_the_backup() {
    let mut cluster = Cluster::new(Options::new(3));
    cluster.nodes[0].broadcaster = Broadcaster::Hangs;
    cluster.run_for(Duration::from_millis(20));
    let terms = cluster.terms();
    let session = cluster.create_with(0, terms);
    cluster.complete(&session);
    let timeout = Duration::from_secs(300);
    cluster.run_for(timeout + Duration::from_secs(60));
    assert_eq!(cluster.submitters(), [1]);
    let now = cluster.now();
    cluster.chain.mine(now);
    cluster.run_for(Duration::from_secs(120));
    assert_eq!(broadcasts(&cluster, 1, &session), vec![(vec![1], BroadcastBy::Own); 2]);
    for node in [0, 2] {
        let by = BroadcastBy::Claimed { signer: 1 };
        assert_eq!(broadcasts(&cluster, node, &session), vec![(vec![1], by); 2], "{node}");
    }
    // After a restart the durable one says the same.
    let confirmed = |cluster: &Cluster| {
        let events = cluster.events(2, &session);
        events.filter(|(_, event)| matches!(event, Event::BroadcastConfirmed { .. })).count()
    };
    cluster.nodes[2].application.acknowledges = false;
    assert_eq!(confirmed(&cluster), 1);
}
