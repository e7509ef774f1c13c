//! Peers: libp2p.
