//! The actor: one task that owns the engine, and carries out its outputs.

mod life;
#[cfg(feature = "bitcoin")]
mod wallet;

use std::collections::HashMap;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use tokio::sync::{mpsc, oneshot};
use tracing::Span;

use super::device::Device;
use super::disk::{Disk, News};
use super::gate::Gate;
use super::log;
use super::reply::FailureMark;
use super::sequence::Sequence;
use super::timings::Timings;
#[cfg(feature = "bitcoin")]
use crate::chain::wallet::Wallet;
use crate::chain::{Broadcaster, ChainObserver};
use crate::error::{Error, SignerError, StoreError};
use crate::event::delivery::Delivery;
use crate::event::failures::Failures;
use crate::event::lane::{Lane, LaneOutcome};
use crate::mutation::{self, Mutation};
use crate::net::{Multiaddr, NetCommand, NetEvent, Network, PresenceRecord, presence_digest, seal_presence};
use crate::platform;
use crate::protocol::engine::Engine;
use crate::protocol::envelope::Envelope;
use crate::protocol::event::{Event, SessionEvent};
use crate::protocol::limits;
use crate::protocol::{Output, RequestId, Ticket, Time};
use crate::signer::{Identity, KeyCheck, NodeSigner, SignTask, Signer};
use crate::store::schema;
use crate::store::thread::StoreThread;
use crate::types::{ChainError, SessionId, SignerKey, SubmitOutcome, beginning};

/// Time limits of calls of foreign code, after which the node continues without an answer.
pub(crate) const SIGNER_LIMIT: Duration = Duration::from_secs(60);
pub(crate) const CHAIN_LIMIT: Duration = Duration::from_secs(30);
/// How long the observer is not asked again whether the chain is congested.
const CONGESTION_EVERY: Duration = Duration::from_secs(60);
/// Longest time for which frames are processed before the engine's timers are.
const BURST: Duration = Duration::from_millis(5);
/// Longest sleep, so that a device's sleep is noticed.
const LONGEST_SLEEP: Duration = Duration::from_secs(30);

/// Input for the engine: the answer of a foreign object.
type Answer = Box<dyn FnOnce(&mut Engine, Time) + Send>;
/// Callback with the outcome of the application's request.
type Finish = Box<dyn FnOnce(Result<(), Error>) + Send>;

/// Input of the actor.
pub(crate) enum Command {
    /// A call of the application.
    Call(Box<dyn FnOnce(&mut Actor) + Send>),
    /// A batch was committed, or failed.
    Committed { batch: u64, result: Result<(), StoreError> },
    /// A foreign object answered.
    Answered(Answer),
    /// The identity key signed a presence record, or could not.
    Presence { record: Vec<u8>, result: Result<crate::types::Signature, SignerError> },
    /// Stop.
    Stop,
}

pub(crate) type Commands = mpsc::UnboundedSender<Command>;

/// A foreign object with its lane.
pub(crate) struct Foreign<T: ?Sized> {
    pub object: Arc<T>,
    pub lane: Arc<Lane>,
}

pub(crate) struct Actor {
    failure: FailureMark,
    pub engine: Engine,
    pub store: Arc<StoreThread>,
    /// The store's file, if it is one.
    pub store_file: Option<PathBuf>,
    pub network: Option<Network>,
    pub signer: NodeSigner,
    pub signer_lane: Option<Arc<Lane>>,
    /// The foreign signer, if it is one that is waited for.
    pub device: Option<Device>,
    /// The application's own.
    #[cfg(feature = "bitcoin")]
    pub wallet: Wallet,
    /// Its records, until they are derived.
    #[cfg(feature = "bitcoin")]
    stored_wallet: Vec<Vec<u8>>,
    /// While they are.
    #[cfg(feature = "bitcoin")]
    wallet_waits: Option<wallet::Waiting>,
    pub broadcaster: Option<Foreign<dyn Broadcaster>>,
    pub observer: Option<Foreign<dyn ChainObserver>>,
    pub delivery: Arc<Delivery>,
    disk: Disk,
    pub commands: Commands,
    pub listening: Vec<Multiaddr>,
    sequence: Sequence,
    pub peer_of: HashMap<SignerKey, String>,
    pub suspended: bool,
    /// How often it was suspended.
    suspensions: u64,
    /// Callers that resumed it after a failure of the store, and wait for the first commit.
    resuming: Vec<oneshot::Sender<Result<(), Error>>>,
    requests: HashMap<RequestId, Finish>,
    next_request: RequestId,
    envelopes_sent: u64,
    clocks: (Time, Instant),
    /// Shared with the broadcaster's lane.
    timings: Arc<Mutex<Timings>>,
    broadcaster_failures: Failures,
    observer_failures: Failures,
    /// When the observer was asked last whether the chain is congested.
    congestion_asked: Option<Instant>,
}

/// Foreign object that is asked about the chain.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Asked {
    Broadcaster,
    Observer,
}

/// Parts of an actor.
pub(crate) struct Parts {
    pub failure: FailureMark,
    pub engine: Engine,
    pub store: Arc<StoreThread>,
    pub store_file: Option<PathBuf>,
    pub network: Option<Network>,
    pub signer: NodeSigner,
    pub signer_lane: Option<Arc<Lane>>,
    /// The foreign signer, if it is one that is waited for.
    pub device: Option<Device>,
    /// The records of the own wallet's descriptors.
    #[cfg(feature = "bitcoin")]
    pub stored_wallet: Vec<Vec<u8>>,
    pub broadcaster: Option<Foreign<dyn Broadcaster>>,
    pub observer: Option<Foreign<dyn ChainObserver>>,
    pub delivery: Arc<Delivery>,
    pub commands: Commands,
    pub sequence: Sequence,
}

impl Actor {
    pub(crate) fn new(parts: Parts) -> Self {
        let Parts {
            failure,
            engine,
            store,
            store_file,
            network,
            signer,
            signer_lane,
            device,
            #[cfg(feature = "bitcoin")]
            stored_wallet,
            broadcaster,
            observer,
            delivery,
            commands,
            sequence,
        } = parts;
        let gate = Arc::new(Gate::new(delivery.clone()));
        let disk = Disk::new(store.clone(), commands.clone(), gate);
        Self {
            failure,
            engine,
            store,
            store_file,
            network,
            signer,
            signer_lane,
            device,
            #[cfg(feature = "bitcoin")]
            wallet: Wallet::default(),
            #[cfg(feature = "bitcoin")]
            stored_wallet,
            #[cfg(feature = "bitcoin")]
            wallet_waits: None,
            broadcaster,
            observer,
            delivery,
            disk,
            commands,
            listening: Vec::new(),
            sequence,
            peer_of: HashMap::new(),
            suspended: false,
            suspensions: 0,
            resuming: Vec::new(),
            requests: HashMap::new(),
            next_request: 0,
            envelopes_sent: 0,
            clocks: (platform::now(), Instant::now()),
            timings: Arc::new(Mutex::new(Timings::new())),
            broadcaster_failures: Failures::default(),
            observer_failures: Failures::default(),
            congestion_asked: None,
        }
    }

    /// Runs until it is stopped.
    pub(crate) async fn run(
        mut self,
        mut commands: mpsc::UnboundedReceiver<Command>,
        mut events: mpsc::Receiver<NetEvent>,
    ) {
        // Dropped before the inbox: whoever finds that closed can tell a fault from a stop.
        let _failure = self.failure.clone();
        #[cfg(feature = "bitcoin")]
        self.load_wallet();
        self.seek().await;
        self.carry_out_and_commit();
        let mut network_open = self.network.is_some();
        loop {
            let sleep = self.sleep();
            tokio::select! {
                biased;
                command = commands.recv() => {
                    let Some(command) = command else { break };
                    if !self.command(command).await { break }
                    // What waits already is taken in one go, so that its writes become one commit.
                    let mut running = true;
                    while let Ok(command) = commands.try_recv() {
                        running = self.command(command).await;
                        if !running { break }
                    }
                    if !running { break }
                }
                event = events.recv(), if network_open && !self.suspended && !self.disk.is_overfull() => match event {
                    Some(event) => {
                        self.network_event(event).await;
                        // More that waits, so that its writes become one commit; but no timer is kept waiting.
                        let begun = Instant::now();
                        while begun.elapsed() < BURST {
                            let Ok(event) = events.try_recv() else { break };
                            self.network_event(event).await;
                        }
                    }
                    None => network_open = false,
                },
                () = tokio::time::sleep(sleep) => {}
            }
            self.check_clocks();
            if !self.suspended {
                let now = platform::now();
                if self.engine.next_timeout().is_some_and(|at| at <= now.monotonic) {
                    self.engine.tick(now);
                }
                let news = self.disk.pass_time(Instant::now());
                self.hear(news);
            }
            self.carry_out_and_commit();
            self.seek().await;
        }
        // What was called for before the stop, an acknowledgement perhaps, is stored.
        self.carry_out_all();
        if !self.suspended {
            self.disk.hand_over_now(Instant::now());
        }
        self.end(commands).await;
    }

    /// How long nothing is to be done unless something comes in.
    fn sleep(&self) -> Duration {
        if self.suspended {
            return LONGEST_SLEEP;
        }
        let now = platform::now().monotonic;
        let engine = self.engine.next_timeout().map(|at| at.saturating_sub(now));
        let disk = self.disk.next_timeout().map(|at| at.saturating_duration_since(Instant::now()));
        [engine, disk, Some(LONGEST_SLEEP)].into_iter().flatten().min().unwrap_or(LONGEST_SLEEP)
    }

    async fn command(&mut self, command: Command) -> bool {
        match command {
            Command::Call(call) => call(self),
            Command::Committed { batch, result } => {
                let news = self.disk.committed(batch, result, Instant::now());
                self.hear(news);
            }
            Command::Answered(answer) => answer(&mut self.engine, platform::now()),
            Command::Presence { record, result } => match result {
                Ok(signature) => {
                    if let Some(network) = &self.network {
                        network.command(NetCommand::SetPresence(seal_presence(record, &signature))).await;
                    }
                }
                Err(error) => self.notice(Event::SignerFailed { error }),
            },
            Command::Stop => return false,
        }
        true
    }

    pub(super) fn timings(&self) -> MutexGuard<'_, Timings> {
        lock(&self.timings)
    }

    fn notice(&self, event: Event) {
        self.delivery.push(SessionEvent { session: None, event, durable: None });
    }

    // ---- The network ----

    async fn network_event(&mut self, event: NetEvent) {
        let now = platform::now();
        match event {
            NetEvent::Listening(addresses) => {
                self.listening = addresses;
                self.sign_presence();
            }
            NetEvent::SignerConnected { key, peer } => {
                tracing::debug!(target: log::NET, signer = %key, %peer, "a signer connected");
                self.peer_of.insert(key, peer.to_string());
                self.notice(Event::PeerConnected { peer: peer.to_string(), signer: Some(key) });
                self.engine.connected(key, now);
            }
            NetEvent::SignerDisconnected { key } => {
                let peer = self.peer_of.remove(&key).unwrap_or_default();
                tracing::debug!(target: log::NET, signer = %key, peer, "a signer disconnected");
                self.engine.disconnected(&key, now);
                self.notice(Event::PeerDisconnected { peer, signer: Some(key) });
            }
            NetEvent::Heard { key } => self.engine.heard(key, now),
            NetEvent::SignerSilent { key, silence } => {
                tracing::debug!(target: log::NET, signer = %key, ?silence, "a signer does not answer");
                self.engine.silent(key, silence, now);
            }
            NetEvent::Frame { from, frame } => {
                let result = self.engine.frame(from, &frame, now);
                // What it leads to leaves at once: nothing piles up here under a peer's control.
                self.carry_out_all();
                if let Err(error) = result {
                    tracing::debug!(target: log::NET, %from, %error, "a frame was refused");
                    if error.is_violation()
                        && let Some(network) = &self.network
                    {
                        network.try_command(NetCommand::Violation(from));
                    }
                }
            }
            NetEvent::PresenceLearned { key, bytes } => {
                self.disk.put(schema::put_presence(key, bytes));
            }
            NetEvent::PresenceReturned { sequence } => {
                // This node's clock, or that of the time before its restart, is or was wrong.
                if self.sequence.returned(sequence) {
                    self.sign_presence();
                }
            }
            NetEvent::PartnerKnown { key } => self.disk.put(schema::put_partner(key)),
            NetEvent::PresencesForgotten { keys } => {
                for key in keys {
                    self.disk.put(schema::drop_presence(key));
                    self.disk.put(schema::drop_partner(key));
                }
            }
            NetEvent::Degraded(reason) => {
                tracing::warn!(target: log::NET, reason, "part of the network does not work");
                self.notice(Event::NetworkDegraded { reason });
            }
            NetEvent::Unreachable { address, signer, cause, retry } => {
                let address = address.map(|address| address.to_string());
                match (&address, &signer) {
                    (Some(address), _) => {
                        tracing::info!(target: log::NET, address, cause, ?retry, "a peer cannot be reached");
                    }
                    (None, Some(signer)) => {
                        tracing::info!(target: log::NET, %signer, cause, ?retry, "a signer cannot be reached");
                    }
                    (None, None) => {}
                }
                let next_try_at = retry.map(|retry| now.wall.saturating_add(retry));
                self.notice(Event::PeerUnreachable { address, signer, cause, next_try_at });
            }
            NetEvent::PeerConnected { .. } | NetEvent::PeerDisconnected { .. } => {}
        }
    }

    /// Signs where this node is to be found, so that others know for which signer it speaks.
    pub(crate) fn sign_presence(&mut self) {
        let Some(network) = &self.network else { return };
        let sequence = self.sequence.next(platform::now().wall);
        let record = PresenceRecord {
            signer: *self.engine.own_key(),
            peer: network.local_peer_id(),
            addresses: self.listening.clone(),
            sequence,
        };
        self.disk.put(schema::put_sequence(sequence));
        let record = record.encode();
        let result = self.signer.identity().sign(&presence_digest(&record));
        drop(self.commands.send(Command::Presence { record, result }));
    }

    /// Keeps looking for the signers of open sessions, and asks those for signs of life in whose sessions a turn approaches.
    async fn seek(&mut self) {
        let Some(network) = &self.network else { return };
        if let Some(asked) = self.engine.asked_signers_if_changed() {
            network.command(NetCommand::Ask(asked.into_iter().collect())).await;
        }
        if let Some(wanted) = self.engine.wanted_signers_if_changed() {
            network.command(NetCommand::Seek(wanted.into_iter().collect())).await;
        }
    }

    // ---- The signer ----

    /// Runs what needs the foreign signer on its lane.
    fn on_signer_lane<R: Send + 'static>(
        &self,
        work: impl FnOnce(&NodeSigner) -> Result<R, SignerError> + Send + 'static,
        done: impl FnOnce(Result<R, SignerError>) + Send + 'static,
    ) {
        let Some(lane) = &self.signer_lane else {
            return done(Err(SignerError::Other("it has no thread".into())));
        };
        let signer = self.signer.clone();
        let failed = |why: &str| Err(SignerError::Other(why.into()));
        lane.call(
            Some(SIGNER_LIMIT),
            move || work(&signer),
            move |outcome| {
                done(match outcome {
                    LaneOutcome::Done(result) => result,
                    LaneOutcome::TimedOut => failed("it did not answer in time"),
                    LaneOutcome::Panicked => failed("it panicked"),
                    LaneOutcome::Full => failed("too many requests wait for it"),
                    LaneOutcome::Stopped => failed("the node is stopping"),
                });
            },
        );
    }

    fn sign(&mut self, session: SessionId, ticket: Ticket, task: SignTask) {
        let span = log::sign(&session, &task);
        if self.signer.does_alone(&task) {
            let result = span.in_scope(|| task.run(self.signer.identity(), &self.signer));
            self.engine.signed(&session, ticket, result, platform::now());
            return;
        }
        let commands = self.commands.clone();
        let within = span.clone();
        let done = move |result| {
            drop(span);
            let answer = move |engine: &mut Engine, now| engine.signed(&session, ticket, result, now);
            drop(commands.send(Command::Answered(Box::new(answer))));
        };
        if self.device.is_some() {
            return self.await_device(task, within, done);
        }
        self.on_signer_lane(move |signer| within.in_scope(|| task.run(signer.identity(), signer)), done);
    }

    /// Runs what needs the device on a thread of its own: it may take until the session expires, and nobody else waits
    /// for that. The device's signer bounds how many there are.
    fn await_device(
        &self,
        task: SignTask,
        span: Span,
        done: impl FnOnce(Result<Envelope, SignerError>) + Send + Clone + 'static,
    ) {
        let (signer, answer) = (self.signer.clone(), done.clone());
        let work = move || {
            let run = || span.in_scope(|| task.run(signer.identity(), &signer));
            let run = catch_unwind(AssertUnwindSafe(run));
            drop(span);
            answer(run.unwrap_or_else(|_| Err(SignerError::Other("it panicked".into()))));
        };
        if let Err(error) = std::thread::Builder::new().name("musig-device".into()).spawn(work) {
            done(Err(SignerError::Other(format!("the system started no thread for it ({error})"))));
        }
    }

    fn check_keys(&self, session: SessionId, check: KeyCheck) {
        let commands = self.commands.clone();
        let device = self.device.clone();
        self.on_signer_lane(
            move |signer| {
                let checked = check.run(|key, origin| Signer::holds(signer, key, origin));
                let refused = device.and_then(|device| device.refuses(&check));
                Ok(checked.and_then(|()| refused.map_or(Ok(()), |error| Err(error.into()))))
            },
            move |result| {
                let result = result.map_err(Error::Signer).flatten();
                let answer = move |engine: &mut Engine, now| engine.keys_checked(&session, result, now);
                drop(commands.send(Command::Answered(Box::new(answer))));
            },
        );
    }

    // ---- The application ----

    /// Runs a request that the engine answers with `Output::Done`. One that needs the disk is refused while that takes
    /// no commits.
    pub(crate) fn request<T: Send + 'static>(
        &mut self,
        needs_disk: bool,
        reply: oneshot::Sender<Result<T, Error>>,
        begin: impl FnOnce(&mut Engine, RequestId, Time) -> Result<T, Error>,
    ) {
        if let Some(error) = self.refuses(needs_disk) {
            let _ = reply.send(Err(error));
            return;
        }
        self.next_request += 1;
        let request = self.next_request;
        match begin(&mut self.engine, request, platform::now()) {
            Ok(value) => {
                let done = move |result: Result<(), Error>| drop(reply.send(result.map(|()| value)));
                self.requests.insert(request, Box::new(done));
            }
            Err(error) => drop(reply.send(Err(error))),
        }
    }

    /// Error of every request now, if there is one.
    pub(crate) fn refuses(&self, needs_disk: bool) -> Option<Error> {
        if self.suspended {
            return Some(Error::Suspended);
        }
        self.disk.error().filter(|_| needs_disk).cloned().map(Error::Store)
    }

    // ---- The chain ----

    /// Takes the answer to a submission.
    fn submitted(&mut self, session: SessionId, outcome: LaneOutcome<Result<SubmitOutcome, ChainError>>) {
        let stopping = matches!(outcome, LaneOutcome::Stopped);
        let answer = self.heard(Asked::Broadcaster, session, outcome);
        if !stopping {
            tracing::debug!(target: log::CHAIN, %session, ?answer, "a submission was answered");
            self.disk.report(session, Event::submitted(&answer), Instant::now());
        }
        self.engine.submitted(&session, answer, platform::now());
    }

    /// Answer of foreign code. One that is late or missing counts as a Bitcoin backend that cannot be reached, and is
    /// reported: whoever wrote that code finds out here what is wrong with it.
    fn heard<R>(
        &mut self,
        asked: Asked,
        session: SessionId,
        outcome: LaneOutcome<Result<R, ChainError>>,
    ) -> Result<R, String> {
        let who = match asked {
            Asked::Broadcaster => "the broadcaster",
            Asked::Observer => "the observer",
        };
        let answer = match outcome {
            LaneOutcome::Done(result) => result.map_err(|error| error.reason),
            LaneOutcome::TimedOut => Err(format!("{who} did not answer within {} s", CHAIN_LIMIT.as_secs())),
            LaneOutcome::Panicked => Err(format!("{who} panicked")),
            LaneOutcome::Full => Err(format!("too many requests wait for {who}")),
            LaneOutcome::Stopped => return Err("the node is stopping".into()),
        };
        let failures = match asked {
            Asked::Broadcaster => &mut self.broadcaster_failures,
            Asked::Observer => &mut self.observer_failures,
        };
        match &answer {
            Ok(_) => failures.answered(),
            Err(reason) => {
                let reason = beginning(reason, limits::WORDS).to_owned();
                if let Some(failures) = failures.failed(&reason, Instant::now()) {
                    tracing::warn!(target: log::CHAIN, %session, reason, failures, "{who} failed");
                    let event = match asked {
                        Asked::Broadcaster => Event::BroadcasterFailed { reason, failures },
                        Asked::Observer => Event::ObserverFailed { reason, failures },
                    };
                    self.disk.report(session, event, Instant::now());
                }
            }
        }
        answer
    }

    /// Asks the observer whether the chain is congested, after a look at it. What it does not know, or does not answer,
    /// stretches no pace.
    fn ask_congestion(&mut self, session: SessionId) {
        if mutation::on(Mutation::CongestionUnasked) {
            return;
        }
        let (now, Some(Foreign { object, lane })) = (Instant::now(), &self.observer) else { return };
        if self.congestion_asked.is_some_and(|at| now.saturating_duration_since(at) < CONGESTION_EVERY) {
            return;
        }
        self.congestion_asked = Some(now);
        let (object, commands) = (object.clone(), self.commands.clone());
        let span = log::observe(&session, "congestion");
        let within = span.clone();
        let question = move || within.in_scope(|| object.congested());
        lane.call(Some(CHAIN_LIMIT), question, move |outcome| {
            drop(span);
            answer(&commands, move |actor| {
                let congested = actor.heard(Asked::Observer, session, outcome).ok().flatten();
                tracing::debug!(target: log::CHAIN, ?congested, "the observer answered");
                actor.engine.congested(congested == Some(true));
            });
        });
    }

    // ---- Carrying out ----

    /// Carries out all outputs of the engine, and hands the changes to the store as one batch.
    pub(crate) fn carry_out_and_commit(&mut self) {
        self.carry_out_all();
        // A suspended store takes nothing: what comes meanwhile waits for the resumption.
        if !self.suspended {
            self.disk.hand_over(Instant::now());
        }
    }

    /// Carries out all outputs of the engine, and collects the changes to store.
    fn carry_out_all(&mut self) {
        while let Some(output) = self.engine.poll_output() {
            match output {
                Output::Sign { session, ticket, task } => self.sign(session, ticket, *task),
                Output::Persist { session, changes, durability, barrier } => {
                    self.disk.persist(session, changes, durability, barrier);
                }
                output => {
                    if let Output::Event { event } = &output {
                        self.timings().event(event, Instant::now());
                        log::event(event);
                    }
                    if let Some(output) = self.disk.pass(output, Instant::now()) {
                        self.carry_out(output);
                    }
                }
            }
        }
        // With what led to them, and without a sync of their own.
        for (signer, record) in self.engine.take_changed_reputations() {
            self.disk.put(schema::change_reputation(signer, record));
        }
    }

    /// What became of the disk.
    fn hear(&mut self, news: News) {
        let News { ready, commit, is_first_failure } = news;
        if let Some(Err(error)) = commit.clone().filter(|_| is_first_failure) {
            self.notice(Event::StoreFailed { error });
        }
        if let Some(result) = commit {
            self.answer_resuming(result);
        }
        ready.into_iter().for_each(|output| self.carry_out(output));
    }

    fn carry_out(&mut self, output: Output) {
        match output {
            Output::Send { to, frame, .. } => {
                if let Some(network) = &self.network {
                    self.envelopes_sent += u64::from(network.send(&to, frame));
                }
            }
            Output::Event { event } => self.delivery.push(event),
            Output::Done { request, result, .. } => {
                if let Some(done) = self.requests.remove(&request) {
                    done(result);
                }
            }
            Output::Forget { session, attempt } => {
                self.signer.identity().forget(&session, attempt);
                if let Some(foreign) = self.signer.foreign().cloned() {
                    self.on_signer_lane(
                        move |_| {
                            foreign.forget(&session, attempt);
                            Ok(())
                        },
                        |_| {},
                    );
                }
            }
            Output::CheckKeys { session, check } => self.check_keys(session, *check),
            Output::Submit { session, transaction } => {
                let Some(Foreign { object, lane }) = &self.broadcaster else { return };
                let (object, commands) = (object.clone(), self.commands.clone());
                let (timings, begun) = (self.timings.clone(), Instant::now());
                self.timings().submits(&session, begun);
                let span = log::submit(&session);
                let within = span.clone();
                lane.call(
                    Some(CHAIN_LIMIT),
                    move || within.in_scope(|| object.submit(&transaction)),
                    move |outcome| {
                        drop(span);
                        lock(&timings).submitted(begun.elapsed());
                        answer(&commands, move |actor| actor.submitted(session, outcome));
                    },
                );
            }
            Output::Observe { session, query } => {
                let Some(Foreign { object, lane }) = &self.observer else { return };
                let (object, commands) = (object.clone(), self.commands.clone());
                let span = log::observe(&session, "transaction");
                let within = span.clone();
                let question = move || within.in_scope(|| object.status(&query));
                lane.call(Some(CHAIN_LIMIT), question, move |outcome| {
                    drop(span);
                    answer(&commands, move |actor| {
                        let status = actor.heard(Asked::Observer, session, outcome).ok();
                        tracing::debug!(target: log::CHAIN, %session, ?status, "the observer answered");
                        actor.engine.observed(&session, status, platform::now());
                    });
                });
                self.ask_congestion(session);
            }
            Output::Coins { session, request, coins } => {
                let Some(Foreign { object, lane }) = &self.observer else { return };
                let (object, commands) = (object.clone(), self.commands.clone());
                let span = log::observe(&session, "coins");
                let within = span.clone();
                let question = move || {
                    let each = || coins.iter().map(|coin| object.coin(coin)).collect::<Result<Vec<_>, _>>();
                    within.in_scope(each)
                };
                lane.call(Some(CHAIN_LIMIT), question, move |outcome| {
                    drop(span);
                    answer(&commands, move |actor| {
                        let coins = actor.heard(Asked::Observer, session, outcome);
                        tracing::debug!(target: log::CHAIN, %session, ?coins, "the observer answered");
                        actor.engine.coins(request, coins, platform::now());
                    });
                });
            }
            Output::Tip { session, coins } => {
                let Some(Foreign { object, lane }) = &self.observer else { return };
                let (object, commands) = (object.clone(), self.commands.clone());
                let span = log::observe(&session, "tip");
                let within = span.clone();
                let question = move || {
                    let _within = within.entered();
                    let Some(tip) = object.tip()? else { return Ok(None) };
                    let coins: Result<Vec<_>, _> = coins.iter().map(|coin| object.coin(coin)).collect();
                    Ok(Some((tip, coins?)))
                };
                lane.call(Some(CHAIN_LIMIT), question, move |outcome| {
                    drop(span);
                    answer(&commands, move |actor| {
                        let tip = actor.heard(Asked::Observer, session, outcome).ok().flatten();
                        tracing::debug!(target: log::CHAIN, %session, ?tip, "the observer answered");
                        actor.engine.tip(&session, tip, platform::now());
                    });
                });
            }
            Output::Persist { .. } | Output::Sign { .. } => unreachable!("taken by carry_out_all"),
        }
    }
}

/// Hands the answer of a foreign object to the actor.
fn answer(commands: &Commands, take: impl FnOnce(&mut Actor) + Send + 'static) {
    drop(commands.send(Command::Call(Box::new(take))));
}

fn lock(timings: &Mutex<Timings>) -> MutexGuard<'_, Timings> {
    timings.lock().unwrap_or_else(PoisonError::into_inner)
}
