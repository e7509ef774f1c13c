//! The real node: runtime, libp2p on loopback, redb files, lanes.

mod api;
#[path = "../../examples/support/mod.rs"]
mod chain_support;
mod events;
mod failover_processes;
mod process;
mod signing;
#[path = "../support/nodes.rs"]
mod support;
mod world;
