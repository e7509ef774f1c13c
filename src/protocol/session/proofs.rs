//! Proofs against signers, found in the envelopes of a session.

use super::agreement::Agreement;
use super::verdicts::Verdicts;
use crate::protocol::envelope::{Content, Envelope, Place, Proof};
use crate::protocol::envelope_set::EnvelopeSet;
use crate::protocol::mutation::{self, Mutation};

/// All proofs: what the set holds by itself, unusable nonces, partial signatures that fail.
pub fn all(agreement: &Agreement, set: &EnvelopeSet, verdicts: &mut Verdicts) -> Vec<Proof> {
    let mut proofs = set.proofs();
    if agreement.keys.is_none() {
        return proofs;
    }
    let (latest, signers) = (set.judged_attempt(), agreement.signers());
    for attempt in [latest.checked_sub(1), Some(latest)].into_iter().flatten() {
        let Some(nonces) = set.all_at(Place::Nonces(attempt), signers) else { continue };
        let Some(transcript) = set.transcript(attempt) else { continue };
        if let Some(signer) = verdicts.bad_nonces(attempt, agreement, set) {
            proofs.push(Proof::BadContent(Box::new(nonces[signer].clone())));
            continue;
        }
        // A partial signature is verified once all are here.
        let Some(partials) = set.all_at(Place::Partial(attempt), signers) else { continue };
        for partial in partials {
            let fits =
                matches!(partial.content(), Content::Partial { transcript: t, .. } if *t == transcript);
            if (fits || mutation::on(Mutation::MismatchIsGuilt)) && !verdicts.partial(partial, agreement, set)
            {
                let nonces = nonces.iter().map(|envelope| (*envelope).clone()).collect();
                proofs.push(Proof::BadPartial { nonces, partial: Box::new(partial.clone()) });
            }
        }
    }
    proofs
}

/// One proof against each signer that there is any against: a proof carries a whole proposal.
pub fn one_each(agreement: &Agreement, set: &EnvelopeSet, verdicts: &mut Verdicts) -> Vec<Proof> {
    let mut proofs = all(agreement, set, verdicts);
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
pub fn keep_judged_attempt(agreement: &Agreement, set: &mut EnvelopeSet, verdicts: &mut Verdicts) {
    for attempt in (0..=set.attempt()).rev() {
        set.keep_attempt(attempt);
        if !all(agreement, set, verdicts).is_empty() {
            break;
        }
    }
}
