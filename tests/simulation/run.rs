//! Carries a scenario out.

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};
use std::rc::Rc;
use std::time::Duration;

use libmusig::protocol::Settings;
use libmusig::protocol::envelope::{Body, Content};
use libmusig::protocol::proposal::FailoverPolicy;
use libmusig::types::{SessionId, Txid};

use crate::byzantine;
use crate::scenario::{Fault, Plan, Scenario};
use crate::simulated::cluster::{Broadcaster, Cluster, EPOCH, Fate, Options, kind_of};
use crate::simulated::disk::Snapshot;
use crate::simulated::double::transaction;

/// A session of a run.
#[derive(Clone, Debug)]
pub struct Begun {
    pub id: SessionId,
    pub plan: Plan,
    pub txid: Txid,
}

/// A run, and what the checkers need to know of it.
pub struct Run {
    pub scenario: Scenario,
    pub cluster: Cluster,
    pub sessions: Vec<Begun>,
    /// Nodes whose disk went back, so that promises about synced writes do not hold.
    pub rolled_back: BTreeSet<usize>,
    /// How often each node died.
    pub deaths: BTreeMap<usize, u32>,
    /// Some node aborted, or closed a session.
    pub stopped: bool,
    pub conflict: bool,
    snapshots: BTreeMap<usize, Snapshot>,
    outputs: Rc<RefCell<BTreeMap<usize, (u64, usize)>>>,
}

impl Run {
    pub fn new(scenario: Scenario) -> Self {
        let options = Options {
            signers: scenario.parts.len(),
            seed: scenario.seed,
            real: false,
            settings: Settings::default(),
            sync: scenario.sync,
            delay: scenario.delay,
            jitter: scenario.jitter,
            chain: scenario.chain,
            sign: scenario.sign,
            audit: false,
        };
        let mut cluster = Cluster::idle(options);
        for (node, part) in cluster.nodes.iter_mut().zip(&scenario.parts) {
            node.settings = Settings {
                final_depth: scenario.final_depth,
                dead_after: part.dead_after,
                claims: part.claims,
                nacks: part.nacks,
                observer: part.observer,
                broadcaster: part.broadcaster,
                ..Settings::default()
            };
            node.application.duty = part.duty;
            node.application.delay = part.reaction;
            node.skew = part.skew;
        }
        cluster.watched = true;
        byzantine::install(&scenario, &mut cluster);
        for node in 0..cluster.nodes.len() {
            cluster.start(node);
        }
        Self {
            scenario,
            cluster,
            sessions: Vec::new(),
            rolled_back: BTreeSet::new(),
            deaths: BTreeMap::new(),
            stopped: false,
            conflict: false,
            snapshots: BTreeMap::new(),
            outputs: Rc::default(),
        }
    }

    pub fn honest(&self, node: usize) -> bool {
        self.scenario.parts[node].byzantine.is_none()
    }

    /// All of it: the trouble, the healing, a time in which everything that can end ends.
    pub fn carry_out(&mut self) {
        for (at, fault) in self.scenario.faults.clone() {
            let now = self.cluster.now();
            self.cluster.run_for(at.saturating_sub(now));
            self.count_outputs();
            self.apply(fault);
        }
        let now = self.cluster.now();
        self.cluster.run_for(self.scenario.heals_at.saturating_sub(now));
        self.heal();
    }

    /// Runs on until every turn is over, and longer.
    pub fn settle(&mut self) {
        let longest = self.sessions.iter().map(|begun| begun.plan.timeout).max().unwrap_or_default();
        let turns = self.scenario.parts.len() as u32 + 3;
        self.cluster.run_for(longest * turns + Duration::from_secs(60));
    }

    fn heal(&mut self) {
        let n = self.cluster.nodes.len();
        self.outputs.borrow_mut().clear();
        self.cluster.on_output = None;
        for node in 0..n {
            self.cluster.nodes[node].broadcaster = Broadcaster::Works;
            self.cluster.nodes[node].observer_lag = Some(Duration::ZERO);
            self.cluster.nodes[node].skew = 0;
            for other in 0..n {
                self.cluster.lose(node, other, 0);
                self.cluster.slow(node, other, Duration::ZERO);
                if other > node {
                    self.cluster.cut(node, other, false);
                }
            }
        }
        for node in 0..n {
            self.apply(Fault::CutOff(node, false));
            self.apply(Fault::Start(node));
            self.apply(Fault::Wake(node));
        }
    }

    /// Nodes that are to die after a number of outputs.
    fn count_outputs(&mut self) {
        if self.outputs.borrow().is_empty() || self.cluster.on_output.is_some() {
            return;
        }
        let outputs = self.outputs.clone();
        self.cluster.on_output = Some(Box::new(move |node, _| {
            let mut outputs = outputs.borrow_mut();
            match outputs.get_mut(&node) {
                Some((0, keep)) => {
                    let keep = *keep;
                    outputs.remove(&node);
                    Fate::CrashBeforeKeeping(keep)
                }
                Some((left, _)) => {
                    *left -= 1;
                    Fate::Happens
                }
                None => Fate::Happens,
            }
        }));
    }

    fn apply(&mut self, fault: Fault) {
        let cluster = &mut self.cluster;
        let last = self.sessions.last().map(|begun| (begun.id, begun.txid));
        match fault {
            Fault::Create(plan) => self.create(plan),
            Fault::Cut(one, other, cut) => cluster.cut(one, other, cut),
            Fault::Lose(from, to, per_mille) => cluster.lose(from, to, per_mille),
            Fault::Slow(from, to, by) => cluster.slow(from, to, by),
            Fault::CutOff(node, off) => cluster.cut_off(node, off),
            Fault::Crash { node, keep } => {
                if cluster.nodes[node].alive() {
                    *self.deaths.entry(node).or_default() += 1;
                    cluster.crash_keeping(node, keep);
                }
            }
            Fault::CrashIn { node, outputs, keep } => {
                *self.deaths.entry(node).or_default() += 1;
                self.outputs.borrow_mut().insert(node, (outputs, keep));
                self.count_outputs();
            }
            Fault::Start(node) => {
                if !cluster.nodes[node].alive() {
                    cluster.start(node);
                }
            }
            Fault::Sleep(node) => {
                if cluster.nodes[node].alive() {
                    cluster.sleep(node);
                }
            }
            Fault::Wake(node) => {
                if cluster.nodes[node].asleep {
                    cluster.wake(node);
                }
            }
            Fault::Skew(node, by) => cluster.nodes[node].skew = by,
            Fault::Broadcaster(node, broadcaster) => cluster.nodes[node].broadcaster = broadcaster,
            Fault::Lag(node, lag) => cluster.nodes[node].observer_lag = lag,
            Fault::Mine => {
                let now = cluster.now();
                cluster.chain.mine(now);
            }
            Fault::Evict => {
                if let Some((_, txid)) = last {
                    cluster.chain.evict(&txid);
                }
            }
            Fault::Reorganise(blocks) => cluster.chain.reorganise(blocks),
            Fault::Conflict => {
                if let Some((_, txid)) = last {
                    self.conflict = true;
                    let (spends, now) = (cluster.chain.spent_by(&txid), cluster.now());
                    if !spends.is_empty() {
                        cluster.chain.foreign(Txid([0xcc; 32]), spends, now);
                    }
                }
            }
            Fault::Snapshot(node) => {
                self.snapshots.insert(node, cluster.nodes[node].disk.snapshot());
            }
            Fault::Rollback(node) => {
                if let Some(snapshot) = self.snapshots.remove(&node) {
                    self.rolled_back.insert(node);
                    if cluster.nodes[node].alive() {
                        cluster.crash(node);
                    }
                    cluster.nodes[node].disk.restore(snapshot);
                    cluster.start(node);
                }
            }
            Fault::Claim(node) => {
                let content = Content::Claim { txid: last.map_or(Txid([7; 32]), |(_, txid)| txid) };
                self.forge(node, content);
            }
            Fault::Nack(node) => self.forge(node, Content::Nack { reason: "forged".into() }),
            Fault::Abort(node) => {
                self.stopped = true;
                self.request(node, |engine, id, request, now| {
                    engine.abort(id, "enough".into(), request, now)
                });
            }
            Fault::Close(node) => {
                self.stopped = true;
                self.request(node, |engine, id, request, now| engine.close(id, request, now));
            }
            Fault::Notify(node) => {
                // An application says only what it knows.
                let known = last.is_some_and(|(_, txid)| cluster.chain.knows(&txid));
                if let Some((session, _)) = last.filter(|_| known) {
                    cluster.notify(node, session);
                }
            }
            Fault::BroadcastNow(node) => {
                self.request(node, |engine, id, request, now| engine.broadcast_now(id, request, now));
            }
        }
    }

    fn request(
        &mut self,
        node: usize,
        act: impl FnOnce(
            &mut libmusig::protocol::engine::Engine,
            &SessionId,
            u64,
            libmusig::protocol::Time,
        ) -> Result<(), libmusig::error::Error>,
    ) {
        let Some(session) = self.sessions.last().map(|begun| begun.id) else { return };
        let request = self.cluster.request();
        // Refused if the session is not that far: that is an answer too.
        let _ = self.cluster.drive(node, |engine, now| act(engine, &session, request, now));
    }

    /// A claim or NACK that no honest application made, signed with the node's own key.
    fn forge(&mut self, node: usize, content: Content) {
        let Some(begun) = self.sessions.last() else { return };
        let body = Body { session: begun.id, signer: node, content };
        let envelope = byzantine::sign(node, body);
        assert!(matches!(kind_of(envelope.content()), "claim" | "nack"));
        for to in (0..self.cluster.nodes.len()).filter(|to| *to != node) {
            self.cluster.inject(node, to, std::slice::from_ref(&envelope));
        }
    }

    fn create(&mut self, plan: Plan) {
        let cluster = &mut self.cluster;
        if !cluster.nodes[plan.proposer].alive() || cluster.nodes[plan.proposer].asleep {
            return;
        }
        let mut terms = if plan.raw { cluster.raw_terms() } else { cluster.terms() };
        let before = self.sessions.last().filter(|before| plan.replaces && !before.plan.raw && !plan.raw);
        if !plan.raw {
            let spent = match before {
                Some(before) => {
                    terms.replaces = Some(before.id);
                    cluster.chain.spent_by(&before.txid)
                }
                None => (0..plan.messages)
                    .map(|_| libmusig::types::OutPoint { txid: Txid(cluster.random.bytes()), vout: 1 })
                    .collect(),
            };
            let (transaction, messages) = transaction(&spent, &terms.entropy);
            (terms.transaction, terms.messages) = (Some(transaction), messages);
        }
        terms.election_method = plan.method;
        terms.failover =
            FailoverPolicy { enabled: plan.enabled, broadcast_timeout: plan.timeout, tiers: plan.tiers };
        terms.expires_at = EPOCH.saturating_add(EXPIRY);
        let id = cluster.create_with(plan.proposer, terms);
        let txid = cluster.chain.txid_of(&id).unwrap_or(Txid(id.0));
        self.sessions.push(Begun { id, plan, txid });
    }
}

/// When all sessions of a run expire.
pub const EXPIRY: Duration = Duration::from_secs(3 * 86_400);
