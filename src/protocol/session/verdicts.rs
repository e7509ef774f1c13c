//! What was verified already: nothing that a signer said is verified twice, whoever says it again and whatever else is
//! said.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use super::agreement::Agreement;
use crate::mutation::{self, Mutation};
use crate::protocol::crypto::Round;
use crate::protocol::envelope::{Content, Envelope, Place};
use crate::protocol::envelope_set::EnvelopeSet;
use crate::protocol::wire::Certificate;
use crate::types::EnvelopeId;

/// The ids of an attempt's nonces, hashed.
type Transcript = [u8; 32];
/// A round and what it answers to, or the first signer whose nonces are no points.
type Begun = Result<(Transcript, Arc<dyn Round>), usize>;

/// The verdicts of one session at this node.
///
/// Invariant: each follows from what it is kept under. Nonces of an attempt are known by their transcript, partial
/// signatures by their envelope, which names attempt, transcript and signer.
#[derive(Debug, Default)]
pub struct Verdicts {
    /// The attempt that was looked at last, parsed and aggregated.
    round: Option<(u32, Transcript, Arc<dyn Round>)>,
    /// The first signer whose nonces of an attempt are no points; `None` if all are.
    bad_nonces: BTreeMap<u32, (Transcript, Option<usize>)>,
    /// Whether partial signatures verify.
    partials: BTreeMap<EnvelopeId, bool>,
    /// Attempts whose partial signatures do not add up.
    in_vain: BTreeMap<u32, Transcript>,
    /// Signers that sent a certificate that does not verify.
    false_certificates: BTreeSet<usize>,
}

impl Verdicts {
    /// The round of an attempt whose nonces are all here, parsed and aggregated once. `Err`: the first signer whose
    /// nonces are no points. `None`: some are missing.
    pub fn round(&mut self, attempt: u32, agreement: &Agreement, set: &EnvelopeSet) -> Option<Begun> {
        let transcript = set.transcript(attempt)?;
        if let Some((known, Some(signer))) = self.bad_nonces.get(&attempt)
            && *known == transcript
        {
            return Some(Err(*signer));
        }
        if let Some((known, hash, round)) = &self.round
            && (*known, *hash) == (attempt, transcript)
        {
            return Some(Ok((transcript, round.clone())));
        }
        let all = set.all_at(Place::Nonces(attempt), agreement.signers())?;
        let nonces: Vec<&[u8]> = all.iter().filter_map(|envelope| nonces_of(envelope)).collect();
        let begun = agreement.keys.as_ref()?.begin_round(&nonces);
        self.bad_nonces.insert(attempt, (transcript, begun.as_ref().err().copied()));
        Some(begun.map(|round| {
            self.round = Some((attempt, transcript, round.clone()));
            (transcript, round)
        }))
    }

    /// Whether the round of an attempt is at hand.
    pub fn has_round(&self, attempt: u32) -> bool {
        self.round.as_ref().is_some_and(|(known, ..)| *known == attempt)
    }

    /// Drops what can be computed again.
    pub fn drop_round(&mut self) {
        self.round = None;
    }

    /// The first signer whose nonces of an attempt are no points. Leaves the round that is at hand there.
    pub fn bad_nonces(&mut self, attempt: u32, agreement: &Agreement, set: &EnvelopeSet) -> Option<usize> {
        if let Some((known, bad)) = self.bad_nonces.get(&attempt)
            && Some(*known) == set.transcript(attempt)
        {
            return *bad;
        }
        let round = self.round.clone();
        let bad = self.round(attempt, agreement, set)?.err();
        if round.is_some() {
            self.round = round;
        }
        bad
    }

    /// Whether the partial signatures of an envelope verify against the nonces of its attempt.
    pub fn partial(&mut self, envelope: &Envelope, agreement: &Agreement, set: &EnvelopeSet) -> bool {
        let id = envelope.id();
        let again = mutation::on(Mutation::VerifiedAgain);
        if let Some(verdict) = self.partials.get(&id).filter(|_| !again) {
            return *verdict;
        }
        let (Some(Place::Partial(attempt)), Some(partials)) = (envelope.place(), partials_of(envelope))
        else {
            return false;
        };
        let Some(Ok((_, round))) = self.round(attempt, agreement, set) else { return false };
        let verdict = round.verify_partials(envelope.body().signer, partials);
        if self.partials.len() >= 2 * agreement.signers() {
            self.partials.retain(|id, _| set.contains(id));
        }
        self.partials.insert(id, verdict);
        verdict
    }

    /// The certificate of an attempt, if all its partial signatures are here, answer to the same nonces and add up.
    pub fn aggregate(
        &mut self,
        attempt: u32,
        agreement: &Agreement,
        set: &EnvelopeSet,
    ) -> Option<Certificate> {
        let all = set.all_at(Place::Partial(attempt), agreement.signers())?;
        let transcript = set.transcript(attempt)?;
        if self.in_vain.get(&attempt) == Some(&transcript)
            || !set.other_transcripts(attempt, Some(transcript)).is_empty()
        {
            return None;
        }
        let (_, round) = self.round(attempt, agreement, set)?.ok()?;
        let partials: Vec<&[u8]> = all.iter().filter_map(|envelope| partials_of(envelope)).collect();
        match round.aggregate(&partials) {
            Some(signatures) => Some(Certificate { session: agreement.id(), signatures }),
            None => {
                self.in_vain.insert(attempt, transcript);
                None
            }
        }
    }

    /// Whether a certificate verifies. No honest signer passes on one that does not, so of each signer one such is
    /// looked at, and nothing after it. `from`: who sent it, if it came over the network.
    pub fn certificate(
        &mut self,
        certificate: &Certificate,
        from: Option<usize>,
        agreement: &Agreement,
    ) -> bool {
        if from.is_some_and(|from| self.false_certificates.contains(&from)) {
            return false;
        }
        let verifies =
            agreement.keys.as_ref().is_some_and(|keys| keys.verify_signatures(&certificate.signatures));
        if !verifies {
            self.false_certificates.extend(from);
        }
        verifies
    }

    /// The signers that sent a certificate that does not verify, a byte for each.
    pub fn pack(&self) -> Vec<u8> {
        self.false_certificates.iter().map(|signer| *signer as u8).collect()
    }

    /// A byte for each envelope of the set that holds partial signatures, in its order: 0 not judged, 1 wrong, 2 right.
    /// Nothing if none was judged.
    pub fn pack_judged(&self, set: &EnvelopeSet) -> Vec<u8> {
        if self.partials.is_empty() {
            return Vec::new();
        }
        let judged = |id| self.partials.get(&id).map_or(0, |verdict| 1 + u8::from(*verdict));
        with_partials(set).map(judged).collect()
    }

    /// The rest is looked at again. `set`: the same as when it was packed.
    pub fn unpack(packed: &[u8], judged: &[u8], set: &EnvelopeSet) -> Self {
        let false_certificates = packed.iter().map(|signer| usize::from(*signer)).collect();
        let partials = match judged.is_empty() {
            true => BTreeMap::new(),
            false => {
                let known = with_partials(set).zip(judged).filter(|(_, verdict)| **verdict > 0);
                known.map(|(id, verdict)| (id, *verdict > 1)).collect()
            }
        };
        Self { false_certificates, partials, ..Self::default() }
    }
}

/// The envelopes that hold partial signatures, in order.
fn with_partials(set: &EnvelopeSet) -> impl Iterator<Item = EnvelopeId> {
    let all = set.in_order().into_iter();
    all.filter(|envelope| matches!(envelope.content(), Content::Partial { .. })).map(Envelope::id)
}

/// The public nonces in an envelope.
fn nonces_of(envelope: &Envelope) -> Option<&[u8]> {
    match envelope.content() {
        Content::Nonces { nonces, .. } => Some(nonces),
        _ => None,
    }
}

/// The partial signatures in an envelope.
fn partials_of(envelope: &Envelope) -> Option<&[u8]> {
    match envelope.content() {
        Content::Partial { partials, .. } => Some(partials),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::{NO_POINT, agreement, nonces, partial, say};
    use super::*;
    use crate::types::Signature;

    #[test]
    fn nonces_of_an_attempt_are_aggregated_once() {
        let (agreement, mut set) = (agreement(0), EnvelopeSet::default());
        let mut verdicts = Verdicts::default();
        say(&mut set, &agreement, 0, nonces(0));
        assert!(verdicts.round(0, &agreement, &set).is_none(), "two are missing");
        (1..3).for_each(|signer| say(&mut set, &agreement, signer, nonces(signer as u8)));
        let mut round = || match verdicts.round(0, &agreement, &set) {
            Some(Ok((_, round))) => round,
            other => panic!("{other:?}"),
        };
        assert!(Arc::ptr_eq(&round(), &round()));
        assert!(verdicts.has_round(0) && !verdicts.has_round(1));
        verdicts.drop_round();
        assert!(!verdicts.has_round(0));
    }

    #[test]
    fn the_first_whose_nonces_are_no_points_is_named() {
        let (agreement, mut set) = (agreement(0), EnvelopeSet::default());
        for (signer, first) in [0, NO_POINT, NO_POINT].into_iter().enumerate() {
            say(&mut set, &agreement, signer, nonces(first));
        }
        let mut verdicts = Verdicts::default();
        assert_eq!(verdicts.bad_nonces(0, &agreement, &set), Some(1));
        assert!(matches!(verdicts.round(0, &agreement, &set), Some(Err(1))));
        assert!(verdicts.aggregate(0, &agreement, &set).is_none());
    }

    #[test]
    fn partial_signatures_add_up_or_are_not_tried_again() {
        let (agreement, mut set) = (agreement(0), EnvelopeSet::default());
        (0..3).for_each(|signer| say(&mut set, &agreement, signer, nonces(signer as u8)));
        let transcript = set.transcript(0).expect("all nonces are here");
        let mut wrong = set.clone();
        for (set, last) in [(&mut set, 2), (&mut wrong, 7)] {
            say(set, &agreement, 0, partial(0, transcript));
            say(set, &agreement, 1, partial(1, transcript));
            say(set, &agreement, 2, partial(last, transcript));
        }
        let certificate = Verdicts::default().aggregate(0, &agreement, &set).expect("they add up");
        assert_eq!(certificate.session, agreement.id());
        let mut verdicts = Verdicts::default();
        assert!(verdicts.aggregate(0, &agreement, &wrong).is_none());
        assert_eq!(verdicts.in_vain.get(&0), Some(&transcript));
        let envelope = |signer| wrong.at(Place::Partial(0), signer).expect("said above");
        assert!(verdicts.partial(envelope(1), &agreement, &wrong));
        assert!(!verdicts.partial(envelope(2), &agreement, &wrong));
    }

    #[test]
    fn who_sent_a_false_certificate_is_not_believed_again_also_after_packing() {
        let agreement = Agreement { keys: None, ..agreement(0) };
        let certificate = Certificate { session: agreement.id(), signatures: vec![Signature([7; 64])] };
        let mut verdicts = Verdicts::default();
        assert!(!verdicts.certificate(&certificate, Some(1), &agreement), "no keys verify anything");
        let mut verdicts = Verdicts::unpack(&verdicts.pack(), &[], &EnvelopeSet::default());
        let agreement = super::super::testing::agreement(0);
        assert!(!verdicts.certificate(&certificate, Some(1), &agreement));
        assert!(verdicts.certificate(&certificate, Some(2), &agreement));
        assert!(verdicts.certificate(&certificate, None, &agreement), "from nobody's connection");
    }
}
