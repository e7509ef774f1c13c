//! [`Node`]: the sessions of one signer, its peers, its store and its Bitcoin backend.

mod actor;
mod builder;
mod device;
mod disk;
mod gate;
mod handle;
mod log;
mod metrics;
mod presets;
mod reply;
mod request;
pub(crate) mod runtime;
mod sequence;
mod timings;

use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use tokio::sync::oneshot;

use self::actor::{Actor, Command, Commands};
pub use self::builder::NodeBuilder;
pub use self::handle::Session;
#[cfg(any(feature = "capi", feature = "uniffi"))]
pub(crate) use self::log::level_for_sinks;
pub use self::metrics::{
    MetricFamily, MetricKind, MetricSample, MetricValue, Metrics, MetricsFormat, NetworkCounters, Refused,
    StoreCounters, families as metric_families,
};
pub use self::presets::FailoverPreset;
use self::reply::Health;
pub use self::reply::Reply;
#[cfg(feature = "capi")]
pub(crate) use self::request::Content;
pub use self::request::SessionRequest;
pub use self::runtime::RuntimeProfile;
#[cfg(feature = "bitcoin")]
use crate::chain::descriptor::Descriptor;
#[cfg(feature = "bitcoin")]
use crate::chain::wallet::OwnDescriptor;
use crate::error::Error;
use crate::event::NodeEvent;
use crate::event::delivery::Delivery;
use crate::event::lane::Lane;
use crate::mutation::{self, Mutation};
pub use crate::net::{DhtMode, NetworkConfig};
use crate::net::{NetCommand, Purpose, check_through, parse_through};
use crate::platform::{self, ForkGuard};
use crate::protocol::consent::AcceptedProposers;
use crate::protocol::engine::Engine;
use crate::protocol::reputation::Reputation;
use crate::protocol::status::SessionStatus;
use crate::protocol::transaction::TransactionCodec;
use crate::protocol::{RequestId, Time, limits};
use crate::store::thread::StoreThread;
use crate::types::{SessionId, SignerKey};

/// Codec of transactions, in builds that have one.
pub(crate) fn transaction_codec() -> Arc<dyn TransactionCodec> {
    #[cfg(feature = "bitcoin")]
    let codec = crate::chain::transaction::BitcoinTransactions;
    #[cfg(not(feature = "bitcoin"))]
    let codec = crate::protocol::transaction::NoTransactions;
    Arc::new(codec)
}

struct Shared {
    commands: Commands,
    delivery: Arc<Delivery>,
    store: Arc<StoreThread>,
    key: SignerKey,
    peer: String,
    ended: Mutex<Option<oneshot::Receiver<()>>>,
    /// The threads of foreign objects, to wait for.
    lanes: Vec<Arc<Lane>>,
    /// The device, whose calls have threads of their own.
    device: Option<device::Device>,
    health: Arc<Health>,
    fork: ForkGuard,
}

impl Drop for Shared {
    fn drop(&mut self) {
        if self.fork.check().is_err() {
            // The parent's threads are not here, and may have held any lock: what is theirs is kept, untouched.
            std::mem::forget((self.commands.clone(), self.delivery.clone(), self.store.clone()));
            std::mem::forget((std::mem::take(&mut self.lanes), self.device.take(), self.health.clone()));
            return;
        }
        let _ = self.commands.send(Command::Stop);
    }
}

/// Running node. Cheap to clone; dropping the last clone requests its stop.
#[derive(Clone)]
pub struct Node(Arc<Shared>);

impl std::fmt::Debug for Node {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Node({})", self.0.key)
    }
}

impl Node {
    /// Builder of a node.
    pub fn builder() -> NodeBuilder {
        NodeBuilder::new()
    }

    /// Refuses in a child of the process that started the node: its threads are not there.
    pub(crate) fn check_process(&self) -> Result<(), Error> {
        self.0.fork.check().map_err(|_| Error::Forked)
    }

    /// Runs a call on the actor, and returns its answer.
    pub(crate) fn ask<T: Send + 'static>(
        &self,
        call: impl FnOnce(&mut Actor, oneshot::Sender<Result<T, Error>>) + Send + 'static,
    ) -> Reply<T> {
        if let Err(forked) = self.check_process() {
            return Reply::ready(Err(forked));
        }
        let (sender, receiver) = oneshot::channel();
        let health = self.0.health.clone();
        let call = Box::new(move |actor: &mut Actor| health.call(|| call(actor, sender)));
        match self.0.commands.send(Command::Call(call)) {
            Ok(()) => Reply::asked(receiver, self.0.health.clone()),
            Err(_) if self.failed() => Reply::ready(Err(reply::failed())),
            Err(_) => Reply::ready(Err(Error::NodeStopped)),
        }
    }

    /// Whether the node ended by an internal error of libmusig. Every operation then answers [`Error::Internal`]; stop
    /// the node and start a new one on the same store.
    pub fn failed(&self) -> bool {
        self.0.health.failed()
    }

    /// Panics inside the node, as an internal error would.
    #[cfg(feature = "test-hooks")]
    pub fn inject_panic(&self) -> Reply<()> {
        self.ask(|_, _: oneshot::Sender<Result<(), Error>>| panic!("injected by a test"))
    }

    /// Query of the engine, answered at once.
    pub(crate) fn question<T: Send + 'static>(
        &self,
        question: impl FnOnce(&mut Engine, Time) -> Result<T, Error> + Send + 'static,
    ) -> Reply<T> {
        self.ask(|actor, reply| drop(reply.send(question(&mut actor.engine, platform::now()))))
    }

    /// Request to the engine that needs the disk, answered once it is synced.
    pub(crate) fn request<T: Send + 'static>(
        &self,
        begin: impl FnOnce(&mut Engine, RequestId, Time) -> Result<T, Error> + Send + 'static,
    ) -> Reply<T> {
        self.ask(|actor, reply| actor.request(true, reply, begin))
    }

    /// Request to the engine by which this node consents: what the own wallet is must be known by then.
    pub(crate) fn consent<T: Send + 'static>(
        &self,
        begin: impl FnOnce(&mut Engine, RequestId, Time) -> Result<T, Error> + Send + 'static,
    ) -> Reply<T> {
        #[cfg(feature = "bitcoin")]
        return self.ask_beside_wallet(|actor, reply| actor.request(true, reply, begin));
        #[cfg(not(feature = "bitcoin"))]
        self.request(begin)
    }

    /// Calls the actor once the own wallet's stored descriptors are derived, which is soon after the start.
    #[cfg(feature = "bitcoin")]
    pub(crate) fn ask_beside_wallet<T: Send + 'static>(
        &self,
        call: impl FnOnce(&mut Actor, oneshot::Sender<Result<T, Error>>) + Send + 'static,
    ) -> Reply<T> {
        self.ask(|actor, reply| actor.beside_wallet(move |actor| call(actor, reply)))
    }

    /// Request to the engine that takes effect whatever the disk does.
    pub(crate) fn act<T: Send + 'static>(
        &self,
        begin: impl FnOnce(&mut Engine, RequestId, Time) -> Result<T, Error> + Send + 'static,
    ) -> Reply<T> {
        self.ask(|actor, reply| actor.request(false, reply, begin))
    }

    /// Proposes a session to its signers, and consents to it. Answers once that is synced; its progress is reported by
    /// events.
    ///
    /// Errors: the terms are invalid; the limit of open sessions is exceeded; [`Error::Consent`] as in
    /// [`Session::join`].
    pub fn create_session(&self, request: SessionRequest) -> Reply<Session> {
        let (node, key) = (self.clone(), self.0.key);
        self.consent(move |engine, id, now| {
            let options = request.consent;
            let proposal = request.into_proposal(&key, now.wall)?;
            let session = engine.create_with(proposal, options, id, now)?;
            Ok(Session::new(node, session))
        })
    }

    /// Handle of a session, whether or not it exists.
    pub fn session(&self, id: SessionId) -> Session {
        Session::new(self.clone(), id)
    }

    /// Status of all sessions, closed ones included.
    pub fn sessions(&self) -> Reply<Vec<SessionStatus>> {
        self.question(|engine, now| {
            let ids = engine.ids();
            Ok(ids.iter().filter_map(|id| engine.status(id, now)).collect())
        })
    }

    /// Imports the bytes of [`Session::export`], with the same checks and limits as for input from the network. Answers
    /// with the sessions in them.
    pub fn import(&self, bytes: Vec<u8>) -> Reply<Vec<Session>> {
        let node = self.clone();
        self.ask(move |actor, reply| {
            let result = match actor.refuses(false) {
                Some(error) => Err(error),
                None => actor.engine.import(&bytes, platform::now()),
            };
            // What the engine answers is then in the next export.
            actor.carry_out_and_commit();
            let handles =
                |ids: Vec<SessionId>| ids.into_iter().map(|id| Session::new(node.clone(), id)).collect();
            drop(reply.send(result.map(handles)));
        })
    }

    /// Connects to an address, and reconnects whenever the connection is lost.
    ///
    /// Errors: the address is not a multiaddress; this build cannot dial it; the node is offline.
    pub fn add_peer(&self, address: &str) -> Reply<()> {
        let address = match parse_through(address, Purpose::Dial, true) {
            Ok(address) => address,
            Err(problem) => return Reply::ready(Err(Error::Config(problem))),
        };
        self.ask(move |actor, reply| {
            let done = match &actor.network {
                Some(network) => {
                    match check_through(&address, Purpose::Dial, network.is_proxied()).map_err(Error::Config)
                    {
                        Ok(()) if network.try_command(NetCommand::AddPeer(address)) => Ok(()),
                        Ok(()) => Err(Error::Network("too many commands are queued; try again".into())),
                        Err(problem) => Err(problem),
                    }
                }
                None => Err(Error::Network("this node is offline; start it with a network".into())),
            };
            drop(reply.send(done));
        })
    }

    /// Addresses at which others may reach this node, with its peer id, for their [`NodeBuilder::peer`].
    pub fn listen_addresses(&self) -> Reply<Vec<String>> {
        let peer = self.0.peer.clone();
        self.ask(move |actor, reply| {
            let addresses = actor.listening.iter().map(|address| format!("{address}/p2p/{peer}")).collect();
            drop(reply.send(Ok(addresses)));
        })
    }

    /// Keys of the connected signers.
    pub fn connected_signers(&self) -> Reply<Vec<SignerKey>> {
        self.ask(|actor, reply| drop(reply.send(Ok(actor.peer_of.keys().copied().collect()))))
    }

    /// This node's signer key.
    pub fn signer_key(&self) -> SignerKey {
        self.0.key
    }

    /// This node's libp2p peer id, which is public and independent of the signer key.
    pub fn peer_id(&self) -> &str {
        &self.0.peer
    }

    /// Waits for the next event. Each is delivered once per process; a durable one is delivered again after a restart
    /// until [`Node::event_handled`] is called.
    ///
    /// Errors: [`Error::ConsumerExists`]; [`Error::NodeStopped`].
    pub fn next_event(&self) -> Reply<NodeEvent> {
        match self.check_process().and_then(|()| self.0.delivery.next()) {
            Ok(receiver) => {
                let delivery = self.0.delivery.clone();
                Reply::returnable(receiver, move |event| delivery.give_back(event))
            }
            Err(error) => Reply::ready(Err(error)),
        }
    }

    /// Takes the next event; `None` if there is none yet.
    ///
    /// Errors: [`Error::ConsumerExists`]; [`Error::NodeStopped`].
    pub fn try_next_event(&self) -> Result<Option<NodeEvent>, Error> {
        self.check_process()?;
        self.0.delivery.try_next()
    }

    /// Takes the next event, and blocks this thread for at most `limit` until there is one; without a limit until the
    /// node stops. `Ok(None)`: none arrived in time.
    ///
    /// Errors: [`Error::ConsumerExists`]; [`Error::NodeStopped`].
    pub fn next_event_within(&self, limit: Option<Duration>) -> Result<Option<NodeEvent>, Error> {
        self.check_process()?;
        self.0.delivery.next_within(limit)
    }

    /// File descriptor that is readable while an event waits for `next_event`, or when the node has stopped. The node
    /// owns it and opens it at the first call.
    ///
    /// Errors: [`Error::ConsumerExists`] if there is a handler; [`Error::Config`] if the process has no descriptor left.
    #[cfg(unix)]
    pub fn event_descriptor(&self) -> Result<std::os::fd::RawFd, Error> {
        self.check_process()?;
        self.0.delivery.descriptor(std::os::fd::AsRawFd::as_raw_fd)
    }

    /// Handle of an event object that is set while an event waits for `next_event`, or when the node has stopped: for
    /// `WaitForMultipleObjects`. The node owns it and opens it at the first call.
    ///
    /// Errors: [`Error::ConsumerExists`] if there is a handler; [`Error::Config`] if the process has no handle left.
    #[cfg(windows)]
    pub fn event_handle(&self) -> Result<std::os::windows::io::RawHandle, Error> {
        self.check_process()?;
        self.0.delivery.descriptor(std::os::windows::io::AsRawHandle::as_raw_handle)
    }

    /// Returns an event that could not be processed: it becomes the next one again.
    pub fn return_event(&self, event: NodeEvent) {
        if self.check_process().is_ok() {
            self.0.delivery.give_back(event);
        }
    }

    /// Acknowledges a durable event. `false`: no event with this id is unacknowledged.
    pub fn event_handled(&self, id: u64) -> bool {
        self.check_process().is_ok() && self.0.delivery.handled(id)
    }

    /// Delivers all unacknowledged durable events again, with new ids.
    pub fn redeliver(&self) -> Reply<()> {
        self.ask(|actor, reply| {
            actor.delivery.forget_durable();
            actor.engine.redeliver(platform::now());
            actor.carry_out_and_commit();
            drop(reply.send(Ok(())));
        })
    }

    /// Signs and publishes this node's presence record again, after a locked signer was unlocked.
    pub fn announce(&self) -> Reply<()> {
        self.ask(|actor, reply| {
            actor.sign_presence();
            drop(reply.send(Ok(())));
        })
    }

    /// Replaces all connections and dials again at once, after the device changed its network: nothing waits for back-off,
    /// and peers learn this node's new address. A phone that does not listen sees no change by itself.
    ///
    /// Errors: [`Error::Suspended`]; [`Node::resume`] does it too.
    pub fn network_changed(&self) -> Reply<()> {
        self.ask(|actor, reply| drop(reply.send(actor.network_changed())))
    }

    /// Sets whose proposals are taken from now on: [`AcceptedProposers::Only`] shuts strangers out. Sessions that are here
    /// stay as they are. It is not stored: set it again, or in the builder, at each start. A suspended node takes it too.
    pub fn set_accepted_proposers(&self, proposers: AcceptedProposers) -> Reply<()> {
        self.ask(|actor, reply| {
            actor.engine.set_accepted_proposers(proposers);
            drop(reply.send(Ok(())));
        })
    }

    /// Record of a signer as a coordinator: what this node's own observer showed of it, and nothing that others say. Who was
    /// passed over early (gone, without the signatures, slower than usual) did not fail. It is for a person to read: no turn
    /// and no election depends on it. At most 256 signers are remembered.
    pub fn reputation(&self, signer: &SignerKey) -> Reply<Reputation> {
        let signer = *signer;
        self.question(move |engine, now| Ok(engine.reputation(&signer, now)))
    }

    /// Forgets the record of a signer as a coordinator. Nothing happens if there is none. It leaves the disk with the next
    /// commit.
    pub fn forget_signer(&self, signer: &SignerKey) -> Reply<()> {
        let signer = *signer;
        self.ask(move |actor, reply| {
            actor.engine.forget_signer(&signer);
            actor.carry_out_and_commit();
            drop(reply.send(Ok(())));
        })
    }

    /// Registers a descriptor of the application's own wallet, which is stored: summaries call own what pays to its outputs
    /// within the gap limit, and raw messages over its key sets need the application's word
    /// ([`JoinOptions::sign_blind`](crate::JoinOptions)). The same descriptor with other numbers takes its place. Its outputs
    /// are derived first, for up to seconds, on a thread of their own.
    ///
    /// Errors: [`Error::Limit`] for more than 64 descriptors, or too many outputs; [`Error::Suspended`], [`Error::Store`].
    #[cfg(feature = "bitcoin")]
    pub fn add_descriptor(&self, descriptor: impl Into<OwnDescriptor>) -> Reply<()> {
        let own = descriptor.into();
        self.ask_beside_wallet(|actor, reply| actor.add_descriptor(own, reply))
    }

    /// Removes a descriptor of the own wallet. Nothing happens if it is not there.
    ///
    /// Errors: [`Error::Suspended`], [`Error::Store`].
    #[cfg(feature = "bitcoin")]
    pub fn remove_descriptor(&self, descriptor: &Descriptor) -> Reply<()> {
        let descriptor = descriptor.clone();
        self.ask_beside_wallet(move |actor, reply| actor.remove_descriptor(&descriptor, reply))
    }

    /// The descriptors of the own wallet.
    #[cfg(feature = "bitcoin")]
    pub fn descriptors(&self) -> Reply<Vec<OwnDescriptor>> {
        self.ask_beside_wallet(|actor, reply| drop(reply.send(Ok(actor.wallet.descriptors()))))
    }

    /// A few counters of the node; [`Node::metric_samples`] has all.
    pub fn metrics(&self) -> Reply<Metrics> {
        self.ask(|actor, reply| drop(reply.send(Ok(actor.metrics()))))
    }

    /// Samples of all metrics of the node, for any monitoring system: see [`metric_families`].
    pub fn metric_samples(&self) -> Reply<Vec<MetricSample>> {
        self.ask(|actor, reply| drop(reply.send(Ok(actor.metrics_snapshot().samples()))))
    }

    /// Text of all metrics of the node, for Prometheus and what reads its formats. The library opens no socket for it: the
    /// application serves it, or writes it into a file.
    pub fn metrics_text(&self, format: MetricsFormat) -> Reply<String> {
        self.ask(move |actor, reply| {
            let samples = actor.metrics_snapshot().samples();
            drop(reply.send(Ok(metrics::encode(samples, format))));
        })
    }

    /// Commits, closes the store and releases its lock. Until [`Node::resume`] the node is idle and operations answer
    /// [`Error::Suspended`]. For phones, before the system suspends the application.
    ///
    /// Errors: [`Error::Store`] if a commit failed. The store is closed all the same, and [`Node::resume`] commits the
    /// rest. If the disk hangs ([`StoreError::Hangs`](crate::error::StoreError::Hangs), after 30 s) it is closed when the
    /// disk answers.
    pub fn suspend(&self) -> Reply<()> {
        self.ask(|actor, reply| actor.suspend(reply))
    }

    /// Opens the store again, reconnects, and queries the chain before anything is submitted. Answers once the store
    /// commits; what failed before is committed first. So after a failure of the disk, reported by
    /// [`Event::StoreFailed`](crate::event::Event::StoreFailed), `suspend` and `resume` retry it.
    ///
    /// Errors: [`Error::Store`] if the store cannot be opened (the node stays suspended) or still cannot commit (the node
    /// retries every second); [`Error::Suspended`] if the node was suspended again meanwhile.
    pub fn resume(&self) -> Reply<()> {
        self.ask(|actor, reply| actor.resume(reply))
    }

    /// Requests the node's stop, and returns at once. May be called in callbacks of the node.
    pub fn request_stop(&self) {
        if self.check_process().is_ok() {
            let _ = self.0.commands.send(Command::Stop);
        }
    }

    /// Stops the node, and waits until the store is closed and no callback runs or will run. A disk that hangs is waited
    /// for 30 s; then the node is stopped, and the store is closed and its lock released when the disk answers.
    ///
    /// Errors: [`Error::WouldDeadlock`] in a callback of this node, where [`Node::request_stop`] is for;
    /// [`Error::Store`] if the last sync failed, or the disk hangs ([`StoreError::Hangs`](crate::error::StoreError::Hangs)).
    pub fn stop(&self) -> Result<(), Error> {
        self.check_process()?;
        let inside_lane = || self.0.lanes.iter().any(|lane| lane.is_current_thread());
        let inside_device = || self.0.device.as_ref().is_some_and(device::Device::is_current_thread);
        if self.0.delivery.inside_handler() || inside_lane() || inside_device() {
            return Err(Error::WouldDeadlock);
        }
        let longer = u32::from(mutation::on(Mutation::StopHangs));
        let until = Instant::now() + limits::COMMIT * (1 + longer);
        self.request_stop();
        // Held while waiting, so that a second caller waits too.
        let mut ended = self.0.ended.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(receiver) = ended.take() {
            let _ = reply::block_on(receiver, None);
        }
        self.0.delivery.join()?;
        for lane in &self.0.lanes {
            lane.stop_and_join().map_err(|_| Error::WouldDeadlock)?;
        }
        if let Some(device) = &self.0.device {
            device.detach();
            device.join();
        }
        let left = until.saturating_duration_since(Instant::now());
        self.0.store.join_within(left).map_err(Error::Store)
    }
}
