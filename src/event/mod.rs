//! Delivery of events, and the threads that call code of the application.

pub(crate) mod delivery;
pub(crate) mod failures;
pub mod lane;

pub use delivery::{EventHandler, KeepEvent, NOTICES, NodeEvent};

pub use crate::protocol::event::{BroadcastBy, Depth, DurableKind, Event, FailureCause, Nack, Submission};
