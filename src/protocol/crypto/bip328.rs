//! Children of aggregate keys (BIP-328): the synthetic extended key, and what makes a child of it.

use sha2::{Digest, Sha256, Sha512};

use crate::error::ProposalError;
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
    base58check(&bytes)
}

/// Refuses what no proposal may derive with.
pub(super) fn check_path(path: &[u32]) -> Result<(), ProposalError> {
    limits::check("child numbers of a derivation", path.len(), 0, limits::CHILD_NUMBERS)?;
    path.iter().try_for_each(|number| check_number(*number))
}

fn check_number(number: u32) -> Result<(), ProposalError> {
    if number >= 1 << 31 { Err(ProposalError::HardenedChild { number }) } else { Ok(()) }
}

/// BIP-32 `CKDpub`: the scalar that is added to the parent, and the child's chain code. The scalar is a hash of the
/// parent's key, so that nobody can choose the child.
pub(super) fn child(
    parent: &SignerKey,
    chain_code: &[u8; 32],
    number: u32,
) -> Result<([u8; 32], [u8; 32]), ProposalError> {
    check_number(number)?;
    Ok(hmac_sha512(chain_code, parent.as_bytes(), &number.to_be_bytes()))
}

/// HMAC-SHA512 (RFC 2104) of two parts, split in halves. The key is shorter than a block.
fn hmac_sha512(key: &[u8; 32], first: &[u8], second: &[u8]) -> ([u8; 32], [u8; 32]) {
    let pad = |byte: u8| {
        let mut block = [byte; 128];
        block.iter_mut().zip(key).for_each(|(pad, key)| *pad ^= key);
        block
    };
    let inner = Sha512::new_with_prefix(pad(0x36)).chain_update(first).chain_update(second).finalize();
    let outer = Sha512::new_with_prefix(pad(0x5c)).chain_update(inner).finalize();
    let mut halves = ([0; 32], [0; 32]);
    halves.0.copy_from_slice(&outer[..32]);
    halves.1.copy_from_slice(&outer[32..]);
    halves
}

fn base58check(payload: &[u8]) -> String {
    const DIGITS: &[u8; 58] = b"123456789ABCDEFGHJKLMNPQRSTUVWXYZabcdefghijkmnopqrstuvwxyz";
    let checksum = Sha256::digest(Sha256::digest(payload));
    let bytes = [payload, &checksum[..4]].concat();
    let mut digits: Vec<u8> = Vec::with_capacity(bytes.len() * 138 / 100 + 1);
    for byte in &bytes {
        let mut carry = u32::from(*byte);
        for digit in &mut digits {
            carry += u32::from(*digit) << 8;
            *digit = (carry % 58) as u8;
            carry /= 58;
        }
        while carry > 0 {
            digits.push((carry % 58) as u8);
            carry /= 58;
        }
    }
    let zeros = bytes.iter().take_while(|byte| **byte == 0).map(|_| '1');
    zeros.chain(digits.iter().rev().map(|digit| DIGITS[usize::from(*digit)] as char)).collect()
}
