//! The C library: its header, its symbols, and C and C++ programs that use it.
#![cfg(target_os = "linux")]

mod generated;
mod header;
mod installed;
mod killed;
mod layout;
mod programs;
mod together;
mod words;
