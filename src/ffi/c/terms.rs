//! The terms of a session.

use super::boundary::{choice, total};
use super::enums::{
    Enumeration, musig_broadcast, musig_election_method, musig_sighash, musig_terms_field, musig_tiers,
};
use super::error::musig_error;
use super::failure::Failure;
use super::handle::{add_reference, release};
use super::key_set::{musig_derivation, musig_key_set};
use super::proposal::musig_spent_output;
use super::status::{musig_status, musig_status_code};
use crate::protocol::limits;
use crate::protocol::proposal::{Broadcast, Proposal, Tiers};

/// The terms of a session, to which the application consents. Immutable.
pub struct musig_terms {
    proposal: Proposal,
    signers: Vec<u8>,
    digests: Vec<u8>,
}

impl musig_terms {
    pub(super) fn new(proposal: Proposal) -> Self {
        let signers = proposal.signers.iter().flat_map(|key| *key.as_bytes()).collect();
        let digests = proposal.messages.iter().flat_map(|message| message.digest).collect();
        Self { proposal, signers, digests }
    }
}

/// The numeric terms of a session.
#[repr(C)]
pub struct musig_terms_info {
    /// sizeof(musig_terms_info); the caller sets it.
    pub struct_size: u32,
    /// The signer index of the proposer.
    pub proposer: u32,
    /// Number of signers.
    pub signers_count: u32,
    /// Number of messages.
    pub messages_count: u32,
    /// Number of outputs that the transaction spends; 0 for a proposal of messages.
    pub spent_count: u32,
    /// Number of key sets, at least 1.
    pub key_sets_count: u32,
    /// A musig_election_method.
    pub election_method: i32,
    /// A musig_broadcast.
    pub broadcast: i32,
    /// A musig_tiers; MUSIG_TIERS_SINGLE without failover.
    pub tiers: i32,
    /// Signers per turn with MUSIG_TIERS_FIXED, else 0.
    pub tier_width: u32,
    /// Milliseconds after which the next turn opens; 0 without failover.
    pub broadcast_timeout: u64,
    /// Expiry of the proposal, in milliseconds since 1970-01-01 00:00 UTC.
    pub expires_at: u64,
    /// 1 if the session replaces an older one, else 0.
    pub has_replaces: i32,
    /// The id of the older session, or zeros.
    pub replaces: [u8; 32],
    /// The session id.
    pub session_id: [u8; 32],
}

/// A message of a session's terms.
#[repr(C)]
pub struct musig_message {
    /// sizeof(musig_message); the caller sets it.
    pub struct_size: u32,
    /// The digest that is signed; for a transaction the BIP-341 signature hash.
    pub digest: [u8; 32],
    /// The index of the signed input of a transaction, else 0.
    pub input: u32,
    /// A musig_sighash; MUSIG_SIGHASH_DEFAULT without a transaction.
    pub sighash: i32,
    /// The index of the key set that signs: see musig_terms_key_set.
    pub key_set: u32,
    /// What makes the final key of the key set's aggregate key: see musig_key_set_final_key.
    pub derivation: musig_derivation,
}

/// Decodes and validates encoded terms.
///
/// Needs no node.
///
/// Returns: MUSIG_STATUS_OK; MUSIG_STATUS_PROPOSAL or MUSIG_STATUS_INVALID_KEY if they are invalid.
/// Out:     out: the terms; release them with musig_terms_free.
/// In:      data: the encoded terms.
///          data_length: length of data in bytes, at most 4 MiB.
#[must_use]
#[unsafe(no_mangle)]
pub unsafe extern "C" fn musig_terms_decode(
    out: *mut *mut musig_terms,
    data: *const u8,
    data_length: usize,
    error: *mut *mut musig_error,
) -> musig_status {
    fallible!(error, {
        let out = out!(out);
        let length = total(data_length, 1, limits::PROPOSAL, "data_length")?;
        out.give(musig_terms::new(Proposal::decode(array!(data, length))?));
        Ok(())
    })
}

/// Gets the numeric terms of a session.
///
/// Returns: MUSIG_STATUS_OK; MUSIG_STATUS_STRUCT_SIZE.
/// In:      terms: the terms.
/// Out:     out: the values. Set its struct_size before the call.
#[must_use]
#[unsafe(no_mangle)]
pub unsafe extern "C" fn musig_terms_get_info(
    terms: *const musig_terms,
    out: *mut musig_terms_info,
    error: *mut *mut musig_error,
) -> musig_status {
    fallible!(error, {
        let (terms, out) = (&get!(terms).proposal, out!(sized out));
        let (broadcast, policy) = match terms.broadcast {
            Broadcast::Failover(policy) => (musig_broadcast::FAILOVER, Some(policy)),
            Broadcast::CoordinatorOnly => (musig_broadcast::COORDINATOR_ONLY, None),
            Broadcast::SignOnly => (musig_broadcast::SIGN_ONLY, None),
        };
        let (tiers, tier_width) = match policy.map(|policy| policy.tiers) {
            Some(Tiers::Single) | None => (musig_tiers::SINGLE, 0),
            Some(Tiers::Fixed(width)) => (musig_tiers::FIXED, width.into()),
            Some(Tiers::Doubling) => (musig_tiers::DOUBLING, 0),
        };
        out.set(musig_terms_info {
            struct_size: size_of::<musig_terms_info>() as u32,
            proposer: terms.proposer as u32,
            signers_count: terms.signers.len() as u32,
            messages_count: terms.messages.len() as u32,
            spent_count: terms.transaction.as_ref().map_or(0, |transaction| transaction.spent.len() as u32),
            key_sets_count: terms.key_sets.len() as u32,
            election_method: musig_election_method::from(terms.election_method).number(),
            broadcast: broadcast.number(),
            tiers: tiers.number(),
            tier_width,
            broadcast_timeout: policy.map_or(0, |policy| policy.broadcast_timeout.as_millis() as u64),
            expires_at: terms.expires_at.0,
            has_replaces: terms.replaces.is_some().into(),
            replaces: terms.replaces.map_or([0; 32], |id| id.0),
            session_id: terms.id().0,
        });
        Ok(())
    })
}

/// Gets a pointer to a bytes field of a session's terms.
///
/// Returns: MUSIG_STATUS_OK; MUSIG_STATUS_INVALID_ARGUMENT if the field is unknown; MUSIG_STATUS_NO_SUCH_FIELD for the
///          transaction of a proposal of messages.
/// In:      terms: the terms.
/// Out:     out: a pointer that is valid as long as the terms.
///          out_length: its length in bytes.
/// In:      field: a musig_terms_field.
#[must_use]
#[unsafe(no_mangle)]
pub unsafe extern "C" fn musig_terms_bytes(
    terms: *const musig_terms,
    out: *mut *const u8,
    out_length: *mut usize,
    field: i32,
    error: *mut *mut musig_error,
) -> musig_status {
    fallible!(error, {
        use musig_terms_field::*;
        let (terms, out, out_length) = (get!(terms), out!(out), out!(out_length));
        let bytes = match choice(field, "field")? {
            ENCODED => terms.proposal.as_bytes(),
            SIGNERS => &terms.signers,
            DIGESTS => &terms.digests,
            METADATA => &terms.proposal.metadata,
            TRANSACTION => match &terms.proposal.transaction {
                Some(transaction) => &transaction.unsigned,
                None => {
                    let message = "these terms are of messages; they have no transaction";
                    return Err(Failure::new(musig_status_code::NO_SUCH_FIELD, message));
                }
            },
        };
        out.set(bytes.as_ptr());
        out_length.set(bytes.len());
        Ok(())
    })
}

/// Gets an output that the transaction of a session's terms spends.
///
/// Returns: MUSIG_STATUS_OK; MUSIG_STATUS_INDEX_OUT_OF_RANGE.
/// In:      terms: the terms.
/// Out:     out: the output; its script is valid as long as the terms.
/// In:      index: the index of the input that spends it.
#[must_use]
#[unsafe(no_mangle)]
pub unsafe extern "C" fn musig_terms_spent_output(
    terms: *const musig_terms,
    out: *mut musig_spent_output,
    index: u32,
    error: *mut *mut musig_error,
) -> musig_status {
    fallible!(error, {
        let (terms, out) = (get!(terms), out!(out));
        let spent = terms.proposal.transaction.as_ref().map_or(&[][..], |transaction| &transaction.spent);
        let output =
            spent.get(index as usize).ok_or_else(|| Failure::no_such("spent output", index, spent.len()))?;
        out.set(musig_spent_output {
            value: output.value,
            script: output.script.as_ptr(),
            script_length: output.script.len(),
        });
        Ok(())
    })
}

/// Gets a message of a session's terms.
///
/// Returns: MUSIG_STATUS_OK; MUSIG_STATUS_INDEX_OUT_OF_RANGE; MUSIG_STATUS_STRUCT_SIZE.
/// In:      terms: the terms.
/// Out:     out: the message. Set its struct_size before the call.
/// In:      index: the index of the message.
#[must_use]
#[unsafe(no_mangle)]
pub unsafe extern "C" fn musig_terms_message(
    terms: *const musig_terms,
    out: *mut musig_message,
    index: u32,
    error: *mut *mut musig_error,
) -> musig_status {
    fallible!(error, {
        let (terms, out) = (get!(terms), out!(sized out));
        let messages = &terms.proposal.messages;
        let message =
            messages.get(index as usize).ok_or_else(|| Failure::no_such("message", index, messages.len()))?;
        out.set(musig_message {
            struct_size: size_of::<musig_message>() as u32,
            digest: message.digest,
            input: message.input,
            sighash: musig_sighash::from(message.sighash_type).number(),
            key_set: message.key_set as u32,
            derivation: musig_derivation::write(&message.derivation),
        });
        Ok(())
    })
}

/// Gets a key set of a session's terms.
///
/// Returns: MUSIG_STATUS_OK; MUSIG_STATUS_INDEX_OUT_OF_RANGE.
/// In:      terms: the terms.
/// Out:     out: the key set; release it with musig_key_set_free.
/// In:      index: the index of the key set.
#[must_use]
#[unsafe(no_mangle)]
pub unsafe extern "C" fn musig_terms_key_set(
    terms: *const musig_terms,
    out: *mut *mut musig_key_set,
    index: u32,
    error: *mut *mut musig_error,
) -> musig_status {
    fallible!(error, {
        let (terms, out) = (get!(terms), out!(out));
        let key_sets = &terms.proposal.key_sets;
        let key_set =
            key_sets.get(index as usize).ok_or_else(|| Failure::no_such("key set", index, key_sets.len()))?;
        out.give(musig_key_set::new(key_set.clone()));
        Ok(())
    })
}

/// Adds a reference to terms.
///
/// Returns: the same pointer.
/// In:      terms: the terms; NULL stays NULL.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn musig_terms_ref(terms: *mut musig_terms) -> *mut musig_terms {
    // SAFETY: the header asks for terms with a reference, or NULL.
    unsafe { add_reference(terms) }
}

/// Releases a reference to terms; the last one frees them.
///
/// In:      terms: the terms; NULL is ignored.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn musig_terms_free(terms: *mut musig_terms) {
    // SAFETY: the header asks for terms with a reference, or NULL.
    unsafe { release(terms) }
}
