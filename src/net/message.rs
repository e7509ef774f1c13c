//! The commands that the network layer takes and the events that it reports.

use std::fmt;
use std::ops::Deref;
use std::time::Duration;

use libp2p::{Multiaddr, PeerId};
use tokio::sync::OwnedSemaphorePermit;

use crate::types::SignerKey;

/// A command to the network layer. Frames go by [`Network::send`](super::Network::send).
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum NetCommand {
    /// Sets this node's own signed presence, from [`seal_presence`](super::seal_presence): it goes to all connected
    /// peers, and comes first on each new connection. Without one, nothing is sent.
    SetPresence(Vec<u8>),
    /// Takes presences from the store. Invalid ones are ignored, and so is what goes beyond
    /// [`NetworkConfig::max_presences`](super::NetworkConfig::max_presences), which is reported as
    /// [`NetEvent::PresencesForgotten`].
    LearnPresences(Vec<Vec<u8>>),
    /// The same of signers with whom this node had sessions before: strangers push out none of these.
    LearnPartners(Vec<Vec<u8>>),
    /// Dials this address, and again whenever it is not connected.
    AddPeer(Multiaddr),
    /// Finds these signers and stays connected with them. Replaces the ones before.
    Seek(Vec<SignerKey>),
    /// Asks these signers for signs of life while they are connected, each
    /// [`NetworkConfig::ask_interval`](super::NetworkConfig::ask_interval) in which nothing comes from them. Replaces the ones
    /// before.
    Ask(Vec<SignerKey>),
    /// Closes the connections of this signer. If it is sought, it is dialled again.
    Disconnect(SignerKey),
    /// Counts a violation of the protocol by this signer's peers, as if it were one of the stream's own rules.
    Violation(SignerKey),
    /// Closes all connections and dials again at once: for a device that slept or changed its network.
    Reconnect,
    /// Sends what waits, for half a second at most, and ends. The events end too.
    Shutdown,
}

/// An event of the network layer. For each signer: `SignerConnected`, then its frames, in their order for each
/// of its peers. A frame that came before the end of a connection may be reported after `SignerDisconnected`.
#[derive(Debug)]
#[non_exhaustive]
pub enum NetEvent {
    /// All addresses under which others may reach this node, without `/p2p`, at most
    /// [`limits::ADDRESSES`](crate::protocol::limits::ADDRESSES): the configured ones, those of its listeners, the most
    /// public first, and then at most four that its servers observed. Reported again when they change: time to sign a new
    /// presence.
    Listening(Vec<Multiaddr>),
    /// A signer's first peer is connected and has proved that it speaks for the signer.
    SignerConnected {
        /// The signer.
        key: SignerKey,
        /// Its peer.
        peer: PeerId,
    },
    /// A signer's last peer is disconnected. Frames that waited to be sent to it are dropped.
    SignerDisconnected {
        /// The signer.
        key: SignerKey,
    },
    /// Bytes came from a signer, or it answered a ping. At most about once a second; may be left out when the
    /// application is slow.
    Heard {
        /// The signer.
        key: SignerKey,
    },
    /// A connected signer was asked for signs of life three times, and nothing came from any of its peers. Once, until it
    /// is [heard](Self::Heard) or disconnected.
    SignerSilent {
        /// The signer.
        key: SignerKey,
        /// For how long nothing has come.
        silence: Duration,
    },
    /// A session frame.
    Frame {
        /// The signer for which the sending peer speaks.
        from: SignerKey,
        /// Its bytes; at most [`limits::FRAME`](crate::protocol::limits::FRAME).
        frame: Received,
    },
    /// The first connection with a peer, a signer's or not.
    PeerConnected {
        /// The peer.
        peer: PeerId,
    },
    /// The last connection with a peer ended.
    PeerDisconnected {
        /// The peer.
        peer: PeerId,
    },
    /// A valid presence that is newer than the one known: to be stored.
    PresenceLearned {
        /// The signer.
        key: SignerKey,
        /// As [`NetCommand::LearnPresences`] takes it.
        bytes: Vec<u8>,
    },
    /// The presence of a signer is to be kept with those of partners, for it is sought: to be noted in the store, and given
    /// to [`NetCommand::LearnPartners`] after a restart.
    PartnerKnown {
        /// The signer.
        key: SignerKey,
    },
    /// A server of the hash table keeps a presence of this node that is newer than the one that it published: time to
    /// sign one with a higher sequence number.
    PresenceReturned {
        /// Its sequence number.
        sequence: u64,
    },
    /// Presences that were evicted, for there are too many, and these are not needed: to be deleted from the store.
    PresencesForgotten {
        /// The signers.
        keys: Vec<SignerKey>,
    },
    /// Something that does not work while the rest does, in words for people.
    Degraded(String),
    /// A configured address, or a sought signer, cannot be reached. Once for each, and again when the cause changes.
    Unreachable {
        /// The configured address, if it is one.
        address: Option<Multiaddr>,
        /// The sought signer, if it is one.
        signer: Option<SignerKey>,
        /// Why, in one line for people.
        cause: String,
        /// How long until the next dial or lookup; `None` if it waits until an address is learnt.
        retry: Option<Duration>,
    },
}

/// The bytes of a received frame. A large one holds back others until it is dropped.
pub struct Received {
    bytes: Vec<u8>,
    _budget: Option<OwnedSemaphorePermit>,
}

impl Received {
    pub(super) fn new(bytes: Vec<u8>, budget: Option<OwnedSemaphorePermit>) -> Self {
        Self { bytes, _budget: budget }
    }

    /// The bytes, no longer counted.
    pub fn into_vec(self) -> Vec<u8> {
        self.bytes
    }
}

impl Deref for Received {
    type Target = [u8];
    fn deref(&self) -> &[u8] {
        &self.bytes
    }
}

impl fmt::Debug for Received {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Received({} bytes)", self.bytes.len())
    }
}
