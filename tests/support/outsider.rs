//! Somebody who speaks libp2p, and `/musig/1` only as far as it suits him.

use std::time::Duration;

use libmusig::net::{PeerId, peer_id};
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

/// A frame as it is on the wire.
pub fn raw_frame(kind: u8, payload: &[u8]) -> Vec<u8> {
    let mut bytes = (payload.len() as u32).to_be_bytes().to_vec();
    bytes.push(kind);
    bytes.extend_from_slice(payload);
    bytes
}
