//! How fast one IP address may connect, and how many connections it may have. A new peer id costs nothing, so limits by
//! peer id alone bind nobody.

use std::collections::HashMap;
use std::convert::Infallible;
use std::net::IpAddr;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use libp2p::core::Endpoint;
use libp2p::core::transport::PortUse;
use libp2p::multiaddr::Protocol;
use libp2p::swarm::behaviour::{ConnectionClosed, ConnectionEstablished};
use libp2p::swarm::dummy::ConnectionHandler;
use libp2p::swarm::{
    ConnectionDenied, ConnectionId, FromSwarm, NetworkBehaviour, THandlerInEvent, THandlerOutEvent, ToSwarm,
};
use libp2p::{Multiaddr, PeerId};

/// Connections that one address may open at once, and after what time one more.
const BURST: u32 = 64;
const EVERY: Duration = Duration::from_secs(1);
/// Addresses that are remembered at once. Others wait until one of these has had time enough.
const ADDRESSES: usize = 65_536;

/// Why a connection is not let in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refused {
    /// It is one of too many in a time.
    TooFast,
    /// The address has too many.
    TooMany,
}

impl std::fmt::Display for Refused {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::TooFast => "this address connects too often",
            Self::TooMany => "this address has too many connections",
        })
    }
}

impl std::error::Error for Refused {}

/// An IPv4 address, or the /64 of an IPv6 address.
fn origin(address: &Multiaddr) -> Option<IpAddr> {
    let ip = address.iter().find_map(|part| match part {
        Protocol::Ip4(ip) => Some(IpAddr::V4(ip)),
        Protocol::Ip6(ip) => Some(ip.to_canonical()),
        _ => None,
    })?;
    let ip = match ip {
        IpAddr::V6(ip) => IpAddr::V6((ip.to_bits() & !u128::from(u64::MAX)).into()),
        ip => ip,
    };
    // What forwards to this machine, as Tor does, forwards for many.
    (!ip.is_loopback() && ip != IpAddr::V6(0.into())).then_some(ip)
}

/// What an address did.
#[derive(Clone, Copy, Debug)]
struct Account {
    /// The time that it has to wait until nothing is owed.
    owed: Duration,
    at: Instant,
}

/// See the module.
#[derive(Debug)]
pub struct Rates {
    most: u32,
    accounts: HashMap<IpAddr, Account>,
    established: HashMap<ConnectionId, IpAddr>,
}

impl Rates {
    /// At most so many connections of one address.
    pub fn new(most: u32) -> Self {
        Self { most, accounts: HashMap::new(), established: HashMap::new() }
    }

    /// Counts a connection that comes in from an address, and refuses it if it is one too many.
    pub fn arrives(&mut self, from: &Multiaddr, now: Instant) -> Result<(), Refused> {
        let Some(ip) = origin(from) else { return Ok(()) };
        if self.established.values().filter(|other| **other == ip).count() >= self.most as usize {
            return Err(Refused::TooMany);
        }
        let owed = |account: &Account| account.owed.saturating_sub(now.saturating_duration_since(account.at));
        if self.accounts.len() >= ADDRESSES {
            self.accounts.retain(|_, account| !owed(account).is_zero());
        }
        let before = self.accounts.get(&ip).map_or(Duration::ZERO, owed);
        if before > EVERY * (BURST - 1) || self.accounts.len() >= ADDRESSES {
            return Err(Refused::TooFast);
        }
        self.accounts.insert(ip, Account { owed: before + EVERY, at: now });
        Ok(())
    }

    /// A connection from an address is established.
    pub fn entered(&mut self, id: ConnectionId, from: &Multiaddr) {
        if let Some(ip) = origin(from) {
            self.established.insert(id, ip);
        }
    }

    /// A connection ended.
    pub fn left(&mut self, id: ConnectionId) {
        self.established.remove(&id);
    }
}

impl NetworkBehaviour for Rates {
    type ConnectionHandler = ConnectionHandler;
    type ToSwarm = Infallible;

    fn handle_pending_inbound_connection(
        &mut self,
        _: ConnectionId,
        _: &Multiaddr,
        from: &Multiaddr,
    ) -> Result<(), ConnectionDenied> {
        self.arrives(from, Instant::now()).map_err(ConnectionDenied::new)
    }

    fn handle_established_inbound_connection(
        &mut self,
        _: ConnectionId,
        _: PeerId,
        _: &Multiaddr,
        _: &Multiaddr,
    ) -> Result<ConnectionHandler, ConnectionDenied> {
        Ok(ConnectionHandler)
    }

    fn handle_established_outbound_connection(
        &mut self,
        _: ConnectionId,
        _: PeerId,
        _: &Multiaddr,
        _: Endpoint,
        _: PortUse,
    ) -> Result<ConnectionHandler, ConnectionDenied> {
        Ok(ConnectionHandler)
    }

    fn on_swarm_event(&mut self, event: FromSwarm) {
        match event {
            FromSwarm::ConnectionEstablished(ConnectionEstablished { connection_id, endpoint, .. })
                if endpoint.is_listener() =>
            {
                self.entered(connection_id, endpoint.get_remote_address());
            }
            FromSwarm::ConnectionClosed(ConnectionClosed { connection_id, .. }) => self.left(connection_id),
            _ => {}
        }
    }

    fn on_connection_handler_event(&mut self, _: PeerId, _: ConnectionId, event: THandlerOutEvent<Self>) {
        match event {}
    }

    fn poll(&mut self, _: &mut Context<'_>) -> Poll<ToSwarm<Infallible, THandlerInEvent<Self>>> {
        Poll::Pending
    }
}
