//! Looks at everything that was ever on the wire, and checks by algebra that no public nonce served two challenges.

use std::collections::{BTreeMap, BTreeSet};

use libmusig::protocol::crypto::{NONCE, Scheme};
use libmusig::protocol::envelope::{Content, Envelope, Place, transcript_hash};
use libmusig::protocol::proposal::Proposal;

/// What an auditor found.
#[derive(Debug, Default)]
pub struct Findings {
    /// Envelopes with partial signatures that were checked.
    pub partials: usize,
    /// Of these, how many verify against the nonces that they name.
    pub valid: usize,
    /// Signers of whom one nonce answered to two challenges.
    pub reused: BTreeSet<usize>,
    /// Signers that said two things at one place.
    pub equivocated: BTreeSet<usize>,
}

/// Audits the envelopes of one session.
pub fn audit<'a>(
    scheme: &dyn Scheme,
    proposal: &Proposal,
    envelopes: impl Iterator<Item = &'a Envelope>,
) -> Findings {
    let mut findings = Findings::default();
    let mut places: BTreeMap<(Place, usize), BTreeMap<_, &Envelope>> = BTreeMap::new();
    for envelope in envelopes.filter(|envelope| envelope.body().session == proposal.id()) {
        envelope.verify(scheme, proposal).expect("nodes pass only authentic envelopes on");
        if let Some(place) = envelope.place() {
            places.entry((place, envelope.body().signer)).or_default().insert(envelope.id(), envelope);
        }
    }
    findings.equivocated =
        places.iter().filter(|(_, held)| held.len() > 1).map(|((_, signer), _)| *signer).collect();
    let keys = scheme.aggregate_keys(proposal).expect("a checked proposal");
    // What a challenge depends on besides the key and the message: the aggregate nonce.
    let mut challenges: BTreeMap<(Vec<u8>, usize), BTreeSet<Vec<u8>>> = BTreeMap::new();
    for ((place, signer), held) in &places {
        let Place::Partial(attempt) = place else { continue };
        for envelope in held.values() {
            let Content::Partial { transcript, partials, .. } = envelope.content() else { continue };
            findings.partials += 1;
            for nonces in combinations(&places, *attempt, proposal.signers.len()) {
                let ids: Vec<_> = nonces.iter().map(|envelope| envelope.id()).collect();
                if transcript_hash(&ids) != *transcript {
                    continue;
                }
                let public: Vec<&[u8]> = nonces.iter().filter_map(|envelope| nonces_of(envelope)).collect();
                let Ok(round) = keys.begin_round(&public) else { continue };
                if !round.verify_partials(*signer, partials) {
                    continue;
                }
                findings.valid += 1;
                for message in 0..proposal.messages.len() {
                    let own = public[*signer][message * NONCE..][..NONCE].to_vec();
                    let aggregate = round.aggregate_nonce(message).to_vec();
                    let answered = challenges.entry((own, *signer)).or_default();
                    answered.insert([&aggregate[..], &proposal.messages[message].digest].concat());
                }
            }
        }
    }
    findings.reused =
        challenges.iter().filter(|(_, each)| each.len() > 1).map(|((_, signer), _)| *signer).collect();
    findings
}

fn nonces_of(envelope: &Envelope) -> Option<&[u8]> {
    match envelope.content() {
        Content::Nonces { nonces, .. } => Some(nonces),
        _ => None,
    }
}

/// All ways to pick one `Nonces` envelope of each signer.
fn combinations<'a>(
    places: &BTreeMap<(Place, usize), BTreeMap<libmusig::types::EnvelopeId, &'a Envelope>>,
    attempt: u32,
    signers: usize,
) -> Vec<Vec<&'a Envelope>> {
    let mut all = vec![Vec::new()];
    for signer in 0..signers {
        let Some(held) = places.get(&(Place::Nonces(attempt), signer)) else { return Vec::new() };
        all = all
            .into_iter()
            .flat_map(|picked: Vec<&Envelope>| {
                held.values().map(move |envelope| picked.iter().copied().chain([*envelope]).collect())
            })
            .collect();
    }
    all
}
