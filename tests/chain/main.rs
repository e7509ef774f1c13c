//! Transactions: signature hashes, checks and completion; PSBTs and descriptors; the chain and server of the examples; the
//! sources.

mod descriptor;
mod embedded;
mod foreign_witness;
mod group;
mod payment;
mod psbt;
mod server;
mod sources;
mod summary;
mod transaction;

#[global_allocator]
static COUNTING: test_support::counting::Counting = test_support::counting::Counting;
