//! The PSBT of a session's terms, as a node makes it for its own device.

use std::collections::BTreeMap;

use bitcoin::consensus::encode;
use bitcoin::{ScriptBuf, Transaction, Witness};

use super::maps::{write_compact_size, write_pair};
use super::rules::{global, input, output};
use super::{MapName, Musig2Spend, Psbt, PsbtError};
use crate::chain::keys::fingerprint;
use crate::protocol::crypto::key_set::{KeyOrigin, KeySet, Participant, Taproot};
use crate::protocol::proposal::{Message, Proposal, SighashType};

/// The fields of one map, by their keys.
pub(super) type Fields = BTreeMap<Vec<u8>, Vec<u8>>;

impl Psbt {
    /// A PSBT of a transaction proposal, of version 0 or 2: the spent outputs, for each message the participants, their
    /// origins and the derivation of the final key, and the final witnesses of the other inputs. No nonce and no
    /// signature is in it.
    ///
    /// Errors: [`PsbtError::RawMessages`], [`PsbtError::Version`]; [`PsbtError::Unrelated`] if the terms say no key that
    /// owns an input, [`PsbtError::OtherSighash`] if a message is not what that input's signature signs.
    pub fn from_proposal(proposal: &Proposal, version: u32) -> Result<Self, PsbtError> {
        let terms = proposal.transaction.as_ref().ok_or(PsbtError::RawMessages)?;
        let transaction: Transaction = encode::deserialize(&terms.unsigned)
            .map_err(|_| PsbtError::Transaction("its bytes are not a transaction"))?;
        if terms.spent.len() != transaction.input.len() {
            return Err(PsbtError::Transaction("it has another number of spent outputs than of inputs"));
        }
        let mut unsigned = transaction.clone();
        for signed in &mut unsigned.input {
            (signed.witness, signed.script_sig) = (Witness::new(), ScriptBuf::new());
        }
        let mut maps = vec![global_fields(&unsigned, version)?];
        for (index, (signed, spent)) in transaction.input.iter().zip(&terms.spent).enumerate() {
            let mut fields = input_fields(&unsigned, index, version);
            let mut value = spent.value.to_le_bytes().to_vec();
            write_compact_size(&mut value, spent.script.len() as u64);
            value.extend_from_slice(&spent.script);
            fields.insert(key(input::WITNESS_UTXO, &[]), value);
            if !signed.witness.is_empty() {
                fields.insert(key(input::FINAL_SCRIPTWITNESS, &[]), encode::serialize(&signed.witness));
            }
            maps.push(fields);
        }
        for message in &proposal.messages {
            let map = maps
                .get_mut(1 + message.input as usize)
                .filter(|_| (message.input as usize) < unsigned.input.len())
                .ok_or(PsbtError::NoSuchMap { map: MapName::Input(message.input as usize) })?;
            let key_set = proposal.key_sets.get(message.key_set);
            let key_set = key_set.ok_or(PsbtError::Unrelated { input: message.input as usize })?;
            add_message(map, message, key_set)?;
        }
        for made in &unsigned.output {
            let mut fields = Fields::new();
            if version == 2 {
                fields.insert(key(output::AMOUNT, &[]), made.value.to_sat().to_le_bytes().to_vec());
                fields.insert(key(output::SCRIPT, &[]), made.script_pubkey.to_bytes());
            }
            maps.push(fields);
        }
        let mut bytes = b"psbt\xff".to_vec();
        for fields in &maps {
            for (key, value) in fields {
                write_pair(&mut bytes, key, value);
            }
            bytes.push(0);
        }
        Self::from_bytes(&bytes)
    }

    /// The spend of each message of a proposal, in this PSBT of its terms: what a participant signs there is the
    /// message, with the proposal's key.
    pub(super) fn spends_of(&self, proposal: &Proposal) -> Result<Vec<Musig2Spend>, PsbtError> {
        let mut hashes = self.hashes()?;
        let mut spends = Vec::with_capacity(proposal.messages.len());
        for message in &proposal.messages {
            let input = message.input as usize;
            let spend = self.key_path_spend(input, &mut hashes)?.ok_or(PsbtError::Unrelated { input })?;
            if spend.sighash != message.digest || spend.sighash_type != message.sighash_type {
                return Err(PsbtError::OtherSighash { input });
            }
            let key_set = &proposal.key_sets[message.key_set];
            let expected =
                key_set.derive(&message.derivation).map_err(|_| PsbtError::Unrelated { input })?.key();
            if spend.key != expected {
                return Err(PsbtError::Unrelated { input });
            }
            spends.push(spend);
        }
        Ok(spends)
    }
}

fn key(key_type: u64, data: &[u8]) -> Vec<u8> {
    [&[key_type as u8], data].concat()
}

fn global_fields(unsigned: &Transaction, version: u32) -> Result<Fields, PsbtError> {
    let mut fields = Fields::new();
    match version {
        0 => {
            fields.insert(key(global::UNSIGNED_TX, &[]), encode::serialize(unsigned));
        }
        2 => {
            let count = |count: usize| {
                let mut value = Vec::new();
                write_compact_size(&mut value, count as u64);
                value
            };
            let lock_time = unsigned.lock_time.to_consensus_u32().to_le_bytes().to_vec();
            fields.insert(key(global::TX_VERSION, &[]), unsigned.version.0.to_le_bytes().to_vec());
            fields.insert(key(global::FALLBACK_LOCKTIME, &[]), lock_time);
            fields.insert(key(global::INPUT_COUNT, &[]), count(unsigned.input.len()));
            fields.insert(key(global::OUTPUT_COUNT, &[]), count(unsigned.output.len()));
            fields.insert(key(global::VERSION, &[]), version.to_le_bytes().to_vec());
        }
        version => return Err(PsbtError::Version { version }),
    }
    Ok(fields)
}

fn input_fields(unsigned: &Transaction, index: usize, version: u32) -> Fields {
    let mut fields = Fields::new();
    if version == 2 {
        let input = &unsigned.input[index];
        let previous = &input.previous_output;
        fields.insert(key(input::PREVIOUS_TXID, &[]), encode::serialize(&previous.txid));
        fields.insert(key(input::OUTPUT_INDEX, &[]), previous.vout.to_le_bytes().to_vec());
        let sequence = input.sequence.to_consensus_u32().to_le_bytes().to_vec();
        fields.insert(key(input::SEQUENCE, &[]), sequence);
    }
    fields
}

/// What a device needs to sign a message: the participants of the aggregate key, and the way from it to the output key.
pub(super) fn add_message(fields: &mut Fields, message: &Message, key_set: &KeySet) -> Result<(), PsbtError> {
    let input = message.input as usize;
    let unrelated = |_| PsbtError::Unrelated { input };
    let plain = key_set.aggregate().map_err(unrelated)?;
    let child = plain.derive(&message.derivation.path).map_err(unrelated)?;
    let aggregate = plain.key();
    let participants: Vec<u8> = key_set.aggregated().iter().flat_map(|key| *key.as_bytes()).collect();
    fields.insert(key(input::MUSIG2_PARTICIPANT_PUBKEYS, aggregate.as_bytes()), participants);
    for Participant { key: participant, origin } in &key_set.participants {
        if let Some(origin) = origin {
            add_origin(fields, participant.x_only(), origin);
        }
    }
    if !message.derivation.path.is_empty() {
        let path = message.derivation.path.clone();
        let origin = KeyOrigin { fingerprint: fingerprint(&aggregate), path };
        add_origin(fields, &child.x_only(), &origin);
    }
    if message.derivation.taproot != Taproot::None {
        fields.insert(key(input::TAP_INTERNAL_KEY, &[]), child.x_only().to_vec());
    }
    if let Taproot::MerkleRoot(root) = message.derivation.taproot {
        fields.insert(key(input::TAP_MERKLE_ROOT, &[]), root.to_vec());
    }
    if message.sighash_type == SighashType::All {
        fields.insert(key(input::SIGHASH_TYPE, &[]), 1_u32.to_le_bytes().to_vec());
    }
    Ok(())
}

/// `PSBT_IN_TAP_BIP32_DERIVATION`: no leaf, the fingerprint, the child numbers.
fn add_origin(fields: &mut Fields, x_only: &[u8; 32], origin: &KeyOrigin) {
    let path = origin.path.iter().flat_map(|number| number.to_le_bytes());
    let value = [0].into_iter().chain(origin.fingerprint).chain(path).collect();
    fields.insert(key(input::TAP_BIP32_DERIVATION, x_only), value);
}
