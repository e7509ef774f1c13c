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

/// The result of an election: which signer broadcasts, and who follows.
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
/// Needs no node. The same input gives the same election everywhere.
///
/// Returns: MUSIG_STATUS_OK; MUSIG_STATUS_INVALID_KEY; MUSIG_STATUS_INVALID_ARGUMENT; MUSIG_STATUS_ELECTION if there
///          are no signers.
/// Out:     out: the election; give it up with musig_election_free.
///          error: why it failed; may be NULL.
/// In:      signers: the compressed public keys, 33 bytes each. Their positions are the signer indices.
///          signers_length: how many signers there are, 1 to MUSIG_MAX_SIGNERS.
///          method: a musig_election_method.
///          id: the 32 bytes of the session id, which only MUSIG_ELECTION_SESSION_SALTED looks at.
/// Threads: any, inside callbacks too.
/// Blocks:  never.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn musig_election_new(
    out: *mut *mut musig_election,
    signers: *const u8,
    signers_length: usize,
    method: i32,
    id: *const u8,
    error: *mut *mut musig_error,
) -> musig_status {
    fallible!(error, {
        let (out, id) = (out!(out), session_id(array!(id, 32)));
        let bytes = total(signers_length, 33, limits::SIGNERS, "signers_length")?;
        let signers = signer_keys(array!(signers, bytes))?;
        let method = choice::<musig_election_method>(method, "method")?;
        let election = elect(&signers, method.into(), &id).map_err(Error::from)?;
        out.give(musig_election::new(election));
        Ok(())
    })
}

/// Tells how an election was made.
///
/// Returns: a musig_election_method; -1 for NULL.
/// In:      election: the election.
/// Threads: any, inside callbacks too.
/// Blocks:  never.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn musig_election_method_of(election: *const musig_election) -> i32 {
    // SAFETY: the header asks for an election or NULL.
    let election = unsafe { election.as_ref() };
    election.map_or(-1, |election| musig_election_method::from(election.election.method).number())
}

/// Tells the signer index of the elected coordinator: the first of the priority list.
///
/// Returns: the index; UINT32_MAX for NULL.
/// In:      election: the election.
/// Threads: any, inside callbacks too.
/// Blocks:  never.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn musig_election_coordinator(election: *const musig_election) -> u32 {
    // SAFETY: the header asks for an election or NULL.
    let election = unsafe { election.as_ref() };
    election.map_or(u32::MAX, |election| election.election.coordinator as u32)
}

/// Counts the signers of an election.
///
/// Returns: how many there are; 0 for NULL.
/// In:      election: the election.
/// Threads: any, inside callbacks too.
/// Blocks:  never.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn musig_election_signers(election: *const musig_election) -> usize {
    // SAFETY: the header asks for an election or NULL.
    let election = unsafe { election.as_ref() };
    election.map_or(0, |election| election.election.priority_list.len())
}

/// Tells all signer indices in the order in which they take their turn.
///
/// Returns: MUSIG_STATUS_OK; MUSIG_STATUS_BUFFER_TOO_SMALL.
/// Out:     out: gets as many indices as there are signers.
///          error: why it failed; may be NULL.
/// In:      election: the election.
///          out_length: how many indices there is room for; MUSIG_MAX_SIGNERS always suffices.
/// Threads: any, inside callbacks too.
/// Blocks:  never.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn musig_election_priority_list(
    election: *const musig_election,
    out: *mut u32,
    out_length: usize,
    error: *mut *mut musig_error,
) -> musig_status {
    fallible!(error, {
        let (election, out) = (get!(election), out!(out, out_length));
        let list: Vec<u32> = election.election.priority_list.iter().map(|index| *index as u32).collect();
        out.write(&list)
    })
}

/// Tells the signer that follows another one in the priority list.
///
/// After the last one it is the first again for the lexicographic and the hash-based method, and nobody for the others.
///
/// Returns: MUSIG_STATUS_OK; MUSIG_STATUS_NOT_READY if nobody follows; MUSIG_STATUS_ELECTION if there is no signer of
///          this index.
/// Out:     out: a signer index.
///          error: why it failed; may be NULL.
/// In:      election: the election.
///          index: a signer index.
/// Threads: any, inside callbacks too.
/// Blocks:  never.
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
            Failure::new(musig_status_code::NOT_READY, format!("nobody follows signer {index}"))
        })?;
        out.set(backup as u32);
        Ok(())
    })
}

/// Tells the election proof: what signers compare to know that they have the same set of keys.
///
/// Returns: 64 lower-case hexadecimal digits and a NUL, which live as long as the election; "" for NULL.
/// In:      election: the election.
/// Threads: any, inside callbacks too.
/// Blocks:  never.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn musig_election_proof(election: *const musig_election) -> *const c_char {
    // SAFETY: the header asks for an election or NULL.
    let election = unsafe { election.as_ref() };
    election.map_or(c"".as_ptr(), |election| election.proof.as_ptr())
}

/// Checks what somebody says that an election is: method, coordinator, list and proof.
///
/// Needs no node.
///
/// Returns: MUSIG_STATUS_OK if it is the election of these signers; MUSIG_STATUS_ELECTION_MISMATCH if not;
///          MUSIG_STATUS_INVALID_KEY; MUSIG_STATUS_INVALID_ARGUMENT.
/// Out:     error: why it failed; may be NULL.
/// In:      signers: the compressed public keys, 33 bytes each.
///          signers_length: how many signers there are, 1 to MUSIG_MAX_SIGNERS.
///          method: a musig_election_method.
///          id: the 32 bytes of the session id.
///          coordinator: the signer index that is said to be elected.
///          priority_list: the signer indices that are said to be the list.
///          priority_list_length: how many there are.
///          proof: the election proof, a text.
/// Threads: any, inside callbacks too.
/// Blocks:  never.
#[unsafe(no_mangle)]
#[allow(clippy::too_many_arguments)]
pub unsafe extern "C" fn musig_election_verify(
    signers: *const u8,
    signers_length: usize,
    method: i32,
    id: *const u8,
    coordinator: u32,
    priority_list: *const u32,
    priority_list_length: usize,
    proof: *const c_char,
    error: *mut *mut musig_error,
) -> musig_status {
    fallible!(error, {
        let (id, proof) = (session_id(array!(id, 32)), text!(proof));
        let bytes = total(signers_length, 33, limits::SIGNERS, "signers_length")?;
        let signers = signer_keys(array!(signers, bytes))?;
        let method = choice::<musig_election_method>(method, "method")?;
        let length = total(priority_list_length, 1, limits::SIGNERS, "priority_list_length")?;
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
        let message = "this is not the election of these signers; elect again and compare";
        Err(Failure::new(musig_status_code::ELECTION_MISMATCH, message))
    })
}

/// Takes one more reference to an election.
///
/// Returns: the same pointer.
/// In:      election: the election; NULL stays NULL.
/// Threads: any, inside callbacks too.
/// Blocks:  never.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn musig_election_ref(election: *mut musig_election) -> *mut musig_election {
    // SAFETY: the header asks for an election with a reference, or NULL.
    unsafe { add_reference(election) }
}

/// Gives up one reference to an election; the last one frees it.
///
/// In:      election: the election; nothing is done for NULL.
/// Threads: any, inside callbacks too.
/// Blocks:  never.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn musig_election_free(election: *mut musig_election) {
    // SAFETY: the header asks for an election with a reference, or NULL.
    unsafe { release(election) }
}
