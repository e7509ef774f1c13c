//! Peers: libp2p. Moves opaque frames between signers, and decides nothing about them.

mod address;
mod backlog;
mod backoff;
mod behaviour;
mod budget;
mod config;
mod counters;
#[cfg(feature = "discovery")]
mod dht;
mod dial;
// Without the feature nothing is found, and nobody reports it.
#[cfg_attr(not(feature = "discovery"), allow(dead_code))]
mod discovery;
mod driver;
mod identity;
mod listeners;
mod liveness;
mod local_network;
#[cfg(feature = "discovery")]
mod mdns;
mod message;
#[cfg(feature = "nat")]
mod nat;
mod network;
mod outbox;
mod peers;
mod presence;
mod rate;
#[cfg(feature = "discovery")]
mod records;
mod routes;
mod shared;
mod stream;
mod strikes;
#[cfg(test)]
mod testing;
mod transport;

pub use libp2p::{Multiaddr, PeerId};

pub(crate) use self::address::has_peer;
pub use self::config::{DhtMode, NetworkConfig};
pub use self::counters::NetworkCounters;
#[cfg(feature = "discovery")]
pub use self::dht::{PROTOCOL as DHT_PROTOCOL, dht};
pub use self::identity::{NetError, generate_identity, peer_id};
pub use self::message::{NetCommand, NetEvent, Received};
pub use self::network::Network;
pub use self::presence::PresenceRecord;
#[cfg(feature = "discovery")]
pub use self::records::{PresenceStore, presence_key};
pub use crate::protocol::presence::{digest as presence_digest, seal as seal_presence};
