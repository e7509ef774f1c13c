//! Certificates that come when this node ended the session long ago: nothing but the chain refuses them, and nothing but
//! its own application's word keeps it from its turn.

use std::cell::Cell;
use std::rc::Rc;
use std::time::Duration;

use libmusig::error::Error;
use libmusig::protocol::Output;
use libmusig::protocol::envelope::Content;
use libmusig::protocol::event::Event;
use libmusig::protocol::limits;
use libmusig::protocol::status::Phase;
use libmusig::protocol::wire::{self, pb};
use libmusig::types::{SessionId, Txid};

use test_support::cluster::{Cluster, Consent, DiskFault, Duty, EPOCH, Fate, Options};
use test_support::party::policy;

const EXPIRY: Duration = Duration::from_secs(60);
const HOUR: Duration = Duration::from_secs(3600);
const DAY: Duration = Duration::from_secs(86_400);
/// Whoever is last has its turn so long after the certificate that others are to submit before.
const TIMEOUT: Duration = Duration::from_secs(300);

/// The last signer keeps its partial signature and the certificate to itself.
fn withhold(cluster: &mut Cluster) {
    let last = cluster.nodes.len() - 1;
    cluster.on_envelope = Some(Box::new(move |from, _, envelope| {
        let partial = matches!(envelope.content(), Content::Partial { .. });
        if from == last && partial { Vec::new() } else { vec![envelope.clone()] }
    }));
    cluster.on_frame = Some(Box::new(move |from, _, frame| from != last || frame.certificates.is_empty()));
}

/// The last signer finished alone, and was cut off. The proposal expires a minute after the beginning.
fn finished_alone(change: impl FnOnce(&mut Cluster)) -> (Cluster, SessionId) {
    let mut cluster = Cluster::new(Options::new(3));
    cluster.run_for(Duration::from_millis(20));
    withhold(&mut cluster);
    change(&mut cluster);
    let session = cluster.create(0, |terms| {
        terms.expires_at = EPOCH.saturating_add(EXPIRY);
        policy(terms).broadcast_timeout = TIMEOUT;
    });
    cluster.run_for(Duration::from_secs(1));
    assert!(cluster.holds(2, &session) && !cluster.holds(0, &session) && !cluster.holds(1, &session));
    cluster.cut_off(2, true);
    (cluster.on_envelope, cluster.on_frame) = (None, None);
    (cluster, session)
}

/// The last signer is there for a moment, and dies before its turn. Who is to have the certificate then submits in turn.
fn comes_back_and_dies(cluster: &mut Cluster, session: &SessionId, takers: &[usize], why: &str) {
    cluster.cut_off(2, false);
    cluster.run_for(Duration::from_secs(5));
    cluster.crash(2);
    for node in takers {
        assert!(cluster.holds(*node, session), "{why}: node {node} was connected with a holder");
        assert_eq!(cluster.status(*node, session).phase, Phase::Watching, "{why}");
    }
    cluster.run_for(TIMEOUT * 2);
    assert_eq!(cluster.submitters(), takers[..1], "{why}: the first of them broadcasts");
}

fn stop(cluster: &mut Cluster, node: usize, session: &SessionId, how: &str) {
    let result = cluster.ask(node, |engine, request, now| match how {
        "abort" => engine.abort(session, "enough".into(), request, now),
        "abandon" => engine.abandon(session, request, now),
        _ => engine.close(session, request, now),
    });
    assert_eq!(result, Ok(()), "{how}");
}

fn told_of_the_end(cluster: &Cluster, node: usize, session: &SessionId) -> Vec<bool> {
    let told = cluster.events(node, session).filter_map(|(_, event)| match event {
        Event::SessionComplete { aborted_here, .. } => Some(*aborted_here),
        _ => None,
    });
    told.collect()
}

#[test]
fn late_certificate_after_the_expiry_is_taken_and_submitted_in_turn() {
    for restart in [false, true] {
        let (mut cluster, session) = finished_alone(|_| {});
        cluster.run_for(Duration::from_secs(71));
        for node in 0..2 {
            assert_eq!(cluster.count(node, &session, "SessionExpired"), 1);
            if restart {
                cluster.crash(node);
                cluster.start(node);
            }
        }
        comes_back_and_dies(&mut cluster, &session, &[0, 1], &format!("restart={restart}"));
        assert_eq!(told_of_the_end(&cluster, 0, &session), [false]);
    }
}

#[test]
fn late_certificate_weeks_after_the_expiry_is_taken() {
    let (mut cluster, session) = finished_alone(|_| {});
    cluster.leap(DAY * 29);
    comes_back_and_dies(&mut cluster, &session, &[0, 1], "29 days later");
}

#[test]
fn late_certificate_after_another_signers_abort_is_taken() {
    let (mut cluster, session) = finished_alone(|_| {});
    stop(&mut cluster, 1, &session, "abort");
    cluster.run_for(Duration::from_secs(71));
    assert_eq!(cluster.status(0, &session).phase, Phase::Aborted);
    comes_back_and_dies(&mut cluster, &session, &[0], "aborted by another");
}

#[test]
fn late_certificate_after_a_close_by_mistake_is_taken() {
    for expired in [false, true] {
        let (mut cluster, session) = finished_alone(|_| {});
        cluster.run_for(Duration::from_secs(if expired { 71 } else { 1 }));
        let result = cluster.ask(0, |engine, request, now| engine.close(&session, request, now));
        assert_eq!(result, Err(Error::NotSettled { session, complete: false }));
        cluster.run_for(Duration::from_secs(71));
        assert_eq!(cluster.status(0, &session).phase, Phase::Expired);
        comes_back_and_dies(&mut cluster, &session, &[0, 1], &format!("expired={expired}"));
    }
}

#[test]
fn late_certificate_after_the_calendar_was_ahead_is_taken() {
    for restart in [false, true] {
        let (mut cluster, session) = finished_alone(|_| {});
        for node in 0..2 {
            cluster.nodes[node].skew = (DAY * 400).as_millis() as i64;
            cluster.drive(node, |engine, now| engine.woke(now));
        }
        cluster.run_for(HOUR * 3);
        for node in 0..2 {
            if restart {
                cluster.crash(node);
                cluster.start(node);
            }
            cluster.nodes[node].skew = 0;
        }
        cluster.run_for(HOUR);
        comes_back_and_dies(&mut cluster, &session, &[0, 1], &format!("restart={restart}"));
    }
}

#[test]
fn late_certificate_after_a_crash_right_after_the_partial_left_is_taken() {
    let crashed = Rc::new(Cell::new(false));
    let (mut cluster, session) = finished_alone(|cluster| {
        let done = crashed.clone();
        cluster.on_output = Some(Box::new(move |node, output| {
            let Output::Send { to, frame, .. } = output else { return Fate::Happens };
            let frame: pb::Frame = wire::decode(frame, "a frame").expect("a frame");
            let envelopes = frame.envelopes.iter();
            let partial = envelopes
                .map(|bytes| libmusig::protocol::envelope::Envelope::decode(bytes).expect("an envelope"));
            let mut partial = partial.filter(|one| matches!(one.content(), Content::Partial { .. }));
            let theirs = *to == test_support::cluster::key(2);
            if node == 0 && theirs && partial.next().is_some() && !done.replace(true) {
                return Fate::CrashAfter;
            }
            Fate::Happens
        }));
    });
    assert!(crashed.get() && !cluster.nodes[0].alive());
    cluster.run_for(Duration::from_secs(71));
    // It forgot that its partial signature left, and the other one never got it.
    cluster.crash(1);
    cluster.start(0);
    cluster.run_for(Duration::from_secs(5));
    let may = cluster
        .events(0, &session)
        .any(|(_, event)| matches!(event, Event::SessionExpired { may_still_complete: true }));
    assert!(may, "an attempt that was used counts");
    comes_back_and_dies(&mut cluster, &session, &[0], "crashed");
}

#[test]
fn late_certificate_is_expected_until_calendar_and_running_time_agree() {
    let (mut cluster, session) = finished_alone(|_| {});
    cluster.leap(DAY * 31);
    assert_eq!(cluster.engine(0).ids(), [session], "the calendar alone says nothing");
    for _ in 0..6 {
        cluster.crash(0);
        cluster.start(0);
        cluster.leap(DAY);
        assert_eq!(cluster.engine(0).ids(), [session]);
    }
    cluster.leap(DAY + HOUR * 2);
    assert!(cluster.engine(0).ids().is_empty() && cluster.engine(1).ids().is_empty());
    cluster.run_for(Duration::from_secs(2));
    cluster.crash(0);
    assert!(cluster.nodes[0].disk.sessions().is_empty());
    assert_eq!(cluster.status(2, &session).phase, Phase::Watching, "who holds it never forgets by a clock");
}

#[test]
fn late_certificate_is_expected_until_the_chain_settled_the_coins() {
    let (mut cluster, session) = finished_alone(|_| {});
    cluster.run_for(HOUR * 2);
    let txid = cluster.chain.txid_of(&session).expect("it is of a transaction");
    let (spends, now) = (cluster.chain.spent_by(&txid), cluster.now());
    cluster.chain.foreign(Txid([9; 32]), spends, now);
    cluster.chain.mine_blocks(5, now);
    cluster.run_for(HOUR * 2);
    assert_eq!(cluster.engine(0).ids(), [session], "one block is missing");
    let now = cluster.now();
    cluster.chain.mine(now);
    cluster.run_for(HOUR * 2);
    assert!(cluster.engine(0).ids().is_empty() && cluster.engine(1).ids().is_empty());
    // What was kept is asked about once an hour.
    assert!((4..=8).contains(&cluster.nodes[0].observations), "{}", cluster.nodes[0].observations);
}

#[test]
fn late_certificate_of_a_session_that_used_no_attempt_is_none() {
    let mut cluster = Cluster::new(Options::new(3));
    cluster.nodes[1].application.consent = Consent::Waits;
    cluster.cut(0, 2, true);
    cluster.run_for(Duration::from_millis(20));
    cluster.create(0, |terms| terms.expires_at = EPOCH.saturating_add(EXPIRY));
    cluster.run_for(EXPIRY + Duration::from_secs(1));
    for node in 0..3 {
        assert!(cluster.engine(node).ids().is_empty(), "at {node}");
    }
}

#[test]
fn late_certificate_tombstones_are_limited_and_none_is_evicted() {
    let mut cluster = Cluster::idle(Options { counts_work: false, ..Options::new(3) });
    cluster.nodes[0].settings.max_sessions = 8;
    (0..3).for_each(|node| cluster.start(node));
    cluster.run_for(Duration::from_millis(20));
    // Nobody ever finishes.
    cluster.on_envelope = Some(Box::new(|_, _, envelope| match envelope.content() {
        Content::Partial { .. } => Vec::new(),
        _ => vec![envelope.clone()],
    }));
    let quarter = limits::KEPT / 4;
    let mut sessions = Vec::new();
    let begin = |cluster: &mut Cluster| {
        let until = cluster.now() + Duration::from_millis(200);
        let session = cluster.create(1, |terms| terms.expires_at = EPOCH.saturating_add(until));
        cluster.run_for(Duration::from_millis(100));
        session
    };
    while sessions.len() < quarter {
        let session = begin(&mut cluster);
        assert!(cluster.status(0, &session).partial_sent);
        sessions.push(session);
        // They are over, and take no place of those that are not.
        cluster.run_for(Duration::from_millis(150));
    }
    cluster.nodes[0].application.consent = Consent::Waits;
    let one_more = begin(&mut cluster);
    let result = cluster.ask(0, |engine, request, now| engine.join(&one_more, request, now));
    let Err(Error::Limit { limit, .. }) = result else { panic!("{result:?}") };
    assert_eq!(limit, quarter);
    assert!(!cluster.status(0, &one_more).accepted.contains(&0), "nothing was signed");
    for session in &sessions {
        assert_eq!(cluster.status(0, session).phase, Phase::Expired, "none is evicted");
    }
    let others = cluster.create(2, |_| {});
    cluster.run_for(Duration::from_millis(500));
    let result = cluster.ask(0, |engine, request, now| engine.join(&others, request, now));
    assert_eq!(result, Ok(()), "another proposer has its own quarter");
}

#[test]
fn own_abort_stands_and_the_certificate_is_kept_and_passed_on() {
    for (how, phase, restart) in [
        ("abort", Phase::Aborted, false),
        ("abort", Phase::Aborted, true),
        ("abandon", Phase::Closed, false),
        ("abandon", Phase::Closed, true),
    ] {
        let (mut cluster, session) = finished_alone(|_| {});
        stop(&mut cluster, 0, &session, how);
        cluster.run_for(Duration::from_secs(71));
        // The holder reaches only who wants no more of it.
        cluster.cut(1, 2, true);
        cluster.cut(0, 1, true);
        cluster.cut_off(2, false);
        cluster.run_for(Duration::from_secs(5));
        cluster.crash(2);
        if restart {
            cluster.crash(0);
            cluster.start(0);
            cluster.run_for(Duration::from_secs(1));
        }
        assert!(cluster.holds(0, &session), "{how}, restart={restart}");
        assert_eq!(cluster.status(0, &session).phase, phase);
        assert_eq!(told_of_the_end(&cluster, 0, &session), [true], "{how}, restart={restart}");
        cluster.cut(0, 1, false);
        cluster.run_for(Duration::from_secs(5));
        assert!(cluster.holds(1, &session), "{how}: it is passed on");
        cluster.nodes[1].application.consent = Consent::Waits;
        cluster.crash(1);
        cluster.run_for(TIMEOUT * 10);
        assert_eq!(cluster.submitters(), [0; 0], "{how}: it takes no turn");
        for event in ["ShouldBroadcast", "CoordinatorFailed", "FailoverExhausted"] {
            assert_eq!(cluster.count(0, &session, event), 0);
        }
        let result = cluster.ask(0, |engine, request, now| engine.broadcast_now(&session, request, now));
        assert_eq!(result, Ok(()));
        cluster.run_for(Duration::from_secs(5));
        assert_eq!(cluster.submitters(), [0], "its application has another word");
        assert_eq!(cluster.status(0, &session).phase, Phase::Watching);
    }
}

#[test]
fn own_abort_stands_though_a_crash_undid_it_here() {
    for certificate_first in [false, true] {
        let (mut cluster, session) = finished_alone(|_| {});
        cluster.nodes[1].application.duty = Duty::Ignores;
        cluster.nodes[1].settings.broadcaster = false;
        cluster.disk(0, Some(DiskFault::Full));
        stop(&mut cluster, 0, &session, "abort");
        cluster.run_for(Duration::from_secs(1));
        assert_eq!(cluster.status(1, &session).phase, Phase::Aborted, "the abort left at once");
        cluster.crash(0);
        cluster.disk(0, None);
        // What comes back of it comes from node 1, the certificate from node 2.
        cluster.cut(0, 1, certificate_first);
        cluster.cut(1, 2, true);
        cluster.cut_off(2, !certificate_first);
        cluster.start(0);
        cluster.run_for(Duration::from_secs(5));
        assert_eq!(cluster.holds(0, &session), certificate_first);
        cluster.cut_off(2, false);
        cluster.cut(0, 1, false);
        cluster.run_for(Duration::from_secs(5));
        cluster.crash(2);
        assert!(cluster.holds(0, &session) && cluster.holds(1, &session));
        cluster.run_for(TIMEOUT * 5);
        assert_eq!(cluster.status(0, &session).phase, Phase::Aborted, "{certificate_first}");
        if !certificate_first {
            assert!(!cluster.submitters().contains(&0), "it takes no turn");
            assert_eq!(told_of_the_end(&cluster, 0, &session), [true]);
            assert_eq!(cluster.count(0, &session, "ShouldBroadcast"), 0);
        }
    }
}

#[test]
fn who_takes_an_abandoned_session_up_again_looks_at_the_chain_at_once() {
    let (mut cluster, session) = finished_alone(|cluster| {
        cluster.nodes[0].settings.broadcaster = false;
        cluster.nodes[0].application.duty = Duty::Ignores;
        cluster.crash(0);
        cluster.start(0);
        cluster.run_for(Duration::from_millis(20));
    });
    stop(&mut cluster, 0, &session, "abandon");
    cluster.cut_off(2, false);
    cluster.run_for(TIMEOUT * 2);
    assert_eq!(cluster.submitters(), [1]);
    assert_eq!(cluster.count(0, &session, "BroadcastSeen"), 0, "it looks once an hour");
    let result = cluster.ask(0, |engine, request, now| engine.broadcast_now(&session, request, now));
    assert_eq!(result, Ok(()));
    cluster.run_for(Duration::from_secs(1));
    assert_eq!(cluster.count(0, &session, "BroadcastSeen"), 1);
}

#[test]
fn own_abort_stands_until_the_chain_settled_the_coins() {
    for (how, confirmed) in [("abort", 1), ("abandon", 0)] {
        let (mut cluster, session) = finished_alone(|_| {});
        stop(&mut cluster, 0, &session, how);
        cluster.cut_off(2, false);
        cluster.run_for(Duration::from_secs(5));
        assert!(cluster.holds(0, &session));
        cluster.run_for(TIMEOUT * 2);
        assert_eq!(cluster.submitters(), [1], "another one is not bound by it");
        let now = cluster.now();
        cluster.chain.mine_blocks(6, now);
        cluster.run_for(HOUR * 2);
        assert_eq!(cluster.count(0, &session, "BroadcastConfirmed"), confirmed, "{how}");
        assert!(cluster.engine(0).ids().is_empty(), "{how}: nothing is left to do");
    }
}
