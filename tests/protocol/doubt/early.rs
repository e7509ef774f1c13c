//! Turns that open before their regular start: who is gone, or does not hold the signatures, is not waited for.

use std::time::Duration;

use libmusig::EarlyTurns;
use libmusig::protocol::envelope::{Content, Envelope};
use libmusig::protocol::event::{Event, FailureCause};
use libmusig::protocol::wire::{self, pb};
use libmusig::types::SessionId;

use super::{TIMEOUT, all_broadcasters, held, submissions};
use test_support::cluster::{Broadcaster, Cluster, Options};
use test_support::party::policy;

const SECOND: Duration = Duration::from_secs(1);
const MOMENT: Duration = Duration::from_millis(100);

/// Of whom a node was told that they failed, and why.
pub(super) fn failures(cluster: &Cluster, node: usize, session: &SessionId) -> Vec<(usize, FailureCause)> {
    let told = cluster.events(node, session).filter_map(|(_, event)| match event {
        Event::CoordinatorFailed { failed, causes, .. } => Some((failed.clone(), causes.clone())),
        _ => None,
    });
    told.flat_map(|(failed, causes)| {
        assert_eq!(failed.len(), causes.len());
        failed.into_iter().zip(causes)
    })
    .collect()
}

pub(super) fn switch(cluster: &mut Cluster, early: EarlyTurns) {
    for node in 0..cluster.nodes.len() {
        cluster.nodes[node].settings.early_turns = early;
        cluster.crash(node);
        cluster.start(node);
    }
}

#[test]
fn a_gone_coordinator_is_passed_over_after_a_second() {
    let (mut cluster, session) = held(3, |cluster| cluster.nodes[0].broadcaster = Broadcaster::Hangs);
    cluster.run_for(SECOND);
    cluster.crash(0);
    cluster.run_for(SECOND - MOMENT);
    assert_eq!(submissions(&cluster, &session), [], "a connection may come back");
    cluster.run_for(2 * MOMENT);
    assert_eq!(cluster.submitters(), [1]);
    assert_eq!(failures(&cluster, 1, &session), [(0, FailureCause::Gone)]);
    assert_eq!(failures(&cluster, 2, &session), [(0, FailureCause::Gone)]);
    // The one after it is not sooner than the timeout, for the second signer is there.
    cluster.run_for(2 * TIMEOUT);
    assert_eq!(submissions(&cluster, &session).len(), 1);
}

#[test]
fn each_gone_coordinator_costs_a_second_and_the_last_signer_is_left() {
    let (mut cluster, _) = held(5, |cluster| all_broadcasters(cluster, &Broadcaster::Hangs));
    cluster.nodes[4].broadcaster = Broadcaster::Works;
    (0..4).for_each(|node| cluster.crash(node));
    cluster.run_for(SECOND + MOMENT);
    assert_eq!(cluster.submitters(), [4]);
}

#[test]
fn a_connection_that_comes_back_within_a_second_opens_nothing() {
    let (mut cluster, session) = held(3, |cluster| all_broadcasters(cluster, &Broadcaster::Hangs));
    for _ in 0..3 {
        cluster.cut(0, 1, true);
        cluster.run_for(SECOND - MOMENT);
        cluster.cut(0, 1, false);
        cluster.run_for(SECOND);
    }
    assert_eq!(cluster.count(1, &session, "CoordinatorFailed"), 0);
    cluster.run_for(TIMEOUT);
    assert_eq!(failures(&cluster, 1, &session), [(0, FailureCause::Timeout)]);
}

#[test]
fn who_was_never_connected_is_not_gone() {
    // A star: the others see the coordinator through its hub alone, and it is the last in the list that is the hub.
    let (mut cluster, session) = held(4, |cluster| {
        all_broadcasters(cluster, &Broadcaster::Hangs);
        for (one, other) in [(0, 1), (0, 2), (1, 2)] {
            cluster.cut(one, other, true);
        }
    });
    cluster.run_for(TIMEOUT - MOMENT);
    for node in 0..4 {
        assert_eq!(cluster.count(node, &session, "CoordinatorFailed"), 0, "at {node}");
    }
}

#[test]
fn who_opens_a_turn_early_asks_first() {
    // The coordinator broadcasts, says nothing of it and dies.
    let (mut cluster, _) = held(3, |cluster| {
        cluster.nodes.iter_mut().for_each(|node| node.settings.claims = false);
        (0..3).for_each(|node| {
            cluster.crash(node);
            cluster.start(node);
        });
    });
    cluster.run_for(MOMENT);
    assert_eq!(cluster.submitters(), [0]);
    cluster.crash(0);
    cluster.run_for(2 * TIMEOUT);
    assert_eq!(cluster.submitters(), [0], "a hedge costs a question, not a duplicate");
}

#[test]
fn who_opens_a_turn_early_asks_for_five_seconds_and_not_beyond_its_regular_start() {
    for (dies, submits) in [(Duration::ZERO, 6 * SECOND), (TIMEOUT - 3 * SECOND, TIMEOUT)] {
        let (mut cluster, _) = held(3, |cluster| {
            cluster.nodes[0].broadcaster = Broadcaster::Hangs;
            cluster.nodes[1].observer_hangs = true;
        });
        cluster.run_for(dies);
        cluster.crash(0);
        cluster.run_for(submits - dies - MOMENT);
        assert!(cluster.submitters().is_empty(), "{dies:?}");
        cluster.run_for(2 * MOMENT);
        assert_eq!(cluster.submitters(), [1], "{dies:?}");
    }
}

#[test]
fn a_coordinator_that_does_not_hold_the_signatures_is_waited_for_for_five_seconds() {
    // The coordinator is connected, and neither partial signatures nor a certificate arrive there, in one of two cases.
    for holds in [true, false] {
        let mut cluster = Cluster::new(Options { sync: Duration::ZERO, ..Options::new(3) });
        all_broadcasters(&mut cluster, &Broadcaster::Hangs);
        let partial = |bytes: &Vec<u8>| {
            let envelope = Envelope::decode(bytes).expect("it was sent");
            matches!(envelope.content(), Content::Partial { .. })
        };
        cluster.on_frame = Some(Box::new(move |_, to, frame| {
            let completes = !frame.certificates.is_empty() || frame.envelopes.iter().any(partial);
            holds || to != 0 || !completes
        }));
        cluster.run_for(Duration::from_millis(20));
        let session = cluster.create(0, |terms| policy(terms).broadcast_timeout = TIMEOUT);
        let others = |cluster: &Cluster| cluster.holds(1, &session) && cluster.holds(2, &session);
        assert!(cluster.run_until(SECOND, |cluster| others(cluster)));
        cluster.run_for(5 * SECOND - MOMENT);
        assert_eq!(cluster.holds(0, &session), holds);
        assert_eq!(cluster.count(1, &session, "CoordinatorFailed"), 0, "{holds}");
        cluster.run_for(2 * MOMENT);
        let failed = if holds { vec![] } else { vec![(0, FailureCause::NotHolding)] };
        assert_eq!(
            failures(&cluster, 1, &session),
            failed,
            "the second one holds them, and has the whole timeout"
        );
        assert_eq!(cluster.count(1, &session, "ShouldBroadcast"), failed.len());
        assert!(cluster.submitters().is_empty());
    }
}

#[test]
fn who_returns_hears_first_what_the_others_hold() {
    let (mut cluster, session) = held(3, |cluster| all_broadcasters(cluster, &Broadcaster::Hangs));
    cluster.crash(2);
    cluster.run_for(TIMEOUT + 6 * SECOND);
    // The second turn has been open for six seconds, and its signer was not connected with this node in any of them.
    cluster.start(2);
    cluster.run_for(SECOND);
    assert_eq!(failures(&cluster, 2, &session), [(0, FailureCause::Timeout)]);
    cluster.run_for(TIMEOUT);
    let timeouts = [(0, FailureCause::Timeout), (1, FailureCause::Timeout)];
    assert_eq!(failures(&cluster, 2, &session), timeouts);
}

#[test]
fn switched_off_nothing_opens_early() {
    let (mut cluster, session) = held(3, |cluster| {
        switch(cluster, EarlyTurns::OFF);
        cluster.nodes[0].broadcaster = Broadcaster::Hangs;
    });
    cluster.crash(0);
    cluster.run_for(TIMEOUT - MOMENT);
    assert!(cluster.submitters().is_empty());
    cluster.run_for(2 * MOMENT);
    assert_eq!(cluster.submitters(), [1]);
    assert_eq!(failures(&cluster, 1, &session), [(0, FailureCause::Timeout)]);
}

#[test]
fn gone_is_whose_cable_is_pulled_although_its_connection_stays() {
    let (mut cluster, session) = held(3, |cluster| cluster.nodes[0].broadcaster = Broadcaster::Hangs);
    cluster.run_for(SECOND);
    cluster.pull(0, true);
    cluster.run_for(4 * SECOND - MOMENT);
    assert_eq!(submissions(&cluster, &session), [], "three questions may stay without an answer");
    cluster.run_for(2 * MOMENT);
    assert_eq!(cluster.submitters(), [1]);
    assert_eq!(failures(&cluster, 1, &session), [(0, FailureCause::Gone)]);
    assert_eq!(failures(&cluster, 2, &session), [(0, FailureCause::Gone)]);
    assert_eq!(cluster.count(1, &session, "NobodyCanBroadcast"), 0);
}

#[test]
fn gone_is_nobody_who_answers_again_in_time() {
    let (mut cluster, session) = held(3, |cluster| all_broadcasters(cluster, &Broadcaster::Hangs));
    for _ in 0..2 {
        cluster.pull(0, true);
        cluster.run_for(3 * SECOND);
        cluster.pull(0, false);
        cluster.run_for(SECOND);
    }
    assert_eq!(cluster.count(1, &session, "CoordinatorFailed"), 0);
    cluster.run_for(TIMEOUT);
    assert_eq!(failures(&cluster, 1, &session), [(0, FailureCause::Timeout)]);
}

#[test]
fn gone_is_nobody_who_is_silent_while_nobody_is_asked() {
    // Sign of life or not: with the switch off it counts for nothing.
    let (mut cluster, _) = held(3, |cluster| {
        switch(cluster, EarlyTurns { gone: false, ..EarlyTurns::default() });
        cluster.nodes[0].broadcaster = Broadcaster::Hangs;
    });
    assert!(cluster.nodes.iter().all(|node| node.asked.is_empty()));
    cluster.pull(0, true);
    cluster.run_for(TIMEOUT - MOMENT);
    assert!(cluster.submitters().is_empty());
    cluster.run_for(2 * MOMENT);
    assert_eq!(cluster.submitters(), [1]);
}

#[test]
fn signers_are_asked_for_signs_of_life_while_a_turn_approaches_and_no_longer() {
    let asked =
        |cluster: &Cluster| -> Vec<usize> { (0..3).map(|node| cluster.nodes[node].asked.len()).collect() };
    // The transaction is seen at once, or no turn is left, or the own application wants no more of it.
    let (mut cluster, session) = held(3, |cluster| {
        cluster.nodes[0].broadcaster = Broadcaster::Hangs;
        cluster.run_for(SECOND);
        assert_eq!(asked(cluster), [0, 0, 0], "idle nodes");
    });
    assert_eq!(asked(&cluster), [2, 2, 2]);
    // Another session with the same signers asks nobody twice, and neither ends it for the other one.
    let other = cluster.create(1, |terms| policy(terms).broadcast_timeout = 2 * TIMEOUT);
    cluster.complete(&other);
    assert_eq!(asked(&cluster), [2, 2, 2]);
    cluster.run_for(TIMEOUT + SECOND);
    assert_eq!(cluster.submitters(), [1], "of the first session");
    assert_eq!(asked(&cluster), [2, 2, 2], "of the second one");
    cluster.run_for(2 * TIMEOUT);
    assert_eq!(cluster.chain.submissions.len(), 2);
    assert_eq!(asked(&cluster), [0, 0, 0], "both are seen");
    assert_eq!(cluster.count(1, &session, "BroadcastSeen"), 1);

    let (mut cluster, _) = held(3, |cluster| all_broadcasters(cluster, &Broadcaster::Hangs));
    cluster.run_for(2 * TIMEOUT - MOMENT);
    assert_eq!(asked(&cluster), [2, 2, 2]);
    cluster.run_for(2 * MOMENT);
    assert_eq!(asked(&cluster), [0, 0, 0], "the last turn is open");
}

#[test]
fn who_is_cut_off_itself_takes_nobody_for_unable() {
    // All others are silent: then it is this node's own cable, and that it reaches no backend says nothing of others.
    let (mut cluster, session) = held(3, |cluster| {
        cluster.nodes[0].broadcaster = Broadcaster::Hangs;
        cluster.nodes[1].broadcaster = Broadcaster::Unreachable;
    });
    cluster.pull(1, true);
    cluster.run_for(TIMEOUT - SECOND);
    assert_eq!(cluster.count(1, &session, "ShouldBroadcast"), 1, "its turn came early");
    let export = cluster.engine(1).export(&session).expect("it is known");
    let frame: pb::Frame = wire::decode(&export, "an export").expect("it is one");
    let said = frame.envelopes.iter().map(|bytes| Envelope::decode(bytes).expect("it was made"));
    assert!(!said.into_iter().any(|envelope| matches!(envelope.content(), Content::Nack { .. })));
}
