//! The delivery of a node's events: to a handler, by waiting, or in a loop of the application's own.

use std::ffi::c_void;
use std::time::Duration;

use super::error::musig_error;
use super::event::musig_event;
use super::failure::Failure;
use super::node::musig_node;
use super::status::{musig_status, musig_status_code};

/// Handles the events of a node, one at a time, in order, on a thread of the library. The node and the event are valid
/// during the call; add references to keep them. Returning 0 acknowledges the event; any other value keeps a durable
/// event, which is redelivered after a restart or musig_node_redeliver. Handlers should be idempotent. A handler may
/// block, which delays no signing, and may call every function, except that musig_node_stop of this node returns
/// MUSIG_STATUS_WOULD_DEADLOCK. No exception may leave it.
pub type musig_event_handler = Option<
    unsafe extern "C" fn(user_data: *mut c_void, node: *mut musig_node, event: *mut musig_event) -> i32,
>;

/// Takes the next event.
///
/// Each event is returned once per process. Acknowledge a durable one with musig_node_event_handled.
///
/// Returns: MUSIG_STATUS_OK; MUSIG_STATUS_NO_EVENT on timeout; MUSIG_STATUS_CONSUMER_EXISTS if there is a handler, or
///          another thread waits; MUSIG_STATUS_NODE_STOPPED; MUSIG_STATUS_FORKED.
/// In:      node: the node.
/// Out:     out: the event; release it with musig_event_free.
/// In:      timeout: milliseconds to wait; 0 not to wait, -1 to wait until the node stops.
/// Threads: any, one at a time.
/// Blocks:  until an event arrives, at most for the timeout.
#[must_use]
#[unsafe(no_mangle)]
pub unsafe extern "C" fn musig_node_next_event(
    node: *const musig_node,
    out: *mut *mut musig_event,
    timeout: i64,
    error: *mut *mut musig_error,
) -> musig_status {
    fallible!(error, {
        let (node, out) = (get!(node), out!(out));
        let limit = match u64::try_from(timeout) {
            Ok(milliseconds) => Some(Duration::from_millis(milliseconds)),
            Err(_) if timeout == -1 => None,
            Err(_) => {
                return Err(Failure::invalid(format!(
                    "timeout is {timeout}; pass milliseconds, or -1 to wait until the node stops"
                )));
            }
        };
        let event = node.node()?.next_event_within(limit)?;
        let event = event.ok_or_else(|| {
            Failure::new(musig_status_code::NO_EVENT, "no event arrived before the timeout")
        })?;
        out.give(musig_event::new(event));
        Ok(())
    })
}

/// Acknowledges a durable event, so that it is not redelivered.
///
/// Returns: MUSIG_STATUS_OK; MUSIG_STATUS_UNKNOWN_EVENT if no durable event with this id is unacknowledged;
///          MUSIG_STATUS_FORKED.
/// In:      node: the node.
///          id: the id of the event, from musig_event_id.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn musig_node_event_handled(
    node: *const musig_node,
    id: u64,
    error: *mut *mut musig_error,
) -> musig_status {
    fallible!(error, {
        if get!(node).node()?.event_handled(id) {
            return Ok(());
        }
        let message = format!("no durable event with id {id} is waiting for acknowledgement");
        Err(Failure::new(musig_status_code::UNKNOWN_EVENT, message))
    })
}

/// Gets the event descriptor of a node, for poll, epoll or kqueue.
///
/// It is readable while an event waits for musig_node_next_event, and once the node has stopped; level-triggered. The
/// node owns it: never read, write or close it. It is closed with the last reference to the node and its sessions.
///
/// Returns: MUSIG_STATUS_OK; MUSIG_STATUS_CONSUMER_EXISTS if there is a handler; MUSIG_STATUS_CONFIG if the process has
///          no descriptor left, or the system has none; MUSIG_STATUS_FORKED.
/// In:      node: the node.
/// Out:     out: the descriptor.
#[must_use]
#[unsafe(no_mangle)]
pub unsafe extern "C" fn musig_node_event_descriptor(
    node: *const musig_node,
    out: *mut i32,
    error: *mut *mut musig_error,
) -> musig_status {
    fallible!(error, {
        let (node, out) = (get!(node).node()?, out!(out));
        #[cfg(unix)]
        let found = node.event_descriptor().map_err(Failure::from);
        #[cfg(not(unix))]
        let found = {
            let _ = node;
            Err(Failure::new(
                musig_status_code::CONFIG,
                "this system has no event descriptors; use musig_node_event_handle, musig_node_next_event or a handler",
            ))
        };
        out.set(found?);
        Ok(())
    })
}

/// Gets the event handle of a node, for WaitForMultipleObjects: what musig_node_event_descriptor is elsewhere, on Windows.
///
/// It is set while an event waits for musig_node_next_event, and once the node has stopped. The node owns it: never set,
/// reset or close it. It is closed with the last reference to the node and its sessions.
///
/// Returns: MUSIG_STATUS_OK; MUSIG_STATUS_CONSUMER_EXISTS if there is a handler; MUSIG_STATUS_CONFIG if the process has
///          no handle left, or the system is not Windows; MUSIG_STATUS_FORKED.
/// In:      node: the node.
/// Out:     out: the handle, a HANDLE.
#[must_use]
#[unsafe(no_mangle)]
pub unsafe extern "C" fn musig_node_event_handle(
    node: *const musig_node,
    out: *mut *mut c_void,
    error: *mut *mut musig_error,
) -> musig_status {
    fallible!(error, {
        let (node, out) = (get!(node).node()?, out!(out));
        #[cfg(windows)]
        let found = node.event_handle().map_err(Failure::from);
        #[cfg(not(windows))]
        let found = {
            let _ = node;
            Err(Failure::new(
                musig_status_code::CONFIG,
                "this system has no event handles; use musig_node_event_descriptor",
            ))
        };
        out.set(found?);
        Ok(())
    })
}

/// Redelivers all unacknowledged durable events, with new ids.
///
/// Returns: MUSIG_STATUS_OK; statuses of the node.
/// In:      node: the node.
/// Blocks:  until the node has answered, without I/O.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn musig_node_redeliver(
    node: *const musig_node,
    error: *mut *mut musig_error,
) -> musig_status {
    fallible!(error, { Ok(get!(node).node()?.redeliver().wait()?) })
}
