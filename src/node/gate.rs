//! Events that wait for the commit of what they report, most of them for a while only.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use crate::event::delivery::Delivery;
use crate::protocol::event::SessionEvent;

/// Queue of events, each delivered once its batch is committed, or when it has waited long enough, if it waits for a while
/// only. The store's thread reports commits here directly, so that no event waits for the actor.
pub(crate) struct Gate {
    delivery: Arc<Delivery>,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    /// The last of the batches that are committed without a gap. Batches count from 1.
    committed: u64,
    /// Events by the batch that they wait for, each with its deadline if it has one, in their order.
    deferred: BTreeMap<u64, Vec<(Option<Instant>, SessionEvent)>>,
}

impl Gate {
    pub(crate) fn new(delivery: Arc<Delivery>) -> Self {
        Self { delivery, state: Mutex::default() }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Delivers the event when this batch is committed; one with a deadline also by [`Gate::release`], be it before an
    /// earlier one that has none. The batches of one session's events must not decrease.
    pub(crate) fn after(&self, batch: u64, until: Option<Instant>, event: SessionEvent) {
        let mut state = self.state();
        if batch > state.committed {
            state.deferred.entry(batch).or_default().push((until, event));
        } else {
            // Under the lock, behind those that are delivered by the batch itself.
            self.delivery.push(event);
        }
    }

    /// Reports that the batches from `first` to `last` are committed. Those whose predecessor failed do not count: they
    /// are committed again after it.
    pub(crate) fn committed(&self, first: u64, last: u64) {
        let mut state = self.state();
        if first > state.committed + 1 || last <= state.committed {
            return;
        }
        state.committed = last;
        let later = state.deferred.split_off(&(last + 1));
        let ready = std::mem::replace(&mut state.deferred, later);
        if !ready.is_empty() {
            self.delivery.push_all(ready.into_values().flatten().map(|(_, event)| event));
            drop(state);
            // The handler's thread may have been woken on this core. What this one does next, it does as well a handler
            // later; to wake an idle core for the handler would take longer.
            std::thread::yield_now();
        }
    }

    /// Delivers what has waited until its deadline, or all that has one, and says in it that it is not stored.
    pub(crate) fn release(&self, now: Option<Instant>) {
        let mut state = self.state();
        let mut ready = Vec::new();
        for events in state.deferred.values_mut() {
            let due = |(until, _): &mut (Option<Instant>, _)| {
                until.is_some_and(|until| now.is_none_or(|now| until <= now))
            };
            ready.extend(events.extract_if(.., due).map(|(_, event)| event));
        }
        state.deferred.retain(|_, events| !events.is_empty());
        ready.iter_mut().for_each(|event| event.event.set_unstored());
        if !ready.is_empty() {
            self.delivery.push_all(ready);
        }
    }

    /// The first deadline.
    pub(crate) fn next_timeout(&self) -> Option<Instant> {
        self.state().deferred.values().flatten().filter_map(|(until, _)| *until).min()
    }
}
