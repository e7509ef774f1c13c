//! The real node: runtime, libp2p on loopback, redb files, lanes.

mod signing;
#[path = "../support/nodes.rs"]
mod support;
