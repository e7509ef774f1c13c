//! Somebody who speaks libp2p, and `/musig/1` only as far as it suits him.

use std::time::Duration;

use libmusig::net::{Multiaddr, PeerId, peer_id};
use libp2p::{StreamProtocol, Swarm, identity, noise, tcp, yamux};

pub const PROTOCOL: StreamProtocol = StreamProtocol::new("/musig/1");

/// A peer of its own identity that opens streams by hand.
pub fn swarm() -> (PeerId, Swarm<libp2p_stream::Behaviour>) {
    let identity = identity::Keypair::generate_ed25519();
    let peer = peer_id(&identity.to_protobuf_encoding().unwrap()).unwrap();
    let swarm = libp2p::SwarmBuilder::with_existing_identity(identity)
        .with_tokio()
        .with_tcp(tcp::Config::default(), noise::Config::new, yamux::Config::default)
        .unwrap()
        .with_behaviour(|_| libp2p_stream::Behaviour::new())
        .unwrap()
        .with_swarm_config(|config| config.with_idle_connection_timeout(Duration::from_secs(600)))
        .build();
    (peer, swarm)
}

/// The protocols by which a peer asks for what another one says of itself, and tells it unasked.
pub const IDENTIFY: StreamProtocol = StreamProtocol::new("/ipfs/id/1.0.0");
pub const IDENTIFY_PUSH: StreamProtocol = StreamProtocol::new("/ipfs/id/push/1.0.0");

/// What a peer says of itself by these: nothing but its key, and the address at which it claims to see the other one.
pub fn identify_message(peer: PeerId, observed: &Multiaddr) -> Vec<u8> {
    // An ed25519 peer id is the key itself, behind two bytes.
    let mut message = field(1, &peer.to_bytes()[2..]);
    message.extend(field(4, &observed.to_vec()));
    let mut framed = length(message.len());
    framed.extend(message);
    framed
}

/// A field of Protocol Buffers that has a length.
pub fn field(number: u8, bytes: &[u8]) -> Vec<u8> {
    let mut field = vec![number << 3 | 2];
    field.extend(length(bytes.len()));
    field.extend_from_slice(bytes);
    field
}

/// A length as it is in front of a field or message.
pub fn length(mut number: usize) -> Vec<u8> {
    let mut bytes = Vec::new();
    while number >= 128 {
        bytes.push(number as u8 | 128);
        number >>= 7;
    }
    bytes.push(number as u8);
    bytes
}

/// A frame as it is on the wire.
pub fn raw_frame(kind: u8, payload: &[u8]) -> Vec<u8> {
    let mut bytes = (payload.len() as u32).to_be_bytes().to_vec();
    bytes.push(kind);
    bytes.extend_from_slice(payload);
    bytes
}
