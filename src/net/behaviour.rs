//! The libp2p behaviours of every connection: the frame streams, ping, identify, limits, and what features add.

use std::collections::{HashMap, VecDeque};
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use libp2p::core::Endpoint;
use libp2p::core::transport::PortUse;
use libp2p::core::upgrade::ReadyUpgrade;
use libp2p::identity::PublicKey;
#[cfg(feature = "discovery")]
use libp2p::swarm::behaviour::toggle::Toggle;
use libp2p::swarm::handler::{
    ConnectionEvent, DialUpgradeError, FullyNegotiatedInbound, FullyNegotiatedOutbound,
};
use libp2p::swarm::{
    ConnectionDenied, ConnectionHandler, ConnectionHandlerEvent, ConnectionId, FromSwarm, NetworkBehaviour,
    NotifyHandler, Stream, StreamProtocol, StreamUpgradeError, SubstreamProtocol, THandlerInEvent, ToSwarm,
};
use libp2p::{Multiaddr, PeerId, identify, ping};

use super::cause::causes;
use super::config::{DhtMode, NetworkConfig};
use super::liveness;
use super::places::Places;
use super::transport::Traversal;

/// The name of the frame protocol. `net/stream.rs` describes it.
pub(super) const PROTOCOL: StreamProtocol = StreamProtocol::new("/musig/1");

/// All behaviours. Those that refuse connections come first.
#[derive(NetworkBehaviour)]
pub(super) struct Behaviour {
    pub(super) places: Places,
    pub(super) frames: Frames,
    ping: ping::Behaviour,
    identify: identify::Behaviour,
    #[cfg(feature = "discovery")]
    pub(super) kad: Toggle<super::paced::Paced<libp2p::kad::Behaviour<super::records::PresenceStore>>>,
    #[cfg(feature = "nat")]
    nat: super::nat::Nat,
}

impl Behaviour {
    pub(super) fn new(config: &NetworkConfig, key: PublicKey, traversal: Traversal) -> Self {
        #[cfg(feature = "discovery")]
        let kad = super::dht::of_node(key.to_peer_id(), config).map(super::paced::Paced).into();
        #[cfg(feature = "nat")]
        let nat = super::nat::Nat::new(key.to_peer_id(), traversal, config.proxy.is_none());
        #[cfg(not(feature = "nat"))]
        let () = traversal;
        // The addresses go out in the signed presence, so identify sends only those that it observed. But servers of
        // the hash table are found by peer id, not by signer.
        let identify = identify::Config::new("musig/1".into(), key)
            .with_agent_version(concat!("libmusig/", env!("CARGO_PKG_VERSION")).into())
            .with_hide_listen_addrs(config.dht != DhtMode::Server)
            .with_cache_size(0);
        Self {
            places: Places::new(config),
            frames: Frames::default(),
            ping: ping::Behaviour::new(liveness::ping(config)),
            identify: identify::Behaviour::new(identify),
            #[cfg(feature = "discovery")]
            kad,
            #[cfg(feature = "nat")]
            nat,
        }
    }
}

/// Opens one stream on every connection, accepts the other side's, and refuses banned peers.
#[derive(Default)]
pub(super) struct Frames {
    events: VecDeque<ToSwarm<FramesEvent, Open>>,
    banned: HashMap<PeerId, Instant>,
}

/// The request for another outbound stream, to the handler of a connection.
#[derive(Debug)]
pub(super) struct Open;

/// An event of the handler of a connection.
#[derive(Debug)]
pub(super) struct FramesEvent {
    pub(super) peer: PeerId,
    pub(super) connection: ConnectionId,
    pub(super) offer: Offer,
}

/// An offer of the handler of a connection.
#[derive(Debug)]
pub(super) enum Offer {
    /// A stream to write to.
    Outbound(Stream),
    /// A stream to read from.
    Inbound(Stream),
    /// The other side does not speak the protocol, or did not answer: why.
    Failed(String),
}

/// Bans that are remembered.
const BANS: usize = 1024;

impl Frames {
    /// Asks for another outbound stream on a connection.
    pub(super) fn open(&mut self, peer: PeerId, connection: ConnectionId) {
        let handler = NotifyHandler::One(connection);
        self.events.push_back(ToSwarm::NotifyHandler { peer_id: peer, handler, event: Open });
    }

    /// Refuses new connections with a peer for a while.
    pub(super) fn ban(&mut self, peer: PeerId, duration: Duration) {
        let now = Instant::now();
        if self.banned.len() >= BANS {
            self.banned.retain(|_, until| *until > now);
        }
        if self.banned.len() < BANS {
            self.banned.insert(peer, now + duration);
        }
    }

    fn handler(&mut self, peer: &PeerId) -> Result<Handler, ConnectionDenied> {
        match self.banned.get(peer) {
            Some(until) if *until > Instant::now() => Err(ConnectionDenied::new(Banned)),
            Some(_) => {
                self.banned.remove(peer);
                Ok(Handler::default())
            }
            None => Ok(Handler::default()),
        }
    }
}

#[derive(Debug, thiserror::Error)]
#[error("the peer is banned for a while: it broke the protocol repeatedly")]
struct Banned;

impl NetworkBehaviour for Frames {
    type ConnectionHandler = Handler;
    type ToSwarm = FramesEvent;

    fn handle_established_inbound_connection(
        &mut self,
        _: ConnectionId,
        peer: PeerId,
        _: &Multiaddr,
        _: &Multiaddr,
    ) -> Result<Handler, ConnectionDenied> {
        self.handler(&peer)
    }

    fn handle_established_outbound_connection(
        &mut self,
        _: ConnectionId,
        peer: PeerId,
        _: &Multiaddr,
        _: Endpoint,
        _: PortUse,
    ) -> Result<Handler, ConnectionDenied> {
        self.handler(&peer)
    }

    fn on_swarm_event(&mut self, _: FromSwarm) {}

    fn on_connection_handler_event(&mut self, peer: PeerId, connection: ConnectionId, offer: Offer) {
        self.events.push_back(ToSwarm::GenerateEvent(FramesEvent { peer, connection, offer }));
    }

    // No waker is kept: events are made while the swarm polls, or through `behaviour_mut`, after which it is polled.
    fn poll(&mut self, _: &mut Context<'_>) -> Poll<ToSwarm<FramesEvent, THandlerInEvent<Self>>> {
        self.events.pop_front().map_or(Poll::Pending, Poll::Ready)
    }
}

/// The frame streams of one connection.
pub(super) struct Handler {
    open: bool,
    offers: VecDeque<Offer>,
}

impl Default for Handler {
    fn default() -> Self {
        Self { open: true, offers: VecDeque::new() }
    }
}

impl ConnectionHandler for Handler {
    type FromBehaviour = Open;
    type ToBehaviour = Offer;
    type InboundProtocol = ReadyUpgrade<StreamProtocol>;
    type OutboundProtocol = ReadyUpgrade<StreamProtocol>;
    type InboundOpenInfo = ();
    type OutboundOpenInfo = ();

    fn listen_protocol(&self) -> SubstreamProtocol<Self::InboundProtocol> {
        SubstreamProtocol::new(ReadyUpgrade::new(PROTOCOL), ())
    }

    fn poll(
        &mut self,
        _: &mut Context<'_>,
    ) -> Poll<ConnectionHandlerEvent<Self::OutboundProtocol, (), Self::ToBehaviour>> {
        if std::mem::take(&mut self.open) {
            let protocol = SubstreamProtocol::new(ReadyUpgrade::new(PROTOCOL), ());
            return Poll::Ready(ConnectionHandlerEvent::OutboundSubstreamRequest { protocol });
        }
        match self.offers.pop_front() {
            Some(offer) => Poll::Ready(ConnectionHandlerEvent::NotifyBehaviour(offer)),
            None => Poll::Pending,
        }
    }

    fn on_behaviour_event(&mut self, Open: Open) {
        self.open = true;
    }

    fn on_connection_event(&mut self, event: ConnectionEvent<Self::InboundProtocol, Self::OutboundProtocol>) {
        match event {
            ConnectionEvent::FullyNegotiatedInbound(FullyNegotiatedInbound { protocol, .. }) => {
                self.offers.push_back(Offer::Inbound(protocol));
            }
            ConnectionEvent::FullyNegotiatedOutbound(FullyNegotiatedOutbound { protocol, .. }) => {
                self.offers.push_back(Offer::Outbound(protocol));
            }
            ConnectionEvent::DialUpgradeError(DialUpgradeError { error, .. }) => {
                let cause = match error {
                    StreamUpgradeError::NegotiationFailed => format!(
                        "it does not speak {PROTOCOL}: it is a node of another version, or another program"
                    ),
                    error => format!("it opened no stream: {}", causes(&error)),
                };
                self.offers.push_back(Offer::Failed(cause));
            }
            _ => {}
        }
    }
}
