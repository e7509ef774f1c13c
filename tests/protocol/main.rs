//! Everything that needs no node: cryptography against vectors and against another implementation, election,
//! encodings, the local signer.

mod blame;
mod differential;
mod election;
mod envelope;
mod generated;
mod messages;
mod proposal;
mod recovery;
mod signer;
mod support;
mod vectors;

#[path = "../support/mod.rs"]
mod simulated;

mod doubt;
mod endings;
mod events;
mod failover_cases;
mod failover_matrix;
