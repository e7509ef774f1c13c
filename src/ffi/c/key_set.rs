//! Key sets and derivations.

use std::sync::{Mutex, MutexGuard, PoisonError};

use super::boundary::{choice, signer_keys, total};
use super::bytes::musig_bytes;
use super::enums::{musig_key_order, musig_network, musig_taproot};
use super::error::musig_error;
use super::failure::{Failure, Outcome};
use super::handle::{add_reference, release};
use super::status::{musig_status, musig_status_code};
use super::version::MUSIG_MAX_CHILD_NUMBERS;
use crate::ffi::c::enums::Enumeration;
use crate::protocol::crypto::key_set::{Derivation, KeySet, Taproot};
use crate::protocol::limits;

/// A key set: the participant keys that are aggregated to sign, one for each signer, and their order.
pub struct musig_key_set(Mutex<KeySet>);

impl musig_key_set {
    pub(super) fn new(key_set: KeySet) -> Self {
        Self(Mutex::new(key_set))
    }

    pub(super) fn lock(&self) -> MutexGuard<'_, KeySet> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A derivation: what makes the final key, which signs, of a key set's aggregate key. Zeros, but for struct_size, are that
/// key itself.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct musig_derivation {
    /// sizeof(musig_derivation).
    pub struct_size: u32,
    /// A musig_taproot: BIP-341, after the path.
    pub taproot: i32,
    /// Number of child numbers in path.
    pub path_count: u32,
    /// Unhardened child numbers (BIP-328).
    pub path: [u32; MUSIG_MAX_CHILD_NUMBERS as usize],
    /// The merkle root of the scripts with MUSIG_TAPROOT_MERKLE_ROOT, else zeros.
    pub merkle_root: [u8; 32],
}

impl musig_derivation {
    pub(super) fn read(&self) -> Outcome<Derivation> {
        let path = self.path.get(..self.path_count as usize).ok_or_else(|| {
            let message =
                format!("path_count is {}; at most {} are allowed", self.path_count, self.path.len());
            Failure::invalid(message)
        })?;
        let taproot = match choice(self.taproot, "taproot")? {
            musig_taproot::NONE => Taproot::None,
            musig_taproot::KEY_PATH => Taproot::KeyPath,
            musig_taproot::MERKLE_ROOT => Taproot::MerkleRoot(self.merkle_root),
        };
        if !matches!(taproot, Taproot::MerkleRoot(_)) && self.merkle_root != [0; 32] {
            return Err(Failure::invalid("merkle_root is set without MUSIG_TAPROOT_MERKLE_ROOT; zero it"));
        }
        let derivation = Derivation { path: path.to_vec(), taproot };
        derivation.check()?;
        Ok(derivation)
    }

    pub(super) fn write(derivation: &Derivation) -> Self {
        let (taproot, merkle_root) = match derivation.taproot {
            Taproot::None => (musig_taproot::NONE, [0; 32]),
            Taproot::KeyPath => (musig_taproot::KEY_PATH, [0; 32]),
            Taproot::MerkleRoot(root) => (musig_taproot::MERKLE_ROOT, root),
        };
        let mut path = [0; MUSIG_MAX_CHILD_NUMBERS as usize];
        path.iter_mut().zip(&derivation.path).for_each(|(place, number)| *place = *number);
        Self {
            struct_size: size_of::<Self>() as u32,
            taproot: taproot.number(),
            path_count: derivation.path.len() as u32,
            path,
            merkle_root,
        }
    }
}

/// Reads a derivation, or none.
macro_rules! derivation {
    ($derivation:ident) => {
        match $derivation.is_null() {
            true => crate::protocol::crypto::key_set::Derivation::default(),
            false => sized!($derivation).read()?,
        }
    };
}
pub(super) use derivation;

/// Creates a key set.
///
/// Returns: MUSIG_STATUS_OK; MUSIG_STATUS_INVALID_KEY; MUSIG_STATUS_INVALID_ARGUMENT; MUSIG_STATUS_PROPOSAL for keys that
///          no session signs with: none, or two that are equal or differ in their parity only.
/// Out:     out: the key set; release it with musig_key_set_free.
/// In:      keys: the compressed participant keys, 33 bytes each, by signer index.
///          keys_count: number of keys, 1 to MUSIG_MAX_SIGNERS.
///          order: a musig_key_order.
#[must_use]
#[unsafe(no_mangle)]
pub unsafe extern "C" fn musig_key_set_new(
    out: *mut *mut musig_key_set,
    keys: *const u8,
    keys_count: usize,
    order: i32,
    error: *mut *mut musig_error,
) -> musig_status {
    fallible!(error, {
        let out = out!(out);
        let bytes = total(keys_count, 33, limits::SIGNERS, "keys_count")?;
        let keys = signer_keys(array!(keys, bytes))?;
        let order = choice::<musig_key_order>(order, "order")?;
        let key_set = KeySet::ordered(&keys, order.into());
        key_set.check()?;
        out.give(musig_key_set::new(key_set));
        Ok(())
    })
}

/// Sets the origin of a key (BIP-380), from which its signer derives it again.
///
/// Returns: MUSIG_STATUS_OK; MUSIG_STATUS_INDEX_OUT_OF_RANGE if the key does not exist; MUSIG_STATUS_INVALID_ARGUMENT.
/// In:      key_set: the key set. Proposals that have it already are not affected.
///          signer: the signer index of the key.
///          fingerprint: the 4 bytes of the master key's fingerprint.
///          path: the child numbers from the master key to this one, from 2147483648 on hardened; may be NULL for none.
///          path_count: number of child numbers, at most 16.
#[must_use]
#[unsafe(no_mangle)]
pub unsafe extern "C" fn musig_key_set_set_origin(
    key_set: *const musig_key_set,
    signer: u32,
    fingerprint: *const u8,
    path: *const u32,
    path_count: usize,
    error: *mut *mut musig_error,
) -> musig_status {
    fallible!(error, {
        let (key_set, origin) = (get!(key_set), origin!(fingerprint, path, path_count));
        let participants = &mut key_set.lock().participants;
        let keys = participants.len();
        let participant =
            participants.get_mut(signer as usize).ok_or_else(|| Failure::no_such("key", signer, keys))?;
        participant.origin = Some(origin);
        Ok(())
    })
}

/// Gets the keys of a key set.
///
/// Returns: MUSIG_STATUS_OK.
/// In:      key_set: the key set.
/// Out:     out: the compressed participant keys, 33 bytes each, by signer index; release it with musig_bytes_free.
#[must_use]
#[unsafe(no_mangle)]
pub unsafe extern "C" fn musig_key_set_keys(
    key_set: *const musig_key_set,
    out: *mut *mut musig_bytes,
    error: *mut *mut musig_error,
) -> musig_status {
    fallible!(error, {
        let (key_set, out) = (get!(key_set), out!(out));
        let keys = key_set.lock().keys();
        out.give(musig_bytes::new(keys.iter().flat_map(|key| *key.as_bytes()).collect()));
        Ok(())
    })
}

/// Gets the order in which a key set is aggregated.
///
/// Returns: MUSIG_STATUS_OK.
/// In:      key_set: the key set.
/// Out:     out: a musig_key_order.
#[must_use]
#[unsafe(no_mangle)]
pub unsafe extern "C" fn musig_key_set_order(
    key_set: *const musig_key_set,
    out: *mut i32,
    error: *mut *mut musig_error,
) -> musig_status {
    fallible!(error, {
        let (key_set, out) = (get!(key_set), out!(out));
        out.set(musig_key_order::from(key_set.lock().order).number());
        Ok(())
    })
}

/// Gets the origin of a key of a key set.
///
/// Returns: MUSIG_STATUS_OK; MUSIG_STATUS_INDEX_OUT_OF_RANGE if the key does not exist; MUSIG_STATUS_NO_SUCH_FIELD if it
///          has no origin; MUSIG_STATUS_BUFFER_TOO_SMALL.
/// In:      key_set: the key set.
/// Out:     fingerprint: the 4 bytes of the master key's fingerprint.
///          out: the child numbers.
/// In:      out_capacity: room in out, in child numbers; 16 always suffice.
/// Out:     out_count: number of child numbers written.
/// In:      signer: the signer index of the key.
#[must_use]
#[unsafe(no_mangle)]
pub unsafe extern "C" fn musig_key_set_origin(
    key_set: *const musig_key_set,
    fingerprint: *mut u8,
    out: *mut u32,
    out_capacity: usize,
    out_count: *mut usize,
    signer: u32,
    error: *mut *mut musig_error,
) -> musig_status {
    fallible!(error, {
        let (key_set, fingerprint) = (get!(key_set), out!(fingerprint, 4));
        let (out, out_count) = (out!(out, out_capacity), out!(out_count));
        let key_set = key_set.lock();
        let participants = &key_set.participants;
        let participant = participants
            .get(signer as usize)
            .ok_or_else(|| Failure::no_such("key", signer, participants.len()))?;
        let origin = participant.origin.as_ref().ok_or_else(|| {
            Failure::new(musig_status_code::NO_SUCH_FIELD, "this key has no origin; none was given")
        })?;
        out.write(&origin.path)?;
        fingerprint.write(&origin.fingerprint)?;
        out_count.set(origin.path.len());
        Ok(())
    })
}

/// Computes the final key of a derivation: with BIP-341 the key of an output.
///
/// Needs no node. It fails for whatever no session signs with.
///
/// Returns: MUSIG_STATUS_OK; MUSIG_STATUS_PROPOSAL.
/// In:      key_set: the key set.
/// Out:     out: the 33 bytes of the final key; its last 32 are the x-only key.
/// In:      derivation: the derivation; may be NULL for the aggregate key itself (GetPlainPubkey).
#[must_use]
#[unsafe(no_mangle)]
pub unsafe extern "C" fn musig_key_set_final_key(
    key_set: *const musig_key_set,
    out: *mut u8,
    derivation: *const musig_derivation,
    error: *mut *mut musig_error,
) -> musig_status {
    fallible!(error, {
        let (key_set, out) = (get!(key_set), out!(out, 33));
        let derivation = derivation!(derivation);
        let key = key_set.lock().final_key(&derivation)?;
        out.write(key.as_bytes())
    })
}

/// Computes the address of the output whose key is the final key of a derivation.
///
/// Needs no node. It fails for whatever no session signs with.
///
/// Returns: MUSIG_STATUS_OK; MUSIG_STATUS_PROPOSAL.
/// In:      key_set: the key set.
/// Out:     out: the address, as text; release it with musig_bytes_free.
/// In:      derivation: the derivation; MUSIG_TAPROOT_KEY_PATH for an output without scripts.
///          network: a musig_network.
#[must_use]
#[unsafe(no_mangle)]
pub unsafe extern "C" fn musig_key_set_address(
    key_set: *const musig_key_set,
    out: *mut *mut musig_bytes,
    derivation: *const musig_derivation,
    network: i32,
    error: *mut *mut musig_error,
) -> musig_status {
    fallible!(error, {
        let (key_set, out) = (get!(key_set), out!(out));
        let derivation = sized!(derivation).read()?;
        let network = choice::<musig_network>(network, "network")?;
        let address = address(&key_set.lock(), &derivation, network)?;
        out.give(musig_bytes::text(&address));
        Ok(())
    })
}

#[cfg(feature = "bitcoin")]
fn address(key_set: &KeySet, derivation: &Derivation, network: musig_network) -> Outcome<String> {
    Ok(key_set.address(derivation, network.into())?)
}

#[cfg(not(feature = "bitcoin"))]
fn address(_: &KeySet, _: &Derivation, _: musig_network) -> Outcome<String> {
    let reason = "this build has no support for transactions (feature `bitcoin`)";
    Err(crate::error::ProposalError::Transaction(reason.into()).into())
}

/// Adds a reference to a key set.
///
/// Returns: the same pointer.
/// In:      key_set: the key set; NULL stays NULL.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn musig_key_set_ref(key_set: *mut musig_key_set) -> *mut musig_key_set {
    // SAFETY: the header asks for a key set with a reference, or NULL.
    unsafe { add_reference(key_set) }
}

/// Releases a reference to a key set; the last one frees it.
///
/// In:      key_set: the key set; NULL is ignored.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn musig_key_set_free(key_set: *mut musig_key_set) {
    // SAFETY: the header asks for a key set with a reference, or NULL.
    unsafe { release(key_set) }
}
