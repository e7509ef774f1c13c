//! What connections are made of, and where this node listens.

use std::collections::HashSet;
use std::time::{Duration, Instant};

use futures::{AsyncRead, AsyncWrite};
use libp2p::core::muxing::StreamMuxerBox;
use libp2p::core::transport::{Boxed, ListenerId};
use libp2p::core::upgrade::{InboundConnectionUpgrade, OutboundConnectionUpgrade, UpgradeInfo, Version};
use libp2p::identity::Keypair;
use libp2p::multiaddr::Protocol;
use libp2p::{Multiaddr, PeerId, Transport, dns, noise, tcp, yamux};

use super::address::{is_relayed, reach};
use super::backoff::backoff;
use super::driver::{Driver, Item};
use super::identity::NetError;
use super::message::NetEvent;
use crate::protocol::limits;

/// Streams of a connection that the other side opened: ours, ping's and identify's in both directions, some lookups,
/// and a few that are ending.
const STREAMS: usize = 24;
/// Streams of a connection that this side opened: on one with a relay each connection through it is one.
const STREAMS_OF_DIALLED: usize = STREAMS + limits::SIGNERS;
/// How long to wait before listening is tried again.
const LISTEN_AGAIN: Duration = Duration::from_secs(10);

/// A transport whose connections are authenticated.
pub(super) type PeerTransport = Boxed<(PeerId, StreamMuxerBox)>;

/// What the behaviour needs of the transport.
#[cfg(feature = "nat")]
pub(super) type Traversal = libp2p::relay::client::Behaviour;
/// What the behaviour needs of the transport.
#[cfg(not(feature = "nat"))]
pub(super) type Traversal = ();

/// TCP without delay, names resolved if the system says how, relays, noise, yamux.
pub(super) fn transport(
    identity: &Keypair,
    timeout: Duration,
) -> Result<(PeerTransport, Traversal, Option<String>), NetError> {
    let tcp = || tcp::tokio::Transport::new(tcp::Config::default().nodelay(true));
    let noise = noise::Config::new(identity).map_err(|error| NetError::Encryption(error.to_string()))?;
    #[cfg(feature = "nat")]
    let (relay, traversal) = libp2p::relay::client::new(identity.public().to_peer_id());
    #[cfg(not(feature = "nat"))]
    let traversal = ();
    macro_rules! secured {
        ($transport:expr) => {{
            #[cfg(feature = "nat")]
            let transport = libp2p::core::transport::OrTransport::new(relay, $transport);
            #[cfg(not(feature = "nat"))]
            let transport = $transport;
            let upgrade = transport.upgrade(Version::V1Lazy).authenticate(noise);
            upgrade.multiplex(Multiplexer::new()).timeout(timeout).boxed()
        }};
    }
    match dns::tokio::Transport::system(tcp()) {
        Ok(resolving) => Ok((secured!(resolving), traversal, None)),
        Err(error) => {
            let text = format!("host names cannot be resolved ({error}); use IP addresses");
            Ok((secured!(tcp()), traversal, Some(text)))
        }
    }
}

/// yamux with few streams for whoever connects, and more where this node dialled.
#[derive(Clone)]
struct Multiplexer {
    inbound: yamux::Config,
    outbound: yamux::Config,
}

impl Multiplexer {
    fn new() -> Self {
        let with = |streams| {
            let mut config = yamux::Config::default();
            config.set_max_num_streams(streams);
            config
        };
        Self { inbound: with(STREAMS), outbound: with(STREAMS_OF_DIALLED) }
    }
}

impl UpgradeInfo for Multiplexer {
    type Info = <yamux::Config as UpgradeInfo>::Info;
    type InfoIter = <yamux::Config as UpgradeInfo>::InfoIter;

    fn protocol_info(&self) -> Self::InfoIter {
        self.inbound.protocol_info()
    }
}

impl<C: AsyncRead + AsyncWrite + Send + Unpin + 'static> InboundConnectionUpgrade<C> for Multiplexer {
    type Output = <yamux::Config as InboundConnectionUpgrade<C>>::Output;
    type Error = <yamux::Config as InboundConnectionUpgrade<C>>::Error;
    type Future = <yamux::Config as InboundConnectionUpgrade<C>>::Future;

    fn upgrade_inbound(self, connection: C, info: Self::Info) -> Self::Future {
        self.inbound.upgrade_inbound(connection, info)
    }
}

impl<C: AsyncRead + AsyncWrite + Send + Unpin + 'static> OutboundConnectionUpgrade<C> for Multiplexer {
    type Output = <yamux::Config as OutboundConnectionUpgrade<C>>::Output;
    type Error = <yamux::Config as OutboundConnectionUpgrade<C>>::Error;
    type Future = <yamux::Config as OutboundConnectionUpgrade<C>>::Future;

    fn upgrade_outbound(self, connection: C, info: Self::Info) -> Self::Future {
        self.outbound.upgrade_outbound(connection, info)
    }
}

/// An address that this node is to listen on.
pub(super) struct Listener {
    address: Multiaddr,
    /// At a relay.
    relayed: bool,
    pub(super) id: Option<ListenerId>,
    pub(super) due: Instant,
    failures: u32,
}

impl Listener {
    pub(super) fn new(address: Multiaddr) -> Self {
        Self { relayed: is_relayed(&address), address, id: None, due: Instant::now(), failures: 0 }
    }
}

impl Driver {
    pub(super) fn listen(&mut self, now: Instant) {
        for at in 0..self.listeners.len() {
            let listener = &mut self.listeners[at];
            if listener.id.is_some() || listener.due > now {
                continue;
            }
            match self.swarm.listen_on(listener.address.clone()) {
                Ok(id) => listener.id = Some(id),
                Err(error) => self.listener_failed(at, &error.to_string()),
            }
        }
        // A node that listens nowhere has a presence too. One that will know an address in a moment waits for it.
        let soon = self.listeners.iter().any(|listener| !listener.relayed && listener.id.is_some());
        if self.announced.is_none() && !soon {
            self.announce();
        }
    }

    pub(super) fn listener_works(&mut self, id: ListenerId) {
        for listener in self.listeners.iter_mut().filter(|listener| listener.id == Some(id)) {
            listener.failures = 0;
        }
    }

    pub(super) fn listener_failed(&mut self, at: usize, reason: &str) {
        let config = &self.shared.config;
        let (min, max) = (config.redial_min, config.redial_max.min(LISTEN_AGAIN));
        let listener = &mut self.listeners[at];
        let wait = if listener.relayed { backoff(min, max, listener.failures) } else { LISTEN_AGAIN };
        (listener.id, listener.due) = (None, Instant::now() + wait);
        let first = listener.failures == 0;
        listener.failures = listener.failures.saturating_add(1);
        if first {
            let text = format!("cannot listen on {} ({reason}); trying again", listener.address);
            self.tell(NetEvent::Degraded(text));
        }
    }

    /// Gives up the places at relays, and asks for new ones.
    pub(super) fn renew_places(&mut self) {
        for listener in &mut self.listeners {
            listener.due = Instant::now();
            if listener.relayed
                && let Some(id) = listener.id.take()
            {
                self.swarm.remove_listener(id);
            }
        }
    }

    /// Tells the addresses of this node, if they changed.
    pub(super) fn announce(&mut self) {
        let mut addresses = self.shared.config.external.clone();
        addresses.extend(self.swarm.external_addresses().cloned());
        let mut own: Vec<_> = self.swarm.listeners().cloned().collect();
        self.discovery.listening(own.clone());
        own.sort_by_cached_key(|address| (reach(address), address.to_vec()));
        addresses.extend(own);
        let (mut seen, mut relayed) = (HashSet::new(), 0);
        let this = Protocol::P2p(*self.swarm.local_peer_id());
        addresses.retain_mut(|address| {
            if address.iter().last() == Some(this.clone()) {
                address.pop();
            }
            // A relay says itself under which addresses, so these leave room for others.
            relayed += usize::from(is_relayed(address));
            (!is_relayed(address) || relayed <= limits::ADDRESSES / 2) && seen.insert(address.clone())
        });
        addresses.truncate(limits::ADDRESSES);
        if self.announced.as_ref() == Some(&addresses) {
            return;
        }
        self.announced = Some(addresses.clone());
        if let Some(Item::Event(NetEvent::Listening(_))) = self.backlog.back() {
            self.backlog.pop_back();
        }
        self.tell(NetEvent::Listening(addresses));
    }
}
