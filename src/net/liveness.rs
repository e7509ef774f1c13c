//! Whether a connection lives: pings, and the time at which something last moved on it.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use libp2p::ping;

use super::config::NetworkConfig;

/// How often `NetEvent::Heard` is told of one connection at most.
const HEARD_INTERVAL: Duration = Duration::from_secs(1);

/// The settings of the ping behaviour. Its own verdict is not used (it lets the first failure pass, and a large
/// frame on a slow line delays it): [`Activity`] decides.
pub(super) fn ping(config: &NetworkConfig) -> ping::Config {
    ping::Config::new().with_interval(config.ping_interval).with_timeout(config.dead_after)
}

/// When something last moved on a connection: bytes that came, room for others that was waited for, a ping answered.
#[derive(Debug)]
pub(super) struct Activity {
    begin: Instant,
    /// Milliseconds since `begin`.
    moved: AtomicU64,
    /// Milliseconds since `begin`, plus one; zero if never.
    told: AtomicU64,
}

impl Activity {
    pub(super) fn new() -> Self {
        Self { begin: Instant::now(), moved: AtomicU64::new(0), told: AtomicU64::new(0) }
    }

    fn now(&self) -> u64 {
        self.begin.elapsed().as_millis() as u64
    }

    /// Since when the connection exists.
    pub(super) fn begin(&self) -> Instant {
        self.begin
    }

    /// Something moved.
    pub(super) fn touch(&self) {
        self.moved.store(self.now(), Ordering::Relaxed);
    }

    /// The other side was heard. True if that is worth telling, at most once a second.
    pub(super) fn heard(&self) -> bool {
        let now = self.now();
        self.moved.store(now, Ordering::Relaxed);
        let told = self.told.load(Ordering::Relaxed);
        let due = told == 0 || now + 1 >= told + HEARD_INTERVAL.as_millis() as u64;
        due && self.told.compare_exchange(told, now + 1, Ordering::Relaxed, Ordering::Relaxed).is_ok()
    }

    /// How long nothing has moved.
    pub(super) fn idle(&self) -> Duration {
        Duration::from_millis(self.now().saturating_sub(self.moved.load(Ordering::Relaxed)))
    }
}
