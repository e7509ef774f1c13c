//! A chain in this process, an Esplora-style server over it, and a client: for examples and tests.
#![allow(dead_code)] // each of them uses a part

pub mod chain;
pub mod esplora;
pub mod http;
