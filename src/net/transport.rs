//! What connections are made of, and where this node listens.

use std::collections::HashSet;
use std::net::IpAddr;
use std::time::{Duration, Instant};

use libp2p::core::transport::{Boxed, ListenerId};
use libp2p::core::{muxing::StreamMuxerBox, upgrade::Version};
use libp2p::identity::Keypair;
use libp2p::multiaddr::Protocol;
use libp2p::{Multiaddr, PeerId, Transport, dns, noise, tcp, yamux};

use super::swarm::{Driver, Item};
use super::{NetError, NetEvent};
use crate::protocol::limits;

/// Streams of a connection: ours, ping's and identify's in both directions, and a few that are ending.
const STREAMS: usize = 16;
/// How long to wait before listening is tried again.
const LISTEN_AGAIN: Duration = Duration::from_secs(10);

/// A transport whose connections are authenticated.
pub(super) type PeerTransport = Boxed<(PeerId, StreamMuxerBox)>;

/// TCP without delay, names resolved if the system says how, noise, yamux.
pub(super) fn transport(
    identity: &Keypair,
    timeout: Duration,
) -> Result<(PeerTransport, Option<String>), NetError> {
    let tcp = || tcp::tokio::Transport::new(tcp::Config::default().nodelay(true));
    let noise = noise::Config::new(identity).map_err(|error| NetError::Encryption(error.to_string()))?;
    let mut yamux = yamux::Config::default();
    yamux.set_max_num_streams(STREAMS);
    macro_rules! secured {
        ($transport:expr) => {
            $transport.upgrade(Version::V1Lazy).authenticate(noise).multiplex(yamux).timeout(timeout).boxed()
        };
    }
    match dns::tokio::Transport::system(tcp()) {
        Ok(resolving) => Ok((secured!(resolving), None)),
        Err(error) => {
            let text = format!("host names cannot be resolved ({error}); use IP addresses");
            Ok((secured!(tcp()), Some(text)))
        }
    }
}

/// An address that this node is to listen on.
pub(super) struct Listener {
    address: Multiaddr,
    pub(super) id: Option<ListenerId>,
    pub(super) due: Instant,
    complained: bool,
}

impl Listener {
    pub(super) fn new(address: Multiaddr) -> Self {
        Self { address, id: None, due: Instant::now(), complained: false }
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
                Ok(id) => (listener.id, listener.complained) = (Some(id), false),
                Err(error) => self.listener_failed(at, &error.to_string()),
            }
        }
        if self.announced.is_none() && !self.shared.config.external.is_empty() {
            self.announce();
        }
    }

    pub(super) fn listener_failed(&mut self, at: usize, reason: &str) {
        let listener = &mut self.listeners[at];
        (listener.id, listener.due) = (None, Instant::now() + LISTEN_AGAIN);
        if !std::mem::replace(&mut listener.complained, true) {
            let text = format!("cannot listen on {} ({reason}); trying again", listener.address);
            self.tell(NetEvent::Degraded(text));
        }
    }

    /// Tells the addresses of this node, if they changed.
    pub(super) fn announce(&mut self) {
        let mut addresses = self.shared.config.external.clone();
        addresses.extend(self.swarm.external_addresses().cloned());
        let mut own: Vec<_> = self.swarm.listeners().cloned().collect();
        own.sort_by_cached_key(|address| (reach(address), address.to_vec()));
        addresses.extend(own);
        let mut seen = HashSet::new();
        addresses.retain(|address| seen.insert(address.clone()));
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

/// From how far an address can be reached: 0 everywhere, 1 in a private network, 2 on this machine.
fn reach(address: &Multiaddr) -> u8 {
    let ip = address.iter().find_map(|part| match part {
        Protocol::Ip4(ip) => Some(IpAddr::V4(ip)),
        Protocol::Ip6(ip) => Some(IpAddr::V6(ip)),
        _ => None,
    });
    match ip {
        Some(ip) if ip.is_loopback() => 2,
        Some(IpAddr::V4(ip)) if ip.is_private() || ip.is_link_local() => 1,
        Some(IpAddr::V6(ip)) if ip.is_unique_local() || ip.is_unicast_link_local() => 1,
        _ => 0,
    }
}
