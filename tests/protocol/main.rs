//! Everything that needs no node: cryptography against vectors and against another implementation, election,
//! encodings, the local signer, and the state machine in a simulated cluster.

mod aimed_key;
mod blame;
mod budget;
mod consent;
mod differential;
mod disks;
mod documented;
mod doubt;
mod election;
mod endings;
mod envelope;
mod events;
mod failover_cases;
mod failover_matrix;
mod fuzzed;
#[cfg(unix)]
mod generated;
mod key_sets;
mod late_certificate;
mod layers;
mod lock_time;
mod memory;
mod messages;
#[cfg(feature = "bitcoin")]
mod origins;
mod proposal;
mod recovery;
mod signer;
mod signing_alone;
mod strangers;
mod vectors;
mod verified;
