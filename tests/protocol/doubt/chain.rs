//! What the own observer sees: losses, reorganisations, conflicting spends, the final depth.

use std::time::Duration;

use libmusig::protocol::event::Event;
use libmusig::protocol::status::Phase;
use libmusig::types::Txid;

use super::{TIMEOUT, all_broadcasters, held, txid};
use test_support::cluster::Broadcaster;

#[test]
fn a_lost_transaction_starts_a_new_watch() {
    let (mut cluster, session) = held(3, |_| {});
    cluster.run_for(Duration::from_secs(5));
    assert_eq!(cluster.submitters(), [0]);
    let txid = txid(&cluster, &session);
    cluster.chain.evict(&txid);
    cluster.run_for(TIMEOUT * 3);
    for node in 0..3 {
        assert_eq!(cluster.count(node, &session, "BroadcastLost"), 1, "at {node}");
        assert_eq!(cluster.status(node, &session).failover.expect("a watch").watch, 1, "at {node}");
    }
    assert_eq!(cluster.submitters(), [0, 0], "the coordinator again");
    assert_eq!(cluster.count(0, &session, "BroadcastSeen"), 2);
}

#[test]
fn a_reorganisation_starts_a_new_watch() {
    let (mut cluster, session) = held(3, |_| {});
    cluster.run_for(Duration::from_secs(5));
    let now = cluster.now();
    cluster.chain.mine_blocks(3, now);
    cluster.run_for(Duration::from_secs(10));
    assert_eq!(cluster.count(1, &session, "BroadcastConfirmed"), 1);
    cluster.chain.reorganise(3);
    cluster.run_for(TIMEOUT * 4);
    for node in 0..3 {
        assert_eq!(cluster.count(node, &session, "BroadcastLost"), 1, "at {node}");
    }
    assert_eq!(cluster.submitters(), [0, 0]);
    let now = cluster.now();
    cluster.chain.mine_blocks(6, now);
    cluster.run_for(TIMEOUT * 2);
    for node in 0..3 {
        assert_eq!(cluster.count(node, &session, "BroadcastConfirmed"), 2, "once per watch, at {node}");
        assert_eq!(cluster.status(node, &session).phase, Phase::Final);
    }
}

#[test]
fn a_flapping_observer_starts_at_most_one_watch_per_timeout() {
    let (mut cluster, session) = held(2, |_| {});
    cluster.run_for(Duration::from_secs(5));
    let txid = txid(&cluster, &session);
    let steps = 100;
    for step in 0..steps {
        if step % 2 == 0 {
            cluster.chain.evict(&txid);
        } else {
            let now = cluster.now();
            let spends = cluster.chain.spent_by(&txid);
            cluster.chain.foreign(txid, spends, now);
        }
        cluster.run_for(Duration::from_secs(3));
    }
    let lost = cluster.count(1, &session, "BroadcastLost");
    assert!(lost <= (3 * steps / 10) as usize, "{lost}");
}

#[test]
fn a_short_absence_is_no_loss() {
    let (mut cluster, session) = held(2, |_| {});
    cluster.run_for(Duration::from_secs(5));
    let txid = txid(&cluster, &session);
    let spends = cluster.chain.spent_by(&txid);
    cluster.chain.evict(&txid);
    cluster.run_for(TIMEOUT / 2);
    let now = cluster.now();
    cluster.chain.foreign(txid, spends, now);
    cluster.run_for(TIMEOUT * 3);
    assert_eq!(cluster.count(0, &session, "BroadcastLost"), 0);
    assert_eq!(cluster.submitters(), [0]);
}

#[test]
fn a_conflicting_spend_pauses_and_at_depth_ends_the_watch() {
    let (mut cluster, session) = held(3, |cluster| all_broadcasters(cluster, &Broadcaster::Hangs));
    let spends = cluster.chain.spent_by(&txid(&cluster, &session));
    let now = cluster.now();
    cluster.chain.foreign(Txid([9; 32]), spends, now);
    cluster.run_for(Duration::from_secs(5));
    assert_eq!(cluster.count(0, &session, "BroadcastConflict"), 0, "not in a block yet");
    let now = cluster.now();
    cluster.chain.mine(now);
    cluster.run_for(TIMEOUT * 5);
    for node in 0..3 {
        assert!(
            cluster.events(node, &session).any(
                |(_, event)| matches!(event, Event::BroadcastConflict { txid } if *txid == Txid([9; 32]))
            )
        );
        assert_eq!(cluster.count(node, &session, "FailoverExhausted"), 0, "paused at {node}");
        assert_eq!(cluster.count(node, &session, "BroadcastConflict"), 1);
        assert_eq!(cluster.status(node, &session).phase, Phase::Watching);
    }
    let now = cluster.now();
    cluster.chain.mine_blocks(5, now);
    cluster.run_for(TIMEOUT * 2);
    for node in 0..3 {
        assert_eq!(cluster.status(node, &session).phase, Phase::Final);
    }
}

#[test]
fn the_final_depth_ends_the_watch_and_the_observer_queries() {
    let (mut cluster, session) = held(3, |_| {});
    cluster.run_for(Duration::from_secs(5));
    let now = cluster.now();
    cluster.chain.mine_blocks(5, now);
    cluster.run_for(TIMEOUT * 2);
    assert_eq!(cluster.status(0, &session).phase, Phase::Watching, "one is missing");
    let now = cluster.now();
    cluster.chain.mine(now);
    cluster.run_for(TIMEOUT * 2);
    let asked: Vec<u64> = cluster.nodes.iter().map(|node| node.observations).collect();
    for node in 0..3 {
        assert_eq!(cluster.status(node, &session).phase, Phase::Final);
    }
    cluster.chain.reorganise(6);
    cluster.run_for(TIMEOUT * 20);
    let later: Vec<u64> = cluster.nodes.iter().map(|node| node.observations).collect();
    assert_eq!(asked, later);
    assert_eq!(cluster.submitters(), [0]);
}

#[test]
fn an_unreachable_observer_neither_pauses_a_watch_nor_reports_a_loss() {
    let (mut cluster, session) = held(3, |cluster| {
        cluster.nodes.iter_mut().for_each(|node| node.observer_lag = None);
    });
    cluster.run_for(TIMEOUT * 3 + Duration::from_secs(1));
    for node in 0..3 {
        assert_eq!(cluster.count(node, &session, "FailoverExhausted"), 1, "at {node}");
        cluster.nodes[node].observer_lag = Some(Duration::ZERO);
    }
    cluster.run_for(TIMEOUT);
    let before = cluster.submitters().len();
    for node in 0..3 {
        assert_eq!(cluster.count(node, &session, "BroadcastSeen"), 1, "at {node}");
        cluster.nodes[node].observer_lag = None;
    }
    cluster.run_for(TIMEOUT * 5);
    assert_eq!(cluster.submitters().len(), before, "still paused");
    assert_eq!(cluster.count(0, &session, "BroadcastLost"), 0);
}
