//! Liveness of connections: pings, the time of the last activity, and signs of life that are asked for.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use libp2p::ping;

use super::config::NetworkConfig;

/// The shortest interval of `NetEvent::Heard` for one connection.
const HEARD_INTERVAL: Duration = Duration::from_secs(1);

/// Questions in a row that stay without a sign of life before a peer counts as silent.
const UNANSWERED: u8 = 3;

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

/// Questions to a peer for signs of life.
#[derive(Debug, Default)]
pub(super) struct Questions {
    /// In a row, and when the first of them was asked.
    unanswered: u8,
    since: Option<Instant>,
    /// When to look again.
    due: Option<Instant>,
    silent: bool,
}

impl Questions {
    /// Asks by `ask` if nothing came from the peer, for `idle`, within an interval; whatever came is an answer. `ask` says
    /// whether the question is on its way: one that still waits behind a slow frame is not left unanswered. True once the
    /// peer is silent.
    pub(super) fn poll(
        &mut self,
        now: Instant,
        idle: Duration,
        interval: Duration,
        ask: impl FnOnce() -> bool,
    ) -> bool {
        if self.due.is_some_and(|due| now < due) {
            return false;
        }
        if idle < interval {
            *self = Self { due: Some(now + (interval - idle)), ..Self::default() };
            return false;
        }
        self.due = Some(now + interval);
        // Before the first question nothing had come for an interval. If something did since, that is shorter.
        if self.since.is_some_and(|since| idle < now.saturating_duration_since(since) + interval / 2) {
            *self = Self { due: self.due, ..Self::default() };
        }
        let falls_silent = self.unanswered >= UNANSWERED && !self.silent;
        self.silent |= falls_silent;
        if ask() {
            self.unanswered = self.unanswered.saturating_add(1);
            self.since.get_or_insert(now);
        }
        falls_silent
    }

    /// Whether the peer is silent.
    pub(super) fn is_silent(&self) -> bool {
        self.silent
    }

    /// When to call [`Questions::poll`] next.
    pub(super) fn due(&self) -> Option<Instant> {
        self.due
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    /// Polls each half second. When the peer fell silent, and how often it was asked.
    fn asked_for(seconds: u32, idle: impl Fn(Duration) -> Duration, taken: bool) -> (Vec<Duration>, u32) {
        let (mut questions, begin) = (Questions::default(), Instant::now());
        let (mut silent, mut asked) = (Vec::new(), 0);
        for half in 0..2 * seconds {
            let at = half * SECOND / 2;
            let ask = || {
                asked += 1;
                taken
            };
            if questions.poll(begin + at, idle(at), SECOND, ask) {
                silent.push(at);
            }
        }
        assert_eq!(questions.is_silent(), !silent.is_empty());
        (silent, asked)
    }

    #[test]
    fn a_peer_that_is_heard_is_not_asked() {
        let (silent, asked) = asked_for(60, |_| SECOND / 2, true);
        assert_eq!((silent, asked), (vec![], 0));
    }

    #[test]
    fn a_peer_that_answers_each_question_is_not_silent() {
        // Each question is answered at once, or late.
        for idle in [SECOND, 5 * SECOND / 4] {
            assert_eq!(asked_for(60, |_| idle, true), (vec![], 60), "{idle:?}");
        }
    }

    #[test]
    fn three_questions_without_a_sign_of_life_make_silent_once() {
        let (silent, asked) = asked_for(60, |at| at + SECOND, true);
        assert_eq!((silent, asked), (vec![3 * SECOND], 60), "and it is asked on and on");
    }

    #[test]
    fn a_question_that_waits_behind_a_slow_frame_is_not_left_unanswered() {
        assert_eq!(asked_for(60, |at| at + SECOND, false).0, []);
    }

    #[test]
    fn after_any_sign_of_life_it_begins_anew() {
        let (mut questions, begin) = (Questions::default(), Instant::now());
        let mut poll = |second: u32, idle| questions.poll(begin + second * SECOND, idle, SECOND, || true);
        assert!(!poll(0, SECOND) && !poll(1, 2 * SECOND) && !poll(2, 3 * SECOND));
        assert!(!poll(3, SECOND / 10), "it is heard just in time");
        assert!(!poll(4, SECOND) && !poll(5, 2 * SECOND) && !poll(6, 3 * SECOND));
        assert!(poll(7, 4 * SECOND));
    }
}
