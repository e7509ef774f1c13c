//! A transaction that cannot be in a block yet: its turns begin when the observer says that it can be, and nobody is accused
//! before.

use std::time::Duration;

use libmusig::protocol::status::Phase;
use libmusig::types::SessionId;

use test_support::cluster::{Cluster, Options};

const SECOND: Duration = Duration::from_secs(1);
const TURN: Duration = Duration::from_secs(10);
const HEIGHT: u64 = 20;

/// Three holders of a transaction that waits for a height of 20 blocks.
fn holders(change: impl FnOnce(&mut Cluster)) -> (Cluster, SessionId) {
    let mut cluster = Cluster::new(Options::new(3));
    change(&mut cluster);
    cluster.run_for(SECOND);
    let id = cluster.create(0, |terms| {
        let transaction = terms.transaction.as_mut().expect("it has one");
        transaction.spent[0].value = 1 + HEIGHT;
    });
    cluster.complete(&id);
    (cluster, id)
}

fn mine(cluster: &mut Cluster, blocks: usize) {
    let now = cluster.now();
    cluster.chain.mine_blocks(blocks, now);
}

/// What says that somebody is late, at all nodes.
fn accusations(cluster: &Cluster, id: &SessionId) -> usize {
    let names = ["CoordinatorFailed", "FailoverExhausted"];
    (0..3).flat_map(|node| names.map(|name| cluster.count(node, id, name))).sum()
}

#[test]
fn lock_time_moves_the_turns_to_when_it_is_met() {
    let (mut cluster, id) = holders(|_| ());
    // All turns would be over long since.
    cluster.run_for(TURN * 6);
    mine(&mut cluster, HEIGHT as usize - 1);
    cluster.run_for(TURN * 6);
    assert_eq!(cluster.submitters(), [0; 0]);
    assert_eq!(accusations(&cluster, &id), 0);
    assert_eq!(cluster.count(0, &id, "ShouldBroadcast"), 0);
    mine(&mut cluster, 1);
    cluster.run_for(TURN / 2);
    assert_eq!(cluster.submitters(), [0], "the coordinator, once, in its turn");
    cluster.run_for(TURN * 6);
    assert_eq!(cluster.submitters(), [0]);
    assert_eq!(accusations(&cluster, &id), 0);
    assert!((0..3).all(|node| cluster.count(node, &id, "BroadcastSeen") == 1));
}

#[test]
fn lock_time_that_is_met_leaves_failover_as_it_is() {
    let (mut cluster, id) = holders(|_| ());
    cluster.run_for(SECOND);
    cluster.cut_off(0, true);
    mine(&mut cluster, HEIGHT as usize);
    cluster.run_for(TURN + TURN / 2);
    assert_eq!(
        cluster.submitters(),
        [1],
        "the coordinator is cut off, and the next one takes over a turn later"
    );
    assert_eq!(cluster.count(1, &id, "CoordinatorFailed"), 1);
}

#[test]
fn lock_time_survives_a_restart_and_sleep() {
    let (mut cluster, id) = holders(|_| ());
    cluster.run_for(TURN);
    for node in 0..3 {
        cluster.crash(node);
    }
    cluster.run_for(TURN * 6);
    for node in 0..3 {
        cluster.start(node);
    }
    cluster.run_for(SECOND);
    cluster.sleep(1);
    cluster.run_for(TURN * 6);
    cluster.wake(1);
    cluster.run_for(TURN * 6);
    assert_eq!(cluster.submitters(), [0; 0]);
    assert_eq!(accusations(&cluster, &id), 0);
    mine(&mut cluster, HEIGHT as usize);
    cluster.run_for(TURN / 2);
    assert_eq!(cluster.submitters(), [0]);
    assert_eq!(cluster.status(0, &id).phase, Phase::Watching);
}

/// Doubt only speeds things up: who cannot be told how far the chain is submits in its turn.
#[test]
fn lock_time_is_not_waited_for_without_an_answer() {
    let (mut cluster, id) = holders(|cluster| {
        for node in &mut cluster.nodes {
            node.observer_lag = None;
        }
    });
    cluster.run_for(TURN * 4);
    assert!([0, 1, 2].iter().all(|node| cluster.submitters().contains(node)), "each in its turn");
    assert_eq!(accusations(&cluster, &id), 0, "nobody knows whether it can be final");
    // Who is told that it is not final does not say that it cannot broadcast, and nobody refused it.
    assert_eq!(cluster.sent.get("nack"), None);
    assert_eq!((0..3).map(|node| cluster.count(node, &id, "BroadcastRejected")).sum::<usize>(), 0);
    assert_eq!(cluster.engine(0).counters().submissions.unreachable, 0);
    // A restart makes nobody late either.
    (0..3).for_each(|node| cluster.crash(node));
    (0..3).for_each(|node| cluster.start(node));
    cluster.run_for(TURN * 4);
    assert_eq!(accusations(&cluster, &id), 0);
    mine(&mut cluster, HEIGHT as usize);
    cluster.run_for(TURN);
    assert!(cluster.chain.knows(&cluster.chain.txid_of(&id).expect("it has one")), "it was submitted again");
    // An observer that answered once and never again counts for ten minutes.
    let (mut cluster, _) = holders(|_| ());
    cluster.run_for(SECOND);
    for node in &mut cluster.nodes {
        node.observer_lag = None;
    }
    cluster.run_for(Duration::from_secs(590));
    assert_eq!(cluster.submitters(), [0; 0]);
    cluster.run_for(SECOND * 30);
    assert!(!cluster.submitters().is_empty());
}

/// What no observer can tell of, a coinbase that is not mature, a backend says.
#[test]
fn lock_time_that_only_a_backend_knows_of_makes_whoever_is_told_accuse_nobody() {
    let mut cluster = Cluster::new(Options::new(1));
    cluster.run_for(SECOND);
    let id = cluster.create(0, |_| ());
    let txid = cluster.chain.txid_of(&id).expect("it has one");
    cluster.chain.lock(txid, HEIGHT as u32);
    cluster.complete(&id);
    cluster.run_for(TURN * 6);
    assert!(cluster.submitters().len() > 1, "it is submitted again");
    assert_eq!(cluster.count(0, &id, "FailoverExhausted"), 0);
    // Once it is final, the turn that is long over begins.
    mine(&mut cluster, HEIGHT as usize);
    cluster.run_for(TURN * 2);
    assert_eq!(cluster.count(0, &id, "BroadcastSeen"), 1);
    assert_eq!(cluster.count(0, &id, "FailoverExhausted"), 0);
}

#[test]
fn lock_time_met_while_the_transaction_is_lost_does_not_begin_the_wait_for_it_anew() {
    let (mut cluster, id) = holders(|_| ());
    cluster.run_for(TURN);
    // Node 1 hears nothing of the chain until a reorganisation put the transaction before its height again.
    cluster.nodes[1].observer_lag = None;
    mine(&mut cluster, HEIGHT as usize);
    cluster.run_for(TURN / 2);
    assert_eq!(cluster.submitters(), [0]);
    cluster.chain.reorganise(1);
    cluster.nodes[1].observer_lag = Some(Duration::ZERO);
    cluster.run_for(TURN);
    assert_eq!(cluster.count(1, &id, "BroadcastSeen"), 1);
    let txid = cluster.chain.txid_of(&id).expect("it has a transaction");
    cluster.chain.evict(&txid);
    cluster.run_for(TURN * 3 / 5);
    mine(&mut cluster, 1);
    cluster.run_for(TURN * 4 / 5);
    assert_eq!(cluster.count(1, &id, "BroadcastLost"), 1, "one timeout after it was lost");
}
