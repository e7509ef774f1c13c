//! The two rounds, what comes out of them, and the endings that come instead.

use std::collections::HashSet;
use std::sync::Arc;

use super::agreement::Agreement;
use super::proofs;
use super::stored::Ending;
use super::verdicts::Verdicts;
use crate::mutation::{self, Mutation};
use crate::protocol::crypto::Round;
use crate::protocol::envelope::{Place, Proof};
use crate::protocol::envelope_set::{EnvelopeSet, Fact};
use crate::protocol::event::Event;
use crate::protocol::wire::Certificate;
use crate::types::SignerKey;

/// What the rounds have to know of the rest of the session.
#[derive(Clone, Copy, Debug)]
pub struct Conditions<'a> {
    /// The proposal's expiry has passed.
    pub expired: bool,
    /// The ending so far.
    pub ending: Option<Ending>,
    /// This node's application consented.
    pub consented: bool,
    /// The highest attempt that nonces were made for, plus one.
    pub attempts_used: u32,
    /// The signer refused a moment ago.
    pub signer_refused: bool,
    /// Others may hold envelopes of this node's own key that it lost.
    pub recovering: bool,
    /// The signers that are connected.
    pub connected: &'a HashSet<SignerKey>,
    /// The signer is making the attempt's nonces.
    pub nonces_asked: bool,
    /// The signer is making the attempt's partial signatures.
    pub partial_asked: bool,
}

/// What the rounds want done, in order.
#[derive(Clone, Debug)]
pub enum RoundAction {
    /// The signatures are finished.
    Complete(Certificate),
    /// Report progress.
    Report(Event),
    /// The session ends.
    End(Ending),
    /// Compare with everybody: somebody said two things, or lies about what it received.
    CompareAll,
    /// Wipe the secret nonces of attempts up to this one.
    WipeNonces(u32),
    /// Make this attempt's nonces.
    MakeNonces(u32),
    /// Make this attempt's partial signatures.
    MakePartial { attempt: u32, transcript: [u8; 32], round: Arc<dyn Round> },
    /// Say that the own nonces are lost.
    Restart,
}

/// The rounds of one session at this node: nothing but what the set and the time give, and what was looked at already.
///
/// Invariant: `nonces_held` is the attempt whose secret nonces the signer holds, as far as is known here.
#[derive(Debug, Default)]
pub struct Rounds {
    nonces_held: Option<u32>,
    verdicts: Verdicts,
    /// An attempt with nonces that are no points.
    bad_nonces: Option<u32>,
    /// The nonces of the attempt before that were checked, by their hash.
    checked_before: Option<[u8; 32]>,
    /// The size of the set in which proofs were looked for.
    proofs_checked: Option<usize>,
    /// The attempt whose mismatch was answered by comparing.
    mismatch_compared: Option<u32>,
    ready_reported: bool,
    nonces_reported: Option<u32>,
}

/// [`Rounds`] in memory, as few bytes as may be: what was looked at is looked at again.
#[derive(Clone, PartialEq, prost::Message)]
pub struct PackedRounds {
    #[prost(uint32, optional, tag = "1")]
    nonces_held: Option<u32>,
    #[prost(uint32, optional, tag = "2")]
    bad_nonces: Option<u32>,
    #[prost(uint32, optional, tag = "3")]
    mismatch_compared: Option<u32>,
    #[prost(bool, tag = "4")]
    ready_reported: bool,
    #[prost(uint32, optional, tag = "5")]
    nonces_reported: Option<u32>,
    #[prost(bytes = "vec", tag = "6")]
    verdicts: Vec<u8>,
    /// See [`Verdicts::pack_judged`].
    #[prost(bytes = "vec", tag = "7")]
    judged: Vec<u8>,
}

impl Rounds {
    // ---- What the signer did ----

    /// The signer holds the secret nonces of this attempt.
    pub fn nonces_made(&mut self, attempt: u32) {
        self.nonces_held = Some(attempt);
    }

    /// The secret nonces are used up, wiped or lost.
    pub fn nonces_gone(&mut self) {
        self.nonces_held = None;
    }

    /// Drops what can be computed again.
    pub fn drop_round(&mut self) {
        self.verdicts.drop_round();
    }

    // ---- What others say ----

    /// Whether a certificate verifies: see [`Verdicts::certificate`].
    pub fn verifies(
        &mut self,
        certificate: &Certificate,
        from: Option<usize>,
        agreement: &Agreement,
    ) -> bool {
        self.verdicts.certificate(certificate, from, agreement)
    }

    /// One proof against each signer that there is any against.
    pub fn proofs(&mut self, agreement: &Agreement, set: &EnvelopeSet) -> Vec<Proof> {
        proofs::one_each(agreement, set, &mut self.verdicts)
    }

    /// Finds the attempt of which the proofs are that were found before a restart, and keeps it.
    pub fn keep_judged_attempt(&mut self, agreement: &Agreement, set: &mut EnvelopeSet) {
        proofs::keep_judged_attempt(agreement, set, &mut self.verdicts);
    }

    // ---- What follows from the set ----

    /// Finds what follows from the set and the time. Precedence: certificate, proof, abort, decline, expiry.
    pub fn advance(
        &mut self,
        agreement: &Agreement,
        set: &EnvelopeSet,
        conditions: Conditions<'_>,
    ) -> Vec<RoundAction> {
        let mut actions = Vec::new();
        let attempt = set.attempt();
        if set.fact(Fact::Accept, agreement.own).is_some() {
            // A restart may have come after the signatures of the attempt before were complete.
            for attempt in [attempt.checked_sub(1), Some(attempt)].into_iter().flatten() {
                if let Some(certificate) = self.verdicts.aggregate(attempt, agreement, set) {
                    actions.push(RoundAction::Complete(certificate));
                    return actions;
                }
            }
        }
        let mut ending = conditions.ending;
        self.check_nonces(attempt, ending, agreement, set);
        self.end(&mut ending, agreement, set, conditions.expired, &mut actions);
        if self.mismatch(attempt, ending, set) {
            actions.push(RoundAction::CompareAll);
        }
        let consented = conditions.consented || mutation::on(Mutation::ConsentNotAsked);
        let stopped = ending.is_some() && !mutation::on(Mutation::AbortStopsNothing);
        if !consented || stopped || conditions.signer_refused {
            return actions;
        }
        self.report_progress(attempt, agreement, set, &mut actions);
        if !conditions.recovering {
            self.first_round(attempt, agreement, set, conditions, &mut actions);
            self.second_round(attempt, &mut ending, agreement, set, conditions, &mut actions);
        }
        actions
    }

    /// Finds unusable nonces also where the second round never begins: here nobody consented, or the own nonces are
    /// lost.
    fn check_nonces(
        &mut self,
        attempt: u32,
        ending: Option<Ending>,
        agreement: &Agreement,
        set: &EnvelopeSet,
    ) {
        // A restart may have come before the last nonces of the attempt before.
        if let Some(before) = attempt.checked_sub(1)
            && self.checked_before != set.transcript(before)
        {
            self.checked_before = set.transcript(before);
            if self.verdicts.bad_nonces(before, agreement, set).is_some() {
                self.bad_nonces = Some(before);
            }
        }
        let begins = self.verdicts.has_round(attempt) || self.nonces_held == Some(attempt);
        if !begins && ending != Some(Ending::Failed) {
            self.begin(attempt, agreement, set);
        }
    }

    /// Partial signatures that answer to other nonces than those here: somebody said two things, or lies about what
    /// it received. Each side sends what it holds, and sees which. `true` once for each attempt.
    fn mismatch(&mut self, attempt: u32, ending: Option<Ending>, set: &EnvelopeSet) -> bool {
        if self.mismatch_compared == Some(attempt) || ending == Some(Ending::Failed) {
            return false;
        }
        if !set.has_any(Place::Partial(attempt)) {
            return false;
        }
        let Some(transcript) = set.transcript(attempt) else { return false };
        let differ = !set.other_transcripts(attempt, Some(transcript)).is_empty();
        if differ {
            self.mismatch_compared = Some(attempt);
        }
        differ
    }

    fn report_progress(
        &mut self,
        attempt: u32,
        agreement: &Agreement,
        set: &EnvelopeSet,
        actions: &mut Vec<RoundAction>,
    ) {
        let signers = agreement.signers();
        if !self.ready_reported && set.by_all(Fact::Accept).count() == signers {
            self.ready_reported = true;
            actions.push(RoundAction::Report(Event::SessionReady));
        }
        if self.nonces_reported != Some(attempt) && set.all_at(Place::Nonces(attempt), signers).is_some() {
            self.nonces_reported = Some(attempt);
            actions.push(RoundAction::Report(Event::NoncesComplete { attempt }));
        }
    }

    fn first_round(
        &self,
        attempt: u32,
        agreement: &Agreement,
        set: &EnvelopeSet,
        conditions: Conditions<'_>,
        actions: &mut Vec<RoundAction>,
    ) {
        if conditions.nonces_asked || conditions.partial_asked {
            return;
        }
        let own = agreement.own;
        if set.taken(Place::Nonces(attempt), own) || conditions.attempts_used > attempt {
            let lost = self.nonces_held != Some(attempt) && !set.taken(Place::Partial(attempt), own);
            if lost && mutation::on(Mutation::SameAttemptAgain) {
                actions.push(RoundAction::MakeNonces(attempt));
            } else if lost {
                actions.push(RoundAction::Restart);
            }
            return;
        }
        let all_accepted = set.by_all(Fact::Accept).count() == agreement.signers();
        let signers = &agreement.proposal.signers;
        let all_connected = || agreement.others().all(|other| conditions.connected.contains(&signers[other]));
        if attempt > 0 || all_accepted || all_connected() {
            actions.extend(attempt.checked_sub(1).map(RoundAction::WipeNonces));
            actions.push(RoundAction::MakeNonces(attempt));
        }
    }

    fn second_round(
        &mut self,
        attempt: u32,
        ending: &mut Option<Ending>,
        agreement: &Agreement,
        set: &EnvelopeSet,
        conditions: Conditions<'_>,
        actions: &mut Vec<RoundAction>,
    ) {
        if self.nonces_held != Some(attempt)
            || set.taken(Place::Partial(attempt), agreement.own)
            || conditions.partial_asked
        {
            return;
        }
        match self.begin(attempt, agreement, set) {
            Some((transcript, round)) => {
                actions.push(RoundAction::MakePartial { attempt, transcript, round });
            }
            None => self.end(ending, agreement, set, conditions.expired, actions),
        }
    }

    /// The round of an attempt whose nonces are all here, parsed and aggregated once.
    fn begin(
        &mut self,
        attempt: u32,
        agreement: &Agreement,
        set: &EnvelopeSet,
    ) -> Option<([u8; 32], Arc<dyn Round>)> {
        if self.bad_nonces == Some(attempt) {
            return None;
        }
        let begun = self.verdicts.round(attempt, agreement, set)?;
        if begun.is_err() {
            self.bad_nonces = Some(attempt);
        }
        begun.ok()
    }

    // ---- Endings ----

    /// Whether there is a proof. The same set is searched once.
    fn holds_proofs(&mut self, agreement: &Agreement, set: &EnvelopeSet) -> bool {
        let size = Some(set.len());
        if self.proofs_checked == size && self.bad_nonces.is_none() || !self.may_hold_proofs(agreement, set) {
            return false;
        }
        self.proofs_checked = size;
        !proofs::all(agreement, set, &mut self.verdicts).is_empty()
    }

    /// Whether any proof may exist, without the cost of looking.
    fn may_hold_proofs(&self, agreement: &Agreement, set: &EnvelopeSet) -> bool {
        let latest = set.judged_attempt();
        let complete = |attempt: u32| set.all_at(Place::Partial(attempt), agreement.signers()).is_some();
        let all_here = complete(latest) || latest.checked_sub(1).is_some_and(complete);
        self.bad_nonces.is_some() || all_here || !set.proofs().is_empty()
    }

    /// Finds a reason to end. A stronger one replaces a weaker one, never the other way round.
    fn end(
        &mut self,
        ending: &mut Option<Ending>,
        agreement: &Agreement,
        set: &EnvelopeSet,
        expired: bool,
        actions: &mut Vec<RoundAction>,
    ) {
        if *ending == Some(Ending::Failed) {
            return;
        }
        let joined = set.fact(Fact::Accept, agreement.own).is_some();
        let expired = expired && (joined || !mutation::on(Mutation::NeverExpires));
        let found = if self.holds_proofs(agreement, set) {
            Ending::Failed
        } else if set.first(Fact::Abort).is_some() {
            Ending::Aborted
        } else if set.first(Fact::Decline).is_some() {
            Ending::Declined
        } else if expired || *ending == Some(Ending::Expired) {
            Ending::Expired
        } else {
            return;
        };
        let first_stays = mutation::on(Mutation::FirstEndingStays);
        if ending.is_some_and(|before| before as u8 <= found as u8 || first_stays) {
            return;
        }
        *ending = Some(found);
        self.nonces_gone();
        actions.push(RoundAction::End(found));
    }

    // ---- At rest ----

    /// `set`: that of the session, as long as its partial signatures matter.
    pub fn pack(&self, set: Option<&EnvelopeSet>) -> PackedRounds {
        PackedRounds {
            nonces_held: self.nonces_held,
            bad_nonces: self.bad_nonces,
            mismatch_compared: self.mismatch_compared,
            ready_reported: self.ready_reported,
            nonces_reported: self.nonces_reported,
            verdicts: self.verdicts.pack(),
            judged: set.map(|set| self.verdicts.pack_judged(set)).unwrap_or_default(),
        }
    }

    pub fn unpack(packed: &PackedRounds, set: &EnvelopeSet) -> Self {
        Self {
            nonces_held: packed.nonces_held,
            bad_nonces: packed.bad_nonces,
            mismatch_compared: packed.mismatch_compared,
            ready_reported: packed.ready_reported,
            nonces_reported: packed.nonces_reported,
            verdicts: Verdicts::unpack(&packed.verdicts, &packed.judged, set),
            ..Self::default()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::{NO_POINT, agreement, nonces, partial, say};
    use super::*;
    use crate::protocol::envelope::Content;

    fn conditions(connected: &HashSet<SignerKey>) -> Conditions<'_> {
        Conditions {
            expired: false,
            ending: None,
            consented: true,
            attempts_used: 0,
            signer_refused: false,
            recovering: false,
            connected,
            nonces_asked: false,
            partial_asked: false,
        }
    }

    /// The names of what is to be done.
    fn kinds(actions: &[RoundAction]) -> Vec<&'static str> {
        let kind = |action: &RoundAction| match action {
            RoundAction::Complete(_) => "complete",
            RoundAction::Report(Event::SessionReady) => "ready",
            RoundAction::Report(Event::NoncesComplete { attempt: 0 }) => "nonces complete",
            RoundAction::Report(_) => "another event",
            RoundAction::End(Ending::Failed) => "failed",
            RoundAction::End(Ending::Aborted) => "aborted",
            RoundAction::End(Ending::Declined) => "declined",
            RoundAction::End(Ending::Expired) => "expired",
            RoundAction::CompareAll => "compare",
            RoundAction::WipeNonces(_) => "wipe",
            RoundAction::MakeNonces(_) => "make nonces",
            RoundAction::MakePartial { .. } => "make partial",
            RoundAction::Restart => "restart",
        };
        actions.iter().map(kind).collect()
    }

    fn accepted() -> (Agreement, EnvelopeSet) {
        let (agreement, mut set) = (agreement(0), EnvelopeSet::default());
        (0..3).for_each(|signer| say(&mut set, &agreement, signer, Content::Accept));
        (agreement, set)
    }

    #[test]
    fn two_rounds_lead_to_the_certificate() {
        let (agreement, mut set) = accepted();
        let (nobody, mut rounds) = (HashSet::new(), Rounds::default());
        let next = conditions(&nobody);
        assert_eq!(kinds(&rounds.advance(&agreement, &set, next)), ["ready", "make nonces"]);
        rounds.nonces_made(0);
        (0..3).for_each(|signer| say(&mut set, &agreement, signer, nonces(signer as u8)));
        let next = Conditions { attempts_used: 1, ..next };
        assert_eq!(kinds(&rounds.advance(&agreement, &set, next)), ["nonces complete", "make partial"]);
        rounds.nonces_gone();
        let transcript = set.transcript(0).expect("all nonces are here");
        (0..3).for_each(|signer| say(&mut set, &agreement, signer, partial(signer as u8, transcript)));
        assert_eq!(kinds(&rounds.advance(&agreement, &set, next)), ["complete"]);
    }

    #[test]
    fn nothing_is_signed_without_consent_or_while_others_may_hold_what_was_lost() {
        let (agreement, set) = accepted();
        let nobody = HashSet::new();
        for (next, expected) in [
            (Conditions { consented: false, ..conditions(&nobody) }, &[][..]),
            (Conditions { signer_refused: true, ..conditions(&nobody) }, &[]),
            (Conditions { recovering: true, ..conditions(&nobody) }, &["ready"]),
            (Conditions { nonces_asked: true, ..conditions(&nobody) }, &["ready"]),
            (Conditions { attempts_used: 1, ..conditions(&nobody) }, &["ready", "restart"]),
        ] {
            assert_eq!(kinds(&Rounds::default().advance(&agreement, &set, next)), expected, "{next:?}");
        }
    }

    #[test]
    fn bad_nonces_and_bad_partials_end_the_session_as_failed_once() {
        let (agreement, mut set) = accepted();
        let nobody = HashSet::new();
        let mut bad_nonce = set.clone();
        for (signer, first) in [0, NO_POINT, 2].into_iter().enumerate() {
            say(&mut bad_nonce, &agreement, signer, nonces(first));
        }
        (0..3).for_each(|signer| say(&mut set, &agreement, signer, nonces(signer as u8)));
        let transcript = set.transcript(0).expect("all nonces are here");
        for (signer, first) in [0, 1, 9].into_iter().enumerate() {
            say(&mut set, &agreement, signer, partial(first, transcript));
        }
        for (set, accused) in [(bad_nonce, 1), (set, 2)] {
            let mut rounds = Rounds::default();
            let next = Conditions { attempts_used: 1, consented: false, ..conditions(&nobody) };
            assert_eq!(kinds(&rounds.advance(&agreement, &set, next)), ["failed"]);
            let proofs = rounds.proofs(&agreement, &set);
            assert_eq!(proofs.iter().map(|proof| proof.accused()).collect::<Vec<_>>(), [accused]);
            let ended = Conditions { ending: Some(Ending::Failed), ..next };
            assert!(rounds.advance(&agreement, &set, ended).is_empty());
        }
    }

    #[test]
    fn a_partial_for_other_nonces_is_compared_once_and_proves_nothing() {
        let (agreement, mut set) = accepted();
        (0..3).for_each(|signer| say(&mut set, &agreement, signer, nonces(signer as u8)));
        say(&mut set, &agreement, 2, partial(2, [8; 32]));
        let nobody = HashSet::new();
        let next = Conditions { attempts_used: 1, consented: false, ..conditions(&nobody) };
        let mut rounds = Rounds::default();
        assert_eq!(kinds(&rounds.advance(&agreement, &set, next)), ["compare"]);
        assert!(rounds.advance(&agreement, &set, next).is_empty());
        let mut unpacked = Rounds::unpack(&rounds.pack(Some(&set)), &set);
        assert!(unpacked.advance(&agreement, &set, next).is_empty(), "also after it was packed");
        assert!(rounds.proofs(&agreement, &set).is_empty());
    }

    #[test]
    fn a_stronger_ending_replaces_a_weaker_one_and_never_the_other_way_round() {
        let (agreement, mut set) = accepted();
        let nobody = HashSet::new();
        let expired = Conditions { expired: true, ..conditions(&nobody) };
        assert_eq!(kinds(&Rounds::default().advance(&agreement, &set, expired)), ["expired"]);
        say(&mut set, &agreement, 1, Content::Decline { reason: String::new() });
        let after = Conditions { ending: Some(Ending::Expired), ..expired };
        assert_eq!(kinds(&Rounds::default().advance(&agreement, &set, after)), ["declined"]);
        let after = Conditions { ending: Some(Ending::Aborted), ..expired };
        assert!(Rounds::default().advance(&agreement, &set, after).is_empty());
    }
}
