//! The watch: from the moment on at which a node holds the finished signatures, until the chain shows them.
//!
//! Turns open and never close. What cannot be checked here (claims, NACKs, silence) opens turns sooner, never later.
//! Only what this node's own observer saw, or its application said, makes it wait.

mod inputs;
pub(super) mod packed;
mod turns;

use std::time::Duration;

pub use turns::{Stopwatch, Turns};

use crate::protocol::Time;
use crate::protocol::mutation::{self, Mutation};
use crate::protocol::wire::pb;
use crate::types::{Txid, UnixMillis};

/// How long a node whose turn is already past waits for its observer before it submits.
pub const ASK_FIRST: Duration = Duration::from_secs(5);
/// The first delay between two submissions that failed; doubles up to the broadcast timeout.
const FIRST_BACK_OFF: Duration = Duration::from_millis(500);

/// What a node knows about the transaction's way to the chain.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum Evidence {
    /// Nothing, or only what others claim (E0).
    #[default]
    None,
    /// The own submission was accepted, or the application said so (E1).
    Submitted,
    /// The observer sees it (E2).
    Seen,
    /// It is in a block (E3).
    Confirmed {
        /// The block's height.
        height: u32,
        /// The block itself counts as one.
        confirmations: u32,
    },
    /// A conflicting spend is in a block (E4).
    Conflict {
        /// The conflicting transaction.
        txid: Txid,
        /// The block itself counts as one.
        confirmations: u32,
    },
    /// The application, which is the observer here, said that it is broadcast.
    Notified,
}

impl Evidence {
    /// Whether the watch waits: E2 and above.
    pub fn pauses(self) -> bool {
        !matches!(self, Self::None | Self::Submitted)
    }
}

/// What the watch wants done, in order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Action {
    /// Report a turn that opened after the first.
    CoordinatorFailed {
        /// Signers of earlier turns that were not reported yet.
        failed: Vec<usize>,
        /// Signers of this turn.
        next: Vec<usize>,
        /// Which turn.
        turn: usize,
    },
    /// Ask the application to broadcast.
    ShouldBroadcast,
    /// Submit the transaction.
    Submit,
    /// Ask the observer.
    Observe,
    /// Raise the alarm.
    Exhausted,
    /// Report that the transaction is gone.
    Lost,
    /// Report E2.
    Seen,
    /// Report E3, or the application's word without an observer.
    Confirmed,
    /// Report E4.
    Conflict(Txid),
    /// Report a refusal of the transaction.
    Rejected,
    /// Tell the others that this node cannot reach the network.
    Nack(String),
    /// Tell the others that it is broadcast.
    Claim,
}

/// What the watch can count on, and who is excused.
pub struct Surroundings<'a> {
    /// The observer can be asked: there is one, and the transaction is known.
    pub observer: bool,
    /// The node submits by itself: there is a broadcaster, and the transaction is known.
    pub broadcaster: bool,
    /// Confirmations after which the watch ends.
    pub final_depth: u32,
    /// Whether a signer sent a NACK or looks dead.
    pub excused: &'a dyn Fn(usize) -> bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum OwnTurn {
    /// Not open yet.
    Waiting,
    /// Past when it was found open: the observer is asked first, at most until then.
    Asking { until: Duration },
    /// Open: submissions and requests to the application at these times.
    Open { submit_at: Duration, ask_at: Duration, failures: u32 },
}

/// The watch of one session at one node.
#[derive(Clone, Debug)]
pub struct Watch {
    turns: Turns,
    own_turn_number: Option<usize>,
    number: u32,
    stopwatch: Stopwatch,
    opened: usize,
    asked: bool,
    exhausted: bool,
    confirmed_reported: bool,
    conflict_reported: bool,
    evidence: Evidence,
    submissions: u32,
    rejection: Option<String>,
    ended: bool,
    // Not stored:
    own_turn: OwnTurn,
    returned: bool,
    replaced: bool,
    lost_since: Option<Duration>,
    observe_at: Duration,
    observing: bool,
    submitting: bool,
}

impl Watch {
    /// Begins to watch: `t0` is now.
    pub fn new(turns: Turns, own: usize, now: Time) -> Self {
        Self {
            own_turn_number: turns.of_signer(own),
            observe_at: if mutation::on(Mutation::LooksTooLate) {
                turns.start(turns.count())
            } else {
                observation_interval(turns.timeout)
            },
            turns,
            number: 0,
            stopwatch: Stopwatch::start(now),
            opened: 0,
            asked: false,
            exhausted: false,
            confirmed_reported: false,
            conflict_reported: false,
            evidence: Evidence::None,
            submissions: 0,
            rejection: None,
            ended: false,
            own_turn: OwnTurn::Waiting,
            returned: false,
            replaced: false,
            lost_since: None,
            observing: false,
            submitting: false,
        }
    }

    /// Goes on after a restart. A turn of its own that is open counts as past: the observer is asked first.
    pub fn restore(turns: Turns, own: usize, record: &pb::WatchRecord, now: Time) -> Self {
        let started = UnixMillis(record.started_wall);
        let certain = Duration::from_millis(record.elapsed);
        let conflict = record.conflict.as_slice().try_into().map(Txid).ok();
        let confirmations = record.confirmations;
        let evidence = match (record.evidence, conflict) {
            (1, _) => Evidence::Submitted,
            (2, _) => Evidence::Seen,
            (3, _) => Evidence::Confirmed { height: record.height, confirmations },
            (4, Some(txid)) => Evidence::Conflict { txid, confirmations },
            (5, _) => Evidence::Notified,
            _ => Evidence::None,
        };
        let fresh = Self::new(turns, own, now);
        let opened = (record.announced as usize).min(fresh.turns.count());
        Self {
            number: record.number,
            returned: fresh.own_turn_number.is_some_and(|turn| turn < opened),
            stopwatch: Stopwatch::resume(started, certain, now),
            opened,
            asked: record.asked,
            exhausted: record.exhausted,
            confirmed_reported: record.confirmed_reported,
            conflict_reported: record.conflict_reported,
            evidence,
            submissions: record.submissions,
            rejection: Some(record.rejection.clone()).filter(|reason| !reason.is_empty()),
            ended: record.ended,
            observe_at: Duration::ZERO,
            ..fresh
        }
    }

    /// What is stored of it.
    pub fn record(&mut self, now: Time) -> pb::WatchRecord {
        self.stopwatch.elapsed(now);
        self.recorded()
    }

    /// The same, as it was when it was looked at last.
    fn recorded(&self) -> pb::WatchRecord {
        let mut record = pb::WatchRecord {
            number: self.number,
            started_wall: self.stopwatch.started.0,
            elapsed: self.stopwatch.certain.as_millis() as u64,
            announced: self.opened as u32,
            asked: self.asked,
            exhausted: self.exhausted,
            confirmed_reported: self.confirmed_reported,
            conflict_reported: self.conflict_reported,
            rejection: self.rejection.clone().unwrap_or_default(),
            submissions: self.submissions,
            ended: self.ended,
            ..pb::WatchRecord::default()
        };
        match self.evidence {
            Evidence::None => {}
            Evidence::Submitted => record.evidence = 1,
            Evidence::Seen => record.evidence = 2,
            Evidence::Confirmed { height, confirmations } => {
                (record.evidence, record.height, record.confirmations) = (3, height, confirmations);
            }
            Evidence::Conflict { txid, confirmations } => {
                (record.evidence, record.confirmations) = (4, confirmations);
                record.conflict = txid.0.to_vec();
            }
            Evidence::Notified => record.evidence = 5,
        }
        record
    }

    /// How many watches came before this one in the session.
    pub fn number(&self) -> u32 {
        self.number
    }

    /// What is known.
    pub fn evidence(&self) -> Evidence {
        self.evidence
    }

    /// Whether a deep enough spend, or the application, ended it.
    pub fn ended(&self) -> bool {
        self.ended
    }

    /// How often this node submitted.
    pub fn submissions(&self) -> u32 {
        self.submissions
    }

    /// The last refusal of the transaction.
    pub fn rejection(&self) -> Option<&str> {
        self.rejection.as_deref()
    }

    /// The last turn that opened.
    pub fn turn(&self) -> usize {
        self.opened.saturating_sub(1)
    }

    /// The turns.
    pub fn turns(&self) -> &Turns {
        &self.turns
    }

    /// Whether this node's own turn is open.
    pub fn own_turn_open(&self) -> bool {
        self.own_turn_number.is_some_and(|turn| turn < self.opened)
    }

    /// How long until the turn after the last one that opened. `None`: there is none.
    pub fn until_next_turn(&mut self, now: Time) -> Option<Duration> {
        let elapsed = self.stopwatch.elapsed(now);
        (self.opened < self.turns.count()).then(|| self.turns.start(self.opened).saturating_sub(elapsed))
    }

    fn waits(&self) -> bool {
        self.ended || self.replaced || self.evidence.pauses()
    }

    /// Does what the time asks for.
    pub fn poll(&mut self, now: Time, surroundings: &Surroundings<'_>) -> Vec<Action> {
        let mut actions = Vec::new();
        if self.ended {
            return actions;
        }
        let elapsed = self.stopwatch.elapsed(now);
        if self.lost_for_long(elapsed) {
            self.begin_again(now);
            actions.push(Action::Lost);
            actions.extend(self.poll(now, surroundings));
            return actions;
        }
        if !self.waits() {
            self.open_turns(elapsed, surroundings, &mut actions);
            self.take_own_turn(elapsed, surroundings, &mut actions);
            let own_turn_came = self.asked || self.own_turn_number.is_none();
            let early = usize::from(mutation::on(Mutation::AlarmTooEarly));
            if !self.exhausted && own_turn_came && elapsed >= self.turns.start(self.turns.count() - early) {
                self.exhausted = true;
                actions.push(Action::Exhausted);
            }
        }
        if surroundings.observer && !self.observing && elapsed >= self.observe_at {
            self.observing = true;
            self.observe_at = self.next_observation(elapsed);
            actions.push(Action::Observe);
        }
        actions
    }

    fn open_turns(&mut self, elapsed: Duration, surroundings: &Surroundings<'_>, actions: &mut Vec<Action>) {
        let before = self.opened;
        while self.opened < self.turns.count() {
            let earlier = &self.turns.order[..self.turns.before(self.opened)];
            let all_excused = || earlier.iter().all(|signer| (surroundings.excused)(*signer));
            if elapsed < self.turns.start(self.opened) && !all_excused() {
                break;
            }
            self.opened += 1;
        }
        if self.opened > before.max(1) {
            let turn = self.opened - 1;
            let (first, last) = (self.turns.before(before.max(1) - 1), self.turns.before(turn));
            let failed = self.turns.order[first..last].to_vec();
            let next = self.turns.signers(turn).to_vec();
            actions.push(Action::CoordinatorFailed { failed, next, turn });
        }
    }

    fn take_own_turn(
        &mut self,
        elapsed: Duration,
        surroundings: &Surroundings<'_>,
        actions: &mut Vec<Action>,
    ) {
        let timeout = self.turns.timeout;
        if self.own_turn == OwnTurn::Waiting {
            let Some(turn) = self.own_turn_number.filter(|turn| *turn < self.opened) else { return };
            if mutation::on(Mutation::ReturnMissesTurn) && self.returned {
                return;
            }
            let punctual = self.turns.start(turn) + (timeout / 4).min(Duration::from_secs(1));
            let past = self.returned || elapsed > punctual;
            self.own_turn = if past && surroundings.observer {
                self.observe_at = elapsed;
                OwnTurn::Asking { until: elapsed + ASK_FIRST }
            } else {
                OwnTurn::Open { submit_at: elapsed, ask_at: elapsed, failures: 0 }
            };
            self.returned = false;
        }
        if matches!(self.own_turn, OwnTurn::Asking { until } if elapsed >= until) {
            self.own_turn = OwnTurn::Open { submit_at: elapsed, ask_at: elapsed, failures: 0 };
        }
        if let OwnTurn::Open { submit_at, ask_at, failures } = self.own_turn {
            let ask = elapsed >= ask_at;
            let submit = surroundings.broadcaster && !self.submitting && elapsed >= submit_at;
            if ask {
                self.asked = true;
                actions.push(Action::ShouldBroadcast);
            }
            if submit {
                self.submitting = true;
                self.submissions = self.submissions.saturating_add(1);
                actions.push(Action::Submit);
            }
            let later = elapsed + timeout;
            self.own_turn = OwnTurn::Open {
                submit_at: if submit { later } else { submit_at },
                ask_at: if ask { later } else { ask_at },
                failures,
            };
        }
    }

    fn lost_for_long(&self, elapsed: Duration) -> bool {
        // One broadcast timeout of grace, so that a flapping observer begins at most one watch in each.
        let grace = if mutation::on(Mutation::LostAtOnce) { Duration::ZERO } else { self.turns.timeout };
        self.evidence.pauses() && self.lost_since.is_some_and(|since| elapsed >= since.saturating_add(grace))
    }

    fn begin_again(&mut self, now: Time) {
        let own = Self {
            own_turn_number: self.own_turn_number,
            number: self.number.saturating_add(1),
            submissions: self.submissions,
            rejection: self.rejection.take(),
            submitting: self.submitting,
            observing: self.observing,
            replaced: self.replaced,
            ..Self::new(self.turns.clone(), usize::MAX, now)
        };
        *self = own;
    }

    fn next_observation(&self, elapsed: Duration) -> Duration {
        let timeout = self.turns.timeout;
        let interval = observation_interval(timeout);
        let next = elapsed
            + match self.evidence {
                Evidence::Confirmed { .. } | Evidence::Conflict { .. } => interval * 2,
                Evidence::Submitted => interval.min(Duration::from_secs(1)),
                _ => interval,
            };
        // Look once more shortly before the next turn opens, so that nobody submits what is there already.
        let lead = (timeout / 10).min(Duration::from_secs(2));
        let look = self.turns.start(self.opened).saturating_sub(lead);
        if self.opened < self.turns.count() && look > elapsed { next.min(look) } else { next }
    }

    /// When [`Watch::poll`] is to be called next, as a time of the monotonic clock.
    pub fn next_timeout(&mut self, now: Time, surroundings: &Surroundings<'_>) -> Option<Duration> {
        if self.ended {
            return None;
        }
        let elapsed = self.stopwatch.elapsed(now);
        let mut next = None;
        let mut consider = |at: Duration| next = Some(next.map_or(at, |earlier: Duration| earlier.min(at)));
        if surroundings.observer && !self.observing {
            consider(self.observe_at);
        }
        if self.evidence.pauses() {
            if let Some(since) = self.lost_since {
                consider(since.saturating_add(self.turns.timeout));
            }
        } else if !self.replaced {
            if self.opened < self.turns.count() {
                consider(self.turns.start(self.opened));
            }
            match self.own_turn {
                OwnTurn::Waiting => {}
                OwnTurn::Asking { until } => consider(until),
                OwnTurn::Open { submit_at, ask_at, .. } => {
                    consider(ask_at);
                    if surroundings.broadcaster && !self.submitting {
                        consider(submit_at);
                    }
                }
            }
            if !self.exhausted && (self.asked || self.own_turn_number.is_none()) {
                consider(self.turns.start(self.turns.count()));
            }
        }
        next.map(|at| now.monotonic + at.saturating_sub(elapsed))
    }
}

/// How often the chain is looked at while nothing is known.
fn observation_interval(timeout: Duration) -> Duration {
    (timeout / 4).clamp(Duration::from_millis(250), Duration::from_secs(30))
}
