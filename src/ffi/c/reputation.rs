//! How other signers broadcast, as a node saw it itself.

use super::boundary::signer_keys;
use super::error::musig_error;
use super::failure::Outcome;
use super::node::musig_node;
use super::status::musig_status;
use crate::types::SignerKey;

/// Record of a signer as a coordinator, as a node saw it itself. Each verdict counts half after 30 days.
#[repr(C)]
pub struct musig_reputation {
    /// sizeof(musig_reputation); the caller sets it.
    pub struct_size: u32,
    /// Sessions in which its turn sufficed: the transaction was seen before the next turn opened.
    pub successes: f64,
    /// Sessions in which the whole broadcast timeout of its turn passed without the transaction, which was broadcast by
    /// somebody else after that.
    pub failures: f64,
    /// Expected share of successes, from 0 to 1: (4 + successes) / (5 + successes + failures), so 0.8 for a signer of whom
    /// nothing is known.
    pub reliability: f64,
}

fn one_key(bytes: &[u8]) -> Outcome<SignerKey> {
    Ok(signer_keys(bytes)?[0])
}

/// Gets the record of a signer as a coordinator: what a node's own observer showed of it, and nothing that others say.
///
/// It is for a person to read: no turn and no election depends on it. Who was passed over early did not fail. At most 256
/// signers are remembered.
///
/// Returns: MUSIG_STATUS_OK; MUSIG_STATUS_STRUCT_SIZE; MUSIG_STATUS_INVALID_KEY; statuses of the node.
/// In:      node: the node.
/// Out:     out: the record. Set its struct_size before the call.
/// In:      signer: the 33 bytes of the signer's compressed public key.
/// Blocks:  until the node has answered, without I/O.
#[must_use]
#[unsafe(no_mangle)]
pub unsafe extern "C" fn musig_node_reputation(
    node: *const musig_node,
    out: *mut musig_reputation,
    signer: *const u8,
    error: *mut *mut musig_error,
) -> musig_status {
    fallible!(error, {
        let (node, out, signer) = (get!(node).node()?, out!(sized out), array!(signer, 33));
        let reputation = node.reputation(&one_key(signer)?).wait()?;
        out.set(musig_reputation {
            struct_size: size_of::<musig_reputation>() as u32,
            successes: reputation.successes,
            failures: reputation.failures,
            reliability: reputation.reliability,
        });
        Ok(())
    })
}

/// Forgets the record of a signer as a coordinator.
///
/// Nothing happens if there is none. It leaves the disk with the next commit.
///
/// Returns: MUSIG_STATUS_OK; MUSIG_STATUS_INVALID_KEY; statuses of the node.
/// In:      node: the node.
///          signer: the 33 bytes of the signer's compressed public key.
/// Blocks:  until the node has answered, without I/O.
#[must_use]
#[unsafe(no_mangle)]
pub unsafe extern "C" fn musig_node_forget_signer(
    node: *const musig_node,
    signer: *const u8,
    error: *mut *mut musig_error,
) -> musig_status {
    fallible!(error, {
        let (node, signer) = (get!(node).node()?, array!(signer, 33));
        Ok(node.forget_signer(&one_key(signer)?).wait()?)
    })
}
