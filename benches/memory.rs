//! What a node keeps in memory and on its disk, and how fast it starts.

use std::path::Path;
use std::sync::mpsc::{Sender, channel};
use std::time::{Duration, Instant};

use libmusig::event::Event;
use libmusig::node::{Node, SessionRequest};
use libmusig::protocol::proposal::Message;
use libmusig::store::Store;
use libmusig::store::redb::RedbStore;
use libmusig::types::SessionId;
use test_support::nodes::{PATIENCE, builder, keys, secret};

use crate::harness::{Table, Target, digest, millis};
use crate::signers::{self, Process};

pub fn run(table: &mut Table) {
    unfinished(table);
    settled(table);
}

/// A node with many sessions whose other signers do not come, and one that starts with these.
fn unfinished(table: &mut Table) {
    let sessions = table.size.pick(10, 1000, 1000);
    let directory = tempfile::tempdir().expect("a directory");
    let store = directory.path().join("store");
    let mut process = Process::start(signers::FLAG, 0, 5, &store);
    // What it takes once, for the first session, belongs to none of them.
    std::thread::sleep(Duration::from_millis(table.size.pick(0, 500, 500)));
    let idle = process.usage().resident;
    table.row(
        "rss_idle_mib",
        "resident memory of a node's process, idle",
        idle / 1024.0,
        "MiB",
        Target::AtMost(24.0),
    );
    let what = "from the call that starts a node with a new store until it listens";
    table.row("start_ms", what, millis(process.start), "ms", Target::AtMost(100.0));
    process.order(&format!("open {sessions}"));
    process.answer("opened");
    let more = (process.usage().resident - idle) / sessions as f64;
    let what = format!("the same with {sessions} open sessions of 5, for each more");
    table.row("rss_open_kib", &what, more, "KiB", Target::AtMost(16.0));
    drop(process);
    let process = Process::start(signers::FLAG, 0, 5, &store);
    let what = format!("the start with {sessions} unfinished sessions");
    table.row("restart_ms", &what, millis(process.start), "ms", Target::AtMost(1000.0));
}

/// Bytes of all records of a store that no node has open, and of its file.
fn sizes(store: &Path) -> (usize, f64) {
    let entries = RedbStore::open(store).and_then(|mut store| store.load()).expect("it can be read");
    let bytes = entries.iter().map(|(key, value)| key.len() + value.len()).sum();
    (bytes, std::fs::metadata(store).expect("is there").len() as f64)
}

/// A node that signs alone, and tells what is signed.
fn alone(store: &Path, signed: Sender<SessionId>) -> Node {
    builder(secret(0))
        .store_path(store)
        .offline()
        .max_sessions(1_000_000)
        .event_handler(move |event| {
            if let (Event::SessionComplete { .. }, Some(id)) = (&event.event, event.session) {
                let _ = signed.send(id);
            }
            Ok(())
        })
        .start()
        .expect("starts")
}

/// The store after many sessions that were signed, broadcast and closed, and again when they expired.
fn settled(table: &mut Table) {
    let sessions = table.size.pick(5u32, 2_000, 10_000);
    let life = Duration::from_secs(table.size.pick(2, 20, 60));
    let directory = tempfile::tempdir().expect("a directory");
    let store = directory.path().join("store");
    let start = Instant::now();
    let (sender, signed) = channel();
    let node = alone(&store, sender.clone());
    for number in 0..sessions {
        // All expire at about the same time, after the last one is closed.
        let left = life.saturating_sub(start.elapsed()).max(Duration::from_secs(2));
        let request =
            SessionRequest::messages(keys(1), vec![Message::raw(digest(number.into()))]).expires_in(left);
        drop(node.create_session(request));
    }
    let closing: Vec<_> = (0..sessions)
        .map(|_| {
            let session = node.session(signed.recv_timeout(PATIENCE).expect("it is signed"));
            drop(session.notify_broadcast_complete(None));
            session.close_session()
        })
        .collect();
    closing.into_iter().for_each(|reply| reply.wait().expect("it closes"));
    node.stop().expect("stops");
    let (bytes, file) = sizes(&store);
    let each = |bytes: usize| bytes as f64 / f64::from(sessions);
    let what = format!(
        "records of a closed session until it expires, for those who ask for the signatures, of {sessions}"
    );
    table.row("closed_bytes", &what, each(bytes), "bytes", Target::None);
    table.row("store_closed_mib", "the store's file then", file / 1048576.0, "MiB", Target::None);
    let node = alone(&store, sender);
    forgotten(&node, 2 * life + PATIENCE);
    node.stop().expect("stops");
    let (bytes, file) = sizes(&store);
    let what = "what is left of one that is settled and has expired";
    table.row("settled_bytes", what, each(bytes), "bytes", Target::AtMost(200.0));
    let what = format!("the store's file, opened again after these {sessions} expired");
    table.row("store_after_mib", &what, file / 1048576.0, "MiB", Target::AtMost(1.0));
}

/// Waits until the node has forgotten all of its sessions.
fn forgotten(node: &Node, patience: Duration) {
    let end = Instant::now() + patience;
    while node.metrics().wait().expect("runs").sessions > 0 {
        assert!(Instant::now() < end, "they are still there");
        std::thread::sleep(Duration::from_millis(50));
    }
}
