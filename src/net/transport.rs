//! The transport: TCP, names, relays, noise and yamux.

use std::time::Duration;

use futures::{AsyncRead, AsyncWrite};
use libp2p::core::muxing::StreamMuxerBox;
use libp2p::core::transport::Boxed;
use libp2p::core::upgrade::{InboundConnectionUpgrade, OutboundConnectionUpgrade, UpgradeInfo, Version};
use libp2p::identity::Keypair;
use libp2p::{PeerId, Transport, noise, tcp, yamux};

use super::arrivals::Arrivals;
use super::cause::causes;
use super::identity::NetError;
use super::names::Resolving;
use super::proxy::{Proxied, Proxy};
use crate::mutation::{self, Mutation};
use crate::protocol::limits;

/// Streams of a connection that the other side opened: ours, ping's and identify's in both directions, some lookups,
/// and a few that are ending.
const STREAMS: usize = 24;
/// Streams of a connection that this side opened: on one with a relay each connection through it is one.
const STREAMS_OF_DIALLED: usize = STREAMS + limits::SIGNERS;

/// Time limit for the handshakes of a connection that others open: a silent one takes a place.
const INBOUND: Duration = Duration::from_secs(5);

/// A transport whose connections are authenticated.
pub(super) type PeerTransport = Boxed<(PeerId, StreamMuxerBox)>;

/// What the behaviour needs of the transport.
#[cfg(feature = "nat")]
pub(super) type Traversal = libp2p::relay::client::Behaviour;
/// What the behaviour needs of the transport.
#[cfg(not(feature = "nat"))]
pub(super) type Traversal = ();

/// TCP without delay, names or a proxy, relays, a rate at which others connect, noise, yamux.
pub(super) fn transport(
    identity: &Keypair,
    proxy: Option<Proxy>,
    timeout: Duration,
) -> Result<(PeerTransport, Traversal), NetError> {
    let tcp = tcp::tokio::Transport::new(tcp::Config::default().nodelay(true));
    let noise = noise::Config::new(identity).map_err(|error| NetError::Encryption(causes(&error)))?;
    #[cfg(feature = "nat")]
    let (relay, traversal) = libp2p::relay::client::new(identity.public().to_peer_id());
    #[cfg(not(feature = "nat"))]
    let traversal = ();
    macro_rules! secured {
        ($transport:expr) => {{
            #[cfg(feature = "nat")]
            let transport = libp2p::core::transport::OrTransport::new(relay, $transport);
            #[cfg(not(feature = "nat"))]
            let transport = $transport;
            let upgrade = Arrivals::new(transport).upgrade(Version::V1Lazy).authenticate(noise);
            let multiplexed = upgrade.multiplex(Multiplexer::new()).outbound_timeout(timeout);
            let inbound =
                if mutation::on(Mutation::SilentSocketsStay) { timeout * 100 } else { timeout.min(INBOUND) };
            multiplexed.inbound_timeout(inbound).boxed()
        }};
    }
    let transport = match proxy {
        Some(proxy) if !mutation::on(Mutation::ProxyPassedBy) => secured!(Proxied::new(tcp, proxy)),
        _ => secured!(Resolving::new(tcp)),
    };
    Ok((transport, traversal))
}

/// yamux with few streams for whoever connects, and more where this node dialled.
#[derive(Clone)]
struct Multiplexer {
    inbound: yamux::Config,
    outbound: yamux::Config,
}

impl Multiplexer {
    fn new() -> Self {
        let with = |streams| {
            let mut config = yamux::Config::default();
            config.set_max_num_streams(streams);
            config
        };
        Self { inbound: with(STREAMS), outbound: with(STREAMS_OF_DIALLED) }
    }
}

impl UpgradeInfo for Multiplexer {
    type Info = <yamux::Config as UpgradeInfo>::Info;
    type InfoIter = <yamux::Config as UpgradeInfo>::InfoIter;

    fn protocol_info(&self) -> Self::InfoIter {
        self.inbound.protocol_info()
    }
}

impl<C: AsyncRead + AsyncWrite + Send + Unpin + 'static> InboundConnectionUpgrade<C> for Multiplexer {
    type Output = <yamux::Config as InboundConnectionUpgrade<C>>::Output;
    type Error = <yamux::Config as InboundConnectionUpgrade<C>>::Error;
    type Future = <yamux::Config as InboundConnectionUpgrade<C>>::Future;

    fn upgrade_inbound(self, connection: C, info: Self::Info) -> Self::Future {
        self.inbound.upgrade_inbound(connection, info)
    }
}

impl<C: AsyncRead + AsyncWrite + Send + Unpin + 'static> OutboundConnectionUpgrade<C> for Multiplexer {
    type Output = <yamux::Config as OutboundConnectionUpgrade<C>>::Output;
    type Error = <yamux::Config as OutboundConnectionUpgrade<C>>::Error;
    type Future = <yamux::Config as OutboundConnectionUpgrade<C>>::Future;

    fn upgrade_outbound(self, connection: C, info: Self::Info) -> Self::Future {
        self.outbound.upgrade_outbound(connection, info)
    }
}
