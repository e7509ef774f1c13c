//! Many sessions at once, and many one after the other on the same connections.

use std::collections::HashMap;
use std::process::{Command, Stdio};
use std::sync::{Arc, Mutex, OnceLock};

use libmusig::event::Event;
use libmusig::node::{Node, SessionRequest};
use libmusig::signer::LocalSigner;
use libmusig::types::{SessionId, Signature};

use test_support::figures::memory_of;
use test_support::nodes::*;

const N: usize = 5;
/// KiB that a closed session may keep resident at one node.
const TOMBSTONE: usize = 4;
/// Set in a process of its own that measures memory: how many sessions.
const SESSIONS: &str = "LIBMUSIG_TEST_SESSIONS";

/// The signatures that each node was told, by session.
type Finished = Arc<Mutex<HashMap<SessionId, Vec<Vec<Signature>>>>>;

/// Five nodes with files, connected, that consent to everything.
struct Signers {
    nodes: Vec<Node>,
    opened: Vec<u64>,
    finished: Finished,
    _directory: tempfile::TempDir,
}

fn opened(node: &Node) -> u64 {
    node.metrics().wait().expect("runs").network.connections_opened
}

impl Signers {
    fn start() -> Self {
        let directory = tempfile::tempdir().expect("a directory");
        let finished = Finished::default();
        let nodes: Vec<Node> = (0..N)
            .map(|index| {
                let (slot, finished) = (Arc::new(OnceLock::<Node>::new()), finished.clone());
                let own = slot.clone();
                let node = node_builder()
                    .signer(LocalSigner::new(secret(index)).expect("a key"))
                    .store_path(directory.path().join(format!("{index}.redb")))
                    .listen("/ip4/127.0.0.1/tcp/0")
                    .without_observer()
                    .event_handler(move |event| {
                        let Some(id) = event.session else { return Ok(()) };
                        match &event.event {
                            Event::SessionProposed { .. } => drop(own.wait().session(id).join()),
                            Event::SessionComplete { signatures, .. } => finished
                                .lock()
                                .expect("nobody panics with it")
                                .entry(id)
                                .or_default()
                                .push(signatures.clone()),
                            _ => {}
                        }
                        Ok(())
                    })
                    .start()
                    .expect("starts");
                let _ = slot.set(node.clone());
                node
            })
            .collect();
        connect(&nodes);
        // Two that dial each other at once close one connection; from then on there is one.
        for node in &nodes {
            wait_until("one connection with each is left", || {
                let network = node.metrics().wait().expect("runs").network;
                network.connections_opened - network.connections_closed == N as u64 - 1
            });
        }
        let mut signers = Self { nodes, opened: Vec::new(), finished, _directory: directory };
        // A dial that was under way all the time has arrived by then.
        signers.wait(signers.create(usize::from(u8::MAX)));
        signers.opened = signers.nodes.iter().map(opened).collect();
        signers
    }

    fn create(&self, number: usize) -> SessionId {
        let request = SessionRequest::messages(keys(N), vec![message(number as u8)]);
        self.nodes[number % N].create_session(request).wait().expect("is created").id()
    }

    /// Waits until all nodes hold the same signatures of a session.
    fn wait(&self, id: SessionId) {
        wait_until("all nodes are holders", || {
            let finished = self.finished.lock().expect("nobody panics with it");
            finished.get(&id).is_some_and(|all| all.len() == N)
        });
        let all = self.finished.lock().expect("nobody panics with it").remove(&id).expect("was just there");
        assert!(all.windows(2).all(|pair| pair[0] == pair[1]));
    }

    fn stop(self) {
        for node in &self.nodes {
            let metrics = node.metrics().wait().expect("runs");
            assert_eq!(metrics.network.dropped, 0);
        }
        let opened: Vec<u64> = self.nodes.iter().map(opened).collect();
        assert_eq!(opened, self.opened, "the connections are still the first ones");
        self.nodes.iter().for_each(|node| node.stop().expect("stops"));
    }
}

#[test]
fn sixty_four_sessions_at_once() {
    let signers = Signers::start();
    let sessions: Vec<SessionId> = (0..64).map(|number| signers.create(number)).collect();
    sessions.into_iter().for_each(|id| signers.wait(id));
    for node in &signers.nodes {
        let refused = node.metrics().wait().expect("runs").refused;
        assert_eq!((refused.malformed, refused.signatures, refused.proposals), (0, 0, 0));
    }
    signers.stop();
}

/// One after the other in a process of its own, so that its memory is its own.
fn one_after_the_other(sessions: usize) {
    let output = Command::new(std::env::current_exe().expect("has a path"))
        .args(["load::child", "--exact", "--nocapture", "--test-threads=1"])
        .env(SESSIONS, sessions.to_string())
        .stdin(Stdio::null())
        .output()
        .expect("starts");
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{text}{}", String::from_utf8_lossy(&output.stderr));
    let line = text.lines().find_map(|line| line.strip_prefix("@memory ")).expect("it measured");
    println!("{line}");
    let numbers: Vec<usize> = line.split(' ').map(|number| number.parse().expect("a number")).collect();
    let [half, end] = numbers[..] else { panic!("{line}") };
    // Tombstones stay until their sessions expire, and each store's cache of 1 MiB fills up; nothing else does.
    let tombstones = sessions / 2 * N * TOMBSTONE;
    let most = half + tombstones + N * 1024 + 2048;
    assert!(end < most, "resident KiB: {half} after half of them, {end} after all, at most {most} expected");
}

#[test]
fn three_hundred_sessions_one_after_the_other() {
    one_after_the_other(300);
}

#[test]
#[ignore = "a minute and more; make test-full runs it"]
fn two_thousand_sessions_one_after_the_other() {
    one_after_the_other(2_000);
}

/// Not a test: the process that `one_after_the_other` starts.
#[test]
fn child() {
    let Ok(sessions) = std::env::var(SESSIONS) else { return };
    let sessions: usize = sessions.parse().expect("a number");
    let signers = Signers::start();
    let mut half = 0;
    for number in 0..sessions {
        let id = signers.create(number);
        signers.wait(id);
        for node in &signers.nodes {
            node.session(id).notify_broadcast_complete(None).wait().expect("is complete");
            node.session(id).close_session().wait().expect("closes");
        }
        if number == sessions / 2 {
            half = resident();
        }
    }
    println!("\n@memory {half} {}", resident());
    signers.stop();
}

/// Resident KiB of this process.
fn resident() -> usize {
    memory_of(std::process::id(), "VmRSS").expect("this is Linux") / 1024
}
