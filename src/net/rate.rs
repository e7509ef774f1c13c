//! Rate limits: token buckets.

use std::time::{Duration, Instant};

/// The pace of a stream: a number of frames per second, with bursts of four seconds' worth.
#[derive(Debug)]
pub(super) struct Pace {
    per_second: f64,
    tokens: f64,
    at: Instant,
}

impl Pace {
    pub(super) fn new(per_second: u32) -> Self {
        let per_second = f64::from(per_second.max(1));
        Self { per_second, tokens: 4.0 * per_second, at: Instant::now() }
    }

    /// Spends `cost` and returns how long to wait before the next read.
    pub(super) fn spend(&mut self, cost: f64, now: Instant) -> Duration {
        let elapsed = now.saturating_duration_since(self.at).as_secs_f64();
        self.at = now;
        self.tokens = (self.tokens + elapsed * self.per_second).min(4.0 * self.per_second) - cost;
        Duration::from_secs_f64((-self.tokens / self.per_second).max(0.0))
    }
}

/// An allowance of so many things per second, and a number at once.
#[cfg(feature = "discovery")]
#[derive(Debug)]
pub(super) struct Allowance {
    per_second: f64,
    most: f64,
    left: f64,
    at: Instant,
}

#[cfg(feature = "discovery")]
impl Allowance {
    pub(super) fn new(per_second: u32, at_once: u32) -> Self {
        let most = f64::from(at_once);
        Self { per_second: f64::from(per_second), most, left: most, at: Instant::now() }
    }

    /// Whether nothing of it is used now.
    pub(super) fn is_whole(&self, now: Instant) -> bool {
        let elapsed = now.saturating_duration_since(self.at).as_secs_f64();
        self.left + elapsed * self.per_second >= self.most
    }

    /// Whether one more is allowed now.
    pub(super) fn take(&mut self, now: Instant) -> bool {
        let elapsed = now.saturating_duration_since(self.at).as_secs_f64();
        self.at = now;
        self.left = (self.left + elapsed * self.per_second).min(self.most);
        let allowed = self.left >= 1.0;
        if allowed {
            self.left -= 1.0;
        }
        allowed
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pace_lets_four_seconds_worth_pass_at_once_and_then_slows_down() {
        let mut pace = Pace::new(10);
        let now = Instant::now();
        for _ in 0..40 {
            assert_eq!(pace.spend(1.0, now), Duration::ZERO);
        }
        let wait = pace.spend(1.0, now);
        assert!(wait > Duration::from_millis(90) && wait <= Duration::from_millis(101), "{wait:?}");
        assert_eq!(pace.spend(1.0, now + Duration::from_secs(1)), Duration::ZERO);
    }

    #[cfg(feature = "discovery")]
    #[test]
    fn an_allowance_is_used_up_and_comes_back() {
        let mut allowance = Allowance::new(2, 3);
        let now = Instant::now();
        assert!((0..3).all(|_| allowance.take(now)));
        assert!(!allowance.take(now) && !allowance.is_whole(now + Duration::from_secs(1)));
        assert!(allowance.is_whole(now + Duration::from_secs(2)));
        let later = now + Duration::from_millis(600);
        assert!(allowance.take(later));
        assert!(!allowance.take(later));
    }
}
