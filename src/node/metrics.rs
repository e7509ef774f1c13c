//! Counters of a running node.

pub use crate::net::NetworkCounters;
pub use crate::protocol::engine::Refused;
pub use crate::store::thread::StoreCounters;

/// Snapshot of a node's counters, which start with the node.
#[derive(Clone, Debug, Default)]
#[non_exhaustive]
pub struct Metrics {
    /// Number of sessions, closed ones included.
    pub sessions: usize,
    /// Number of frames sent.
    pub frames_sent: u64,
    /// Input that was refused, by reason.
    pub refused: Refused,
    /// Counters of the store.
    pub store: StoreCounters,
    /// Counters of the network.
    pub network: NetworkCounters,
    /// Number of queued events.
    pub events_waiting: usize,
    /// Number of events that were dropped from a full queue; durable ones never are.
    pub notices_dropped: u64,
}
