//! Proposals to be.

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

/// The terms of a session to be. What is not set has a default.
pub struct musig_proposal(Mutex<SessionRequest>);

/// An output that a transaction spends.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct musig_spent_output {
    /// Its value in satoshis.
    pub value: u64,
    /// Its script (scriptPubKey).
    pub script: *const u8,
    /// Bytes of its script.
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

/// Begins a proposal to sign 32-byte messages with the signers' aggregate key, or with tweaked ones.
///
/// The nodes hand out signatures and turns; the applications build and broadcast.
///
/// Returns: MUSIG_STATUS_OK; MUSIG_STATUS_INVALID_KEY; MUSIG_STATUS_INVALID_ARGUMENT for too many signers or messages.
/// Out:     out: the proposal; give it up with musig_proposal_free.
///          error: why it failed; may be NULL.
/// In:      signers: the compressed public keys, 33 bytes each. Their positions are the signer indices.
///          signers_length: how many signers there are, 1 to MUSIG_MAX_SIGNERS.
///          messages: what is to be signed, 32 bytes each.
///          messages_length: how many messages there are, 1 to MUSIG_MAX_MESSAGES.
/// Threads: any, inside callbacks too.
/// Blocks:  never.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn musig_proposal_new_messages(
    out: *mut *mut musig_proposal,
    signers: *const u8,
    signers_length: usize,
    messages: *const u8,
    messages_length: usize,
    error: *mut *mut musig_error,
) -> musig_status {
    fallible!(error, {
        let out = out!(out);
        let signers = signers!(signers, signers_length);
        let bytes = total(messages_length, 32, limits::MESSAGES, "messages_length")?;
        let messages = array!(messages, bytes);
        let messages = messages.chunks_exact(32).map(|digest| Message::raw(fixed(digest), None)).collect();
        out.give(musig_proposal::new(SessionRequest::messages(signers, messages)));
        Ok(())
    })
}

/// Begins a proposal to sign all inputs of a transaction that the signers' key owns, by the Taproot key path (BIP-341).
///
/// Every node computes the signature hashes itself. Without musig_proposal_add_tweak the key is the aggregate key with
/// the BIP-341 tweak and no scripts.
///
/// Returns: MUSIG_STATUS_OK; MUSIG_STATUS_INVALID_KEY; MUSIG_STATUS_INVALID_ARGUMENT for too many or too long things.
///          What the transaction itself is refused for is said by musig_node_create_session.
/// Out:     out: the proposal; give it up with musig_proposal_free.
///          error: why it failed; may be NULL.
/// In:      signers: the compressed public keys, 33 bytes each. Their positions are the signer indices.
///          signers_length: how many signers there are, 1 to MUSIG_MAX_SIGNERS.
///          transaction: its consensus encoding, in which inputs of others carry their final witnesses.
///          transaction_length: bytes of the transaction.
///          spent: the outputs that it spends, one for each input.
///          spent_length: how many spent outputs there are.
/// Threads: any, inside callbacks too.
/// Blocks:  never.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn musig_proposal_new_transaction(
    out: *mut *mut musig_proposal,
    signers: *const u8,
    signers_length: usize,
    transaction: *const u8,
    transaction_length: usize,
    spent: *const musig_spent_output,
    spent_length: usize,
    error: *mut *mut musig_error,
) -> musig_status {
    fallible!(error, {
        let out = out!(out);
        let signers = signers!(signers, signers_length);
        let length = total(transaction_length, 1, limits::PROPOSAL, "transaction_length")?;
        let unsigned = array!(transaction, length).to_vec();
        total(spent_length, 1, limits::PROPOSAL / 8, "spent_length")?;
        let mut outputs = Vec::new();
        for output in array!(spent, spent_length) {
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
/// Returns: MUSIG_STATUS_OK; MUSIG_STATUS_INVALID_ARGUMENT if there is no such order.
/// Out:     error: why it failed; may be NULL.
/// In:      proposal: the proposal.
///          order: a musig_key_order.
/// Threads: any, inside callbacks too.
/// Blocks:  never.
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

/// Sets the hash type of a transaction's signatures.
///
/// Returns: MUSIG_STATUS_OK; MUSIG_STATUS_INVALID_ARGUMENT if there is no such type; MUSIG_STATUS_NO_SUCH_FIELD for a
///          proposal of messages.
/// Out:     error: why it failed; may be NULL.
/// In:      proposal: the proposal.
///          sighash: a musig_sighash.
/// Threads: any, inside callbacks too.
/// Blocks:  never.
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

/// Sets how the coordinator is elected.
///
/// Returns: MUSIG_STATUS_OK; MUSIG_STATUS_INVALID_ARGUMENT if there is no such method.
/// Out:     error: why it failed; may be NULL.
/// In:      proposal: the proposal.
///          method: a musig_election_method.
/// Threads: any, inside callbacks too.
/// Blocks:  never.
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

/// Sets when the next signers are to broadcast.
///
/// By default they are, one after the other, after five minutes each.
///
/// Returns: MUSIG_STATUS_OK; MUSIG_STATUS_INVALID_ARGUMENT if a value cannot be.
/// Out:     error: why it failed; may be NULL.
/// In:      proposal: the proposal.
///          enabled: 1, or 0 to ask only the elected coordinator to broadcast.
///          broadcast_timeout: how many milliseconds a turn lasts before the next one opens: 1000 to 86400000.
///          tiers: a musig_tiers.
///          width: signers in each turn with MUSIG_TIERS_FIXED, 1 to MUSIG_MAX_SIGNERS; else 0.
/// Threads: any, inside callbacks too.
/// Blocks:  never.
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

/// Sets after how long the session ends if it has no other end.
///
/// Returns: MUSIG_STATUS_OK; MUSIG_STATUS_INVALID_ARGUMENT for zero, or for more than 30 days.
/// Out:     error: why it failed; may be NULL.
/// In:      proposal: the proposal.
///          time: milliseconds. Default: 24 hours.
/// Threads: any, inside callbacks too.
/// Blocks:  never.
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

/// Sets the application's own words to the other signers.
///
/// Returns: MUSIG_STATUS_OK; MUSIG_STATUS_INVALID_ARGUMENT for more than 4096 bytes.
/// Out:     error: why it failed; may be NULL.
/// In:      proposal: the proposal.
///          metadata: any bytes.
///          metadata_length: how many there are, at most 4096.
/// Threads: any, inside callbacks too.
/// Blocks:  never.
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

/// Names an older session whose transaction this one replaces: a fee bump.
///
/// Returns: MUSIG_STATUS_OK.
/// Out:     error: why it failed; may be NULL.
/// In:      proposal: the proposal.
///          id: the 32 bytes of the older session's id.
/// Threads: any, inside callbacks too.
/// Blocks:  never.
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

/// Adds a tweak that keys may have (BIP-327 ApplyTweak).
///
/// In a proposal of a transaction the keys with tweaks are compared with what its inputs pay to; in one of messages,
/// musig_proposal_set_message_tweak says which message has which.
///
/// Returns: MUSIG_STATUS_OK; MUSIG_STATUS_INVALID_ARGUMENT if follows names no earlier tweak, or there are too many.
/// Out:     out: the index of the tweak.
///          error: why it failed; may be NULL.
/// In:      proposal: the proposal.
///          follows: the index of the tweak that this one is applied after, or MUSIG_NO_TWEAK.
///          x_only: 1 for BIP-341, 0 for BIP-32 (BIP-328): BIP-327's is_xonly_t.
///          scalar: 32 bytes of a number below the order of secp256k1, big-endian.
/// Threads: any, inside callbacks too.
/// Blocks:  never.
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
/// Returns: MUSIG_STATUS_OK; MUSIG_STATUS_INDEX_OUT_OF_RANGE if there is no such message; MUSIG_STATUS_INVALID_ARGUMENT
///          if there is no such tweak; MUSIG_STATUS_NO_SUCH_FIELD for a proposal of a transaction.
/// Out:     error: why it failed; may be NULL.
/// In:      proposal: the proposal.
///          message: the index of the message.
///          tweak: the index of the tweak, or MUSIG_NO_TWEAK for the aggregate key itself.
/// Threads: any, inside callbacks too.
/// Blocks:  never.
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

/// Takes one more reference to a proposal.
///
/// Returns: the same pointer.
/// In:      proposal: the proposal; NULL stays NULL.
/// Threads: any, inside callbacks too.
/// Blocks:  never.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn musig_proposal_ref(proposal: *mut musig_proposal) -> *mut musig_proposal {
    // SAFETY: the header asks for a proposal with a reference, or NULL.
    unsafe { add_reference(proposal) }
}

/// Gives up one reference to a proposal; the last one frees it.
///
/// Sessions are not touched by that.
///
/// In:      proposal: the proposal; nothing is done for NULL.
/// Threads: any, inside callbacks too.
/// Blocks:  never.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn musig_proposal_free(proposal: *mut musig_proposal) {
    // SAFETY: the header asks for a proposal with a reference, or NULL.
    unsafe { release(proposal) }
}
