//! The two rounds, what comes out of them, and the endings that come instead.

use std::sync::Arc;
use std::time::Duration;

use super::{Context, Ending, Purpose, RECOVERY, Session};
use crate::protocol::crypto::Round;
use crate::protocol::envelope::{Content, Envelope, Place, Proof};
use crate::protocol::envelope_set::Fact;
use crate::protocol::event::{DurableKind, Event};
use crate::protocol::mutation::{self, Mutation};
use crate::protocol::signer::{NonceRequest, PartialRequest, SignTask};
use crate::protocol::wire::Certificate;

impl Session {
    /// Does what follows from the set and the time. Precedence: certificate, proof, abort, decline, expiry.
    pub(super) fn advance(&mut self, context: &mut Context<'_>) {
        if self.certificate.is_some() || self.closed {
            return;
        }
        let attempt = self.set.attempt();
        if self.joined() {
            // A restart may have come after the signatures of the attempt before were complete.
            for attempt in [attempt.checked_sub(1), Some(attempt)].into_iter().flatten() {
                if let Some(certificate) = self.aggregate(attempt) {
                    self.become_holder(certificate, context);
                    return;
                }
            }
        }
        self.look_at_nonces(attempt);
        self.consider_endings(context);
        self.tell_mismatch(attempt, context);
        let consented = self.consented || mutation::on(Mutation::ConsentNotAsked);
        let stopped = self.ending.is_some() && !mutation::on(Mutation::AbortStopsNothing);
        if !consented || stopped || self.signer_retry.is_some() {
            return;
        }
        self.report_progress(attempt);
        if self.recovering(context) {
            return;
        }
        self.first_round(attempt, context);
        self.second_round(attempt, context);
    }

    /// Finds unusable nonces also where the second round never begins: here nobody consented, or the own nonces are
    /// lost.
    fn look_at_nonces(&mut self, attempt: u32) {
        // A restart may have come before the last nonces of the attempt before.
        if let Some(before) = attempt.checked_sub(1)
            && self.looked_at != self.set.transcript(before)
        {
            self.looked_at = self.set.transcript(before);
            let round = self.round.clone();
            self.begin_round(before);
            self.round = round;
        }
        let begun = self.round.as_ref().is_some_and(|(known, ..)| *known == attempt);
        let begins = begun || self.nonces_held == Some(attempt);
        if !begins && self.ending != Some(Ending::Failed) {
            self.begin_round(attempt);
        }
    }

    /// Partial signatures that answer to other nonces than those here: somebody said two things, or lies about what
    /// it received. Each side sends what it holds, and sees which.
    fn tell_mismatch(&mut self, attempt: u32, context: &Context<'_>) {
        if self.mismatch_told == Some(attempt) || self.ending == Some(Ending::Failed) {
            return;
        }
        if !self.set.has_any(Place::Partial(attempt)) {
            return;
        }
        let Some(transcript) = self.set.transcript(attempt) else { return };
        if !self.other_transcripts(attempt, Some(transcript)).is_empty() {
            self.mismatch_told = Some(attempt);
            self.compare_all(context);
        }
    }

    fn report_progress(&mut self, attempt: u32) {
        let signers = self.signers();
        if !self.ready_reported && self.set.by_all(Fact::Accept).count() == signers {
            self.ready_reported = true;
            self.tell(Event::SessionReady);
        }
        if self.nonces_reported != Some(attempt) && self.set.all_at(Place::Nonces(attempt), signers).is_some()
        {
            self.nonces_reported = Some(attempt);
            self.tell(Event::NoncesComplete { attempt });
        }
    }

    /// Whether this node is to wait for its peers' answers: they may hold envelopes of its own key that it lost.
    fn recovering(&mut self, context: &Context<'_>) -> bool {
        let Some(loaded_at) = self.loaded_at else { return false };
        let waited = context.now.monotonic >= loaded_at + RECOVERY;
        let done = self.others().all(|signer| self.compared.contains(&signer));
        !(done || waited && (self.imported || !self.compared.is_empty()))
    }

    pub(super) fn recovery_ends(&self) -> Option<Duration> {
        let all_compared = self.compared.len() + 1 >= self.signers();
        self.loaded_at.filter(|_| self.joined() && !all_compared).map(|at| at + RECOVERY)
    }

    fn first_round(&mut self, attempt: u32, context: &mut Context<'_>) {
        let place = Place::Nonces(attempt);
        if self.in_flight(Purpose::Nonces(attempt)) || self.in_flight(Purpose::Partial(attempt)) {
            return;
        }
        if self.set.taken(place, self.own) || self.attempts_used > attempt {
            let lost =
                self.nonces_held != Some(attempt) && !self.set.taken(Place::Partial(attempt), self.own);
            if lost && mutation::on(Mutation::SameAttemptAgain) {
                self.make_nonces(attempt, context);
                return;
            }
            if lost {
                self.restart(context);
            }
            return;
        }
        let all_accepted = self.set.by_all(Fact::Accept).count() == self.signers();
        let connected = |signer: usize| context.connected.contains(&self.proposal.signers[signer]);
        if attempt > 0 || all_accepted || self.others().all(connected) {
            if let Some(before) = attempt.checked_sub(1) {
                let session = self.id();
                self.effects.push(crate::protocol::Output::Forget { session, attempt: before });
            }
            self.make_nonces(attempt, context);
        }
    }

    fn make_nonces(&mut self, attempt: u32, context: &mut Context<'_>) {
        let Some(keys) = self.keys.clone() else { return };
        let (proposal, signer) = (self.proposal.clone(), self.own);
        let task = SignTask::Nonces(NonceRequest { proposal, attempt, signer, keys });
        self.ask_signer(Purpose::Nonces(attempt), task, context);
    }

    /// Says that the own nonces are lost. Without restarts left the session can only be finished by others.
    fn restart(&mut self, context: &mut Context<'_>) {
        if let Some(ordinal) = self.set.next_restart(self.own)
            && !self.in_flight(Purpose::Restart(ordinal))
        {
            self.say(Purpose::Restart(ordinal), Content::Restart { ordinal }, context);
        }
    }

    fn second_round(&mut self, attempt: u32, context: &mut Context<'_>) {
        let place = Place::Partial(attempt);
        if self.nonces_held != Some(attempt)
            || self.set.taken(place, self.own)
            || self.in_flight(Purpose::Partial(attempt))
        {
            return;
        }
        let Some((transcript, round)) = self.begin_round(attempt) else {
            self.consider_endings(context);
            return;
        };
        let Some(keys) = self.keys.clone() else { return };
        let (proposal, signer) = (self.proposal.clone(), self.own);
        let request = PartialRequest { proposal, attempt, signer, keys, round };
        self.ask_signer(Purpose::Partial(attempt), SignTask::Partial { request, transcript }, context);
    }

    /// The round of an attempt whose nonces are all here, parsed and aggregated once.
    fn begin_round(&mut self, attempt: u32) -> Option<([u8; 32], Arc<dyn Round>)> {
        if self.bad_nonces == Some(attempt) {
            return None;
        }
        let transcript = self.set.transcript(attempt)?;
        if let Some((known, hash, round)) = &self.round
            && (*known, *hash) == (attempt, transcript)
        {
            return Some((transcript, round.clone()));
        }
        let all = self.set.all_at(Place::Nonces(attempt), self.signers())?;
        let nonces: Vec<&[u8]> = all.iter().filter_map(|envelope| nonces_of(envelope)).collect();
        match self.keys.as_ref()?.begin_round(&nonces) {
            Ok(round) => {
                self.round = Some((attempt, transcript, round.clone()));
                Some((transcript, round))
            }
            Err(_) => {
                self.bad_nonces = Some(attempt);
                None
            }
        }
    }

    /// Signers whose partial signatures answer to other nonces than these.
    pub(super) fn other_transcripts(&self, attempt: u32, own: Option<[u8; 32]>) -> Vec<usize> {
        let differs = |envelope: &&Envelope| match envelope.content() {
            Content::Partial { transcript, .. } => Some(*transcript) != own,
            _ => false,
        };
        let partials = self.set.each_at(Place::Partial(attempt));
        partials.filter(differs).map(|envelope| envelope.body().signer).collect()
    }

    /// The certificate, if all partial signatures of an attempt are here, answer to the same nonces and add up.
    fn aggregate(&mut self, attempt: u32) -> Option<Certificate> {
        let signers = self.signers();
        self.set.all_at(Place::Partial(attempt), signers)?;
        let (transcript, round) = self.begin_round(attempt)?;
        if self.tried == Some((attempt, self.set.len()))
            || !self.other_transcripts(attempt, Some(transcript)).is_empty()
        {
            return None;
        }
        self.tried = Some((attempt, self.set.len()));
        let all = self.set.all_at(Place::Partial(attempt), signers)?;
        let partials: Vec<&[u8]> = all.iter().filter_map(|envelope| partials_of(envelope)).collect();
        let signatures = round.aggregate(&partials)?;
        Some(Certificate { session: self.id(), signatures })
    }

    /// Proofs against signers: what the set holds by itself, unusable nonces, partial signatures that fail.
    pub(super) fn proofs(&mut self) -> Vec<Proof> {
        let mut proofs = self.set.proofs();
        let Some(keys) = &self.keys else { return proofs };
        let latest = self.set.judged_attempt();
        for attempt in [latest.checked_sub(1), Some(latest)].into_iter().flatten() {
            let signers = self.signers();
            let Some(all) = self.set.all_at(Place::Nonces(attempt), signers) else { continue };
            let envelopes: Vec<Envelope> = all.into_iter().cloned().collect();
            let nonces: Vec<&[u8]> = envelopes.iter().filter_map(nonces_of).collect();
            let Some(transcript) = self.set.transcript(attempt) else { continue };
            let complete = self.set.all_at(Place::Partial(attempt), signers).is_some();
            match keys.begin_round(&nonces) {
                Err(signer) => proofs.push(Proof::BadContent(Box::new(envelopes[signer].clone()))),
                Ok(round) if complete => {
                    for signer in 0..signers {
                        let Some(partial) = self.set.at(Place::Partial(attempt), signer) else { continue };
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

    /// Finds the attempt of which the proofs are that were found before a restart.
    pub(super) fn find_proofs(&mut self) {
        for attempt in (0..=self.set.attempt()).rev() {
            self.set.keep_attempt(attempt);
            if !self.proofs().is_empty() {
                break;
            }
        }
    }

    /// Whether there is a proof. The same set is looked at once.
    fn holds_proofs(&mut self) -> bool {
        let size = Some(self.set.len());
        if self.proofs_checked == size && self.bad_nonces.is_none() || !self.may_hold_proofs() {
            return false;
        }
        self.proofs_checked = size;
        !self.proofs().is_empty()
    }

    /// Whether any proof may exist, without the cost of looking.
    fn may_hold_proofs(&self) -> bool {
        let latest = self.set.judged_attempt();
        let complete = |attempt: u32| self.set.all_at(Place::Partial(attempt), self.signers()).is_some();
        let all_here = complete(latest) || latest.checked_sub(1).is_some_and(complete);
        self.bad_nonces.is_some() || all_here || !self.set.proofs().is_empty()
    }

    fn consider_endings(&mut self, context: &mut Context<'_>) {
        if self.ending == Some(Ending::Failed) {
            return;
        }
        let expires = self.joined() || !mutation::on(Mutation::NeverExpires);
        let expired = context.now.wall >= self.proposal.expires_at && expires;
        let ending = if self.holds_proofs() {
            Ending::Failed
        } else if self.set.first(Fact::Abort).is_some() {
            Ending::Aborted
        } else if self.set.first(Fact::Decline).is_some() {
            Ending::Declined
        } else if expired || self.ending == Some(Ending::Expired) {
            Ending::Expired
        } else {
            return;
        };
        // A stronger reason replaces a weaker one, never the other way round.
        let first_stays = mutation::on(Mutation::FirstEndingStays);
        if self.ending.is_some_and(|before| before as u8 <= ending as u8 || first_stays) {
            return;
        }
        self.ending = Some(ending);
        if ending == Ending::Failed {
            self.set.keep_attempt(self.set.attempt());
        }
        self.settle(DurableKind::Proposed);
        self.forget_nonces();
        self.tell_durably(match ending {
            Ending::Failed => DurableKind::Failed,
            Ending::Aborted | Ending::Declined => DurableKind::Aborted,
            Ending::Expired => DurableKind::Expired,
        });
        if ending == Ending::Failed && !mutation::on(Mutation::ProofNotSent) {
            // A provable fault known to one honest node is soon known to all: pass on what proves it.
            self.compare_all(context);
            self.send_proofs(context);
        }
    }
}

pub(super) fn nonces_of(envelope: &Envelope) -> Option<&[u8]> {
    match envelope.content() {
        Content::Nonces { nonces, .. } => Some(nonces),
        _ => None,
    }
}

fn partials_of(envelope: &Envelope) -> Option<&[u8]> {
    match envelope.content() {
        Content::Partial { partials, .. } => Some(partials),
        _ => None,
    }
}
