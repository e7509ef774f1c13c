//! Elapsed time that survives a restart.

use std::time::Duration;

use crate::types::{Time, UnixMillis};

/// Time since a moment, that goes on while the process does not run and never goes back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stopwatch {
    pub(super) started: UnixMillis,
    pub(super) certain: Duration,
    pub(super) counted_from: Duration,
}

impl Stopwatch {
    /// Starts now.
    pub fn start(now: Time) -> Self {
        Self { started: now.wall, certain: Duration::ZERO, counted_from: now.monotonic }
    }

    /// Goes on after a restart: `started` and `certain` come from the disk.
    pub fn resume(started: UnixMillis, certain: Duration, now: Time) -> Self {
        Self { started, certain, counted_from: now.monotonic }
    }

    /// `max(elapsed on disk + monotonic since, wall - start)`, and never less than an earlier answer.
    pub fn elapsed(&mut self, now: Time) -> Duration {
        let counted = self.certain + now.monotonic.saturating_sub(self.counted_from);
        let elapsed = counted.max(now.wall.saturating_since(self.started));
        self.certain = elapsed;
        self.counted_from = self.counted_from.max(now.monotonic);
        elapsed
    }
}
