//! Questions about an address.

use std::net::IpAddr;

use libp2p::multiaddr::Protocol;
use libp2p::{Multiaddr, PeerId};

use crate::mutation::{self, Mutation};

/// The peer that an address ends with.
pub(super) fn peer_of(address: &Multiaddr) -> Option<PeerId> {
    match address.iter().last() {
        Some(Protocol::P2p(peer)) => Some(peer),
        _ => None,
    }
}

/// What an address is given for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Purpose {
    /// To be dialled.
    Dial,
    /// To be dialled: a bootstrap peer or a relay, which is known by its peer id.
    DialServer,
    /// To be listened on.
    Listen,
}

/// The transports of this build, for people.
const TRANSPORTS: &str = if cfg!(feature = "nat") {
    "this build has TCP (like /ip4/192.0.2.1/tcp/4001, /ip6/... or /dns/...) and relays (.../p2p/<relay>/p2p-circuit)"
} else {
    "this build has TCP (like /ip4/192.0.2.1/tcp/4001, /ip6/... or /dns/...)"
};

/// Reads an address as a person typed or pasted it; `proxied`: a proxy dials it, onion services too. Errors: it can never be
/// used for this, why, and what to do.
pub(crate) fn parse_through(text: &str, purpose: Purpose, proxied: bool) -> Result<Multiaddr, String> {
    let text = if mutation::on(Mutation::PastedAsTyped) { text } else { text.trim() };
    if text.is_empty() {
        return Err("the address is empty; write it like /ip4/192.0.2.1/tcp/4001".into());
    }
    let address: Multiaddr = text.parse().map_err(|error| {
        format!("{text:?} is not a multiaddress ({error}); write it like /ip4/192.0.2.1/tcp/4001")
    })?;
    check_through(&address, purpose, proxied)?;
    Ok(address)
}

/// Checks that an address can be used for this without a proxy. Errors: as [`parse_through`].
pub(super) fn check(address: &Multiaddr, purpose: Purpose) -> Result<(), String> {
    check_through(address, purpose, false)
}

/// Checks that an address can be used for this. Errors: as [`parse_through`].
pub(crate) fn check_through(address: &Multiaddr, purpose: Purpose, proxied: bool) -> Result<(), String> {
    let parts: Vec<_> = address.iter().collect();
    let (direct, relay) = match parts.iter().position(|part| *part == Protocol::P2pCircuit) {
        Some(at) => (&parts[..at], Some(&parts[at + 1..])),
        None => (&parts[..], None),
    };
    let dials = purpose != Purpose::Listen || relay.is_some();
    let (host, rest) =
        direct.split_first().ok_or("the address is empty; write it like /ip4/192.0.2.1/tcp/4001")?;
    match host {
        Protocol::Ip4(ip) if dials && ip.is_unspecified() => {
            return Err(format!(
                "{address} cannot be dialled; replace {ip} by the peer's IP address or name"
            ));
        }
        Protocol::Ip6(ip) if dials && ip.is_unspecified() => {
            return Err(format!(
                "{address} cannot be dialled; replace {ip} by the peer's IP address or name"
            ));
        }
        Protocol::Ip6(ip) if ip.is_unicast_link_local() => {
            return Err(format!(
                "{address} is link-local, which no interface can be given for; use another address"
            ));
        }
        Protocol::Ip4(_) | Protocol::Ip6(_) => {}
        Protocol::Dns(_) | Protocol::Dns4(_) | Protocol::Dns6(_) if dials => {}
        Protocol::Dns(_) | Protocol::Dns4(_) | Protocol::Dns6(_) => {
            return Err(format!(
                "{address} cannot be listened on; use an IP address, or /ip4/0.0.0.0 for all"
            ));
        }
        Protocol::Dnsaddr(_) => {
            return Err(format!("{address} stands for other addresses, which are not looked up; give those"));
        }
        Protocol::P2p(_) => return Err(format!("{address} has no host and port; write them before /p2p")),
        Protocol::Onion3(onion) if dials && proxied && onion.port() > 0 => {}
        Protocol::Onion3(_) if dials => {
            let needed = unsupported(address, host);
            return Err(format!("{needed}; onion services need a proxy (like socks5h://127.0.0.1:9050)"));
        }
        other => return Err(unsupported(address, other)),
    }
    let onion = is_onion(address);
    let (port, rest) = if onion { Some((host, rest)) } else { rest.split_first() }
        .ok_or_else(|| format!("{address} has no port; append /tcp/<port>"))?;
    match port {
        Protocol::Onion3(_) if onion => {}
        Protocol::Tcp(0) if dials => {
            return Err(format!(
                "{address} cannot be dialled; replace port 0 by the port the peer listens on"
            ));
        }
        Protocol::Tcp(_) => {}
        // What is carried over UDP tells more.
        Protocol::Udp(_) => return Err(unsupported(address, rest.first().unwrap_or(port))),
        other => return Err(unsupported(address, other)),
    }
    match (rest, relay) {
        ([] | [Protocol::P2p(_)], None) => {}
        ([Protocol::P2p(_)], Some([] | [Protocol::P2p(_)])) if cfg!(feature = "nat") => {}
        ([Protocol::P2p(_)], Some([])) | ([Protocol::P2p(_)], Some([Protocol::P2p(_)])) => {
            return Err(unsupported(address, &Protocol::P2pCircuit));
        }
        ([], Some(_)) => {
            return Err(format!(
                "{address} has no peer id of its relay; insert /p2p/<peer id> before /p2p-circuit"
            ));
        }
        ([Protocol::P2p(_), other, ..] | [other, ..], None)
        | (_, Some([Protocol::P2p(_), other, ..] | [other, ..])) => {
            return Err(unsupported(address, other));
        }
        ([Protocol::P2p(_), other, ..] | [other, ..], Some([])) => return Err(unsupported(address, other)),
    }
    if purpose == Purpose::DialServer && !has_peer(address) {
        return Err(format!("{address} has no peer id; append /p2p/<peer id>"));
    }
    Ok(())
}

fn unsupported(address: &Multiaddr, part: &Protocol<'_>) -> String {
    format!("{address} needs the transport {}; {TRANSPORTS}", part.tag())
}

/// Whether an address ends with a peer id.
fn has_peer(address: &Multiaddr) -> bool {
    peer_of(address).is_some()
}

/// Whether an address is an onion service's.
pub(super) fn is_onion(address: &Multiaddr) -> bool {
    matches!(address.iter().next(), Some(Protocol::Onion3(_)))
}

/// Whether others can dial an address that this node listens on. They cannot know the scope of a link-local one.
pub(super) fn is_dialable(address: &Multiaddr) -> bool {
    !matches!(address.iter().next(), Some(Protocol::Ip6(ip)) if ip.is_unicast_link_local())
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

/// The [`reach`] of an address of this machine.
pub(super) const LOCAL: u8 = 3;

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
    ip.map_or(0, |ip| reach_of_ip(&ip))
}

/// How widely an IP address can be reached, as [`reach`].
pub(super) fn reach_of_ip(ip: &IpAddr) -> u8 {
    match ip {
        ip if ip.is_loopback() => LOCAL,
        IpAddr::V4(ip) if ip.is_private() || ip.is_link_local() => 2,
        IpAddr::V6(ip) if ip.is_unique_local() || ip.is_unicast_link_local() => 2,
        _ => 0,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str, purpose: Purpose) -> Result<Multiaddr, String> {
        parse_through(text, purpose, false)
    }

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
        assert!(has_peer(&address(&format!("/p2p/{PEER}"))) && !is_dialable(&address("/ip6/fe80::1/tcp/1")));
        assert!(!has_peer(&address(&format!("/ip4/192.0.2.1/tcp/1/p2p/{PEER}/p2p-circuit"))));
        assert!(!has_peer(&Multiaddr::empty()));
    }

    #[test]
    fn pasted_address_is_trimmed_and_taken_if_it_can_be_dialled() {
        for text in [
            "/ip4/192.0.2.1/tcp/4001".to_owned(),
            "/ip6/2001:db8::1/tcp/4001".to_owned(),
            "/dns/node.example/tcp/4001".to_owned(),
            "/dns4/node.example/tcp/4001".to_owned(),
            format!("/dns6/node.example/tcp/4001/p2p/{PEER}"),
        ] {
            assert_eq!(parse(&format!(" \t{text}\n"), Purpose::Dial), Ok(address(&text)));
        }
        let server = format!("/ip4/192.0.2.1/tcp/4001/p2p/{PEER}");
        assert_eq!(parse(&server, Purpose::DialServer), Ok(address(&server)));
        for text in ["/ip4/0.0.0.0/tcp/0", "/ip6/::/tcp/4001", "/ip4/127.0.0.1/tcp/4001"] {
            assert_eq!(parse(text, Purpose::Listen), Ok(address(text)));
        }
        let relayed = format!("/dns4/relay.example/tcp/4001/p2p/{PEER}/p2p-circuit");
        for (text, purpose) in
            [(relayed.clone(), Purpose::Listen), (format!("{relayed}/p2p/{PEER}"), Purpose::Dial)]
        {
            assert_eq!(parse(&text, purpose).is_ok(), cfg!(feature = "nat"), "{text}");
        }
    }

    #[test]
    fn pasted_address_that_can_never_be_used_is_refused_with_the_reason() {
        let peer = format!("/p2p/{PEER}");
        for (text, purpose, expected) in [
            ("", Purpose::Dial, "is empty"),
            (" \n", Purpose::Listen, "is empty"),
            ("/", Purpose::Dial, ""),
            ("node.example:4001", Purpose::Dial, "not a multiaddress"),
            ("/ip4/192.0.2.1 /tcp/4001", Purpose::Dial, "not a multiaddress"),
            (&peer, Purpose::Dial, "no host and port"),
            ("/ip4/192.0.2.1", Purpose::Dial, "append /tcp"),
            ("/ip4/192.0.2.1/tcp/0", Purpose::Dial, "port 0"),
            ("/ip4/0.0.0.0/tcp/4001", Purpose::Dial, "0.0.0.0"),
            ("/ip6/::/tcp/4001", Purpose::Dial, "::"),
            ("/ip6/fe80::1/tcp/4001", Purpose::Dial, "link-local"),
            ("/ip4/192.0.2.1/udp/4001/quic-v1", Purpose::Dial, "quic-v1; this build has TCP"),
            ("/ip4/192.0.2.1/udp/4001/webrtc-direct", Purpose::Dial, "webrtc-direct; this build has TCP"),
            ("/ip4/192.0.2.1/tcp/4001/ws", Purpose::Dial, "ws; this build has TCP"),
            ("/dns4/node.example/tcp/443/wss", Purpose::Listen, "cannot be listened on"),
            ("/ip4/192.0.2.1/udp/4001", Purpose::Listen, "udp; this build has TCP"),
            (
                "/onion3/vww6ybal4bd7szmgncyruucpgfkqahzddi37ktceo3ah7ngmcopnpyyd:1234",
                Purpose::Dial,
                "onion3; this build",
            ),
            ("/dnsaddr/node.example", Purpose::Dial, "give those"),
            ("/memory/7", Purpose::Dial, "memory; this build has TCP"),
            ("/unix/socket", Purpose::Listen, "unix; this build has TCP"),
            ("/dns4/node.example/tcp/4001", Purpose::Listen, "use an IP address"),
            ("/ip4/192.0.2.1/tcp/4001", Purpose::DialServer, "append /p2p/<peer id>"),
            ("/ip4/192.0.2.1/tcp/4001/p2p-circuit", Purpose::Dial, "before /p2p-circuit"),
            ("/p2p-circuit", Purpose::Listen, "is empty"),
            ("/ip4/192.0.2.1/tcp/1/tcp/2", Purpose::Dial, "tcp; this build has TCP"),
        ] {
            let error = parse(text, purpose).expect_err(text);
            assert!(error.contains(expected), "{text}: {error}");
            assert!(!error.contains("::<") && !error.contains('\n'), "{text}: {error}");
        }
        let twice = format!("/ip4/192.0.2.1/tcp/1/p2p/{PEER}/p2p-circuit/p2p/{PEER}/p2p-circuit");
        assert!(parse(&twice, Purpose::Dial).is_err());
    }

    #[test]
    fn pasted_address_of_an_onion_service_needs_a_proxy() {
        let onion = "/onion3/vww6ybal4bd7szmgncyruucpgfkqahzddi37ktceo3ah7ngmcopnpyyd:1234";
        let peer = format!("{onion}/p2p/{PEER}");
        for (text, purpose) in [(onion, Purpose::Dial), (&peer, Purpose::Dial), (&peer, Purpose::DialServer)]
        {
            assert_eq!(parse_through(text, purpose, true), Ok(address(text)));
            assert!(parse(text, purpose).expect_err(text).contains("need a proxy"));
        }
        for (text, purpose) in [
            (onion, Purpose::Listen),
            (onion, Purpose::DialServer),
            (&format!("{onion}/tcp/1"), Purpose::Dial),
        ] {
            assert!(parse_through(text, purpose, true).is_err(), "{text}");
        }
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
