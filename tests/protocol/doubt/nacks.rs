//! NACKs and other reasons to pass over a signer: the next turn opens at once, and no alarm of time comes early.

use std::time::Duration;

use libmusig::protocol::envelope::{Content, NackKind};
use libmusig::protocol::event::{Event, Nack};
use libmusig::types::SessionId;

use super::{TIMEOUT, all_broadcasters, held, submissions};
use test_support::cluster::{Broadcaster, Cluster, Duty, Options};

#[test]
fn a_nack_opens_the_next_turn_at_once() {
    let (mut cluster, session) = held(5, |cluster| {
        cluster.nodes[0].broadcaster = Broadcaster::Unreachable;
    });
    cluster.run_for(TIMEOUT * 3);
    let (by, after) = submissions(&cluster, &session)[0];
    assert_eq!(by, 1);
    assert!(after < Duration::from_millis(200), "{after:?}");
    assert_eq!(submissions(&cluster, &session).len(), 1);
}

#[test]
fn nacks_of_all_signers_exhaust_nothing_early() {
    let (mut cluster, session) = held(4, |cluster| all_broadcasters(cluster, &Broadcaster::Unreachable));
    cluster.run_for(TIMEOUT * 4 - Duration::from_millis(100));
    for node in 0..4 {
        assert_eq!(cluster.count(node, &session, "FailoverExhausted"), 0, "at {node}");
        assert!(cluster.count(node, &session, "ShouldBroadcast") > 0, "at {node}");
    }
    cluster.run_for(Duration::from_millis(200));
    for node in 0..4 {
        assert_eq!(cluster.count(node, &session, "FailoverExhausted"), 1, "at {node}");
    }
}

#[test]
fn a_signer_that_sent_a_nack_goes_on_submitting() {
    let (mut cluster, session) = held(2, |cluster| {
        cluster.nodes[0].broadcaster = Broadcaster::Unreachable;
        cluster.nodes[1].broadcaster = Broadcaster::Hangs;
    });
    cluster.run_for(Duration::from_secs(25));
    cluster.nodes[0].broadcaster = Broadcaster::Works;
    cluster.run_for(TIMEOUT + Duration::from_secs(1));
    assert_eq!(submissions(&cluster, &session)[0].0, 0);
}

#[test]
fn a_nack_speaks_for_its_own_signer_only() {
    let (mut cluster, session) = held(3, |cluster| all_broadcasters(cluster, &Broadcaster::Hangs));
    let own = cluster.forge(2, session, 2, nack());
    (0..2).for_each(|to| cluster.inject(2, to, std::slice::from_ref(&own)));
    // Somebody who signs for another.
    let forged = cluster.forge(2, session, 0, nack());
    cluster.inject(2, 1, &[forged]);
    cluster.run_for(TIMEOUT - Duration::from_millis(100));
    assert_eq!(cluster.count(1, &session, "CoordinatorFailed"), 0);
    assert_eq!(cluster.engine(1).refused().signatures, 1);
    cluster.run_for(Duration::from_millis(200));
    assert_eq!(cluster.count(1, &session, "ShouldBroadcast"), 1);
}

fn nack() -> Content {
    Content::Nack { kind: NackKind::Unreachable, reason: String::new() }
}

const WORDS: &str = "min relay fee not met";

fn rejects() -> Broadcaster {
    Broadcaster::Rejects(WORDS.into())
}

#[test]
fn a_rejection_is_a_nack_of_its_own_kind_and_opens_the_next_turn_at_once() {
    let (mut cluster, session) = held(3, |cluster| cluster.nodes[0].broadcaster = rejects());
    cluster.run_for(Duration::from_secs(1));
    let told = cluster.count(0, &session, "BroadcastRejected");
    assert_eq!(told, 1);
    let mut told = cluster.events(0, &session).map(|(_, event)| event);
    assert!(told.any(|event| matches!(event, Event::BroadcastRejected { reason } if reason == WORDS)));
    assert_eq!(cluster.submitters(), [1], "another backend takes it");
    assert_eq!(cluster.count(2, &session, "CoordinatorFailed"), 1);
    for node in 0..3 {
        assert_eq!(cluster.count(node, &session, "NobodyCanBroadcast"), 0, "at {node}");
    }
}

/// One event `NobodyCanBroadcast`: when, how the node's own submissions were answered, and whose NACKs were heard.
type NobodyCan = (Duration, [u32; 4], Vec<(usize, NackKind)>);

/// What a node was told of it.
fn told_that_nobody_can(cluster: &Cluster, node: usize, session: &SessionId) -> Vec<NobodyCan> {
    let of = |nacks: &[Nack]| nacks.iter().map(|nack| (nack.signer, nack.kind)).collect();
    let told = cluster.events(node, session).filter_map(|(at, event)| match event {
        Event::NobodyCanBroadcast { turns, submissions, accepted, rejected, unreachable, nacks, .. } => {
            assert_eq!(*turns, cluster.nodes.len());
            Some((at, [*submissions, *accepted, *rejected, *unreachable], of(nacks)))
        }
        _ => None,
    });
    told.collect()
}

#[test]
fn nobody_can_broadcast_is_said_at_once_and_the_turns_go_on() {
    let (mut cluster, session) = held(3, |cluster| {
        for node in &mut cluster.nodes {
            node.broadcaster = Broadcaster::Unreachable;
        }
        cluster.nodes[1].broadcaster = rejects();
    });
    let begun = cluster.now();
    cluster.run_for(Duration::from_secs(2));
    let nacks = [(0, NackKind::Unreachable), (1, NackKind::Rejected), (2, NackKind::Unreachable)];
    for node in 0..3 {
        let told = told_that_nobody_can(&cluster, node, &session);
        let [(at, [submissions, accepted, rejected, unreachable], of)] = &told[..] else {
            panic!("once at {node}, not {told:?}")
        };
        assert!(*at < begun + Duration::from_secs(1), "at {node}: {at:?}");
        assert_eq!(of[..], nacks, "at {node}");
        assert!(*submissions >= 1 && *accepted == 0, "at {node}: {told:?}");
        assert_eq!((*rejected > 0, *unreachable > 0), (node == 1, node != 1), "at {node}: {told:?}");
        assert_eq!(cluster.count(node, &session, "FailoverExhausted"), 0, "at {node}");
    }
    // They go on, and one of them gets through.
    cluster.nodes[2].broadcaster = Broadcaster::Works;
    cluster.run_for(TIMEOUT);
    assert_eq!(cluster.submitters(), [2]);
    assert!((0..3).all(|node| told_that_nobody_can(&cluster, node, &session).len() == 1));
}

#[test]
fn nobody_can_broadcast_comes_again_after_a_restart_until_somebody_can() {
    let (mut cluster, session) = held(2, |cluster| {
        all_broadcasters(cluster, &Broadcaster::Unreachable);
        cluster.nodes.iter_mut().for_each(|node| node.application.acknowledges = false);
    });
    cluster.run_for(Duration::from_secs(1));
    assert_eq!(told_that_nobody_can(&cluster, 0, &session).len(), 1);
    let restart = |cluster: &mut Cluster| {
        cluster.crash(0);
        cluster.start(0);
        cluster.run_for(Duration::from_millis(200));
    };
    restart(&mut cluster);
    assert_eq!(told_that_nobody_can(&cluster, 0, &session).len(), 2, "not acknowledged");
    cluster.nodes[0].broadcaster = Broadcaster::Works;
    cluster.run_for(TIMEOUT * 2);
    assert_eq!(cluster.submitters(), [0]);
    let before = told_that_nobody_can(&cluster, 0, &session).len();
    restart(&mut cluster);
    assert_eq!(told_that_nobody_can(&cluster, 0, &session).len(), before, "settled");
}

#[test]
fn nobody_can_broadcast_takes_the_nacks_of_all_and_no_claim() {
    let (mut cluster, session) = held(3, |cluster| all_broadcasters(cluster, &Broadcaster::Hangs));
    let txid = super::txid(&cluster, &session);
    for content in [Content::Claim { txid }, nack()] {
        let said = [1, 2].map(|signer| cluster.forge(signer, session, signer, content.clone()));
        cluster.inject(1, 0, &said);
    }
    cluster.run_for(TIMEOUT);
    assert_eq!(told_that_nobody_can(&cluster, 0, &session), [], "this node can, as far as it knows");
    let report = |cluster: &mut Cluster| {
        cluster.ask(0, |engine, request, now| {
            engine.report_broadcast_failed(&session, "no route".into(), request, now)
        })
    };
    assert_eq!((report(&mut cluster), report(&mut cluster)), (Ok(()), Ok(())));
    cluster.run_for(Duration::from_secs(1));
    let told = told_that_nobody_can(&cluster, 0, &session);
    assert_eq!(told.len(), 1);
    assert_eq!(told[0].2, [0, 1, 2].map(|signer| (signer, NackKind::Unreachable)));
}

#[test]
fn exhaustion_says_what_was_submitted_and_heard() {
    let (mut cluster, session) = held(3, |cluster| {
        all_broadcasters(cluster, &Broadcaster::Unreachable);
        cluster.nodes[2].broadcaster = Broadcaster::Hangs;
    });
    let txid = super::txid(&cluster, &session);
    let claim = cluster.forge(2, session, 2, Content::Claim { txid });
    cluster.inject(2, 0, &[claim]);
    cluster.run_for(TIMEOUT * 3 + Duration::from_secs(1));
    let alarm = cluster.events(0, &session).find_map(|(_, event)| match event {
        Event::FailoverExhausted { turns, submissions, unreachable, nacks, claims, transaction, .. } => {
            Some((*turns, *submissions, *unreachable, nacks.clone(), claims.clone(), transaction.clone()))
        }
        _ => None,
    });
    let (turns, submissions, unreachable, nacks, claims, transaction) = alarm.expect("an alarm");
    assert_eq!((turns, submissions > 1, submissions - unreachable <= 1), (3, true, true));
    let of = |signer| Nack { signer, kind: NackKind::Unreachable };
    assert_eq!(nacks, [of(0), of(1)]);
    assert_eq!(claims, [2]);
    assert_eq!(transaction.expect("a transaction").txid, txid);
}

#[test]
fn the_application_may_send_a_nack() {
    let mut options = Options::new(3);
    options.settings.broadcaster = false;
    let mut cluster = Cluster::new(options);
    cluster.nodes[0].application.duty = Duty::CannotReach;
    cluster.run_for(Duration::from_millis(20));
    let session = cluster.create(0, |_| {});
    cluster.complete(&session);
    cluster.run_for(Duration::from_secs(1));
    assert_eq!(cluster.submitters(), [1]);
}
