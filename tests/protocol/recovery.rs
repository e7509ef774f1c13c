//! Crashes, old backups, two instances: nothing is lost that can be kept, and no nonce ever answers two challenges.

use std::cell::Cell;
use std::rc::Rc;
use std::time::Duration;

use libmusig::protocol::envelope::Content;
use libmusig::protocol::event::Event;
use libmusig::protocol::proposal::Proposal;
use libmusig::protocol::{Durability, Output, SessionChange};
use libmusig::types::SessionId;

use test_support::cluster::{Cluster, Fate, Options, kind_of};

fn cluster(signers: usize, real: bool, seed: u64) -> Cluster {
    let mut cluster = Cluster::new(Options { real, seed, audit: true, ..Options::new(signers) });
    cluster.run_for(Duration::from_millis(20));
    cluster
}

fn proposal(cluster: &Cluster, session: &SessionId) -> Proposal {
    let known = cluster.nodes.iter().filter_map(|node| node.engine.as_ref()?.proposal(session));
    known.into_iter().next().expect("somebody knows it")
}

fn check_audit(cluster: &Cluster, session: &SessionId, name: &str) {
    let findings = cluster.audit(&proposal(cluster, session));
    assert!(findings.reused.is_empty(), "{name}: {findings:?}");
    assert!(findings.equivocated.is_empty(), "{name}: {findings:?}");
    assert_eq!(findings.partials, findings.valid, "{name}: {findings:?}");
}

fn nobody_is_blamed(cluster: &Cluster, session: &SessionId, name: &str) {
    for node in 0..cluster.nodes.len() {
        for event in ["SessionFailed", "KeyInUseElsewhere", "SessionAborted", "SessionExpired"] {
            assert_eq!(cluster.count(node, session, event), 0, "{name}: {event} at {node}");
        }
    }
}

/// Whether an output is the one that is meant.
fn says(output: &Output, kind: &str) -> bool {
    let Output::Persist { changes, .. } = output else { return false };
    changes.iter().any(|change| match change {
        SessionChange::Envelope(_, bytes) => {
            let envelope = libmusig::protocol::envelope::Envelope::decode(bytes).expect("an envelope");
            kind_of(envelope.content()) == kind
        }
        SessionChange::Certificate(_) => kind == "certificate",
        _ => false,
    })
}

/// Crashes a node once, at an output, and starts it a second later.
fn crash_once(cluster: &mut Cluster, node: usize, fate: Fate, when: impl Fn(&Output) -> bool + 'static) {
    let crashed = Rc::new(Cell::new(false));
    let done = crashed.clone();
    cluster.on_output = Some(Box::new(move |at, output| {
        if at != node || done.get() || !when(output) {
            return Fate::Happens;
        }
        done.set(true);
        fate
    }));
    cluster.after(Duration::from_secs(2), move |cluster| {
        if !cluster.nodes[node].alive() {
            cluster.start(node);
        }
    });
}

fn finishes(cluster: &mut Cluster, session: &SessionId, name: &str) {
    cluster.run_for(Duration::from_millis(2500));
    let done = cluster.run_until(Duration::from_secs(40), |cluster| cluster.all_hold(session));
    assert!(done, "{name}: the session completes");
    cluster.run_for(Duration::from_secs(90));
    assert!(!cluster.submitters().is_empty(), "{name}: it is broadcast");
    check_audit(cluster, session, name);
    nobody_is_blamed(cluster, session, name);
}

#[test]
fn a_node_killed_as_a_holder_recovers() {
    for (real, fate) in [
        (false, Fate::CrashBefore),
        (false, Fate::CrashAfter),
        (true, Fate::CrashBefore),
        (true, Fate::CrashAfter),
    ] {
        let mut cluster = cluster(3, real, 1);
        crash_once(
            &mut cluster,
            0,
            fate,
            |output| matches!(output, Output::Event { event } if matches!(event.event, Event::SessionComplete { .. })),
        );
        let session = cluster.create(0, |_| {});
        finishes(&mut cluster, &session, "holder");
        assert_eq!(cluster.submitters().len(), 1, "{fate:?}");
    }
}

#[test]
fn a_node_killed_between_the_rounds_recovers() {
    for real in [false, true] {
        for node in 0..3 {
            let mut cluster = cluster(3, real, 1);
            crash_once(&mut cluster, node, Fate::CrashBefore, |output| says(output, "partial"));
            let session = cluster.create(0, |_| {});
            finishes(&mut cluster, &session, "between the rounds");
            let restarts = cluster.sent.get("restart").copied().unwrap_or_default();
            assert!(restarts > 0, "its nonces were lost, so there is another attempt");
        }
    }
}

#[test]
fn a_node_killed_before_the_first_round_recovers() {
    for real in [false, true] {
        for node in 0..3 {
            let mut cluster = cluster(3, real, 1);
            // Its consent is on its way to the disk, and arrives there.
            crash_once(&mut cluster, node, Fate::CrashBeforeKeeping(9), |output| says(output, "nonces"));
            let session = cluster.create(0, |_| {});
            finishes(&mut cluster, &session, "before the first round");
            assert_eq!(cluster.sent.get("restart"), None, "no nonce was ever sent, so none is lost");
        }
    }
}

#[test]
fn a_node_killed_after_its_unsynced_partial_left_recovers() {
    for real in [false, true] {
        for node in 0..3 {
            let mut cluster = cluster(3, real, 1);
            // The partial is on its way to somebody; the disk does not know it.
            crash_once(
                &mut cluster,
                node,
                Fate::CrashAfter,
                |output| matches!(output, Output::Send { frame, .. } if carries(frame, "partial")),
            );
            let session = cluster.create(0, |_| {});
            finishes(&mut cluster, &session, "after its partial");
            assert_eq!(cluster.sent.get("restart"), None, "it comes back from a peer, so nothing is lost");
        }
    }
}

/// As above, and nobody can finish meanwhile.
#[test]
fn the_own_partial_is_fetched_before_another_is_made() {
    for real in [false, true] {
        let mut cluster = cluster(3, real, 1);
        crash_once(
            &mut cluster,
            1,
            Fate::CrashAfter,
            |output| matches!(output, Output::Send { frame, .. } if carries(frame, "partial")),
        );
        cluster.on_envelope = Some(Box::new(|from, _, envelope| {
            let withheld = from == 2 && matches!(envelope.content(), Content::Partial { .. });
            if withheld { Vec::new() } else { vec![envelope.clone()] }
        }));
        cluster.on_frame = Some(Box::new(|from, _, frame| from != 2 || frame.certificates.is_empty()));
        let session = cluster.create(0, |_| {});
        cluster.run_for(Duration::from_secs(20));
        assert_eq!(cluster.sent.get("restart"), None);
        assert_eq!(cluster.status(1, &session).missing, [2]);
        (cluster.on_envelope, cluster.on_frame) = (None, None);
        finishes(&mut cluster, &session, "its own partial");
        assert_eq!(cluster.sent.get("restart"), None);
    }
}

fn carries(frame: &[u8], kind: &str) -> bool {
    let frame: libmusig::protocol::wire::pb::Frame =
        libmusig::protocol::wire::decode(frame, "a frame").expect("a frame");
    frame.envelopes.iter().any(|bytes| {
        let envelope = libmusig::protocol::envelope::Envelope::decode(bytes).expect("an envelope");
        kind_of(envelope.content()) == kind
    })
}

/// Kills a node before or after each of its outputs, with and without what was not synced.
#[test]
fn a_node_killed_at_any_step_recovers() {
    for node in 0..3 {
        for keep in [0, 1, 100] {
            let mut step = 0;
            loop {
                let name = format!("node {node}, before output {step}, keeping {keep}");
                let mut cluster = cluster(3, false, step as u64);
                let seen = Rc::new(Cell::new(0));
                let (count, target) = (seen.clone(), step);
                cluster.on_output = Some(Box::new(move |at, _| {
                    if at == node {
                        count.set(count.get() + 1);
                        if count.get() == target + 1 {
                            return Fate::CrashBeforeKeeping(keep);
                        }
                    }
                    Fate::Happens
                }));
                cluster.after(Duration::from_secs(2), move |cluster| {
                    if !cluster.nodes[node].alive() {
                        cluster.start(node);
                    }
                });
                let session = cluster.create(0, |_| {});
                cluster.run_for(Duration::from_secs(3));
                let known = cluster.nodes.iter().any(|node| {
                    node.engine.as_ref().is_some_and(|engine| engine.proposal(&session).is_some())
                });
                if known {
                    finishes(&mut cluster, &session, &name);
                } else {
                    assert_eq!(node, 0, "{name}: only its proposer can take a session with it");
                    assert!(step < 10, "{name}");
                }
                if seen.get() <= step {
                    assert!(step > 20, "there are more steps than that");
                    break;
                }
                step += 1;
            }
        }
    }
}

/// A phone's backup is older than what it sent.
#[test]
fn a_node_with_an_older_backup_recovers() {
    for real in [false, true] {
        for taken in [0, 22, 25, 29, 31, 34, 36, 38, 43, 60] {
            for lost in [30, 34, 38, 45, 500] {
                if taken >= lost {
                    continue;
                }
                let name = format!("real={real}, taken at {taken} ms, back at {lost} ms");
                let mut cluster = cluster(3, real, 1);
                cluster.after(Duration::from_millis(taken), move |cluster| {
                    let snapshot = cluster.nodes[1].disk.snapshot();
                    cluster.after(Duration::from_millis(lost - taken), move |cluster| {
                        cluster.crash(1);
                        cluster.nodes[1].disk.restore(snapshot);
                        cluster.start(1);
                    });
                });
                let session = cluster.create(0, |_| {});
                cluster.run_for(Duration::from_millis(lost + 1));
                assert!(
                    cluster.run_until(Duration::from_secs(60), |cluster| cluster.all_hold(&session)),
                    "{name}: it completes: {:?}",
                    cluster.names(1, &session)
                );
                let findings = cluster.audit(&proposal(&cluster, &session));
                assert!(findings.reused.is_empty(), "{name}: {findings:?}");
                assert!(findings.equivocated.is_empty(), "{name}: it asks before it makes anything anew");
                for node in 0..3 {
                    assert_eq!(cluster.count(node, &session, "SessionFailed"), 0, "{name}");
                }
            }
        }
    }
}

#[test]
fn an_older_backup_raises_key_in_use_elsewhere() {
    let mut cluster = cluster(3, false, 1);
    let empty = cluster.nodes[1].disk.snapshot();
    // Signer 2 withholds what it has, so that the session stays open.
    cluster.on_frame = Some(Box::new(|from, _, frame| from != 2 || frame.certificates.is_empty()));
    cluster.on_envelope = Some(Box::new(|from, _, envelope| {
        let partial = matches!(envelope.content(), Content::Partial { .. });
        if from == 2 && partial { Vec::new() } else { vec![envelope.clone()] }
    }));
    let session = cluster.create(0, |_| {});
    cluster.run_for(Duration::from_secs(1));
    assert!(!cluster.holds(1, &session));
    cluster.crash(1);
    cluster.nodes[1].disk.restore(empty);
    cluster.start(1);
    cluster.run_for(Duration::from_secs(5));
    assert_eq!(cluster.count(1, &session, "KeyInUseElsewhere"), 1);
    cluster.crash(1);
    cluster.nodes[1].events.clear();
    cluster.start(1);
    cluster.run_for(Duration::from_secs(5));
    assert_eq!(cluster.count(1, &session, "KeyInUseElsewhere"), 0, "it was acknowledged");
    (cluster.on_envelope, cluster.on_frame) = (None, None);
    cluster.run_for(Duration::from_secs(30));
    assert!(cluster.all_hold(&session));
    check_audit(&cluster, &session, "an empty disk");
}

#[test]
fn two_instances_with_one_key_are_found_out_and_reuse_no_nonce() {
    for real in [false, true] {
        for seed in 0..20 {
            let mut options = Options { real, seed, audit: true, ..Options::new(3) };
            options.jitter = Duration::from_millis(seed % 7);
            let mut cluster = Cluster::with_keys(options, &[0, 1, 2, 2]);
            cluster.run_for(Duration::from_millis(40));
            let session = cluster.create(0, |_| {});
            cluster.run_for(Duration::from_secs(60));
            let told = [2, 3].map(|node| cluster.count(node, &session, "KeyInUseElsewhere"));
            assert!(told.iter().any(|times| *times > 0), "seed {seed}: {told:?}");
            assert!(told.iter().all(|times| *times <= 1), "seed {seed}: {told:?}");
            let findings = cluster.audit(&proposal(&cluster, &session));
            assert!(findings.reused.is_empty(), "seed {seed}: {findings:?}");
            for node in 0..4 {
                let failed = cluster.events(node, &session).find_map(|(_, event)| match event {
                    Event::SessionFailed { culprits, .. } => Some(culprits.clone()),
                    _ => None,
                });
                assert!(failed.is_none_or(|culprits| culprits == [2]), "seed {seed}");
            }
        }
    }
}

#[test]
fn a_signer_is_missing_after_three_restarts() {
    let mut cluster = cluster(2, false, 1);
    // Signer 1 dies each time before it says its partial signature.
    cluster.on_output = Some(Box::new(|node, output| {
        let partial = matches!(output, Output::Send { frame, .. } if carries(frame, "partial"));
        if node == 1 && partial { Fate::CrashBefore } else { Fate::Happens }
    }));
    let session = cluster.create(0, |_| {});
    for _ in 0..8 {
        cluster.run_for(Duration::from_secs(20));
        if !cluster.nodes[1].alive() {
            cluster.start(1);
        }
    }
    cluster.on_output = None;
    cluster.run_for(Duration::from_secs(60));
    let status = cluster.status(0, &session);
    assert_eq!(status.attempt, 3);
    assert_eq!(status.missing, [1]);
    let stalled = cluster.events(0, &session).filter_map(|(_, event)| match event {
        Event::SessionStalled { missing, .. } => Some(missing.clone()),
        _ => None,
    });
    assert_eq!(stalled.last(), Some(vec![1]));
    check_audit(&cluster, &session, "restarts");
}

/// Another instance with the key restarted twice, and only the second of that comes here: the next restart is the first.
#[test]
fn restarts_come_in_any_order() {
    let mut cluster = cluster(2, false, 1);
    let session = cluster.create(0, |_| {});
    let second = cluster.forge(1, session, 1, Content::Restart { ordinal: 2 });
    (0..2).for_each(|node| cluster.inject(1 - node, node, std::slice::from_ref(&second)));
    // Signer 1 dies twice before it says its partial signature: the second time that costs an attempt more.
    let deaths = Cell::new(0);
    cluster.on_output = Some(Box::new(move |node, output| {
        let partial = matches!(output, Output::Send { frame, .. } if carries(frame, "partial"));
        if node != 1 || !partial || deaths.get() == 2 {
            return Fate::Happens;
        }
        deaths.set(deaths.get() + 1);
        Fate::CrashBefore
    }));
    for _ in 0..3 {
        cluster.run_for(Duration::from_secs(20));
        if !cluster.nodes[1].alive() {
            cluster.start(1);
        }
    }
    assert!(cluster.all_hold(&session));
    assert_eq!(cluster.status(1, &session).attempt, 2);
    check_audit(&cluster, &session, "restarts");
}

/// Persist, then act: nothing of a kind leaves before a synced commit that holds it.
#[test]
fn what_must_be_synced_is_synced_before_it_is_seen() {
    let mut cluster = cluster(3, false, 1);
    let unsynced: Rc<std::cell::RefCell<Vec<String>>> = Rc::default();
    let found = unsynced.clone();
    let mut synced: std::collections::BTreeMap<usize, Vec<String>> = Default::default();
    cluster.on_output = Some(Box::new(move |node, output| {
        match output {
            Output::Persist { durability: Durability::Synced, .. } => {
                for kind in ["accept", "nonces", "certificate"] {
                    if says(output, kind) {
                        synced.entry(node).or_default().push(kind.into());
                    }
                }
            }
            Output::Send { frame, .. } => {
                let own = synced.entry(node).or_default();
                for kind in ["accept", "nonces"] {
                    if carries(frame, kind) && !own.contains(&kind.to_owned()) {
                        found.borrow_mut().push(format!("{kind} of {node}"));
                    }
                }
            }
            Output::Event { event } if !matches!(event.event, Event::SessionComplete { .. }) => {}
            Output::Submit { .. } | Output::Event { .. } => {
                if !synced.entry(node).or_default().contains(&"certificate".to_owned()) {
                    found.borrow_mut().push(format!("completion of {node}"));
                }
            }
            _ => {}
        }
        Fate::Happens
    }));
    let session = cluster.create(0, |_| {});
    cluster.run_for(Duration::from_secs(5));
    assert!(cluster.all_hold(&session));
    assert!(unsynced.borrow().is_empty(), "{:?}", unsynced.borrow());
    for node in &cluster.nodes {
        assert!(node.disk.syncs <= 4, "{} syncs", node.disk.syncs);
    }
}
