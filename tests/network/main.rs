//! The network layer, over real TCP on loopback.

#[cfg(feature = "discovery")]
mod degraded;
#[cfg(feature = "discovery")]
mod discovery;
mod exchange;
mod hostile;
mod limits;
#[cfg(feature = "discovery")]
mod mdns;
#[cfg(feature = "discovery")]
mod poison;
mod reconnect;
#[cfg(all(feature = "discovery", feature = "nat"))]
mod relay;
#[cfg(all(feature = "discovery", feature = "nat"))]
#[path = "../support/server.rs"]
mod server;
mod support;
