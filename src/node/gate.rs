//! Events that wait for the commit of what they report.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::event::delivery::Delivery;
use crate::protocol::event::SessionEvent;

/// Queue of events, each delivered once its batch is committed. The store's thread reports commits here directly, so
/// that no event waits for the actor.
pub(crate) struct Gate {
    delivery: Arc<Delivery>,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    /// The last of the batches that are committed without a gap. Batches count from 1.
    committed: u64,
    /// Events by the batch that they wait for, in their order.
    deferred: HashMap<u64, Vec<SessionEvent>>,
}

impl Gate {
    pub(crate) fn new(delivery: Arc<Delivery>) -> Self {
        Self { delivery, state: Mutex::default() }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Delivers the event when this batch is committed. The batches of one session's events must not decrease.
    pub(crate) fn after(&self, batch: u64, event: SessionEvent) {
        let mut state = self.state();
        if batch > state.committed {
            state.deferred.entry(batch).or_default().push(event);
        } else {
            // Under the lock, behind those that are delivered by the batch itself.
            self.delivery.push(event);
        }
    }

    /// Reports that a batch is committed. One whose predecessor failed does not count: it is committed again after it.
    pub(crate) fn committed(&self, batch: u64) {
        let mut state = self.state();
        if batch != state.committed + 1 {
            return;
        }
        state.committed = batch;
        if let Some(events) = state.deferred.remove(&batch) {
            self.delivery.push_all(events);
            drop(state);
            // The handler's thread may have been woken on this core. What this one does next, it does as well a handler
            // later; to wake an idle core for the handler would take longer.
            std::thread::yield_now();
        }
    }
}
