//! V11: who is asked for signs of life, and what follows if none come. And whose clocks are told.

use std::time::Duration;

use libmusig::protocol::event::Event;
use libmusig::protocol::failover::Evidence;
use test_support::cluster::key;

use super::{Checker, answers, left_alone, pauses, turns_of};
use crate::run::{Begun, Run};

/// How long it takes until nobody waits for a signer any more whose cable is pulled: four seconds, what others told of it on slow
/// links, and until the application is told.
const SILENT: Duration = Duration::from_secs(12);

impl Checker {
    /// V11: signers are asked for signs of life only while a turn approaches.
    pub(super) fn questions(&mut self, run: &mut Run) {
        for node in 0..run.scenario.signers() {
            if run.cluster.nodes[node].asked.is_empty() {
                continue;
            }
            let time = run.cluster.time(node);
            let engine = run.cluster.nodes[node].engine.as_mut();
            let approaches = engine.is_some_and(|engine| {
                let ids: Vec<_> = engine.ids();
                ids.iter().filter_map(|id| engine.status(id, time)?.failover).any(|status| {
                    let open = matches!(status.evidence, Evidence::None | Evidence::Submitted);
                    open && status.until_next_turn.is_some()
                })
            });
            self.check("V11", approaches, || format!("node {node} asks, and no turn approaches"));
        }
    }

    /// V11: a coordinator whose cable is pulled is passed over in seconds, by all that were connected with it.
    pub(super) fn cables(&mut self, run: &Run, begun: &Begun) {
        let Some(turns) = turns_of(run, begun).filter(|turns| turns.count() > 1) else { return };
        let &[coordinator] = turns.signers(0) else { return };
        if run.scenario.twin.is_some() || begun.plan.lock > 0 || !run.honest(coordinator) {
            return;
        }
        for (node, from, until) in &run.pulls {
            let by = *from + SILENT;
            if *node != coordinator || until.is_some_and(|until| until < by) || run.cluster.now() < by {
                continue;
            }
            for other in (0..run.scenario.signers()).filter(|other| other != node) {
                let Some(holder) = run.cluster.became_holder(other, &begun.id) else { continue };
                let waits = holder <= *from && holder + begun.plan.timeout > by;
                let there = |(start, end): &(Duration, Duration)| *start <= holder && *end >= by;
                let watches = run.sound(other)
                    && run.scenario.parts[other].early_turns.gone
                    && left_alone(run, begun, other)
                    && !run.odd_clocks.contains(&other)
                    && run.up(other).iter().any(there);
                let pauses =
                    answers(run, begun, other).iter().any(|(at, answer)| *at <= by && pauses(*answer));
                let key = key(coordinator);
                let mut contacts = run.cluster.contacts.iter().rev();
                let last = contacts.find(|(at, of, with, _)| *of == other && *with == key && at <= from);
                let connected = last.is_some_and(|(.., connected)| *connected);
                if !waits || !watches || pauses || !connected {
                    continue;
                }
                let told = run.cluster.events(other, &begun.id).any(|(at, event)| {
                    at <= by
                        && matches!(event, Event::CoordinatorFailed { failed, .. } if failed.contains(&coordinator))
                });
                self.check("V11", told, || {
                    format!(
                        "node {other} waits for {coordinator} in {}, whose cable was pulled at {from:?}",
                        begun.id
                    )
                });
            }
        }
    }

    /// Whose clock is said to differ, or whose node says so, had one that does.
    pub(super) fn clocks(&mut self, run: &Run) {
        for node in (0..run.scenario.signers()).filter(|node| run.honest(*node)) {
            for (at, event) in run.cluster.nodes[node].events.iter() {
                let Event::ClockSkew { signer, offset, .. } = &event.event else { continue };
                let of = (0..run.scenario.signers()).find(|other| key(*other) == *signer);
                let odd = of.is_some_and(|of| run.odd_clocks.contains(&of)) || run.odd_clocks.contains(&node);
                self.check("clocks", odd, || {
                    format!("node {node} says at {at:?} that the clock of {of:?} is {offset} ms ahead")
                });
            }
        }
    }
}
