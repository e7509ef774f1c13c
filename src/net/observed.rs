//! Observed addresses: under which IP addresses the servers that this node chose and dialled see it.
//!
//! Nobody else is believed, and no server alone, unless it is the only one. What they say stays for an hour and comes last
//! in the presence: if it is wrong, it costs others one dial.

use std::collections::HashMap;
use std::net::IpAddr;
use std::time::{Duration, Instant};

use libp2p::multiaddr::Protocol;
use libp2p::{Multiaddr, PeerId};

use super::address::{Purpose, check, reach_of_ip};
use crate::mutation::{self, Mutation};

/// Addresses that are announced.
const MOST: usize = 4;
/// How long what a server said counts. It is asked again every five minutes while it is connected.
const MEMORY: Duration = Duration::from_secs(3600);

/// See the module.
#[derive(Debug)]
pub(super) struct Observed {
    /// Servers that must agree.
    needed: usize,
    /// The last word of each server, for IPv4 and IPv6.
    told: HashMap<PeerId, [Option<(IpAddr, Instant)>; 2]>,
}

impl Observed {
    /// For a node that has so many servers.
    pub(super) fn new(servers: usize) -> Self {
        Self { needed: servers.min(2), told: HashMap::new() }
    }

    /// Takes the address under which a server saw this node, which dialled it at an address of this `reach`. A server in
    /// the internet knows nothing of private networks.
    pub(super) fn told(&mut self, server: PeerId, reach: u8, observed: &Multiaddr, now: Instant) {
        let mut parts = observed.iter();
        let ip = match parts.next() {
            Some(Protocol::Ip4(ip)) => IpAddr::V4(ip),
            Some(Protocol::Ip6(ip)) => IpAddr::V6(ip),
            _ => return,
        };
        // Of a connection through a relay it says nothing.
        let direct =
            matches!((parts.next(), parts.next()), (Some(Protocol::Tcp(_)), None | Some(Protocol::P2p(_))))
                && parts.next().is_none();
        if !direct || self.needed == 0 || reach_of_ip(&ip) > reach || ip.is_multicast() {
            return;
        }
        self.told.entry(server).or_default()[usize::from(ip.is_ipv6())] = Some((ip, now + MEMORY));
    }

    /// The addresses to announce: what enough servers said, with the ports of these listeners.
    pub(super) fn addresses(&self, listeners: &[Multiaddr], now: Instant) -> Vec<Multiaddr> {
        let mut votes: Vec<(usize, IpAddr)> = Vec::new();
        for (ip, _) in self.told.values().flatten().flatten().filter(|(_, until)| *until > now) {
            match votes.iter_mut().find(|(_, voted)| voted == ip) {
                Some((count, _)) => *count += 1,
                None => votes.push((1, *ip)),
            }
        }
        votes.retain(|(count, _)| *count >= self.needed || mutation::on(Mutation::OneServerBelieved));
        votes.sort_by_key(|(count, ip)| (std::cmp::Reverse(*count), *ip));
        let mut addresses = Vec::new();
        for (_, ip) in votes {
            for listener in listeners {
                let mut parts = listener.iter();
                let (Some(host), Some(port @ Protocol::Tcp(_)), None) =
                    (parts.next(), parts.next(), parts.next())
                else {
                    continue;
                };
                let address = Multiaddr::from(ip).with(port);
                if matches!(host, Protocol::Ip6(_)) == ip.is_ipv6()
                    && !addresses.contains(&address)
                    && check(&address, Purpose::Dial).is_ok()
                {
                    addresses.push(address);
                }
            }
        }
        addresses.truncate(MOST);
        addresses
    }

    /// When something that was said is over next.
    pub(super) fn next_due(&self) -> Option<Instant> {
        self.told.values().flatten().flatten().map(|(_, until)| *until).min()
    }

    /// Forgets what is over. True if that was anything.
    pub(super) fn expire(&mut self, now: Instant) -> bool {
        let before = self.told.values().flatten().flatten().count();
        for told in self.told.values_mut().flatten() {
            told.take_if(|(_, until)| *until <= now);
        }
        self.told.retain(|_, told| told.iter().any(Option::is_some));
        self.told.values().flatten().flatten().count() < before
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn address(text: &str) -> Multiaddr {
        text.parse().unwrap()
    }

    fn listeners() -> Vec<Multiaddr> {
        ["/ip4/10.0.0.7/tcp/4001", "/ip4/127.0.0.1/tcp/4001", "/ip6/::1/tcp/4002"].map(address).to_vec()
    }

    #[test]
    fn two_servers_or_the_only_one_are_believed() {
        let now = Instant::now();
        let seen = address("/ip4/192.0.2.7/tcp/50000");
        let mut alone = Observed::new(1);
        alone.told(PeerId::random(), 0, &seen, now);
        assert_eq!(alone.addresses(&listeners(), now), [address("/ip4/192.0.2.7/tcp/4001")]);
        assert_eq!(alone.addresses(&[], now), [], "nobody listens there");

        let mut several = Observed::new(3);
        let (one, other) = (PeerId::random(), PeerId::random());
        several.told(one, 0, &seen, now);
        several.told(one, 0, &seen, now);
        assert_eq!(several.addresses(&listeners(), now), []);
        several.told(other, 0, &seen, now);
        assert_eq!(several.addresses(&listeners(), now).len(), 1);
        // The last word of each counts.
        several.told(one, 0, &address("/ip4/192.0.2.8/tcp/1"), now);
        assert_eq!(several.addresses(&listeners(), now), []);

        let mut none = Observed::new(0);
        none.told(one, 0, &seen, now);
        assert!(none.told.is_empty());
    }

    #[test]
    fn what_was_said_is_over_after_an_hour() {
        let now = Instant::now();
        let mut observed = Observed::new(1);
        observed.told(PeerId::random(), 0, &address("/ip4/192.0.2.7/tcp/1"), now);
        assert_eq!(observed.next_due(), Some(now + MEMORY));
        assert!(!observed.expire(now + MEMORY / 2));
        assert_eq!(observed.addresses(&listeners(), now + MEMORY), []);
        assert!(observed.expire(now + MEMORY) && observed.told.is_empty() && observed.next_due().is_none());
    }

    #[test]
    fn at_most_four_are_announced_and_each_server_has_one_of_each_kind() {
        let now = Instant::now();
        let mut observed = Observed::new(1);
        let server = PeerId::random();
        for number in 1..200 {
            observed.told(server, 0, &address(&format!("/ip4/192.0.2.{number}/tcp/1")), now);
            observed.told(server, 0, &address(&format!("/ip6/2001:db8::{number}/tcp/1")), now);
        }
        let many: Vec<_> = (1..50).map(|port| address(&format!("/ip4/10.0.0.7/tcp/{port}"))).collect();
        assert_eq!(observed.addresses(&many, now).len(), MOST);
        assert_eq!(observed.addresses(&listeners(), now).len(), 2);
    }

    #[test]
    fn nothing_but_a_direct_address_that_the_server_can_know_counts() {
        let now = Instant::now();
        let mut observed = Observed::new(1);
        let server = PeerId::random();
        for text in [
            "/ip4/10.0.0.1/tcp/1",
            "/ip4/127.0.0.1/tcp/1",
            "/ip4/224.0.0.1/tcp/1",
            "/ip4/192.0.2.7/udp/1",
            "/ip4/192.0.2.7/tcp/1/ws",
            "/ip4/192.0.2.7/tcp/1/p2p/12D3KooWDpJ7As7BWAwRMfu1VU2WCqNjvq387JEYKDBj4kx6nXTN/p2p-circuit",
            "/dns4/node.example/tcp/1",
        ] {
            observed.told(server, 0, &address(text), now);
            assert!(observed.told.is_empty(), "{text}");
        }
        // One that was dialled in the local network does.
        observed.told(server, 2, &address("/ip4/10.0.0.1/tcp/1"), now);
        assert_eq!(observed.addresses(&listeners(), now).len(), 1);
        observed.told(server, 0, &address("/ip4/0.0.0.0/tcp/1"), now);
        assert_eq!(observed.addresses(&listeners(), now), []);
    }
}
