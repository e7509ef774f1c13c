//! The handle: starts the network layer, gives it frames and commands.

use std::sync::Arc;

use libp2p::PeerId;
use tokio::sync::mpsc;

use super::budget::Budget;
use super::config::NetworkConfig;
use super::counters::{Counters, NetworkCounters, count};
use super::driver;
use super::identity::{NetError, decode_identity};
use super::message::{NetCommand, NetEvent};
use super::proxy;
use super::routes::Routes;
use super::shared::Shared;
use crate::protocol::limits;
use crate::types::SignerKey;

/// The handle of a running network layer. Dropping it ends the network layer like [`NetCommand::Shutdown`].
pub struct Network {
    shared: Arc<Shared>,
    routes: Arc<Routes>,
    commands: mpsc::Sender<NetCommand>,
    peer: PeerId,
}

/// Commands that wait for the driver, which never waits for the application to take them.
const COMMANDS: usize = 1024;

impl Network {
    /// Starts listening and dialling on a runtime, which must have its I/O and time drivers enabled.
    ///
    /// `identity` is from [`generate_identity`](super::generate_identity); `presence` is this node's own, as in
    /// [`NetCommand::SetPresence`]. The events must be taken: when `event_capacity` of them wait, peers wait too. An
    /// address that cannot be listened on is reported as [`NetEvent::Degraded`].
    ///
    /// Errors: the bytes are no identity, the encryption cannot be set up, or the settings of the proxy contradict others.
    pub fn start(
        runtime: &tokio::runtime::Handle,
        config: NetworkConfig,
        identity: &[u8],
        presence: Option<Vec<u8>>,
    ) -> Result<(Self, mpsc::Receiver<NetEvent>), NetError> {
        let identity = decode_identity(identity)?;
        let (proxy, config) = proxy::behind(config.within_limits()).map_err(NetError::Proxy)?;
        let budget = config.max_received_bytes.max(limits::FRAME);
        let (events, receiver) = mpsc::channel(config.event_capacity.max(1));
        let (commands, orders) = mpsc::channel(COMMANDS);
        let peer = identity.public().to_peer_id();
        let shared = Arc::new(Shared { config, counters: Counters::default(), budget: Budget::new(budget) });
        let routes = Arc::new(Routes::default());
        driver::start(runtime, shared.clone(), routes.clone(), &identity, proxy, presence, events, orders)?;
        Ok((Self { shared, routes, commands, peer }, receiver))
    }

    /// Whether a proxy opens every connection of this node.
    pub(crate) fn is_proxied(&self) -> bool {
        self.shared.config.proxy.is_some()
    }

    /// This node's libp2p identity.
    pub fn local_peer_id(&self) -> PeerId {
        self.peer
    }

    /// Queues a frame for every connected peer of a signer. Never waits.
    ///
    /// `false` if none took it: the signer is not connected, too much waits for it already, or the frame is longer
    /// than [`limits::FRAME`]. `true` is no promise that it arrives.
    pub fn send(&self, to: &SignerKey, frame: Arc<[u8]>) -> bool {
        if frame.len() > limits::FRAME {
            count(&self.shared.counters.dropped, 1);
            return false;
        }
        let (taken, refused) = self.routes.send(to, &frame);
        count(&self.shared.counters.dropped, refused);
        taken > 0
    }

    /// Gives a command; `false` if the network layer has ended. Commands are carried out in order.
    pub async fn command(&self, command: NetCommand) -> bool {
        self.commands.send(command).await.is_ok()
    }

    /// Gives a command without waiting; `false` if the network layer has ended, or too many wait.
    pub fn try_command(&self, command: NetCommand) -> bool {
        self.commands.try_send(command).is_ok()
    }

    /// The counters.
    pub fn counters(&self) -> NetworkCounters {
        self.shared.counters.snapshot()
    }
}
