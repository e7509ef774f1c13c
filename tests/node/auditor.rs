//! Reads what sessions exchanged, and checks that no nonce was used twice.

use std::collections::{BTreeMap, HashMap};

use libmusig::protocol::envelope::{Content, Envelope, transcript_hash};
use libmusig::protocol::proposal::Proposal;
use libmusig::protocol::scheme::{NONCE, Scheme};
use libmusig::protocol::signing::Musig2;
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
