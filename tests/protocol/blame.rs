//! Byzantine signers: the right one is named, with a proof that anybody can check, at every honest node; or it is
//! reported as missing. An honest one never is.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use libmusig::protocol::crypto::Scheme;
use libmusig::protocol::crypto::musig2::Musig2;
use libmusig::protocol::engine::Engine;
use libmusig::protocol::envelope::{Body, Content, Envelope, Proof, envelope_id};
use libmusig::protocol::event::Event;
use libmusig::protocol::proposal::Proposal;
use libmusig::protocol::status::Phase;
use libmusig::protocol::wire::{self, pb};
use libmusig::protocol::{Settings, Time};
use libmusig::signer::Identity;
use libmusig::types::SessionId;

use test_support::cluster::{Cluster, EPOCH, Options, key, secret};
use test_support::double::{Double, DoubleCodec, DoubleSigner};

/// The byzantine signer.
const BAD: usize = 2;

fn cluster(signers: usize, real: bool) -> Cluster {
    let mut cluster = Cluster::new(Options { real, ..Options::new(signers) });
    cluster.run_for(Duration::from_millis(20));
    cluster
}

/// Signs with the byzantine signer's key.
fn sign_again(real: bool, envelope: &Envelope, content: Content) -> Envelope {
    let body = Body { content, ..envelope.body().clone() };
    let digest = envelope_id(&body.encode()).0;
    let signature = if real {
        libmusig::signer::LocalSigner::new(secret(BAD)).expect("a key").sign(&digest)
    } else {
        DoubleSigner::new(test_support::cluster::key(BAD), 0).sign(&digest)
    };
    Envelope::new(body, signature.expect("not locked"))
}

/// What the byzantine signer says in place of one of its envelopes.
enum Said {
    /// The envelope, unchanged.
    Unchanged,
    /// This, in its place.
    Instead(Content),
    /// Nothing.
    Withheld,
}

/// A way to break the protocol: what is said in place of this content. With `real` cryptography the content is too.
type Mutator = fn(&Content, bool) -> Said;

/// Who hears what the mutator makes: all, or one node, in place of the true envelope or after it.
#[derive(Clone, Copy)]
enum Reach {
    All,
    Only(usize),
    Both(usize),
}

/// Mutates what the byzantine signer says; it says nothing else.
fn corrupt(cluster: &mut Cluster, mutate: Mutator, reach: Reach) {
    let real = cluster.options.real;
    cluster.on_envelope = Some(Box::new(move |from, to, envelope| {
        if from != BAD || envelope.body().signer != BAD {
            return vec![envelope.clone()];
        }
        let (reached, both) = match reach {
            Reach::All => (true, false),
            Reach::Only(node) => (node == to, false),
            Reach::Both(node) => (node == to, true),
        };
        match mutate(envelope.content(), real) {
            Said::Instead(content) if reached => {
                let other = sign_again(real, envelope, content);
                if both { vec![envelope.clone(), other] } else { vec![other] }
            }
            Said::Withheld if reached => Vec::new(),
            _ => vec![envelope.clone()],
        }
    }));
    // It does not give the certificate away.
    cluster.on_frame = Some(Box::new(|from, _, frame| from != BAD || frame.certificates.is_empty()));
}

fn scheme(real: bool) -> &'static dyn Scheme {
    if real { &Musig2 } else { &Double }
}

/// Every honest node knows who it was, and can prove it.
fn convicted(cluster: &mut Cluster, session: &SessionId, name: &str) {
    let scheme = scheme(cluster.options.real);
    for node in (0..cluster.nodes.len()).filter(|node| *node != BAD) {
        let failed: Vec<_> = cluster
            .events(node, session)
            .filter_map(|(_, event)| match event {
                Event::SessionFailed { culprits, proofs, .. } => Some((culprits.clone(), proofs.clone())),
                _ => None,
            })
            .collect();
        assert_eq!(failed.len(), 1, "{name}: told once at {node}: {:?}", cluster.names(node, session));
        let (culprits, proofs) = &failed[0];
        assert_eq!(culprits, &[BAD], "{name}: at {node}");
        assert!(!proofs.is_empty(), "{name}: at {node}");
        for proof in proofs {
            let culprit = Proof::verify(scheme, proof).expect("it verifies from its bytes alone");
            assert_eq!((culprit.session, culprit.signer), (*session, BAD), "{name}");
            // A proof is nothing but signed bytes: none of them may be changed.
            for position in (0..proof.len()).step_by(7) {
                let mut changed = proof.clone();
                changed[position] ^= 1;
                let verdict = Proof::verify(scheme, &changed);
                assert!(verdict.is_err(), "{name}: changed at {position}: {verdict:?}");
            }
        }
        assert_eq!(cluster.status(node, session).phase, Phase::Failed, "{name}");
    }
}

/// When a node knew of a fault.
fn failed_at(cluster: &Cluster, session: &SessionId, node: usize) -> Duration {
    let mut events = cluster.events(node, session);
    let failed = events.find(|(_, event)| matches!(event, Event::SessionFailed { .. }));
    failed.unwrap_or_else(|| panic!("node {node} knows it")).0
}

/// Nobody is convicted; the byzantine signer is reported as missing.
fn missing(cluster: &mut Cluster, session: &SessionId, name: &str) {
    for node in (0..cluster.nodes.len()).filter(|node| *node != BAD) {
        assert_eq!(cluster.count(node, session, "SessionFailed"), 0, "{name}: at {node}");
        assert_eq!(cluster.status(node, session).missing, [BAD], "{name}: at {node}");
        let stalled = cluster.events(node, session).filter_map(|(_, event)| match event {
            Event::SessionStalled { missing, .. } => Some(missing.clone()),
            _ => None,
        });
        assert_eq!(stalled.last(), Some(vec![BAD]), "{name}: at {node}");
        assert!(!cluster.holds(node, session), "{name}: at {node}");
    }
}

mod mutators {
    use super::*;

    /// Other nonces, as good as the true ones.
    pub fn other_nonces(content: &Content, real: bool) -> Said {
        nonces(content, |mut nonces| {
            if real {
                // The points of the two halves change places.
                nonces.rotate_left(33);
            } else {
                nonces[5] ^= 1;
            }
            nonces
        })
    }

    pub fn no_points(content: &Content, _: bool) -> Said {
        nonces(content, |nonces| vec![5; nonces.len()])
    }

    pub fn too_few_nonces(content: &Content, _: bool) -> Said {
        nonces(content, |nonces| nonces[1..].to_vec())
    }

    /// Nonces of an attempt that nobody's restarts allow.
    pub fn attempt_10(content: &Content, _: bool) -> Said {
        attempt(content, 10)
    }

    pub fn largest_attempt(content: &Content, _: bool) -> Said {
        attempt(content, u32::MAX)
    }

    pub fn fourth_restart(content: &Content, _: bool) -> Said {
        match content {
            Content::Nonces { .. } => Said::Instead(Content::Restart { ordinal: 4 }),
            _ => Said::Unchanged,
        }
    }

    pub fn another_proposal(content: &Content, _: bool) -> Said {
        match content {
            Content::Nonces { .. } => Said::Instead(Content::Proposal(b"terms".to_vec())),
            _ => Said::Unchanged,
        }
    }

    pub fn flipped_partial(content: &Content, _: bool) -> Said {
        partials(content, |mut partials| {
            partials[20] ^= 1;
            partials
        })
    }

    pub fn no_scalar(content: &Content, _: bool) -> Said {
        partials(content, |partials| vec![0xff; partials.len()])
    }

    pub fn too_many_partials(content: &Content, _: bool) -> Said {
        partials(content, |partials| [&partials[..], &[0; 32]].concat())
    }

    /// The true partial signatures, and a transcript that is none.
    pub fn false_transcript(content: &Content, _: bool) -> Said {
        match content {
            Content::Partial { attempt, partials, .. } => {
                let (attempt, partials) = (*attempt, partials.clone());
                Said::Instead(Content::Partial { attempt, transcript: [7; 32], partials })
            }
            _ => Said::Unchanged,
        }
    }

    pub fn nothing(_: &Content, _: bool) -> Said {
        Said::Withheld
    }

    pub fn no_nonces(content: &Content, _: bool) -> Said {
        if matches!(content, Content::Nonces { .. }) { Said::Withheld } else { Said::Unchanged }
    }

    pub fn no_partial(content: &Content, _: bool) -> Said {
        if matches!(content, Content::Partial { .. }) { Said::Withheld } else { Said::Unchanged }
    }

    fn nonces(content: &Content, change: impl FnOnce(Vec<u8>) -> Vec<u8>) -> Said {
        match content {
            Content::Nonces { attempt, nonces } => {
                Said::Instead(Content::Nonces { attempt: *attempt, nonces: change(nonces.clone()) })
            }
            _ => Said::Unchanged,
        }
    }

    fn attempt(content: &Content, attempt: u32) -> Said {
        match content {
            Content::Nonces { nonces, .. } => {
                Said::Instead(Content::Nonces { attempt, nonces: nonces.clone() })
            }
            _ => Said::Unchanged,
        }
    }

    fn partials(content: &Content, change: impl FnOnce(Vec<u8>) -> Vec<u8>) -> Said {
        match content {
            Content::Partial { attempt, transcript, partials } => Said::Instead(Content::Partial {
                attempt: *attempt,
                transcript: *transcript,
                partials: change(partials.clone()),
            }),
            _ => Said::Unchanged,
        }
    }
}

const DOUBLE: bool = false;
const REAL: bool = true;

/// A test for each row: what the byzantine signer does, who hears it, what every honest node finds, and with which
/// cryptography and how many signers it is tried.
macro_rules! faults {
    ($($test:ident: $mutator:ident, $reach:expr, $verdict:ident, $cryptography:expr, $signers:expr;)*) => {$(
        #[test]
        fn $test() {
            for real in $cryptography {
                for signers in $signers {
                    let mut cluster = cluster(signers, real);
                    corrupt(&mut cluster, mutators::$mutator, $reach);
                    let session = cluster.create(0, |_| {});
                    cluster.run_for(Duration::from_secs(30));
                    $verdict(&mut cluster, &session, stringify!($test));
                }
            }
        }
    )*};
}

faults! {
    two_nonces_are_a_proof: other_nonces, Reach::Only(0), convicted, [DOUBLE, REAL], [3, 5];
    nonces_that_are_no_points_are_a_proof: no_points, Reach::All, convicted, [DOUBLE, REAL], [3];
    too_few_nonces_are_a_proof: too_few_nonces, Reach::All, convicted, [REAL], [3];
    nonces_of_an_attempt_that_cannot_be_are_a_proof: attempt_10, Reach::All, convicted, [REAL], [3];
    nonces_of_the_largest_attempt_are_a_proof: largest_attempt, Reach::All, convicted, [REAL], [3];
    a_fourth_restart_is_a_proof: fourth_restart, Reach::All, convicted, [REAL], [3];
    another_proposal_is_a_proof: another_proposal, Reach::All, convicted, [REAL], [3];
    a_bad_partial_is_a_proof: flipped_partial, Reach::All, convicted, [DOUBLE, REAL], [3, 5];
    a_partial_that_is_no_scalar_is_a_proof: no_scalar, Reach::All, convicted, [REAL], [3];
    too_many_partials_are_a_proof: too_many_partials, Reach::All, convicted, [REAL], [3];
    a_false_transcript_is_no_proof_and_its_signer_is_missing:
        false_transcript, Reach::All, missing, [DOUBLE, REAL], [3, 5];
    a_silent_signer_is_missing: nothing, Reach::All, missing, [DOUBLE], [5];
    a_signer_that_withholds_its_nonces_is_missing: no_nonces, Reach::All, missing, [DOUBLE], [5];
    a_signer_that_withholds_its_partials_is_missing: no_partial, Reach::All, missing, [DOUBLE], [5];
}

#[test]
fn two_nonces_are_proven_at_once() {
    let mut cluster = cluster(5, false);
    corrupt(&mut cluster, mutators::other_nonces, Reach::Only(0));
    let session = cluster.create(0, |_| {});
    // Nonces, partial signatures that name others, a comparison, the proof: not a turn of periodic comparison.
    cluster.run_for(Duration::from_millis(200));
    convicted(&mut cluster, &session, "two nonces");
}

#[test]
fn two_nonces_to_one_node_are_a_proof_for_all() {
    let mut cluster = cluster(5, false);
    corrupt(&mut cluster, mutators::other_nonces, Reach::Both(0));
    let session = cluster.create(0, |_| {});
    cluster.run_for(Duration::from_millis(200));
    let known = |node: usize| {
        let mut events = cluster.events(node, &session);
        events.find(|(_, event)| matches!(event, Event::SessionFailed { .. })).expect("it failed").0
    };
    let soon = known(0) + cluster.options.delay + cluster.options.sync * 2;
    assert!((1..5).filter(|node| *node != BAD).all(|node| known(node) <= soon), "one hop after the first");
    convicted(&mut cluster, &session, "two nonces");
}

#[test]
fn a_bad_partial_to_one_only_lets_the_others_finish() {
    let mut cluster = cluster(3, true);
    corrupt(&mut cluster, mutators::flipped_partial, Reach::Only(0));
    let session = cluster.create(0, |_| {});
    cluster.run_for(Duration::from_secs(30));
    assert!(cluster.holds(0, &session), "a certificate is stronger than a proof");
    assert!(cluster.holds(1, &session));
    assert!(matches!(cluster.status(0, &session).phase, Phase::Watching));
}

#[test]
fn nonces_that_are_no_points_are_found_by_a_node_that_lost_its_own() {
    // Node 1 restarts before it sees them, so it never begins the second round.
    let mut cluster = cluster(3, false);
    cluster.on_envelope = Some(Box::new(|from, to, envelope| match envelope.content() {
        _ if from != BAD || envelope.body().signer != BAD => vec![envelope.clone()],
        Content::Nonces { .. } if to == 0 => Vec::new(),
        Content::Nonces { attempt, nonces } => {
            let nonces = vec![5; nonces.len()];
            vec![sign_again(false, envelope, Content::Nonces { attempt: *attempt, nonces })]
        }
        Content::Restart { .. } => Vec::new(),
        _ => vec![envelope.clone()],
    }));
    cluster.on_frame = Some(Box::new(|from, _, frame| from != BAD || frame.certificates.is_empty()));
    let session = cluster.create(0, |_| {});
    cluster.run_for(Duration::from_millis(12));
    cluster.crash(1);
    cluster.cut(0, 1, true);
    cluster.start(1);
    cluster.run_for(Duration::from_secs(10));
    assert_eq!(cluster.count(1, &session, "SessionFailed"), 1, "{:?}", cluster.names(1, &session));
}

#[test]
fn nonces_that_are_no_points_are_found_whenever_a_restart_comes() {
    let mut cluster = cluster(3, false);
    corrupt(&mut cluster, mutators::no_points, Reach::All);
    let session = cluster.create(0, |_| {});
    cluster.run_for(Duration::from_secs(5));
    let exported = cluster.engine(0).export(&session).expect("it is known");
    let said = wire::decode::<pb::Frame>(&exported, "an export").expect("a frame").envelopes;
    let restart = cluster.forge(1, session, 1, Content::Restart { ordinal: 1 });
    for position in 1..=said.len() {
        let mut order = said.clone();
        order.insert(position, restart.as_bytes().to_vec());
        let mut engine = Engine::new(key(0), Settings::default(), Arc::new(Double), Arc::new(DoubleCodec));
        let now = Time { wall: EPOCH, monotonic: Duration::ZERO };
        for envelope in order {
            let part = pb::Frame { envelopes: vec![envelope], ..pb::Frame::default() };
            engine.import(&wire::encode(&part), now).expect("all of it is good");
        }
        let phase = engine.status(&session, now).map(|status| status.phase);
        assert_eq!(phase, Some(Phase::Failed), "the restart is number {position}");
    }
}

#[test]
fn nonces_that_are_no_points_are_soon_known_also_where_others_are_missing() {
    let mut cluster = cluster(4, false);
    let options = cluster.options.clone();
    cluster.on_envelope = Some(Box::new(|from, to, envelope| match envelope.content() {
        Content::Nonces { attempt, nonces } if from == BAD && envelope.body().signer == BAD => {
            let nonces = vec![9; nonces.len()];
            vec![sign_again(false, envelope, Content::Nonces { attempt: *attempt, nonces })]
        }
        // Signer 0's are lost on their way to node 3.
        Content::Nonces { .. } if (from, to) == (0, 3) => Vec::new(),
        _ => vec![envelope.clone()],
    }));
    let session = cluster.create(0, |_| {});
    cluster.run_for(Duration::from_secs(1));
    let failed = |node: usize| failed_at(&cluster, &session, node);
    let apart = failed(3) - failed(0).min(failed(1));
    assert!(apart <= options.delay * 2 + options.sync, "one message says it all: {apart:?}");
}

#[test]
fn a_bad_partial_is_soon_known_also_where_another_is_missing() {
    let mut cluster = cluster(4, false);
    let options = cluster.options.clone();
    cluster.on_envelope = Some(Box::new(|from, to, envelope| match envelope.content() {
        Content::Partial { attempt, transcript, partials }
            if from == BAD && envelope.body().signer == BAD =>
        {
            let partials = vec![9; partials.len()];
            let content = Content::Partial { attempt: *attempt, transcript: *transcript, partials };
            vec![sign_again(false, envelope, content)]
        }
        // Signer 0's is lost on its way to node 3.
        Content::Partial { .. } if (from, to) == (0, 3) => Vec::new(),
        _ => vec![envelope.clone()],
    }));
    cluster.on_frame = Some(Box::new(|from, _, frame| from != BAD || frame.certificates.is_empty()));
    let session = cluster.create(0, |_| {});
    cluster.run_for(Duration::from_secs(1));
    let failed = |node: usize| failed_at(&cluster, &session, node);
    let apart = failed(3) - failed(0).min(failed(1));
    assert!(apart <= options.delay * 2 + options.sync, "one message says it all: {apart:?}");
}

#[test]
fn a_proof_outlives_restarts_and_a_crash() {
    let mut cluster = cluster(4, false);
    corrupt(&mut cluster, mutators::flipped_partial, Reach::All);
    let session = cluster.create(0, |_| {});
    while cluster.count(1, &session, "SessionReady") == 0 {
        cluster.run_for(Duration::from_millis(1));
    }
    // Node 1's application never gets to say that it has heard of it.
    cluster.nodes[1].application.delay = Duration::from_secs(60);
    cluster.run_for(Duration::from_millis(500));
    let proof = |cluster: &Cluster| {
        let told = cluster.events(1, &session).filter_map(|(_, event)| match event {
            Event::SessionFailed { proofs, .. } => Some(proofs.clone()),
            _ => None,
        });
        told.last()
    };
    let before = proof(&cluster).expect("it failed");
    for ordinal in 1..=3 {
        let content = Content::Restart { ordinal };
        let body = Body { session, signer: BAD, content };
        let signature = DoubleSigner::new(key(BAD), 0).sign(&envelope_id(&body.encode()).0);
        let envelope = Envelope::new(body, signature.expect("not locked"));
        let frame = pb::Frame { envelopes: vec![envelope.as_bytes().to_vec()], ..pb::Frame::default() };
        let frame = wire::encode(&frame);
        cluster.drive(1, |engine, now| engine.frame(key(BAD), &frame, now).expect("it is well formed"));
    }
    cluster.run_for(Duration::from_secs(1));
    assert_eq!(cluster.status(1, &session).attempt, 3);
    cluster.nodes[1].events.clear();
    cluster.crash(1);
    cluster.start(1);
    cluster.run_for(Duration::from_millis(500));
    assert_eq!(proof(&cluster), Some(before), "it is told again, with what proves it");
}

#[test]
fn a_false_proposal_hides_the_session_from_nobody() {
    let mut cluster = cluster(3, false);
    for other in 0..2 {
        cluster.cut(other, 2, true);
    }
    cluster.run_for(Duration::from_millis(20));
    let session = cluster.create(0, |_| {});
    cluster.run_for(Duration::from_secs(1));
    // Envelopes are told in the order of their ids, so this one comes before the true one.
    let exported = cluster.engine(0).export(&session).expect("it exists");
    let frame: pb::Frame = wire::decode(&exported, "an export").expect("a frame");
    let first = Envelope::decode(&frame.envelopes[0]).expect("an envelope");
    let mut other = cluster.raw_terms();
    let false_one = (0..=255)
        .map(|entropy| {
            other.entropy = [entropy; 32];
            let proposal = Proposal::new(other.clone()).expect("valid terms");
            cluster.forge(0, session, 0, Content::Proposal(proposal.as_bytes().to_vec()))
        })
        .find(|envelope| envelope.id() < first.id());
    cluster.inject(0, 1, &[false_one.expect("one of many")]);
    cluster.run_for(Duration::from_secs(1));
    assert_eq!(cluster.status(1, &session).phase, Phase::Failed);
    cluster.cut(1, 2, false);
    cluster.run_for(Duration::from_secs(5));
    assert_eq!(cluster.status(2, &session).phase, Phase::Failed, "it hears of the session, and of the proof");
}

#[test]
fn a_replayed_envelope_of_another_session_is_refused() {
    let mut cluster = cluster(3, true);
    let first = cluster.create(0, |_| {});
    cluster.complete(&first);
    let old = cluster.forge(BAD, first, BAD, Content::Abort { reason: "stop".into() });
    let second = cluster.create(0, |_| {});
    cluster.inject(BAD, 0, &[old]);
    cluster.complete(&second);
    assert_eq!(cluster.count(0, &second, "SessionAborted"), 0);
    assert_eq!(cluster.count(0, &first, "SessionAborted"), 0, "a certificate is stronger than an abort");
}

#[test]
fn nobody_signs_for_another() {
    let mut cluster = cluster(3, true);
    let session = cluster.create(0, |_| {});
    for content in [
        Content::Abort { reason: String::new() },
        Content::Decline { reason: String::new() },
        Content::Restart { ordinal: 1 },
        Content::Nonces { attempt: 0, nonces: vec![5; 66] },
    ] {
        let forged = cluster.forge(BAD, session, 1, content);
        cluster.inject(BAD, 0, &[forged]);
    }
    let stranger = cluster.forge(BAD, session, 7, Content::Accept);
    cluster.inject(BAD, 0, &[stranger]);
    cluster.complete(&session);
    assert_eq!(cluster.engine(0).refused().signatures, 4);
    assert_eq!(cluster.engine(0).refused().strangers, 1);
    let names: BTreeSet<String> = cluster.names(0, &session).into_iter().collect();
    assert!(!names.contains("SessionFailed") && !names.contains("SessionAborted"), "{names:?}");
}
