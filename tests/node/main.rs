//! The real node: runtime, libp2p on loopback, redb files, lanes.

mod api;
#[cfg(target_os = "linux")]
mod attack;
mod auditor;
#[path = "../../examples/support/mod.rs"]
mod chain_support;
mod defects;
mod disk;
mod events;
mod failover_processes;
mod lanes;
#[cfg(target_os = "linux")]
mod links;
mod load;
mod outsider;
#[path = "../support/outsider.rs"]
mod outsider_support;
mod process;
mod recovery;
#[cfg(all(feature = "discovery", feature = "nat"))]
mod remote;
#[cfg(all(feature = "discovery", feature = "nat"))]
#[path = "../support/server.rs"]
mod server;
mod signing;
#[path = "../support/nodes.rs"]
mod support;
mod world;
