//! A SOCKS 5 proxy (RFC 1928, RFC 1929) for every connection that this node opens. It resolves names, onion services
//! among them, so nothing of this node goes beside it.

use std::io;
use std::net::IpAddr;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use futures::future::{BoxFuture, FutureExt};
use libp2p::core::transport::{DialOpts, ListenerId, TransportError, TransportEvent};
use libp2p::multiaddr::Protocol;
use libp2p::{Multiaddr, Transport, tcp};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use super::address::{Purpose, check_through, is_onion};
use super::config::{DhtMode, NetworkConfig};
use crate::types::proxy::ProxyAddress;

/// The shortest time limit of dials: a circuit of Tor is built in it.
const DIAL_TIMEOUT: Duration = Duration::from_secs(30);

/// A proxy, as it is configured.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Proxy(ProxyAddress);

impl Proxy {
    /// Opens a connection to a host by the proxy.
    async fn connect(self, host: Host, port: u16) -> io::Result<TcpStream> {
        let failed = |error: io::Error| io::Error::other(format!("the proxy {}: {error}", self.0.address));
        let mut stream = TcpStream::connect(self.0.address).await.map_err(failed)?;
        stream.set_nodelay(true).map_err(failed)?;
        self.log_in(&mut stream).await.map_err(failed)?;
        let mut request = vec![5, 1, 0];
        match host {
            Host::Ip(IpAddr::V4(ip)) => {
                request.push(1);
                request.extend(ip.octets());
            }
            Host::Ip(IpAddr::V6(ip)) => {
                request.push(4);
                request.extend(ip.octets());
            }
            Host::Name(name) => {
                request.extend([3, name.len() as u8]);
                request.extend(name.as_bytes());
            }
        }
        request.extend(port.to_be_bytes());
        stream.write_all(&request).await.map_err(failed)?;
        answer(&mut stream).await.map_err(failed)?;
        Ok(stream)
    }

    async fn log_in(&self, stream: &mut TcpStream) -> io::Result<()> {
        let greeting: &[u8] = if self.0.login.is_some() { &[5, 2, 0, 2] } else { &[5, 1, 0] };
        stream.write_all(greeting).await?;
        let mut chosen = [0; 2];
        stream.read_exact(&mut chosen).await?;
        match (chosen, &self.0.login) {
            ([5, 0], _) => Ok(()),
            ([5, 2], Some((user, password))) => {
                let mut message = vec![1, user.len() as u8];
                message.extend(user.as_bytes());
                message.push(password.len() as u8);
                message.extend(password.as_bytes());
                stream.write_all(&message).await?;
                let mut answer = [0; 2];
                stream.read_exact(&mut answer).await?;
                match answer[1] {
                    0 => Ok(()),
                    _ => Err(io::Error::other("it refuses user or password")),
                }
            }
            ([5, _], _) => Err(io::Error::other("it wants another way to log in")),
            _ => Err(io::Error::other("it does not speak SOCKS 5; check its address")),
        }
    }
}

/// Reads what the proxy answers to a request.
async fn answer(stream: &mut TcpStream) -> io::Result<()> {
    let mut head = [0; 4];
    stream.read_exact(&mut head).await?;
    let why = match head {
        [5, 0, ..] => None,
        [5, 1, ..] => Some("it failed"),
        [5, 2, ..] => Some("its rules forbid the connection"),
        [5, 3, ..] => Some("the network cannot be reached"),
        [5, 4, ..] => Some("the host cannot be reached"),
        [5, 5, ..] => Some("connection refused"),
        [5, 6, ..] => Some("the connection took too long"),
        [5, 8, ..] => Some("it does not take this kind of address"),
        // Tor's own, for onion services.
        [5, 0xf0..=0xf7, ..] => Some("the onion service cannot be reached"),
        [5, ..] => Some("it failed in a way of its own"),
        _ => Some("it does not speak SOCKS 5; check its address"),
    };
    if let Some(why) = why {
        return Err(io::Error::other(why));
    }
    let length = match head[3] {
        1 => 4,
        4 => 16,
        3 => usize::from(stream.read_u8().await?),
        _ => return Err(io::Error::other("it does not speak SOCKS 5; check its address")),
    };
    let mut bound = vec![0; length + 2];
    stream.read_exact(&mut bound).await.map(drop)
}

/// A host, for the proxy.
#[derive(Debug, PartialEq, Eq)]
enum Host {
    Ip(IpAddr),
    Name(String),
}

/// Where an address leads.
fn host_of(address: &Multiaddr) -> Option<(Host, u16)> {
    let mut parts = address.iter();
    let host = match parts.next()? {
        Protocol::Ip4(ip) => Host::Ip(ip.into()),
        Protocol::Ip6(ip) => Host::Ip(ip.into()),
        Protocol::Dns(name) | Protocol::Dns4(name) | Protocol::Dns6(name)
            if (1..=255).contains(&name.len()) =>
        {
            Host::Name(name.into_owned())
        }
        Protocol::Onion3(onion) => {
            let host = Host::Name(format!("{}.onion", base32(onion.hash())));
            return matches!(parts.next(), None | Some(Protocol::P2p(_))).then_some((host, onion.port()));
        }
        _ => return None,
    };
    let Some(Protocol::Tcp(port)) = parts.next() else { return None };
    matches!(parts.next(), None | Some(Protocol::P2p(_))).then_some((host, port))
}

/// Base32 without padding (RFC 4648, section 6), in small letters: the name of an onion service.
fn base32(bytes: &[u8]) -> String {
    const DIGITS: &[u8; 32] = b"abcdefghijklmnopqrstuvwxyz234567";
    let (mut text, mut bits, mut count) = (String::new(), 0_u32, 0);
    for byte in bytes {
        (bits, count) = (bits << 8 | u32::from(*byte), count + 8);
        while count >= 5 {
            count -= 5;
            text.push(char::from(DIGITS[(bits >> count & 31) as usize]));
        }
    }
    if count > 0 {
        text.push(char::from(DIGITS[(bits << (5 - count) & 31) as usize]));
    }
    text
}

/// A transport that dials by a proxy, and by nothing else. It listens by TCP, where the settings allow it.
pub(super) struct Proxied {
    inner: tcp::tokio::Transport,
    proxy: Proxy,
}

impl Proxied {
    pub(super) fn new(inner: tcp::tokio::Transport, proxy: Proxy) -> Self {
        Self { inner, proxy }
    }
}

impl Transport for Proxied {
    type Output = tcp::tokio::TcpStream;
    type Error = io::Error;
    type ListenerUpgrade = <tcp::tokio::Transport as Transport>::ListenerUpgrade;
    type Dial = BoxFuture<'static, io::Result<Self::Output>>;

    fn listen_on(&mut self, id: ListenerId, address: Multiaddr) -> Result<(), TransportError<io::Error>> {
        self.inner.listen_on(id, address)
    }

    fn remove_listener(&mut self, id: ListenerId) -> bool {
        self.inner.remove_listener(id)
    }

    fn dial(&mut self, address: Multiaddr, _: DialOpts) -> Result<Self::Dial, TransportError<io::Error>> {
        let (host, port) = host_of(&address).ok_or(TransportError::MultiaddrNotSupported(address))?;
        Ok(self.proxy.clone().connect(host, port).map(|stream| stream.map(tcp::tokio::TcpStream)).boxed())
    }

    fn poll(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<TransportEvent<Self::ListenerUpgrade, io::Error>> {
        Pin::new(&mut self.inner).poll(context)
    }
}

/// Checks what the settings say of a proxy. Errors: they contradict each other; what to do.
pub(crate) fn check(config: &NetworkConfig) -> Result<(), String> {
    let mut dialled = config.peers.iter().chain(&config.bootstrap_peers).chain(&config.relays);
    let Some(proxy) = &config.proxy else {
        return dialled.try_for_each(|address| check_through(address, Purpose::Dial, false));
    };
    ProxyAddress::parse(proxy)?;
    for address in dialled {
        check_through(address, Purpose::Dial, true)?;
    }
    if config.mdns {
        return Err(
            "mDNS announces this node on the local network, beside its proxy; turn one of them off".into()
        );
    }
    if config.dht == DhtMode::Server {
        return Err("a server of the hash table is dialled directly; with a proxy be a client, or off".into());
    }
    if let Some(address) = config.external.iter().find(|address| !is_onion(address)) {
        return Err(format!(
            "{address} would be announced beside the proxy; announce /onion3 addresses alone"
        ));
    }
    for address in &config.listen {
        let loopback = match address.iter().next() {
            Some(Protocol::Ip4(ip)) => ip.is_loopback(),
            Some(Protocol::Ip6(ip)) => ip.is_loopback(),
            _ => false,
        };
        if config.listen != NetworkConfig::default().listen && (!loopback || config.external.is_empty()) {
            return Err(format!(
                "a node behind a proxy does not listen on {address}; remove it, or name a loopback address together with an \
                 external /onion3 that leads there"
            ));
        }
    }
    Ok(())
}

/// The proxy of the settings, and the settings with what follows from it. Errors: as [`check`].
pub(super) fn behind(mut config: NetworkConfig) -> Result<(Option<Proxy>, NetworkConfig), String> {
    check(&config)?;
    let Some(proxy) = config.proxy.as_deref().map(ProxyAddress::parse).transpose()? else {
        return Ok((None, config));
    };
    if config.listen == NetworkConfig::default().listen {
        config.listen.clear();
    }
    config.dial_timeout = config.dial_timeout.max(DIAL_TIMEOUT);
    Ok((Some(Proxy(proxy)), config))
}

#[cfg(test)]
mod tests {
    use super::*;

    const ONION: &str = "/onion3/vww6ybal4bd7szmgncyruucpgfkqahzddi37ktceo3ah7ngmcopnpyyd:1234";

    fn address(text: &str) -> Multiaddr {
        text.parse().unwrap()
    }

    #[test]
    fn through_proxy_names_and_onion_services_are_left_to_the_proxy() {
        let peer = "/p2p/12D3KooWDpJ7As7BWAwRMfu1VU2WCqNjvq387JEYKDBj4kx6nXTN";
        let name = |text: &str| Host::Name(text.into());
        for (text, host, port) in [
            ("/ip4/192.0.2.1/tcp/1", Host::Ip([192, 0, 2, 1].into()), 1),
            ("/ip6/::1/tcp/2", Host::Ip(std::net::Ipv6Addr::LOCALHOST.into()), 2),
            ("/dns/node.example/tcp/3", name("node.example"), 3),
            ("/dns4/node.example/tcp/3", name("node.example"), 3),
            ("/dns6/node.example/tcp/3", name("node.example"), 3),
            (ONION, name("vww6ybal4bd7szmgncyruucpgfkqahzddi37ktceo3ah7ngmcopnpyyd.onion"), 1234),
        ] {
            assert_eq!(host_of(&address(text)), Some((host, port)), "{text}");
            assert!(host_of(&address(&format!("{text}{peer}"))).is_some(), "{text}");
        }
        for text in ["/ip4/192.0.2.1/udp/1", "/dnsaddr/node.example", "/memory/1", peer, "/ip4/192.0.2.1"] {
            assert_eq!(host_of(&address(text)), None, "{text}");
        }
    }

    #[test]
    fn through_proxy_settings_that_lead_beside_it_are_refused() {
        let proxied = || NetworkConfig::proxy("socks5h://127.0.0.1:9050");
        let onion = || vec![address(ONION)];
        let (proxy, config) = behind(proxied()).unwrap();
        assert!(proxy.is_some() && config.listen.is_empty() && config.dial_timeout >= DIAL_TIMEOUT);
        let listening = |listen: &str| NetworkConfig { listen: vec![address(listen)], ..proxied() };
        let service = NetworkConfig { external: onion(), ..listening("/ip4/127.0.0.1/tcp/1") };
        assert_eq!(behind(service).unwrap().1.listen, [address("/ip4/127.0.0.1/tcp/1")]);
        assert_eq!(check(&NetworkConfig { peers: onion(), ..proxied() }), Ok(()));
        for (config, expected) in [
            (NetworkConfig { peers: onion(), ..NetworkConfig::default() }, "onion3"),
            (NetworkConfig { proxy: Some("tor".into()), ..proxied() }, "socks5h"),
            (NetworkConfig { mdns: true, ..proxied() }, "mDNS"),
            (NetworkConfig { dht: DhtMode::Server, ..proxied() }, "hash table"),
            (NetworkConfig { external: vec![address("/ip4/192.0.2.1/tcp/1")], ..proxied() }, "192.0.2.1"),
            (listening("/ip4/127.0.0.1/tcp/1"), "/onion3"),
            (NetworkConfig { external: onion(), ..listening("/ip4/0.0.0.0/tcp/1") }, "0.0.0.0"),
        ] {
            let error = check(&config).expect_err(expected);
            assert!(error.contains(expected), "{error}");
        }
    }
}
