//! Sessions.

use std::ffi::c_char;
use std::mem::ManuallyDrop;

use super::boundary::fixed;
use super::bytes::musig_bytes;
use super::election::musig_election;
use super::error::musig_error;
use super::failure::{Failure, Outcome};
use super::handle::{add_reference, release};
use super::process::{check_process, is_forked};
use super::status::{musig_status, musig_status_code};
use super::terms::musig_terms;
use crate::node::Session;
use crate::types::Txid;

/// A session of a node. It keeps memory alive, not the node running.
pub struct musig_session(ManuallyDrop<Session>);

impl musig_session {
    pub(super) fn new(session: Session) -> Self {
        Self(ManuallyDrop::new(session))
    }

    pub(super) fn session(&self) -> Outcome<&Session> {
        check_process()?;
        Ok(&self.0)
    }
}

impl Drop for musig_session {
    fn drop(&mut self) {
        // A child of fork() has none of the node's threads: nothing of it may be touched.
        if !is_forked() {
            // SAFETY: this is the drop, after which nobody uses the field.
            unsafe { ManuallyDrop::drop(&mut self.0) }
        }
    }
}

fn not_ready(what: &str) -> Failure {
    Failure::new(musig_status_code::NOT_READY, what)
}

/// Tells the id of a session.
///
/// Returns: MUSIG_STATUS_OK; MUSIG_STATUS_FORKED.
/// Out:     out: gets the 32 bytes of the session id.
///          error: why it failed; may be NULL.
/// In:      session: the session.
/// Threads: any, inside callbacks too.
/// Blocks:  never.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn musig_session_id(
    session: *const musig_session,
    out: *mut u8,
    error: *mut *mut musig_error,
) -> musig_status {
    fallible!(error, {
        let (session, out) = (get!(session), out!(out, 32));
        out.write(&session.session()?.id().0)
    })
}

/// Consents to the proposal: this node will sign.
///
/// Opens a closed session again.
///
/// Returns: MUSIG_STATUS_OK once that is on the disk; MUSIG_STATUS_WRONG_STATE if it has ended;
///          MUSIG_STATUS_UNKNOWN_SESSION; statuses of the node.
/// Out:     error: why it failed; may be NULL.
/// In:      session: the session.
/// Threads: any, inside callbacks too.
/// Blocks:  for one commit.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn musig_session_join(
    session: *const musig_session,
    error: *mut *mut musig_error,
) -> musig_status {
    fallible!(error, { Ok(get!(session).session()?.join().wait()?) })
}

/// Refuses the proposal, which ends the session for everybody.
///
/// Returns: MUSIG_STATUS_OK once that is on the disk; MUSIG_STATUS_WRONG_STATE after a join; MUSIG_STATUS_LIMIT for too
///          long a reason; MUSIG_STATUS_UNKNOWN_SESSION; statuses of the node.
/// Out:     error: why it failed; may be NULL.
/// In:      session: the session.
///          reason: words to the other signers, a text of at most 256 bytes.
/// Threads: any, inside callbacks too.
/// Blocks:  for one commit.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn musig_session_decline(
    session: *const musig_session,
    reason: *const c_char,
    error: *mut *mut musig_error,
) -> musig_status {
    fallible!(error, {
        let (session, reason) = (get!(session), text!(reason));
        Ok(session.session()?.decline(reason).wait()?)
    })
}

/// Stops taking part.
///
/// If this node's partial signature is out, others may still finish.
///
/// Returns: MUSIG_STATUS_OK once that is on the disk; MUSIG_STATUS_WRONG_STATE if it has ended; MUSIG_STATUS_LIMIT for
///          too long a reason; MUSIG_STATUS_UNKNOWN_SESSION; statuses of the node.
/// Out:     error: why it failed; may be NULL.
/// In:      session: the session.
///          reason: words to the other signers, a text of at most 256 bytes.
/// Threads: any, inside callbacks too.
/// Blocks:  for one commit.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn musig_session_abort(
    session: *const musig_session,
    reason: *const c_char,
    error: *mut *mut musig_error,
) -> musig_status {
    fallible!(error, {
        let (session, reason) = (get!(session), text!(reason));
        Ok(session.session()?.abort(reason).wait()?)
    })
}

/// Forgets the session, but for a tombstone until its expiry.
///
/// The handle stays valid, and is still to be given up.
///
/// Returns: MUSIG_STATUS_OK once that is on the disk; MUSIG_STATUS_UNKNOWN_SESSION; statuses of the node.
/// Out:     error: why it failed; may be NULL.
/// In:      session: the session.
/// Threads: any, inside callbacks too.
/// Blocks:  for one commit.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn musig_session_close(
    session: *const musig_session,
    error: *mut *mut musig_error,
) -> musig_status {
    fallible!(error, { Ok(get!(session).session()?.close_session().wait()?) })
}

/// Gives the terms of a session.
///
/// Returns: MUSIG_STATUS_OK; MUSIG_STATUS_UNKNOWN_SESSION; statuses of the node.
/// Out:     out: the terms; give them up with musig_terms_free.
///          error: why it failed; may be NULL.
/// In:      session: the session.
/// Threads: any, inside callbacks too.
/// Blocks:  until the node has answered, which does no input or output.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn musig_session_terms(
    session: *const musig_session,
    out: *mut *mut musig_terms,
    error: *mut *mut musig_error,
) -> musig_status {
    fallible!(error, {
        let (session, out) = (get!(session), out!(out));
        out.give(musig_terms::new(session.session()?.proposal().wait()?));
        Ok(())
    })
}

/// Gives the finished signatures.
///
/// Returns: MUSIG_STATUS_OK; MUSIG_STATUS_NOT_READY until they exist; MUSIG_STATUS_UNKNOWN_SESSION; statuses of the node.
/// Out:     out: 64 bytes for each message; give them up with musig_bytes_free.
///          error: why it failed; may be NULL.
/// In:      session: the session.
/// Threads: any, inside callbacks too.
/// Blocks:  until the node has answered, which does no input or output.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn musig_session_final_signatures(
    session: *const musig_session,
    out: *mut *mut musig_bytes,
    error: *mut *mut musig_error,
) -> musig_status {
    fallible!(error, {
        let (session, out) = (get!(session), out!(out));
        let signatures = session.session()?.final_signatures().wait()?;
        let signatures = signatures.ok_or_else(|| not_ready("the signatures are not finished yet"))?;
        out.give(musig_bytes::new(signatures.iter().flat_map(|signature| signature.0).collect()));
        Ok(())
    })
}

/// Gives the finished transaction of a session over one.
///
/// Returns: MUSIG_STATUS_OK; MUSIG_STATUS_NOT_READY until it exists, and always in a session over messages;
///          MUSIG_STATUS_UNKNOWN_SESSION; statuses of the node.
/// Out:     out: its consensus encoding; give it up with musig_bytes_free.
///          txid: gets its id: 32 bytes in the order in which they are hashed.
///          error: why it failed; may be NULL.
/// In:      session: the session.
/// Threads: any, inside callbacks too.
/// Blocks:  until the node has answered, which does no input or output.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn musig_session_final_transaction(
    session: *const musig_session,
    out: *mut *mut musig_bytes,
    txid: *mut u8,
    error: *mut *mut musig_error,
) -> musig_status {
    fallible!(error, {
        let (session, out, txid) = (get!(session), out!(out), out!(txid, 32));
        let transaction = session.session()?.final_transaction().wait()?;
        let transaction = transaction.ok_or_else(|| not_ready("there is no finished transaction"))?;
        txid.write(&transaction.txid.0)?;
        out.give(musig_bytes::new(transaction.bytes));
        Ok(())
    })
}

/// Gives the election of a session: coordinator, priority list, proof.
///
/// Returns: MUSIG_STATUS_OK; MUSIG_STATUS_UNKNOWN_SESSION; statuses of the node.
/// Out:     out: the election; give it up with musig_election_free.
///          error: why it failed; may be NULL.
/// In:      session: the session.
/// Threads: any, inside callbacks too.
/// Blocks:  until the node has answered, which does no input or output.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn musig_session_election(
    session: *const musig_session,
    out: *mut *mut musig_election,
    error: *mut *mut musig_error,
) -> musig_status {
    fallible!(error, {
        let (session, out) = (get!(session), out!(out));
        out.give(musig_election::new(session.session()?.election().wait()?));
        Ok(())
    })
}

/// Tells all signer indices in the order in which they take their turn.
///
/// Returns: MUSIG_STATUS_OK; MUSIG_STATUS_BUFFER_TOO_SMALL; MUSIG_STATUS_UNKNOWN_SESSION; statuses of the node.
/// Out:     out: gets the indices.
///          count: how many there are.
///          error: why it failed; may be NULL.
/// In:      session: the session.
///          out_length: how many indices there is room for; MUSIG_MAX_SIGNERS always suffices.
/// Threads: any, inside callbacks too.
/// Blocks:  until the node has answered, which does no input or output.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn musig_session_priority_list(
    session: *const musig_session,
    out: *mut u32,
    out_length: usize,
    count: *mut usize,
    error: *mut *mut musig_error,
) -> musig_status {
    fallible!(error, {
        let (session, out, count) = (get!(session), out!(out, out_length), out!(count));
        let list = session.session()?.priority_list().wait()?;
        out.write(&list.iter().map(|index| *index as u32).collect::<Vec<_>>())?;
        count.set(list.len());
        Ok(())
    })
}

/// Tells whether this node's signer was elected: the first of the priority list.
///
/// Returns: MUSIG_STATUS_OK; MUSIG_STATUS_UNKNOWN_SESSION; statuses of the node.
/// Out:     out: 1 or 0.
///          error: why it failed; may be NULL.
/// In:      session: the session.
/// Threads: any, inside callbacks too.
/// Blocks:  until the node has answered, which does no input or output.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn musig_session_is_coordinator(
    session: *const musig_session,
    out: *mut i32,
    error: *mut *mut musig_error,
) -> musig_status {
    fallible!(error, {
        let (session, out) = (get!(session), out!(out));
        out.set(session.session()?.is_coordinator().wait()?.into());
        Ok(())
    })
}

/// Tells whether this node's own turn is open.
///
/// Returns: MUSIG_STATUS_OK; MUSIG_STATUS_UNKNOWN_SESSION; statuses of the node.
/// Out:     out: 1 or 0.
///          error: why it failed; may be NULL.
/// In:      session: the session.
/// Threads: any, inside callbacks too.
/// Blocks:  until the node has answered, which does no input or output.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn musig_session_is_current_coordinator(
    session: *const musig_session,
    out: *mut i32,
    error: *mut *mut musig_error,
) -> musig_status {
    fallible!(error, {
        let (session, out) = (get!(session), out!(out));
        out.set(session.session()?.is_current_coordinator().wait()?.into());
        Ok(())
    })
}

/// Tells the libp2p peer id of the elected coordinator.
///
/// Returns: MUSIG_STATUS_OK; MUSIG_STATUS_NOT_READY if it is not connected; MUSIG_STATUS_UNKNOWN_SESSION; statuses of the node.
/// Out:     out: a text; give it up with musig_bytes_free.
///          error: why it failed; may be NULL.
/// In:      session: the session.
/// Threads: any, inside callbacks too.
/// Blocks:  until the node has answered, which does no input or output.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn musig_session_coordinator_peer_id(
    session: *const musig_session,
    out: *mut *mut musig_bytes,
    error: *mut *mut musig_error,
) -> musig_status {
    fallible!(error, {
        let (session, out) = (get!(session), out!(out));
        let peer = session.session()?.coordinator_peer_id().wait()?;
        let peer = peer.ok_or_else(|| not_ready("the coordinator is not connected"))?;
        out.give(musig_bytes::text(&peer));
        Ok(())
    })
}

/// Says that the transaction was broadcast, or seen.
///
/// Without an observer that ends this node's watch.
///
/// Returns: MUSIG_STATUS_OK once that is on the disk; MUSIG_STATUS_WRONG_STATE before the signatures are finished;
///          MUSIG_STATUS_UNKNOWN_SESSION; statuses of the node.
/// Out:     error: why it failed; may be NULL.
/// In:      session: the session.
///          txid: 32 bytes in the order in which they are hashed, needed only in sessions over messages, to tell the
///          others; may be NULL.
/// Threads: any, inside callbacks too.
/// Blocks:  for one commit.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn musig_session_notify_broadcast_complete(
    session: *const musig_session,
    txid: *const u8,
    error: *mut *mut musig_error,
) -> musig_status {
    fallible!(error, {
        let session = get!(session);
        let txid = if txid.is_null() { None } else { Some(Txid(fixed(array!(txid, 32)))) };
        Ok(session.session()?.notify_broadcast_complete(txid).wait()?)
    })
}

/// Says that this node cannot reach the chain: the next signers take over at once.
///
/// Returns: MUSIG_STATUS_OK once that is on the disk; MUSIG_STATUS_WRONG_STATE before the signatures are finished;
///          MUSIG_STATUS_LIMIT for too long a reason; MUSIG_STATUS_UNKNOWN_SESSION; statuses of the node.
/// Out:     error: why it failed; may be NULL.
/// In:      session: the session.
///          reason: words to the other signers, a text of at most 256 bytes.
/// Threads: any, inside callbacks too.
/// Blocks:  for one commit.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn musig_session_report_broadcast_failed(
    session: *const musig_session,
    reason: *const c_char,
    error: *mut *mut musig_error,
) -> musig_status {
    fallible!(error, {
        let (session, reason) = (get!(session), text!(reason));
        Ok(session.session()?.report_broadcast_failed(reason).wait()?)
    })
}

/// Broadcasts now, whoever's turn it is.
///
/// Returns: MUSIG_STATUS_OK once that is begun; MUSIG_STATUS_WRONG_STATE before the signatures are finished;
///          MUSIG_STATUS_UNKNOWN_SESSION; statuses of the node.
/// Out:     error: why it failed; may be NULL.
/// In:      session: the session.
/// Threads: any, inside callbacks too.
/// Blocks:  for one commit.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn musig_session_broadcast_now(
    session: *const musig_session,
    error: *mut *mut musig_error,
) -> musig_status {
    fallible!(error, { Ok(get!(session).session()?.broadcast_now().wait()?) })
}

/// Gives everything that a session holds, for musig_node_import: push, QR code, mailbox or file instead of the network.
///
/// Nothing in it is secret but the terms.
///
/// Returns: MUSIG_STATUS_OK; MUSIG_STATUS_UNKNOWN_SESSION; statuses of the node.
/// Out:     out: the bytes; give them up with musig_bytes_free.
///          error: why it failed; may be NULL.
/// In:      session: the session.
/// Threads: any, inside callbacks too.
/// Blocks:  for one commit.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn musig_session_export(
    session: *const musig_session,
    out: *mut *mut musig_bytes,
    error: *mut *mut musig_error,
) -> musig_status {
    fallible!(error, {
        let (session, out) = (get!(session), out!(out));
        out.give(musig_bytes::new(session.session()?.export().wait()?));
        Ok(())
    })
}

/// Takes one more reference to a session.
///
/// Returns: the same pointer.
/// In:      session: the session; NULL stays NULL.
/// Threads: any, inside callbacks too.
/// Blocks:  never.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn musig_session_ref(session: *mut musig_session) -> *mut musig_session {
    // SAFETY: the header asks for a session with a reference, or NULL.
    unsafe { add_reference(session) }
}

/// Gives up one reference to a session; the last one frees the handle.
///
/// The session itself goes on.
///
/// In:      session: the session; nothing is done for NULL.
/// Threads: any, inside callbacks too.
/// Blocks:  never.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn musig_session_free(session: *mut musig_session) {
    // SAFETY: the header asks for a session with a reference, or NULL.
    unsafe { release(session) }
}
