//! What a wallet's descriptor knows of a PSBT: the role of an updater (BIP-174, BIP-373).

use std::collections::HashMap;

use super::error::{MapName, PsbtError};
use super::rules::{input, output};
use super::terms::{Fields, add_message};
use super::{Psbt, limits};
use crate::chain::descriptor::Descriptor;
use crate::chain::wallet::KEYS;
use crate::protocol::proposal::{Message, SighashType};

impl Psbt {
    /// Adds what a descriptor knows of its own inputs and outputs: the participants, the internal key, and the derivations
    /// of both. They are found by their scripts, among the first `indices` of each branch. So a PSBT that a wallet without
    /// MuSig2 made can be signed, if it says what its inputs spend. Answers how many inputs are the descriptor's own.
    ///
    /// Errors: [`PsbtError::TooLarge`] for more than 100,000 keys to derive, [`PsbtError::Conflict`] if something else is
    /// there already; [`PsbtError::RepeatedParticipant`] for a descriptor that no session signs with. Nothing changes then.
    pub fn update(&mut self, descriptor: &Descriptor, indices: u32) -> Result<usize, PsbtError> {
        let indices = if descriptor.is_ranged() { indices } else { 1 };
        let keys =
            u64::from(indices).saturating_mul((descriptor.branches() * descriptor.participants()) as u64);
        limits::check("keys of the descriptor", keys, KEYS as u64)?;
        let mut places: HashMap<Vec<u8>, Vec<MapName>> = HashMap::new();
        for index in 0..self.inputs() {
            if let Ok(spent) = self.spent_output(index)
                && !self.is_final(index)
            {
                places.entry(spent.script_pubkey.into_bytes()).or_default().push(MapName::Input(index));
            }
        }
        for (index, paid) in self.unsigned_transaction().output.iter().enumerate() {
            places.entry(paid.script_pubkey.to_bytes()).or_default().push(MapName::Output(index));
        }
        let (mut own, mut maps) = (0, self.maps.clone());
        for branch in 0..descriptor.branches() {
            for index in 0..indices {
                let Ok(script) = descriptor.output_script(branch, index) else { continue };
                for place in places.get(&script).into_iter().flatten() {
                    let (position, of_input) = match *place {
                        MapName::Input(position) => (position, true),
                        MapName::Output(position) => (position, false),
                        MapName::Global => continue,
                    };
                    let keys = descriptor.keys(branch, index);
                    let keys = keys.map_err(|_| PsbtError::RepeatedParticipant { input: position })?;
                    let message = Message {
                        digest: [0; 32],
                        input: u32::try_from(position).expect("it was read within limits"),
                        key_set: 0,
                        derivation: keys.derivation,
                        sighash_type: SighashType::Default,
                    };
                    let mut fields = Fields::new();
                    add_message(&mut fields, &message, &keys.key_set)?;
                    if !of_input {
                        fields = fields.into_iter().map(|(key, value)| (of_output(key), value)).collect();
                    }
                    let fields = fields.iter().map(|(key, value)| (key.as_slice(), value.as_slice()));
                    maps.add(*place, fields.collect())?;
                    own += usize::from(of_input);
                }
            }
        }
        self.maps = maps;
        Ok(own)
    }
}

/// The key of an input's field as that of the same field of an output.
fn of_output(mut key: Vec<u8>) -> Vec<u8> {
    key[0] = match u64::from(key[0]) {
        input::MUSIG2_PARTICIPANT_PUBKEYS => output::MUSIG2_PARTICIPANT_PUBKEYS as u8,
        input::TAP_BIP32_DERIVATION => output::TAP_BIP32_DERIVATION as u8,
        input::TAP_INTERNAL_KEY => output::TAP_INTERNAL_KEY as u8,
        other => unreachable!("a descriptor has no field {other}"),
    };
    key
}
