//! Signers, peers and connections for unit tests.

use crate::types::SignerKey;

/// A signer for each number from 1 on.
pub(super) fn signer(number: u8) -> SignerKey {
    let secret = secp256k1::SecretKey::from_secret_bytes([number; 32]).expect("not zero");
    secp256k1::Keypair::from_secret_key(&secret).public_key().into()
}
