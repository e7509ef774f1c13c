//! Many engines in one thread with simulated time, network, disks, chain and applications. One seed decides
//! everything: the same seed and the same script give the same run.

#![allow(dead_code)]

use std::cmp::Reverse;
use std::collections::{BTreeMap, BinaryHeap, HashMap, HashSet, VecDeque};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use libmusig::error::Error;
use libmusig::protocol::election::ElectionMethod;
use libmusig::protocol::engine::Engine;
use libmusig::protocol::envelope::{Body, Content, Envelope, envelope_id};
use libmusig::protocol::event::{Event, SessionEvent};
use libmusig::protocol::proposal::{FailoverPolicy, KeyOrder, Message, Proposal, Terms, Tiers};
use libmusig::protocol::scheme::Scheme;
use libmusig::protocol::signing::Musig2;
use libmusig::protocol::status::SessionStatus;
use libmusig::protocol::wire::{self, pb};
use libmusig::protocol::{Durability, Output, RequestId, Settings, Time};
use libmusig::signer::{LocalSigner, Signer};
use libmusig::types::{ChainQuery, OutPoint, SessionId, SignerKey, SubmitOutcome, Txid, UnixMillis};

use super::auditor::{Findings, audit};
use super::chain::Chain;
use super::disk::Disk;
use super::double::{Double, DoubleCodec, DoubleSigner, transaction};

/// The calendar's time when a simulation begins.
pub const EPOCH: UnixMillis = UnixMillis(1_700_000_000_000);

/// xorshift64*.
#[derive(Clone, Debug)]
pub struct Random(u64);

impl Random {
    pub fn new(seed: u64) -> Self {
        Self(seed.wrapping_add(1).wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1)
    }

    pub fn next(&mut self) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_f491_4f6c_dd1d)
    }

    /// Less than `end`, which is not 0.
    pub fn below(&mut self, end: u64) -> u64 {
        (self.next() >> 16) % end
    }

    pub fn chance(&mut self, per_mille: u64) -> bool {
        self.below(1000) < per_mille
    }

    pub fn bytes(&mut self) -> [u8; 32] {
        let mut bytes = [0; 32];
        bytes.chunks_exact_mut(8).for_each(|chunk| chunk.copy_from_slice(&self.next().to_be_bytes()));
        bytes
    }

    pub fn duration(&mut self, most: Duration) -> Duration {
        Duration::from_micros(self.below(most.as_micros() as u64 + 1))
    }
}

/// The secret of node `index`.
pub fn secret(index: usize) -> [u8; 32] {
    let mut secret = [0; 32];
    secret[28..].copy_from_slice(&(index as u32 + 1).to_be_bytes());
    secret
}

/// The key of node `index`.
pub fn key(index: usize) -> SignerKey {
    static KEYS: OnceLock<Vec<SignerKey>> = OnceLock::new();
    let make = |index| {
        let pair = secp256k1::Keypair::from_secret_bytes(secret(index)).expect("a small number");
        SignerKey::from(pair.public_key())
    };
    KEYS.get_or_init(|| (0..128).map(make).collect())[index]
}

/// How a broadcaster behaves.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Broadcaster {
    /// Submits.
    Works,
    /// No answer of the network: the host reports a failure.
    Unreachable,
    /// Never comes back.
    Hangs,
    /// Says that it did, and did not.
    Lies,
    /// The network refuses the transaction.
    Rejects(String),
}

/// What an application does when it is asked to broadcast. Does not matter if the node has a broadcaster.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Duty {
    /// Nothing.
    Ignores,
    /// Submits to the chain, and says so.
    Submits,
    /// Submits to the chain, and does not say so.
    SubmitsQuietly,
    /// Says so without having done it.
    OnlySays,
    /// Says that it cannot.
    CannotReach,
}

/// What an application does about a proposal.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Consent {
    Joins,
    Declines,
    Waits,
}

/// An application.
#[derive(Clone, Debug)]
pub struct Application {
    pub consent: Consent,
    pub duty: Duty,
    /// Whether it looks at the chain when somebody claims to have broadcast, and notifies if it is there.
    pub checks_claims: bool,
    pub acknowledges: bool,
    /// How long it takes to react.
    pub delay: Duration,
}

/// What becomes of an output, as a hook says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fate {
    /// It is carried out.
    Happens,
    /// It is not carried out.
    Lost,
    /// The node dies before it.
    CrashBefore,
    /// The node dies before it, and this many commits that were not synced survive.
    CrashBeforeKeeping(usize),
    /// The node dies after it.
    CrashAfter,
    /// It is carried out; soon after, when what was sent has arrived, the node loses all connections and its way to
    /// the chain, and goes on.
    CutOffAfter,
}

/// What a cluster is made of.
#[derive(Clone, Debug)]
pub struct Options {
    pub signers: usize,
    pub seed: u64,
    /// BIP-327 by libsecp256k1, or the double.
    pub real: bool,
    pub settings: Settings,
    /// How long a synced commit takes.
    pub sync: Duration,
    /// How long a frame travels, at least.
    pub delay: Duration,
    /// And how much longer at most. Frames on one connection keep their order.
    pub jitter: Duration,
    /// How long a broadcaster or observer takes.
    pub chain: Duration,
    /// How long a signer takes.
    pub sign: Duration,
    /// Whether all envelopes on the wire are kept for an auditor.
    pub audit: bool,
}

impl Options {
    pub fn new(signers: usize) -> Self {
        let settings = Settings { observer: true, broadcaster: true, ..Settings::default() };
        Self {
            signers,
            seed: 1,
            real: false,
            settings,
            sync: Duration::from_millis(2),
            delay: Duration::from_millis(5),
            jitter: Duration::ZERO,
            chain: Duration::from_millis(20),
            sign: Duration::ZERO,
            audit: false,
        }
    }
}

/// One node.
pub struct Node {
    pub key: SignerKey,
    secret: [u8; 32],
    pub signer: Arc<dyn Signer>,
    pub engine: Option<Engine>,
    pub disk: Disk,
    pub settings: Settings,
    pub application: Application,
    pub broadcaster: Broadcaster,
    /// How much later than others its observer sees things. `None`: it cannot be asked.
    pub observer_lag: Option<Duration>,
    /// Its observer never comes back.
    pub observer_hangs: bool,
    /// How often its observer was asked.
    pub observations: u64,
    /// The calendar's error in milliseconds.
    pub skew: i64,
    pub asleep: bool,
    pub cut_off: bool,
    /// What it told its application, and when, in simulated time.
    pub events: Vec<(Duration, SessionEvent)>,
    pub done: Vec<(RequestId, Result<(), Error>)>,
    boot: Duration,
    base: Duration,
    life: u64,
    held: HashMap<SessionId, VecDeque<Output>>,
    tick_at: Option<Duration>,
}

impl Node {
    pub fn alive(&self) -> bool {
        self.engine.is_some()
    }
}

enum What {
    Frame { from: usize, to: usize, connection: u64, frame: Arc<[u8]> },
    Tick(usize),
    Synced { node: usize, life: u64, session: SessionId, commit: u64 },
    Signed { node: usize, life: u64, output: Box<Output> },
    Submit { node: usize, life: u64, session: SessionId, txid: Txid },
    Submitted { node: usize, life: u64, session: SessionId, answer: Result<SubmitOutcome, String> },
    Observe { node: usize, life: u64, session: SessionId, query: ChainQuery },
    React { node: usize, life: u64, event: Box<SessionEvent> },
    Connect { one: usize, other: usize, connection: u64 },
    Call(Box<dyn FnOnce(&mut Cluster)>),
}

struct Entry {
    at: Duration,
    sequence: u64,
    what: What,
}

impl PartialEq for Entry {
    fn eq(&self, other: &Self) -> bool {
        self.sequence == other.sequence
    }
}
impl Eq for Entry {}
impl PartialOrd for Entry {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}
impl Ord for Entry {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        (self.at, self.sequence).cmp(&(other.at, other.sequence))
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
    /// Envelopes that went over the wire, by kind, relayed ones too.
    pub sent: BTreeMap<&'static str, u64>,
    pub frames: u64,
    /// Every envelope that was ever on the wire, if they are audited.
    pub audited: HashMap<Vec<u8>, Envelope>,
    now: Duration,
    sequence: u64,
    queue: BinaryHeap<Reverse<Entry>>,
    links: Vec<Vec<Link>>,
    connections: u64,
    requests: RequestId,
}

impl Cluster {
    pub fn new(options: Options) -> Self {
        Self::with_keys(options.clone(), &(0..options.signers).collect::<Vec<_>>())
    }

    /// One node for each of these keys. Nodes may share one.
    pub fn with_keys(options: Options, keys: &[usize]) -> Self {
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
                observations: 0,
                skew: 0,
                asleep: false,
                cut_off: false,
                events: Vec::new(),
                done: Vec::new(),
                boot: Duration::ZERO,
                base: Duration::from_secs(random.below(1_000_000)),
                life: 0,
                held: HashMap::new(),
                tick_at: None,
            })
            .collect();
        let links = vec![vec![Link::default(); nodes.len()]; nodes.len()];
        let mut cluster = Self {
            options,
            nodes,
            chain: Chain::default(),
            random,
            on_output: None,
            on_envelope: None,
            on_frame: None,
            sent: BTreeMap::new(),
            frames: 0,
            audited: HashMap::new(),
            now: Duration::ZERO,
            sequence: 0,
            queue: BinaryHeap::new(),
            links,
            connections: 0,
            requests: 0,
        };
        for node in 0..cluster.nodes.len() {
            cluster.start(node);
        }
        cluster
    }

    // ---- Time ----

    pub fn now(&self) -> Duration {
        self.now
    }

    pub fn time(&self, node: usize) -> Time {
        let node = &self.nodes[node];
        let wall = (EPOCH.0 + self.now.as_millis() as u64).saturating_add_signed(node.skew);
        Time { wall: UnixMillis(wall), monotonic: self.now - node.boot + node.base }
    }

    fn push(&mut self, after: Duration, what: What) {
        self.sequence += 1;
        self.queue.push(Reverse(Entry { at: self.now + after, sequence: self.sequence, what }));
    }

    /// Runs a part of the script later.
    pub fn after(&mut self, delay: Duration, call: impl FnOnce(&mut Cluster) + 'static) {
        self.push(delay, What::Call(Box::new(call)));
    }

    /// One step of the simulation; `false` if nothing is left to do before `until`.
    pub fn step(&mut self, until: Duration) -> bool {
        if self.queue.peek().is_none_or(|Reverse(entry)| entry.at > until) {
            self.now = self.now.max(until);
            return false;
        }
        let Some(Reverse(Entry { at, what, .. })) = self.queue.pop() else { return false };
        self.now = at;
        self.carry_out(what);
        true
    }

    pub fn run_for(&mut self, duration: Duration) {
        let until = self.now + duration;
        while self.step(until) {}
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
                self.nodes[node].disk.sync(commit);
                let held = self.nodes[node].held.remove(&session).unwrap_or_default();
                for output in held {
                    self.output(node, output);
                }
                self.pump(node);
            }
            What::Signed { node, life, output } if self.nodes[node].life == life => self.sign(node, *output),
            What::Submit { node, life, session, txid } if self.nodes[node].life == life => {
                let answer = self.submit(node, txid);
                if let Some(answer) = answer {
                    self.push(Duration::ZERO, What::Submitted { node, life, session, answer });
                }
            }
            What::Submitted { node, life, session, answer } if self.nodes[node].life == life => {
                self.drive(node, |engine, now| engine.submitted(&session, answer, now));
            }
            What::Observe { node, life, session, query } if self.nodes[node].life == life => {
                self.nodes[node].observations += 1;
                if self.nodes[node].observer_hangs {
                    return;
                }
                let answer = self.observe(node, &query);
                self.drive(node, |engine, now| engine.observed(&session, answer, now));
            }
            What::React { node, life, event } if self.nodes[node].life == life => self.react(node, *event),
            What::Connect { one, other, connection } => {
                if self.links[one][other].connection == connection {
                    let keys = (self.nodes[one].key, self.nodes[other].key);
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
            self.output(node, output);
            if self.nodes[node].life != life {
                return;
            }
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
        let session = match &output {
            Output::Persist { session, .. }
            | Output::Send { session, .. }
            | Output::Sign { session, .. }
            | Output::Forget { session, .. }
            | Output::Submit { session, .. }
            | Output::Observe { session, .. }
            | Output::Done { session, .. } => Some(*session),
            Output::Event { event } => event.session,
        };
        if let Some(held) = session.and_then(|session| self.nodes[node].held.get_mut(&session)) {
            held.push_back(output);
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
            Output::Persist { session, changes, durability } => {
                let commit = self.nodes[node].disk.write(session, changes, self.now);
                if durability == Durability::Synced {
                    if self.options.sync.is_zero() {
                        self.nodes[node].disk.sync(commit);
                    } else {
                        self.nodes[node].held.insert(session, VecDeque::new());
                        self.push(self.options.sync, What::Synced { node, life, session, commit });
                    }
                }
            }
            Output::Send { to, frame, .. } => self.send(node, to, frame),
            Output::Sign { .. } => {
                if self.options.sign.is_zero() {
                    self.sign(node, output);
                } else {
                    self.push(self.options.sign, What::Signed { node, life, output: Box::new(output) });
                }
            }
            Output::Forget { session, attempt } => self.nodes[node].signer.forget(&session, attempt),
            Output::Submit { session, transaction } => {
                self.push(self.options.chain, What::Submit { node, life, session, txid: transaction.txid });
            }
            Output::Observe { session, query } => {
                self.push(self.options.chain, What::Observe { node, life, session, query });
            }
            Output::Event { event } => {
                self.nodes[node].events.push((self.now, event.clone()));
                let delay = self.nodes[node].application.delay;
                self.push(delay, What::React { node, life, event: Box::new(event) });
            }
            Output::Done { request, result, .. } => self.nodes[node].done.push((request, result)),
        }
    }

    fn sign(&mut self, node: usize, output: Output) {
        let Output::Sign { session, ticket, task } = output else { return };
        let result = task.run(self.nodes[node].signer.as_ref());
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
        state.life += 1;
        (state.boot, state.base, state.asleep) = (now, base, false);
        let scheme: Arc<dyn Scheme>;
        if real {
            scheme = Arc::new(Musig2);
            state.signer = Arc::new(LocalSigner::new(state.secret).expect("a small number"));
        } else {
            scheme = Arc::new(Double);
            state.signer = Arc::new(DoubleSigner::new(state.key, random));
        }
        let mut engine = Engine::new(state.key, state.settings.clone(), scheme, Arc::new(DoubleCodec));
        let stored = state.disk.sessions();
        let time = self.time(node);
        for session in stored {
            engine.load(&session, time).expect("what was stored can be read");
        }
        self.nodes[node].engine = Some(engine);
        self.pump(node);
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
        state.engine = None;
        state.held.clear();
        state.tick_at = None;
        state.disk.crash(commits, self.now);
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
        self.drive(node, |engine, now| engine.woke(now));
        self.refresh();
    }

    /// No connection and no way to the chain, or both again.
    pub fn cut_off(&mut self, node: usize, cut_off: bool) {
        self.nodes[node].cut_off = cut_off;
        self.refresh();
    }

    // ---- Network ----

    /// Cuts the link between two nodes, or heals it.
    pub fn cut(&mut self, one: usize, other: usize, cut: bool) {
        self.links[one][other].cut = cut;
        self.links[other][one].cut = cut;
        self.refresh();
    }

    /// Loses this many of a thousand frames in one direction.
    pub fn lose(&mut self, from: usize, to: usize, per_mille: u64) {
        self.links[from][to].loss = per_mille;
    }

    /// Makes one direction slower.
    pub fn slow(&mut self, from: usize, to: usize, by: Duration) {
        self.links[from][to].slower = by;
    }

    fn refresh(&mut self) {
        let able = |node: &Node| node.alive() && !node.asleep && !node.cut_off;
        for one in 0..self.nodes.len() {
            for other in one + 1..self.nodes.len() {
                let (a, b) = (&self.nodes[one], &self.nodes[other]);
                let wanted = able(a) && able(b) && !self.links[one][other].cut && a.key != b.key;
                let there = self.links[one][other].connection != 0;
                if wanted == there {
                    continue;
                }
                let keys = (a.key, b.key);
                if wanted {
                    self.connections += 1;
                    let connection = self.connections;
                    self.links[one][other].connection = connection;
                    self.links[other][one].connection = connection;
                    self.push(self.options.delay, What::Connect { one, other, connection });
                } else {
                    self.links[one][other].connection = 0;
                    self.links[other][one].connection = 0;
                    for (node, key) in [(one, keys.1), (other, keys.0)] {
                        // Another node with the same key may still be there.
                        let others: HashSet<SignerKey> = (0..self.nodes.len())
                            .filter(|peer| self.links[node][*peer].connection != 0)
                            .map(|peer| self.nodes[peer].key)
                            .collect();
                        if !self.nodes[node].asleep && !others.contains(&key) {
                            self.push(
                                Duration::ZERO,
                                What::Call(Box::new(move |cluster| {
                                    cluster.drive(node, |engine, now| engine.disconnected(&key, now));
                                })),
                            );
                        }
                    }
                }
            }
        }
    }

    fn send(&mut self, from: usize, to: SignerKey, frame: Arc<[u8]>) {
        for other in 0..self.nodes.len() {
            if self.nodes[other].key == to && self.links[from][other].connection != 0 {
                self.send_to(from, other, frame.clone());
            }
        }
    }

    fn send_to(&mut self, from: usize, to: usize, frame: Arc<[u8]>) {
        let Some(frame) = self.through_hooks(from, to, frame) else { return };
        self.deliver(from, to, frame);
    }

    /// Puts a frame on the wire as it is.
    pub fn deliver(&mut self, from: usize, to: usize, frame: Arc<[u8]>) {
        self.frames += 1;
        let jitter = self.random.duration(self.options.jitter);
        let lost = self.links[from][to].loss > 0 && self.random.chance(self.links[from][to].loss);
        let link = &mut self.links[from][to];
        let at = (self.now + self.options.delay + link.slower + jitter).max(link.last);
        link.last = at;
        let connection = link.connection;
        if !lost && connection != 0 {
            self.push(at - self.now, What::Frame { from, to, connection, frame });
        }
    }

    fn through_hooks(&mut self, from: usize, to: usize, frame: Arc<[u8]>) -> Option<Arc<[u8]>> {
        let looked_at = self.options.audit || self.on_envelope.is_some() || self.on_frame.is_some();
        if !looked_at {
            return Some(frame);
        }
        let mut message: pb::Frame = wire::decode(&frame, "a frame").expect("nodes send valid frames");
        if self.on_frame.as_mut().is_some_and(|hook| !hook(from, to, &message)) {
            return None;
        }
        let mut envelopes = Vec::new();
        for bytes in &message.envelopes {
            let envelope = Envelope::decode(bytes).expect("nodes send valid envelopes");
            let changed = match &mut self.on_envelope {
                Some(hook) => hook(from, to, &envelope),
                None => vec![envelope],
            };
            for envelope in changed {
                *self.sent.entry(kind_of(envelope.content())).or_default() += 1;
                envelopes.push(envelope.as_bytes().to_vec());
                if self.options.audit {
                    self.audited.insert(envelope.as_bytes().to_vec(), envelope);
                }
            }
        }
        if !message.certificates.is_empty() {
            *self.sent.entry("certificate").or_default() += message.certificates.len() as u64;
        }
        if !message.have.is_empty() {
            *self.sent.entry("have").or_default() += message.have.len() as u64;
        }
        message.envelopes = envelopes;
        Some(wire::encode(&message).into())
    }

    // ---- The chain ----

    fn submit(&mut self, node: usize, txid: Txid) -> Option<Result<SubmitOutcome, String>> {
        if self.nodes[node].cut_off {
            return Some(Err("no network".into()));
        }
        match self.nodes[node].broadcaster.clone() {
            Broadcaster::Works => Some(Ok(self.chain.submit(node, txid, self.now))),
            Broadcaster::Unreachable => Some(Err("cannot be reached".into())),
            Broadcaster::Hangs => None,
            Broadcaster::Lies => Some(Ok(SubmitOutcome::Accepted)),
            Broadcaster::Rejects(reason) => Some(Ok(SubmitOutcome::Rejected(reason))),
        }
    }

    fn observe(&mut self, node: usize, query: &ChainQuery) -> Option<libmusig::types::ChainStatus> {
        let lag = self.nodes[node].observer_lag.filter(|_| !self.nodes[node].cut_off)?;
        Some(self.chain.status(query, self.now.checked_sub(lag)?))
    }

    // ---- Applications ----

    /// A number for a request.
    pub fn request(&mut self) -> RequestId {
        self.requests += 1;
        self.requests
    }

    fn react(&mut self, node: usize, event: SessionEvent) {
        let Some(session) = event.session else { return };
        let application = self.nodes[node].application.clone();
        let request = self.request();
        match &event.event {
            Event::SessionProposed { .. } => match application.consent {
                Consent::Joins => {
                    self.drive(node, |engine, now| engine.join(&session, request, now).ok());
                }
                Consent::Declines => {
                    self.drive(node, |engine, now| engine.decline(&session, "no".into(), request, now).ok());
                }
                Consent::Waits => {}
            },
            Event::ShouldBroadcast { .. } => {
                let broadcasts = self.nodes[node].settings.broadcaster && event_transaction(&event.event);
                if !broadcasts {
                    self.duty(node, session, application.duty);
                }
            }
            Event::BroadcastClaimed { .. } if application.checks_claims && event.durable.is_some() => {
                let known = self.session_txid(node, &session).is_some_and(|txid| self.chain.knows(&txid));
                if known && !self.nodes[node].cut_off {
                    self.notify(node, session);
                }
            }
            _ => {}
        }
        if let Some(kind) = event.durable.filter(|_| application.acknowledges) {
            self.drive(node, |engine, now| engine.acknowledge(&session, kind, now));
        }
    }

    /// The transaction of a session; a session of raw messages stands for one that is named by its id.
    fn session_txid(&mut self, node: usize, session: &SessionId) -> Option<Txid> {
        let engine = self.nodes[node].engine.as_ref()?;
        Some(engine.final_transaction(session).map_or(Txid(session.0), |transaction| transaction.txid))
    }

    fn duty(&mut self, node: usize, session: SessionId, duty: Duty) {
        let Some(txid) = self.session_txid(node, &session) else { return };
        if self.nodes[node].cut_off {
            return;
        }
        match duty {
            Duty::Ignores => {}
            Duty::Submits => {
                self.chain.submit(node, txid, self.now);
                self.notify(node, session);
            }
            Duty::SubmitsQuietly => {
                self.chain.submit(node, txid, self.now);
            }
            Duty::OnlySays => self.notify(node, session),
            Duty::CannotReach => {
                let request = self.request();
                self.drive(node, |engine, now| {
                    engine.report_broadcast_failed(&session, "no network".into(), request, now).ok()
                });
            }
        }
    }

    pub fn notify(&mut self, node: usize, session: SessionId) {
        let request = self.request();
        self.drive(node, |engine, now| engine.notify_broadcast(&session, None, request, now).ok());
    }

    /// Terms of a session of all nodes that spends a new output.
    pub fn terms(&mut self) -> Terms {
        let spent = OutPoint { txid: Txid(self.random.bytes()), vout: 0 };
        let (transaction, messages) = transaction(&[spent], b"");
        let mut signers: Vec<SignerKey> = Vec::new();
        for node in &self.nodes {
            if !signers.contains(&node.key) {
                signers.push(node.key);
            }
        }
        Terms {
            entropy: self.random.bytes(),
            proposer: 0,
            signers,
            key_order: KeyOrder::Sorted,
            tweaks: Vec::new(),
            messages,
            transaction: Some(transaction),
            election_method: ElectionMethod::FirstSigner,
            failover: FailoverPolicy {
                enabled: true,
                broadcast_timeout: Duration::from_secs(10),
                tiers: Tiers::Single,
            },
            expires_at: EPOCH.saturating_add(self.now + Duration::from_secs(24 * 3600)),
            metadata: Vec::new(),
            replaces: None,
        }
    }

    /// Terms of a session that signs a raw message.
    pub fn raw_terms(&mut self) -> Terms {
        let messages = vec![Message::raw(self.random.bytes(), None)];
        Terms { transaction: None, messages, ..self.terms() }
    }

    /// Proposes a session at a node, after a change of its terms.
    pub fn create(&mut self, node: usize, change: impl FnOnce(&mut Terms)) -> SessionId {
        let mut terms = self.terms();
        change(&mut terms);
        self.create_with(node, terms)
    }

    pub fn create_with(&mut self, node: usize, mut terms: Terms) -> SessionId {
        terms.proposer = terms.index_of(&self.nodes[node].key).expect("the node is a signer");
        let proposal = Proposal::new(terms).expect("valid terms");
        self.chain.learn(&proposal);
        let request = self.request();
        self.drive(node, |engine, now| engine.create(proposal, request, now))
            .expect("the node runs")
            .expect("a new session")
    }

    /// Runs until all nodes that are alive hold the certificate.
    pub fn complete(&mut self, session: &SessionId) {
        let done = self.run_until(Duration::from_secs(60), |cluster| cluster.all_hold(session));
        assert!(done, "the session completes");
    }

    /// A request of the application; its error if it failed at once.
    pub fn ask(
        &mut self,
        node: usize,
        request: impl FnOnce(&mut Engine, RequestId, Time) -> Result<(), Error>,
    ) -> Result<(), Error> {
        let number = self.request();
        self.drive(node, |engine, now| request(engine, number, now)).expect("the node runs")
    }

    // ---- Questions ----

    /// Who submitted.
    pub fn submitters(&self) -> Vec<usize> {
        self.chain.submissions.iter().map(|submission| submission.node).collect()
    }

    pub fn status(&mut self, node: usize, session: &SessionId) -> SessionStatus {
        let now = self.time(node);
        let engine = self.nodes[node].engine.as_mut().expect("the node runs");
        engine.status(session, now).expect("it knows the session")
    }

    /// What an auditor makes of everything that was on the wire about a session.
    pub fn audit(&self, proposal: &Proposal) -> Findings {
        let scheme: &dyn Scheme = if self.options.real { &Musig2 } else { &Double };
        audit(scheme, proposal, self.audited.values())
    }

    /// The engine of a node that runs.
    pub fn engine(&self, node: usize) -> &Engine {
        self.nodes[node].engine.as_ref().expect("the node runs")
    }

    pub fn holds(&self, node: usize, session: &SessionId) -> bool {
        self.nodes[node].engine.as_ref().is_some_and(|engine| engine.certificate(session).is_some())
    }

    /// Whether all nodes that are alive hold the certificate.
    pub fn all_hold(&self, session: &SessionId) -> bool {
        (0..self.nodes.len()).filter(|node| self.nodes[*node].alive()).all(|node| self.holds(node, session))
    }

    /// The events of a session at a node, with their times.
    pub fn events<'a>(
        &'a self,
        node: usize,
        session: &'a SessionId,
    ) -> impl Iterator<Item = (Duration, &'a Event)> {
        let events = self.nodes[node].events.iter();
        events.filter(|(_, event)| event.session == Some(*session)).map(|(at, event)| (*at, &event.event))
    }

    /// The names of the events of a session at a node.
    pub fn names(&self, node: usize, session: &SessionId) -> Vec<String> {
        self.events(node, session).map(|(_, event)| name_of(event)).collect()
    }

    pub fn count(&self, node: usize, session: &SessionId, name: &str) -> usize {
        self.names(node, session).iter().filter(|each| *each == name).count()
    }

    /// When a node became a holder.
    pub fn became_holder(&self, node: usize, session: &SessionId) -> Option<Duration> {
        self.events(node, session)
            .find(|(_, event)| matches!(event, Event::SessionComplete { .. }))
            .map(|(at, _)| at)
    }

    /// Signs as a node: for signers that do what no honest one does.
    pub fn forge(&self, node: usize, session: SessionId, signer: usize, content: Content) -> Envelope {
        let body = Body { session, signer, content };
        let signature = self.nodes[node].signer.sign(&envelope_id(&body.encode()).0).expect("not locked");
        Envelope::new(body, signature)
    }

    /// Sends envelopes from a node to a node.
    pub fn inject(&mut self, from: usize, to: usize, envelopes: &[Envelope]) {
        let envelopes = envelopes.iter().map(|envelope| envelope.as_bytes().to_vec()).collect();
        let frame = pb::Frame { envelopes, ..pb::Frame::default() };
        self.deliver(from, to, wire::encode(&frame).into());
    }
}

fn event_transaction(event: &Event) -> bool {
    matches!(event, Event::ShouldBroadcast { transaction: Some(_), .. })
}

/// The name of an event.
pub fn name_of(event: &Event) -> String {
    let text = format!("{event:?}");
    text.split([' ', '{', '(']).next().unwrap_or_default().to_owned()
}

/// The name of a kind of envelope.
pub fn kind_of(content: &Content) -> &'static str {
    match content {
        Content::Proposal(_) => "proposal",
        Content::Accept => "accept",
        Content::Nonces { .. } => "nonces",
        Content::Partial { .. } => "partial",
        Content::Restart { .. } => "restart",
        Content::Decline { .. } => "decline",
        Content::Abort { .. } => "abort",
        Content::Claim { .. } => "claim",
        Content::Nack { .. } => "nack",
    }
}
