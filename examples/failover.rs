//! The main job: N signers as separate processes sign a Taproot spend over libp2p; the elected coordinator and its
//! first backups are killed at the moment at which they are to broadcast; the next signer broadcasts; and the dead
//! ones, started again from their stores, find the transaction confirmed and broadcast nothing. The chain is an embedded
//! one, or a real Bitcoin node on regtest, where the signers' wallet is a descriptor and the transaction a PSBT.
//!
//! `cargo run --example failover -- --help` lists the options.

#[path = "failover/arguments.rs"]
mod arguments;
#[path = "failover/backend.rs"]
mod backend;
#[allow(dead_code)]
#[path = "../tests/bitcoin/coins.rs"]
mod coins;
#[path = "failover/parent.rs"]
mod parent;
#[allow(dead_code)]
#[path = "../tests/bitcoin/regtest.rs"]
mod regtest;
#[path = "failover/signer.rs"]
mod signer;
#[path = "failover/timeline.rs"]
mod timeline;

use std::process::ExitCode;

fn main() -> ExitCode {
    let mut arguments = std::env::args().skip(1);
    if arguments.next().as_deref() == Some(signer::FLAG) {
        return signer::run(arguments);
    }
    let options = match arguments::Options::parse(std::env::args().skip(1)) {
        Ok(options) => options,
        Err(text) => {
            eprintln!("{text}");
            return ExitCode::from(2);
        }
    };
    match parent::run(&options) {
        Ok(()) => ExitCode::SUCCESS,
        Err(reason) => {
            eprintln!("failed: {reason}");
            println!("{}", serde_json::json!({ "ok": false, "reason": reason }));
            ExitCode::FAILURE
        }
    }
}
