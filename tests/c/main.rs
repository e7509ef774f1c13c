//! The C library: its header, its symbols, and C and C++ programs that use it.
#![cfg(target_os = "linux")]

mod generated;
mod header;
mod installed;
mod killed;
mod layout;
#[path = "../support/nodes.rs"]
#[allow(dead_code)]
mod nodes;
mod programs;
mod together;
