//! Delivery of events, and the threads that call code of the application.

pub(crate) mod delivery;
pub mod lane;

pub use delivery::{EventHandler, KeepEvent, NOTICES, NodeEvent};

pub use crate::protocol::event::{Depth, DurableKind, Event, Nack};
