//! Events, and the threads that enter foreign code.

pub(crate) mod delivery;
pub mod lane;

pub use delivery::{EventHandler, KeepEvent, NOTICES, NodeEvent};

pub use crate::protocol::event::{Depth, DurableKind, Event};
