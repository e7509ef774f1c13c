//! Events.

use std::ffi::c_char;

use super::boundary::{Out, choice};
use super::enums::{Enumeration, musig_event_kind};
use super::error::musig_error;
use super::failure::{Failure, Outcome};
use super::fields::Fields;
use super::handle::{add_reference, release};
use super::session_status::musig_signer_status;
use super::status::{musig_status, musig_status_code};
use super::terms::musig_terms;
use crate::event::NodeEvent;
use crate::types::SessionId;

/// An event: something that happened at a node. Immutable.
pub struct musig_event {
    id: u64,
    session: Option<SessionId>,
    durable: bool,
    fields: Fields,
}

impl musig_event {
    /// Takes the event apart: what it carries is moved, not copied.
    pub(super) fn new(event: NodeEvent) -> Self {
        let NodeEvent { id, session, event, durable } = event;
        Self { id, session, durable, fields: Fields::of(event) }
    }
}

fn missing(event: &musig_event) -> Failure {
    let message =
        format!("this MUSIG_EVENT_{} has no such field", event.fields.kind.name().to_string_lossy());
    Failure::new(musig_status_code::NO_SUCH_FIELD, message)
}

/// Gets the id of an event, for musig_node_event_handled.
///
/// A redelivered event has a new id.
///
/// Returns: the id; 0 for NULL.
/// In:      event: the event.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn musig_event_id(event: *const musig_event) -> u64 {
    // SAFETY: the header asks for an event or NULL.
    let event = unsafe { event.as_ref() };
    event.map_or(0, |event| event.id)
}

/// Gets the kind of an event.
///
/// Returns: a musig_event_kind; 0 for NULL.
/// In:      event: the event.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn musig_event_kind_of(event: *const musig_event) -> i32 {
    // SAFETY: the header asks for an event or NULL.
    let event = unsafe { event.as_ref() };
    event.map_or(0, |event| event.fields.kind.number())
}

/// Names a kind of event, for logs.
///
/// Returns: a static, NUL-terminated text: the enumerator without its prefix, such as "SESSION_PROPOSED"; "UNKNOWN"
///          for a number that this version does not define.
/// In:      kind: any number.
#[unsafe(no_mangle)]
pub extern "C" fn musig_event_kind_string(kind: i32) -> *const c_char {
    musig_event_kind::of_number(kind).map_or(c"UNKNOWN", musig_event_kind::name).as_ptr()
}

/// Checks whether an event is durable: redelivered after a restart until it is acknowledged.
///
/// Returns: 1 or 0; 0 for NULL.
/// In:      event: the event.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn musig_event_is_durable(event: *const musig_event) -> i32 {
    // SAFETY: the header asks for an event or NULL.
    let event = unsafe { event.as_ref() };
    event.map_or(0, |event| event.durable.into())
}

/// Gets the session id of an event.
///
/// Returns: MUSIG_STATUS_OK; MUSIG_STATUS_NO_SUCH_FIELD for an event of the network or the store.
/// In:      event: the event.
/// Out:     out: the 32 bytes of the session id.
#[must_use]
#[unsafe(no_mangle)]
pub unsafe extern "C" fn musig_event_session_id(
    event: *const musig_event,
    out: *mut u8,
    error: *mut *mut musig_error,
) -> musig_status {
    fallible!(error, {
        let (event, out) = (get!(event), out!(out, 32));
        out.write(&event.session.ok_or_else(|| missing(event))?.0)
    })
}

/// Gets a numeric field of an event.
///
/// Returns: MUSIG_STATUS_OK; MUSIG_STATUS_NO_SUCH_FIELD if this event does not have the field;
///          MUSIG_STATUS_INVALID_ARGUMENT if the field is unknown.
/// In:      event: the event.
/// Out:     out: the value.
/// In:      field: a musig_event_number_field.
#[must_use]
#[unsafe(no_mangle)]
pub unsafe extern "C" fn musig_event_number(
    event: *const musig_event,
    out: *mut u64,
    field: i32,
    error: *mut *mut musig_error,
) -> musig_status {
    fallible!(error, {
        let (event, out) = (get!(event), out!(out));
        let field = choice(field, "field")?;
        out.set(event.fields.number(field).ok_or_else(|| missing(event))?);
        Ok(())
    })
}

/// Gets a pointer to a list field of an event.
///
/// Returns: MUSIG_STATUS_OK; MUSIG_STATUS_NO_SUCH_FIELD if this event does not have the field;
///          MUSIG_STATUS_INVALID_ARGUMENT if the field is unknown.
/// In:      event: the event.
/// Out:     out: a pointer that is valid as long as the event.
///          out_count: number of indices.
/// In:      field: a musig_event_list_field.
#[must_use]
#[unsafe(no_mangle)]
pub unsafe extern "C" fn musig_event_list(
    event: *const musig_event,
    out: *mut *const u32,
    out_count: *mut usize,
    field: i32,
    error: *mut *mut musig_error,
) -> musig_status {
    fallible!(error, {
        let (event, out, out_count) = (get!(event), out!(out), out!(out_count));
        let field = choice(field, "field")?;
        let list = event.fields.list(field).ok_or_else(|| missing(event))?;
        out.set(list.as_ptr());
        out_count.set(list.len());
        Ok(())
    })
}

fn lend(bytes: &[u8], out: &Out<*const u8>, out_length: &Out<usize>) {
    out.set(bytes.as_ptr());
    out_length.set(bytes.len());
}

/// Gets a pointer to a bytes or text field of an event.
///
/// A NUL follows that is not counted, so text can be used as a C string.
///
/// Returns: MUSIG_STATUS_OK; MUSIG_STATUS_NO_SUCH_FIELD if this event does not have the field;
///          MUSIG_STATUS_INVALID_ARGUMENT if the field is unknown.
/// In:      event: the event.
/// Out:     out: a pointer that is valid as long as the event.
///          out_length: its length in bytes.
/// In:      field: a musig_event_bytes_field.
#[must_use]
#[unsafe(no_mangle)]
pub unsafe extern "C" fn musig_event_bytes(
    event: *const musig_event,
    out: *mut *const u8,
    out_length: *mut usize,
    field: i32,
    error: *mut *mut musig_error,
) -> musig_status {
    fallible!(error, {
        let (event, out, out_length) = (get!(event), out!(out), out!(out_length));
        let field = choice(field, "field")?;
        lend(event.fields.bytes(field).ok_or_else(|| missing(event))?, &out, &out_length);
        Ok(())
    })
}

/// Gets a pointer to the proof against a culprit of MUSIG_EVENT_SESSION_FAILED.
///
/// Returns: MUSIG_STATUS_OK; MUSIG_STATUS_INDEX_OUT_OF_RANGE.
/// In:      event: the event.
/// Out:     out: a pointer that is valid as long as the event.
///          out_length: its length in bytes.
/// In:      index: the position of the culprit in the list of culprits.
#[must_use]
#[unsafe(no_mangle)]
pub unsafe extern "C" fn musig_event_proof(
    event: *const musig_event,
    out: *mut *const u8,
    out_length: *mut usize,
    index: u32,
    error: *mut *mut musig_error,
) -> musig_status {
    fallible!(error, {
        let (event, out, out_length) = (get!(event), out!(out), out!(out_length));
        let proof = proof(event, index)?;
        lend(proof, &out, &out_length);
        Ok(())
    })
}

fn proof(event: &musig_event, index: u32) -> Outcome<&[u8]> {
    let proofs = &event.fields.proofs;
    let proof = proofs.get(index as usize).ok_or_else(|| Failure::no_such("proof", index, proofs.len()))?;
    Ok(proof)
}

/// Gets the state of a signer that MUSIG_EVENT_SESSION_STALLED waits for.
///
/// Returns: MUSIG_STATUS_OK; MUSIG_STATUS_STRUCT_SIZE; MUSIG_STATUS_INDEX_OUT_OF_RANGE.
/// In:      event: the event.
/// Out:     out: the state. Set its struct_size before the call.
/// In:      index: the position of the signer in the list MISSING.
#[must_use]
#[unsafe(no_mangle)]
pub unsafe extern "C" fn musig_event_signer_status(
    event: *const musig_event,
    out: *mut musig_signer_status,
    index: u32,
    error: *mut *mut musig_error,
) -> musig_status {
    fallible!(error, {
        let (event, out) = (get!(event), out!(sized out));
        let signers = &event.fields.signers;
        let found =
            signers.get(index as usize).ok_or_else(|| Failure::no_such("signer at", index, signers.len()))?;
        out.set(musig_signer_status::new(found));
        Ok(())
    })
}

/// Gets the terms of MUSIG_EVENT_SESSION_PROPOSED, to consent to or decline.
///
/// Returns: MUSIG_STATUS_OK; MUSIG_STATUS_NO_SUCH_FIELD for other events.
/// In:      event: the event.
/// Out:     out: the terms; release them with musig_terms_free.
#[must_use]
#[unsafe(no_mangle)]
pub unsafe extern "C" fn musig_event_terms(
    event: *const musig_event,
    out: *mut *mut musig_terms,
    error: *mut *mut musig_error,
) -> musig_status {
    fallible!(error, {
        let (event, out) = (get!(event), out!(out));
        let proposal = event.fields.proposal.clone().ok_or_else(|| missing(event))?;
        out.give(musig_terms::new(proposal));
        Ok(())
    })
}

/// Adds a reference to an event.
///
/// Returns: the same pointer.
/// In:      event: the event; NULL stays NULL.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn musig_event_ref(event: *mut musig_event) -> *mut musig_event {
    // SAFETY: the header asks for an event with a reference, or NULL.
    unsafe { add_reference(event) }
}

/// Releases a reference to an event; the last one frees it.
///
/// This does not acknowledge the event.
///
/// In:      event: the event; NULL is ignored.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn musig_event_free(event: *mut musig_event) {
    // SAFETY: the header asks for an event with a reference, or NULL.
    unsafe { release(event) }
}
