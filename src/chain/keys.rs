//! Key sets and derivations, as PSBTs and descriptors name them.

use bitcoin::hashes::{Hash, hash160};

use crate::error::ProposalError;
use crate::protocol::crypto::aggregate::AggregateKey;
use crate::protocol::crypto::key_set::sort_keys;
use crate::protocol::proposal::KeyOrder;
use crate::types::SignerKey;

/// Origin of a key (BIP-380), from which its owner derives it again.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct KeyOrigin {
    /// The first four bytes of HASH160 of the master key.
    pub fingerprint: [u8; 4],
    /// The child numbers from the master key to this one; 2³¹ and above are hardened.
    pub path: Vec<u32>,
}

/// Fingerprint of a key (BIP-32), for an aggregate key the parent fingerprint of its children (BIP-328).
pub fn fingerprint(key: &SignerKey) -> [u8; 4] {
    *hash160::Hash::hash(key.as_bytes()).as_byte_array().first_chunk().expect("20 bytes")
}

/// Participant key (BIP-373) of an aggregate key.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Participant {
    /// The key.
    pub key: SignerKey,
    /// Its origin, if known.
    pub origin: Option<KeyOrigin>,
}

/// Keys to aggregate, with the order of aggregation.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct KeySet {
    /// One for each signer.
    pub participants: Vec<Participant>,
    /// The order of aggregation.
    pub order: KeyOrder,
}

/// BIP-341 tweak of a key.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Default)]
pub enum TaprootTweak {
    /// Nothing: the key is itself the output key (`rawtr`), or stands in a leaf.
    #[default]
    None,
    /// It is the internal key of an output without scripts.
    KeyPath,
    /// It is the internal key of an output with scripts of this merkle root.
    MerkleRoot([u8; 32]),
}

/// Derivation of the signing key from a key set's aggregate key.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Default)]
pub struct Derivation {
    /// Unhardened child numbers (BIP-328).
    pub path: Vec<u32>,
    /// BIP-341, after the path.
    pub taproot: TaprootTweak,
}

impl KeySet {
    /// The keys, in the order of the participants.
    pub fn keys(&self) -> Vec<SignerKey> {
        self.participants.iter().map(|participant| participant.key).collect()
    }

    /// The positions of two participants with the same key, or with keys that differ in parity only. No session signs
    /// with such a key set.
    pub fn repeated(&self) -> Option<(usize, usize)> {
        let mut keys: Vec<(&[u8; 32], usize)> =
            self.participants.iter().enumerate().map(|(index, one)| (one.key.x_only(), index)).collect();
        keys.sort_unstable();
        keys.windows(2).find(|two| two[0].0 == two[1].0).map(|two| (two[0].1, two[1].1))
    }

    /// The plain aggregate key (BIP-327).
    ///
    /// Errors: [`ProposalError::Limit`] for no participants, or too many.
    pub fn aggregate(&self) -> Result<AggregateKey, ProposalError> {
        match self.order {
            KeyOrder::Sorted => AggregateKey::new(&sort_keys(&self.keys())),
            KeyOrder::AsGiven => AggregateKey::new(&self.keys()),
        }
    }

    /// The key that finally signs, with its parity.
    ///
    /// Errors: those of [`aggregate`](Self::aggregate), and [`ProposalError::Index`] for a hardened step.
    pub fn final_key(&self, derivation: &Derivation) -> Result<SignerKey, ProposalError> {
        let derived = self.aggregate()?.derive(&derivation.path)?;
        let tweaked = match derivation.taproot {
            TaprootTweak::None => derived,
            TaprootTweak::KeyPath => derived.taproot(None)?,
            TaprootTweak::MerkleRoot(root) => derived.taproot(Some(root))?,
        };
        Ok(tweaked.key())
    }
}
