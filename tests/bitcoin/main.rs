//! Everything that needs a real Bitcoin node: it is fetched by `fetch.sh` beside this file, and runs on regtest.
//!
//! What became of a transaction is read by the tests' own requests to the node, never through the sources under test.

mod child;
mod coins;
mod demo;
mod electrumx;
mod evidence;
mod faults;
mod late;
mod others;
mod regtest;
mod replacement;
mod signers;
mod signing;
