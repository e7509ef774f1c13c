//! The application's word that the transaction is broadcast, and its request to submit now.

use std::time::Duration;

use libmusig::error::Error;
use libmusig::protocol::status::Phase;
use libmusig::types::{SessionId, Txid};

use super::{TIMEOUT, held};
use test_support::cluster::{Broadcaster, Cluster, Consent, Duty, Options};

fn applications(observer: bool, duty: Duty) -> (Cluster, SessionId) {
    let mut options = Options { sync: Duration::ZERO, ..Options::new(3) };
    (options.settings.observer, options.settings.broadcaster) = (observer, false);
    let mut cluster = Cluster::new(options);
    for node in &mut cluster.nodes {
        node.application.duty = duty;
        node.application.checks_claims = false;
    }
    cluster.run_for(Duration::from_millis(20));
    let session = cluster.create(0, |_| {});
    cluster.complete(&session);
    (cluster, session)
}

#[test]
fn notify_inside_the_handler_ends_the_own_watch_without_observer() {
    let (mut cluster, session) = applications(false, Duty::Submits);
    cluster.run_for(Duration::from_millis(1));
    assert_eq!(cluster.count(0, &session, "BroadcastConfirmed"), 1);
    assert_eq!(cluster.status(0, &session).phase, Phase::Final);
    cluster.run_for(TIMEOUT * 5);
    assert_eq!(cluster.count(0, &session, "ShouldBroadcast"), 1);
    assert_eq!(cluster.count(0, &session, "FailoverExhausted"), 0);
}

#[test]
fn notify_with_an_observer_leaves_the_decision_to_the_observer() {
    let (mut cluster, session) = applications(true, Duty::OnlySays);
    cluster.run_for(TIMEOUT * 3 + Duration::from_secs(1));
    for node in 0..3 {
        assert_eq!(cluster.count(node, &session, "BroadcastConfirmed"), 0);
        assert_eq!(cluster.count(node, &session, "FailoverExhausted"), 1, "at {node}");
        assert_eq!(cluster.status(node, &session).phase, Phase::Watching);
    }
}

#[test]
fn notify_twice_is_idempotent() {
    let (mut cluster, session) = applications(false, Duty::Ignores);
    for _ in 0..2 {
        let result =
            cluster.ask(0, |engine, request, now| engine.notify_broadcast(&session, None, request, now));
        assert_eq!(result, Ok(()));
    }
    cluster.run_for(Duration::from_secs(1));
    assert_eq!(cluster.count(0, &session, "BroadcastConfirmed"), 1);
    assert_eq!(cluster.count(1, &session, "BroadcastClaimed"), 1);
    let answered = cluster.nodes[0].done.iter().filter(|(_, result)| result.is_ok()).count();
    assert_eq!(answered, 3, "create and both notifications are answered");
}

#[test]
fn notify_after_exhaustion_ends_the_watch() {
    let (mut cluster, session) = applications(false, Duty::Ignores);
    cluster.run_for(TIMEOUT * 4);
    assert_eq!(cluster.count(0, &session, "FailoverExhausted"), 1);
    cluster.notify(0, session);
    assert_eq!(cluster.status(0, &session).phase, Phase::Final);
    let asked = cluster.count(0, &session, "ShouldBroadcast");
    cluster.run_for(TIMEOUT * 4);
    assert_eq!(cluster.count(0, &session, "ShouldBroadcast"), asked);
}

#[test]
fn notify_by_another_signer_ends_its_own_watch_only() {
    let (mut cluster, session) = applications(false, Duty::Ignores);
    cluster.notify(2, session);
    cluster.run_for(Duration::from_secs(1));
    assert_eq!(cluster.status(2, &session).phase, Phase::Final);
    assert_eq!(cluster.count(0, &session, "BroadcastClaimed"), 1);
    assert_eq!(cluster.status(0, &session).phase, Phase::Watching, "others decide for themselves");
    assert_eq!(cluster.status(1, &session).phase, Phase::Watching);
}

#[test]
fn notify_of_another_transaction_is_refused() {
    let (mut cluster, session) = applications(false, Duty::Ignores);
    let result = cluster
        .ask(0, |engine, request, now| engine.notify_broadcast(&session, Some(Txid([1; 32])), request, now));
    assert!(matches!(result, Err(Error::WrongState { .. })), "{result:?}");
    assert_eq!(cluster.status(0, &session).phase, Phase::Watching);
}

#[test]
fn notify_before_the_signatures_is_refused() {
    let mut cluster = Cluster::new(Options::new(2));
    cluster.nodes[1].application.consent = Consent::Waits;
    cluster.run_for(Duration::from_millis(20));
    let session = cluster.create(0, |_| {});
    cluster.run_for(Duration::from_secs(1));
    for node in 0..2 {
        let result =
            cluster.ask(node, |engine, request, now| engine.notify_broadcast(&session, None, request, now));
        assert!(matches!(result, Err(Error::WrongState { .. })), "{result:?}");
    }
}

#[test]
fn broadcast_now_submits_out_of_turn() {
    let (mut cluster, session) = held(3, |cluster| {
        cluster.nodes[0].broadcaster = Broadcaster::Hangs;
    });
    cluster.run_for(Duration::from_secs(1));
    let result = cluster.ask(2, |engine, request, now| engine.broadcast_now(&session, request, now));
    assert_eq!(result, Ok(()));
    cluster.run_for(Duration::from_secs(1));
    assert_eq!(cluster.submitters(), [2]);
    cluster.run_for(TIMEOUT * 4);
    assert_eq!(cluster.submitters(), [2]);
}
