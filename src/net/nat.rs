//! Through address translation: relays, direct connections in their place (DCUtR), and whether this node can be reached
//! (AutoNAT, version 2).

use libp2p::swarm::{ConnectionId, NetworkBehaviour};
use libp2p::{PeerId, autonat, dcutr, relay};

use super::cause::causes;

/// See the module.
#[derive(NetworkBehaviour)]
pub(super) struct Nat {
    relay: relay::client::Behaviour,
    dcutr: dcutr::Behaviour,
    autonat: autonat::v2::client::Behaviour,
}

/// What the driver does for [`Nat`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum NatAction {
    /// Count, and keep, a direct connection that replaces one through a relay.
    Keep(PeerId, ConnectionId),
    /// Count an address under which another node reached this one.
    CountConfirmed,
}

impl Nat {
    pub(super) fn new(own: PeerId, relay: relay::client::Behaviour) -> Self {
        Self { relay, dcutr: dcutr::Behaviour::new(own), autonat: autonat::v2::client::Behaviour::default() }
    }
}

impl NatEvent {
    /// What is to be done about the event; others are only logged.
    pub(super) fn action(self) -> Option<NatAction> {
        match self {
            Self::Dcutr(dcutr::Event { remote_peer_id: peer, result }) => match result {
                Ok(connection) => return Some(NatAction::Keep(peer, connection)),
                Err(error) => tracing::debug!(%peer, error = causes(&error), "no direct connection"),
            },
            Self::Autonat(event) if event.result.is_ok() => return Some(NatAction::CountConfirmed),
            Self::Autonat(event) => {
                tracing::debug!(address = %event.tested_addr, "this node cannot be reached there");
            }
            Self::Relay(event) => tracing::debug!(?event, "relay"),
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_direct_connection_is_kept_and_a_confirmed_address_counted() {
        let (peer, connection) = (PeerId::random(), ConnectionId::new_unchecked(1));
        let direct = NatEvent::Dcutr(dcutr::Event { remote_peer_id: peer, result: Ok(connection) });
        assert_eq!(direct.action(), Some(NatAction::Keep(peer, connection)));
        let tested = |result| {
            NatEvent::Autonat(autonat::v2::client::Event {
                tested_addr: "/ip4/192.0.2.1/tcp/1".parse().expect("an address"),
                bytes_sent: 0,
                server: PeerId::random(),
                result,
            })
        };
        assert_eq!(tested(Ok(())).action(), Some(NatAction::CountConfirmed));
    }
}
