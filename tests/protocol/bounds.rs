//! What is kept in memory, whatever comes.

use std::time::Duration;

use libmusig::protocol::envelope::{Content, Envelope};
use libmusig::protocol::scheme::NONCE;
use libmusig::protocol::wire::{self, pb};
use libmusig::types::SessionId;

use crate::simulated::cluster::{Cluster, Options, key};

/// How many envelopes of a signer a node keeps.
fn kept(cluster: &Cluster, session: &SessionId, signer: usize) -> usize {
    let export = cluster.engine(0).export(session).expect("it knows the session");
    let frame: pb::Frame = wire::decode(&export, "an export").expect("a frame");
    let envelopes = frame.envelopes.iter().map(|bytes| Envelope::decode(bytes).expect("it was kept"));
    envelopes.filter(|envelope| envelope.body().signer == signer).count()
}

#[test]
fn of_equivocations_in_old_attempts_one_proof_is_kept() {
    let mut cluster = Cluster::new(Options::new(5));
    cluster.run_for(Duration::from_millis(20));
    let session = cluster.create(0, |_| {});
    // Signers 1 to 4 restart by turns, and say two things in each attempt.
    for attempt in 0..12 {
        let mut said = Vec::new();
        for signer in 1..5 {
            for last in 1..3 {
                let mut nonces = vec![2; NONCE];
                nonces[40] = last;
                said.push(cluster.forge(signer, session, signer, Content::Nonces { attempt, nonces }));
            }
        }
        let restarts = 1 + attempt as usize / 3;
        said.push(cluster.forge(restarts, session, restarts, Content::Restart { ordinal: attempt % 3 + 1 }));
        cluster.inject(1, 0, &said);
        cluster.run_for(Duration::from_millis(20));
    }
    assert_eq!(cluster.status(0, &session).attempt, 12);
    for signer in 1..5 {
        let kept = kept(&cluster, &session, signer);
        // Consent, three restarts, two pairs of nonces of the last attempts, one pair that proves something older.
        assert!((3..=10).contains(&kept), "of signer {signer} {kept} are kept");
    }
}

#[test]
fn strangers_that_come_and_go_are_not_remembered() {
    let mut cluster = Cluster::new(Options::new(2));
    cluster.run_for(Duration::from_millis(20));
    let now = cluster.time(0);
    let session = cluster.create(0, |_| {});
    cluster.complete(&session);
    let engine = cluster.nodes[0].engine.as_mut().expect("the node runs");
    for stranger in 2..128 {
        engine.connected(key(stranger), now);
        engine.heard(key(stranger), now);
        let _ = engine.frame(key(stranger), &[], now);
        engine.disconnected(&key(stranger), now);
    }
    assert_eq!(engine.held().heard, 1, "the other signer alone");
    assert_eq!(engine.held().sessions, 1);
}
