//! What the sessions of one engine did since it was made, in numbers that depend on its input alone.
//!
//! A durable event is counted when it is handed out first, and not when it comes again. Nothing in here says which
//! session it was: a number is what any number of them did together.

use std::collections::BTreeMap;

use crate::protocol::event::Event;
use crate::protocol::failover::{Evidence, FailureCause};
use crate::types::{SignerKey, SubmitOutcome};

/// Signers that are counted each for itself. All others are counted together.
pub const SIGNERS: usize = 256;

/// Name of a signer in the counters: the first 4 bytes of its identity key.
pub type SignerName = [u8; 4];

/// Counters of the protocol at one node. They start at zero with its engine.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Counters {
    /// Sessions that this node proposed.
    pub proposed: u64,
    /// Sessions that others proposed, and that this node told its application of.
    pub received: u64,
    /// Sessions whose signatures are complete.
    pub completed: u64,
    /// Sessions that ended, by how.
    pub ended: Ended,
    /// Times that a session made no progress for a while.
    pub stalls: u64,
    /// Restarts, each of which began a new attempt, of any signer.
    pub restarts: u64,
    /// Watches in which a turn after the first opened.
    pub failovers: u64,
    /// Turns after the first that opened, by cause.
    pub turns: TurnsOpened,
    /// Turns after the first that opened and were this node's own.
    pub own_turns: u64,
    /// Watches in which all turns passed.
    pub exhaustions: u64,
    /// Answers of this node's broadcaster.
    pub submissions: Submissions,
    signers: BTreeMap<SignerName, SignerCounters>,
    others: SignerCounters,
}

/// Sessions that ended, by how. One that was closed counts as closed whatever it was before.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Ended {
    /// The transaction is final.
    pub confirmed: u64,
    /// A conflicting transaction is final.
    pub conflicted: u64,
    /// The application reported the broadcast, and there is no observer.
    pub notified: u64,
    /// A signer provably violated the protocol.
    pub failed: u64,
    /// A signer aborted.
    pub aborted: u64,
    /// A signer declined.
    pub declined: u64,
    /// The proposal expired.
    pub expired: u64,
    /// The application closed it.
    pub closed: u64,
}

/// Turns after the first that opened, by cause.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct TurnsOpened {
    /// Their time had come.
    pub timeout: u64,
    /// Before their time, because of the signers of the turn before: they said that they cannot reach a Bitcoin backend,
    pub nack: u64,
    /// that their backend rejects the transaction,
    pub rejected: u64,
    /// their connections were lost,
    pub gone: u64,
    /// they did not say that they hold the signatures,
    pub not_holding: u64,
    /// the transaction was not seen within this node's pace,
    pub pace: u64,
    /// or it is proved that they broke the protocol.
    pub guilty: u64,
}

/// Answers of the broadcaster.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Submissions {
    /// The Bitcoin backend accepted the transaction, or knew it.
    pub accepted: u64,
    /// It rejected the transaction.
    pub rejected: u64,
    /// It says that the transaction is not final yet.
    pub not_final: u64,
    /// It could not be reached, or did not answer.
    pub unreachable: u64,
}

/// Counters of one signer, as this node saw it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SignerCounters {
    /// Sessions in which it claimed to have broadcast.
    pub broadcasts: u64,
    /// Sessions in which the whole broadcast timeout of its turn passed and the transaction was seen after that. None of
    /// this node itself.
    pub failures: u64,
    /// Seconds by which its clock differed last, whichever is ahead; of several signers the most.
    pub clock_offset: u64,
}

impl Counters {
    /// The counters of each signer in whose session this node takes part, by name.
    pub fn signers(&self) -> impl Iterator<Item = (SignerName, SignerCounters)> {
        self.signers.iter().map(|(name, counters)| (*name, *counters))
    }

    /// The counters of all other signers together.
    pub fn others(&self) -> SignerCounters {
        self.others
    }

    /// The name under which a signer is counted.
    pub fn name(signer: &SignerKey) -> SignerName {
        *signer.as_bytes().first_chunk().expect("33 bytes")
    }

    /// This node takes part in a session of these signers. Those of sessions that it did not join are not noted, or
    /// strangers could fill the table.
    pub(super) fn note_signers(&mut self, signers: &[SignerKey]) {
        for signer in signers {
            let name = Self::name(signer);
            if self.signers.len() < SIGNERS || self.signers.contains_key(&name) {
                self.signers.entry(name).or_default();
            }
        }
    }

    fn signer(&mut self, signer: &SignerKey) -> &mut SignerCounters {
        self.signers.get_mut(&Self::name(signer)).unwrap_or(&mut self.others)
    }

    /// An event leaves for the first time.
    pub(super) fn event(&mut self, event: &Event) {
        match event {
            Event::SessionCreated => self.proposed += 1,
            Event::SessionProposed { .. } => self.received += 1,
            Event::SessionComplete { .. } => self.completed += 1,
            Event::SessionStalled { .. } => self.stalls += 1,
            Event::FailoverExhausted { .. } => self.exhaustions += 1,
            Event::SessionFailed { .. } => self.ended.failed += 1,
            Event::SessionAborted { declined: true, .. } => self.ended.declined += 1,
            Event::SessionAborted { .. } => self.ended.aborted += 1,
            Event::SessionExpired { .. } => self.ended.expired += 1,
            Event::SessionClosed => self.ended.closed += 1,
            _ => {}
        }
    }

    /// A watch ended, with this evidence.
    pub(super) fn watch_ended(&mut self, evidence: Evidence) {
        match evidence {
            Evidence::Conflict { .. } => self.ended.conflicted += 1,
            Evidence::Notified => self.ended.notified += 1,
            _ => self.ended.confirmed += 1,
        }
    }

    /// A turn after the first opened.
    pub(super) fn turn(&mut self, cause: FailureCause) {
        let counter = match cause {
            FailureCause::Nack => &mut self.turns.nack,
            FailureCause::Rejected => &mut self.turns.rejected,
            FailureCause::Gone => &mut self.turns.gone,
            FailureCause::NotHolding => &mut self.turns.not_holding,
            FailureCause::Pace => &mut self.turns.pace,
            FailureCause::Guilty => &mut self.turns.guilty,
            FailureCause::Timeout => &mut self.turns.timeout,
        };
        *counter += 1;
    }

    /// A signer claims, for the first time in its session, to have broadcast.
    pub(super) fn broadcast(&mut self, signer: &SignerKey) {
        self.signer(signer).broadcasts += 1;
    }

    /// A signer let the whole broadcast timeout of its turn pass.
    pub(super) fn failed(&mut self, signer: &SignerKey) {
        self.signer(signer).failures += 1;
    }

    /// A signer's clock is so many milliseconds ahead.
    pub(super) fn clock(&mut self, signer: &SignerKey, offset: i64) {
        let seconds = offset.unsigned_abs() / 1000;
        match self.signers.get_mut(&Self::name(signer)) {
            Some(counters) => counters.clock_offset = seconds,
            None => self.others.clock_offset = self.others.clock_offset.max(seconds),
        }
    }

    /// The broadcaster answered.
    pub(super) fn submitted(&mut self, answer: &Result<SubmitOutcome, String>) {
        match answer {
            Ok(SubmitOutcome::Rejected(_)) => self.submissions.rejected += 1,
            Ok(SubmitOutcome::NotYetFinal) => self.submissions.not_final += 1,
            Ok(SubmitOutcome::Accepted) => self.submissions.accepted += 1,
            Err(_) => self.submissions.unreachable += 1,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::types::testing::key;

    #[test]
    fn a_signer_is_counted_by_its_name_and_those_beyond_the_limit_together() {
        let mut counters = Counters::default();
        let keys: Vec<SignerKey> = (1..=300).map(key).collect();
        counters.note_signers(&keys);
        assert_eq!(counters.signers().count(), SIGNERS);
        assert!(counters.signers().all(|(_, counted)| counted == SignerCounters::default()));
        keys.iter().for_each(|key| counters.broadcast(key));
        [0, 299].iter().for_each(|index: &usize| counters.failed(&keys[*index]));
        let total =
            |of: fn(SignerCounters) -> u64| counters.signers().map(|(_, counted)| of(counted)).sum::<u64>();
        assert_eq!(total(|counted| counted.broadcasts) + counters.others().broadcasts, 300);
        assert_eq!((total(|counted| counted.failures), counters.others().failures), (1, 1));
        let first = counters.signers().find(|(name, _)| *name == Counters::name(&keys[0]));
        assert_eq!(first.map(|(_, counted)| counted.failures), Some(1));
    }
}
