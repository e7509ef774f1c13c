//! Numbers about a running node.

pub use crate::net::NetworkCounters;
pub use crate::protocol::engine::Refused;
pub use crate::store::thread::StoreCounters;

/// A snapshot. Counters begin with the node's start.
#[derive(Clone, Debug, Default)]
#[non_exhaustive]
pub struct Metrics {
    /// Sessions that the node holds, closed ones too.
    pub sessions: usize,
    /// Frames handed to the network.
    pub frames_sent: u64,
    /// Input that was refused.
    pub refused: Refused,
    /// The store.
    pub store: StoreCounters,
    /// The network.
    pub network: NetworkCounters,
    /// Events that wait for the application.
    pub events_waiting: usize,
    /// Notices that were dropped, for the application did not take them in time.
    pub notices_dropped: u64,
}
