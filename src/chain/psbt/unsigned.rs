//! The transaction of a PSBT, and the form in which the crate `bitcoin` reads it.

use bitcoin::absolute::LockTime;
use bitcoin::consensus::encode;
use bitcoin::hashes::Hash;
use bitcoin::{Amount, OutPoint, ScriptBuf, Sequence, Transaction, TxIn, TxOut, Txid, Witness, transaction};

use super::error::{Field, MapName, PsbtError};
use super::maps::{Maps, write_pair};
use super::rules::{self, global, input, output};
use super::{Psbt, limits};
use crate::mutation::{self, Mutation};

fn field(map: MapName, key_type: u64) -> Field {
    Field { map, key_type: Some(key_type) }
}

/// A field of fixed length. `None` if it is not there.
fn fixed<const N: usize>(maps: &Maps, map: MapName, key_type: u64) -> Result<Option<[u8; N]>, PsbtError> {
    maps.value(map, key_type).map(|value| rules::array(field(map, key_type), value)).transpose()
}

fn u32_field(maps: &Maps, map: MapName, key_type: u64) -> Result<Option<u32>, PsbtError> {
    Ok(fixed(maps, map, key_type)?.map(u32::from_le_bytes))
}

/// A required field of version 2.
fn required<T>(value: Option<T>, map: MapName, key_type: u64) -> Result<T, PsbtError> {
    value.ok_or(PsbtError::Missing { field: field(map, key_type), version: 2 })
}

/// The transaction without script signatures and witnesses.
pub(super) fn transaction(maps: &Maps) -> Result<Transaction, PsbtError> {
    if maps.version() == 0 {
        return maps.global_transaction();
    }
    let version =
        required(u32_field(maps, MapName::Global, global::TX_VERSION)?, MapName::Global, global::TX_VERSION)?;
    let mut inputs = Vec::with_capacity(maps.inputs());
    for map in (0..maps.inputs()).map(MapName::Input) {
        let txid = required(fixed(maps, map, input::PREVIOUS_TXID)?, map, input::PREVIOUS_TXID)?;
        let vout = required(u32_field(maps, map, input::OUTPUT_INDEX)?, map, input::OUTPUT_INDEX)?;
        inputs.push(TxIn {
            previous_output: OutPoint { txid: Txid::from_byte_array(txid), vout },
            script_sig: ScriptBuf::new(),
            sequence: u32_field(maps, map, input::SEQUENCE)?.map_or(Sequence::MAX, Sequence::from_consensus),
            witness: Witness::new(),
        });
    }
    let mut outputs = Vec::with_capacity(maps.outputs());
    for map in (0..maps.outputs()).map(MapName::Output) {
        let value = required(fixed(maps, map, output::AMOUNT)?, map, output::AMOUNT)?;
        let script = required(maps.value(map, output::SCRIPT), map, output::SCRIPT)?;
        outputs.push(TxOut {
            value: Amount::from_sat(u64::from_le_bytes(value)),
            script_pubkey: ScriptBuf::from_bytes(script.to_vec()),
        });
    }
    Ok(Transaction {
        version: transaction::Version(version.cast_signed()),
        lock_time: LockTime::from_consensus(lock_time(maps)?),
        input: inputs,
        output: outputs,
    })
}

/// BIP-370, "Determining Lock Time": the greatest that the inputs require, of the kind that all can have; heights if
/// both are possible.
fn lock_time(maps: &Maps) -> Result<u32, PsbtError> {
    let (mut height, mut time) = (Some(0), Some(0));
    let mut any = false;
    for map in (0..maps.inputs()).map(MapName::Input) {
        let heights = u32_field(maps, map, input::REQUIRED_HEIGHT_LOCKTIME)?;
        let times = u32_field(maps, map, input::REQUIRED_TIME_LOCKTIME)?;
        if (heights.is_some() || times.is_some()) && !mutation::on(Mutation::PsbtLocksIgnored) {
            any = true;
            height = height.and_then(|most: u32| heights.map(|required| most.max(required)));
            time = time.and_then(|most: u32| times.map(|required| most.max(required)));
        }
    }
    match any {
        false => Ok(u32_field(maps, MapName::Global, global::FALLBACK_LOCKTIME)?.unwrap_or(0)),
        true => height.or(time).ok_or(PsbtError::LockTimeConflict),
    }
}

impl Psbt {
    /// The output that an input spends: from `PSBT_IN_WITNESS_UTXO`, or from the transaction in
    /// `PSBT_IN_NON_WITNESS_UTXO`.
    ///
    /// Errors: [`PsbtError::NoSpentOutput`] if neither is there, [`PsbtError::NoSuchMap`].
    pub fn spent_output(&self, index: usize) -> Result<TxOut, PsbtError> {
        let map = MapName::Input(index);
        if index >= self.inputs() {
            return Err(PsbtError::NoSuchMap { map });
        }
        if let Some(value) = self.maps.value(map, input::WITNESS_UTXO) {
            return rules::spent_output(field(map, input::WITNESS_UTXO), value);
        }
        self.previous_output(index)?.ok_or(PsbtError::NoSpentOutput { input: index })
    }

    /// The output that an input spends by `PSBT_IN_NON_WITNESS_UTXO`.
    fn previous_output(&self, index: usize) -> Result<Option<TxOut>, PsbtError> {
        let map = MapName::Input(index);
        let field = field(map, input::NON_WITNESS_UTXO);
        let Some(value) = self.maps.value(map, input::NON_WITNESS_UTXO) else { return Ok(None) };
        let previous = rules::transaction(field, value)?;
        let outpoint = self.unsigned.input[index].previous_output;
        if previous.compute_txid() != outpoint.txid {
            let reason = "it is not the transaction whose output the input spends";
            return Err(PsbtError::Malformed { field, reason });
        }
        match previous.output.get(outpoint.vout as usize) {
            Some(output) => Ok(Some(output.clone())),
            None => Err(PsbtError::Malformed {
                field,
                reason: "it has no output of the number that the input spends",
            }),
        }
    }

    /// Checks each whole previous transaction against the input, and against `PSBT_IN_WITNESS_UTXO`.
    pub(super) fn check_previous_transactions(&self) -> Result<(), PsbtError> {
        for index in 0..self.inputs() {
            let map = MapName::Input(index);
            let Some(output) = self.previous_output(index)? else { continue };
            if self
                .maps
                .value(map, input::WITNESS_UTXO)
                .is_some_and(|value| value != encode::serialize(&output))
            {
                return Err(PsbtError::Malformed {
                    field: field(map, input::WITNESS_UTXO),
                    reason: "it is another output than the one in PSBT_IN_NON_WITNESS_UTXO",
                });
            }
        }
        Ok(())
    }

    /// The same as version 0: the unsigned transaction in the global map, and the fields that version 0 has.
    pub fn to_version_0(&self) -> Vec<u8> {
        if self.version() == 0 {
            return self.to_bytes();
        }
        let bytes = self.maps.write_with(|map, entry| {
            !rules::of_version_2(map, entry.key_type)
                && (map, entry.key_type) != (MapName::Global, global::VERSION)
        });
        let mut converted = bytes[..5].to_vec();
        let key = [global::UNSIGNED_TX as u8];
        write_pair(&mut converted, &key, &encode::serialize(&self.unsigned));
        converted.extend_from_slice(&bytes[5..]);
        converted
    }

    /// The same for the crate `bitcoin`, which reads version 0. Its fields that the crate does not know stay in
    /// `unknown`.
    ///
    /// Errors: [`PsbtError::Library`] with its words.
    pub fn to_bitcoin(&self) -> Result<bitcoin::Psbt, PsbtError> {
        let bytes = self.to_version_0();
        limits::check("bytes", bytes.len() as u64, 2 * limits::BYTES as u64)?;
        bitcoin::Psbt::deserialize(&bytes).map_err(|error| PsbtError::Library(error.to_string()))
    }
}
