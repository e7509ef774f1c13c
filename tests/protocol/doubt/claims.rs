//! Claims of a broadcast: they may wake the observer and tell the application, and delay nobody.

use std::time::Duration;

use libmusig::protocol::envelope::Content;
use libmusig::types::Txid;

use super::{TIMEOUT, all_broadcasters, held, submissions, txid};
use test_support::cluster::{Broadcaster, Cluster, Options};

#[test]
fn a_forged_claim_delays_nothing() {
    let run = |forge: bool, observer: bool| {
        let mut options = Options { sync: Duration::ZERO, ..Options::new(5) };
        options.settings.observer = observer;
        let mut cluster = Cluster::new(options);
        cluster.nodes[0].broadcaster = Broadcaster::Hangs;
        cluster.run_for(Duration::from_millis(20));
        let session = cluster.create(0, |_| {});
        cluster.complete(&session);
        if forge {
            let claim = |txid| Content::Claim { txid };
            let txid = txid(&cluster, &session);
            for content in [claim(txid), claim(Txid([1; 32]))] {
                let envelope = cluster.forge(4, session, 4, content);
                (0..4).for_each(|to| cluster.inject(4, to, std::slice::from_ref(&envelope)));
            }
        }
        cluster.run_for(TIMEOUT * 2);
        let claimed = cluster.count(1, &session, "BroadcastClaimed");
        (submissions(&cluster, &session), claimed)
    };
    for observer in [true, false] {
        let (honest, _) = run(false, observer);
        let (forged, claimed) = run(true, observer);
        assert_eq!(honest, forged, "observer={observer}");
        assert_eq!(honest[0].0, 1, "observer={observer}");
        assert!(claimed > 0, "the application is told");
    }
}

#[test]
fn a_claim_makes_the_observer_look_at_once() {
    let (mut cluster, session) = held(3, |cluster| all_broadcasters(cluster, &Broadcaster::Hangs));
    cluster.run_for(Duration::from_millis(500));
    let before = cluster.nodes[1].observations;
    let claim = cluster.forge(2, session, 2, Content::Claim { txid: Txid([1; 32]) });
    cluster.inject(2, 1, &[claim]);
    cluster.run_for(Duration::from_millis(50));
    assert_eq!(cluster.nodes[1].observations, before + 1);
}

#[test]
fn a_liar_delays_nobody_beyond_its_own_turn() {
    let (mut cluster, session) = held(5, |cluster| {
        cluster.nodes[0].broadcaster = Broadcaster::Lies;
        cluster.nodes[1].broadcaster = Broadcaster::Lies;
    });
    cluster.run_for(TIMEOUT * 4);
    let (by, after) = submissions(&cluster, &session)[0];
    assert_eq!(by, 2);
    assert!(after >= TIMEOUT * 2 && after < TIMEOUT * 2 + Duration::from_millis(100), "{after:?}");
}

#[test]
fn a_claim_that_came_before_the_certificate_reaches_the_application_without_observer() {
    // The claim overtakes the last partial signature on another connection.
    let mut options = Options { sync: Duration::ZERO, ..Options::new(3) };
    (options.settings.observer, options.settings.broadcaster) = (false, false);
    let mut cluster = Cluster::new(options);
    cluster.run_for(Duration::from_millis(20));
    cluster.on_frame = Some(Box::new(|_, to, frame| to != 2 || frame.certificates.is_empty()));
    cluster.on_envelope = Some(Box::new(|_, to, envelope| {
        let partial = matches!(envelope.content(), Content::Partial { .. });
        if to == 2 && partial { Vec::new() } else { vec![envelope.clone()] }
    }));
    let session = cluster.create(0, |_| {});
    cluster.run_for(Duration::from_secs(1));
    assert!(!cluster.holds(2, &session) && cluster.holds(1, &session));
    (cluster.on_frame, cluster.on_envelope) = (None, None);
    cluster.run_for(Duration::from_secs(60));
    assert!(cluster.holds(2, &session));
    assert_eq!(cluster.count(2, &session, "BroadcastClaimed"), 1);
    assert_eq!(cluster.count(2, &session, "BroadcastConfirmed"), 1);
    assert_eq!(cluster.count(2, &session, "FailoverExhausted"), 0);
}
