//! Every election method, number of signers, number and kind of bad coordinators and kind of tiers: the right signers
//! submit, in the right turn, once; and if nobody does, everybody is told the same.

use std::collections::BTreeSet;
use std::time::Duration;

use libmusig::EarlyTurns;
use libmusig::protocol::Output;
use libmusig::protocol::election::{ElectionMethod, priority_list};
use libmusig::protocol::event::Event;
use libmusig::protocol::failover::Turns;
use libmusig::protocol::proposal::{Proposal, Tiers};
use libmusig::types::SessionId;

use test_support::cluster::{Broadcaster, Cluster, Duty, Fate, Options};
use test_support::party::policy;

const TIMEOUT: Duration = Duration::from_secs(10);
const TIERS: [Tiers; 3] = [Tiers::Single, Tiers::Fixed(3), Tiers::Doubling];

/// How a coordinator fails.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Bad {
    /// It dies when it becomes a holder.
    Dead,
    /// It neither submits nor notifies.
    Refusing,
    /// It cannot reach the network, and says so.
    Nacking,
    /// It loses all its connections when it becomes a holder.
    CutOff,
}

const KINDS: [Bad; 4] = [Bad::Dead, Bad::Refusing, Bad::Nacking, Bad::CutOff];

#[derive(Debug)]
struct Case {
    real: bool,
    /// Whether nodes submit by themselves, or their applications do.
    broadcaster: bool,
    method: ElectionMethod,
    signers: usize,
    bad: usize,
    kind: Bad,
    tiers: Tiers,
}

struct Outcome {
    cluster: Cluster,
    session: SessionId,
    list: Vec<usize>,
    turns: Turns,
    bad: BTreeSet<usize>,
}

fn run(case: &Case) -> Outcome {
    let mut options = Options::new(case.signers);
    options.real = case.real;
    options.settings.broadcaster = case.broadcaster;
    // A NACK that reaches nobody excuses its signer at its own node only, which then is ahead of the others.
    options.settings.nacks = case.kind == Bad::Nacking;
    // Each turn at its regular start: what opens it early is in doubt/early.rs.
    options.settings.early_turns = EarlyTurns::OFF;
    // Then an event is told when it happens, and times are exact.
    options.sync = Duration::ZERO;
    // Nobody may look in between: who submits together with others then submits for sure.
    options.chain = Duration::from_millis(50);
    let mut cluster = Cluster::new(options);
    for node in &mut cluster.nodes {
        node.application.delay = Duration::from_millis(50);
    }
    cluster.run_for(Duration::from_millis(20));
    let mut terms = cluster.terms();
    terms.election_method = case.method;
    policy(&mut terms).broadcast_timeout = TIMEOUT;
    policy(&mut terms).tiers = case.tiers;
    let id = Proposal::new(terms.clone()).expect("valid terms").id();
    let list = priority_list(&terms.signers, case.method, &id).expect("there are signers");
    let turns = Turns::new(&list, &terms.broadcast).expect("failover");
    let bad: BTreeSet<usize> = list[..case.bad].iter().copied().collect();
    for node in &bad {
        let node = &mut cluster.nodes[*node];
        (node.broadcaster, node.application.duty) = match case.kind {
            Bad::Refusing => (Broadcaster::Hangs, Duty::Ignores),
            Bad::Nacking => (Broadcaster::Unreachable, Duty::CannotReach),
            Bad::Dead | Bad::CutOff => (Broadcaster::Works, Duty::Submits),
        };
    }
    let (kind, bad_nodes) = (case.kind, bad.clone());
    cluster.on_output = Some(Box::new(move |node, output| match output {
        Output::Event { event }
            if matches!(event.event, Event::SessionComplete { .. }) && bad_nodes.contains(&node) =>
        {
            match kind {
                Bad::Dead => Fate::CrashBefore,
                Bad::CutOff => Fate::CutOffAfter,
                Bad::Refusing | Bad::Nacking => Fate::Happens,
            }
        }
        _ => Fate::Happens,
    }));
    let session = cluster.create_with(0, terms);
    let good = |node: &usize| !bad.contains(node);
    let limit = Duration::from_secs(1);
    let all: Vec<usize> = (0..case.signers).filter(good).collect();
    let done = cluster.run_until(limit, |cluster| all.iter().all(|node| cluster.holds(*node, &session)));
    assert!(done, "{case:?}: everybody becomes a holder");
    cluster.run_for(TIMEOUT * (turns.count() as u32 + 2));
    Outcome { cluster, session, list, turns, bad }
}

fn check(case: &Case) {
    let Outcome { cluster, session, list, turns, bad } = run(case);
    let name = format!(
        "{:?} n={} bad={} {:?} {:?} real={} broadcaster={}",
        case.method, case.signers, case.bad, case.kind, case.tiers, case.real, case.broadcaster
    );
    let good = |node: &usize| !bad.contains(node);
    let first = list.iter().copied().find(good);
    let submitted: Vec<usize> = cluster.chain.submissions.iter().map(|one| one.node).collect();
    let Some(first) = first else {
        assert!(submitted.is_empty(), "{name}: nobody can submit");
        nobody_broadcasts(case, &cluster, &session, &turns, &name);
        return;
    };
    let turn = turns.of_signer(first).expect("everybody has a turn");
    let expected: BTreeSet<usize> = turns.signers(turn).iter().copied().filter(good).collect();
    let actual: BTreeSet<usize> = submitted.iter().copied().collect();
    assert_eq!(actual, expected, "{name}: who submits");
    assert_eq!(submitted.len(), expected.len(), "{name}: once each");
    for submission in &cluster.chain.submissions {
        let start = cluster.became_holder(submission.node, &session).expect("a holder");
        let took = submission.at - start;
        let punctual = TIMEOUT * turn as u32;
        let slack = Duration::from_millis(100);
        if case.kind == Bad::Nacking && turn > 0 {
            // Each submission takes a moment, and so does the question before an early one.
            let most = Duration::from_millis(110) * turn as u32 + Duration::from_millis(60);
            assert!(took < most, "{name}: NACKs open the next turn at once, not after {took:?}");
        } else {
            assert!(took >= punctual && took <= punctual + slack, "{name}: {took:?} is not in turn {turn}");
        }
        let asked: Vec<usize> = cluster
            .events(submission.node, &session)
            .filter_map(|(_, event)| match event {
                Event::ShouldBroadcast { turn, signer, .. } => {
                    assert_eq!(*signer, submission.node, "{name}");
                    Some(*turn)
                }
                _ => None,
            })
            .collect();
        assert_eq!(asked, [turn], "{name}: asked once, in its own turn");
    }
    for node in (0..case.signers).filter(good) {
        // Whoever has a later turn is never asked, and hears of every turn up to the good one, in order.
        let mut opened = 0;
        for (_, event) in cluster.events(node, &session) {
            match event {
                Event::CoordinatorFailed { failed, next, turn, .. } => {
                    assert_eq!(*turn, opened + 1, "{name}: at {node}");
                    assert_eq!(failed, turns.signers(opened), "{name}: at {node}");
                    assert_eq!(next, turns.signers(*turn), "{name}: at {node}");
                    opened = *turn;
                }
                Event::FailoverExhausted { .. } => panic!("{name}: exhausted at {node}"),
                Event::ShouldBroadcast { .. } => assert!(expected.contains(&node), "{name}: asked at {node}"),
                _ => {}
            }
        }
        assert_eq!(opened, turn, "{name}: turns that opened at {node}");
    }
}

fn nobody_broadcasts(case: &Case, cluster: &Cluster, session: &SessionId, turns: &Turns, name: &str) {
    if case.kind == Bad::Dead {
        return;
    }
    for node in 0..case.signers {
        let start = cluster.became_holder(node, session).expect("a holder");
        let mut failed = Vec::new();
        let mut exhausted = Vec::new();
        let mut asked = None;
        for (at, event) in cluster.events(node, session) {
            let Some(at) = at.checked_sub(start) else { continue };
            match event {
                Event::CoordinatorFailed { turn, .. } => failed.push((*turn, at)),
                Event::FailoverExhausted { turns: count, .. } => {
                    assert_eq!(*count, turns.count(), "{name}");
                    assert!(asked.is_some(), "{name}: exhausted before the own turn at {node}");
                    exhausted.push(at);
                }
                Event::ShouldBroadcast { turn, .. } => {
                    assert_eq!(Some(*turn), turns.of_signer(node), "{name}");
                    asked = asked.or(Some(at));
                }
                _ => {}
            }
        }
        assert_eq!(exhausted, [TIMEOUT * turns.count() as u32], "{name}: one alarm, on time, at {node}");
        if case.kind == Bad::Nacking {
            let last = failed.last().map(|(turn, _)| *turn).unwrap_or_default();
            assert_eq!(last, turns.count() - 1, "{name}: every turn opens at {node}");
            assert!(
                failed.iter().all(|(_, at)| *at < Duration::from_secs(2)),
                "{name}: at once, not {failed:?}"
            );
        } else {
            let expected: Vec<_> = (1..turns.count()).map(|turn| (turn, TIMEOUT * turn as u32)).collect();
            assert_eq!(failed, expected, "{name}: every CoordinatorFailed, on time, at {node}");
        }
    }
}

fn matrix(method: ElectionMethod) {
    for signers in [1, 2, 3, 5, 10, 16] {
        for bad in 0..=signers {
            for kind in KINDS {
                for tiers in TIERS {
                    check(&Case { real: false, broadcaster: true, method, signers, bad, kind, tiers });
                }
            }
        }
    }
}

#[test]
fn lexicographic_takes_over_in_order() {
    matrix(ElectionMethod::Lexicographic);
}

#[test]
fn hash_based_takes_over_in_order() {
    matrix(ElectionMethod::HashBased);
}

#[test]
fn first_signer_takes_over_in_order() {
    matrix(ElectionMethod::FirstSigner);
}

#[test]
fn last_signer_takes_over_in_order() {
    matrix(ElectionMethod::LastSigner);
}

#[test]
fn session_salted_takes_over_in_order() {
    matrix(ElectionMethod::SessionSalted);
}

#[test]
fn applications_that_broadcast_by_themselves_take_over_in_order() {
    let method = ElectionMethod::SessionSalted;
    for signers in [1, 3, 5] {
        for bad in 0..=signers {
            for kind in KINDS {
                for tiers in TIERS {
                    check(&Case { real: false, broadcaster: false, method, signers, bad, kind, tiers });
                }
            }
        }
    }
}

#[test]
fn real_cryptography_takes_over_in_order() {
    for (signers, bad, tiers) in [(1, 0, Tiers::Single), (3, 2, Tiers::Single), (5, 4, Tiers::Doubling)] {
        for kind in KINDS {
            let method = ElectionMethod::Lexicographic;
            check(&Case { real: true, broadcaster: true, method, signers, bad, kind, tiers });
        }
    }
}
