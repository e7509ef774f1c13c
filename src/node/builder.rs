//! Configuration and start of a node.

use std::panic::AssertUnwindSafe;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use futures::FutureExt;
use tokio::sync::{mpsc, oneshot};
use tracing::instrument::WithSubscriber;

use super::actor::{Actor, Command, Foreign, Parts};
use super::device::Device;
use super::reply::{FailureMark, Health};
use super::runtime::{self, RuntimeProfile};
use super::sequence::Sequence;
use super::{Node, Shared};
use crate::chain::{Broadcaster, ChainObserver};
use crate::error::{Error, ProposalError, StoreError, WireError};
use crate::event::delivery::Delivery;
use crate::event::lane::Lane;
use crate::event::{EventHandler, KeepEvent, NodeEvent};
use crate::mutation::{self, Mutation};
use crate::net::{
    DhtMode, NetCommand, Network, NetworkConfig, Purpose, check_proxy, check_through, generate_identity,
    parse_through, peer_id,
};
use crate::platform::{self, ForkGuard};
use crate::protocol::consent::AcceptedProposers;
use crate::protocol::crypto::musig2::Musig2;
use crate::protocol::engine::Engine;
use crate::protocol::event::{Event, SessionEvent};
use crate::protocol::proposal::Proposal;
use crate::protocol::{EarlyTurns, Settings};
use crate::signer::{LocalSigner, NodeSigner, Signer};
use crate::store::redb::RedbStore;
use crate::store::schema::{self, Contents};
use crate::store::thread::{SYNC_AFTER, StoreThread};
use crate::store::{Durability, Store};
use crate::types::SignerKey;
use crate::types::proxy::ProxyAddress;

/// Upper bound of configured durations, so that they can be added to any time.
const LONGEST: Duration = Duration::from_secs(100 * 365 * 24 * 3600);
/// Maximum number of queued calls of a Broadcaster, a ChainObserver or a Signer.
const LANE: usize = 4096;

enum StoreChoice {
    None,
    Path(PathBuf),
    Given(Box<dyn Store>),
}

/// Builder of a [`Node`]. Needed are a signer (an identity), a store, and an observer or
/// [`NodeBuilder::without_observer`].
#[must_use = "call start()"]
pub struct NodeBuilder {
    identity: Option<Arc<LocalSigner>>,
    foreign_signer: Option<Arc<dyn Signer>>,
    device: Option<Device>,
    store: StoreChoice,
    network: Option<NetworkConfig>,
    settings: Settings,
    broadcaster: Option<Arc<dyn Broadcaster>>,
    observer: Option<Arc<dyn ChainObserver>>,
    without_observer: bool,
    handler: Option<EventHandler>,
    proposers: AcceptedProposers,
    profile: RuntimeProfile,
    tracing: Option<tracing::Dispatch>,
    problem: Option<Error>,
}

impl NodeBuilder {
    pub(super) fn new() -> Self {
        Self {
            identity: None,
            foreign_signer: None,
            device: None,
            store: StoreChoice::None,
            network: Some(NetworkConfig::default()),
            settings: Settings::default(),
            broadcaster: None,
            observer: None,
            without_observer: false,
            handler: None,
            proposers: AcceptedProposers::All,
            profile: RuntimeProfile::Default,
            tracing: None,
            problem: None,
        }
    }

    /// Sets the signer, whose keys are in this process's memory.
    pub fn signer(self, signer: LocalSigner) -> Self {
        self.identity(Arc::new(signer))
    }

    /// Sets a signer that the application shares, so that it can lock and unlock it, and add keys.
    pub fn shared_signer(self, signer: Arc<LocalSigner>) -> Self {
        self.identity(signer)
    }

    /// Sets the holder of the identity key, which signs what others are to believe of this node. Of the participant keys
    /// it is asked first; a [foreign signer](Self::foreign_signer) holds others.
    pub fn identity(mut self, identity: impl Into<Arc<LocalSigner>>) -> Self {
        self.identity = Some(identity.into());
        self
    }

    /// Sets the holder of participant keys that are not in this process: in a device, or in another one. It is called on
    /// a thread of its own. With it the identity key signs no session.
    pub fn foreign_signer(mut self, signer: Arc<dyn Signer>) -> Self {
        self.foreign_signer = Some(signer);
        self.device = None;
        self
    }

    /// Sets a signer whose keys are in a device, or in another wallet, that reads and writes PSBTs. It is waited for until
    /// the session expires. With it, as with any foreign signer, the identity key signs no session.
    #[cfg(feature = "bitcoin")]
    pub fn psbt_signer(mut self, signer: Arc<crate::chain::psbt::PsbtSigner>) -> Self {
        self.foreign_signer = Some(signer.clone());
        self.device = Some(Device(signer));
        self
    }

    /// Sets the file that stores sessions. One node at a time can open it; it is created if it does not exist.
    pub fn store_path(mut self, path: impl Into<PathBuf>) -> Self {
        self.store = StoreChoice::Path(path.into());
        self
    }

    /// Sets another store. [`MemoryStore`](crate::store::memory::MemoryStore) is lost with the process: a node that
    /// restarts without its store can sign, but cannot resume its sessions.
    pub fn store(mut self, store: impl Store + 'static) -> Self {
        self.store = StoreChoice::Given(Box::new(store));
        self
    }

    /// Adds an address to listen on, as a multiaddress such as `/ip4/0.0.0.0/tcp/4001`. Replaces the default (a free port
    /// on every interface); call again for more.
    pub fn listen(mut self, address: &str) -> Self {
        let first =
            self.network.as_ref().is_some_and(|network| network.listen == NetworkConfig::default().listen);
        self.with_address(address, Purpose::Listen, |network, address| {
            if first {
                network.listen.clear();
            }
            network.listen.push(address);
        });
        self
    }

    /// Adds the address of a peer to connect to, and to reconnect to. Call again for more.
    pub fn peer(mut self, address: &str) -> Self {
        self.with_address(address, Purpose::Dial, |network, address| network.peers.push(address));
        self
    }

    /// Adds a bootstrap server of the distributed hash table in which signers find each other by their keys, with its
    /// peer id, such as `/dns4/relay.example/tcp/4001/p2p/12D3KooW…`. It need not be a signer. Call again for more.
    pub fn bootstrap_peer(mut self, address: &str) -> Self {
        self.with_address(address, Purpose::DialServer, |network, address| {
            network.bootstrap_peers.push(address)
        });
        self
    }

    /// Adds a relay through which others reach this node, with its peer id, such as
    /// `/dns4/relay.example/tcp/4001/p2p/12D3KooW…`. Call again for more.
    pub fn relay(mut self, address: &str) -> Self {
        self.with_address(address, Purpose::DialServer, |network, address| network.relays.push(address));
        self
    }

    /// Adds an address under which others reach this node although it does not listen on it: of a forwarded port, or an onion
    /// service (`/onion3/…`). Call again for more.
    pub fn external(mut self, address: &str) -> Self {
        self.with_address(address, Purpose::Dial, |network, address| network.external.push(address));
        self
    }

    /// Sends every connection that this node opens through a SOCKS 5 proxy, such as Tor's `socks5h://127.0.0.1:9050`, perhaps
    /// with a login (`socks5h://user:password@…`). Nothing is dialled, looked up, listened for or announced beside it; see
    /// [`NetworkConfig::proxy`].
    pub fn proxy(mut self, address: &str) -> Self {
        match ProxyAddress::parse(address) {
            Ok(_) => {
                self.network.get_or_insert_with(NetworkConfig::default).proxy = Some(address.to_owned());
            }
            Err(problem) => self.problem = Some(Error::Config(problem)),
        }
        self
    }

    /// Sets this node's role in the distributed hash table. Default: it looks up signers and publishes its addresses.
    pub fn dht(mut self, mode: DhtMode) -> Self {
        self.network.get_or_insert_with(NetworkConfig::default).dht = mode;
        self
    }

    /// Sets whether to announce this node on the local network, and to discover signers there. Off by default; see
    /// [`NetworkConfig::mdns`].
    pub fn mdns(mut self, on: bool) -> Self {
        self.network.get_or_insert_with(NetworkConfig::default).mdns = on;
        self
    }

    /// Sets whether this node, when it is dialled, shows whose it is only to who looks for its key, to configured peers and
    /// servers, and to signers of its sessions. On by default; see [`NetworkConfig::hides`].
    pub fn hides(mut self, on: bool) -> Self {
        self.network.get_or_insert_with(NetworkConfig::default).hides = on;
        self
    }

    /// Sets how many connections others may open to this node. One half of them is for configured peers, servers and the
    /// signers of open sessions. Default: 256; 32 with [`NetworkConfig::mobile`].
    pub fn max_connections(mut self, connections: u32) -> Self {
        self.network.get_or_insert_with(NetworkConfig::default).max_connections = connections;
        self
    }

    /// Sets how many connections others may open from one IP address (of IPv6: one /64), or through one relay. It binds none
    /// of those for whom one half is kept, and none of this machine. Default: 32.
    pub fn max_connections_per_ip(mut self, connections: u32) -> Self {
        self.network.get_or_insert_with(NetworkConfig::default).max_connections_per_ip = connections;
        self
    }

    fn with_address(
        &mut self,
        text: &str,
        purpose: Purpose,
        add: impl FnOnce(&mut NetworkConfig, crate::net::Multiaddr),
    ) {
        // Whether a proxy dials it is known at the start.
        match parse_through(text, purpose, true) {
            Ok(address) => add(self.network.get_or_insert_with(NetworkConfig::default), address),
            Err(problem) => self.problem = Some(Error::Config(problem)),
        }
    }

    /// Sets all settings of the network.
    pub fn network(mut self, config: NetworkConfig) -> Self {
        let listen = config.listen.iter().map(|address| check_through(address, Purpose::Listen, true));
        let dialled = config.peers.iter().chain(&config.bootstrap_peers).chain(&config.relays);
        let dialled = dialled.map(|address| check_through(address, Purpose::Dial, true));
        if let Some(problem) = listen.chain(dialled).find_map(Result::err) {
            self.problem = Some(Error::Config(problem));
        }
        self.network = Some(config);
        self
    }

    /// Starts without a network: sessions are exchanged by export and import alone.
    pub fn offline(mut self) -> Self {
        self.network = None;
        self
    }

    /// Sets the broadcaster, by which the node submits transactions itself when its turn comes.
    pub fn broadcaster(mut self, broadcaster: Arc<dyn Broadcaster>) -> Self {
        self.broadcaster = Some(broadcaster);
        self
    }

    /// Sets the observer of the chain, which decides when a watch pauses and ends.
    pub fn observer(mut self, observer: Arc<dyn ChainObserver>) -> Self {
        self.observer = Some(observer);
        self
    }

    /// Makes the application the observer: it checks the chain and calls
    /// [`Session::notify_broadcast_complete`](super::Session::notify_broadcast_complete).
    pub fn without_observer(mut self) -> Self {
        self.without_observer = true;
        self
    }

    /// Sets the handler of all events, called one at a time on a thread of its own. Returning `Err(KeepEvent)` leaves
    /// a durable event unacknowledged.
    pub fn event_handler(
        mut self,
        handler: impl Fn(&NodeEvent) -> Result<(), KeepEvent> + Send + Sync + 'static,
    ) -> Self {
        self.handler = Some(Arc::new(handler));
        self
    }

    /// Sets the number of confirmations at which a watch ends, at least 1. Default: 6.
    pub fn final_depth(mut self, confirmations: u32) -> Self {
        self.settings.final_depth = confirmations;
        self
    }

    /// Sets for which reasons turns open before their regular start. By default for all of them.
    pub fn early_turns(mut self, reasons: EarlyTurns) -> Self {
        self.settings.early_turns = reasons;
        self
    }

    /// Sets whether to report this node's broadcasts to the other signers. On by default.
    pub fn claims(mut self, send: bool) -> Self {
        self.settings.claims = send;
        self
    }

    /// Sets whether to report to the other signers that this node cannot broadcast. On by default.
    pub fn nacks(mut self, send: bool) -> Self {
        self.settings.nacks = send;
        self
    }

    /// Sets the time without progress after which a session counts as stalled. Default: 10 s.
    pub fn stall_after(mut self, silence: Duration) -> Self {
        self.settings.stall_after = silence.min(LONGEST);
        self
    }

    /// Sets the difference between a signer's clock and this node's beyond which [`Event::ClockSkew`](crate::event::Event::ClockSkew)
    /// is reported. Default: one minute.
    pub fn clock_skew(mut self, tolerated: Duration) -> Self {
        self.settings.clock_skew = tolerated.min(LONGEST);
        self
    }

    /// Sets whose proposals are taken. Default: everybody's. [`Node::set_accepted_proposers`] changes it while the node runs.
    pub fn accepted_proposers(mut self, proposers: AcceptedProposers) -> Self {
        self.proposers = proposers;
        self
    }

    /// Sets the maximum number of open sessions. Default: 4096.
    pub fn max_sessions(mut self, sessions: usize) -> Self {
        self.settings.max_sessions = sessions;
        self
    }

    /// Sets the number of worker threads, which all nodes of the profile share.
    pub fn runtime(mut self, profile: RuntimeProfile) -> Self {
        self.profile = profile;
        self
    }

    /// Sets the subscriber of this node's log. The library never sets a global one.
    pub fn tracing(mut self, dispatch: tracing::Dispatch) -> Self {
        self.tracing = Some(dispatch);
        self
    }

    /// Opens the store, resumes its sessions, and starts the node. Durable events that were not acknowledged are
    /// delivered again.
    ///
    /// Errors: the configuration is incomplete or contradicts itself; the store cannot be opened, or belongs to another
    /// signer ([`StoreError::OtherKey`]); the identity in it is damaged. A single session that cannot be read is no error: it is kept, set aside, and reported as
    /// [`Event::StoreFailed`].
    pub fn start(mut self) -> Result<Node, Error> {
        super::log::keep_two_dispatchers();
        let log = self.tracing.take().unwrap_or_else(|| tracing::dispatcher::get_default(Clone::clone));
        // A thread's random numbers are copied by fork(): on the caller's, the children of one process would make the same
        // network identity. A new thread's are of the operating system.
        let open = move || tracing::dispatcher::with_default(&log, || self.open());
        match std::thread::Builder::new().name("musig-start".into()).spawn(open) {
            Ok(thread) => thread.join().unwrap_or_else(|_| Err(Error::Internal("the start panicked".into()))),
            Err(error) => Err(Error::Config(format!("no thread could be started: {error}"))),
        }
    }

    fn open(self) -> Result<Node, Error> {
        if let Some(problem) = self.problem {
            return Err(problem);
        }
        if let Some(network) = &self.network {
            check_proxy(network).map_err(Error::Config)?;
        }
        let missing = |what: &str| Error::Config(format!("a node needs {what}"));
        let identity = self.identity.ok_or_else(|| {
            missing(match self.foreign_signer {
                None => "a signer: call signer()",
                Some(_) => "an identity key beside the foreign signer: call identity()",
            })
        })?;
        let signer = NodeSigner::new(identity, self.foreign_signer);
        if self.observer.is_some() == self.without_observer {
            return Err(missing("an observer or without_observer(), and not both"));
        }
        let store_file = match &self.store {
            StoreChoice::Path(path) => Some(path.clone()),
            StoreChoice::Given(_) | StoreChoice::None => None,
        };
        let path = store_file.as_ref().map(|path| path.display().to_string()).unwrap_or_default();
        let mut store: Box<dyn Store> = match self.store {
            StoreChoice::Given(store) => store,
            StoreChoice::Path(path) => Box::new(RedbStore::open(path)?),
            StoreChoice::None => return Err(missing("a store: call store_path()")),
        };
        if let Some(proxy) = self.network.as_ref().and_then(|network| network.proxy.as_ref()) {
            self.broadcaster.iter().for_each(|there| there.follow_proxy(proxy));
            self.observer.iter().for_each(|there| there.follow_proxy(proxy));
        }
        let mut settings = self.settings;
        settings.observer = self.observer.is_some();
        settings.broadcaster = self.broadcaster.is_some();
        settings.foreign_signer = signer.foreign().is_some();
        let runtime = runtime::handle(self.profile)?;

        let contents = Contents::read(store.load()?);
        let now = platform::now();
        let key = signer.identity().public_key();
        // Before anything is read of it: what is in there was said by its owner.
        match contents.owner.as_deref().map(SignerKey::from_bytes) {
            None => {}
            Some(Ok(owner)) if owner == key || mutation::on(Mutation::OwnerIgnored) => {}
            Some(Ok(owner)) => return Err(StoreError::OtherKey { path, owner, signer: key }.into()),
            Some(Err(_)) => {
                let reason = "its owner is no signer key".into();
                return Err(StoreError::Corrupt { path, reason }.into());
            }
        }
        let mut engine = Engine::new(key, settings, Arc::new(Musig2), super::transaction_codec())
            .with_held_keys(Arc::new(signer.clone()));
        engine.set_accepted_proposers(self.proposers);
        for (id, expires_at) in &contents.ended {
            engine.load_ended(*id, *expires_at);
        }
        for (id, record) in &contents.answered {
            if let Err(error) = engine.load_answered(*id, record) {
                tracing::warn!(target: "libmusig::store", session = %id, %error, "what is kept of an answered proposal cannot be decoded");
            }
        }
        for (signer, record) in &contents.reputations {
            if let Err(error) = engine.load_reputation(*signer, record) {
                tracing::warn!(target: "libmusig::store", %signer, %error, "what is known of how a signer broadcasts cannot be decoded, and begins anew");
            }
        }
        if let Some(Err(error)) = contents.pace.as_deref().map(|record| engine.load_pace(record)) {
            tracing::warn!(target: "libmusig::store", %error, "the stored pace cannot be decoded, and is measured again");
        }
        let mut unreadable = Vec::new();
        for (id, stored) in &contents.sessions {
            // One that is stored under another session's id would be written under its own.
            let own_place = Proposal::decode(&stored.proposal).map(|proposal| proposal.id() == *id);
            let loaded = match own_place {
                Ok(true) => engine.load(stored, now).map(drop),
                Ok(false) => Err(WireError::Malformed("the stored proposal").into()),
                Err(error) => Err(error.into()),
            };
            match loaded {
                Ok(()) => {}
                // All of the store is another signer's.
                Err(error @ Error::Proposal(ProposalError::NotASigner)) => return Err(error),
                Err(error) => {
                    tracing::error!(target: "libmusig::store", session = %id, %error, "a stored session cannot be decoded and is set aside");
                    engine.set_aside(*id);
                    unreadable.push((*id, error));
                }
            }
        }

        let thread = |error: std::io::Error| {
            Error::Config(format!("the system started no thread ({error}); free resources and try again"))
        };
        let lane = |name| Lane::spawn(name, LANE, runtime.clone()).map_err(thread);
        let shared_lane = |name| lane(name).map(Arc::new);
        let (commands, inbox) = mpsc::unbounded_channel();
        let acknowledged = commands.clone();
        let acknowledge = Arc::new(move |session, kind| {
            let call = move |actor: &mut Actor| actor.engine.acknowledge(&session, kind, platform::now());
            drop(acknowledged.send(Command::Call(Box::new(call))));
        });
        let handler = match self.handler {
            Some(handler) => Some((handler, lane("events")?)),
            None => None,
        };
        let delivery = Delivery::new(handler, acknowledge);
        delivery.push_all(unreadable.into_iter().map(|(session, error)| {
            let reason =
                format!("session {session} cannot be read: {error}; it is set aside, the others go on");
            let error = StoreError::Corrupt { path: path.clone(), reason };
            SessionEvent { session: Some(session), event: Event::StoreFailed { error }, durable: None }
        }));
        let signer_lane = match signer.foreign() {
            Some(_) => Some(shared_lane("signer")?),
            None => None,
        };
        let broadcaster = match self.broadcaster {
            Some(object) => Some(Foreign { object, lane: shared_lane("broadcast")? }),
            None => None,
        };
        let observer = match self.observer {
            Some(object) => Some(Foreign { object, lane: shared_lane("observe")? }),
            None => None,
        };
        let mut made = Vec::new();
        if contents.owner.is_none() {
            made.push(schema::put_owner(key));
        }
        let identity = contents.identity.unwrap_or_else(|| {
            let identity = generate_identity();
            made.push(schema::put_identity(identity.clone()));
            identity
        });
        if !made.is_empty() {
            store.commit(&made, Durability::Synced)?;
        }
        let store = Arc::new(StoreThread::spawn(store, SYNC_AFTER).map_err(thread)?);
        if let Some(device) = &self.device {
            let (records, nonces) = (contents.psbts, contents.nonces);
            device.attach(records, nonces, store.clone(), delivery.clone())?;
        }
        let network_error = |error: crate::net::NetError| Error::Network(error.to_string());
        let peer = peer_id(&identity).map_err(network_error)?.to_string();
        let (network, events) = match self.network {
            Some(config) => {
                let (network, events) =
                    Network::start(&runtime, config, &identity, None).map_err(network_error)?;
                network.try_command(NetCommand::LearnPartners(contents.partners));
                network.try_command(NetCommand::LearnPresences(contents.presences));
                (Some(network), events)
            }
            None => (None, mpsc::channel(1).1),
        };
        let lanes = [
            signer_lane.clone(),
            broadcaster.as_ref().map(|foreign| foreign.lane.clone()),
            observer.as_ref().map(|foreign| foreign.lane.clone()),
        ];
        let lanes: Vec<Arc<Lane>> = lanes.into_iter().flatten().collect();
        let health = Arc::new(Health::default());
        let parts = Parts {
            failure: FailureMark(health.clone()),
            engine,
            store: store.clone(),
            store_file,
            network,
            signer,
            signer_lane,
            device: self.device.clone(),
            #[cfg(feature = "bitcoin")]
            stored_wallet: contents.descriptors,
            broadcaster,
            observer,
            delivery: delivery.clone(),
            commands: commands.clone(),
            sequence: Sequence::restore(contents.sequence),
        };
        let (stopped, ended) = oneshot::channel();
        let actor = Actor::new(parts).run(inbox, events);
        let actor = guard(actor, Guarded { health: health.clone(), delivery: delivery.clone(), stopped });
        runtime.spawn(actor.with_current_subscriber());
        let shared = Shared {
            commands,
            delivery,
            store,
            key,
            peer,
            ended: std::sync::Mutex::new(Some(ended)),
            lanes,
            device: self.device,
            health,
            fork: ForkGuard::new(),
        };
        Ok(Node(Arc::new(shared)))
    }
}

/// What outlives a panic of the actor.
struct Guarded {
    health: Arc<Health>,
    delivery: Arc<Delivery>,
    stopped: oneshot::Sender<()>,
}

/// Runs the actor. A panic in it is a fault of libmusig: the node has failed, and says so to whoever asks.
async fn guard(actor: impl Future<Output = ()>, guarded: Guarded) {
    if AssertUnwindSafe(actor).catch_unwind().await.is_err() {
        guarded.health.fail();
        tracing::error!("the node failed by a fault of libmusig; stop it and start a new one");
        guarded.delivery.stop();
    }
    let _ = guarded.stopped.send(());
}
