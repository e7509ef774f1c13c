//! S12: certificates that come when a node ended the session long ago, and the word of its own application.

use std::time::Duration;

use libmusig::protocol::event::Event;
use libmusig::protocol::status::Phase;
use libmusig::types::ChainStatus;

use super::{Checker, answers};
use crate::run::{Begun, Run};
use crate::scenario::Mode;

/// Phases of a session that a node ended.
pub(super) fn ended(phase: Phase) -> bool {
    matches!(phase, Phase::Failed | Phase::Aborted | Phase::Declined | Phase::Expired | Phase::Closed)
}

impl Checker {
    /// S12: who aborted or abandoned is asked for nothing and raises no alarm, whatever comes later.
    pub(super) fn aborts_stand(&mut self, run: &Run, begun: &Begun) {
        for node in (0..run.scenario.signers()).filter(|node| run.sound(*node)) {
            let mut aborted = None;
            let abandoned = run.abandoned.contains(&(begun.id, node));
            let resumed = run.meddled.contains(&(begun.id, node));
            for (at, event) in run.cluster.events(node, &begun.id) {
                match event {
                    Event::SessionAborted { by, declined: false, .. } if *by == node => aborted = Some(at),
                    Event::SessionClosed if abandoned => aborted = Some(at),
                    // Its application joins it again.
                    Event::SessionJoined { signer, .. } if abandoned && *signer == node => aborted = None,
                    Event::SessionComplete { aborted_here, .. } if aborted.is_some() => {
                        self.check("S12", *aborted_here || resumed, || {
                            format!("node {node} gave {} up at {aborted:?} and is not told so", begun.id)
                        });
                    }
                    Event::ShouldBroadcast { .. }
                    | Event::CoordinatorFailed { .. }
                    | Event::FailoverExhausted { .. }
                    | Event::NobodyCanBroadcast { .. } => {
                        self.check("S12", aborted.is_none() || resumed, || {
                            format!(
                                "node {node} gave {} up at {aborted:?}, and {event:?} at {at:?}",
                                begun.id
                            )
                        });
                    }
                    _ => {}
                }
            }
        }
    }

    /// S12: nothing is given up by closing: neither a watch that did not end, nor a partial signature that is out.
    pub(super) fn closing_gives_nothing_up(&mut self, run: &Run, begun: &Begun) {
        for node in (0..run.scenario.signers()).filter(|node| run.sound(*node)) {
            if run.abandoned.contains(&(begun.id, node)) || run.meddled.contains(&(begun.id, node)) {
                continue;
            }
            let (mut complete, mut notified) = (false, false);
            for (at, event) in run.cluster.events(node, &begun.id) {
                match event {
                    Event::SessionComplete { .. } => complete = true,
                    Event::BroadcastConfirmed { depth: None, .. } => notified = true,
                    Event::SessionClosed => {
                        let settled = match complete {
                            true => notified || begun.plan.mode == Mode::SignOnly,
                            // One that is joined again after it was closed may sign then.
                            false => run.cluster.partial_left(node, &begun.id).is_none_or(|left| left > at),
                        };
                        self.check("S12", settled || final_by(run, begun, node, at), || {
                            format!("node {node} closed {} at {at:?}, and gave it up", begun.id)
                        });
                    }
                    _ => {}
                }
            }
        }
    }

    /// S12: who ended a session takes the certificate of anybody who holds it and is connected.
    pub fn after_return(&mut self, run: &mut Run) {
        if run.scenario.twin.is_some() {
            return;
        }
        let mut late = Vec::new();
        for begun in run.sessions.clone() {
            let mut holds = false;
            let mut lacking = Vec::new();
            for node in 0..run.scenario.signers() {
                let time = run.cluster.time(node);
                let Some(engine) = run.cluster.nodes[node].engine.as_mut() else { continue };
                let Some(status) = engine.status(&begun.id, time) else { continue };
                let certified = engine.certificate(&begun.id).is_some();
                let settled = status.phase == Phase::Final && begun.plan.mode != Mode::SignOnly;
                holds |= certified && run.honest(node) && !settled && status.phase != Phase::Closed;
                if !certified && ended(status.phase) && status.accepted.contains(&node) && run.sound(node) {
                    lacking.push(node);
                }
            }
            if holds {
                late.extend(lacking.into_iter().map(|node| (node, begun.id)));
            }
        }
        if late.is_empty() {
            return;
        }
        // All lose their connections, and find each other again.
        run.cluster.leap(Duration::from_secs(1));
        run.cluster.run_for(Duration::from_secs(5));
        for (node, session) in late {
            let holds = run.cluster.holds(node, &session);
            self.check("S12", holds, || format!("node {node} takes no late certificate of {session}"));
        }
    }

    /// S12: whose partial signature is out forgets the session only if the chain, or its application, settled it.
    pub(super) fn forgets(&mut self, run: &Run, begun: &Begun, node: usize) {
        if !run.sound(node) {
            return;
        }
        if run.cluster.partial_left(node, &begun.id).is_none() {
            return;
        }
        let known =
            run.cluster.nodes[node].engine.as_ref().is_some_and(|it| it.proposal(&begun.id).is_some());
        let deep = final_by(run, begun, node, run.cluster.now());
        let told = run
            .cluster
            .events(node, &begun.id)
            .any(|(_, event)| matches!(event, Event::BroadcastConfirmed { depth: None, .. }));
        // What only signs is over once all have it, or say so.
        let held = |node: usize| run.cluster.became_holder(node, &begun.id).is_some();
        let mut sound = (0..run.scenario.signers()).filter(|node| run.sound(*node));
        let passed_on = begun.plan.mode == Mode::SignOnly && sound.all(held);
        self.check("S12", known || deep || told || passed_on, || {
            format!("node {node} forgot {}, and its partial signature is out", begun.id)
        });
    }
}

/// Whether a node's own observer had seen the coins spent at the final depth.
fn final_by(run: &Run, begun: &Begun, node: usize, by: Duration) -> bool {
    answers(run, begun, node).iter().filter(|(at, _)| *at <= by).any(|(_, answer)| match answer {
        Some(ChainStatus::Confirmed { confirmations, .. } | ChainStatus::Conflict { confirmations, .. }) => {
            *confirmations >= run.scenario.final_depth
        }
        _ => false,
    })
}
