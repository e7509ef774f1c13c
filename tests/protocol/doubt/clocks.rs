//! Clocks that step or are wrong by days: turns open sooner at most.

use std::time::Duration;

use libmusig::protocol::event::Event;
use libmusig::protocol::wire::{self, pb};
use libmusig::types::SessionId;

use super::{TIMEOUT, held, submissions};
use test_support::cluster::{Broadcaster, Cluster, key};

fn jump(millis: i64) -> (Cluster, SessionId) {
    let (mut cluster, session) = held(4, |cluster| {
        cluster.nodes[0].broadcaster = Broadcaster::Hangs;
        cluster.nodes[1].broadcaster = Broadcaster::Hangs;
    });
    cluster.run_for(Duration::from_secs(3));
    (0..4).for_each(|node| cluster.nodes[node].skew = millis);
    cluster.run_for(TIMEOUT * 6);
    (cluster, session)
}

#[test]
fn a_clock_that_steps_back_delays_no_turn() {
    for back in [-1_000, -86_400_000 * 20] {
        let (cluster, session) = jump(back);
        assert_eq!(submissions(&cluster, &session), [(2, TIMEOUT * 2 + cluster.options.chain)]);
    }
}

#[test]
fn a_clock_that_steps_forward_opens_turns_sooner_only() {
    let (cluster, session) = jump(12_000);
    let (by, after) = submissions(&cluster, &session)[0];
    assert_eq!(by, 2);
    assert!(after <= TIMEOUT * 2 - Duration::from_secs(12) + Duration::from_secs(6), "{after:?}");
}

#[test]
fn clocks_days_apart_from_the_start_change_nothing() {
    let (mut cluster, session) = held(3, |cluster| {
        cluster.nodes[0].broadcaster = Broadcaster::Hangs;
        cluster.nodes[1].skew = 3_600_000 * 20;
        cluster.nodes[2].skew = -86_400_000 * 20;
    });
    cluster.run_for(TIMEOUT * 3);
    assert_eq!(submissions(&cluster, &session), [(1, TIMEOUT + cluster.options.chain)]);
}

/// Lets the nodes say the time some times, and answers what each was told: of which node, by how much, and whose fault.
fn skews(cluster: &mut Cluster, node: usize) -> Vec<(usize, i64, bool)> {
    for _ in 0..4 {
        for other in (0..cluster.nodes.len()).filter(|other| *other != node) {
            cluster.cut(node, other, true);
            cluster.cut(node, other, false);
        }
        cluster.run_for(Duration::from_secs(1));
    }
    let told = cluster.nodes[node].events.iter().filter_map(|(_, event)| match &event.event {
        Event::ClockSkew { signer, offset, own_suspect } => {
            assert!(event.session.is_none() && event.durable.is_none());
            let of = (0..cluster.nodes.len()).find(|other| key(*other) == *signer).expect("a signer");
            Some((of, *offset, *own_suspect))
        }
        _ => None,
    });
    told.collect()
}

fn close(told: &[(usize, i64, bool)], expected: &[(usize, i64, bool)]) -> bool {
    let alike = |(one, other): (&(usize, i64, bool), &(usize, i64, bool))| {
        one.0 == other.0 && (one.1 - other.1).abs() < 1000 && one.2 == other.2
    };
    told.len() == expected.len() && told.iter().zip(expected).all(alike)
}

#[test]
fn clock_skew_of_one_signer_is_told_at_all_others_and_once() {
    for ahead in [90_000, -86_400_000 * 3] {
        let (mut cluster, session) = held(4, |cluster| cluster.nodes[2].skew = ahead);
        for node in [0, 1, 3] {
            let told = skews(&mut cluster, node);
            assert!(close(&told, &[(2, ahead, false)]), "{node}: {told:?}");
        }
        // To the one whose clock is wrong all others seem to be: the first is told before it knows how many they are.
        let told = skews(&mut cluster, 2);
        assert_eq!(told.len(), 3, "{told:?}");
        assert!(told.iter().all(|(_, offset, _)| (offset + ahead).abs() < 1000) && told[2].2, "{told:?}");
        assert_eq!(cluster.submitters(), [0]);
        let seconds = cluster.engine(1).counters().signers().map(|(_, counted)| counted.clock_offset).max();
        let expected = ahead.unsigned_abs() / 1000;
        assert!(seconds.is_some_and(|seconds| seconds.abs_diff(expected) <= 1), "{seconds:?}");
        assert!(cluster.holds(3, &session));
    }
}

#[test]
fn clock_skew_within_the_tolerance_is_not_told() {
    let (mut cluster, _) = held(4, |cluster| {
        cluster.nodes[2].skew = 30_000;
        cluster.nodes[1].skew = -25_000;
    });
    for node in 0..4 {
        assert_eq!(skews(&mut cluster, node), []);
    }
    // It can be set.
    let (mut cluster, _) = held(3, |cluster| {
        cluster.nodes[2].skew = 30_000;
        cluster.nodes[0].settings.clock_skew = Duration::from_secs(29);
        cluster.crash(0);
        cluster.start(0);
    });
    let told = skews(&mut cluster, 0);
    assert!(close(&told, &[(2, 30_000, false)]), "{told:?}");
    assert_eq!(skews(&mut cluster, 1), []);
}

#[test]
fn clock_skew_is_not_told_of_a_signer_that_says_what_is_no_time() {
    let (mut cluster, session) = held(3, |cluster| cluster.nodes[0].broadcaster = Broadcaster::Hangs);
    let before = cluster.engine(0).counters().clone();
    for time in [u64::MAX, u64::MAX / 2, 0, 1 << 63] {
        for _ in 0..10 {
            let have =
                vec![pb::Have { session: session.0.to_vec(), answer: true, time, ..pb::Have::default() }];
            let frame = wire::encode(&pb::Frame { have, ..pb::Frame::default() });
            cluster.drive(0, |engine, now| engine.frame(key(1), &frame, now).expect("it is valid"));
        }
    }
    assert_eq!(cluster.engine(0).counters(), &before);
    assert_eq!(skews(&mut cluster, 0), []);
    cluster.run_for(TIMEOUT * 2);
    assert_eq!(submissions(&cluster, &session).iter().map(|(by, _)| *by).collect::<Vec<_>>(), [1]);
}

#[test]
fn clock_skew_says_nothing_of_a_stranger() {
    // A signer of no session that this node joined says when it is, as often as it likes.
    let (mut cluster, session) = held(3, |_| {});
    let have = vec![pb::Have { session: session.0.to_vec(), time: 1, ..pb::Have::default() }];
    let frame = wire::encode(&pb::Frame { have, ..pb::Frame::default() });
    for _ in 0..10 {
        cluster.drive(0, |engine, now| engine.frame(key(7), &frame, now).expect("it is valid"));
    }
    assert_eq!(skews(&mut cluster, 0), []);
    assert_eq!(cluster.engine(0).counters().others().clock_offset, 0);
}
