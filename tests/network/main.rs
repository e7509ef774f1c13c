//! The network layer, over real TCP on loopback.

mod exchange;
mod hostile;
mod limits;
mod reconnect;
mod support;
