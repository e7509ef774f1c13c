//! Proposals.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use super::boundary::{choice, fixed, join_options, session_id, signer_keys, total};
use super::enums::{musig_election_method, musig_key_order, musig_sighash, musig_tiers};
use super::error::musig_error;
use super::failure::{Failure, Outcome};
use super::handle::{add_reference, release};
use super::key_set::{derivation, musig_derivation, musig_key_set};
use super::status::{musig_status, musig_status_code};
use crate::node::{Content, SessionRequest};
use crate::protocol::limits;
use crate::protocol::proposal::{Broadcast, FailoverPolicy, Message, SpentOutput, Tiers};

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
    pub(super) fn new(request: SessionRequest) -> Self {
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

/// Creates a proposal to sign 32-byte messages with the aggregate of the signers' identity keys.
///
/// musig_proposal_add_message adds messages that other keys sign. The session yields signatures and turns; the applications build and broadcast the transaction.
///
/// Returns: MUSIG_STATUS_OK; MUSIG_STATUS_INVALID_KEY; MUSIG_STATUS_INVALID_ARGUMENT if there are too many signers or
///          messages.
/// Out:     out: the proposal; release it with musig_proposal_free.
/// In:      signers: the compressed public keys, 33 bytes each. Their positions are the signer indices.
///          signers_count: number of signers, 1 to MUSIG_MAX_SIGNERS.
///          messages: the messages to sign, 32 bytes each; may be NULL if there are none yet.
///          messages_count: number of messages (not bytes), at most MUSIG_MAX_MESSAGES.
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
        let messages = array!(optional messages, bytes);
        let messages = messages.chunks_exact(32).map(|digest| Message::raw(fixed(digest)));
        out.give(musig_proposal::new(SessionRequest::messages(signers, messages)));
        Ok(())
    })
}

/// Creates a proposal to sign all inputs of a transaction that pay to the signers' key, by the Taproot key path
/// (BIP-341).
///
/// Every node computes the signature hashes itself. Without musig_proposal_add_derivation these are the inputs that spend
/// outputs without scripts whose internal key is the aggregate of the identity keys, or of a key set that is added.
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

/// Sets the order in which the identity keys are aggregated.
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

/// Sets that the elected coordinator broadcasts, and when the next ones take over.
///
/// This is the default: each turn has one coordinator and lasts five minutes.
///
/// Returns: MUSIG_STATUS_OK; MUSIG_STATUS_INVALID_ARGUMENT if a value is out of range.
/// In:      proposal: the proposal.
///          broadcast_timeout: milliseconds after which the next turn opens, 1000 to 86400000, or a musig_failover_preset.
///          tiers: a musig_tiers.
///          width: signers per turn with MUSIG_TIERS_FIXED, 1 to MUSIG_MAX_SIGNERS; else 0.
#[must_use]
#[unsafe(no_mangle)]
pub unsafe extern "C" fn musig_proposal_set_failover(
    proposal: *const musig_proposal,
    broadcast_timeout: u64,
    tiers: i32,
    width: u32,
    error: *mut *mut musig_error,
) -> musig_status {
    fallible!(error, {
        let proposal = get!(proposal);
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
        let policy = FailoverPolicy { broadcast_timeout: timeout, tiers };
        proposal.lock().broadcast = Broadcast::Failover(policy);
        Ok(())
    })
}

/// Sets that the elected coordinator alone is to broadcast: nobody takes over.
///
/// After five minutes each node raises the alarm, MUSIG_EVENT_FAILOVER_EXHAUSTED; each may still broadcast with
/// musig_session_broadcast_now.
///
/// Returns: MUSIG_STATUS_OK.
/// In:      proposal: the proposal.
#[must_use]
#[unsafe(no_mangle)]
pub unsafe extern "C" fn musig_proposal_set_coordinator_only(
    proposal: *const musig_proposal,
    error: *mut *mut musig_error,
) -> musig_status {
    fallible!(error, {
        get!(proposal).lock().broadcast = Broadcast::CoordinatorOnly;
        Ok(())
    })
}

/// Sets that the session only signs: nobody is asked to broadcast.
///
/// MUSIG_EVENT_SESSION_COMPLETE is the end. There is no turn and no alarm.
///
/// Returns: MUSIG_STATUS_OK.
/// In:      proposal: the proposal.
#[must_use]
#[unsafe(no_mangle)]
pub unsafe extern "C" fn musig_proposal_set_sign_only(
    proposal: *const musig_proposal,
    error: *mut *mut musig_error,
) -> musig_status {
    fallible!(error, {
        get!(proposal).lock().broadcast = Broadcast::SignOnly;
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

/// Sets what this node's own consent covers, which is part of the proposal.
///
/// It is no term of the session: every other signer's application gives its own consent.
///
/// Returns: MUSIG_STATUS_OK; MUSIG_STATUS_INVALID_ARGUMENT for other flags.
/// In:      proposal: the proposal.
///          flags: values of musig_join, combined; 0 for none.
#[must_use]
#[unsafe(no_mangle)]
pub unsafe extern "C" fn musig_proposal_set_consent(
    proposal: *const musig_proposal,
    flags: u32,
    error: *mut *mut musig_error,
) -> musig_status {
    fallible!(error, {
        let (proposal, options) = (get!(proposal), join_options(flags)?);
        proposal.lock().consent = options;
        Ok(())
    })
}

/// Adds a key set.
///
/// Key set 0 is the signers' identity keys. The session's terms have the key sets that sign a message, and no others.
///
/// Returns: MUSIG_STATUS_OK.
/// In:      proposal: the proposal.
/// Out:     out: the index of the key set in this proposal: 1 for the first one added, then 2, ...
/// In:      key_set: the key set, which is copied. It needs one key for each signer.
#[must_use]
#[unsafe(no_mangle)]
pub unsafe extern "C" fn musig_proposal_add_key_set(
    proposal: *const musig_proposal,
    out: *mut u32,
    key_set: *const musig_key_set,
    error: *mut *mut musig_error,
) -> musig_status {
    fallible!(error, {
        let (proposal, out, key_set) = (get!(proposal), out!(out), get!(key_set));
        let key_set = key_set.lock().clone();
        let key_sets = &mut proposal.lock().key_sets;
        key_sets.push(key_set);
        out.set(key_sets.len() as u32);
        Ok(())
    })
}

/// Refuses a key set that was not added.
fn check_key_set(request: &SessionRequest, index: u32) -> Outcome<usize> {
    let count = request.key_sets.len();
    if index as usize <= count {
        return Ok(index as usize);
    }
    let message = format!("there is no key set {index}; 0 is the identity keys, and {count} were added");
    Err(Failure::new(musig_status_code::INDEX_OUT_OF_RANGE, message))
}

/// Adds a message to sign, with the key set and the derivation that make its final key.
///
/// Returns: MUSIG_STATUS_OK; MUSIG_STATUS_INDEX_OUT_OF_RANGE if the key set does not exist; MUSIG_STATUS_INVALID_ARGUMENT
///          if there are too many messages; MUSIG_STATUS_PROPOSAL for a hardened child number; MUSIG_STATUS_NO_SUCH_FIELD
///          for a proposal of a transaction.
/// In:      proposal: the proposal.
///          digest: the 32 bytes to sign.
///          key_set: the index of the key set; 0 is the identity keys.
///          derivation: the derivation; may be NULL for the aggregate key itself.
#[must_use]
#[unsafe(no_mangle)]
pub unsafe extern "C" fn musig_proposal_add_message(
    proposal: *const musig_proposal,
    digest: *const u8,
    key_set: u32,
    derivation: *const musig_derivation,
    error: *mut *mut musig_error,
) -> musig_status {
    fallible!(error, {
        let (proposal, digest) = (get!(proposal), fixed(array!(digest, 32)));
        let derivation = derivation!(derivation);
        let mut request = proposal.lock();
        let key_set = check_key_set(&request, key_set)?;
        let Content::Messages(messages) = &mut request.content else {
            let message = "the messages of a transaction are made of its inputs; add a derivation for them";
            return Err(Failure::new(musig_status_code::NO_SUCH_FIELD, message));
        };
        if messages.len() >= limits::MESSAGES {
            return Err(Failure::invalid(format!("a proposal has at most {} messages", limits::MESSAGES)));
        }
        messages.push(Message::with(digest, key_set, derivation));
        Ok(())
    })
}

/// Adds an output key to those whose coins the inputs of a transaction may spend.
///
/// There may be any number: those that no input needs are left out.
///
/// Returns: MUSIG_STATUS_OK; MUSIG_STATUS_INDEX_OUT_OF_RANGE if the key set does not exist; MUSIG_STATUS_PROPOSAL for a
///          hardened child number; MUSIG_STATUS_NO_SUCH_FIELD for a proposal of messages.
/// In:      proposal: the proposal.
///          key_set: the index of the key set; 0 is the identity keys.
///          derivation: the derivation; MUSIG_TAPROOT_KEY_PATH for an output without scripts.
#[must_use]
#[unsafe(no_mangle)]
pub unsafe extern "C" fn musig_proposal_add_derivation(
    proposal: *const musig_proposal,
    key_set: u32,
    derivation: *const musig_derivation,
    error: *mut *mut musig_error,
) -> musig_status {
    fallible!(error, {
        let (proposal, derivation) = (get!(proposal), sized!(derivation).read()?);
        let mut request = proposal.lock();
        let key_set = check_key_set(&request, key_set)?;
        if !matches!(request.content, Content::Transaction { .. }) {
            let message = "each message names its own derivation; add it with the message";
            return Err(Failure::new(musig_status_code::NO_SUCH_FIELD, message));
        }
        request.derivations.push((key_set, derivation));
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
