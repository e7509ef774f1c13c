//! Key sets and derivations: which keys are aggregated, and what makes the key that finally signs of their aggregate.
//!
//! A derivation says what is done, never by which number: each node computes the scalars itself, and each is a hash that
//! commits to the key it is applied to. So who proposes cannot aim at a key.

use std::collections::HashMap;

use crate::error::ProposalError;
use crate::mutation::{self, Mutation};
use crate::protocol::crypto::aggregate::AggregateKey;
pub use crate::protocol::crypto::aggregate::{KeyOrder, sort_keys};
use crate::protocol::crypto::bip328::check_path;
pub use crate::protocol::crypto::bip328::{BIP328_CHAIN_CODE, synthetic_xpub};
use crate::protocol::limits;
use crate::types::SignerKey;

/// Origin of a key (BIP-380), from which its owner derives it again. A hint: whoever holds the key compares.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct KeyOrigin {
    /// The first four bytes of HASH160 of the master key.
    pub fingerprint: [u8; 4],
    /// The child numbers from the master key to this one; 2³¹ and above are hardened.
    pub path: Vec<u32>,
}

impl KeyOrigin {
    /// The child numbers from an account to this key, by their origins. `None` if the key is said to be elsewhere, too far
    /// below, or behind a hardened step.
    pub(crate) fn steps_below(&self, account: &Self) -> Option<&[u32]> {
        let same = self.fingerprint == account.fingerprint;
        let steps = self.path.strip_prefix(&account.path[..]).filter(|_| same)?;
        let near = steps.len() <= limits::ACCOUNT_STEPS;
        (near && steps.iter().all(|number| *number < 1 << 31)).then_some(steps)
    }
}

/// Participant key (BIP-373) of an aggregate key.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Participant {
    /// The key.
    pub key: SignerKey,
    /// Its origin, if known.
    pub origin: Option<KeyOrigin>,
}

impl From<SignerKey> for Participant {
    fn from(key: SignerKey) -> Self {
        Self { key, origin: None }
    }
}

/// Keys to aggregate, one for each signer, with the order of aggregation.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct KeySet {
    /// One for each signer, by signer index.
    pub participants: Vec<Participant>,
    /// The order of aggregation.
    pub order: KeyOrder,
}

/// BIP-341, applied to a key.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Default)]
pub enum Taproot {
    /// Nothing: the key is itself the output key (`rawtr`), or stands in a leaf, or signs something else.
    #[default]
    None,
    /// It is the internal key of an output without scripts.
    KeyPath,
    /// It is the internal key of an output with scripts of this merkle root.
    MerkleRoot([u8; 32]),
}

/// Derivation of the final key, which signs, from a key set's aggregate key. By default that key itself.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Default)]
pub struct Derivation {
    /// Unhardened child numbers (BIP-328), at most 8.
    pub path: Vec<u32>,
    /// BIP-341, after the path.
    pub taproot: Taproot,
}

impl Derivation {
    /// The output key of an output without scripts, whose internal key is the child along this path.
    pub fn key_path(path: impl Into<Vec<u32>>) -> Self {
        Self { path: path.into(), taproot: Taproot::KeyPath }
    }

    /// Checks that a proposal may have it.
    ///
    /// Errors: [`ProposalError::HardenedChild`], [`ProposalError::Limit`] for too many steps.
    pub fn check(&self) -> Result<(), ProposalError> {
        check_path(&self.path)
    }
}

impl Taproot {
    fn of(self, internal: AggregateKey) -> Result<AggregateKey, ProposalError> {
        match self {
            Self::None => Ok(internal),
            Self::KeyPath => internal.taproot(None),
            Self::MerkleRoot(root) => internal.taproot(Some(root)),
        }
    }
}

impl KeySet {
    /// Keys that are sorted for aggregation (BIP-390), one for each signer, by signer index.
    pub fn new(keys: &[SignerKey]) -> Self {
        Self::ordered(keys, KeyOrder::Sorted)
    }

    /// Keys with the order of their aggregation, one for each signer, by signer index.
    pub fn ordered(keys: &[SignerKey], order: KeyOrder) -> Self {
        Self { participants: keys.iter().map(|key| Participant::from(*key)).collect(), order }
    }

    /// The keys, in the order of the participants.
    pub fn keys(&self) -> Vec<SignerKey> {
        self.participants.iter().map(|participant| participant.key).collect()
    }

    /// The keys, in the order in which they are aggregated: key sets for which it is the same are alike.
    pub(crate) fn aggregated(&self) -> Vec<SignerKey> {
        match self.order {
            KeyOrder::Sorted => sort_keys(&self.keys()),
            KeyOrder::AsGiven => self.keys(),
        }
    }

    /// Checks that a session can sign with these keys.
    ///
    /// Errors: [`ProposalError::Limit`] for none, or too many; [`ProposalError::DuplicateKey`] for two that are equal, or
    /// differ in their parity only.
    pub fn check(&self) -> Result<(), ProposalError> {
        Owners::of_set(self).map(drop)
    }

    /// The aggregate key (BIP-327 `KeyAgg`), with the parity of the point (`GetPlainPubkey`).
    ///
    /// Errors: those of [`check`](Self::check).
    pub fn aggregate_key(&self) -> Result<SignerKey, ProposalError> {
        self.final_key(&Derivation::default())
    }

    /// The final key of a derivation, with its parity: with BIP-341 its x-only form is the output key.
    ///
    /// Errors: those of [`check`](Self::check) and of [`Derivation::check`]; [`ProposalError::AimedKey`] if it is a
    /// participant's own. So no key is given out that no session signs with.
    pub fn final_key(&self, derivation: &Derivation) -> Result<SignerKey, ProposalError> {
        if mutation::on(Mutation::MakeableUnchecked) {
            return self.derive(derivation).map(|key| key.key());
        }
        let owners = Owners::of_set(self)?;
        let mut tree = KeyTree::new(self)?;
        let key = tree.derive(derivation)?;
        owners.refuse_aimed([tree.root.x_only(), key.x_only()])?;
        Ok(key.key())
    }

    /// The aggregate key of any keys, also of repeated ones.
    pub(crate) fn aggregate(&self) -> Result<AggregateKey, ProposalError> {
        AggregateKey::of(&self.keys(), self.order)
    }

    /// What is made of it: to recognize the outputs of others, or to sign what was checked before.
    #[cfg_attr(not(feature = "bitcoin"), allow(dead_code))]
    pub(crate) fn derive(&self, derivation: &Derivation) -> Result<AggregateKey, ProposalError> {
        derivation.taproot.of(self.aggregate()?.derive(&derivation.path)?)
    }
}

/// BIP-327 `KeyAgg`, with the parity of the point (`GetPlainPubkey`).
///
/// Errors: those of [`KeySet::check`].
pub fn aggregate_key(signers: &[SignerKey], order: KeyOrder) -> Result<SignerKey, ProposalError> {
    KeySet::ordered(signers, order).aggregate_key()
}

/// The aggregate key of a key set, and its children: what derivations have in common is computed once.
pub(crate) struct KeyTree {
    root: AggregateKey,
    /// Children that have children themselves, by their paths.
    parents: HashMap<Vec<u32>, AggregateKey>,
}

impl KeyTree {
    pub(crate) fn new(key_set: &KeySet) -> Result<Self, ProposalError> {
        Ok(Self { root: key_set.aggregate()?, parents: HashMap::new() })
    }

    pub(crate) fn root(&self) -> &AggregateKey {
        &self.root
    }

    /// The final key of a derivation.
    pub(crate) fn derive(&mut self, derivation: &Derivation) -> Result<AggregateKey, ProposalError> {
        derivation.check()?;
        let Some((last, above)) = derivation.path.split_last() else {
            return derivation.taproot.of(self.root.clone());
        };
        let parent = self.parent(above)?;
        derivation.taproot.of(parent.child(*last)?)
    }

    fn parent(&mut self, path: &[u32]) -> Result<AggregateKey, ProposalError> {
        let Some((last, above)) = path.split_last() else { return Ok(self.root.clone()) };
        if let Some(known) = self.parents.get(path) {
            return Ok(known.clone());
        }
        let made = self.parent(above)?.child(*last)?;
        self.parents.insert(path.to_vec(), made.clone());
        Ok(made)
    }
}

/// Whose each key is, by its x coordinate: a participant key belongs to one signer.
pub(crate) struct Owners<'a>(HashMap<&'a [u8; 32], usize>);

impl<'a> Owners<'a> {
    /// Errors: [`ProposalError::DuplicateKey`] for a key of two signers.
    pub(crate) fn new(identities: &'a [SignerKey], key_sets: &'a [KeySet]) -> Result<Self, ProposalError> {
        let mut owners: HashMap<&[u8; 32], usize> = HashMap::with_capacity(2 * identities.len());
        let participants = key_sets.iter().flat_map(|set| set.participants.iter().enumerate());
        let participants = participants.map(|(signer, participant)| (signer, &participant.key));
        for (signer, key) in identities.iter().enumerate().chain(participants) {
            let other = *owners.entry(key.x_only()).or_insert(signer);
            if other != signer && !mutation::on(Mutation::AimedKeys) {
                return Err(ProposalError::DuplicateKey {
                    first: other.min(signer),
                    second: other.max(signer),
                });
            }
        }
        // Within the identity keys, and within a key set, each position is another signer.
        Ok(Self(owners))
    }

    fn of_set(key_set: &'a KeySet) -> Result<Self, ProposalError> {
        limits::check_signers(key_set.participants.len())?;
        Self::new(&[], std::slice::from_ref(key_set))
    }

    /// Refuses to sign with a key that is a signer's own: the signature would be that signer's in anything.
    ///
    /// Errors: [`ProposalError::AimedKey`].
    pub(crate) fn refuse_aimed(&self, keys: impl IntoIterator<Item = [u8; 32]>) -> Result<(), ProposalError> {
        match keys.into_iter().find_map(|key| self.0.get(&key)) {
            Some(_) if mutation::on(Mutation::AimedKeys) => Ok(()),
            Some(signer) => Err(ProposalError::AimedKey { signer: *signer }),
            None => Ok(()),
        }
    }
}
