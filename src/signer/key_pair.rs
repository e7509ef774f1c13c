//! Key pairs in locked memory.

use secp256k1::{Keypair, Scalar, SecretKey};
use zeroize::{Zeroizing, zeroize_stack};

use crate::error::SignerError;
use crate::platform::Locked;
use crate::protocol::crypto::nonce::SCRUBBED_STACK;
use crate::types::SignerKey;

/// Puts a secret key into locked memory.
pub(super) fn load(secret: &[u8; 32]) -> Result<(Locked<Keypair>, SignerKey), SignerError> {
    let loaded = load_here(secret);
    zeroize_stack::<SCRUBBED_STACK>();
    loaded
}

/// Not inlined, so that its stack can be scrubbed.
#[inline(never)]
fn load_here(secret: &[u8; 32]) -> Result<(Locked<Keypair>, SignerKey), SignerError> {
    let mut key = Keypair::from_secret_bytes(*secret).map_err(|_| SignerError::InvalidSecret)?;
    let public_key = SignerKey::from(key.public_key());
    let locked = Locked::new(&key);
    key.non_secure_erase();
    let locked = locked.ok_or_else(|| SignerError::Other("the system has no memory for the key".into()))?;
    Ok((locked, public_key))
}

/// The key pair that a secret key becomes when these are added to it.
pub(super) fn add(secret: &Keypair, scalars: &[Scalar]) -> Result<(Locked<Keypair>, SignerKey), SignerError> {
    let added = add_here(secret, scalars);
    zeroize_stack::<SCRUBBED_STACK>();
    added
}

/// Not inlined, so that its stack can be scrubbed.
#[inline(never)]
fn add_here(secret: &Keypair, scalars: &[Scalar]) -> Result<(Locked<Keypair>, SignerKey), SignerError> {
    let mut key = SecretKey::from_keypair(secret);
    for scalar in scalars {
        key = key.add_tweak(scalar).map_err(|_| SignerError::Mismatch("the derivation leads to no key"))?;
    }
    let bytes = Zeroizing::new(key.to_secret_bytes());
    key.non_secure_erase();
    load_here(&bytes)
}
