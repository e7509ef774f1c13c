//! Proofs against signers, found in the envelopes of a session.

use super::agreement::Agreement;
use crate::protocol::envelope::{Content, Envelope, Place, Proof};
use crate::protocol::envelope_set::EnvelopeSet;
use crate::protocol::mutation::{self, Mutation};

/// All proofs: what the set holds by itself, unusable nonces, partial signatures that fail.
pub fn all(agreement: &Agreement, set: &EnvelopeSet) -> Vec<Proof> {
    let mut proofs = set.proofs();
    let Some(keys) = &agreement.keys else { return proofs };
    let (latest, signers) = (set.judged_attempt(), agreement.signers());
    for attempt in [latest.checked_sub(1), Some(latest)].into_iter().flatten() {
        let Some(all) = set.all_at(Place::Nonces(attempt), signers) else { continue };
        let envelopes: Vec<Envelope> = all.into_iter().cloned().collect();
        let nonces: Vec<&[u8]> = envelopes.iter().filter_map(nonces_of).collect();
        let Some(transcript) = set.transcript(attempt) else { continue };
        let complete = set.all_at(Place::Partial(attempt), signers).is_some();
        match keys.begin_round(&nonces) {
            Err(signer) => proofs.push(Proof::BadContent(Box::new(envelopes[signer].clone()))),
            Ok(round) if complete => {
                for signer in 0..signers {
                    let Some(partial) = set.at(Place::Partial(attempt), signer) else { continue };
                    let fits = matches!(partial.content(), Content::Partial { transcript: t, .. } if *t == transcript);
                    let valid = || partials_of(partial).is_some_and(|p| round.verify_partials(signer, p));
                    if (fits || mutation::on(Mutation::MismatchIsGuilt)) && !valid() {
                        let partial = Box::new(partial.clone());
                        proofs.push(Proof::BadPartial { nonces: envelopes.clone(), partial });
                    }
                }
            }
            Ok(_) => {}
        }
    }
    proofs
}

/// One proof against each signer that there is any against: a proof carries a whole proposal.
pub fn one_each(agreement: &Agreement, set: &EnvelopeSet) -> Vec<Proof> {
    let mut proofs = all(agreement, set);
    let mut accused = std::collections::HashSet::new();
    proofs.retain(|proof| accused.insert(proof.accused()));
    proofs
}

/// The envelopes that make a proof for whoever holds the rest of the session.
pub fn envelopes(agreement: &Agreement, set: &EnvelopeSet, proof: Proof) -> Vec<Envelope> {
    let all_at = |place| set.all_at(place, agreement.signers());
    match proof {
        Proof::Equivocation(first, second) => vec![*first, *second],
        Proof::BadContent(envelope) => {
            // That nonces are no points shows when all of the attempt are there.
            let place = envelope.place().filter(|_| envelope.content_allowed(&agreement.proposal));
            match place.and_then(all_at) {
                Some(all) => all.into_iter().cloned().collect(),
                None => vec![*envelope],
            }
        }
        Proof::BadPartial { mut nonces, partial } => {
            // A partial signature is verified when all are there and do not add up.
            nonces.extend(partial.place().and_then(all_at).into_iter().flatten().cloned());
            nonces
        }
    }
}

/// Finds the attempt of which the proofs are that were found before a restart, and keeps it.
pub fn keep_judged_attempt(agreement: &Agreement, set: &mut EnvelopeSet) {
    for attempt in (0..=set.attempt()).rev() {
        set.keep_attempt(attempt);
        if !all(agreement, set).is_empty() {
            break;
        }
    }
}

/// The public nonces in an envelope.
pub fn nonces_of(envelope: &Envelope) -> Option<&[u8]> {
    match envelope.content() {
        Content::Nonces { nonces, .. } => Some(nonces),
        _ => None,
    }
}

/// The partial signatures in an envelope.
pub fn partials_of(envelope: &Envelope) -> Option<&[u8]> {
    match envelope.content() {
        Content::Partial { partials, .. } => Some(partials),
        _ => None,
    }
}
