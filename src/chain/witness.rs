//! Witnesses of inputs that a session does not sign: whether they are valid, by consensus and by relay policy.
//!
//! What nodes do not relay never reaches a block by itself, so it completes a transaction as little as what is invalid.

use bitcoin::hashes::{Hash, hash160};
use bitcoin::sighash::{EcdsaSighashType, Prevouts, SighashCache, TapSighashType};
use bitcoin::{Transaction, TxOut, Witness};
use secp256k1::{Message, PublicKey, XOnlyPublicKey, ecdsa, schnorr};

use crate::mutation::{self, Mutation};

/// The first byte of an annex (BIP-341).
const ANNEX: u8 = 0x50;

/// Whether this file can tell if a witness is valid: P2WPKH (BIP-141), and the key path of P2TR (BIP-341).
pub(super) fn is_verifiable(output: &TxOut, witness: &Witness) -> bool {
    output.script_pubkey.is_p2wpkh()
        || output.script_pubkey.is_p2tr() && (witness.len() == 1 || has_annex(witness))
}

/// Checks the witness of an input of a kind that [is verifiable](is_verifiable). `spent` are the outputs that the
/// transaction spends, one for each input.
pub(super) fn verify(
    cache: &mut SighashCache<&Transaction>,
    position: usize,
    spent: &[TxOut],
    witness: &Witness,
) -> Result<(), &'static str> {
    if mutation::on(Mutation::ForeignWitnessBelieved) {
        return Ok(());
    }
    if spent[position].script_pubkey.is_p2wpkh() {
        verify_p2wpkh(cache, position, &spent[position], witness)
    } else {
        verify_key_path(cache, position, spent, witness)
    }
}

fn verify_p2wpkh(
    cache: &mut SighashCache<&Transaction>,
    position: usize,
    output: &TxOut,
    witness: &Witness,
) -> Result<(), &'static str> {
    let [signature, key] = elements(witness).ok_or("has not the two elements of a P2WPKH witness")?;
    let program = &output.script_pubkey.as_bytes()[2..];
    if hash160::Hash::hash(key).as_byte_array() != program {
        return Err("has another public key than its output asks for");
    }
    // BIP-141's policy: no uncompressed keys.
    let key = key.try_into().ok().and_then(|key| PublicKey::from_byte_array_compressed(key).ok());
    let key = key.ok_or("has a public key that is not a compressed point")?;
    let (hash_type, der) = signature.split_last().ok_or("has an empty signature")?;
    let hash_type = EcdsaSighashType::from_standard((*hash_type).into())
        .map_err(|_| "has a signature with an undefined hash type")?;
    let signature =
        ecdsa::Signature::from_der(der).map_err(|_| "has a signature that is not encoded in DER")?;
    let mut low = signature;
    low.normalize_s();
    // Encoded again, it is what it was only if it was strict DER (BIP-66) with a low S (BIP-146).
    if low.serialize_der()[..] != *der {
        return Err("has a signature that is not strict DER with a low S");
    }
    let hash = cache
        .p2wpkh_signature_hash(position, &output.script_pubkey, output.value, hash_type)
        .map_err(|_| "has no signature hash")?;
    let message = Message::from_digest(hash.to_byte_array());
    ecdsa::verify(&signature, message, &key).map_err(|_| "has a signature that does not verify")
}

fn verify_key_path(
    cache: &mut SighashCache<&Transaction>,
    position: usize,
    spent: &[TxOut],
    witness: &Witness,
) -> Result<(), &'static str> {
    if has_annex(witness) {
        return Err("has an annex, with which nodes do not relay it");
    }
    let [element] = elements(witness).ok_or("has not the one element of a key-path witness")?;
    let (signature, hash_type) = match element.split_first_chunk::<64>() {
        Some((signature, [])) => (signature, TapSighashType::Default),
        Some((signature, [hash_type])) => match TapSighashType::from_consensus_u8(*hash_type) {
            Ok(hash_type) if hash_type != TapSighashType::Default => (signature, hash_type),
            _ => return Err("has a signature with an undefined hash type"),
        },
        _ => return Err("has a signature of another length than 64 or 65 bytes"),
    };
    let key = spent[position].script_pubkey.as_bytes()[2..].try_into().expect("a P2TR output has 34 bytes");
    let key =
        XOnlyPublicKey::from_byte_array(key).map_err(|_| "spends an output whose key is not a point")?;
    let hash = cache
        .taproot_key_spend_signature_hash(position, &Prevouts::All(spent), hash_type)
        .map_err(|_| "has no signature hash of its hash type")?;
    let signature = schnorr::Signature::from_byte_array(*signature);
    schnorr::verify(&signature, hash.as_byte_array(), &key)
        .map_err(|_| "has a signature that does not verify")
}

fn has_annex(witness: &Witness) -> bool {
    witness.len() >= 2 && witness.last().is_some_and(|last| last.first() == Some(&ANNEX))
}

/// All elements, if there are so many.
fn elements<const N: usize>(witness: &Witness) -> Option<[&[u8]; N]> {
    let elements: Vec<&[u8]> = witness.iter().take(N + 1).collect();
    elements.try_into().ok()
}
