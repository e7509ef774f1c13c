//! Every way a session ends, which one wins, and what is left afterwards.

use std::time::Duration;

use libmusig::error::{Error, ProposalError};
use libmusig::protocol::envelope::{Content, Envelope};
use libmusig::protocol::event::Event;
use libmusig::protocol::proposal::Proposal;
use libmusig::protocol::status::Phase;
use libmusig::protocol::wire::{self, pb};
use libmusig::types::{SessionId, UnixMillis};

use test_support::cluster::{Cluster, Consent, EPOCH, Fate, Options};
use test_support::party::{policy, with_signers};

fn cluster(signers: usize) -> Cluster {
    let mut cluster = Cluster::new(Options { audit: true, ..Options::new(signers) });
    cluster.run_for(Duration::from_millis(20));
    cluster
}

/// Signer 2 withholds its partial signature and the certificate, so the session stays open.
fn withhold(cluster: &mut Cluster) {
    cluster.on_envelope = Some(Box::new(|from, _, envelope| {
        let partial = matches!(envelope.content(), Content::Partial { .. });
        if from == 2 && partial { Vec::new() } else { vec![envelope.clone()] }
    }));
    cluster.on_frame = Some(Box::new(|from, _, frame| from != 2 || frame.certificates.is_empty()));
}

fn aborted(cluster: &Cluster, node: usize, session: &SessionId) -> Vec<(usize, bool, bool)> {
    cluster
        .events(node, session)
        .filter_map(|(_, event)| match event {
            Event::SessionAborted { by, declined, may_still_complete, .. } => {
                Some((*by, *declined, *may_still_complete))
            }
            _ => None,
        })
        .collect()
}

#[test]
fn a_decline_ends_it_for_all() {
    let mut cluster = cluster(3);
    cluster.nodes[1].application.consent = Consent::Declines;
    let session = cluster.create(0, |_| {});
    cluster.run_for(Duration::from_secs(5));
    for node in 0..3 {
        assert_eq!(aborted(&cluster, node, &session), [(1, true, false)], "at {node}");
        assert_eq!(cluster.status(node, &session).phase, Phase::Declined);
    }
    let result = cluster.ask(1, |engine, request, now| engine.join(&session, request, now));
    assert!(matches!(result, Err(Error::WrongState { .. })), "{result:?}");
}

#[test]
fn an_abort_ends_it_for_all_and_says_whether_it_may_still_complete() {
    let mut cluster = cluster(3);
    withhold(&mut cluster);
    let session = cluster.create(0, |_| {});
    cluster.run_for(Duration::from_secs(1));
    let result = cluster.ask(1, |engine, request, now| engine.abort(&session, "enough".into(), request, now));
    assert_eq!(result, Ok(()));
    cluster.run_for(Duration::from_secs(1));
    for node in 0..2 {
        assert_eq!(aborted(&cluster, node, &session), [(1, false, true)], "its partial is out, at {node}");
        assert_eq!(cluster.status(node, &session).phase, Phase::Aborted);
    }
}

#[test]
fn a_certificate_after_an_abort_makes_a_holder() {
    for restart in [false, true] {
        let mut cluster = cluster(3);
        withhold(&mut cluster);
        let session = cluster.create(0, |_| {});
        cluster.run_for(Duration::from_secs(1));
        assert!(cluster.holds(2, &session), "the one that withholds finished alone");
        let result =
            cluster.ask(1, |engine, request, now| engine.abort(&session, String::new(), request, now));
        assert_eq!(result, Ok(()));
        cluster.run_for(Duration::from_secs(1));
        assert!(!cluster.holds(0, &session) && !cluster.holds(1, &session));
        (cluster.on_envelope, cluster.on_frame) = (None, None);
        if restart {
            cluster.crash(0);
            cluster.start(0);
        }
        cluster.run_for(Duration::from_secs(20));
        for node in 0..3 {
            assert!(cluster.holds(node, &session), "restart={restart}: nobody loses it, at {node}");
            // The own application's word stands.
            let phase = if node == 1 { Phase::Aborted } else { Phase::Watching };
            assert_eq!(cluster.status(node, &session).phase, phase);
        }
    }
}

#[test]
fn a_partial_after_an_abort_makes_a_holder_too() {
    let mut cluster = cluster(3);
    // The partial signature of 2 is late, and nobody else ever finishes.
    cluster.on_envelope = Some(Box::new(|from, _, envelope| {
        let partial = matches!(envelope.content(), Content::Partial { .. });
        if from == 2 && partial { Vec::new() } else { vec![envelope.clone()] }
    }));
    cluster.on_frame = Some(Box::new(|_, _, frame| frame.certificates.is_empty()));
    let session = cluster.create(0, |_| {});
    cluster.run_for(Duration::from_secs(1));
    let result = cluster.ask(0, |engine, request, now| engine.abort(&session, String::new(), request, now));
    assert_eq!(result, Ok(()));
    cluster.run_for(Duration::from_secs(1));
    assert_eq!(cluster.status(0, &session).phase, Phase::Aborted);
    cluster.on_envelope = None;
    let exported = cluster.engine(2).export(&session).expect("it exists");
    let frame: pb::Frame = wire::decode(&exported, "an export").expect("a frame");
    let all = frame.envelopes.iter().map(|bytes| Envelope::decode(bytes).expect("an envelope"));
    let late: Vec<Envelope> = all.filter(|envelope| envelope.body().signer == 2).collect();
    cluster.inject(2, 0, &late);
    cluster.run_for(Duration::from_secs(1));
    assert!(cluster.holds(0, &session));
}

#[test]
fn an_abort_before_the_last_partial_stops_the_own_one() {
    let mut cluster = cluster(2);
    cluster.nodes[1].application.consent = Consent::Waits;
    let session = cluster.create(0, |_| {});
    cluster.run_for(Duration::from_secs(1));
    let result = cluster.ask(0, |engine, request, now| engine.abort(&session, String::new(), request, now));
    assert_eq!(result, Ok(()));
    let result = cluster.ask(1, |engine, request, now| engine.join(&session, request, now));
    assert_eq!(result, Ok(()), "it did not hear of the abort yet");
    cluster.run_for(Duration::from_secs(30));
    assert_eq!(cluster.status(0, &session).phase, Phase::Aborted);
    assert_eq!(cluster.status(1, &session).phase, Phase::Aborted);
    let signed = |envelope: &&Envelope| matches!(envelope.content(), Content::Partial { .. });
    assert!(cluster.audited.values().filter(signed).all(|envelope| envelope.body().signer == 1));
    assert_eq!(aborted(&cluster, 0, &session), [(0, false, false)]);
}

#[test]
fn a_finished_session_cannot_be_aborted() {
    let mut cluster = cluster(3);
    let session = cluster.create(0, |_| {});
    cluster.complete(&session);
    let result = cluster.ask(0, |engine, request, now| engine.abort(&session, String::new(), request, now));
    assert!(matches!(result, Err(Error::WrongState { .. })), "{result:?}");
    let abort = cluster.forge(1, session, 1, Content::Abort { reason: String::new() });
    cluster.inject(1, 0, &[abort]);
    cluster.run_for(Duration::from_secs(1));
    assert_eq!(cluster.status(0, &session).phase, Phase::Watching);
}

#[test]
fn expiry_ends_what_has_no_other_end() {
    let mut cluster = cluster(3);
    cluster.nodes[1].application.consent = Consent::Waits;
    let session = cluster.create(0, |terms| terms.expires_at = EPOCH.saturating_add(Duration::from_secs(60)));
    cluster.run_for(Duration::from_secs(59));
    assert_eq!(cluster.status(0, &session).phase, Phase::Joined);
    for node in &mut cluster.nodes {
        node.application.acknowledges = false;
    }
    cluster.run_for(Duration::from_secs(2));
    for node in 0..3 {
        assert_eq!(cluster.count(node, &session, "SessionExpired"), 1, "at {node}");
        assert_eq!(cluster.status(node, &session).phase, Phase::Expired);
        let result = cluster.ask(node, |engine, request, now| engine.join(&session, request, now));
        assert!(matches!(result, Err(Error::WrongState { .. })), "{result:?}");
    }
}

#[test]
fn an_ended_session_is_purged_after_its_expiry() {
    let mut cluster = cluster(3);
    cluster.nodes[1].application.consent = Consent::Declines;
    let session = cluster.create(0, |terms| terms.expires_at = EPOCH.saturating_add(Duration::from_secs(60)));
    cluster.run_for(Duration::from_secs(50));
    for node in 0..3 {
        assert_eq!(cluster.engine(node).ids(), [session]);
    }
    cluster.run_for(Duration::from_secs(11));
    for node in 0..3 {
        assert!(cluster.engine(node).ids().is_empty(), "at {node}");
        cluster.run_for(Duration::from_secs(2));
        cluster.crash(node);
        assert!(cluster.nodes[node].disk.sessions().is_empty(), "at {node}");
        cluster.start(node);
    }
}

#[test]
fn a_clock_set_back_revives_no_purged_session() {
    let mut cluster = cluster(3);
    cluster.nodes[1].application.consent = Consent::Waits;
    let session = cluster.create(0, |terms| terms.expires_at = EPOCH.saturating_add(Duration::from_secs(60)));
    cluster.run_for(Duration::from_secs(1));
    cluster.nodes[0].skew = 3_600_000;
    cluster.nodes[0].asleep = true;
    cluster.wake(0);
    cluster.run_for(Duration::from_secs(5));
    assert!(cluster.engine(0).ids().is_empty(), "it expired, and was forgotten");
    cluster.nodes[0].skew = 0;
    cluster.run_for(Duration::from_secs(10));
    // It would not know what it said, and say something else.
    assert!(cluster.engine(0).ids().is_empty());
    assert_eq!(cluster.count(0, &session, "KeyInUseElsewhere"), 0);
    // Nor when it starts again.
    cluster.crash(0);
    cluster.start(0);
    cluster.run_for(Duration::from_secs(10));
    assert!(cluster.engine(0).ids().is_empty());
    assert_eq!(cluster.count(0, &session, "KeyInUseElsewhere"), 0);
    // Another is none of them, whenever it expires.
    for seconds in [40, 4000] {
        let other = cluster.create(0, |terms| {
            terms.expires_at = EPOCH.saturating_add(Duration::from_secs(seconds));
        });
        cluster.run_for(Duration::from_secs(1));
        assert_eq!(cluster.status(0, &other).phase, Phase::Joined);
    }
}

#[test]
fn a_proof_is_stronger_than_an_abort_and_an_abort_than_a_decline() {
    let mut cluster = cluster(4);
    cluster.nodes[1].application.consent = Consent::Waits;
    let session = cluster.create(0, |_| {});
    cluster.run_for(Duration::from_secs(1));
    let say = |cluster: &mut Cluster, content: Content| {
        let envelope = cluster.forge(3, session, 3, content);
        (0..3).for_each(|to| cluster.inject(3, to, std::slice::from_ref(&envelope)));
        cluster.run_for(Duration::from_secs(1));
        (0..3).map(|node| cluster.status(node, &session).phase).collect::<Vec<_>>()
    };
    assert_eq!(say(&mut cluster, Content::Decline { reason: String::new() }), [Phase::Declined; 3]);
    assert_eq!(say(&mut cluster, Content::Abort { reason: String::new() }), [Phase::Aborted; 3]);
    assert_eq!(say(&mut cluster, Content::Decline { reason: "again".into() }), [Phase::Aborted; 3]);
    assert_eq!(say(&mut cluster, Content::Restart { ordinal: 9 }), [Phase::Failed; 3]);
    assert_eq!(say(&mut cluster, Content::Abort { reason: "again".into() }), [Phase::Failed; 3]);
}

#[test]
fn an_ending_survives_a_restart() {
    let mut cluster = cluster(3);
    cluster.nodes[0].application.acknowledges = false;
    cluster.nodes[1].application.consent = Consent::Declines;
    let session = cluster.create(0, |_| {});
    cluster.run_for(Duration::from_secs(2));
    for times in 1..3 {
        assert_eq!(aborted(&cluster, 0, &session).len(), times, "told again until it is acknowledged");
        cluster.crash(0);
        cluster.start(0);
        cluster.run_for(Duration::from_secs(2));
        assert_eq!(cluster.status(0, &session).phase, Phase::Declined);
    }
    cluster.nodes[0].application.acknowledges = true;
    cluster.drive(0, |engine, now| engine.redeliver(now));
    cluster.run_for(Duration::from_secs(2));
    let told = aborted(&cluster, 0, &session).len();
    cluster.crash(0);
    cluster.start(0);
    cluster.run_for(Duration::from_secs(2));
    assert_eq!(aborted(&cluster, 0, &session).len(), told);
}

mod closed {
    use super::*;

    fn close(cluster: &mut Cluster, node: usize, session: &SessionId) {
        let result = cluster.ask(node, |engine, request, now| engine.close(session, request, now));
        assert_eq!(result, Ok(()));
    }

    fn abandon(cluster: &mut Cluster, node: usize, session: &SessionId) {
        let result = cluster.ask(node, |engine, request, now| engine.abandon(session, request, now));
        assert_eq!(result, Ok(()));
    }

    /// What closing is refused with, and with what it is told to do instead.
    fn refused(cluster: &mut Cluster, node: usize, session: SessionId, complete: bool) {
        let before = (cluster.status(node, &session).phase, cluster.names(node, &session));
        let result = cluster.ask(node, |engine, request, now| engine.close(&session, request, now));
        let error = result.expect_err("it would give something up");
        assert_eq!(error, Error::NotSettled { session, complete });
        assert!(error.to_string().contains("abandon_session()"), "{error}");
        assert_eq!((cluster.status(node, &session).phase, cluster.names(node, &session)), before);
    }

    #[test]
    fn close_while_watching_is_refused_until_the_final_depth() {
        let mut cluster = cluster(3);
        let session = cluster.create(0, |_| {});
        cluster.complete(&session);
        for restart in [false, true] {
            if restart {
                cluster.run_for(Duration::from_secs(1));
                cluster.crash(0);
                cluster.start(0);
            }
            refused(&mut cluster, 0, session, true);
        }
        cluster.run_for(Duration::from_secs(5));
        assert_eq!(cluster.submitters().len(), 1, "the watch goes on");
        for block in 0..6 {
            refused(&mut cluster, 0, session, true);
            let now = cluster.now();
            cluster.chain.mine(now);
            cluster.run_for(Duration::from_secs(120));
            assert_eq!(cluster.status(0, &session).phase == Phase::Final, block == 5);
        }
        close(&mut cluster, 0, &session);
        assert_eq!(cluster.status(0, &session).phase, Phase::Closed);
    }

    #[test]
    fn close_while_watching_is_refused_as_long_as_a_partial_signature_may_be_out() {
        for restart in [false, true] {
            let mut cluster = cluster(3);
            withhold(&mut cluster);
            let session = cluster.create(0, |_| {});
            cluster.run_for(Duration::from_secs(1));
            assert!(cluster.status(0, &session).partial_sent);
            if restart {
                cluster.crash(0);
                cluster.start(0);
            }
            refused(&mut cluster, 0, session, false);
            let result =
                cluster.ask(0, |engine, request, now| engine.abort(&session, "no".into(), request, now));
            assert_eq!(result, Ok(()), "that is another word");
            refused(&mut cluster, 0, session, false);
            abandon(&mut cluster, 0, &session);
            assert_eq!(cluster.status(0, &session).phase, Phase::Closed);
            close(&mut cluster, 0, &session);
        }
    }

    #[test]
    fn close_while_watching_without_an_observer_is_refused_until_the_application_says_that_it_is_broadcast() {
        let mut cluster = cluster(3);
        cluster.nodes[0].settings.observer = false;
        cluster.crash(0);
        cluster.start(0);
        cluster.run_for(Duration::from_millis(20));
        let session = cluster.create(0, |_| {});
        cluster.complete(&session);
        refused(&mut cluster, 0, session, true);
        cluster.notify(0, session);
        close(&mut cluster, 0, &session);
    }

    #[test]
    fn close_while_watching_is_abandoned_and_the_certificate_is_passed_on() {
        for restart in [false, true] {
            let mut cluster = cluster(3);
            cluster.cut_off(2, true);
            cluster.on_frame = Some(Box::new(|_, to, frame| to != 2 || frame.certificates.is_empty()));
            cluster.cut_off(2, false);
            cluster.on_envelope = Some(Box::new(|_, to, envelope| match envelope.content() {
                Content::Partial { .. } if to == 2 => Vec::new(),
                _ => vec![envelope.clone()],
            }));
            let session =
                cluster.create(0, |terms| policy(terms).broadcast_timeout = Duration::from_secs(3600));
            cluster.run_for(Duration::from_secs(1));
            assert!(cluster.holds(0, &session) && cluster.holds(1, &session) && !cluster.holds(2, &session));
            for node in 0..2 {
                abandon(&mut cluster, node, &session);
                let told = cluster.names(node, &session).len();
                cluster.run_for(Duration::from_secs(1));
                assert_eq!(cluster.names(node, &session)[told..], ["SessionClosed"]);
                assert!(!cluster.engine(node).own_turn_open(&session).expect("it is known"));
                if restart {
                    cluster.crash(node);
                    cluster.start(node);
                }
            }
            let before = cluster.submitters().len();
            (cluster.on_envelope, cluster.on_frame) = (None, None);
            cluster.cut_off(2, true);
            cluster.run_for(Duration::from_secs(1));
            cluster.cut_off(2, false);
            cluster.run_for(Duration::from_secs(10));
            assert!(cluster.holds(2, &session), "restart={restart}: it is passed on");
            cluster.crash(2);
            let told = cluster.names(0, &session).len();
            cluster.run_for(Duration::from_secs(4 * 3600));
            assert_eq!(cluster.submitters().len(), before, "restart={restart}: no turn is taken");
            assert_eq!(cluster.names(0, &session).len(), told, "nothing is told of it");
            let result = cluster.ask(0, |engine, request, now| engine.broadcast_now(&session, request, now));
            assert_eq!(result, Ok(()));
            cluster.run_for(Duration::from_secs(5));
            assert_eq!(cluster.submitters().last(), Some(&0));
            assert_eq!(cluster.status(0, &session).phase, Phase::Watching);
            refused(&mut cluster, 0, session, true);
        }
    }

    #[test]
    fn an_abandoned_session_is_opened_again_by_joining_and_takes_its_turn() {
        for late in [false, true] {
            let mut cluster = cluster(3);
            if late {
                withhold(&mut cluster);
            }
            let session = cluster.create(0, |_| {});
            cluster.run_for(Duration::from_millis(if late { 1000 } else { 0 }));
            if !late {
                cluster.complete(&session);
            }
            abandon(&mut cluster, 0, &session);
            cluster.run_for(Duration::from_secs(1));
            (cluster.on_envelope, cluster.on_frame) = (None, None);
            let result = cluster.ask(0, |engine, request, now| engine.join(&session, request, now));
            assert_eq!(result, Ok(()));
            cluster.run_for(Duration::from_secs(20));
            assert!(cluster.holds(0, &session));
            assert_eq!(cluster.status(0, &session).phase, Phase::Watching, "late={late}");
        }
    }

    #[test]
    fn an_abandoned_session_sends_nothing() {
        let mut cluster = cluster(3);
        let session = cluster.create(0, |_| {});
        cluster.complete(&session);
        // A question to the observer, and a submission, are on their way.
        cluster.run_for(Duration::from_millis(3));
        abandon(&mut cluster, 0, &session);
        let told = cluster.names(0, &session).len();
        cluster.run_for(Duration::from_secs(120));
        let later = cluster.names(0, &session);
        assert_eq!(later[told..], ["SessionClosed"]);
        assert_eq!(cluster.status(0, &session).phase, Phase::Closed);
    }

    #[test]
    fn a_session_closed_during_signing_signs_no_more() {
        let mut options = Options { audit: true, sign: Duration::from_millis(30), ..Options::new(3) };
        options.sync = Duration::ZERO;
        let mut cluster = Cluster::new(options);
        cluster.run_for(Duration::from_millis(20));
        let session = cluster.create(0, |_| {});
        // Its nonces are being made.
        cluster.run_for(Duration::from_millis(120));
        let sent = cluster.sent.clone();
        close(&mut cluster, 1, &session);
        let before = cluster.audited.values().filter(|e| e.body().signer == 1).count();
        cluster.run_for(Duration::from_secs(5));
        let after = cluster.audited.values().filter(|e| e.body().signer == 1).count();
        assert_eq!(before, after, "{sent:?}, then {:?}", cluster.sent);
    }

    #[test]
    fn an_abandoned_session_is_reopened_and_finishes() {
        for restart in [false, true] {
            let mut cluster = cluster(3);
            withhold(&mut cluster);
            let session = cluster.create(0, |_| {});
            cluster.run_for(Duration::from_secs(1));
            abandon(&mut cluster, 0, &session);
            cluster.run_for(Duration::from_secs(1));
            if restart {
                cluster.crash(0);
                cluster.start(0);
                assert_eq!(cluster.status(0, &session).phase, Phase::Closed);
            }
            (cluster.on_envelope, cluster.on_frame) = (None, None);
            let result = cluster.ask(0, |engine, request, now| engine.join(&session, request, now));
            assert_eq!(result, Ok(()));
            cluster.run_for(Duration::from_secs(20));
            assert!(cluster.holds(0, &session), "restart={restart}: {:?}", cluster.status(0, &session));
        }
    }

    #[test]
    fn an_abandoned_session_accepts_a_certificate() {
        let mut cluster = cluster(3);
        withhold(&mut cluster);
        let session = cluster.create(0, |_| {});
        cluster.run_for(Duration::from_secs(1));
        abandon(&mut cluster, 0, &session);
        (cluster.on_envelope, cluster.on_frame) = (None, None);
        // Whoever holds it sends it on a new connection.
        cluster.cut(0, 2, true);
        cluster.run_for(Duration::from_secs(1));
        cluster.cut(0, 2, false);
        cluster.run_for(Duration::from_secs(5));
        assert!(cluster.holds(0, &session));
    }

    #[test]
    fn a_closed_session_is_never_started_again() {
        let mut cluster = cluster(3);
        withhold(&mut cluster);
        let session = cluster.create(1, |_| {});
        cluster.run_for(Duration::from_secs(1));
        let exported = cluster.engine(1).export(&session).expect("it exists");
        abandon(&mut cluster, 0, &session);
        cluster.run_for(Duration::from_secs(1));
        let announced = cluster.count(0, &session, "SessionProposed");
        cluster.drive(0, |engine, now| engine.import(&exported, now).ok());
        cluster.run_for(Duration::from_secs(5));
        assert_eq!(cluster.count(0, &session, "SessionProposed"), announced);
        assert_eq!(cluster.status(0, &session).phase, Phase::Closed);
        let findings = cluster.audit(&cluster.engine(0).proposal(&session).expect("it exists"));
        assert!(findings.equivocated.is_empty() && findings.reused.is_empty(), "{findings:?}");
    }

    #[test]
    fn a_clock_set_back_does_not_start_a_closed_session_again() {
        let mut cluster = cluster(2);
        let session =
            cluster.create(1, |terms| terms.expires_at = EPOCH.saturating_add(Duration::from_secs(3600)));
        cluster.complete(&session);
        let exported = cluster.engine(1).export(&session).expect("it exists");
        abandon(&mut cluster, 0, &session);
        cluster.run_for(Duration::from_secs(2));
        // The calendar is wrong for a while: the tombstone is past its expiry.
        cluster.nodes[0].skew = 7_200_000;
        cluster.drive(0, |engine, now| engine.woke(now));
        cluster.run_for(Duration::from_secs(2));
        cluster.nodes[0].skew = 0;
        cluster.drive(0, |engine, now| engine.import(&exported, now).ok());
        cluster.run_for(Duration::from_secs(5));
        let findings = cluster.audit(&cluster.engine(1).proposal(&session).expect("it exists"));
        assert!(findings.equivocated.is_empty(), "{findings:?}");
    }
}

mod arrivals {
    use std::sync::{Arc, Mutex};

    use super::*;

    #[test]
    fn a_session_that_exists_is_not_created_again() {
        let mut cluster = cluster(3);
        let terms = cluster.terms();
        let proposal = Proposal::new(terms.clone()).expect("valid");
        let session = cluster.create_with(0, terms);
        let result =
            cluster.ask(0, |engine, request, now| engine.create(proposal.clone(), request, now).map(|_| ()));
        assert_eq!(result, Err(Error::SessionExists(session)));
        cluster.complete(&session);
        let result = cluster.ask(0, |engine, request, now| engine.create(proposal, request, now).map(|_| ()));
        assert_eq!(result, Err(Error::SessionExists(session)));
        assert!(cluster.holds(0, &session), "the running one goes on");
    }

    #[test]
    fn a_repeated_proposal_changes_nothing() {
        let mut cluster = cluster(3);
        cluster.on_envelope = Some(Box::new(|_, _, envelope| vec![envelope.clone(), envelope.clone()]));
        let session = cluster.create(0, |_| {});
        cluster.complete(&session);
        cluster.run_for(Duration::from_secs(5));
        for node in 1..3 {
            assert_eq!(cluster.count(node, &session, "SessionProposed"), 1);
            assert_eq!(cluster.count(node, &session, "SessionComplete"), 1);
            assert_eq!(cluster.count(node, &session, "SessionJoined"), 3);
        }
    }

    #[test]
    fn envelopes_reversed_and_duplicated_give_the_same_result() {
        let mut cluster = cluster(3);
        let session = cluster.create(0, |_| {});
        cluster.complete(&session);
        let exported = cluster.engine(0).export(&session).expect("it exists");
        let frame: pb::Frame = wire::decode(&exported, "an export").expect("a frame");
        // Another node of signer 1, which sees all of it in another order.
        for seed in 0..20 {
            let mut other = Cluster::new(Options { seed, ..Options::new(3) });
            other.run_for(Duration::from_millis(20));
            other.crash(0);
            other.crash(2);
            let mut envelopes = frame.envelopes.clone();
            for last in (1..envelopes.len()).rev() {
                envelopes.swap(last, other.random.below(last as u64 + 1) as usize);
            }
            for _ in 0..2 {
                for envelope in &envelopes {
                    let part = pb::Frame { envelopes: vec![envelope.clone()], ..pb::Frame::default() };
                    let bytes = wire::encode(&part);
                    other.drive(1, |engine, now| engine.import(&bytes, now).ok());
                }
            }
            other.run_for(Duration::from_secs(1));
            assert!(other.holds(1, &session), "seed {seed}");
        }
    }

    #[test]
    fn envelopes_before_their_proposal_are_asked_for_again() {
        let mut cluster = cluster(3);
        // The way from 0 to 1 is slow: what 2 says of the session is there first.
        cluster.slow(0, 1, Duration::from_millis(300));
        let session = cluster.create(0, |_| {});
        let known = cluster
            .run_until(Duration::from_millis(200), |cluster| cluster.engine(1).proposal(&session).is_some());
        assert!(known, "2 passes the proposal on when it is asked");
        cluster.complete(&session);
        assert!(cluster.now() < Duration::from_secs(2), "{:?}", cluster.now());
    }

    #[test]
    fn strangers_learn_nothing_and_change_nothing() {
        let mut cluster = cluster(4);
        let session = cluster.create(0, |terms| {
            let signers = terms.signers[..3].to_vec();
            with_signers(terms, signers);
        });
        let done = |cluster: &Cluster| (0..3).all(|node| cluster.holds(node, &session));
        assert!(cluster.run_until(Duration::from_secs(5), done));
        cluster.run_for(Duration::from_secs(1));
        assert!(cluster.engine(3).ids().is_empty());
        assert_eq!(cluster.engine(3).refused(), Default::default(), "it was not even spoken to");
    }

    /// All that a node answers to a stranger who speaks of a session: in a question, an envelope, its proposal, and a
    /// certificate.
    fn answers(cluster: &mut Cluster, session: SessionId, proposal: &[u8]) -> Vec<pb::Frame> {
        let have = |answer| pb::Have { session: session.0.to_vec(), answer, ..pb::Have::default() };
        let envelope = |content| cluster.forge(3, session, 1, content).as_bytes().to_vec();
        let (accept, proposal) = (envelope(Content::Accept), envelope(Content::Proposal(proposal.to_vec())));
        let certificate = pb::Certificate { session: session.0.to_vec(), signatures: vec![7; 64] };
        let probes = [
            pb::Frame { have: vec![have(false)], ..pb::Frame::default() },
            pb::Frame { have: vec![have(true)], ..pb::Frame::default() },
            pb::Frame { envelopes: vec![accept.clone()], ..pb::Frame::default() },
            pb::Frame { envelopes: vec![accept, proposal], ..pb::Frame::default() },
            pb::Frame { certificates: vec![certificate], ..pb::Frame::default() },
        ];
        let mut all = Vec::new();
        for probe in probes {
            let told: Arc<Mutex<Vec<pb::Frame>>> = Arc::default();
            let heard = told.clone();
            cluster.on_frame = Some(Box::new(move |from, to, frame| {
                if (from, to) == (0, 3) {
                    heard.lock().expect("no panic").push(frame.clone());
                }
                true
            }));
            cluster.deliver(3, 0, wire::encode(&probe).into());
            // What was asked before may be asked again.
            cluster.run_for(Duration::from_secs(2));
            let mut told = std::mem::take(&mut *told.lock().expect("no panic"));
            for have in told.iter_mut().flat_map(|frame| &mut frame.have) {
                assert_eq!(have.session, session.0);
                have.session.clear();
            }
            // Each probe is told apart.
            all.extend(told);
            all.push(pb::Frame::default());
        }
        all
    }

    #[test]
    fn same_answer_about_a_session_of_others_as_about_an_unknown_one() {
        let mut cluster = cluster(4);
        let session = cluster.create(0, |terms| {
            let signers = terms.signers[..3].to_vec();
            with_signers(terms, signers);
        });
        let done = |cluster: &Cluster| (0..3).all(|node| cluster.holds(node, &session));
        assert!(cluster.run_until(Duration::from_secs(5), done));
        cluster.run_for(Duration::from_secs(1));
        let proposal = cluster.engine(0).proposal(&session).expect("it is known").as_bytes().to_vec();
        // Of the one that is not there too: whoever knows a session's id may know its proposal.
        let mut terms = cluster.terms();
        let signers = terms.signers[..3].to_vec();
        with_signers(&mut terms, signers);
        let unknown = Proposal::new(terms).expect("valid terms");
        let about_known = answers(&mut cluster, session, &proposal);
        let about_unknown = answers(&mut cluster, unknown.id(), unknown.as_bytes());
        assert_eq!(about_known, about_unknown);
        assert!(about_known.iter().any(|frame| !frame.have.is_empty()), "it is asked for");
        assert!(about_known.iter().all(|frame| frame.envelopes.is_empty() && frame.certificates.is_empty()));
        assert!(about_known.iter().flat_map(|frame| &frame.have).all(|have| have.envelopes.is_empty()));
    }

    #[test]
    fn proposals_of_one_signer_are_limited() {
        let mut options = Options::new(2);
        options.settings.max_proposals_per_signer = 5;
        let mut cluster = Cluster::new(options);
        cluster.nodes[1].application.consent = Consent::Waits;
        cluster.run_for(Duration::from_millis(20));
        let sessions: Vec<SessionId> = (0..8).map(|_| cluster.create(0, |_| {})).collect();
        cluster.run_for(Duration::from_millis(100));
        assert_eq!(cluster.engine(1).ids().len(), 5);
        assert!(cluster.engine(1).refused().proposals >= 3);
        let known: Vec<_> = cluster.engine(1).ids();
        for session in &known {
            let result = cluster.ask(1, |engine, request, now| engine.join(session, request, now));
            assert_eq!(result, Ok(()));
        }
        // There is room again, and the proposer still offers the others.
        cluster.run_for(Duration::from_secs(10));
        assert_eq!(cluster.engine(1).ids().len(), sessions.len());
    }

    #[test]
    fn open_sessions_are_limited() {
        let mut options = Options::new(2);
        options.settings.max_sessions = 3;
        let mut cluster = Cluster::new(options);
        cluster.run_for(Duration::from_millis(20));
        let sessions: Vec<SessionId> = (0..3).map(|_| cluster.create(0, |_| {})).collect();
        cluster.run_for(Duration::from_secs(1));
        let proposal = Proposal::new(cluster.terms()).expect("valid");
        let result =
            cluster.ask(0, |engine, request, now| engine.create(proposal.clone(), request, now).map(|_| ()));
        assert!(matches!(result, Err(Error::Limit { .. })), "{result:?}");
        let result = cluster.ask(0, |engine, request, now| engine.abandon(&sessions[0], request, now));
        assert_eq!(result, Ok(()));
        let result = cluster.ask(0, |engine, request, now| engine.create(proposal, request, now).map(|_| ()));
        assert_eq!(result, Ok(()));
    }

    #[test]
    fn expired_or_far_away_proposals_are_refused() {
        let mut cluster = cluster(2);
        for expires_at in [EPOCH, EPOCH.saturating_add(Duration::from_secs(31 * 86_400)), UnixMillis(0)] {
            let terms = libmusig::protocol::proposal::Terms { expires_at, ..cluster.terms() };
            let proposal = Proposal::new(terms).expect("valid but for the time");
            let result =
                cluster.ask(0, |engine, request, now| engine.create(proposal, request, now).map(|_| ()));
            assert!(matches!(result, Err(Error::Proposal(ProposalError::Expiry { .. }))), "{result:?}");
        }
        // The other's clock may say something else than the proposer's.
        cluster.nodes[1].skew = 2 * 86_400_000;
        let session = cluster.create(0, |_| {});
        cluster.run_for(Duration::from_millis(100));
        assert!(cluster.engine(1).ids().is_empty());
        assert!(cluster.engine(1).refused().proposals > 0);
        assert_eq!(cluster.status(0, &session).phase, Phase::Joined);
    }

    #[test]
    fn a_proposal_that_nobody_signed_is_refused() {
        let mut cluster = cluster(3);
        let proposal = Proposal::new(cluster.terms()).expect("valid");
        let bytes = proposal.as_bytes().to_vec();
        // 2 proposes in the name of 0.
        let forged = cluster.forge(2, proposal.id(), 0, Content::Proposal(bytes.clone()));
        let own = cluster.forge(2, proposal.id(), 2, Content::Proposal(bytes));
        cluster.inject(2, 1, &[forged]);
        cluster.inject(2, 1, &[own]);
        cluster.run_for(Duration::from_secs(1));
        assert!(cluster.engine(1).ids().is_empty());
        assert!(cluster.nodes[1].events.iter().all(|(_, event)| event.session.is_none()));
    }
}

/// A signer that cannot sign, for a while.
#[test]
fn a_request_that_cannot_be_stored_leaves_no_trace() {
    let mut cluster = cluster(2);
    cluster.on_output = Some(Box::new(|node, output| match output {
        libmusig::protocol::Output::Sign { .. } if node == 0 => Fate::Lost,
        _ => Fate::Happens,
    }));
    cluster.create(0, |_| {});
    cluster.run_for(Duration::from_secs(5));
    assert_eq!(cluster.frames, 0, "nothing was said");
    cluster.crash(0);
    cluster.on_output = None;
    cluster.start(0);
    assert!(cluster.engine(0).ids().is_empty());
}
