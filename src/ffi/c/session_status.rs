//! The status of a session.

use std::ffi::c_char;

use super::enums::{Enumeration, musig_evidence, musig_failure_cause, musig_phase};
use super::error::musig_error;
use super::failure::Failure;
use super::session::musig_session;
use super::status::musig_status;
use crate::protocol::failover::Evidence;
use crate::protocol::status::{SessionStatus, SignerStatus};

/// The status of a session at its node. Lists of signers have one byte, 1 or 0, for each signer index.
#[repr(C)]
pub struct musig_session_status {
    /// sizeof(musig_session_status); the caller sets it.
    pub struct_size: u32,
    /// A musig_phase.
    pub phase: i32,
    /// This node's own signer index.
    pub own_index: u32,
    /// Number of signers.
    pub signers_count: u32,
    /// The current attempt, counted from 0.
    pub attempt: u32,
    /// 1 if this node's partial signature was sent, or may have been before a restart.
    pub partial_sent: i32,
    /// Expiry of the proposal, in milliseconds since 1970-01-01 00:00 UTC.
    pub expires_at: u64,
    /// 1 once the signatures are complete, unless the session only signs; the members up to `watch`, and `current`, are set
    /// only then.
    pub has_failover: i32,
    /// The elected coordinator.
    pub coordinator: u32,
    /// The last turn that opened, counted from 0.
    pub turn: u32,
    /// A musig_evidence.
    pub evidence: i32,
    /// Milliseconds until the next turn opens; UINT64_MAX if this is the last one.
    pub until_next_turn: u64,
    /// With MUSIG_EVIDENCE_CONFIRMED: the height of the block.
    pub height: u32,
    /// With MUSIG_EVIDENCE_CONFIRMED or MUSIG_EVIDENCE_CONFLICT: confirmations, 1 for the latest block.
    pub confirmations: u32,
    /// Number of submissions by this node.
    pub submissions: u32,
    /// Number of earlier watches, each ended by a lost transaction.
    pub watch: u32,
    /// The signers that joined.
    pub accepted: [u8; 128],
    /// Signers that the session waits for.
    pub missing: [u8; 128],
    /// The coordinators of the last turn that opened.
    pub current: [u8; 128],
}

/// The state of a signer of a session, as far as this node knows.
#[repr(C)]
pub struct musig_signer_status {
    /// sizeof(musig_signer_status); the caller sets it.
    pub struct_size: u32,
    /// The signer's index.
    pub signer: u32,
    /// 1 if it is connected, or 0. This node itself always is.
    pub connected: i32,
    /// 1 if it joined the session, or 0.
    pub consented: i32,
    /// When this node last heard of it, directly or through other signers, in milliseconds since 1970-01-01 00:00 UTC;
    /// 0 if it did not since it started, or had no session with it then.
    pub last_seen: u64,
}

/// A signer as the coordinator of its turn, as its node sees it now.
#[repr(C)]
pub struct musig_coordinator_status {
    /// sizeof(musig_coordinator_status); the caller sets it.
    pub struct_size: u32,
    /// The signer's index.
    pub signer: u32,
    /// Its turn, counted from 0.
    pub turn: u32,
    /// 1 if it is connected, or 0. This node itself always is.
    pub connected: i32,
    /// 1 if it is known to hold the signatures, without which it cannot broadcast, or 0. Once no turn is ahead that may be
    /// forgotten.
    pub holds: i32,
    /// A musig_failure_cause: why it is not waited for any longer.
    pub cause: i32,
    /// Milliseconds that it is waited for, from the start of its turn on: the broadcast timeout, or less.
    pub wait: u64,
    /// When its turn opens if nothing more is heard until then, in milliseconds since 1970-01-01 00:00 UTC; 0 if it is open, or
    /// the watch waits.
    pub opens_at: u64,
}

impl musig_signer_status {
    pub(super) fn new(status: &SignerStatus) -> Self {
        Self {
            struct_size: size_of::<Self>() as u32,
            signer: status.signer as u32,
            connected: status.connected.into(),
            consented: status.consented.into(),
            last_seen: status.last_seen.map_or(0, |at| at.0),
        }
    }
}

fn marks(indices: &[usize]) -> [u8; 128] {
    let mut marks = [0; 128];
    for index in indices {
        if let Some(mark) = marks.get_mut(*index) {
            *mark = 1;
        }
    }
    marks
}

fn status_of(status: &SessionStatus) -> musig_session_status {
    let mut out = musig_session_status {
        struct_size: size_of::<musig_session_status>() as u32,
        phase: musig_phase::from(status.phase).number(),
        own_index: status.own_index as u32,
        signers_count: status.signers.len() as u32,
        attempt: status.attempt,
        partial_sent: status.partial_sent.into(),
        expires_at: status.expires_at.0,
        has_failover: 0,
        coordinator: 0,
        turn: 0,
        evidence: musig_evidence::NONE.number(),
        until_next_turn: 0,
        height: 0,
        confirmations: 0,
        submissions: 0,
        watch: 0,
        accepted: marks(&status.accepted),
        missing: marks(&status.missing),
        current: [0; 128],
    };
    if let Some(failover) = &status.failover {
        out.has_failover = 1;
        out.coordinator = failover.coordinator as u32;
        out.turn = failover.turn as u32;
        out.until_next_turn = failover.until_next_turn.map_or(u64::MAX, |time| time.as_millis() as u64);
        out.submissions = failover.submissions;
        out.watch = failover.watch;
        out.current = marks(&failover.current);
        let evidence = match failover.evidence {
            Evidence::None => musig_evidence::NONE,
            Evidence::Submitted => musig_evidence::SUBMITTED,
            Evidence::Seen => musig_evidence::SEEN,
            Evidence::Confirmed { height, confirmations } => {
                (out.height, out.confirmations) = (height, confirmations);
                musig_evidence::CONFIRMED
            }
            Evidence::Conflict { confirmations, .. } => {
                out.confirmations = confirmations;
                musig_evidence::CONFLICT
            }
            Evidence::Notified => musig_evidence::NOTIFIED,
        };
        out.evidence = evidence.number();
    }
    out
}

/// Gets the status of a session.
///
/// Returns: MUSIG_STATUS_OK; MUSIG_STATUS_STRUCT_SIZE; MUSIG_STATUS_UNKNOWN_SESSION; statuses of the node.
/// In:      session: the session.
/// Out:     out: the status. Set its struct_size before the call.
/// Blocks:  until the node has answered, without I/O.
#[must_use]
#[unsafe(no_mangle)]
pub unsafe extern "C" fn musig_session_get_status(
    session: *const musig_session,
    out: *mut musig_session_status,
    error: *mut *mut musig_error,
) -> musig_status {
    fallible!(error, {
        let (session, out) = (get!(session), out!(sized out));
        out.set(status_of(&session.session()?.status().wait()?));
        Ok(())
    })
}

/// Gets the state of a signer of a session.
///
/// Returns: MUSIG_STATUS_OK; MUSIG_STATUS_STRUCT_SIZE; MUSIG_STATUS_INDEX_OUT_OF_RANGE; MUSIG_STATUS_UNKNOWN_SESSION;
///          statuses of the node.
/// In:      session: the session.
/// Out:     out: the state. Set its struct_size before the call.
/// In:      signer: a signer index.
/// Blocks:  until the node has answered, without I/O.
#[must_use]
#[unsafe(no_mangle)]
pub unsafe extern "C" fn musig_session_signer_status(
    session: *const musig_session,
    out: *mut musig_signer_status,
    signer: u32,
    error: *mut *mut musig_error,
) -> musig_status {
    fallible!(error, {
        let (session, out) = (get!(session), out!(sized out));
        let status = session.session()?.status().wait()?;
        let found = status
            .signers
            .get(signer as usize)
            .ok_or_else(|| Failure::no_such("signer", signer, status.signers.len()))?;
        out.set(musig_signer_status::new(found));
        Ok(())
    })
}

/// Gets how long a session waits for a signer that is to broadcast, why, and when its turn opens.
///
/// Returns: MUSIG_STATUS_OK; MUSIG_STATUS_STRUCT_SIZE; MUSIG_STATUS_INDEX_OUT_OF_RANGE if the signer has no turn, or the
///          signatures are not complete; MUSIG_STATUS_UNKNOWN_SESSION; statuses of the node.
/// In:      session: the session.
/// Out:     out: the state. Set its struct_size before the call.
/// In:      signer: a signer index.
/// Blocks:  until the node has answered, without I/O.
#[must_use]
#[unsafe(no_mangle)]
pub unsafe extern "C" fn musig_session_coordinator_status(
    session: *const musig_session,
    out: *mut musig_coordinator_status,
    signer: u32,
    error: *mut *mut musig_error,
) -> musig_status {
    fallible!(error, {
        let (session, out) = (get!(session), out!(sized out));
        let signers = session.session()?.status().wait()?.failover.map(|failover| failover.signers);
        let signers = signers.unwrap_or_default();
        let found = signers.iter().find(|one| one.signer == signer as usize);
        let found = found.ok_or_else(|| Failure::no_such("coordinator", signer, signers.len()))?;
        out.set(musig_coordinator_status {
            struct_size: size_of::<musig_coordinator_status>() as u32,
            signer,
            turn: found.turn as u32,
            connected: found.connected.into(),
            holds: found.holds.into(),
            cause: musig_failure_cause::from(found.cause).number(),
            wait: found.wait.as_millis() as u64,
            opens_at: found.opens_at.map_or(0, |at| at.0),
        });
        Ok(())
    })
}

/// Names a phase of a session, for logs.
///
/// Returns: a static, NUL-terminated text: the enumerator without its prefix, such as "SIGNING"; "UNKNOWN" for a number
///          that this version does not define.
/// In:      phase: any number.
#[unsafe(no_mangle)]
pub extern "C" fn musig_phase_string(phase: i32) -> *const c_char {
    musig_phase::of_number(phase).map_or(c"UNKNOWN", musig_phase::name).as_ptr()
}
