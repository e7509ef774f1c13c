//! What goes over the wire, and what works without a wire.

use std::collections::BTreeMap;
use std::time::Duration;

use libmusig::error::Error;
use libmusig::protocol::envelope::Content;
use libmusig::protocol::wire::{self, pb};
use libmusig::types::{SessionId, Txid};

use test_support::cluster::{Broadcaster, Cluster, Options};

fn sent(signers: usize, silent: usize) -> (BTreeMap<&'static str, u64>, u64, Vec<usize>) {
    let mut options = Options { audit: true, ..Options::new(signers) };
    (options.settings.claims, options.settings.nacks) = (false, false);
    let mut cluster = Cluster::new(options);
    for node in 0..silent {
        cluster.nodes[node].broadcaster = Broadcaster::Hangs;
    }
    cluster.run_for(Duration::from_millis(20));
    let session = cluster.create(0, |_| {});
    cluster.complete(&session);
    cluster.run_for(Duration::from_secs(10 * signers as u64 + 30));
    (cluster.sent.clone(), cluster.frames, cluster.submitters())
}

#[test]
fn failover_adds_no_message() {
    for signers in [2, 3, 5, 10] {
        let (without, frames, by) = sent(signers, 0);
        assert_eq!(by, [0]);
        let n = signers as u64;
        let each = n * (n - 1);
        let expected = [
            ("accept", each),
            ("certificate", without["certificate"]),
            ("nonces", each),
            ("partial", each),
            ("proposal", n - 1),
        ];
        assert!(without["certificate"] <= each);
        let envelopes: BTreeMap<&str, u64> = without
            .iter()
            .filter(|(kind, _)| **kind != "have")
            .map(|(kind, count)| (*kind, *count))
            .collect();
        assert_eq!(envelopes, BTreeMap::from(expected), "n={signers}");
        for silent in 1..=signers {
            let (with, with_frames, by) = sent(signers, silent);
            assert_eq!(by, (silent..signers).take(1).collect::<Vec<_>>());
            assert_eq!(with, without, "n={signers}, {silent} silent");
            assert_eq!(with_frames, frames, "n={signers}, {silent} silent");
        }
    }
}

#[test]
fn a_claim_and_a_nack_are_one_envelope_to_each() {
    let mut cluster = Cluster::new(Options { audit: true, ..Options::new(5) });
    cluster.nodes[0].broadcaster = Broadcaster::Unreachable;
    cluster.run_for(Duration::from_millis(20));
    let session = cluster.create(0, |_| {});
    cluster.complete(&session);
    cluster.run_for(Duration::from_secs(60));
    assert_eq!(cluster.sent["nack"], 4);
    assert_eq!(cluster.sent["claim"], 4);
}

/// Carries what each holds to each other node once.
fn carry_around(cluster: &mut Cluster, session: &SessionId) {
    for from in 0..cluster.nodes.len() {
        let Some(bytes) = cluster.drive(from, |engine, _| engine.export(session)).flatten() else { continue };
        for to in (0..cluster.nodes.len()).filter(|to| *to != from) {
            let known = cluster.drive(to, |engine, now| engine.import(&bytes, now)).expect("it runs");
            assert_eq!(known, Ok(vec![*session]));
        }
        cluster.run_for(Duration::from_secs(1));
    }
}

fn offline(signers: usize, real: bool) -> Cluster {
    let mut cluster = Cluster::new(Options { real, audit: true, ..Options::new(signers) });
    for one in 0..signers {
        for other in one + 1..signers {
            cluster.cut(one, other, true);
        }
    }
    cluster.run_for(Duration::from_millis(20));
    cluster
}

#[test]
fn a_session_completes_by_export_and_import_alone() {
    for (signers, real) in [(2, true), (3, true), (5, true), (2, false), (3, false), (5, false), (10, false)]
    {
        let mut cluster = offline(signers, real);
        let session = cluster.create(0, |_| {});
        cluster.run_for(Duration::from_secs(1));
        let mut rounds = 0;
        while !cluster.all_hold(&session) {
            carry_around(&mut cluster, &session);
            rounds += 1;
            assert!(rounds <= 3, "n={signers}: consent, nonces, partial signatures");
        }
        assert_eq!(cluster.frames, 0, "nothing went over the network");
        cluster.run_for(Duration::from_secs(60));
        assert_eq!(cluster.submitters(), [0]);
    }
}

#[test]
fn a_session_completes_by_export_and_import_with_restarts_between_all_steps() {
    for signers in [2, 3] {
        let mut cluster = offline(signers, false);
        let session = cluster.create(0, |_| {});
        cluster.run_for(Duration::from_secs(1));
        let mut rounds = 0;
        while !cluster.all_hold(&session) {
            carry_around(&mut cluster, &session);
            cluster.run_for(Duration::from_secs(10));
            rounds += 1;
            if rounds == 1 {
                for node in 0..signers {
                    cluster.crash(node);
                    cluster.start(node);
                }
            }
            assert!(rounds < 12, "n={signers}: {:?}", cluster.status(0, &session));
        }
        assert_eq!(cluster.frames, 0);
    }
}

#[test]
fn what_cannot_be_imported_changes_nothing() {
    let mut cluster = offline(2, false);
    let session = cluster.create(0, |_| {});
    cluster.run_for(Duration::from_secs(1));
    let bytes = cluster.engine(0).export(&session).expect("it exists");
    for position in 0..bytes.len() {
        let mut damaged = bytes.clone();
        damaged[position] ^= 1;
        let result = cluster.drive(1, |engine, now| engine.import(&damaged, now)).expect("it runs");
        match result {
            Err(Error::Wire(_)) => {}
            // Damage to one of several envelopes leaves the others.
            Ok(known) => assert!(known.len() <= 2, "{known:?}"),
            Err(other) => panic!("{other:?}"),
        }
    }
    let result = cluster.drive(1, |engine, now| engine.import(&bytes[..bytes.len() - 1], now));
    assert!(matches!(result, Some(Err(Error::Wire(_)))), "{result:?}");
    let result = cluster.drive(1, |engine, now| engine.import(&bytes, now));
    assert_eq!(result, Some(Ok(vec![session])));
}

#[test]
fn two_signers_finish_through_a_third() {
    for real in [false, true] {
        let mut cluster = Cluster::new(Options { real, audit: true, ..Options::new(3) });
        cluster.cut(0, 2, true);
        cluster.run_for(Duration::from_millis(20));
        let session = cluster.create(0, |_| {});
        let done = cluster.run_until(Duration::from_secs(30), |cluster| cluster.all_hold(&session));
        assert!(done, "0 and 2 only through 1");
        cluster.run_for(Duration::from_secs(60));
        assert_eq!(cluster.submitters(), [0]);
    }
}

#[test]
fn lost_frames_are_sent_again() {
    for seed in 0..30 {
        let mut cluster =
            Cluster::new(Options { seed, jitter: Duration::from_millis(20), ..Options::new(4) });
        for from in 0..4 {
            for to in 0..4 {
                cluster.lose(from, to, 400);
            }
        }
        cluster.run_for(Duration::from_millis(20));
        let session = cluster.create(0, |_| {});
        let done = cluster.run_until(Duration::from_secs(120), |cluster| cluster.all_hold(&session));
        assert!(done, "seed {seed}");
        for node in 0..4 {
            assert_eq!(cluster.count(node, &session, "SessionFailed"), 0, "seed {seed}");
            assert_eq!(cluster.count(node, &session, "KeyInUseElsewhere"), 0, "seed {seed}");
        }
    }
}

/// Cuts all links but these.
fn only(cluster: &mut Cluster, links: &[(usize, usize)]) {
    for one in 0..cluster.nodes.len() {
        for other in one + 1..cluster.nodes.len() {
            cluster.cut(one, other, !links.contains(&(one, other)));
        }
    }
    cluster.run_for(Duration::from_millis(20));
}

#[test]
fn what_is_new_is_passed_on_at_once_to_those_that_its_sender_cannot_reach() {
    // Stars with the hub at each place, and a line.
    let stars = (0..5).map(|hub| {
        let spokes = (0..5).filter(|other| *other != hub);
        spokes.map(|other| (hub.min(other), hub.max(other))).collect::<Vec<_>>()
    });
    for links in stars.chain([vec![(0, 1), (1, 2), (2, 3), (3, 4)]]) {
        for real in [false, true] {
            let mut cluster = Cluster::new(Options { real, audit: true, ..Options::new(5) });
            only(&mut cluster, &links);
            let session = cluster.create(0, |_| {});
            // Four hops of a line, there and back, for consent, nonces, partial signatures: far from a comparison's 2 s.
            let done = cluster.run_until(Duration::from_millis(150), |cluster| cluster.all_hold(&session));
            assert!(done, "{links:?}");
            // A proposal reaches each node once, on the only way there is.
            assert_eq!(cluster.sent["proposal"], 4, "{links:?}");
            assert_eq!(cluster.sent["partial"], 20, "{links:?}");
        }
    }
}

#[test]
fn what_is_passed_on_is_bounded_whatever_anybody_says() {
    let mut cluster = Cluster::new(Options { audit: true, ..Options::new(5) });
    cluster.run_for(Duration::from_millis(20));
    let session = cluster.create(0, |_| {});
    cluster.complete(&session);
    cluster.run_for(Duration::from_millis(200));
    let claim = cluster.forge(4, session, 4, Content::Claim { txid: Txid([1; 32]) });
    let lacking = vec![pb::Lacking { session: session.0.to_vec(), signers: (0..=255).collect() }];
    let envelopes = vec![claim.as_bytes().to_vec()];
    let frame: std::sync::Arc<[u8]> =
        wire::encode(&pb::Frame { envelopes, lacking, ..pb::Frame::default() }).into();
    let before = cluster.sent.get("claim").copied().unwrap_or_default();
    for _ in 0..100 {
        for to in 0..4 {
            cluster.deliver(4, to, frame.clone());
        }
        cluster.run_for(Duration::from_millis(6));
    }
    // Each of the four to each of the four others.
    assert_eq!(cluster.sent["claim"] - before, 16);
}
