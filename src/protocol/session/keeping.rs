//! Forgetting: how long a session is kept that this node ended, and that others may still complete.
//!
//! Whoever used an attempt may have a partial signature out that completes the session, so a certificate may come whatever
//! this node's calendar, application or peers said. What verifies it is kept until the chain settled the coins, or until
//! two witnesses agree that the expiry is long past: the calendar, and this node's own running time.

use std::time::Duration;

use crate::protocol::limits;
use crate::protocol::packing::{bits, flags, nanoseconds};
use crate::types::{ChainStatus, SessionId, Time, UnixMillis};

/// How often the observer is asked about the coins, and how often the running time is counted.
const INTERVAL: Duration = Duration::from_secs(3600);
/// Within what time of a start the sessions of a node ask their observer first, each at a moment of its own.
const SPREAD: Duration = Duration::from_secs(60);

/// Why a session may be forgotten.
///
/// Invariant: the running time is counted only while the calendar says that the expiry is long past, and begins again
/// when it takes that back.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Keeping {
    /// The chain settled the coins at the final depth, or all signers have what the session is for.
    settled: bool,
    /// The running time that was counted.
    overdue: Duration,
    /// Until when it was counted, by the monotonic clock.
    counted_at: Option<Duration>,
    observe_at: Duration,
    observing: bool,
}

/// A [`Keeping`] in memory, as few bytes as may be.
#[derive(Clone, PartialEq, prost::Message)]
pub struct PackedKeeping {
    /// Bits: settled, observing.
    #[prost(uint32, tag = "1")]
    flags: u32,
    #[prost(uint64, tag = "2")]
    overdue: u64,
    #[prost(uint64, optional, tag = "3")]
    counted_at: Option<u64>,
    #[prost(uint64, tag = "4")]
    observe_at: u64,
}

impl Keeping {
    pub fn new(id: SessionId, now: Duration) -> Self {
        Self::restore(false, 0, id, now)
    }

    /// What was stored: whether the coins are settled, and the running time in milliseconds.
    pub fn restore(settled: bool, overdue: u64, id: SessionId, now: Duration) -> Self {
        // All sessions of a node start at once.
        let share = u32::from(u16::from_be_bytes([id.0[0], id.0[1]]));
        Self {
            settled,
            overdue: Duration::from_millis(overdue),
            counted_at: None,
            observe_at: now + SPREAD * share / (1 << 16),
            observing: false,
        }
    }

    /// Nothing more is to be waited for. Answers whether that is news, to be stored.
    pub fn settle(&mut self) -> bool {
        !std::mem::replace(&mut self.settled, true)
    }

    /// Whether nothing more is to be waited for.
    pub fn settled(&self) -> bool {
        self.settled
    }

    /// The running time in milliseconds, to be stored.
    pub fn overdue(&self) -> u64 {
        self.overdue.as_millis().try_into().unwrap_or(u64::MAX)
    }

    /// Whether nothing can come any more that is worth anything.
    pub fn over(&self) -> bool {
        self.settled || self.overdue >= limits::FORGOTTEN_AFTER_RUNNING
    }

    /// Counts the time. Answers whether that is to be stored.
    pub fn pass_time(&mut self, now: Time, expires_at: UnixMillis) -> bool {
        let before = self.overdue;
        if now.wall < expires_at.saturating_add(limits::FORGOTTEN_AFTER) {
            (self.overdue, self.counted_at) = (Duration::ZERO, None);
            return before != self.overdue;
        }
        let since = self.counted_at.unwrap_or(now.monotonic);
        let passed = now.monotonic.saturating_sub(since);
        if self.counted_at.is_none() || passed >= INTERVAL {
            self.counted_at = Some(now.monotonic);
            self.overdue += passed;
        }
        before != self.overdue
    }

    /// Whether the observer is to be asked about the coins now.
    pub fn observe(&mut self, now: Duration) -> bool {
        if self.observing || self.settled || now < self.observe_at {
            return false;
        }
        self.observing = true;
        self.observe_at = now + INTERVAL;
        true
    }

    /// The observer answered. Answers whether that is to be stored.
    pub fn observed(&mut self, answer: Option<ChainStatus>, final_depth: u32) -> bool {
        self.observing = false;
        let deep = match answer {
            Some(
                ChainStatus::Confirmed { confirmations, .. } | ChainStatus::Conflict { confirmations, .. },
            ) => confirmations >= final_depth,
            _ => false,
        };
        deep && self.settle()
    }

    /// When it is to be looked at next. `observes`: the observer can be asked.
    pub fn due_at(&self, now: Time, expires_at: UnixMillis, observes: bool) -> Duration {
        let long_past = expires_at.saturating_add(limits::FORGOTTEN_AFTER);
        let count_at = match self.counted_at {
            Some(at) => at + INTERVAL,
            None => now.monotonic.saturating_add(long_past.saturating_since(now.wall)),
        };
        if observes && !self.observing { count_at.min(self.observe_at) } else { count_at }
    }

    pub fn pack(&self) -> PackedKeeping {
        PackedKeeping {
            flags: bits([self.settled, self.observing]),
            overdue: nanoseconds(self.overdue),
            counted_at: self.counted_at.map(nanoseconds),
            observe_at: nanoseconds(self.observe_at),
        }
    }

    pub fn unpack(packed: &PackedKeeping) -> Self {
        let [settled, observing] = flags(packed.flags);
        Self {
            settled,
            overdue: Duration::from_nanos(packed.overdue),
            counted_at: packed.counted_at.map(Duration::from_nanos),
            observe_at: Duration::from_nanos(packed.observe_at),
            observing,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::types::Txid;

    const DAY: Duration = Duration::from_secs(86_400);
    const EXPIRY: UnixMillis = UnixMillis(1_000_000);

    /// So long after the expiry by the calendar, and since the start by the other clock.
    fn time(wall: Duration, monotonic: Duration) -> Time {
        Time { wall: EXPIRY.saturating_add(wall), monotonic }
    }

    fn keeping() -> Keeping {
        Keeping::new(SessionId([0; 32]), Duration::ZERO)
    }

    #[test]
    fn the_calendar_alone_lets_nothing_be_forgotten_and_running_time_alone_neither() {
        let mut calendar = keeping();
        for times in 0..10 {
            assert!(!calendar.pass_time(time(DAY * 1000, Duration::ZERO), EXPIRY), "{times}");
            assert!(!calendar.over());
        }
        let mut running = keeping();
        running.pass_time(time(DAY * 29, DAY * 1000), EXPIRY);
        assert!(!running.over());
    }

    #[test]
    fn both_together_let_it_be_forgotten_and_a_calendar_that_is_set_right_begins_again() {
        let mut keeping = keeping();
        for hour in 0..=6 * 24 {
            keeping.pass_time(time(DAY * 31, INTERVAL * hour), EXPIRY);
        }
        assert!(!keeping.over());
        assert!(keeping.pass_time(time(DAY, DAY * 6), EXPIRY), "it was wrong");
        assert_eq!(keeping.overdue(), 0);
        for hour in 0..7 * 24 {
            keeping.pass_time(time(DAY * 31, DAY * 6 + INTERVAL * hour), EXPIRY);
            assert!(!keeping.over());
        }
        assert!(keeping.pass_time(time(DAY * 31, DAY * 13), EXPIRY));
        assert!(keeping.over());
    }

    #[test]
    fn running_time_counts_across_restarts() {
        let mut stored = 0;
        for process in 0..7 {
            let mut keeping = Keeping::restore(false, stored, SessionId([0; 32]), Duration::ZERO);
            assert!(!keeping.over(), "{process}");
            for hour in 0..=24 {
                keeping.pass_time(time(DAY * 31, INTERVAL * hour), EXPIRY);
            }
            stored = keeping.overdue();
        }
        assert!(Keeping::restore(false, stored, SessionId([0; 32]), Duration::ZERO).over());
    }

    #[test]
    fn only_the_final_depth_settles_the_coins() {
        let mut keeping = keeping();
        let conflict = |confirmations| Some(ChainStatus::Conflict { txid: Txid([1; 32]), confirmations });
        for answer in [None, Some(ChainStatus::Unknown), Some(ChainStatus::Seen), conflict(5)] {
            assert!(!keeping.observed(answer, 6) && !keeping.over());
        }
        assert!(keeping.observed(conflict(6), 6) && keeping.over());
        assert!(!keeping.observed(Some(ChainStatus::Unknown), 6) && keeping.over(), "it stays so");
    }

    #[test]
    fn the_observer_is_asked_once_an_hour_and_a_packed_form_gives_the_same_again() {
        let mut keeping = Keeping::new(SessionId([0xff; 32]), Duration::ZERO);
        assert!(!keeping.observe(Duration::ZERO), "others have their moment first");
        assert!(keeping.observe(SPREAD) && !keeping.observe(SPREAD + INTERVAL), "one at a time");
        assert_eq!(Keeping::unpack(&keeping.pack()), keeping);
        keeping.observed(None, 1);
        keeping.pass_time(time(DAY * 31, SPREAD), EXPIRY);
        assert_eq!(keeping.due_at(time(DAY * 31, SPREAD), EXPIRY, true), SPREAD + INTERVAL);
        assert!(!keeping.observe(SPREAD) && keeping.observe(SPREAD + INTERVAL));
        assert_eq!(Keeping::unpack(&keeping.pack()), keeping);
    }
}
