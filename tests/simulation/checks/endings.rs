//! V7, V9, V10: sessions that end without a certificate, and that all end.

use std::time::Duration;

use libmusig::error::{Error, ProposalError};
use libmusig::protocol::envelope::{Envelope, Place};
use libmusig::protocol::event::Event;
use libmusig::protocol::limits::{self, UNSTORED_AFTER};
use libmusig::protocol::status::Phase;
use libmusig::protocol::wire::{self, pb};
use libmusig::types::SessionId;

use super::Checker;
use super::late::ended;
use crate::run::{Begun, EXPIRY, Run};

impl Checker {
    /// V7: a provable fault that one honest node knows all others know soon, unless they hold a certificate, or the session
    /// expired by their calendar: then it may be forgotten. Who is two attempts further takes nothing of the old one.
    pub(super) fn proofs_spread(&mut self, run: &mut Run, begun: &Begun) {
        let n = run.scenario.signers();
        let honest: Vec<usize> = (0..n).filter(|node| run.sound(*node)).collect();
        let attempts: Vec<u32> = (0..n).map(|node| run.attempt(begun, node)).collect();
        let when = |node: usize, wanted: &dyn Fn(&Event) -> bool| {
            run.cluster.events(node, &begun.id).find(|(_, event)| wanted(event)).map(|(at, _)| at)
        };
        let failed = |node: usize| when(node, &|event| matches!(event, Event::SessionFailed { .. }));
        let Some((first, at)) =
            honest.iter().filter_map(|node| Some((*node, failed(*node)?))).min_by_key(|one| one.1)
        else {
            return;
        };
        // Two deliveries, each with its commit; and time for what was slow before to arrive.
        let scenario = &run.scenario;
        let from = at.saturating_sub(Duration::from_secs(4));
        // Where some are not connected, what a proof rests on may be a hop behind, and is asked for.
        let whole = (0..n).all(|one| (one + 1..n).all(|other| run.linked(one, other, from, at)));
        let deliveries = if whole { 2 } else { 4 };
        let by = at
            + (scenario.delay + scenario.jitter) * deliveries
            + scenario.sync * 4
            + Duration::from_millis(10);
        // Those with a calendar that is right may have forgotten it.
        if begun.plan.expires <= by + Duration::from_secs(2) {
            return;
        }
        // What it holds of its own words it says when they are stored.
        if !run.always_stores(first) {
            return;
        }
        let last = |node: usize| if run.always_stores(node) { by } else { by + UNSTORED_AFTER };
        let steady =
            |node: usize| run.up(node).iter().any(|(since, until)| *since <= from && last(node) < *until);
        for other in honest.into_iter().filter(|other| *other != first && !run.odd_clocks.contains(other)) {
            let knew =
                when(other, &|event| matches!(event, Event::SessionProposed { .. } | Event::SessionCreated));
            let close = steady(first) && steady(other) && run.linked(first, other, from, by);
            if !close || knew.is_none_or(|knew| knew > at) {
                continue;
            }
            // Of what it declined it remembers that alone.
            let declines = |event: &Event| matches!(event, Event::SessionAborted { by, declined: true, .. } if *by == other);
            if when(other, &declines).is_some_and(|declined| declined <= at) {
                continue;
            }
            let over = when(other, &|event| {
                matches!(
                    event,
                    Event::SessionFailed { .. }
                        | Event::SessionComplete { .. }
                        | Event::SessionExpired { .. }
                        | Event::SessionClosed
                )
            });
            if proven_attempt(run, begun, first).is_some_and(|proven| attempts[other] > proven + 1) {
                continue;
            }
            let by = last(other);
            // That it ended the session itself it is told when that is stored.
            let closed = when(other, &|event| matches!(event, Event::SessionClosed));
            if !run.always_stores(other) && (over.is_none() || over == closed) {
                continue;
            }
            self.check("V7", over.is_some_and(|over| over <= by), || {
                format!("node {first} has a proof at {at:?}, node {other} knows it at {over:?}, not {by:?}")
            });
        }
    }

    /// V9: who withholds from everybody is missing, and nothing is complete without it.
    pub(super) fn withholders(&mut self, run: &mut Run, begun: &Begun) {
        let n = run.scenario.signers();
        for node in (0..n).filter(|node| run.honest(*node)) {
            for (_, event) in run.cluster.events(node, &begun.id) {
                if let Event::SessionStalled { missing, .. } = event {
                    self.check("V9", !missing.is_empty(), || format!("node {node} waits for nobody"));
                }
            }
        }
        let withholds = |node: &usize| {
            run.scenario.parts[*node].byzantine.as_ref().is_some_and(|byzantine| {
                let what = byzantine.withholds.contains(&"nonces")
                    || byzantine.withholds.contains(&"partial") && byzantine.hides_certificates;
                let mut others = byzantine.targets.iter().enumerate().filter(|(target, _)| target != node);
                what && others.all(|(_, target)| *target)
            })
        };
        let withholders: Vec<usize> = (0..n).filter(withholds).collect();
        if withholders.is_empty() || run.scenario.twin.is_some() || run.attacked {
            return;
        }
        let sound: Vec<usize> = (0..n).filter(|node| run.sound(*node)).collect();
        let ended = |event: &Event| matches!(event, Event::SessionExpired { .. });
        let expired = (0..n).any(|node| run.cluster.events(node, &begun.id).any(|(_, event)| ended(event)));
        for node in sound {
            let time = run.cluster.time(node);
            let Some(engine) = run.cluster.nodes[node].engine.as_mut() else { continue };
            let Some(status) = engine.status(&begun.id, time) else { continue };
            self.check("V9", engine.certificate(&begun.id).is_none(), || {
                format!("node {node} is complete without {withholders:?}")
            });
            let waits = matches!(status.phase, Phase::Joined | Phase::Signing);
            // Who waits for consent waits for that first; who closed, lost its nonces too often, or was told by its calendar
            // that the session expired, is missing too.
            let disturbed = !run.deaths.is_empty() || run.stopped || expired;
            let undisturbed = !disturbed && status.accepted.len() == n;
            if waits && undisturbed {
                let named = withholders.iter().any(|signer| status.missing.contains(signer));
                let wronged = status.missing.iter().any(|signer| run.sound(*signer));
                self.check("V9", named && !wronged, || {
                    format!("node {node}: missing are {withholders:?}, not {:?}", status.missing)
                });
            }
        }
    }

    /// What the promises rest on: where nothing prevents it, a session completes, and all get the certificate.
    pub(super) fn completion(&mut self, run: &mut Run, begun: &Begun) {
        let n = run.scenario.signers();
        let statuses: Vec<_> = (0..n)
            .map(|node| {
                let time = run.cluster.time(node);
                run.cluster.nodes[node].engine.as_mut()?.status(&begun.id, time)
            })
            .collect();
        let holders: Vec<usize> =
            (0..n).filter(|node| run.honest(*node) && run.cluster.holds(*node, &begun.id)).collect();
        let closed =
            |node: usize| statuses[node].as_ref().is_some_and(|status| status.phase == Phase::Closed);
        let joined =
            |node: usize| statuses[node].as_ref().is_some_and(|status| status.accepted.contains(&node));
        // Those that ended it ask ever more rarely: S12 waits longer for them.
        let over = |node: usize| statuses[node].as_ref().is_some_and(|status| ended(status.phase));
        if holders.iter().any(|node| !closed(*node)) {
            for node in (0..n).filter(|node| run.honest(*node) && joined(*node) && !over(*node)) {
                self.check("spread", holders.contains(&node), || {
                    format!("node {node} never gets the certificate: {:?}", statuses[node])
                });
            }
        }
        let undisturbed =
            (0..n).all(|node| run.sound(node) && run.deaths.get(&node).is_none_or(|died| *died <= 3));
        let long = begun.plan.expires == EXPIRY && run.odd_clocks.is_empty();
        let wanted = run.all_consent() && !run.stopped && !run.attacked && run.scenario.twin.is_none();
        // Nobody consents to spend what is spent, be it by the session that replaces this one.
        let replaced = run.sessions.iter().any(|other| other.replaces == Some(begun.id));
        // Nor does who does not know one in between, or forgot it when it expired, know that its own transaction is what
        // this one replaces.
        let before = |id| run.sessions.iter().find(|other| other.id == id);
        let between =
            std::iter::successors(begun.replaces.and_then(before), |one| one.replaces.and_then(before))
                .filter(|one| one.replaces.is_some());
        let learnt = |node: usize, id: &SessionId| {
            let told = |event: &Event| matches!(event, Event::SessionProposed { .. } | Event::SessionCreated);
            run.cluster.events(node, id).find(|(_, event)| told(event)).map(|(at, _)| at)
        };
        let strange = |one: &Begun| {
            let late = |node: usize| {
                learnt(node, &one.id).is_none_or(|at| learnt(node, &begun.id).is_some_and(|then| then < at))
            };
            one.plan.expires != EXPIRY || (0..n).any(late)
        };
        let unknown = between.into_iter().any(strange);
        let wanted = wanted && !run.conflict && !replaced && !unknown;
        if undisturbed && long && wanted && statuses.iter().all(Option::is_some) {
            self.check("completes", holders.len() == n, || format!("only {holders:?}: {statuses:?}"));
        }
    }

    /// V10: whose clock is beyond a proposal's expiry, or too far before it, says so to its application, once, and nobody
    /// else does.
    fn refuses(&mut self, run: &Run) {
        for (session, expires_at) in &run.expiring {
            for node in (0..run.cluster.nodes.len()).filter(|node| run.honest(*node)) {
                let mut refusals = 0;
                for (at, event) in run.cluster.events(node, session) {
                    let Event::ProposalRefused { error, .. } = event else { continue };
                    refusals += 1;
                    let right = match error {
                        Error::Proposal(ProposalError::Expiry { now, .. }) => {
                            let latest = now.saturating_add(limits::EXPIRY + limits::CLOCK_ERROR);
                            now >= expires_at || *expires_at > latest
                        }
                        _ => true,
                    };
                    self.check("V10", right, || format!("node {node} refuses {session} at {at:?}: {error}"));
                }
                let again = refusals > 1 && !run.deaths.contains_key(&node);
                self.check("V10", !again, || format!("node {node} reports {refusals} times of {session}"));
            }
        }
    }

    /// V10: every session ends, and every application that was told of it is told how.
    pub fn after_expiry(&mut self, run: &mut Run) {
        assert!(run.cluster.now() > EXPIRY);
        self.refuses(run);
        for begun in run.sessions.clone() {
            for node in 0..run.cluster.nodes.len() {
                self.forgets(run, &begun, node);
                let time = run.cluster.time(node);
                let Some(engine) = run.cluster.nodes[node].engine.as_mut() else { continue };
                if let Some(status) = engine.status(&begun.id, time) {
                    let ended = !matches!(status.phase, Phase::Proposed | Phase::Joined | Phase::Signing);
                    self.check("V10", ended, || format!("node {node}: {status:?}"));
                }
                if run.sound(node) {
                    let mut known = false;
                    let mut told = false;
                    for (_, event) in run.cluster.events(node, &begun.id) {
                        known |= matches!(event, Event::SessionProposed { .. } | Event::SessionCreated);
                        told |= matches!(
                            event,
                            Event::SessionComplete { .. }
                                | Event::SessionFailed { .. }
                                | Event::SessionAborted { .. }
                                | Event::SessionExpired { .. }
                                | Event::SessionClosed
                        );
                    }
                    // A proposal is not synced until it is answered: a crash may take it away.
                    let kept = !run.deaths.contains_key(&node);
                    self.check("V10", told || !known || !kept, || {
                        format!("node {node} is not told how {} ends", begun.id)
                    });
                }
            }
        }
    }
}

/// The attempt of which a node holds proofs, when it knows of a fault. `None`: also of a fault that shows in any attempt.
fn proven_attempt(run: &Run, begun: &Begun, node: usize) -> Option<u32> {
    let proofs = run.cluster.events(node, &begun.id).find_map(|(_, event)| match event {
        Event::SessionFailed { proofs, .. } => Some(proofs),
        _ => None,
    })?;
    let proposal = run.cluster.nodes[node].engine.as_ref()?.proposal(&begun.id)?;
    let attempts = proofs.iter().map(|proof| {
        let envelope = match wire::decode::<pb::Proof>(proof, "a proof").expect("it was told").kind? {
            pb::proof::Kind::Equivocation(two) => two.first,
            pb::proof::Kind::BadPartial(bad) => bad.partial,
            pb::proof::Kind::BadContent(bad) => bad.envelope,
        };
        let envelope = Envelope::decode(&envelope).expect("it was taken");
        match envelope.place().filter(|_| envelope.content_allowed(&proposal))? {
            Place::Nonces(attempt) | Place::Partial(attempt) => Some(attempt),
        }
    });
    attempts.collect::<Option<Vec<_>>>()?.into_iter().max()
}
