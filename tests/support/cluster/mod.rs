//! Many engines in one thread with simulated time, network, disks, chain and applications. One seed decides
//! everything: the same seed and the same script give the same run.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet, BinaryHeap, HashMap, HashSet, VecDeque};
use std::sync::{Arc, Mutex, OnceLock};
use std::time::Duration;

use libmusig::error::{Error, StoreError};
use libmusig::protocol::counters::Counters;
use libmusig::protocol::crypto::Scheme;
use libmusig::protocol::crypto::musig2::Musig2;
use libmusig::protocol::election::ElectionMethod;
use libmusig::protocol::engine::Engine;
use libmusig::protocol::envelope::{Body, Content, Envelope, Place, envelope_id};
use libmusig::protocol::event::{Event, SessionEvent};
use libmusig::protocol::proposal::{Broadcast, FailoverPolicy, KeySet, Message, Proposal, Terms, Tiers};
use libmusig::protocol::status::SessionStatus;
use libmusig::protocol::wire::{self, pb};
use libmusig::protocol::{Durability, Output, RequestId, Settings, Time, Waits, limits};
use libmusig::signer::{LocalSigner, SignTask};
use libmusig::types::{
    ChainQuery, ChainStatus, EnvelopeId, OutPoint, SessionId, SignerKey, SubmitOutcome, Txid, UnixMillis,
};

use self::network::{ASKED_EVERY, UNANSWERED};
use super::auditor::{Findings, audit};
use super::chain::Chain;
use super::disk::Disk;
use super::double::{AllKeys, Double, DoubleCodec, DoubleSigner, NonceLog, transaction};
use super::work::{Counted, Counter};

mod applications;
mod cast;
mod disks;
mod ledger;
mod network;
mod questions;
mod trace;

pub use cast::*;
pub use ledger::{Ledger, signer_name};
pub use questions::{kind_of, name_of};
pub use trace::Trace;

enum What {
    Frame {
        from: usize,
        to: usize,
        connection: u64,
        frame: Arc<[u8]>,
    },
    Tick(usize),
    Synced {
        node: usize,
        life: u64,
        session: SessionId,
        commit: u64,
    },
    /// What waits at most until now, waits no more.
    Waited {
        node: usize,
        life: u64,
        session: SessionId,
    },
    /// The disk has not answered for so long that it counts as failed.
    Hung {
        node: usize,
        life: u64,
        since: Duration,
    },
    Signed {
        node: usize,
        life: u64,
        output: Box<Output>,
    },
    Submit {
        node: usize,
        life: u64,
        session: SessionId,
        txid: Txid,
    },
    Submitted {
        node: usize,
        life: u64,
        session: SessionId,
        answer: Result<SubmitOutcome, String>,
    },
    Observe {
        node: usize,
        life: u64,
        session: SessionId,
        query: ChainQuery,
    },
    Tip {
        node: usize,
        life: u64,
        session: SessionId,
        coins: Vec<OutPoint>,
    },
    Coins {
        node: usize,
        life: u64,
        request: RequestId,
        coins: Vec<OutPoint>,
    },
    React {
        node: usize,
        life: u64,
        event: Arc<SessionEvent>,
    },
    Connect {
        one: usize,
        other: usize,
        connection: u64,
    },
    Call(Box<dyn FnOnce(&mut Cluster)>),
}

impl What {
    /// The node whose process does it: while that sleeps, it waits.
    fn process(&self) -> Option<usize> {
        match self {
            Self::Synced { node, .. }
            | Self::Waited { node, .. }
            | Self::Hung { node, .. }
            | Self::Signed { node, .. }
            | Self::Submit { node, .. }
            | Self::Submitted { node, .. }
            | Self::Observe { node, .. }
            | Self::Coins { node, .. }
            | Self::Tip { node, .. }
            | Self::React { node, .. } => Some(*node),
            Self::Frame { .. } | Self::Tick(_) | Self::Connect { .. } | Self::Call(_) => None,
        }
    }
}

/// What is to happen, in the order of its time, then of its number.
#[derive(Default)]
struct Agenda {
    order: BinaryHeap<Reverse<(Duration, u64, usize)>>,
    entries: Vec<Option<What>>,
    free: Vec<usize>,
    sequence: u64,
}

impl Agenda {
    fn add(&mut self, at: Duration, what: What) {
        let place = self.free.pop().unwrap_or_else(|| {
            self.entries.push(None);
            self.entries.len() - 1
        });
        self.entries[place] = Some(what);
        self.sequence += 1;
        self.order.push(Reverse((at, self.sequence, place)));
    }

    /// The next one, if it is due.
    fn take(&mut self, until: Duration) -> Option<(Duration, What)> {
        let Reverse((at, _, place)) = *self.order.peek().filter(|Reverse((at, ..))| *at <= until)?;
        self.order.pop();
        self.free.push(place);
        Some((at, self.entries[place].take()?))
    }
}

#[derive(Clone, Copy, Debug, Default)]
struct Link {
    /// What a script wants: no connection.
    cut: bool,
    /// Frames in this direction are lost, per thousand.
    loss: u64,
    /// Added to the delay.
    slower: Duration,
    /// The connection that there is; 0 is none.
    connection: u64,
    /// A connection whose sender died: what was on its way arrives.
    flushed: u64,
    last: Duration,
}

/// When an observer answered, and what.
pub type Answer = (Duration, Option<ChainStatus>);
/// The number of a frame, when it was sent, and its bytes.
pub type LoggedFrame = (u64, Duration, Arc<[u8]>);

type OutputHook = Box<dyn FnMut(usize, &Output) -> Fate>;
type EnvelopeHook = Box<dyn FnMut(usize, usize, &Envelope) -> Vec<Envelope>>;
type FrameHook = Box<dyn FnMut(usize, usize, &pb::Frame) -> bool>;

/// All of it.
pub struct Cluster {
    pub options: Options,
    pub nodes: Vec<Node>,
    pub chain: Chain,
    pub random: Random,
    /// Decides about each output before it is carried out.
    pub on_output: Option<OutputHook>,
    /// Replaces envelopes on their way from a node to a node.
    pub on_envelope: Option<EnvelopeHook>,
    /// Decides whether a frame is sent.
    pub on_frame: Option<FrameHook>,
    /// When each node was connected with a key, or lost its last connection with it; with its own: when it died.
    pub contacts: Vec<(Duration, usize, SignerKey, bool)>,
    /// Since when a connected key did not answer a node, or did again.
    pub silences: Vec<(Duration, usize, SignerKey, bool)>,
    /// What the doubles' nonces were used for.
    pub nonces: Arc<Mutex<NonceLog>>,
    /// Sessions of raw messages whose applications say that they sign blind.
    pub blind: HashSet<SessionId>,
    /// Who consented to what: created or joined it.
    pub consented: HashSet<(usize, SessionId)>,
    /// Who signed its consent to what, if nodes are watched.
    pub agreed: HashSet<(usize, SessionId)>,
    /// Nodes that signed what their application had not consented to.
    pub unasked: Vec<(usize, SessionId)>,
    /// Requests to stop, and what they stopped.
    pub withdrawals: HashMap<RequestId, (usize, SessionId)>,
    pub withdrawn: HashSet<(usize, SessionId)>,
    /// Nodes that said something of a round after that, which they had not signed before.
    pub unstopped: Vec<(usize, SessionId)>,
    /// What each observer answered about each session, if nodes are watched.
    pub answers: HashMap<(usize, SessionId), Vec<Answer>>,
    /// What the engines of nodes that crashed had counted, and what they had done, if nodes are watched.
    pub past: Vec<(usize, Counters, Ledger)>,
    /// Exclusive places that left a node, or were signed when it was stopped.
    said: HashMap<(SignerKey, SessionId, Place), EnvelopeId>,
    /// When the first partial signatures of a signer did.
    partials: HashMap<(SignerKey, SessionId), Duration>,
    /// Signers that said two things at one place.
    pub equivocated: BTreeSet<(SignerKey, SessionId)>,
    /// Whether what leaves each node is looked at.
    pub watched: bool,
    last_frame: Vec<Option<Arc<[u8]>>>,
    /// Envelopes that went over the wire, by kind, relayed ones too.
    pub sent: BTreeMap<&'static str, u64>,
    pub frames: u64,
    /// So many of a thousand frames arrive twice.
    pub duplicates: u64,
    /// Frames on one connection may overtake each other.
    pub reorders: bool,
    /// Nodes whose partial signatures and certificates are lost on their way.
    pub held_back: BTreeSet<usize>,
    /// A frame that is lost, by its number.
    pub dropped: Option<u64>,
    /// All frames, with their numbers, if they are logged.
    pub log: Option<Vec<LoggedFrame>>,
    /// A digest of all that the nodes do, if it is wanted.
    pub trace: Option<Trace>,
    /// Every envelope that was ever on the wire, if they are audited.
    pub audited: HashMap<Vec<u8>, Envelope>,
    now: Duration,
    agenda: Agenda,
    links: Vec<Vec<Link>>,
    /// Frames that wait for a cable: from, to, on which connection.
    stalled: Vec<(usize, usize, u64, Arc<[u8]>)>,
    connections: u64,
    requests: RequestId,
}

impl Cluster {
    pub fn new(options: Options) -> Self {
        Self::with_keys(options.clone(), &(0..options.signers).collect::<Vec<_>>())
    }

    /// One node for each of these keys. Nodes may share one.
    pub fn with_keys(options: Options, keys: &[usize]) -> Self {
        let mut cluster = Self::nodes(options, keys);
        for node in 0..cluster.nodes.len() {
            cluster.start(node);
        }
        cluster
    }

    fn nodes(options: Options, keys: &[usize]) -> Self {
        let mut random = Random::new(options.seed);
        let nodes: Vec<Node> = keys
            .iter()
            .map(|index| Node {
                key: key(*index),
                secret: secret(*index),
                signer: Arc::new(DoubleSigner::new(key(*index), 0)),
                engine: None,
                disk: Disk::default(),
                settings: options.settings.clone(),
                application: Application {
                    consent: Consent::Joins,
                    duty: Duty::Submits,
                    checks_claims: true,
                    acknowledges: true,
                    delay: Duration::ZERO,
                },
                broadcaster: Broadcaster::Works,
                observer_lag: Some(Duration::ZERO),
                observer_hangs: false,
                observer_takes: Duration::ZERO,
                coins_unknown: false,
                observations: 0,
                observer_flaps: false,
                skew: 0,
                drift: 0,
                asleep: false,
                cut_off: false,
                pulled: None,
                asked: HashSet::new(),
                events: EventLog::default(),
                done: Vec::new(),
                up: Vec::new(),
                boot: Duration::ZERO,
                base: Duration::from_secs(random.below(1_000_000)),
                life: 0,
                held: HashMap::new(),
                disk_fault: None,
                disk_failed: false,
                frozen: Vec::new(),
                tick_at: None,
                work: Counter::default(),
                ledger: Ledger::default(),
            })
            .collect();
        let links = vec![vec![Link::default(); nodes.len()]; nodes.len()];
        Self {
            options,
            nodes,
            chain: Chain::default(),
            random,
            on_output: None,
            on_envelope: None,
            on_frame: None,
            contacts: Vec::new(),
            silences: Vec::new(),
            stalled: Vec::new(),
            nonces: Arc::default(),
            blind: HashSet::new(),
            consented: HashSet::new(),
            agreed: HashSet::new(),
            unasked: Vec::new(),
            withdrawals: HashMap::new(),
            withdrawn: HashSet::new(),
            unstopped: Vec::new(),
            answers: HashMap::new(),
            past: Vec::new(),
            said: HashMap::new(),
            partials: HashMap::new(),
            equivocated: BTreeSet::new(),
            watched: false,
            last_frame: vec![None; keys.len()],
            sent: BTreeMap::new(),
            frames: 0,
            duplicates: 0,
            reorders: false,
            held_back: BTreeSet::new(),
            dropped: None,
            log: None,
            trace: None,
            audited: HashMap::new(),
            now: Duration::ZERO,
            agenda: Agenda::default(),
            links,
            connections: 0,
            requests: 0,
        }
    }

    /// Nodes that do not run yet, so that their settings can be changed.
    pub fn idle(options: Options) -> Self {
        Self::idle_with_keys(options.clone(), &(0..options.signers).collect::<Vec<_>>())
    }

    /// The same with one node for each of these keys. Nodes may share one.
    pub fn idle_with_keys(options: Options, keys: &[usize]) -> Self {
        Self::nodes(options, keys)
    }

    // ---- Time ----

    pub fn now(&self) -> Duration {
        self.now
    }

    pub fn time(&self, node: usize) -> Time {
        let node = &self.nodes[node];
        let error = node.skew + self.now.as_millis() as i64 / 1000 * node.drift;
        let wall = (EPOCH.0 + self.now.as_millis() as u64).saturating_add_signed(error);
        Time { wall: UnixMillis(wall), monotonic: self.now - node.boot + node.base }
    }

    fn push(&mut self, after: Duration, what: What) {
        self.agenda.add(self.now + after, what);
    }

    /// Runs a part of the script later.
    pub fn after(&mut self, delay: Duration, call: impl FnOnce(&mut Cluster) + 'static) {
        self.push(delay, What::Call(Box::new(call)));
    }

    /// One step of the simulation; `false` if nothing is left to do before `until`.
    pub fn step(&mut self, until: Duration) -> bool {
        let Some((at, what)) = self.agenda.take(until) else {
            self.now = self.now.max(until);
            return false;
        };
        self.now = at;
        self.carry_out(what);
        true
    }

    pub fn run_for(&mut self, duration: Duration) {
        let until = self.now + duration;
        while self.step(until) {}
    }

    /// Lets time pass in which nothing happens: what was due meanwhile is done at its end.
    pub fn leap(&mut self, duration: Duration) {
        for node in 0..self.nodes.len() {
            if self.nodes[node].awake() {
                self.sleep(node);
            }
        }
        self.run_for(duration);
        for node in 0..self.nodes.len() {
            if self.nodes[node].asleep {
                self.wake(node);
            }
        }
        self.run_for(Duration::from_secs(1));
    }

    /// Runs until the condition holds, and answers whether it did within `limit`.
    #[must_use]
    pub fn run_until(&mut self, limit: Duration, condition: impl Fn(&Self) -> bool) -> bool {
        let until = self.now + limit;
        loop {
            if condition(self) {
                return true;
            }
            if !self.step(until) {
                return condition(self);
            }
        }
    }

    fn carry_out(&mut self, what: What) {
        if let Some(node) = what.process().filter(|node| self.nodes[*node].asleep) {
            self.nodes[node].frozen.push(what);
            return;
        }
        match what {
            What::Frame { from, to, connection, frame } => {
                let link = &self.links[from][to];
                if link.connection == connection || link.flushed == connection {
                    let from = self.nodes[from].key;
                    self.drive(to, |engine, now| {
                        let _ = engine.frame(from, &frame, now);
                    });
                }
            }
            What::Tick(node) => {
                if self.nodes[node].tick_at == Some(self.now) && !self.nodes[node].asleep {
                    self.nodes[node].tick_at = None;
                    self.drive(node, |engine, now| engine.tick(now));
                }
            }
            What::Synced { node, life, session, commit } if self.nodes[node].life == life => {
                if self.nodes[node].disk_fault.is_some() {
                    return;
                }
                self.sync(node, commit);
                self.release(node, session, |held| held.commit <= commit);
                self.pump(node);
            }
            What::Waited { node, life, session } if self.nodes[node].life == life => {
                let now = self.now;
                self.release(node, session, |held| held.until.is_some_and(|until| until <= now));
                self.pump(node);
            }
            What::Hung { node, life, since } if self.nodes[node].life == life => {
                if self.nodes[node].disk_fault == Some((DiskFault::Hangs, since)) {
                    self.disk_failed(node);
                    self.pump(node);
                }
            }
            What::Signed { node, life, output } if self.nodes[node].life == life => self.sign(node, *output),
            What::Submit { node, life, session, txid } if self.nodes[node].life == life => {
                let answer = self.submit(node, txid);
                if let Some(answer) = answer {
                    self.push(Duration::ZERO, What::Submitted { node, life, session, answer });
                }
            }
            What::Submitted { node, life, session, answer } if self.nodes[node].life == life => {
                let known =
                    self.nodes[node].engine.as_ref().is_some_and(|it| it.own_index(&session).is_some());
                if known && self.watched {
                    self.nodes[node].ledger.answer(&answer);
                }
                self.drive(node, |engine, now| engine.submitted(&session, answer, now));
            }
            What::Observe { node, life, session, query } if self.nodes[node].life == life => {
                self.nodes[node].observations += 1;
                if self.nodes[node].observer_hangs {
                    return;
                }
                let answer = self.observe(node, &query);
                if self.watched {
                    self.answers.entry((node, session)).or_default().push((self.now, answer));
                }
                self.drive(node, |engine, now| engine.observed(&session, answer, now));
            }
            What::Coins { node, life, request, coins } if self.nodes[node].life == life => {
                let answer = self.coins(node, &coins);
                self.drive(node, |engine, now| engine.coins(request, answer, now));
            }
            What::Tip { node, life, session, coins } if self.nodes[node].life == life => {
                if self.nodes[node].observer_hangs {
                    return;
                }
                let answer = self.tip(node, &coins);
                self.drive(node, |engine, now| engine.tip(&session, answer, now));
            }
            What::React { node, life, event } if self.nodes[node].life == life => self.react(node, &event),
            What::Connect { one, other, connection } => {
                if self.links[one][other].connection == connection {
                    let keys = (self.nodes[one].key, self.nodes[other].key);
                    let now = self.now;
                    self.contacts.extend([(now, one, keys.1, true), (now, other, keys.0, true)]);
                    self.drive(one, |engine, now| engine.connected(keys.1, now));
                    self.drive(other, |engine, now| engine.connected(keys.0, now));
                }
            }
            What::Call(call) => call(self),
            // Of an earlier life of the node.
            _ => {}
        }
    }

    // ---- Nodes ----

    /// Calls the engine of a node, if it is alive, and does what follows.
    pub fn drive<R>(&mut self, node: usize, act: impl FnOnce(&mut Engine, Time) -> R) -> Option<R> {
        let now = self.time(node);
        let result = act(self.nodes[node].engine.as_mut()?, now);
        self.pump(node);
        Some(result)
    }

    fn pump(&mut self, node: usize) {
        let life = self.nodes[node].life;
        while let Some(output) = self.nodes[node].engine.as_mut().and_then(Engine::poll_output) {
            if let Some(trace) = &mut self.trace {
                trace.output(node, self.now, &output);
            }
            if self.watched {
                let state = &mut self.nodes[node];
                state.ledger.note(&state.key, &output);
            }
            self.output(node, output);
            if self.nodes[node].life != life {
                return;
            }
        }
        let asked = self.nodes[node].engine.as_mut().and_then(Engine::asked_signers_if_changed);
        if let Some(asked) = asked {
            self.nodes[node].asked = asked;
            self.expect_answers(node, UNANSWERED);
        }
        let state = &self.nodes[node];
        let Some(engine) = &state.engine else { return };
        let at = engine.next_timeout().map(|at| (at.saturating_sub(state.base) + state.boot).max(self.now));
        if at != state.tick_at {
            self.nodes[node].tick_at = at;
            if let Some(at) = at {
                self.push(at - self.now, What::Tick(node));
            }
        }
    }

    fn output(&mut self, node: usize, output: Output) {
        if !self.nodes[node].alive() {
            return;
        }
        if let Some(output) = self.hold(node, output) {
            self.carry_out_held(node, output);
        }
    }

    /// Carries out an output that has waited, or need not.
    fn carry_out_held(&mut self, node: usize, output: Output) {
        if !self.nodes[node].alive() {
            return;
        }
        let fate = self.on_output.as_mut().map_or(Fate::Happens, |hook| hook(node, &output));
        match fate {
            Fate::Happens => self.perform(node, output),
            Fate::Lost => {}
            Fate::CrashBefore => self.crash(node),
            Fate::CrashBeforeKeeping(commits) => self.crash_keeping(node, commits),
            Fate::CrashAfter => {
                self.perform(node, output);
                self.crash(node);
            }
            Fate::CutOffAfter => {
                self.perform(node, output);
                let arrived = self.options.delay * 2 + self.options.jitter;
                self.after(arrived, move |cluster| cluster.cut_off(node, true));
            }
        }
    }

    fn perform(&mut self, node: usize, output: Output) {
        let life = self.nodes[node].life;
        match output {
            Output::Persist { session, changes, durability, barrier } => {
                let commit = self.nodes[node].disk.write(session, changes, self.now);
                if durability == Durability::Synced {
                    if self.options.sync.is_zero() && self.nodes[node].disk_fault.is_none() {
                        self.sync(node, commit);
                    } else {
                        let pending = self.nodes[node].held.entry(session).or_default();
                        pending.synced = commit;
                        pending.barrier = if barrier { commit } else { pending.barrier };
                        self.push(self.options.sync, What::Synced { node, life, session, commit });
                    }
                }
            }
            Output::Send { to, frame, .. } => {
                if self.watched {
                    self.look_at(node, &frame);
                }
                self.send(node, to, frame);
            }
            Output::Sign { .. } => {
                if self.options.sign.is_zero() {
                    self.sign(node, output);
                } else {
                    self.push(self.options.sign, What::Signed { node, life, output: Box::new(output) });
                }
            }
            Output::Forget { session, attempt } => self.nodes[node].signer.forget(&session, attempt),
            Output::CheckKeys { .. } => unreachable!("no node here has a foreign signer"),
            Output::Submit { session, transaction } => {
                self.push(self.options.chain, What::Submit { node, life, session, txid: transaction.txid });
            }
            Output::Observe { session, query } => {
                let takes = self.options.chain + self.nodes[node].observer_takes;
                self.push(takes, What::Observe { node, life, session, query });
            }
            Output::Coins { request, coins, .. } => {
                self.push(Duration::ZERO, What::Coins { node, life, request, coins });
            }
            Output::Tip { session, coins } => {
                self.push(self.options.chain, What::Tip { node, life, session, coins });
            }
            Output::Event { event } => {
                let event = Arc::new(event);
                self.nodes[node].events.push(self.now, event.clone());
                let delay = self.nodes[node].application.delay;
                self.push(delay, What::React { node, life, event });
            }
            Output::Done { session, request, result, .. } => {
                if result.is_ok() && self.withdrawals.remove(&request).is_some() {
                    self.note_signed(node, &session);
                    self.withdrawn.insert((node, session));
                }
                self.nodes[node].done.push((request, result));
            }
        }
    }

    fn sync(&mut self, node: usize, commit: u64) {
        if let Some(trace) = &mut self.trace {
            trace.sync(node, commit);
        }
        self.nodes[node].disk.sync(commit);
    }

    fn sign(&mut self, node: usize, output: Output) {
        let Output::Sign { session, ticket, task } = output else { return };
        let agrees = match &*task {
            SignTask::Nonces(_) | SignTask::Partial { .. } => true,
            SignTask::Envelope(body) => matches!(body.content, Content::Accept),
        };
        let accepts = |body: &Body| matches!(body.content, Content::Accept);
        if self.watched && matches!(&*task, SignTask::Envelope(body) if accepts(body)) {
            self.agreed.insert((node, session));
        }
        if agrees && !self.consented.contains(&(node, session)) {
            self.unasked.push((node, session));
        }
        let signer = self.nodes[node].signer.as_ref();
        let result = task.run(signer, signer);
        let now = self.time(node);
        if let Some(engine) = &mut self.nodes[node].engine {
            engine.signed(&session, ticket, result, now);
        }
        if !self.options.sign.is_zero() {
            self.pump(node);
        }
    }

    /// Starts a node that is down. It reads its disk.
    pub fn start(&mut self, node: usize) {
        assert!(!self.nodes[node].alive(), "node {node} runs already");
        let random = self.random.next();
        let base = Duration::from_secs(self.random.below(1_000_000));
        let now = self.now;
        let real = self.options.real;
        let state = &mut self.nodes[node];
        self.contacts.push((self.now, node, state.key, false));
        state.life += 1;
        (state.boot, state.base, state.asleep) = (now, base, false);
        state.disk_failed = matches!(state.disk_fault, Some((DiskFault::Full, _)));
        let (life, disk_fault) = (state.life, state.disk_fault);
        let mut scheme: Arc<dyn Scheme>;
        if real {
            scheme = Arc::new(Musig2);
            state.signer = Arc::new(LocalSigner::new(state.secret).expect("a small number"));
        } else {
            scheme = Arc::new(Double);
            state.signer = Arc::new(DoubleSigner::with_log(state.key, random, self.nonces.clone()));
        }
        state.work.reset();
        if self.options.counts_work {
            scheme = Arc::new(Counted(scheme, state.work.clone()));
        }
        let mut engine = Engine::new(state.key, state.settings.clone(), scheme, Arc::new(DoubleCodec));
        let (stored, ended, answered) = (state.disk.sessions(), state.disk.ended(), state.disk.answered());
        if self.watched {
            state.ledger = Ledger::begin(&state.key, &stored);
        }
        let time = self.time(node);
        if let Some((DiskFault::Hangs, since)) = disk_fault {
            self.push(limits::COMMIT, What::Hung { node, life, since });
        }
        for (session, expires_at) in ended {
            engine.load_ended(session, expires_at);
        }
        for (session, record) in answered {
            engine.load_answered(session, &record).expect("what was stored can be read");
        }
        if let Some(record) = self.nodes[node].disk.pace() {
            engine.load_pace(&record).expect("what was stored can be read");
        }
        for session in stored {
            engine.load(&session, time).expect("what was stored can be read");
        }
        self.nodes[node].engine = Some(engine);
        self.pump(node);
        self.nodes[node].ledger.started();
        self.refresh();
    }

    /// Kills a node: its memory and what was not synced is gone.
    pub fn crash(&mut self, node: usize) {
        self.crash_keeping(node, 0);
    }

    /// Kills a node; this many of the commits that were not synced survive.
    pub fn crash_keeping(&mut self, node: usize, commits: usize) {
        let state = &mut self.nodes[node];
        state.life += 1;
        if let Some(mut engine) = state.engine.take().filter(|_| self.watched) {
            // What it had counted was on its way out.
            while let Some(output) = engine.poll_output() {
                state.ledger.note(&state.key, &output);
            }
            self.past.push((node, engine.counters().clone(), std::mem::take(&mut state.ledger)));
        }
        state.engine = None;
        state.asked.clear();
        state.held.clear();
        state.disk_failed = false;
        state.frozen.clear();
        state.tick_at = None;
        // A disk that fails writes nothing back.
        match state.disk_fault {
            Some((_, since)) => state.disk.crash(0, since),
            None => state.disk.crash(commits, self.now),
        }
        for link in &mut self.links[node] {
            link.flushed = link.connection;
        }
        self.refresh();
    }

    /// A phone that is put into a pocket: time goes on, nothing runs, connections are lost.
    pub fn sleep(&mut self, node: usize) {
        self.nodes[node].asleep = true;
        self.refresh();
    }

    pub fn wake(&mut self, node: usize) {
        self.nodes[node].asleep = false;
        self.nodes[node].tick_at = None;
        for what in std::mem::take(&mut self.nodes[node].frozen) {
            self.push(Duration::ZERO, what);
        }
        self.drive(node, |engine, now| engine.woke(now));
        self.expect_answers(node, ASKED_EVERY + UNANSWERED);
        self.refresh();
    }

    /// No connection and no way to the chain, or both again.
    pub fn cut_off(&mut self, node: usize, cut_off: bool) {
        self.nodes[node].cut_off = cut_off;
        self.refresh();
    }
}
