//! The promises of the design, by name, checked during and after a run. docs/simulation.md says what exactly each
//! check demands.

use std::collections::BTreeMap;
use std::time::Duration;

use libmusig::protocol::election::priority_list;
use libmusig::protocol::event::Event;
use libmusig::protocol::failover::Turns;
use libmusig::types::ChainStatus;

use crate::run::{Begun, Run};
use crate::scenario::Mode;
use test_support::cluster::{Duty, key};

mod asked;
mod broadcast;
mod counters;
mod doubt;
mod early;
mod endings;
mod keys;
mod late;
mod memory;
mod safety;

pub use doubt::without_a_message;

/// All promises.
pub const RULES: [&str; 25] = [
    "S1", "S2", "S3", "S4", "S5", "S6", "S7", "S8", "S9", "S10", "S11", "S12", "S13", "S14", "V1", "V2",
    "V3", "V4", "V5", "V6", "V7", "V8", "V9", "V10", "counters",
];

/// A broken promise.
#[derive(Clone, Debug)]
pub struct Violation {
    pub rule: &'static str,
    pub what: String,
}

/// What was found.
#[derive(Clone, Debug, Default)]
pub struct Checker {
    pub violations: Vec<Violation>,
    /// How often each promise was checked.
    pub checks: BTreeMap<&'static str, u64>,
    /// Sessions that V2 speaks of, and how many of them had exactly one submission.
    pub calm: (u64, u64),
}

impl Checker {
    fn check(&mut self, rule: &'static str, holds: bool, what: impl FnOnce() -> String) {
        *self.checks.entry(rule).or_default() += 1;
        if !holds {
            self.violations.push(Violation { rule, what: what() });
        }
    }

    /// Before expiry, when everything had time to happen.
    pub fn after_settling(&mut self, run: &mut Run) {
        for rule in ["S5", "S8", "S13"] {
            *self.checks.entry(rule).or_default() += run.samples;
        }
        let broken = std::mem::take(&mut run.broken);
        self.violations.extend(broken.into_iter().map(|(rule, what)| Violation { rule, what }));
        self.signing(run);
        self.work(run);
        self.counters(run);
        self.keys(run);
        self.clocks(run);
        self.questions(run);
        for begun in run.sessions.clone() {
            self.beliefs(run, &begun);
            self.any_order(run, &begun);
            self.modes(run, &begun);
            self.early_turns(run, &begun);
            self.cables(run, &begun);
            self.turns(run, &begun);
            self.watches(run, &begun);
            self.proofs_spread(run, &begun);
            self.withholders(run, &begun);
            self.completion(run, &begun);
            self.aborts_stand(run, &begun);
            self.closing_gives_nothing_up(run, &begun);
        }
    }
}

/// The signers' turns in a session. `None`: it only signs.
fn turns_of(run: &Run, begun: &Begun) -> Option<Turns> {
    let keys: Vec<_> = (0..run.scenario.signers()).map(key).collect();
    let list = priority_list(&keys, begun.plan.method, &begun.id).expect("there are signers");
    (begun.plan.mode != Mode::SignOnly).then(|| Turns::new(&list, &begun.plan.broadcast()))?
}

/// Whether a node submits when it is asked to.
fn does(run: &Run, begun: &Begun, node: usize) -> bool {
    let part = &run.scenario.parts[node];
    let alone = part.broadcaster && !begun.plan.raw;
    run.sound(node) && (alone || matches!(part.duty, Duty::Submits | Duty::SubmitsQuietly))
}

/// Whether it can ask an observer about this session.
fn looks(run: &Run, begun: &Begun, node: usize) -> bool {
    run.scenario.parts[node].observer && !begun.plan.raw
}

/// Whether the session's watch at a node was changed by its application, by another session or by a conflict.
fn left_alone(run: &Run, begun: &Begun, node: usize) -> bool {
    let closed = run.cluster.events(node, &begun.id).any(|(_, event)| matches!(event, Event::SessionClosed));
    let notified = run
        .cluster
        .events(node, &begun.id)
        .any(|(_, event)| matches!(event, Event::BroadcastConfirmed { depth: None, .. }));
    let replaced = run.sessions.iter().any(|other| other.plan.replaces);
    let stopped = [&run.meddled, &run.aborted, &run.closed, &run.abandoned]
        .iter()
        .any(|applications| applications.contains(&(begun.id, node)));
    !closed && !notified && !replaced && !run.conflict && !stopped
}

/// Whether an observer's answer makes its node wait.
fn pauses(answer: Option<ChainStatus>) -> bool {
    answer.is_some_and(|status| status != ChainStatus::Unknown)
}

/// What the own observer answered.
fn answers<'a>(run: &'a Run, begun: &Begun, node: usize) -> &'a [(Duration, Option<ChainStatus>)] {
    run.cluster.answers.get(&(node, begun.id)).map_or(&[], Vec::as_slice)
}
