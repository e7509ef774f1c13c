//! Events.

use super::boundary::{Failure, Outcome, add_reference, choice, release, simple};
use super::error::musig_error;
use super::fields::Fields;
use super::status::{musig_status, musig_status_code};
use super::terms::musig_terms;
use crate::event::NodeEvent;

/// Something that happened. It never changes.
pub struct musig_event {
    event: NodeEvent,
    fields: Fields,
}

impl musig_event {
    pub(super) fn new(event: NodeEvent) -> Self {
        let fields = Fields::of(&event.event);
        Self { event, fields }
    }
}

/// What happened, with the fields that each kind has beside its session. Durable ones come again after a restart until
/// they are acknowledged. Later versions may add kinds: acknowledge those that you do not know.
/// cbindgen:rename-all=prefix:MUSIG_EVENT_
#[repr(i32)]
#[derive(Clone, Copy, PartialEq)]
pub enum musig_event_kind {
    /// Durable. Somebody proposed a session: answer with musig_session_join or musig_session_decline. SIGNER is the
    /// proposer; EXPIRES_AT; musig_event_terms.
    SESSION_PROPOSED = 1,
    /// This node's own proposal is stored and on its way.
    SESSION_CREATED = 2,
    /// A signer accepted: SIGNER, JOINED of SIGNERS.
    SESSION_JOINED = 3,
    /// All signers accepted.
    SESSION_READY = 4,
    /// All nonces of ATTEMPT are here.
    NONCES_COMPLETE = 5,
    /// Durable. The signatures are finished: SIGNATURES, RANK, PRIORITY_LIST; TXID and TRANSACTION if it is of one.
    SESSION_COMPLETE = 6,
    /// Durable. It is this node's turn to broadcast: SIGNER (its own), TURN, SIGNATURES; NEXT_TURN_AT unless it is the
    /// last turn; TXID and TRANSACTION if it is of one. With a broadcaster the node submits by itself.
    SHOULD_BROADCAST = 7,
    /// A turn opened, for the signers before did not broadcast in time: TURN, FAILED, NEXT.
    COORDINATOR_FAILED = 8,
    /// Durable. Every signer had its turn; this node goes on submitting: TURNS, SUBMISSIONS, CLAIMS; REASON if the
    /// transaction was refused; TXID and TRANSACTION if it is of one.
    FAILOVER_EXHAUSTED = 9,
    /// Durable without an observer. SIGNER claims to have broadcast TXID: look, and notify.
    BROADCAST_CLAIMED = 10,
    /// The observer sees TXID.
    BROADCAST_SEEN = 11,
    /// Durable. The transaction is in a block, at HEIGHT with CONFIRMATIONS, or without these two the application said
    /// so: TXID if it is known.
    BROADCAST_CONFIRMED = 12,
    /// Durable. Another transaction that spends the same is in a block: TXID is that one.
    BROADCAST_CONFLICT = 13,
    /// Durable. TXID was seen and is gone: a new watch begins.
    BROADCAST_LOST = 14,
    /// Durable. The network's node refuses the transaction: REASON.
    BROADCAST_REJECTED = 15,
    /// Nothing happened for SINCE milliseconds: MISSING.
    SESSION_STALLED = 16,
    /// Durable. Signers provably broke a rule: CULPRITS, MAY_STILL_COMPLETE, musig_event_proof.
    SESSION_FAILED = 17,
    /// Durable. SIGNER declined or aborted: DECLINED, REASON, MAY_STILL_COMPLETE.
    SESSION_ABORTED = 18,
    /// Durable. The proposal expired: MAY_STILL_COMPLETE.
    SESSION_EXPIRED = 19,
    /// The session was closed here.
    SESSION_CLOSED = 20,
    /// Durable. There is an envelope of this node's key that this node did not make: an old backup, or a second
    /// instance.
    KEY_IN_USE_ELSEWHERE = 21,
    /// The signer could not do what a session needs; it is asked again: REASON.
    SIGNER_FAILED = 22,
    /// A peer connected: PEER; SIGNER_KEY once it proved it.
    PEER_CONNECTED = 23,
    /// A peer is gone: PEER; SIGNER_KEY if it had proved it.
    PEER_DISCONNECTED = 24,
    /// SIGNER of this session is gone.
    PARTICIPANT_DISCONNECTED = 25,
    /// The store does not take commits: nothing is signed or sent until it does. It is tried again: REASON.
    STORE_FAILED = 26,
    /// A part of the network does not work; the node goes on without it: REASON.
    NETWORK_DEGRADED = 27,
}

/// Numbers of an event.
/// cbindgen:rename-all=prefix:MUSIG_EVENT_NUMBER_
#[repr(i32)]
#[derive(Clone, Copy, PartialEq)]
pub enum musig_event_number_field {
    /// A signer index.
    SIGNER = 1,
    /// How many signers accepted so far.
    JOINED = 2,
    /// How many signers there are.
    SIGNERS = 3,
    /// An attempt, from 0 on.
    ATTEMPT = 4,
    /// This node's position in the priority list.
    RANK = 5,
    /// A turn, from 0 on.
    TURN = 6,
    /// How many turns there were.
    TURNS = 7,
    /// When the next turn opens, in milliseconds since 1970-01-01 00:00 UTC.
    NEXT_TURN_AT = 8,
    /// When the proposal expires, in milliseconds since 1970-01-01 00:00 UTC.
    EXPIRES_AT = 9,
    /// How often this node submitted.
    SUBMISSIONS = 10,
    /// The height of a block.
    HEIGHT = 11,
    /// Confirmations; the block itself counts as one.
    CONFIRMATIONS = 12,
    /// Milliseconds.
    SINCE = 13,
    /// 1 if the signer refused before it took part.
    DECLINED = 14,
    /// 1 if this node's partial signature is out, so that others may finish.
    MAY_STILL_COMPLETE = 15,
}

/// Lists of signer indices of an event.
/// cbindgen:rename-all=prefix:MUSIG_EVENT_LIST_
#[repr(i32)]
#[derive(Clone, Copy, PartialEq)]
pub enum musig_event_list_field {
    /// All signers, the elected coordinator first.
    PRIORITY_LIST = 1,
    /// The signers of earlier turns that were not reported yet.
    FAILED = 2,
    /// The signers of this turn.
    NEXT = 3,
    /// The signers that everybody waits for.
    MISSING = 4,
    /// Signers that provably broke a rule.
    CULPRITS = 5,
    /// Signers that claimed to have broadcast.
    CLAIMS = 6,
}

/// Bytes and texts of an event.
/// cbindgen:rename-all=prefix:MUSIG_EVENT_BYTES_
#[repr(i32)]
#[derive(Clone, Copy, PartialEq)]
pub enum musig_event_bytes_field {
    /// A transaction's id: 32 bytes in the order in which they are hashed; they are shown reversed.
    TXID = 1,
    /// The finished transaction in consensus encoding.
    TRANSACTION = 2,
    /// BIP-340 signatures, 64 bytes for each message.
    SIGNATURES = 3,
    /// Somebody's words, a text.
    REASON = 4,
    /// A libp2p peer id, a text.
    PEER = 5,
    /// A compressed public key, 33 bytes.
    SIGNER_KEY = 6,
}

fn missing(event: &musig_event) -> Failure {
    let message = format!("an event of kind {} has no such field here", event.fields.kind);
    Failure::new(musig_status_code::NO_SUCH_FIELD, message)
}

/// Tells the number that names an event for musig_node_event_handled.
///
/// The same event has another one after a restart.
///
/// Returns: the number; 0 for NULL.
/// In:      event: the event.
/// Threads: any, inside callbacks too.
/// Blocks:  never.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn musig_event_id(event: *const musig_event) -> u64 {
    // SAFETY: the header asks for an event or NULL.
    let event = unsafe { event.as_ref() };
    event.map_or(0, |event| event.event.id)
}

/// Tells what happened.
///
/// Returns: a musig_event_kind; 0 for NULL.
/// In:      event: the event.
/// Threads: any, inside callbacks too.
/// Blocks:  never.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn musig_event_kind_of(event: *const musig_event) -> i32 {
    // SAFETY: the header asks for an event or NULL.
    let event = unsafe { event.as_ref() };
    event.map_or(0, |event| event.fields.kind)
}

/// Tells whether an event comes again after a restart until it is acknowledged.
///
/// Returns: 1 or 0; 0 for NULL.
/// In:      event: the event.
/// Threads: any, inside callbacks too.
/// Blocks:  never.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn musig_event_is_durable(event: *const musig_event) -> i32 {
    // SAFETY: the header asks for an event or NULL.
    let event = unsafe { event.as_ref() };
    event.map_or(0, |event| event.event.durable.into())
}

/// Tells the session of an event.
///
/// Returns: MUSIG_STATUS_OK; MUSIG_STATUS_NO_SUCH_FIELD for an event of the network or the store.
/// Out:     out: gets the 32 bytes of the session id.
///          error: why it failed; may be NULL.
/// In:      event: the event.
/// Threads: any, inside callbacks too.
/// Blocks:  never.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn musig_event_session_id(
    event: *const musig_event,
    out: *mut u8,
    error: *mut *mut musig_error,
) -> musig_status {
    fallible!(error, {
        let (event, out) = (get!(event), out!(out, 32));
        out.write(&event.event.session.ok_or_else(|| missing(event))?.0)
    })
}

/// Tells a number of an event.
///
/// Returns: MUSIG_STATUS_OK; MUSIG_STATUS_NO_SUCH_FIELD if this event has none such; MUSIG_STATUS_INVALID_ARGUMENT if no
///          event has.
/// Out:     out: the number.
///          error: why it failed; may be NULL.
/// In:      event: the event.
///          field: a musig_event_number_field.
/// Threads: any, inside callbacks too.
/// Blocks:  never.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn musig_event_number(
    event: *const musig_event,
    out: *mut u64,
    field: i32,
    error: *mut *mut musig_error,
) -> musig_status {
    fallible!(error, {
        use musig_event_number_field::*;
        let (event, out) = (get!(event), out!(out));
        let all = [
            SIGNER,
            JOINED,
            SIGNERS,
            ATTEMPT,
            RANK,
            TURN,
            TURNS,
            NEXT_TURN_AT,
            EXPIRES_AT,
            SUBMISSIONS,
            HEIGHT,
            CONFIRMATIONS,
            SINCE,
            DECLINED,
            MAY_STILL_COMPLETE,
        ];
        let field = choice(field, &all.map(|field| (field as i32, field)), "field")?;
        out.set(event.fields.number(field).ok_or_else(|| missing(event))?);
        Ok(())
    })
}

/// Points to a list of signer indices of an event.
///
/// Returns: MUSIG_STATUS_OK; MUSIG_STATUS_NO_SUCH_FIELD if this event has none such; MUSIG_STATUS_INVALID_ARGUMENT if no
///          event has.
/// Out:     out: a pointer that lives as long as the event.
///          out_length: how many indices there are.
///          error: why it failed; may be NULL.
/// In:      event: the event.
///          field: a musig_event_list_field.
/// Threads: any, inside callbacks too.
/// Blocks:  never.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn musig_event_list(
    event: *const musig_event,
    out: *mut *const u32,
    out_length: *mut usize,
    field: i32,
    error: *mut *mut musig_error,
) -> musig_status {
    fallible!(error, {
        use musig_event_list_field::*;
        let (event, out, out_length) = (get!(event), out!(out), out!(out_length));
        let all = [PRIORITY_LIST, FAILED, NEXT, MISSING, CULPRITS, CLAIMS];
        let field = choice(field, &all.map(|field| (field as i32, field)), "field")?;
        let list = event.fields.list(field).ok_or_else(|| missing(event))?;
        out.set(list.as_ptr());
        out_length.set(list.len());
        Ok(())
    })
}

fn lend(bytes: &[u8], out: &super::boundary::Out<*const u8>, out_length: &super::boundary::Out<usize>) {
    out.set(bytes.as_ptr());
    out_length.set(bytes.len());
}

/// Points to bytes, or a text, of an event.
///
/// A NUL follows them that is not counted, so that a text can be used as it is.
///
/// Returns: MUSIG_STATUS_OK; MUSIG_STATUS_NO_SUCH_FIELD if this event has none such; MUSIG_STATUS_INVALID_ARGUMENT if no
///          event has.
/// Out:     out: a pointer that lives as long as the event.
///          out_length: how many bytes there are.
///          error: why it failed; may be NULL.
/// In:      event: the event.
///          field: a musig_event_bytes_field.
/// Threads: any, inside callbacks too.
/// Blocks:  never.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn musig_event_bytes(
    event: *const musig_event,
    out: *mut *const u8,
    out_length: *mut usize,
    field: i32,
    error: *mut *mut musig_error,
) -> musig_status {
    fallible!(error, {
        use musig_event_bytes_field::*;
        let (event, out, out_length) = (get!(event), out!(out), out!(out_length));
        let all = [TXID, TRANSACTION, SIGNATURES, REASON, PEER, SIGNER_KEY];
        let field = choice(field, &all.map(|field| (field as i32, field)), "field")?;
        lend(event.fields.bytes(field).ok_or_else(|| missing(event))?, &out, &out_length);
        Ok(())
    })
}

/// Points to the proof against a culprit of MUSIG_EVENT_SESSION_FAILED.
///
/// Returns: MUSIG_STATUS_OK; MUSIG_STATUS_INDEX_OUT_OF_RANGE if there is none such.
/// Out:     out: a pointer that lives as long as the event.
///          out_length: how many bytes there are.
///          error: why it failed; may be NULL.
/// In:      event: the event.
///          index: the position of the culprit in the list of culprits.
/// Threads: any, inside callbacks too.
/// Blocks:  never.
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
    let proof = proofs.get(index as usize).ok_or_else(|| {
        let message = format!("there is no proof {index} among {}", proofs.len());
        Failure::new(musig_status_code::INDEX_OUT_OF_RANGE, message)
    })?;
    Ok(proof)
}

/// Gives the terms that MUSIG_EVENT_SESSION_PROPOSED asks to consent to.
///
/// Returns: MUSIG_STATUS_OK; MUSIG_STATUS_NO_SUCH_FIELD for other events.
/// Out:     out: the terms; give them up with musig_terms_free.
///          error: why it failed; may be NULL.
/// In:      event: the event.
/// Threads: any, inside callbacks too.
/// Blocks:  never.
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

/// Takes one more reference to an event.
///
/// Returns: the same pointer.
/// In:      event: the event; NULL stays NULL.
/// Threads: any, inside callbacks too.
/// Blocks:  never.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn musig_event_ref(event: *mut musig_event) -> *mut musig_event {
    // SAFETY: the header asks for an event with a reference, or NULL.
    simple(event, || unsafe { add_reference(event) })
}

/// Gives up one reference to an event; the last one frees it.
///
/// That does not acknowledge it.
///
/// In:      event: the event; nothing is done for NULL.
/// Threads: any, inside callbacks too.
/// Blocks:  never.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn musig_event_free(event: *mut musig_event) {
    // SAFETY: the header asks for an event with a reference, or NULL.
    unsafe { release(event) }
}
