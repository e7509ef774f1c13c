//! Aggregate keys and their tweaks.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::error::MusigError;
use super::live::Live;
use super::values::{KeyOrder, Tweak, array, number};
use crate::protocol::crypto::key_set as core;
use crate::types::SignerKey;

/// BIP-327 `KeyAgg` without tweaks, with the parity of the point: 1 to 128 keys.
#[uniffi::export]
pub fn aggregate_key(signers: Vec<SignerKey>, order: KeyOrder) -> Result<SignerKey, MusigError> {
    Ok(core::aggregate_key(&signers, order)?)
}

/// BIP-327 `KeySort`: by compressed form, ascending.
#[uniffi::export]
pub fn sort_keys(signers: Vec<SignerKey>) -> Result<Vec<SignerKey>, MusigError> {
    Ok(core::sort_keys(&signers))
}

/// BIP-328's synthetic extended public key of an aggregate key (`xpub…`).
#[uniffi::export]
pub fn synthetic_xpub(aggregate_key: SignerKey) -> Result<String, MusigError> {
    Ok(core::synthetic_xpub(&aggregate_key))
}

/// The BIP-341 tweak of an internal key, with the Merkle root of its scripts (32 bytes) if there are any.
#[uniffi::export(default(merkle_root = None))]
pub fn taproot_tweak(internal_key: SignerKey, merkle_root: Option<Vec<u8>>) -> Result<Tweak, MusigError> {
    Ok(core::taproot_tweak(internal_key.x_only(), root(merkle_root)?).into())
}

fn root(merkle_root: Option<Vec<u8>>) -> Result<Option<[u8; 32]>, MusigError> {
    merkle_root.map(|bytes| array("the Merkle root", bytes)).transpose()
}

/// Tweaks of a request, each shared prefix once. Its methods return the index of a tweak, which names the key after it
/// in a message's `tweak`.
#[derive(Debug, uniffi::Object)]
pub struct TweakForest {
    forest: Mutex<core::TweakForest>,
    _live: Live,
}

impl TweakForest {
    /// The forest stays whole whatever panicked: each method changes it at its end.
    fn forest(&self) -> MutexGuard<'_, core::TweakForest> {
        self.forest.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[uniffi::export]
impl TweakForest {
    /// Makes a forest without tweaks for an aggregate key.
    #[uniffi::constructor]
    pub fn new(aggregate_key: SignerKey) -> Result<Arc<Self>, MusigError> {
        let forest = Mutex::new(core::TweakForest::new(aggregate_key));
        Ok(Arc::new(Self { forest, _live: Live::new("TweakForest") }))
    }

    /// The key after a tweak; the aggregate key if none is given.
    #[uniffi::method(default(after = None))]
    pub fn key(&self, after: Option<u32>) -> Result<SignerKey, MusigError> {
        Ok(self.forest().key(after.map(|index| index as usize))?)
    }

    /// Derives a child key along unhardened steps (BIP-32) from the synthetic extended key (BIP-328). None for the
    /// empty path, which needs no tweak.
    pub fn derive(&self, path: Vec<u32>) -> Result<Option<u32>, MusigError> {
        Ok(self.forest().derive(&path)?.map(number))
    }

    /// Makes a Taproot output key (BIP-341) of the key after a tweak.
    #[uniffi::method(default(after = None, merkle_root = None))]
    pub fn taproot(&self, after: Option<u32>, merkle_root: Option<Vec<u8>>) -> Result<u32, MusigError> {
        let root = root(merkle_root)?;
        Ok(number(self.forest().taproot(after.map(|index| index as usize), root)?))
    }

    /// Adds a tweak, unless the forest has it already.
    pub fn push(&self, tweak: Tweak) -> Result<u32, MusigError> {
        Ok(number(self.forest().push(tweak.try_into()?)?))
    }

    /// The tweaks for a request's `tweaks`.
    pub fn tweaks(&self) -> Vec<Tweak> {
        self.forest().clone().into_tweaks().into_iter().map(Tweak::from).collect()
    }
}
