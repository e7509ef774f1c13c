//! Descriptors of the application's own wallet, by which a node knows what is its own.

use std::collections::{BTreeMap, HashSet};
use std::sync::Arc;

use super::descriptor::Descriptor;
use crate::error::Error;
use crate::mutation::{self, Mutation};
use crate::protocol::crypto::key_set::{KeySet, KeyTree};
use crate::types::tagged_hash;

/// Descriptors of one node.
pub const DESCRIPTORS: usize = 64;
/// Outputs of one descriptor that are known, times its participants.
pub const KEYS: usize = 100_000;
/// How far behind the last index that was used wallets look by custom.
const GAP: u32 = 20;

/// Descriptor of the application's own wallet, as a node keeps it: what pays to its outputs is the wallet's own, up to the
/// last one in the gap. Outputs that come later would not be found by the wallet, so they count as somebody else's.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OwnDescriptor {
    /// The descriptor.
    pub descriptor: Descriptor,
    /// The first index that was not used yet, in any branch. Add the descriptor again when it moves.
    pub next_index: u32,
    /// How many indices from there on the wallet looks at: 20 by custom.
    pub gap_limit: u32,
}

impl From<Descriptor> for OwnDescriptor {
    /// None is used yet, with a gap limit of 20.
    fn from(descriptor: Descriptor) -> Self {
        Self { descriptor, next_index: 0, gap_limit: GAP }
    }
}

/// As it is stored.
#[derive(Clone, PartialEq, prost::Message)]
struct Record {
    #[prost(string, tag = "1")]
    descriptor: String,
    #[prost(uint32, tag = "2")]
    next_index: u32,
    #[prost(uint32, tag = "3")]
    gap_limit: u32,
}

/// A descriptor's place in the store.
pub(crate) type DescriptorId = [u8; 32];

pub(crate) fn id_of(descriptor: &Descriptor) -> DescriptorId {
    tagged_hash("musig/descriptor", &[descriptor.to_string().as_bytes()])
}

impl OwnDescriptor {
    pub(crate) fn encode(&self) -> Vec<u8> {
        let Self { descriptor, next_index, gap_limit } = self;
        let record =
            Record { descriptor: descriptor.to_string(), next_index: *next_index, gap_limit: *gap_limit };
        prost::Message::encode_to_vec(&record)
    }

    pub(crate) fn decode(bytes: &[u8]) -> Option<Self> {
        let Record { descriptor, next_index, gap_limit } = <Record as prost::Message>::decode(bytes).ok()?;
        Some(Self { descriptor: descriptor.parse().ok()?, next_index, gap_limit })
    }
}

/// Scripts of the outputs of one descriptor, shared by all who look them up.
pub(crate) type Scripts = Arc<HashSet<Vec<u8>>>;

/// A descriptor, and what it makes.
pub(crate) struct Known {
    own: OwnDescriptor,
    scripts: Scripts,
    key_sets: Vec<KeySet>,
}

impl Known {
    /// Derives everything: up to seconds of work.
    ///
    /// Errors: [`Error::Limit`] for too many outputs.
    pub fn of(own: OwnDescriptor) -> Result<Self, Error> {
        let descriptor = &own.descriptor;
        let indices = match descriptor.is_ranged() {
            true if mutation::on(Mutation::GapIgnored) => 1000,
            true => u64::from(own.next_index) + u64::from(own.gap_limit),
            false => 1,
        };
        let keys = indices.saturating_mul((descriptor.branches() * descriptor.participants()) as u64);
        if keys > KEYS as u64 {
            let hint = "lower next_index or gap_limit";
            return Err(Error::Limit { what: "keys of a descriptor's outputs", limit: KEYS, hint });
        }
        let (mut scripts, mut key_sets) = (HashSet::new(), Vec::new());
        let mut last: Option<(KeySet, KeyTree)> = None;
        for branch in 0..descriptor.branches() {
            for index in 0..u32::try_from(indices).unwrap_or(u32::MAX) {
                // Where it is derived after the aggregation, there is one key set. Keys that cannot be aggregated own nothing.
                let Ok((key_set, derivation)) = descriptor.key_set(branch, index) else { continue };
                if last.as_ref().is_none_or(|(last, _)| *last != key_set) {
                    last = KeyTree::new(&key_set).ok().map(|tree| (key_set.clone(), tree));
                    key_sets.push(key_set);
                }
                let Some((_, tree)) = &mut last else { continue };
                if let Ok(key) = tree.derive(&derivation) {
                    scripts.insert(super::keys::output_script(&key.key()));
                }
            }
        }
        Ok(Self { own, scripts: Arc::new(scripts), key_sets })
    }
}

/// The own wallet: its descriptors.
#[derive(Default)]
pub(crate) struct Wallet(BTreeMap<DescriptorId, Known>);

impl Wallet {
    /// What a store has, derived again: up to seconds of work for each descriptor. Records that cannot be read are passed
    /// over, with a warning.
    pub fn load(records: Vec<Vec<u8>>) -> Self {
        let mut wallet = Self::default();
        for record in records {
            match OwnDescriptor::decode(&record).map(Known::of) {
                Some(Ok(known)) => drop(wallet.0.insert(id_of(&known.own.descriptor), known)),
                _ => tracing::warn!(target: "libmusig::store", "a stored descriptor cannot be read"),
            }
        }
        wallet
    }

    /// Adds a descriptor, in place of the same one.
    ///
    /// Errors: [`Error::Limit`].
    pub fn add(&mut self, known: Known) -> Result<(), Error> {
        let id = id_of(&known.own.descriptor);
        if self.0.len() >= DESCRIPTORS && !self.0.contains_key(&id) {
            let hint = "remove one that is not used any more";
            return Err(Error::Limit { what: "descriptors of the own wallet", limit: DESCRIPTORS, hint });
        }
        self.0.insert(id, known);
        Ok(())
    }

    /// Whether it was there.
    pub fn remove(&mut self, descriptor: &Descriptor) -> bool {
        self.0.remove(&id_of(descriptor)).is_some()
    }

    pub fn descriptors(&self) -> Vec<OwnDescriptor> {
        self.0.values().map(|known| known.own.clone()).collect()
    }

    /// The scripts of all outputs, by descriptor.
    pub fn scripts(&self) -> Vec<Scripts> {
        self.0.values().map(|known| known.scripts.clone()).collect()
    }

    pub fn key_sets(&self) -> impl Iterator<Item = &KeySet> {
        self.0.values().flat_map(|known| &known.key_sets)
    }
}
