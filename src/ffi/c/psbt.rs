//! PSBTs, as bytes.

use super::boundary::{signer_keys, total};
use super::bytes::musig_bytes;
use super::descriptor::musig_descriptor;
use super::error::musig_error;
use super::failure::{Failure, Outcome};
use super::key_set::musig_key_set;
use super::proposal::musig_proposal;
use super::status::{musig_status, musig_status_code};
use crate::chain::psbt::{Psbt, PsbtError};
use crate::node::SessionRequest;
use crate::protocol::limits;
use crate::types::Signature;

impl From<PsbtError> for Failure {
    fn from(error: PsbtError) -> Self {
        match error {
            PsbtError::Signers(error) => error.into(),
            error => Self::new(musig_status_code::WIRE, error.to_string()),
        }
    }
}

/// Reads a PSBT.
macro_rules! psbt {
    ($psbt:ident, $length:ident) => {{
        let length = crate::ffi::c::boundary::total(
            $length,
            1,
            crate::chain::psbt::limits::BYTES,
            stringify!($length),
        )?;
        crate::chain::psbt::Psbt::from_bytes(array!($psbt, length))?
    }};
}
pub(super) use psbt;

fn changed(mut psbt: Psbt, change: impl FnOnce(&mut Psbt) -> Result<(), PsbtError>) -> Outcome<musig_bytes> {
    change(&mut psbt)?;
    Ok(musig_bytes::new(psbt.to_bytes()))
}

/// Creates a proposal to sign a PSBT: every input that is not final and has MuSig2 participants (BIP-373), by the Taproot key
/// path.
///
/// Key sets, derivations and hash types are the PSBT's, of each input its own. The session's terms have none of its bytes.
/// The descriptor and the key sets say whose the participant keys are, if they are not the identity keys; both have the keys
/// in the order of the signers. The signatures go back with musig_psbt_add_signatures.
///
/// Returns: MUSIG_STATUS_OK; MUSIG_STATUS_INVALID_KEY; MUSIG_STATUS_INVALID_ARGUMENT if a limit is exceeded;
///          MUSIG_STATUS_WIRE for a malformed PSBT, and one that these signers cannot sign, by name; MUSIG_STATUS_PROPOSAL for
///          key sets that do not fit the signers.
/// Out:     out: the proposal; release it with musig_proposal_free.
/// In:      signers: the compressed public keys, 33 bytes each. Their positions are the signer indices.
///          signers_count: number of signers, 1 to MUSIG_MAX_SIGNERS.
///          psbt: the bytes of the PSBT, version 0 or 2.
///          psbt_length: length of the PSBT in bytes.
///          descriptor: the descriptor of the signers' wallet; may be NULL.
///          key_sets: key sets, one key for each signer; may be NULL if there are none.
///          key_sets_count: number of key sets, at most 8192.
#[must_use]
#[unsafe(no_mangle)]
pub unsafe extern "C" fn musig_proposal_new_psbt(
    out: *mut *mut musig_proposal,
    signers: *const u8,
    signers_count: usize,
    psbt: *const u8,
    psbt_length: usize,
    descriptor: *const musig_descriptor,
    key_sets: *const *const musig_key_set,
    key_sets_count: usize,
    error: *mut *mut musig_error,
) -> musig_status {
    fallible!(error, {
        let out = out!(out);
        let bytes = total(signers_count, 33, limits::SIGNERS, "signers_count")?;
        let signers = signer_keys(array!(signers, bytes))?;
        let psbt = psbt!(psbt, psbt_length);
        let mut known = match descriptor.is_null() {
            true => Vec::new(),
            false => get!(descriptor).descriptor().key_sets(&psbt)?,
        };
        let count = total(key_sets_count, 1, 8192, "key_sets_count")?;
        for key_sets in array!(optional key_sets, count) {
            let key_sets = *key_sets;
            known.push(get!(key_sets).lock().clone());
        }
        out.give(musig_proposal::new(SessionRequest::from_psbt(signers, &psbt, &known)?));
        Ok(())
    })
}

/// Puts the signatures of a session over a PSBT into it, each verified.
///
/// Returns: MUSIG_STATUS_OK; MUSIG_STATUS_WIRE for a malformed PSBT, and for signatures that do not verify.
/// Out:     out: the bytes of the PSBT with the signatures; release it with musig_bytes_free.
/// In:      psbt: the bytes of the PSBT that was proposed.
///          psbt_length: length of the PSBT in bytes.
///          signatures: the session's signatures in their order, 64 bytes each; may be NULL if there are none.
///          signatures_count: number of signatures.
#[must_use]
#[unsafe(no_mangle)]
pub unsafe extern "C" fn musig_psbt_add_signatures(
    out: *mut *mut musig_bytes,
    psbt: *const u8,
    psbt_length: usize,
    signatures: *const u8,
    signatures_count: usize,
    error: *mut *mut musig_error,
) -> musig_status {
    fallible!(error, {
        let out = out!(out);
        let psbt = psbt!(psbt, psbt_length);
        let bytes = total(signatures_count, 64, limits::MESSAGES, "signatures_count")?;
        let (signatures, _) = array!(optional signatures, bytes).as_chunks::<64>();
        let signatures: Vec<Signature> = signatures.iter().map(|bytes| Signature(*bytes)).collect();
        out.give(changed(psbt, |psbt| psbt.add_signatures(&signatures))?);
        Ok(())
    })
}

/// Adds what a descriptor knows of its own inputs and outputs to a PSBT, so that it can be signed: the participants
/// (BIP-373), the internal key, and the derivations.
///
/// They are found by their scripts. The PSBT says what its inputs spend, and may be of a wallet without MuSig2.
///
/// Returns: MUSIG_STATUS_OK; MUSIG_STATUS_WIRE for a malformed PSBT, for more than 100,000 keys to derive, for a descriptor
///          that no session signs with, and where something else is there already.
/// Out:     out: the bytes of the PSBT with what was added; release it with musig_bytes_free.
/// In:      psbt: the bytes of the PSBT.
///          psbt_length: length of the PSBT in bytes.
///          descriptor: the descriptor of the signers' wallet.
///          indices: the first indices of each branch that are looked at, such as 1000.
#[must_use]
#[unsafe(no_mangle)]
pub unsafe extern "C" fn musig_psbt_update(
    out: *mut *mut musig_bytes,
    psbt: *const u8,
    psbt_length: usize,
    descriptor: *const musig_descriptor,
    indices: u32,
    error: *mut *mut musig_error,
) -> musig_status {
    fallible!(error, {
        let out = out!(out);
        let (psbt, descriptor) = (psbt!(psbt, psbt_length), get!(descriptor));
        out.give(changed(psbt, |psbt| psbt.update(descriptor.descriptor(), indices).map(drop))?);
        Ok(())
    })
}

/// Combines two PSBTs of one transaction: the first one with the fields of the other, which may have another version.
///
/// Returns: MUSIG_STATUS_OK; MUSIG_STATUS_WIRE for a malformed PSBT, for different transactions, and where both have a field
///          with different values.
/// Out:     out: the bytes of the combined PSBT; release it with musig_bytes_free.
/// In:      psbt: the bytes of a PSBT.
///          psbt_length: length of the PSBT in bytes.
///          other: the bytes of another one.
///          other_length: length of the other one in bytes.
#[must_use]
#[unsafe(no_mangle)]
pub unsafe extern "C" fn musig_psbt_combine(
    out: *mut *mut musig_bytes,
    psbt: *const u8,
    psbt_length: usize,
    other: *const u8,
    other_length: usize,
    error: *mut *mut musig_error,
) -> musig_status {
    fallible!(error, {
        let out = out!(out);
        let (psbt, other) = (psbt!(psbt, psbt_length), psbt!(other, other_length));
        out.give(changed(psbt, |psbt| psbt.combine(&other))?);
        Ok(())
    })
}

/// Makes every input of a PSBT final that MuSig2 signs: of its signature, or of all participants' partial signatures.
///
/// Returns: MUSIG_STATUS_OK; MUSIG_STATUS_WIRE for a malformed PSBT, and for a signature that is missing or does not verify.
/// Out:     out: the bytes of the final PSBT; release it with musig_bytes_free.
/// In:      psbt: the bytes of the PSBT.
///          psbt_length: length of the PSBT in bytes.
#[must_use]
#[unsafe(no_mangle)]
pub unsafe extern "C" fn musig_psbt_finalize(
    out: *mut *mut musig_bytes,
    psbt: *const u8,
    psbt_length: usize,
    error: *mut *mut musig_error,
) -> musig_status {
    fallible!(error, {
        let out = out!(out);
        out.give(changed(psbt!(psbt, psbt_length), Psbt::finalize)?);
        Ok(())
    })
}

/// Gets the signed transaction of a PSBT whose inputs are all final.
///
/// Returns: MUSIG_STATUS_OK; MUSIG_STATUS_WIRE for a malformed PSBT, and for an input that is not final.
/// Out:     out: the transaction in consensus encoding; release it with musig_bytes_free.
/// In:      psbt: the bytes of the PSBT.
///          psbt_length: length of the PSBT in bytes.
#[must_use]
#[unsafe(no_mangle)]
pub unsafe extern "C" fn musig_psbt_extract(
    out: *mut *mut musig_bytes,
    psbt: *const u8,
    psbt_length: usize,
    error: *mut *mut musig_error,
) -> musig_status {
    fallible!(error, {
        let out = out!(out);
        let transaction = psbt!(psbt, psbt_length).extract()?;
        out.give(musig_bytes::new(transaction.bytes));
        Ok(())
    })
}
