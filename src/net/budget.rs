//! The budget of bytes that received frames of all peers together may take. A slow frame yields its share to others.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use tokio::sync::{Notify, OwnedSemaphorePermit, Semaphore};

/// The free bytes, granted in the order of the requests.
pub(super) struct Budget {
    room: Arc<Semaphore>,
    waiting: AtomicUsize,
    changed: Notify,
}

/// Counts one that waits, until it is dropped.
struct Waits<'a>(&'a Budget);

impl Drop for Waits<'_> {
    fn drop(&mut self) {
        self.0.waiting.fetch_sub(1, Ordering::Relaxed);
    }
}

impl Budget {
    pub(super) fn new(bytes: usize) -> Self {
        let room = Arc::new(Semaphore::new(bytes.min(Semaphore::MAX_PERMITS)));
        Self { room, waiting: AtomicUsize::new(0), changed: Notify::new() }
    }

    /// Takes bytes for a frame, once there are enough. They are given back when the permit is dropped.
    pub(super) async fn take(&self, bytes: u32) -> Option<OwnedSemaphorePermit> {
        if let Ok(room) = self.room.clone().try_acquire_many_owned(bytes) {
            return Some(room);
        }
        self.waiting.fetch_add(1, Ordering::Relaxed);
        let _waits = Waits(self);
        self.changed.notify_waiters();
        self.room.clone().acquire_many_owned(bytes).await.ok()
    }

    /// Resolves when others wait for bytes, but not before `grace` is over.
    pub(super) async fn wanted_after(&self, grace: Duration) {
        tokio::time::sleep(grace).await;
        loop {
            let changed = self.changed.notified();
            if self.waiting.load(Ordering::Relaxed) > 0 {
                return;
            }
            changed.await;
        }
    }
}
