//! Transactions: signature hashes, checks and completion; the chain, server and client of the examples.

#[path = "../../examples/support/mod.rs"]
mod support;
