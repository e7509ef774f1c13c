//! Transactions: signature hashes, checks and completion; the chain, server and client of the examples.

mod embedded;
mod esplora;
mod payment;
mod server;
mod transaction;
