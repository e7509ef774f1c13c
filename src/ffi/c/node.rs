//! Nodes.

use std::ffi::c_char;
use std::mem::ManuallyDrop;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use super::boundary::{MOST_PROPOSERS, session_id, signer_keys, total};
use super::bytes::musig_bytes;
use super::callback::UserData;
use super::error::musig_error;
use super::failure::Outcome;
use super::handle::{add_reference, release};
use super::proposal::musig_proposal;
use super::reaper;
use super::session::musig_session;
use super::status::musig_status;
use crate::error::Error;
use crate::event::lane::Lane;
use crate::node::Node;
use crate::protocol::consent::AcceptedProposers;

/// A running node: one signer's sessions, peers, store and Bitcoin backend.
pub struct musig_node {
    parts: ManuallyDrop<Parts>,
}

/// A node, and what ends with it.
pub(super) struct Started {
    pub node: Node,
    pub foreign: Vec<Arc<UserData>>,
    pub log: Option<Arc<Lane>>,
}

struct Parts {
    started: Started,
    stopped: AtomicBool,
}

impl Parts {
    fn stop(&self) -> Result<(), Error> {
        let Started { node, foreign, log } = &self.started;
        if log.as_ref().is_some_and(|lane| lane.is_current_thread()) {
            return Err(Error::WouldDeadlock);
        }
        let result = node.stop();
        if matches!(result, Err(Error::WouldDeadlock | Error::Forked)) {
            return result;
        }
        if let Some(lane) = log {
            lane.stop_and_join().map_err(|_| Error::WouldDeadlock)?;
        }
        for data in foreign {
            data.finish();
        }
        self.stopped.store(true, Ordering::SeqCst);
        result
    }
}

impl musig_node {
    pub(super) fn new(started: Started) -> Self {
        Self { parts: ManuallyDrop::new(Parts { started, stopped: AtomicBool::new(false) }) }
    }

    pub(super) fn node(&self) -> Outcome<&Node> {
        let node = &self.parts.started.node;
        node.check_process()?;
        Ok(node)
    }
}

impl Drop for musig_node {
    fn drop(&mut self) {
        // A child of fork() has none of the node's threads: nothing of it may be touched.
        if self.parts.started.node.check_process().is_err() {
            return;
        }
        // SAFETY: this is the drop, after which nobody uses the field.
        let parts = unsafe { ManuallyDrop::take(&mut self.parts) };
        if parts.stopped.load(Ordering::SeqCst) {
            drop(parts);
        } else {
            parts.started.node.request_stop();
            reaper::run(move || drop(parts.stop()));
        }
    }
}

/// Stops a node and its callbacks.
///
/// Afterwards no callback of the node runs or will run, the user_data of its callbacks is destroyed, and the store is
/// closed. Functions of the node and its sessions then return MUSIG_STATUS_NODE_STOPPED. Stopping twice is allowed.
///
/// Returns: MUSIG_STATUS_OK; MUSIG_STATUS_WOULD_DEADLOCK inside a callback of this node, with no effect: call
///          musig_node_request_stop there; statuses of the store if the last commit failed, with the node stopped.
/// In:      node: the node.
/// Threads: any, except inside callbacks of this node.
/// Blocks:  until running callbacks have returned and the store is closed; for a disk that hangs 30 s.
#[must_use]
#[unsafe(no_mangle)]
pub unsafe extern "C" fn musig_node_stop(
    node: *const musig_node,
    error: *mut *mut musig_error,
) -> musig_status {
    fallible!(error, {
        let node = get!(node);
        node.node()?;
        Ok(node.parts.stop()?)
    })
}

/// Requests that a node stop, without waiting.
///
/// Returns: MUSIG_STATUS_OK; MUSIG_STATUS_FORKED.
/// In:      node: the node.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn musig_node_request_stop(
    node: *const musig_node,
    error: *mut *mut musig_error,
) -> musig_status {
    fallible!(error, {
        get!(node).node()?.request_stop();
        Ok(())
    })
}

/// Creates a session: proposes it to its signers and consents to it.
///
/// Its progress is reported by events.
///
/// Returns: MUSIG_STATUS_OK once that is synced to disk; MUSIG_STATUS_PROPOSAL; MUSIG_STATUS_LIMIT; statuses of the
///          node and the store.
/// In:      node: the node. Its key must be among the signers.
/// Out:     out: the session; release it with musig_session_free.
/// In:      proposal: the proposal. It can be used again, for another session.
/// Blocks:  for one commit.
#[must_use]
#[unsafe(no_mangle)]
pub unsafe extern "C" fn musig_node_create_session(
    node: *const musig_node,
    out: *mut *mut musig_session,
    proposal: *const musig_proposal,
    error: *mut *mut musig_error,
) -> musig_status {
    fallible!(error, {
        let (node, out, proposal) = (get!(node), out!(out), get!(proposal));
        let session = node.node()?.create_session(proposal.request()).wait()?;
        out.give(musig_session::new(session));
        Ok(())
    })
}

/// Creates a handle for a session id, whether or not the session exists.
///
/// Returns: MUSIG_STATUS_OK; MUSIG_STATUS_FORKED.
/// In:      node: the node.
/// Out:     out: the session; release it with musig_session_free.
/// In:      id: the 32 bytes of the session id.
#[must_use]
#[unsafe(no_mangle)]
pub unsafe extern "C" fn musig_node_session(
    node: *const musig_node,
    out: *mut *mut musig_session,
    id: *const u8,
    error: *mut *mut musig_error,
) -> musig_status {
    fallible!(error, {
        let (node, out, id) = (get!(node), out!(out), array!(id, 32));
        out.give(musig_session::new(node.node()?.session(session_id(id))));
        Ok(())
    })
}

/// Lists the sessions of a node, including closed ones.
///
/// Returns: MUSIG_STATUS_OK; statuses of the node.
/// In:      node: the node.
/// Out:     out: session ids, 32 bytes each; release them with musig_bytes_free.
/// Blocks:  until the node has answered, without I/O.
#[must_use]
#[unsafe(no_mangle)]
pub unsafe extern "C" fn musig_node_sessions(
    node: *const musig_node,
    out: *mut *mut musig_bytes,
    error: *mut *mut musig_error,
) -> musig_status {
    fallible!(error, {
        let (node, out) = (get!(node), out!(out));
        let sessions = node.node()?.sessions().wait()?;
        out.give(musig_bytes::new(sessions.iter().flat_map(|status| status.session.0).collect()));
        Ok(())
    })
}

/// Imports the output of musig_session_export.
///
/// It passes the same checks and limits as messages from the network.
///
/// Returns: MUSIG_STATUS_OK; MUSIG_STATUS_WIRE or MUSIG_STATUS_PROPOSAL if the bytes are invalid; statuses of the node.
/// In:      node: the node.
/// Out:     out: the ids of the sessions in it, 32 bytes each; release them with musig_bytes_free.
/// In:      data: the bytes.
///          data_length: length of data in bytes, at most 16 MiB.
/// Blocks:  until the node has verified them.
#[must_use]
#[unsafe(no_mangle)]
pub unsafe extern "C" fn musig_node_import(
    node: *const musig_node,
    out: *mut *mut musig_bytes,
    data: *const u8,
    data_length: usize,
    error: *mut *mut musig_error,
) -> musig_status {
    fallible!(error, {
        let (node, out) = (get!(node), out!(out));
        let most = crate::protocol::limits::EXPORT;
        let length = total(data_length, 1, most, "data_length")?;
        let data = array!(data, length);
        let sessions = node.node()?.import(data.to_vec()).wait()?;
        out.give(musig_bytes::new(sessions.iter().flat_map(|session| session.id().0).collect()));
        Ok(())
    })
}

/// Dials an address, and redials it whenever it is disconnected.
///
/// Returns: MUSIG_STATUS_OK; MUSIG_STATUS_CONFIG if it is not a multiaddress; MUSIG_STATUS_NETWORK if the node is
///          offline; statuses of the node.
/// In:      node: the node.
///          address: a multiaddress such as "/ip4/192.0.2.1/tcp/4001".
/// Blocks:  until the node has accepted the request, not until it is connected.
#[must_use]
#[unsafe(no_mangle)]
pub unsafe extern "C" fn musig_node_add_peer(
    node: *const musig_node,
    address: *const c_char,
    error: *mut *mut musig_error,
) -> musig_status {
    fallible!(error, {
        let (node, address) = (get!(node), text!(address));
        Ok(node.node()?.add_peer(address).wait()?)
    })
}

/// Lists the addresses at which a node can be dialed.
///
/// Each can be passed to musig_config_add_peer_address. The list is empty until the node listens.
///
/// Returns: MUSIG_STATUS_OK; statuses of the node.
/// In:      node: the node.
/// Out:     out: text with one address per line; release it with musig_bytes_free.
/// Blocks:  until the node has answered, without I/O.
#[must_use]
#[unsafe(no_mangle)]
pub unsafe extern "C" fn musig_node_listen_addresses(
    node: *const musig_node,
    out: *mut *mut musig_bytes,
    error: *mut *mut musig_error,
) -> musig_status {
    fallible!(error, {
        let (node, out) = (get!(node), out!(out));
        let addresses = node.node()?.listen_addresses().wait()?;
        out.give(musig_bytes::text(&addresses.join("\n")));
        Ok(())
    })
}

/// Lists the connected signers.
///
/// Returns: MUSIG_STATUS_OK; statuses of the node.
/// In:      node: the node.
/// Out:     out: their compressed public keys, 33 bytes each; release them with musig_bytes_free.
/// Blocks:  until the node has answered, without I/O.
#[must_use]
#[unsafe(no_mangle)]
pub unsafe extern "C" fn musig_node_connected_signers(
    node: *const musig_node,
    out: *mut *mut musig_bytes,
    error: *mut *mut musig_error,
) -> musig_status {
    fallible!(error, {
        let (node, out) = (get!(node), out!(out));
        let keys = node.node()?.connected_signers().wait()?;
        out.give(musig_bytes::new(keys.iter().flat_map(|key| *key.as_bytes()).collect()));
        Ok(())
    })
}

/// Gets the public key of a node's signer.
///
/// Returns: MUSIG_STATUS_OK; MUSIG_STATUS_FORKED.
/// In:      node: the node.
/// Out:     out: the 33 bytes of the compressed public key.
#[must_use]
#[unsafe(no_mangle)]
pub unsafe extern "C" fn musig_node_signer_key(
    node: *const musig_node,
    out: *mut u8,
    error: *mut *mut musig_error,
) -> musig_status {
    fallible!(error, {
        let (node, out) = (get!(node), out!(out, 33));
        out.write(node.node()?.signer_key().as_bytes())
    })
}

/// Gets the libp2p peer id of a node.
///
/// It is public, and independent of the signer's key.
///
/// Returns: MUSIG_STATUS_OK; MUSIG_STATUS_FORKED.
/// In:      node: the node.
/// Out:     out: the peer id, as text; release it with musig_bytes_free.
#[must_use]
#[unsafe(no_mangle)]
pub unsafe extern "C" fn musig_node_peer_id(
    node: *const musig_node,
    out: *mut *mut musig_bytes,
    error: *mut *mut musig_error,
) -> musig_status {
    fallible!(error, {
        let (node, out) = (get!(node), out!(out));
        out.give(musig_bytes::text(node.node()?.peer_id()));
        Ok(())
    })
}

/// Publishes a node's addresses again, after its signer was unlocked.
///
/// Returns: MUSIG_STATUS_OK; statuses of the node.
/// In:      node: the node.
/// Blocks:  until the node has accepted the request.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn musig_node_announce(
    node: *const musig_node,
    error: *mut *mut musig_error,
) -> musig_status {
    fallible!(error, { Ok(get!(node).node()?.announce().wait()?) })
}

/// Replaces all connections of a node and dials again at once, after the device changed its network.
///
/// Nothing waits for back-off, and peers learn the node's new address. A phone that does not listen sees no change by
/// itself. musig_node_resume does it too.
///
/// Returns: MUSIG_STATUS_OK; statuses of the node.
/// In:      node: the node.
/// Blocks:  until the node has accepted the request.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn musig_node_network_changed(
    node: *const musig_node,
    error: *mut *mut musig_error,
) -> musig_status {
    fallible!(error, { Ok(get!(node).node()?.network_changed().wait()?) })
}

/// Sets the signers whose proposals a node takes from now on.
///
/// The proposals of all others are refused unseen; sessions that are here stay as they are. It is not stored. A suspended
/// node takes it too.
///
/// Returns: MUSIG_STATUS_OK; MUSIG_STATUS_INVALID_KEY; statuses of the node.
/// In:      node: the node.
///          proposers: their compressed public keys, 33 bytes each; may be NULL if there are none.
///          proposers_count: number of proposers; 0 for nobody's proposals.
/// Blocks:  until the node has accepted the request.
#[must_use]
#[unsafe(no_mangle)]
pub unsafe extern "C" fn musig_node_set_accepted_proposers(
    node: *const musig_node,
    proposers: *const u8,
    proposers_count: usize,
    error: *mut *mut musig_error,
) -> musig_status {
    fallible!(error, {
        let node = get!(node);
        let bytes = total(proposers_count, 33, MOST_PROPOSERS, "proposers_count")?;
        let accepted = AcceptedProposers::only(signer_keys(array!(optional proposers, bytes))?);
        Ok(node.node()?.set_accepted_proposers(accepted).wait()?)
    })
}

/// Lets a node take everybody's proposals again, as it does by default.
///
/// Returns: MUSIG_STATUS_OK; statuses of the node.
/// In:      node: the node.
/// Blocks:  until the node has accepted the request.
#[must_use]
#[unsafe(no_mangle)]
pub unsafe extern "C" fn musig_node_accept_all_proposers(
    node: *const musig_node,
    error: *mut *mut musig_error,
) -> musig_status {
    fallible!(error, { Ok(get!(node).node()?.set_accepted_proposers(AcceptedProposers::All).wait()?) })
}

/// Suspends a node: commits, closes the store and releases its lock, before the system suspends the application.
///
/// Until musig_node_resume the node does nothing, and its operations return MUSIG_STATUS_SUSPENDED.
///
/// Returns: MUSIG_STATUS_OK; statuses of the node and the store.
/// In:      node: the node.
/// Blocks:  for one commit.
#[must_use]
#[unsafe(no_mangle)]
pub unsafe extern "C" fn musig_node_suspend(
    node: *const musig_node,
    error: *mut *mut musig_error,
) -> musig_status {
    fallible!(error, { Ok(get!(node).node()?.suspend().wait()?) })
}

/// Resumes a suspended node: reopens its store, reconnects, and queries the observer before it submits anything.
///
/// Returns: MUSIG_STATUS_OK; statuses of the node and the store.
/// In:      node: the node.
/// Blocks:  until the store is open.
#[must_use]
#[unsafe(no_mangle)]
pub unsafe extern "C" fn musig_node_resume(
    node: *const musig_node,
    error: *mut *mut musig_error,
) -> musig_status {
    fallible!(error, { Ok(get!(node).node()?.resume().wait()?) })
}

/// Panics inside a node, as a fault of libmusig would.
///
/// Returns: MUSIG_STATUS_INTERNAL.
/// In:      node: the node.
/// Blocks:  until the node has failed.
#[cfg(feature = "test-hooks")]
#[unsafe(no_mangle)]
pub unsafe extern "C" fn musig_test_panic(
    node: *const musig_node,
    error: *mut *mut musig_error,
) -> musig_status {
    fallible!(error, { Ok(get!(node).node()?.inject_panic().wait()?) })
}

/// Adds a reference to a node.
///
/// Returns: the same pointer.
/// In:      node: the node; NULL stays NULL.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn musig_node_ref(node: *mut musig_node) -> *mut musig_node {
    // SAFETY: the header asks for a node with a reference, or NULL.
    unsafe { add_reference(node) }
}

/// Releases a reference to a node; the last one requests that it stop.
///
/// A thread of the library completes that; callbacks may run until then. Call musig_node_stop first to wait.
///
/// In:      node: the node; NULL is ignored.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn musig_node_free(node: *mut musig_node) {
    // SAFETY: the header asks for a node with a reference, or NULL.
    unsafe { release(node) }
}
