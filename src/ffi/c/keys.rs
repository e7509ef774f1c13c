//! Computations on public keys, without a node.

use super::boundary::{choice, fixed, flag, signer_keys, total};
use super::enums::musig_key_order;
use super::error::musig_error;
use super::status::musig_status;
use crate::protocol::crypto::key_set;
use crate::protocol::crypto::key_set::TweakForest;
use crate::protocol::limits;
use crate::protocol::proposal::Tweak;

/// Aggregates public keys by BIP-327, without tweaks.
///
/// Needs no node.
///
/// Returns: MUSIG_STATUS_OK; MUSIG_STATUS_INVALID_KEY; MUSIG_STATUS_INVALID_ARGUMENT; MUSIG_STATUS_PROPOSAL if there
///          are no signers.
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

/// Computes the BIP-341 tweak of an internal key, for musig_proposal_add_tweak with x_only.
///
/// Needs no node.
///
/// Returns: MUSIG_STATUS_OK.
/// Out:     out: the 32 bytes of the tweak.
/// In:      internal_key: the 32 bytes of the x-only internal key.
///          merkle_root: the 32 bytes of the root of the scripts; may be NULL for none.
#[must_use]
#[unsafe(no_mangle)]
pub unsafe extern "C" fn musig_taproot_tweak(
    out: *mut u8,
    internal_key: *const u8,
    merkle_root: *const u8,
    error: *mut *mut musig_error,
) -> musig_status {
    fallible!(error, {
        let (out, key) = (out!(out, 32), array!(internal_key, 32));
        let root = if merkle_root.is_null() { None } else { Some(fixed(array!(merkle_root, 32))) };
        out.write(&key_set::taproot_tweak(&fixed(key), root).scalar)
    })
}

/// Applies a tweak to a public key (BIP-327 ApplyTweak).
///
/// Needs no node. With the tweak of musig_taproot_tweak and x_only, the last 32 bytes of the result are the Taproot
/// output key; its scriptPubKey is 51 20 followed by these bytes.
///
/// Returns: MUSIG_STATUS_OK; MUSIG_STATUS_INVALID_KEY; MUSIG_STATUS_INVALID_ARGUMENT; MUSIG_STATUS_PROPOSAL if the
///          scalar is not less than the order of secp256k1, or the result is the point at infinity.
/// Out:     out: the 33 bytes of the tweaked key.
/// In:      key: the 33 bytes of the compressed public key.
///          x_only: is_xonly_t of BIP-327: 1 for BIP-341, 0 for BIP-32 (BIP-328).
///          scalar: the 32 bytes of a scalar less than the order of secp256k1, big-endian.
#[must_use]
#[unsafe(no_mangle)]
pub unsafe extern "C" fn musig_tweak_key(
    out: *mut u8,
    key: *const u8,
    x_only: i32,
    scalar: *const u8,
    error: *mut *mut musig_error,
) -> musig_status {
    fallible!(error, {
        let (out, key, scalar) = (out!(out, 33), array!(key, 33), fixed(array!(scalar, 32)));
        let x_only = flag(x_only, "x_only")?;
        let mut forest = TweakForest::new(signer_keys(key)?[0]);
        let index = forest.push(Tweak { follows: None, x_only, scalar })?;
        out.write(forest.key(Some(index))?.as_bytes())
    })
}
