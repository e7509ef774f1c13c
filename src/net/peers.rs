//! Connected peers, and on which of its connections a peer is written to.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use libp2p::PeerId;
use libp2p::core::ConnectedPoint;
use libp2p::swarm::ConnectionId;
use tokio::sync::watch;

use super::address::relay_of;
use super::liveness::Activity;
use super::outbox::Outbox;
use crate::types::SignerKey;

/// Two connections this close together were dialled by both sides at once.
const SIMULTANEOUS: Duration = Duration::from_secs(1);

/// A connected peer.
pub(super) struct Peer {
    pub(super) since: Instant,
    pub(super) signer: Option<SignerKey>,
    pub(super) outbox: Arc<Outbox>,
    pub(super) delivered: Arc<watch::Sender<u64>>,
    pub(super) connections: HashMap<ConnectionId, Connection>,
    /// On which connection frames are sent.
    pub(super) chosen: Option<ConnectionId>,
}

/// A connection with a peer.
pub(super) struct Connection {
    /// By this node.
    pub(super) dialled: bool,
    pub(super) activity: Arc<Activity>,
    /// Streams the other side has open, and ever had.
    pub(super) inbound: (usize, usize),
    /// Since when neither side writes on it.
    pub(super) surplus: Option<Instant>,
    /// The relay that it goes through.
    pub(super) relay: Option<PeerId>,
    /// Opened for a lookup or an attempt, not because the peer is wanted.
    pub(super) passing: bool,
}

impl Peer {
    pub(super) fn new(most_waiting: usize) -> Self {
        Self {
            since: Instant::now(),
            signer: None,
            outbox: Arc::new(Outbox::new(most_waiting)),
            delivered: Arc::new(watch::Sender::new(0)),
            connections: HashMap::new(),
            chosen: None,
        }
    }

    /// Whether to write on this connection rather than on the chosen one. `low` says whether this node's identity is
    /// the smaller one.
    ///
    /// A direct one rather than one through a relay. Else the newest is the one that is alive for certain. But when both sides dialled at once they must agree:
    /// on the connection that the smaller identity dialled.
    pub(super) fn prefers(&self, connection: &Connection, low: bool) -> bool {
        let Some(chosen) = self.chosen.and_then(|chosen| self.connections.get(&chosen)) else { return true };
        if chosen.relay.is_some() != connection.relay.is_some() {
            return connection.relay.is_none();
        }
        let (old, new) = (chosen.activity.begin(), connection.activity.begin());
        if chosen.dialled != connection.dialled && new.max(old) - new.min(old) < SIMULTANEOUS {
            connection.dialled == low
        } else {
            new >= old
        }
    }

    /// Marks a connection that neither side writes on any more.
    pub(super) fn note_surplus(&mut self, connection: ConnectionId) {
        let elsewhere = self.chosen.is_some_and(|chosen| chosen != connection);
        if let Some(there) = self.connections.get_mut(&connection)
            && elsewhere
            && matches!(there.inbound, (0, 1..))
        {
            there.surplus.get_or_insert_with(Instant::now);
        }
    }
}

impl Connection {
    /// `ours` says whether the dialler asked for it.
    pub(super) fn new(endpoint: &ConnectedPoint, ours: bool) -> Self {
        let dialled = endpoint.is_dialer();
        let address = match endpoint {
            ConnectedPoint::Dialer { address, .. } => address,
            ConnectedPoint::Listener { local_addr, .. } => local_addr,
        };
        Self {
            dialled,
            activity: Arc::new(Activity::new()),
            inbound: (0, 0),
            surplus: None,
            relay: relay_of(address),
            passing: dialled && !ours,
        }
    }
}
