//! Events that wait for the commit of what they report, for a while.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use crate::event::delivery::Delivery;
use crate::protocol::event::SessionEvent;

/// Queue of events, each delivered once its batch is committed, or when it has waited long enough. The store's thread
/// reports commits here directly, so that no event waits for the actor.
pub(crate) struct Gate {
    delivery: Arc<Delivery>,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    /// The last of the batches that are committed without a gap. Batches count from 1.
    committed: u64,
    /// Events by the batch that they wait for, each with its deadline, in their order.
    deferred: BTreeMap<u64, Vec<(Instant, SessionEvent)>>,
}

impl Gate {
    pub(crate) fn new(delivery: Arc<Delivery>) -> Self {
        Self { delivery, state: Mutex::default() }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Delivers the event when this batch is committed, but for [`Gate::release`]. Neither the batches nor the deadlines
    /// of one session's events must decrease.
    pub(crate) fn after(&self, batch: u64, until: Instant, event: SessionEvent) {
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

    /// Delivers what has waited until its deadline, or everything, and says in it that it is not stored.
    pub(crate) fn release(&self, now: Option<Instant>) {
        let mut state = self.state();
        let mut ready = Vec::new();
        for events in state.deferred.values_mut() {
            let due = now.map_or(events.len(), |now| events.partition_point(|(until, _)| *until <= now));
            ready.extend(events.drain(..due).map(|(_, event)| event));
        }
        state.deferred.retain(|_, events| !events.is_empty());
        ready.iter_mut().for_each(|event| event.event.set_unstored());
        if !ready.is_empty() {
            self.delivery.push_all(ready);
        }
    }

    /// The first deadline.
    pub(crate) fn next_timeout(&self) -> Option<Instant> {
        self.state().deferred.values().filter_map(|events| Some(events.first()?.0)).min()
    }
}
