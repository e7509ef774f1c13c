//! `examples/relay.rs` as a process of its own: the test binary, started again as its
//! "test" `server::child`, which calls [`child`].

use std::io::{BufRead, BufReader};
use std::process::{Child, Command, Stdio};

#[allow(dead_code)] // its main
#[path = "../../examples/relay.rs"]
pub mod program;

/// Set in a child: its arguments, one a line.
const ARGUMENTS: &str = "LIBMUSIG_TEST_RELAY";

/// Serves, if this process was started as a relay.
pub fn child() {
    let Ok(arguments) = std::env::var(ARGUMENTS) else { return };
    let code = program::run(arguments.lines().map(String::from));
    assert_eq!(format!("{code:?}"), format!("{:?}", std::process::ExitCode::SUCCESS));
}

/// A running relay, which is killed in the end.
pub struct Server {
    process: Child,
    /// Where it listens, with its peer id.
    pub address: String,
}

impl Server {
    /// Starts one on a free port.
    pub fn start() -> Self {
        Self::with(&["--listen", "/ip4/127.0.0.1/tcp/0"])
    }

    /// Starts one with these options, and waits until it listens.
    pub fn with(options: &[&str]) -> Self {
        let mut process = Command::new(std::env::current_exe().expect("runs"))
            .args(["server::child", "--exact", "--nocapture", "--test-threads=1"])
            .env(ARGUMENTS, options.join("\n"))
            .stdout(Stdio::piped())
            .stderr(Stdio::inherit())
            .spawn()
            .expect("starts");
        let mut lines = BufReader::new(process.stdout.take().expect("is piped")).lines();
        let address = loop {
            let line = lines.next().expect("it says where it listens").expect("is text");
            if let Some((_, address)) = line.split_once("listening ") {
                break address.to_owned();
            }
        };
        // What else it says goes nowhere, but it must be able to say it.
        std::thread::spawn(move || lines.for_each(drop));
        Self { process, address }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}
