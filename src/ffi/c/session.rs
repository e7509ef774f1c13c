//! Sessions.

use std::ffi::c_char;
use std::mem::ManuallyDrop;

use super::boundary::{fixed, join_options};
use super::bytes::musig_bytes;
use super::election::musig_election;
use super::error::musig_error;
use super::failure::{Failure, Outcome};
use super::handle::{add_reference, release};
use super::status::{musig_status, musig_status_code};
#[cfg(feature = "bitcoin")]
use super::summary::{musig_summary, musig_summary_options, summary_options};
use super::terms::musig_terms;
use crate::node::Session;
use crate::types::Txid;

/// A handle for a session of a node. It does not keep the node running.
pub struct musig_session(ManuallyDrop<Session>);

impl musig_session {
    pub(super) fn new(session: Session) -> Self {
        Self(ManuallyDrop::new(session))
    }

    pub(super) fn session(&self) -> Outcome<&Session> {
        self.0.check_process()?;
        Ok(&self.0)
    }
}

impl Drop for musig_session {
    fn drop(&mut self) {
        // A child of fork() has none of the node's threads: nothing of it may be touched.
        if self.0.check_process().is_ok() {
            // SAFETY: this is the drop, after which nobody uses the field.
            unsafe { ManuallyDrop::drop(&mut self.0) }
        }
    }
}

fn not_ready(what: &str) -> Failure {
    Failure::new(musig_status_code::NOT_READY, what)
}

/// Gets the id of a session.
///
/// Returns: MUSIG_STATUS_OK; MUSIG_STATUS_FORKED.
/// In:      session: the session.
/// Out:     out: the 32 bytes of the session id.
#[must_use]
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

/// Joins a session: consents to its terms, so that this node signs.
///
/// Reopens a closed session.
///
/// Returns: MUSIG_STATUS_OK once that is synced to disk; MUSIG_STATUS_WRONG_STATE if the session has ended;
///          MUSIG_STATUS_UNVERIFIED_INPUT, MUSIG_STATUS_MISSING_COIN, MUSIG_STATUS_COINS_NOT_KNOWN and
///          MUSIG_STATUS_BLIND_MESSAGE, after which musig_session_join_with can still consent;
///          MUSIG_STATUS_UNKNOWN_SESSION; statuses of the node.
/// In:      session: the session.
/// Blocks:  for one commit, and for the coin callback of the chain observer, at most 30 s.
#[must_use]
#[unsafe(no_mangle)]
pub unsafe extern "C" fn musig_session_join(
    session: *const musig_session,
    error: *mut *mut musig_error,
) -> musig_status {
    fallible!(error, { Ok(get!(session).session()?.join().wait()?) })
}

/// Joins a session as musig_session_join does, with the application's word on what the node cannot find out itself.
///
/// Returns: MUSIG_STATUS_OK once that is synced to disk; MUSIG_STATUS_INVALID_ARGUMENT for other flags; statuses of
///          musig_session_join.
/// In:      session: the session.
///          flags: values of musig_join, combined; 0 for none.
/// Blocks:  as musig_session_join does.
#[must_use]
#[unsafe(no_mangle)]
pub unsafe extern "C" fn musig_session_join_with(
    session: *const musig_session,
    flags: u32,
    error: *mut *mut musig_error,
) -> musig_status {
    fallible!(error, {
        let (session, options) = (get!(session), join_options(flags)?);
        Ok(session.session()?.join_with(options).wait()?)
    })
}

/// Declines a session, which ends it for all signers.
///
/// Returns: MUSIG_STATUS_OK once that is synced to disk; MUSIG_STATUS_WRONG_STATE after a join; MUSIG_STATUS_LIMIT if
///          the reason is too long; MUSIG_STATUS_UNKNOWN_SESSION; MUSIG_STATUS_STORE_UNSTORED if it took
///          effect and the disk is full or slow; statuses of the node.
/// In:      session: the session.
///          reason: the reason for the other signers, text of at most 256 bytes.
/// Blocks:  for one commit, a second at most.
#[must_use]
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

/// Aborts a session.
///
/// If this node's partial signature was already sent, the other signers may still complete the session.
///
/// Returns: MUSIG_STATUS_OK once that is synced to disk; MUSIG_STATUS_WRONG_STATE if the session has ended;
///          MUSIG_STATUS_LIMIT if the reason is too long; MUSIG_STATUS_UNKNOWN_SESSION; MUSIG_STATUS_STORE_UNSTORED if it took
///          effect and the disk is full or slow; statuses of the node.
/// In:      session: the session.
///          reason: the reason for the other signers, text of at most 256 bytes.
/// Blocks:  for one commit, a second at most.
#[must_use]
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

/// Closes a session: deletes its data, except for a tombstone until its expiry.
///
/// The handle stays valid, and must still be released.
///
/// Returns: MUSIG_STATUS_OK once that is synced to disk; MUSIG_STATUS_NOT_SETTLED while this node watches over the
///          broadcast, or others may complete the session with its partial signature: closing would give that up, which
///          musig_session_abandon does; MUSIG_STATUS_UNKNOWN_SESSION; statuses of the node.
/// In:      session: the session.
/// Blocks:  for one commit.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn musig_session_close(
    session: *const musig_session,
    error: *mut *mut musig_error,
) -> musig_status {
    fallible!(error, { Ok(get!(session).session()?.close_session().wait()?) })
}

/// Gives a session's transaction up for this node, and closes the session.
///
/// The others are not told, and may complete and broadcast it. Finished signatures that come later are kept, passed on
/// and told once, by MUSIG_EVENT_SESSION_COMPLETE with MUSIG_EVENT_NUMBER_ABORTED_HERE. This node takes no turn until
/// musig_session_broadcast_now; musig_session_join reopens the session. The handle stays valid, and must still be
/// released.
///
/// Returns: MUSIG_STATUS_OK once that is synced to disk; MUSIG_STATUS_UNKNOWN_SESSION; statuses of the node.
/// In:      session: the session.
/// Blocks:  for one commit.
#[must_use]
#[unsafe(no_mangle)]
pub unsafe extern "C" fn musig_session_abandon(
    session: *const musig_session,
    error: *mut *mut musig_error,
) -> musig_status {
    fallible!(error, { Ok(get!(session).session()?.abandon_session().wait()?) })
}

/// Makes a summary of what a session signs, to be shown before it is joined.
///
/// It warns of what other sessions of this node spend and pay too.
///
/// Returns: MUSIG_STATUS_OK; MUSIG_STATUS_UNKNOWN_SESSION; MUSIG_STATUS_STRUCT_SIZE; statuses of the node.
/// In:      session: the session.
/// Out:     out: the summary; release it with musig_summary_free.
/// In:      options: what it is to say.
/// Blocks:  until it is made: milliseconds, or longer beside thousands of sessions.
#[cfg(feature = "bitcoin")]
#[must_use]
#[unsafe(no_mangle)]
pub unsafe extern "C" fn musig_session_summary(
    session: *const musig_session,
    out: *mut *mut musig_summary,
    options: *const musig_summary_options,
    error: *mut *mut musig_error,
) -> musig_status {
    fallible!(error, {
        let (session, out) = (get!(session), out!(out));
        // SAFETY: the header asks for options with scripts that are there for the length of the call.
        let options = unsafe { summary_options(options) }?;
        out.give(musig_summary::new(session.session()?.summary(options).wait()?));
        Ok(())
    })
}

/// Gets the terms of a session.
///
/// Returns: MUSIG_STATUS_OK; MUSIG_STATUS_UNKNOWN_SESSION; statuses of the node.
/// In:      session: the session.
/// Out:     out: the terms; release them with musig_terms_free.
/// Blocks:  until the node has answered, without I/O.
#[must_use]
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

/// Gets the final signatures.
///
/// Returns: MUSIG_STATUS_OK; MUSIG_STATUS_NOT_READY until they are complete; MUSIG_STATUS_UNKNOWN_SESSION; statuses of
///          the node.
/// In:      session: the session.
/// Out:     out: the signatures, 64 bytes per message; release them with musig_bytes_free.
/// Blocks:  until the node has answered, without I/O.
#[must_use]
#[unsafe(no_mangle)]
pub unsafe extern "C" fn musig_session_final_signatures(
    session: *const musig_session,
    out: *mut *mut musig_bytes,
    error: *mut *mut musig_error,
) -> musig_status {
    fallible!(error, {
        let (session, out) = (get!(session), out!(out));
        let signatures = session.session()?.final_signatures().wait()?;
        let signatures = signatures.ok_or_else(|| {
            not_ready("the signatures are not complete yet; wait for MUSIG_EVENT_SESSION_COMPLETE")
        })?;
        out.give(musig_bytes::new(signatures.iter().flat_map(|signature| signature.0).collect()));
        Ok(())
    })
}

/// Gets the signed transaction of a session over a transaction.
///
/// Returns: MUSIG_STATUS_OK; MUSIG_STATUS_NOT_READY until it is complete, and always in a session over messages;
///          MUSIG_STATUS_UNKNOWN_SESSION; statuses of the node.
/// In:      session: the session.
/// Out:     out: the transaction in consensus encoding; release it with musig_bytes_free.
///          txid: the 32 bytes of its id, in internal byte order.
/// Blocks:  until the node has answered, without I/O.
#[must_use]
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
        let transaction = transaction.ok_or_else(|| not_ready("there is no signed transaction: the signatures are not complete, or the session is over messages"))?;
        txid.write(&transaction.txid.0)?;
        out.give(musig_bytes::new(transaction.bytes));
        Ok(())
    })
}

/// Gets the election of a session: coordinator, priority list, proof.
///
/// Returns: MUSIG_STATUS_OK; MUSIG_STATUS_UNKNOWN_SESSION; statuses of the node.
/// In:      session: the session.
/// Out:     out: the election; release it with musig_election_free.
/// Blocks:  until the node has answered, without I/O.
#[must_use]
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

/// Gets the priority list: all signer indices in the order of their turns.
///
/// Returns: MUSIG_STATUS_OK; MUSIG_STATUS_BUFFER_TOO_SMALL; MUSIG_STATUS_UNKNOWN_SESSION; statuses of the node.
/// In:      session: the session.
/// Out:     out: the signer indices.
/// In:      out_capacity: room in out, in indices; MUSIG_MAX_SIGNERS always suffices.
/// Out:     out_count: number of indices written.
/// Blocks:  until the node has answered, without I/O.
#[must_use]
#[unsafe(no_mangle)]
pub unsafe extern "C" fn musig_session_priority_list(
    session: *const musig_session,
    out: *mut u32,
    out_capacity: usize,
    out_count: *mut usize,
    error: *mut *mut musig_error,
) -> musig_status {
    fallible!(error, {
        let (session, out, out_count) = (get!(session), out!(out, out_capacity), out!(out_count));
        let list = session.session()?.priority_list().wait()?;
        out.write(&list.iter().map(|index| *index as u32).collect::<Vec<_>>())?;
        out_count.set(list.len());
        Ok(())
    })
}

/// Checks whether this node's signer is the elected coordinator, the first of the priority list.
///
/// Returns: MUSIG_STATUS_OK; MUSIG_STATUS_UNKNOWN_SESSION; statuses of the node.
/// In:      session: the session.
/// Out:     out: 1 or 0.
/// Blocks:  until the node has answered, without I/O.
#[must_use]
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

/// Checks whether this node's own turn is open.
///
/// Returns: MUSIG_STATUS_OK; MUSIG_STATUS_UNKNOWN_SESSION; statuses of the node.
/// In:      session: the session.
/// Out:     out: 1 or 0.
/// Blocks:  until the node has answered, without I/O.
#[must_use]
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

/// Gets the libp2p peer id of the elected coordinator.
///
/// Returns: MUSIG_STATUS_OK; MUSIG_STATUS_NOT_READY if it is not connected; MUSIG_STATUS_UNKNOWN_SESSION; statuses of
///          the node.
/// In:      session: the session.
/// Out:     out: the peer id, as text; release it with musig_bytes_free.
/// Blocks:  until the node has answered, without I/O.
#[must_use]
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

/// Reports that the transaction was broadcast, or seen.
///
/// Without an observer this ends the node's watch.
///
/// Returns: MUSIG_STATUS_OK once that is synced to disk; MUSIG_STATUS_WRONG_STATE before the signatures are complete;
///          MUSIG_STATUS_UNKNOWN_SESSION; MUSIG_STATUS_STORE_UNSTORED if it took
///          effect and the disk is full or slow; statuses of the node.
/// In:      session: the session.
///          txid: the 32 bytes of the transaction id in internal byte order, needed only in sessions over messages;
///          may be NULL.
/// Blocks:  for one commit, a second at most.
#[must_use]
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

/// Reports that this node cannot broadcast, so that the next turn opens at once.
///
/// Returns: MUSIG_STATUS_OK once that is synced to disk; MUSIG_STATUS_WRONG_STATE before the signatures are complete;
///          MUSIG_STATUS_LIMIT if the reason is too long; MUSIG_STATUS_UNKNOWN_SESSION; MUSIG_STATUS_STORE_UNSTORED if it took
///          effect and the disk is full or slow; statuses of the node.
/// In:      session: the session.
///          reason: the reason for the other signers, text of at most 256 bytes.
/// Blocks:  for one commit, a second at most.
#[must_use]
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

/// Broadcasts now, regardless of turns.
///
/// Returns: MUSIG_STATUS_OK once it has started; MUSIG_STATUS_WRONG_STATE before the signatures are complete;
///          MUSIG_STATUS_UNKNOWN_SESSION; statuses of the node.
/// In:      session: the session.
/// Blocks:  for one commit.
#[must_use]
#[unsafe(no_mangle)]
pub unsafe extern "C" fn musig_session_broadcast_now(
    session: *const musig_session,
    error: *mut *mut musig_error,
) -> musig_status {
    fallible!(error, { Ok(get!(session).session()?.broadcast_now().wait()?) })
}

/// Exports the messages of a session, for musig_node_import: push, QR code, mailbox or file instead of the network.
///
/// The export contains the terms, and no secrets beyond them.
///
/// Returns: MUSIG_STATUS_OK; MUSIG_STATUS_UNKNOWN_SESSION; statuses of the node.
/// In:      session: the session.
/// Out:     out: the bytes; release them with musig_bytes_free.
/// Blocks:  for one commit.
#[must_use]
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

/// Adds a reference to a session.
///
/// Returns: the same pointer.
/// In:      session: the session; NULL stays NULL.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn musig_session_ref(session: *mut musig_session) -> *mut musig_session {
    // SAFETY: the header asks for a session with a reference, or NULL.
    unsafe { add_reference(session) }
}

/// Releases a reference to a session; the last one frees the handle.
///
/// The session itself continues.
///
/// In:      session: the session; NULL is ignored.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn musig_session_free(session: *mut musig_session) {
    // SAFETY: the header asks for a session with a reference, or NULL.
    unsafe { release(session) }
}
