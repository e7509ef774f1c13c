//! What others may make a node keep is bounded in bytes, whoever they are.

use std::time::Duration;

use libmusig::protocol::envelope::Content;
use libmusig::protocol::limits;
use libmusig::protocol::proposal::Message;
use libmusig::protocol::status::Phase;
use libmusig::types::{OutPoint, SessionId, Txid};

use test_support::cluster::{Cluster, Consent, Options, key};
use test_support::double::transaction;
use test_support::party::with_signers;

/// The bytes of the sessions at a node, as an export counts them.
fn bytes(cluster: &Cluster, node: usize) -> usize {
    let engine = cluster.engine(node);
    engine.ids().iter().map(|id| engine.export(id).expect("it is known").len()).sum()
}

#[test]
fn the_bytes_of_unanswered_sessions_are_limited() {
    let mut cluster = Cluster::new(Options::new(6));
    cluster.nodes[0].application.consent = Consent::Waits;
    cluster.run_for(Duration::from_millis(20));
    let large = |cluster: &mut Cluster, proposer: usize| {
        let mut terms = cluster.terms();
        let signers = vec![terms.signers[proposer], terms.signers[0]];
        with_signers(&mut terms, signers);
        let spent = OutPoint { txid: Txid(cluster.random.bytes()), vout: 0 };
        let (transaction, messages) = transaction(&[spent], &vec![1; 2 << 20]);
        (terms.transaction, terms.messages) = (Some(transaction), messages);
        let session = cluster.create_with(proposer, terms);
        cluster.run_for(Duration::from_millis(100));
        session
    };
    // A proposal of 2 MiB is there twice: as such, and in its envelope.
    let sessions: Vec<SessionId> = (0..4).map(|_| large(&mut cluster, 1)).collect();
    assert_eq!(cluster.engine(0).ids().len(), 2, "no more of one proposer");
    for proposer in 2..6 {
        for _ in 0..3 {
            large(&mut cluster, proposer);
        }
    }
    assert_eq!(cluster.engine(0).ids().len(), 4, "no more of all strangers");
    assert!(bytes(&cluster, 0) <= limits::UNANSWERED_BYTES / 2);
    assert!(cluster.engine(0).refused().proposals >= 8);
    // What is answered makes room, also for what else the other signers offer.
    for session in cluster.engine(0).ids() {
        let result = cluster.ask(0, |engine, request, now| engine.join(&session, request, now));
        assert_eq!(result, Ok(()));
    }
    let done = |cluster: &Cluster| sessions.iter().all(|id| cluster.engine(0).proposal(id).is_some());
    assert!(cluster.run_until(Duration::from_secs(20), done));
}

#[test]
fn what_others_say_of_an_unanswered_session_is_limited_too() {
    let mut cluster = Cluster::new(Options::new(2));
    cluster.nodes[0].application.consent = Consent::Waits;
    // Of those that ended and were acknowledged less is kept.
    cluster.nodes[0].application.acknowledges = false;
    cluster.run_for(Duration::from_millis(20));
    // As many messages as there may be, and everything that there may be of them.
    let mut sessions = Vec::new();
    for _ in 0..63 {
        let mut terms = cluster.raw_terms();
        terms.messages = (0..limits::MESSAGES).map(|_| Message::raw([7; 32])).collect();
        sessions.push(cluster.create_with(1, terms));
    }
    cluster.run_for(Duration::from_millis(100));
    let mut most = 0;
    for session in &sessions {
        for attempt in 0..3 {
            for filler in 0..2 {
                let nonces = vec![filler; limits::MESSAGES * 66];
                let (transcript, partials) = ([filler; 32], vec![filler; limits::MESSAGES * 32]);
                let said = [
                    cluster.forge(1, *session, 1, Content::Nonces { attempt, nonces }),
                    cluster.forge(1, *session, 1, Content::Partial { attempt, transcript, partials }),
                ];
                cluster.inject(1, 0, &said);
            }
        }
        cluster.run_for(Duration::from_millis(20));
        most = most.max(bytes(&cluster, 0));
    }
    // Together they would be 10 MB; each frame counts for a write more, and one may go over the share.
    assert!(most > 7 << 20 && most < limits::UNANSWERED_BYTES / 4 + (100 << 10), "{most} bytes");
}

#[test]
fn of_old_attempts_one_proof_against_each_signer_is_kept() {
    let mut cluster = Cluster::new(Options::new(3));
    cluster.nodes[2].application.consent = Consent::Waits;
    cluster.run_for(Duration::from_millis(20));
    let session = cluster.create(0, |_| {});
    cluster.run_for(Duration::from_millis(50));
    let mut sizes = Vec::new();
    for attempt in 0..6 {
        let twice = [3, 4].map(|filler| {
            cluster.forge(2, session, 2, Content::Nonces { attempt, nonces: vec![filler; 66] })
        });
        cluster.inject(2, 1, &twice);
        // 1 and 2 begin as many attempts as they may.
        let restart = Content::Restart { ordinal: attempt / 2 + 1 };
        let restart = cluster.forge(1 + attempt as usize % 2, session, 1 + attempt as usize % 2, restart);
        cluster.inject(2, 1, &[restart]);
        cluster.run_for(Duration::from_millis(20));
        sizes.push(bytes(&cluster, 1));
        assert_eq!(cluster.status(1, &session).phase, Phase::Failed);
    }
    let restart = sizes[5] - sizes[4];
    assert!(restart < 200 && sizes[5] - sizes[2] <= 3 * restart + 8, "{sizes:?}");
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
    assert_eq!(engine.usage().heard, 1, "the other signer alone");
    assert_eq!(engine.usage().sessions, 1);
}

#[test]
fn signers_of_sessions_that_were_not_joined_take_no_place_among_the_counters() {
    let mut cluster = Cluster::new(Options::new(3));
    cluster.nodes[0].application.consent = Consent::Waits;
    cluster.run_for(Duration::from_millis(20));
    let session = cluster.create(1, |_| ());
    cluster.run_for(Duration::from_millis(100));
    let counters = cluster.engine(0).counters();
    assert_eq!((counters.received, counters.signers().count()), (1, 0));
    let result = cluster.ask(0, |engine, request, now| engine.join(&session, request, now));
    assert_eq!(result, Ok(()));
    cluster.run_for(Duration::from_millis(100));
    let counters = cluster.engine(0).counters();
    assert_eq!((counters.completed, counters.signers().count()), (1, 3));
}
