//! A small embedded chain for the examples of the other languages: it runs a program with the address of an Esplora server as
//! its last argument, and pays what the program asks for.
//!
//!     cargo run --example chain -- python examples/python/failover.py
//!
//! A program that writes a line `pay SATOSHIS ADDRESS` is answered with a line `TXID:VOUT` on its standard input: a coin
//! that it may spend. Scripts are checked with Bitcoin Core's own code, and blocks come by themselves. The program has to
//! end with success, and every coin has to be spent by a transaction in a block.

use std::process::{Command, ExitCode};

use test_support::backend::payer::Payer;

fn main() -> ExitCode {
    let mut words = std::env::args().skip(1);
    let Some(program) = words.next() else {
        eprintln!("usage: chain PROGRAM [ARGUMENT...]");
        return ExitCode::from(2);
    };
    let mut command = Command::new(program);
    command.args(words);
    let payer = Payer::start().map_err(|error| error.to_string());
    match payer.and_then(|payer| payer.run(command, |line| println!("{line}"))) {
        Ok(()) => ExitCode::SUCCESS,
        Err(reason) => {
            eprintln!("failed: {reason}");
            ExitCode::FAILURE
        }
    }
}
