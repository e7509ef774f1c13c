//! One session among nodes of several languages, as separate processes, with the coordinator killed in each in turn.
//!
//! `interop node STORE` is the Rust node. `interop drive NAME COMMAND [NAME COMMAND …]` starts one node by each command
//! (a line for the shell, to which the store's path is appended), and lets each name be the coordinator once.
//! docs/interop.md says what a node reads and writes.

#[path = "interop/driver.rs"]
mod driver;
#[path = "interop/node.rs"]
mod node;

use std::process::ExitCode;

fn main() -> ExitCode {
    let mut arguments = std::env::args().skip(1);
    let result = match arguments.next().as_deref() {
        Some("node") => {
            arguments.next().ok_or("no store given".to_owned()).and_then(|store| node::run(&store))
        }
        Some("drive") => driver::run(&arguments.collect::<Vec<_>>()),
        _ => Err("usage: interop node STORE | interop drive NAME COMMAND …".to_owned()),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(reason) => {
            eprintln!("failed: {reason}");
            ExitCode::FAILURE
        }
    }
}
