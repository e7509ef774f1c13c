//! The failover cases of the predecessor, each by its name.
//!
//! What changed is on purpose: exhaustion is an alarm, the list is never cycled, and index 0 is a signer like others.

use std::time::Duration;

use libmusig::error::ElectionError;
use libmusig::protocol::election::{Election, ElectionMethod, elect};
use libmusig::protocol::event::Event;
use libmusig::types::{SessionId, SignerKey};

use test_support::cluster::{Broadcaster, Cluster, Options, key};
use test_support::party::policy;

const SESSION: SessionId = SessionId([3; 32]);
const TIMEOUT: Duration = Duration::from_secs(10);

fn keys(n: usize) -> Vec<SignerKey> {
    (0..n).map(key).collect()
}

fn election(n: usize, method: ElectionMethod) -> Election {
    elect(&keys(n), method, &SESSION).expect("there are signers")
}

/// The signers in the order in which backups follow the coordinator, until nobody or the coordinator follows.
fn sequence(election: &Election) -> Vec<usize> {
    let mut sequence = vec![election.coordinator];
    loop {
        let last = *sequence.last().expect("it has the coordinator");
        match election.backup_after(last).expect("a signer") {
            Some(next) if next != election.coordinator => sequence.push(next),
            _ => return sequence,
        }
    }
}

/// A session of `n` of which these signers never broadcast. Who broadcast, and the cluster afterwards.
fn run(n: usize, method: ElectionMethod, silent: &[usize]) -> (Cluster, SessionId, Vec<usize>) {
    let mut cluster = Cluster::new(Options { sync: Duration::ZERO, ..Options::new(n) });
    cluster.run_for(Duration::from_millis(20));
    for node in silent {
        cluster.nodes[*node].broadcaster = Broadcaster::Hangs;
    }
    let session = cluster.create(0, |terms| {
        terms.election_method = method;
        policy(terms).broadcast_timeout = TIMEOUT;
    });
    cluster.run_for(TIMEOUT * (n as u32 + 1));
    let by = cluster.chain.submissions.iter().map(|submission| submission.node).collect();
    (cluster, session, by)
}

/// The turns that failed, as a node was told: who, and who is next.
fn told(cluster: &Cluster, node: usize, session: &SessionId) -> Vec<(Vec<usize>, Vec<usize>)> {
    let events = cluster.events(node, session);
    events
        .filter_map(|(_, event)| match event {
            Event::CoordinatorFailed { failed, next, .. } => Some((failed.clone(), next.clone())),
            _ => None,
        })
        .collect()
}

mod backup_selection {
    use super::*;

    #[test]
    fn lexicographic_takes_the_next_key_in_order() {
        let election = election(3, ElectionMethod::Lexicographic);
        let mut sorted: Vec<usize> = (0..3).collect();
        sorted.sort_by_key(|index| key(*index));
        assert_eq!(election.coordinator, sorted[0]);
        assert_eq!(election.backup_after(sorted[0]), Ok(Some(sorted[1])));
        assert_eq!(election.backup_after(sorted[1]), Ok(Some(sorted[2])));
    }

    #[test]
    fn lexicographic_wraps_after_the_last() {
        let election = election(3, ElectionMethod::Lexicographic);
        assert_eq!(election.backup_after(election.priority_list[2]), Ok(Some(election.coordinator)));
    }

    #[test]
    fn hash_based_takes_the_next_index() {
        let election = election(5, ElectionMethod::HashBased);
        for index in 0..5 {
            assert_eq!(election.backup_after(index), Ok(Some((index + 1) % 5)), "wrapping");
        }
    }

    #[test]
    fn first_signer_takes_the_next_index() {
        let election = election(3, ElectionMethod::FirstSigner);
        assert_eq!(election.backup_after(0), Ok(Some(1)));
        assert_eq!(election.backup_after(1), Ok(Some(2)));
    }

    #[test]
    fn first_signer_ends_after_the_last() {
        assert_eq!(election(3, ElectionMethod::FirstSigner).backup_after(2), Ok(None));
    }

    #[test]
    fn last_signer_takes_the_index_before() {
        let election = election(3, ElectionMethod::LastSigner);
        assert_eq!(election.backup_after(2), Ok(Some(1)));
        assert_eq!(election.backup_after(1), Ok(Some(0)), "index 0 is a signer like any other");
    }

    #[test]
    fn last_signer_ends_after_index_0() {
        assert_eq!(election(3, ElectionMethod::LastSigner).backup_after(0), Ok(None));
    }

    #[test]
    fn an_index_out_of_range_is_an_error() {
        for method in ElectionMethod::ALL {
            let expected = Err(ElectionError::IndexOutOfRange { index: 3, signers: 3 });
            assert_eq!(election(3, method).backup_after(3), expected, "{method:?}");
            let huge = election(3, method).backup_after(usize::MAX);
            assert_eq!(huge, Err(ElectionError::IndexOutOfRange { index: usize::MAX, signers: 3 }));
        }
    }

    #[test]
    fn a_single_signer_has_no_backup() {
        for method in ElectionMethod::ALL {
            assert_eq!(election(1, method).backup_after(0), Ok(None), "{method:?}");
        }
    }
}

mod priority_lists {
    use super::*;

    #[test]
    fn begin_with_the_coordinator() {
        for method in ElectionMethod::ALL {
            let election = election(5, method);
            assert_eq!(election.priority_list[0], election.coordinator, "{method:?}");
        }
    }

    #[test]
    fn name_every_signer_once() {
        for method in ElectionMethod::ALL {
            for n in [1, 2, 3, 5, 10, 16, 100] {
                let mut list = election(n, method).priority_list;
                list.sort_unstable();
                assert_eq!(list, (0..n).collect::<Vec<_>>(), "{method:?} {n}");
            }
        }
    }

    #[test]
    fn lexicographic_follows_the_keys() {
        let list = election(10, ElectionMethod::Lexicographic).priority_list;
        assert!(list.is_sorted_by_key(|index| key(*index)));
    }

    #[test]
    fn first_signer_counts_up() {
        assert_eq!(election(5, ElectionMethod::FirstSigner).priority_list, [0, 1, 2, 3, 4]);
    }

    #[test]
    fn last_signer_counts_down() {
        assert_eq!(election(5, ElectionMethod::LastSigner).priority_list, [4, 3, 2, 1, 0]);
    }

    #[test]
    fn follow_the_backups() {
        for method in ElectionMethod::ALL {
            let election = election(7, method);
            assert_eq!(sequence(&election), election.priority_list, "{method:?}");
        }
    }
}

mod sequences {
    use super::*;

    #[test]
    fn three_of_three_with_one_silent() {
        let (cluster, session, by) = run(3, ElectionMethod::FirstSigner, &[0]);
        assert_eq!(by, [1]);
        assert_eq!(told(&cluster, 2, &session), [(vec![0], vec![1])]);
    }

    #[test]
    fn three_of_three_with_two_silent() {
        let (cluster, session, by) = run(3, ElectionMethod::FirstSigner, &[0, 1]);
        assert_eq!(by, [2]);
        assert_eq!(told(&cluster, 0, &session), [(vec![0], vec![1]), (vec![1], vec![2])]);
    }

    #[test]
    fn five_of_five_down_the_lexicographic_list() {
        let list = {
            let (cluster, session, _) = run(5, ElectionMethod::Lexicographic, &[]);
            cluster.engine(0).election(&session).expect("it exists").priority_list.clone()
        };
        for silent in 0..5 {
            let (_, _, by) = run(5, ElectionMethod::Lexicographic, &list[..silent]);
            assert_eq!(by, [list[silent]], "{silent} silent");
        }
    }

    #[test]
    fn five_of_five_with_four_silent_reaches_the_last() {
        let (cluster, session, by) = run(5, ElectionMethod::LastSigner, &[4, 3, 2, 1]);
        assert_eq!(by, [0]);
        for node in 0..5 {
            let expected: Vec<_> = (1..5).rev().map(|index| (vec![index], vec![index - 1])).collect();
            assert_eq!(told(&cluster, node, &session), expected);
        }
    }
}

mod exhaustion {
    use super::*;

    fn all_silent(n: usize, method: ElectionMethod) {
        let (cluster, session, by) = run(n, method, &(0..n).collect::<Vec<_>>());
        assert!(by.is_empty());
        for node in 0..n {
            assert_eq!(cluster.count(node, &session, "CoordinatorFailed"), n - 1, "{method:?} at {node}");
            assert_eq!(cluster.count(node, &session, "FailoverExhausted"), 1, "{method:?} at {node}");
        }
    }

    #[test]
    fn first_signer_is_exhausted_after_the_last() {
        all_silent(3, ElectionMethod::FirstSigner);
    }

    #[test]
    fn last_signer_is_exhausted_after_index_0() {
        all_silent(3, ElectionMethod::LastSigner);
    }

    #[test]
    fn methods_that_wrap_are_exhausted_too_and_do_not_go_round_for_ever() {
        all_silent(3, ElectionMethod::Lexicographic);
        all_silent(3, ElectionMethod::HashBased);
    }
}

mod determinism {
    use super::*;

    #[test]
    fn every_signer_computes_the_same_election() {
        for method in ElectionMethod::ALL {
            let (cluster, session, _) = run(5, method, &[]);
            let first = cluster.engine(0).election(&session);
            assert!(first.is_some());
            for node in 1..5 {
                assert_eq!(cluster.engine(node).election(&session), first, "{method:?} at {node}");
            }
        }
    }

    #[test]
    fn the_same_keys_in_another_order_elect_the_same_lexicographic_coordinator() {
        let mut reversed = keys(5);
        reversed.reverse();
        let one = elect(&keys(5), ElectionMethod::Lexicographic, &SESSION).expect("signers");
        let other = elect(&reversed, ElectionMethod::Lexicographic, &SESSION).expect("signers");
        assert_eq!(keys(5)[one.coordinator], reversed[other.coordinator]);
        assert_eq!(one.proof, other.proof);
    }

    #[test]
    fn the_same_seed_gives_the_same_run() {
        let runs: Vec<_> = (0..2)
            .map(|_| {
                let (cluster, session, by) = run(5, ElectionMethod::SessionSalted, &[0, 3]);
                let events: Vec<_> = (0..5).map(|node| cluster.nodes[node].events.clone()).collect();
                (session, by, events, cluster.frames)
            })
            .collect();
        assert!(runs[0] == runs[1]);
    }
}

mod sizes {
    use super::*;

    #[test]
    fn two_of_two() {
        assert_eq!(run(2, ElectionMethod::FirstSigner, &[0]).2, [1]);
        assert_eq!(run(2, ElectionMethod::LastSigner, &[1]).2, [0]);
        assert_eq!(run(2, ElectionMethod::LastSigner, &[]).2, [1]);
    }

    #[test]
    fn ten_of_ten() {
        let silent: Vec<usize> = (0..9).collect();
        assert_eq!(run(10, ElectionMethod::FirstSigner, &silent).2, [9]);
    }

    #[test]
    fn a_single_signer_signs_and_broadcasts_alone() {
        for method in ElectionMethod::ALL {
            let (cluster, session, by) = run(1, method, &[]);
            assert_eq!(by, [0], "{method:?}");
            assert_eq!(cluster.count(0, &session, "CoordinatorFailed"), 0, "{method:?}");
        }
    }
}
