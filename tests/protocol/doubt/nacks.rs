//! NACKs and other reasons to pass over a signer: the next turn opens at once, and no alarm comes early.

use std::time::Duration;

use libmusig::protocol::envelope::Content;
use libmusig::protocol::event::Event;

use super::{TIMEOUT, all_broadcasters, held, submissions};
use test_support::cluster::{Broadcaster, Cluster, Duty, Options};

#[test]
fn a_nack_opens_the_next_turn_at_once() {
    let (mut cluster, session) = held(5, |cluster| {
        cluster.nodes[0].broadcaster = Broadcaster::Unreachable;
    });
    cluster.run_for(TIMEOUT * 3);
    let (by, after) = submissions(&cluster, &session)[0];
    assert_eq!(by, 1);
    assert!(after < Duration::from_millis(200), "{after:?}");
    assert_eq!(submissions(&cluster, &session).len(), 1);
}

#[test]
fn nacks_of_all_signers_exhaust_nothing_early() {
    let (mut cluster, session) = held(4, |cluster| all_broadcasters(cluster, &Broadcaster::Unreachable));
    cluster.run_for(TIMEOUT * 4 - Duration::from_millis(100));
    for node in 0..4 {
        assert_eq!(cluster.count(node, &session, "FailoverExhausted"), 0, "at {node}");
        assert!(cluster.count(node, &session, "ShouldBroadcast") > 0, "at {node}");
    }
    cluster.run_for(Duration::from_millis(200));
    for node in 0..4 {
        assert_eq!(cluster.count(node, &session, "FailoverExhausted"), 1, "at {node}");
    }
}

#[test]
fn a_signer_that_sent_a_nack_goes_on_submitting() {
    let (mut cluster, session) = held(2, |cluster| {
        cluster.nodes[0].broadcaster = Broadcaster::Unreachable;
        cluster.nodes[1].broadcaster = Broadcaster::Hangs;
    });
    cluster.run_for(Duration::from_secs(25));
    cluster.nodes[0].broadcaster = Broadcaster::Works;
    cluster.run_for(TIMEOUT + Duration::from_secs(1));
    assert_eq!(submissions(&cluster, &session)[0].0, 0);
}

#[test]
fn a_nack_speaks_for_its_own_signer_only() {
    let (mut cluster, session) = held(3, |cluster| all_broadcasters(cluster, &Broadcaster::Hangs));
    let nack = cluster.forge(2, session, 2, Content::Nack { reason: String::new() });
    (0..2).for_each(|to| cluster.inject(2, to, std::slice::from_ref(&nack)));
    // Somebody who signs for another.
    let forged = cluster.forge(2, session, 0, Content::Nack { reason: String::new() });
    cluster.inject(2, 1, &[forged]);
    cluster.run_for(TIMEOUT - Duration::from_millis(100));
    assert_eq!(cluster.count(1, &session, "CoordinatorFailed"), 0);
    assert_eq!(cluster.engine(1).refused().signatures, 1);
    cluster.run_for(Duration::from_millis(200));
    assert_eq!(cluster.count(1, &session, "ShouldBroadcast"), 1);
}

#[test]
fn a_rejection_is_no_nack_and_excuses_nobody() {
    let words = "min relay fee not met";
    let (mut cluster, session) = held(3, |cluster| {
        cluster.nodes[0].broadcaster = Broadcaster::Rejects(words.into());
    });
    cluster.run_for(TIMEOUT - Duration::from_millis(100));
    assert_eq!(cluster.count(0, &session, "BroadcastRejected"), 1);
    assert!(
        cluster
            .events(0, &session)
            .any(|(_, event)| matches!(event, Event::BroadcastRejected { reason } if reason == words))
    );
    assert!(cluster.submitters().is_empty());
    assert_eq!(cluster.count(1, &session, "CoordinatorFailed"), 0);
    cluster.run_for(Duration::from_secs(1));
    assert_eq!(cluster.submitters(), [1]);
}

#[test]
fn the_application_may_send_a_nack() {
    let mut options = Options::new(3);
    options.settings.broadcaster = false;
    let mut cluster = Cluster::new(options);
    cluster.nodes[0].application.duty = Duty::CannotReach;
    cluster.run_for(Duration::from_millis(20));
    let session = cluster.create(0, |_| {});
    cluster.complete(&session);
    cluster.run_for(Duration::from_secs(1));
    assert_eq!(cluster.submitters(), [1]);
}

#[test]
fn a_silent_signer_is_passed_over_if_dead_after_is_set() {
    let (mut cluster, session) = held(3, |cluster| {
        for node in &mut cluster.nodes {
            node.settings.dead_after = Some(Duration::from_secs(2));
        }
        for node in 0..3 {
            cluster.crash(node);
            cluster.start(node);
        }
        cluster.nodes[0].broadcaster = Broadcaster::Hangs;
    });
    cluster.crash(0);
    for _ in 0..30 {
        // What connections that are alive report.
        for (node, other) in [(1, 2), (2, 1)] {
            let key = cluster.nodes[other].key;
            cluster.drive(node, |engine, now| engine.heard(key, now));
        }
        cluster.run_for(Duration::from_millis(100));
    }
    let all = submissions(&cluster, &session);
    let [(by, after)] = all[..] else { panic!("one submission, not {all:?}") };
    assert_eq!(by, 1);
    assert!(after >= Duration::from_secs(2) && after < Duration::from_millis(2200), "{after:?}");
}
