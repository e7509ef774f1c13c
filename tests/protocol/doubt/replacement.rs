//! A session that replaces an older one (fee bump): when the older watch pauses, and when it ends.

use std::time::Duration;

use libmusig::protocol::status::Phase;
use libmusig::types::SessionId;

use super::{TIMEOUT, all_broadcasters, txid};
use test_support::cluster::{Broadcaster, Cluster, Options};
use test_support::double::transaction;

fn two(change: impl FnOnce(&mut Cluster)) -> (Cluster, SessionId, SessionId) {
    let mut cluster = Cluster::new(Options { sync: Duration::ZERO, ..Options::new(3) });
    all_broadcasters(&mut cluster, &Broadcaster::Hangs);
    cluster.run_for(Duration::from_millis(20));
    let terms = cluster.terms();
    let old = cluster.create_with(0, terms.clone());
    cluster.complete(&old);
    cluster.run_for(Duration::from_secs(1));
    change(&mut cluster);
    let spent = cluster.chain.spent_by(&txid(&cluster, &old));
    let new = cluster.create(1, |new| {
        let (transaction, messages) = transaction(&spent, b"more fee");
        (new.transaction, new.messages) = (Some(transaction), messages);
        new.replaces = Some(old);
    });
    cluster.complete(&new);
    (cluster, old, new)
}

#[test]
fn a_replacement_pauses_the_older_watch_when_seen_and_ends_it_when_confirmed() {
    let (mut cluster, old, new) = two(|cluster| all_broadcasters(cluster, &Broadcaster::Works));
    cluster.run_for(TIMEOUT * 5);
    assert!(cluster.count(0, &new, "BroadcastSeen") == 1);
    for node in 0..3 {
        assert_eq!(cluster.count(node, &old, "FailoverExhausted"), 0, "paused at {node}");
        assert_eq!(cluster.status(node, &old).phase, Phase::Watching);
    }
    let now = cluster.now();
    cluster.chain.mine(now);
    cluster.run_for(TIMEOUT * 2);
    for node in 0..3 {
        assert_eq!(cluster.status(node, &old).phase, Phase::Final, "at {node}");
        assert_eq!(cluster.status(node, &new).phase, Phase::Watching, "at {node}");
    }
}

#[test]
fn a_replaced_watch_stays_paused_after_a_restart() {
    let (mut cluster, old, _) = two(|cluster| all_broadcasters(cluster, &Broadcaster::Works));
    cluster.run_for(TIMEOUT);
    for node in 0..3 {
        cluster.crash(node);
        cluster.start(node);
    }
    let before = cluster.submitters().len();
    cluster.run_for(TIMEOUT * 5);
    for node in 0..3 {
        assert_eq!(cluster.count(node, &old, "FailoverExhausted"), 0, "paused at {node}");
    }
    assert_eq!(cluster.submitters().len(), before);
}

#[test]
fn a_replacement_that_nobody_broadcasts_pauses_nothing() {
    let (mut cluster, old, _) = two(|_| {});
    cluster.run_for(TIMEOUT * 4);
    for node in 0..3 {
        assert_eq!(cluster.count(node, &old, "FailoverExhausted"), 1, "at {node}");
    }
}

#[test]
fn a_replacement_that_spends_other_coins_pauses_nothing() {
    let mut cluster = Cluster::new(Options { sync: Duration::ZERO, ..Options::new(3) });
    all_broadcasters(&mut cluster, &Broadcaster::Hangs);
    cluster.run_for(Duration::from_millis(20));
    let old = cluster.create(0, |_| {});
    cluster.complete(&old);
    cluster.run_for(Duration::from_secs(1));
    all_broadcasters(&mut cluster, &Broadcaster::Works);
    let new = cluster.create(1, |terms| terms.replaces = Some(old));
    cluster.complete(&new);
    cluster.run_for(TIMEOUT * 2);
    assert_eq!(cluster.count(1, &new, "BroadcastSeen"), 1);
    assert_eq!(cluster.count(1, &old, "BroadcastSeen"), 1, "the old one was broadcast all the same");
}
