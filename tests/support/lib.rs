//! What the tests share: a simulated cluster of signers with doubles for cryptography, disk and chain; sessions and real
//! nodes that are ready to use; and an embedded Bitcoin backend for the demo.

pub mod auditor;
#[cfg(feature = "bitcoin")]
pub mod backend;
pub mod chain;
pub mod cluster;
pub mod counting;
pub mod disk;
pub mod double;
pub mod figures;
pub mod fuzz;
pub mod memory;
#[cfg(all(feature = "node", target_os = "linux"))]
pub mod namespace;
#[cfg(feature = "node")]
pub mod nodes;
#[cfg(feature = "node")]
pub mod outsider;
pub mod party;
#[cfg(feature = "bitcoin")]
pub mod psbt;
pub mod records;
#[cfg(feature = "relay")]
pub mod relay;
pub mod socks;
pub mod work;

#[cfg(feature = "node")]
pub use libp2p_stream;
