//! Clocks that step or are wrong by days: turns open sooner at most.

use std::time::Duration;

use libmusig::types::SessionId;

use super::{TIMEOUT, held, submissions};
use test_support::cluster::{Broadcaster, Cluster};

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
