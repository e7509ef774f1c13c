//! What a signer can make the others verify: everything once. Counted, not timed.

use std::time::Duration;

use libmusig::error::WireError;
use libmusig::protocol::crypto::key_set::KeySet;
use libmusig::protocol::envelope::{Body, Content, Envelope, NackKind, envelope_id};
use libmusig::protocol::limits;
use libmusig::protocol::proposal::{Proposal, Terms};
use libmusig::protocol::wire::{self, pb};
use libmusig::types::{SessionId, Txid};

use test_support::cluster::{Cluster, Consent, Options, key};
use test_support::figures::figure;
use test_support::work::Work;

/// Signers of an expensive proposal.
const MANY: usize = limits::SIGNERS - 3;
/// The hostile signer.
const BAD: usize = 4;

fn cluster() -> Cluster {
    let mut cluster = Cluster::new(Options::new(5));
    cluster.run_for(Duration::from_millis(20));
    cluster
}

fn work(cluster: &Cluster, node: usize) -> Work {
    cluster.nodes[node].work.work()
}

/// Replaces the partial signatures that the hostile signer sends.
fn partials(cluster: &mut Cluster, change: fn(&mut [u8; 32], &mut Vec<u8>)) {
    let signer = cluster.nodes[BAD].signer.clone();
    cluster.on_envelope = Some(Box::new(move |_, _, envelope| {
        let (Content::Partial { attempt, transcript, partials }, BAD) =
            (envelope.content(), envelope.body().signer)
        else {
            return vec![envelope.clone()];
        };
        let (attempt, mut transcript, mut partials) = (*attempt, *transcript, partials.clone());
        change(&mut transcript, &mut partials);
        let content = Content::Partial { attempt, transcript, partials };
        let body = Body { content, ..envelope.body().clone() };
        let signature = signer.sign(&envelope_id(&body.encode()).0);
        vec![Envelope::new(body, signature.expect("not locked"))]
    }));
    cluster.on_frame = Some(Box::new(|from, _, frame| from != BAD || frame.certificates.is_empty()));
}

/// Everything short that the hostile signer may say, each in a frame of its own. Answers how much it was.
fn say_more(cluster: &mut Cluster, session: SessionId) -> u64 {
    let mut said = 0;
    for number in 0..limits::REPEATS as u8 {
        for content in [
            Content::Claim { txid: Txid([number; 32]) },
            Content::Nack { kind: NackKind::ALL[usize::from(number)], reason: format!("{number}") },
        ] {
            let envelope = cluster.forge(BAD, session, BAD, content);
            cluster.inject(BAD, 0, &[envelope]);
            said += 1;
        }
    }
    cluster.run_for(Duration::from_secs(2));
    said
}

#[test]
fn partials_are_verified_once_whatever_comes_after_a_false_transcript() {
    let mut cluster = cluster();
    partials(&mut cluster, |transcript, _| *transcript = [7; 32]);
    let session = cluster.create(0, |_| {});
    let stuck = |cluster: &Cluster| work(cluster, 0).partials_of_others(&key(0)) > 0;
    assert!(cluster.run_until(Duration::from_secs(10), stuck), "all partial signatures are there");
    let said = say_more(&mut cluster, session);
    assert!(said >= 4 && cluster.engine(0).refused().total() == 0, "each of them is taken");
    let work = work(&cluster, 0);
    let partials = work.partials_of_others(&key(0));
    figure(
        "protocol/verified::partials_are_verified_once_whatever_comes_after_a_false_transcript",
        "a false transcript, and more envelopes after it",
        "envelopes sent; partial signatures verified; rounds begun",
        format_args!("{said}; {partials}; {}", work.rounds),
    );
    // The own ones were verified before they left, and are looked for among the proofs.
    assert_eq!(partials, 3, "those of the three other honest signers");
    assert_eq!((work.rounds, work.sums), (1, 0));
}

#[test]
fn a_proof_is_verified_once() {
    let mut cluster = cluster();
    partials(&mut cluster, |_, partials| partials[0] ^= 1);
    let session = cluster.create(0, |_| {});
    let failed = |cluster: &Cluster| cluster.count(0, &session, "SessionFailed") == 1;
    assert!(cluster.run_until(Duration::from_secs(10), failed));
    say_more(&mut cluster, session);
    let work = work(&cluster, 0);
    let (all, same) = (work.partials_of_others(&key(0)), work.same_partials_of_others(&key(0)));
    figure(
        "protocol/verified::a_proof_is_verified_once",
        "a wrong partial signature, and more envelopes once it is proven",
        "partial signatures verified; each of them; rounds; sums",
        format_args!("{all}; {same} time; {}; {}", work.rounds, work.sums),
    );
    assert_eq!((all, same), (4, 1), "found, passed on and told, from one verification");
    assert_eq!(work.sums, 1, "what did not add up is not added again");
    assert!(work.rounds <= 2, "{} rounds", work.rounds);
}

#[test]
fn a_false_certificate_is_verified_once() {
    let mut cluster = cluster();
    cluster.cut_off(1, true);
    let session = cluster.create(0, |_| {});
    cluster.run_for(Duration::from_secs(1));
    assert!(!cluster.holds(0, &session), "one signer is missing");
    let certificate = pb::Certificate { session: session.0.to_vec(), signatures: vec![7; 64] };
    let certificates = vec![certificate; limits::FRAME_ENTRIES];
    let frame = wire::encode(&pb::Frame { certificates, ..pb::Frame::default() });
    for _ in 0..3 {
        cluster.deliver(BAD, 0, frame.clone().into());
    }
    cluster.run_for(Duration::from_millis(100));
    let certificates = work(&cluster, 0).certificates;
    figure(
        "protocol/verified::a_false_certificate_is_verified_once",
        "three frames full of wrong certificates",
        "certificates sent; verified",
        format_args!("{}; {certificates}", 3 * limits::FRAME_ENTRIES),
    );
    assert_eq!(certificates, 1, "the first one of the first frame");
    assert_eq!(cluster.engine(0).refused().signatures, 3, "one for each frame");
    // Others are believed as before.
    cluster.deliver(2, 0, frame.into());
    cluster.run_for(Duration::from_millis(100));
    assert_eq!(work(&cluster, 0).certificates, 2);
}

#[test]
fn the_first_false_signature_ends_its_frame() {
    let mut cluster = cluster();
    let sessions: Vec<SessionId> = (0..8).map(|_| cluster.create(0, |_| {})).collect();
    cluster.complete(&sessions[7]);
    cluster.run_for(Duration::from_secs(1));
    let before = work(&cluster, 0).envelopes;
    let forged: Vec<_> = sessions
        .iter()
        .map(|session| {
            cluster.forge(
                BAD,
                *session,
                1,
                Content::Nack { kind: NackKind::Unreachable, reason: "not mine".into() },
            )
        })
        .collect();
    cluster.inject(BAD, 0, &forged);
    cluster.run_for(Duration::from_millis(20));
    assert_eq!(work(&cluster, 0).envelopes - before, 1, "of eight sessions' envelopes");
    assert_eq!(cluster.engine(0).refused().signatures, 1);
}

/// A proposal of a node, signed, with this many signers, that is refused at the end of its check: its last message is not
/// the signature hash of its input.
fn late_failing(cluster: &mut Cluster, from: usize, signers: usize) -> Envelope {
    let mut proposal = expensive(cluster, from, signers);
    proposal.messages.last_mut().expect("one").digest[0] ^= 1;
    let proposal = Proposal::new(proposal).expect("cheap checks find nothing");
    cluster.forge(from, proposal.id(), 0, Content::Proposal(proposal.as_bytes().to_vec()))
}

fn expensive(cluster: &mut Cluster, from: usize, signers: usize) -> Terms {
    let mut terms = cluster.terms();
    terms.signers = [from, 0].into_iter().chain(5..3 + signers).map(key).collect();
    terms.key_sets = vec![KeySet::new(&terms.signers)];
    terms
}

#[test]
fn late_failing_proposal_ends_its_frame_and_is_checked_once() {
    let mut cluster = cluster();
    let before = work(&cluster, 0);
    let bad: Vec<Envelope> = (0..5).map(|_| late_failing(&mut cluster, BAD, 3)).collect();
    let frame = |envelopes: &[Envelope]| {
        let envelopes = envelopes.iter().map(|envelope| envelope.as_bytes().to_vec()).collect();
        wire::encode(&pb::Frame { envelopes, ..pb::Frame::default() })
    };
    for _ in 0..3 {
        let bytes = frame(&bad);
        let result = cluster.drive(0, |engine, now| engine.frame(key(BAD), &bytes, now));
        assert_eq!(result, Some(Err(WireError::InvalidProposal)));
    }
    let after = work(&cluster, 0);
    assert_eq!(after.aggregations - before.aggregations, 1, "the first one of the first frame alone");
    assert_eq!(after.envelopes - before.envelopes, 1);
    assert_eq!(cluster.engine(0).ids(), []);

    // Of good ones a frame brings one, and the others come by comparison.
    cluster.nodes[0].application.consent = Consent::Waits;
    let good: Vec<SessionId> = (0..5)
        .map(|_| {
            let terms = expensive(&mut cluster, 1, 3);
            cluster.create_with(1, terms)
        })
        .collect();
    let all = |cluster: &Cluster| good.iter().all(|id| cluster.engine(0).proposal(id).is_some());
    assert!(cluster.run_until(Duration::from_secs(10), all));
}

#[test]
fn late_failing_proposals_have_a_budget_of_time() {
    let mut cluster = cluster();
    cluster.nodes[0].application.consent = Consent::Waits;
    let before = work(&cluster, 0).aggregations;
    // 5 ms each, which is what the signers take on an ordinary machine: 5 s of work by three strangers in 0.3 s.
    for _ in 0..333 {
        for from in [2, 3, BAD] {
            let bad = late_failing(&mut cluster, from, MANY);
            cluster.inject(from, 0, &[bad]);
        }
        cluster.run_for(Duration::from_millis(1));
    }
    let checked = work(&cluster, 0).aggregations - before;
    assert!((30..60).contains(&checked), "{checked} of them were checked");

    // Control: an honest stranger waits for its turn, and comes to it.
    let terms = expensive(&mut cluster, 1, MANY);
    let honest = cluster.create_with(1, terms);
    let known = |cluster: &Cluster| cluster.engine(0).proposal(&honest).is_some();
    assert!(cluster.run_until(Duration::from_secs(20), known));
}
