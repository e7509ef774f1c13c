//! The modes of the broadcast besides failover: sessions that only sign, and those in which the coordinator alone is to
//! broadcast.

use std::time::Duration;

use libmusig::error::Error;
use libmusig::protocol::envelope::Content;
use libmusig::protocol::event::Event;
use libmusig::protocol::proposal::{Broadcast, FailoverPolicy, Terms};
use libmusig::protocol::status::Phase;
use libmusig::types::SessionId;

use test_support::cluster::{Broadcaster, Cluster, Duty, EPOCH, Options};

const SECOND: Duration = Duration::from_secs(1);
const HOUR: Duration = Duration::from_secs(3600);
const DAY: Duration = Duration::from_secs(86_400);

fn cluster(signers: usize) -> Cluster {
    let mut cluster = Cluster::new(Options { audit: true, ..Options::new(signers) });
    cluster.run_for(Duration::from_millis(20));
    cluster
}

/// A session that only signs a message, or a transaction, proposed by node 0. It expires after an hour.
fn sign(cluster: &mut Cluster, raw: bool) -> SessionId {
    let terms = if raw { cluster.raw_terms() } else { cluster.terms() };
    let expires_at = EPOCH.saturating_add(cluster.now() + HOUR);
    cluster.create_with(0, Terms { broadcast: Broadcast::SignOnly, expires_at, ..terms })
}

fn knows(cluster: &Cluster, node: usize, session: &SessionId) -> bool {
    cluster.engine(node).proposal(session).is_some()
}

fn told_of_turns(cluster: &Cluster, node: usize, session: &SessionId) -> Vec<String> {
    let of_turns = |event: &Event| {
        matches!(
            event,
            Event::ShouldBroadcast { .. } | Event::CoordinatorFailed { .. } | Event::FailoverExhausted { .. }
        )
    };
    let told = cluster.events(node, session).filter(|(_, event)| of_turns(event));
    told.map(|(_, event)| format!("{event:?}")).collect()
}

#[test]
fn signing_alone_ends_with_the_signatures() {
    for raw in [true, false] {
        let mut cluster = cluster(3);
        let session = sign(&mut cluster, raw);
        cluster.run_for(SECOND);
        assert!(cluster.all_hold(&session));
        cluster.run_for(HOUR / 2);
        for node in 0..3 {
            assert_eq!(cluster.count(node, &session, "SessionComplete"), 1, "raw={raw}, {node}");
            assert_eq!(told_of_turns(&cluster, node, &session), [""; 0], "raw={raw}, {node}");
            let status = cluster.status(node, &session);
            assert_eq!((status.phase, status.failover), (Phase::Final, None), "raw={raw}, {node}");
            assert!(knows(&cluster, node, &session), "until it expired");
        }
        assert_eq!(cluster.submitters(), [0; 0], "raw={raw}");
        cluster.run_for(HOUR);
        assert!((0..3).all(|node| !knows(&cluster, node, &session)), "raw={raw}: like what is settled");
    }
}

#[test]
fn signing_alone_refuses_what_is_about_a_broadcast() {
    let mut cluster = cluster(2);
    let session = sign(&mut cluster, false);
    cluster.run_for(SECOND);
    for what in ["broadcast_now", "notify", "report"] {
        let answer = cluster.ask(0, |engine, request, now| match what {
            "broadcast_now" => engine.broadcast_now(&session, request, now),
            "notify" => engine.notify_broadcast(&session, None, request, now),
            _ => engine.report_broadcast_failed(&session, "no route".into(), request, now),
        });
        let refused = matches!(answer, Err(Error::WrongState { state: "one that only signs", .. }));
        assert!(refused, "{what}: {answer:?}");
    }
    cluster.run_for(SECOND * 60);
    let status = cluster.status(0, &session);
    assert_eq!((status.phase, status.failover), (Phase::Final, None));
    assert_eq!(cluster.submitters(), [0; 0]);
}

/// Node 2 alone has the signatures, and is cut off.
fn finished_alone(raw: bool) -> (Cluster, SessionId) {
    let mut cluster = cluster(3);
    cluster.on_envelope = Some(Box::new(move |from, _, envelope| {
        let partial = matches!(envelope.content(), Content::Partial { .. });
        if from == 2 && partial { Vec::new() } else { vec![envelope.clone()] }
    }));
    cluster.on_frame = Some(Box::new(move |from, _, frame| from != 2 || frame.certificates.is_empty()));
    let session = sign(&mut cluster, raw);
    cluster.run_for(SECOND);
    assert!(cluster.holds(2, &session) && !cluster.holds(0, &session) && !cluster.holds(1, &session));
    cluster.cut_off(2, true);
    (cluster.on_envelope, cluster.on_frame) = (None, None);
    (cluster, session)
}

#[test]
fn signing_alone_is_passed_on_until_all_have_the_signatures() {
    for (raw, restarts, closes) in [(true, false, false), (false, false, true), (true, true, true)] {
        let why = format!("raw={raw}, restarts={restarts}, closes={closes}");
        let (mut cluster, session) = finished_alone(raw);
        if closes {
            assert_eq!(cluster.ask(2, |engine, request, now| engine.close(&session, request, now)), Ok(()));
        }
        cluster.leap(DAY * 3);
        cluster.run_for(SECOND);
        assert!(knows(&cluster, 2, &session), "{why}: nobody else has it, expired or not");
        if restarts {
            cluster.crash(2);
            cluster.start(2);
        }
        // One of the others cannot be reached yet.
        cluster.cut(1, 2, true);
        cluster.cut(0, 1, true);
        cluster.cut_off(2, false);
        cluster.run_for(SECOND * 10);
        assert!(cluster.holds(0, &session) && !cluster.holds(1, &session), "{why}");
        assert!(knows(&cluster, 2, &session), "{why}: one still lacks it");
        cluster.leap(DAY);
        assert!(knows(&cluster, 2, &session) && knows(&cluster, 0, &session), "{why}: one still lacks it");
        cluster.cut(0, 1, false);
        cluster.cut(1, 2, false);
        cluster.run_for(SECOND * 10);
        for node in 0..3 {
            let told = cluster.count(node, &session, "SessionComplete");
            assert_eq!(told, 1, "{why}: node {node}");
            assert!(!knows(&cluster, node, &session), "{why}: all have it, and it expired; node {node}");
            assert_eq!(told_of_turns(&cluster, node, &session), [""; 0], "{why}: node {node}");
        }
        assert_eq!(cluster.submitters(), [0; 0], "{why}");
    }
}

#[test]
fn signing_alone_is_forgotten_only_where_the_signatures_are_on_the_others_disks() {
    let (mut cluster, session) = finished_alone(true);
    cluster.cut(0, 1, true);
    cluster.cut_off(2, false);
    // Node 0 takes it, says so, and dies before its disk has it.
    cluster.disk(0, Some(test_support::cluster::DiskFault::Hangs));
    cluster.run_for(SECOND * 2);
    assert!(cluster.holds(0, &session) && cluster.holds(1, &session));
    cluster.crash_keeping(0, 0);
    cluster.cut_off(2, true);
    cluster.leap(DAY);
    cluster.disk(0, None);
    cluster.start(0);
    assert!(!cluster.holds(0, &session), "it lost it");
    assert!(knows(&cluster, 2, &session), "node 2 was told nothing that was not on the disk");
    cluster.cut_off(2, false);
    cluster.run_for(SECOND * 10);
    assert_eq!(cluster.count(0, &session, "SessionComplete"), 2, "once in each life");
}

#[test]
fn signing_alone_after_the_own_abort_says_so_and_passes_the_signatures_on() {
    let (mut cluster, session) = finished_alone(true);
    let abort = cluster.ask(0, |engine, request, now| engine.abort(&session, "enough".into(), request, now));
    assert_eq!(abort, Ok(()));
    cluster.cut(1, 2, true);
    cluster.cut_off(2, false);
    cluster.run_for(SECOND * 20);
    let told = cluster.events(0, &session);
    let told: Vec<bool> = told
        .filter_map(|(_, event)| match event {
            Event::SessionComplete { aborted_here, .. } => Some(*aborted_here),
            _ => None,
        })
        .collect();
    assert_eq!(told, [true]);
    assert_eq!(cluster.status(0, &session).phase, Phase::Aborted);
    assert!(cluster.holds(1, &session), "passed on by the one that aborted");
}

#[test]
fn signing_alone_needs_no_disk_to_pass_the_signatures_on() {
    let mut cluster = cluster(2);
    cluster.nodes[1].application.consent = test_support::cluster::Consent::JoinsAfter(SECOND);
    let session = sign(&mut cluster, true);
    cluster.on_envelope = Some(Box::new(|_, to, envelope| {
        let partial = matches!(envelope.content(), Content::Partial { .. });
        if to == 1 && partial { Vec::new() } else { vec![envelope.clone()] }
    }));
    cluster.run_for(SECOND / 2);
    cluster.disk(0, Some(test_support::cluster::DiskFault::Full));
    cluster.run_for(SECOND * 2);
    assert!(cluster.all_hold(&session));
}

#[test]
fn coordinator_only_has_one_turn_and_then_the_alarm() {
    let mut cluster = cluster(3);
    for node in &mut cluster.nodes {
        (node.broadcaster, node.application.duty) = (Broadcaster::Hangs, Duty::Ignores);
    }
    let session = cluster.create(0, |terms| terms.broadcast = Broadcast::CoordinatorOnly);
    cluster.run_for(SECOND);
    let timeout = FailoverPolicy::default().broadcast_timeout;
    cluster.run_for(timeout - SECOND * 2);
    for node in 0..3 {
        assert_eq!(cluster.count(node, &session, "FailoverExhausted"), 0);
        assert_eq!(cluster.count(node, &session, "ShouldBroadcast"), usize::from(node == 0));
        assert_eq!(cluster.status(node, &session).failover.expect("a watch").current, [0]);
    }
    cluster.run_for(SECOND * 4);
    for node in 0..3 {
        assert_eq!(cluster.count(node, &session, "FailoverExhausted"), 1, "{node}");
        assert_eq!(cluster.count(node, &session, "CoordinatorFailed"), 0, "nobody takes over");
    }
    // Any holder may.
    cluster.nodes[2].broadcaster = Broadcaster::Works;
    assert_eq!(cluster.ask(2, |engine, request, now| engine.broadcast_now(&session, request, now)), Ok(()));
    cluster.run_for(SECOND);
    assert_eq!(cluster.submitters(), [2]);
    cluster.run_for(timeout * 3);
    assert!((0..3).all(|node| cluster.count(node, &session, "FailoverExhausted") == 1));
}
