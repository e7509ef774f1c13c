//! The check that a port is free. libp2p shares its ports (SO_REUSEPORT, for hole punching), so that two nodes of one user
//! would both listen on one, and each would get connections of the other.

use std::io;
use std::net::{IpAddr, SocketAddr};

use libp2p::Multiaddr;
use libp2p::multiaddr::Protocol;
use socket2::{Domain, Socket, Type};

use super::address::is_relayed;

/// The socket address to listen on, if the port is a certain one.
pub(super) fn fixed(address: &Multiaddr) -> Option<SocketAddr> {
    if is_relayed(address) {
        return None;
    }
    let mut parts = address.iter();
    let ip: IpAddr = match parts.next()? {
        Protocol::Ip4(ip) => ip.into(),
        Protocol::Ip6(ip) => ip.into(),
        _ => return None,
    };
    match parts.next()? {
        Protocol::Tcp(port) if port != 0 => Some(SocketAddr::new(ip, port)),
        _ => None,
    }
}

/// Whether a listener on one address gets connections to the other.
pub(super) fn overlap(one: &SocketAddr, other: &SocketAddr) -> bool {
    one.port() == other.port()
        && one.is_ipv4() == other.is_ipv4()
        && (one.ip() == other.ip() || one.ip().is_unspecified() || other.ip().is_unspecified())
}

/// Binds an address for a moment, without sharing it. Errors: another program or node has the port, or this node may not
/// have it.
pub(super) fn check(address: &SocketAddr) -> io::Result<()> {
    let socket = Socket::new(Domain::for_address(*address), Type::STREAM, None)?;
    if address.is_ipv6() {
        socket.set_only_v6(true)?;
    }
    // What is left of connections of an earlier node is no obstacle. On Windows this option would share the port.
    #[cfg(not(windows))]
    socket.set_reuse_address(true)?;
    socket.bind(&(*address).into())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(text: &str) -> SocketAddr {
        text.parse().unwrap()
    }

    #[test]
    fn only_a_tcp_port_that_is_given_is_checked() {
        let fixed = |text: &str| fixed(&text.parse().unwrap());
        assert_eq!(fixed("/ip4/127.0.0.1/tcp/4001"), Some(at("127.0.0.1:4001")));
        assert_eq!(fixed("/ip6/::/tcp/4001"), Some(at("[::]:4001")));
        for text in [
            "/ip4/127.0.0.1/tcp/0",
            "/ip4/127.0.0.1/udp/4001/quic-v1",
            "/p2p-circuit",
            "/dns4/a.example/tcp/1",
            "/ip4/127.0.0.1/tcp/4001/p2p/12D3KooWDpJ7As7BWAwRMfu1VU2WCqNjvq387JEYKDBj4kx6nXTN/p2p-circuit",
        ] {
            assert_eq!(fixed(text), None, "{text}");
        }
    }

    #[test]
    fn addresses_overlap_on_one_port_and_family() {
        assert!(
            overlap(&at("0.0.0.0:1"), &at("127.0.0.1:1")) && overlap(&at("127.0.0.1:1"), &at("127.0.0.1:1"))
        );
        assert!(!overlap(&at("127.0.0.1:1"), &at("127.0.0.2:1")));
        assert!(!overlap(&at("0.0.0.0:1"), &at("0.0.0.0:2")));
        assert!(!overlap(&at("[::]:1"), &at("0.0.0.0:1")));
    }
}
