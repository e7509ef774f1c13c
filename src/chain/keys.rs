//! What `bitcoin` adds to key sets: fingerprints and addresses.

use bitcoin::hashes::{Hash, hash160};
use bitcoin::{Address, Network, Script};

use crate::error::ProposalError;
use crate::protocol::crypto::key_set::{Derivation, KeySet};
use crate::types::SignerKey;

/// Fingerprint of a key (BIP-32), for an aggregate key the parent fingerprint of its children (BIP-328).
pub fn fingerprint(key: &SignerKey) -> [u8; 4] {
    *hash160::Hash::hash(key.as_bytes()).as_byte_array().first_chunk().expect("20 bytes")
}

/// The output script (`OP_1 <32 bytes>`) of an output key.
pub(super) fn output_script(key: &SignerKey) -> Vec<u8> {
    [&[0x51, 0x20], key.x_only().as_slice()].concat()
}

/// The address of such an output.
pub(super) fn address(key: &SignerKey, network: Network) -> String {
    let address = Address::from_script(Script::from_bytes(&output_script(key)), network);
    address.expect("a Taproot output has an address").to_string()
}

impl KeySet {
    /// The address of the output whose output key a derivation makes.
    ///
    /// Errors: those of [`final_key`](Self::final_key): there is none for keys that no session signs with.
    pub fn address(&self, derivation: &Derivation, network: Network) -> Result<String, ProposalError> {
        Ok(address(&self.final_key(derivation)?, network))
    }
}
