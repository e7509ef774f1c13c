//! A chain in this process, an Esplora-style server over it, and a client: for examples and tests.

pub mod chain;
pub mod esplora;
pub mod http;
