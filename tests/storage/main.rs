//! The store in its file, the thread that calls it, lanes, and what the operating system gives.

mod crash;
mod fixtures;
mod group;
mod lane;
mod platform;
mod records;
mod store;

use std::time::{Duration, Instant};

use libmusig::store::{Change, Entry};

/// Long enough for a busy machine; a test that reaches it has failed.
const DEADLINE: Duration = Duration::from_secs(30);

/// Waits until the condition holds, at most until the deadline.
fn eventually(what: &str, mut condition: impl FnMut() -> bool) {
    let start = Instant::now();
    while !condition() {
        assert!(start.elapsed() < DEADLINE, "waited in vain until {what}");
        std::thread::yield_now();
    }
}

fn put(key: impl AsRef<[u8]>, value: impl AsRef<[u8]>) -> Change {
    Change::Put(key.as_ref().to_vec(), value.as_ref().to_vec())
}

fn entry(key: impl AsRef<[u8]>, value: impl AsRef<[u8]>) -> Entry {
    (key.as_ref().to_vec(), value.as_ref().to_vec())
}
