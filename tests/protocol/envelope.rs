//! Envelopes have one form each, and proofs convict the guilty only.

use libmusig::error::WireError;
use libmusig::protocol::crypto::musig2::Musig2;
use libmusig::protocol::envelope::{
    Body, Content, Culprit, Envelope, NackKind, Place, Proof, envelope_id, transcript_hash,
};
use libmusig::protocol::limits;
use libmusig::protocol::proposal::Message;
use libmusig::protocol::wire::{self, pb};
use libmusig::signer::Identity;
use libmusig::types::{EnvelopeId, SessionId, Txid, tagged_hash};

use test_support::party::{Party, local, seal};

fn contents(party: &Party) -> Vec<Content> {
    vec![
        Content::Proposal(party.proposal.as_bytes().to_vec()),
        Content::Accept,
        Content::Nonces { attempt: 0, nonces: vec![2; 66] },
        Content::Nonces { attempt: 3, nonces: Vec::new() },
        Content::Partial { attempt: 0, transcript: [3; 32], partials: vec![4; 32] },
        Content::Restart { ordinal: 1 },
        Content::Decline { reason: "no".into() },
        Content::Abort { reason: String::new() },
        Content::Claim { txid: Txid([5; 32]) },
        Content::Nack { kind: NackKind::Unreachable, reason: "no node".into() },
    ]
}

#[test]
fn what_is_encoded_is_decoded() {
    let party = Party::new(2, |_| ());
    for signer in [0, 1] {
        for content in contents(&party) {
            let envelope = party.envelope(signer, content.clone());
            let decoded = Envelope::decode(envelope.as_bytes()).expect("its own bytes");
            assert_eq!(decoded, envelope);
            assert_eq!(*decoded.content(), content);
            assert_eq!(decoded.body().signer, signer);
            let body = decoded.body().encode();
            assert_eq!(Body::decode(&body).as_ref(), Ok(decoded.body()));
            assert_eq!(decoded.id(), EnvelopeId(tagged_hash("musig/envelope", &[&body])));
            decoded.verify(&Musig2, &party.proposal).expect("authentic");
            let place = match content {
                Content::Nonces { attempt, .. } => Some(Place::Nonces(attempt)),
                Content::Partial { attempt, .. } => Some(Place::Partial(attempt)),
                _ => None,
            };
            assert_eq!(decoded.place(), place);
        }
    }
}

#[test]
fn only_the_canonical_bytes_are_taken() {
    let party = Party::new(2, |_| ());
    for content in contents(&party) {
        let good = party.envelope(1, content);
        let bytes = good.as_bytes();
        let body = good.body().encode();
        let wrap = |body: &[u8]| {
            let signature = party.signers[1].sign(&envelope_id(body).0).expect("not locked").0.to_vec();
            wire::encode(&pb::Envelope { body: body.to_vec(), signature })
        };
        assert!(Envelope::decode(&wrap(&body)).is_ok(), "the wrapper itself is canonical");
        // Field 15, a number; a lone zero; `signer` again, as a default and as a number too long.
        for extra in [&[0x78, 0x01][..], &[0], &[0x10, 0x00], &[0x10, 0x81, 0x00]] {
            let outer = [bytes, extra].concat();
            assert_eq!(Envelope::decode(&outer), Err(WireError::Malformed("the envelope")), "{good:?}");
            let inner = wrap(&[&body[..], extra].concat());
            let refused = Envelope::decode(&inner);
            assert_eq!(refused, Err(WireError::Malformed("the envelope's body")), "{good:?}");
        }
        for length in 0..bytes.len() {
            assert!(Envelope::decode(&bytes[..length]).is_err(), "the first {length} bytes of {good:?}");
        }
        for position in 0..bytes.len() {
            let mut changed = bytes.to_vec();
            changed[position] ^= 1;
            if let Ok(changed) = Envelope::decode(&changed) {
                assert!(changed.verify(&Musig2, &party.proposal).is_err(), "byte {position} of {good:?}");
            }
        }
    }
    let empty = wire::encode(&pb::Body { session: vec![1; 32], signer: 0, content: None });
    assert!(Body::decode(&empty).is_err(), "it says nothing");
}

#[test]
fn values_of_the_wrong_length_are_refused() {
    use pb::body::Content as Wire;
    let body = |session: usize, content| {
        Body::decode(&wire::encode(&pb::Body {
            session: vec![1; session],
            signer: 0,
            content: Some(content),
        }))
    };
    let claim = |length| Wire::Claim(pb::Claim { txid: vec![1; length] });
    let partial =
        |length| Wire::Partial(pb::Partial { attempt: 0, transcript: vec![1; length], partials: Vec::new() });
    assert!(body(32, claim(32)).is_ok() && body(32, partial(32)).is_ok());
    for length in [0, 31, 33] {
        assert!(body(length, claim(32)).is_err());
        assert!(body(32, claim(length)).is_err());
        assert!(body(32, partial(length)).is_err());
    }
    let body = Body { session: SessionId([1; 32]), signer: 0, content: Content::Accept }.encode();
    for length in [0, 63, 65] {
        let bytes = wire::encode(&pb::Envelope { body: body.clone(), signature: vec![1; length] });
        assert_eq!(Envelope::decode(&bytes), Err(WireError::Malformed("the envelope")));
    }
}

#[test]
fn oversized_bytes_are_refused_before_they_are_read() {
    let party = Party::new(1, |_| ());
    let large = vec![0; limits::FRAME + 1];
    assert!(matches!(Envelope::decode(&large), Err(WireError::TooLong { .. })));
    let nonces = vec![2; limits::ENVELOPE];
    let envelope = party.envelope(0, Content::Nonces { attempt: 0, nonces });
    assert!(matches!(Envelope::decode(envelope.as_bytes()), Err(WireError::TooLong { .. })));
    let proposal = party.envelope(0, Content::Proposal(vec![0; limits::ENVELOPE]));
    assert!(Envelope::decode(proposal.as_bytes()).is_ok());
}

#[test]
fn envelopes_of_others_do_not_verify() {
    let party = Party::new(2, |_| ());
    let other = Party::new(2, |terms| terms.entropy = [8; 32]);
    let good = party.envelope(0, Content::Accept);
    let verify = |envelope: &Envelope| envelope.verify(&Musig2, &party.proposal);
    assert_eq!(verify(&good), Ok(()));
    assert_eq!(good.verify(&Musig2, &other.proposal), Err(WireError::UnknownSession(party.proposal.id())));
    let body = |signer| Body { session: party.proposal.id(), signer, content: Content::Accept };
    assert_eq!(verify(&seal(&local(2), body(0))), Err(WireError::Signature("the envelope")));
    assert_eq!(verify(&seal(&local(1), body(1))), Err(WireError::Signature("the envelope")));
    assert_eq!(verify(&seal(&local(1), body(2))), Err(WireError::NoSuchSigner { index: 2 }));
}

#[test]
fn content_that_breaks_a_rule() {
    let party = Party::new(2, |terms| {
        terms.proposer = 1;
        terms.messages = vec![Message::raw([1; 32]), Message::raw([2; 32])];
    });
    let nonces = |attempt, length| Content::Nonces { attempt, nonces: vec![2; length] };
    let partial =
        |attempt, length| Content::Partial { attempt, transcript: [1; 32], partials: vec![2; length] };
    let long = "x".repeat(limits::REASON + 1);
    let fits = "x".repeat(limits::REASON);
    let terms = party.proposal.as_bytes().to_vec();
    let cases = [
        (1, Content::Proposal(terms.clone()), true),
        (0, Content::Proposal(terms), false),
        (1, Content::Proposal(vec![1]), false),
        (0, Content::Accept, true),
        (0, nonces(0, 132), true),
        (0, nonces(6, 132), true),
        (0, nonces(7, 132), false),
        (0, nonces(0, 131), false),
        (0, nonces(0, 66), false),
        (0, partial(6, 64), true),
        (0, partial(7, 64), false),
        (0, partial(0, 65), false),
        (0, Content::Restart { ordinal: 0 }, false),
        (0, Content::Restart { ordinal: 1 }, true),
        (0, Content::Restart { ordinal: 3 }, true),
        (0, Content::Restart { ordinal: 4 }, false),
        (0, Content::Decline { reason: fits.clone() }, true),
        (0, Content::Decline { reason: long.clone() }, false),
        (0, Content::Abort { reason: fits.clone() }, true),
        (0, Content::Abort { reason: long.clone() }, false),
        (0, Content::Nack { kind: NackKind::Unreachable, reason: fits }, true),
        (0, Content::Nack { kind: NackKind::Unreachable, reason: long }, false),
        (0, Content::Claim { txid: Txid([1; 32]) }, true),
    ];
    for (signer, content, allowed) in cases {
        let envelope = party.envelope(signer, content);
        assert_eq!(envelope.content_allowed(&party.proposal), allowed, "{envelope:?}");
        let proof = Proof::BadContent(Box::new(envelope));
        let verdict = Proof::verify(&Musig2, &proof.encode(&party.proposal));
        assert_eq!(verdict.is_ok(), !allowed, "{proof:?}");
    }
}

fn culprit(party: &Party, signer: usize) -> Result<Culprit, WireError> {
    Ok(Culprit { session: party.proposal.id(), signer })
}

fn verify(party: &Party, proof: &Proof) -> Result<Culprit, WireError> {
    Proof::verify(&Musig2, &proof.encode(&party.proposal))
}

#[test]
fn nonces_that_are_no_points_convict() {
    let party = Party::new(3, |_| ());
    let envelope = party.envelope(2, Content::Nonces { attempt: 1, nonces: vec![4; 66] });
    assert!(envelope.content_allowed(&party.proposal));
    let proof = Proof::BadContent(Box::new(envelope));
    assert_eq!(proof.accused(), 2);
    assert_eq!(verify(&party, &proof), culprit(&party, 2));
}

#[test]
fn two_envelopes_for_one_place_convict() {
    let party = Party::new(3, |_| ());
    let nonces = party.nonces(0);
    let first = party.envelope(1, Content::Nonces { attempt: 0, nonces: nonces[1].clone() });
    let second = party.envelope(1, Content::Nonces { attempt: 0, nonces: nonces[2].clone() });
    let proof = Proof::Equivocation(Box::new(first.clone()), Box::new(second.clone()));
    assert_eq!(proof.accused(), 1);
    assert_eq!(verify(&party, &proof), culprit(&party, 1));
    let partial = |byte| {
        party.envelope(2, Content::Partial { attempt: 1, transcript: [byte; 32], partials: vec![1; 32] })
    };
    let proof = Proof::Equivocation(Box::new(partial(1)), Box::new(partial(2)));
    assert_eq!(verify(&party, &proof), culprit(&party, 2));

    // Neither the same twice, nor another signature over the same, nor another attempt, nor another signer.
    let again = party.envelope(1, Content::Nonces { attempt: 0, nonces: nonces[1].clone() });
    assert!(again != first && again.id() == first.id());
    let later = party.envelope(1, Content::Nonces { attempt: 1, nonces: nonces[2].clone() });
    let of_another = party.envelope(0, Content::Nonces { attempt: 0, nonces: nonces[2].clone() });
    let forged = seal(&local(1), second.body().clone());
    for other in [first.clone(), again, later, of_another, forged] {
        let proof = Proof::Equivocation(Box::new(first.clone()), Box::new(other));
        assert!(verify(&party, &proof).is_err(), "{proof:?}");
    }
}

/// An attempt of `party`: the envelopes with nonces, and those with partial signatures.
fn attempt(party: &Party, attempt: u32) -> (Vec<Envelope>, Vec<Envelope>) {
    let nonces = party.nonces(attempt);
    let round = party.round(&nonces);
    let each = nonces.into_iter().enumerate();
    let nonces: Vec<_> =
        each.map(|(signer, nonces)| party.envelope(signer, Content::Nonces { attempt, nonces })).collect();
    let transcript = transcript_hash(&nonces.iter().map(Envelope::id).collect::<Vec<_>>());
    let each = party.partials(attempt, &round).into_iter().enumerate();
    let partials = each
        .map(|(signer, partials)| party.envelope(signer, Content::Partial { attempt, transcript, partials }))
        .collect();
    (nonces, partials)
}

fn corrupted(party: &Party, partial: &Envelope) -> Envelope {
    let Content::Partial { attempt, transcript, mut partials } = partial.content().clone() else {
        panic!("{partial:?}")
    };
    partials[31] ^= 1;
    party.envelope(partial.body().signer, Content::Partial { attempt, transcript, partials })
}

#[test]
fn a_partial_that_does_not_verify_convicts() {
    let party = Party::new(3, |_| ());
    let (nonces, partials) = attempt(&party, 0);
    for (signer, partial) in partials.iter().enumerate() {
        let wrong = corrupted(&party, partial);
        let proof = |partial: &Envelope, nonces: &[Envelope]| Proof::BadPartial {
            nonces: nonces.to_vec(),
            partial: Box::new(partial.clone()),
        };
        assert_eq!(proof(&wrong, &nonces).accused(), signer);
        assert_eq!(verify(&party, &proof(&wrong, &nonces)), culprit(&party, signer));
        assert!(verify(&party, &proof(partial, &nonces)).is_err(), "an honest one");
        assert!(verify(&party, &proof(&wrong, &nonces[..2])).is_err(), "a nonce is missing");
        let mut swapped = nonces.clone();
        swapped.swap(0, 1);
        assert!(verify(&party, &proof(&wrong, &swapped)).is_err(), "out of order");
        assert!(verify(&party, &proof(&nonces[0], &nonces)).is_err(), "no partial");
    }
}

#[test]
fn proofs_have_one_form_and_one_session() {
    let party = Party::new(2, |_| ());
    let other = Party::new(2, |terms| terms.entropy = [8; 32]);
    let proof = Proof::BadContent(Box::new(party.envelope(0, Content::Restart { ordinal: 9 })));
    let bytes = proof.encode(&party.proposal);
    assert_eq!(Proof::verify(&Musig2, &bytes), culprit(&party, 0));
    assert!(Proof::verify(&Musig2, &proof.encode(&other.proposal)).is_err());
    for extra in [&[0x78, 0x01][..], &[0]] {
        assert!(Proof::verify(&Musig2, &[&bytes[..], extra].concat()).is_err());
    }
    for length in 0..bytes.len() {
        assert!(Proof::verify(&Musig2, &bytes[..length]).is_err(), "the first {length} bytes");
    }
    for position in 0..bytes.len() {
        let mut changed = bytes.clone();
        changed[position] ^= 1;
        assert!(Proof::verify(&Musig2, &changed).is_err(), "byte {position}");
    }
}

/// Whatever an honest signer said in two attempts, put together in every way, convicts nobody: not even beside what
/// a dishonest one said.
#[test]
fn honest_signers_cannot_be_accused() {
    let party = Party::new(3, |_| ());
    let (nonces, partials) = attempt(&party, 0);
    let (later_nonces, later_partials) = attempt(&party, 1);
    let mut said: Vec<Envelope> =
        [&nonces, &partials, &later_nonces, &later_partials].map(Vec::clone).concat();
    for signer in 0..3 {
        for content in [
            Content::Accept,
            Content::Restart { ordinal: 1 },
            Content::Restart { ordinal: 2 },
            Content::Decline { reason: "a".into() },
            Content::Decline { reason: "b".into() },
            Content::Abort { reason: "a".into() },
            Content::Claim { txid: Txid([1; 32]) },
            Content::Claim { txid: Txid([2; 32]) },
            Content::Nack { kind: NackKind::Unreachable, reason: "a".into() },
            Content::Nack { kind: NackKind::Unreachable, reason: "b".into() },
        ] {
            said.push(party.envelope(signer, content));
        }
    }
    said.push(party.envelope(0, Content::Proposal(party.proposal.as_bytes().to_vec())));
    // The same again, with another signature.
    said.push(seal(&party.signers[0], nonces[0].body().clone()));

    // Signer 2 is dishonest: it also said these.
    let other = party.envelope(2, Content::Nonces { attempt: 0, nonces: vec![2; 66] });
    let dishonest = [corrupted(&party, &partials[2]), corrupted(&party, &later_partials[2]), other.clone()];
    said.extend(dishonest);

    let mut convicted = 0;
    let mut check = |proof: Proof| {
        if let Ok(Culprit { signer, .. }) = verify(&party, &proof) {
            assert_eq!(signer, 2, "{proof:?}");
            convicted += 1;
        }
    };
    for first in &said {
        check(Proof::BadContent(Box::new(first.clone())));
        for second in &said {
            check(Proof::Equivocation(Box::new(first.clone()), Box::new(second.clone())));
        }
    }
    let mut mixed = nonces.clone();
    mixed[2] = other;
    let mut across = nonces.clone();
    across[1] = later_nonces[1].clone();
    for nonces in [nonces, later_nonces, mixed, across] {
        for partial in &said {
            check(Proof::BadPartial { nonces: nonces.clone(), partial: Box::new(partial.clone()) });
        }
    }
    // Two bad partials; three pairs, each in both orders.
    assert_eq!(convicted, 2 + 6);
}

#[test]
fn a_transcript_depends_on_each_envelope_and_their_order() {
    let ids = [EnvelopeId([1; 32]), EnvelopeId([2; 32])];
    let hash = transcript_hash(&ids);
    assert_eq!(hash, tagged_hash("musig/transcript", &[&[1; 32], &[2; 32]]));
    assert_ne!(hash, transcript_hash(&[ids[1], ids[0]]));
    assert_ne!(hash, transcript_hash(&ids[..1]));
}
