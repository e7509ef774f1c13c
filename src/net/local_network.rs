//! The local network: peers that are seen on it, if this build has mDNS and the settings turn it on.

use libp2p::{Multiaddr, PeerId};

use super::config::NetworkConfig;
#[cfg(feature = "discovery")]
use super::mdns::Finder;

/// See the module.
pub(super) struct LocalNetwork {
    #[cfg(feature = "discovery")]
    finder: Option<Finder>,
}

#[cfg(feature = "discovery")]
impl LocalNetwork {
    pub(super) fn new(config: &NetworkConfig, own: PeerId) -> Self {
        Self { finder: config.mdns.then(|| Finder::start(own)) }
    }

    /// Whether it can be asked.
    pub(super) fn is_on(&self) -> bool {
        self.finder.is_some()
    }

    /// Announces these addresses of this node, and no others.
    pub(super) fn announce(&self, addresses: Vec<Multiaddr>) {
        if let Some(finder) = &self.finder {
            finder.announce(addresses);
        }
    }

    /// Asks for peers.
    pub(super) fn ask(&self) {
        if let Some(finder) = &self.finder {
            finder.ask();
        }
    }

    /// The next peer that is seen, or why none can be seen; never, if it is off.
    pub(super) async fn next(&mut self) -> Result<(PeerId, Multiaddr), String> {
        match &mut self.finder {
            Some(finder) => finder.next().await,
            None => std::future::pending().await,
        }
    }
}

#[cfg(not(feature = "discovery"))]
impl LocalNetwork {
    pub(super) fn new(_: &NetworkConfig, _: PeerId) -> Self {
        Self {}
    }

    pub(super) fn is_on(&self) -> bool {
        false
    }

    pub(super) fn announce(&self, _: Vec<Multiaddr>) {}

    pub(super) fn ask(&self) {}

    pub(super) async fn next(&mut self) -> Result<(PeerId, Multiaddr), String> {
        std::future::pending().await
    }
}
