//! The bytes that received frames may take, of all peers together. Who holds room and does not fill it gives way.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use tokio::sync::{Notify, OwnedSemaphorePermit, Semaphore};

/// Room for frames. First come, first served.
pub(super) struct Budget {
    room: Arc<Semaphore>,
    waiting: AtomicUsize,
    changed: Notify,
}

/// Somebody waits for room, until this is dropped.
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

    /// Takes room for a frame, once there is any. It is given back when what this answers is dropped.
    pub(super) async fn take(&self, bytes: u32) -> Option<OwnedSemaphorePermit> {
        if let Ok(room) = self.room.clone().try_acquire_many_owned(bytes) {
            return Some(room);
        }
        self.waiting.fetch_add(1, Ordering::Relaxed);
        let _waits = Waits(self);
        self.changed.notify_waiters();
        self.room.clone().acquire_many_owned(bytes).await.ok()
    }

    /// Ends when others wait for room, but not before `grace` is over.
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
