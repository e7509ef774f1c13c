//! Proofs against signers, found in the envelopes of a session.

use super::agreement::Agreement;
use super::verdicts::Verdicts;
use crate::mutation::{self, Mutation};
use crate::protocol::envelope::{Content, Envelope, Place, Proof};
use crate::protocol::envelope_set::EnvelopeSet;

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

#[cfg(test)]
mod tests {
    use super::super::testing::{NO_POINT, agreement, nonces, partial, say};
    use super::*;

    fn signed(partials: [u8; 3]) -> (Agreement, EnvelopeSet) {
        let (agreement, mut set) = (agreement(0), EnvelopeSet::default());
        (0..3).for_each(|signer| say(&mut set, &agreement, signer, nonces(signer as u8)));
        let transcript = set.transcript(0).expect("all nonces are here");
        for (signer, first) in partials.into_iter().enumerate() {
            say(&mut set, &agreement, signer, partial(first, transcript));
        }
        (agreement, set)
    }

    fn accused(agreement: &Agreement, set: &EnvelopeSet) -> Vec<usize> {
        all(agreement, set, &mut Verdicts::default()).iter().map(Proof::accused).collect()
    }

    #[test]
    fn a_partial_signature_that_fails_is_proven_by_all_nonces_and_itself() {
        let (agreement, set) = signed([0, 1, 2]);
        assert_eq!(accused(&agreement, &set), [0; 0], "all are valid");
        let (agreement, set) = signed([0, 7, 2]);
        let mut verdicts = Verdicts::default();
        let proofs = one_each(&agreement, &set, &mut verdicts);
        assert_eq!(proofs.iter().map(Proof::accused).collect::<Vec<_>>(), [1]);
        let told = envelopes(&agreement, &set, proofs[0].clone());
        assert_eq!(told.len(), 6, "three nonces, and three partial signatures that do not add up");
    }

    #[test]
    fn nonces_that_are_no_points_convict_their_signer_before_any_partial_signature() {
        let (agreement, mut set) = (agreement(0), EnvelopeSet::default());
        say(&mut set, &agreement, 0, nonces(0));
        say(&mut set, &agreement, 2, nonces(NO_POINT));
        assert_eq!(accused(&agreement, &set), [0; 0], "one is missing");
        say(&mut set, &agreement, 1, nonces(1));
        assert_eq!(accused(&agreement, &set), [2]);
    }

    #[test]
    fn one_who_answers_to_other_nonces_is_not_accused() {
        let (agreement, mut set) = (agreement(0), EnvelopeSet::default());
        (0..3).for_each(|signer| say(&mut set, &agreement, signer, nonces(signer as u8)));
        let transcript = set.transcript(0).expect("all nonces are here");
        (0..2).for_each(|signer| say(&mut set, &agreement, signer, partial(signer as u8, transcript)));
        say(&mut set, &agreement, 2, partial(7, [3; 32]));
        assert_eq!(accused(&agreement, &set), [0; 0]);
    }
}
