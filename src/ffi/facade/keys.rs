//! Key sets, derivations, and the keys that they make.

use super::error::MusigError;
use super::values::{KeyOrder, array};
use crate::protocol::crypto::key_set as core;
use crate::types::SignerKey;

/// Origin of a key (BIP-380), from which its owner derives it again.
#[derive(Clone, Debug, PartialEq, Eq, uniffi::Record)]
pub struct KeyOrigin {
    /// The first four bytes of HASH160 of the master key.
    pub fingerprint: Vec<u8>,
    /// The child numbers from the master key to this one; 2³¹ and above are hardened.
    pub path: Vec<u32>,
}

/// Participant key (BIP-373) of an aggregate key.
#[derive(Clone, Debug, PartialEq, Eq, uniffi::Record)]
pub struct Participant {
    /// The key.
    pub key: SignerKey,
    /// Its origin, if known.
    #[uniffi(default = None)]
    pub origin: Option<KeyOrigin>,
}

/// Keys to aggregate, one for each signer, with the order of aggregation.
#[derive(Clone, Debug, PartialEq, Eq, uniffi::Record)]
pub struct KeySet {
    /// One for each signer, by signer index.
    pub participants: Vec<Participant>,
    /// The order of aggregation. Sorted by default.
    #[uniffi(default = None)]
    pub order: Option<KeyOrder>,
}

/// BIP-341, applied to a key.
#[derive(Clone, Debug, PartialEq, Eq, uniffi::Enum)]
pub enum Taproot {
    /// It is the internal key of an output without scripts.
    KeyPath,
    /// It is the internal key of an output with scripts of this merkle root.
    MerkleRoot {
        /// The merkle root: 32 bytes.
        root: Vec<u8>,
    },
}

/// Derivation of the final key, which signs, from a key set's aggregate key. By default that key itself.
#[derive(Clone, Debug, PartialEq, Eq, uniffi::Record)]
pub struct Derivation {
    /// Unhardened child numbers (BIP-328), at most 8.
    #[uniffi(default = [])]
    pub path: Vec<u32>,
    /// BIP-341, after the path. None: the key is itself the output key, or signs something else.
    #[uniffi(default = None)]
    pub taproot: Option<Taproot>,
}

/// Network that an address is of.
#[derive(Clone, Copy, Debug, PartialEq, Eq, uniffi::Enum)]
pub enum Network {
    /// The main network.
    Mainnet,
    /// The test network.
    Testnet,
    /// Signet.
    Signet,
    /// A network for regression tests.
    Regtest,
}

impl TryFrom<KeyOrigin> for core::KeyOrigin {
    type Error = MusigError;
    fn try_from(origin: KeyOrigin) -> Result<Self, MusigError> {
        Ok(Self { fingerprint: array("a fingerprint", origin.fingerprint)?, path: origin.path })
    }
}

impl From<core::KeyOrigin> for KeyOrigin {
    fn from(origin: core::KeyOrigin) -> Self {
        Self { fingerprint: origin.fingerprint.to_vec(), path: origin.path }
    }
}

impl From<core::Participant> for Participant {
    fn from(one: core::Participant) -> Self {
        Self { key: one.key, origin: one.origin.map(KeyOrigin::from) }
    }
}

impl TryFrom<KeySet> for core::KeySet {
    type Error = MusigError;
    fn try_from(key_set: KeySet) -> Result<Self, MusigError> {
        let participant = |participant: Participant| -> Result<_, MusigError> {
            let origin = participant.origin.map(core::KeyOrigin::try_from).transpose()?;
            Ok(core::Participant { key: participant.key, origin })
        };
        Ok(Self {
            participants: key_set.participants.into_iter().map(participant).collect::<Result<_, _>>()?,
            order: key_set.order.unwrap_or_default(),
        })
    }
}

impl From<core::KeySet> for KeySet {
    fn from(key_set: core::KeySet) -> Self {
        Self {
            participants: key_set.participants.into_iter().map(Participant::from).collect(),
            order: Some(key_set.order),
        }
    }
}

impl TryFrom<Derivation> for core::Derivation {
    type Error = MusigError;
    fn try_from(derivation: Derivation) -> Result<Self, MusigError> {
        let taproot = match derivation.taproot {
            None => core::Taproot::None,
            Some(Taproot::KeyPath) => core::Taproot::KeyPath,
            Some(Taproot::MerkleRoot { root }) => core::Taproot::MerkleRoot(array("the merkle root", root)?),
        };
        Ok(Self { path: derivation.path, taproot })
    }
}

impl From<core::Derivation> for Derivation {
    fn from(derivation: core::Derivation) -> Self {
        let taproot = match derivation.taproot {
            core::Taproot::None => None,
            core::Taproot::KeyPath => Some(Taproot::KeyPath),
            core::Taproot::MerkleRoot(root) => Some(Taproot::MerkleRoot { root: root.to_vec() }),
        };
        Self { path: derivation.path, taproot }
    }
}

impl From<Network> for bitcoin::Network {
    fn from(network: Network) -> Self {
        match network {
            Network::Mainnet => Self::Bitcoin,
            Network::Testnet => Self::Testnet,
            Network::Signet => Self::Signet,
            Network::Regtest => Self::Regtest,
        }
    }
}

/// A key set of keys without origins, one for each signer, by signer index. Sorted for aggregation by default.
#[uniffi::export(default(order = None))]
pub fn key_set(keys: Vec<SignerKey>, order: Option<KeyOrder>) -> Result<KeySet, MusigError> {
    let key_set = core::KeySet::ordered(&keys, order.unwrap_or_default());
    key_set.check()?;
    Ok(key_set.into())
}

/// BIP-327 `KeyAgg`, with the parity of the point: 1 to 128 keys. It fails for keys that no session signs with.
#[uniffi::export]
pub fn aggregate_key(signers: Vec<SignerKey>, order: KeyOrder) -> Result<SignerKey, MusigError> {
    Ok(core::aggregate_key(&signers, order)?)
}

/// The final key that a derivation makes of a key set's aggregate key, with its parity. It fails for whatever no session
/// signs with.
#[uniffi::export]
pub fn final_key(key_set: KeySet, derivation: Derivation) -> Result<SignerKey, MusigError> {
    Ok(core::KeySet::try_from(key_set)?.final_key(&derivation.try_into()?)?)
}

/// The address of the output whose key is the final key of a derivation. It fails for whatever no session signs with.
#[uniffi::export]
pub fn address(key_set: KeySet, derivation: Derivation, network: Network) -> Result<String, MusigError> {
    Ok(core::KeySet::try_from(key_set)?.address(&derivation.try_into()?, network.into())?)
}

/// BIP-327 `KeySort`: by compressed form, ascending.
#[uniffi::export]
pub fn sort_keys(signers: Vec<SignerKey>) -> Result<Vec<SignerKey>, MusigError> {
    Ok(core::sort_keys(&signers))
}

/// BIP-328's synthetic extended public key of an aggregate key (`xpub…`).
#[uniffi::export]
pub fn synthetic_xpub(aggregate_key: SignerKey) -> Result<String, MusigError> {
    Ok(core::synthetic_xpub(&aggregate_key))
}
