//! Computations on public keys, without a node.

use super::boundary::{choice, signer_keys, total};
use super::enums::musig_key_order;
use super::error::musig_error;
use super::status::musig_status;
use crate::protocol::crypto::key_set;
use crate::protocol::limits;

/// Aggregates public keys by BIP-327.
///
/// Needs no node. It fails for keys that no session signs with. musig_key_set_final_key derives from them.
///
/// Returns: MUSIG_STATUS_OK; MUSIG_STATUS_INVALID_KEY; MUSIG_STATUS_INVALID_ARGUMENT; MUSIG_STATUS_PROPOSAL if there
///          are no signers, or if two keys are equal or differ in their parity only.
/// Out:     out: the 33 bytes of the aggregate key (GetPlainPubkey); its last 32 are the x-only key.
/// In:      signers: the compressed public keys, 33 bytes each.
///          signers_count: number of signers, 1 to MUSIG_MAX_SIGNERS.
///          order: a musig_key_order.
#[must_use]
#[unsafe(no_mangle)]
pub unsafe extern "C" fn musig_aggregate_key(
    out: *mut u8,
    signers: *const u8,
    signers_count: usize,
    order: i32,
    error: *mut *mut musig_error,
) -> musig_status {
    fallible!(error, {
        let out = out!(out, 33);
        let bytes = total(signers_count, 33, limits::SIGNERS, "signers_count")?;
        let signers = signer_keys(array!(signers, bytes))?;
        let order = choice::<musig_key_order>(order, "order")?;
        out.write(key_set::aggregate_key(&signers, order.into())?.as_bytes())
    })
}
