//! Places: which connections of others are let in, and which have to make room.
//!
//! One half of the places is for peers that are known: configured ones, servers, and those of signers that are sought,
//! *whatever their address did*, for co-signers share addresses behind address translation, Tor and relays. Limits and
//! bans by address bind all others only.

use std::collections::{HashMap, HashSet, VecDeque};
use std::convert::Infallible;
use std::net::IpAddr;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use libp2p::core::Endpoint;
use libp2p::core::transport::PortUse;
use libp2p::multiaddr::Protocol;
use libp2p::swarm::behaviour::{ConnectionClosed, ConnectionEstablished, ListenFailure};
use libp2p::swarm::dummy::ConnectionHandler;
use libp2p::swarm::{
    CloseConnection, ConnectionDenied, ConnectionId, FromSwarm, NetworkBehaviour, THandlerInEvent,
    THandlerOutEvent, ToSwarm,
};
use libp2p::{Multiaddr, PeerId};

use super::address::relay_of;
use super::config::NetworkConfig;
use crate::mutation::{self, Mutation};

/// Connections whose handshakes are not over.
const PENDING: usize = 256;
/// The same from one address.
const PENDING_OF_ORIGIN: usize = 8;
/// How long a connection has its place for certain.
const SETTLED: Duration = Duration::from_secs(2);
/// Bans that are remembered.
const BANS: usize = 1024;

/// Where a connection comes from: an IPv4 address, the /64 of an IPv6 address, or a relay. All of one origin can be one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Origin {
    V4([u8; 4]),
    V6([u8; 8]),
    Relay(PeerId),
    /// This machine: anything that forwards to it, as Tor does, also. No limit or ban by address binds it.
    Here,
}

/// Addresses that usually belong to one network: a /24 or a /48.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Block {
    V4([u8; 3]),
    V6([u8; 6]),
    Relay(PeerId),
    Here,
}

impl Origin {
    /// Of a connection that came to `local` from `remote`.
    pub(super) fn new(local: &Multiaddr, remote: &Multiaddr) -> Self {
        if let Some(relay) = relay_of(local) {
            return Self::Relay(relay);
        }
        let ip = remote.iter().find_map(|part| match part {
            Protocol::Ip4(ip) => Some(IpAddr::V4(ip)),
            Protocol::Ip6(ip) => Some(ip.to_canonical()),
            _ => None,
        });
        match ip {
            Some(IpAddr::V4(ip)) if !ip.is_loopback() => Self::V4(ip.octets()),
            Some(IpAddr::V6(ip)) if !ip.is_loopback() => {
                Self::V6(*ip.octets().first_chunk().expect("16 bytes"))
            }
            _ => Self::Here,
        }
    }

    fn block(&self) -> Block {
        match self {
            Self::V4(ip) => Block::V4([ip[0], ip[1], ip[2]]),
            Self::V6(ip) => Block::V6(*ip.first_chunk().expect("8 bytes")),
            Self::Relay(relay) => Block::Relay(*relay),
            Self::Here => Block::Here,
        }
    }
}

/// Why a connection is not let in.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum Full {
    #[error("too many connections are being established")]
    Pending,
    #[error("too many connections come from this address")]
    Origin,
    #[error("this address is banned for a while: its peers broke the protocol repeatedly")]
    Banned,
    #[error("all places are taken")]
    Places,
    #[error("the peer has too many connections")]
    Peer,
}

/// An established connection.
#[derive(Clone, Copy, Debug)]
struct Place {
    peer: PeerId,
    /// `None`: this node dialled.
    origin: Option<Origin>,
    since: Instant,
}

/// See the module.
#[derive(Debug)]
pub(super) struct Places {
    most: usize,
    of_origin: usize,
    of_peer: usize,
    pending: HashMap<ConnectionId, Origin>,
    established: HashMap<ConnectionId, Place>,
    /// Configured peers and servers that have said who they are, and peers of signers that are sought.
    known: HashSet<PeerId>,
    banned: HashMap<Origin, Instant>,
    evicted: VecDeque<(PeerId, ConnectionId)>,
}

impl Places {
    pub(super) fn new(config: &NetworkConfig) -> Self {
        Self {
            most: config.max_connections as usize,
            of_origin: config.max_connections_per_ip as usize,
            of_peer: config.max_connections_per_peer.max(2) as usize,
            pending: HashMap::new(),
            established: HashMap::new(),
            known: HashSet::new(),
            banned: HashMap::new(),
            evicted: VecDeque::new(),
        }
    }

    /// Keeps one half of the places for these peers from now on.
    pub(super) fn set_known(&mut self, peers: HashSet<PeerId>) {
        self.known = peers;
    }

    /// The addresses from which a peer is connected, but for this machine's own.
    pub(super) fn origins(&self, peer: &PeerId) -> HashSet<Origin> {
        let of_peer = self.established.values().filter(|place| place.peer == *peer);
        of_peer.filter_map(|place| place.origin).filter(|origin| *origin != Origin::Here).collect()
    }

    /// Lets nobody unknown in from an address for a while.
    pub(super) fn ban(&mut self, origin: Origin, until: Instant, now: Instant) {
        if self.banned.len() >= BANS {
            self.banned.retain(|_, until| *until > now);
        }
        if self.banned.len() < BANS {
            self.banned.insert(origin, until);
        }
    }

    /// A connection comes in.
    fn arrives(&mut self, id: ConnectionId, origin: Origin) -> Result<(), Full> {
        if self.pending.len() >= PENDING {
            return Err(Full::Pending);
        }
        let same = self.pending.values().filter(|other| **other == origin).count();
        if origin != Origin::Here && same >= PENDING_OF_ORIGIN {
            return Err(Full::Origin);
        }
        self.pending.insert(id, origin);
        Ok(())
    }

    fn check_peer(&self, peer: &PeerId) -> Result<(), Full> {
        let of_peer = self.established.values().filter(|place| place.peer == *peer).count();
        if of_peer < self.of_peer { Ok(()) } else { Err(Full::Peer) }
    }

    /// A connection that came in showed its peer.
    fn admit(&mut self, peer: &PeerId, origin: Origin, now: Instant) -> Result<(), Full> {
        self.check_peer(peer)?;
        let inbound = self.established.values().filter(|place| place.origin.is_some());
        if self.known.contains(peer) && !mutation::on(Mutation::KnownAreStrangers) {
            let taken = inbound.count();
            return if taken < self.most { Ok(()) } else { self.evict(now) };
        }
        if self.banned.get(&origin).is_some_and(|until| *until > now) {
            return Err(Full::Banned);
        }
        let unknown = inbound.filter(|place| !self.known.contains(&place.peer));
        let (mut strangers, mut same) = (0, 0);
        for place in unknown {
            strangers += 1;
            same += usize::from(place.origin == Some(origin));
        }
        if origin != Origin::Here && same >= self.of_origin {
            return Err(Full::Origin);
        }
        if strangers < self.most.div_ceil(2) || mutation::on(Mutation::StrangersTakeAll) {
            Ok(())
        } else {
            self.evict(now)
        }
    }

    /// Takes the place of an unknown peer: of the block that has most, the oldest.
    fn evict(&mut self, now: Instant) -> Result<(), Full> {
        let evicted = |id: &ConnectionId| self.evicted.iter().any(|(_, other)| other == id);
        let strangers: Vec<_> = self
            .established
            .iter()
            .filter_map(|(id, place)| Some((*id, *place, place.origin?.block())))
            .filter(|(id, place, _)| !self.known.contains(&place.peer) && !evicted(id))
            .collect();
        let mut sizes: HashMap<Block, usize> = HashMap::new();
        for (_, _, block) in &strangers {
            *sizes.entry(*block).or_default() += 1;
        }
        let settled = |place: &Place| now.saturating_duration_since(place.since) >= SETTLED;
        let candidates = strangers.iter().filter(|(_, place, _)| settled(place));
        let (id, place, _) = candidates
            .max_by_key(|(id, place, block)| (sizes[block], std::cmp::Reverse((place.since, *id))))
            .ok_or(Full::Places)?;
        self.evicted.push_back((place.peer, *id));
        Ok(())
    }
}

impl NetworkBehaviour for Places {
    type ConnectionHandler = ConnectionHandler;
    type ToSwarm = Infallible;

    fn handle_pending_inbound_connection(
        &mut self,
        id: ConnectionId,
        local: &Multiaddr,
        remote: &Multiaddr,
    ) -> Result<(), ConnectionDenied> {
        self.arrives(id, Origin::new(local, remote)).map_err(ConnectionDenied::new)
    }

    fn handle_established_inbound_connection(
        &mut self,
        id: ConnectionId,
        peer: PeerId,
        local: &Multiaddr,
        remote: &Multiaddr,
    ) -> Result<ConnectionHandler, ConnectionDenied> {
        self.pending.remove(&id);
        let admitted = self.admit(&peer, Origin::new(local, remote), Instant::now());
        admitted.map(|()| ConnectionHandler).map_err(ConnectionDenied::new)
    }

    fn handle_established_outbound_connection(
        &mut self,
        _: ConnectionId,
        peer: PeerId,
        _: &Multiaddr,
        _: Endpoint,
        _: PortUse,
    ) -> Result<ConnectionHandler, ConnectionDenied> {
        self.check_peer(&peer).map(|()| ConnectionHandler).map_err(ConnectionDenied::new)
    }

    fn on_swarm_event(&mut self, event: FromSwarm) {
        match event {
            FromSwarm::ConnectionEstablished(ConnectionEstablished {
                peer_id: peer,
                connection_id,
                endpoint,
                ..
            }) => {
                let origin = match endpoint {
                    libp2p::core::ConnectedPoint::Dialer { .. } => None,
                    libp2p::core::ConnectedPoint::Listener { local_addr, send_back_addr } => {
                        Some(Origin::new(local_addr, send_back_addr))
                    }
                };
                self.established.insert(connection_id, Place { peer, origin, since: Instant::now() });
            }
            FromSwarm::ConnectionClosed(ConnectionClosed { connection_id, .. }) => {
                self.established.remove(&connection_id);
                self.evicted.retain(|(_, id)| *id != connection_id);
            }
            FromSwarm::ListenFailure(ListenFailure { connection_id, .. }) => {
                self.pending.remove(&connection_id);
            }
            _ => {}
        }
    }

    fn on_connection_handler_event(&mut self, _: PeerId, _: ConnectionId, event: THandlerOutEvent<Self>) {
        match event {}
    }

    // No waker is kept: places are taken while the swarm polls.
    fn poll(&mut self, _: &mut Context<'_>) -> Poll<ToSwarm<Infallible, THandlerInEvent<Self>>> {
        match self.evicted.pop_front() {
            Some((peer_id, id)) => {
                // Counted no more, although it takes a moment to close.
                self.established.remove(&id);
                Poll::Ready(ToSwarm::CloseConnection { peer_id, connection: CloseConnection::One(id) })
            }
            None => Poll::Pending,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn places(most: u32, per_ip: u32) -> Places {
        let config = NetworkConfig {
            max_connections: most,
            max_connections_per_ip: per_ip,
            ..NetworkConfig::default()
        };
        Places::new(&config)
    }

    fn origin(text: &str) -> Origin {
        Origin::new(&"/ip4/192.0.2.1/tcp/1".parse().unwrap(), &text.parse().unwrap())
    }

    fn ip(last: usize) -> Origin {
        origin(&format!("/ip4/198.51.{}.{}/tcp/1", last / 250, last % 250))
    }

    /// Comes in, if it may.
    fn enter(
        places: &mut Places,
        number: usize,
        peer: PeerId,
        origin: Origin,
        now: Instant,
    ) -> Result<(), Full> {
        places.admit(&peer, origin, now)?;
        let id = ConnectionId::new_unchecked(number);
        places.established.insert(id, Place { peer, origin: Some(origin), since: now });
        Ok(())
    }

    fn evicted(places: &mut Places) -> Option<ConnectionId> {
        let (_, id) = places.evicted.pop_front()?;
        places.established.remove(&id);
        Some(id)
    }

    #[test]
    fn an_origin_is_an_address_a_network_of_ipv6_or_a_relay() {
        assert_eq!(origin("/ip4/198.51.100.7/tcp/1"), Origin::V4([198, 51, 100, 7]));
        assert_eq!(origin("/ip6/2001:db8::1/tcp/1"), origin("/ip6/2001:db8::2/tcp/9"));
        assert_ne!(origin("/ip6/2001:db8:0:1::1/tcp/1"), origin("/ip6/2001:db8::1/tcp/1"));
        assert_eq!(origin("/ip6/2001:db8:0:1::1/tcp/1").block(), origin("/ip6/2001:db8::1/tcp/1").block());
        assert_eq!(origin("/ip6/::ffff:198.51.100.7/tcp/1"), origin("/ip4/198.51.100.7/tcp/1"));
        assert_eq!((origin("/ip4/127.0.0.9/tcp/1"), origin("/ip6/::1/tcp/1")), (Origin::Here, Origin::Here));
        let relay = PeerId::random();
        let local = format!("/ip4/192.0.2.1/tcp/1/p2p/{relay}/p2p-circuit").parse().unwrap();
        let remote = format!("/p2p/{}", PeerId::random()).parse().unwrap();
        assert_eq!(Origin::new(&local, &remote), Origin::Relay(relay));
    }

    #[test]
    fn silent_sockets_of_one_address_take_eight_and_all_of_them_256() {
        let mut places = places(256, 64);
        let next = |number| ConnectionId::new_unchecked(number);
        for number in 0..100 {
            assert_eq!(places.arrives(next(number), ip(1)).is_ok(), number < PENDING_OF_ORIGIN);
        }
        assert_eq!(places.arrives(next(100), ip(2)), Ok(()), "somebody else");
        for number in 0..300 {
            let _ = places.arrives(next(1000 + number), ip(3 + number));
        }
        assert_eq!(places.pending.len(), PENDING);
        assert_eq!(places.arrives(next(5000), ip(4000)), Err(Full::Pending));
    }

    #[test]
    fn idle_strangers_take_one_half_and_known_peers_have_the_other() {
        let (mut places, now) = (places(8, 64), Instant::now());
        let known: Vec<_> = (0..8).map(|_| PeerId::random()).collect();
        places.set_known(known.iter().copied().collect());
        for number in 0..4 {
            assert_eq!(enter(&mut places, number, PeerId::random(), ip(number), now), Ok(()));
        }
        assert_eq!(enter(&mut places, 4, PeerId::random(), ip(4), now), Err(Full::Places));
        for (number, peer) in known.iter().enumerate().take(4) {
            assert_eq!(enter(&mut places, 10 + number, *peer, ip(0), now), Ok(()));
        }
        // A known one more takes a stranger's place, once that has settled.
        assert_eq!(enter(&mut places, 20, known[4], ip(0), now), Err(Full::Places));
        let later = now + SETTLED;
        assert_eq!(enter(&mut places, 20, known[4], ip(0), later), Ok(()));
        assert!(evicted(&mut places).is_some());
    }

    #[test]
    fn idle_strangers_of_the_largest_block_make_room_the_oldest_first() {
        let (mut places, now) = (places(8, 64), Instant::now());
        let before = |seconds| now - Duration::from_secs(seconds);
        // The oldest of all is alone in its block.
        assert_eq!(enter(&mut places, 0, PeerId::random(), ip(500), before(100)), Ok(()));
        for number in 1..4 {
            let since = before(10 - number as u64);
            assert_eq!(enter(&mut places, number, PeerId::random(), ip(number), since), Ok(()));
        }
        assert_eq!(enter(&mut places, 4, PeerId::random(), ip(900), now), Ok(()));
        assert_eq!(evicted(&mut places), Some(ConnectionId::new_unchecked(1)));
        assert_eq!(evicted(&mut places), None);
    }

    #[test]
    fn same_address_cosigner_is_let_in_whatever_its_address_did() {
        let (mut places, now) = (places(256, 3), Instant::now());
        let cosigner = PeerId::random();
        for number in 0..5 {
            let entered = enter(&mut places, number, PeerId::random(), ip(1), now);
            assert_eq!(entered, if number < 3 { Ok(()) } else { Err(Full::Origin) });
        }
        places.ban(ip(1), now + Duration::from_secs(60), now);
        assert_eq!(enter(&mut places, 10, cosigner, ip(1), now), Err(Full::Banned), "nobody knows it yet");
        places.set_known(HashSet::from([cosigner]));
        assert_eq!(enter(&mut places, 10, cosigner, ip(1), now), Ok(()));
        assert_eq!(enter(&mut places, 11, PeerId::random(), ip(2), now), Ok(()), "another address");
        let over = now + Duration::from_secs(60);
        places.established.clear();
        assert_eq!(enter(&mut places, 12, PeerId::random(), ip(1), over), Ok(()));
    }

    #[test]
    fn bans_are_limited_and_those_of_this_machine_are_none() {
        let (mut places, now) = (places(256, 1), Instant::now());
        for number in 0..2 * BANS {
            places.ban(ip(number), now + Duration::from_secs(60), now);
        }
        assert_eq!(places.banned.len(), BANS);
        let peer = PeerId::random();
        for number in 0..places.of_peer {
            assert_eq!(enter(&mut places, number, peer, Origin::Here, now), Ok(()));
        }
        assert_eq!(enter(&mut places, 9, peer, Origin::Here, now), Err(Full::Peer));
        assert!(places.origins(&peer).is_empty());
    }
}
