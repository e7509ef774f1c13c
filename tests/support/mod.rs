//! What drives the protocol without a node: tests of the state machine and the simulator use it.

#![allow(dead_code, unused_imports)]

pub mod auditor;
pub mod chain;
pub mod cluster;
pub mod disk;
pub mod double;
pub mod memory;
