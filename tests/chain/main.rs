//! Transactions: signature hashes, checks and completion; the chain, server and client of the examples.

mod embedded;
mod esplora;
mod payment;
mod server;
mod transaction;

#[path = "../protocol/support.rs"]
#[allow(dead_code)] // the other half is for the other tests
mod party;
#[path = "../../examples/support/mod.rs"]
mod support;
