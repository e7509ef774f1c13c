//! Carries a scenario out, and notes what the checkers need to know.

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};
use std::rc::Rc;
use std::time::Duration;

use libmusig::error::Error;
use libmusig::protocol::crypto::Scheme;
use libmusig::protocol::crypto::key_set::{KeyOrder, KeySet, sort_keys};
use libmusig::protocol::crypto::musig2::Musig2;
use libmusig::protocol::engine::Engine;
use libmusig::protocol::envelope::{Content, NackKind};
use libmusig::protocol::failover::{Pace, SeenBy};
use libmusig::protocol::proposal::Proposal;
use libmusig::protocol::{Settings, Time, limits};
use libmusig::types::{OutPoint, SessionId, Txid, UnixMillis};

use crate::aims::Aimed;
use crate::byzantine;
use crate::scenario::{Fault, Plan, Scenario, Worthless};
use crate::timeline::Track;
use test_support::cluster::{Broadcaster, Cluster, Consent, EPOCH, Fate, Options};
use test_support::disk::Snapshot;
use test_support::double::{Double, transaction};

/// When all sessions of a run have expired.
pub const EXPIRY: Duration = Duration::from_secs(3 * 86_400);

/// A session of a run.
#[derive(Clone, Debug)]
pub struct Begun {
    pub id: SessionId,
    pub plan: Plan,
    pub txid: Txid,
    /// The session whose transaction this one's replaces.
    pub replaces: Option<SessionId>,
}

/// A run, and what the checkers need to know of it.
pub struct Run {
    pub scenario: Scenario,
    pub cluster: Cluster,
    pub sessions: Vec<Begun>,
    /// Nodes whose disk went back, or that share their key: promises about synced writes do not hold.
    pub impaired: BTreeSet<usize>,
    /// How often each node died.
    pub deaths: BTreeMap<usize, u32>,
    /// Some node aborted, closed or abandoned a session.
    pub stopped: bool,
    pub conflict: bool,
    /// Somebody attacked in a way that may end sessions.
    pub attacked: bool,
    /// Whether each node's broadcaster works, and whether its observer says at once what is there.
    pub broadcasts: Vec<Track>,
    pub observes: Vec<Track>,
    /// Nodes whose broadcaster lied, or refused transactions.
    pub told: BTreeSet<usize>,
    /// Whether each node's disk works.
    pub disks: Vec<Track>,
    /// Whether frames between two nodes arrive in time, by the smaller and the larger index.
    pub links: Vec<Vec<Track>>,
    /// Whether the network is whole.
    pub whole: Track,
    /// Cables that were pulled: whose, and from when to when.
    pub pulls: Vec<(usize, Duration, Option<Duration>)>,
    /// Nodes that were started or woken, and when.
    pub returns: Vec<(usize, Duration)>,
    /// Nodes whose calendar was stepped or runs wrong.
    pub odd_clocks: BTreeSet<usize>,
    /// Who said that a session's transaction is broadcast although it is not, or may have.
    pub liars: BTreeSet<(SessionId, usize)>,
    /// Applications that aborted.
    pub aborted: BTreeSet<(SessionId, usize)>,
    /// Applications that closed a session.
    pub closed: BTreeSet<(SessionId, usize)>,
    /// Applications that abandoned a session.
    pub abandoned: BTreeSet<(SessionId, usize)>,
    /// Applications that took part by themselves.
    pub meddled: BTreeSet<(SessionId, usize)>,
    /// Proposals of byzantine signers whose signatures would complete nothing.
    pub worthless: Vec<(SessionId, Worthless)>,
    /// Sessions whose expiry is chosen against clocks.
    pub expiring: Vec<(SessionId, UnixMillis)>,
    /// Proposals whose keys were chosen against somebody.
    pub aims: Vec<Aimed>,
    /// What broke a promise while it ran.
    pub broken: Vec<(&'static str, String)>,
    pub samples: u64,
    snapshots: BTreeMap<usize, Snapshot>,
    outputs: Rc<RefCell<BTreeMap<usize, (u64, usize)>>>,
}

impl Run {
    pub fn new(scenario: Scenario) -> Self {
        let options = Options {
            signers: scenario.signers(),
            seed: scenario.seed,
            real: scenario.real,
            settings: Settings::default(),
            sync: scenario.sync,
            delay: scenario.delay,
            jitter: scenario.jitter,
            chain: scenario.chain,
            sign: scenario.sign,
            audit: scenario.real,
            counts_work: true,
        };
        let keys: Vec<usize> = (0..scenario.signers()).chain(scenario.twin).collect();
        let mut cluster = Cluster::idle_with_keys(options, &keys);
        for (node, key) in cluster.nodes.iter_mut().zip(&keys) {
            let part = &scenario.parts[*key];
            node.settings = Settings {
                final_depth: scenario.final_depth,
                early_turns: part.early_turns,
                claims: part.claims,
                nacks: part.nacks,
                observer: part.observer,
                broadcaster: part.broadcaster,
                // Packing takes the simulator long, for its watches ask their observers all the time. It changes nothing else,
                // so few seeds do it: as a node would, or after each step.
                pack_after: match scenario.seed % 32 {
                    1 => Duration::ZERO,
                    2 | 3 => limits::PACK_AFTER,
                    _ => EXPIRY,
                },
                ..Settings::default()
            };
            node.application.duty = part.duty;
            node.application.consent = part.consent;
            node.application.delay = part.reaction;
            node.skew = part.skew;
            node.drift = part.drift;
            if let Some(time) = part.pace {
                let mut pace = Pace::default();
                (0..limits::PACE_FROM).for_each(|_| pace.note(SeenBy::Observer, time));
                (0..limits::PACE_FROM).for_each(|_| pace.note(SeenBy::Application, time));
                node.disk.set_pace(pace.encode());
            }
        }
        cluster.watched = true;
        cluster.duplicates = scenario.duplicates;
        cluster.reorders = scenario.reorders;
        byzantine::install(&scenario, &mut cluster);
        for node in 0..cluster.nodes.len() {
            cluster.start(node);
        }
        let n = cluster.nodes.len();
        let twins = scenario.twin.map(|twin| [twin, n - 1]);
        let odd = |node: &usize| scenario.parts.get(*node).is_some_and(|part| part.drift != 0);
        Self {
            sessions: Vec::new(),
            impaired: twins.into_iter().flatten().collect(),
            deaths: BTreeMap::new(),
            stopped: false,
            conflict: false,
            attacked: false,
            broadcasts: vec![Track::default(); n],
            observes: vec![Track::default(); n],
            told: BTreeSet::new(),
            disks: vec![Track::default(); n],
            links: vec![vec![Track::default(); n]; n],
            whole: Track::default(),
            pulls: Vec::new(),
            returns: Vec::new(),
            odd_clocks: (0..n).filter(odd).collect(),
            liars: BTreeSet::new(),
            aborted: BTreeSet::new(),
            closed: BTreeSet::new(),
            abandoned: BTreeSet::new(),
            meddled: BTreeSet::new(),
            worthless: Vec::new(),
            expiring: Vec::new(),
            aims: Vec::new(),
            broken: Vec::new(),
            samples: 0,
            snapshots: BTreeMap::new(),
            outputs: Rc::default(),
            scenario,
            cluster,
        }
    }

    /// The scheme of the run.
    pub fn scheme(&self) -> &'static dyn Scheme {
        if self.scenario.real { &Musig2 } else { &Double }
    }

    /// Not byzantine, and no second instance.
    pub fn honest(&self, node: usize) -> bool {
        self.scenario.parts.get(node).is_some_and(|part| part.byzantine.is_none())
    }

    /// Honest, and what it stored stayed stored.
    pub fn sound(&self, node: usize) -> bool {
        self.honest(node) && !self.impaired.contains(&node)
    }

    /// Whether a node's disk always worked.
    pub fn always_stores(&self, node: usize) -> bool {
        self.disks[node].holds(Duration::ZERO, self.cluster.now())
    }

    /// Whether a node may have died while its disk did not work: then it does not know what it held.
    pub fn may_have_forgotten(&self, node: usize) -> bool {
        self.deaths.contains_key(&node) && !self.always_stores(node)
    }

    /// The attempt that a node has come to.
    pub fn attempt(&mut self, begun: &Begun, node: usize) -> u32 {
        let time = self.cluster.time(node);
        let engine = self.cluster.nodes[node].engine.as_mut();
        engine.and_then(|engine| engine.status(&begun.id, time)).map_or(0, |status| status.attempt)
    }

    /// The spans in which a node runs and has connections.
    pub fn up(&self, node: usize) -> Vec<(Duration, Duration)> {
        let mut track = Track::default();
        self.cluster.nodes[node].up.iter().for_each(|(at, up)| track.set(*at, *up));
        track.spans(self.cluster.now())
    }

    /// Whether frames between two nodes arrived in time.
    pub fn linked(&self, one: usize, other: usize, from: Duration, to: Duration) -> bool {
        self.links[one.min(other)][one.max(other)].holds(from, to) && self.whole.holds(from, to)
    }

    /// All of it: the trouble, the healing, a time in which everything that can end ends.
    pub fn carry_out(&mut self) {
        for (number, (at, fault)) in self.scenario.faults.clone().into_iter().enumerate() {
            let now = self.cluster.now();
            self.cluster.run_for(at.saturating_sub(now));
            // Looking at thousands of sessions takes long.
            if self.sessions.len() < 100 || number % 100 == 0 {
                self.sample();
            }
            self.count_outputs();
            self.apply(fault);
        }
        let now = self.cluster.now();
        self.cluster.run_for(self.scenario.heals_at.saturating_sub(now));
        self.sample();
        self.heal();
    }

    /// Runs on until every turn is over, and longer.
    pub fn settle(&mut self) {
        let signers = self.scenario.signers();
        let longest = self.sessions.iter().map(|begun| begun.plan.lasts(signers)).max().unwrap_or_default();
        for _ in 0..4 {
            self.cluster.run_for((longest + Duration::from_secs(40)) / 4);
            self.sample();
        }
    }

    fn heal(&mut self) {
        let n = self.cluster.nodes.len();
        self.outputs.borrow_mut().clear();
        self.cluster.on_output = None;
        self.cluster.duplicates = 0;
        self.cluster.reorders = false;
        self.apply(Fault::Partition(Vec::new()));
        for node in 0..n {
            self.apply(Fault::Broadcaster(node, Broadcaster::Works));
            self.apply(Fault::Lag(node, Some(Duration::ZERO)));
            self.apply(Fault::Takes(node, Duration::ZERO));
            self.apply(Fault::Flap(node, false));
            self.apply(Fault::Disk(node, None));
            // A twin is behind all that have a part of their own.
            if let Some(part) = self.scenario.twin.filter(|_| node >= self.scenario.signers()).or(Some(node))
            {
                self.cluster.nodes[node].skew = self.scenario.parts[part].skew;
                self.cluster.nodes[node].drift = 0;
            }
            for other in 0..n {
                self.cluster.lose(node, other, 0);
                self.cluster.slow(node, other, Duration::ZERO);
                if other > node {
                    self.apply(Fault::Cut(node, other, false));
                }
            }
        }
        let blocks = self.sessions.iter().map(|begun| begun.plan.lock).max().unwrap_or_default();
        let now = self.cluster.now();
        while self.cluster.chain.height(now) < blocks {
            self.apply(Fault::Mine);
        }
        for node in 0..n {
            if self.cluster.held_back.contains(&node) {
                self.apply(Fault::HoldBack(node, false));
            }
            self.apply(Fault::CutOff(node, false));
            self.apply(Fault::Pull(node, false));
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

    /// One fault may end while another is still there.
    fn mark(&mut self, one: usize, other: usize) {
        let (now, whole) = (self.cluster.now(), self.cluster.whole(one, other));
        self.links[one.min(other)][one.max(other)].set(now, whole);
    }

    fn apply(&mut self, fault: Fault) {
        let now = self.cluster.now();
        let cluster = &mut self.cluster;
        let last = self.sessions.last().map(|begun| (begun.id, begun.txid));
        match fault {
            Fault::Create(plan) => self.create(plan),
            Fault::Cut(one, other, cut) => {
                cluster.cut(one, other, cut);
                self.mark(one, other);
            }
            Fault::Lose(from, to, per_mille) => {
                cluster.lose(from, to, per_mille);
                self.mark(from, to);
            }
            Fault::Slow(from, to, by) => {
                cluster.slow(from, to, by);
                self.mark(from, to);
            }
            Fault::CutOff(node, off) => cluster.cut_off(node, off),
            Fault::Pull(node, pulled) => {
                let was = cluster.nodes[node].pulled.is_some();
                cluster.pull(node, pulled);
                for other in (0..cluster.nodes.len()).filter(|other| *other != node && was != pulled) {
                    self.mark(node, other);
                }
                let last = self.pulls.iter_mut().rfind(|(of, ..)| *of == node);
                match last {
                    _ if was == pulled => {}
                    Some((_, _, until)) if !pulled => *until = Some(now),
                    _ => self.pulls.push((node, now, None)),
                }
            }
            Fault::HoldBack(node, on) => {
                if on {
                    cluster.held_back.insert(node)
                } else {
                    cluster.held_back.remove(&node)
                };
                for other in (0..cluster.nodes.len()).filter(|other| *other != node) {
                    self.mark(node, other);
                }
            }
            Fault::Partition(sides) => {
                let n = cluster.nodes.len();
                let side = |node: usize| sides.get(node).copied().unwrap_or_default();
                for one in 0..n {
                    for other in one + 1..n {
                        let parted = side(one) != side(other);
                        if parted || !self.whole.holds(now, now) {
                            cluster.cut(one, other, parted);
                        }
                    }
                }
                self.whole.set(now, sides.is_empty());
                // A twin is on the first side, with all that are not named.
                cluster.chain.part(if sides.is_empty() { sides } else { (0..n).map(side).collect() });
            }
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
                    self.returns.push((node, now));
                }
            }
            Fault::Sleep(node) => {
                if cluster.nodes[node].alive() {
                    cluster.sleep(node);
                }
            }
            Fault::Wake(node) => {
                if cluster.nodes[node].alive() && !cluster.nodes[node].awake() {
                    cluster.wake(node);
                    self.returns.push((node, now));
                }
            }
            Fault::Skew(node, skew) => {
                cluster.nodes[node].skew = skew + self.scenario.parts[node].skew;
                self.odd_clocks.insert(node);
            }
            Fault::Broadcaster(node, way) => {
                self.broadcasts[node].set(now, way == Broadcaster::Works);
                if matches!(way, Broadcaster::Lies | Broadcaster::Rejects(_)) {
                    self.told.insert(node);
                }
                cluster.nodes[node].broadcaster = way;
            }
            Fault::Lag(node, lag) => {
                self.observes[node].set(now, lag == Some(Duration::ZERO));
                cluster.nodes[node].observer_lag = lag;
            }
            Fault::Takes(node, longer) => {
                self.observes[node].set(now, longer.is_zero());
                cluster.nodes[node].observer_takes = longer;
            }
            Fault::Flap(node, flaps) => {
                self.observes[node].set(now, !flaps);
                cluster.nodes[node].observer_flaps = flaps;
            }
            Fault::Disk(node, fault) => {
                self.disks[node].set(now, fault.is_none());
                cluster.disk(node, fault);
            }
            Fault::Mine => cluster.chain.mine(now),
            Fault::Evict => {
                if let Some((_, txid)) = last {
                    cluster.chain.evict(&txid);
                }
            }
            Fault::Reorganise(blocks) => cluster.chain.reorganise(blocks),
            Fault::Conflict => {
                if let Some((_, txid)) = last {
                    self.conflict = true;
                    let spends = cluster.chain.spent_by(&txid);
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
                    self.impaired.insert(node);
                    if cluster.nodes[node].alive() {
                        cluster.crash(node);
                    }
                    cluster.nodes[node].disk.restore(snapshot);
                    cluster.start(node);
                }
            }
            Fault::Claim(node) => {
                let content = Content::Claim { txid: last.map_or(Txid([7; 32]), |(_, txid)| txid) };
                self.liars.extend(last.map(|(id, _)| (id, node)));
                byzantine::say_to_all(self, node, content);
            }
            Fault::Nack(node) => {
                byzantine::say_to_all(
                    self,
                    node,
                    Content::Nack { kind: NackKind::Unreachable, reason: "forged".into() },
                );
            }
            Fault::Abort(node) => {
                self.stopped = true;
                self.aborted.extend(last.map(|(session, _)| (session, node)));
                self.request(node, true, |engine, id, request, now| {
                    engine.abort(id, "enough".into(), request, now)
                });
            }
            Fault::Close(node) => {
                // Refused, it changed nothing.
                if self.request(node, true, |engine, id, request, now| engine.close(id, request, now)) {
                    self.stopped = true;
                    // A crash may come between the commit and the event.
                    self.closed.extend(last.map(|(session, _)| (session, node)));
                }
            }
            Fault::Abandon(node) => {
                if self.request(node, true, |engine, id, request, now| engine.abandon(id, request, now)) {
                    self.stopped = true;
                    self.abandoned.extend(last.map(|(session, _)| (session, node)));
                }
            }
            Fault::Join(node) => {
                if let Some((session, _)) = last.filter(|_| cluster.nodes[node].awake()) {
                    cluster.consent(node, session);
                    self.meddled.insert((session, node));
                    let options = cluster.word(&session);
                    self.request(node, false, |engine, id, request, now| {
                        engine.join_with(id, options, request, now)
                    });
                }
            }
            Fault::Notify(node, wrongly) => {
                let known = last.is_some_and(|(_, txid)| cluster.chain.knows(&txid));
                let awake = cluster.nodes[node].awake();
                if let Some((session, _)) = last.filter(|_| awake && (known || wrongly)) {
                    if !known {
                        self.liars.insert((session, node));
                    }
                    self.meddled.insert((session, node));
                    cluster.notify(node, session);
                }
            }
            Fault::BroadcastNow(node) => {
                self.meddled.extend(last.map(|(session, _)| (session, node)));
                self.request(node, false, |engine, id, request, now| engine.broadcast_now(id, request, now));
            }
            Fault::Attack(node, attack) => byzantine::attack(self, node, &attack),
        }
    }

    /// Asks for something about the last session. `stops`: from its answer on the node must not sign. Answers whether it was
    /// not refused.
    fn request(
        &mut self,
        node: usize,
        stops: bool,
        act: impl FnOnce(&mut Engine, &SessionId, u64, Time) -> Result<(), Error>,
    ) -> bool {
        let Some(session) = self.sessions.last().map(|begun| begun.id) else { return false };
        // An application sleeps with its phone.
        if !self.cluster.nodes[node].awake() {
            return false;
        }
        let number = self.cluster.request();
        if stops {
            self.cluster.withdrawals.insert(number, (node, session));
        }
        // Refused if the session is not that far: that is an answer too.
        self.cluster
            .drive(node, |engine, now| act(engine, &session, number, now))
            .is_some_and(|it| it.is_ok())
    }

    fn create(&mut self, plan: Plan) {
        let cluster = &mut self.cluster;
        if !cluster.nodes[plan.proposer].awake() {
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
                    .map(|_| OutPoint { txid: Txid(cluster.random.bytes()), vout: 1 })
                    .collect(),
            };
            let (mut transaction, messages) = transaction(&spent, &terms.entropy);
            if plan.lock > 0 {
                transaction.spent[0].value = 1 + u64::from(plan.lock);
            }
            (terms.transaction, terms.messages) = (Some(transaction), messages);
        }
        if plan.two_key_sets && terms.messages.len() > 1 && sort_keys(&terms.signers) != terms.signers {
            terms.key_sets.push(KeySet::ordered(&terms.signers, KeyOrder::AsGiven));
        }
        for (index, message) in terms.messages.iter_mut().enumerate() {
            message.key_set = index % terms.key_sets.len();
            let derivation = index % plan.derivations.len().max(1);
            message.derivation = plan.derivations.get(derivation).cloned().unwrap_or_default();
        }
        terms.election_method = plan.method;
        terms.broadcast = plan.broadcast();
        terms.expires_at = EPOCH.saturating_add(plan.expires);
        terms.proposer = plan.proposer;
        let replaces = terms.replaces;
        let proposal = Proposal::new(terms).expect("valid terms");
        cluster.learn(&proposal);
        let (id, request) = (proposal.id(), cluster.request());
        let options = cluster.word(&id);
        cluster.consented.insert((plan.proposer, id));
        // A node whose clock is days off may take its own proposal for expired.
        if let Some(Ok(_)) =
            cluster.drive(plan.proposer, |engine, now| engine.create_with(proposal, options, request, now))
        {
            let txid = cluster.chain.txid_of(&id).unwrap_or(Txid(id.0));
            self.sessions.push(Begun { id, plan, txid, replaces });
        }
    }

    /// Whether all applications consent sooner or later.
    pub fn all_consent(&self) -> bool {
        let joins = |consent: Consent| matches!(consent, Consent::Joins | Consent::JoinsAfter(_));
        self.scenario.parts.iter().all(|part| joins(part.consent))
    }
}
