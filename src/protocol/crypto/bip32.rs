//! Unhardened children (BIP-32) and the text of extended keys.

use secp256k1::Scalar;
use sha2::{Digest, Sha256, Sha512};
use zeroize::Zeroizing;

use crate::types::SignerKey;

/// Bytes of an extended key.
const EXTENDED: usize = 78;
/// Children that are compared with an identity key: 0 to this, less one.
const COMPARED_CHILDREN: u32 = 20;
/// Children whose own children are compared too: those of receiving and of change addresses.
const COMPARED_BRANCHES: u32 = 2;
const DIGITS: &[u8; 58] = b"123456789ABCDEFGHJKLMNPQRSTUVWXYZabcdefghijkmnopqrstuvwxyz";

/// BIP-32 `CKDpub` before the addition: the scalar that is added to the parent, and the child's chain code. The scalar is a
/// hash of the parent's key, so that nobody can choose the child.
pub(super) fn scalar_of_child(
    parent: &SignerKey,
    chain_code: &[u8; 32],
    number: u32,
) -> ([u8; 32], [u8; 32]) {
    hmac_sha512(chain_code, parent.as_bytes(), &number.to_be_bytes())
}

/// BIP-32 `CKDpub`: what is added to the parent, the child, and its chain code. `None` for a hardened child, and if there
/// is no such child, as happens once in 2¹²⁷ times.
pub(crate) fn child(
    parent: &SignerKey,
    chain_code: &[u8; 32],
    number: u32,
) -> Option<(Scalar, SignerKey, [u8; 32])> {
    if number >= 1 << 31 {
        return None;
    }
    let (scalar, chain_code) = scalar_of_child(parent, chain_code, number);
    let scalar = Scalar::from_be_bytes(scalar).ok()?;
    let key = parent.to_public_key().add_exp_tweak(&scalar).ok()?;
    Some((scalar, key.into(), chain_code))
}

/// Whether an identity key is an extended key's own one, one of its first children, or one of theirs: then who learns one
/// private key learns both.
pub(crate) fn is_relative(key: &SignerKey, chain_code: &[u8; 32], identity: &SignerKey) -> bool {
    let same = |key: &SignerKey| key.x_only() == identity.x_only();
    let children = |key: &SignerKey, chain_code: &[u8; 32]| {
        let (key, chain_code) = (*key, *chain_code);
        (0..COMPARED_CHILDREN).filter_map(move |number| child(&key, &chain_code, number))
    };
    let branches = || children(key, chain_code).take(COMPARED_BRANCHES as usize);
    same(key)
        || children(key, chain_code).any(|(_, key, _)| same(&key))
        || branches().any(|(_, key, code)| children(&key, &code).any(|(_, key, _)| same(&key)))
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

fn checksum(payload: &[u8]) -> [u8; 4] {
    let hash = Sha256::digest(Sha256::digest(payload));
    [hash[0], hash[1], hash[2], hash[3]]
}

/// An extended key in base58 with its checksum.
pub(super) fn encode_base58check(payload: &[u8; EXTENDED]) -> String {
    let bytes = [&payload[..], &checksum(payload)].concat();
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

/// The bytes of an extended key. `None` for anything else. Its first byte is not zero, so no digit stands for a leading
/// zero.
pub(crate) fn decode_base58check(text: &str) -> Option<Zeroizing<[u8; EXTENDED]>> {
    let mut bytes = Zeroizing::new([0_u8; EXTENDED + 4]);
    for character in text.bytes() {
        let digit = DIGITS.iter().position(|digit| *digit == character)?;
        let mut carry = digit as u32;
        for byte in bytes.iter_mut().rev() {
            carry += u32::from(*byte) * 58;
            *byte = carry as u8;
            carry >>= 8;
        }
        if carry > 0 {
            return None;
        }
    }
    let (payload, sum) = bytes.split_first_chunk::<EXTENDED>()?;
    let canonical = payload[0] != 0 && !text.starts_with('1');
    (canonical && *sum == checksum(payload)).then(|| Zeroizing::new(*payload))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_extended_key_is_read_as_it_was_written_and_nothing_else_is() {
        let mut payload = [7; EXTENDED];
        payload[..4].copy_from_slice(&[0x04, 0x88, 0xad, 0xe4]);
        let text = encode_base58check(&payload);
        assert!(text.starts_with("xprv"));
        assert_eq!(decode_base58check(&text).as_deref(), Some(&payload));
        let mut replaced = text.clone();
        replaced.replace_range(50..51, if &text[50..51] == "2" { "3" } else { "2" });
        let (short, long) = (&text[..text.len() - 1], format!("{text}2"));
        let all = "z".repeat(1000);
        for wrong in
            ["", "1", &replaced, short, &long, &format!("1{text}"), &format!(" {text}"), "xprv0", &all]
        {
            assert_eq!(decode_base58check(wrong), None, "{wrong}");
        }
        payload[0] = 0;
        assert_eq!(decode_base58check(&encode_base58check(&payload)), None);
    }
}
