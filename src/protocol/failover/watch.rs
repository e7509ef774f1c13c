//! The watch: turns and submissions, from the certificate to the chain.

use std::time::Duration;

use super::evidence::Evidence;
use super::judgement::{Judgement, Verdict};
use super::lock::LockWait;
use super::pace::SeenBy;
use super::stopwatch::Stopwatch;
use super::turns::{FailureCause, Turns};
use crate::mutation::{self, Mutation};
use crate::protocol::envelope::NackKind;
use crate::protocol::packing::{bits, flags, nanoseconds};
use crate::protocol::wire::pb;
use crate::types::{ChainStatus, SubmitOutcome, Time, Txid, UnixMillis};

/// How long a node whose turn is already past waits for its observer before it submits.
pub const ASK_FIRST: Duration = Duration::from_secs(5);
/// The first delay between two submissions that failed; doubles up to the broadcast timeout.
const FIRST_BACK_OFF: Duration = Duration::from_millis(500);

/// How long a transaction that replaces this one makes the watch wait while it is seen and in no block, from the time on
/// at which it was seen first.
pub const REPLACEMENT_PAUSE: Duration = Duration::from_secs(24 * 3600);

/// How often the observer is asked about a transaction for which this node takes no turn.
const IDLE_OBSERVATION: Duration = Duration::from_secs(3600);

/// What is known of a transaction that replaces this one: it spends one of the same coins. A later kind is a stronger one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Replacement {
    /// The observer sees it. The watch waits until then, by the monotonic clock.
    Seen {
        /// [`REPLACEMENT_PAUSE`] after it was seen first.
        until: Duration,
    },
    /// It is in a block.
    Confirmed,
    /// The application, which is the observer here, said that it is broadcast.
    Notified,
}

impl Replacement {
    fn pauses(self, now: Time) -> bool {
        match self {
            Self::Seen { until } => now.monotonic < until,
            Self::Confirmed | Self::Notified => true,
        }
    }
}

/// What the watch wants done, in order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Action {
    /// Report a turn that opened after the first.
    CoordinatorFailed {
        /// Signers of earlier turns that were not reported yet.
        failed: Vec<usize>,
        /// Why each of them is waited for no longer.
        causes: Vec<FailureCause>,
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
    /// Ask the observer for the last block, and for what else tells whether the lock is met.
    AskTip,
    /// Raise the alarm.
    Exhausted,
    /// Report that all signers that have a turn sent a NACK.
    NobodyCanBroadcast,
    /// Report that the transaction is gone.
    Lost,
    /// Report E2.
    Seen,
    /// Remember how other signers did, by their indices.
    Judge {
        /// The timeout of their turn passed, and the transaction came after that.
        failed: Vec<usize>,
        /// It came in their turn.
        sufficed: Vec<usize>,
    },
    /// Report E3, or the application's word without an observer.
    Confirmed,
    /// Report E4.
    Conflict(Txid),
    /// Report a refusal of the transaction.
    Rejected,
    /// Tell the others that this node cannot broadcast, and why.
    Nack(NackKind, String),
    /// Tell the others that it is broadcast.
    Claim,
    /// Note how long it took until the transaction was seen.
    Sample(SeenBy, Duration),
}

/// How long a signer is waited for, because of what is known of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Wait {
    /// From the start of its turn on, or from the moment on at which it could be heard, if that was later.
    pub most: Duration,
    /// How long ago that moment was.
    pub heard_for: Duration,
    /// Why not for longer.
    pub cause: FailureCause,
}

/// How long a signer is waited for, all in all.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Outlook {
    /// Whose turn it is.
    pub signer: usize,
    /// Which one.
    pub turn: usize,
    /// From the start of the turn on.
    pub wait: Duration,
    /// Why not for longer.
    pub cause: FailureCause,
    /// Until the turn opens, as far as is known now. `None`: it is open, or none opens now.
    pub opens_in: Option<Duration>,
}

/// What the watch can count on, and who is excused.
pub struct Surroundings<'a> {
    /// The observer can be asked: there is one, and the transaction is known.
    pub observer: bool,
    /// The node submits by itself: there is a broadcaster, and the transaction is known.
    pub broadcaster: bool,
    /// Confirmations after which the watch ends.
    pub final_depth: u32,
    /// How long any signer is waited for from the start of its turn on: this node's pace, and at most as long as the turns
    /// of the session last.
    pub pace: Duration,
    /// How long a signer is waited for, if it may be for less than that.
    pub wait: &'a dyn Fn(usize) -> Option<Wait>,
    /// Whether a signer sent a NACK.
    pub nacked: &'a dyn Fn(usize) -> bool,
    /// No other signer is connected.
    pub alone: bool,
}

/// How often this node submitted, and how that was answered.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Submissions {
    /// All of them.
    pub made: u32,
    /// Accepted, or known already.
    pub accepted: u32,
    /// Rejected.
    pub rejected: u32,
    /// The backend was not reached.
    pub unreachable: u32,
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
    /// When the last turn opened, or was to open at the latest.
    turn_opened: Duration,
    asked: bool,
    exhausted: bool,
    confirmed_reported: bool,
    conflict_reported: bool,
    evidence: Evidence,
    submissions: Submissions,
    rejection: Option<String>,
    /// That nobody can broadcast was reported, or is not true any more: somebody could.
    nobody_reported: bool,
    ended: bool,
    /// Since when the transaction is seen, if it ever was: also across new watches.
    first_seen: Option<Stopwatch>,
    /// The strongest that is known of any replacement. [`Replacement::Notified`] stays, and is all of it that is stored.
    replacement: Option<Replacement>,
    /// Whether its turns wait for a lock time.
    lock: LockWait,
    /// It opens no turn, and raises no alarm: this node's application wants no more of it. Its session stores that.
    idle: bool,
    // Not stored:
    judgement: Judgement,
    /// When it began, by the monotonic clock, if it ran ever since: only then the time until it is seen says something.
    began: Option<Duration>,
    /// The same of this node's first submission that did not fail.
    submitted: Option<Duration>,
    own_turn: OwnTurn,
    returned: bool,
    /// The replacement made it wait when it was looked at last.
    replaced: bool,
    lost_since: Option<Duration>,
    observe_at: Duration,
    observing: bool,
    submitting: bool,
}

/// Everything of a watch but its turns, which its session gives.
#[derive(Clone, PartialEq, prost::Message)]
pub struct PackedWatch {
    /// What is stored of it.
    #[prost(message, optional, tag = "1")]
    record: Option<pb::WatchRecord>,
    /// The stopwatch.
    #[prost(uint64, tag = "2")]
    certain: u64,
    #[prost(uint64, tag = "3")]
    counted_from: u64,
    /// 0 waiting, 1 asking, 2 open.
    #[prost(uint32, tag = "4")]
    own_turn: u32,
    /// Until when it asks, or when it submits.
    #[prost(uint64, tag = "5")]
    turn_at: u64,
    #[prost(uint64, tag = "6")]
    ask_at: u64,
    #[prost(uint32, tag = "7")]
    failures: u32,
    #[prost(uint64, optional, tag = "8")]
    lost_since: Option<u64>,
    #[prost(uint64, tag = "9")]
    observe_at: u64,
    /// Bits: has a rejection, returned, replaced, observing, submitting, idle.
    #[prost(uint32, tag = "10")]
    flags: u32,
    /// The stopwatch since when it is seen.
    #[prost(uint64, optional, tag = "11")]
    seen_certain: Option<u64>,
    #[prost(uint64, tag = "12")]
    seen_counted_from: u64,
    /// See [`LockWait::pack`].
    #[prost(uint32, tag = "13")]
    lock: u32,
    #[prost(uint64, tag = "14")]
    lock_until: u64,
    #[prost(uint64, tag = "15")]
    lock_ask_at: u64,
    /// Bits: asking, known to be final.
    #[prost(uint32, tag = "16")]
    lock_flags: u32,
    /// See [`Judgement::pack`].
    #[prost(uint64, optional, tag = "17")]
    absent: Option<u64>,
    #[prost(uint64, optional, tag = "18")]
    began: Option<u64>,
    #[prost(uint64, optional, tag = "19")]
    submitted: Option<u64>,
}

impl Watch {
    /// Begins to watch: `t0` is now.
    pub fn new(turns: Turns, own: usize, now: Time) -> Self {
        Self {
            own_turn_number: turns.of_signer(own),
            observe_at: if mutation::on(Mutation::LooksTooLate) {
                turns.start(turns.count())
            } else {
                first_look(turns.timeout)
            },
            turns,
            number: 0,
            stopwatch: Stopwatch::start(now),
            opened: 0,
            turn_opened: Duration::ZERO,
            asked: false,
            exhausted: false,
            confirmed_reported: false,
            conflict_reported: false,
            evidence: Evidence::None,
            submissions: Submissions::default(),
            rejection: None,
            nobody_reported: false,
            ended: false,
            first_seen: None,
            replacement: None,
            lock: LockWait::new(false),
            idle: false,
            judgement: Judgement::new(),
            began: Some(now.monotonic),
            submitted: None,
            own_turn: OwnTurn::Waiting,
            returned: false,
            replaced: false,
            lost_since: None,
            observing: false,
            submitting: false,
        }
    }

    /// The same for a transaction with a lock: its turns begin when the observer says that it is met.
    pub fn with_lock(mut self) -> Self {
        self.lock = LockWait::new(true);
        // How long it waits for that is no sample.
        self.began = None;
        self
    }

    /// Goes on after a restart. A turn of its own that is open counts as past: the observer is asked first.
    pub fn restore(turns: Turns, own: usize, record: &pb::WatchRecord, now: Time) -> Self {
        let started = UnixMillis(record.started_wall);
        let certain = Duration::from_millis(record.elapsed);
        let evidence = Evidence::restore(record);
        let fresh = Self::new(turns, own, now);
        let opened = (record.announced as usize).min(fresh.turns.count());
        Self {
            number: record.number,
            returned: fresh.own_turn_number.is_some_and(|turn| turn < opened),
            stopwatch: Stopwatch::resume(started, certain, now),
            opened,
            turn_opened: Duration::from_millis(record.turn_opened),
            asked: record.asked,
            exhausted: record.exhausted,
            confirmed_reported: record.confirmed_reported,
            conflict_reported: record.conflict_reported,
            evidence,
            submissions: Submissions {
                made: record.submissions,
                accepted: record.accepted,
                rejected: record.rejected,
                unreachable: record.unreachable,
            },
            nobody_reported: record.nobody_reported,
            rejection: Some(record.rejection.clone()).filter(|reason| !reason.is_empty()),
            ended: record.ended,
            first_seen: (record.seen_wall != 0).then(|| {
                let certain = Duration::from_millis(record.seen_elapsed);
                Stopwatch::resume(UnixMillis(record.seen_wall), certain, now)
            }),
            replacement: record.replaced.then_some(Replacement::Notified),
            replaced: record.replaced,
            judgement: Judgement::unpack((record.number == 0).then_some(Duration::ZERO)),
            lock: LockWait::new(record.locked),
            began: None,
            observe_at: Duration::ZERO,
            ..fresh
        }
    }

    /// Lets it open no turn and raise no alarm, until [`Watch::broadcast_now`]; or lets it do that again.
    pub fn set_idle(&mut self, idle: bool, now: Time) {
        if self.idle && !idle {
            self.woke(now);
        }
        self.idle = idle;
        if idle {
            self.judgement.end();
            self.own_turn = OwnTurn::Waiting;
        }
    }

    /// Others may have broadcast long ago: the observer is asked before the first submission.
    pub fn ask_first(&mut self) {
        self.returned = true;
    }

    /// What is stored of it.
    pub fn record(&mut self, now: Time) -> pb::WatchRecord {
        self.stopwatch.elapsed(now);
        if let Some(seen) = &mut self.first_seen {
            seen.elapsed(now);
        }
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
            submissions: self.submissions.made,
            accepted: self.submissions.accepted,
            rejected: self.submissions.rejected,
            unreachable: self.submissions.unreachable,
            nobody_reported: self.nobody_reported,
            turn_opened: self.turn_opened.as_millis() as u64,
            ended: self.ended,
            replaced: self.replacement == Some(Replacement::Notified),
            locked: self.lock.waits() || !self.lock.known_final(),
            seen_wall: self.first_seen.map_or(0, |seen| seen.started.0),
            seen_elapsed: self.first_seen.map_or(0, |seen| seen.certain.as_millis() as u64),
            ..pb::WatchRecord::default()
        };
        self.evidence.store(&mut record);
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

    /// How often this node submitted, and how that was answered.
    pub fn submissions(&self) -> Submissions {
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

    /// Whose turn that is.
    pub fn coordinators(&self) -> &[usize] {
        self.turns.signers(self.turn())
    }

    /// The turns.
    pub fn turns(&self) -> &Turns {
        &self.turns
    }

    /// Whether the time of a turn had come when the watch was looked at last.
    pub fn is_due(&self, turn: usize) -> bool {
        self.stopwatch.certain >= self.turns.start(turn)
    }

    /// Whether this node's own turn is open.
    pub fn own_turn_open(&self) -> bool {
        self.own_turn_number.is_some_and(|turn| turn < self.opened)
    }

    /// How long until the turn after the last one that opened. `None`: there is none.
    pub fn until_next_turn(&mut self, now: Time, surroundings: &Surroundings<'_>) -> Option<Duration> {
        let elapsed = self.stopwatch.elapsed(now);
        (self.opened < self.turns.count())
            .then(|| self.next_opening(elapsed, surroundings).saturating_sub(elapsed))
    }

    /// How long each signer that has a turn is waited for, and when its turn opens, in the order of the turns.
    pub fn outlook(&mut self, now: Time, surroundings: &Surroundings<'_>) -> Vec<Outlook> {
        let elapsed = self.stopwatch.elapsed(now);
        let opens = self.turn_approaches();
        let mut outlook = Vec::new();
        let mut start = Duration::ZERO;
        for turn in 0..self.turns.count() {
            if turn + 1 == self.opened {
                start = self.turn_opened;
            }
            let opens_in = (opens && turn >= self.opened).then(|| start.saturating_sub(elapsed));
            let mut last = Duration::ZERO;
            for signer in self.turns.signers(turn) {
                // What is heard before a turn begins counts from its beginning on.
                let looked = if turn < self.opened { elapsed } else { start };
                let (until, cause) = self.waited_for(*signer, start, looked, surroundings);
                let wait = until.saturating_sub(start);
                outlook.push(Outlook { signer: *signer, turn, wait, cause, opens_in });
                last = last.max(until);
            }
            start = last.min(self.turns.start(turn + 1));
        }
        outlook
    }

    /// Whether a turn is ahead that what is heard of others may open.
    pub fn turn_ahead(&self) -> bool {
        !self.waits() && self.opened < self.turns.count()
    }

    /// Whether the time of such a turn runs, so that it matters who answers.
    pub fn turn_approaches(&self) -> bool {
        self.turn_ahead() && !self.lock.waits()
    }

    fn waits(&self) -> bool {
        self.ended || self.idle || self.replaced || self.evidence.pauses()
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
        if !self.idle && self.lock.poll(elapsed, surroundings.observer) {
            actions.push(Action::AskTip);
        }
        if !self.waits() && !self.lock.waits() {
            self.open_turns(elapsed, surroundings, &mut actions);
            if self.nobody_can_broadcast(surroundings) {
                self.nobody_reported = true;
                actions.push(Action::NobodyCanBroadcast);
            }
            self.take_own_turn(now, elapsed, surroundings, &mut actions);
            let own_turn_came = self.asked || self.own_turn_number.is_none();
            let early = usize::from(mutation::on(Mutation::AlarmTooEarly));
            if !self.exhausted
                && own_turn_came
                && self.lock.known_final()
                && elapsed >= self.turns.start(self.turns.count() - early)
            {
                self.exhausted = true;
                actions.push(Action::Exhausted);
            }
        }
        if surroundings.observer && !self.observing && elapsed >= self.observe_at {
            self.observing = true;
            let seen_for = self.first_seen.as_mut().map_or(Duration::ZERO, |seen| seen.elapsed(now));
            self.observe_at = self.next_observation(elapsed, seen_for, surroundings);
            actions.push(Action::Observe);
        }
        actions
    }

    fn open_turns(&mut self, elapsed: Duration, surroundings: &Surroundings<'_>, actions: &mut Vec<Action>) {
        let (mut failed, mut causes) = (Vec::new(), Vec::new());
        while self.opened < self.turns.count() && elapsed >= self.next_opening(elapsed, surroundings) {
            let over = elapsed >= self.turns.start(self.opened);
            let passed = self.opened.checked_sub(1).map_or(&[][..], |turn| self.turns.signers(turn));
            for signer in passed {
                failed.push(*signer);
                causes.push(match self.waited_for(*signer, self.turn_opened, elapsed, surroundings).1 {
                    // That nothing was seen or heard of it is no reason any more once its time is over.
                    FailureCause::NotHolding | FailureCause::Pace if over => FailureCause::Timeout,
                    cause => cause,
                });
            }
            self.turn_opened = elapsed.min(self.turns.start(self.opened));
            self.opened += 1;
        }
        // Who could not broadcast it yet did not fail.
        if !failed.is_empty() && self.lock.known_final() {
            let turn = self.opened - 1;
            let next = self.turns.signers(turn).to_vec();
            actions.push(Action::CoordinatorFailed { failed, causes, next, turn });
        }
    }

    /// When the next turn opens, as far as is known now: when each signer of the last one was waited for, and at its
    /// regular start at the latest. What cannot be checked here shortens it, and nothing makes it longer.
    fn next_opening(&self, elapsed: Duration, surroundings: &Surroundings<'_>) -> Duration {
        let regular = self.turns.start(self.opened);
        let Some(last) = self.opened.checked_sub(1) else { return regular };
        let until = |signer: &usize| self.waited_for(*signer, self.turn_opened, elapsed, surroundings).0;
        let all = self.turns.signers(last).iter().map(until).max().unwrap_or_default();
        if mutation::on(Mutation::PaceBeyondTimeout) { all } else { regular.min(all) }
    }

    /// Until when a signer is waited for whose turn opened then, and why not for longer.
    fn waited_for(
        &self,
        signer: usize,
        opened: Duration,
        elapsed: Duration,
        surroundings: &Surroundings<'_>,
    ) -> (Duration, FailureCause) {
        let longest = self.turns.longest();
        let (most, cause) = match surroundings.pace {
            pace if pace < longest => (pace, FailureCause::Pace),
            pace if mutation::on(Mutation::PaceBeyondTimeout) => (pace, FailureCause::Pace),
            _ => (longest, FailureCause::Timeout),
        };
        let until = opened.saturating_add(most);
        let Some(wait) = (surroundings.wait)(signer) else { return (until, cause) };
        let heard = opened.max(elapsed.saturating_sub(wait.heard_for)) + wait.most;
        if heard <= until { (heard, wait.cause) } else { (until, cause) }
    }

    /// Whether that is news: every signer that has a turn sent a NACK, and nobody was able to broadcast in spite of it.
    fn nobody_can_broadcast(&self, surroundings: &Surroundings<'_>) -> bool {
        let can = self.nobody_reported || self.evidence != Evidence::None || !self.lock.known_final();
        !can && self.turns.order.iter().all(|signer| (surroundings.nacked)(*signer))
    }

    fn take_own_turn(
        &mut self,
        now: Time,
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
            let regular = self.turns.start(turn);
            let punctual = regular + (timeout / 4).min(Duration::from_secs(1));
            let (early, past) = (regular.saturating_sub(elapsed), self.returned || elapsed > punctual);
            self.own_turn = if (past || !early.is_zero()) && surroundings.observer {
                self.observe_at = elapsed;
                // Who is early has until the regular start to ask, so that what it believes of others delays nothing.
                let most = match early.is_zero() {
                    _ if mutation::on(Mutation::AskFirstTooLong) => ASK_FIRST * 4,
                    true => ASK_FIRST,
                    false => ASK_FIRST.min(early),
                };
                OwnTurn::Asking { until: elapsed + most }
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
                self.submit(now, actions);
            }
            let later = elapsed + timeout;
            self.own_turn = OwnTurn::Open {
                submit_at: if submit { later } else { submit_at },
                ask_at: if ask { later } else { ask_at },
                failures,
            };
        }
    }

    fn submit(&mut self, now: Time, actions: &mut Vec<Action>) {
        self.submitting = true;
        self.submitted.get_or_insert(now.monotonic);
        self.submissions.made = self.submissions.made.saturating_add(1);
        actions.push(Action::Submit);
    }

    /// How long it took until the transaction was seen: since this node submitted it, or since it had the signatures if the
    /// first turn sufficed. `None`: that says nothing, for it did not watch all the time.
    fn sample(&self, now: Time) -> Option<Duration> {
        let began = self.began?;
        let since = self.submitted.or_else(|| Some(began).filter(|_| self.opened <= 1))?;
        Some(now.monotonic.saturating_sub(since))
    }

    /// The turns begin now and not when the signatures were complete: the transaction could not be broadcast before.
    fn begin_turns(&mut self, now: Time) {
        (self.stopwatch, self.turn_opened) = (Stopwatch::start(now), Duration::ZERO);
        (self.observe_at, self.lost_since, self.began) = (Duration::ZERO, None, None);
        self.judgement.restart();
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
            // Somebody could.
            nobody_reported: true,
            began: None,
            submitting: self.submitting,
            observing: self.observing,
            first_seen: self.first_seen,
            replacement: self.replacement,
            replaced: self.replaced,
            idle: self.idle,
            ..Self::new(self.turns.clone(), usize::MAX, now)
        };
        *self = own;
        self.judgement.end();
    }

    /// `seen_for`: how long ago it was seen first.
    fn next_observation(
        &self,
        elapsed: Duration,
        seen_for: Duration,
        surroundings: &Surroundings<'_>,
    ) -> Duration {
        if self.idle {
            return elapsed + IDLE_OBSERVATION;
        }
        let timeout = self.turns.timeout;
        let interval = observation_interval(timeout);
        let next = elapsed
            + match self.evidence {
                Evidence::Confirmed { .. } | Evidence::Conflict { .. } => interval * 2,
                Evidence::Submitted => interval.min(Duration::from_secs(1)),
                // Soon after it was seen it may be in a block soon; later on it has waited for long anyway.
                Evidence::Seen => interval.min(seen_for.max(Duration::from_secs(1))),
                // Soon after the signatures are complete it may be there soon.
                _ => interval.min(elapsed.max(Duration::from_secs(1))),
            };
        if self.opened >= self.turns.count() {
            return next;
        }
        // Look once more shortly before the next turn opens, so that nobody submits what is there already.
        let look = self.next_opening(elapsed, surroundings).saturating_sub(self.turns.look_ahead());
        if look > elapsed { next.min(look) } else { next }
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
        } else if self.replaced && !self.idle {
            if let Some(Replacement::Seen { until }) = self.replacement {
                consider(elapsed.saturating_add(until.saturating_sub(now.monotonic)));
            }
        } else if let Some(at) = self.lock.due_at().filter(|_| !self.idle) {
            consider(at);
        } else if !self.idle {
            if self.opened < self.turns.count() {
                consider(self.next_opening(elapsed, surroundings));
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
            let own_turn_came = self.asked || self.own_turn_number.is_none();
            if !self.exhausted && own_turn_came && self.lock.known_final() {
                consider(self.turns.start(self.turns.count()));
            }
        }
        next.map(|at| now.monotonic.saturating_add(at.saturating_sub(elapsed)))
    }

    // ---- What it hears: of its observer, its broadcaster, its application, and others ----

    /// The observer answered.
    pub fn observed(
        &mut self,
        answer: Option<ChainStatus>,
        now: Time,
        surroundings: &Surroundings<'_>,
    ) -> Vec<Action> {
        let mut actions = Vec::new();
        self.observing = false;
        if self.ended {
            return actions;
        }
        let elapsed = self.stopwatch.elapsed(now);
        let evidence = match answer {
            None => self.evidence,
            Some(ChainStatus::Unknown) => {
                let noticed = self.lost_since.is_none() && !mutation::on(Mutation::LossUnnoticed);
                if self.evidence.pauses() && noticed {
                    self.lost_since = Some(elapsed);
                }
                if self.lock.known_final() {
                    self.judgement.absent(elapsed);
                }
                self.evidence
            }
            Some(ChainStatus::Seen) => Evidence::Seen,
            Some(ChainStatus::Confirmed { height, confirmations }) => {
                Evidence::Confirmed { height, confirmations: confirmations.max(1) }
            }
            Some(ChainStatus::Conflict { txid, confirmations }) => {
                Evidence::Conflict { txid, confirmations: confirmations.max(1) }
            }
        };
        if matches!(answer, Some(status) if status != ChainStatus::Unknown) {
            self.lost_since = None;
            self.lock.shown_final();
            if !self.evidence.pauses() && !matches!(evidence, Evidence::Conflict { .. }) {
                actions.extend(self.sample(now).map(|time| Action::Sample(SeenBy::Observer, time)));
                self.began = None;
                actions.push(Action::Seen);
                actions.extend(self.judge());
                self.observe_at = self.observe_at.min(elapsed + Duration::from_secs(1));
            }
            if !matches!(evidence, Evidence::Conflict { .. }) {
                self.first_seen.get_or_insert_with(|| Stopwatch::start(now));
            }
            self.evidence = evidence;
            self.report_depth(surroundings.final_depth, &mut actions);
        } else if matches!(self.own_turn, OwnTurn::Asking { .. }) {
            self.own_turn = OwnTurn::Open { submit_at: elapsed, ask_at: elapsed, failures: 0 };
        }
        actions.extend(self.poll(now, surroundings));
        actions
    }

    /// What the first sight of the transaction says of other signers.
    fn judge(&mut self) -> Option<Action> {
        let others = self.evidence == Evidence::None;
        let verdict = self.judgement.seen(&self.turns, self.opened, self.turn_opened, others);
        let Verdict { failed, sufficed } = verdict;
        (!failed.is_empty() || !sufficed.is_empty()).then_some(Action::Judge { failed, sufficed })
    }

    fn report_depth(&mut self, final_depth: u32, actions: &mut Vec<Action>) {
        let confirmations = match self.evidence {
            Evidence::Confirmed { confirmations, .. } => {
                if !self.confirmed_reported {
                    self.confirmed_reported = true;
                    actions.push(Action::Confirmed);
                }
                confirmations
            }
            Evidence::Conflict { txid, confirmations } => {
                if !self.conflict_reported {
                    self.conflict_reported = true;
                    actions.push(Action::Conflict(txid));
                }
                confirmations
            }
            _ => return,
        };
        self.ended = confirmations >= final_depth || mutation::on(Mutation::FinalAtOnce);
    }

    /// The broadcaster answered, or (`Err`) could not reach the network.
    pub fn submitted(
        &mut self,
        answer: Result<SubmitOutcome, String>,
        now: Time,
        surroundings: &Surroundings<'_>,
    ) -> Vec<Action> {
        self.submitting = false;
        let mut actions = Vec::new();
        let mut elapsed = self.stopwatch.elapsed(now);
        let accepted = answer == Ok(SubmitOutcome::Accepted);
        if accepted && !self.lock.known_final() && self.own_turn_open() && !self.evidence.pauses() {
            self.begin_turns(now);
            elapsed = Duration::ZERO;
            let later = self.turns.timeout;
            self.own_turn = OwnTurn::Open { submit_at: later, ask_at: later, failures: 0 };
        }
        match answer {
            Ok(SubmitOutcome::NotYetFinal) if !mutation::on(Mutation::LockIgnored) => {
                self.lock.shown_locked()
            }
            Ok(_) => self.lock.shown_final(),
            Err(_) => {}
        }
        if !accepted && self.submissions.accepted == 0 {
            self.submitted = None;
        }
        match answer {
            Ok(SubmitOutcome::Accepted) => {
                self.submissions.accepted = self.submissions.accepted.saturating_add(1);
                if self.evidence == Evidence::None {
                    self.evidence = Evidence::Submitted;
                }
                self.observe_at = self.observe_at.min(elapsed);
                actions.push(Action::Claim);
            }
            // The own replacement is in its place: that says nothing about this transaction.
            Ok(SubmitOutcome::Rejected(_)) if self.replacement.is_some() => {}
            Ok(SubmitOutcome::Rejected(reason)) => {
                self.submissions.rejected = self.submissions.rejected.saturating_add(1);
                if self.rejection.as_ref() != Some(&reason) {
                    self.rejection = Some(reason.clone());
                    actions.push(Action::Rejected);
                }
                // Another backend may take it.
                actions.push(Action::Nack(NackKind::Rejected, reason));
            }
            Err(reason) => {
                self.submissions.unreachable = self.submissions.unreachable.saturating_add(1);
                // Who lost all connections is cut off itself, and says nothing of it before its turn comes anyway.
                let early = self.own_turn_number.is_some_and(|turn| elapsed < self.turns.start(turn));
                if !(surroundings.alone && early) {
                    actions.push(Action::Nack(NackKind::Unreachable, reason));
                }
            }
            // Whoever else submits it is told the same.
            Ok(SubmitOutcome::NotYetFinal) => {}
        }
        if let OwnTurn::Open { submit_at, failures, .. } = &mut self.own_turn {
            if accepted {
                *failures = 0;
            } else {
                let back_off =
                    FIRST_BACK_OFF.saturating_mul(1 << (*failures).min(16)).min(self.turns.timeout);
                *failures += 1;
                *submit_at = elapsed + back_off;
            }
        }
        actions.extend(self.poll(now, surroundings));
        actions
    }

    /// The observer answered an [`Action::AskTip`]: whether the lock is met; `None` if it cannot tell.
    pub fn lock_answered(
        &mut self,
        met: Option<bool>,
        now: Time,
        surroundings: &Surroundings<'_>,
    ) -> Vec<Action> {
        let elapsed = self.stopwatch.elapsed(now);
        let met_now = self.lock.answered(met, elapsed, observation_interval(self.turns.timeout));
        // What was seen and is lost again is counted from when it was lost, and begins a watch of its own.
        if met_now && !self.evidence.pauses() {
            self.begin_turns(now);
            (self.own_turn, self.returned) = (OwnTurn::Waiting, false);
        }
        self.poll(now, surroundings)
    }

    /// The application says that the transaction is broadcast. Without an observer that ends the watch.
    pub fn notified(&mut self, now: Time, surroundings: &Surroundings<'_>) -> Vec<Action> {
        let mut actions = Vec::new();
        if self.ended {
            return actions;
        }
        let elapsed = self.stopwatch.elapsed(now);
        if surroundings.observer {
            if self.evidence == Evidence::None {
                self.evidence = Evidence::Submitted;
            }
            self.observe_at = elapsed;
            actions.push(Action::Claim);
        } else {
            // How long it needed to broadcast the transaction itself says nothing of how long others need.
            if !self.own_turn_open() && !self.asked {
                actions.extend(self.sample(now).map(|time| Action::Sample(SeenBy::Application, time)));
            }
            self.evidence = Evidence::Notified;
            self.ended = true;
            self.confirmed_reported = true;
            actions.extend([Action::Claim, Action::Confirmed]);
        }
        actions.extend(self.poll(now, surroundings));
        actions
    }

    /// Nothing is under way any more.
    pub fn interrupted(&mut self) {
        self.observing = false;
        self.submitting = false;
        self.lock.interrupted();
    }

    /// Somebody claims to have broadcast: look at the chain now. Nothing else.
    pub fn claimed(&mut self, now: Time) {
        self.observe_now(now);
        if mutation::on(Mutation::ClaimIsEvidence) {
            self.evidence = Evidence::Seen;
        }
        if mutation::on(Mutation::ClaimStartsClock) {
            self.stopwatch = Stopwatch::start(now);
        }
        self.returned |= mutation::on(Mutation::ClaimMakesAsk);
    }

    /// The observer is asked now.
    fn observe_now(&mut self, now: Time) {
        let elapsed = self.stopwatch.elapsed(now);
        self.observe_at = self.observe_at.min(elapsed);
    }

    /// After sleep: a turn of its own that opened meanwhile counts as past, and the chain is looked at first.
    pub fn woke(&mut self, now: Time) {
        self.observe_now(now);
        self.began = None;
        if !matches!(self.own_turn, OwnTurn::Asking { .. }) {
            self.own_turn = OwnTurn::Waiting;
            self.returned = self.own_turn_open();
        }
    }

    /// Opens this node's own turn now, whatever the time.
    pub fn broadcast_now(&mut self, now: Time, surroundings: &Surroundings<'_>) -> Vec<Action> {
        let mut actions = Vec::new();
        if self.ended {
            return actions;
        }
        let elapsed = self.stopwatch.elapsed(now);
        if self.idle {
            // Of what its application wanted no more it asked rarely.
            (self.idle, self.observe_at) = (false, self.observe_at.min(elapsed));
        }
        self.asked = true;
        actions.push(Action::ShouldBroadcast);
        if surroundings.broadcaster && !self.submitting {
            self.submit(now, &mut actions);
        }
        // Its regular turn, if that is still to come, is not put off by this.
        let regular =
            self.own_turn_number.map(|turn| self.turns.start(turn)).filter(|start| *start > elapsed);
        let later = regular.unwrap_or(Duration::MAX).min(elapsed + self.turns.timeout);
        self.own_turn = OwnTurn::Open { submit_at: later, ask_at: later, failures: 0 };
        actions
    }

    /// The strongest that is known of any transaction that replaces this one. It makes the watch wait, and never ends it.
    /// Answers whether that is to be stored.
    pub fn replaced_by(&mut self, replacement: Option<Replacement>, now: Time) -> bool {
        if self.ended {
            return false;
        }
        let notified = Some(Replacement::Notified);
        let before = self.replacement;
        self.replacement = if before == notified { notified } else { replacement };
        let waited = self.replaced;
        self.replaced = self.replacement.is_some_and(|replacement| replacement.pauses(now));
        if self.replaced {
            self.judgement.end();
        }
        if mutation::on(Mutation::ReplacementEnds) && matches!(replacement, Some(Replacement::Confirmed)) {
            self.ended = true;
            return true;
        }
        if waited && !self.replaced {
            // Its turn may be long past, and the chain is looked at first.
            self.woke(now);
        }
        before != notified && self.replacement == notified
    }

    /// What this watch says of the older ones whose transactions this one replaces.
    pub fn as_replacement(&self, now: Time) -> Option<Replacement> {
        match self.evidence {
            Evidence::Seen => {
                let since = self.first_seen.map_or(Duration::ZERO, |mut seen| seen.elapsed(now));
                let left = REPLACEMENT_PAUSE.saturating_sub(since);
                let until = now.monotonic.saturating_add(left);
                let for_ever = mutation::on(Mutation::ReplacementPausesForEver);
                Some(Replacement::Seen { until: if for_ever { Duration::MAX } else { until } })
            }
            Evidence::Confirmed { .. } => Some(Replacement::Confirmed),
            Evidence::Notified => Some(Replacement::Notified),
            Evidence::None | Evidence::Submitted | Evidence::Conflict { .. } => None,
        }
    }

    // ---- At rest ----

    /// Everything of it but its turns.
    pub(in crate::protocol) fn pack(&self) -> PackedWatch {
        let (own_turn, turn_at, ask_at, failures) = match self.own_turn {
            OwnTurn::Waiting => (0, Duration::ZERO, Duration::ZERO, 0),
            OwnTurn::Asking { until } => (1, until, Duration::ZERO, 0),
            OwnTurn::Open { submit_at, ask_at, failures } => (2, submit_at, ask_at, failures),
        };
        let (lock, lock_until, lock_ask_at, lock_flags) = self.lock.pack();
        PackedWatch {
            record: Some(self.recorded()),
            certain: nanoseconds(self.stopwatch.certain),
            counted_from: nanoseconds(self.stopwatch.counted_from),
            own_turn,
            turn_at: nanoseconds(turn_at),
            ask_at: nanoseconds(ask_at),
            failures,
            lost_since: self.lost_since.map(nanoseconds),
            observe_at: nanoseconds(self.observe_at),
            flags: bits([
                self.rejection.is_some(),
                self.returned,
                self.replaced,
                self.observing,
                self.submitting,
                self.idle,
            ]),
            seen_certain: self.first_seen.map(|seen| nanoseconds(seen.certain)),
            seen_counted_from: self.first_seen.map_or(0, |seen| nanoseconds(seen.counted_from)),
            lock,
            lock_until: nanoseconds(lock_until),
            lock_ask_at: nanoseconds(lock_ask_at),
            lock_flags: bits(lock_flags),
            absent: self.judgement.pack().map(nanoseconds),
            began: self.began.map(nanoseconds),
            submitted: self.submitted.filter(|_| self.began.is_some()).map(nanoseconds),
        }
    }

    /// The same watch again. `own`: this node's signer index.
    pub(in crate::protocol) fn unpack(turns: Turns, own: usize, packed: PackedWatch) -> Self {
        let record = packed.record.unwrap_or_default();
        let restored = Self::restore(turns, own, &record, Time::default());
        let [rejected, returned, replaced, observing, submitting, idle] = flags(packed.flags);
        let turn_at = Duration::from_nanos(packed.turn_at);
        Self {
            stopwatch: Stopwatch {
                started: UnixMillis(record.started_wall),
                certain: Duration::from_nanos(packed.certain),
                counted_from: Duration::from_nanos(packed.counted_from),
            },
            own_turn: match packed.own_turn {
                0 => OwnTurn::Waiting,
                1 => OwnTurn::Asking { until: turn_at },
                _ => OwnTurn::Open {
                    submit_at: turn_at,
                    ask_at: Duration::from_nanos(packed.ask_at),
                    failures: packed.failures,
                },
            },
            first_seen: packed.seen_certain.map(|certain| Stopwatch {
                started: UnixMillis(record.seen_wall),
                certain: Duration::from_nanos(certain),
                counted_from: Duration::from_nanos(packed.seen_counted_from),
            }),
            rejection: rejected.then_some(record.rejection),
            lock: LockWait::unpack(
                packed.lock,
                Duration::from_nanos(packed.lock_until),
                Duration::from_nanos(packed.lock_ask_at),
                flags(packed.lock_flags),
            ),
            judgement: Judgement::unpack(packed.absent.map(Duration::from_nanos)),
            returned,
            replaced,
            lost_since: packed.lost_since.map(Duration::from_nanos),
            observe_at: Duration::from_nanos(packed.observe_at),
            observing,
            submitting,
            idle,
            began: packed.began.map(Duration::from_nanos),
            submitted: packed.submitted.map(Duration::from_nanos),
            ..restored
        }
    }
}

/// When the chain is looked at first: a submission may be seen at once.
fn first_look(timeout: Duration) -> Duration {
    observation_interval(timeout).min(Duration::from_secs(1))
}

/// How often the chain is looked at while nothing is known.
fn observation_interval(timeout: Duration) -> Duration {
    (timeout / 4).clamp(Duration::from_millis(250), Duration::from_secs(30))
}
