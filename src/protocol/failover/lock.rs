//! Whether a transaction with a lock time can be final, as far as the observer's last block tells: its turns begin then.

use std::time::Duration;

use crate::mutation::{self, Mutation};

/// How long the observer's first answer is waited for.
const FIRST_ANSWER: Duration = Duration::from_secs(5);
/// How long the observer's word that a lock is not met counts, if it says nothing newer.
const BELIEVED: Duration = Duration::from_secs(600);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    /// The observer was not asked yet.
    New,
    /// It was, and is waited for until then, by the watch's stopwatch.
    Asked { until: Duration },
    /// It said that the lock is not met, which counts until then.
    Held { until: Duration },
    /// Nothing is waited for.
    Over,
}

/// What a watch waits for before its turns begin. Only its own observer makes it wait: no answer delays nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct LockWait {
    state: State,
    /// When the observer is asked again.
    ask_at: Duration,
    asking: bool,
    /// Whether the transaction is known to be final: then whoever does not broadcast it is late.
    known_final: bool,
}

impl LockWait {
    /// `locked`: the transaction has a lock of which it is not known whether it is met.
    pub fn new(locked: bool) -> Self {
        let locked = locked && !mutation::on(Mutation::LockIgnored);
        let state = if locked { State::New } else { State::Over };
        Self { state, ask_at: Duration::ZERO, asking: false, known_final: !locked }
    }

    /// Whether the turns have not begun.
    pub fn waits(&self) -> bool {
        self.state != State::Over
    }

    /// Whether the transaction is known to be final.
    pub fn known_final(&self) -> bool {
        self.known_final
    }

    /// The transaction was seen, or a backend said something else of it than that it is not final.
    pub fn shown_final(&mut self) {
        self.known_final = true;
    }

    /// A backend says that the transaction is not final yet, whatever was known before.
    pub fn shown_locked(&mut self) {
        self.known_final = false;
    }

    /// Does what the time asks for. Answers whether the observer is to be asked.
    pub fn poll(&mut self, elapsed: Duration, observer: bool) -> bool {
        match self.state {
            State::New if observer => self.state = State::Asked { until: elapsed + FIRST_ANSWER },
            State::New => self.state = State::Over,
            State::Asked { until } | State::Held { until } if elapsed >= until => self.state = State::Over,
            State::Asked { .. } | State::Held { .. } | State::Over => {}
        }
        let ask = self.waits() && !self.asking && elapsed >= self.ask_at;
        self.asking |= ask;
        ask
    }

    /// When it is to be polled next.
    pub fn due_at(&self) -> Option<Duration> {
        let until = match self.state {
            State::New => Duration::ZERO,
            State::Asked { until } | State::Held { until } => until,
            State::Over => return None,
        };
        Some(if self.asking { until } else { until.min(self.ask_at) })
    }

    /// The observer answered whether the lock is met; `None` if it cannot tell. `true`: it was not, and is now, so the
    /// turns begin now and not when the signatures were complete.
    pub fn answered(&mut self, met: Option<bool>, elapsed: Duration, again_after: Duration) -> bool {
        self.asking = false;
        let held = matches!(self.state, State::Held { .. });
        if !self.waits() {
            return false;
        }
        match met {
            Some(true) => {
                self.known_final = true;
                self.state = State::Over;
                return held;
            }
            Some(false) => self.state = State::Held { until: elapsed + BELIEVED },
            None if held => {}
            None => self.state = State::Over,
        }
        self.ask_at = elapsed + again_after;
        false
    }

    /// Nothing is under way any more.
    pub fn interrupted(&mut self) {
        self.asking = false;
    }

    /// Its numbers: the state, until when it lasts, when it asks, and flags.
    pub fn pack(&self) -> (u32, Duration, Duration, [bool; 2]) {
        let (state, until) = match self.state {
            State::Over => (0, Duration::ZERO),
            State::New => (1, Duration::ZERO),
            State::Asked { until } => (2, until),
            State::Held { until } => (3, until),
        };
        (state, until, self.ask_at, [self.asking, self.known_final])
    }

    /// The same again.
    pub fn unpack(state: u32, until: Duration, ask_at: Duration, [asking, known_final]: [bool; 2]) -> Self {
        let state = match state {
            0 => State::Over,
            1 => State::New,
            2 => State::Asked { until },
            _ => State::Held { until },
        };
        Self { state, ask_at, asking, known_final }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    #[test]
    fn an_observer_that_does_not_answer_delays_nothing() {
        let mut lock = LockWait::new(true);
        assert!(lock.poll(Duration::ZERO, true) && lock.waits());
        assert!(!lock.poll(SECOND, true), "it is being asked");
        assert_eq!(lock.due_at(), Some(FIRST_ANSWER));
        lock.poll(FIRST_ANSWER, true);
        assert!(!lock.waits() && !lock.known_final());
        let mut lock = LockWait::new(true);
        lock.poll(Duration::ZERO, true);
        assert!(!lock.answered(None, SECOND, SECOND) && !lock.waits());
        let mut lock = LockWait::new(true);
        assert!(!lock.poll(Duration::ZERO, false) && !lock.waits(), "there is none");
    }

    #[test]
    fn a_lock_that_is_met_from_the_start_moves_nothing() {
        let mut lock = LockWait::new(true);
        lock.poll(Duration::ZERO, true);
        assert!(!lock.answered(Some(true), SECOND, SECOND));
        assert!(!lock.waits() && lock.known_final());
    }

    #[test]
    fn an_answer_counts_for_ten_minutes_and_the_last_one_begins_the_turns() {
        let mut lock = LockWait::new(true);
        lock.poll(Duration::ZERO, true);
        assert!(!lock.answered(Some(false), SECOND, SECOND));
        assert!(lock.waits() && lock.poll(2 * SECOND, true), "it is asked again");
        assert!(!lock.answered(None, 3 * SECOND, SECOND) && lock.waits());
        let packed = lock.pack();
        assert_eq!(LockWait::unpack(packed.0, packed.1, packed.2, packed.3), lock);
        let mut silent = lock;
        silent.poll(SECOND + BELIEVED, true);
        assert!(!silent.waits() && !silent.known_final());
        assert!(lock.answered(Some(true), 9 * SECOND, SECOND));
        assert!(!lock.waits() && lock.known_final());
    }
}
