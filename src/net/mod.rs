//! The network: libp2p. Moves opaque frames between signers, and decides nothing about them.
//!
//! [`Network`] is the handle. Behind it `driver.rs` owns the libp2p swarm and is the only file with `impl Driver`: it
//! hands what happens to the parts, each of which owns its state without doing I/O, and does what they answer. The
//! parts are the dialler (`dial.rs`), `listeners.rs`, `peers.rs`, `discovery.rs`, `strikes.rs`, the address book
//! (`presence.rs`), `observed.rs` and `backlog.rs`. `stream.rs` is the protocol `/musig/1`, `transport.rs` and `behaviour.rs` are what
//! libp2p is made of.

mod address;
mod arrivals;
mod backlog;
mod backoff;
mod behaviour;
mod budget;
mod cause;
mod config;
mod contact;
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
mod names;
#[cfg(feature = "nat")]
mod nat;
mod network;
mod observed;
mod outbox;
#[cfg(feature = "discovery")]
mod paced;
mod peers;
mod places;
mod port;
mod presence;
mod proxy;
mod rate;
mod reachable;
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

pub(crate) use self::address::{Purpose, check_through, parse_through};
pub use self::config::{DhtMode, NetworkConfig};
pub use self::counters::NetworkCounters;
#[cfg(feature = "discovery")]
pub use self::dht::{PROTOCOL as DHT_PROTOCOL, dht};
pub use self::identity::{NetError, generate_identity, peer_id};
pub use self::message::{NetCommand, NetEvent, Received};
pub use self::names::Resolving;
pub use self::network::Network;
pub use self::presence::PresenceRecord;
pub(crate) use self::proxy::check as check_proxy;
#[cfg(feature = "discovery")]
pub use self::records::{Offered, PresenceStore, presence_key};
pub use crate::protocol::presence::{digest as presence_digest, seal as seal_presence};
