//! State that the handle, the driver and the tasks of the streams share.

use super::budget::Budget;
use super::config::NetworkConfig;
use super::counters::Counters;

/// See the module.
pub(super) struct Shared {
    pub(super) config: NetworkConfig,
    pub(super) counters: Counters,
    /// Bytes of large frames that are being read or wait for the application.
    pub(super) budget: Budget,
}
