//! The terms of a session, to be read.

use super::boundary::{choice, total};
use super::enums::{
    Enumeration, musig_election_method, musig_key_order, musig_sighash, musig_terms_field, musig_tiers,
};
use super::error::musig_error;
use super::failure::Failure;
use super::handle::{add_reference, release};
use super::proposal::musig_spent_output;
use super::status::{musig_status, musig_status_code};
use crate::protocol::limits;
use crate::protocol::proposal::{Proposal, Tiers};

/// The terms of a session: what its application is asked to consent to. They never change.
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

/// The numbers of a session's terms.
#[repr(C)]
pub struct musig_terms_info {
    /// sizeof(musig_terms_info); the caller sets it.
    pub struct_size: u32,
    /// The signer index of whoever proposes.
    pub proposer: u32,
    /// How many signers there are.
    pub signers: u32,
    /// How many messages there are.
    pub messages: u32,
    /// How many outputs the transaction spends; 0 for a proposal of messages.
    pub spent: u32,
    /// A musig_key_order.
    pub key_order: i32,
    /// A musig_election_method.
    pub election_method: i32,
    /// 0 if only the elected coordinator is asked to broadcast.
    pub failover_enabled: i32,
    /// A musig_tiers.
    pub tiers: i32,
    /// Signers in each turn with MUSIG_TIERS_FIXED, else 0.
    pub tier_width: u32,
    /// How many milliseconds a turn lasts before the next one opens.
    pub broadcast_timeout: u64,
    /// When the proposal expires, in milliseconds since 1970-01-01 00:00 UTC.
    pub expires_at: u64,
    /// 1 if it replaces an older session.
    pub has_replaces: i32,
    /// The older session that it replaces, or zeros.
    pub replaces: [u8; 32],
    /// The session id.
    pub session_id: [u8; 32],
}

/// A message of a session's terms.
#[repr(C)]
pub struct musig_message {
    /// What is signed; for a transaction its BIP-341 signature hash.
    pub digest: [u8; 32],
    /// For a transaction: the input that the signature is for. Else 0.
    pub input: u32,
    /// For a transaction: a musig_sighash. Else MUSIG_SIGHASH_DEFAULT.
    pub sighash: i32,
}

/// A tweak of a session's terms.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct musig_tweak {
    /// A number below the order of secp256k1, big-endian.
    pub scalar: [u8; 32],
    /// BIP-327's is_xonly_t.
    pub x_only: i32,
}

fn no_index(what: &str, index: u32, count: usize) -> Failure {
    let message = format!("there is no {what} {index} among {count}");
    Failure::new(musig_status_code::INDEX_OUT_OF_RANGE, message)
}

/// Decodes and checks encoded terms.
///
/// Needs no node.
///
/// Returns: MUSIG_STATUS_OK; MUSIG_STATUS_PROPOSAL or MUSIG_STATUS_INVALID_KEY if they are refused.
/// Out:     out: the terms; give them up with musig_terms_free.
///          error: why it failed; may be NULL.
/// In:      data: the encoded terms.
///          data_length: how many bytes there are, at most 4 MiB.
/// Threads: any, inside callbacks too.
/// Blocks:  never.
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

/// Tells the numbers of a session's terms.
///
/// Returns: MUSIG_STATUS_OK; MUSIG_STATUS_STRUCT_SIZE.
/// Out:     out: gets the numbers. Set its struct_size before.
///          error: why it failed; may be NULL.
/// In:      terms: the terms.
/// Threads: any, inside callbacks too.
/// Blocks:  never.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn musig_terms_get_info(
    terms: *const musig_terms,
    out: *mut musig_terms_info,
    error: *mut *mut musig_error,
) -> musig_status {
    fallible!(error, {
        let (terms, out) = (&get!(terms).proposal, out!(sized out));
        let (tiers, tier_width) = match terms.failover.tiers {
            Tiers::Single => (musig_tiers::SINGLE, 0),
            Tiers::Fixed(width) => (musig_tiers::FIXED, width.into()),
            Tiers::Doubling => (musig_tiers::DOUBLING, 0),
        };
        out.set(musig_terms_info {
            struct_size: size_of::<musig_terms_info>() as u32,
            proposer: terms.proposer as u32,
            signers: terms.signers.len() as u32,
            messages: terms.messages.len() as u32,
            spent: terms.transaction.as_ref().map_or(0, |transaction| transaction.spent.len() as u32),
            key_order: musig_key_order::from(terms.key_order).number(),
            election_method: musig_election_method::from(terms.election_method).number(),
            failover_enabled: terms.failover.enabled.into(),
            tiers: tiers.number(),
            tier_width,
            broadcast_timeout: terms.failover.broadcast_timeout.as_millis() as u64,
            expires_at: terms.expires_at.0,
            has_replaces: terms.replaces.is_some().into(),
            replaces: terms.replaces.map_or([0; 32], |id| id.0),
            session_id: terms.id().0,
        });
        Ok(())
    })
}

/// Points to bytes of a session's terms.
///
/// Returns: MUSIG_STATUS_OK; MUSIG_STATUS_INVALID_ARGUMENT if there is no such field; MUSIG_STATUS_NO_SUCH_FIELD for the
///          transaction of a proposal of messages.
/// Out:     out: a pointer that lives as long as the terms.
///          out_length: how many bytes there are.
///          error: why it failed; may be NULL.
/// In:      terms: the terms.
///          field: a musig_terms_field.
/// Threads: any, inside callbacks too.
/// Blocks:  never.
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

/// Tells an output that the transaction of a session's terms spends.
///
/// Returns: MUSIG_STATUS_OK; MUSIG_STATUS_INDEX_OUT_OF_RANGE.
/// Out:     out: the output; its script lives as long as the terms.
///          error: why it failed; may be NULL.
/// In:      terms: the terms.
///          index: the input that spends it.
/// Threads: any, inside callbacks too.
/// Blocks:  never.
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
        let output = spent.get(index as usize).ok_or_else(|| no_index("spent output", index, spent.len()))?;
        out.set(musig_spent_output {
            value: output.value,
            script: output.script.as_ptr(),
            script_length: output.script.len(),
        });
        Ok(())
    })
}

/// Tells a message of a session's terms.
///
/// Returns: MUSIG_STATUS_OK; MUSIG_STATUS_INDEX_OUT_OF_RANGE.
/// Out:     out: the message.
///          error: why it failed; may be NULL.
/// In:      terms: the terms.
///          index: the index of the message.
/// Threads: any, inside callbacks too.
/// Blocks:  never.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn musig_terms_message(
    terms: *const musig_terms,
    out: *mut musig_message,
    index: u32,
    error: *mut *mut musig_error,
) -> musig_status {
    fallible!(error, {
        let (terms, out) = (get!(terms), out!(out));
        let messages = &terms.proposal.messages;
        let message =
            messages.get(index as usize).ok_or_else(|| no_index("message", index, messages.len()))?;
        out.set(musig_message {
            digest: message.digest,
            input: message.input,
            sighash: musig_sighash::from(message.sighash_type).number(),
        });
        Ok(())
    })
}

/// Tells the tweaks of the key that a message is signed with, in the order in which they are applied.
///
/// Returns: MUSIG_STATUS_OK; MUSIG_STATUS_INDEX_OUT_OF_RANGE; MUSIG_STATUS_BUFFER_TOO_SMALL.
/// Out:     out: gets the tweaks.
///          count: how many there are; 0 for the aggregate key itself.
///          error: why it failed; may be NULL.
/// In:      terms: the terms.
///          out_length: how many tweaks there is room for; 16 always suffice.
///          index: the index of the message.
/// Threads: any, inside callbacks too.
/// Blocks:  never.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn musig_terms_message_tweaks(
    terms: *const musig_terms,
    out: *mut musig_tweak,
    out_length: usize,
    count: *mut usize,
    index: u32,
    error: *mut *mut musig_error,
) -> musig_status {
    fallible!(error, {
        let (terms, out, count) = (get!(terms), out!(out, out_length), out!(count));
        let messages = terms.proposal.messages.len();
        if index as usize >= messages {
            return Err(no_index("message", index, messages));
        }
        let path = terms.proposal.tweak_path(index as usize);
        let path: Vec<musig_tweak> = path
            .iter()
            .map(|tweak| musig_tweak { scalar: tweak.scalar, x_only: tweak.x_only.into() })
            .collect();
        out.write(&path)?;
        count.set(path.len());
        Ok(())
    })
}

/// Takes one more reference to terms.
///
/// Returns: the same pointer.
/// In:      terms: the terms; NULL stays NULL.
/// Threads: any, inside callbacks too.
/// Blocks:  never.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn musig_terms_ref(terms: *mut musig_terms) -> *mut musig_terms {
    // SAFETY: the header asks for terms with a reference, or NULL.
    unsafe { add_reference(terms) }
}

/// Gives up one reference to terms; the last one frees them.
///
/// In:      terms: the terms; nothing is done for NULL.
/// Threads: any, inside callbacks too.
/// Blocks:  never.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn musig_terms_free(terms: *mut musig_terms) {
    // SAFETY: the header asks for terms with a reference, or NULL.
    unsafe { release(terms) }
}
