//! The pace: how long a coordinator that is there and silent is waited for, by what a node saw of earlier transactions.

use std::time::Duration;

use libmusig::EarlyTurns;
use libmusig::protocol::envelope::Content;
use libmusig::protocol::event::FailureCause;
use libmusig::protocol::failover::{Pace, SeenBy};
use libmusig::protocol::limits::PACE_FROM;
use libmusig::types::SessionId;

use super::early::{failures, switch};
use super::{all_broadcasters, submissions, txid};
use test_support::cluster::{Broadcaster, Cluster, Duty, Options};
use test_support::party::policy;

const SECOND: Duration = Duration::from_secs(1);
const MOMENT: Duration = Duration::from_millis(100);
const TIMEOUT: Duration = Duration::from_secs(300);
const TEN: Duration = Duration::from_secs(10);

fn cluster(signers: usize) -> Cluster {
    let mut cluster = Cluster::new(Options { sync: Duration::ZERO, ..Options::new(signers) });
    cluster.run_for(Duration::from_millis(20));
    cluster
}

/// A session that everybody holds.
fn session(cluster: &mut Cluster) -> SessionId {
    let session = cluster.create(0, |terms| policy(terms).broadcast_timeout = TIMEOUT);
    cluster.complete(&session);
    session
}

/// Lets each node know so many earlier transactions that took so long.
fn experienced(cluster: &mut Cluster, samples: usize, time: Duration) {
    let mut pace = Pace::default();
    (0..samples).for_each(|_| pace.note(SeenBy::Observer, time));
    for node in 0..cluster.nodes.len() {
        cluster.crash(node);
        cluster.nodes[node].disk.set_pace(pace.encode());
        cluster.start(node);
    }
    cluster.run_for(MOMENT);
}

/// How long after the signatures were complete the second signer said that the first one failed.
fn next_turn(cluster: &mut Cluster, session: &SessionId) -> (Duration, FailureCause) {
    let opened = |cluster: &Cluster| !failures(cluster, 1, session).is_empty();
    assert!(cluster.run_until(TIMEOUT + SECOND, |cluster| opened(cluster)), "the next turn opens");
    let after = cluster.now() - cluster.became_holder(1, session).expect("a holder");
    let told = failures(cluster, 1, session);
    assert_eq!(told.len(), 1);
    (after, told[0].1)
}

fn about(actual: Duration, expected: Duration) -> bool {
    (expected..expected + MOMENT).contains(&actual)
}

#[test]
fn a_silent_coordinator_is_waited_for_at_the_pace_from_twenty_samples_on() {
    for samples in [PACE_FROM - 1, PACE_FROM] {
        let mut cluster = cluster(3);
        for number in 0..samples {
            session(&mut cluster);
            cluster.run_for(2 * SECOND);
            assert_eq!(cluster.chain.submissions.len(), number + 1, "one for each");
        }
        all_broadcasters(&mut cluster, &Broadcaster::Hangs);
        let session = session(&mut cluster);
        let (after, cause) = next_turn(&mut cluster, &session);
        let expected = if samples < PACE_FROM { TIMEOUT } else { TEN };
        assert!(about(after, expected), "with {samples} samples after {after:?}");
        assert_eq!(cause == FailureCause::Pace, samples == PACE_FROM, "{cause:?}");
    }
}

#[test]
fn the_pace_survives_a_restart_without_a_sync_of_its_own() {
    let mut cluster = cluster(2);
    for _ in 0..PACE_FROM {
        session(&mut cluster);
        cluster.run_for(2 * SECOND);
    }
    let syncs = cluster.nodes[1].disk.syncs;
    session(&mut cluster);
    cluster.run_for(2 * SECOND);
    let with_samples = cluster.nodes[1].disk.syncs - syncs;
    for node in 0..2 {
        cluster.crash(node);
        cluster.start(node);
    }
    all_broadcasters(&mut cluster, &Broadcaster::Hangs);
    cluster.run_for(MOMENT);
    let syncs = cluster.nodes[1].disk.syncs;
    let last = session(&mut cluster);
    cluster.run_for(2 * SECOND);
    // A transaction that is not seen gives no sample; that it was seen is no reason for a sync either.
    assert_eq!(cluster.nodes[1].disk.syncs - syncs, with_samples);
    let (after, cause) = next_turn(&mut cluster, &last);
    assert!(about(after, TEN) && cause == FailureCause::Pace, "after {after:?}: {cause:?}");
}

#[test]
fn a_pace_follows_from_what_the_own_observer_saw_and_never_exceeds_the_timeout() {
    for (took, expected) in [(20, 62), (99, 299), (3600, 300)] {
        let mut cluster = cluster(3);
        experienced(&mut cluster, PACE_FROM, took * SECOND);
        all_broadcasters(&mut cluster, &Broadcaster::Hangs);
        let session = session(&mut cluster);
        let (after, cause) = next_turn(&mut cluster, &session);
        assert!(about(after, expected * SECOND), "after {after:?}");
        assert_eq!(cause == FailureCause::Timeout, expected == 300, "{cause:?}");
    }
}

#[test]
fn a_lagging_observer_makes_the_pace_longer() {
    let mut cluster = cluster(2);
    cluster.nodes[1].observer_lag = Some(4 * SECOND);
    for _ in 0..PACE_FROM {
        session(&mut cluster);
        cluster.run_for(20 * SECOND);
    }
    all_broadcasters(&mut cluster, &Broadcaster::Hangs);
    let session = session(&mut cluster);
    let (after, cause) = next_turn(&mut cluster, &session);
    // It looks after 1, 2, 4 and 8 seconds: what it notes is at most twice as long as it took.
    assert!((14 * SECOND..=26 * SECOND + MOMENT).contains(&after), "after {after:?}");
    assert_eq!(cause, FailureCause::Pace);
}

#[test]
fn who_is_slower_than_others_and_within_the_pace_submits_alone() {
    let mut cluster = cluster(3);
    experienced(&mut cluster, PACE_FROM, SECOND);
    cluster.nodes[0].settings.broadcaster = false;
    cluster.nodes[0].application.duty = Duty::Ignores;
    cluster.crash(0);
    cluster.start(0);
    cluster.run_for(MOMENT);
    let session = session(&mut cluster);
    cluster.run_for(8 * SECOND);
    let (txid, now) = (txid(&cluster, &session), cluster.now());
    cluster.chain.submit(0, txid, now);
    cluster.run_for(2 * TIMEOUT);
    assert_eq!(cluster.submitters(), [0]);
    assert_eq!(failures(&cluster, 1, &session), [], "nobody says that it failed");
}

#[test]
fn each_turn_opens_one_pace_after_the_one_before_and_asks_first() {
    let mut cluster = cluster(4);
    experienced(&mut cluster, PACE_FROM, SECOND);
    all_broadcasters(&mut cluster, &Broadcaster::Hangs);
    cluster.nodes[3].broadcaster = Broadcaster::Works;
    cluster.nodes[3].observer_hangs = true;
    let session = session(&mut cluster);
    cluster.run_for(3 * TEN + 5 * SECOND - MOMENT);
    assert_eq!(submissions(&cluster, &session), []);
    cluster.run_for(2 * MOMENT);
    let submitted = submissions(&cluster, &session);
    assert_eq!(submitted.iter().map(|(node, _)| *node).collect::<Vec<_>>(), [3]);
    let paces = [(0, FailureCause::Pace), (1, FailureCause::Pace), (2, FailureCause::Pace)];
    assert_eq!(failures(&cluster, 1, &session), paces);
    // The alarm does not come earlier for it.
    cluster.run_for(4 * TIMEOUT - 4 * TEN);
    assert_eq!(cluster.count(1, &session, "FailoverExhausted"), 0);
}

#[test]
fn a_pace_that_is_switched_off_opens_nothing() {
    let mut cluster = cluster(2);
    switch(&mut cluster, EarlyTurns { pace: false, ..EarlyTurns::default() });
    experienced(&mut cluster, PACE_FROM, SECOND);
    all_broadcasters(&mut cluster, &Broadcaster::Hangs);
    let session = session(&mut cluster);
    let (after, cause) = next_turn(&mut cluster, &session);
    assert!(about(after, TIMEOUT) && cause == FailureCause::Timeout, "after {after:?}: {cause:?}");
}

#[test]
fn a_time_over_which_the_node_slept_or_was_down_is_no_pace() {
    for restarts in [true, false] {
        let mut cluster = cluster(2);
        experienced(&mut cluster, PACE_FROM, SECOND);
        cluster.nodes[0].broadcaster = Broadcaster::Hangs;
        let first = session(&mut cluster);
        if restarts {
            cluster.crash(1);
        } else {
            cluster.sleep(1);
        }
        let txid = txid(&cluster, &first);
        cluster.run_for(TIMEOUT / 2);
        let now = cluster.now();
        cluster.chain.submit(0, txid, now);
        if restarts {
            cluster.start(1);
        } else {
            cluster.wake(1);
        }
        cluster.run_for(TIMEOUT);
        let second = session(&mut cluster);
        let (after, _) = next_turn(&mut cluster, &second);
        assert!(about(after, TEN), "after {after:?}");
    }
}

#[test]
fn the_pace_without_an_observer_is_that_of_the_application() {
    let mut options = Options { sync: Duration::ZERO, ..Options::new(2) };
    options.settings.observer = false;
    let mut cluster = Cluster::new(options);
    cluster.nodes.iter_mut().for_each(|node| node.application.checks_claims = false);
    experienced(&mut cluster, PACE_FROM, SECOND);
    cluster.run_for(Duration::from_millis(20));
    for _ in 0..PACE_FROM {
        let session = session(&mut cluster);
        // The coordinator says so at once: that says nothing of how long others need.
        cluster.notify(0, session);
        cluster.run_for(15 * SECOND);
        assert_eq!(cluster.count(1, &session, "CoordinatorFailed"), 0, "what an observer saw does not count");
        cluster.notify(1, session);
        cluster.run_for(SECOND);
    }
    all_broadcasters(&mut cluster, &Broadcaster::Hangs);
    let last = session(&mut cluster);
    let (after, cause) = next_turn(&mut cluster, &last);
    assert!(about(after, 47 * SECOND) && cause == FailureCause::Pace, "after {after:?}: {cause:?}");
    cluster.run_for(TIMEOUT - 48 * SECOND);
    assert_eq!(failures(&cluster, 0, &last), [], "the other one has no pace");
}

#[test]
fn who_is_proved_guilty_is_not_waited_for() {
    let mut cluster = cluster(3);
    all_broadcasters(&mut cluster, &Broadcaster::Hangs);
    let session = session(&mut cluster);
    cluster.run_for(SECOND);
    // Other nonces than those that it signed with.
    let nonces = Content::Nonces { attempt: 0, nonces: vec![2; 66] };
    let second = cluster.forge(0, session, 0, nonces);
    cluster.inject(0, 1, &[second]);
    cluster.run_for(MOMENT);
    assert_eq!(failures(&cluster, 1, &session), [(0, FailureCause::Guilty)]);
    assert_eq!(failures(&cluster, 2, &session), []);
}

#[test]
fn the_status_says_how_long_each_signer_is_waited_for_and_when_its_turn_opens() {
    let mut cluster = cluster(4);
    experienced(&mut cluster, PACE_FROM, 4 * SECOND);
    all_broadcasters(&mut cluster, &Broadcaster::Hangs);
    let session = session(&mut cluster);
    cluster.run_for(SECOND);
    cluster.cut(1, 3, true);
    cluster.cut(2, 3, true);
    cluster.crash(3);
    cluster.run_for(2 * SECOND);
    let now = cluster.time(1).wall;
    let status = cluster.status(1, &session).failover.expect("a watch");
    let told: Vec<_> = status.signers.iter().map(|one| (one.signer, one.turn, one.wait, one.cause)).collect();
    let pace = FailureCause::Pace;
    let waits = [
        (0, 0, 14 * SECOND, pace),
        (1, 1, 14 * SECOND, pace),
        (2, 2, 14 * SECOND, pace),
        (3, 3, Duration::ZERO, FailureCause::Gone),
    ];
    assert_eq!(told, waits);
    let connected: Vec<_> = status.signers.iter().map(|one| one.connected).collect();
    assert_eq!(connected, [true, true, true, false]);
    assert!(status.signers.iter().all(|one| one.holds));
    let opens: Vec<_> =
        status.signers.iter().map(|one| one.opens_at.map(|at| at.saturating_since(now))).collect();
    let next = status.until_next_turn.expect("a turn is ahead");
    let about = |actual: Option<Duration>, expected: Duration| {
        actual.is_some_and(|actual| actual.abs_diff(expected) < Duration::from_millis(2))
    };
    assert_eq!(opens[0], None, "it is open");
    assert!(about(opens[1], next), "{opens:?}");
    assert!(about(opens[2], next + 14 * SECOND) && about(opens[3], next + 28 * SECOND), "{opens:?}");
    // The turns open when it says so.
    cluster.run_for(next + 14 * SECOND + MOMENT);
    let status = cluster.status(1, &session).failover.expect("a watch");
    assert_eq!(status.turn, 2);
    assert_eq!(status.signers.iter().filter(|one| one.opens_at.is_none()).count(), 3);
    // Once it is seen no turn opens any more.
    let (txid, at) = (txid(&cluster, &session), cluster.now());
    cluster.chain.submit(0, txid, at);
    cluster.run_for(14 * SECOND);
    let status = cluster.status(1, &session).failover.expect("a watch");
    assert!(status.signers.iter().all(|one| one.opens_at.is_none()), "{status:?}");
}

#[test]
fn a_congested_chain_gives_a_coordinator_more_time_and_never_more_than_the_timeout() {
    for (congested, expected) in [(false, 10), (true, 40)] {
        let mut cluster = cluster(2);
        experienced(&mut cluster, PACE_FROM, SECOND);
        all_broadcasters(&mut cluster, &Broadcaster::Hangs);
        cluster.drive(1, |engine, _| engine.congested(congested));
        let session = session(&mut cluster);
        let (after, _) = next_turn(&mut cluster, &session);
        assert!(about(after, expected * SECOND), "after {after:?}");
    }
}
