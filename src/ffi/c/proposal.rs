//! Proposals.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use super::boundary::{choice, fixed, flag, session_id, signer_keys, total};
use super::enums::{musig_election_method, musig_key_order, musig_sighash, musig_tiers};
use super::error::musig_error;
use super::failure::{Failure, Outcome};
use super::handle::{add_reference, release};
use super::status::{musig_status, musig_status_code};
use super::version::MUSIG_NO_TWEAK;
use crate::node::{Content, SessionRequest};
use crate::protocol::limits;
use crate::protocol::proposal::{FailoverPolicy, Message, SpentOutput, Tiers, Tweak};

/// A proposal: the terms of a session to be created. Terms that are not set have defaults.
pub struct musig_proposal(Mutex<SessionRequest>);

/// An output that a transaction spends.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct musig_spent_output {
    /// Its value in satoshis.
    pub value: u64,
    /// Its script (scriptPubKey).
    pub script: *const u8,
    /// Length of its script in bytes.
    pub script_length: usize,
}

impl musig_proposal {
    fn new(request: SessionRequest) -> Self {
        Self(Mutex::new(request))
    }

    fn lock(&self) -> MutexGuard<'_, SessionRequest> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The request that these terms make.
    pub(super) fn request(&self) -> SessionRequest {
        self.lock().clone()
    }
}

/// Reads the signers of a new proposal: 33 bytes each.
macro_rules! signers {
    ($signers:ident, $length:ident) => {{
        let bytes = total($length, 33, limits::SIGNERS, stringify!($length))?;
        signer_keys(array!($signers, bytes))?
    }};
}

/// Creates a proposal to sign 32-byte messages with the signers' aggregate key, optionally tweaked.
///
/// The session yields signatures and turns; the applications build and broadcast the transaction.
///
/// Returns: MUSIG_STATUS_OK; MUSIG_STATUS_INVALID_KEY; MUSIG_STATUS_INVALID_ARGUMENT if there are too many signers or
///          messages.
/// Out:     out: the proposal; release it with musig_proposal_free.
/// In:      signers: the compressed public keys, 33 bytes each. Their positions are the signer indices.
///          signers_count: number of signers, 1 to MUSIG_MAX_SIGNERS.
///          messages: the messages to sign, 32 bytes each.
///          messages_count: number of messages (not bytes), 1 to MUSIG_MAX_MESSAGES.
#[must_use]
#[unsafe(no_mangle)]
pub unsafe extern "C" fn musig_proposal_new_messages(
    out: *mut *mut musig_proposal,
    signers: *const u8,
    signers_count: usize,
    messages: *const u8,
    messages_count: usize,
    error: *mut *mut musig_error,
) -> musig_status {
    fallible!(error, {
        let out = out!(out);
        let signers = signers!(signers, signers_count);
        let bytes = total(messages_count, 32, limits::MESSAGES, "messages_count")?;
        let messages = array!(messages, bytes);
        let messages = messages.chunks_exact(32).map(|digest| Message::raw(fixed(digest), None)).collect();
        out.give(musig_proposal::new(SessionRequest::messages(signers, messages)));
        Ok(())
    })
}

/// Creates a proposal to sign all inputs of a transaction that pay to the signers' key, by the Taproot key path
/// (BIP-341).
///
/// Every node computes the signature hashes itself. Without musig_proposal_add_tweak the key is the aggregate key with
/// the BIP-341 tweak and no scripts.
///
/// Returns: MUSIG_STATUS_OK; MUSIG_STATUS_INVALID_KEY; MUSIG_STATUS_INVALID_ARGUMENT if a limit is exceeded. The
///          transaction itself is checked by musig_node_create_session.
/// Out:     out: the proposal; release it with musig_proposal_free.
/// In:      signers: the compressed public keys, 33 bytes each. Their positions are the signer indices.
///          signers_count: number of signers, 1 to MUSIG_MAX_SIGNERS.
///          transaction: the transaction in consensus encoding; inputs of others carry their final witnesses.
///          transaction_length: length of the transaction in bytes.
///          spent: the outputs that it spends, one per input.
///          spent_count: number of spent outputs.
#[must_use]
#[unsafe(no_mangle)]
pub unsafe extern "C" fn musig_proposal_new_transaction(
    out: *mut *mut musig_proposal,
    signers: *const u8,
    signers_count: usize,
    transaction: *const u8,
    transaction_length: usize,
    spent: *const musig_spent_output,
    spent_count: usize,
    error: *mut *mut musig_error,
) -> musig_status {
    fallible!(error, {
        let out = out!(out);
        let signers = signers!(signers, signers_count);
        let length = total(transaction_length, 1, limits::PROPOSAL, "transaction_length")?;
        let unsigned = array!(transaction, length).to_vec();
        total(spent_count, 1, limits::PROPOSAL / 8, "spent_count")?;
        let mut outputs = Vec::new();
        for output in array!(spent, spent_count) {
            let (script, length) = (output.script, output.script_length);
            let length = total(length, 1, limits::PROPOSAL, "script_length")?;
            let script = array!(optional script, length).to_vec();
            outputs.push(SpentOutput { value: output.value, script });
        }
        out.give(musig_proposal::new(SessionRequest::transaction(signers, unsigned, outputs)));
        Ok(())
    })
}

/// Sets the order of key aggregation.
///
/// Returns: MUSIG_STATUS_OK; MUSIG_STATUS_INVALID_ARGUMENT if the order is unknown.
/// In:      proposal: the proposal.
///          order: a musig_key_order.
#[must_use]
#[unsafe(no_mangle)]
pub unsafe extern "C" fn musig_proposal_set_key_order(
    proposal: *const musig_proposal,
    order: i32,
    error: *mut *mut musig_error,
) -> musig_status {
    fallible!(error, {
        let (proposal, order) = (get!(proposal), choice::<musig_key_order>(order, "order")?);
        proposal.lock().key_order = order.into();
        Ok(())
    })
}

/// Sets the signature hash type of a transaction.
///
/// Returns: MUSIG_STATUS_OK; MUSIG_STATUS_INVALID_ARGUMENT if the type is unknown; MUSIG_STATUS_NO_SUCH_FIELD for a
///          proposal of messages.
/// In:      proposal: the proposal.
///          sighash: a musig_sighash.
#[must_use]
#[unsafe(no_mangle)]
pub unsafe extern "C" fn musig_proposal_set_sighash(
    proposal: *const musig_proposal,
    sighash: i32,
    error: *mut *mut musig_error,
) -> musig_status {
    fallible!(error, {
        let (proposal, chosen) = (get!(proposal), choice::<musig_sighash>(sighash, "sighash")?);
        let Content::Transaction { sighash_type, .. } = &mut proposal.lock().content else {
            let message = "messages have no hash type; propose a transaction to set one";
            return Err(Failure::new(musig_status_code::NO_SUCH_FIELD, message));
        };
        *sighash_type = chosen.into();
        Ok(())
    })
}

/// Sets the election method.
///
/// Returns: MUSIG_STATUS_OK; MUSIG_STATUS_INVALID_ARGUMENT if the method is unknown.
/// In:      proposal: the proposal.
///          method: a musig_election_method.
#[must_use]
#[unsafe(no_mangle)]
pub unsafe extern "C" fn musig_proposal_set_election_method(
    proposal: *const musig_proposal,
    method: i32,
    error: *mut *mut musig_error,
) -> musig_status {
    fallible!(error, {
        let (proposal, method) = (get!(proposal), choice::<musig_election_method>(method, "method")?);
        proposal.lock().election_method = method.into();
        Ok(())
    })
}

/// Sets the failover policy: when the next coordinators are to broadcast.
///
/// By default each turn has one coordinator and lasts five minutes.
///
/// Returns: MUSIG_STATUS_OK; MUSIG_STATUS_INVALID_ARGUMENT if a value is out of range.
/// In:      proposal: the proposal.
///          enabled: 1, or 0 if only the elected coordinator is to broadcast.
///          broadcast_timeout: milliseconds after which the next turn opens, 1000 to 86400000.
///          tiers: a musig_tiers.
///          width: signers per turn with MUSIG_TIERS_FIXED, 1 to MUSIG_MAX_SIGNERS; else 0.
#[must_use]
#[unsafe(no_mangle)]
pub unsafe extern "C" fn musig_proposal_set_failover(
    proposal: *const musig_proposal,
    enabled: i32,
    broadcast_timeout: u64,
    tiers: i32,
    width: u32,
    error: *mut *mut musig_error,
) -> musig_status {
    fallible!(error, {
        let (proposal, enabled) = (get!(proposal), flag(enabled, "enabled")?);
        let timeout = Duration::from_millis(broadcast_timeout);
        if !limits::BROADCAST_TIMEOUT.contains(&timeout) {
            let message = format!("broadcast_timeout is {broadcast_timeout} ms; choose 1 s to 24 h");
            return Err(Failure::invalid(message));
        }
        use musig_tiers::{DOUBLING, FIXED, SINGLE};
        let tiers = choice(tiers, "tiers")?;
        let tiers = match (tiers, width) {
            (SINGLE, 0) => Tiers::Single,
            (DOUBLING, 0) => Tiers::Doubling,
            (FIXED, 1..=128) => Tiers::Fixed(width as u16),
            _ => return Err(Failure::invalid(format!("width is {width}, which does not fit these tiers"))),
        };
        proposal.lock().failover = FailoverPolicy { enabled, broadcast_timeout: timeout, tiers };
        Ok(())
    })
}

/// Sets the time to live of the session, after which it expires.
///
/// Returns: MUSIG_STATUS_OK; MUSIG_STATUS_INVALID_ARGUMENT if it is zero, or more than 30 days.
/// In:      proposal: the proposal.
///          time: the time to live in milliseconds. Default: 24 hours.
#[must_use]
#[unsafe(no_mangle)]
pub unsafe extern "C" fn musig_proposal_set_expires_in(
    proposal: *const musig_proposal,
    time: u64,
    error: *mut *mut musig_error,
) -> musig_status {
    fallible!(error, {
        let (proposal, duration) = (get!(proposal), Duration::from_millis(time));
        if duration.is_zero() || duration > limits::EXPIRY {
            return Err(Failure::invalid(format!("time is {time} ms; choose 1 ms to 30 days")));
        }
        proposal.lock().expires_in = duration;
        Ok(())
    })
}

/// Sets the metadata: bytes of the application for the other signers.
///
/// Returns: MUSIG_STATUS_OK; MUSIG_STATUS_INVALID_ARGUMENT if it is longer than 4096 bytes.
/// In:      proposal: the proposal.
///          metadata: the bytes.
///          metadata_length: length of metadata in bytes, at most 4096.
#[must_use]
#[unsafe(no_mangle)]
pub unsafe extern "C" fn musig_proposal_set_metadata(
    proposal: *const musig_proposal,
    metadata: *const u8,
    metadata_length: usize,
    error: *mut *mut musig_error,
) -> musig_status {
    fallible!(error, {
        let proposal = get!(proposal);
        let length = total(metadata_length, 1, limits::METADATA, "metadata_length")?;
        let metadata = array!(metadata, length).to_vec();
        proposal.lock().metadata = metadata;
        Ok(())
    })
}

/// Sets the older session whose transaction this one replaces, for a fee bump.
///
/// Returns: MUSIG_STATUS_OK.
/// In:      proposal: the proposal.
///          id: the 32 bytes of the older session's id.
#[must_use]
#[unsafe(no_mangle)]
pub unsafe extern "C" fn musig_proposal_set_replaces(
    proposal: *const musig_proposal,
    id: *const u8,
    error: *mut *mut musig_error,
) -> musig_status {
    fallible!(error, {
        let (proposal, id) = (get!(proposal), array!(id, 32));
        proposal.lock().replaces = Some(session_id(id));
        Ok(())
    })
}

/// Adds a tweak (BIP-327 ApplyTweak).
///
/// In a proposal of a transaction the tweaked keys are matched with the outputs that its inputs spend; in one of
/// messages, musig_proposal_set_message_tweak assigns tweaks to messages.
///
/// Returns: MUSIG_STATUS_OK; MUSIG_STATUS_INVALID_ARGUMENT if follows is not an earlier tweak, or there are too many.
/// In:      proposal: the proposal.
/// Out:     out: the index of the tweak.
/// In:      follows: the index of the preceding tweak, or MUSIG_NO_TWEAK.
///          x_only: is_xonly_t of BIP-327: 1 for BIP-341, 0 for BIP-32 (BIP-328).
///          scalar: the 32 bytes of a scalar less than the order of secp256k1, big-endian.
#[must_use]
#[unsafe(no_mangle)]
pub unsafe extern "C" fn musig_proposal_add_tweak(
    proposal: *const musig_proposal,
    out: *mut u32,
    follows: u32,
    x_only: i32,
    scalar: *const u8,
    error: *mut *mut musig_error,
) -> musig_status {
    fallible!(error, {
        let (proposal, out, scalar) = (get!(proposal), out!(out), fixed(array!(scalar, 32)));
        let x_only = flag(x_only, "x_only")?;
        let mut request = proposal.lock();
        let index = request.tweaks.as_ref().map_or(0, Vec::len);
        let follows = tweak_index(follows, index, "follows")?;
        if index >= limits::TWEAKS {
            return Err(Failure::invalid(format!("a proposal has at most {} tweaks", limits::TWEAKS)));
        }
        request.tweaks.get_or_insert_default().push(Tweak { follows, x_only, scalar });
        out.set(index as u32);
        Ok(())
    })
}

fn tweak_index(index: u32, count: usize, name: &str) -> Outcome<Option<usize>> {
    match index {
        MUSIG_NO_TWEAK => Ok(None),
        index if (index as usize) < count => Ok(Some(index as usize)),
        index => Err(Failure::invalid(format!("{name} is {index}; there are {count} tweaks"))),
    }
}

/// Sets the last tweak of the key that a message is signed with.
///
/// Returns: MUSIG_STATUS_OK; MUSIG_STATUS_INDEX_OUT_OF_RANGE if the message does not exist;
///          MUSIG_STATUS_INVALID_ARGUMENT if the tweak does not exist; MUSIG_STATUS_NO_SUCH_FIELD for a proposal of a
///          transaction.
/// In:      proposal: the proposal.
///          message: the index of the message.
///          tweak: the index of the tweak, or MUSIG_NO_TWEAK for the aggregate key itself.
#[must_use]
#[unsafe(no_mangle)]
pub unsafe extern "C" fn musig_proposal_set_message_tweak(
    proposal: *const musig_proposal,
    message: u32,
    tweak: u32,
    error: *mut *mut musig_error,
) -> musig_status {
    fallible!(error, {
        let proposal = get!(proposal);
        let mut request = proposal.lock();
        let tweak = tweak_index(tweak, request.tweaks.as_ref().map_or(0, Vec::len), "tweak")?;
        let Content::Messages(messages) = &mut request.content else {
            let message = "the inputs of a transaction find their tweaks themselves";
            return Err(Failure::new(musig_status_code::NO_SUCH_FIELD, message));
        };
        let count = messages.len();
        let message = messages.get_mut(message as usize).ok_or_else(|| {
            let text = format!("there is no message {message} among {count}");
            Failure::new(musig_status_code::INDEX_OUT_OF_RANGE, text)
        })?;
        message.tweak = tweak;
        Ok(())
    })
}

/// Adds a reference to a proposal.
///
/// Returns: the same pointer.
/// In:      proposal: the proposal; NULL stays NULL.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn musig_proposal_ref(proposal: *mut musig_proposal) -> *mut musig_proposal {
    // SAFETY: the header asks for a proposal with a reference, or NULL.
    unsafe { add_reference(proposal) }
}

/// Releases a reference to a proposal; the last one frees it.
///
/// Sessions created from it are not affected.
///
/// In:      proposal: the proposal; NULL is ignored.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn musig_proposal_free(proposal: *mut musig_proposal) {
    // SAFETY: the header asks for a proposal with a reference, or NULL.
    unsafe { release(proposal) }
}
