//! The own wallet of a node's application.

use super::descriptor::musig_descriptor;
use super::error::musig_error;
use super::failure::Failure;
use super::node::musig_node;
use super::status::musig_status;
use crate::chain::wallet::OwnDescriptor;

/// Adds a descriptor to the own wallet of a node's application, which is stored.
///
/// Summaries call own what pays to its outputs within the gap limit, and raw messages over its key sets are refused without
/// MUSIG_JOIN_SIGN_BLIND. The same descriptor with other numbers takes its place.
///
/// Returns: MUSIG_STATUS_OK; MUSIG_STATUS_LIMIT for more than 64 descriptors, and for too many outputs; statuses of the node.
/// In:      node: the node.
///          descriptor: the descriptor.
///          next_index: the first index that was not used yet, in any branch. Add the descriptor again when it moves.
///          gap_limit: how many indices from there on the wallet looks at: 20 by custom.
/// Blocks:  until its outputs are derived, and stored.
#[must_use]
#[unsafe(no_mangle)]
pub unsafe extern "C" fn musig_node_add_descriptor(
    node: *const musig_node,
    descriptor: *const musig_descriptor,
    next_index: u32,
    gap_limit: u32,
    error: *mut *mut musig_error,
) -> musig_status {
    fallible!(error, {
        let (node, descriptor) = (get!(node), get!(descriptor).descriptor().clone());
        Ok(node.node()?.add_descriptor(OwnDescriptor { descriptor, next_index, gap_limit }).wait()?)
    })
}

/// Removes a descriptor from the own wallet.
///
/// Returns: MUSIG_STATUS_OK, also if it is not there; statuses of the node.
/// In:      node: the node.
///          descriptor: the descriptor.
/// Blocks:  until that is stored.
#[must_use]
#[unsafe(no_mangle)]
pub unsafe extern "C" fn musig_node_remove_descriptor(
    node: *const musig_node,
    descriptor: *const musig_descriptor,
    error: *mut *mut musig_error,
) -> musig_status {
    fallible!(error, {
        let (node, descriptor) = (get!(node), get!(descriptor).descriptor());
        Ok(node.node()?.remove_descriptor(descriptor).wait()?)
    })
}

/// Gets a descriptor of the own wallet.
///
/// Returns: MUSIG_STATUS_OK; MUSIG_STATUS_INDEX_OUT_OF_RANGE if it does not exist; statuses of the node.
/// In:      node: the node.
/// Out:     out: the descriptor; release it with musig_descriptor_free.
///          next_index: the first index that was not used yet.
///          gap_limit: how many indices from there on the wallet looks at.
/// In:      index: which one, from 0 on, in no order.
/// Blocks:  until the node has accepted the request.
#[must_use]
#[unsafe(no_mangle)]
pub unsafe extern "C" fn musig_node_descriptor(
    node: *const musig_node,
    out: *mut *mut musig_descriptor,
    next_index: *mut u32,
    gap_limit: *mut u32,
    index: u32,
    error: *mut *mut musig_error,
) -> musig_status {
    fallible!(error, {
        let (node, out) = (get!(node), out!(out));
        let (next_index, gap_limit) = (out!(next_index), out!(gap_limit));
        let all = node.node()?.descriptors().wait()?;
        let own = all.get(index as usize).ok_or_else(|| Failure::no_such("descriptor", index, all.len()))?;
        next_index.set(own.next_index);
        gap_limit.set(own.gap_limit);
        out.give(musig_descriptor::new(own.descriptor.clone()));
        Ok(())
    })
}
