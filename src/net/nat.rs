//! Through address translation: relays, and direct connections in their place (DCUtR).

use libp2p::swarm::behaviour::toggle::Toggle;
use libp2p::swarm::{ConnectionId, NetworkBehaviour};
use libp2p::{PeerId, dcutr, relay};

use super::cause::causes;

/// See the module.
#[derive(NetworkBehaviour)]
pub(super) struct Nat {
    relay: relay::client::Behaviour,
    dcutr: Toggle<dcutr::Behaviour>,
}

/// What the driver does for [`Nat`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum NatAction {
    /// Count, and keep, a direct connection that replaces one through a relay.
    Keep(PeerId, ConnectionId),
}

impl Nat {
    /// `direct`: direct connections are to replace those through relays.
    pub(super) fn new(own: PeerId, relay: relay::client::Behaviour, direct: bool) -> Self {
        Self { relay, dcutr: direct.then(|| dcutr::Behaviour::new(own)).into() }
    }
}

impl NatEvent {
    /// What is to be done about the event; others are only logged.
    pub(super) fn action(self) -> Option<NatAction> {
        match self {
            Self::Dcutr(dcutr::Event { remote_peer_id: peer, result }) => match result {
                Ok(connection) => return Some(NatAction::Keep(peer, connection)),
                Err(error) => {
                    tracing::debug!(target: "libmusig::net", %peer, error = causes(&error), "no direct connection")
                }
            },
            Self::Relay(event) => tracing::debug!(target: "libmusig::net", ?event, "relay"),
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_direct_connection_is_kept() {
        let (peer, connection) = (PeerId::random(), ConnectionId::new_unchecked(1));
        let direct = NatEvent::Dcutr(dcutr::Event { remote_peer_id: peer, result: Ok(connection) });
        assert_eq!(direct.action(), Some(NatAction::Keep(peer, connection)));
    }
}
