//! Children of aggregate keys (BIP-328): the synthetic extended key, and what makes a child of it.

use crate::error::ProposalError;
use crate::protocol::crypto::bip32::{encode_base58check, scalar_of_child};
use crate::protocol::limits;
use crate::types::SignerKey;

/// The chain code of BIP-328: SHA-256 of the text `MuSig2MuSig2MuSig2`.
pub const BIP328_CHAIN_CODE: [u8; 32] = [
    0x86, 0x80, 0x87, 0xca, 0x02, 0xa6, 0xf9, 0x74, 0xc4, 0x59, 0x89, 0x24, 0xc3, 0x6b, 0x57, 0x76, 0x2d,
    0x32, 0xcb, 0x45, 0x71, 0x71, 0x67, 0xe3, 0x00, 0x62, 0x2c, 0x71, 0x67, 0xe3, 0x89, 0x65,
];

/// BIP-328's synthetic extended public key of an aggregate key: BIP-32's 78 bytes, with the version of the main
/// network, in base58 with a checksum (`xpub…`).
pub fn synthetic_xpub(aggregate_key: &SignerKey) -> String {
    let mut bytes = [0; 78];
    bytes[..4].copy_from_slice(&[0x04, 0x88, 0xb2, 0x1e]);
    bytes[13..45].copy_from_slice(&BIP328_CHAIN_CODE);
    bytes[45..].copy_from_slice(aggregate_key.as_bytes());
    encode_base58check(&bytes)
}

/// Refuses what no proposal may derive with.
pub(super) fn check_path(path: &[u32]) -> Result<(), ProposalError> {
    limits::check("child numbers of a derivation", path.len(), 0, limits::CHILD_NUMBERS)?;
    path.iter().try_for_each(|number| check_number(*number))
}

fn check_number(number: u32) -> Result<(), ProposalError> {
    if number >= 1 << 31 { Err(ProposalError::HardenedChild { number }) } else { Ok(()) }
}

/// The scalar that makes a child, and the child's chain code.
pub(super) fn child(
    parent: &SignerKey,
    chain_code: &[u8; 32],
    number: u32,
) -> Result<([u8; 32], [u8; 32]), ProposalError> {
    check_number(number)?;
    Ok(scalar_of_child(parent, chain_code, number))
}
