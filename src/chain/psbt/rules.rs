//! What BIP-174, BIP-370, BIP-371 and BIP-373 say of each field: where it may stand, its lengths, its content.

use bitcoin::consensus::encode;
use bitcoin::{Transaction, TxOut, Witness};

use super::error::{Field, MapName, PsbtError};
use super::maps::{Entry, compact_size};
use crate::chain::psbt::limits;
use crate::protocol::crypto::aggregate::{AggregateKey, is_partial_signature, is_public_nonce};
use crate::protocol::crypto::key_set::KeyOrigin;
use crate::types::SignerKey;

/// Key types of the global map.
pub(super) mod global {
    pub const UNSIGNED_TX: u64 = 0x00;
    pub const XPUB: u64 = 0x01;
    pub const TX_VERSION: u64 = 0x02;
    pub const FALLBACK_LOCKTIME: u64 = 0x03;
    pub const INPUT_COUNT: u64 = 0x04;
    pub const OUTPUT_COUNT: u64 = 0x05;
    pub const TX_MODIFIABLE: u64 = 0x06;
    pub const VERSION: u64 = 0xfb;
}

/// Key types of an input's map.
pub(super) mod input {
    pub const NON_WITNESS_UTXO: u64 = 0x00;
    pub const WITNESS_UTXO: u64 = 0x01;
    pub const PARTIAL_SIG: u64 = 0x02;
    pub const SIGHASH_TYPE: u64 = 0x03;
    pub const REDEEM_SCRIPT: u64 = 0x04;
    pub const WITNESS_SCRIPT: u64 = 0x05;
    pub const BIP32_DERIVATION: u64 = 0x06;
    pub const FINAL_SCRIPTSIG: u64 = 0x07;
    pub const FINAL_SCRIPTWITNESS: u64 = 0x08;
    pub const POR_COMMITMENT: u64 = 0x09;
    pub const RIPEMD160: u64 = 0x0a;
    pub const SHA256: u64 = 0x0b;
    pub const HASH160: u64 = 0x0c;
    pub const HASH256: u64 = 0x0d;
    pub const PREVIOUS_TXID: u64 = 0x0e;
    pub const OUTPUT_INDEX: u64 = 0x0f;
    pub const SEQUENCE: u64 = 0x10;
    pub const REQUIRED_TIME_LOCKTIME: u64 = 0x11;
    pub const REQUIRED_HEIGHT_LOCKTIME: u64 = 0x12;
    pub const TAP_KEY_SIG: u64 = 0x13;
    pub const TAP_SCRIPT_SIG: u64 = 0x14;
    pub const TAP_LEAF_SCRIPT: u64 = 0x15;
    pub const TAP_BIP32_DERIVATION: u64 = 0x16;
    pub const TAP_INTERNAL_KEY: u64 = 0x17;
    pub const TAP_MERKLE_ROOT: u64 = 0x18;
    pub const MUSIG2_PARTICIPANT_PUBKEYS: u64 = 0x1a;
    pub const MUSIG2_PUB_NONCE: u64 = 0x1b;
    pub const MUSIG2_PARTIAL_SIG: u64 = 0x1c;
}

/// Key types of an output's map.
pub(super) mod output {
    pub const REDEEM_SCRIPT: u64 = 0x00;
    pub const WITNESS_SCRIPT: u64 = 0x01;
    pub const BIP32_DERIVATION: u64 = 0x02;
    pub const AMOUNT: u64 = 0x03;
    pub const SCRIPT: u64 = 0x04;
    pub const TAP_INTERNAL_KEY: u64 = 0x05;
    pub const TAP_TREE: u64 = 0x06;
    pub const TAP_BIP32_DERIVATION: u64 = 0x07;
    pub const MUSIG2_PARTICIPANT_PUBKEYS: u64 = 0x08;
}

/// The first time as opposed to a height, of a lock time.
pub(super) const LOCK_TIME_THRESHOLD: u32 = 500_000_000;

/// What the fields that need the curve may cost.
#[derive(Debug, Default)]
pub(super) struct Budget {
    points: u64,
}

impl Budget {
    fn spend(&mut self, points: usize) -> Result<(), PsbtError> {
        self.points += points as u64;
        limits::check("public keys and nonces", self.points, limits::POINTS as u64)
    }
}

/// Fields of which each map of a kind needs one.
pub(super) fn required(map: MapName, version: u32) -> &'static [u64] {
    match (map, version) {
        (MapName::Global, 0) => &[global::UNSIGNED_TX],
        (MapName::Global, _) => &[global::TX_VERSION, global::INPUT_COUNT, global::OUTPUT_COUNT],
        (_, 0) => &[],
        (MapName::Input(_), _) => &[input::PREVIOUS_TXID, input::OUTPUT_INDEX],
        (MapName::Output(_), _) => &[output::AMOUNT, output::SCRIPT],
    }
}

/// Whether a field exists in version 2 alone.
pub(super) fn of_version_2(map: MapName, key_type: u64) -> bool {
    match map {
        MapName::Global => (global::TX_VERSION..=global::TX_MODIFIABLE).contains(&key_type),
        MapName::Input(_) => (input::PREVIOUS_TXID..=input::REQUIRED_HEIGHT_LOCKTIME).contains(&key_type),
        MapName::Output(_) => matches!(key_type, output::AMOUNT | output::SCRIPT),
    }
}

/// Refuses fields of the other version.
pub(super) fn check_version(field: Field, version: u32) -> Result<(), PsbtError> {
    let Some(key_type) = field.key_type else { return Ok(()) };
    let excluded = match version {
        0 => of_version_2(field.map, key_type),
        _ => field.map == MapName::Global && key_type == global::UNSIGNED_TX,
    };
    if excluded { Err(PsbtError::Excluded { field, version }) } else { Ok(()) }
}

/// Which lengths are allowed, in words for errors too.
type Lengths = (fn(usize) -> bool, &'static str);

const NO_KEY: Lengths = (|length| length == 0, "its key has no data besides its type");
const PUBLIC_KEY: Lengths =
    (|length| matches!(length, 33 | 65), "its key data is a public key of 33 or 65 bytes");
const COMPRESSED: Lengths = (|length| length == 33, "its key data is one compressed key of 33 bytes");
const X_ONLY: Lengths = (|length| length == 32, "its key data is an x-only key of 32 bytes");
const TWO_KEYS: Lengths = (
    |length| matches!(length, 66 | 98),
    "its key data is two compressed keys, of the participant and of who signs, and perhaps a leaf hash: 66 or 98 bytes",
);
const HASH20: Lengths = (|length| length == 20, "its key data is a hash of 20 bytes");
const HASH32: Lengths = (|length| length == 32, "its key data is a hash of 32 bytes");
const XPUB: Lengths = (|length| length == 78, "its key data is an extended public key of 78 bytes");
const KEY_AND_LEAF: Lengths =
    (|length| length == 64, "its key data is an x-only key and a leaf hash: 64 bytes");
const CONTROL_BLOCK: Lengths = (
    |length| (33..=33 + 32 * 128).contains(&length) && length % 32 == 1,
    "its key data is a control block of 33 bytes and up to 128 hashes",
);

const ANY: Lengths = (|_| true, "");
const FOUR: Lengths = (|length| length == 4, "its value has 4 bytes");
const EIGHT: Lengths = (|length| length == 8, "its value has 8 bytes");
const ONE: Lengths = (|length| length == 1, "its value has 1 byte");
const VALUE32: Lengths = (|length| length == 32, "its value has 32 bytes");
const SIGNATURE: Lengths = (|length| matches!(length, 64 | 65), "its value is a signature of 64 or 65 bytes");
const NONCE: Lengths = (|length| length == 66, "its value is a public nonce of 66 bytes");
const PARTIAL: Lengths = (|length| length == 32, "its value is a partial signature of 32 bytes");
const ORIGIN: Lengths = (
    |length| length >= 4 && length % 4 == 0 && length <= 4 + 4 * limits::PATH,
    "its value is a fingerprint and at most 255 child numbers, each of 4 bytes",
);
const KEYS: Lengths =
    (|length| length > 0 && length % 33 == 0, "its value is one or more compressed keys of 33 bytes");

/// Checks the lengths of key data and value, so that no content need be looked at for them.
pub(super) fn check_shape(field: Field, entry: &Entry<'_>) -> Result<(), PsbtError> {
    let Some((key, value)) = shape(field) else { return Ok(()) };
    for ((allowed, reason), length) in [(key, entry.key_data.len()), (value, entry.value.len())] {
        if !allowed(length) {
            return Err(PsbtError::Malformed { field, reason });
        }
    }
    Ok(())
}

fn shape(field: Field) -> Option<(Lengths, Lengths)> {
    let key_type = field.key_type?;
    Some(match field.map {
        MapName::Global => match key_type {
            global::UNSIGNED_TX | global::INPUT_COUNT | global::OUTPUT_COUNT => (NO_KEY, ANY),
            global::XPUB => (XPUB, ORIGIN),
            global::TX_VERSION | global::FALLBACK_LOCKTIME | global::VERSION => (NO_KEY, FOUR),
            global::TX_MODIFIABLE => (NO_KEY, ONE),
            _ => return None,
        },
        MapName::Input(_) => match key_type {
            input::NON_WITNESS_UTXO
            | input::WITNESS_UTXO
            | input::REDEEM_SCRIPT
            | input::WITNESS_SCRIPT
            | input::FINAL_SCRIPTSIG
            | input::FINAL_SCRIPTWITNESS
            | input::POR_COMMITMENT => (NO_KEY, ANY),
            input::PARTIAL_SIG => (PUBLIC_KEY, ANY),
            input::SIGHASH_TYPE
            | input::OUTPUT_INDEX
            | input::SEQUENCE
            | input::REQUIRED_TIME_LOCKTIME
            | input::REQUIRED_HEIGHT_LOCKTIME => (NO_KEY, FOUR),
            input::BIP32_DERIVATION => (PUBLIC_KEY, ORIGIN),
            input::RIPEMD160 | input::HASH160 => (HASH20, ANY),
            input::SHA256 | input::HASH256 => (HASH32, ANY),
            input::PREVIOUS_TXID | input::TAP_INTERNAL_KEY | input::TAP_MERKLE_ROOT => (NO_KEY, VALUE32),
            input::TAP_KEY_SIG => (NO_KEY, SIGNATURE),
            input::TAP_SCRIPT_SIG => (KEY_AND_LEAF, SIGNATURE),
            input::TAP_LEAF_SCRIPT => (CONTROL_BLOCK, ANY),
            input::TAP_BIP32_DERIVATION => (X_ONLY, ANY),
            input::MUSIG2_PARTICIPANT_PUBKEYS => (COMPRESSED, KEYS),
            input::MUSIG2_PUB_NONCE => (TWO_KEYS, NONCE),
            input::MUSIG2_PARTIAL_SIG => (TWO_KEYS, PARTIAL),
            _ => return None,
        },
        MapName::Output(_) => match key_type {
            output::REDEEM_SCRIPT | output::WITNESS_SCRIPT | output::SCRIPT | output::TAP_TREE => {
                (NO_KEY, ANY)
            }
            output::BIP32_DERIVATION => (PUBLIC_KEY, ORIGIN),
            output::AMOUNT => (NO_KEY, EIGHT),
            output::TAP_INTERNAL_KEY => (NO_KEY, VALUE32),
            output::TAP_BIP32_DERIVATION => (X_ONLY, ANY),
            output::MUSIG2_PARTICIPANT_PUBKEYS => (COMPRESSED, KEYS),
            _ => return None,
        },
    })
}

/// Checks what the shape leaves open: points, numbers, transactions.
pub(super) fn check_content(field: Field, entry: &Entry<'_>, budget: &mut Budget) -> Result<(), PsbtError> {
    let Some(key_type) = field.key_type else { return Ok(()) };
    let malformed = |reason| PsbtError::Malformed { field, reason };
    match (field.map, key_type) {
        (MapName::Input(_), input::NON_WITNESS_UTXO) => {
            transaction(field, entry.value)?;
        }
        (MapName::Input(_), input::WITNESS_UTXO) => {
            spent_output(field, entry.value)?;
        }
        (MapName::Input(_), input::FINAL_SCRIPTWITNESS) => {
            witness(field, entry.value)?;
        }
        (MapName::Input(_), input::REQUIRED_TIME_LOCKTIME) => {
            if number(entry.value) < LOCK_TIME_THRESHOLD {
                return Err(malformed("it is a height; a time is 500000000 at least"));
            }
        }
        (MapName::Input(_), input::REQUIRED_HEIGHT_LOCKTIME) => {
            if !(1..LOCK_TIME_THRESHOLD).contains(&number(entry.value)) {
                return Err(malformed("it is no height; a height is at least 1 and below 500000000"));
            }
        }
        (MapName::Input(_), input::PARTIAL_SIG | input::BIP32_DERIVATION)
        | (MapName::Output(_), output::BIP32_DERIVATION) => {
            budget.spend(1)?;
            secp256k1::PublicKey::from_slice(entry.key_data)
                .map_err(|_| malformed("its key data is no point of the curve"))?;
        }
        (MapName::Input(_), input::TAP_INTERNAL_KEY) | (MapName::Output(_), output::TAP_INTERNAL_KEY) => {
            budget.spend(1)?;
            x_only(entry.value).ok_or(malformed("its value is no x-only key of the curve"))?;
        }
        (MapName::Input(_), input::TAP_BIP32_DERIVATION)
        | (MapName::Output(_), output::TAP_BIP32_DERIVATION) => {
            budget.spend(1)?;
            x_only(entry.key_data).ok_or(malformed("its key data is no x-only key of the curve"))?;
            tap_origin(field, entry.value)?;
        }
        (MapName::Input(_), input::TAP_SCRIPT_SIG) => {
            budget.spend(1)?;
            x_only(&entry.key_data[..32]).ok_or(malformed("its key data begins with no x-only key"))?;
        }
        (MapName::Input(_), input::TAP_LEAF_SCRIPT) if entry.value.is_empty() => {
            return Err(malformed("its value is a script and a leaf version, and it is empty"));
        }
        (MapName::Output(_), output::AMOUNT) => {
            let most = bitcoin::Amount::MAX_MONEY.to_sat();
            if i64::from_le_bytes(array(field, entry.value)?).cast_unsigned() > most {
                return Err(malformed("it is negative, or more than there can ever be"));
            }
        }
        (MapName::Input(_), input::MUSIG2_PARTICIPANT_PUBKEYS)
        | (MapName::Output(_), output::MUSIG2_PARTICIPANT_PUBKEYS) => {
            participants(field, entry, budget)?;
        }
        (MapName::Input(_), input::MUSIG2_PUB_NONCE) => {
            budget.spend(4)?;
            slot(field, entry.key_data)?;
            if !is_public_nonce(&array(field, entry.value)?) {
                return Err(malformed("its value is no public nonce: it is two compressed points"));
            }
        }
        (MapName::Input(_), input::MUSIG2_PARTIAL_SIG) => {
            budget.spend(2)?;
            slot(field, entry.key_data)?;
            if !is_partial_signature(&array(field, entry.value)?) {
                return Err(malformed(
                    "its value is no partial signature: it is a number below the curve's order",
                ));
            }
        }
        _ => (),
    }
    Ok(())
}

/// Bounds the aggregate keys of one map.
pub(super) fn check_aggregates<'a>(
    map: MapName,
    entries: impl Iterator<Item = Entry<'a>>,
) -> Result<(), PsbtError> {
    let key_type = match map {
        MapName::Global => return Ok(()),
        MapName::Input(_) => input::MUSIG2_PARTICIPANT_PUBKEYS,
        MapName::Output(_) => output::MUSIG2_PARTICIPANT_PUBKEYS,
    };
    let aggregates = entries.filter(|entry| entry.key_type == key_type).count();
    limits::check("aggregate keys of one input or output", aggregates as u64, limits::AGGREGATES as u64)
}

fn participants(field: Field, entry: &Entry<'_>, budget: &mut Budget) -> Result<(), PsbtError> {
    let (keys, _) = entry.value.as_chunks::<33>();
    limits::check("participants of one aggregate key", keys.len() as u64, limits::PARTICIPANTS as u64)?;
    // Aggregation costs about as much as four points for each key.
    budget.spend(1 + 5 * keys.len())?;
    let malformed = |reason| PsbtError::Malformed { field, reason };
    let aggregate = SignerKey::from_bytes(entry.key_data)
        .map_err(|_| malformed("its key data, the aggregate key, is no compressed point of the curve"))?;
    let keys: Result<Vec<_>, _> = keys.iter().map(|key| SignerKey::from_bytes(key)).collect();
    let keys = keys.map_err(|_| malformed("a participant is no compressed point of the curve"))?;
    let made = AggregateKey::new(&keys).map_err(|_| malformed("its participants cannot be aggregated"))?;
    if made.key() != aggregate {
        return Err(malformed(
            "its participants, in this order, do not aggregate to the key of its key data",
        ));
    }
    Ok(())
}

/// Participant and final key.
fn slot(field: Field, key_data: &[u8]) -> Result<(), PsbtError> {
    let malformed = |reason| PsbtError::Malformed { field, reason };
    SignerKey::from_bytes(&key_data[..33])
        .map_err(|_| malformed("its key data begins with no compressed point, the participant"))?;
    SignerKey::from_bytes(&key_data[33..66])
        .map_err(|_| malformed("its key data goes on with no compressed point, the key that signs"))?;
    Ok(())
}

/// An x-only key, as the point with even parity.
pub(super) fn x_only(bytes: &[u8]) -> Option<SignerKey> {
    SignerKey::from_bytes(&[&[2], bytes].concat()).ok()
}

fn number(value: &[u8]) -> u32 {
    value.first_chunk().map_or(0, |bytes| u32::from_le_bytes(*bytes))
}

/// A value of a fixed length.
pub(super) fn array<const N: usize>(field: Field, value: &[u8]) -> Result<[u8; N], PsbtError> {
    value.try_into().map_err(|_| PsbtError::Malformed { field, reason: "its value has another length" })
}

/// A count of version 2.
pub(super) fn count(field: Field, value: &[u8]) -> Result<u64, PsbtError> {
    match compact_size(value) {
        Ok((count, length)) if length == value.len() => Ok(count),
        _ => Err(PsbtError::Malformed { field, reason: "its value is one compact size" }),
    }
}

/// Fingerprint and path of a `TAP_BIP32_DERIVATION`, which follow its leaf hashes.
pub(super) fn tap_origin(field: Field, value: &[u8]) -> Result<KeyOrigin, PsbtError> {
    let malformed = PsbtError::Malformed {
        field,
        reason: "its value is a count, as many leaf hashes, a fingerprint and at most 255 child numbers",
    };
    let (count, size) = compact_size(value).map_err(|_| malformed.clone())?;
    let rest = &value[size..];
    let leaves =
        usize::try_from(count).ok().and_then(|count| count.checked_mul(32)).ok_or(malformed.clone())?;
    let (_, origin) = rest.split_at_checked(leaves).ok_or(malformed.clone())?;
    let (numbers, remainder) = origin.as_chunks::<4>();
    let (fingerprint, path) = numbers.split_first().ok_or(malformed.clone())?;
    if !remainder.is_empty() || path.len() > limits::PATH {
        return Err(malformed);
    }
    let path = path.iter().map(|number| u32::from_le_bytes(*number)).collect();
    Ok(KeyOrigin { fingerprint: *fingerprint, path })
}

/// A transaction in consensus encoding, with nothing after it.
pub(super) fn transaction(field: Field, value: &[u8]) -> Result<Transaction, PsbtError> {
    encode::deserialize(value).map_err(|_| PsbtError::Malformed {
        field,
        reason: "its value is one transaction in consensus encoding",
    })
}

/// A transaction without signatures, in the encoding without witnesses.
pub(super) fn unsigned_transaction(field: Field, value: &[u8]) -> Result<Transaction, PsbtError> {
    let decoded = transaction(field, value)?;
    let signed = |input: &bitcoin::TxIn| !input.script_sig.is_empty() || !input.witness.is_empty();
    if decoded.input.iter().any(signed) || encode::serialize(&decoded) != value {
        return Err(PsbtError::Malformed {
            field,
            reason: "its value is a transaction without script signatures and witnesses",
        });
    }
    Ok(decoded)
}

/// An output in consensus encoding.
pub(super) fn spent_output(field: Field, value: &[u8]) -> Result<TxOut, PsbtError> {
    encode::deserialize(value)
        .map_err(|_| PsbtError::Malformed { field, reason: "its value is one output: amount and script" })
}

/// A witness in consensus encoding.
pub(super) fn witness(field: Field, value: &[u8]) -> Result<Witness, PsbtError> {
    encode::deserialize(value).map_err(|_| PsbtError::Malformed {
        field,
        reason: "its value is a count and as many elements of a witness",
    })
}
