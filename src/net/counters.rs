//! Counters of the network layer.

use std::sync::atomic::{AtomicU64, Ordering};

macro_rules! counters {
    ($($(#[$doc:meta])* $name:ident,)*) => {
        /// The live counters.
        #[derive(Debug, Default)]
        pub(super) struct Counters {
            $(pub(super) $name: AtomicU64,)*
        }

        /// The counters of the network layer at one moment, since it was started.
        #[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
        pub struct NetworkCounters {
            $($(#[$doc])* pub $name: u64,)*
        }

        impl Counters {
            pub(super) fn snapshot(&self) -> NetworkCounters {
                NetworkCounters { $($name: self.$name.load(Ordering::Relaxed),)* }
            }
        }
    };
}

counters! {
    /// Session frames received.
    frames_in,
    /// Bytes of the session frames received.
    bytes_in,
    /// Session frames written to a stream.
    frames_out,
    /// Bytes of the session frames written.
    bytes_out,
    /// Session frames dropped because too many waited for the same peer, or because they were too large.
    dropped,
    /// Times that a peer sent faster than allowed and was slowed down.
    throttled,
    /// Violations of the protocol.
    violations,
    /// Peers banned.
    bans,
    /// Dials started.
    dials,
    /// Dials that led to a connection.
    dials_connected,
    /// Dials that failed.
    dial_failures,
    /// Connections established, in either direction.
    connections_opened,
    /// Connections closed.
    connections_closed,
    /// Lookups of signers in the distributed hash table.
    lookups,
    /// Valid presences that lookups found.
    lookups_answered,
    /// Publications of the own presence in the distributed hash table.
    publications,
    /// Records of the distributed hash table that were forged, out of place, out of date or too many.
    records_refused,
    /// Connections through a relay that were replaced by a direct one.
    holes_punched,
}

/// Adds to a counter.
pub(super) fn count(counter: &AtomicU64, by: usize) {
    counter.fetch_add(by as u64, Ordering::Relaxed);
}
