//! Counters: what each engine counted is what its node did, number by number, in each of its lives.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use libmusig::protocol::counters::Counters;
use libmusig::protocol::engine::Engine;
use libmusig::types::ChainStatus;
use test_support::cluster::{Ledger, key};

use super::broadcast::slack;
use super::{Checker, answers, left_alone, pauses, turns_of};
use crate::run::Run;

impl Checker {
    /// Compares all lives of all nodes, those of liars too: what their engines count is true all the same.
    pub(super) fn counters(&mut self, run: &Run) {
        let cluster = &run.cluster;
        for (node, counters, ledger) in &cluster.past {
            self.life(*node, counters, ledger);
        }
        for (node, state) in cluster.nodes.iter().enumerate() {
            // A twin has no part of its own in the scenario.
            if node < run.scenario.signers() {
                self.failures(run, node);
            }
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

    /// Who counts as failed let its whole timeout pass before the node's own observer saw the transaction, once for each
    /// session, whatever the node does between; and where nothing disturbed its watch, all who did that count.
    fn failures(&mut self, run: &Run, node: usize) {
        let past = run.cluster.past.iter().filter(|(of, ..)| *of == node).map(|(_, counters, _)| counters);
        let lives: Vec<_> =
            past.chain(run.cluster.nodes[node].engine.as_ref().map(Engine::counters)).collect();
        let mut bounds = vec![(0, 0); run.scenario.signers()];
        for begun in &run.sessions {
            let (Some(turns), answers) = (turns_of(run, begun), answers(run, begun, node)) else { continue };
            let there = |answer| matches!(answer, Some(ChainStatus::Seen | ChainStatus::Confirmed { .. }));
            // Who ended the session looked at the chain before it had the certificate too.
            let holder = run.cluster.became_holder(node, &begun.id);
            let watched = |at: Duration| holder.is_none_or(|holder| holder <= at);
            let first = answers.iter().position(|(at, answer)| there(*answer) && watched(*at));
            let Some(first) = first else { continue };
            let seen = answers[first].0;
            let absent = answers[..first].iter().rfind(|(_, answer)| *answer == Some(ChainStatus::Unknown));
            let undisturbed = holder.is_some_and(|holder| {
                run.sound(node)
                    && left_alone(run, begun, node)
                    && begun.plan.lock == 0
                    && run.up(node).iter().any(|(from, until)| *from <= holder && seen <= *until)
            });
            // What a node saw before it died it may see for the first time once more.
            let odd = run.odd_clocks.contains(&node) || run.deaths.contains_key(&node);
            // The last look at the chain is a little before the end of a turn.
            let early = slack(run, node) + (turns.timeout() / 10).min(Duration::from_secs(2));
            for turn in 0..turns.count() {
                let over = holder.map(|holder| holder + turns.start(turn + 1));
                let surely = absent.zip(over).is_some_and(|((absent, _), over)| *absent >= over);
                for signer in turns.signers(turn).iter().filter(|signer| **signer != node) {
                    let (least, most) = &mut bounds[*signer];
                    *least += u64::from(undisturbed && !odd && surely);
                    *most += u64::from(odd || over.is_none_or(|over| seen + early >= over));
                }
            }
        }
        for (signer, (least, most)) in bounds.into_iter().enumerate() {
            let name = Counters::name(&key(signer));
            let of = |counters: &&Counters| counters.signers().find(|(other, _)| *other == name);
            let counted = lives.iter().filter_map(of).map(|(_, counted)| counted.failures).sum::<u64>();
            // A disk that went back counts again what it counted before, and so may who died before that was stored.
            let times = if run.deaths.contains_key(&node) { lives.len() as u64 } else { 1 };
            let once = counted <= most * times || run.impaired.contains(&node);
            self.check("counters", least <= counted && once, || {
                format!("node {node} counts {counted} failures of {signer}, and saw {least} to {most}")
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
    }
    numbers
}
