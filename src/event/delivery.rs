//! Delivery of events to their one consumer: a handler on its lane, or `next_event`.

use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use tokio::sync::oneshot;

use crate::error::Error;
use crate::event::lane::{Lane, LaneOutcome};
use crate::platform::EventDescriptor;
use crate::protocol::event::{DurableKind, Event, SessionEvent};
use crate::types::SessionId;

/// Maximum number of queued events that are not durable; beyond it the oldest are dropped.
pub const NOTICES: usize = 1024;

/// Event with its id, as it is delivered to the application.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct NodeEvent {
    /// Id of the event, for `event_handled`. After a restart the same event has another one.
    pub id: u64,
    /// The session; `None` for events of the network.
    pub session: Option<SessionId>,
    /// The event itself.
    pub event: Event,
    /// Whether the event is delivered again after a restart until it is acknowledged.
    pub durable: bool,
}

/// Answer of a handler that leaves a durable event unacknowledged: it is delivered again after a restart or a call of
/// `redeliver`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct KeepEvent;

/// Handler of events, called one at a time and in order for each session. Should be idempotent: after a crash an event
/// that was handled but not acknowledged is delivered again.
pub type EventHandler = Arc<dyn Fn(&NodeEvent) -> Result<(), KeepEvent> + Send + Sync>;

/// Callback to the node with an acknowledgement.
pub(crate) type Acknowledge = Arc<dyn Fn(SessionId, DurableKind) + Send + Sync>;

struct State {
    queue: VecDeque<NodeEvent>,
    notices: usize,
    dropped: u64,
    next_id: u64,
    unacknowledged: HashMap<u64, (SessionId, DurableKind)>,
    /// The handler's lane was asked to take what waits.
    taking: bool,
    /// An event is in the handler.
    in_handler: bool,
    waiter: Option<oneshot::Sender<Result<NodeEvent, Error>>>,
    /// Somebody blocks until an event is there.
    blocked: bool,
    stopped: bool,
    /// Made when it is asked for.
    descriptor: Option<EventDescriptor>,
}

impl State {
    /// Whether somebody waits for the next event.
    fn has_consumer(&self) -> bool {
        self.blocked || self.waiter.as_ref().is_some_and(|waiter| !waiter.is_closed())
    }

    fn push(&mut self, event: SessionEvent) {
        let SessionEvent { session, event, durable } = event;
        let durable = durable.zip(session);
        if let Some((kind, session)) = durable {
            let waits = |waiting: &NodeEvent| {
                waiting.session == Some(session)
                    && self.unacknowledged.get(&waiting.id) == Some(&(session, kind))
            };
            // A reminder of what was not taken yet says nothing new.
            if kind == DurableKind::ShouldBroadcast && self.queue.iter().any(waits) {
                return;
            }
        }
        let id = self.next_id;
        self.next_id += 1;
        if let Some((kind, session)) = durable {
            self.unacknowledged.insert(id, (session, kind));
        } else {
            self.notices += 1;
            if self.notices > NOTICES {
                if let Some(oldest) = self.queue.iter().position(|event| !event.durable) {
                    self.queue.remove(oldest);
                }
                self.notices -= 1;
                self.dropped += 1;
            }
        }
        self.queue.push_back(NodeEvent { id, session, event, durable: durable.is_some() });
    }

    fn take(&mut self) -> Option<NodeEvent> {
        let event = self.queue.pop_front()?;
        if !event.durable {
            self.notices -= 1;
        }
        Some(event)
    }

    /// Sets the descriptor while an event waits, or for good when the node has stopped.
    fn show(&self) {
        if let Some(descriptor) = &self.descriptor {
            let ready = self.stopped || !self.queue.is_empty();
            if let Err(error) = if ready { descriptor.set() } else { descriptor.clear() } {
                tracing::error!(%error, "the event descriptor cannot be changed");
            }
        }
    }
}

/// Queue of a node's events to its application.
pub(crate) struct Delivery {
    state: Mutex<State>,
    /// For whoever blocks: an event came, or the end.
    changed: Condvar,
    handler: Option<(EventHandler, Lane)>,
    acknowledge: Acknowledge,
}

impl Delivery {
    pub(crate) fn new(handler: Option<(EventHandler, Lane)>, acknowledge: Acknowledge) -> Arc<Self> {
        let state = State {
            queue: VecDeque::new(),
            notices: 0,
            dropped: 0,
            next_id: 1,
            unacknowledged: HashMap::new(),
            taking: false,
            in_handler: false,
            waiter: None,
            blocked: false,
            stopped: false,
            descriptor: None,
        };
        Arc::new(Self { state: Mutex::new(state), changed: Condvar::new(), handler, acknowledge })
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Puts an event at the end of the queue.
    pub(crate) fn push(self: &Arc<Self>, event: SessionEvent) {
        self.push_all([event]);
    }

    /// Puts events at the end of the queue, in this order.
    pub(crate) fn push_all(self: &Arc<Self>, events: impl IntoIterator<Item = SessionEvent>) {
        let mut state = self.state();
        if state.stopped {
            return;
        }
        events.into_iter().for_each(|event| state.push(event));
        self.pump(state);
    }

    /// Moves events to whoever waits for them.
    fn pump(self: &Arc<Self>, mut state: MutexGuard<'_, State>) {
        let Some((handler, lane)) = &self.handler else {
            while let Some(waiter) = state.waiter.take() {
                let Some(event) = state.take() else {
                    state.waiter = Some(waiter);
                    break;
                };
                // Whoever waited may be gone: then the event stays first in the queue.
                if let Err(Ok(event)) = waiter.send(Ok(event)) {
                    state.notices += usize::from(!event.durable);
                    state.queue.push_front(event);
                }
            }
            state.show();
            self.changed.notify_one();
            return;
        };
        if state.stopped || state.taking || state.queue.is_empty() {
            return;
        }
        state.taking = true;
        drop(state);
        let (handler, taker, delivery) = (handler.clone(), self.clone(), self.clone());
        lane.call(None, move || taker.take_all(&handler), move |outcome| delivery.taken(outcome));
    }

    /// Calls the handler, on its lane, until nothing waits any more.
    fn take_all(&self, handler: &EventHandler) {
        loop {
            let mut state = self.state();
            let event = if state.stopped { None } else { state.take() };
            (state.taking, state.in_handler) = (event.is_some(), event.is_some());
            drop(state);
            let Some(event) = event else { return };
            if handler(&event).is_ok() {
                // An unknown id is a notice, which needs no acknowledgement.
                let _ = self.handled(event.id);
            }
        }
    }

    /// The lane's call has ended. If by a panic of the handler, the event is kept, and the others come all the same.
    fn taken(self: &Arc<Self>, outcome: LaneOutcome<()>) {
        if outcome == LaneOutcome::Panicked {
            let mut state = self.state();
            (state.taking, state.in_handler) = (false, false);
            self.pump(state);
        }
    }

    /// Acknowledges a durable event. `false`: no event with this id is unacknowledged.
    pub(crate) fn handled(&self, id: u64) -> bool {
        let known = self.state().unacknowledged.remove(&id);
        if let Some((session, kind)) = known {
            (self.acknowledge)(session, kind);
        }
        known.is_some()
    }

    /// Waits for the next event. One consumer at a time.
    pub(crate) fn next(self: &Arc<Self>) -> Result<oneshot::Receiver<Result<NodeEvent, Error>>, Error> {
        let mut state = self.state();
        if state.stopped {
            return Err(Error::NodeStopped);
        }
        if self.handler.is_some() || state.has_consumer() {
            return Err(Error::ConsumerExists);
        }
        let (sender, receiver) = oneshot::channel();
        state.waiter = Some(sender);
        self.pump(state);
        Ok(receiver)
    }

    /// Takes the next event if there is one.
    pub(crate) fn try_next(&self) -> Result<Option<NodeEvent>, Error> {
        let mut state = self.state();
        if self.handler.is_some() || state.has_consumer() {
            return Err(Error::ConsumerExists);
        }
        match state.take() {
            Some(event) => {
                state.show();
                Ok(Some(event))
            }
            None if state.stopped => Err(Error::NodeStopped),
            None => Ok(None),
        }
    }

    /// Takes the next event, and blocks for at most `limit` until there is one.
    pub(crate) fn next_within(&self, limit: Option<Duration>) -> Result<Option<NodeEvent>, Error> {
        let mut state = self.state();
        if self.handler.is_some() || state.has_consumer() {
            return Err(Error::ConsumerExists);
        }
        state.blocked = true;
        let end = limit.and_then(|limit| Instant::now().checked_add(limit));
        let found = loop {
            if let Some(event) = state.take() {
                break Ok(Some(event));
            }
            if state.stopped {
                break Err(Error::NodeStopped);
            }
            state = match end {
                None => self.changed.wait(state).unwrap_or_else(PoisonError::into_inner),
                Some(end) => {
                    let left = end.saturating_duration_since(Instant::now());
                    if left.is_zero() {
                        break Ok(None);
                    }
                    self.changed.wait_timeout(state, left).unwrap_or_else(PoisonError::into_inner).0
                }
            };
        };
        state.blocked = false;
        state.show();
        found
    }

    /// Shows the event descriptor, on Windows a handle, which is made at the first call.
    pub(crate) fn descriptor<T>(&self, raw: impl Fn(&EventDescriptor) -> T) -> Result<T, Error> {
        if self.handler.is_some() {
            return Err(Error::ConsumerExists);
        }
        let mut state = self.state();
        if let Some(descriptor) = &state.descriptor {
            return Ok(raw(descriptor));
        }
        let made = EventDescriptor::new();
        let made = made.map_err(|error| {
            Error::Config(format!(
                "the process has no descriptor left ({error}); close some or raise its limit"
            ))
        })?;
        let number = raw(&made);
        state.descriptor = Some(made);
        state.show();
        Ok(number)
    }

    /// Returns an event to the front of the queue.
    pub(crate) fn give_back(self: &Arc<Self>, event: NodeEvent) {
        let mut state = self.state();
        state.notices += usize::from(!event.durable);
        state.queue.push_front(event);
        self.pump(state);
    }

    /// Drops the queued durable events, which the engine delivers again.
    pub(crate) fn forget_durable(&self) {
        let mut state = self.state();
        state.queue.retain(|event| !event.durable);
        state.unacknowledged.clear();
        state.show();
    }

    /// Events that wait, and notices that were dropped.
    pub(crate) fn counters(&self) -> (usize, u64) {
        let state = self.state();
        (state.queue.len() + usize::from(state.in_handler), state.dropped)
    }

    /// Whether the caller is inside the handler.
    pub(crate) fn inside_handler(&self) -> bool {
        self.handler.as_ref().is_some_and(|(_, lane)| lane.is_current_thread())
    }

    /// No handler is entered any more.
    pub(crate) fn stop(&self) {
        let waiter = {
            let mut state = self.state();
            state.stopped = true;
            state.show();
            self.changed.notify_all();
            state.waiter.take()
        };
        if let Some(waiter) = waiter {
            let _ = waiter.send(Err(Error::NodeStopped));
        }
        if let Some((_, lane)) = &self.handler {
            lane.stop();
        }
    }

    /// Waits until the running handler returned.
    pub(crate) fn join(&self) -> Result<(), Error> {
        match &self.handler {
            Some((_, lane)) => lane.stop_and_join().map_err(|_| Error::WouldDeadlock),
            None => Ok(()),
        }
    }
}
