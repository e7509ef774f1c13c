//! A signer as a process of its own, to be killed: this test binary, started again as one of its "tests".
//!
//! It consents to whatever is proposed, and when it is to submit it says so and does not.

use std::io::{BufRead, BufReader, Write};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, channel};
use std::time::{Duration, Instant};

use libmusig::chain::sources::{BitcoinCore, CoreAuth};
use libmusig::chain::{
    Broadcaster, ChainError, ChainObserver, ChainQuery, ChainStatus, SignedTransaction, SubmitOutcome,
};
use libmusig::event::Event;

use crate::regtest::Regtest;
use crate::signers::signer_builder;
use test_support::nodes::{PATIENCE, address};

/// Set in a child: its index, the node's address and its cookie file, one on each line.
const SETTINGS: &str = "LIBMUSIG_TEST_BITCOIN_SIGNER";

pub struct Process {
    child: Child,
    lines: Receiver<String>,
}

impl Process {
    pub fn start(index: usize, node: &Regtest) -> Self {
        let settings = format!("{index}\n{}\n{}", node.address(), node.cookie().display());
        let mut child = Command::new(std::env::current_exe().expect("has a path"))
            .args(["child::child", "--exact", "--nocapture", "--test-threads=1"])
            .env(SETTINGS, settings)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .expect("starts");
        let output = child.stdout.take().expect("is piped");
        let (sender, lines) = channel();
        std::thread::spawn(move || {
            for line in BufReader::new(output).lines().map_while(Result::ok) {
                if let Some(said) = line.strip_prefix('@') {
                    let _ = sender.send(said.to_owned());
                }
            }
        });
        Self { child, lines }
    }

    /// What it says after this word; passes over what it says before.
    #[track_caller]
    pub fn wait_for(&self, word: &str) -> String {
        let end = Instant::now() + PATIENCE;
        loop {
            let left = end.saturating_duration_since(Instant::now());
            let line = self.lines.recv_timeout(left);
            let line = line.unwrap_or_else(|_| panic!("waited too long until it says {word:?}"));
            if let Some(rest) = line.strip_prefix(word) {
                return rest.trim().to_owned();
            }
        }
    }

    /// SIGKILL.
    pub fn kill(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.kill();
    }
}

fn say(line: &str) {
    let mut out = std::io::stdout().lock();
    let _ = writeln!(out, "\n@{line}").and_then(|()| out.flush());
}

/// Looks, and never submits.
struct Frozen(BitcoinCore);

impl Broadcaster for Frozen {
    fn submit(&self, _: &SignedTransaction) -> Result<SubmitOutcome, ChainError> {
        say("about to submit");
        loop {
            std::thread::park();
        }
    }
}

impl ChainObserver for Frozen {
    fn status(&self, query: &ChainQuery) -> Result<ChainStatus, ChainError> {
        self.0.status(query)
    }
}

/// Not a test: what this program does when a test starts it as a signer.
#[test]
fn child() {
    let Ok(settings) = std::env::var(SETTINGS) else { return };
    let [index, node, cookie] = settings.lines().collect::<Vec<_>>()[..] else { panic!("{settings:?}") };
    let source = BitcoinCore::new(node, CoreAuth::CookieFile(cookie.into())).expect("an address");
    let builder = signer_builder(index.parse().expect("an index"), Arc::new(Frozen(source)));
    let node = builder.start().expect("starts");
    say(&format!("listening {}", address(&node)));
    loop {
        // Killed long before, unless its parent is.
        let Some(event) = node.next_event().wait_for(Duration::from_secs(120)) else { std::process::exit(0) };
        let event = event.expect("the node runs");
        if let (Event::SessionProposed { .. }, Some(session)) = (&event.event, event.session) {
            node.session(session).join().wait().expect("it is open");
        }
        node.event_handled(event.id);
    }
}
