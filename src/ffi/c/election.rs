//! Elections, which need no node.

use std::ffi::{CString, c_char};

use super::boundary::{choice, session_id, signer_keys, total};
use super::enums::{Enumeration, musig_election_method};
use super::error::musig_error;
use super::failure::Failure;
use super::handle::{add_reference, release};
use super::status::{musig_status, musig_status_code};
use crate::error::Error;
use crate::protocol::election::{Election, elect};
use crate::protocol::limits;

/// The result of an election: the coordinator, and the order of those that follow.
pub struct musig_election {
    election: Election,
    proof: CString,
}

impl musig_election {
    pub(super) fn new(election: Election) -> Self {
        let proof = CString::new(election.proof.clone()).unwrap_or_default();
        Self { election, proof }
    }
}

/// Elects a coordinator among signers.
///
/// Needs no node, and is deterministic.
///
/// Returns: MUSIG_STATUS_OK; MUSIG_STATUS_INVALID_KEY; MUSIG_STATUS_INVALID_ARGUMENT; MUSIG_STATUS_ELECTION if
///          there are no signers.
/// Out:     out: the election; release it with musig_election_free.
/// In:      signers: the compressed public keys, 33 bytes each. Their positions are the signer indices.
///          signers_count: number of signers, 1 to MUSIG_MAX_SIGNERS.
///          method: a musig_election_method.
///          id: the 32 bytes of the session id, used by MUSIG_ELECTION_SESSION_SALTED only.
#[must_use]
#[unsafe(no_mangle)]
pub unsafe extern "C" fn musig_election_new(
    out: *mut *mut musig_election,
    signers: *const u8,
    signers_count: usize,
    method: i32,
    id: *const u8,
    error: *mut *mut musig_error,
) -> musig_status {
    fallible!(error, {
        let (out, id) = (out!(out), session_id(array!(id, 32)));
        let bytes = total(signers_count, 33, limits::SIGNERS, "signers_count")?;
        let signers = signer_keys(array!(signers, bytes))?;
        let method = choice::<musig_election_method>(method, "method")?;
        let election = elect(&signers, method.into(), &id).map_err(Error::from)?;
        out.give(musig_election::new(election));
        Ok(())
    })
}

/// Gets the method of an election.
///
/// Returns: a musig_election_method; -1 for NULL.
/// In:      election: the election.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn musig_election_method_of(election: *const musig_election) -> i32 {
    // SAFETY: the header asks for an election or NULL.
    let election = unsafe { election.as_ref() };
    election.map_or(-1, |election| musig_election_method::from(election.election.method).number())
}

/// Gets the signer index of the elected coordinator, the first of the priority list.
///
/// Returns: the index; UINT32_MAX for NULL.
/// In:      election: the election.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn musig_election_coordinator(election: *const musig_election) -> u32 {
    // SAFETY: the header asks for an election or NULL.
    let election = unsafe { election.as_ref() };
    election.map_or(u32::MAX, |election| election.election.coordinator as u32)
}

/// Gets the number of signers of an election.
///
/// Returns: the number of signers; 0 for NULL.
/// In:      election: the election.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn musig_election_signers(election: *const musig_election) -> usize {
    // SAFETY: the header asks for an election or NULL.
    let election = unsafe { election.as_ref() };
    election.map_or(0, |election| election.election.priority_list.len())
}

/// Gets the priority list: all signer indices in the order of their turns.
///
/// Returns: MUSIG_STATUS_OK; MUSIG_STATUS_BUFFER_TOO_SMALL.
/// In:      election: the election.
/// Out:     out: the indices, as many as there are signers.
/// In:      out_capacity: room in out, in indices; MUSIG_MAX_SIGNERS always suffices.
#[must_use]
#[unsafe(no_mangle)]
pub unsafe extern "C" fn musig_election_priority_list(
    election: *const musig_election,
    out: *mut u32,
    out_capacity: usize,
    error: *mut *mut musig_error,
) -> musig_status {
    fallible!(error, {
        let (election, out) = (get!(election), out!(out, out_capacity));
        let list: Vec<u32> = election.election.priority_list.iter().map(|index| *index as u32).collect();
        out.write(&list)
    })
}

/// Gets the signer that follows another one in the priority list.
///
/// The lexicographic and the hash-based method wrap after the last one; with the others no signer follows it.
///
/// Returns: MUSIG_STATUS_OK; MUSIG_STATUS_NOT_READY if no signer follows; MUSIG_STATUS_ELECTION if the index is out of
///          range.
/// In:      election: the election.
/// Out:     out: a signer index.
/// In:      index: a signer index.
#[must_use]
#[unsafe(no_mangle)]
pub unsafe extern "C" fn musig_election_backup_after(
    election: *const musig_election,
    out: *mut u32,
    index: u32,
    error: *mut *mut musig_error,
) -> musig_status {
    fallible!(error, {
        let (election, out) = (get!(election), out!(out));
        let backup = election.election.backup_after(index as usize).map_err(Error::from)?;
        let backup = backup.ok_or_else(|| {
            Failure::new(
                musig_status_code::NOT_READY,
                format!("no signer follows signer {index} with this election method"),
            )
        })?;
        out.set(backup as u32);
        Ok(())
    })
}

/// Gets the election proof, a hash of the set of keys that signers compare.
///
/// Returns: 64 lower-case hexadecimal digits and a NUL, which are valid as long as the election; "" for NULL.
/// In:      election: the election.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn musig_election_proof(election: *const musig_election) -> *const c_char {
    // SAFETY: the header asks for an election or NULL.
    let election = unsafe { election.as_ref() };
    election.map_or(c"".as_ptr(), |election| election.proof.as_ptr())
}

/// Verifies a claimed election: method, coordinator, priority list and proof.
///
/// Needs no node.
///
/// Returns: MUSIG_STATUS_OK if it is the election of these signers; MUSIG_STATUS_ELECTION_MISMATCH if
///          not;
///          MUSIG_STATUS_INVALID_KEY; MUSIG_STATUS_INVALID_ARGUMENT.
/// In:      signers: the compressed public keys, 33 bytes each.
///          signers_count: number of signers, 1 to MUSIG_MAX_SIGNERS.
///          method: a musig_election_method.
///          id: the 32 bytes of the session id.
///          coordinator: the claimed coordinator, a signer index.
///          priority_list: the claimed priority list, signer indices.
///          priority_list_count: number of indices in priority_list.
///          proof: the claimed election proof, as text.
#[must_use]
#[unsafe(no_mangle)]
#[allow(clippy::too_many_arguments)]
pub unsafe extern "C" fn musig_election_verify(
    signers: *const u8,
    signers_count: usize,
    method: i32,
    id: *const u8,
    coordinator: u32,
    priority_list: *const u32,
    priority_list_count: usize,
    proof: *const c_char,
    error: *mut *mut musig_error,
) -> musig_status {
    fallible!(error, {
        let (id, proof) = (session_id(array!(id, 32)), text!(proof));
        let bytes = total(signers_count, 33, limits::SIGNERS, "signers_count")?;
        let signers = signer_keys(array!(signers, bytes))?;
        let method = choice::<musig_election_method>(method, "method")?;
        let length = total(priority_list_count, 1, limits::SIGNERS, "priority_list_count")?;
        let list = array!(priority_list, length);
        let election = Election {
            method: method.into(),
            coordinator: coordinator as usize,
            priority_list: list.iter().map(|index| *index as usize).collect(),
            proof: proof.to_owned(),
        };
        if election.verify(&signers, &id) {
            return Ok(());
        }
        let message = "the election does not match these signers; call musig_election_new and compare";
        Err(Failure::new(musig_status_code::ELECTION_MISMATCH, message))
    })
}

/// Adds a reference to an election.
///
/// Returns: the same pointer.
/// In:      election: the election; NULL stays NULL.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn musig_election_ref(election: *mut musig_election) -> *mut musig_election {
    // SAFETY: the header asks for an election with a reference, or NULL.
    unsafe { add_reference(election) }
}

/// Releases a reference to an election; the last one frees it.
///
/// In:      election: the election; NULL is ignored.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn musig_election_free(election: *mut musig_election) {
    // SAFETY: the header asks for an election with a reference, or NULL.
    unsafe { release(election) }
}
