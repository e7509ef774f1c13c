//! Small value types that the whole library shares.

#[cfg(any(feature = "node", feature = "http"))]
pub(crate) mod proxy;

use std::fmt;
use std::hash::{Hash, Hasher};
use std::str::FromStr;
use std::sync::LazyLock;

use sha2::{Digest, Sha256};

use crate::error::InvalidKey;

/// Invalid hexadecimal text.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not {expected} hexadecimal digits; check that the value was copied completely")]
pub struct InvalidHex {
    /// Number of digits of the type.
    pub expected: usize,
}

/// Writes bytes as lower-case hexadecimal digits.
pub fn to_hex(bytes: &[u8]) -> String {
    const DIGITS: [char; 16] =
        ['0', '1', '2', '3', '4', '5', '6', '7', '8', '9', 'a', 'b', 'c', 'd', 'e', 'f'];
    let mut text = String::with_capacity(bytes.len() * 2);
    for byte in bytes {
        text.push(DIGITS[usize::from(byte >> 4)]);
        text.push(DIGITS[usize::from(byte & 15)]);
    }
    text
}

/// Reads exactly `N` bytes of hexadecimal digits, of either case.
pub fn from_hex<const N: usize>(text: &str) -> Result<[u8; N], InvalidHex> {
    let digits = text.as_bytes();
    let error = InvalidHex { expected: 2 * N };
    if digits.len() != 2 * N {
        return Err(error);
    }
    let digit = |d: u8| (d as char).to_digit(16).map(|v| v as u8).ok_or(error);
    let mut bytes = [0; N];
    for (byte, pair) in bytes.iter_mut().zip(digits.chunks_exact(2)) {
        *byte = digit(pair[0])? << 4 | digit(pair[1])?;
    }
    Ok(bytes)
}

macro_rules! byte_array {
    ($(#[$doc:meta])* $name:ident, $length:literal) => {
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
        pub struct $name(pub [u8; $length]);

        impl $name {
            /// The bytes.
            pub fn as_bytes(&self) -> &[u8; $length] {
                &self.0
            }

            /// Converts a slice of exactly the type's length; `None` for any other.
            pub fn from_slice(bytes: &[u8]) -> Option<Self> {
                bytes.try_into().ok().map(Self)
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&to_hex(&self.0))
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, concat!(stringify!($name), "({})"), self)
            }
        }

        impl FromStr for $name {
            type Err = InvalidHex;
            fn from_str(text: &str) -> Result<Self, InvalidHex> {
                from_hex(text).map(Self)
            }
        }
    };
}

byte_array! {
    /// Id of a session: the tagged hash `musig/session` of its encoded proposal.
    SessionId, 32
}
byte_array! {
    /// Id of an envelope: the tagged hash `musig/envelope` of its body, which its signer signs.
    EnvelopeId, 32
}
byte_array! {
    /// BIP-340 signature.
    Signature, 64
}

/// These are hashes already, so 8 of their bytes tell them apart: to find others that share them costs 2^64 hashes each.
macro_rules! hash_by_prefix {
    ($($name:ident),*) => {
        $(impl Hash for $name {
            fn hash<H: Hasher>(&self, state: &mut H) {
                state.write(&self.0[..8]);
            }
        })*
    };
}

hash_by_prefix!(SessionId, EnvelopeId);

/// Id of a transaction, in internal byte order. It is *displayed* reversed, as Bitcoin does.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Txid(pub [u8; 32]);

impl fmt::Display for Txid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut bytes = self.0;
        bytes.reverse();
        f.write_str(&to_hex(&bytes))
    }
}

impl fmt::Debug for Txid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Txid({self})")
    }
}

impl FromStr for Txid {
    type Err = InvalidHex;
    fn from_str(text: &str) -> Result<Self, InvalidHex> {
        let mut bytes: [u8; 32] = from_hex(text)?;
        bytes.reverse();
        Ok(Self(bytes))
    }
}

/// Reference to an output of a transaction.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct OutPoint {
    /// The transaction that creates the output.
    pub txid: Txid,
    /// The output's index in it.
    pub vout: u32,
}

/// Public key of a signer: a point of secp256k1 in its 33-byte compressed form. Always a valid point.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SignerKey([u8; 33]);

impl SignerKey {
    /// Converts the 33-byte compressed form of a point.
    ///
    /// Errors: another length, or not a point on the curve.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, InvalidKey> {
        let array: [u8; 33] = bytes.try_into().map_err(|_| InvalidKey { length: bytes.len() })?;
        // Miri cannot call libsecp256k1.
        let valid = match cfg!(miri) {
            true => matches!(array[0], 2 | 3),
            false => secp256k1::PublicKey::from_byte_array_compressed(array).is_ok(),
        };
        if valid { Ok(Self(array)) } else { Err(InvalidKey { length: bytes.len() }) }
    }

    /// The same, without the work of checking keys that are `known` to be points.
    pub(crate) fn from_bytes_knowing(
        bytes: &[u8],
        known: &dyn Fn(&Self) -> bool,
    ) -> Result<Self, InvalidKey> {
        let unchecked = bytes.try_into().map(Self).map_err(|_| InvalidKey { length: bytes.len() })?;
        if known(&unchecked) { Ok(unchecked) } else { Self::from_bytes(bytes) }
    }

    /// The compressed form.
    pub fn as_bytes(&self) -> &[u8; 33] {
        &self.0
    }

    /// The x coordinate, which is the public key of BIP-340: keys that share it differ in their parity only.
    pub fn x_only(&self) -> &[u8; 32] {
        self.0[1..].first_chunk().expect("33 bytes less one")
    }

    /// The key that shares its x coordinate.
    pub(crate) fn negated(&self) -> Self {
        let mut bytes = self.0;
        bytes[0] ^= 1;
        Self(bytes)
    }

    /// The point.
    pub fn to_public_key(&self) -> secp256k1::PublicKey {
        secp256k1::PublicKey::from_byte_array_compressed(self.0).expect("was checked when this was made")
    }
}

impl From<secp256k1::PublicKey> for SignerKey {
    fn from(key: secp256k1::PublicKey) -> Self {
        Self(key.serialize())
    }
}

impl fmt::Display for SignerKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&to_hex(&self.0))
    }
}

impl fmt::Debug for SignerKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SignerKey({self})")
    }
}

impl FromStr for SignerKey {
    type Err = InvalidKey;
    fn from_str(text: &str) -> Result<Self, InvalidKey> {
        let bytes: [u8; 33] = from_hex(text).map_err(|_| InvalidKey { length: text.len() / 2 })?;
        Self::from_bytes(&bytes)
    }
}

/// Milliseconds since 1970-01-01 00:00 UTC, by this machine's own clock.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Default)]
pub struct UnixMillis(pub u64);

impl UnixMillis {
    /// This moment plus a duration, at most the end of time.
    pub fn saturating_add(self, duration: std::time::Duration) -> Self {
        Self(self.0.saturating_add(u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)))
    }

    /// How long after `earlier` this is; zero if it is not after it.
    pub fn saturating_since(self, earlier: Self) -> std::time::Duration {
        std::time::Duration::from_millis(self.0.saturating_sub(earlier.0))
    }
}

/// Reading of two clocks of this machine.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct Time {
    /// Wall clock. May be wrong, and may jump.
    pub wall: UnixMillis,
    /// Monotonic clock, from an arbitrary start in this process. Includes sleep where the system can.
    pub monotonic: std::time::Duration,
}

/// The tagged hash of BIP-340: `SHA-256(SHA-256(tag) ‖ SHA-256(tag) ‖ parts…)`.
pub fn tagged_hash(tag: &str, parts: &[&[u8]]) -> [u8; 32] {
    finish_tagged_hash(start_tagged_hash(tag), parts)
}

/// The tagged hash of every envelope: begun once, for it is half of the work of short messages.
pub(crate) fn envelope_hash(body: &[u8]) -> [u8; 32] {
    static BEGUN: LazyLock<Sha256> = LazyLock::new(|| start_tagged_hash("musig/envelope"));
    finish_tagged_hash(BEGUN.clone(), &[body])
}

fn start_tagged_hash(tag: &str) -> Sha256 {
    let tag = Sha256::digest(tag.as_bytes());
    Sha256::new_with_prefix(tag).chain_update(tag)
}

fn finish_tagged_hash(mut hasher: Sha256, parts: &[&[u8]]) -> [u8; 32] {
    for part in parts {
        hasher.update(part);
    }
    hasher.finalize().into()
}

/// Answer of a Bitcoin backend to a submission.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SubmitOutcome {
    /// The backend accepted the transaction, or already had it (or the same one with another witness).
    Accepted,
    /// The backend rejects the transaction itself (fee, policy, inputs), with its message: the next turn opens, for another
    /// backend may take it.
    Rejected(String),
    /// The transaction is not final yet: a lock time, a relative lock or a coinbase's maturity is not reached. It is
    /// submitted again, nobody takes over, and nobody is late.
    NotYetFinal,
}

/// Signed transaction.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SignedTransaction {
    /// Its id.
    pub txid: Txid,
    /// Consensus encoding with witnesses.
    pub bytes: Vec<u8>,
}

/// Query for the state of a transaction on the chain.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ChainQuery {
    /// The transaction.
    pub txid: Txid,
    /// The outputs it spends: a conflicting transaction spends one of these.
    pub spends: Vec<OutPoint>,
}

/// State of a transaction on the chain.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ChainStatus {
    /// Neither it nor a conflicting transaction is known.
    Unknown,
    /// It is in the mempool.
    Seen,
    /// It is in a block. `confirmations` is at least 1.
    Confirmed {
        /// The block's height.
        height: u32,
        /// Confirmations; the block itself counts as one.
        confirmations: u32,
    },
    /// A conflicting transaction is in a block. `confirmations` is at least 1.
    Conflict {
        /// The conflicting transaction.
        txid: Txid,
        /// Its confirmations; the block itself counts as one.
        confirmations: u32,
    },
}

/// State of an output on the chain.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum CoinStatus {
    /// The output is in a block and spent by nothing, not even in the mempool. `confirmations` is at least 1.
    Unspent {
        /// Confirmations; the block itself counts as one.
        confirmations: u32,
        /// Median time of the eleven blocks before the output's, in seconds since 1970: what relative locks by time count
        /// from (BIP-68). `None`: not known, so such a lock delays nothing.
        median_time: Option<u32>,
    },
    /// The output's transaction is in the mempool, and nothing there spends it.
    InMempool,
    /// A transaction in a block or in the mempool spends the output.
    Spent,
    /// The output is not known. Without an index of transactions a backend cannot tell one that was spent in a block
    /// from one that never was.
    Unknown,
}

/// Last block of a chain.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct ChainTip {
    /// The block's height.
    pub height: u32,
    /// Median of the times of the last eleven blocks, in seconds since 1970 (BIP-113): what lock times by time are
    /// compared with.
    pub median_time: u32,
}

/// What must be reached before a transaction can be in a block.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub struct Locks {
    /// Height of the block before (BIP-65).
    pub height: Option<u32>,
    /// Median time of the blocks before, in seconds since 1970 (BIP-113), which has to be later.
    pub time: Option<u32>,
    /// Spent outputs, each with the relative lock of its input.
    pub coins: Vec<(OutPoint, RelativeLock)>,
}

/// Relative lock of an input (BIP-68), which counts from the block of the output that it spends. Never 0.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum RelativeLock {
    /// Blocks.
    Blocks(u16),
    /// Units of 512 seconds of median time.
    Time(u16),
}

impl RelativeLock {
    /// Whether it is met in the block after the tip, as far as an observer's answers tell.
    fn met(self, tip: &ChainTip, coin: Option<CoinStatus>) -> bool {
        match (self, coin) {
            (Self::Blocks(blocks), Some(CoinStatus::Unspent { confirmations, .. })) => {
                confirmations >= u32::from(blocks)
            }
            (Self::Time(units), Some(CoinStatus::Unspent { median_time: Some(from), .. })) => {
                u64::from(tip.median_time) >= u64::from(from) + u64::from(units) * 512
            }
            (_, Some(CoinStatus::InMempool)) => false,
            (Self::Time(_), Some(CoinStatus::Unspent { median_time: None, .. })) => true,
            (_, Some(CoinStatus::Spent | CoinStatus::Unknown) | None) => true,
        }
    }
}

impl Locks {
    /// Whether there is none.
    pub fn is_none(&self) -> bool {
        *self == Self::default()
    }

    /// Whether all are met, as far as an observer's answers tell: its last block, and the state of each of the coins. One
    /// of unknown state, height or time counts as met.
    pub fn met(&self, tip: &ChainTip, coins: &[Option<CoinStatus>]) -> bool {
        self.height.is_none_or(|height| tip.height >= height)
            && self.time.is_none_or(|time| tip.median_time > time)
            && self.coins.iter().zip(coins).all(|((_, lock), coin)| lock.met(tip, *coin))
    }
}

/// Failed call of the Bitcoin backend: no connection, or no answer. The node sends a NACK and keeps trying.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the Bitcoin backend (node or API) cannot be reached: {reason}")]
pub struct ChainError {
    /// Message for people.
    pub reason: String,
}

/// The beginning of a text, of at most so many bytes.
pub(crate) fn beginning(text: &str, most: usize) -> &str {
    let end = (0..=text.len().min(most)).rev().find(|end| text.is_char_boundary(*end));
    &text[..end.unwrap_or_default()]
}

#[cfg(test)]
pub(crate) mod testing {
    use super::SignerKey;

    /// A signer's key, another one for each number.
    pub fn key(number: u32) -> SignerKey {
        let mut secret = [1; 32];
        secret[..4].copy_from_slice(&number.to_be_bytes());
        let secret = secp256k1::SecretKey::from_secret_bytes(secret).expect("a small number");
        secp256k1::PublicKey::from_secret_key(&secret).into()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_beginning_of_a_text_ends_between_two_characters() {
        for (most, left) in [(0, ""), (1, "a"), (2, "a"), (3, "aé"), (4, "aéb"), (9, "aéb")] {
            assert_eq!(beginning("aéb", most), left);
        }
    }

    #[test]
    fn lock_time_relative_by_time_counts_from_the_median_time_before_the_coins_block() {
        let coin = OutPoint { txid: Txid([1; 32]), vout: 0 };
        let met = |lock, median_time, status| {
            let locks = Locks { coins: vec![(coin, lock)], ..Locks::default() };
            locks.met(&ChainTip { height: 9, median_time }, &[status])
        };
        let unspent = |median_time, confirmations| Some(CoinStatus::Unspent { confirmations, median_time });
        let lock = RelativeLock::Time(2);
        assert!(!met(lock, 5000 + 1023, unspent(Some(5000), 500)));
        assert!(met(lock, 5000 + 1024, unspent(Some(5000), 1)));
        assert!(!met(lock, u32::MAX, Some(CoinStatus::InMempool)), "it counts from a block");
        // What is not known delays nothing.
        for unknown in [unspent(None, 1), Some(CoinStatus::Spent), Some(CoinStatus::Unknown), None] {
            assert!(met(lock, 0, unknown), "{unknown:?}");
        }
        assert!(!met(RelativeLock::Blocks(3), 0, unspent(None, 2)));
        assert!(met(RelativeLock::Blocks(3), 0, unspent(None, 3)));
    }
}
