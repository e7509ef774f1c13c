//! The libp2p identity of a node, and why a network cannot start with one.

use libp2p::PeerId;
use libp2p::identity::Keypair;

use super::cause::causes;

/// Why the network could not start.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum NetError {
    /// The bytes are no libp2p identity.
    #[error("the network identity is damaged ({0}); pass bytes that `generate_identity` made")]
    Identity(String),
    /// The settings of the proxy contradict themselves or others.
    #[error("{0}")]
    Proxy(String),
    /// The encryption of connections (noise) could not be set up.
    #[error("the encryption of connections could not be set up: {0}")]
    Encryption(String),
}

/// Makes a new libp2p identity (ed25519): a secret, to be stored and passed to
/// [`Network::start`](super::Network::start).
pub fn generate_identity() -> Vec<u8> {
    Keypair::generate_ed25519().to_protobuf_encoding().expect("an ed25519 key has an encoding")
}

/// The peer id of an identity. Errors: the bytes are no identity.
pub fn peer_id(identity: &[u8]) -> Result<PeerId, NetError> {
    Ok(decode_identity(identity)?.public().to_peer_id())
}

pub(super) fn decode_identity(identity: &[u8]) -> Result<Keypair, NetError> {
    Keypair::from_protobuf_encoding(identity).map_err(|error| NetError::Identity(causes(&error)))
}
