//! The store's thread: order, groups, failures, the end.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use libmusig::error::StoreError;
use libmusig::store::memory::MemoryStore;
use libmusig::store::redb::RedbStore;
use libmusig::store::thread::{Completion, StoreThread};
use libmusig::store::{Change, Durability, Entry, Store};

use crate::{DEADLINE, entry, eventually, put};

/// Later than any test ends.
const NEVER: Duration = Duration::from_secs(3600);

/// A store that waits at a gate in each commit, fails on demand, and remembers what it was asked.
struct Gated {
    inner: MemoryStore,
    gate: Option<Receiver<()>>,
    entered: Sender<()>,
    fail: Arc<AtomicBool>,
    commits: Arc<Mutex<Vec<(usize, Durability)>>>,
}

impl Store for Gated {
    fn load(&mut self) -> Result<Vec<Entry>, StoreError> {
        self.inner.load()
    }

    fn commit(&mut self, changes: &[Change], durability: Durability) -> Result<(), StoreError> {
        let _ = self.entered.send(());
        if let Some(gate) = &self.gate {
            let _ = gate.recv();
        }
        if changes.contains(&put("panic", "")) {
            panic!("asked for");
        }
        if self.fail.load(Ordering::SeqCst) {
            return Err(StoreError::Io { path: "p".into(), reason: "asked for".into() });
        }
        self.commits.lock().expect("no panic").push((changes.len(), durability));
        self.inner.commit(changes, durability)
    }

    fn suspend(&mut self) -> Result<(), StoreError> {
        self.inner.suspend()
    }

    fn resume(&mut self) -> Result<(), StoreError> {
        self.inner.resume()
    }
}

struct Setup {
    thread: StoreThread,
    contents: MemoryStore,
    open: Sender<()>,
    entered: Receiver<()>,
    fail: Arc<AtomicBool>,
    commits: Arc<Mutex<Vec<(usize, Durability)>>>,
}

fn setup(gated: bool, sync_after: Duration) -> Setup {
    let contents = MemoryStore::new();
    let (open, gate) = channel();
    let (sender, entered) = channel();
    let fail = Arc::new(AtomicBool::new(false));
    let commits = Arc::new(Mutex::new(Vec::new()));
    let store = Gated {
        inner: contents.clone(),
        gate: gated.then_some(gate),
        entered: sender,
        fail: fail.clone(),
        commits: commits.clone(),
    };
    let thread = StoreThread::spawn(Box::new(store), sync_after).expect("a thread");
    Setup { thread, contents, open, entered, fail, commits }
}

type Answers = Receiver<(usize, Result<(), StoreError>)>;

/// Completions that tell which of them was called.
fn completions() -> (impl Fn(usize) -> Completion, Answers) {
    let (sender, answers) = channel();
    let make = move |number| -> Completion {
        let sender = sender.clone();
        Box::new(move |result| sender.send((number, result)).expect("the test listens"))
    };
    (make, answers)
}

fn next(answers: &Answers) -> (usize, Result<(), StoreError>) {
    answers.recv_timeout(DEADLINE).expect("every request is answered")
}

#[test]
fn waiting_commits_become_one() {
    let Setup { thread, mut contents, open, entered, commits, .. } = setup(true, NEVER);
    let (done, answers) = completions();
    thread.commit(vec![put("first", "1")], Durability::Synced, done(0));
    entered.recv_timeout(DEADLINE).expect("the first commit has begun");
    for number in 1..=20 {
        let durability = if number == 7 { Durability::Synced } else { Durability::Eventual };
        thread.commit(
            vec![put("last", number.to_string()), put(number.to_string(), "")],
            durability,
            done(number),
        );
    }
    assert!(thread.counters().waiting_bytes > 20);
    drop(open);
    for number in 0..=20 {
        assert_eq!(next(&answers), (number, Ok(())), "answers come in order");
    }
    assert_eq!(*commits.lock().expect("no panic"), [(1, Durability::Synced), (40, Durability::Synced)]);
    let entries = contents.load().expect("loads");
    assert_eq!(entries.len(), 22);
    assert!(entries.contains(&entry("last", "20")), "the last change wins");
    let counters = thread.counters();
    let bytes = 6 + 20 * 4 + 2 * (9 + 2 * 11);
    assert_eq!((counters.commits, counters.syncs, counters.bytes), (2, 2, bytes));
    assert_eq!((counters.failures, counters.waiting_bytes), (0, 0));
}

#[test]
fn after_a_large_group_the_next_one_waits_for_more() {
    let Setup { thread, commits, .. } = setup(false, NEVER);
    let (done, answers) = completions();
    let large: Vec<Change> = (0..32u8).map(|number| put([number], "")).collect();
    // On a busy machine each answer may come late, but not all of them.
    let waits = (0..20).map(|_| {
        thread.commit(large.clone(), Durability::Synced, done(0));
        assert_eq!(next(&answers), (0, Ok(())));
        let start = Instant::now();
        thread.commit(vec![put("a", "")], Durability::Synced, done(1));
        assert_eq!(next(&answers), (1, Ok(())));
        start.elapsed()
    });
    let shortest = waits.min().expect("there are some");
    assert!(shortest >= Duration::from_millis(8), "{shortest:?}");
    assert_eq!(commits.lock().expect("no panic").len(), 40, "what does not come is not waited for longer");
}

#[test]
fn eventual_groups_are_not_synced() {
    let Setup { thread, contents, open, entered, commits, .. } = setup(true, NEVER);
    let (done, answers) = completions();
    thread.commit(vec![put("a", "")], Durability::Eventual, done(0));
    entered.recv_timeout(DEADLINE).expect("has begun");
    thread.commit(vec![put("b", "")], Durability::Eventual, done(1));
    thread.commit(vec![put("c", "")], Durability::Eventual, done(2));
    drop(open);
    (0..3).for_each(|number| assert_eq!(next(&answers), (number, Ok(()))));
    assert_eq!(*commits.lock().expect("no panic"), [(1, Durability::Eventual), (2, Durability::Eventual)]);
    assert_eq!(thread.counters().syncs, 0);
    thread.join().expect("stops");
    assert_eq!(contents.crash(0), 0, "the end syncs");
}

#[test]
fn eventual_commits_are_synced_soon() {
    let Setup { thread, contents, fail, .. } = setup(false, Duration::from_millis(5));
    let (done, answers) = completions();
    thread.commit(vec![put("a", "")], Durability::Eventual, done(0));
    assert_eq!(next(&answers), (0, Ok(())));
    eventually("it is synced", || thread.counters().syncs == 1);
    assert_eq!(contents.crash(0), 0);
    // A sync that fails is tried again.
    thread.commit(vec![put("b", "")], Durability::Eventual, done(1));
    fail.store(true, Ordering::SeqCst);
    let _ = next(&answers);
    eventually("it failed", || thread.counters().failures > 0);
    thread.commit(vec![], Durability::Eventual, done(2));
    let _ = next(&answers);
    fail.store(false, Ordering::SeqCst);
    thread.commit(vec![put("c", "")], Durability::Eventual, done(3));
    assert_eq!(next(&answers), (3, Ok(())));
    eventually("it is synced at last", || thread.counters().syncs == 2);
}

#[test]
fn failed_group_fails_as_a_whole() {
    let Setup { thread, mut contents, open, entered, fail, .. } = setup(true, NEVER);
    let (done, answers) = completions();
    thread.commit(vec![put("a", "")], Durability::Synced, done(0));
    entered.recv_timeout(DEADLINE).expect("has begun");
    thread.commit(vec![put("b", "")], Durability::Eventual, done(1));
    thread.commit(vec![put("c", "")], Durability::Synced, done(2));
    open.send(()).expect("waits at the gate");
    assert_eq!(next(&answers), (0, Ok(())));
    entered.recv_timeout(DEADLINE).expect("the group has begun");
    fail.store(true, Ordering::SeqCst);
    open.send(()).expect("waits at the gate");
    for number in [1, 2] {
        let (answered, result) = next(&answers);
        assert_eq!(answered, number);
        assert!(matches!(result, Err(StoreError::Io { .. })));
    }
    fail.store(false, Ordering::SeqCst);
    drop(open);
    thread.commit(vec![put("panic", "")], Durability::Synced, done(3));
    assert!(matches!(next(&answers), (3, Err(StoreError::Io { .. }))), "a panic is an error");
    thread.commit(vec![], Durability::Eventual, Box::new(|_| panic!("a completion of somebody else")));
    thread.commit(vec![put("d", "")], Durability::Synced, done(4));
    assert_eq!(next(&answers), (4, Ok(())));
    assert_eq!(contents.load().expect("loads"), [entry("a", ""), entry("d", "")]);
    assert_eq!(thread.counters().failures, 2);
}

#[test]
fn requests_are_done_in_order() {
    let Setup { thread, mut contents, open, entered, .. } = setup(true, NEVER);
    let (done, answers) = completions();
    thread.commit(vec![put("a", "")], Durability::Synced, done(0));
    entered.recv_timeout(DEADLINE).expect("has begun");
    thread.commit(vec![put("b", "")], Durability::Eventual, done(1));
    thread.suspend(done(2));
    thread.commit(vec![put("c", "")], Durability::Synced, done(3));
    thread.resume(done(4));
    thread.commit(vec![put("d", "")], Durability::Synced, done(5));
    thread.stop(done(6));
    thread.commit(vec![put("e", "")], Durability::Synced, done(7));
    drop(open);
    let results: Vec<_> = (0..8).map(|_| next(&answers)).collect();
    for (number, (answered, result)) in results.into_iter().enumerate() {
        assert_eq!(answered, number);
        let refused = number == 3 || number == 7;
        assert_eq!(result, if refused { Err(StoreError::Suspended) } else { Ok(()) }, "request {number}");
    }
    thread.join().expect("is stopped already");
    thread.join().expect("twice is once");
    thread.commit(vec![put("f", "")], Durability::Synced, done(8));
    assert_eq!(next(&answers), (8, Err(StoreError::Suspended)));
    assert_eq!(contents.load().expect("loads"), ["a", "b", "d"].map(|key| entry(key, "")));
    assert_eq!(thread.counters().waiting_bytes, 0);
}

#[test]
fn dropped_thread_answers_everything() {
    let Setup { thread, contents, open, entered, .. } = setup(true, NEVER);
    let (done, answers) = completions();
    (0..5).for_each(|number| {
        thread.commit(vec![put(number.to_string(), "")], Durability::Eventual, done(number))
    });
    entered.recv_timeout(DEADLINE).expect("has begun");
    drop(thread);
    drop(open);
    (0..5).for_each(|number| assert_eq!(next(&answers), (number, Ok(()))));
    eventually("the thread has synced", || {
        contents.clone().load().expect("loads").len() == 5 && contents.crash(5) == 0
    });
}

#[test]
fn join_releases_the_file() {
    let directory = tempfile::tempdir().expect("a directory");
    let path = directory.path().join("store");
    let store = RedbStore::open(&path).expect("opens");
    let thread = Arc::new(StoreThread::spawn(Box::new(store), NEVER).expect("a thread"));
    let answered = Arc::new(AtomicUsize::new(0));
    std::thread::scope(|scope| {
        for caller in 0..8u8 {
            let (thread, answered) = (&thread, &answered);
            scope.spawn(move || {
                for number in 0..50u8 {
                    let durability = if number % 10 == 0 { Durability::Synced } else { Durability::Eventual };
                    let answered = answered.clone();
                    let done: Completion = Box::new(move |result| {
                        result.expect("commits");
                        answered.fetch_add(1, Ordering::SeqCst);
                    });
                    thread.commit(vec![put([caller, number], [number; 300])], durability, done);
                }
            });
        }
    });
    thread.join().expect("stops");
    assert_eq!(answered.load(Ordering::SeqCst), 400);
    let counters = thread.counters();
    assert_eq!(counters.bytes, 400 * 302);
    assert!(counters.commits < 400 && counters.syncs <= 40, "{counters:?}");
    println!("400 requests of 8 threads: {} commits, {} of them synced", counters.commits, counters.syncs);
    assert_eq!(RedbStore::open(&path).expect("the lock is released").load().expect("loads").len(), 400);
}
