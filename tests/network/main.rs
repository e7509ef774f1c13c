//! The network layer, over real TCP on loopback.
