//! Counters: what each engine counted is what its node did, number by number, in each of its lives.

use std::collections::{BTreeMap, BTreeSet};

use libmusig::protocol::counters::Counters;
use libmusig::protocol::engine::Engine;
use test_support::cluster::Ledger;

use super::{Checker, pauses};
use crate::run::Run;

impl Checker {
    /// Compares all lives of all nodes, those of liars too: what their engines count is true all the same.
    pub(super) fn counters(&mut self, run: &Run) {
        let cluster = &run.cluster;
        for (node, counters, ledger) in &cluster.past {
            self.life(*node, counters, ledger);
        }
        for (node, state) in cluster.nodes.iter().enumerate() {
            let Some(engine) = &state.engine else { continue };
            self.life(node, engine.counters(), &state.ledger);
            self.records(run, node, engine);
            let (turns, early) = (engine.counters().turns, state.settings.early_turns);
            let (gone, lacks) = (turns.gone == 0 || early.gone, turns.not_holding == 0 || early.hold);
            let pace = turns.pace == 0 || early.pace;
            self.check("counters", gone && lacks && pace, || {
                format!("node {node} counts {turns:?}, and opens turns early for {early:?}")
            });
        }
    }

    /// What a node remembers of others follows from what its own observer saw, once for each session.
    fn records(&mut self, run: &Run, node: usize, engine: &Engine) {
        let answers = run.cluster.answers.iter().filter(|((of, _), _)| *of == node);
        let seen = answers.filter(|(_, answers)| answers.iter().any(|(_, answer)| pauses(*answer))).count();
        for signer in engine.judged_signers() {
            let record = engine.reputation(signer, run.cluster.time(node));
            let verdicts = record.successes + record.failures;
            self.check("counters", verdicts <= seen as f64, || {
                format!("node {node} judged {signer} {verdicts} times, and saw {seen} transactions")
            });
        }
    }

    fn life(&mut self, node: usize, counters: &Counters, ledger: &Ledger) {
        let (counted, noted) = (numbers(counters), ledger.numbers());
        let names: BTreeSet<&String> = counted.keys().chain(noted.keys()).collect();
        for name in names {
            let of = |numbers: &BTreeMap<String, u64>| numbers.get(name).copied().unwrap_or_default();
            let (counted, noted) = (of(&counted), of(&noted));
            self.check("counters", counted == noted, || {
                format!("node {node} counts {counted} {name}, and had {noted}")
            });
        }
    }
}

/// Counters by the names of a [`Ledger`].
fn numbers(counters: &Counters) -> BTreeMap<String, u64> {
    let (ended, turns, submissions) = (counters.ended, counters.turns, counters.submissions);
    let others = counters.others();
    let mut numbers: BTreeMap<String, u64> = [
        ("proposed", counters.proposed),
        ("received", counters.received),
        ("completed", counters.completed),
        ("final", ended.confirmed + ended.conflicted + ended.notified),
        ("failed", ended.failed),
        ("aborted", ended.aborted),
        ("declined", ended.declined),
        ("expired", ended.expired),
        ("closed", ended.closed),
        ("stalls", counters.stalls),
        ("restarts", counters.restarts),
        ("failovers", counters.failovers),
        (
            "turns",
            turns.timeout
                + turns.nack
                + turns.rejected
                + turns.gone
                + turns.not_holding
                + turns.pace
                + turns.guilty,
        ),
        ("own turns", counters.own_turns),
        ("exhaustions", counters.exhaustions),
        ("accepted", submissions.accepted),
        ("rejected", submissions.rejected),
        ("not final", submissions.not_final),
        ("unreachable", submissions.unreachable),
        ("of signers without a name", others.broadcasts + others.failures),
    ]
    .map(|(name, number)| (name.to_owned(), number))
    .into();
    for (signer, counted) in counters.signers() {
        let name: String = signer.iter().map(|byte| format!("{byte:02x}")).collect();
        numbers.insert(format!("broadcasts of {name}"), counted.broadcasts);
        numbers.insert(format!("failures of {name}"), counted.failures);
    }
    numbers
}
