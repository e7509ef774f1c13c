//! What a node remembers of how other signers broadcast: what its own observer showed it, and nothing that anybody says.

use std::time::Duration;

#[cfg(feature = "mutations")]
use libmusig::mutation::{self, Mutation};
use libmusig::protocol::counters::Counters;
use libmusig::protocol::reputation::Reputation;

use super::{TIMEOUT, all_broadcasters, held};
use test_support::cluster::{Broadcaster, Cluster, key};

const SECOND: Duration = Duration::from_secs(1);

fn reputation(cluster: &Cluster, node: usize, signer: usize) -> Reputation {
    cluster.engine(node).reputation(&key(signer), cluster.time(node))
}

/// Successes and failures of a signer, as a node saw them.
fn verdicts(cluster: &Cluster, node: usize, signer: usize) -> (f64, f64) {
    let Reputation { successes, failures, .. } = reputation(cluster, node, signer);
    (successes, failures)
}

/// Failures of a signer that a node counts.
fn failures(cluster: &Cluster, node: usize, signer: usize) -> u64 {
    let mut counted = cluster.engine(node).counters().signers();
    counted.find(|(name, _)| *name == Counters::name(&key(signer))).map_or(0, |(_, counted)| counted.failures)
}

#[test]
fn reputation_counts_a_turn_that_sufficed_and_a_timeout_that_passed() {
    let (mut cluster, _) = held(3, |_| {});
    cluster.run_for(3 * SECOND);
    assert_eq!(cluster.submitters(), [0]);
    for node in 1..3 {
        assert_eq!(verdicts(&cluster, node, 0), (1.0, 0.0));
        assert!(reputation(&cluster, node, 0).reliability > 0.83);
    }
    assert_eq!(cluster.engine(0).judged_signers().count(), 0, "it was this node");

    let (mut cluster, _) = held(3, |cluster| cluster.nodes[0].broadcaster = Broadcaster::Hangs);
    cluster.run_for(TIMEOUT - SECOND);
    assert_eq!(cluster.engine(1).judged_signers().count(), 0, "nobody else submitted yet");
    cluster.run_for(5 * SECOND);
    assert_eq!(cluster.submitters(), [1]);
    assert_eq!(verdicts(&cluster, 1, 0), (0.0, 1.0));
    assert_eq!((verdicts(&cluster, 2, 0), verdicts(&cluster, 2, 1)), ((0.0, 1.0), (1.0, 0.0)));
    assert_eq!(verdicts(&cluster, 0, 1), (1.0, 0.0), "nobody is judged by itself");
    let counted = |node| (0..3).map(|signer| failures(&cluster, node, signer)).collect::<Vec<_>>();
    assert_eq!([counted(0), counted(1), counted(2)], [[0, 0, 0], [1, 0, 0], [1, 0, 0]]);
    assert!(reputation(&cluster, 2, 0).reliability < 0.67);
}

#[test]
fn reputation_suffers_from_no_turn_that_opened_early() {
    let (mut cluster, session) = held(3, |cluster| cluster.nodes[0].broadcaster = Broadcaster::Hangs);
    cluster.crash(0);
    cluster.run_for(5 * SECOND);
    assert_eq!(cluster.submitters(), [1]);
    cluster.run_for(2 * TIMEOUT);
    assert_eq!(cluster.count(2, &session, "CoordinatorFailed"), 1);
    assert_eq!(
        (verdicts(&cluster, 2, 0), failures(&cluster, 2, 0)),
        ((0.0, 0.0), 0),
        "its time was not over"
    );
}

#[test]
fn reputation_says_nothing_if_nobody_submits() {
    let (mut cluster, _) = held(3, |cluster| all_broadcasters(cluster, &Broadcaster::Hangs));
    cluster.run_for(5 * TIMEOUT);
    assert!((0..3).all(|node| cluster.engine(node).judged_signers().count() == 0));
    assert!((0..3).all(|node| (0..3).all(|signer| failures(&cluster, node, signer) == 0)));
}

#[test]
fn reputation_is_of_one_verdict_for_each_session() {
    let (mut cluster, session) = held(3, |_| {});
    cluster.run_for(3 * SECOND);
    // It disappears, and is submitted again in a new watch.
    cluster.chain.evict(&super::txid(&cluster, &session));
    cluster.run_for(4 * TIMEOUT);
    assert!(cluster.count(1, &session, "BroadcastLost") > 0);
    assert_eq!(verdicts(&cluster, 1, 0), (1.0, 0.0));
    // Nor is there another one of that watch after a restart.
    cluster.chain.evict(&super::txid(&cluster, &session));
    all_broadcasters(&mut cluster, &Broadcaster::Hangs);
    cluster.run_for(TIMEOUT + 5 * SECOND);
    assert_eq!(cluster.count(1, &session, "BroadcastLost"), 2);
    cluster.crash(1);
    cluster.start(1);
    cluster.run_for(TIMEOUT + 5 * SECOND);
    all_broadcasters(&mut cluster, &Broadcaster::Works);
    cluster.run_for(3 * TIMEOUT);
    assert_eq!(cluster.count(1, &session, "BroadcastSeen"), 3);
    assert_eq!(cluster.engine(1).judged_signers().count(), 0, "these engines forget what they knew");
}

#[test]
fn reputation_takes_nobodys_word() {
    let (mut cluster, _) = held(5, |cluster| {
        (0..2).for_each(|node| cluster.nodes[node].broadcaster = Broadcaster::Lies);
    });
    cluster.run_for(TIMEOUT - 3 * SECOND);
    assert!((0..5).all(|node| cluster.engine(node).judged_signers().count() == 0));
    cluster.run_for(2 * TIMEOUT);
    assert_eq!(cluster.submitters(), [2]);
    for liar in 0..2 {
        assert_eq!(verdicts(&cluster, 4, liar), (0.0, 1.0));
    }
    assert_eq!(verdicts(&cluster, 4, 2), (1.0, 0.0));
}

/// The test above is worth something.
#[cfg(feature = "mutations")]
#[test]
fn mutations_are_found() {
    mutation::set(Some(Mutation::ReputationFromClaims));
    let found = std::panic::catch_unwind(reputation_takes_nobodys_word).is_err();
    mutation::set(None);
    assert!(found);
}
