//! Rate limits: token buckets.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

/// Presences a second that are read of a connection: each is a signature to verify.
const PRESENCES: u32 = 4;
/// Signs of life a second, asked for and given, that are read of a connection.
const SIGNS_OF_LIFE: u32 = 32;
/// Bytes that count as much as a frame does, of a stranger.
const KIB: f64 = 1024.0;
/// The cost of a first contact among them: a hash, and a hundred comparisons.
const CONTACT_COST: f64 = 0.1;

/// A pace: so much per second, with bursts of some seconds' worth.
#[derive(Debug)]
pub(super) struct Pace {
    per_second: f64,
    most: f64,
    tokens: f64,
    at: Instant,
}

impl Pace {
    /// With bursts of four seconds' worth.
    pub(super) fn new(per_second: u32) -> Self {
        Self::with_bursts(per_second, 4)
    }

    pub(super) fn with_bursts(per_second: u32, seconds: u32) -> Self {
        let per_second = f64::from(per_second.max(1));
        let most = per_second * f64::from(seconds);
        Self { per_second, most, tokens: most, at: Instant::now() }
    }

    /// Spends `cost` and returns how long to wait before the next read.
    pub(super) fn spend(&mut self, cost: f64, now: Instant) -> Duration {
        let elapsed = now.saturating_duration_since(self.at).as_secs_f64();
        self.at = now;
        self.tokens = (self.tokens + elapsed * self.per_second).min(self.most) - cost;
        Duration::from_secs_f64((-self.tokens / self.per_second).max(0.0))
    }
}

/// What came on a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Came {
    /// A frame of so many bytes.
    Frame(usize),
    Presence,
    Contact,
    /// A question for one, or an answer.
    SignOfLife,
}

/// How fast is read what comes on a connection, on all of its streams together.
#[derive(Debug)]
pub(super) struct Paces {
    /// The peer is one for whom places are kept.
    known: AtomicBool,
    frames: Mutex<Pace>,
    strangers_frames: Mutex<Pace>,
    presences: Mutex<Pace>,
    signs_of_life: Mutex<Pace>,
}

impl Paces {
    /// With so many frames a second of a known peer, and of others.
    pub(super) fn new((frames, strangers_frames): (u32, u32)) -> Self {
        Self {
            known: AtomicBool::new(false),
            frames: Mutex::new(Pace::new(frames)),
            // Who is thrown out comes again, with as many at once as before.
            strangers_frames: Mutex::new(Pace::with_bursts(strangers_frames, 1)),
            presences: Mutex::new(Pace::with_bursts(PRESENCES, 2)),
            signs_of_life: Mutex::new(Pace::new(SIGNS_OF_LIFE)),
        }
    }

    pub(super) fn set_known(&self, known: bool) {
        self.known.store(known, Ordering::Relaxed);
    }

    /// Takes note of what came, and returns how long to wait before the next read.
    pub(super) fn spend(&self, came: Came, now: Instant) -> Duration {
        let (pace, cost) = match came {
            Came::Frame(_) if self.known.load(Ordering::Relaxed) => (&self.frames, 1.0),
            Came::Frame(bytes) => (&self.strangers_frames, 1.0 + bytes as f64 / KIB),
            Came::Presence => (&self.presences, 1.0),
            Came::Contact => (&self.presences, CONTACT_COST),
            Came::SignOfLife => (&self.signs_of_life, 1.0),
        };
        pace.lock().unwrap_or_else(PoisonError::into_inner).spend(cost, now)
    }
}

/// An allowance of so many things per second, and a number at once.
#[derive(Debug)]
pub(super) struct Allowance {
    per_second: f64,
    most: f64,
    left: f64,
    at: Instant,
}

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

    #[test]
    fn strangers_have_a_pace_of_their_own_and_presences_one_for_all() {
        let (paces, now) = (Paces::new((100, 10)), Instant::now());
        let at_once = |came| (0..).take_while(|_| paces.spend(came, now).is_zero()).count();
        assert_eq!(at_once(Came::Frame(1024)), 5);
        assert!(!paces.spend(Came::Frame(0), now).is_zero());
        paces.set_known(true);
        assert_eq!(at_once(Came::Frame(1 << 20)), 400);
        assert_eq!(at_once(Came::Presence), 2 * PRESENCES as usize);
        assert!(!paces.spend(Came::Contact, now).is_zero());
        let paces = Paces::new((100, 10));
        let contacts = (0..).take_while(|_| paces.spend(Came::Contact, now).is_zero()).count();
        assert!((79..=80).contains(&contacts), "{contacts}");
    }

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
