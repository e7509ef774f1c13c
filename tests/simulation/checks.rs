//! The promises of the design, checked after a run.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use libmusig::protocol::engine::Engine;
use libmusig::protocol::envelope::{Envelope, Proof};
use libmusig::protocol::event::Event;
use libmusig::protocol::scheme::Scheme;
use libmusig::protocol::status::{Phase, SessionStatus};
use libmusig::protocol::wire::{self, pb};
use libmusig::protocol::{Settings, Time};

use crate::run::{Begun, EXPIRY, Run};
use crate::simulated::cluster::EPOCH;
use crate::simulated::double::{Double, DoubleCodec};

/// A broken promise.
#[derive(Clone, Debug)]
pub struct Violation {
    pub rule: &'static str,
    pub what: String,
}

/// What was found.
#[derive(Default)]
pub struct Checker {
    pub violations: Vec<Violation>,
    pub checks: u64,
    /// Sessions that V2 speaks of, and how many of them had exactly one submission.
    pub calm: (u64, u64),
}

impl Checker {
    fn check(&mut self, rule: &'static str, holds: bool, what: impl FnOnce() -> String) {
        self.checks += 1;
        if !holds {
            self.violations.push(Violation { rule, what: what() });
        }
    }

    /// Before expiry, when everything had time to happen.
    pub fn after_settling(&mut self, run: &mut Run) {
        self.signing(run);
        for begun in run.sessions.clone() {
            self.beliefs(run, &begun);
            self.broadcast(run, &begun);
            self.any_order(run, &begun);
        }
    }

    fn signing(&mut self, run: &Run) {
        let cluster = &run.cluster;
        let reused = cluster.nonces.lock().expect("no panic").reused.clone();
        self.check("S1", reused.is_empty(), || format!("nonces of {reused:?} served two challenges"));
        for (key, session) in &cluster.equivocated {
            let node = cluster.nodes.iter().position(|node| node.key == *key).expect("a node");
            let excused = run.rolled_back.contains(&node) || !run.honest(node);
            self.check("S2", excused, || format!("node {node} said two things at one place in {session}"));
        }
        self.check("S7", cluster.unasked.is_empty(), || format!("signed unasked: {:?}", cluster.unasked));
    }

    fn beliefs(&mut self, run: &mut Run, begun: &Begun) {
        let n = run.cluster.nodes.len();
        let mut lists = Vec::new();
        for node in 0..n {
            let cluster = &run.cluster;
            let Some(engine) = &cluster.nodes[node].engine else { continue };
            let Some(election) = engine.election(&begun.id) else { continue };
            lists.push(election.priority_list.clone());
            if let Some(certificate) = engine.certificate(&begun.id) {
                let proposal = engine.proposal(&begun.id).expect("it is known");
                let keys = Double.aggregate_keys(&proposal).expect("a double");
                self.check("S3", keys.verify_signatures(&certificate.signatures), || {
                    format!("node {node} holds a false certificate of {}", begun.id)
                });
            }
            if !run.honest(node) {
                continue;
            }
            for (_, event) in cluster.events(node, &begun.id) {
                self.event(run, begun, node, event);
            }
            if !run.deaths.contains_key(&node) && !run.rolled_back.contains(&node) {
                self.alarms(run, begun, node);
            }
        }
        let permutation = lists.first().is_none_or(|list| {
            let mut sorted = list.clone();
            sorted.sort_unstable();
            sorted == (0..n).collect::<Vec<_>>()
        });
        let same = lists.windows(2).all(|pair| pair[0] == pair[1]);
        self.check("S6", permutation && same, || format!("priority lists: {lists:?}"));
    }

    fn event(&mut self, run: &Run, begun: &Begun, node: usize, event: &Event) {
        match event {
            Event::SessionFailed { culprits, proofs, .. } => {
                for culprit in culprits {
                    let guilty = !run.honest(*culprit) || run.rolled_back.contains(culprit);
                    self.check("S4", guilty, || format!("node {node} convicts honest {culprit}"));
                }
                self.check("S4", !proofs.is_empty(), || format!("node {node}: no proof"));
                for proof in proofs {
                    let verdict = Proof::verify(&Double, proof);
                    let fits = verdict.is_ok_and(|culprit| culprits.contains(&culprit.signer));
                    self.check("S4", fits, || format!("node {node}: a proof that proves nothing"));
                }
            }
            Event::BroadcastSeen { txid } => {
                let seen = run.cluster.chain.ever.contains(txid);
                self.check("S5", seen, || format!("node {node} sees what never was: {txid}"));
            }
            Event::BroadcastConfirmed { depth, .. } => {
                let seen = run.cluster.chain.ever.contains(&begun.txid);
                self.check("S5", seen, || format!("node {node} confirms what never was ({depth:?})"));
            }
            Event::KeyInUseElsewhere => {
                self.check("S4", run.rolled_back.contains(&node), || {
                    format!("node {node} takes its own words for another's")
                });
            }
            Event::SessionStalled { missing, .. } => {
                self.check("V9", !missing.is_empty(), || format!("node {node} waits for nobody"));
            }
            _ => {}
        }
    }

    /// V8: in each watch one alarm at most, and not before the node itself was asked.
    fn alarms(&mut self, run: &Run, begun: &Begun, node: usize) {
        let (mut alarms, mut asked) = (0, false);
        let own_turn = begun.plan.enabled;
        for (_, event) in run.cluster.events(node, &begun.id) {
            match event {
                Event::BroadcastLost { .. } => (alarms, asked) = (0, false),
                Event::ShouldBroadcast { .. } => asked = true,
                Event::FailoverExhausted { .. } => {
                    alarms += 1;
                    self.check("V8", alarms == 1, || format!("node {node}: {alarms} alarms in a watch"));
                    self.check("V8", asked || !own_turn, || {
                        format!("node {node}: alarm before its own turn")
                    });
                }
                _ => {}
            }
        }
    }

    fn broadcast(&mut self, run: &mut Run, begun: &Begun) {
        let n = run.cluster.nodes.len();
        let plan = &begun.plan;
        let statuses: Vec<Option<SessionStatus>> = (0..n)
            .map(|node| {
                let time = run.cluster.time(node);
                run.cluster.nodes[node].engine.as_mut()?.status(&begun.id, time)
            })
            .collect();
        let holders: Vec<usize> =
            (0..n).filter(|node| run.honest(*node) && run.cluster.holds(*node, &begun.id)).collect();
        let closed =
            |node: usize| statuses[node].as_ref().is_some_and(|status| status.phase == Phase::Closed);
        let open_holder = holders.iter().any(|node| !closed(*node));
        let joined = |node: usize| {
            statuses[node]
                .as_ref()
                .is_some_and(|status| status.accepted.contains(&node) && status.phase != Phase::Closed)
        };
        if open_holder {
            for node in (0..n).filter(|node| run.honest(*node) && joined(*node)) {
                self.check("spread", holders.contains(&node), || {
                    format!("node {node} never gets the certificate: {:?}", statuses[node])
                });
            }
        }
        // Somebody who is asked, and does it.
        let does = |node: usize| {
            let part = &run.scenario.parts[node];
            let alone = part.broadcaster && !plan.raw;
            alone
                || matches!(
                    part.duty,
                    crate::simulated::cluster::Duty::Submits
                        | crate::simulated::cluster::Duty::SubmitsQuietly
                )
        };
        let able = holders.iter().any(|node| does(*node) && !closed(*node) && joined(*node));
        let replaced = run.sessions.iter().any(|other| other.plan.replaces);
        if able && plan.enabled && !run.conflict && !replaced {
            let holds_at = |node: &usize| run.cluster.became_holder(*node, &begun.id);
            let able_at = holders.iter().filter(|node| does(**node)).filter_map(holds_at).min();
            let turns = statuses.len() as u32;
            // After its return a node may ask its observer for 5 s; the rest is for what it asks and who reacts.
            let slack = Duration::from_secs(7) + run.cluster.options.chain * 2;
            let by = able_at.unwrap_or_default().max(run.scenario.heals_at) + plan.timeout * turns + slack;
            let mut submissions = run.cluster.chain.submissions.iter();
            let first = submissions.find(|one| one.txid == begun.txid).map(|one| one.at);
            self.check("V1", first.is_some_and(|at| at <= by), || {
                format!("{} broadcast at {first:?}, not by {by:?}: {statuses:?}", begun.id)
            });
            // Who has an observer, and has not stopped looking, puts it there again.
            let looks = |node: &usize| {
                let watches = statuses[*node].as_ref().is_some_and(|status| status.phase == Phase::Watching);
                run.scenario.parts[*node].observer && !plan.raw && does(*node) && watches
            };
            let known = run.cluster.chain.knows(&begun.txid) || !holders.iter().any(looks);
            self.check("V5", known, || format!("{} is not there any more", begun.id));
        }
        let undisturbed =
            (0..n).all(|node| run.honest(node) && run.deaths.get(&node).is_none_or(|died| *died <= 3));
        if undisturbed && !run.stopped && run.rolled_back.is_empty() && statuses.iter().all(Option::is_some) {
            self.check("completes", holders.len() == n, || format!("only {holders:?}: {statuses:?}"));
        }
        if run.scenario.calm {
            let times = run.cluster.chain.submissions.iter().filter(|one| one.txid == begun.txid).count();
            self.calm.0 += 1;
            self.calm.1 += u64::from(times == 1);
        }
    }

    /// S10: what a node believes does not depend on the order in which it heard.
    fn any_order(&mut self, run: &mut Run, begun: &Begun) {
        let n = run.cluster.nodes.len();
        let node = run.cluster.random.below(n as u64) as usize;
        let reader = run.cluster.random.below(n as u64) as usize;
        let Some(exported) = run.cluster.nodes[node].engine.as_ref().and_then(|e| e.export(&begun.id)) else {
            return;
        };
        let frame: pb::Frame = wire::decode(&exported, "an export").expect("a frame");
        // If somebody said two things, the signatures may or may not be complete before the second comes. Then they
        // are stronger than the proof, and reach everybody as a certificate.
        let mut places = BTreeSet::new();
        for bytes in &frame.envelopes {
            let envelope = Envelope::decode(bytes).expect("it was stored");
            if envelope.place().is_some_and(|place| !places.insert((place, envelope.body().signer))) {
                return;
            }
        }
        let beliefs: Vec<_> = (0..2)
            .map(|_| {
                let mut envelopes = frame.envelopes.clone();
                for last in (1..envelopes.len()).rev() {
                    envelopes.swap(last, run.cluster.random.below(last as u64 + 1) as usize);
                }
                let key = run.cluster.nodes[reader].key;
                let mut engine =
                    Engine::new(key, Settings::default(), Arc::new(Double), Arc::new(DoubleCodec));
                let now = Time { wall: EPOCH, monotonic: Duration::ZERO };
                // More than once: an envelope may come before the one that it needs.
                for _ in 0..4 {
                    for envelope in &envelopes {
                        let part = pb::Frame { envelopes: vec![envelope.clone()], ..pb::Frame::default() };
                        let _ = engine.import(&wire::encode(&part), now);
                    }
                }
                let mut status = engine.status(&begun.id, now);
                // The watch began with the last that was missing, at the same time.
                if let Some(failover) = status.as_mut().and_then(|status| status.failover.as_mut()) {
                    failover.until_next_turn = None;
                }
                status
            })
            .collect();
        self.check("S10", beliefs[0] == beliefs[1], || format!("{beliefs:?}"));
    }

    /// After the transactions are deep in the chain: every watch with an observer ends.
    pub fn after_blocks(&mut self, run: &mut Run) {
        for begun in run.sessions.clone() {
            if begun.plan.raw {
                continue;
            }
            let deep = run.cluster.chain.knows(&begun.txid) || run.cluster.chain.conflicted(&begun.txid);
            for node in 0..run.cluster.nodes.len() {
                let holds = run.honest(node) && run.cluster.holds(node, &begun.id);
                if holds && run.scenario.parts[node].observer && deep {
                    let phase = run.cluster.status(node, &begun.id).phase;
                    let over = matches!(phase, Phase::Final | Phase::Closed);
                    self.check("V5", over, || format!("node {node} still watches {}: {phase:?}", begun.id));
                }
            }
        }
    }

    /// V10: every session ends.
    pub fn after_expiry(&mut self, run: &mut Run) {
        assert!(run.cluster.now() > EXPIRY);
        for begun in run.sessions.clone() {
            for node in 0..run.cluster.nodes.len() {
                let time = run.cluster.time(node);
                let Some(engine) = run.cluster.nodes[node].engine.as_mut() else { continue };
                let Some(status) = engine.status(&begun.id, time) else { continue };
                let ended = !matches!(status.phase, Phase::Proposed | Phase::Joined | Phase::Signing);
                self.check("V10", ended, || format!("node {node}: {status:?}"));
            }
        }
    }
}
