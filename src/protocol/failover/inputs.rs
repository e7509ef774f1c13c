//! What a watch hears: of its observer, its broadcaster, its application, and others.

use std::time::Duration;

use super::{Action, Evidence, FIRST_BACK_OFF, OwnTurn, Stopwatch, Surroundings, Watch};
use crate::protocol::Time;
use crate::protocol::mutation::{self, Mutation};
use crate::types::{ChainStatus, SubmitOutcome};

impl Watch {
    /// The observer answered.
    pub fn observed(
        &mut self,
        answer: Option<ChainStatus>,
        now: Time,
        surroundings: &Surroundings<'_>,
    ) -> Vec<Action> {
        let mut actions = Vec::new();
        self.observing = false;
        if self.ended {
            return actions;
        }
        let elapsed = self.stopwatch.elapsed(now);
        let evidence = match answer {
            None => self.evidence,
            Some(ChainStatus::Unknown) => {
                let noticed = self.lost_since.is_none() && !mutation::on(Mutation::LossUnnoticed);
                if self.evidence.pauses() && noticed {
                    self.lost_since = Some(elapsed);
                }
                self.evidence
            }
            Some(ChainStatus::Seen) => Evidence::Seen,
            Some(ChainStatus::Confirmed { height, confirmations }) => {
                Evidence::Confirmed { height, confirmations: confirmations.max(1) }
            }
            Some(ChainStatus::Conflict { txid, confirmations }) => {
                Evidence::Conflict { txid, confirmations: confirmations.max(1) }
            }
        };
        if matches!(answer, Some(status) if status != ChainStatus::Unknown) {
            self.lost_since = None;
            if !self.evidence.pauses() && !matches!(evidence, Evidence::Conflict { .. }) {
                actions.push(Action::Seen);
            }
            self.evidence = evidence;
            self.report_depth(surroundings.final_depth, &mut actions);
        } else if matches!(self.own_turn, OwnTurn::Asking { .. }) {
            self.own_turn = OwnTurn::Open { submit_at: elapsed, ask_at: elapsed, failures: 0 };
        }
        actions.extend(self.poll(now, surroundings));
        actions
    }

    fn report_depth(&mut self, final_depth: u32, actions: &mut Vec<Action>) {
        let confirmations = match self.evidence {
            Evidence::Confirmed { confirmations, .. } => {
                if !self.confirmed_reported {
                    self.confirmed_reported = true;
                    actions.push(Action::Confirmed);
                }
                confirmations
            }
            Evidence::Conflict { txid, confirmations } => {
                if !self.conflict_reported {
                    self.conflict_reported = true;
                    actions.push(Action::Conflict(txid));
                }
                confirmations
            }
            _ => return,
        };
        self.ended = confirmations >= final_depth || mutation::on(Mutation::FinalAtOnce);
    }

    /// The broadcaster answered, or (`Err`) could not reach the network.
    pub fn submitted(
        &mut self,
        answer: Result<SubmitOutcome, String>,
        now: Time,
        surroundings: &Surroundings<'_>,
    ) -> Vec<Action> {
        self.submitting = false;
        let mut actions = Vec::new();
        let elapsed = self.stopwatch.elapsed(now);
        let accepted = answer == Ok(SubmitOutcome::Accepted);
        match answer {
            Ok(SubmitOutcome::Accepted) => {
                if self.evidence == Evidence::None {
                    self.evidence = Evidence::Submitted;
                }
                self.observe_at = self.observe_at.min(elapsed);
                actions.push(Action::Claim);
            }
            Ok(SubmitOutcome::Rejected(reason)) => {
                if self.rejection.as_ref() != Some(&reason) {
                    self.rejection = Some(reason);
                    actions.push(Action::Rejected);
                }
            }
            Err(reason) => actions.push(Action::Nack(reason)),
        }
        if let OwnTurn::Open { submit_at, failures, .. } = &mut self.own_turn {
            if accepted {
                *failures = 0;
            } else {
                let back_off =
                    FIRST_BACK_OFF.saturating_mul(1 << (*failures).min(16)).min(self.turns.timeout);
                *failures += 1;
                *submit_at = elapsed + back_off;
            }
        }
        actions.extend(self.poll(now, surroundings));
        actions
    }

    /// The application says that the transaction is broadcast. Without an observer that ends the watch.
    pub fn notified(&mut self, now: Time, surroundings: &Surroundings<'_>) -> Vec<Action> {
        let mut actions = Vec::new();
        if self.ended {
            return actions;
        }
        let elapsed = self.stopwatch.elapsed(now);
        if surroundings.observer {
            if self.evidence == Evidence::None {
                self.evidence = Evidence::Submitted;
            }
            self.observe_at = elapsed;
            actions.push(Action::Claim);
        } else {
            self.evidence = Evidence::Notified;
            self.ended = true;
            self.confirmed_reported = true;
            actions.extend([Action::Claim, Action::Confirmed]);
        }
        actions.extend(self.poll(now, surroundings));
        actions
    }

    /// Nothing is under way any more.
    pub fn interrupted(&mut self) {
        self.observing = false;
        self.submitting = false;
    }

    /// Somebody claims to have broadcast: look at the chain now. Nothing else.
    pub fn claimed(&mut self, now: Time) {
        self.look(now);
        if mutation::on(Mutation::ClaimIsEvidence) {
            self.evidence = Evidence::Seen;
        }
        if mutation::on(Mutation::ClaimStartsClock) {
            self.stopwatch = Stopwatch::start(now);
        }
        self.returned |= mutation::on(Mutation::ClaimMakesAsk);
    }

    /// Look at the chain now.
    pub(super) fn look(&mut self, now: Time) {
        let elapsed = self.stopwatch.elapsed(now);
        self.observe_at = self.observe_at.min(elapsed);
    }

    /// After sleep: a turn of its own that opened meanwhile counts as past, and the chain is looked at first.
    pub fn woke(&mut self, now: Time) {
        self.look(now);
        if !matches!(self.own_turn, OwnTurn::Asking { .. }) {
            self.own_turn = OwnTurn::Waiting;
            self.returned = self.own_turn_open();
        }
    }

    /// Opens this node's own turn now, whatever the time.
    pub fn broadcast_now(&mut self, now: Time, surroundings: &Surroundings<'_>) -> Vec<Action> {
        let mut actions = Vec::new();
        if self.ended {
            return actions;
        }
        let elapsed = self.stopwatch.elapsed(now);
        self.asked = true;
        actions.push(Action::ShouldBroadcast);
        if surroundings.broadcaster && !self.submitting {
            self.submitting = true;
            self.submissions = self.submissions.saturating_add(1);
            actions.push(Action::Submit);
        }
        // Its regular turn, if that is still to come, is not put off by this.
        let regular =
            self.own_turn_number.map(|turn| self.turns.start(turn)).filter(|start| *start > elapsed);
        let later = regular.unwrap_or(Duration::MAX).min(elapsed + self.turns.timeout);
        self.own_turn = OwnTurn::Open { submit_at: later, ask_at: later, failures: 0 };
        actions
    }

    /// A session that replaces this one was seen (`pause`), confirmed (`end`), or neither any more. Answers whether
    /// that is to be stored.
    pub fn replacement(&mut self, pause: bool, end: bool) -> bool {
        let ends = end && !self.ended;
        self.replaced = pause;
        self.ended |= end;
        ends
    }
}
