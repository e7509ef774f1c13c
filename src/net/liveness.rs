//! Liveness of connections: pings, and the time of the last activity.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use libp2p::ping;

use super::config::NetworkConfig;

/// The shortest interval of `NetEvent::Heard` for one connection.
const HEARD_INTERVAL: Duration = Duration::from_secs(1);

/// The settings of the ping behaviour. Its own result is not used (it lets the first failure pass, and a large
/// frame on a slow line delays it): [`Activity`] decides.
pub(super) fn ping(config: &NetworkConfig) -> ping::Config {
    ping::Config::new().with_interval(config.ping_interval).with_timeout(config.dead_after)
}

/// The last activity of a connection: bytes that came, room for others that was waited for, a ping answered.
#[derive(Debug)]
pub(super) struct Activity {
    begin: Instant,
    /// Milliseconds since `begin`.
    moved: AtomicU64,
    /// When that was last reported: milliseconds since `begin`, plus one; zero if never.
    reported: AtomicU64,
    /// The other side broke the protocol, and the connection is being closed.
    condemned: AtomicBool,
}

impl Activity {
    pub(super) fn new() -> Self {
        Self {
            begin: Instant::now(),
            moved: AtomicU64::new(0),
            reported: AtomicU64::new(0),
            condemned: AtomicBool::new(false),
        }
    }

    fn now(&self) -> u64 {
        self.begin.elapsed().as_millis() as u64
    }

    /// The beginning of the connection.
    pub(super) fn begin(&self) -> Instant {
        self.begin
    }

    /// Notes activity.
    pub(super) fn touch(&self) {
        self.moved.store(self.now(), Ordering::Relaxed);
    }

    /// Notes that the other side was heard. True if that is to be reported, at most once a second.
    pub(super) fn heard(&self) -> bool {
        let now = self.now();
        self.moved.store(now, Ordering::Relaxed);
        let reported = self.reported.load(Ordering::Relaxed);
        let due = reported == 0 || now + 1 >= reported + HEARD_INTERVAL.as_millis() as u64;
        due && self.reported.compare_exchange(reported, now + 1, Ordering::Relaxed, Ordering::Relaxed).is_ok()
    }

    /// Notes a violation. True for the first one: whatever else was under way on the connection is part of it.
    pub(super) fn condemn(&self) -> bool {
        !self.condemned.swap(true, Ordering::Relaxed)
    }

    /// The time since the last activity.
    pub(super) fn idle(&self) -> Duration {
        Duration::from_millis(self.now().saturating_sub(self.moved.load(Ordering::Relaxed)))
    }
}
