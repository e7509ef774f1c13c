//! How long the steps of sessions took, measured where their events leave the engine.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use crate::platform::histogram::{FAST, Histogram, SLOW};
use crate::protocol::event::{Event, SessionEvent};
use crate::types::SessionId;

/// Sessions that are measured at once. While there are more, the oldest one's rest is not measured.
const MEASURED: usize = 1024;

/// The histograms of a node's sessions.
#[derive(Debug)]
pub(crate) struct Timings {
    /// From the last signer's consent to the signatures.
    pub signing: Histogram,
    /// From the signatures to the first sign of a broadcast.
    pub first_broadcast: Histogram,
    /// From this node's first submission to the observer's first sight of the transaction.
    pub seen: Histogram,
    /// Calls of the broadcaster.
    pub submission: Histogram,
    sessions: HashMap<SessionId, Marks>,
}

/// When a session's steps began. Only what began in this process is measured.
#[derive(Clone, Copy, Debug)]
struct Marks {
    noted: Instant,
    ready: Option<Instant>,
    complete: Option<Instant>,
    submitted: Option<Instant>,
}

impl Timings {
    pub(crate) fn new() -> Self {
        Self {
            signing: Histogram::new(FAST),
            first_broadcast: Histogram::new(SLOW),
            seen: Histogram::new(SLOW),
            submission: Histogram::new(FAST),
            sessions: HashMap::new(),
        }
    }

    /// An event leaves the engine.
    pub(crate) fn event(&mut self, event: &SessionEvent, now: Instant) {
        let Some(session) = event.session else { return };
        match event.event {
            Event::SessionReady => self.begin(session, now),
            Event::SessionComplete { .. } => {
                let Some(marks) = self.sessions.get_mut(&session) else { return };
                if let Some(ready) = marks.ready.take() {
                    marks.complete = Some(now);
                    self.signing.observe(now.saturating_duration_since(ready));
                }
            }
            Event::BroadcastClaimed { .. } => self.broadcast(&session, now),
            Event::BroadcastSeen { .. } => {
                self.broadcast(&session, now);
                if let Some(submitted) = self.sessions.remove(&session).and_then(|marks| marks.submitted) {
                    self.seen.observe(now.saturating_duration_since(submitted));
                }
            }
            Event::BroadcastConfirmed { .. }
            | Event::BroadcastConflict { .. }
            | Event::SessionFailed { .. }
            | Event::SessionAborted { .. }
            | Event::SessionExpired { .. }
            | Event::SessionClosed => drop(self.sessions.remove(&session)),
            _ => {}
        }
    }

    /// The node submits.
    pub(crate) fn submits(&mut self, session: &SessionId, now: Instant) {
        self.broadcast(session, now);
        if let Some(marks) = self.sessions.get_mut(session) {
            marks.submitted.get_or_insert(now);
        }
    }

    /// The broadcaster answered, or was given up.
    pub(crate) fn submitted(&mut self, took: Duration) {
        self.submission.observe(took);
    }

    fn begin(&mut self, session: SessionId, now: Instant) {
        if self.sessions.len() >= MEASURED
            && let Some(oldest) = self.sessions.iter().min_by_key(|(_, marks)| marks.noted).map(|(id, _)| *id)
        {
            self.sessions.remove(&oldest);
        }
        let marks = Marks { noted: now, ready: Some(now), complete: None, submitted: None };
        self.sessions.insert(session, marks);
    }

    fn broadcast(&mut self, session: &SessionId, now: Instant) {
        if let Some(complete) = self.sessions.get_mut(session).and_then(|marks| marks.complete.take()) {
            self.first_broadcast.observe(now.saturating_duration_since(complete));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::protocol::event::BroadcastBy;
    use crate::types::Txid;

    fn event(session: u8, event: Event) -> SessionEvent {
        SessionEvent { session: Some(SessionId([session; 32])), event, durable: None }
    }

    fn complete() -> Event {
        Event::SessionComplete {
            signatures: Vec::new(),
            transaction: None,
            priority_list: Vec::new(),
            rank: 0,
            stored: true,
            aborted_here: false,
        }
    }

    #[test]
    fn the_steps_of_a_session_are_measured_once() {
        let (mut timings, start) = (Timings::new(), Instant::now());
        let at = |seconds| start + Duration::from_secs(seconds);
        timings.event(&event(1, Event::SessionReady), at(0));
        timings.event(&event(1, complete()), at(2));
        timings.event(&event(1, complete()), at(3));
        timings.submits(&SessionId([1; 32]), at(7));
        timings.submits(&SessionId([1; 32]), at(8));
        let seen =
            Event::BroadcastSeen { txid: Txid([0; 32]), coordinators: vec![0], by: BroadcastBy::Unknown };
        timings.event(&event(1, seen.clone()), at(17));
        timings.event(&event(1, seen.clone()), at(90));
        let sums =
            [&timings.signing, &timings.first_broadcast, &timings.seen].map(|it| (it.count(), it.sum()));
        assert_eq!(sums, [(1, 2.0), (1, 5.0), (1, 10.0)]);
        assert!(timings.sessions.is_empty());
    }

    #[test]
    fn what_began_in_another_process_is_not_measured_and_the_table_is_bounded() {
        let (mut timings, now) = (Timings::new(), Instant::now());
        timings.event(&event(1, complete()), now);
        timings.submits(&SessionId([1; 32]), now);
        assert_eq!((timings.signing.count(), timings.first_broadcast.count()), (0, 0));
        for number in 0..2 * MEASURED {
            let mut id = [0; 32];
            id[..8].copy_from_slice(&number.to_be_bytes());
            let ready =
                SessionEvent { session: Some(SessionId(id)), event: Event::SessionReady, durable: None };
            timings.event(&ready, now + Duration::from_micros(number as u64));
        }
        assert_eq!(timings.sessions.len(), MEASURED);
    }
}
