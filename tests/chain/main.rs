//! Transactions: signature hashes, checks and completion; PSBTs and descriptors; the chain, server and client of the examples.

mod embedded;
mod esplora;
mod payment;
mod psbt;
mod server;
mod sources;
mod transaction;

#[global_allocator]
static COUNTING: test_support::counting::Counting = test_support::counting::Counting;
