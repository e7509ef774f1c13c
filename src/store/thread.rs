//! [`StoreThread`], which calls the store, and merges queued commits into one.

use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{self, Receiver, RecvTimeoutError, Sender};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use super::{Change, Durability, Store};
use crate::error::StoreError;
use crate::platform::histogram::{FAST, Histogram};
use crate::protocol::limits;

/// Delay from an eventual commit to the store's sync, if nothing else syncs it.
pub const SYNC_AFTER: Duration = Duration::from_secs(1);
/// The longest pause between two attempts to sync, while they fail.
const SYNC_RETRY: Duration = Duration::from_secs(60);
/// Bytes after which a group of commits takes no more.
const GROUP: usize = 8 << 20;
/// Commits after which a group takes no more.
const GROUP_COMMITS: usize = 1024;
/// Changes between two syncs after which more are expected soon: the next sync waits for them. One session alone has fewer.
const BUSY: usize = 32;
/// How long it waits. A sync costs pages however little was changed.
const LINGER: Duration = Duration::from_millis(8);

/// Callback with the outcome of a request, called once. Runs on the store's thread: it must be short and must not
/// block (a channel's send).
pub type Completion = Box<dyn FnOnce(Result<(), StoreError>) + Send>;

/// Counters of a store's thread since its start.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct StoreCounters {
    /// Number of commits, synced or not.
    pub commits: u64,
    /// Number of synced commits.
    pub syncs: u64,
    /// Bytes of committed keys and values.
    pub bytes: u64,
    /// Number of failed calls of the store.
    pub failures: u64,
    /// Bytes that are queued for their commit.
    pub waiting_bytes: u64,
}

#[derive(Default)]
struct Counters {
    commits: AtomicU64,
    syncs: AtomicU64,
    bytes: AtomicU64,
    failures: AtomicU64,
    waiting_bytes: AtomicU64,
}

enum Request {
    Commit { changes: Arc<[Change]>, durability: Durability, reply: Reply },
    Suspend(Reply),
    Resume(Reply),
    Stop(Reply),
}

/// The right to answer a request. If nobody does, because the thread has ended, its end is the answer.
struct Reply {
    done: Option<Completion>,
    /// Of the request's changes, as long as they wait.
    bytes: usize,
    counters: Arc<Counters>,
}

impl Reply {
    fn give(&mut self, result: Result<(), StoreError>) {
        if let Some(done) = self.done.take() {
            self.counters.waiting_bytes.fetch_sub(self.bytes as u64, Ordering::Relaxed);
            // A completion that panics must not take the thread with it.
            let _ = catch_unwind(AssertUnwindSafe(|| done(result)));
        }
    }
}

impl Drop for Reply {
    fn drop(&mut self) {
        self.give(Err(StoreError::Suspended));
    }
}

/// Thread that owns a store.
///
/// Requests are executed and answered in order. Queued commits are merged into one with the highest durability among
/// them: if it fails, all of them did.
///
/// Dropping it stops the thread, which syncs and ends, but does not wait for that: [`StoreThread::join`] does.
pub struct StoreThread {
    requests: Sender<Request>,
    thread: Mutex<Option<JoinHandle<()>>>,
    counters: Arc<Counters>,
    commit_times: Arc<Mutex<Histogram>>,
}

impl StoreThread {
    /// Starts the thread, which logs to the caller's subscriber. `sync_after` is the longest delay from an eventual
    /// commit to its sync, usually [`SYNC_AFTER`].
    ///
    /// Errors: the system starts no thread.
    pub fn spawn(store: Box<dyn Store>, sync_after: Duration) -> io::Result<Self> {
        let (requests, receiver) = mpsc::channel();
        let counters = Arc::new(Counters::default());
        let commit_times = Arc::new(Mutex::new(Histogram::new(FAST)));
        let worker = Worker {
            store,
            counters: counters.clone(),
            commit_times: commit_times.clone(),
            sync_after,
            pause: sync_after,
            sync_at: None,
            unsynced: 0,
            busy: false,
        };
        let log = tracing::dispatcher::get_default(Clone::clone);
        let work = move || tracing::dispatcher::with_default(&log, || worker.run(&receiver));
        let thread = std::thread::Builder::new().name("musig-store".into()).spawn(work)?;
        Ok(Self { requests, thread: Mutex::new(Some(thread)), counters, commit_times })
    }

    /// Commits changes. Never blocks; `done` is called with the outcome, after a stop at once with `Suspended`.
    pub fn commit(&self, changes: impl Into<Arc<[Change]>>, durability: Durability, done: Completion) {
        let changes = changes.into();
        let reply = self.reply(changes.iter().map(size).sum(), done);
        self.send(Request::Commit { changes, durability, reply });
    }

    /// Syncs, closes the file and releases its lock, after everything requested before.
    pub fn suspend(&self, done: Completion) {
        self.send(Request::Suspend(self.reply(0, done)));
    }

    /// Opens the file again.
    pub fn resume(&self, done: Completion) {
        self.send(Request::Resume(self.reply(0, done)));
    }

    /// Syncs, closes the file and ends the thread, after everything requested before. `done` is called with the outcome
    /// of the sync once the file's lock is released.
    pub fn stop(&self, done: Completion) {
        self.send(Request::Stop(self.reply(0, done)));
    }

    /// Stops the thread and waits for its end; then every completion was called. A second call has no effect.
    ///
    /// Errors: the last sync failed. Must not be called by a completion.
    pub fn join(&self) -> Result<(), StoreError> {
        self.join_within(Duration::MAX)
    }

    /// The same, and waits no longer than this for a disk that hangs. The thread closes the file when the disk answers.
    ///
    /// Errors: also [`StoreError::Hangs`]; a later call waits again.
    pub(crate) fn join_within(&self, limit: Duration) -> Result<(), StoreError> {
        // Held while waiting, so that a second caller waits too.
        let mut held = self.thread.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(thread) = held.take() else { return Ok(()) };
        let (sender, outcome) = mpsc::channel();
        self.stop(Box::new(move |result| drop(sender.send(result))));
        let outcome = match outcome.recv_timeout(limit) {
            Err(RecvTimeoutError::Timeout) => {
                *held = Some(thread);
                return Err(StoreError::hangs(limits::COMMIT));
            }
            outcome => outcome,
        };
        let _ = thread.join();
        match outcome {
            // Stopped before, by `stop`, who got the outcome.
            Ok(Err(StoreError::Suspended)) | Err(_) => Ok(()),
            Ok(outcome) => outcome,
        }
    }

    /// Counters so far.
    pub fn counters(&self) -> StoreCounters {
        let read = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        let Counters { commits, syncs, bytes, failures, waiting_bytes } = &*self.counters;
        StoreCounters {
            commits: read(commits),
            syncs: read(syncs),
            bytes: read(bytes),
            failures: read(failures),
            waiting_bytes: read(waiting_bytes),
        }
    }

    /// How long the commits took so far.
    pub(crate) fn commit_times(&self) -> Histogram {
        self.commit_times.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn reply(&self, bytes: usize, done: Completion) -> Reply {
        self.counters.waiting_bytes.fetch_add(bytes as u64, Ordering::Relaxed);
        Reply { done: Some(done), bytes, counters: self.counters.clone() }
    }

    fn send(&self, request: Request) {
        // A request that is refused is dropped here, which answers it.
        let _ = self.requests.send(request);
    }
}

struct Worker {
    store: Box<dyn Store>,
    counters: Arc<Counters>,
    commit_times: Arc<Mutex<Histogram>>,
    sync_after: Duration,
    /// The pause before the next attempt to sync; grows while they fail.
    pause: Duration,
    /// When to sync what was committed eventually.
    sync_at: Option<Instant>,
    /// Changes since the last sync.
    unsynced: usize,
    /// The last sync had [`BUSY`] changes.
    busy: bool,
}

impl Worker {
    fn run(mut self, requests: &Receiver<Request>) {
        let mut next = None;
        let stopped = loop {
            let request = match next.take() {
                Some(request) => request,
                None => match self.wait(requests) {
                    Ok(request) => request,
                    Err(RecvTimeoutError::Timeout) => {
                        self.sync();
                        continue;
                    }
                    Err(RecvTimeoutError::Disconnected) => break None,
                },
            };
            match request {
                Request::Commit { .. } => next = self.group(request, requests),
                Request::Suspend(mut reply) => {
                    let result = self.call(|store| store.suspend());
                    // What it could not sync is synced by the resumption, not by this thread.
                    self.sync_at = None;
                    reply.give(result);
                }
                Request::Resume(mut reply) => reply.give(self.call(|store| store.resume())),
                Request::Stop(reply) => break Some(reply),
            }
        };
        let result = match self.call(|store| store.commit(&[], Durability::Synced)) {
            // A suspended store was synced when it was suspended.
            Err(StoreError::Suspended) => Ok(()),
            result => result,
        };
        let store = self.store;
        let _ = catch_unwind(AssertUnwindSafe(|| drop(store)));
        if let Some(mut reply) = stopped {
            reply.give(result);
        }
        // What was requested after the stop is dropped with the channel, which answers it.
    }

    fn wait(&self, requests: &Receiver<Request>) -> Result<Request, RecvTimeoutError> {
        match self.sync_at {
            Some(at) => requests.recv_timeout(at.saturating_duration_since(Instant::now())),
            None => requests.recv().map_err(|_| RecvTimeoutError::Disconnected),
        }
    }

    /// Commits this and all commits that wait behind it; those that have to be synced also with what comes soon, if much
    /// came before. Returns the request that ended the group, if one did.
    fn group(&mut self, first: Request, requests: &Receiver<Request>) -> Option<Request> {
        let (mut group, mut replies) = (Vec::new(), Vec::new());
        let (mut highest, mut total) = (Durability::Eventual, 0);
        let lingers_until = self.busy.then(|| Instant::now() + LINGER);
        let mut next = Some(first);
        while let Some(Request::Commit { changes: more, durability, reply }) = next {
            group.push(more);
            highest = highest.max(durability);
            total += reply.bytes;
            replies.push(reply);
            next = match lingers_until {
                _ if total >= GROUP || replies.len() >= GROUP_COMMITS => None,
                Some(until) if highest == Durability::Synced => {
                    requests.recv_timeout(until.saturating_duration_since(Instant::now())).ok()
                }
                _ => requests.try_recv().ok(),
            };
        }
        let result = match &group[..] {
            [alone] => self.commit(alone, highest, total),
            all => self.commit(&all.concat(), highest, total),
        };
        for mut reply in replies {
            reply.give(result.clone());
        }
        next
    }

    fn commit(&mut self, changes: &[Change], durability: Durability, bytes: usize) -> Result<(), StoreError> {
        let begun = Instant::now();
        let span = tracing::debug_span!(target: "libmusig::store", "commit", ?durability, changes = changes.len(), bytes);
        let _within = span.entered();
        self.call(|store| store.commit(changes, durability))?;
        self.commit_times.lock().unwrap_or_else(PoisonError::into_inner).observe(begun.elapsed());
        tracing::trace!(target: "libmusig::store", ?durability, bytes, "committed");
        self.counters.commits.fetch_add(1, Ordering::Relaxed);
        self.counters.bytes.fetch_add(bytes as u64, Ordering::Relaxed);
        self.unsynced += changes.len();
        if durability == Durability::Synced {
            self.busy = std::mem::take(&mut self.unsynced) >= BUSY;
            self.counters.syncs.fetch_add(1, Ordering::Relaxed);
            self.pause = self.sync_after;
            self.sync_at = None;
        } else if self.sync_at.is_none() && !changes.is_empty() {
            self.sync_at = Some(Instant::now() + self.pause);
        }
        Ok(())
    }

    /// Makes eventual commits durable, later if that fails.
    fn sync(&mut self) {
        self.sync_at = None;
        if self.commit(&[], Durability::Synced, 0).is_err() {
            self.pause = (self.pause * 2).min(SYNC_RETRY);
            self.sync_at = Some(Instant::now() + self.pause);
        }
    }

    /// Calls the store, which may be somebody else's code.
    fn call(
        &mut self,
        work: impl FnOnce(&mut dyn Store) -> Result<(), StoreError>,
    ) -> Result<(), StoreError> {
        let result = catch_unwind(AssertUnwindSafe(|| work(&mut *self.store))).unwrap_or_else(|_| {
            Err(StoreError::Io { path: String::new(), reason: "the store panicked".into() })
        });
        if result.is_err() {
            self.counters.failures.fetch_add(1, Ordering::Relaxed);
        }
        result
    }
}

fn size(change: &Change) -> usize {
    match change {
        Change::Put(key, value) => key.len() + value.len(),
        Change::Delete(key) | Change::DeletePrefix(key) => key.len(),
    }
}
