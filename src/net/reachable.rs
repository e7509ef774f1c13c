//! Which addresses that others named may be dialled: no stranger, and no signer, leads this node to hosts that only it can
//! reach. Configured addresses are always dialled.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, UdpSocket};

use libp2p::Multiaddr;
use libp2p::multiaddr::Protocol;

/// Whether an address that somebody named may be dialled: one of this machine if that is `here`, one of a private network
/// if this node has an interface in it. A proxy dials neither.
pub(super) fn may_dial(address: &Multiaddr, here: bool, proxied: bool) -> bool {
    match proxied {
        true => may_dial_from(address, false, |_| None),
        false => may_dial_from(address, here, interface_to),
    }
}

fn may_dial_from(address: &Multiaddr, here: bool, interface_to: impl Fn(IpAddr) -> Option<IpAddr>) -> bool {
    let ip = match address.iter().next() {
        Some(Protocol::Ip4(ip)) => IpAddr::V4(ip),
        Some(Protocol::Ip6(ip)) => ip.to_canonical(),
        // Its name is resolved when it is dialled.
        _ => return true,
    };
    if ip.is_loopback() || ip.is_unspecified() {
        return here;
    }
    match network_of(ip) {
        None => true,
        Some(network) => interface_to(ip).is_some_and(|own| network_of(own) == Some(network)),
    }
}

/// Private networks: how far their addresses say to which one they belong.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Network {
    Ten,
    Twelve,
    Sixteen,
    /// The network of a provider (RFC 6598).
    Shared,
    LinkLocal,
    /// The /48 of a unique local address.
    UniqueLocal([u8; 6]),
    LinkLocal6,
}

fn network_of(ip: IpAddr) -> Option<Network> {
    match ip {
        IpAddr::V4(ip) => match ip.octets() {
            [10, ..] => Some(Network::Ten),
            [172, 16..=31, ..] => Some(Network::Twelve),
            [192, 168, ..] => Some(Network::Sixteen),
            [100, 64..=127, ..] => Some(Network::Shared),
            [169, 254, ..] => Some(Network::LinkLocal),
            _ => None,
        },
        IpAddr::V6(ip) if ip.is_unique_local() => {
            Some(Network::UniqueLocal(*ip.octets().first_chunk().expect("16 bytes")))
        }
        IpAddr::V6(ip) if ip.is_unicast_link_local() => Some(Network::LinkLocal6),
        IpAddr::V6(_) => None,
    }
}

/// The own address from which the system would send to this one. Nothing is sent.
fn interface_to(ip: IpAddr) -> Option<IpAddr> {
    let any = match ip {
        IpAddr::V4(_) => IpAddr::V4(Ipv4Addr::UNSPECIFIED),
        IpAddr::V6(_) => IpAddr::V6(Ipv6Addr::UNSPECIFIED),
    };
    let socket = UdpSocket::bind((any, 0)).ok()?;
    socket.connect((ip, 9)).ok()?;
    Some(socket.local_addr().ok()?.ip())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn through_proxy_nothing_of_this_machine_or_a_private_network_is_dialled() {
        for (text, expected) in [
            ("/ip4/127.0.0.1/tcp/1", false),
            ("/ip4/192.168.1.1/tcp/1", false),
            ("/ip6/fd00::1/tcp/1", false),
            ("/ip4/192.0.2.1/tcp/1", true),
            ("/dns4/node.example/tcp/1", true),
        ] {
            assert_eq!(may_dial(&text.parse().unwrap(), true, true), expected, "{text}");
        }
    }

    /// Whether a node with this one interface may dial an address that came over loopback or not.
    fn dials(own: &str, address: &str, here: bool) -> bool {
        let own: IpAddr = own.parse().unwrap();
        may_dial_from(&address.parse().unwrap(), here, |_| Some(own))
    }

    #[test]
    fn private_addresses_of_others_are_dialled_only_within_their_network() {
        for (own, address, may) in [
            ("192.168.1.7", "/ip4/192.168.1.9/tcp/1", true),
            ("192.168.1.7", "/ip4/10.0.0.9/tcp/1", false),
            ("192.168.1.7", "/ip4/172.16.0.9/tcp/1", false),
            ("172.31.0.7", "/ip4/172.16.0.9/tcp/1", true),
            ("10.1.2.3", "/ip4/10.200.0.9/tcp/1", true),
            ("203.0.113.7", "/ip4/192.168.1.9/tcp/1", false),
            ("203.0.113.7", "/ip4/169.254.169.254/tcp/80", false),
            ("169.254.1.1", "/ip4/169.254.3.4/tcp/1", true),
            ("203.0.113.7", "/ip4/100.64.0.1/tcp/1", false),
            ("203.0.113.7", "/ip4/198.51.100.1/tcp/1", true),
            ("192.168.1.7", "/ip6/::ffff:10.0.0.1/tcp/1", false),
            ("fd00:1:2:3::1", "/ip6/fd00:1:2:9::5/tcp/1", true),
            ("fd00:1:2:3::1", "/ip6/fd00:1:9::5/tcp/1", false),
            ("2001:db8::1", "/ip6/fe80::1/tcp/1", false),
            ("2001:db8::1", "/ip6/2001:db8::2/tcp/1", true),
            ("203.0.113.7", "/dns4/relay.example/tcp/1", true),
        ] {
            assert_eq!(dials(own, address, false), may, "{address} from {own}");
        }
    }

    #[test]
    fn addresses_of_this_machine_are_dialled_if_they_come_from_it() {
        for address in
            ["/ip4/127.0.0.1/tcp/1", "/ip4/127.9.9.9/tcp/1", "/ip6/::1/tcp/1", "/ip6/::ffff:127.0.0.1/tcp/1"]
        {
            assert!(dials("127.0.0.1", address, true) && !dials("127.0.0.1", address, false), "{address}");
        }
    }

    #[test]
    fn the_system_is_asked_without_sending_anything() {
        assert_eq!(interface_to("127.0.0.1".parse().unwrap()), Some("127.0.0.1".parse().unwrap()));
    }
}
