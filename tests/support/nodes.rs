//! Real nodes in this process, on loopback.

use std::io::Write;
use std::time::{Duration, Instant};

use libmusig::event::{Event, NodeEvent};
use libmusig::net::{Multiaddr, PeerId, PresenceRecord, presence_digest, seal_presence};
use libmusig::node::{Node, NodeBuilder, RuntimeProfile, Session};
use libmusig::protocol::consent::JoinOptions;
use libmusig::protocol::proposal::Message;
use libmusig::protocol::status::SessionStatus;
use libmusig::signer::{Identity, LocalSigner};
use libmusig::store::memory::MemoryStore;
use libmusig::types::{SessionId, SignerKey};

/// How long anything may take before a test gives up on it.
pub const PATIENCE: Duration = Duration::from_secs(30);

/// A node that is not set up yet. With `LIBMUSIG_TEST_WORKERS=1` in the environment it has one worker thread.
pub fn node_builder() -> NodeBuilder {
    let one = std::env::var("LIBMUSIG_TEST_WORKERS").is_ok_and(|workers| workers == "1");
    Node::builder().runtime(if one { RuntimeProfile::Small } else { RuntimeProfile::Default })
}

/// A node that is not started yet, on loopback, with a memory store and no observer.
pub fn builder(secret: [u8; 32]) -> NodeBuilder {
    node_builder()
        .signer(LocalSigner::new(secret).expect("a small number is a secret key"))
        .store(MemoryStore::new())
        .listen("/ip4/127.0.0.1/tcp/0")
        .without_observer()
}

/// The secret key of the i-th test signer.
pub fn secret(index: usize) -> [u8; 32] {
    let mut secret = [0x11; 32];
    secret[31] = index as u8 + 1;
    secret
}

/// The public key of the i-th test signer.
pub fn key(index: usize) -> SignerKey {
    LocalSigner::new(secret(index)).expect("a valid secret").public_key()
}

/// The public keys of n test signers.
pub fn keys(n: usize) -> Vec<SignerKey> {
    (0..n).map(key).collect()
}

/// The sealed presence of a signer.
pub fn presence(signer: &LocalSigner, peer: PeerId, addresses: Vec<Multiaddr>, sequence: u64) -> Vec<u8> {
    let record = PresenceRecord { signer: signer.public_key(), peer, addresses, sequence }.encode();
    let signature = signer.sign(&presence_digest(&record)).expect("signs");
    seal_presence(record, &signature)
}

/// Connects all with all, and waits until they are, and know each other.
pub fn connect(nodes: &[Node]) {
    let addresses: Vec<String> = nodes.iter().map(address).collect();
    let others = |node: &Node| node.connected_signers().wait().expect("runs").len();
    for (index, node) in nodes.iter().enumerate() {
        for address in &addresses[..index] {
            node.add_peer(address).wait().expect("an address");
        }
    }
    // Whoever was dialled learns who is there, and shows itself to whom it is told of.
    for (index, node) in nodes.iter().enumerate() {
        wait_until("it is dialled", || others(node) >= nodes.len() - 1 - index);
        for address in &addresses[index + 1..] {
            node.add_peer(address).wait().expect("an address");
        }
    }
    for node in nodes {
        wait_until("all are connected", || others(node) == nodes.len() - 1);
    }
}

/// Where a node listens, once it does.
pub fn address(node: &Node) -> String {
    let mut found = None;
    wait_until("it listens", || {
        found = node.listen_addresses().wait().expect("runs").into_iter().next();
        found.is_some()
    });
    found.expect("was waited for")
}

/// Waits for a condition, at most [`PATIENCE`].
#[track_caller]
pub fn wait_until(what: &str, mut condition: impl FnMut() -> bool) {
    let end = Instant::now() + PATIENCE;
    while !condition() {
        assert!(Instant::now() < end, "waited too long until {what}");
        std::thread::park_timeout(Duration::from_millis(2));
    }
}

/// Takes events until one fits, and acknowledges all.
#[track_caller]
pub fn wait_for<T>(node: &Node, what: &str, mut pick: impl FnMut(&NodeEvent) -> Option<T>) -> T {
    let end = Instant::now() + PATIENCE;
    let mut seen = Vec::new();
    loop {
        let left = end.saturating_duration_since(Instant::now());
        let Some(event) = node.next_event().wait_for(left) else {
            panic!("{node:?} waited too long for {what}; it saw {seen:#?}")
        };
        let event = event.expect("the node runs");
        node.event_handled(event.id);
        if let Some(found) = pick(&event) {
            return found;
        }
        seen.push(event.event);
    }
}

/// Waits for another signer's proposal and consents.
#[track_caller]
pub fn join_next(node: &Node) -> Session {
    join_next_with(node, JoinOptions::default())
}

/// The same, with what the consent covers.
#[track_caller]
pub fn join_next_with(node: &Node, options: JoinOptions) -> Session {
    let id = wait_for(node, "a proposal", |event| match &event.event {
        Event::SessionProposed { .. } => event.session,
        _ => None,
    });
    let session = node.session(id);
    session.join_with(options).wait().expect("it is open");
    session
}

/// Waits until the signatures are finished.
#[track_caller]
pub fn wait_complete(node: &Node, session: SessionId) {
    wait_for(node, "the signatures", |event| {
        (event.session == Some(session) && matches!(event.event, Event::SessionComplete { .. })).then_some(())
    });
}

/// The status of a session without what changes whenever something is heard of its signers.
#[track_caller]
pub fn lasting_status(session: &Session) -> SessionStatus {
    SessionStatus { signers: Vec::new(), ..session.status().wait().expect("known") }
}

/// A raw message.
pub fn message(byte: u8) -> Message {
    Message::raw([byte; 32])
}

/// Says that a test cannot run here. With `MUSIG_REQUIRE_ALL=1` in the environment that is a failure.
#[track_caller]
pub fn skip(test: &str, why: &str) {
    let all = std::env::var("MUSIG_REQUIRE_ALL").is_ok_and(|all| all == "1");
    assert!(!all, "{test} cannot run: {why}");
    // Not by `eprintln!`, which the test harness keeps for itself when the test passes.
    let _ = writeln!(std::io::stderr(), "\nSKIPPED {test}: {why}");
}
