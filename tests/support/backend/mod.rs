//! A chain in this process, and an Esplora-style server over it: for examples and tests.

pub mod chain;
pub mod http;
pub mod payer;
