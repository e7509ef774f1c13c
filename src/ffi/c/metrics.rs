//! The metrics of a node.

use super::error::musig_error;
use super::node::musig_node;
use super::status::musig_status;

/// Metrics of a node. Counters start at zero with the node.
#[repr(C)]
pub struct musig_metrics {
    /// sizeof(musig_metrics); the caller sets it.
    pub struct_size: u32,
    /// 1 if the node failed with an internal error.
    pub failed: i32,
    /// Sessions, including closed ones.
    pub sessions: u64,
    /// Frames sent.
    pub frames_sent: u64,
    /// Messages and calls that were refused.
    pub refused: u64,
    /// Store commits.
    pub commits: u64,
    /// Store commits that were synced.
    pub syncs: u64,
    /// Store operations that failed.
    pub store_failures: u64,
    /// Bytes received from peers.
    pub bytes_in: u64,
    /// Bytes sent to peers.
    pub bytes_out: u64,
    /// Events waiting for the application.
    pub events_waiting: u64,
    /// Notices dropped because the application did not take them in time.
    pub notices_dropped: u64,
}

/// Gets the metrics of a node.
///
/// Returns: MUSIG_STATUS_OK; MUSIG_STATUS_STRUCT_SIZE; statuses of the node.
/// In:      node: the node.
/// Out:     out: the values. Set its struct_size before the call.
/// Blocks:  until the node has answered, without I/O.
#[must_use]
#[unsafe(no_mangle)]
pub unsafe extern "C" fn musig_node_metrics(
    node: *const musig_node,
    out: *mut musig_metrics,
    error: *mut *mut musig_error,
) -> musig_status {
    fallible!(error, {
        let (node, out) = (get!(node).node()?, out!(sized out));
        let metrics = node.metrics().wait()?;
        out.set(musig_metrics {
            struct_size: size_of::<musig_metrics>() as u32,
            failed: node.failed().into(),
            sessions: metrics.sessions as u64,
            frames_sent: metrics.frames_sent,
            refused: metrics.refused.total(),
            commits: metrics.store.commits,
            syncs: metrics.store.syncs,
            store_failures: metrics.store.failures,
            bytes_in: metrics.network.bytes_in,
            bytes_out: metrics.network.bytes_out,
            events_waiting: metrics.events_waiting as u64,
            notices_dropped: metrics.notices_dropped,
        });
        Ok(())
    })
}
