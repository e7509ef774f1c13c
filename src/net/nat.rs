//! Through address translation: relays, direct connections in their place (DCUtR), and whether this node can be reached
//! (AutoNAT, version 2).

use libp2p::swarm::NetworkBehaviour;
use libp2p::{PeerId, autonat, dcutr, relay};

use super::counters::count;
use super::driver::Driver;

/// See the module.
#[derive(NetworkBehaviour)]
pub(super) struct Nat {
    relay: relay::client::Behaviour,
    dcutr: dcutr::Behaviour,
    autonat: autonat::v2::client::Behaviour,
}

impl Nat {
    pub(super) fn new(own: PeerId, relay: relay::client::Behaviour) -> Self {
        Self { relay, dcutr: dcutr::Behaviour::new(own), autonat: autonat::v2::client::Behaviour::default() }
    }
}

impl Driver {
    pub(super) fn nat_event(&mut self, event: NatEvent) {
        match event {
            NatEvent::Dcutr(dcutr::Event { remote_peer_id: peer, result }) => match result {
                Ok(connection) => {
                    count(&self.shared.counters.holes_punched, 1);
                    if let Some(there) = self.connection(&peer, connection) {
                        there.passing = false;
                    }
                }
                Err(error) => tracing::debug!(%peer, %error, "no direct connection"),
            },
            NatEvent::Autonat(event) if event.result.is_ok() => {
                count(&self.shared.counters.addresses_confirmed, 1);
            }
            NatEvent::Autonat(event) => {
                tracing::debug!(address = %event.tested_addr, "this node cannot be reached there");
            }
            NatEvent::Relay(event) => tracing::debug!(?event, "relay"),
        }
    }
}
