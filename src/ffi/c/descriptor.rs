//! Descriptors of MuSig2 wallets.

use std::ffi::c_char;

use super::boundary::choice;
use super::bytes::musig_bytes;
use super::enums::musig_network;
use super::error::musig_error;
use super::failure::Failure;
use super::handle::{add_reference, release};
use super::key_set::{musig_derivation, musig_key_set};
use super::status::{musig_status, musig_status_code};
use crate::chain::descriptor::{Descriptor, DescriptorError};

/// A descriptor of a MuSig2 wallet: tr(musig(...)) or rawtr(musig(...)) (BIP-390). Immutable.
pub struct musig_descriptor(Descriptor);

impl musig_descriptor {
    pub(super) fn new(descriptor: Descriptor) -> Self {
        Self(descriptor)
    }

    pub(super) fn descriptor(&self) -> &Descriptor {
        &self.0
    }
}

impl From<DescriptorError> for Failure {
    fn from(error: DescriptorError) -> Self {
        match error {
            DescriptorError::Keys(error) => error.into(),
            error => Self::new(musig_status_code::WIRE, error.to_string()),
        }
    }
}

/// Creates a descriptor from its text.
///
/// Private keys in it are made public at once; none is kept.
///
/// Returns: MUSIG_STATUS_OK; MUSIG_STATUS_WIRE for text that is no descriptor, or one that is not supported, by name.
/// Out:     out: the descriptor; release it with musig_descriptor_free.
/// In:      text: the text, with or without checksum.
#[must_use]
#[unsafe(no_mangle)]
pub unsafe extern "C" fn musig_descriptor_new(
    out: *mut *mut musig_descriptor,
    text: *const c_char,
    error: *mut *mut musig_error,
) -> musig_status {
    fallible!(error, {
        let out = out!(out);
        out.give(musig_descriptor(text!(text).parse::<Descriptor>()?));
        Ok(())
    })
}

/// Gets the text of a descriptor, with its checksum and with public keys alone.
///
/// Returns: MUSIG_STATUS_OK.
/// In:      descriptor: the descriptor.
/// Out:     out: the text; release it with musig_bytes_free.
#[must_use]
#[unsafe(no_mangle)]
pub unsafe extern "C" fn musig_descriptor_text(
    descriptor: *const musig_descriptor,
    out: *mut *mut musig_bytes,
    error: *mut *mut musig_error,
) -> musig_status {
    fallible!(error, {
        let (descriptor, out) = (get!(descriptor), out!(out));
        out.give(musig_bytes::text(&descriptor.0.to_string()));
        Ok(())
    })
}

/// Gets the number of branches of a descriptor: the length of its <...;...>, else 1.
///
/// By custom branch 0 receives and branch 1 takes change.
///
/// Returns: MUSIG_STATUS_OK.
/// In:      descriptor: the descriptor.
/// Out:     out: the number.
#[must_use]
#[unsafe(no_mangle)]
pub unsafe extern "C" fn musig_descriptor_branches(
    descriptor: *const musig_descriptor,
    out: *mut u32,
    error: *mut *mut musig_error,
) -> musig_status {
    fallible!(error, {
        let (descriptor, out) = (get!(descriptor), out!(out));
        out.set(descriptor.0.branches() as u32);
        Ok(())
    })
}

/// Computes an address of a descriptor.
///
/// Returns: MUSIG_STATUS_OK; MUSIG_STATUS_WIRE for a branch or an index that is not there, and for keys of another network;
///          MUSIG_STATUS_PROPOSAL for keys that no session signs with.
/// In:      descriptor: the descriptor.
/// Out:     out: the address, as text; release it with musig_bytes_free.
/// In:      network: a musig_network.
///          branch: the branch, from 0 on.
///          index: the index; 0 for a descriptor without a wildcard.
#[must_use]
#[unsafe(no_mangle)]
pub unsafe extern "C" fn musig_descriptor_address(
    descriptor: *const musig_descriptor,
    out: *mut *mut musig_bytes,
    network: i32,
    branch: u32,
    index: u32,
    error: *mut *mut musig_error,
) -> musig_status {
    fallible!(error, {
        let (descriptor, out) = (get!(descriptor), out!(out));
        let network = choice::<musig_network>(network, "network")?;
        let address = descriptor.0.address(network.into(), branch as usize, index)?;
        out.give(musig_bytes::text(&address));
        Ok(())
    })
}

/// Gets the key set and the derivation that sign for an output of a descriptor.
///
/// Returns: MUSIG_STATUS_OK; MUSIG_STATUS_STRUCT_SIZE; MUSIG_STATUS_WIRE for a branch or an index that is not there;
///          MUSIG_STATUS_PROPOSAL for keys that no session signs with.
/// In:      descriptor: the descriptor.
/// Out:     out: the key set, in the order of the descriptor; release it with musig_key_set_free.
///          derivation: the derivation; struct_size is set before.
/// In:      branch: the branch, from 0 on.
///          index: the index; 0 for a descriptor without a wildcard.
#[must_use]
#[unsafe(no_mangle)]
pub unsafe extern "C" fn musig_descriptor_keys(
    descriptor: *const musig_descriptor,
    out: *mut *mut musig_key_set,
    derivation: *mut musig_derivation,
    branch: u32,
    index: u32,
    error: *mut *mut musig_error,
) -> musig_status {
    fallible!(error, {
        let (descriptor, out, derivation) = (get!(descriptor), out!(out), out!(sized derivation));
        let keys = descriptor.0.keys(branch as usize, index)?;
        derivation.set(musig_derivation::write(&keys.derivation));
        out.give(musig_key_set::new(keys.key_set));
        Ok(())
    })
}

/// Adds a reference to a descriptor.
///
/// Returns: the same pointer.
/// In:      descriptor: the descriptor; NULL stays NULL.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn musig_descriptor_ref(descriptor: *mut musig_descriptor) -> *mut musig_descriptor {
    // SAFETY: the header asks for a descriptor with a reference, or NULL.
    unsafe { add_reference(descriptor) }
}

/// Releases a reference to a descriptor; the last one frees it.
///
/// In:      descriptor: the descriptor; NULL is ignored.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn musig_descriptor_free(descriptor: *mut musig_descriptor) {
    // SAFETY: the header asks for a descriptor with a reference, or NULL.
    unsafe { release(descriptor) }
}
