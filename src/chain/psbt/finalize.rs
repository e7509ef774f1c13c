//! Combining, and the final transaction.

use bitcoin::consensus::encode;
use bitcoin::{ScriptBuf, Transaction, Witness};

use super::error::{Field, MapName, PsbtError};
use super::rules::{self, global, input};
use super::{Musig2Spend, Psbt};
use crate::protocol::crypto::aggregate::verify_signature;
use crate::protocol::proposal::SighashType;
use crate::types::{Signature, SignedTransaction, Txid};

/// The last byte of a signature of 65 bytes.
const SIGHASH_ALL: u8 = 1;

impl Psbt {
    /// Takes over the fields of another PSBT of the same transaction, of either version. This one keeps its version.
    ///
    /// Errors: [`PsbtError::OtherTransaction`], [`PsbtError::Conflict`] if both have a field with different values,
    /// [`PsbtError::TooLarge`] if together they are. Nothing changes then.
    pub fn combine(&mut self, other: &Self) -> Result<(), PsbtError> {
        if self.unsigned_transaction() != other.unsigned_transaction() {
            return Err(PsbtError::OtherTransaction);
        }
        let mut combined = self.maps.clone();
        for map in other.maps.names() {
            let fields = other.maps.entries(map).filter(|entry| {
                let of_format =
                    map == MapName::Global && matches!(entry.key_type, global::UNSIGNED_TX | global::VERSION);
                let of_version = rules::of_version_2(map, entry.key_type);
                !of_format && (!of_version || self.version() == other.version())
            });
            combined.add(map, fields.map(|entry| (entry.key, entry.value)).collect())?;
        }
        self.maps = combined;
        Ok(())
    }

    /// Whether an input has its final witness or script signature.
    pub fn is_final(&self, index: usize) -> bool {
        let map = MapName::Input(index);
        [input::FINAL_SCRIPTSIG, input::FINAL_SCRIPTWITNESS]
            .iter()
            .any(|key_type| self.maps.value(map, *key_type).is_some())
    }

    /// Puts the signature of a spend by the key path into `PSBT_IN_TAP_KEY_SIG`, verified.
    ///
    /// Errors: [`PsbtError::WrongSignature`], [`PsbtError::KeyInLeaf`], [`PsbtError::Conflict`] if another one is there.
    pub fn add_signature(&mut self, spend: &Musig2Spend, signature: &Signature) -> Result<(), PsbtError> {
        let input = spend.input;
        if spend.leaf.is_some() {
            return Err(PsbtError::KeyInLeaf { input });
        }
        if !verify_signature(spend.key.x_only(), &spend.sighash, signature) {
            return Err(PsbtError::WrongSignature { input });
        }
        let value = element(signature, spend.sighash_type);
        self.add_checked(MapName::Input(input), input::TAP_KEY_SIG, &[], &value)
    }

    /// Makes every input final that is to be signed with MuSig2 by the key path: from `PSBT_IN_TAP_KEY_SIG`, or from
    /// the partial signatures of all participants; each signature is verified. Of such an input only the spent output,
    /// what version 2 needs, the final witness and what this library does not know stay (BIP-174, "Input Finalizer").
    /// Other inputs stay as they are.
    ///
    /// Errors: those of [`aggregate_signature`](Self::aggregate_signature); [`PsbtError::WrongSignature`],
    /// [`PsbtError::KeyInLeaf`] for a key that only stands in a leaf, [`PsbtError::Unrelated`]. Nothing changes then.
    pub fn finalize(&mut self) -> Result<(), PsbtError> {
        let mut finalized = self.clone();
        let mut hashes = self.hashes()?;
        for index in 0..self.inputs() {
            let map = MapName::Input(index);
            if self.is_final(index) {
                continue;
            }
            let Some(spend) = self.key_path_spend(index, &mut hashes)? else { continue };
            let value = match self.maps.value(map, input::TAP_KEY_SIG) {
                Some(value) => value.to_vec(),
                None => element(&self.aggregate_signature(&spend)?, spend.sighash_type),
            };
            if !is_signature_of(&spend, &value) {
                return Err(PsbtError::WrongSignature { input: index });
            }
            finalized.maps.retain(map, |entry| stays(Field { map, key_type: Some(entry.key_type) }));
            let witness = encode::serialize(&Witness::from_slice(&[value]));
            finalized.add_checked(map, input::FINAL_SCRIPTWITNESS, &[], &witness)?;
        }
        *self = finalized;
        Ok(())
    }

    /// The transaction with the final witnesses and script signatures that are there.
    pub(super) fn with_final_fields(&self) -> Result<Transaction, PsbtError> {
        let mut transaction = self.unsigned_transaction().clone();
        for (index, signed) in transaction.input.iter_mut().enumerate() {
            let map = MapName::Input(index);
            if let Some(script) = self.maps.value(map, input::FINAL_SCRIPTSIG) {
                signed.script_sig = ScriptBuf::from_bytes(script.to_vec());
            }
            if let Some(value) = self.maps.value(map, input::FINAL_SCRIPTWITNESS) {
                let field = Field { map, key_type: Some(input::FINAL_SCRIPTWITNESS) };
                signed.witness = rules::witness(field, value)?;
            }
        }
        Ok(transaction)
    }

    /// The final transaction (BIP-174, "Transaction Extractor"). Only the signatures of inputs that this library
    /// finalized were verified.
    ///
    /// Errors: [`PsbtError::NotFinal`].
    pub fn extract(&self) -> Result<SignedTransaction, PsbtError> {
        if let Some(input) = (0..self.inputs()).find(|index| !self.is_final(*index)) {
            return Err(PsbtError::NotFinal { input });
        }
        let transaction = self.with_final_fields()?;
        let txid = Txid(*AsRef::<[u8; 32]>::as_ref(&transaction.compute_txid()));
        Ok(SignedTransaction { txid, bytes: encode::serialize(&transaction) })
    }
}

/// A signature as a witness has it: 64 bytes for DEFAULT, 65 for ALL.
fn element(signature: &Signature, sighash_type: SighashType) -> Vec<u8> {
    let mut element = signature.0.to_vec();
    if sighash_type == SighashType::All {
        element.push(SIGHASH_ALL);
    }
    element
}

pub(super) fn is_signature_of(spend: &Musig2Spend, value: &[u8]) -> bool {
    let Some((signature, rest)) = value.split_first_chunk::<64>() else { return false };
    let expected: &[u8] = match spend.sighash_type {
        SighashType::Default => &[],
        SighashType::All => &[SIGHASH_ALL],
    };
    rest == expected && verify_signature(spend.key.x_only(), &spend.sighash, &Signature(*signature))
}

/// What a finalizer leaves in an input.
fn stays(field: Field) -> bool {
    field.name().is_none_or(|name| name.ends_with("PROPRIETARY"))
        || rules::of_version_2(field.map, field.key_type.unwrap_or_default())
        || matches!(field.key_type, Some(input::NON_WITNESS_UTXO | input::WITNESS_UTXO))
}
