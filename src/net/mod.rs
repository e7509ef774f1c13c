//! Peers: libp2p. Moves opaque frames between signers, and decides nothing about them.

mod behaviour;
mod budget;
mod config;
mod counters;
mod dial;
#[cfg_attr(not(feature = "discovery"), path = "no_discovery.rs")]
mod discovery;
mod liveness;
#[cfg(feature = "discovery")]
mod mdns;
#[cfg(feature = "nat")]
mod nat;
mod peers;
mod presence;
#[cfg(feature = "discovery")]
mod records;
mod stream;
mod swarm;
mod transport;

use std::collections::HashMap;
use std::fmt;
use std::ops::Deref;
use std::sync::{Arc, PoisonError, RwLock};

use libp2p::identity::Keypair;
pub use libp2p::{Multiaddr, PeerId};
use tokio::sync::{OwnedSemaphorePermit, mpsc};

use self::budget::Budget;
pub use self::config::{DhtMode, NetworkConfig};
pub use self::counters::NetworkCounters;
use self::counters::{Counters, count};
#[cfg(feature = "discovery")]
pub use self::discovery::{PROTOCOL as DHT_PROTOCOL, dht};
pub use self::presence::PresenceRecord;
#[cfg(feature = "discovery")]
pub use self::records::{PresenceStore, presence_key};
use self::stream::Outbox;
use crate::protocol::limits;
pub use crate::protocol::presence::{digest as presence_digest, seal as seal_presence};
use crate::types::SignerKey;

/// Why the network could not start.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum NetError {
    /// The identity is not one.
    #[error("the network identity is damaged ({0}); pass bytes that `generate_identity` made")]
    Identity(String),
    /// The handshake could not be set up.
    #[error("the encryption of connections could not be set up: {0}")]
    Encryption(String),
}

/// What the network layer is told. Frames go by [`Network::send`].
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum NetCommand {
    /// This node's own signed presence, from [`seal_presence`]: goes to everybody who is connected, and comes first
    /// on each new connection. Without one, nothing is sent.
    SetPresence(Vec<u8>),
    /// Presences from the store. Invalid ones are ignored, and so is what goes beyond
    /// [`NetworkConfig::max_presences`], which is told as [`NetEvent::PresencesForgotten`].
    LearnPresences(Vec<Vec<u8>>),
    /// Dial this address, and again whenever it is not connected.
    AddPeer(Multiaddr),
    /// Find these signers and stay connected with them. Replaces the ones before.
    Seek(Vec<SignerKey>),
    /// Close the connections of this signer. If it is sought, it is dialled again.
    Disconnect(SignerKey),
    /// Close all connections and dial again at once: for a device that slept or changed its network.
    Reconnect,
    /// Send what waits, for half a second at most, and end. The events end too.
    Shutdown,
}

/// What the network layer tells. For each signer: `SignerConnected`, then its frames, in their order for each
/// of its peers. A frame that came before the end of a connection may be told after `SignerDisconnected`.
#[derive(Debug)]
#[non_exhaustive]
pub enum NetEvent {
    /// All addresses under which others may reach this node, the most public first, without `/p2p`; at most
    /// [`limits::ADDRESSES`]. Told again when they change: time to sign a new presence.
    Listening(Vec<Multiaddr>),
    /// A signer's first peer is connected and has proved that it speaks for the signer.
    SignerConnected {
        /// The signer.
        key: SignerKey,
        /// Its peer.
        peer: PeerId,
    },
    /// A signer's last peer is disconnected. What waited to be sent to it is dropped.
    SignerDisconnected {
        /// The signer.
        key: SignerKey,
    },
    /// Bytes came from a signer, or it answered a ping. At most about once a second; may be left out when the
    /// application is slow.
    Heard {
        /// The signer.
        key: SignerKey,
    },
    /// A session frame.
    Frame {
        /// Whose peer sent it.
        from: SignerKey,
        /// Its bytes; at most [`limits::FRAME`].
        frame: Received,
    },
    /// The first connection with a peer, whoever it is.
    PeerConnected {
        /// The peer.
        peer: PeerId,
    },
    /// The last connection with a peer ended.
    PeerDisconnected {
        /// The peer.
        peer: PeerId,
    },
    /// A valid presence that is newer than the one known: to be stored.
    PresenceLearned {
        /// Whose.
        key: SignerKey,
        /// As [`NetCommand::LearnPresences`] takes it.
        bytes: Vec<u8>,
    },
    /// Too many presences are known, and these signers' are of no use at present: to be dropped from the store.
    PresencesForgotten {
        /// Whose.
        keys: Vec<SignerKey>,
    },
    /// Something does not work, and the rest goes on: for people.
    Degraded(String),
}

/// The bytes of a received frame. A large one holds back others until it is dropped.
pub struct Received {
    bytes: Vec<u8>,
    _budget: Option<OwnedSemaphorePermit>,
}

impl Received {
    fn new(bytes: Vec<u8>, budget: Option<OwnedSemaphorePermit>) -> Self {
        Self { bytes, _budget: budget }
    }

    /// The bytes, no longer counted.
    pub fn into_vec(self) -> Vec<u8> {
        self.bytes
    }
}

impl Deref for Received {
    type Target = [u8];
    fn deref(&self) -> &[u8] {
        &self.bytes
    }
}

impl fmt::Debug for Received {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Received({} bytes)", self.bytes.len())
    }
}

/// What the handle, the driver and the tasks of the streams share.
struct Shared {
    config: NetworkConfig,
    counters: Counters,
    /// Bytes of large frames that are being read or wait for the application.
    budget: Budget,
    /// The connected peers of each signer.
    routes: RwLock<HashMap<SignerKey, Vec<Arc<Outbox>>>>,
}

/// A running network layer. Dropping it ends it like [`NetCommand::Shutdown`].
pub struct Network {
    shared: Arc<Shared>,
    commands: mpsc::Sender<NetCommand>,
    peer: PeerId,
}

/// Commands that wait for the driver, which never waits for the application to take them.
const COMMANDS: usize = 1024;

impl Network {
    /// Starts listening and dialling on a runtime, which must have its I/O and time drivers enabled.
    ///
    /// `identity` is from [`generate_identity`]; `presence` is this node's own, as in [`NetCommand::SetPresence`].
    /// The events must be taken: when `event_capacity` of them wait, peers wait too. An address that cannot be
    /// listened on, or names that cannot be resolved, are told as [`NetEvent::Degraded`].
    ///
    /// Errors: the identity is none, or the handshake cannot be set up.
    pub fn start(
        runtime: &tokio::runtime::Handle,
        config: NetworkConfig,
        identity: &[u8],
        presence: Option<Vec<u8>>,
    ) -> Result<(Self, mpsc::Receiver<NetEvent>), NetError> {
        let identity = decode_identity(identity)?;
        let config = config.within_limits();
        let budget = config.max_received_bytes.max(limits::FRAME);
        let (events, receiver) = mpsc::channel(config.event_capacity.max(1));
        let (commands, orders) = mpsc::channel(COMMANDS);
        let peer = identity.public().to_peer_id();
        let shared = Arc::new(Shared {
            config,
            counters: Counters::default(),
            budget: Budget::new(budget),
            routes: RwLock::default(),
        });
        swarm::start(runtime, shared.clone(), &identity, presence, events, orders)?;
        Ok((Self { shared, commands, peer }, receiver))
    }

    /// This node's libp2p identity.
    pub fn local_peer_id(&self) -> PeerId {
        self.peer
    }

    /// Queues a frame for every connected peer of a signer. Never waits.
    ///
    /// `false` if none took it: the signer is not connected, too much waits for it already, or the frame is longer
    /// than [`limits::FRAME`]. `true` is no promise that it arrives.
    pub fn send(&self, to: &SignerKey, frame: Arc<[u8]>) -> bool {
        if frame.len() > limits::FRAME {
            count(&self.shared.counters.dropped, 1);
            return false;
        }
        let routes = self.shared.routes.read().unwrap_or_else(PoisonError::into_inner);
        let outboxes = routes.get(to).map_or(&[][..], Vec::as_slice);
        let taken = outboxes.iter().filter(|outbox| outbox.push(frame.clone())).count();
        count(&self.shared.counters.dropped, outboxes.len() - taken);
        taken > 0
    }

    /// Gives a command; `false` if the network layer has ended. Commands are carried out in order.
    pub async fn command(&self, command: NetCommand) -> bool {
        self.commands.send(command).await.is_ok()
    }

    /// Gives a command without waiting; `false` if the network layer has ended, or too many wait.
    pub fn try_command(&self, command: NetCommand) -> bool {
        self.commands.try_send(command).is_ok()
    }

    /// The counters.
    pub fn counters(&self) -> NetworkCounters {
        self.shared.counters.snapshot()
    }
}

/// Makes a new libp2p identity (ed25519): a secret, to be stored and passed to [`Network::start`].
pub fn generate_identity() -> Vec<u8> {
    Keypair::generate_ed25519().to_protobuf_encoding().expect("an ed25519 key has an encoding")
}

/// The peer that an identity is. Errors: it is none.
pub fn peer_id(identity: &[u8]) -> Result<PeerId, NetError> {
    Ok(decode_identity(identity)?.public().to_peer_id())
}

fn decode_identity(identity: &[u8]) -> Result<Keypair, NetError> {
    Keypair::from_protobuf_encoding(identity).map_err(|error| NetError::Identity(error.to_string()))
}

/// Whether an address ends with the peer id of who is there.
pub(crate) fn has_peer(address: &Multiaddr) -> bool {
    dial::peer_of(address).is_some()
}
