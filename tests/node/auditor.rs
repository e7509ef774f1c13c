//! Reads what sessions exchanged, and checks that no nonce was used twice.

use std::collections::{BTreeMap, HashMap};

use libmusig::protocol::crypto::musig2::Musig2;
use libmusig::protocol::crypto::{NONCE, Scheme};
use libmusig::protocol::envelope::{Content, Envelope, transcript_hash};
use libmusig::protocol::proposal::Proposal;
use libmusig::types::EnvelopeId;

/// What the auditor found.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Findings {
    /// Nonces envelopes.
    pub nonces: usize,
    /// Partial envelopes, all of which verify against the nonces they name.
    pub partials: usize,
}

/// Checks the envelopes of one session, from all who hold some.
///
/// The algebra is BIP-327's `PartialSigVerify`: a partial signature that verifies was made with the secret nonces of
/// the public ones it is verified against, and for the challenge that all nonces of the attempt give. So a nonce that
/// served two challenges shows as two partial signatures that verify against it.
#[track_caller]
pub fn audit(envelopes: impl IntoIterator<Item = Envelope>) -> Findings {
    let all: BTreeMap<EnvelopeId, Envelope> =
        envelopes.into_iter().map(|envelope| (envelope.id(), envelope)).collect();
    let proposal = all.values().find_map(|envelope| match envelope.content() {
        Content::Proposal(bytes) => Some(Proposal::decode(bytes).expect("is a proposal")),
        _ => None,
    });
    let proposal = proposal.expect("somebody holds the proposal");
    let keys = Musig2.aggregate_keys(&proposal).expect("has an aggregate");

    // Each public nonce belongs to one place; each place has one envelope.
    let mut owner: HashMap<[u8; NONCE], (usize, u32, usize)> = HashMap::new();
    let mut nonces: BTreeMap<(u32, usize), &Envelope> = BTreeMap::new();
    let mut partials: BTreeMap<(u32, usize), &Envelope> = BTreeMap::new();
    for envelope in all.values() {
        envelope.verify(&Musig2, &proposal).expect("is signed by its signer");
        let signer = envelope.body().signer;
        match envelope.content() {
            Content::Nonces { attempt, nonces: bytes } => {
                let other = nonces.insert((*attempt, signer), envelope);
                assert!(other.is_none(), "signer {signer} sent two nonces in attempt {attempt}");
                for (message, nonce) in bytes.chunks_exact(NONCE).enumerate() {
                    let nonce = nonce.try_into().expect("is of that length");
                    let before = owner.insert(nonce, (signer, *attempt, message));
                    assert_eq!(before, None, "a nonce came twice, now {:?}", (signer, attempt, message));
                }
            }
            Content::Partial { attempt, .. } => {
                let other = partials.insert((*attempt, signer), envelope);
                assert!(other.is_none(), "signer {signer} sent two partials in attempt {attempt}");
            }
            _ => {}
        }
    }
    for ((attempt, signer), envelope) in &partials {
        let Content::Partial { transcript, partials, .. } = envelope.content() else { unreachable!() };
        let of_attempt: Vec<&Envelope> = (0..proposal.signers.len())
            .map(|other| *nonces.get(&(*attempt, other)).expect("whoever signed held all nonces"))
            .collect();
        let ids: Vec<EnvelopeId> = of_attempt.iter().map(|envelope| envelope.id()).collect();
        assert_eq!(transcript_hash(&ids), *transcript, "signer {signer} signed for other nonces");
        let public: Vec<&[u8]> = of_attempt
            .iter()
            .map(|envelope| match envelope.content() {
                Content::Nonces { nonces, .. } => nonces.as_slice(),
                _ => unreachable!(),
            })
            .collect();
        let round = keys.begin_round(&public).expect("nonces are points");
        assert!(round.verify_partials(*signer, partials), "attempt {attempt}, signer {signer}");
    }
    Findings { nonces: nonces.len(), partials: partials.len() }
}

#[cfg(test)]
mod tests {
    use std::panic::{AssertUnwindSafe, catch_unwind};

    use libmusig::node::{Node, SessionRequest};
    use libmusig::protocol::envelope::{Body, envelope_id};
    use libmusig::protocol::wire::{self, pb};
    use libmusig::signer::{Identity, LocalSigner};

    use super::*;
    use test_support::nodes::*;

    /// A session of two, finished without a network, as the auditor gets it.
    fn finished() -> Vec<Envelope> {
        let nodes: Vec<Node> =
            (0..2).map(|index| builder(secret(index)).offline().start().expect("starts")).collect();
        let request = SessionRequest::messages(keys(2), vec![message(1), message(2)]);
        let session = nodes[0].create_session(request).wait().expect("is created");
        let mut bytes = session.export().wait().expect("is known");
        nodes[1].import(bytes.clone()).wait().expect("imports");
        nodes[1].session(session.id()).join().wait().expect("joins");
        wait_until("both are holders", || {
            for (from, to) in [(1, 0), (0, 1)] {
                bytes = nodes[from].session(session.id()).export().wait().expect("is known");
                nodes[to].import(bytes.clone()).wait().expect("imports");
            }
            session.final_signatures().wait().expect("known").is_some()
        });
        bytes = session.export().wait().expect("is known");
        nodes.iter().for_each(|node| node.stop().expect("stops"));
        let frame: pb::Frame = wire::decode(&bytes, "the export").expect("is canonical");
        frame.envelopes.iter().map(|bytes| Envelope::decode(bytes).expect("decodes")).collect()
    }

    fn objects(envelopes: Vec<Envelope>) -> bool {
        catch_unwind(AssertUnwindSafe(|| audit(envelopes))).is_err()
    }

    #[test]
    fn finds_what_it_is_there_for() {
        let honest = finished();
        assert_eq!(audit(honest.clone()), Findings { nonces: 2, partials: 2 });
        let sign = |signer: usize, content: Content| {
            let session = honest[0].body().session;
            let body = Body { session, signer, content };
            let key = LocalSigner::new(secret(signer)).expect("a key");
            let signature = key.sign(&envelope_id(&body.encode()).0).expect("signs");
            Envelope::new(body, signature)
        };
        let with = |envelope: Envelope| [honest.clone(), vec![envelope]].concat();
        for envelope in &honest {
            let signer = envelope.body().signer;
            match envelope.content().clone() {
                Content::Nonces { nonces, .. } => {
                    let swapped = [&nonces[NONCE..], &nonces[..NONCE]].concat();
                    let again = Content::Nonces { attempt: 1, nonces: nonces.clone() };
                    assert!(objects(with(sign(signer, again))), "the same nonces in another attempt");
                    let elsewhere = Content::Nonces { attempt: 1, nonces: swapped };
                    assert!(objects(with(sign(signer, elsewhere))), "the same nonces for other messages");
                }
                Content::Partial { attempt, transcript, mut partials } => {
                    partials[31] ^= 1;
                    let other = Content::Partial { attempt, transcript, partials };
                    assert!(objects(with(sign(signer, other))), "two partials at one place");
                }
                _ => {}
            }
        }
    }
}
