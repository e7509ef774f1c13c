//! The node.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use tokio::sync::{Notify, oneshot};
use tracing::Dispatch;

use super::chain::{Broadcaster, ChainObserver, ForeignBroadcaster, ForeignObserver};
use super::error::MusigError;
use super::event::NodeEvent;
use super::live::{Live, Unused};
use super::log::{self, LogLevel, LogSink};
use super::psbt::Descriptor;
use super::psbt_signer::PsbtSigner;
use super::request::SessionRequest;
use super::session::Session;
use super::signer::{ForeignSigner, LocalSigner, Signer};
use super::status::SessionStatus;
use crate::chain::wallet::OwnDescriptor as CoreDescriptor;
use crate::node::{self as core, NodeBuilder, Reply};
pub use crate::node::{DhtMode, MetricKind, MetricsFormat, RuntimeProfile};
use crate::protocol::EarlyTurns;
use crate::protocol::consent::AcceptedProposers;
use crate::protocol::reputation::Reputation;
use crate::store::memory::MemoryStore;
use crate::types::{SessionId, SignerKey};

/// Storage of a node's sessions.
#[derive(Clone, Debug, PartialEq, Eq, uniffi::Enum)]
pub enum StoreChoice {
    /// A file, which one node at a time may have open.
    File {
        /// The file's path.
        path: String,
    },
    /// Memory. A node that restarts has lost its sessions; it can sign new ones.
    Memory,
}

/// Size of the thread pool that the nodes of this process share.
#[uniffi::remote(Enum)]
pub enum RuntimeProfile {
    /// Two worker threads.
    Default,
    /// One worker thread: for phones and small devices.
    Small,
}

/// Role of a node in the distributed hash table, in which signers find each other by their keys.
#[uniffi::remote(Enum)]
pub enum DhtMode {
    /// No role.
    Off,
    /// Looks other signers up, and publishes this node's addresses.
    Client,
    /// Also stores the records of others: for nodes that run all the time and can be reached.
    Server,
}

/// Settings of a node. Those that are not given have the library's defaults.
#[derive(Clone, Debug, PartialEq, Eq, uniffi::Record)]
pub struct NodeConfig {
    /// Storage of the sessions.
    pub store: StoreChoice,
    /// Addresses to listen on, such as `/ip4/0.0.0.0/tcp/4001`. A free port on every interface if there are none.
    #[uniffi(default = [])]
    pub listen: Vec<String>,
    /// Addresses of peers to connect to, and to reconnect to whenever the connection is lost.
    #[uniffi(default = [])]
    pub peers: Vec<String>,
    /// Servers of the distributed hash table, in which signers find each other by their keys; each with its peer id,
    /// such as `/dns4/relay.example/tcp/4001/p2p/12D3KooW…`. They need not be signers.
    #[uniffi(default = [])]
    pub bootstrap_peers: Vec<String>,
    /// Addresses of relays through which others reach this node, each with its peer id.
    #[uniffi(default = [])]
    pub relays: Vec<String>,
    /// Addresses under which others reach this node although it does not listen on them: of a forwarded port, or an onion
    /// service (`/onion3/…`).
    #[uniffi(default = [])]
    pub external: Vec<String>,
    /// SOCKS 5 proxy that opens every connection of the node, such as Tor's `socks5h://127.0.0.1:9050`, perhaps with a login
    /// (`socks5h://user:password@…`). It resolves names, and nothing is dialled, looked up, listened for or announced
    /// beside it: others reach the node through relays, or an onion service.
    #[uniffi(default = None)]
    pub proxy: Option<String>,
    /// Role in the distributed hash table. Default: client.
    #[uniffi(default = None)]
    pub dht: Option<DhtMode>,
    /// Whether to announce this node on the local network, where everybody can read it, and to look for signers there.
    #[uniffi(default = false)]
    pub mdns: bool,
    /// Whether this node, when it is dialled, shows whose it is only to who looks for its key, to configured peers and servers,
    /// and to signers of its sessions. Otherwise whoever connects learns its key and its addresses.
    #[uniffi(default = true)]
    pub hides: bool,
    /// How many connections others may open to this node. One half of them is for configured peers, servers and the signers of
    /// open sessions. Default 256, and 32 with `mobile`.
    #[uniffi(default = None)]
    pub max_connections: Option<u32>,
    /// How many connections others may open from one IP address (of IPv6: one /64), or through one relay. It binds none of those
    /// for whom one half is kept, and none of this machine. Default 32.
    #[uniffi(default = None)]
    pub max_connections_per_ip: Option<u32>,
    /// Settings of the network that suit phones: does not listen unless `listen` says where, and wakes the radio less
    /// often.
    #[uniffi(default = false)]
    pub mobile: bool,
    /// No network: sessions are exchanged by export and import alone.
    #[uniffi(default = false)]
    pub offline: bool,
    /// The application itself observes the chain and calls `notify_broadcast_complete`. Must be true if there is no
    /// ChainObserver.
    #[uniffi(default = false)]
    pub without_observer: bool,
    /// Confirmations after which a watch ends. Default 6, at least 1.
    #[uniffi(default = None)]
    pub final_depth: Option<u32>,
    /// Whether the next turn opens early if a coordinator is gone: its last connection was lost for a second, and nothing of it
    /// came through others.
    #[uniffi(default = true)]
    pub early_gone: bool,
    /// Whether the next turn opens early if a coordinator is connected and has not said within 5 s that it holds the
    /// signatures.
    #[uniffi(default = true)]
    pub early_hold: bool,
    /// Whether the next turn opens early if the transaction was not seen within this node's pace: at least 10 s, and 3 times as
    /// long and 2 s as 99 of 100 of its earlier transactions took, once it knows of 20.
    #[uniffi(default = true)]
    pub early_pace: bool,
    /// Whether to report to the others that this node broadcast (claim).
    #[uniffi(default = true)]
    pub claims: bool,
    /// Whether to report to the others that this node cannot broadcast (NACK).
    #[uniffi(default = true)]
    pub nacks: bool,
    /// Time without progress after which a session is reported as stalled. Default 10 s.
    #[uniffi(default = None)]
    pub stall_after: Option<Duration>,
    /// Difference between a signer's clock and this node's beyond which it is reported. Default one minute.
    #[uniffi(default = None)]
    pub clock_skew: Option<Duration>,
    /// How many sessions may be open at once. Default 4096.
    #[uniffi(default = None)]
    pub max_sessions: Option<u32>,
    /// Signers whose proposals are taken; those of all others are refused unseen. Everybody's if it is not given.
    #[uniffi(default = None)]
    pub accepted_proposers: Option<Vec<SignerKey>>,
    /// Size of the thread pool.
    #[uniffi(default = None)]
    pub runtime: Option<RuntimeProfile>,
    /// Least severity that goes to the log sink. Default: information for operators.
    #[uniffi(default = None)]
    pub log_level: Option<LogLevel>,
}

impl NodeConfig {
    fn builder(self) -> NodeBuilder {
        let mut builder = core::Node::builder();
        builder = match self.store {
            StoreChoice::File { path } => builder.store_path(path),
            StoreChoice::Memory => builder.store(MemoryStore::default()),
        };
        if self.mobile {
            builder = builder.network(core::NetworkConfig::mobile());
        }
        for address in &self.listen {
            builder = builder.listen(address);
        }
        for address in &self.peers {
            builder = builder.peer(address);
        }
        for address in &self.bootstrap_peers {
            builder = builder.bootstrap_peer(address);
        }
        for address in &self.relays {
            builder = builder.relay(address);
        }
        for address in &self.external {
            builder = builder.external(address);
        }
        if let Some(proxy) = &self.proxy {
            builder = builder.proxy(proxy);
        }
        if let Some(mode) = self.dht {
            builder = builder.dht(mode);
        }
        if self.mdns {
            builder = builder.mdns(true);
        }
        if !self.hides {
            builder = builder.hides(false);
        }
        if let Some(connections) = self.max_connections {
            builder = builder.max_connections(connections);
        }
        if let Some(connections) = self.max_connections_per_ip {
            builder = builder.max_connections_per_ip(connections);
        }
        if self.offline {
            builder = builder.offline();
        }
        if self.without_observer {
            builder = builder.without_observer();
        }
        if let Some(confirmations) = self.final_depth {
            builder = builder.final_depth(confirmations);
        }
        builder = builder.early_turns(EarlyTurns {
            gone: self.early_gone,
            hold: self.early_hold,
            pace: self.early_pace,
        });
        if let Some(silence) = self.stall_after {
            builder = builder.stall_after(silence);
        }
        if let Some(tolerated) = self.clock_skew {
            builder = builder.clock_skew(tolerated);
        }
        if let Some(sessions) = self.max_sessions {
            builder = builder.max_sessions(sessions as usize);
        }
        builder = builder.accepted_proposers(proposers(self.accepted_proposers));
        if let Some(profile) = self.runtime {
            builder = builder.runtime(profile);
        }
        builder.claims(self.claims).nacks(self.nacks)
    }
}

fn proposers(keys: Option<Vec<SignerKey>>) -> AcceptedProposers {
    keys.map_or(AcceptedProposers::All, AcceptedProposers::only)
}

/// Metrics of a node. Counters begin with its start.
#[derive(Clone, Copy, Debug, PartialEq, Eq, uniffi::Record)]
pub struct Metrics {
    /// Sessions that the node holds, closed ones too.
    pub sessions: u64,
    /// Frames handed to the network.
    pub frames_sent: u64,
    /// Refused inputs of any kind.
    pub refused: u64,
    /// Commits of the store.
    pub store_commits: u64,
    /// Commits that were synced to the disk.
    pub store_syncs: u64,
    /// Commits that failed.
    pub store_failures: u64,
    /// Events that wait for the application.
    pub events_waiting: u64,
    /// Notices that were dropped because the application did not take them in time.
    pub notices_dropped: u64,
}

impl From<core::Metrics> for Metrics {
    fn from(metrics: core::Metrics) -> Self {
        Self {
            sessions: metrics.sessions as u64,
            frames_sent: metrics.frames_sent,
            refused: metrics.refused.total(),
            store_commits: metrics.store.commits,
            store_syncs: metrics.store.syncs,
            store_failures: metrics.store.failures,
            events_waiting: metrics.events_waiting as u64,
            notices_dropped: metrics.notices_dropped,
        }
    }
}

/// Kind of a metric.
#[uniffi::remote(Enum)]
pub enum MetricKind {
    /// Its value never decreases while the node runs.
    Counter,
    /// Its value is what it is now.
    Gauge,
    /// Its value is durations in seconds, counted by buckets.
    Histogram,
}

/// Form of the text with all metrics.
#[uniffi::remote(Enum)]
pub enum MetricsFormat {
    /// Prometheus' text; content type `text/plain; version=0.0.4; charset=utf-8`.
    Prometheus,
    /// OpenMetrics' text; content type `application/openmetrics-text; version=1.0.0; charset=utf-8`.
    OpenMetrics,
}

/// Bucket of a histogram.
#[derive(Clone, Copy, Debug, PartialEq, uniffi::Record)]
pub struct MetricBucket {
    /// The longest duration that is in it, in seconds; infinite for the last one.
    pub upper_bound: f64,
    /// Number of durations up to it, those of the buckets before included.
    pub count: u64,
}

/// Sample of a metric of a node, as a monitoring system takes it.
#[derive(Clone, Debug, PartialEq, uniffi::Record)]
pub struct MetricSample {
    /// The metric's name, such as `musig_sessions_completed_total`.
    pub name: String,
    /// Its kind.
    pub kind: MetricKind,
    /// Its labels, which tell series of one metric apart.
    pub labels: HashMap<String, String>,
    /// Its value; of a histogram the number of durations.
    pub value: u64,
    /// The sum of a histogram's durations in seconds, else 0.
    pub sum: f64,
    /// The buckets of a histogram, by their bounds.
    pub buckets: Vec<MetricBucket>,
}

impl From<core::MetricSample> for MetricSample {
    fn from(sample: core::MetricSample) -> Self {
        let (kind, value, sum, buckets) = match sample.value {
            core::MetricValue::Counter(value) => (MetricKind::Counter, value, 0.0, Vec::new()),
            core::MetricValue::Gauge(value) => (MetricKind::Gauge, value, 0.0, Vec::new()),
            core::MetricValue::Histogram { buckets, sum } => {
                let count = buckets.last().map_or(0, |(_, count)| *count);
                let buckets = buckets.into_iter();
                let buckets = buckets.map(|(upper_bound, count)| MetricBucket { upper_bound, count });
                (MetricKind::Histogram, count, sum, buckets.collect())
            }
        };
        let labels = sample.labels.into_iter().map(|(name, value)| (name.to_owned(), value)).collect();
        Self { name: sample.name.to_owned(), kind, labels, value, sum, buckets }
    }
}

/// Record of a signer as a coordinator, as a node saw it itself. Each verdict counts half after 30 days.
#[uniffi::remote(Record)]
pub struct Reputation {
    /// Sessions in which its turn sufficed: the transaction was seen before the next turn opened.
    pub successes: f64,
    /// Sessions in which the whole broadcast timeout of its turn passed without the transaction, which was broadcast by
    /// somebody else after that.
    pub failures: f64,
    /// Expected share of successes, from 0 to 1: `(4 + successes) / (5 + successes + failures)`, so 0.8 for a signer of whom
    /// nothing is known.
    pub reliability: f64,
}

/// Descriptor of the application's own wallet.
#[derive(Clone, Debug, uniffi::Record)]
pub struct OwnDescriptor {
    /// The descriptor.
    pub descriptor: Arc<Descriptor>,
    /// The first index that was not used yet, in any branch.
    pub next_index: u32,
    /// How many indices from there on the wallet looks at.
    pub gap_limit: u32,
}

/// The version of the library.
#[uniffi::export]
pub fn library_version() -> String {
    env!("CARGO_PKG_VERSION").into()
}

/// Runs a blocking call on a thread of its own: the waiting executor may be a user interface's.
async fn aside<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, MusigError> + Send + 'static,
) -> Result<T, MusigError> {
    let (sender, receiver) = oneshot::channel();
    let thread = std::thread::Builder::new().name("musig-call".into());
    let internal = |reason: String| MusigError::Internal { reason };
    thread.spawn(move || drop(sender.send(work()))).map_err(|error| internal(error.to_string()))?;
    receiver.await.unwrap_or_else(|_| Err(internal("a call panicked".into())))
}

/// Foreign objects that a stopping node waits for, so that no foreign code runs afterwards.
struct Foreign {
    log: Option<(Dispatch, JoinHandle<()>)>,
    unused: Unused,
}

impl Foreign {
    fn wait(self) {
        self.unused.wait();
        if let Some((dispatch, thread)) = self.log {
            // The thread ends with the last holder of the dispatch: the node's actor, which has ended, and this.
            drop(dispatch);
            let _ = thread.join();
        }
    }
}

/// Running node: one signer's sessions, its peers, its store and its Bitcoin backend. When the last reference to it and
/// to its sessions is dropped, it is asked to stop.
#[derive(uniffi::Object)]
pub struct Node {
    node: core::Node,
    wake: Notify,
    foreign: Mutex<Option<Foreign>>,
    _live: Live,
}

impl Node {
    fn start_here(
        config: NodeConfig,
        signer: Arc<LocalSigner>,
        foreign_signer: Option<Arc<dyn Signer>>,
        broadcaster: Option<Arc<dyn Broadcaster>>,
        observer: Option<Arc<dyn ChainObserver>>,
        log_sink: Option<Arc<dyn LogSink>>,
        psbt_signer: Option<Arc<PsbtSigner>>,
    ) -> Result<Self, MusigError> {
        let level = config.log_level.unwrap_or(LogLevel::Info);
        let (in_use, unused) = Unused::new();
        let mut builder = config.builder().identity(signer.signer.clone());
        if let Some(object) = foreign_signer {
            builder = builder.foreign_signer(Arc::new(ForeignSigner::new(object, in_use.clone())));
        }
        if let Some(signer) = psbt_signer {
            builder = builder.psbt_signer(signer.signer.clone());
        }
        if let Some(object) = broadcaster {
            builder = builder.broadcaster(Arc::new(ForeignBroadcaster::new(object, in_use.clone())));
        }
        if let Some(object) = observer {
            builder = builder.observer(Arc::new(ForeignObserver::new(object, in_use.clone())));
        }
        let mut log = None;
        if let Some(sink) = log_sink {
            let no_thread = |error: std::io::Error| MusigError::Internal { reason: error.to_string() };
            let (dispatch, thread) = log::start(sink, level).map_err(no_thread)?;
            builder = builder.tracing(dispatch.clone());
            log = Some((dispatch, thread));
        }
        let start = || {
            let node = builder.start()?;
            tracing::info!(signer = %node.signer_key(), peer = node.peer_id(), "the node started");
            Ok::<_, MusigError>(node)
        };
        let node = match &log {
            Some((dispatch, _)) => tracing::dispatcher::with_default(dispatch, start)?,
            None => start()?,
        };
        let foreign = Mutex::new(Some(Foreign { log, unused }));
        Ok(Self { node, wake: Notify::new(), foreign, _live: Live::new("Node") })
    }
}

#[uniffi::export]
impl Node {
    /// Opens the store, resumes its sessions, and starts the node. Durable events that were not acknowledged are
    /// delivered again. If the caller is cancelled, the node is stopped.
    ///
    /// The signer holds the identity key; of the participant keys it is asked first, the foreign signer holds others. With
    /// a foreign signer the identity key signs no session. A PSBT signer, whose keys are in a device, takes its place.
    #[uniffi::constructor(default(
        foreign_signer = None, broadcaster = None, observer = None, log_sink = None, psbt_signer = None
    ))]
    pub async fn start(
        config: NodeConfig,
        signer: Arc<LocalSigner>,
        foreign_signer: Option<Arc<dyn Signer>>,
        broadcaster: Option<Arc<dyn Broadcaster>>,
        observer: Option<Arc<dyn ChainObserver>>,
        log_sink: Option<Arc<dyn LogSink>>,
        psbt_signer: Option<Arc<PsbtSigner>>,
    ) -> Result<Arc<Self>, MusigError> {
        aside(move || {
            Self::start_here(config, signer, foreign_signer, broadcaster, observer, log_sink, psbt_signer)
                .map(Arc::new)
        })
        .await
    }

    /// Proposes a session to its signers, and consents to it. Returns once that is on the disk; progress comes as
    /// events. Goes on when the caller is cancelled.
    pub async fn create_session(&self, request: SessionRequest) -> Result<Arc<Session>, MusigError> {
        Ok(Session::wrap(self.node.create_session(request.try_into()?).await?))
    }

    /// A handle for a session, whether or not it exists.
    pub fn session(&self, id: SessionId) -> Result<Arc<Session>, MusigError> {
        Ok(Session::wrap(self.node.session(id)))
    }

    /// All sessions that the node holds, closed ones too.
    pub async fn sessions(&self) -> Result<Vec<SessionStatus>, MusigError> {
        Ok(self.node.sessions().await?.into_iter().map(SessionStatus::from).collect())
    }

    /// Imports the bytes that `export_session` made, with the same checks and limits as input from the network. Returns
    /// the sessions in them. Goes on when the caller is cancelled.
    pub async fn import_sessions(&self, bytes: Vec<u8>) -> Result<Vec<Arc<Session>>, MusigError> {
        Ok(self.node.import(bytes).await?.into_iter().map(Session::wrap).collect())
    }

    /// Connects to an address, and reconnects whenever the connection is lost.
    pub async fn add_peer(&self, address: String) -> Result<(), MusigError> {
        Ok(self.node.add_peer(&address).await?)
    }

    /// The addresses under which others may reach this node, with its peer id: for their `peers`.
    pub async fn listen_addresses(&self) -> Result<Vec<String>, MusigError> {
        Ok(self.node.listen_addresses().await?)
    }

    /// The keys of the signers that are connected now.
    pub async fn connected_signers(&self) -> Result<Vec<SignerKey>, MusigError> {
        Ok(self.node.connected_signers().await?)
    }

    /// This node's signer key.
    pub fn signer_key(&self) -> SignerKey {
        self.node.signer_key()
    }

    /// This node's libp2p peer id. It is no secret and has nothing to do with the signer key.
    pub fn peer_id(&self) -> String {
        self.node.peer_id().to_owned()
    }

    /// Waits until `take_event` has an event, without taking it: cancelling this loses nothing. One caller at a time.
    /// Fails with `NodeStopped` once the node stopped. After `wake` it returns without an event.
    pub async fn wait_for_event(&self) -> Result<(), MusigError> {
        let mut waiting = Waiting { node: &self.node, reply: self.node.next_event() };
        tokio::select! {
            biased;
            event = &mut waiting.reply => self.node.return_event(event?),
            () = self.wake.notified() => {}
        }
        Ok(())
    }

    /// Makes the pending `wait_for_event` return, or else the next one. For languages whose cancelled tasks go on
    /// waiting.
    pub fn wake(&self) {
        self.wake.notify_one();
    }

    /// Takes the next event, if there is one. Each is delivered once per process; a durable one again after a restart
    /// until `event_handled` is called.
    pub fn take_event(&self) -> Result<Option<NodeEvent>, MusigError> {
        Ok(self.node.try_next_event()?.map(NodeEvent::from))
    }

    /// Acknowledges a durable event. False if there is none of this number, or it was acknowledged before.
    pub fn event_handled(&self, id: u64) -> bool {
        self.node.event_handled(id)
    }

    /// Delivers all durable events again that were not acknowledged, under new numbers.
    pub async fn redeliver(&self) -> Result<(), MusigError> {
        Ok(self.node.redeliver().await?)
    }

    /// Signs and publishes this node's presence again, after a locked signer was unlocked.
    pub async fn announce(&self) -> Result<(), MusigError> {
        Ok(self.node.announce().await?)
    }

    /// Sets the signers whose proposals are taken from now on: those of all others are refused unseen. Everybody's if none
    /// are given. It is not stored. A suspended node takes it too.
    pub async fn set_accepted_proposers(&self, keys: Option<Vec<SignerKey>>) -> Result<(), MusigError> {
        Ok(self.node.set_accepted_proposers(proposers(keys)).await?)
    }

    /// The record of a signer as a coordinator: what this node's own observer showed of it, and nothing that others say. It is
    /// for a person to read: no turn and no election depends on it. At most 256 signers are remembered.
    pub async fn reputation(&self, signer: SignerKey) -> Result<Reputation, MusigError> {
        Ok(self.node.reputation(&signer).await?)
    }

    /// Forgets the record of a signer as a coordinator. Nothing happens if there is none.
    pub async fn forget_signer(&self, signer: SignerKey) -> Result<(), MusigError> {
        Ok(self.node.forget_signer(&signer).await?)
    }

    /// Adds a descriptor to the application's own wallet, which is stored: summaries call own what pays to its outputs within
    /// the gap limit, and raw messages over its key sets need the application's word (`sign_blind`). `next_index` is the first
    /// index that was not used yet: add the descriptor again when it moves, and it takes the place of the other one.
    /// `gap_limit` is how many indices from there on the wallet looks at.
    #[uniffi::method(default(next_index = 0, gap_limit = 20))]
    pub async fn add_descriptor(
        &self,
        descriptor: Arc<Descriptor>,
        next_index: u32,
        gap_limit: u32,
    ) -> Result<(), MusigError> {
        let descriptor = descriptor.core();
        Ok(self.node.add_descriptor(CoreDescriptor { descriptor, next_index, gap_limit }).await?)
    }

    /// Removes a descriptor from the own wallet. Nothing happens if it is not there.
    pub async fn remove_descriptor(&self, descriptor: Arc<Descriptor>) -> Result<(), MusigError> {
        Ok(self.node.remove_descriptor(&descriptor.core()).await?)
    }

    /// The descriptors of the own wallet.
    pub async fn descriptors(&self) -> Result<Vec<OwnDescriptor>, MusigError> {
        let own = |own: CoreDescriptor| OwnDescriptor {
            descriptor: Descriptor::wrap(own.descriptor),
            next_index: own.next_index,
            gap_limit: own.gap_limit,
        };
        Ok(self.node.descriptors().await?.into_iter().map(own).collect())
    }

    /// Replaces all connections and dials again at once, after the device changed its network. `resume` does it too.
    pub async fn network_changed(&self) -> Result<(), MusigError> {
        Ok(self.node.network_changed().await?)
    }

    /// A few of the node's metrics; `metric_samples` has all.
    pub async fn metrics(&self) -> Result<Metrics, MusigError> {
        Ok(self.node.metrics().await?.into())
    }

    /// Samples of all of the node's metrics, for any monitoring system. Every series exists from the start, at zero.
    pub async fn metric_samples(&self) -> Result<Vec<MetricSample>, MusigError> {
        Ok(self.node.metric_samples().await?.into_iter().map(Into::into).collect())
    }

    /// Text of all of the node's metrics, for Prometheus and what reads its formats. The library opens no socket for it.
    pub async fn metrics_text(&self, format: MetricsFormat) -> Result<String, MusigError> {
        Ok(self.node.metrics_text(format).await?)
    }

    /// Suspends the node until `resume`: commits, closes the store and releases its lock. For phones, before the system
    /// suspends the application. Goes on when the caller is cancelled.
    pub async fn suspend(&self) -> Result<(), MusigError> {
        Ok(self.node.suspend().await?)
    }

    /// Resumes a suspended node: opens the store, connects, and observes the chain before it submits anything. Goes on
    /// when the caller is cancelled.
    pub async fn resume(&self) -> Result<(), MusigError> {
        Ok(self.node.resume().await?)
    }

    /// Asks the node to stop, and does not wait. May be called anywhere, inside foreign objects too.
    pub fn request_stop(&self) {
        self.node.request_stop();
    }

    /// Stops the node, and waits until the store is closed and no foreign object of this node runs or will run. Goes on
    /// when the caller is cancelled. Do not wait for this inside a foreign object of this node; call `request_stop`
    /// there.
    pub async fn stop(&self) -> Result<(), MusigError> {
        // In a child of fork() the threads that use foreign objects are not there: they never let them go.
        self.node.check_process()?;
        let node = self.node.clone();
        let foreign = self.foreign.lock().unwrap_or_else(PoisonError::into_inner).take();
        aside(move || {
            if let Some(Foreign { log: Some((dispatch, _)), .. }) = &foreign {
                tracing::dispatcher::with_default(dispatch, || tracing::info!("the node stops"));
            }
            let stopped = node.stop();
            if let Some(foreign) = foreign {
                foreign.wait();
            }
            Ok(stopped?)
        })
        .await
    }
}

/// Wait for an event, which is given back if it arrives while its waiter is cancelled.
struct Waiting<'a> {
    node: &'a core::Node,
    reply: Reply<crate::event::NodeEvent>,
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        if let Some(Ok(event)) = self.reply.cancel() {
            self.node.return_event(event);
        }
    }
}
