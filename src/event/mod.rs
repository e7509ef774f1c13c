//! Delivery of events, and the threads that call code of the application.

pub(crate) mod delivery;
pub(crate) mod failures;
pub mod lane;
pub(crate) mod reported;

pub use delivery::{EventHandler, KeepEvent, NOTICES, NodeEvent};

pub use self::reported::{Event, Submission};
pub use crate::protocol::event::{Depth, DurableKind, Nack};
