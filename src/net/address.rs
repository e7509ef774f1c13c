//! Questions about an address.

use std::net::IpAddr;

use libp2p::multiaddr::Protocol;
use libp2p::{Multiaddr, PeerId};

/// The peer that an address ends with.
pub(super) fn peer_of(address: &Multiaddr) -> Option<PeerId> {
    match address.iter().last() {
        Some(Protocol::P2p(peer)) => Some(peer),
        _ => None,
    }
}

/// Whether an address ends with a peer id.
pub(crate) fn has_peer(address: &Multiaddr) -> bool {
    peer_of(address).is_some()
}

/// The relay that an address leads through.
pub(super) fn relay_of(address: &Multiaddr) -> Option<PeerId> {
    let mut relay = None;
    for part in address.iter() {
        match part {
            Protocol::P2p(peer) => relay = Some(peer),
            Protocol::P2pCircuit => return relay,
            _ => {}
        }
    }
    None
}

/// Whether an address leads through a relay.
pub(super) fn is_relayed(address: &Multiaddr) -> bool {
    address.iter().any(|part| part == Protocol::P2pCircuit)
}

/// How widely an address can be reached: 0 everywhere, 1 through a relay, 2 in a private network, 3 on this machine.
pub(super) fn reach(address: &Multiaddr) -> u8 {
    if is_relayed(address) {
        return 1;
    }
    let ip = address.iter().find_map(|part| match part {
        Protocol::Ip4(ip) => Some(IpAddr::V4(ip)),
        Protocol::Ip6(ip) => Some(IpAddr::V6(ip)),
        _ => None,
    });
    match ip {
        Some(ip) if ip.is_loopback() => 3,
        Some(IpAddr::V4(ip)) if ip.is_private() || ip.is_link_local() => 2,
        Some(IpAddr::V6(ip)) if ip.is_unique_local() || ip.is_unicast_link_local() => 2,
        _ => 0,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PEER: &str = "12D3KooWDpJ7As7BWAwRMfu1VU2WCqNjvq387JEYKDBj4kx6nXTN";

    fn address(text: &str) -> Multiaddr {
        text.parse().unwrap()
    }

    #[test]
    fn the_peer_is_the_one_at_the_end() {
        assert_eq!(
            peer_of(&address(&format!("/ip4/192.0.2.1/tcp/1/p2p/{PEER}"))),
            Some(PEER.parse().unwrap())
        );
        assert!(has_peer(&address(&format!("/p2p/{PEER}"))));
        assert!(!has_peer(&address(&format!("/ip4/192.0.2.1/tcp/1/p2p/{PEER}/p2p-circuit"))));
        assert!(!has_peer(&Multiaddr::empty()));
    }

    #[test]
    fn the_relay_is_the_peer_before_the_circuit() {
        let relayed = address(&format!("/ip4/192.0.2.1/tcp/1/p2p/{PEER}/p2p-circuit"));
        assert_eq!(relay_of(&relayed), Some(PEER.parse().unwrap()));
        assert!(is_relayed(&relayed));
        let direct = address(&format!("/ip4/192.0.2.1/tcp/1/p2p/{PEER}"));
        assert_eq!(relay_of(&direct), None);
        assert!(!is_relayed(&direct));
        assert_eq!(relay_of(&address("/p2p-circuit")), None);
    }

    #[test]
    fn public_addresses_reach_farther_than_relayed_private_and_loopback_ones() {
        let relayed = format!("/ip4/127.0.0.1/tcp/1/p2p/{PEER}/p2p-circuit");
        for (text, expected) in [
            ("/ip4/192.0.2.1/tcp/1", 0),
            ("/dns4/node.example/tcp/1", 0),
            ("/ip6/2001:db8::1/tcp/1", 0),
            (relayed.as_str(), 1),
            ("/ip4/192.168.1.1/tcp/1", 2),
            ("/ip4/169.254.1.1/tcp/1", 2),
            ("/ip6/fd00::1/tcp/1", 2),
            ("/ip6/fe80::1/tcp/1", 2),
            ("/ip4/127.0.0.1/tcp/1", 3),
            ("/ip6/::1/tcp/1", 3),
        ] {
            assert_eq!(reach(&address(text)), expected, "{text}");
        }
    }
}
